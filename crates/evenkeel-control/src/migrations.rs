//! Migrations while they run: every second both pools' counts go into the machine of core, and what
//! it wants done is done. What is to outlive the process is kept in a file.
//!
//! Reading order: `Migrations` (what can be asked), `run` (every second), `observe`, `act`, `keep`,
//! `report`.

mod act;
mod keep;
mod observe;
mod outline;
mod report;

pub use outline::outline_of;
pub use report::migration_markdown;

use crate::documents::time_text;
use crate::numbers::Numbers;
use crate::scribe::Scribe;
use act::Question;
use evenkeel_api::{Migration as Document, MigrationList, MigrationOutline};
use evenkeel_config::{Diagnostics, Source, migration_names, read_migration};
use evenkeel_core::migration::{Migration, MigrationPlan, Traffic, Unanswered, Wish};
use evenkeel_core::plan::LogLevel;
use evenkeel_core::record::{Event, EventValue};
use evenkeel_proxy::log::EventLog;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How often the machines are told what is seen.
const TICK: Duration = Duration::from_secs(1);
/// Migrations that are kept; of more, the oldest that are over go.
const MAX_MIGRATIONS: usize = 200;
/// Checks of all of them: these are written down anew every few seconds while one runs.
const MAX_CHECKS: usize = 20_000;

/// Divides the requests of routes.
pub trait Divides: Send + Sync {
    /// Divides a route's requests between two pools; `None`: all go to its pool again.
    ///
    /// # Errors
    /// Why it cannot be, in words.
    fn divide(&self, route: &str, division: Option<&Division>) -> Result<(), String>;

    /// Makes a pool the route's pool, as a revision.
    ///
    /// # Errors
    /// Why it cannot be, in words.
    fn promote(&self, route: &str, pool: &str, reason: &str) -> Result<(), String>;
}

/// How the requests of a route are divided.
#[derive(Clone, Debug, PartialEq)]
pub struct Division {
    /// Serves who has not moved.
    pub from: String,
    /// Serves who has.
    pub to: String,
    /// What decides.
    pub key: evenkeel_core::migration::CohortKey,
    /// Another one for each migration.
    pub seed: u64,
    /// Who has moved.
    pub traffic: Traffic,
    /// Requests that wait for an answer: of the old pool, of the new one.
    pub unanswered: [Unanswered; 2],
}

/// Why something about a migration is not done.
#[derive(Clone, Debug, PartialEq)]
pub enum MigrationError {
    /// There is no such migration.
    NotFound,
    /// It does not fit what is there now; in words.
    Conflict(String),
    /// The plan does not hold.
    Invalid(Diagnostics),
    /// A name in the plan is not there: its key, and why; and what else is wrong.
    Unknown(&'static str, String, Diagnostics),
    /// What the plan asks for cannot be had: the key, and why.
    Unfit(&'static str, String),
}

/// One migration, and what it was made from.
struct Entry {
    text: Source,
    machine: Migration,
    /// Checks of before a restart.
    before: Vec<evenkeel_api::MigrationCheck>,
    division: Traffic,
    unanswered: [Unanswered; 2],
    /// It is done, but its pool could not be made the route's pool yet.
    is_unpromoted: bool,
    /// Who is asked before it goes on.
    question: Option<Question>,
}

impl Entry {
    fn name(&self) -> &str {
        &self.machine.plan().name
    }
}

/// Backends that an autoscaler wants of a pool.
pub(crate) struct Coming {
    /// In all.
    pub(crate) wanted: usize,
    /// That are not there yet, as far as it knows.
    pub(crate) missing: usize,
}

/// All migrations of a process.
pub struct Migrations {
    numbers: Arc<Numbers>,
    divides: Arc<dyn Divides>,
    events: Option<EventLog>,
    scribe: Option<Arc<Scribe>>,
    entries: Mutex<Vec<Entry>>,
    /// What autoscalers are about to do, by pool.
    coming: Mutex<HashMap<Arc<str>, Coming>>,
    /// When it was last written down, in milliseconds since 1970.
    saved_ms: AtomicU64,
    /// The process before this one has said how far they are.
    is_told: AtomicBool,
}

impl Migrations {
    /// Takes up what a former process has left in `file`.
    pub fn new(
        numbers: Arc<Numbers>,
        divides: Arc<dyn Divides>,
        (events, file): (Option<EventLog>, Option<PathBuf>),
    ) -> Arc<Migrations> {
        let told = events.clone();
        let scribe = file.map(|file| {
            Scribe::of(file, move |file, error| {
                let place = file.display().to_string();
                complain(told.as_ref(), "state_not_kept", (&place, &error.to_string()));
            })
        });
        let this = Migrations {
            numbers,
            divides,
            events,
            scribe,
            entries: Mutex::default(),
            coming: Mutex::default(),
            saved_ms: AtomicU64::new(0),
            is_told: AtomicBool::new(false),
        };
        this.restore();
        Arc::new(this)
    }

    /// Runs them; ends only by being dropped.
    pub async fn run(self: Arc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.tick();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once what was decided is written down, or the disk has taken too long.
    pub(crate) async fn kept(&self) {
        if let Some(scribe) = &self.scribe {
            scribe.finished().await;
        }
    }

    /// True while a migration divides the requests of this route.
    pub fn holds(&self, route: &str) -> bool {
        let entries = self.lock();
        entries.iter().any(|it| !it.machine.state().is_over() && *it.machine.plan().route == *route)
    }

    /// True while traffic moves to or from this pool.
    pub fn concerns(&self, pool: &str) -> bool {
        let entries = self.lock();
        let active = entries.iter().filter(|it| !it.machine.state().is_over());
        let mut plans = active.map(|it| it.machine.plan());
        plans.any(|plan| *plan.from == *pool || *plan.to == *pool)
    }

    /// Backends of pools are wanted and not there yet: what is there may carry no more.
    pub(crate) fn expect(&self, coming: HashMap<Arc<str>, Coming>) {
        *self.coming.lock().unwrap_or_else(PoisonError::into_inner) = coming;
    }

    /// Backends of a pool, of which so many are there: with those that are on their way. One that
    /// has just come counts once.
    fn with_coming(&self, pool: &str, there: usize) -> usize {
        let known = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(pool).map_or(there, |it| there.max((there + it.missing).min(it.wanted)))
    }

    /// All of them, the newest last.
    pub fn list(&self) -> MigrationList {
        MigrationList { migrations: self.lock().iter().map(report::document).collect() }
    }

    /// One of them.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn get(&self, id: &str) -> Result<Document, MigrationError> {
        let entries = self.lock();
        let found = entries.iter().rev().find(|it| it.name() == id);
        found.map(report::document).ok_or(MigrationError::NotFound)
    }

    /// What a plan would take, at the rate of now.
    ///
    /// # Errors
    /// The plan does not hold, or names what is not there.
    pub fn outline(&self, text: &Source) -> Result<MigrationOutline, MigrationError> {
        let plan = self.read(text)?;
        self.check_names(&plan)?;
        Ok(outline::outline(&plan, Some(self.rate_of(&plan.route))))
    }

    /// Starts a migration.
    ///
    /// # Errors
    /// The plan does not hold, names what is not there, or the route is being migrated.
    pub fn start(&self, text: Source, by: &str) -> Result<Document, MigrationError> {
        let plan = self.read(&text)?;
        self.check_names(&plan)?;
        let mut entries = self.lock();
        let active = |it: &&Entry| !it.machine.state().is_over();
        if let Some(other) = entries.iter().filter(active).find(|it| {
            let other = it.machine.plan();
            other.route == plan.route || other.name == plan.name
        }) {
            let why = format!("the migration {:?} is under way", other.name());
            return Err(MigrationError::Conflict(why));
        }
        entries.retain(|it| *it.name() != *plan.name);
        let machine = Migration::start(plan, self.numbers.now(), unix_ms());
        let entry = Entry {
            text,
            machine,
            before: Vec::new(),
            division: Traffic::default(),
            unanswered: Default::default(),
            is_unpromoted: false,
            question: None,
        };
        let document = report::document(&entry);
        entries.push(entry);
        while is_too_much(&entries)
            && let Some(oldest) = entries.iter().position(|it| it.machine.state().is_over())
        {
            entries.remove(oldest);
        }
        drop(entries);
        self.tell("migration_started", &document, &format!("started by {by}"));
        self.save();
        Ok(document)
    }

    /// Does what a person wants.
    ///
    /// # Errors
    /// There is no such migration, or it makes no sense in its state.
    pub fn wish(self: &Arc<Self>, id: &str, wish: Wish) -> Result<Document, MigrationError> {
        let now = self.numbers.now();
        {
            let mut entries = self.lock();
            let found = entries.iter_mut().rev().find(|it| it.name() == id);
            let entry = found.ok_or(MigrationError::NotFound)?;
            entry.machine.wish(wish, now, unix_ms()).map_err(MigrationError::Conflict)?;
        }
        self.tick();
        self.save();
        self.get(id)
    }

    fn read(&self, text: &Source) -> Result<MigrationPlan, MigrationError> {
        read_migration(text, unix_ms() / 1_000).map_err(|wrong| {
            // A plan of what is not there is told so first, with everything else that is wrong.
            let missing = migration_names(text).and_then(|names| self.missing(&names));
            match missing {
                Some((key, why)) => MigrationError::Unknown(key, why, wrong),
                None => MigrationError::Invalid(wrong),
            }
        })
    }

    /// Which of a plan's route and pools is not there: its key, and why.
    fn missing(&self, [route, from, to]: &[String; 3]) -> Option<(&'static str, String)> {
        let plan = &self.numbers.snapshot().plan;
        if !plan.routes.iter().any(|it| *it.name == **route) {
            return Some(("route", format!("there is no route named {route:?}")));
        }
        let mut pools = [("from", from), ("to", to)].into_iter();
        let (key, name) =
            pools.find(|(_, name)| !plan.pools.iter().any(|it| *it.name == ***name))?;
        Some((key, format!("there is no pool named {name:?}")))
    }

    /// Routes and pools must be there, and `from` must be what serves the route.
    fn check_names(&self, plan: &MigrationPlan) -> Result<(), MigrationError> {
        let snapshot = self.numbers.snapshot();
        let names = [&plan.route, &plan.from, &plan.to].map(ToString::to_string);
        if let Some((key, why)) = self.missing(&names) {
            return Err(MigrationError::Unknown(key, why, Diagnostics(Vec::new())));
        }
        let served = snapshot.plan.routes.iter().find(|it| it.name == plan.route);
        let served = served.map_or(&[][..], |route| route.split.as_slice());
        let is_from =
            |at: usize| snapshot.plan.pools.get(at).is_some_and(|it| it.name == plan.from);
        match served {
            [(serving, _)] if is_from(*serving) => Ok(()),
            _ => {
                let why =
                    format!("the route {:?} is not served by {:?} alone", plan.route, plan.from);
                Err(MigrationError::Unfit("from", why))
            }
        }
    }

    /// True if the new pool is what serves the route, whoever has made it that.
    fn is_promoted(&self, plan: &MigrationPlan) -> bool {
        let done = MigrationPlan { from: Arc::clone(&plan.to), ..plan.clone() };
        self.check_names(&done).is_ok()
    }

    fn tell(&self, name: &'static str, document: &Document, message: &str) {
        let Some(events) = &self.events else { return };
        let stage = u64::try_from(document.stage).unwrap_or(u64::MAX);
        let state = state_text(document);
        events.emit(&Event {
            unix_nanos: unix_ms().saturating_mul(1_000_000),
            level: if name == "migration_aborted" { LogLevel::Warn } else { LogLevel::Info },
            name,
            message,
            fields: &[
                ("migration", EventValue::Text(&document.id)),
                ("route", EventValue::Text(&document.route)),
                ("state", EventValue::Text(&state)),
                ("stage", EventValue::Number(stage)),
                ("weight", EventValue::Float(document.weight)),
            ],
        });
    }
}

/// True if more is kept than should be.
fn is_too_much(entries: &[Entry]) -> bool {
    let checks = |it: &Entry| it.before.len() + it.machine.checks().len();
    entries.len() > MAX_MIGRATIONS || entries.iter().map(checks).sum::<usize>() > MAX_CHECKS
}

fn complain(events: Option<&EventLog>, name: &'static str, (file, error): (&str, &str)) {
    let Some(events) = events else { return };
    events.emit(&Event {
        unix_nanos: unix_ms().saturating_mul(1_000_000),
        level: LogLevel::Warn,
        name,
        message: "the state of migrations could not be kept or taken up",
        fields: &[("file", EventValue::Text(file)), ("error", EventValue::Text(error))],
    });
}

fn state_text(document: &Document) -> String {
    let state = serde_json::to_value(document.state).ok();
    state.and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default()
}

fn unix_ms() -> u64 {
    crate::numbers::unix_nanos() / 1_000_000
}

fn time_of(unix_ms: u64) -> String {
    time_text(unix_ms.saturating_mul(1_000_000))
}
