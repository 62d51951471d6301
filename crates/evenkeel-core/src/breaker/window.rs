//! Requests and failures of the last while, counted in ten buckets without a lock.

use super::{HostWindow, Verdict};
use crate::time::Nanos;
use std::array::from_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Parts of the window: with each of them a tenth of the past is forgotten.
const RING: usize = 10;
const BUCKETS: u64 = RING as u64;

/// Bits of each of the two counts.
const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// Bits of the number of the span of time that a bucket stands for, modulo.
const TAG_SHIFT: u32 = 2 * COUNT_BITS;
const TAG_MASK: u64 = u64::MAX >> TAG_SHIFT;

const REQUEST: u64 = 1;
const FAILURE: u64 = 1 << COUNT_BITS;

/// Requests in one bucket before both its counts are halved. Half of what fits: no number of
/// threads that add at the same moment can carry one count into the next.
const FULL: u64 = 1 << (COUNT_BITS - 1);

/// Most requests that are taken up for one bucket: with those that are in it they fit.
const MAX_TAKEN_UP: u64 = FULL / 4;

/// What was counted in one tenth of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowPart {
    /// When that tenth began.
    pub at: Nanos,
    /// Requests that ended in it.
    pub requests: u32,
    /// Of these, those that failed.
    pub failures: u32,
}

/// Parts that a window has.
pub(super) const MAX_PARTS: usize = RING;

/// A ring of buckets, each of them one word, so that counting is one atomic addition:
///
/// ```text
///  63          40 39      20 19       0
/// | tag of epoch | failures | requests |
/// ```
///
/// An epoch is a span of a tenth of the window, numbered since time zero; it owns the bucket
/// `epoch % 10`. A bucket whose tag is not that of the epoch it is asked for is empty.
#[derive(Debug)]
pub(super) struct RollingWindow {
    buckets: [AtomicU64; RING],
}

impl RollingWindow {
    pub(super) fn new() -> RollingWindow {
        RollingWindow { buckets: from_fn(|_| AtomicU64::new(0)) }
    }

    /// Counts one request.
    #[inline]
    pub(super) fn record(&self, window: Duration, now: Nanos, verdict: Verdict) {
        let one = match verdict {
            Verdict::Success => REQUEST,
            Verdict::Failure => REQUEST + FAILURE,
        };
        self.add(epoch_at(window, now), one);
    }

    #[inline]
    fn add(&self, epoch: u64, counts: u64) {
        let bucket = self.bucket(epoch);
        let before = bucket.fetch_add(counts, Ordering::Relaxed);
        if tag_of(before) != epoch & TAG_MASK {
            begin_epoch(bucket, epoch, counts);
        } else if before & COUNT_MASK >= FULL {
            halve(bucket, before);
        }
    }

    /// What was counted in the nine epochs before that of `now`, and in it.
    pub(super) fn sum(&self, window: Duration, now: Nanos) -> HostWindow {
        let newest = epoch_at(window, now);
        let mut sum = HostWindow::default();
        for epoch in newest.saturating_sub(BUCKETS - 1)..=newest {
            let (requests, failures) = self.counts(epoch);
            sum.requests += requests;
            sum.successes += requests.saturating_sub(failures);
        }
        sum
    }

    /// The parts of what `sum` tells that are not empty, the oldest first.
    pub(super) fn parts(&self, window: Duration, now: Nanos) -> Vec<WindowPart> {
        let newest = epoch_at(window, now);
        let length = epoch_length(window);
        let part = |epoch: u64| {
            let (requests, failures) = self.counts(epoch);
            let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
            let at = Nanos(epoch.saturating_mul(length));
            WindowPart { at, requests: narrow(requests), failures: narrow(failures) }
        };
        let all = (newest.saturating_sub(BUCKETS - 1)..=newest).map(part);
        all.filter(|part| part.requests > 0).collect()
    }

    /// Counts what another process has counted; what is not of the last `window` is left out. It is
    /// forgotten no later than that process would have, and at most a tenth of the window earlier.
    pub(super) fn take_up(&self, window: Duration, now: Nanos, part: WindowPart) {
        let (epoch, newest) = (epoch_at(window, part.at), epoch_at(window, now));
        if epoch > newest || newest - epoch >= BUCKETS {
            return;
        }
        let (mut requests, mut failures) = (u64::from(part.requests), u64::from(part.failures));
        while requests > MAX_TAKEN_UP {
            (requests, failures) = (requests / 2, failures / 2);
        }
        self.add(epoch, requests * REQUEST + failures.min(requests) * FAILURE);
    }

    /// Requests and failures of an epoch.
    fn counts(&self, epoch: u64) -> (u64, u64) {
        let word = self.bucket(epoch).load(Ordering::Relaxed);
        if tag_of(word) != epoch & TAG_MASK {
            return (0, 0);
        }
        (word & COUNT_MASK, word >> COUNT_BITS & COUNT_MASK)
    }

    /// Forgets everything. A request counted at the same moment may stay.
    pub(super) fn clear(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Ordering::Relaxed);
        }
    }

    fn bucket(&self, epoch: u64) -> &AtomicU64 {
        &self.buckets[(epoch % BUCKETS) as usize]
    }
}

/// Gives a bucket of the past to this epoch; what was just added to its old counts is counted anew.
#[cold]
fn begin_epoch(bucket: &AtomicU64, epoch: u64, counts: u64) {
    let tag = epoch & TAG_MASK;
    let begin = |word| if tag_of(word) == tag { word + counts } else { tag << TAG_SHIFT | counts };
    // The closure never declines.
    let _ = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| Some(begin(word)));
}

/// Halves both counts: their ratio is kept, and older requests weigh less.
#[cold]
fn halve(bucket: &AtomicU64, seen: u64) {
    let is_full = |word| tag_of(word) == tag_of(seen) && word & COUNT_MASK >= FULL;
    let halved = |word: u64| {
        let requests = (word & COUNT_MASK) / 2;
        let failures = (word >> COUNT_BITS & COUNT_MASK) / 2;
        tag_of(word) << TAG_SHIFT | failures << COUNT_BITS | requests
    };
    // Declined: another thread did it.
    let _ = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
        is_full(word).then(|| halved(word))
    });
}

fn epoch_at(window: Duration, now: Nanos) -> u64 {
    now.0 / epoch_length(window)
}

/// In nanoseconds, never zero.
fn epoch_length(window: Duration) -> u64 {
    let window_nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
    (window_nanos / BUCKETS).max(1)
}

fn tag_of(word: u64) -> u64 {
    word >> TAG_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::thread;

    const WINDOW: Duration = Duration::from_secs(10);

    fn seconds(seconds: u64) -> Nanos {
        Nanos::default().after(Duration::from_secs(seconds))
    }

    #[test]
    fn forgets_a_tenth_at_a_time() {
        let window = RollingWindow::new();
        for second in 100..110 {
            window.record(WINDOW, seconds(second), Verdict::Failure);
            window.record(WINDOW, seconds(second), Verdict::Success);
        }
        for (second, expected) in [(109, 10), (110, 9), (115, 4), (118, 1), (119, 0), (500, 0)] {
            let sum = window.sum(WINDOW, seconds(second));
            assert_eq!(sum, HostWindow { requests: 2 * expected, successes: expected }, "{second}");
        }
    }

    #[test]
    fn strange_windows_and_times_are_counted() {
        let times = [Nanos(0), Nanos(9), Nanos(u64::MAX)];
        for length in [Duration::ZERO, Duration::from_nanos(1), WINDOW, Duration::MAX] {
            for now in times {
                let window = RollingWindow::new();
                window.record(length, now, Verdict::Failure);
                let expected = HostWindow { requests: 1, successes: 0 };
                assert_eq!(window.sum(length, now), expected, "{length:?} {now:?}");
            }
        }
    }

    #[test]
    fn a_change_of_length_begins_anew() {
        let window = RollingWindow::new();
        window.record(WINDOW, seconds(1000), Verdict::Failure);
        let longer = Duration::from_secs(100);
        window.record(longer, seconds(1000), Verdict::Success);
        let expected = HostWindow { requests: 1, successes: 1 };
        assert_eq!(window.sum(longer, seconds(1001)), expected);
    }

    #[test]
    fn a_full_bucket_keeps_its_ratio() {
        let window = RollingWindow::new();
        for n in 0..3 * FULL {
            let verdict = if n % 4 == 0 { Verdict::Failure } else { Verdict::Success };
            window.record(WINDOW, seconds(7), verdict);
        }
        let sum = window.sum(WINDOW, seconds(7));
        assert!((FULL / 2..=FULL + 1).contains(&sum.requests), "{sum:?}");
        let rate = sum.successes as f64 / sum.requests as f64;
        assert!((rate - 0.75).abs() < 0.001, "{sum:?}");
    }

    #[test]
    fn another_window_goes_on_with_what_this_one_has_counted() {
        let window = RollingWindow::new();
        for second in 100..110 {
            (0..second).for_each(|_| window.record(WINDOW, seconds(second), Verdict::Success));
            window.record(WINDOW, seconds(second), Verdict::Failure);
        }
        for now in [109, 110, 114, 118, 119, 500] {
            let next = RollingWindow::new();
            next.record(WINDOW, seconds(now), Verdict::Failure);
            let parts = window.parts(WINDOW, seconds(109));
            parts.into_iter().for_each(|part| next.take_up(WINDOW, seconds(now), part));
            let own = HostWindow { requests: 1, successes: 0 };
            let earlier = window.sum(WINDOW, seconds(now));
            let expected = HostWindow {
                requests: own.requests + earlier.requests,
                successes: own.successes + earlier.successes,
            };
            assert_eq!(next.sum(WINDOW, seconds(now)), expected, "{now}");
        }
        assert!(window.parts(WINDOW, seconds(500)).is_empty());
    }

    #[test]
    fn what_nobody_can_have_counted_is_bounded() {
        let now = seconds(100);
        let part = |at, requests, failures| WindowPart { at, requests, failures };
        let cases = [
            (part(now, 10, 99), HostWindow { requests: 10, successes: 0 }),
            (part(Nanos::NEVER, 10, 1), HostWindow::default()),
            (part(Nanos(0), 10, 1), HostWindow::default()),
            (part(now, 0, 7), HostWindow::default()),
        ];
        for (part, expected) in cases {
            let window = RollingWindow::new();
            window.take_up(WINDOW, now, part);
            assert_eq!(window.sum(WINDOW, now), expected, "{part:?}");
        }
        let window = RollingWindow::new();
        (0..100).for_each(|_| window.take_up(WINDOW, now, part(now, u32::MAX, u32::MAX / 4)));
        let sum = window.sum(WINDOW, now);
        assert!(sum.requests <= 2 * FULL, "{sum:?}");
        let rate = sum.successes as f64 / sum.requests as f64;
        assert!((rate - 0.75).abs() < 0.001, "{sum:?}");
    }

    #[test]
    fn threads_lose_no_request() {
        const THREADS: u64 = 8;
        const EACH: u64 = 20_000;
        let window = RollingWindow::new();
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for n in 0..EACH {
                        // Ten epochs, each begun by whichever thread comes first.
                        let now = seconds(1000 + n * 10 / EACH);
                        window.record(WINDOW, now, Verdict::Failure);
                    }
                });
            }
        });
        let expected = HostWindow { requests: THREADS * EACH, successes: 0 };
        assert_eq!(window.sum(WINDOW, seconds(1009)), expected);
    }

    #[test]
    fn an_epoch_that_another_thread_began_is_kept() {
        let epoch = 1234;
        let bucket = AtomicU64::new(99);
        begin_epoch(&bucket, epoch, REQUEST + FAILURE);
        begin_epoch(&bucket, epoch, REQUEST);
        let expected = (epoch << TAG_SHIFT) + 2 * REQUEST + FAILURE;
        assert_eq!(bucket.into_inner(), expected);
    }

    proptest! {
        #[test]
        fn sums_are_those_of_a_list(
            steps in proptest::collection::vec((0..3_000_000_000_u64, any::<bool>()), 1..200),
        ) {
            let window = RollingWindow::new();
            let mut now = Nanos(12_345_678_901);
            let mut list = Vec::new();
            for (step, failed) in steps {
                now = now.after(Duration::from_nanos(step));
                let verdict = if failed { Verdict::Failure } else { Verdict::Success };
                window.record(WINDOW, now, verdict);
                list.push((now, failed));
                let first_second = (now.0 / 1_000_000_000).saturating_sub(9);
                let recent = list.iter().filter(|(at, _)| *at >= seconds(first_second));
                let (mut requests, mut successes) = (0, 0);
                for (_, failed) in recent {
                    requests += 1;
                    successes += u64::from(!failed);
                }
                prop_assert_eq!(window.sum(WINDOW, now), HostWindow { requests, successes });
            }
        }
    }
}
