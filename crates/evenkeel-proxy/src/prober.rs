//! Probes every backend for as long as the server runs: as often as its pool says, and at once when
//! somebody doubts it. Which one is due is decided in core; here it is done.

use crate::clock::Nanos;
use crate::connect::Beginning;
use crate::net::Net;
use crate::probe::{ProbeAnswer, ProbeTarget, probe};
use crate::shared::Shared;
use crate::verdict::{Teller, chance};
use evenkeel_core::backend::ConnectTimes;
use evenkeel_core::health::{
    HealthChange, HealthState, Pace, ProbeFault, ProbeResult, ProbeSchedule, Streak,
    next_probe_delay,
};
use evenkeel_core::plan::{HealthCheck, LogLevel};
use evenkeel_core::pool::{Change, Pool};
use evenkeel_core::record::EventValue;
use evenkeel_core::suspicion::Doubt;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Probes that run at the same time.
const MAX_RUNNING: usize = 4096;
/// A backend in doubt that has not answered its probe by then, or by four times what its probes
/// usually take, is taken for gone: what waits for it may go elsewhere. Longer than a pause for
/// garbage collection.
const CONFIRM_AFTER: Duration = Duration::from_millis(250);
/// Shortest time between two probes of a backend.
const PROBE_SPACING: Duration = Duration::from_millis(100);
/// In a server with more targets than this, second probes are spread over the interval.
const SPREAD_FROM: usize = 64;
/// Longest wait for the next probe of a backend in doubt.
const DOUBT_DELAY: Duration = Duration::from_millis(250);
/// How often the prober looks whether the server stops.
const STOP_POLL: Duration = Duration::from_millis(50);
/// While a name has no address yet, its probe is put off for so long.
const UNRESOLVED_DELAY: Duration = Duration::from_millis(100);

/// One backend of one pool.
struct Target {
    pool: Arc<Pool>,
    index: usize,
    probed: bool,
    /// When its last probe began.
    began: Nanos,
    /// What its probes usually take.
    usual: ConnectTimes,
}

impl Target {
    fn new(pool: Arc<Pool>, index: usize) -> Target {
        let usual = ConnectTimes::default();
        Target { pool, index, probed: false, began: Nanos::default(), usual }
    }
}

/// How a probe ended.
struct Ended {
    /// Of its backend.
    slot: usize,
    began: Nanos,
    /// `None`: nothing was learnt.
    fault: Option<Option<ProbeFault>>,
}

/// Probes the backends of a server.
pub struct Prober<N: Net> {
    net: Rc<N>,
    shared: Arc<Shared>,
    /// Of the snapshot that targets are of.
    generation: u64,
    /// By the backend's slot, which is also its index in the schedule.
    targets: HashMap<usize, Target>,
    schedule: ProbeSchedule,
    running: usize,
    /// Targets that have not been probed yet.
    unprobed: usize,
}

impl<N: Net> Prober<N> {
    /// For the pools of the snapshot in force, whichever that is.
    pub fn new(net: N, shared: Arc<Shared>) -> Prober<N> {
        let mut prober = Prober {
            net: Rc::new(net),
            shared,
            generation: 0,
            targets: HashMap::new(),
            schedule: ProbeSchedule::new(),
            running: 0,
            unprobed: 0,
        };
        prober.follow();
        prober
    }

    /// Takes the backends of the snapshot in force for targets: new ones are due at once, those
    /// whose check has changed too, and the others keep their rhythm.
    fn follow(&mut self) {
        if self.generation == self.shared.generation() {
            return;
        }
        let snapshot = self.shared.snapshot();
        self.generation = snapshot.generation;
        let now = self.shared.clock.now();
        let mut before = std::mem::take(&mut self.targets);
        for pool in snapshot.pools.iter().filter(|pool| pool.is_probed()) {
            for (index, backend) in pool.backends.iter().enumerate() {
                let known = before.remove(&backend.slot);
                let due = known.as_ref().is_none_or(|it| it.pool.plan.health != pool.plan.health);
                let target = match known {
                    Some(known) => Target { pool: Arc::clone(pool), index, ..known },
                    None => Target::new(Arc::clone(pool), index),
                };
                if due {
                    self.schedule.add(backend.slot, now);
                }
                self.targets.insert(backend.slot, target);
            }
        }
        before.keys().for_each(|slot| self.schedule.remove(*slot));
        self.unprobed = self.targets.values().filter(|target| !target.probed).count();
        self.note_first_round();
    }

    /// Runs until the server stops.
    pub async fn run(mut self) {
        let (report, mut ended) = mpsc::channel(MAX_RUNNING);
        while !self.shared.is_stopping() {
            self.follow();
            let now = self.shared.clock.now();
            while self.running < MAX_RUNNING
                && let Some(slot) = self.schedule.start_due(now)
            {
                self.start(slot, now, report.clone());
            }
            let next = self.schedule.next_due().unwrap_or(Nanos::NEVER);
            let wait = next.duration_since(now).min(STOP_POLL);
            let wait = if self.running < MAX_RUNNING { wait } else { STOP_POLL };
            tokio::select! {
                biased;
                Some(end) = ended.recv() => self.finish(end),
                () = self.shared.probes.wanted.notified() => self.hasten(),
                () = sleep(wait) => {}
            }
        }
    }

    fn note_first_round(&self) {
        if self.unprobed == 0 {
            self.shared.probes.finish_first_round();
        }
    }

    /// Those that somebody doubts are due now.
    fn hasten(&mut self) {
        let now = self.shared.clock.now();
        for slot in self.shared.probes.take() {
            if let Some(target) = self.targets.get(&slot) {
                let earliest = target.began.after(PROBE_SPACING);
                self.schedule.hasten(slot, now.max(earliest));
            }
        }
    }

    fn start(&mut self, slot: usize, now: Nanos, report: mpsc::Sender<Ended>) {
        let Some(target) = self.targets.get_mut(&slot) else { return };
        self.running += 1;
        let Target { pool, index, usual, began, .. } = target;
        *began = now;
        let (pool, index) = (Arc::clone(pool), *index);
        let patience = CONFIRM_AFTER.max(usual.patience().saturating_mul(4));
        let (net, shared) = (Rc::clone(&self.net), Arc::clone(&self.shared));
        tokio::task::spawn_local(async move {
            let fault = probe_once(&*net, &shared, (&pool, index), patience).await;
            // The prober is gone only if the server stops.
            let _ = report.send(Ended { slot, began: now, fault }).await;
        });
    }

    /// Takes a result, and decides when to ask again.
    fn finish(&mut self, end: Ended) {
        self.running -= 1;
        let now = self.shared.clock.now();
        let Some(target) = self.targets.get_mut(&end.slot) else {
            // Its backend has gone meanwhile.
            self.schedule.finished(end.slot, Duration::ZERO, now);
            return;
        };
        let (pool, index) = (Arc::clone(&target.pool), target.index);
        let Some(fault) = end.fault else {
            self.schedule.finished(end.slot, UNRESOLVED_DELAY, now);
            return;
        };
        let first = !std::mem::replace(&mut target.probed, true);
        let took = now.duration_since(end.began);
        let heard = fault.as_ref().is_none_or(is_answer);
        let alive = fault.is_none();
        let counts = &self.shared.probes;
        let counter = if alive { &counts.passed } else { &counts.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        if heard {
            target.usual.observe(took);
        }
        if first {
            self.unprobed -= 1;
            self.note_first_round();
        }
        self.record((&pool, index), ProbeResult { at: now, took, fault });
        if alive {
            if let Some(change) = pool.trust(index, now) {
                self.teller(&pool, index).change(&change);
            }
        } else if !heard {
            self.forsake(&pool, index, now);
        }
        let delay = self.delay(&pool, index, first);
        self.schedule.finished(end.slot, delay, now);
    }

    /// A probe had no answer. Of a backend in doubt, or one that has failed so many, nothing is to
    /// be expected any more.
    fn forsake(&self, pool: &Pool, index: usize, now: Nanos) {
        let backend = &pool.backends[index];
        if backend.health.state() == HealthState::Unhealthy
            && let Some(change) = pool.doubt(index, Doubt::Unprobed, now)
        {
            self.teller(pool, index).change(&change);
        }
        if backend.suspicion.confirm() {
            self.shared.raise_alarm();
        }
    }

    fn record(&self, (pool, index): (&Pool, usize), result: ProbeResult) {
        let backend = &pool.backends[index];
        let (took, fault) = (result.took, result.fault.as_ref().map(ToString::to_string));
        let before = backend.health.state();
        let change = pool.record_probe(index, result);
        let teller = self.teller(pool, index);
        let after = backend.health.report();
        if let Some(fault) = &fault
            && before != HealthState::Unhealthy
        {
            let needed = pool.plan.health.unhealthy_threshold;
            let failed = match after.streak {
                Streak::Failures(count) => count,
                Streak::Successes(_) => 0,
            };
            let progress = format!("{failed}/{needed}");
            let elapsed = EventValue::Float((took.as_secs_f64() * 1e6).round() / 1e3);
            let fields = [
                ("reason", EventValue::Text(fault)),
                ("check", EventValue::Text(&described(&pool.plan.health.check))),
                ("elapsed_ms", elapsed),
                ("failures", EventValue::Text(&progress)),
            ];
            teller.tell((LogLevel::Warn, "probe_failed"), "a probe of the backend failed", &fields);
        }
        let Some((change, mode)) = change else { return };
        match change {
            HealthChange::BecameHealthy if before == HealthState::Unknown => {}
            HealthChange::BecameHealthy => {
                let message = "probes succeed; the backend takes traffic again";
                teller.tell((LogLevel::Info, "backend_healthy"), message, &[]);
            }
            HealthChange::BecameUnhealthy => {
                let reason = fault.as_deref().unwrap_or_default();
                let fields = [("reason", EventValue::Text(reason))];
                let message = "probes fail; the backend gets no traffic";
                teller.tell((LogLevel::Warn, "backend_unhealthy"), message, &fields);
            }
        }
        if mode.is_some() {
            teller.change(&Change { breaker: None, mode });
        }
    }

    fn delay(&self, pool: &Pool, index: usize, first: bool) -> Duration {
        let backend = &pool.backends[index];
        let doubted = pool.is_in_doubt(index);
        let pace = if doubted { Pace::Hurried } else { backend.health.pace() };
        let delay = next_probe_delay(&pool.plan.health, pace, chance(&*self.net));
        if first && self.targets.len() > SPREAD_FROM {
            // All began at once; they need not go on so.
            return delay.mul_f64(chance(&*self.net));
        }
        if doubted { delay.min(DOUBT_DELAY) } else { delay }
    }

    fn teller<'a>(&'a self, pool: &'a Pool, index: usize) -> Teller<'a> {
        Teller { shared: &self.shared, unix_nanos: self.net.unix_nanos(), pool, index }
    }
}

/// True if the backend answered, though not as it should.
fn is_answer(fault: &ProbeFault) -> bool {
    match fault {
        ProbeFault::Status(_) | ProbeFault::Body | ProbeFault::Call(_) | ProbeFault::NotServing => {
            true
        }
        ProbeFault::Connect(_)
        | ProbeFault::Timeout
        | ProbeFault::Http2
        | ProbeFault::NoHttp2
        | ProbeFault::BadResponse => false,
    }
}

/// What is asked, for people.
fn described(check: &HealthCheck) -> String {
    match check {
        HealthCheck::Off | HealthCheck::Tcp => "tcp".to_owned(),
        HealthCheck::Http(check) => format!("{} {}", check.method, check.path),
        HealthCheck::Grpc(name) => format!("grpc {name}").trim_end().to_owned(),
    }
}

/// Asks once. `None`: nothing was learnt. `Some(None)`: the backend is fine.
async fn probe_once<N: Net>(
    net: &N,
    shared: &Shared,
    (pool, index): (&Pool, usize),
    patience: Duration,
) -> Option<Option<ProbeFault>> {
    let backend = &pool.backends[index];
    let health = &pool.plan.health;
    if backend.is_unresolved() && backend.health.state() == HealthState::Unknown {
        return None;
    }
    let beginning = Beginning::own(&shared.snapshot(), (pool, backend));
    let (check, timeout_after) = (&health.check, health.timeout);
    let target = ProbeTarget { backend, check, beginning, timeout: timeout_after };
    let mut asking = Box::pin(probe(net, &target));
    let answer = match timeout(patience, &mut asking).await {
        Ok(answer) => answer,
        Err(_) => {
            if backend.suspicion.confirm() {
                shared.raise_alarm();
            }
            asking.await
        }
    };
    match (answer, &health.check) {
        (Ok(ProbeAnswer::Unasked), _) => None,
        (Ok(ProbeAnswer::Status(status)), HealthCheck::Http(check)) => {
            Some(backend.health.judge_status(check, status).err())
        }
        (Ok(ProbeAnswer::Status(_) | ProbeAnswer::Connected | ProbeAnswer::Serves), _) => {
            Some(None)
        }
        (Err(fault), _) => Some(Some(fault)),
    }
}
