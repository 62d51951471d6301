//! A few keys that share a bounded place, as in an associative cache.

use crate::time::Nanos;

/// Entries of a set.
pub(super) const WAYS: usize = 8;

/// One key and its bucket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    pub(super) key: u64,
    /// Never decreases while the entry is in a set, whichever keys have it in turn.
    pub(super) full_at: Nanos,
}

/// The entries of a set; at first all have a full bucket, which is as good as none.
#[derive(Debug, Default)]
pub(super) struct Set([Entry; WAYS]);

impl Set {
    /// The entry of this key; if it has none, the one with the earliest `full_at`, for the key to
    /// take over as it is. That is a full bucket if any of the set is; else the newcomer inherits
    /// the count of the key it replaces ("space-saving": Metwally, Agrawal and El Abbadi,
    /// "Efficient computation of frequent and top-k elements in data streams", 2005).
    pub(super) fn own_or_earliest(&mut self, key: u64) -> &mut Entry {
        let mut found = 0;
        for (index, entry) in self.0.iter().enumerate() {
            if entry.key == key {
                found = index;
                break;
            }
            if entry.full_at < self.0[found].full_at {
                found = index;
            }
        }
        &mut self.0[found]
    }

    /// Entries whose buckets are not full.
    #[cfg(test)]
    pub(super) fn live(&self, now: Nanos) -> usize {
        self.0.iter().filter(|entry| entry.full_at > now).count()
    }
}
