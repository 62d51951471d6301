//! Maglev table: a key goes to the member in its entry of a fixed table that all share evenly. One
//! look, and more even than a ring of any practical size; in return a few keys of others move when
//! a table is built anew for other members.
//!
//! Daniel E. Eisenbud et al., *Maglev: A Fast and Reliable Software Network Load Balancer*, NSDI
//! 2016, section 3.4. Weights: a member takes turns in filling the table in proportion to weight.

use super::hash::hash_with;
use super::random::below;

/// Entries of a table; a prime, so that every step through it reaches every entry.
pub const TABLE_SIZE: usize = 65_537;
/// Members beyond this many, in the order given, get no entry.
pub const MAX_MEMBERS: usize = 65_535;
/// Entries tried for a key whose member is skipped, before the members are gone through in order.
const MAX_TRIES: usize = 64;

const OFFSET_SEED: u64 = 0x6f66_6673_6574;
const STEP_SEED: u64 = 0x7374_6570;

/// A Maglev lookup table.
#[derive(Clone, Debug, Default)]
pub struct Maglev {
    /// Position of the member of each entry; empty if there is none.
    table: Vec<u16>,
    /// Positions of all members with weight, in order of identity.
    members: Vec<u16>,
}

/// A member while the table is filled.
struct Filler<'a> {
    identity: &'a str,
    member: u16,
    weight: u64,
    /// The entry it wants next, and how far it is to the one after.
    wanted: usize,
    step: usize,
    /// Turns it is owed, times the highest weight.
    credit: u64,
}

impl<'a> Filler<'a> {
    fn new(identity: &'a str, member: u16, weight: u32) -> Filler<'a> {
        Filler {
            identity,
            member,
            weight: u64::from(weight),
            wanted: place(identity, OFFSET_SEED, TABLE_SIZE),
            step: place(identity, STEP_SEED, TABLE_SIZE - 1) + 1,
            credit: 0,
        }
    }
}

impl Maglev {
    /// A table for `members`, each a stable identity and a weight. Weight 0 gets no entry. The
    /// order of `members` does not matter. O(`TABLE_SIZE` x log `TABLE_SIZE`) steps as a rule.
    pub fn new(members: &[(&str, u32)]) -> Maglev {
        let weighted = (0..).zip(members).take(MAX_MEMBERS).filter(|(_, member)| member.1 > 0);
        let mut fillers: Vec<Filler<'_>> = weighted
            .map(|(member, &(identity, weight))| Filler::new(identity, member, weight))
            .collect();
        fillers.sort_by_key(|filler| filler.identity);
        let members = fillers.iter().map(|filler| filler.member).collect();
        Maglev { table: fill(&mut fillers), members }
    }

    /// The member, by position, of the key with this hash; `None` if all are skipped.
    ///
    /// If it is skipped, further entries are tried that depend on the key alone: the keys of a
    /// skipped member spread over all others, all other keys stay, and they return with it.
    #[inline]
    pub fn choose(&self, hash: u64, skip: impl Fn(usize) -> bool) -> Option<usize> {
        let mut draw = hash;
        for _ in 0..MAX_TRIES {
            let member = usize::from(*self.table.get(below(draw, self.table.len())?)?);
            if !skip(member) {
                return Some(member);
            }
            draw = mixed(draw);
        }
        let (before, after) = self.members.split_at(below(draw, self.members.len())?);
        after.iter().chain(before).copied().map(usize::from).find(|&member| !skip(member))
    }
}

/// A place in `0..len` for a member.
fn place(identity: &str, seed: u64, len: usize) -> usize {
    below(hash_with(identity.as_bytes(), seed), len).unwrap_or(0)
}

/// Fills the table: in each round every member with a turn takes the next free entry of its own
/// order of entries. The heaviest have a turn in every round, others as often as their weight.
fn fill(fillers: &mut [Filler<'_>]) -> Vec<u16> {
    let Some(heaviest) = fillers.iter().map(|filler| filler.weight).max() else {
        return Vec::new();
    };
    let mut entries: Vec<Option<u16>> = vec![None; TABLE_SIZE];
    let mut free = TABLE_SIZE;
    // Each round fills one entry at least: that of the heaviest.
    while free > 0 {
        for filler in fillers.iter_mut() {
            filler.credit += filler.weight;
            if filler.credit < heaviest || free == 0 {
                continue;
            }
            filler.credit -= heaviest;
            take_free_entry(filler, &mut entries);
            free -= 1;
        }
    }
    entries.into_iter().flatten().collect()
}

/// Takes the next free entry in the member's order. There is one, and `TABLE_SIZE` steps reach all.
fn take_free_entry(filler: &mut Filler<'_>, entries: &mut [Option<u16>]) {
    for _ in 0..TABLE_SIZE {
        let entry = &mut entries[filler.wanted];
        filler.wanted = (filler.wanted + filler.step) % TABLE_SIZE;
        if entry.is_none() {
            *entry = Some(filler.member);
            return;
        }
    }
}

/// The next in a sequence of hashes: the output function of SplitMix64 (Guy Steele, Doug Lea and
/// Christine Flood, *Fast Splittable Pseudorandom Number Generators*, OOPSLA 2014).
fn mixed(hash: u64) -> u64 {
    let hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries(maglev: &Maglev, members: usize) -> Vec<usize> {
        let mut counts = vec![0; members];
        maglev.table.iter().for_each(|&member| counts[usize::from(member)] += 1);
        counts
    }

    #[test]
    fn equal_weights_share_evenly() {
        for count in [1_usize, 2, 3, 10, 100, 1_000] {
            let names: Vec<String> = (0..count).map(|at| format!("10.0.0.{at}:80")).collect();
            let members: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 7)).collect();
            let maglev = Maglev::new(&members);
            assert_eq!(maglev.table.len(), TABLE_SIZE);
            let counts = entries(&maglev, count);
            let (most, least) = (counts.iter().max(), counts.iter().min());
            let (most, least) = (most.copied().unwrap_or(0), least.copied().unwrap_or(0));
            assert!(most - least <= 1, "{count} members: {least} to {most}");
        }
    }

    #[test]
    fn unequal_weights_share_in_proportion() {
        let maglev = Maglev::new(&[("a", 3), ("b", 2), ("c", 0), ("d", 1)]);
        let counts = entries(&maglev, 4);
        for (count, weight) in counts.iter().zip([3.0, 2.0, 0.0, 1.0]) {
            let fair = TABLE_SIZE as f64 * weight / 6.0;
            assert!((*count as f64 - fair).abs() <= 2.0, "{counts:?}");
        }
    }

    #[test]
    fn nothing_to_choose_from() {
        assert_eq!(Maglev::new(&[]).choose(5, |_| false), None);
        assert_eq!(Maglev::new(&[("a", 0)]).choose(5, |_| false), None);
        assert_eq!(Maglev::new(&[("a", 1), ("b", 0)]).choose(5, |at| at == 0), None);
    }

    #[test]
    fn more_members_than_fit_are_bounded() {
        let names: Vec<String> = (0..MAX_MEMBERS + 10).map(|at| at.to_string()).collect();
        let members: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let maglev = Maglev::new(&members);
        assert_eq!(maglev.members.len(), MAX_MEMBERS);
        assert_eq!(maglev.choose(7, |at| at != MAX_MEMBERS - 1), Some(MAX_MEMBERS - 1));
    }

    proptest! {
        #[test]
        fn order_of_members_does_not_matter(key: u64, skipped in 0_usize..4) {
            let names = ["a", "b", "c", "d"];
            let forth = Maglev::new(&names.map(|name| (name, 2)));
            let mut back_names = names;
            back_names.reverse();
            let back = Maglev::new(&back_names.map(|name| (name, 2)));
            let one = forth.choose(key, |at| at == skipped);
            let other = back.choose(key, |at| 3 - at == skipped);
            prop_assert_eq!(one, other.map(|at| 3 - at));
        }
    }
}
