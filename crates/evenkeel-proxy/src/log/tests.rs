use super::*;
use evenkeel_core::record::{AccessRecord, EventValue, write_access};
use std::hint::black_box;
use std::io::{PipeReader, Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::time::Instant;

fn piped(level: LogLevel) -> (PipeReader, Log) {
    let (reader, to) = pipe().expect("a pipe");
    let output = Output::from(OwnedFd::from(to));
    (reader, Log::start_on(output, LogFormat::Bracket, level).expect("starts"))
}

fn event(level: LogLevel, message: &str) -> Event<'_> {
    Event { unix_nanos: 0, level, name: "told", message, fields: &[] }
}

fn read_all(mut reader: PipeReader) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("UTF-8 to the end");
    text
}

/// Sum of what the `log_dropped` events say.
fn told(text: &str, key: &str) -> u64 {
    let reports = text.lines().filter(|line| line.starts_with("[WARN] log_dropped: "));
    let count = |line: &str| {
        let (_, after) = line.split_once(key)?;
        after.split(' ').next()?.parse().ok()
    };
    reports.map(|line| count(line).unwrap_or(0)).sum()
}

#[test]
fn close_brings_out_everything() {
    let (reader, log) = piped(LogLevel::Info);
    let mut sinks = [log.sink(), log.sink()];
    for number in 0..100 {
        for sink in &mut sinks {
            assert!(sink.push(format!("line {number}\n").as_bytes()));
        }
    }
    log.events().emit(&event(LogLevel::Info, "last"));
    assert_eq!(log.dropped(), Dropped::default());
    log.close();
    let text = read_all(reader);
    for number in 0..100 {
        assert_eq!(text.matches(&format!("line {number}\n")).count(), 2);
    }
    assert_eq!(text.matches("told: last ").count(), 1);
    assert_eq!(text.lines().count(), 201);
}

#[test]
fn who_watches_is_told_whatever_is_written() {
    let (reader, log) = piped(LogLevel::Error);
    let mut watched = log.watch().expect("the first");
    assert!(log.watch().is_err(), "there is one reader");
    for level in [LogLevel::Debug, LogLevel::Info, LogLevel::Error] {
        log.events().emit(&event(level, "x"));
    }
    let mut levels = Vec::new();
    while let Ok(Detail::Event(told)) = watched.try_recv() {
        let json: serde_json::Value = serde_json::from_str(&told.json).expect("JSON");
        assert_eq!((&json["event"], &json["message"]), (&"told".into(), &"x".into()));
        levels.push(told.level);
    }
    assert_eq!(levels, [LogLevel::Info, LogLevel::Error]);
    log.close();
    assert_eq!(read_all(reader).lines().count(), 1);
}

#[test]
fn another_way_and_place_to_write_hold_from_now_on() {
    let (reader, log) = piped(LogLevel::Warn);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("log");
    let events = log.events();
    events.emit(&event(LogLevel::Info, "silent"));
    let options = |file: &std::path::Path| LogOptions {
        format: LogFormat::Logfmt,
        level: LogLevel::Info,
        file: Some(file.to_owned()),
    };
    log.adopt(options(&folder.path().join("no/such/folder"))).expect_err("no folder");
    events.emit(&event(LogLevel::Info, "silent too"));
    log.adopt(options(&file)).expect("opened");
    events.emit(&event(LogLevel::Info, "heard"));
    log.close();
    assert_eq!(read_all(reader), "");
    let text = std::fs::read_to_string(file).expect("made");
    assert!(text.contains("message=heard") && text.lines().count() == 1, "{text}");
}

#[test]
fn events_below_the_level_are_silent() {
    let (reader, log) = piped(LogLevel::Warn);
    for level in [LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error] {
        log.events().emit(&event(level, "x"));
    }
    log.close();
    let text = read_all(reader);
    let tags: Vec<_> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(tags, ["[WARN]", "[ERROR]"]);
}

/// Takes the place of the writer: what would wake it wakes the test.
#[test]
fn lines_wake_the_writer_in_time() {
    const LONG: Duration = Duration::from_secs(20);
    let woken = || {
        let start = Instant::now();
        thread::park_timeout(LONG);
        start.elapsed() < LONG / 2
    };
    let shared = Arc::new(Shared::new(LogFormat::Text, LogLevel::Info));
    let (ring, mut consumer) = ring::ring(RING_BYTES);
    let mut sink = AccessSink { ring, shared: Arc::clone(&shared), writer: thread::current() };
    let mut out = Vec::new();

    assert!(sink.push(b"one\n"));
    sink.nudge();
    assert!(woken(), "a nudge, as a line waits");
    consumer.drain_into(&mut out);
    assert!(sink.push(&[b'x'; RING_BYTES / 2]));
    assert!(woken(), "half full");
    assert!(!sink.push(&[b'x'; RING_BYTES / 2]));
    assert!(woken(), "full");

    let (queue, _events) = sync_channel(1);
    let events = EventLog { queue, shared, writer: thread::current() };
    events.emit(&event(LogLevel::Info, "x"));
    assert!(woken(), "an event");
}

#[test]
fn a_pipe_that_nobody_reads_stops_nobody() {
    const LINES: u64 = 20_000;
    let (reader, log) = piped(LogLevel::Info);
    let mut sink = log.sink();
    let events = log.events();
    let line = [&[b'x'; 299][..], b"\n"].concat();
    let mut taken = 0;
    for _ in 0..LINES {
        taken += u64::from(sink.push(&line));
        events.emit(&event(LogLevel::Info, "x"));
    }
    let dropped = log.dropped();
    assert!(dropped.access > 0 && dropped.access + taken == LINES, "{dropped:?}, {taken}");
    assert!(dropped.events > 0, "{dropped:?}");
    assert!(!log.close_within(Duration::from_millis(20)), "the writer is stuck in its write");

    let text = thread::spawn(move || read_all(reader));
    assert!(log.close_within(CLOSE_TIMEOUT), "a reader that goes on frees it");
    let text = text.join().expect("read");
    assert_eq!(text.matches("x\n").count() as u64, taken);
    assert_eq!(told(&text, " access="), dropped.access);
    assert_eq!(told(&text, " events="), dropped.events);
}

#[test]
fn a_reader_that_left_does_not_hold_the_end() {
    let (reader, log) = piped(LogLevel::Info);
    drop(reader);
    log.events().emit(&event(LogLevel::Info, "x"));
    assert!(log.close_within(CLOSE_TIMEOUT));
}

#[test]
fn what_comes_after_the_close_is_counted() {
    let (_reader, log) = piped(LogLevel::Info);
    assert!(log.close_within(CLOSE_TIMEOUT));
    log.events().emit(&event(LogLevel::Info, "late"));
    assert_eq!(log.dropped(), Dropped { access: 0, events: 1 });
}

#[test]
fn an_event_without_bounds_is_dropped() {
    let (reader, log) = piped(LogLevel::Info);
    let long = "x".repeat(MAX_EVENT_BYTES);
    let fields = [("x", EventValue::Text(&long)); 10];
    log.events()
        .emit(&Event { fields: &fields, ..event(LogLevel::Info, "one of its texts is cut") });
    assert_eq!(log.dropped(), Dropped { access: 0, events: 1 });
    log.close();
    assert!(read_all(reader).starts_with("[WARN] log_dropped: "));
}

#[test]
fn sinks_and_events_go_where_they_are_needed() {
    fn crosses_threads<T: Send>() {}
    fn is_shared<T: Send + Sync + Clone>() {}
    crosses_threads::<AccessSink>();
    is_shared::<EventLog>();
}

#[test]
#[ignore = "measures: run with --release --nocapture"]
fn measure_a_record_from_fields_to_ring() {
    const RECORDS: u32 = 400_000;
    let sink_to = Output::file("/dev/null".into()).expect("/dev/null opens");
    let log = Log::start_on(sink_to, LogFormat::Json, LogLevel::Info).expect("starts");
    let mut sink = log.sink();
    let (mut stamp, mut line) = (TimeStamp::default(), Vec::with_capacity(1024));
    let mut record = AccessRecord {
        unix_nanos: 1_795_197_600_123_456_789,
        client_ip: "192.0.2.7",
        method: b"GET",
        host: b"shop.example.com",
        path: b"/api/v1/items/12345?color=blue&size=xl",
        status: 200,
        backend: "127.0.0.1:8081",
        pool: "web",
        route: "route-0",
        latency_nanos: 1_234_567,
        tries: 1,
        failure: None,
        grpc_status: None,
        request_id: b"0123456789abcdef0123456789abcdef",
        bytes_in: 312,
        bytes_out: 10_240,
        listener: "main",
    };
    let all = [LogFormat::Json, LogFormat::Text, LogFormat::Bracket, LogFormat::Logfmt];
    for format in all {
        let start = Instant::now();
        for _ in 0..RECORDS {
            record.unix_nanos += 10_000;
            line.clear();
            write_access(format, black_box(&record), &mut stamp, &mut line);
            black_box(&line);
        }
        let formatted = start.elapsed() / RECORDS;
        let mut pushing = Duration::ZERO;
        let mut taken = 0;
        for _ in 0..RECORDS / 500 {
            while !sink.ring.is_drained() {
                sink.nudge();
                thread::yield_now();
            }
            let start = Instant::now();
            taken += (0..500).filter(|_| sink.push(black_box(&line))).count();
            pushing += start.elapsed();
        }
        assert_eq!(taken, RECORDS as usize);
        let pushed = pushing / RECORDS;
        let len = line.len();
        let result = format!("{format:?}: {len} bytes, format {formatted:?}, push {pushed:?}");
        writeln!(io::stdout().lock(), "{result}").expect("stdout");
    }
}
