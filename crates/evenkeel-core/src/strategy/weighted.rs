//! In proportion to weights: in turn ([`Schedule`]) or drawn ([`Shares`]).
//!
//! The turns are those of nginx's smooth weighted round robin (Igor Sysoev and Maxim Dounin,
//! `ngx_http_upstream_round_robin.c`, since 1.3.1): at each step everyone gains its weight, the one
//! with the most (the first of equals) is chosen and pays the sum of all weights. Weights 5, 1, 1
//! give `a a b a c a a`, never five in a row. The turns repeat after a sum of steps, so they are
//! written down once and read by number.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

/// Longest cycle of turns. Weights with a larger sum are scaled down, each to at least 1.
pub const MAX_SCHEDULE_LEN: usize = 16_384;

/// One full cycle of turns, smooth and exactly in proportion to the weights.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    order: Vec<u32>,
}

impl Schedule {
    /// The turns of `weights`, reduced by their greatest common divisor. Weight 0 has none. If the
    /// sum is still above [`MAX_SCHEDULE_LEN`], the weights are scaled down, so that proportions
    /// hold to about one turn in `MAX_SCHEDULE_LEN`.
    ///
    /// Takes O(sum x distinct weights) steps, as backends of equal weight go in turn among
    /// themselves and need one comparison together; there are at most 361 distinct weights, since
    /// 1 + 2 + ... + 181 is more than `MAX_SCHEDULE_LEN`.
    pub fn new(weights: &[u32]) -> Schedule {
        let wide: Vec<u64> = weights.iter().copied().map(u64::from).collect();
        let fitted = fit(&reduced(&wide), MAX_SCHEDULE_LEN as u64);
        Schedule { order: smooth_order(&reduced(&fitted)) }
    }

    /// Turns in a full cycle; 0 if every weight is 0.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nobody has a turn.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Whose turn it is: the position in `weights` of turn number `turn`, counted through the
    /// cycles. `None` if every weight is 0.
    #[inline]
    pub fn at(&self, turn: usize) -> Option<usize> {
        let turn = turn.checked_rem(self.order.len())?;
        self.order.get(turn).map(|&position| position as usize)
    }
}

/// Weights to draw from.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    /// Sum of the weights up to and including each position.
    sums: Vec<u64>,
}

impl Shares {
    /// Shares in proportion to `weights`; weight 0 is never drawn.
    pub fn new(weights: &[u32]) -> Shares {
        let sums = weights.iter().scan(0_u64, |sum, &weight| {
            *sum += u64::from(weight);
            Some(*sum)
        });
        Shares { sums: sums.collect() }
    }

    /// The position that `draw`, uniform over all `u64`, falls on, in proportion to weight. `None`
    /// if every weight is 0. O(log n).
    #[inline]
    pub fn draw(&self, draw: u64) -> Option<usize> {
        self.split(draw).map(|(position, _)| position)
    }

    /// As [`draw`](Self::draw), in proportion among those not skipped alone: a draw that falls on a
    /// skipped one is repeated with what is left of it. O(n) in that case.
    #[inline]
    pub fn draw_unskipped(&self, draw: u64, skip: impl Fn(usize) -> bool) -> Option<usize> {
        let (position, rest) = self.split(draw)?;
        if !skip(position) {
            return Some(position);
        }
        let left = (0..self.sums.len()).filter(|&at| !skip(at)).map(|at| self.weight(at)).sum();
        let mut wanted = rest.carrying_mul(left, 0).1;
        let mut last = None;
        for at in (0..self.sums.len()).filter(|&at| self.weight(at) > 0 && !skip(at)) {
            if wanted < self.weight(at) {
                return Some(at);
            }
            wanted -= self.weight(at);
            // Reached only if more is skipped now than when the weights were added up.
            last = Some(at);
        }
        last
    }

    /// The position drawn, and what is left of the draw: uniform again.
    fn split(&self, draw: u64) -> Option<(usize, u64)> {
        let total = NonZeroU64::new(*self.sums.last()?)?;
        let (rest, wanted) = draw.carrying_mul(total.get(), 0);
        Some((self.sums.partition_point(|&sum| sum <= wanted), rest))
    }

    fn weight(&self, at: usize) -> u64 {
        let before = at.checked_sub(1).map_or(0, |before| self.sums[before]);
        self.sums[at] - before
    }
}

/// `amounts` scaled down so that their sum is at most `limit`, or as they are if it is. None that
/// is not 0 becomes 0; with more of them than `limit`, each becomes 1.
pub(super) fn fit(amounts: &[u64], limit: u64) -> Vec<u64> {
    let sum: u128 = amounts.iter().copied().map(u128::from).sum();
    if sum <= u128::from(limit) {
        return amounts.to_vec();
    }
    // Raising one to 1 adds less than 1 to it, so that leaving 1 for each leaves enough.
    let raised = amounts.iter().filter(|&&amount| amount > 0).count() as u64;
    let room = u128::from(limit.saturating_sub(raised));
    let scale = |amount: u64| {
        let scaled = (u128::from(amount) * room + sum / 2) / sum;
        u64::try_from(scaled).unwrap_or(limit).max(u64::from(amount > 0))
    };
    amounts.iter().copied().map(scale).collect()
}

/// `amounts` divided by their greatest common divisor.
fn reduced(amounts: &[u64]) -> Vec<u64> {
    let divisor = amounts.iter().copied().fold(0, largest_divisor).max(1);
    amounts.iter().map(|amount| amount / divisor).collect()
}

/// The largest number that divides both (Euclid).
fn largest_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { largest_divisor(b, a % b) }
}

/// Backends of equal weight: they go in turn among themselves, in order of position.
#[derive(Default)]
struct Rank {
    members: Vec<u32>,
    next: usize,
}

/// nginx's order over one cycle. Only the next member of each weight is compared: members of equal
/// weight gain alike, so that the one chosen least often, and the first of those, has the most.
fn smooth_order(weights: &[u64]) -> Vec<u32> {
    let mut by_weight = BTreeMap::<i32, Rank>::new();
    for (position, &weight) in (0..).zip(weights) {
        // At most MAX_SCHEDULE_LEN after fitting.
        let weight = i32::try_from(weight).unwrap_or(i32::MAX);
        if weight > 0 {
            by_weight.entry(weight).or_default().members.push(position);
        }
    }
    let (gains, mut ranks): (Vec<i32>, Vec<Rank>) = by_weight.into_iter().unzip();
    let mut heads: Vec<u32> = ranks.iter().map(|rank| rank.members[0]).collect();
    let mut credits = vec![0_i32; gains.len()];
    let sum: u64 = weights.iter().sum();
    let price = i32::try_from(sum).unwrap_or(i32::MAX);
    let mut order = Vec::with_capacity(usize::try_from(sum).unwrap_or(0));
    for _ in 0..sum {
        let Some(at) = richest(&mut credits, &gains, &heads) else {
            break;
        };
        let rank = &mut ranks[at];
        order.push(heads[at]);
        rank.next += 1;
        if rank.next == rank.members.len() {
            // From now on its next member is one that has paid once more.
            rank.next = 0;
            credits[at] -= price;
        }
        heads[at] = rank.members[rank.next];
    }
    order
}

/// Adds the gains, then finds the highest credit; of equals, the one whose head comes first.
fn richest(credits: &mut [i32], gains: &[i32], heads: &[u32]) -> Option<usize> {
    let mut most = i32::MIN;
    for (credit, gain) in credits.iter_mut().zip(gains) {
        *credit += gain;
        most = most.max(*credit);
    }
    (0..credits.len()).filter(|&at| credits[at] == most).min_by_key(|&at| heads[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::hash::hash_with;
    use proptest::prelude::*;

    /// nginx's algorithm, word for word.
    fn by_the_book(weights: &[u32]) -> Vec<usize> {
        let sum: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
        let mut current = vec![0_i64; weights.len()];
        let turn = |_| {
            let mut best: Option<usize> = None;
            for (at, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0) {
                current[at] += i64::from(weight);
                if best.is_none_or(|best| current[at] > current[best]) {
                    best = Some(at);
                }
            }
            let best = best.expect("the sum is not 0");
            current[best] -= sum;
            best
        };
        (0..sum).map(turn).collect()
    }

    fn turns(schedule: &Schedule) -> Vec<usize> {
        (0..schedule.len()).map(|turn| schedule.at(turn).expect("not empty")).collect()
    }

    fn counts(positions: &[usize], len: usize) -> Vec<u64> {
        let mut counts = vec![0; len];
        positions.iter().for_each(|&position| counts[position] += 1);
        counts
    }

    #[test]
    fn orders() {
        let cases: [(&[u32], &[usize]); 7] = [
            (&[], &[]),
            (&[0, 0], &[]),
            (&[7], &[0]),
            (&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]),
            (&[3, 2, 1], &[0, 1, 0, 2, 1, 0]),
            (&[300, 200, 100], &[0, 1, 0, 2, 1, 0]),
            (&[0, 1, 0, 1], &[1, 3]),
        ];
        for (weights, expected) in cases {
            assert_eq!(turns(&Schedule::new(weights)), expected, "{weights:?}");
        }
        assert_eq!(Schedule::new(&[]).at(0), None);
        let schedule = Schedule::new(&[3, 2, 1]);
        assert_eq!(schedule.at(6), schedule.at(0));
    }

    #[test]
    fn large_sums_are_scaled_and_keep_everyone() {
        let mut weights = vec![1; 1_000];
        weights[0] = u32::MAX;
        weights[1] = u32::MAX / 2;
        weights[2] = 0;
        let schedule = Schedule::new(&weights);
        assert!(schedule.len() <= MAX_SCHEDULE_LEN);
        let counts = counts(&turns(&schedule), weights.len());
        assert_eq!(counts[2], 0);
        assert!(counts.iter().enumerate().all(|(at, &count)| at == 2 || count >= 1));
        let ratio = counts[0] as f64 / counts[1] as f64;
        assert!((ratio - 2.0).abs() < 0.001, "{ratio}");
    }

    #[test]
    fn more_backends_than_turns_get_one_each() {
        let weights = vec![u32::MAX - 1; MAX_SCHEDULE_LEN];
        let uneven: Vec<u32> = (1..=70_000).collect();
        assert_eq!(Schedule::new(&weights).len(), MAX_SCHEDULE_LEN);
        assert_eq!(Schedule::new(&uneven).len(), 70_000);
    }

    proptest! {
        #[test]
        fn same_order_as_the_book(weights in prop::collection::vec(0_u32..40, 1..20)) {
            prop_assume!(weights.iter().any(|&weight| weight > 0));
            let book = by_the_book(&weights);
            let schedule = Schedule::new(&weights);
            prop_assert_eq!(book.len() % schedule.len(), 0);
            for (turn, &position) in book.iter().enumerate() {
                prop_assert_eq!(schedule.at(turn), Some(position), "turn {}", turn);
            }
        }

        #[test]
        fn exact_over_a_cycle_and_smooth_within(
            weights in prop::collection::vec(0_u32..200, 1..30),
        ) {
            let order = turns(&Schedule::new(&weights));
            let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
            let mut seen = vec![0_u64; weights.len()];
            for (turn, &position) in (1_u64..).zip(&order) {
                seen[position] += 1;
                let fair = turn as f64 * f64::from(weights[position]) / total as f64;
                let off = (seen[position] as f64 - fair).abs();
                prop_assert!(off < 3.0, "{} turns off at {}", off, turn);
            }
            for (&weight, &count) in weights.iter().zip(&seen) {
                prop_assert_eq!(count * total, u64::from(weight) * order.len() as u64);
            }
        }

        #[test]
        fn fitted_amounts_stay_within(
            amounts in prop::collection::vec(0_u64..1 << 50, 1..50),
            limit in 50_u64..10_000,
        ) {
            let fitted = fit(&amounts, limit);
            prop_assert!(fitted.iter().sum::<u64>() <= limit);
            for (amount, fitted) in amounts.iter().zip(&fitted) {
                prop_assert_eq!(*amount == 0, *fitted == 0);
            }
        }
    }

    /// Draws fall in proportion to weight among the unskipped, within five standard deviations.
    fn check_shares(weights: &[u32], skipped: &[usize]) {
        const DRAWS: u64 = 100_000;
        let shares = Shares::new(weights);
        let mut drawn = vec![0_u32; weights.len()];
        for at in 0..DRAWS {
            let draw = hash_with(&at.to_le_bytes(), 2);
            let position = shares.draw_unskipped(draw, |at| skipped.contains(&at));
            drawn[position.expect("some have weight")] += 1;
        }
        let left = |at: usize| if skipped.contains(&at) { 0.0 } else { f64::from(weights[at]) };
        let total: f64 = (0..weights.len()).map(left).sum();
        for (at, &count) in drawn.iter().enumerate() {
            let fair = DRAWS as f64 * left(at) / total;
            let off = (f64::from(count) - fair).abs();
            assert!(off <= 5.0 * fair.sqrt(), "{at} of {weights:?} without {skipped:?}: {drawn:?}");
        }
    }

    #[test]
    fn draws_are_in_proportion() {
        check_shares(&[3, 2, 1], &[]);
        check_shares(&[3, 2, 1], &[0]);
        check_shares(&[0, 5, 0, 1, 1, 0], &[3]);
        check_shares(&[100, 1, 7, 0, 30], &[0, 3]);
    }

    #[test]
    fn nothing_to_draw_from() {
        assert_eq!(Shares::new(&[]).draw(5), None);
        assert_eq!(Shares::new(&[0, 0]).draw(u64::MAX), None);
        assert_eq!(Shares::new(&[1, 2]).draw_unskipped(9, |_| true), None);
        assert_eq!(Shares::new(&[0, 2]).draw_unskipped(9, |at| at == 1), None);
        assert_eq!(Shares::new(&[0, u32::MAX, 0]).draw(u64::MAX), Some(1));
    }
}
