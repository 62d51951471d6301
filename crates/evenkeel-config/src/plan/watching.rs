//! The part of a plan that says what is looked at more closely.

use crate::sections::{Recorder, Tracing};
use evenkeel_core::plan::{CapturePlan, RecorderPlan, TracingPlan};
use std::path::PathBuf;

/// Which exchanges are kept for a second look.
pub(super) fn recorder(recorder: &Recorder) -> RecorderPlan {
    let capture = &recorder.capture;
    RecorderPlan {
        size: recorder.size.as_count(),
        slow: recorder.slow.0,
        capture: CapturePlan {
            sample: capture.sample.0,
            max_body_bytes: usize::try_from(capture.max_body.0).unwrap_or(usize::MAX),
            redact: capture.redact.iter().map(|name| name.0.clone()).collect(),
        },
    }
}

/// Where spans go; nowhere without an endpoint.
pub(super) fn tracing(tracing: &Tracing) -> Option<TracingPlan> {
    let endpoint = tracing.otlp.endpoint.0.trim_end_matches('/').to_owned();
    let sample = tracing.otlp.sample.0;
    let ca_file = &tracing.otlp.ca_file.0;
    let ca_file = (!ca_file.is_empty()).then(|| PathBuf::from(ca_file));
    let headers = tracing.otlp.headers.0.iter();
    let headers = headers.map(|(name, value)| (name.0.clone(), value.0.clone())).collect();
    (!endpoint.is_empty()).then_some(TracingPlan { endpoint, headers, ca_file, sample })
}
