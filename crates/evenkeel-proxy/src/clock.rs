//! The clock of a server, which all its workers share: times can be compared across them.

pub(crate) use evenkeel_core::time::Nanos;
use tokio::time::Instant;

/// What the clock shows at its start, in nanoseconds: thirty days, so that what an earlier process
/// saw has a time on it too.
const BEGINNING: u64 = 30 * 24 * 3600 * 1_000_000_000;

/// A clock that starts at `BEGINNING`.
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
        Nanos(BEGINNING).after(elapsed)
    }
}
