//! Fewest in flight per weight.
//!
//! Least connections is the oldest dynamic rule (Wensong Zhang, *Linux Virtual Server for Scalable
//! Network Services*, Ottawa Linux Symposium 2000). What is compared is `in_flight / weight` as it
//! is now, not as it would be with one more:
//! - Under load it keeps in-flight counts in proportion to weights, off by less than one each.
//! - All idle backends are equal whatever their weight, and equals take turns, so that a heavy one
//!   does not starve the others when requests come one at a time. `(in_flight + 1) / weight`
//!   would.

use std::cmp::Ordering;

/// How busy a backend is: in flight per weight.
#[derive(Clone, Copy)]
struct Load {
    in_flight: u32,
    weight: u32,
}

impl Load {
    /// Compares the quotients by multiplying across: exact, and no division.
    fn compare(self, other: Load) -> Ordering {
        let own = u64::from(self.in_flight) * u64::from(other.weight);
        own.cmp(&(u64::from(other.in_flight) * u64::from(self.weight)))
    }
}

/// The position of the one with the fewest in flight per weight; `None` if all are skipped or have
/// weight 0. Of k equals it is number `start % k`: they take turns exactly if the caller advances
/// `start` by one each time, skipped ones or not.
#[inline]
pub fn choose(
    weights: &[u32],
    start: usize,
    in_flight: impl Fn(usize) -> u32,
    skip: impl Fn(usize) -> bool,
) -> Option<usize> {
    let load = |(at, &weight): (usize, &u32)| {
        (weight > 0 && !skip(at)).then(|| (at, Load { in_flight: in_flight(at), weight }))
    };
    let mut least: Option<(usize, Load)> = None;
    let mut equals = 0_usize;
    for (at, load) in weights.iter().enumerate().filter_map(load) {
        match least.map_or(Ordering::Less, |(_, least)| load.compare(least)) {
            Ordering::Less => (least, equals) = (Some((at, load)), 1),
            Ordering::Equal => equals += 1,
            Ordering::Greater => {}
        }
    }
    let (first, least) = least?;
    let Some(others_before) = (start % equals).checked_sub(1) else {
        return Some(first);
    };
    // The counts may have moved since: then the first will do.
    let mut equal = weights.iter().enumerate().skip(first + 1).filter_map(load);
    let is_equal = |(_, load): &(usize, Load)| load.compare(least) == Ordering::Equal;
    let turn = equal.by_ref().filter(is_equal).nth(others_before);
    Some(turn.map_or(first, |(at, _)| at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cases() {
        // Weights, in flight, skipped, start, chosen.
        type Case = (&'static [u32], &'static [u32], &'static [usize], usize, Option<usize>);
        let cases: [Case; 12] = [
            (&[], &[], &[], 0, None),
            (&[0, 0], &[0, 0], &[], 0, None),
            (&[1, 1], &[0, 0], &[0, 1], 0, None),
            (&[1, 1, 1], &[2, 1, 3], &[], 2, Some(1)),
            (&[1, 1, 1], &[0, 0, 0], &[], 4, Some(1)),
            (&[1, 1, 1], &[0, 0, 0], &[1], 1, Some(2)),
            (&[1, 1, 1], &[0, 0, 0], &[1], 2, Some(0)),
            (&[3, 1], &[2, 1], &[], 0, Some(0)),
            (&[3, 1], &[3, 1], &[], 1, Some(1)),
            (&[3, 1], &[4, 1], &[], 0, Some(1)),
            (&[0, 1], &[0, 9], &[], 0, Some(1)),
            (&[u32::MAX, 1], &[u32::MAX, 1], &[], 1, Some(1)),
        ];
        for (number, (weights, in_flight, skipped, start, expected)) in cases.iter().enumerate() {
            let chosen = choose(weights, *start, |at| in_flight[at], |at| skipped.contains(&at));
            assert_eq!(chosen, *expected, "case {number}");
        }
    }

    #[test]
    fn idle_equals_take_exact_turns() {
        let mut counts = [0; 4];
        for start in 0..300 {
            counts[choose(&[9, 1, 4, 2], start, |_| 0, |at| at == 1).expect("three left")] += 1;
        }
        assert_eq!(counts, [100, 0, 100, 100]);
    }

    proptest! {
        /// Whatever stays in flight is spread in proportion to weights, off by less than one each
        /// way for every weight.
        #[test]
        fn in_flight_follows_weights(
            weights in prop::collection::vec(1_u32..20, 1..10),
            requests in 0_u32..500,
        ) {
            let mut in_flight = vec![0_u32; weights.len()];
            for start in 0..requests {
                let at = choose(&weights, start as usize, |at| in_flight[at], |_| false);
                in_flight[at.expect("none is skipped")] += 1;
            }
            for (a, &weight_a) in weights.iter().enumerate() {
                for (b, &weight_b) in weights.iter().enumerate() {
                    // The last request of `a` was sent when `a` was no busier than `b`.
                    let before = u64::from(in_flight[a].saturating_sub(1)) * u64::from(weight_b);
                    prop_assert!(before <= u64::from(in_flight[b]) * u64::from(weight_a));
                }
            }
        }
    }
}
