//! Autoscalers while they run: every second the machine of core sees its pool's signals; what it
//! decides, a crew does, which starts and stops backends by a driver.
//!
//! Reading order: `Autoscalers` (what can be asked, and every second), `signals`, `crew` (a pool's
//! backends from start to stop), `driver` and its kinds, `lease`, `keep`.

mod crew;
mod docker;
mod driver;
mod keep;
mod lease;
mod process;
mod signals;

pub use process::die_with_parent;

use crate::documents::time_text;
use crate::migrations::Migrations;
use crate::numbers::{Numbers, unix_nanos};
use crew::Crew;
use evenkeel_api::{Autoscaler as Document, AutoscalerList, ScaleDecision};
use evenkeel_core::autoscale::{AutoscalePlan, Autoscaler, Decision, Paused};
use evenkeel_core::plan::LogLevel;
use evenkeel_core::record::{Event, EventValue};
use evenkeel_proxy::log::EventLog;
use lease::Lease;
use signals::Seen;
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How often signals are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Decisions that are kept of a pool.
const MAX_DECISIONS: usize = 200;

/// Adds and removes backends.
pub trait Grows: Send + Sync {
    /// Adds a backend to a pool.
    ///
    /// # Errors
    /// Why it cannot be, in words.
    fn add(&self, pool: &str, name: &str, address: &str) -> Result<(), String>;

    /// Removes a backend, which may finish what runs for so long.
    ///
    /// # Errors
    /// Why it cannot be, in words.
    fn remove(&self, pool: &str, name: &str, drain: Duration) -> Result<(), String>;
}

/// What autoscalers work with.
#[derive(Clone)]
pub struct Ground {
    /// What the pools do.
    pub numbers: Arc<Numbers>,
    /// Changes the pools.
    pub grows: Arc<dyn Grows>,
    /// While traffic moves nothing goes.
    pub migrations: Option<Arc<Migrations>>,
    /// Where it is told.
    pub events: Option<EventLog>,
    /// Where what was started is written down; `None` = what was started ends with this process.
    pub state_dir: Option<PathBuf>,
}

/// One pool.
struct Entry {
    machine: Autoscaler,
    seen: Seen,
    crew: Crew,
    lease: Lease,
    desired: u32,
    decisions: VecDeque<ScaleDecision>,
    /// Decisions by direction, for metrics: up, down.
    counts: [u64; 2],
}

/// All autoscalers of a process.
pub struct Autoscalers {
    ground: Ground,
    entries: Mutex<HashMap<Arc<str>, Entry>>,
}

impl Autoscalers {
    /// None yet; they come with the first tick.
    pub fn new(ground: Ground) -> Arc<Autoscalers> {
        Arc::new(Autoscalers { ground, entries: Mutex::default() })
    }

    /// Runs them; ends only by being dropped.
    pub async fn run(self: Arc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.tick();
        }
    }

    /// Ends everything that was started: at a clean stop of the process.
    pub async fn end(&self) {
        let crews: Vec<Crew> = self.lock().drain().map(|(_, entry)| entry.crew).collect();
        for crew in crews {
            crew.end().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) {
        let snapshot = self.ground.numbers.snapshot();
        let planned = |name: &str| {
            let pools = &snapshot.plan.pools;
            pools.iter().find(|pool| *pool.name == *name).and_then(|pool| pool.autoscale.as_ref())
        };
        let mut entries = self.lock();
        entries.retain(|name, _| planned(name).is_some());
        for pool in &snapshot.plan.pools {
            let Some(plan) = &pool.autoscale else { continue };
            let now = self.ground.numbers.now();
            let entry = entries
                .entry(Arc::clone(&pool.name))
                .or_insert_with(|| self.entry(&pool.name, plan));
            if entry.machine.plan() != plan {
                entry.machine.replan(plan.clone());
                entry.crew.replan(plan.clone());
            }
            entry.lease.renew(&plan.lease);
            let size = entry.crew.size();
            let signals = entry.seen.signals(&self.ground, (&pool.name, size), plan);
            entry.desired = entry.desired.max(plan.min).min(plan.max);
            let acts = entry.lease.is_held() && !plan.dry_run;
            if let Some(decision) = entry.machine.tick(now, &signals) {
                entry.decided(&decision);
                self.tell(&pool.name, &decision, acts);
            }
            // Who takes a lease over does what was only advised before.
            if acts && !entry.decisions.is_empty() {
                entry.crew.want(entry.desired);
            }
        }
    }

    fn entry(&self, pool: &Arc<str>, plan: &AutoscalePlan) -> Entry {
        let crew = Crew::new(self.ground.clone(), Arc::clone(pool), plan.clone());
        Entry {
            machine: Autoscaler::new(plan.clone(), self.ground.numbers.now()),
            seen: Seen::default(),
            desired: crew.size().all().max(plan.min),
            crew,
            lease: Lease::default(),
            decisions: VecDeque::new(),
            counts: [0; 2],
        }
    }

    /// For metrics: pool, backends that there should be, decisions up and down.
    pub fn figures(&self) -> Vec<(Arc<str>, u32, [u64; 2])> {
        let entries = self.lock();
        let figure =
            |(pool, entry): (&Arc<str>, &Entry)| (Arc::clone(pool), entry.desired, entry.counts);
        let mut all: Vec<_> = entries.iter().map(figure).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Names of backends that were started, by pool.
    pub fn started(&self) -> Vec<(Arc<str>, Vec<String>)> {
        let entries = self.lock();
        entries.iter().map(|(pool, entry)| (Arc::clone(pool), entry.crew.names())).collect()
    }

    fn tell(&self, pool: &str, decision: &Decision, acts: bool) {
        let Some(events) = &self.ground.events else { return };
        let message = if acts { &*decision.reason } else { "advice only: another one scales" };
        events.emit(&Event {
            unix_nanos: unix_nanos(),
            level: LogLevel::Info,
            name: "autoscaled",
            message,
            fields: &[
                ("pool", EventValue::Text(pool)),
                ("from", EventValue::Number(u64::from(decision.from))),
                ("to", EventValue::Number(u64::from(decision.to))),
                ("reason", EventValue::Text(&decision.reason)),
            ],
        });
    }
}

impl Entry {
    fn decided(&mut self, decision: &Decision) {
        self.desired = decision.to;
        self.counts[usize::from(decision.to < decision.from)] += 1;
        self.decisions.push_back(ScaleDecision {
            time: time_text(unix_nanos()),
            from: decision.from,
            to: decision.to,
            reason: decision.reason.clone(),
            signals: decision.signals.iter().map(|(name, it)| ((*name).to_owned(), *it)).collect(),
        });
        while self.decisions.len() > MAX_DECISIONS {
            self.decisions.pop_front();
        }
    }

    fn document(&self, pool: &str) -> Document {
        let plan = self.machine.plan();
        let trouble = self.crew.trouble();
        Document {
            pool: pool.to_owned(),
            current: self.crew.size().all(),
            desired: self.desired,
            min: plan.min,
            max: plan.max,
            paused: self.machine.is_paused(),
            acts: self.lease.is_held() && !plan.dry_run,
            held: trouble.or_else(|| self.machine.held().map(str::to_owned)),
            decisions: self.decisions.iter().cloned().collect(),
        }
    }
}

impl Autoscalers {
    /// One for each pool that scales.
    pub fn list(&self) -> AutoscalerList {
        let entries = self.lock();
        let mut autoscalers: Vec<Document> =
            entries.iter().map(|(pool, entry)| entry.document(pool)).collect();
        autoscalers.sort_by(|a, b| a.pool.cmp(&b.pool));
        AutoscalerList { autoscalers }
    }

    /// Stops or starts one of them; `None` if there is none for this pool.
    pub fn set_paused(&self, pool: &str, paused: Paused) -> Option<Document> {
        let mut entries = self.lock();
        let entry = entries.get_mut(pool)?;
        entry.machine.set_paused(paused);
        Some(entry.document(pool))
    }
}
