//! What a run came to: numbers, as JSON, and put together from parts.

use crate::{LatencyHistogram, LoadError};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The first status that counts as a failure.
pub(crate) const FIRST_FAILURE: u16 = 400;

/// The numbers of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The target.
    pub url: String,
    /// From the start to the end of the last request.
    pub elapsed: Duration,
    /// Bytes of all bodies.
    pub bytes: u64,
    /// Of all requests, the failed ones included.
    pub latency: LatencyHistogram,
    /// Of an open loop: from when each request was due to when it was sent. If this is not far
    /// below `latency`, the generator was what was measured.
    pub lateness: LatencyHistogram,
    /// How many answers had which status.
    pub statuses: BTreeMap<u16, u64>,
    /// How many answers came from whom.
    pub backends: BTreeMap<String, u64>,
    /// Requests without a complete answer.
    pub errors: BTreeMap<LoadError, ErrorCount>,
    /// Connections opened.
    pub connections: u64,
    /// True if the run was stopped before its end.
    pub stopped: bool,
    /// Why not all rows are in the CSV, if that is so.
    pub csv_fault: Option<String>,
}

/// How often a request got no complete answer for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorCount {
    /// How often.
    pub count: u64,
    /// What was said the first time.
    pub text: Option<String>,
}

impl Report {
    /// Requests sent.
    pub fn requests(&self) -> u64 {
        self.latency.count()
    }

    /// Those that got no complete answer, or one with a status of 400 and above.
    pub fn failed(&self) -> u64 {
        let errors: u64 = self.errors.values().map(|error| error.count).sum();
        let statuses = self.statuses.range(FIRST_FAILURE..);
        errors + statuses.map(|(_, count)| count).sum::<u64>()
    }

    /// The others.
    pub fn succeeded(&self) -> u64 {
        self.requests() - self.failed()
    }

    /// Requests per second.
    #[expect(clippy::cast_precision_loss, reason = "numbers of requests are far below 2^52")]
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.requests() as f64 / seconds } else { 0.0 }
    }

    /// Adds a later part of the same run.
    pub fn add(&mut self, part: Report) {
        self.elapsed += part.elapsed;
        self.bytes += part.bytes;
        self.connections += part.connections;
        self.stopped |= part.stopped;
        self.csv_fault = self.csv_fault.take().or(part.csv_fault);
        self.latency.merge(&part.latency);
        self.lateness.merge(&part.lateness);
        for (status, count) in part.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (name, count) in part.backends {
            *self.backends.entry(name).or_default() += count;
        }
        for (kind, other) in part.errors {
            let error = self.errors.entry(kind).or_default();
            error.count += other.count;
            error.text = error.text.take().or(other.text);
        }
    }

    /// The summary that later runs are compared with.
    pub fn to_json(&self) -> Value {
        let latency = &self.latency;
        let ms = |share| millis(latency.percentile(share));
        let statuses: Map<_, _> = self
            .statuses
            .iter()
            .map(|(status, count)| (status.to_string(), json!(count)))
            .collect();
        let errors: Map<_, _> = self
            .errors
            .iter()
            .map(|(kind, error)| (kind.code().to_owned(), json!(error.count)))
            .collect();
        json!({
            "url": self.url,
            "requests": self.requests(),
            "succeeded": self.succeeded(),
            "failed": self.failed(),
            "duration_s": self.elapsed.as_secs_f64(),
            "rps": self.rate(),
            "bytes": self.bytes,
            "latency_ms": {
                "mean": millis(latency.mean()),
                "p50": ms(0.5),
                "p90": ms(0.9),
                "p95": ms(0.95),
                "p99": ms(0.99),
                "p999": ms(0.999),
                "max": millis(latency.max()),
            },
            "status_codes": statuses,
            "backends": self.backends,
            "errors": errors,
        })
    }
}

/// A duration in milliseconds, whole nanoseconds kept.
#[expect(clippy::cast_precision_loss, reason = "exact below 104 days")]
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(latencies: &[u64], statuses: &[(u16, u64)]) -> Report {
        let mut report = Report { url: "http://a/".to_owned(), ..Report::default() };
        report.elapsed = Duration::from_secs(2);
        report.statuses = statuses.iter().copied().collect();
        latencies.iter().for_each(|ms| report.latency.record(Duration::from_millis(*ms)));
        report
    }

    #[test]
    fn failures_are_errors_and_statuses() {
        let mut report = report(&[1, 2, 3, 4, 5], &[(200, 1), (399, 1), (400, 1), (500, 1)]);
        let timeout = ErrorCount { count: 1, text: None };
        report.errors.insert(LoadError::Timeout, timeout);
        assert_eq!((report.requests(), report.succeeded(), report.failed()), (5, 2, 3));
        let json = report.to_json();
        assert_eq!(json["errors"], json!({"timeout": 1}));
        assert_eq!(json["status_codes"]["500"], 1);
        assert_eq!(json["rps"], 2.5);
        assert_eq!(json["latency_ms"]["max"], 5.0);
    }

    #[test]
    fn parts_add_up() {
        let mut whole = report(&[1, 2], &[(200, 2)]);
        whole.add(report(&[3], &[(200, 1)]));
        assert_eq!(whole.requests(), 3);
        assert_eq!(whole.elapsed, Duration::from_secs(4));
        assert_eq!(whole.statuses, BTreeMap::from([(200, 3)]));
    }

    #[test]
    fn an_empty_run_has_numbers_too() {
        let json = Report::default().to_json();
        assert_eq!((json["requests"].as_u64(), json["rps"].as_f64()), (Some(0), Some(0.0)));
    }
}
