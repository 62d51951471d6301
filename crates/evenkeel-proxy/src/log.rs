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

    /// What was lost since the start because nobody took it in time, by its kind: lines of the log,
    /// and details on their way to who watches.
    pub fn lost(&self) -> Vec<(&'static str, u64)> {
        let Dropped { access, events } = self.shared.dropped();
        let mut lost = vec![("access_record", access), ("log_event", events)];
        lost.extend(self.details().map(Details::dropped).into_iter().flatten());
        lost
    }

    /// Where details are offered; `None` if nobody watches.
    pub fn details(&self) -> Option<&Details> {
        self.shared.details.get()
    }
}

#[cfg(test)]
mod tests;
