use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const FORMATS: [LogFormat; 4] =
    [LogFormat::Json, LogFormat::Text, LogFormat::Bracket, LogFormat::Logfmt];

const RECORD: AccessRecord<'_> = AccessRecord {
    unix_nanos: 1_795_197_600_123_456_789,
    client_ip: "192.0.2.7",
    method: b"GET",
    host: b"a.test",
    path: b"/p3?q=1",
    status: 200,
    backend: "127.0.0.1:8081",
    pool: "web",
    route: "r-web",
    latency_nanos: 1_234_499,
    tries: 1,
    failure: None,
    grpc_status: None,
    request_id: b"0123456789abcdef",
    bytes_in: 1000,
    bytes_out: 2,
    listener: "main",
};

fn access(format: LogFormat, record: &AccessRecord<'_>) -> String {
    let mut out = Vec::new();
    write_access(format, record, &mut TimeStamp::default(), &mut out);
    String::from_utf8(out).expect("a line is UTF-8")
}

fn event(format: LogFormat, event: &Event<'_>) -> String {
    let mut out = Vec::new();
    write_event(format, event, &mut TimeStamp::default(), &mut out);
    String::from_utf8(out).expect("a line is UTF-8")
}

#[test]
fn one_record_in_four_formats() {
    let cases = [
        concat!(
            r#"{"timestamp":"2026-11-20T18:00:00.123Z","level":"info","#,
            r#""event":"request_routed","#,
            r#""client_ip":"192.0.2.7","method":"GET","host":"a.test","path":"/p3?q=1","#,
            r#""status":200,"backend":"127.0.0.1:8081","pool":"web","route":"r-web","#,
            r#""latency_ms":1.234,"tries":1,"failure":null,"request_id":"0123456789abcdef","#,
            r#""bytes_in":1000,"bytes_out":2,"listener":"main"}"#,
        ),
        concat!(
            "2026-11-20T18:00:00.123Z INFO request_routed GET a.test/p3?q=1 200 1.234ms ",
            "backend=127.0.0.1:8081 pool=web route=r-web client_ip=192.0.2.7 tries=1 ",
            "failure=- request_id=0123456789abcdef bytes_in=1000 bytes_out=2 listener=main",
        ),
        concat!(
            "[INFO] GET /p3?q=1 200 1.234ms host=a.test backend=127.0.0.1:8081 pool=web ",
            "route=r-web client_ip=192.0.2.7 tries=1 failure=- request_id=0123456789abcdef ",
            "bytes_in=1000 bytes_out=2 listener=main time=2026-11-20T18:00:00.123Z",
        ),
        concat!(
            "timestamp=2026-11-20T18:00:00.123Z level=info event=request_routed ",
            "client_ip=192.0.2.7 method=GET host=a.test path=\"/p3?q=1\" status=200 ",
            "backend=127.0.0.1:8081 pool=web route=r-web latency_ms=1.234 tries=1 failure=- ",
            "request_id=0123456789abcdef bytes_in=1000 bytes_out=2 listener=main",
        ),
    ];
    for (format, expected) in FORMATS.into_iter().zip(cases) {
        assert_eq!(access(format, &RECORD), format!("{expected}\n"));
    }
}

#[test]
fn a_call_tells_how_it_ended() {
    let record = AccessRecord { grpc_status: Some(14), ..RECORD };
    let line: Value = serde_json::from_str(&access(LogFormat::Json, &record)).expect("JSON");
    assert_eq!(line["grpc_status"], 14);
    for format in [LogFormat::Text, LogFormat::Bracket, LogFormat::Logfmt] {
        assert!(access(format, &record).contains(" grpc_status=14 "), "{format:?}");
        assert!(!access(format, &RECORD).contains("grpc_status"), "{format:?}");
    }
}

#[test]
fn what_is_absent_is_null_or_a_dash() {
    let record = AccessRecord {
        status: 503,
        backend: "",
        pool: "",
        route: "",
        tries: 0,
        failure: Some(Failure::NoBackend),
        method: b"",
        ..RECORD
    };
    let line: Value = serde_json::from_str(&access(LogFormat::Json, &record)).expect("JSON");
    let found = ["level", "backend", "pool", "route", "failure", "method"].map(|k| &line[k]);
    let nothing = json!(null);
    let expected =
        [&json!("error"), &nothing, &nothing, &nothing, &json!("no_backend"), &json!("")];
    assert_eq!(found, expected);
    for (format, part) in [
        (LogFormat::Text, "Z ERROR request_routed - a.test/p3?q=1 503 "),
        (LogFormat::Bracket, "[ERROR] - /p3?q=1 503 "),
        (LogFormat::Logfmt, " level=error event=request_routed client_ip=192.0.2.7 method=- "),
    ] {
        let line = access(format, &record);
        assert!(line.contains(part), "{line}");
        let absent = "backend=- pool=- route=-";
        assert!(line.contains(absent) && line.contains(" failure=no_backend "), "{line}");
    }
}

#[test]
fn latency_is_rounded_to_microseconds_and_stays_a_float() {
    for (nanos, expected) in [
        (0, "0.000"),
        (499, "0.000"),
        (500, "0.001"),
        (999_999_500, "1000.000"),
        (12_500_000, "12.500"),
        (u64::MAX, "18446744073709.551"),
    ] {
        let mut out = Vec::new();
        millis(&mut out, b"", nanos);
        assert_eq!(out, expected.as_bytes());
    }
}

#[test]
fn an_event_in_four_formats() {
    let fields = [
        ("backend", EventValue::Text("10.0.0.1:80")),
        ("error", EventValue::Text("connect: \"refused\"\n")),
        ("probes", EventValue::Number(3)),
        ("ratio", EventValue::Float(1.0)),
        ("nothing", EventValue::Float(f64::NAN)),
    ];
    let down = Event {
        unix_nanos: RECORD.unix_nanos,
        level: LogLevel::Warn,
        name: "backend_unhealthy",
        message: "3 probes failed",
        fields: &fields,
    };
    let cases = [
        concat!(
            r#"{"timestamp":"2026-11-20T18:00:00.123Z","level":"warn","#,
            r#""event":"backend_unhealthy","message":"3 probes failed","#,
            r#""backend":"10.0.0.1:80","error":"connect: \"refused\"\u000a","probes":3,"#,
            r#""ratio":1.0,"nothing":null}"#,
        ),
        concat!(
            "2026-11-20T18:00:00.123Z WARN backend_unhealthy: 3 probes failed ",
            r#"backend=10.0.0.1:80 error="connect: \"refused\"\x0a" "#,
            "probes=3 ratio=1.0 nothing=-",
        ),
        concat!(
            "[WARN] backend_unhealthy: 3 probes failed backend=10.0.0.1:80 ",
            r#"error="connect: \"refused\"\x0a" probes=3 ratio=1.0 nothing=- "#,
            "time=2026-11-20T18:00:00.123Z",
        ),
        concat!(
            "timestamp=2026-11-20T18:00:00.123Z level=warn event=backend_unhealthy ",
            r#"message="3 probes failed" backend=10.0.0.1:80 "#,
            r#"error="connect: \"refused\"\x0a" probes=3 ratio=1.0 nothing=-"#,
        ),
    ];
    for (format, expected) in FORMATS.into_iter().zip(cases) {
        assert_eq!(event(format, &down), format!("{expected}\n"));
    }
}

#[test]
fn a_long_text_is_cut_and_says_so() {
    let long = format!("x{}", "ü".repeat(MAX_TEXT_BYTES));
    let exact = "y".repeat(MAX_TEXT_BYTES);
    let fields = [("a", EventValue::Text(&long)), ("b", EventValue::Text(&exact))];
    let told = Event {
        unix_nanos: RECORD.unix_nanos,
        level: LogLevel::Info,
        name: "config_reloaded",
        message: &long,
        fields: &fields,
    };
    for format in FORMATS {
        let line = event(format, &told);
        assert_eq!(line.matches("… and 2050 bytes more").count(), 2, "{line}");
        assert!(line.contains(&exact) && line.len() < 4 * MAX_TEXT_BYTES, "{line}");
    }
}

fn is_one_safe_line(line: &str) -> bool {
    let hidden = |c: char| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c);
    line.strip_suffix('\n').is_some_and(|rest| !rest.contains(hidden))
}

/// Splits a logfmt line as a reader would; `None` if it does not parse.
fn logfmt_keys(mut line: &str) -> Option<Vec<&str>> {
    let mut keys = Vec::new();
    while !line.is_empty() {
        let (key, after) = line.split_once('=')?;
        keys.push(key);
        let end = match after.strip_prefix('"') {
            None => after.find(' ').unwrap_or(after.len()),
            Some(quoted) => {
                let mut escaped = false;
                let close = |c: char| {
                    let closes = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    closes
                };
                quoted.find(close)? + 2
            }
        };
        let rest = &after[end..];
        line = if rest.is_empty() { rest } else { rest.strip_prefix(' ')? };
    }
    Some(keys)
}

const NASTY: &[&[u8]] = &[
    b"\n",
    b"\r",
    b"\x1b[",
    b"\x7f",
    b"\"",
    b"\\",
    b" ",
    b"=",
    b"\xc2\x9b",
    b"\xc3",
    b"x",
    b"\xe2\x80\xa8",
    b"\xf0\x9f\x92\xa5",
    b" status=200",
];

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<Vec<u8>>(),
        any::<String>().prop_map(String::into_bytes),
        proptest::collection::vec(proptest::sample::select(NASTY), 0..12)
            .prop_map(|parts| parts.concat()),
    ]
}

proptest! {
    #[test]
    fn any_bytes_give_one_line_that_parses(
        method in hostile(), host in hostile(), path in hostile(), id in hostile(),
        nanos: u64, latency_nanos: u64, status: u16,
    ) {
        let record = AccessRecord {
            method: &method, host: &host, path: &path, request_id: &id,
            unix_nanos: nanos, latency_nanos, status, ..RECORD
        };
        for format in FORMATS {
            let line = access(format, &record);
            prop_assert!(is_one_safe_line(&line), "{line:?}");
        }
        let line: Value = serde_json::from_str(&access(LogFormat::Json, &record))?;
        prop_assert_eq!(line.as_object().map(serde_json::Map::len), Some(18));
        for (key, bytes) in
            [("method", &method), ("host", &host), ("path", &path), ("request_id", &id)]
        {
            let expected = String::from_utf8_lossy(bytes);
            prop_assert_eq!(line[key].as_str(), Some(&*expected));
        }
        let line = access(LogFormat::Logfmt, &record);
        let keys = logfmt_keys(line.trim_end_matches('\n')).unwrap_or_default();
        prop_assert_eq!(keys.join(" "), concat!(
            "timestamp level event client_ip method host path status backend pool route ",
            "latency_ms tries failure request_id bytes_in bytes_out listener",
        ));
    }

    #[test]
    fn any_event_gives_one_line_that_parses(
        message: String, text: String, count: u64, value: f64,
    ) {
        let fields = [
            ("text", EventValue::Text(&text)),
            ("count", EventValue::Number(count)),
            ("value", EventValue::Float(value)),
        ];
        let named = Event {
            unix_nanos: 0,
            level: LogLevel::Debug,
            name: "tried",
            message: &message,
            fields: &fields,
        };
        for format in FORMATS {
            let line = event(format, &named);
            prop_assert!(is_one_safe_line(&line), "{line:?}");
        }
        let json = event(LogFormat::Json, &named);
        let line: Value = serde_json::from_str(&json)?;
        let found = [&line["message"], &line["text"], &line["count"]];
        prop_assert_eq!(found, [&json!(message), &json!(text), &json!(count)]);
        let value = if value.is_finite() { format!("{value:?}") } else { "null".to_owned() };
        prop_assert!(json.ends_with(&format!("\"value\":{value}}}\n")), "{json}");
    }
}
