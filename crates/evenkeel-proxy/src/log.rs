//! The road of a log line: formatted where it arises, queued without waiting, written by one
//! thread of its own.
//!
//! ```text
//! worker ── AccessSink ── ring, 256 KiB each ──┐
//! worker ── AccessSink ── ring ────────────────┼── writer ── stdout or file
//! anyone ── EventLog ──── queue, 1,000 ────────┘
//! ```
//!
//! *Architecture invariant:* who logs never waits. A full disk or a reader that stands still blocks
//! the writer and nobody else; the queues fill, and from then on lines are dropped whole, counted,
//! and reported by the event `log_dropped` once writing works again.

mod batch;
mod output;
mod ring;
mod writer;

use crate::detail::{self, Detail, Details, ToldEvent};
use evenkeel_core::plan::{LogFormat, LogLevel};
use evenkeel_core::record::{Event, TimeStamp, write_event};
use output::Output;
use ring::{Consumer, Producer, Pushed};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;
use writer::Writer;

/// Access lines that wait, per worker. At 300 bytes a line about 850.
const RING_BYTES: usize = 256 * 1024;
/// Events that wait.
const MAX_QUEUED_EVENTS: usize = 1_000;
/// A longer event line is dropped.
const MAX_EVENT_BYTES: usize = 16 * 1024;
/// Who watches is told at least these, whatever is written.
const LEAST_TOLD: LogLevel = LogLevel::Info;
/// What `close` gives the writer to bring out what waits.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What is written where.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Shape of a line of `EventLog`; access lines come formatted.
    pub format: LogFormat,
    /// Least severe event that is written.
    pub level: LogLevel,
    /// File to append to; `None` = stdout.
    pub file: Option<PathBuf>,
}

/// Lines that were lost since the start because nobody took them in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Access records.
    pub access: u64,
    /// Events.
    pub events: u64,
}

/// Owner of the writer thread. Dropping it brings out what waits, within two seconds.
pub struct Log {
    events: EventLog,
    writer: JoinHandle<()>,
    /// Disconnected once the writer has ended.
    ended: Mutex<Receiver<()>>,
}

/// Where one worker thread puts its access lines.
pub struct AccessSink {
    ring: Producer,
    shared: Arc<Shared>,
    writer: Thread,
}

/// Where anyone puts events.
#[derive(Clone)]
pub struct EventLog {
    queue: SyncSender<Vec<u8>>,
    shared: Arc<Shared>,
    writer: Thread,
}

/// What the writer and the others tell each other.
struct Shared {
    /// Least severe event that is written.
    level: AtomicU8,
    /// Shape of an event's line.
    format: AtomicU8,
    /// What to write to from now on.
    next_output: Mutex<Option<Output>>,
    dropped_access: AtomicU64,
    dropped_events: AtomicU64,
    /// The file is to be opened anew.
    reopen: AtomicBool,
    /// What waits is the last.
    closing: AtomicBool,
    /// Where events are told besides, and other details.
    details: OnceLock<Details>,
    /// Rings the writer has not taken over yet. Locked for a push or a `mem::take`, by `sink` and
    /// the writer only.
    new_rings: Mutex<Vec<Consumer>>,
}

const LEVELS: [LogLevel; 4] = [LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error];
const FORMATS: [LogFormat; 4] =
    [LogFormat::Json, LogFormat::Text, LogFormat::Bracket, LogFormat::Logfmt];

/// The place of a value in a table that has it.
fn code<T: PartialEq>(table: &[T], value: &T) -> u8 {
    let place = table.iter().position(|it| it == value);
    place.and_then(|place| u8::try_from(place).ok()).unwrap_or_default()
}

impl Shared {
    fn new(format: LogFormat, level: LogLevel) -> Shared {
        Shared {
            level: AtomicU8::new(code(&LEVELS, &level)),
            format: AtomicU8::new(code(&FORMATS, &format)),
            next_output: Mutex::default(),
            dropped_access: AtomicU64::new(0),
            dropped_events: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            details: OnceLock::new(),
            new_rings: Mutex::default(),
        }
    }

    fn level(&self) -> LogLevel {
        LEVELS[usize::from(self.level.load(Ordering::Relaxed)) % LEVELS.len()]
    }

    fn format(&self) -> LogFormat {
        FORMATS[usize::from(self.format.load(Ordering::Relaxed)) % FORMATS.len()]
    }

    fn take_next_output(&self) -> Option<Output> {
        self.next_output.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn dropped(&self) -> Dropped {
        Dropped {
            access: self.dropped_access.load(Ordering::Relaxed),
            events: self.dropped_events.load(Ordering::Relaxed),
        }
    }

    fn take_new_rings(&self) -> Vec<Consumer> {
        let mut rings = self.new_rings.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *rings)
    }
}

impl Log {
    /// Opens the output and starts the writer.
    ///
    /// # Errors
    /// If the file cannot be opened (the error names it) or no thread can be had.
    pub fn start(options: LogOptions) -> io::Result<Log> {
        let output = Output::to(options.file)?;
        Log::start_on(output, options.format, options.level)
    }

    fn start_on(output: Output, format: LogFormat, level: LogLevel) -> io::Result<Log> {
        let shared = Arc::new(Shared::new(format, level));
        let (queue, events) = sync_channel(MAX_QUEUED_EVENTS);
        let (end, ended) = sync_channel(0); // never sent on, only disconnected
        let writer = Writer::new(output, Arc::clone(&shared), events);
        let writer = thread::Builder::new().name("log".to_owned()).spawn(move || {
            writer.run();
            drop(end);
        })?;
        let thread = writer.thread().clone();
        let events = EventLog { queue, shared, writer: thread };
        Ok(Log { events, writer, ended: Mutex::new(ended) })
    }

    /// A way in for events.
    pub fn events(&self) -> EventLog {
        self.events.clone()
    }

    /// A way in for the access lines of one worker.
    pub fn sink(&self) -> AccessSink {
        let shared = Arc::clone(&self.events.shared);
        let (ring, consumer) = ring::ring(RING_BYTES);
        shared.new_rings.lock().unwrap_or_else(PoisonError::into_inner).push(consumer);
        AccessSink { ring, shared, writer: self.writer.thread().clone() }
    }

    /// Opens the file anew, after it was renamed. Returns at once; the writer does it. Nothing
    /// happens on stdout.
    pub fn reopen(&self) {
        self.events.shared.reopen.store(true, Ordering::Release);
        self.writer.thread().unpark();
    }

    /// Everything that is told from now on, events and exchanges alike. There is one reader.
    ///
    /// # Errors
    /// There is one already.
    pub fn watch(&self) -> io::Result<tokio::sync::mpsc::Receiver<Detail>> {
        let (details, reader) = detail::details();
        match self.events.shared.details.set(details) {
            Ok(()) => Ok(reader),
            Err(_) => Err(io::Error::other("the log is watched already")),
        }
    }

    /// Writes in another way from now on, or elsewhere. Lines that wait go to the new place.
    ///
    /// # Errors
    /// The file cannot be opened (the error names it); nothing has changed then.
    pub fn adopt(&self, options: LogOptions) -> io::Result<()> {
        let shared = &self.events.shared;
        let output = Output::to(options.file)?;
        *shared.next_output.lock().unwrap_or_else(PoisonError::into_inner) = Some(output);
        shared.level.store(code(&LEVELS, &options.level), Ordering::Relaxed);
        shared.format.store(code(&FORMATS, &options.format), Ordering::Relaxed);
        self.writer.thread().unpark();
        Ok(())
    }

    /// Lines lost so far.
    pub fn dropped(&self) -> Dropped {
        self.events.shared.dropped()
    }

    /// Brings out everything logged before this call and ends the writer, within two seconds: if
    /// the output stands still for longer, what waits is lost.
    pub fn close(self) {
        drop(self);
    }

    /// As `close`, where others still hold the log: what they log from now on is lost.
    pub fn finish(&self) {
        self.close_within(CLOSE_TIMEOUT);
    }

    /// Returns whether the writer ended in time; else it is left to end by itself.
    fn close_within(&self, timeout: Duration) -> bool {
        self.events.shared.closing.store(true, Ordering::Release);
        self.writer.thread().unpark();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(ended.recv_timeout(timeout), Err(RecvTimeoutError::Disconnected))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close_within(CLOSE_TIMEOUT);
    }
}

impl AccessSink {
    /// Queues a line that ends in `\n`. Never waits; `false` if there was no room: the line is lost
    /// as a whole, and counted.
    pub fn push(&mut self, line: &[u8]) -> bool {
        match self.ring.push(line) {
            Pushed::Taken => true,
            Pushed::TakenPastHalf => {
                self.nudge();
                true
            }
            Pushed::Dropped => {
                self.shared.dropped_access.fetch_add(1, Ordering::Relaxed);
                self.nudge();
                false
            }
        }
    }

    /// Wakes the writer if something waits. `push` does so by itself only when the ring is half
    /// full, so a worker calls this every 50 ms or so.
    pub fn nudge(&self) {
        if !self.ring.is_drained() {
            self.writer.unpark();
        }
    }
}

impl EventLog {
    /// Writes the event if its level is severe enough, and tells it to who watches. Never waits; if
    /// too many wait already, or the log is closed, it is lost and counted.
    pub fn emit(&self, event: &Event<'_>) {
        if event.level < self.shared.level().min(LEAST_TOLD) {
            return;
        }
        if let Some(details) = self.details() {
            let mut json = Vec::new();
            write_event(LogFormat::Json, event, &mut TimeStamp::default(), &mut json);
            let json = String::from_utf8_lossy(json.trim_ascii_end()).into_owned();
            let Event { name, level, .. } = *event;
            details.offer(Detail::Event(ToldEvent { name, level, json }));
        }
        if event.level < self.shared.level() {
            return;
        }
        let mut line = Vec::new();
        write_event(self.shared.format(), event, &mut TimeStamp::default(), &mut line);
        if line.len() > MAX_EVENT_BYTES || self.queue.try_send(line).is_err() {
            self.shared.dropped_events.fetch_add(1, Ordering::Relaxed);
        }
        self.writer.unpark();
    }

    /// Where details are offered; `None` if nobody watches.
    pub fn details(&self) -> Option<&Details> {
        self.shared.details.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_core::record::{AccessRecord, write_access};
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
        log.events().emit(&event(LogLevel::Info, &"x".repeat(MAX_EVENT_BYTES)));
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
}
