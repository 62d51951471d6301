//! Autoscalers while they run: every second the machine of core sees its pool's signals; what it
//! decides, a crew does, which starts and stops backends by a driver.
//!
//! Reading order: `Autoscalers` (what can be asked, and every second), `signals`, `crew` (a pool's
//! backends from start to stop), `driver` and its kinds, `lease`, `keep`.

mod begin;
mod crew;
mod docker;
mod document;
mod driver;
mod keep;
mod kubernetes;
mod lease;
#[cfg(unix)]
mod process;
#[cfg(windows)]
#[path = "autoscalers/no_process.rs"]
mod process;
mod sight;
mod signals;
mod standing;
mod ties;

pub use process::guard;
pub use standing::{Standing, standing};
pub use ties::{Heritage, Ties};

use crate::documents::time_text;
use crate::migrations::{Coming, Migrations};
use crate::numbers::{Numbers, unix_nanos};
pub(crate) use crew::is_numbered;
use crew::{Crew, Size};
use evenkeel_api::{Autoscaler as Document, ScaleDecision};
use evenkeel_core::autoscale::{AutoscalePlan, Autoscaler, Decision, Paused};
use evenkeel_core::plan::{LogLevel, PoolPlan};
use evenkeel_core::pool::Pool;
use evenkeel_core::record::{Event, EventValue};
use evenkeel_core::snapshot::Snapshot;
use evenkeel_proxy::log::EventLog;
use keep::Page;
use lease::Lease;
use process::Process;
use signals::Seen;
use std::collections::HashMap;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use ties::{Course, Left};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How often signals are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often it is asked whether what a former process has left was found.
const BEGIN_POLL: Duration = Duration::from_millis(20);
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

    /// Names of the backends of a pool that were added, and not removed.
    fn grown(&self, pool: &str) -> Vec<String>;
}

/// What this machine is called.
#[cfg(unix)]
fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(windows)]
fn machine() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
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
    /// What ties what was started to this process, and what another one has left.
    pub ties: Arc<Ties>,
}

/// One pool.
struct Entry {
    machine: Autoscaler,
    seen: Seen,
    crew: Crew,
    /// The configuration that was looked at last, and what it says of the pool apart from ours.
    configured: Option<(u64, PoolPlan)>,
    lease: Lease,
    /// Something was decided here, and not only by a process before this one.
    decided: bool,
    course: Course,
    page: Arc<Page>,
}

/// All autoscalers of a process.
pub struct Autoscalers {
    ground: Ground,
    entries: Mutex<HashMap<Arc<str>, Entry>>,
    /// What every pool had counted before anybody was let in.
    begun: Mutex<HashMap<Arc<str>, (u64, u64)>>,
    /// Another process decides, or is about to.
    resting: AtomicBool,
}

impl Autoscalers {
    /// None yet; they come with the first tick.
    pub fn new(ground: Ground) -> Arc<Autoscalers> {
        let (entries, begun) = (Mutex::default(), Mutex::default());
        Arc::new(Autoscalers { ground, entries, begun, resting: AtomicBool::new(false) })
    }

    /// Notes what was counted so far, before anybody is let in.
    pub(crate) fn begin(&self) {
        let snapshot = self.ground.numbers.snapshot();
        let pools = snapshot.plan.pools.iter().map(|pool| Arc::clone(&pool.name));
        let begun = pools.map(|pool| (Arc::clone(&pool), self.counted(&pool))).collect();
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = begun;
    }

    fn counted(&self, pool: &str) -> (u64, u64) {
        let snapshot = self.ground.numbers.snapshot();
        let found = snapshot.pools.iter().find(|it| *it.plan.name == *pool);
        let totals = self.ground.numbers.totals().merged(|series| *series.pool == *pool);
        signals::counted(&totals, found.map(|pool| &**pool))
    }

    /// Runs them; ends only by being dropped.
    pub async fn run(self: Arc<Self>) {
        self.end_strays().await;
        let mut ticks = interval(TICK);
        // On the grid of the seconds, so that intervals do not drift.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.tick(),
                () = sleep(BEGIN_POLL), if self.awaits_crews() => self.begin_late(),
                pool = poll_fn(|cx| self.poll_called(cx)) => self.wake(&pool),
            }
        }
    }

    /// Ends what a former process has started for pools that do not scale any more.
    async fn end_strays(&self) {
        let snapshot = self.ground.numbers.snapshot();
        let scaled = snapshot.plan.pools.iter().filter(|pool| pool.autoscale.is_some());
        let pools: Vec<&str> = scaled.map(|pool| &*pool.name).collect();
        let mut left = self.ground.ties.take_strays(&pools);
        let files = self.ground.state_dir.as_ref().map(|folder| keep::strays(folder, &pools));
        for file in files.into_iter().flatten() {
            // One that cannot be read stays there for whoever looks.
            let Ok(kept) = keep::read(&file) else { continue };
            left.extend(kept.processes);
            // What stays is read again by the next start, and its processes are gone by then.
            let _ = fs::remove_file(&file);
        }
        for process in left.iter().filter_map(Process::adopt) {
            process.stop().await;
        }
    }

    /// A pool without backends that a request waits for.
    fn poll_called(&self, cx: &Context<'_>) -> Poll<Arc<str>> {
        if self.is_resting() {
            return Poll::Pending;
        }
        let snapshot = self.ground.numbers.snapshot();
        let entries = self.lock();
        let sleeps = |pool: &&Arc<Pool>| {
            let entry = entries.get(&pool.plan.name);
            entry.is_some_and(|entry| entry.machine.would_wake())
        };
        for pool in snapshot.pools.iter().filter(sleeps) {
            pool.waiting.set_alarm(cx.waker());
            if pool.waiting.starts() > 0 {
                return Poll::Ready(Arc::clone(&pool.plan.name));
            }
        }
        Poll::Pending
    }

    /// Wants a first backend, without waiting for the next look.
    fn wake(&self, pool: &Arc<str>) {
        let snapshot = self.ground.numbers.snapshot();
        let found = snapshot.pools.iter().find(|it| it.plan.name == *pool);
        let mut entries = self.lock();
        let (Some(found), Some(entry)) = (found, entries.get_mut(pool)) else { return };
        let waiting = u32::try_from(found.waiting.starts()).unwrap_or(u32::MAX);
        if let Some(decision) = entry.machine.called(waiting) {
            self.decided(pool, entry, &decision);
        }
        entry.act();
    }

    /// Ends everything that was started: at a clean stop of the process.
    pub async fn end(&self) {
        let entries: Vec<Entry> = self.lock().drain().map(|(_, entry)| entry).collect();
        let mut ending = JoinSet::new();
        for entry in entries {
            ending.spawn(entry.crew.end());
            if let Some(giving) = entry.lease.give_up() {
                ending.spawn(async move { drop(giving.await) });
            }
        }
        while ending.join_next().await.is_some() {}
    }

    /// Decides nothing from now on, and says what another process needs to go on.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn bequeath(&self) -> io::Result<Heritage> {
        self.resting.store(true, Ordering::Release);
        let entries = self.lock();
        let left: Vec<_> = entries.iter().map(|(pool, entry)| entry.left(pool)).collect();
        self.ground.ties.bequeath(&left)
    }

    /// Nobody has taken over: decides again.
    pub fn go_on(&self) {
        self.resting.store(false, Ordering::Release);
    }

    /// Another process has taken over: what runs is its own.
    pub fn leave(&self) {
        self.resting.store(true, Ordering::Release);
        for (_, entry) in self.lock().drain() {
            entry.page.finish();
            // It is done by a task that goes on.
            drop(entry.lease.give_up());
        }
    }

    fn is_resting(&self) -> bool {
        self.resting.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) {
        if self.is_resting() {
            return;
        }
        let snapshot = self.ground.numbers.snapshot();
        let planned = |name: &str| {
            let pools = &snapshot.plan.pools;
            pools.iter().find(|pool| *pool.name == *name).and_then(|pool| pool.autoscale.as_ref())
        };
        let mut entries = self.lock();
        entries.retain(|name, _| planned(name).is_some());
        let mut coming = HashMap::new();
        for pool in &snapshot.plan.pools {
            let Some(plan) = &pool.autoscale else { continue };
            let now = self.ground.numbers.now();
            let entry = entries
                .entry(Arc::clone(&pool.name))
                .or_insert_with(|| self.entry(&pool.name, plan));
            if entry.machine.plan() != plan {
                entry.machine.replan(plan.clone(), now);
                entry.crew.replan(plan.clone());
            }
            entry.lease.renew(&plan.lease, &pool.name);
            if let Some(size) = self.look(&snapshot, (pool, plan), entry) {
                coming.insert(Arc::clone(&pool.name), entry.coming(size));
            }
        }
        if let Some(migrations) = &self.ground.migrations {
            migrations.expect(coming);
        }
    }

    /// One pool at one time; `None` until it is known what a former process has left.
    fn look(
        &self,
        snapshot: &Snapshot,
        (pool, plan): (&PoolPlan, &AutoscalePlan),
        entry: &mut Entry,
    ) -> Option<Size> {
        let size = entry.crew.size()?;
        entry.notice(snapshot, pool);
        let recounted = entry.crew.recounted();
        if let Some(count) = recounted {
            entry.machine.adopt(count);
        }
        let signals = entry.seen.signals(&self.ground, (&pool.name, size), plan);
        if let Some(decision) = entry.machine.tick(self.ground.numbers.now(), &signals) {
            self.decided(&pool.name, entry, &decision);
        }
        entry.act();
        if let Some(count) = recounted {
            entry.crew.heeded(count);
        }
        Some(size)
    }

    fn decided(&self, pool: &str, entry: &mut Entry, decision: &Decision) {
        entry.decided(decision);
        self.tell(pool, decision, entry);
    }

    fn entry(&self, pool: &Arc<str>, plan: &AutoscalePlan) -> Entry {
        let Ground { state_dir, events, .. } = &self.ground;
        let page = Page::of(pool, state_dir.as_deref(), events.clone());
        // First: the crew takes what was left.
        let course = self.ground.ties.course(pool).unwrap_or_else(|| page.known().course);
        let crew =
            Crew::new((self.ground.clone(), Arc::clone(&page)), Arc::clone(pool), plan.clone());
        let now = self.ground.numbers.now();
        let mut machine = Autoscaler::new(plan.clone(), now);
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner).remove(pool);
        machine.count_from(now, begun.unwrap_or_else(|| self.counted(pool)));
        machine.set_paused(if course.paused { Paused::Yes } else { Paused::No });
        Entry {
            machine,
            seen: Seen::default(),
            crew,
            configured: None,
            lease: Lease::of(&plan.lease, pool),
            decided: false,
            course,
            page,
        }
    }

    /// For metrics: pool, backends that there should be, decisions up and down.
    pub fn figures(&self) -> Vec<(Arc<str>, u32, [u64; 2])> {
        let entries = self.lock();
        let figure = |(pool, entry): (&Arc<str>, &Entry)| {
            (Arc::clone(pool), entry.machine.desired().unwrap_or_default(), entry.course.counts)
        };
        let mut all: Vec<_> = entries.iter().map(figure).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Names of backends that were started, by pool.
    pub fn started(&self) -> Vec<(Arc<str>, Vec<String>)> {
        let entries = self.lock();
        entries.iter().map(|(pool, entry)| (Arc::clone(pool), entry.crew.names())).collect()
    }

    fn tell(&self, pool: &str, decision: &Decision, entry: &Entry) {
        let Some(events) = &self.ground.events else { return };
        let unknown = entry.lease.trouble().map(|why| format!("advice only: {why}"));
        let message = match (entry.acts(), &unknown) {
            (true, _) => &*decision.reason,
            (false, _) if entry.machine.plan().dry_run => "a dry run: nothing is done",
            (false, Some(unknown)) => unknown,
            (false, None) => "advice only: another one scales",
        };
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
    /// True if what it decides is done here.
    fn acts(&self) -> bool {
        self.lease.is_held() && !self.machine.plan().dry_run
    }

    /// Who takes a lease over does what was only advised before. A driver that is told the count
    /// hears of no count that nobody has decided, and nothing from who only advises: another one
    /// tells it, which is not to be undone.
    fn act(&self) {
        let starts_each = driver::starts_each(&self.machine.plan().driver);
        let settled = starts_each || self.decided;
        match self.machine.desired().filter(|_| self.acts() && settled) {
            Some(desired) => self.crew.want(desired),
            None if starts_each => {}
            None => self.crew.rest(),
        }
    }

    /// Backends that it has begun to start, or is about to.
    fn coming(&self, size: Size) -> Coming {
        let starts = self.acts() && driver::starts_each(&self.machine.plan().driver);
        let wanted = if starts { self.machine.desired().unwrap_or(0) } else { 0 };
        let count = |it: u32| usize::try_from(it).unwrap_or(usize::MAX);
        Coming { wanted: count(wanted), missing: count(wanted.saturating_sub(size.ready)) }
    }

    /// After somebody has changed the pool nothing goes for a while. What we add and remove
    /// ourselves is no such change.
    fn notice(&mut self, snapshot: &Snapshot, pool: &PoolPlan) {
        let known = self.configured.as_ref().map(|(generation, _)| *generation);
        if known == Some(snapshot.generation) {
            return;
        }
        let ours = self.crew.names();
        let mut apart = pool.clone();
        apart.backends.retain(|backend| !ours.iter().any(|name| **name == *backend.name));
        let same = self.configured.as_ref().is_none_or(|(_, before)| *before == apart);
        if !same {
            self.machine.settle();
        }
        self.configured = Some((snapshot.generation, apart));
    }

    fn decided(&mut self, decision: &Decision) {
        self.decided = true;
        self.course.counts[usize::from(decision.to < decision.from)] += 1;
        self.course.decisions.push_back(ScaleDecision {
            time: time_text(unix_nanos()),
            from: decision.from,
            to: decision.to,
            reason: decision.reason.clone(),
            signals: decision.signals.iter().map(|(name, it)| ((*name).to_owned(), *it)).collect(),
        });
        while self.course.decisions.len() > MAX_DECISIONS {
            self.course.decisions.pop_front();
        }
        self.page.set_course(self.course());
    }

    fn course(&self) -> Course {
        Course { paused: self.machine.is_paused(), ..self.course.clone() }
    }

    /// What the next process is told.
    fn left(&self, pool: &str) -> Left {
        self.crew.left(pool, self.course())
    }
}

impl Autoscalers {
    /// Returns once what is known of this one is written down, or the disk has taken too long.
    pub(crate) async fn kept(&self, pool: &str) {
        let page = self.lock().get(pool).map(|entry| Arc::clone(&entry.page));
        if let Some(page) = page {
            page.finished().await;
        }
    }

    /// Stops or starts one of them; `None` if there is none for this pool.
    pub fn set_paused(&self, pool: &str, paused: Paused) -> Option<Document> {
        let mut entries = self.lock();
        let entry = entries.get_mut(pool)?;
        entry.machine.set_paused(paused);
        entry.page.set_course(entry.course());
        Some(entry.document(pool))
    }
}
