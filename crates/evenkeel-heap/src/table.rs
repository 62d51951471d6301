//! What is kept of the blocks that are noted: sums for each call stack, and which are in use.

use crate::{MAX_LIVE, MAX_SITES};
use std::collections::HashMap;
use std::sync::Arc;

/// The site of all stacks for which there was no room.
const OTHERS: usize = 0;

/// Blocks and bytes, estimated: a block that is noted stands for all that were not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// How many blocks.
    pub objects: f64,
    /// How many bytes.
    pub bytes: f64,
}

impl Tally {
    fn add(&mut self, noted: Noted) {
        self.objects += noted.stands_for;
        self.bytes += noted.stands_for * noted.size;
    }

    fn subtract(&mut self, noted: Noted) {
        self.objects -= noted.stands_for;
        self.bytes -= noted.stands_for * noted.size;
    }
}

/// One call stack that allocates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Site {
    /// Addresses to which the calls return, the innermost first; empty = all for which there was no
    /// room.
    pub calls: Arc<[usize]>,
    /// Since `start`.
    pub allocated: Tally,
    /// Of that, not freed yet.
    pub in_use: Tally,
}

/// A block that is noted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Noted {
    site: usize,
    /// In bytes.
    size: f64,
    /// How many blocks of its size there are for each that is noted.
    stands_for: f64,
}

impl Noted {
    /// A block of `size` bytes, where one in `period` bytes is noted.
    pub(crate) fn of(size: usize, period: usize) -> Noted {
        let size = size as f64;
        Noted { site: OTHERS, size, stands_for: -1.0 / (-size / period as f64).exp_m1() }
    }
}

pub(crate) struct Table {
    sites: Vec<Site>,
    by_calls: HashMap<Arc<[usize]>, usize>,
    /// By address.
    live: HashMap<usize, Noted>,
}

impl Table {
    pub(crate) fn new() -> Table {
        // With room for all that will be in use: it never grows while somebody waits.
        let live = HashMap::with_capacity(MAX_LIVE);
        Table { sites: vec![Site::default()], by_calls: HashMap::new(), live }
    }

    /// Counts a block that was allocated; true if its address was not known before, and is from now
    /// on.
    pub(crate) fn note(&mut self, address: usize, calls: &[usize], noted: Noted) -> bool {
        let site = self.site_of(calls);
        let noted = Noted { site, ..noted };
        self.sites[site].allocated.add(noted);
        self.keep(address, noted)
    }

    /// Counts a block as in use; true if its address was not known before, and is from now on.
    pub(crate) fn keep(&mut self, address: usize, noted: Noted) -> bool {
        if self.live.len() >= MAX_LIVE {
            return false;
        }
        self.sites[noted.site].in_use.add(noted);
        let Some(before) = self.live.insert(address, noted) else { return true };
        // Its free was not seen: the thread was inside, in a signal handler.
        self.sites[before.site].in_use.subtract(before);
        false
    }

    /// A block that is in use no longer, if it was noted.
    pub(crate) fn forget(&mut self, address: usize) -> Option<Noted> {
        let noted = self.live.remove(&address)?;
        self.sites[noted.site].in_use.subtract(noted);
        Some(noted)
    }

    /// All that allocated something.
    pub(crate) fn sites(&self) -> Vec<Site> {
        self.sites.iter().filter(|site| site.allocated.objects > 0.0).cloned().collect()
    }

    fn site_of(&mut self, calls: &[usize]) -> usize {
        if let Some(site) = self.by_calls.get(calls) {
            return *site;
        }
        if self.sites.len() >= MAX_SITES {
            return OTHERS;
        }
        let calls: Arc<[usize]> = calls.into();
        let site = self.sites.len();
        self.sites.push(Site { calls: Arc::clone(&calls), ..Site::default() });
        self.by_calls.insert(calls, site);
        site
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: usize = 1_000;
    /// A block that stands for itself alone.
    const ALONE: Noted = Noted { site: OTHERS, size: 100_000.0, stands_for: 1.0 };

    #[test]
    fn a_small_block_stands_for_many_and_a_large_one_for_itself() {
        for (size, wanted) in [(1, 1_000.5), (1_000, 1.581_976_7), (100_000, 1.0)] {
            let stands_for = Noted::of(size, PERIOD).stands_for;
            assert!((stands_for / wanted - 1.0).abs() < 1e-6, "{size}: {stands_for}");
        }
    }

    #[test]
    fn what_is_freed_was_allocated_and_is_no_longer_in_use() {
        let mut table = Table::new();
        assert!(table.note(0x10, &[1, 2], ALONE) && table.note(0x20, &[1, 2], ALONE));
        assert!(table.note(0x30, &[3], ALONE));
        assert!(table.forget(0x20).is_some() && table.forget(0x20).is_none());
        let two = Tally { objects: 2.0, bytes: 200_000.0 };
        let one = Tally { objects: 1.0, bytes: 100_000.0 };
        let wanted = [
            Site { calls: [1, 2].into(), allocated: two, in_use: one },
            Site { calls: [3].into(), allocated: one, in_use: one },
        ];
        assert_eq!(table.sites(), wanted);
    }

    #[test]
    fn an_address_that_comes_again_is_of_the_later_block() {
        let mut table = Table::new();
        assert!(table.note(0x10, &[1], ALONE) && !table.note(0x10, &[2], ALONE));
        let in_use = |table: &Table| -> Vec<f64> {
            table.sites().iter().map(|site| site.in_use.objects).collect()
        };
        assert_eq!(in_use(&table), [0.0, 1.0]);
        assert!(table.forget(0x10).is_some());
        assert_eq!(in_use(&table), [0.0, 0.0]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no time for so many")]
    fn without_room_stacks_are_counted_together() {
        let mut table = Table::new();
        for call in 0..MAX_SITES + 9 {
            assert!(table.note(call, &[call], ALONE));
        }
        let sites = table.sites();
        assert_eq!(sites.len(), MAX_SITES);
        assert_eq!((sites[0].calls.len(), sites[0].in_use.objects), (0, 10.0));
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no time for so many")]
    fn without_room_blocks_are_counted_as_allocated() {
        let mut table = Table::new();
        let kept = (0..MAX_LIVE + 5).filter(|address| table.note(*address, &[1], ALONE)).count();
        assert_eq!(kept, MAX_LIVE);
        let [site] = &table.sites()[..] else { panic!("one") };
        assert_eq!(site.allocated.objects - site.in_use.objects, 5.0);
    }
}
