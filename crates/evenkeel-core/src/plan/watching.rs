//! The part of a plan that says what is looked at more closely.

use std::path::PathBuf;
use std::time::Duration;

/// Which exchanges are kept for a second look.
#[derive(Clone, Debug, PartialEq)]
pub struct RecorderPlan {
    /// Exchanges kept; 0 = none.
    pub size: usize,
    /// One that takes longer is slow.
    pub slow: Duration,
    /// Requests kept with what they said.
    pub capture: CapturePlan,
}

impl RecorderPlan {
    /// Keeps nothing.
    pub fn off() -> RecorderPlan {
        let capture = CapturePlan { sample: 0.0, max_body_bytes: 0, redact: Vec::new() };
        RecorderPlan { size: 0, slow: Duration::MAX, capture }
    }
}

/// Which requests are kept with what they said.
#[derive(Clone, Debug, PartialEq)]
pub struct CapturePlan {
    /// Share of exchanges, 0 to 1; 0 = none.
    pub sample: f64,
    /// Bytes of a body that are kept.
    pub max_body_bytes: usize,
    /// Names in lower case of fields whose values are not kept, besides those that always hold
    /// secrets.
    pub redact: Vec<String>,
}

/// Where spans of exchanges go.
#[derive(Clone, Debug, PartialEq)]
pub struct TracingPlan {
    /// Base URL of a collector; `/v1/traces` is appended.
    pub endpoint: String,
    /// Sent with every message: names and values, which may be secrets.
    pub headers: Vec<(String, String)>,
    /// Authorities that a collector behind TLS is verified by; `None` = those of the system.
    pub ca_file: Option<PathBuf>,
    /// Share of exchanges recorded that come without a trace of their own, 0 to 1.
    pub sample: f64,
}

impl super::Plan {
    /// True if somebody may look at exchanges besides the log.
    pub fn watches(&self) -> bool {
        self.recorder.size > 0 || self.tracing.is_some()
    }
}
