//! What a backend usually needs: to take a connection, and to answer. A wait far beyond that is a
//! sign, long before any configured deadline.

use crate::time::Nanos;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// A connection is never called slow before this.
const CONNECT_FLOOR: Duration = Duration::from_millis(25);
/// What a connection may take while none has been made yet.
const CONNECT_UNKNOWN: Duration = Duration::from_millis(250);
/// Silence is never noticed before this.
const SILENCE_FLOOR: Duration = Duration::from_millis(25);
/// Silence is a multiple of the usual answer time.
const SILENCE_FACTOR: u64 = 4;
/// So many requests must be out for their silence to say something.
const SILENT_AT_LEAST: u32 = 3;

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// How long connections take: mean and mean deviation, as TCP estimates its round trip
/// (Jacobson and Karels 1988; RFC 6298).
#[derive(Debug, Default)]
pub struct ConnectTimes {
    mean_us: AtomicU32,
    deviation_us: AtomicU32,
}

impl ConnectTimes {
    /// Learns from one connection. Concurrent calls may lose a sample, never more.
    pub fn observe(&self, took: Duration) {
        let sample = micros(took).max(1);
        let mean = self.mean_us.load(Ordering::Relaxed);
        let (new_mean, new_deviation) = if mean == 0 {
            (sample, sample / 2)
        } else {
            let deviation = self.deviation_us.load(Ordering::Relaxed);
            let off = mean.abs_diff(sample);
            let mean = u64::from(mean) * 7 / 8 + u64::from(sample) / 8;
            let deviation = u64::from(deviation) * 3 / 4 + u64::from(off) / 4;
            let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
            (narrow(mean).max(1), narrow(deviation))
        };
        self.mean_us.store(new_mean, Ordering::Relaxed);
        self.deviation_us.store(new_deviation, Ordering::Relaxed);
    }

    /// After so long another backend should be tried beside.
    pub fn patience(&self) -> Duration {
        match self.mean_us.load(Ordering::Relaxed) {
            0 => CONNECT_UNKNOWN,
            mean => {
                let spread = u64::from(self.deviation_us.load(Ordering::Relaxed)) * 4;
                CONNECT_FLOOR.max(Duration::from_micros(u64::from(mean) + spread))
            }
        }
    }
}

/// When a backend was last heard of, and how long its answers usually take.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    heard_at: AtomicU64,
    busy_since: AtomicU64,
    usual_us: AtomicU32,
}

impl Hearing {
    /// The first of several requests went out.
    #[inline]
    pub(super) fn begin(&self, now: Nanos) {
        self.busy_since.store(now.0, Ordering::Relaxed);
    }

    /// An answer came, so long after its request.
    #[inline]
    pub(super) fn heard(&self, now: Nanos, took: Duration) {
        self.heard_at.store(now.0, Ordering::Relaxed);
        let (sample, usual) = (micros(took), self.usual_us.load(Ordering::Relaxed));
        // Quick to rise and slow to fall, so that a mix of fast and slow answers counts as slow.
        let next = match sample > usual {
            true => usual + (sample - usual) / 2,
            false => usual - (usual - sample) / 16,
        };
        self.usual_us.store(next, Ordering::Relaxed);
    }

    /// True if nothing has come back for much longer than usual, with so many requests out.
    #[inline]
    pub(super) fn is_silent(&self, now: Nanos, in_flight: u32) -> bool {
        if in_flight < SILENT_AT_LEAST {
            return false;
        }
        let last = self.heard_at.load(Ordering::Relaxed);
        let last = last.max(self.busy_since.load(Ordering::Relaxed));
        let usual = u64::from(self.usual_us.load(Ordering::Relaxed));
        let patience = SILENCE_FLOOR.max(Duration::from_micros(usual * SILENCE_FACTOR));
        now.duration_since(Nanos(last)) > patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn connections_get_a_multiple_of_what_they_usually_take() {
        let times = ConnectTimes::default();
        assert_eq!(times.patience(), CONNECT_UNKNOWN);
        (0..100).for_each(|_| times.observe(Duration::from_micros(200)));
        assert_eq!(times.patience(), CONNECT_FLOOR);
        (0..100).for_each(|_| times.observe(ms(80)));
        assert!(times.patience() >= ms(79) && times.patience() < ms(100), "far away, but steady");
        times.observe(ms(3000));
        assert!(times.patience() > ms(200), "one slow connection makes it wary");
    }

    #[test]
    fn silence_is_relative_to_the_usual_answer() {
        let hearing = Hearing::default();
        let at = |ms: u64| Nanos(ms * 1_000_000);
        hearing.begin(at(1000));
        assert!(!hearing.is_silent(at(1025), 5));
        assert!(hearing.is_silent(at(1026), 5));
        assert!(!hearing.is_silent(at(9000), 1), "one slow request says nothing");
        (0..10).for_each(|_| hearing.heard(at(1030), ms(400)));
        assert!(!hearing.is_silent(at(2000), 5), "long answers are usual here");
        assert!(hearing.is_silent(at(3000), 5));
    }
}
