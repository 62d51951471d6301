//! The thread that writes. It goes round and round:
//!
//! ```text
//!        ┌──────────── collect rings and events <─── park ───┐
//!        v                                                   │
//!   write the batch ── all out ──────────────────────────────┤
//!        ^   │                                               │
//!        │   └── blocked or failed: keep the batch, pause ───┤
//!        └───────────────────────────────────────────────────┘
//! ```
//!
//! A batch that could not be written stays and nothing more is collected, so that memory stays
//! bounded and the queues do the dropping.

use super::batch::{Batch, Flushed};
use super::output::Output;
use super::ring::Consumer;
use super::{CLOSE_TIMEOUT, Dropped, MAX_QUEUED_EVENTS, Shared};
use evenkeel_core::plan::LogLevel;
use evenkeel_core::record::{Event, EventValue, TimeStamp, write_event};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Between rounds while there is traffic, if nobody wakes the writer before.
const ROUND_PAUSE: Duration = Duration::from_millis(100);
/// Rounds without a line after which the writer sleeps until it is woken.
const QUIET_ROUNDS: u32 = 20;
/// Between tries while writing fails.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Between reports of drops.
const REPORT_PAUSE: Duration = Duration::from_secs(1);
/// Between complaints on stderr while writing fails.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

pub(super) struct Writer {
    output: Output,
    stamp: TimeStamp,
    shared: Arc<Shared>,
    rings: Vec<Consumer>,
    events: Receiver<Vec<u8>>,
    batch: Batch,
    quiet_rounds: u32,
    outage: Option<Outage>,
    /// Drops that a `log_dropped` told of, and when.
    reported: (Dropped, Option<Instant>),
    /// Since when the log is closing.
    closing: Option<Instant>,
}

/// Writing fails.
struct Outage {
    since: Instant,
    complained: Option<Instant>,
    tries: u64,
    error: String,
}

/// What comes after a round.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Another round, without a pause.
    Now,
    /// Another round when woken, or after this.
    Within(Duration),
    /// Another round after this, woken or not.
    After(Duration),
    /// Another round when woken.
    Woken,
    End,
}

impl Writer {
    pub(super) fn new(output: Output, shared: Arc<Shared>, events: Receiver<Vec<u8>>) -> Writer {
        Writer {
            output,
            stamp: TimeStamp::default(),
            shared,
            rings: Vec::new(),
            events,
            batch: Batch::default(),
            quiet_rounds: 0,
            outage: None,
            reported: (Dropped::default(), None),
            closing: None,
        }
    }

    /// Until the log is closed.
    #[expect(clippy::disallowed_methods, reason = "no worker: this thread is there to wait")]
    pub(super) fn run(mut self) {
        loop {
            match self.round() {
                Next::Now => {}
                Next::Within(pause) => thread::park_timeout(pause),
                Next::After(pause) => thread::sleep(pause),
                Next::Woken => thread::park(),
                Next::End => return,
            }
        }
    }

    fn round(&mut self) -> Next {
        // Before collecting: what was logged before the log closed is in the queues by now.
        if self.shared.closing.load(Ordering::Acquire) {
            let since = self.closing.get_or_insert_with(Instant::now);
            if since.elapsed() >= CLOSE_TIMEOUT {
                return Next::End;
            }
        }
        if let Some(next) = self.shared.take_next_output() {
            self.output = next;
        }
        if self.shared.reopen.swap(false, Ordering::AcqRel) {
            self.reopen();
        }
        if self.batch.is_empty() {
            self.collect();
        }
        if self.batch.is_empty() {
            return self.after_quiet();
        }
        self.quiet_rounds = 0;
        match self.batch.flush(&mut self.output) {
            Flushed::All if self.closing.is_some() => Next::Now,
            Flushed::All => Next::Within(ROUND_PAUSE),
            Flushed::Blocked => self.after_blocked(),
            Flushed::Failed(error) => self.after_failed(&error),
        }
    }

    /// Only while everything collected before is out, so what is to be said of an outage or of
    /// drops can be said now.
    fn collect(&mut self) {
        self.report_outage();
        self.report_drops();
        self.rings.append(&mut self.shared.take_new_rings());
        let lines = self.batch.lines();
        self.rings.retain_mut(|ring| {
            let last = ring.is_last();
            ring.drain_into(lines);
            !last
        });
        for line in self.events.try_iter().take(MAX_QUEUED_EVENTS) {
            lines.extend_from_slice(&line);
        }
    }

    fn after_quiet(&mut self) -> Next {
        if self.closing.is_some() {
            return Next::End;
        }
        self.quiet_rounds = self.quiet_rounds.saturating_add(1);
        let told = self.reported.0 == self.shared.dropped();
        if told && self.quiet_rounds >= QUIET_ROUNDS {
            Next::Woken
        } else {
            Next::Within(ROUND_PAUSE)
        }
    }

    fn after_blocked(&self) -> Next {
        match self.output.wait(RETRY_PAUSE) {
            Ok(()) => Next::Now,
            Err(_) => Next::After(RETRY_PAUSE),
        }
    }

    fn after_failed(&mut self, error: &io::Error) -> Next {
        let outage = self.outage.get_or_insert_with(|| Outage {
            since: Instant::now(),
            complained: None,
            tries: 0,
            error: error.to_string(),
        });
        outage.tries += 1;
        if outage.complained.is_none_or(|last| last.elapsed() >= COMPLAINT_PAUSE) {
            outage.complained = Some(Instant::now());
            self.complain(&error.to_string());
        }
        if self.closing.is_some() { Next::End } else { Next::After(RETRY_PAUSE) }
    }

    /// On stderr, because the log itself does not work.
    fn complain(&mut self, error: &str) {
        let mut line = Vec::new();
        let event = Event {
            unix_nanos: unix_nanos(),
            level: LogLevel::Error,
            name: "log_write_failed",
            message: "the log cannot be written; lines are dropped once the queues are full",
            fields: &[("error", EventValue::Text(error))],
        };
        write_event(self.shared.format(), &event, &mut self.stamp, &mut line);
        // If stderr is gone too, nobody is left to be told.
        let _ = io::stderr().lock().write_all(&line);
    }

    fn report_outage(&mut self) {
        let Some(outage) = self.outage.take() else {
            return;
        };
        let fields = [
            ("error", EventValue::Text(&outage.error)),
            ("tries", EventValue::Number(outage.tries)),
            ("seconds", EventValue::Float(outage.since.elapsed().as_secs_f64())),
        ];
        let message = "the log could not be written for a while and works again";
        self.append(LogLevel::Error, "log_write_failed", message, &fields);
    }

    fn report_drops(&mut self) {
        let (told, when) = self.reported;
        let dropped = self.shared.dropped();
        let soon = when.is_some_and(|last| last.elapsed() < REPORT_PAUSE);
        if dropped == told || (soon && self.closing.is_none()) {
            return;
        }
        self.reported = (dropped, Some(Instant::now()));
        let fields = [
            ("access", EventValue::Number(dropped.access - told.access)),
            ("events", EventValue::Number(dropped.events - told.events)),
        ];
        let message = "lines were lost because the log could not be written in time";
        self.append(LogLevel::Warn, "log_dropped", message, &fields);
    }

    fn reopen(&mut self) {
        match self.output.reopen() {
            Ok(()) => self.batch.rewind_line(),
            Err(error) => {
                let error = error.to_string();
                let fields = [("error", EventValue::Text(&error))];
                let message = "the old log file stays in use";
                self.append(LogLevel::Error, "log_reopen_failed", message, &fields);
            }
        }
    }

    /// Whatever the level of the log: what is said of the log itself is rare and needed.
    fn append(
        &mut self,
        level: LogLevel,
        name: &'static str,
        message: &str,
        fields: &[(&'static str, EventValue<'_>)],
    ) {
        let event = Event { unix_nanos: unix_nanos(), level, name, message, fields };
        write_event(self.shared.format(), &event, &mut self.stamp, self.batch.lines());
    }
}

/// Now; 0 if the clock is set before 1970.
fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Log;
    use super::super::ring::{Producer, Pushed, ring};
    use super::*;
    use evenkeel_core::plan::LogFormat;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;
    use std::process;
    use std::sync::mpsc::{SyncSender, sync_channel};

    /// A writer without its thread, so that each round can be looked at; and its file.
    struct Bench {
        writer: Writer,
        shared: Arc<Shared>,
        queue: SyncSender<Vec<u8>>,
        folder: PathBuf,
    }

    impl Bench {
        fn new(name: &str, prepare: impl FnOnce(&PathBuf)) -> Bench {
            let folder = std::env::temp_dir().join(format!("evenkeel-{name}-{}", process::id()));
            fs::create_dir(&folder).expect("a folder of this test only");
            prepare(&folder.join("log"));
            let shared = Arc::new(Shared::new(LogFormat::Bracket, LogLevel::Info));
            let (queue, events) = sync_channel(MAX_QUEUED_EVENTS);
            let output = Output::file(folder.join("log")).expect("the file opens");
            let writer = Writer::new(output, Arc::clone(&shared), events);
            Bench { writer, shared, queue, folder }
        }

        fn ring(&self) -> Producer {
            let (producer, consumer) = ring(1024);
            self.shared.new_rings.lock().expect("not poisoned").push(consumer);
            producer
        }

        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.folder.join(name)).expect("the file is there")
        }
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    #[test]
    fn rings_and_events_are_written_and_then_it_rests() {
        let mut bench = Bench::new("rests", |_| ());
        let mut producers = [bench.ring(), bench.ring()];
        for (producer, line) in producers.iter_mut().zip([b"one\n", b"two\n"]) {
            assert_eq!(producer.push(line), Pushed::Taken);
        }
        bench.queue.try_send(b"event\n".to_vec()).expect("room");
        assert_eq!(bench.writer.round(), Next::Within(ROUND_PAUSE));
        assert_eq!(bench.text("log"), "one\ntwo\nevent\n");
        for _ in 1..QUIET_ROUNDS {
            assert_eq!(bench.writer.round(), Next::Within(ROUND_PAUSE));
        }
        assert_eq!(bench.writer.round(), Next::Woken);
        let mode = fs::metadata(bench.folder.join("log")).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}: not for everybody");
    }

    #[test]
    fn the_ring_of_an_ended_worker_is_drained_and_let_go() {
        let mut bench = Bench::new("ended", |_| ());
        let mut producer = bench.ring();
        producer.push(b"last\n");
        drop(producer);
        bench.writer.round();
        assert_eq!(bench.text("log"), "last\n");
        assert!(bench.writer.rings.is_empty());
    }

    #[test]
    fn a_full_disk_keeps_the_batch_until_there_is_room() {
        let full = |log: &PathBuf| symlink("/dev/full", log).expect("a symlink");
        let mut bench = Bench::new("full", full);
        let mut producer = bench.ring();
        producer.push(b"kept\n");
        for _ in 0..3 {
            assert_eq!(bench.writer.round(), Next::After(RETRY_PAUSE));
        }
        assert_eq!(producer.push(b"next\n"), Pushed::Taken, "the ring is the queue meanwhile");
        bench.shared.dropped_access.store(7, Ordering::Relaxed);
        bench.shared.dropped_events.store(2, Ordering::Relaxed);

        fs::remove_file(bench.folder.join("log")).expect("the symlink goes");
        bench.shared.reopen.store(true, Ordering::Release);
        assert_eq!(bench.writer.round(), Next::Within(ROUND_PAUSE));
        assert_eq!(bench.text("log"), "kept\n");
        bench.writer.round();
        let text = bench.text("log");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[1].starts_with("[ERROR] log_write_failed: "), "{text}");
        assert!(lines[1].contains(" tries=3 "), "{text}");
        assert!(lines[2].starts_with("[WARN] log_dropped: "), "{text}");
        assert!(lines[2].contains(" access=7 events=2 "), "{text}");
        assert_eq!(lines[3], "next");
    }

    #[test]
    fn drops_are_told_once_and_not_all_the_time() {
        let mut bench = Bench::new("told", |_| ());
        for dropped in [3, 4, 5] {
            bench.shared.dropped_access.store(dropped, Ordering::Relaxed);
            bench.writer.round();
        }
        assert_eq!(bench.text("log").matches("log_dropped").count(), 1);
        for _ in 0..=QUIET_ROUNDS {
            assert_eq!(bench.writer.round(), Next::Within(ROUND_PAUSE), "there is more to tell");
        }
        bench.shared.closing.store(true, Ordering::Release);
        assert_eq!(bench.writer.round(), Next::Now);
        assert!(bench.text("log").contains(" access=2 "), "the rest is told at the end");
        assert_eq!(bench.writer.round(), Next::End);
    }

    #[test]
    fn a_renamed_file_is_left_for_a_new_one() {
        let mut bench = Bench::new("renamed", |_| ());
        let mut producer = bench.ring();
        producer.push(b"before\n");
        bench.writer.round();
        fs::rename(bench.folder.join("log"), bench.folder.join("log.1")).expect("renamed");
        producer.push(b"between\n");
        bench.writer.round();
        bench.shared.reopen.store(true, Ordering::Release);
        producer.push(b"after\n");
        bench.writer.round();
        assert_eq!(bench.text("log.1"), "before\nbetween\n");
        assert_eq!(bench.text("log"), "after\n");
    }

    #[test]
    fn if_no_new_file_can_be_made_the_old_one_stays() {
        let mut bench = Bench::new("stays", |_| ());
        fs::rename(bench.folder.join("log"), bench.folder.join("old")).expect("renamed");
        fs::create_dir(bench.folder.join("log")).expect("in the way");
        bench.shared.reopen.store(true, Ordering::Release);
        bench.writer.round();
        assert!(bench.text("old").starts_with("[ERROR] log_reopen_failed: "));
    }

    #[test]
    fn a_full_disk_does_not_hold_the_end() {
        let mut bench = Bench::new("end", |log| symlink("/dev/full", log).expect("a symlink"));
        let mut producer = bench.ring();
        producer.push(b"lost\n");
        bench.shared.closing.store(true, Ordering::Release);
        assert_eq!(bench.writer.round(), Next::End);
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_the_file() {
        let options = super::super::LogOptions {
            format: LogFormat::Json,
            level: LogLevel::Info,
            file: Some("/nonexistent-folder/access.log".into()),
        };
        let error = Log::start(options).err().expect("no such folder");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("/nonexistent-folder/access.log"), "{error}");
    }
}
