//! Exchanges as an HTTP Archive 1.2 (<http://www.softwareishard.com/blog/har-12-spec/>), for tools
//! that draw waterfalls.

use evenkeel_api::{Captured, RecordedRequest, Try};
use evenkeel_core::failure::Failure;
use serde_json::{Value, json};
use std::sync::Arc;

/// HAR for "does not apply" and "is not known".
const UNKNOWN: i64 = -1;

/// An archive of these exchanges, the oldest first as the format wants it.
pub(super) fn archive(newest_first: &[Arc<RecordedRequest>]) -> Value {
    let entries: Vec<Value> = newest_first.iter().rev().map(|one| entry(one)).collect();
    json!({
        "log": {
            "version": "1.2",
            "creator": { "name": "evenkeel", "version": env!("CARGO_PKG_VERSION") },
            "pages": [],
            "entries": entries,
        }
    })
}

fn entry(one: &RecordedRequest) -> Value {
    let mut comment = vec![format!("{:?} {}", one.kept, one.id).to_lowercase()];
    comment.extend(one.failure.clone());
    comment.extend(one.hint.clone());
    json!({
        "startedDateTime": one.time,
        "time": one.total_ms,
        "request": request(one),
        "response": {
            "status": one.status,
            "statusText": "",
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": [],
            "content": { "size": one.bytes_out, "mimeType": "" },
            "redirectURL": "",
            "headersSize": UNKNOWN,
            "bodySize": one.bytes_out,
        },
        "cache": {},
        "timings": timings(one),
        "comment": comment.join("; "),
        "_requestId": one.id,
        "_kept": one.kept,
        "_failure": one.failure,
        "_route": one.route,
        "_pool": one.pool,
        "_backend": one.backend,
        "_tries": one.tries,
    })
}

fn request(one: &RecordedRequest) -> Value {
    let captured = one.captured.as_ref();
    let mut request = json!({
        "method": one.method,
        "url": url(one),
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": captured.map(|captured| json!(captured.headers)).unwrap_or(json!([])),
        "queryString": [],
        "headersSize": UNKNOWN,
        "bodySize": one.bytes_in,
    });
    if let Some(body) = captured.filter(|captured| !captured.body.is_empty()) {
        request["postData"] =
            json!({ "mimeType": media_type(body), "params": [], "text": body.body });
    }
    request
}

fn media_type(captured: &Captured) -> &str {
    let is_it = |name: &str| name.eq_ignore_ascii_case("content-type");
    let field = captured.headers.iter().find(|field| is_it(&field.name));
    field.map_or("", |field| &field.value)
}

/// A URL whatever the bytes of host and path were.
fn url(one: &RecordedRequest) -> String {
    let mut url = "http://".to_owned();
    push_escaped(&mut url, if one.host.is_empty() { "unknown" } else { &one.host });
    if !one.path.starts_with('/') {
        url.push('/');
    }
    push_escaped(&mut url, &one.path);
    url
}

fn push_escaped(url: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`') {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// How long the last try took to connect, and waited for an answer. One without an answer took all
/// the time that was left.
fn reached(one: &RecordedRequest, last: &Try, receive: f64) -> (Option<f64>, f64) {
    let left = || (one.total_ms - last.start_ms - receive).max(0.0);
    match (last.first_byte_ms, last.connect_ms) {
        (Some(first), connect) => (connect, (first - connect.unwrap_or(0.0)).max(0.0)),
        (None, None) if last.outcome == Failure::ConnectFailure.code() => (Some(left()), 0.0),
        (None, connect) => (connect, (left() - connect.unwrap_or(0.0)).max(0.0)),
    }
}

/// The phases, which add up to the whole: what belongs to no other is `blocked`.
fn timings(one: &RecordedRequest) -> Value {
    let last = one.tries.last();
    let receive = one.timings.body_ms.unwrap_or(0.0);
    let (connect, wait) = last.map_or((None, 0.0), |last| reached(one, last, receive));
    let known = connect.unwrap_or(0.0) + wait + receive;
    let or_unknown = |ms: Option<f64>| ms.map_or(json!(UNKNOWN), |ms| json!(ms));
    json!({
        "blocked": ((one.total_ms - known).max(0.0) * 1000.0).round() / 1000.0,
        "dns": UNKNOWN,
        "connect": or_unknown(connect),
        "ssl": UNKNOWN,
        "send": 0,
        "wait": wait,
        "receive": receive,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(tries: Value) -> [f64; 4] {
        let exchange = json!({
            "time": "2026-11-29T07:00:00.000Z", "kept": "failed", "id": "a", "listener": "web",
            "client_ip": "192.0.2.1", "method": "GET", "host": "a.example", "path": "/",
            "status": 504, "total_ms": 600.0, "bytes_in": 0, "bytes_out": 0, "timings": {},
            "tries": tries,
        });
        let exchange: RecordedRequest = serde_json::from_value(exchange).expect("an exchange");
        let timings = timings(&exchange);
        ["blocked", "connect", "wait", "receive"].map(|it| timings[it].as_f64().expect("a number"))
    }

    fn a_try(more: &Value) -> Value {
        let mut one = json!({ "backend": "b", "outcome": "200", "start_ms": 100.0 });
        for (name, value) in more.as_object().expect("an object") {
            one[name] = value.clone();
        }
        one
    }

    #[test]
    fn a_try_without_an_answer_took_the_time_that_was_left() {
        let cases = [
            (json!({ "connect_ms": 1.0, "first_byte_ms": 11.0 }), [589.0, 1.0, 10.0, 0.0]),
            (json!({ "outcome": "response_timeout", "connect_ms": 1.0 }), [100.0, 1.0, 499.0, 0.0]),
            (json!({ "outcome": "response_timeout" }), [100.0, -1.0, 500.0, 0.0]),
            (json!({ "outcome": "connect_failure" }), [100.0, 500.0, 0.0, 0.0]),
        ];
        for (more, wanted) in cases {
            assert_eq!(phases(json!([a_try(&more)])), wanted, "{more}");
        }
        assert_eq!(phases(json!([])), [600.0, -1.0, 0.0, 0.0], "none was tried");
    }
}
