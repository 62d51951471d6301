//! One number that one thread writes and any thread reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts. One thread only may add, because adding is a load and a store and not one atomic step:
/// that is what makes it as cheap as a plain variable. A second writer would lose counts, never
/// worse. Every thread may read, and sees a number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `more`; wraps at 2^64.
    #[inline]
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// What has been counted.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
