//! The least that a client must move while we wait for it: who drips a body byte by byte would
//! otherwise hold a backend as long as he likes.

use crate::clock::Nanos;

/// Waiting up to this is free.
const GRACE_NANOS: u64 = 10_000_000_000;
/// Beyond it a client must have moved so many bytes per second of waiting.
const MIN_BYTES_PER_SECOND: u64 = 250;

/// How long one client has made us wait for a body.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    waiting_since: Option<Nanos>,
    waited: u64,
}

/// The client is below the minimum rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooSlow;

impl Rate {
    /// The client keeps us waiting.
    pub(crate) fn wait(&mut self, now: Nanos) {
        self.waiting_since.get_or_insert(now);
    }

    /// The client has moved on, `moved` bytes in all.
    pub(crate) fn resume(&mut self, now: Nanos, moved: u64) -> Result<(), TooSlow> {
        let Some(since) = self.waiting_since.take() else { return Ok(()) };
        self.waited += now.since(since);
        let least = u128::from(self.waited) * u128::from(MIN_BYTES_PER_SECOND);
        let slow = u128::from(moved) * 1_000_000_000 < least;
        if self.waited > GRACE_NANOS && slow { Err(TooSlow) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_waiting_counts_and_only_beyond_the_grace() {
        let second = |n: u64| Nanos(n * 1_000_000_000);
        let mut rate = Rate::default();
        rate.wait(second(0));
        rate.wait(second(5));
        assert_eq!(rate.resume(second(9), 1), Ok(()));
        assert_eq!(rate.resume(second(100), 1), Ok(()));
        rate.wait(second(100));
        assert_eq!(rate.resume(second(103), 2), Err(TooSlow));
        let mut fast = Rate::default();
        fast.wait(second(0));
        assert_eq!(fast.resume(second(20), 5_000), Ok(()));
    }
}
