//! Lines of the log: one access record per exchange, and events. Pure formatting: who writes them
//! where is another matter. Whatever the bytes of a request are, one record is one line.

mod escape;
mod time_stamp;

pub use time_stamp::TimeStamp;

use crate::failure::Failure;
use crate::plan::{LogFormat, LogLevel};
use escape::Place;
use std::borrow::Cow;
use std::io::Write;

/// What is recorded of one exchange. Bytes come from the client as they are; an empty `backend`,
/// `pool` or `route` means that none was reached.
#[derive(Clone, Copy, Debug)]
pub struct AccessRecord<'a> {
    /// When the exchange ended, in nanoseconds since 1970-01-01T00:00:00Z.
    pub unix_nanos: u64,
    /// The client, after trusted forwarding fields.
    pub client_ip: &'a str,
    /// As sent.
    pub method: &'a [u8],
    /// The host asked for.
    pub host: &'a [u8],
    /// The path as forwarded, without the query: secrets travel there.
    pub path: &'a [u8],
    /// What the client got; 0 if nothing.
    pub status: u16,
    /// `host:port` of the last backend tried.
    pub backend: &'a str,
    /// Its pool.
    pub pool: &'a str,
    /// The route that matched.
    pub route: &'a str,
    /// From the end of the request's head to the end of the exchange.
    pub latency_nanos: u64,
    /// Backends tried, repeats included.
    pub tries: u32,
    /// Why the backend's own complete answer did not arrive.
    pub failure: Option<Failure>,
    /// How a gRPC call ended; only such a record tells.
    pub grpc_status: Option<u8>,
    /// As the backend saw it.
    pub request_id: &'a [u8],
    /// Received from the client.
    pub bytes_in: u64,
    /// Sent to the client.
    pub bytes_out: u64,
    /// Where the client came in.
    pub listener: &'a str,
}

impl AccessRecord<'_> {
    fn level(&self) -> LogLevel {
        if self.status >= 500 { LogLevel::Error } else { LogLevel::Info }
    }
}

/// The value of an event's field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EventValue<'a> {
    /// Any text.
    Text(&'a str),
    /// A count, or a number with its unit in the key.
    Number(u64),
    /// The same, with a fraction; not-a-number and infinities are written as absent.
    Float(f64),
}

/// Something that happened, other than an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// When, in nanoseconds since 1970-01-01T00:00:00Z.
    pub unix_nanos: u64,
    /// How bad.
    pub level: LogLevel,
    /// Stable name in snake case, as `backend_unhealthy`.
    pub name: &'static str,
    /// One sentence for people.
    pub message: &'a str,
    /// Further keys in snake case, none of them `timestamp`, `level`, `event` or `message`.
    pub fields: &'a [(&'static str, EventValue<'a>)],
}

/// Bytes of one text of an event that are written: a change of thousands of backends is told,
/// though not in full.
const MAX_TEXT_BYTES: usize = 2 * 1024;

/// The `event` of an access record.
const ROUTED: &[u8] = b"request_routed";

/// Appends the record as one line, its `\n` included.
pub fn write_access(
    format: LogFormat,
    record: &AccessRecord<'_>,
    stamp: &mut TimeStamp,
    out: &mut Vec<u8>,
) {
    let time = stamp.at(record.unix_nanos);
    match format {
        LogFormat::Json => access_json(record, time, out),
        LogFormat::Text => access_text(record, time, out),
        LogFormat::Bracket => access_bracket(record, time, out),
        LogFormat::Logfmt => access_logfmt(record, time, out),
    }
    out.push(b'\n');
}

/// Name of the events that greet at start: in words, they are their message and nothing else.
pub const GREETING: &str = "greeting";

/// Appends the event as one line, its `\n` included.
pub fn write_event(format: LogFormat, event: &Event<'_>, stamp: &mut TimeStamp, out: &mut Vec<u8>) {
    let time = stamp.at(event.unix_nanos);
    match format {
        LogFormat::Json => event_json(event, time, out),
        LogFormat::Text => {
            out.extend_from_slice(time);
            out.push(b' ');
            out.extend_from_slice(upper(event.level));
            out.push(b' ');
            event_words(event, out);
        }
        LogFormat::Bracket => {
            write_tag(event.level, out);
            event_words(event, out);
            if event.name != GREETING {
                pair(out, b" time=", time);
            }
        }
        LogFormat::Logfmt => {
            pair(out, b"timestamp=", time);
            pair(out, b" level=", lower(event.level));
            pair(out, b" event=", event.name.as_bytes());
            pair(out, b" message=", shortened(event.message).as_bytes());
            event_pairs(event, out);
        }
    }
    out.push(b'\n');
}

fn access_json(record: &AccessRecord<'_>, time: &[u8], out: &mut Vec<u8>) {
    string(out, b"{\"timestamp\":\"", time);
    string(out, b",\"level\":\"", lower(record.level()));
    string(out, b",\"event\":\"", ROUTED);
    string(out, b",\"client_ip\":\"", record.client_ip.as_bytes());
    string(out, b",\"method\":\"", record.method);
    string(out, b",\"host\":\"", record.host);
    string(out, b",\"path\":\"", record.path);
    number(out, b",\"status\":", record.status.into());
    string_or_null(out, b",\"backend\":", record.backend);
    string_or_null(out, b",\"pool\":", record.pool);
    string_or_null(out, b",\"route\":", record.route);
    millis(out, b",\"latency_ms\":", record.latency_nanos);
    number(out, b",\"tries\":", record.tries.into());
    string_or_null(out, b",\"failure\":", record.failure.map_or("", Failure::code));
    string(out, b",\"request_id\":\"", record.request_id);
    number(out, b",\"bytes_in\":", record.bytes_in);
    number(out, b",\"bytes_out\":", record.bytes_out);
    if let Some(status) = record.grpc_status {
        number(out, b",\"grpc_status\":", status.into());
    }
    string(out, b",\"listener\":\"", record.listener.as_bytes());
    out.push(b'}');
}

fn access_text(record: &AccessRecord<'_>, time: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(time);
    out.push(b' ');
    out.extend_from_slice(upper(record.level()));
    out.push(b' ');
    out.extend_from_slice(ROUTED);
    out.push(b' ');
    word(out, record.method);
    out.push(b' ');
    word(out, record.host);
    escape::write(Place::Word, record.path, out);
    access_outcome(record, out);
    access_pairs(record, out);
}

fn access_bracket(record: &AccessRecord<'_>, time: &[u8], out: &mut Vec<u8>) {
    write_tag(record.level(), out);
    word(out, record.method);
    out.push(b' ');
    word(out, record.path);
    access_outcome(record, out);
    pair_or_dash(out, b" host=", record.host);
    access_pairs(record, out);
    pair(out, b" time=", time);
}

/// ` 200 1.234ms`
fn access_outcome(record: &AccessRecord<'_>, out: &mut Vec<u8>) {
    number(out, b" ", record.status.into());
    millis(out, b" ", record.latency_nanos);
    out.extend_from_slice(b"ms");
}

/// What follows the words of a text or bracket line.
fn access_pairs(record: &AccessRecord<'_>, out: &mut Vec<u8>) {
    pair_or_dash(out, b" backend=", record.backend.as_bytes());
    pair_or_dash(out, b" pool=", record.pool.as_bytes());
    pair_or_dash(out, b" route=", record.route.as_bytes());
    pair_or_dash(out, b" client_ip=", record.client_ip.as_bytes());
    number(out, b" tries=", record.tries.into());
    pair_or_dash(out, b" failure=", record.failure.map_or("", Failure::code).as_bytes());
    access_ending(record, out);
}

fn access_logfmt(record: &AccessRecord<'_>, time: &[u8], out: &mut Vec<u8>) {
    pair(out, b"timestamp=", time);
    pair(out, b" level=", lower(record.level()));
    pair(out, b" event=", ROUTED);
    pair_or_dash(out, b" client_ip=", record.client_ip.as_bytes());
    pair_or_dash(out, b" method=", record.method);
    pair_or_dash(out, b" host=", record.host);
    pair_or_dash(out, b" path=", record.path);
    number(out, b" status=", record.status.into());
    pair_or_dash(out, b" backend=", record.backend.as_bytes());
    pair_or_dash(out, b" pool=", record.pool.as_bytes());
    pair_or_dash(out, b" route=", record.route.as_bytes());
    millis(out, b" latency_ms=", record.latency_nanos);
    number(out, b" tries=", record.tries.into());
    pair_or_dash(out, b" failure=", record.failure.map_or("", Failure::code).as_bytes());
    access_ending(record, out);
}

fn access_ending(record: &AccessRecord<'_>, out: &mut Vec<u8>) {
    pair_or_dash(out, b" request_id=", record.request_id);
    number(out, b" bytes_in=", record.bytes_in);
    number(out, b" bytes_out=", record.bytes_out);
    if let Some(status) = record.grpc_status {
        number(out, b" grpc_status=", status.into());
    }
    pair_or_dash(out, b" listener=", record.listener.as_bytes());
}

fn event_json(event: &Event<'_>, time: &[u8], out: &mut Vec<u8>) {
    string(out, b"{\"timestamp\":\"", time);
    string(out, b",\"level\":\"", lower(event.level));
    string(out, b",\"event\":\"", event.name.as_bytes());
    string(out, b",\"message\":\"", shortened(event.message).as_bytes());
    for (key, value) in event.fields {
        string(out, b",\"", key.as_bytes());
        match *value {
            EventValue::Text(text) => string(out, b":\"", shortened(text).as_bytes()),
            EventValue::Number(count) => number(out, b":", count),
            EventValue::Float(value) if value.is_finite() => float(out, b":", value),
            EventValue::Float(_) => out.extend_from_slice(b":null"),
        }
    }
    out.push(b'}');
}

/// `name: message key=value …`
fn event_words(event: &Event<'_>, out: &mut Vec<u8>) {
    if event.name != GREETING {
        out.extend_from_slice(event.name.as_bytes());
        out.extend_from_slice(b": ");
    }
    escape::write(Place::QuotedValue, shortened(event.message).as_bytes(), out);
    event_pairs(event, out);
}

fn event_pairs(event: &Event<'_>, out: &mut Vec<u8>) {
    for (key, value) in event.fields {
        out.push(b' ');
        out.extend_from_slice(key.as_bytes());
        match *value {
            EventValue::Text(text) => pair(out, b"=", shortened(text).as_bytes()),
            EventValue::Number(count) => number(out, b"=", count),
            EventValue::Float(value) if value.is_finite() => float(out, b"=", value),
            EventValue::Float(_) => out.extend_from_slice(b"=-"),
        }
    }
}

/// As much of a text as an event may have, and how much is left out.
fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_TEXT_BYTES {
        return Cow::Borrowed(text);
    }
    let (shown, rest) = text.split_at(text.floor_char_boundary(MAX_TEXT_BYTES));
    Cow::Owned(format!("{shown} … and {} bytes more", rest.len()))
}

fn lower(level: LogLevel) -> &'static [u8] {
    match level {
        LogLevel::Debug => b"debug",
        LogLevel::Info => b"info",
        LogLevel::Warn => b"warn",
        LogLevel::Error => b"error",
    }
}

fn upper(level: LogLevel) -> &'static [u8] {
    match level {
        LogLevel::Debug => b"DEBUG",
        LogLevel::Info => b"INFO",
        LogLevel::Warn => b"WARN",
        LogLevel::Error => b"ERROR",
    }
}

/// `[INFO] `
fn write_tag(level: LogLevel, out: &mut Vec<u8>) {
    out.push(b'[');
    out.extend_from_slice(upper(level));
    out.extend_from_slice(b"] ");
}

// Each of the following appends `lead` as it is, then a value. In JSON the lead of a string ends
// with its opening quote.

fn string(out: &mut Vec<u8>, lead: &[u8], value: &[u8]) {
    out.extend_from_slice(lead);
    escape::write(Place::JsonString, value, out);
    out.push(b'"');
}

fn string_or_null(out: &mut Vec<u8>, lead: &[u8], value: &str) {
    out.extend_from_slice(lead);
    if value.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        string(out, b"\"", value.as_bytes());
    }
}

fn pair(out: &mut Vec<u8>, lead: &[u8], value: &[u8]) {
    out.extend_from_slice(lead);
    escape::write_value(value, out);
}

fn pair_or_dash(out: &mut Vec<u8>, lead: &[u8], value: &[u8]) {
    if value.is_empty() {
        out.extend_from_slice(lead);
        out.push(b'-');
    } else {
        pair(out, lead, value);
    }
}

fn word(out: &mut Vec<u8>, value: &[u8]) {
    if value.is_empty() {
        out.push(b'-');
    } else {
        escape::write(Place::Word, value, out);
    }
}

fn number(out: &mut Vec<u8>, lead: &[u8], value: u64) {
    out.extend_from_slice(lead);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Milliseconds, always with three digits after the point, so that it always is a float.
fn millis(out: &mut Vec<u8>, lead: &[u8], nanos: u64) {
    let micros = nanos.saturating_add(500) / 1000;
    number(out, lead, micros / 1000);
    let part = micros % 1000;
    let digit = |unit: u64| b'0' + (part / unit % 10) as u8;
    out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
}

/// A finite number as Rust's `Debug` prints it (`1.0`, `1e300`), which JSON reads too.
fn float(out: &mut Vec<u8>, lead: &[u8], value: f64) {
    out.extend_from_slice(lead);
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{value:?}");
}

#[cfg(test)]
mod tests;
