//! Round robin: one global cursor, so that N backends get exactly every Nth request, whichever
//! worker serves it.

use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The shared cursor, alone on its cache line.
#[derive(Debug, Default)]
pub struct RoundRobin {
    cursor: CachePadded<AtomicUsize>,
}

impl RoundRobin {
    /// Index in `0..len` of the next in turn; `None` if there is nothing to choose from.
    #[inline]
    pub fn next(&self, len: usize) -> Option<usize> {
        self.cursor.fetch_add(1, Ordering::Relaxed).checked_rem(len)
    }

    /// Another cursor that stands where this one stands now.
    pub fn copied(&self) -> RoundRobin {
        let at = self.cursor.load(Ordering::Relaxed);
        RoundRobin { cursor: CachePadded::new(AtomicUsize::new(at)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_order_and_empty() {
        let rr = RoundRobin::default();
        let picks: Vec<_> = (0..7).filter_map(|_| rr.next(3)).collect();
        assert_eq!(picks, [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(RoundRobin::default().next(0), None);
    }
}
