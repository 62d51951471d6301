//! Drawn evenly.
//!
//! A number is brought into a range by one multiplication instead of a division: Daniel Lemire,
//! *Fast Random Integer Generation in an Interval*, ACM Transactions on Modeling and Computer
//! Simulation 29(1), 2019. For the ranges met here the remaining bias is below len / 2^64.

/// The position in `0..len` that `draw`, uniform over all `u64`, falls on; `None` if `len` is 0.
#[inline]
pub fn below(draw: u64, len: usize) -> Option<usize> {
    split(draw, len).map(|(position, _)| position)
}

/// Draws evenly among the positions in `0..len` that are not skipped; `None` if there is none.
///
/// When the first draw falls on a skipped one, it is drawn again among the others alone, so that
/// the neighbour of a skipped one does not get double. `skip` is asked once as a rule, else up to
/// `2 * len + 1` times.
#[inline]
pub fn choose(draw: u64, len: usize, skip: impl Fn(usize) -> bool) -> Option<usize> {
    let (position, rest) = split(draw, len)?;
    if !skip(position) {
        return Some(position);
    }
    let left = (0..len).filter(|&at| !skip(at)).count();
    nth_unskipped(below(rest, left)?, len, skip)
}

/// The position that `draw` falls on, and what is left of the draw: uniform again, whatever the
/// position, and good for a second draw.
#[inline]
pub(super) fn split(draw: u64, len: usize) -> Option<(usize, u64)> {
    let (rest, position) = draw.carrying_mul(u64::try_from(len).ok()?, 0);
    let position = usize::try_from(position).ok()?;
    (len > 0).then_some((position, rest))
}

/// The `nth` (from 0) position in `0..len` that is not skipped. What is skipped may have changed
/// since it was counted: if fewer are left, the first of them.
pub(super) fn nth_unskipped(nth: usize, len: usize, skip: impl Fn(usize) -> bool) -> Option<usize> {
    let mut unskipped = (0..len).filter(|&at| !skip(at));
    let first = unskipped.next()?;
    if nth == 0 { Some(first) } else { unskipped.nth(nth - 1).or(Some(first)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::hash::hash_with;
    use proptest::prelude::*;

    const DRAWS: u64 = 100_000;

    fn draw(at: u64) -> u64 {
        hash_with(&at.to_le_bytes(), 1)
    }

    #[test]
    fn below_covers_the_range_from_end_to_end() {
        let cases = [
            (0, 0, None),
            (u64::MAX, 0, None),
            (0, 3, Some(0)),
            (u64::MAX, 3, Some(2)),
            (1 << 63, 2, Some(1)),
            ((1 << 63) - 1, 2, Some(0)),
            (u64::MAX, 1, Some(0)),
        ];
        for (draw, len, expected) in cases {
            assert_eq!(below(draw, len), expected, "{draw} below {len}");
        }
    }

    /// Each position that is not skipped gets its even share within five standard deviations.
    fn check_even(skipped: &[bool]) {
        let len = skipped.len();
        let mut counts = vec![0_u32; len];
        for at in 0..DRAWS {
            counts[choose(draw(at), len, |i| skipped[i]).expect("one is left")] += 1;
        }
        let left = skipped.iter().filter(|skipped| !**skipped).count();
        let fair = DRAWS as f64 / left as f64;
        for (position, &count) in counts.iter().enumerate() {
            let expected = if skipped[position] { 0.0 } else { fair };
            let off = (f64::from(count) - expected).abs();
            assert!(off <= 5.0 * expected.sqrt(), "{position} of {skipped:?}: {counts:?}");
        }
    }

    #[test]
    fn even_with_and_without_skipped_ones() {
        check_even(&[false; 10]);
        check_even(&[false, true, false, false]);
        check_even(&[true, true, true, false, false, true, false]);
        check_even(&[true, false]);
    }

    proptest! {
        #[test]
        fn chooses_an_unskipped_one_if_there_is_one(
            draw: u64,
            skipped in prop::collection::vec(any::<bool>(), 0..20),
        ) {
            let chosen = choose(draw, skipped.len(), |at| skipped[at]);
            prop_assert_eq!(chosen.is_some(), skipped.contains(&false));
            prop_assert!(chosen.is_none_or(|at| !skipped[at]));
        }
    }
}
