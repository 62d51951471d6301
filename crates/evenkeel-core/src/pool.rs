//! A named set of backends while it serves: who is eligible now, who gets the next request, and
//! what the outcome of a request means for those who come after.
//!
//! ```text
//! pick     tied backend > a trial that is due > the strategy among the eligible > the last resort
//! report   outcome -> breaker, suspicion, response times -> who is eligible from now on
//! ```

mod begun;
mod next;
mod pick;
mod preview;
mod recall;
mod report;
mod selection;
mod waiting;

pub use begun::Begun;
pub use pick::{NoPick, Pick, Query, Tried};
pub use preview::{Candidate, Foreseen, Preview};
pub use report::{Change, Outcome};
pub use selection::Mode;
pub use waiting::WaitingRoom;

use crate::affinity::{BackendId, CookieKeys};
use crate::backend::Backend;
use crate::breaker::{self, BreakerState, HostWindow, Transition};
use crate::health::{HealthChange, HealthState, ProbeResult};
use crate::plan::{AdminState, AffinityPlan, BackendPlan, HealthCheck, PoolPlan};
use crate::retry::RetryBudget;
use crate::strategy::StrategyName;
use crate::strategy::maglev::Maglev;
use crate::strategy::ring::Ring;
use crate::strategy::round_robin::RoundRobin;
use crate::suspicion::{Doubt, Trust};
use crate::time::Nanos;
use arc_swap::ArcSwap;
use next::{News, Parts};
use selection::Selection;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often outliers are looked for, and pauses and ramps end.
const REVIEW_EVERY: Duration = Duration::from_millis(250);
/// Up to so many backends a selection is made whenever something changes.
const REFRESH_AT_ONCE: usize = 256;
/// In larger pools, so often at most.
const REFRESH_PAUSE: Duration = Duration::from_millis(20);
/// A doubt that no probe has settled ends by itself.
const DOUBT_LIFE: Duration = Duration::from_secs(10);
/// The same where nothing is probed: then traffic has to find out.
const UNPROBED_DOUBT_LIFE: Duration = Duration::from_secs(1);

/// Tables that depend on the configuration only, so that a key keeps its backend while others come
/// and go.
#[derive(Debug)]
enum KeyTable {
    None,
    Ring(Ring),
    Maglev(Maglev),
}

/// A named set of backends while it serves.
#[derive(Debug)]
pub struct Pool {
    /// As configured.
    pub plan: PoolPlan,
    /// In the order configured.
    pub backends: Vec<Arc<Backend>>,
    /// Bounds retries.
    pub budget: Arc<RetryBudget>,
    /// Where requests wait while every backend has its `connections.max`.
    pub waiting: Arc<WaitingRoom>,
    /// What stands for requests where connections or datagrams are carried.
    pub begun: Arc<Begun>,
    /// Sign and verify session cookies; `None` without cookie affinity.
    pub cookie_keys: Option<Arc<CookieKeys>>,
    keys: Arc<KeyTable>,
    /// In flight on all backends; counted only where a pick asks for it.
    in_flight: Arc<AtomicU64>,
    cursor: Arc<RoundRobin>,
    /// Shared with the same pool of other configurations.
    news: Arc<News>,
    /// How much of the news the selection knows.
    known: AtomicU64,
    selection: ArcSwap<Selection>,
    /// Held while a selection is made, so that an older view never replaces a newer one.
    selecting: Mutex<()>,
    review_at: AtomicU64,
    refresh_at: AtomicU64,
    /// Something has changed since the selection was made.
    is_stale: AtomicBool,
    by_id: HashMap<BackendId, usize>,
    is_asleep: bool,
}

impl Pool {
    /// A pool whose backends are all new.
    pub fn new(plan: PoolPlan, cookie_keys: Option<Arc<CookieKeys>>) -> Pool {
        let new = |backend: &BackendPlan| Arc::new(Backend::new(&plan.name, backend.clone()));
        let backends: Vec<_> = plan.backends.iter().map(new).collect();
        let connections = &plan.connections;
        let waiting = WaitingRoom::new(connections.queue_max, connections.queue_timeout);
        let parts = Parts {
            keys: Arc::new(key_table(&plan)),
            in_flight: Arc::default(),
            budget: Arc::default(),
            waiting: Arc::new(waiting),
            begun: Arc::default(),
            cursor: Arc::default(),
            news: Arc::default(),
        };
        Pool::of((plan, backends), cookie_keys, parts, Nanos::default())
    }

    fn of(
        (plan, backends): (PoolPlan, Vec<Arc<Backend>>),
        cookie_keys: Option<Arc<CookieKeys>>,
        parts: Parts,
        now: Nanos,
    ) -> Pool {
        let Parts { keys, in_flight, budget, waiting, begun, cursor, news } = parts;
        // Known first: what happens while the selection is made is then news.
        let known = AtomicU64::new(news.count());
        let selection = Selection::of(&plan, &backends, now);
        Pool {
            keys,
            in_flight,
            budget,
            waiting,
            begun,
            cookie_keys,
            cursor,
            news,
            known,
            selection: ArcSwap::from_pointee(selection),
            selecting: Mutex::new(()),
            review_at: AtomicU64::new(0),
            refresh_at: AtomicU64::new(0),
            // So that the first review tells the mode.
            is_stale: AtomicBool::new(now != Nanos::default()),
            by_id: backends.iter().enumerate().map(|(at, backend)| (backend.id, at)).collect(),
            is_asleep: is_asleep(&plan),
            backends,
            plan,
        }
    }

    /// True while it is scaled to zero: requests wait until it has a backend.
    #[inline]
    pub fn is_asleep(&self) -> bool {
        self.is_asleep
    }

    /// True if a request would get no answer: nobody is left, and nobody can be woken.
    pub fn is_down(&self) -> bool {
        self.mode() == Mode::Empty && !self.is_asleep
    }

    /// Calls as many of those who wait as there is room for at the backends of now.
    pub fn welcome(&self) {
        // Either we see who waits, or he sees the configuration that is in force by now.
        fence(Ordering::SeqCst);
        let waiting = self.waiting.len();
        if waiting == 0 {
            return;
        }
        let members = self.selection.load().members.len();
        let room = match self.plan.connections.max as usize {
            _ if self.is_asleep => return,
            // With nobody left, each has to find that out.
            0 => usize::MAX,
            _ if members == 0 => usize::MAX,
            max => max.saturating_mul(members),
        };
        (0..room.min(waiting)).for_each(|_| self.waiting.call_next());
    }

    /// How the pool chooses now.
    pub fn mode(&self) -> Mode {
        self.selection.load().mode
    }

    /// The same as people are told it: a pool that sleeps lacks nobody, it wakes with a request.
    pub fn told_mode(&self) -> Mode {
        let mode = self.mode();
        if mode == Mode::Empty && self.is_asleep { Mode::Normal } else { mode }
    }

    /// True while a backend takes less than its share, because it has just joined.
    pub fn is_ramping(&self, backend: &Backend, now: Nanos) -> bool {
        selection::ramp_share(&self.plan, backend, now).is_some()
    }

    /// True if the query of a pick needs a hash.
    pub fn wants_hash(&self) -> bool {
        !matches!(*self.keys, KeyTable::None)
    }

    /// Decides anew who is eligible. The new mode, if it has changed. In a large pool that takes
    /// time: it is put off, to the next `review` at the latest, if it was done a moment ago.
    pub fn refresh(&self, now: Nanos) -> Option<Mode> {
        self.news.tell();
        if self.backends.len() > REFRESH_AT_ONCE {
            let next = now.after(REFRESH_PAUSE).0;
            if now.0 < self.refresh_at.load(Ordering::Relaxed) {
                self.is_stale.store(true, Ordering::Release);
                return None;
            }
            self.refresh_at.store(next, Ordering::Relaxed);
        }
        self.select(now)
    }

    fn select(&self, now: Nanos) -> Option<Mode> {
        let _turn = self.selecting.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_stale.store(false, Ordering::Release);
        self.known.store(self.news.count(), Ordering::Relaxed);
        let next = Selection::of(&self.plan, &self.backends, now);
        let (mode, count) = (next.mode, next.members.len());
        let before = self.selection.swap(Arc::new(next));
        if count > before.members.len() {
            // Whoever came back has room for those who wait.
            self.welcome();
        }
        match mode {
            // Doubts come and go; only what was lost can be recovered.
            Mode::Doubtful => (before.mode != mode).then_some(mode),
            Mode::Normal | Mode::FailOpen | Mode::Empty => self.news.is_new(mode).then_some(mode),
        }
    }

    /// Raises a doubt about a backend. `Some` if it is new: then a probe has to find out. Where
    /// nothing is probed, only what a healthy backend would not do counts.
    pub fn doubt(&self, index: usize, doubt: Doubt, now: Nanos) -> Option<Change> {
        let backend = self.backends.get(index)?;
        if doubt.is_weak() && !self.is_probed() {
            return None;
        }
        let raised = backend.suspicion.raise(doubt, now);
        raised.then(|| Change { breaker: None, mode: self.refresh(now) })
    }

    /// The backend has shown that it is alive. `Some` if it had been in doubt.
    pub fn trust(&self, index: usize, now: Nanos) -> Option<Change> {
        let backend = self.backends.get(index)?;
        let cleared = backend.suspicion.clear(now);
        cleared.then(|| Change { breaker: None, mode: self.refresh(now) })
    }

    /// What time alone changes: pauses and ramps that end, doubts that nobody settled, outliers.
    /// Cheap to call often: it acts every `REVIEW_EVERY` only, for one of its callers.
    pub fn review(&self, now: Nanos, chance: f64) -> Vec<(usize, Change)> {
        let due = self.review_at.load(Ordering::Relaxed);
        let next = now.after(REVIEW_EVERY).0;
        let relaxed = Ordering::Relaxed;
        if now.0 < due || self.review_at.compare_exchange(due, next, relaxed, relaxed).is_err() {
            return self.catch_up(now);
        }
        let mut changes = self.eject_outliers(now, chance);
        let probed_life = DOUBT_LIFE.max(self.plan.health.timeout.saturating_mul(2));
        let life = if self.is_probed() { probed_life } else { UNPROBED_DOUBT_LIFE };
        for (index, backend) in self.backends.iter().enumerate() {
            let overdue = backend.breaker.overdue(&self.plan.breaker, now, chance);
            let changed = |transition| (index, self.changed(transition, now));
            changes.extend(overdue.map(changed));
            let stale = |(_, since): (Doubt, Nanos)| now.duration_since(since) >= life;
            // What a probe has confirmed, a probe takes back.
            let unsettled = backend.suspicion.trust() == Trust::Suspected || !self.is_probed();
            if unsettled && backend.suspicion.cause().is_some_and(stale) {
                changes.extend(self.trust(index, now).map(|change| (index, change)));
            }
        }
        if self.selection.load().ends_by_itself {
            self.is_stale.store(true, Ordering::Release);
        }
        changes.extend(self.catch_up(now));
        changes
    }

    /// Makes the selection that was put off, or that the same pool of another configuration gives
    /// reason for.
    fn catch_up(&self, now: Nanos) -> Vec<(usize, Change)> {
        let up_to_date = self.known.load(Ordering::Relaxed) == self.news.count();
        if up_to_date && !self.is_stale.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mode = self.select(now);
        mode.map(|mode| (0, Change { breaker: None, mode: Some(mode) })).into_iter().collect()
    }

    /// Backends that have fallen silent, for those who have no pick to notice it by.
    pub fn silent(&self, now: Nanos) -> Vec<usize> {
        let silent = |(_, backend): &(usize, &Arc<Backend>)| {
            backend.suspicion.trust() == Trust::Trusted && backend.is_silent(now)
        };
        self.backends.iter().enumerate().filter(silent).map(|(index, _)| index).collect()
    }

    fn eject_outliers(&self, now: Nanos, chance: f64) -> Vec<(usize, Change)> {
        if !self.plan.breaker.enabled || self.backends.len() < breaker::MIN_HOSTS {
            return Vec::new();
        }
        let window = |backend: &Arc<Backend>| match backend.breaker.state() {
            BreakerState::Closed => backend.breaker.window(&self.plan.breaker, now),
            BreakerState::Open | BreakerState::HalfOpen => HostWindow { requests: 0, successes: 0 },
        };
        let windows: Vec<HostWindow> = self.backends.iter().map(window).collect();
        let out = self.backends.iter().filter(|backend| backend.barred(now).is_some()).count();
        let room = breaker::ejectable(self.backends.len(), out);
        let mut changes = Vec::new();
        for outlier in breaker::outliers(&windows).into_iter().take(room) {
            let breaker = &self.backends[outlier.index].breaker;
            let opened = breaker.eject(&self.plan.breaker, now, outlier.trip(), chance);
            let changed = |transition| (outlier.index, self.changed(transition, now));
            changes.extend(opened.map(changed));
        }
        changes
    }

    /// After a breaker moved.
    fn changed(&self, transition: Transition, now: Nanos) -> Change {
        Change { breaker: Some(transition), mode: self.refresh(now) }
    }

    /// The index of the backend that a session cookie names.
    pub fn find_by_id(&self, id: BackendId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// Takes what a probe found; `Some` if the backend's state has changed.
    pub fn record_probe(
        &self,
        index: usize,
        result: ProbeResult,
    ) -> Option<(HealthChange, Option<Mode>)> {
        let backend = self.backends.get(index)?;
        let at = result.at;
        let was = backend.health.state();
        let change = backend.health.record(&self.plan.health, result)?;
        if was == HealthState::Unhealthy {
            backend.rejoin(at);
        }
        Some((change, self.refresh(at)))
    }

    /// True if backends are probed.
    pub fn is_probed(&self) -> bool {
        self.plan.health.check != HealthCheck::Off
    }

    /// True while somebody there may be dead: probes should come quickly.
    pub fn is_in_doubt(&self, index: usize) -> bool {
        let in_doubt = |b: &Arc<Backend>| b.suspicion.trust() != Trust::Trusted;
        self.backends.get(index).is_some_and(in_doubt)
    }
}

/// True for a pool that may have no backend, and has none that takes traffic.
fn is_asleep(plan: &PoolPlan) -> bool {
    let takes = |backend: &BackendPlan| backend.admin == AdminState::Enabled && backend.weight > 0;
    let sleeps = plan.autoscale.as_ref().is_some_and(|scale| scale.min == 0 && !scale.dry_run);
    sleeps && !plan.backends.iter().any(takes)
}

/// Positions are indices of backends; those without weight have no share.
fn key_table(plan: &PoolPlan) -> KeyTable {
    let members: Vec<(&str, u32)> = plan.backends.iter().map(|b| (&*b.name, b.weight)).collect();
    let ring = || KeyTable::Ring(Ring::new(&members, plan.hash.virtual_nodes));
    match (&plan.affinity, plan.strategy) {
        (_, StrategyName::Maglev) => KeyTable::Maglev(Maglev::new(&members)),
        (_, StrategyName::ConsistentHash) | (AffinityPlan::ClientIp, _) => ring(),
        (
            AffinityPlan::Off | AffinityPlan::Cookie(_),
            StrategyName::RoundRobin
            | StrategyName::WeightedRoundRobin
            | StrategyName::WeightedRandom
            | StrategyName::Random
            | StrategyName::LeastConnections
            | StrategyName::LeastResponseTime
            | StrategyName::PowerOfTwo,
        ) => KeyTable::None,
    }
}

#[cfg(test)]
mod tests;
