//! Time as a number: nanoseconds since the worker started. Cheap to copy, compare and store.

use std::time::Duration;
use tokio::time::Instant;

/// A point in time on one worker's clock, in nanoseconds since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nanos(pub(crate) u64);

impl Nanos {
    /// Later than every other time: no deadline.
    pub(crate) const NEVER: Nanos = Nanos(u64::MAX);

    /// This time plus a duration; saturates.
    #[inline]
    pub(crate) fn after(self, duration: Duration) -> Nanos {
        Nanos(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Nanoseconds from `earlier` to this time; 0 if it is not earlier.
    #[inline]
    pub(crate) fn since(self, earlier: Nanos) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The duration from `earlier` to this time.
    #[inline]
    pub(crate) fn duration_since(self, earlier: Nanos) -> Duration {
        Duration::from_nanos(self.since(earlier))
    }
}

impl From<Nanos> for Duration {
    fn from(at: Nanos) -> Duration {
        Duration::from_nanos(at.0)
    }
}

/// One worker's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts at zero; must be called inside the runtime, so that a paused clock is honoured.
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
