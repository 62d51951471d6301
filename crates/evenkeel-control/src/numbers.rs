//! The numbers of the running server, read when somebody asks for them.

use crate::autoscalers::Autoscalers;
use crate::departed::{Departed, there};
use crate::differences::Differences;
use crate::discoverers::Discoverers;
use crate::documents::time_text;
use crate::explain::explain;
use crate::history::{Histories, STEP, Scope, counted};
use crate::journal::Journal;
use crate::ledger::{Carried, Memories};
use crate::metrics::{ProcessFigures, Reloads, View};
use crate::steering::Steering;
use evenkeel_api::{ExplainRequest, Explanation, History, RecordedRequest};
use evenkeel_core::backend::Backend;
use evenkeel_core::snapshot::Snapshot;
use evenkeel_core::stats::{Series, Totals, WINDOW, Windows};
use evenkeel_core::time::Nanos;
use evenkeel_proxy::explain::Moment;
use evenkeel_proxy::mount::Errand;
use evenkeel_proxy::shared::Shared;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::Receiver;
use tokio::time::{MissedTickBehavior, interval};

/// How often the windows of the last minute move on.
const TICK: Duration = Duration::from_secs(1);

/// What is known of a running server.
pub struct Numbers {
    shared: Arc<Shared>,
    windows: Mutex<Windows>,
    histories: Mutex<Histories>,
    started: Instant,
    version: &'static str,
    /// What is shown in place of what is counted, once another process counts on.
    shown: Mutex<Option<Totals>>,
    steering: OnceLock<Arc<Steering>>,
    autoscalers: OnceLock<Weak<Autoscalers>>,
    discoverers: OnceLock<Weak<Discoverers>>,
    journal: OnceLock<Weak<Journal>>,
    /// Some backends are mocks of this process.
    demo: AtomicBool,
    differences: Arc<Differences>,
}

impl Numbers {
    /// Of this server, which begins to serve now.
    pub fn new(shared: Arc<Shared>, version: &'static str) -> Numbers {
        Numbers {
            shared,
            windows: Mutex::default(),
            histories: Mutex::default(),
            started: Instant::now(),
            version,
            shown: Mutex::default(),
            steering: OnceLock::new(),
            autoscalers: OnceLock::new(),
            discoverers: OnceLock::new(),
            journal: OnceLock::new(),
            demo: AtomicBool::new(false),
            differences: Arc::default(),
        }
    }

    /// What copies of requests have shown; whoever hears of them tells it here.
    pub fn differences(&self) -> Arc<Differences> {
        Arc::clone(&self.differences)
    }

    /// Tells from now on that some backends are mocks.
    pub fn tell_demo(&self) {
        self.demo.store(true, Ordering::Relaxed);
    }

    /// Tells what these decide too, from now on.
    pub fn scale_by(&self, autoscalers: &Arc<Autoscalers>) {
        // There is one set of them for the life of a server.
        let _ = self.autoscalers.set(Arc::downgrade(autoscalers));
    }

    /// Tells what these find too, from now on.
    pub fn discover_by(&self, discoverers: &Arc<Discoverers>) {
        // There is one set of them for the life of a server.
        let _ = self.discoverers.set(Arc::downgrade(discoverers));
    }

    /// Tells from now on what this loses too; what it keeps goes to the next process.
    pub fn remember_by(&self, journal: &Arc<Journal>) {
        // There is one reader of details for the life of a server.
        let _ = self.journal.set(Arc::downgrade(journal));
    }

    /// What was lost because nobody took it in time, by kind.
    fn losses(&self) -> Vec<(&'static str, u64)> {
        let mut losses = self.shared.events().lost();
        let journal = self.journal.get().and_then(Weak::upgrade);
        losses.extend(journal.map(|journal| journal.lost()).unwrap_or_default());
        losses
    }

    /// Counts the reloads of this road too, from now on.
    pub fn follow(&self, steering: &Arc<Steering>) {
        // There is one road for the life of a server.
        let _ = self.steering.set(Arc::clone(steering));
    }

    /// Keeps the windows of the last minute and the histories; ends only by being dropped.
    pub(crate) async fn keep_windows(self: Arc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut departed = Departed::default();
        loop {
            ticks.tick().await;
            let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
            let mut histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
            // Under both locks: see `begin_with`.
            let (now, totals) = (self.shared.now(), self.shared.stats().read());
            windows.tick(now, &totals);
            histories.tick(now, &totals);
            // What the process that counts on was told stays as it was told: see `Ledger::leave`.
            let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            if shown.is_none() && departed.is_due(now) {
                let gone = departed.tick(now, &totals, &there(&self.snapshot()));
                if !gone.is_empty() {
                    self.shared.stats().retire(&gone);
                    windows.forget(&gone);
                    histories.forget(&gone);
                }
            }
        }
    }

    /// How the traffic of a scope went; `None` if there is no such thing.
    pub(crate) fn history(&self, scope: &Scope) -> Option<History> {
        let snapshot = self.snapshot();
        let (requests, errors) = counted(scope, &self.shared.stats().read());
        let histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        if requests == 0 && !histories.know(scope, &snapshot) {
            return None;
        }
        let age = histories.ended().map_or(0, |ended| self.shared.now().since(ended));
        Some(History {
            step_seconds: u32::try_from(STEP.as_secs()).unwrap_or(u32::MAX),
            end: time_text(unix_nanos().saturating_sub(age)),
            steps: histories.steps(scope),
            requests,
            errors,
        })
    }

    /// The server that is counted.
    pub(crate) fn server(&self) -> &Shared {
        &self.shared
    }

    /// The configuration in force.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot()
    }

    /// The time now, on the clock that the server counts by.
    pub(crate) fn now(&self) -> Nanos {
        self.shared.now()
    }

    /// Everything that was counted so far.
    pub(crate) fn totals(&self) -> Totals {
        self.shared.stats().read()
    }

    /// Everything that was counted so far and goes to the next process.
    pub(crate) fn counted(&self) -> Carried {
        let Reloads { applied, unchanged, rejected, .. } = self.reloads();
        let [(_, passed), (_, failed)] = self.shared.probe_counts();
        let reloads = [applied, unchanged, rejected];
        Carried { totals: self.totals(), probes: [passed, failed], reloads, ..Carried::default() }
    }

    /// Goes on counting from there: nothing of it is recent.
    pub(crate) fn begin_with(&self, earlier: &Carried) {
        // Under the locks, so that no tick takes it for what has just happened.
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        windows.begin(&earlier.totals);
        histories.begin(&earlier.totals);
        let steps = earlier.memories.as_ref().map(|memories| memories.histories.clone());
        histories.take_up(steps.unwrap_or_default());
        self.add(earlier);
    }

    /// What is remembered, for the process after this one, and how many exchanges were ever kept.
    pub(crate) fn memories(&self) -> (Memories, u64) {
        let (requests, kept) = self.requests_after(0);
        let histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner).told();
        (Memories { requests, histories }, kept)
    }

    /// Exchanges that were kept behind the first so many, and how many that makes.
    pub(crate) fn requests_after(&self, seen: u64) -> (Vec<RecordedRequest>, u64) {
        let journal = self.journal.get().and_then(Weak::upgrade);
        journal.map_or_else(|| (Vec::new(), seen), |journal| journal.kept_after(seen))
    }

    /// Adds what another process has counted just now.
    pub(crate) fn add(&self, more: &Carried) {
        self.shared.stats().take_over(&more.totals);
        self.shared.count_probes(more.probes);
        if let Some(steering) = self.steering.get() {
            steering.count_reloads(more.reloads);
        }
        let journal = self.journal.get().and_then(Weak::upgrade);
        if let (Some(memories), Some(journal)) = (&more.memories, journal) {
            journal.remember(&memories.requests);
        }
    }

    /// Shows this from now on: the process that counts on knows it.
    pub(crate) fn show(&self, totals: Totals) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(totals);
    }

    fn reloads(&self) -> Reloads {
        self.steering.get().map_or_else(Reloads::default, |road| road.reloads())
    }

    /// Exchanges per second of the series that are `wanted`, over the last minute or since the
    /// start.
    pub(crate) fn rate(&self, wanted: impl Fn(&Series) -> bool) -> f64 {
        // Under the lock: what windows have forgotten is in no totals read after that.
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = self.totals();
        let recent = windows.recent(self.shared.now(), &totals, wanted);
        let span = self.started.elapsed().min(WINDOW).max(TICK);
        recent.count() as f64 / span.as_secs_f64()
    }

    /// What clients ask the mounts for; `None` if somebody has it already.
    pub(crate) fn open_mounts(&self) -> Option<Receiver<Errand>> {
        self.shared.open_mounts()
    }

    /// Threads that serve.
    pub(crate) fn workers(&self) -> usize {
        self.shared.stats().workers().len()
    }

    /// True if no pool has anybody left.
    pub(crate) fn is_down(&self) -> bool {
        let snapshot = self.shared.snapshot();
        !snapshot.pools.is_empty() && snapshot.pools.iter().all(|pool| pool.is_down())
    }

    /// Which way a request would go now.
    pub(crate) fn explain(
        &self,
        request: &ExplainRequest,
    ) -> Result<Explanation, (&'static str, String)> {
        let moment =
            Moment { now: self.shared.now(), unix_nanos: unix_nanos(), draw: fastrand::u64(..) };
        explain(&self.shared.snapshot(), request, moment)
    }

    /// Renders everything as it is now.
    pub(crate) fn render<T>(&self, render: impl FnOnce(&View<'_>) -> T) -> T {
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let totals = shown.unwrap_or_else(|| self.shared.stats().read());
        let snapshot = self.shared.snapshot();
        let autoscalers = self.autoscalers.get().and_then(Weak::upgrade);
        let scaling = autoscalers.map(|it| it.figures()).unwrap_or_default();
        let discoverers = self.discoverers.get().and_then(Weak::upgrade);
        let discovery = discoverers.map(|it| it.standings()).unwrap_or_default();
        render(&View {
            scaling: &scaling,
            discovery: &discovery,
            differences: &self.differences.counted(),
            totals: &totals,
            windows: &windows,
            snapshot: &snapshot,
            idle: &|backend: &Backend| u64::from(backend.idle_connections()),
            now: self.shared.now(),
            unix_nanos: unix_nanos(),
            uptime: self.started.elapsed(),
            generation: self.shared.generation(),
            reloads: self.reloads(),
            probes: &self.shared.probe_counts(),
            losses: &self.losses(),
            process: ProcessFigures::read(),
            version: self.version,
            families: &snapshot.plan.metrics,
            demo: self.demo.load(Ordering::Relaxed),
        })
    }
}

/// Nanoseconds since 1970.
pub(crate) fn unix_nanos() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}
