//! Access records: whatever a client sends, one record is one line, and its keys are ours.

use evenkeel_core::failure::Failure;
use evenkeel_core::plan::LogFormat;
use evenkeel_core::record::{AccessRecord, TimeStamp, write_access};
use serde_json::Value;

/// Keys of a record in JSON.
const JSON_KEYS: usize = 18;
/// Keys of a record in logfmt, in order.
const LOGFMT_KEYS: &str = "timestamp level event client_ip method host path status backend pool \
                           route latency_ms tries failure request_id bytes_in bytes_out listener";

/// A record with these bytes in every part.
///
/// # Panics
/// If its lines are not what they must be.
pub fn access_record(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let record = AccessRecord {
        unix_nanos: 1_700_000_000_123_456_789,
        client_ip: &text,
        method: bytes,
        host: bytes,
        path: bytes,
        status: 502,
        backend: &text,
        pool: &text,
        route: &text,
        latency_nanos: 1_234_567,
        tries: 2,
        failure: Some(Failure::Reset),
        grpc_status: None,
        request_id: bytes,
        bytes_in: bytes.len() as u64,
        bytes_out: u64::MAX,
        listener: &text,
    };
    check_json(&line(LogFormat::Json, &record), &text);
    line(LogFormat::Text, &record);
    line(LogFormat::Bracket, &record);
    let logfmt = line(LogFormat::Logfmt, &record);
    assert_eq!(keys(&logfmt).join(" "), LOGFMT_KEYS, "{logfmt}");
}

/// The record's line without its end.
fn line(format: LogFormat, record: &AccessRecord<'_>) -> String {
    let mut out = Vec::new();
    write_access(format, record, &mut TimeStamp::default(), &mut out);
    let mut line = String::from_utf8(out).expect("a line is UTF-8");
    assert_eq!(line.pop(), Some('\n'), "the line does not end: {line:?}");
    assert!(!line.contains(char::is_control), "a control letter in {line:?}");
    line
}

/// Every part reads back as what it was.
fn check_json(line: &str, text: &str) {
    let value: Value = serde_json::from_str(line).expect("a line is JSON");
    let keys = value.as_object().map(serde_json::Map::len);
    assert_eq!(keys, Some(JSON_KEYS), "{line}");
    for key in ["client_ip", "method", "host", "path", "request_id", "listener"] {
        assert_eq!(value[key].as_str(), Some(text), "{key} in {line}");
    }
    for key in ["backend", "pool", "route"] {
        assert_eq!(value[key].as_str().unwrap_or_default(), text, "{key} in {line}");
    }
    assert_eq!(value["status"].as_u64(), Some(502), "{line}");
}

/// Keys of a logfmt line, as a reader finds them that knows quotes and backslashes.
fn keys(line: &str) -> Vec<&str> {
    let mut keys = Vec::new();
    let mut rest = line;
    while let Some((key, after)) = rest.split_once('=') {
        keys.push(key);
        let mut escaped = false;
        let quoted = after.strip_prefix('"').and_then(|value| {
            let closes = |letter: char| {
                let closes = letter == '"' && !escaped;
                escaped = letter == '\\' && !escaped;
                closes
            };
            value.split_once(closes).map(|(_, behind)| behind)
        });
        let behind = quoted.unwrap_or_else(|| after.trim_start_matches(|letter| letter != ' '));
        rest = behind.strip_prefix(' ').unwrap_or(behind);
    }
    assert!(rest.is_empty(), "{rest:?} is no pair, in {line}");
    keys
}
