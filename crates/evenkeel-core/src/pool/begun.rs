//! Tunnels and flows that have begun: what pools of tcp and udp listeners have for requests.

use std::sync::atomic::{AtomicU64, Ordering};

/// Tunnels and flows of a pool, over all its configurations.
#[derive(Debug, Default)]
pub struct Begun {
    reached: AtomicU64,
    failed: AtomicU64,
}

impl Begun {
    /// Counts one that has its backend.
    pub fn reached(&self) {
        self.reached.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one that has found none.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were, and how many of these found no backend.
    pub fn read(&self) -> (u64, u64) {
        let failed = self.failed.load(Ordering::Relaxed);
        (self.reached.load(Ordering::Relaxed) + failed, failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_without_a_backend_are_among_all() {
        let begun = Begun::default();
        begun.reached();
        begun.reached();
        begun.failed();
        assert_eq!(begun.read(), (3, 1));
    }
}
