//! Time as a number: nanoseconds since the process began to serve. Cheap to copy, compare and
//! store; where it comes from is not known here.

use std::time::Duration;

/// A point in time on a clock that only moves forward, in nanoseconds since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Later than every other time: no deadline.
    pub const NEVER: Nanos = Nanos(u64::MAX);

    /// This time plus a duration; saturates.
    #[inline]
    pub fn after(self, duration: Duration) -> Nanos {
        Nanos(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Nanoseconds from `earlier` to this time; 0 if it is not earlier.
    #[inline]
    pub fn since(self, earlier: Nanos) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The duration from `earlier` to this time.
    #[inline]
    pub fn duration_since(self, earlier: Nanos) -> Duration {
        Duration::from_nanos(self.since(earlier))
    }
}

impl From<Nanos> for Duration {
    fn from(at: Nanos) -> Duration {
        Duration::from_nanos(at.0)
    }
}
