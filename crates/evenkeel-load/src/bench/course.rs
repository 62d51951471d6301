//! Which request is next, and when it is due. Shared by all threads of a run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// `Course::stopped_at` of a run that nobody has stopped.
const NEVER: u64 = u64::MAX;

/// One request to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// From 1.
    pub(crate) seq: u64,
    /// When it is due, from the start of the run; `None` = at once (closed loop).
    pub(crate) due: Option<Duration>,
}

/// The requests of a run.
pub(crate) struct Course {
    start: Instant,
    pace: Pace,
    /// How many requests there are at most.
    limit: u64,
    /// How long requests are started.
    until: Duration,
    taken: AtomicU64,
    /// Nanoseconds from the start; `NEVER` while nobody has asked for an end.
    stopped_at: AtomicU64,
}

/// When requests are due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// As soon as a connection is free.
    Closed,
    /// At a rate per second, reached linearly during the ramp.
    Open {
        /// Above 0.
        rate: f64,
        /// Zero = at once.
        ramp: Duration,
    },
}

impl Course {
    /// Requests from now on, until either bound.
    pub(crate) fn new(pace: Pace, limit: Option<u64>, until: Option<Duration>) -> Course {
        Course {
            start: Instant::now(),
            pace,
            limit: limit.unwrap_or(u64::MAX),
            until: until.unwrap_or(Duration::MAX),
            taken: AtomicU64::new(0),
            stopped_at: AtomicU64::new(NEVER),
        }
    }

    /// When it began.
    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// The next request; `None` if there is none.
    pub(crate) fn take(&self) -> Option<Ticket> {
        if self.was_stopped() {
            return None;
        }
        let next = || {
            let taken = self.taken.fetch_add(1, Ordering::Relaxed);
            (taken < self.limit).then_some(taken)
        };
        match self.pace {
            Pace::Closed if self.start.elapsed() >= self.until => None,
            Pace::Closed => next().map(|taken| Ticket { seq: taken + 1, due: None }),
            Pace::Open { rate, ramp } => {
                let taken = next()?;
                let due = due(taken, rate, ramp);
                (due < self.until).then_some(Ticket { seq: taken + 1, due: Some(due) })
            }
        }
    }

    /// No further requests; those that were due before are still sent.
    pub(crate) fn stop(&self) {
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(NEVER - 1);
        let _ = self.stopped_at.compare_exchange(NEVER, now, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// True if somebody has asked for an end.
    pub(crate) fn was_stopped(&self) -> bool {
        self.stopped_at.load(Ordering::Relaxed) != NEVER
    }

    /// True if a request that is due then is no longer wanted.
    pub(crate) fn ended_before(&self, due: Duration) -> bool {
        due.as_nanos() > u128::from(self.stopped_at.load(Ordering::SeqCst))
    }

    /// Share of the run that is over, 0 to 1, when so many requests have ended.
    #[expect(clippy::cast_precision_loss, reason = "a share of a progress bar")]
    pub(crate) fn share_done(&self, ended: u64) -> f64 {
        let of_count = if self.limit == u64::MAX { 0.0 } else { ended as f64 / self.limit as f64 };
        let of_time = match self.until {
            Duration::MAX => 0.0,
            until => self.start.elapsed().as_secs_f64() / until.as_secs_f64().max(1e-9),
        };
        of_count.max(of_time).min(1.0)
    }
}

/// When request number `index` (from 0) is due. During the ramp the rate grows from nothing, so the
/// number of requests grows with the square of the time.
#[expect(clippy::cast_precision_loss, reason = "numbers of requests are far below 2^52")]
fn due(index: u64, rate: f64, ramp: Duration) -> Duration {
    let (index, ramp) = (index as f64, ramp.as_secs_f64());
    let in_ramp = rate * ramp / 2.0;
    let seconds = if index < in_ramp {
        (2.0 * ramp * index / rate).sqrt()
    } else {
        index / rate + ramp / 2.0
    };
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(course: &Course) -> Vec<Ticket> {
        std::iter::from_fn(|| course.take()).take(10_000).collect()
    }

    #[test]
    fn a_closed_loop_has_its_number() {
        let course = Course::new(Pace::Closed, Some(3), None);
        let seqs: Vec<_> = all(&course).iter().map(|ticket| ticket.seq).collect();
        assert_eq!(seqs, [1, 2, 3]);
        assert_eq!(Course::new(Pace::Closed, None, Some(Duration::ZERO)).take(), None);
    }

    #[test]
    fn an_open_loop_has_its_times() {
        let pace = Pace::Open { rate: 100.0, ramp: Duration::ZERO };
        let tickets = all(&Course::new(pace, None, Some(Duration::from_secs(2))));
        assert_eq!(tickets.len(), 200);
        assert_eq!(tickets[50].due, Some(Duration::from_millis(500)));
    }

    #[test]
    fn a_ramp_offers_half_at_first() {
        let pace = Pace::Open { rate: 100.0, ramp: Duration::from_secs(2) };
        let tickets = all(&Course::new(pace, None, Some(Duration::from_secs(4))));
        let within = |from: u64, to: u64| {
            let (from, to) = (Duration::from_secs(from), Duration::from_secs(to));
            tickets.iter().filter(|t| t.due.is_some_and(|due| due >= from && due < to)).count()
        };
        assert_eq!((within(0, 1), within(1, 2), within(2, 3), within(3, 4)), (25, 75, 100, 100));
        assert!(tickets.windows(2).all(|pair| pair[0].due < pair[1].due));
    }

    #[test]
    fn a_stop_keeps_what_was_due() {
        let course = Course::new(Pace::Closed, None, None);
        assert!(!course.ended_before(Duration::from_secs(60)));
        course.stop();
        assert_eq!(course.take(), None);
        assert!(course.ended_before(Duration::from_secs(60)));
        assert!(!course.ended_before(Duration::ZERO));
    }
}
