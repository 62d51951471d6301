//! The pages that anybody may mount: health, metrics, report. The admin listener answers with them,
//! and so do mounts on traffic listeners.

use crate::documents::{HealthStatus, health_html, health_json, metrics_json, report_json};
use crate::metrics::{self, Format};
use crate::numbers::Numbers;

/// The Content-Security-Policy of a page that has nothing but its own style.
const STYLE_ONLY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
const JSON: &str = "application/json";

/// One page as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    /// Of a page for browsers.
    pub(crate) policy: Option<&'static str>,
    pub(crate) body: String,
}

/// The state of all backends: a page for browsers, JSON for everybody else.
pub(crate) fn health(numbers: &Numbers, accept: Option<&str>, down_status: u16) -> Page {
    let status = |state| match state {
        HealthStatus::Healthy | HealthStatus::Degraded => 200,
        HealthStatus::Unhealthy => down_status,
    };
    let browser = accept.is_some_and(|accept| accept.contains("text/html"));
    numbers.render(|view| {
        let (state, document) = health_json(view);
        let status = status(state);
        if browser {
            let content_type = "text/html; charset=utf-8";
            let body = health_html(view);
            return Page { status, content_type, policy: Some(STYLE_ONLY), body };
        }
        Page { status, content_type: JSON, policy: None, body: document.to_string() }
    })
}

/// All counters.
pub(crate) fn metrics(numbers: &Numbers, format: Format) -> Page {
    let body = numbers.render(|view| match format {
        Format::Prometheus => metrics::prometheus(view),
        Format::OpenMetrics => metrics::openmetrics(view),
        Format::Json => metrics_json(view).to_string(),
    });
    Page { status: 200, content_type: format.content_type(), policy: None, body }
}

/// Who serves which host.
pub(crate) fn report(numbers: &Numbers) -> Page {
    let body = numbers.render(|view| report_json(view).to_string());
    Page { status: 200, content_type: JSON, policy: None, body }
}
