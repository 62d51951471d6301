//! The clock of a server, which all its workers share: times can be compared across them.

pub(crate) use evenkeel_core::time::Nanos;
use tokio::time::Instant;

/// A clock that starts at zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts now; a paused runtime clock is honoured if called inside of it.
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// The time now.
    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        let elapsed = Instant::now().duration_since(self.start);
        Nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }
}
