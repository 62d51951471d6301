//! JSON and HTML about the state of things, in the shapes that users of older products read.
//! Pure: whoever answers a request passes what it has read.

mod health;
mod health_page;
mod metrics_json;
mod report;

pub use health::{HealthStatus, health_json};
pub use health_page::health_html;
pub use metrics_json::metrics_json;
pub use report::report_json;

use evenkeel_core::record::TimeStamp;

/// RFC 3339 text in UTC of a moment in nanoseconds since 1970-01-01T00:00:00Z.
pub(crate) fn time_text(unix_nanos: u64) -> String {
    String::from_utf8_lossy(TimeStamp::default().at(unix_nanos)).into_owned()
}
