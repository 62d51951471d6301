//! The less busy of two.
//!
//! Two drawn at random and the less busy taken: the longest queue shrinks exponentially against one
//! draw, and nobody runs after the one least busy backend all at once (Michael Mitzenmacher, *The
//! Power of Two Choices in Randomized Load Balancing*, IEEE Transactions on Parallel and
//! Distributed Systems 12(10), 2001).

use super::random::{nth_unskipped, split};

/// The upper half of a draw.
const HIGH: u64 = 0xffff_ffff_0000_0000;

/// Draws two different positions in `0..len` that are not skipped and gives the one with fewer in
/// flight; of equals the first drawn, which each of the two is equally likely to be. With one left
/// it is that one; `None` if there is none.
///
/// The first comes from the high half of `draw`, the second from the low half. If one of them is
/// skipped, both are drawn again, from what is left of the halves, among the unskipped alone.
#[inline]
pub fn choose(
    len: usize,
    draw: u64,
    in_flight: impl Fn(usize) -> u32,
    skip: impl Fn(usize) -> bool,
) -> Option<usize> {
    let less_busy = |[a, b]: [usize; 2]| if in_flight(b) < in_flight(a) { b } else { a };
    let (drawn, rests) = two_of(len, [draw & HIGH, draw << 32])?;
    if !drawn.into_iter().any(&skip) {
        return Some(less_busy(drawn));
    }
    let left = (0..len).filter(|&at| !skip(at)).count();
    let ([a, b], _) = two_of(left, rests)?;
    Some(less_busy([nth_unskipped(a, len, &skip)?, nth_unskipped(b, len, &skip)?]))
}

/// Two different positions in `0..len` (the same twice if `len` is 1), and what is left of the
/// draws.
#[inline]
fn two_of(len: usize, draws: [u64; 2]) -> Option<([usize; 2], [u64; 2])> {
    let (first, first_rest) = split(draws[0], len)?;
    let (second, second_rest) = split(draws[1], len - 1).unwrap_or((first, draws[1]));
    // The second is drawn from the others: those from the first on move up by one.
    let second = if len > 1 && second >= first { second + 1 } else { second };
    Some(([first, second], [first_rest, second_rest]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::hash::hash_with;
    use proptest::prelude::*;

    fn draw(at: u64) -> u64 {
        hash_with(&at.to_le_bytes(), 3)
    }

    /// Equally busy ones get even shares, and the least busy of `left` is chosen whenever it is one
    /// of the two: with probability `2 / left`.
    fn check_shares(len: usize, skipped: &[usize], idle: Option<usize>) {
        const DRAWS: u64 = 60_000;
        let mut counts = vec![0_u32; len];
        for at in 0..DRAWS {
            let busy = |at| u32::from(Some(at) != idle);
            let chosen = choose(len, draw(at), busy, |at| skipped.contains(&at));
            counts[chosen.expect("one is left")] += 1;
        }
        let left = (len - skipped.len()) as f64;
        for (at, &count) in counts.iter().enumerate() {
            let share = match idle {
                _ if skipped.contains(&at) => 0.0,
                Some(idle) if idle == at => 2.0 / left,
                Some(_) => (1.0 - 2.0 / left) / (left - 1.0),
                None => 1.0 / left,
            };
            let fair = DRAWS as f64 * share;
            let off = (f64::from(count) - fair).abs();
            assert!(off <= 5.0 * fair.sqrt(), "{at} of {len} without {skipped:?}: {counts:?}");
        }
    }

    #[test]
    fn shares_are_fair() {
        check_shares(1, &[], None);
        check_shares(2, &[], None);
        check_shares(10, &[], None);
        check_shares(10, &[], Some(4));
        check_shares(8, &[], Some(0));
        check_shares(5, &[2], None);
        check_shares(10, &[0, 1, 2, 7], None);
        check_shares(8, &[0, 1, 2, 7], Some(3));
        check_shares(4, &[1, 2, 3], None);
    }

    #[test]
    fn queues_stay_short() {
        // As many balls as bins: one draw leaves about 8 in the fullest of 10,000, two leave about
        // ln ln n / ln 2 + 1, which is 4.
        const BINS: usize = 10_000;
        let mut in_flight = vec![0_u32; BINS];
        for at in 0..BINS as u64 {
            let chosen = choose(BINS, draw(at), |at| in_flight[at], |_| false);
            in_flight[chosen.expect("none is skipped")] += 1;
        }
        let longest = in_flight.iter().max();
        assert!(longest <= Some(&4), "{longest:?}");
    }

    proptest! {
        #[test]
        fn two_differ_and_are_in_range(draws: [u64; 2], len in 2_usize..2_000) {
            let ([a, b], _) = two_of(len, draws).expect("there are two");
            prop_assert!(a != b && a < len && b < len);
        }

        #[test]
        fn chooses_an_unskipped_one_if_there_is_one(
            draw: u64,
            skipped in prop::collection::vec(any::<bool>(), 0..20),
        ) {
            let chosen = choose(skipped.len(), draw, |_| 0, |at| skipped[at]);
            prop_assert_eq!(chosen.is_some(), skipped.contains(&false));
            prop_assert!(chosen.is_none_or(|at| !skipped[at]));
        }
    }
}
