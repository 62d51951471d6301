//! What is seen of a pool, second by second.

use crate::time::Nanos;
use std::collections::VecDeque;
use std::time::Duration;

/// Seconds that are kept at most, whatever the plan asks for.
const MAX_SAMPLES: usize = 4_096;

/// Time over which the percentiles of `Signals` are taken.
pub const RECENT: Duration = Duration::from_secs(15);

/// What is seen of a pool at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signals {
    /// Requests that ended, since any time.
    pub requests: u64,
    /// Of these, failures.
    pub errors: u64,
    /// Requests that run now.
    pub in_flight: u32,
    /// Requests that wait because there is no backend.
    pub waiting: u32,
    /// Wait in the queue over the last seconds, 95th percentile.
    pub queue_wait: Duration,
    /// Response time over the last seconds, 95th percentile.
    pub p95: Duration,
    /// Backends that take traffic, or could.
    pub ready: u32,
    /// Backends that are on their way.
    pub starting: u32,
    /// Of those that are ready: they are not ours, and stay.
    pub fixed: u32,
    /// Why no backend may go now, if that is so.
    pub keeps: Option<String>,
}

/// Totals at one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub(super) at: Nanos,
    pub(super) requests: u64,
    pub(super) errors: u64,
}

#[derive(Clone, Copy, Debug)]
struct Second {
    at: Nanos,
    requests: u64,
    errors: u64,
    in_flight: u32,
    queue_wait: Duration,
    p95: Duration,
}

/// The last signals.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    keep: Duration,
    seconds: VecDeque<Second>,
}

/// Signals over a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    /// What the window really spans.
    span: Duration,
    asked: Duration,
    pub(super) requests: u64,
    errors: u64,
    /// Mean.
    pub(super) in_flight: f64,
    /// Most.
    pub(super) queue_wait: Duration,
    /// Most.
    pub(super) p95: Duration,
}

impl Samples {
    pub(super) fn keeping(keep: Duration) -> Samples {
        Samples { keep, seconds: VecDeque::new() }
    }

    /// Keeps so much from now on.
    pub(super) fn keep(&mut self, keep: Duration) {
        self.keep = keep;
    }

    pub(super) fn push(&mut self, at: Nanos, signals: &Signals) {
        let Signals { requests, errors, in_flight, queue_wait, p95, .. } = *signals;
        self.seconds.push_back(Second { at, requests, errors, in_flight, queue_wait, p95 });
        // One older than the window is its beginning.
        while self.seconds.len() > MAX_SAMPLES
            || self.seconds.get(1).is_some_and(|it| at.duration_since(it.at) >= self.keep)
        {
            self.seconds.pop_front();
        }
    }

    pub(super) fn over(&self, window: Duration, now: Nanos) -> Sample {
        let inside = |it: &&Second| now.duration_since(it.at) < window;
        let seconds: Vec<&Second> = self.seconds.iter().filter(inside).collect();
        let Some(last) = seconds.last() else { return Sample::default() };
        let outside = self.seconds.iter().rev().find(|it| !inside(it));
        let first = outside.or(self.seconds.front()).unwrap_or(last);
        let total: f64 = seconds.iter().map(|it| f64::from(it.in_flight)).sum();
        Sample {
            span: last.at.duration_since(first.at),
            asked: window,
            requests: last.requests.saturating_sub(first.requests),
            errors: last.errors.saturating_sub(first.errors),
            in_flight: total / seconds.len() as f64,
            queue_wait: seconds.iter().map(|it| it.queue_wait).max().unwrap_or_default(),
            p95: seconds.iter().map(|it| it.p95).max().unwrap_or_default(),
        }
    }
}

impl Sample {
    /// The same with what was counted from `before` on.
    pub(super) fn counting(self, now: Counted, before: Counted) -> Sample {
        let requests = now.requests.saturating_sub(before.requests);
        let errors = now.errors.saturating_sub(before.errors).min(requests);
        Sample { span: now.at.duration_since(before.at), requests, errors, ..self }
    }

    pub(super) fn rps(&self) -> f64 {
        if self.span.is_zero() { 0.0 } else { self.requests as f64 / self.span.as_secs_f64() }
    }

    pub(super) fn error_rate(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.errors as f64 / self.requests as f64 }
    }

    /// True if there was data for (nearly) all of the window.
    pub(super) fn is_full(&self) -> bool {
        self.span.as_secs_f64() >= self.asked.as_secs_f64() * 0.8
    }

    pub(super) fn listed(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("requests", self.requests as f64),
            ("errors", self.errors as f64),
            ("rps", (self.rps() * 100.0).round() / 100.0),
            ("in_flight", (self.in_flight * 100.0).round() / 100.0),
            ("queue_wait_ms", millis(self.queue_wait)),
            ("p95_ms", millis(self.p95)),
        ]
    }
}

/// With three digits behind the point.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
