//! What was counted outlives the process: in `state_dir` over a restart, and by a pipe over a
//! handover, so that no counter ever goes backwards.
//!
//! ```text
//!   start:     counters.json ──▶ counts          a file that cannot be read is set aside
//!   running:   counts ──▶ counters.json          every 5 seconds if changed, and at the end
//!   handover:  old ── everything ──▶ new         and from then on, until the old one ends,
//!              old ── what came since ──▶ new    once a second; only the new one writes the file
//! ```

mod form;

pub(crate) use form::Carried;

use crate::numbers::{Numbers, unix_nanos};
use crate::state_file;
use evenkeel_core::plan::LogLevel;
use evenkeel_core::record::{Event, EventValue};
use evenkeel_core::strategy::hash::hash;
use evenkeel_proxy::log::EventLog;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// What a crash may lose.
const INTERVAL: Duration = Duration::from_secs(5);
/// In `state_dir`.
const FILE: &str = "counters.json";

/// Where counts are written down.
#[derive(Debug, Default)]
struct Book {
    /// `None` without `state_dir`, if what is there must not be overwritten, and once another
    /// process writes it.
    file: Option<PathBuf>,
    /// What is in the file.
    written: Option<u64>,
    /// The last attempt to write failed, and that was told.
    failing: bool,
    /// What the process after this one has been told.
    told: Carried,
}

/// What was counted, on its way to the next process.
pub struct Ledger {
    numbers: Arc<Numbers>,
    events: Option<EventLog>,
    book: Mutex<Book>,
}

impl Ledger {
    /// Of these numbers, kept in this directory.
    pub fn new(
        numbers: Arc<Numbers>,
        state_dir: Option<&Path>,
        events: Option<EventLog>,
    ) -> Arc<Ledger> {
        let file = state_dir.map(|folder| folder.join(FILE));
        let book = Mutex::new(Book { file, ..Book::default() });
        Arc::new(Ledger { numbers, events, book })
    }

    /// Goes on counting where the file ends, if there is one.
    pub fn restore(&self) {
        let mut book = self.lock();
        let Some(file) = book.file.clone() else { return };
        let text = state_file::read(&file).map_err(|error| error.to_string());
        let error = match text.map(|text| text.map(|text| Carried::parse(&text))) {
            Ok(None) => return,
            Ok(Some(Ok(carried))) => return self.numbers.begin_with(&carried),
            Ok(Some(Err(error))) | Err(error) => error,
        };
        let fate = match state_file::set_aside(&file) {
            Ok(aside) => format!("kept as {}; counters begin at 0", aside.display()),
            Err(problem) => {
                book.file = None;
                format!("left alone, and no counters are kept from now on: {problem}")
            }
        };
        self.complain("state_unreadable", &file, &format!("{error}; {fate}"));
    }

    /// Goes on counting where the process before this one stopped.
    ///
    /// # Errors
    /// What it said makes no sense.
    pub fn begin_with(&self, text: &[u8]) -> Result<(), String> {
        self.numbers.begin_with(&Carried::parse(text)?);
        Ok(())
    }

    /// Adds what the process before this one has counted since it said so last.
    ///
    /// # Errors
    /// What it said makes no sense.
    pub fn add(&self, text: &[u8]) -> Result<(), String> {
        self.numbers.add(&Carried::parse(text)?);
        Ok(())
    }

    /// Keeps the file up to date; ends only by being dropped.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first one comes at once.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let own = Arc::clone(&self);
            // A panic has been reported on its own thread.
            let _ = tokio::task::spawn_blocking(move || own.save()).await;
        }
    }

    /// Writes everything down, if anything changed. A disk that refuses is told once.
    pub fn save(&self) {
        let mut book = self.lock();
        let Some(file) = book.file.clone() else { return };
        let text = self.numbers.counted().to_text();
        let own = hash(&text);
        if book.written == Some(own) {
            return;
        }
        match state_file::write(&file, &text) {
            Ok(()) => {
                book.written = Some(own);
                book.failing = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut book.failing, true) {
                    self.complain("state_not_kept", &file, &error.to_string());
                }
            }
        }
    }

    /// Everything that was counted, for the process after this one, which writes the file from now
    /// on.
    pub fn leave(&self) -> Vec<u8> {
        let mut book = self.lock();
        book.file = None;
        book.told = self.numbers.counted();
        self.numbers.show(book.told.totals.clone());
        book.told.to_text()
    }

    /// What was counted since the process after this one was told last; `None` if nothing was.
    pub fn rest(&self) -> Option<Vec<u8>> {
        let mut book = self.lock();
        let now = self.numbers.counted();
        let rest = now.since(&book.told);
        // What was told before has arrived by now, so nobody sees more here than there.
        self.numbers.show(std::mem::replace(&mut book.told, now).totals);
        (!rest.is_empty()).then(|| rest.to_text())
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complain(&self, name: &'static str, file: &Path, error: &str) {
        let Some(events) = &self.events else { return };
        let file = file.display().to_string();
        let fields = [("file", EventValue::Text(&file)), ("error", EventValue::Text(error))];
        let message = "counters could not be kept or taken up";
        events.emit(&Event {
            unix_nanos: unix_nanos(),
            level: LogLevel::Warn,
            name,
            message,
            fields: &fields,
        });
    }
}
