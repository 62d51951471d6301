//! Exchanges as a message of OTLP in its JSON form (opentelemetry.io/docs/specs/otlp, protocol 1.x;
//! names by the semantic conventions of HTTP 1.2x): ids in hexadecimal, large numbers as text.

use evenkeel_proxy::detail::{Finished, FinishedTry, TryOutcome};
use evenkeel_proxy::trace::Traced;
use serde_json::{Value, json};

/// Kinds of spans.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
/// States of spans.
const UNSET: u8 = 0;
const ERROR: u8 = 2;
/// A status from here on is an error of the server.
const FIRST_ERROR: u16 = 500;

/// One message with the spans of these exchanges.
pub(super) fn message(batch: &[Box<Finished>]) -> Value {
    let spans: Vec<Value> = batch.iter().flat_map(|finished| spans(finished)).collect();
    let service = [text("service.name", "evenkeel"), text("service.version", VERSION)];
    json!({
        "resourceSpans": [{
            "resource": { "attributes": service },
            "scopeSpans": [{ "scope": { "name": "evenkeel", "version": VERSION }, "spans": spans }],
        }]
    })
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn spans(finished: &Finished) -> Vec<Value> {
    let Some(traced) = &finished.traced else { return Vec::new() };
    let tries = finished.tries.iter().zip(&traced.tries).enumerate();
    let tries = tries.map(|(at, (tried, span))| one_try(finished, traced, (at, tried, *span)));
    std::iter::once(exchange(finished, traced)).chain(tries).collect()
}

fn exchange(finished: &Finished, traced: &Traced) -> Value {
    let began = finished.ended_unix.saturating_sub(finished.total);
    let mut attributes = vec![
        text("http.request.method", &finished.method),
        text("url.path", &finished.path),
        text("server.address", &finished.host),
        text("client.address", &finished.client_ip),
        number("http.response.status_code", finished.status.into()),
        number("http.request.body.size", finished.bytes_in),
        number("http.response.body.size", finished.bytes_out),
        text("evenkeel.request_id", &finished.id),
        text("evenkeel.listener", &finished.listener),
    ];
    attributes.extend(finished.route.as_deref().map(|route| text("evenkeel.route", route)));
    attributes.extend(finished.pool.as_deref().map(|pool| text("evenkeel.pool", pool)));
    attributes.extend(finished.queue.map(|queue| number("evenkeel.queue_ns", queue)));
    let code = finished.failure.map(|failure| failure.code());
    attributes.extend(code.map(|code| text("error.type", code)));
    let failed = code.is_some() || finished.status >= FIRST_ERROR;
    let name = finished.route.as_deref().unwrap_or("no route");
    json!({
        "traceId": format!("{:032x}", traced.trace),
        "spanId": format!("{:016x}", traced.span),
        "parentSpanId": traced.parent.map(|span| format!("{span:016x}")).unwrap_or_default(),
        "name": format!("{} {name}", finished.method),
        "kind": SERVER,
        "startTimeUnixNano": began.to_string(),
        "endTimeUnixNano": finished.ended_unix.to_string(),
        "attributes": attributes,
        "status": { "code": if failed { ERROR } else { UNSET } },
    })
}

fn one_try(
    finished: &Finished,
    traced: &Traced,
    (at, tried, span): (usize, &FinishedTry, u64),
) -> Value {
    let began = finished.ended_unix.saturating_sub(finished.total);
    let mut attributes = vec![
        text("http.request.method", &finished.method),
        text("server.address", &tried.backend),
        number("http.request.resend_count", at as u64),
    ];
    let failed = match tried.outcome {
        TryOutcome::Status(status) => {
            attributes.push(number("http.response.status_code", status.into()));
            status >= FIRST_ERROR
        }
        TryOutcome::Code(code) => {
            attributes.push(text("error.type", code));
            true
        }
    };
    attributes.extend(tried.connect.map(|connect| number("evenkeel.connect_ns", connect)));
    // The last one's response was read to the end of the exchange.
    let is_last = at + 1 == finished.tries.len();
    let end = if is_last && !failed { finished.total } else { tried.end };
    json!({
        "traceId": format!("{:032x}", traced.trace),
        "spanId": format!("{span:016x}"),
        "parentSpanId": format!("{:016x}", traced.span),
        "name": format!("try {}", tried.backend),
        "kind": CLIENT,
        "startTimeUnixNano": began.saturating_add(tried.start).to_string(),
        "endTimeUnixNano": began.saturating_add(end).to_string(),
        "attributes": attributes,
        "status": { "code": if failed { ERROR } else { UNSET } },
    })
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn number(key: &str, value: u64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}
