//! What was counted, and what is known of backends, outlives the process: in `state_dir` over a
//! restart, and by a pipe over a handover, so that no counter ever goes backwards, and nobody is
//! asked who was known to be dead.
//!
//! ```text
//!   start:     counters.json ──▶ counts          a file that cannot be read is set aside
//!              verdicts.json ──▶ backends        unless it is old
//!   running:   counts ──▶ counters.json          every 5 seconds if changed, and at the end
//!              who is out ──▶ verdicts.json
//!   handover:  old ── everything ──▶ new         last requests and charts too; and from then on,
//!                                                until the old one ends,
//!              old ── what came since ──▶ new    once a second; only the new one writes files
//! ```

mod form;
mod memories;
mod page;
mod verdicts;

pub(crate) use form::{Carried, TimesForm};
pub(crate) use memories::{HistoryForm, Memories};

use crate::migrations::Migrations;
use crate::numbers::{Numbers, unix_nanos};
use evenkeel_core::plan::LogLevel;
use evenkeel_core::record::{Event, EventValue};
use evenkeel_proxy::log::EventLog;
use page::Page;
use serde_json::Value;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use verdicts::{TakenUp, Use, Verdicts};

/// What a crash may lose.
const INTERVAL: Duration = Duration::from_secs(5);
/// In `state_dir`: what was counted.
const COUNTERS: &str = "counters.json";
/// In `state_dir`: what speaks against backends.
const VERDICTS: &str = "verdicts.json";
/// Verdicts of a process that has ended longer ago than this are not believed any more.
const FRESH: Duration = Duration::from_secs(60);

/// What is written down.
#[derive(Debug)]
struct Book {
    counters: Page,
    verdicts: Page,
    /// What the process after this one has been told.
    told: Carried,
    /// How many exchanges were kept up to then.
    remembered: u64,
}

/// What was counted, on its way to the next process.
pub struct Ledger {
    numbers: Arc<Numbers>,
    events: Option<EventLog>,
    migrations: OnceLock<Arc<Migrations>>,
    book: Mutex<Book>,
}

impl Ledger {
    /// Of these numbers, kept in this directory.
    pub fn new(
        numbers: Arc<Numbers>,
        state_dir: Option<&Path>,
        events: Option<EventLog>,
    ) -> Arc<Ledger> {
        let page = |name, without| Page::of(state_dir.map(|folder| folder.join(name)), without);
        let counters = page(COUNTERS, "counters begin at 0");
        let verdicts = page(VERDICTS, "what was known of backends is forgotten");
        let book = Mutex::new(Book { counters, verdicts, told: Carried::default(), remembered: 0 });
        Arc::new(Ledger { numbers, events, migrations: OnceLock::new(), book })
    }

    /// Tells the process after this one how far these are, too.
    pub fn carry(&self, migrations: &Arc<Migrations>) {
        // There is one set of them for the life of a process.
        let _ = self.migrations.set(Arc::clone(migrations));
    }

    /// Goes on where the files end, if there are any.
    pub fn restore(&self) {
        let mut book = self.lock();
        let counters = book.counters.read(Carried::parse);
        match counters {
            Ok(Some(carried)) => self.numbers.begin_with(&carried),
            Ok(None) => {}
            Err(error) => self.complain("state_unreadable", &book.counters, &error),
        }
        let verdicts = book.verdicts.read(|text| {
            let value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
            Verdicts::parse(&value)
        });
        match verdicts {
            Ok(Some(verdicts)) if verdicts.is_empty() => {}
            Ok(Some(verdicts)) if book.verdicts.is_younger_than(FRESH) => {
                self.take_up(verdicts, Use::All);
            }
            Ok(Some(verdicts)) => {
                let why = "it is too old to be believed: breakers that are still open are taken up";
                self.complain("state_stale", &book.verdicts, why);
                self.take_up(verdicts, Use::OpenBreakers);
            }
            Ok(None) => {}
            Err(error) => self.complain("state_unreadable", &book.verdicts, &error),
        }
    }

    /// Goes on counting where the process before this one stopped, with what it knew of backends.
    ///
    /// # Errors
    /// What it said makes no sense.
    pub fn begin_with(&self, text: &[u8]) -> Result<(), String> {
        let carried = Carried::parse(text)?;
        self.numbers.begin_with(&carried);
        // Older programs say nothing of these.
        if let (Some(said), Some(own)) = (&carried.migrations, self.migrations.get()) {
            own.take_over(said).map_err(|why| format!("migrations: {why}"))?;
        }
        if let Some(verdicts) = &carried.verdicts {
            let verdicts = Verdicts::parse(verdicts).map_err(|why| format!("verdicts: {why}"))?;
            self.take_up(verdicts, Use::All);
        }
        Ok(())
    }

    fn take_up(&self, verdicts: Verdicts, what: Use) {
        let TakenUp { backends, unhealthy, open } = verdicts.take_up(self.numbers.server(), what);
        let fields = [
            ("backends", EventValue::Number(backends)),
            ("unhealthy", EventValue::Number(unhealthy)),
            ("breakers_open", EventValue::Number(open)),
        ];
        let message = "what an earlier process knew of backends holds on";
        self.tell((LogLevel::Info, "verdicts_taken_up"), message, &fields);
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
        let Book { counters, verdicts, .. } = &mut *book;
        if counters.is_kept() {
            let text = self.numbers.counted().to_text();
            let written = counters.write(&text, || text.clone());
            self.check_written(counters, written);
        }
        if verdicts.is_kept() {
            let (standing, marks) = Verdicts::standing(self.numbers.server());
            let text = || standing.to_json().to_string().into_bytes();
            let written = verdicts.write(marks.as_bytes(), text);
            self.check_written(verdicts, written);
        }
    }

    fn check_written(&self, page: &mut Page, written: io::Result<()>) {
        if let Some(error) = page.news_of(written) {
            self.complain("state_not_kept", page, &error);
        }
    }

    /// Everything that was counted, and what is known of backends, for the process after this one,
    /// which writes the files from now on.
    pub fn leave(&self) -> Vec<u8> {
        let mut book = self.lock();
        book.counters.leave();
        book.verdicts.leave();
        // From here on no series is counted with others: what came since must be told from it.
        self.numbers.show(self.numbers.totals());
        book.told = self.numbers.counted();
        self.numbers.show(book.told.totals.clone());
        let verdicts = Some(Verdicts::all(self.numbers.server()).to_json());
        let migrations = self.migrations.get().map(|it| it.to_json());
        let (memories, remembered) = self.numbers.memories();
        book.remembered = remembered;
        let memories = Some(memories);
        Carried { verdicts, migrations, memories, ..book.told.clone() }.to_text()
    }

    /// What was counted since the process after this one was told last; `None` if nothing was.
    pub fn rest(&self) -> Option<Vec<u8>> {
        let mut book = self.lock();
        let now = self.numbers.counted();
        let mut rest = now.since(&book.told);
        let (requests, remembered) = self.numbers.requests_after(book.remembered);
        book.remembered = remembered;
        let memories = Memories { requests, ..Memories::default() };
        rest.memories = (!memories.is_empty()).then_some(memories);
        // What was told before has arrived by now, so nobody sees more here than there.
        self.numbers.show(std::mem::replace(&mut book.told, now).totals);
        (!rest.is_empty() || rest.memories.is_some()).then(|| rest.to_text())
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complain(&self, name: &'static str, page: &Page, error: &str) {
        let file = page.place();
        let fields = [("file", EventValue::Text(&file)), ("error", EventValue::Text(error))];
        let message = "what outlives a process could not be kept or taken up";
        self.tell((LogLevel::Warn, name), message, &fields);
    }

    fn tell(
        &self,
        (level, name): (LogLevel, &'static str),
        message: &str,
        fields: &[(&'static str, EventValue<'_>)],
    ) {
        if let Some(events) = &self.events {
            events.emit(&Event { unix_nanos: unix_nanos(), level, name, message, fields });
        }
    }
}

#[cfg(test)]
mod tests;
