//! Hash ring: each key has a place on a circle and goes to the next point clockwise; each backend
//! has many points. When one leaves, only its keys move, and they come back with it.
//!
//! David Karger et al., *Consistent Hashing and Random Trees: Distributed Caching Protocols for
//! Relieving Hot Spots on the World Wide Web*, STOC 1997. With a bound on load: Vahab Mirrokni,
//! Mikkel Thorup and Morteza Zadimoghaddam, *Consistent Hashing with Bounded Loads*, 2016
//! (arXiv:1608.01350).

use super::hash::hash;
use super::weighted::fit;

/// Most points on a ring: 32 MB. A ring that wants more has all its shares scaled down.
pub const MAX_POINTS: usize = 2_000_000;

/// A place on the circle and the backend it leads to.
#[derive(Clone, Copy, Debug)]
struct Point {
    place: u64,
    member: u32,
}

/// A hash ring.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    points: Vec<Point>,
    weights: Vec<u32>,
    total_weight: f64,
}

impl Ring {
    /// A ring of `members`, each a stable identity and a weight, with `virtual_nodes` points (one
    /// if it is 0) for each unit of weight. Weight 0 has none. The place of a point depends on its
    /// member's identity alone, and points on one place are in order of identity: the order of
    /// `members` and the other members do not change where a point is. Only a ring of more than
    /// [`MAX_POINTS`] is scaled down as a whole. O(points x log points).
    pub fn new(members: &[(&str, u32)], virtual_nodes: u32) -> Ring {
        let per_weight = u64::from(virtual_nodes.max(1));
        let wanted: Vec<u64> = members.iter().map(|m| u64::from(m.1) * per_weight).collect();
        let mut points = Vec::new();
        let mut name = Vec::new();
        let mut digits = itoa::Buffer::new();
        for ((member, (identity, _)), count) in
            (0..).zip(members).zip(fit(&wanted, MAX_POINTS as u64))
        {
            for number in 0..count {
                name.clear();
                name.extend_from_slice(identity.as_bytes());
                name.push(b'#');
                name.extend_from_slice(digits.format(number).as_bytes());
                points.push(Point { place: hash(&name), member });
            }
        }
        points.sort_unstable_by_key(|point| (point.place, members[point.member as usize].0));
        let weights: Vec<u32> = members.iter().map(|&(_, weight)| weight).collect();
        let total_weight = weights.iter().copied().map(f64::from).sum();
        Ring { points, weights, total_weight }
    }

    /// The member, by position, of the first point at or after `hash` that is not skipped; `None`
    /// if all are. O(log points) and one step for each skipped point on the way.
    #[inline]
    pub fn choose(&self, hash: u64, skip: impl Fn(usize) -> bool) -> Option<usize> {
        let start = self.points.partition_point(|point| point.place < hash);
        let (before, after) = self.points.split_at(start);
        let mut walk = after.iter().chain(before).map(|point| point.member as usize);
        let near = walk.by_ref().take(self.weights.len()).find(|&member| !skip(member));
        // A full turn is worth it only if it leads somewhere.
        if near.is_some() || self.unskipped_weight(&skip) == 0.0 {
            return near;
        }
        walk.find(|&member| !skip(member))
    }

    /// As [`choose`](Self::choose), but passes over members that have their fill: at most
    /// `ceil(load_factor x (total_in_flight + 1) x share of weight)` in flight each, the share
    /// taken among those not skipped. A `load_factor` below 1 counts as 1. If all have their fill
    /// it is the plain choice.
    // tidy: allow(parameters) because the ring is one of them and load is known only to the caller
    pub fn choose_bounded(
        &self,
        hash: u64,
        load_factor: f64,
        in_flight: impl Fn(usize) -> u32,
        total_in_flight: u64,
        skip: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let room = load_factor.max(1.0) * (total_in_flight as f64 + 1.0);
        let is_full = |member: usize, total_weight: f64| {
            let capacity = (room * f64::from(self.weights[member]) / total_weight).ceil();
            f64::from(in_flight(member)) >= capacity
        };
        let nearest = self.choose(hash, &skip)?;
        // The share among all is the smaller one: who has room by it has room.
        if !is_full(nearest, self.total_weight) {
            return Some(nearest);
        }
        let unskipped = self.unskipped_weight(&skip);
        let with_room = self.choose(hash, |member| skip(member) || is_full(member, unskipped));
        with_room.or(Some(nearest))
    }

    fn unskipped_weight(&self, skip: impl Fn(usize) -> bool) -> f64 {
        let weights = self.weights.iter().enumerate();
        weights.filter(|(at, _)| !skip(*at)).map(|(_, &weight)| f64::from(weight)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_to_choose_from() {
        let none = |_| false;
        assert_eq!(Ring::new(&[], 100).choose(5, none), None);
        assert_eq!(Ring::new(&[("a", 0)], 100).choose(5, none), None);
        assert_eq!(Ring::new(&[("a", 1), ("b", 0)], 100).choose(5, |at| at == 0), None);
        assert_eq!(Ring::new(&[("a", 1)], 0).choose(u64::MAX, none), Some(0));
        assert_eq!(Ring::default().choose_bounded(5, 1.25, |_| 0, 0, none), None);
    }

    #[test]
    fn points_are_bounded_and_everyone_keeps_one() {
        let ring = Ring::new(&[("big", u32::MAX), ("small", 1)], 1_000);
        assert!(ring.points.len() <= MAX_POINTS);
        assert!(ring.points.iter().any(|point| point.member == 1));
    }

    #[test]
    fn points_on_one_place_are_in_order_of_identity() {
        let (ab, ba) = (Ring::new(&[("a", 3), ("b", 3)], 1), Ring::new(&[("b", 3), ("a", 3)], 1));
        for (one, other) in ab.points.iter().zip(&ba.points) {
            assert_eq!((one.place, one.member), (other.place, 1 - other.member));
        }
        let twice = Ring::new(&[("a", 1), ("a", 1)], 10);
        assert_eq!(twice.points.len(), 20);
    }

    #[test]
    fn the_last_eligible_is_found_far_away() {
        let ring = Ring::new(&[("a", 500), ("b", 1)], 10);
        for key in 0_u64..100 {
            assert_eq!(ring.choose(hash(&key.to_le_bytes()), |at| at == 0), Some(1));
        }
    }

    proptest! {
        /// With every request staying in flight, nobody gets more than its fill, skipped ones or
        /// not, and one with room near by is not passed over.
        #[test]
        fn load_is_bounded(
            keys in prop::collection::vec(0_u64..5, 1..400),
            skipped in prop::collection::vec(any::<bool>(), 4),
        ) {
            prop_assume!(skipped.contains(&false));
            let members = [("a", 1), ("b", 2), ("c", 1), ("d", 4)];
            let ring = Ring::new(&members, 50);
            let skip = |at: usize| skipped[at];
            let weight: u32 = (0..4).filter(|&at| !skip(at)).map(|at| members[at].1).sum();
            let mut in_flight = [0_u32; 4];
            for (total, key) in (0_u64..).zip(keys) {
                let place = hash(&key.to_le_bytes());
                let busy = |at: usize| in_flight[at];
                let chosen = ring.choose_bounded(place, 1.25, busy, total, skip).expect("one left");
                in_flight[chosen] += 1;
                let fill = 1.25 * (total as f64 + 1.0) * f64::from(members[chosen].1);
                prop_assert!(f64::from(in_flight[chosen]) <= (fill / f64::from(weight)).ceil());
            }
        }
    }

    #[test]
    fn bounded_is_plain_while_there_is_room_and_when_there_is_none() {
        let ring = Ring::new(&[("a", 1), ("b", 1), ("c", 1)], 100);
        for key in 0_u64..1_000 {
            let place = hash(&key.to_le_bytes());
            let plain = ring.choose(place, |_| false);
            assert_eq!(ring.choose_bounded(place, 1.25, |_| 0, 0, |_| false), plain);
            assert_eq!(ring.choose_bounded(place, f64::NAN, |_| 9, 3, |_| false), plain);
        }
    }
}
