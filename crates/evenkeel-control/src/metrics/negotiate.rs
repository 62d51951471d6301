//! Which format an answer has: by `?format=`, else by `Accept` (RFC 9110 section 12.5.1), else the
//! default of the place that was asked.

use evenkeel_core::accept::{Liking, MediaType, Precision, likings};

/// The formats of `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The JSON document.
    Json,
}

impl Format {
    /// All of them.
    pub const ALL: &'static [Format] = &[Format::Prometheus, Format::OpenMetrics, Format::Json];

    /// By its name in queries and in the configuration.
    pub fn parse(name: &str) -> Option<Format> {
        match name {
            "prometheus" => Some(Format::Prometheus),
            "openmetrics" => Some(Format::OpenMetrics),
            "json" => Some(Format::Json),
            _ => None,
        }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Json => "application/json",
        }
    }

    fn media_type(self) -> MediaType {
        match self {
            Format::Prometheus => ("text", "plain"),
            Format::OpenMetrics => ("application", "openmetrics-text"),
            Format::Json => ("application", "json"),
        }
    }
}

/// The format to answer in. `query_format` is the value of `?format=`, which beats `Accept` if it
/// is known; among formats that the client likes alike, one that it names beats one that it merely
/// admits, then `default` wins.
pub fn negotiate(query_format: Option<&str>, accept: Option<&str>, default: Format) -> Format {
    if let Some(asked) = query_format.and_then(Format::parse) {
        return asked;
    }
    let accept = accept.unwrap_or("*/*");
    // Of equals `max_by_key` takes the last one: in reverse, the first of the list.
    let rated = Format::ALL.iter().rev().filter_map(|format| {
        let [liking] = likings(accept.as_bytes(), &[format.media_type()]);
        let Liking { quality, precision, .. } = liking?;
        (quality > 0).then_some(((quality, precision, *format == default), *format))
    });
    rated.max_by_key(|(rating, _)| *rating).map_or(default, |(_, format)| format)
}

/// Whether an `Accept` admits `application/json`, or a problem; without one everything is admitted.
pub(crate) fn accepts_json(accept: Option<&str>) -> bool {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return true };
    let types = [Format::Json.media_type(), ("application", "problem+json")];
    let [json, problem] = likings(accept.as_bytes(), &types);
    let is_named = |it: Liking| it.precision == Precision::Exact;
    json.is_some_and(|it| it.quality > 0) || problem.is_some_and(is_named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Format::{Json, OpenMetrics, Prometheus};

    /// What Prometheus 2.42 and 3.x send.
    const SCRAPER: &str = "application/openmetrics-text;version=1.0.0;q=0.5,application/\
        openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    const NEW_SCRAPER: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;\
        q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
        text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

    #[test]
    fn the_client_gets_what_it_likes_best() {
        let cases = [
            (None, Prometheus, Prometheus),
            (None, Json, Json),
            (Some("*/*"), Json, Json),
            (Some(""), Json, Json),
            (Some(BROWSER), Json, Json),
            (Some(SCRAPER), Json, OpenMetrics),
            (Some(NEW_SCRAPER), Prometheus, OpenMetrics),
            (Some("text/plain"), Json, Prometheus),
            (Some("TEXT/Plain; charset=utf-8"), Json, Prometheus),
            (Some("text/*"), Json, Prometheus),
            (Some("application/json"), Prometheus, Json),
            (Some("application/json;q=0.1, text/plain;q=0.9"), Json, Prometheus),
            (Some("application/json, */*"), Prometheus, Json),
            (Some("application/json, text/plain, */*"), Prometheus, Prometheus),
            (Some("application/json;q=0.5, */*;q=0.8"), Json, Prometheus),
            (Some("application/*"), Json, Json),
            (Some("*/*, application/json;q=0"), Json, Prometheus),
            (Some("application/json ; q = 0.001"), Prometheus, Json),
            (Some("image/png"), Prometheus, Prometheus),
            (Some("*/*;q=0"), Json, Json),
            (Some("application/json;q=2, text/plain;q=0.1"), Json, Prometheus),
            (Some("application/json;q=0.12345"), Prometheus, Prometheus),
            (Some(",;=,/,q=1,json,\u{1b}"), Json, Json),
        ];
        for (accept, default, expected) in cases {
            assert_eq!(negotiate(None, accept, default), expected, "{accept:?} {default:?}");
        }
    }

    #[test]
    fn a_query_beats_the_field_if_it_is_known() {
        let cases = [
            ("json", Json),
            ("prometheus", Prometheus),
            ("openmetrics", OpenMetrics),
            ("JSON", Prometheus),
            ("", Prometheus),
            ("yaml", Prometheus),
        ];
        for (query, expected) in cases {
            assert_eq!(negotiate(Some(query), Some("text/plain"), Json), expected, "{query}");
        }
    }

    #[test]
    fn json_is_refused_only_if_it_is_excluded() {
        let cases = [
            (None, true),
            (Some(""), true),
            (Some(BROWSER), true),
            (Some("application/*"), true),
            (Some("application/problem+json"), true),
            (Some("text/html"), false),
            (Some("*/*, application/json;q=0"), false),
        ];
        for (accept, expected) in cases {
            assert_eq!(accepts_json(accept), expected, "{accept:?}");
        }
    }
}
