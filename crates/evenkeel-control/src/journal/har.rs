//! Exchanges as an HTTP Archive 1.2 (<http://www.softwareishard.com/blog/har-12-spec/>), for tools
//! that draw waterfalls.

use evenkeel_api::{Captured, RecordedRequest};
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

/// The phases, which add up to the whole: what belongs to no other is `blocked`.
fn timings(one: &RecordedRequest) -> Value {
    let last = one.tries.last();
    let connect = last.and_then(|last| last.connect_ms);
    let first_byte = last.and_then(|last| last.first_byte_ms);
    let wait = first_byte.map_or(0.0, |first| (first - connect.unwrap_or(0.0)).max(0.0));
    let receive = one.timings.body_ms.unwrap_or(0.0);
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
