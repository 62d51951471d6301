//! What a crew does, look by look.

mod say;
mod sick;

use super::super::driver::{self, Names, Started};
use super::super::keep::{KeptProcess, Page};
use super::super::process::Process;
use super::super::sight::{Probe, is_healthy};
use super::super::{Ground, docker};
use super::ending::{Endings, end_all};
use super::{Orders, Size, Told, numbered};
use crate::lookup::SystemLookup;
use crate::numbers::unix_nanos;
use evenkeel_core::autoscale::{AutoscalePlan, DockerPlan, DriverPlan};
use evenkeel_core::plan::{AdminState, HealthPlan, LogLevel};
use evenkeel_core::record::{Event, EventValue};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep};

/// How often a crew looks after its backends.
const LOOK: Duration = Duration::from_millis(250);
/// Pause after a first failure; doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

enum Stage {
    Starting {
        since: Instant,
        good: u32,
        probe: Probe,
    },
    /// `sick`: since when no probe finds it healthy.
    Serving {
        since: Instant,
        sick: Option<Instant>,
    },
    Leaving {
        until: Instant,
    },
}

impl Stage {
    fn starting() -> Stage {
        Stage::Starting { since: Instant::now(), good: 0, probe: Probe::default() }
    }

    fn serving() -> Stage {
        Stage::Serving { since: Instant::now(), sick: None }
    }
}

struct Member {
    name: String,
    started: Started,
    stage: Stage,
}

/// What a crew does.
pub(super) struct Work {
    ground: Ground,
    page: Arc<Page>,
    pool: Arc<str>,
    told: Arc<Mutex<Told>>,
    members: Vec<Member>,
    endings: Endings,
    /// A probe has been answered.
    news: Arc<Notify>,
    /// Of the last name that was given.
    number: u32,
    last_port: u16,
    /// The count that was told to a driver that starts no single backends.
    said: Option<u32>,
    /// When it is asked for.
    recount_at: Instant,
    failures: u32,
    rest_until: Instant,
    /// Containers of ours may run that nobody has found yet: one that an engine has started without
    /// saying so, or those of a former process.
    is_unsure: bool,
    /// A driver that knows the count could not be asked for it, the last time.
    is_uncounted: bool,
    /// Where a backend is whose address is a name.
    lookup: Arc<SystemLookup>,
}

impl Work {
    pub(super) fn new(
        (ground, page): (Ground, Arc<Page>),
        pool: Arc<str>,
        told: Arc<Mutex<Told>>,
    ) -> Work {
        Work {
            ground,
            page,
            pool,
            told,
            members: Vec::new(),
            endings: Endings::default(),
            news: Arc::default(),
            number: 0,
            last_port: 0,
            said: None,
            recount_at: Instant::now() + say::RECOUNT,
            failures: 0,
            rest_until: Instant::now(),
            is_unsure: false,
            is_uncounted: false,
            lookup: Arc::default(),
        }
    }

    pub(super) async fn run(
        &mut self,
        mut orders: watch::Receiver<Orders>,
        mut ended: oneshot::Receiver<()>,
    ) {
        let first = orders.borrow().plan.clone();
        self.take_up(&first).await;
        if !self.is_unsure {
            self.disown();
        }
        self.tell();
        loop {
            tokio::select! {
                // Whoever drops us without a word leaves what runs to another process.
                told = &mut ended => return if told.is_ok() { self.end_all().await },
                () = sleep(LOOK) => {}
                () = self.news.notified() => {}
                // A dropped sender sends the end, too.
                Ok(()) = orders.changed() => {}
            }
            let now = orders.borrow_and_update().clone();
            if driver::starts_each(&now.plan.driver) {
                self.look(&now).await;
                continue;
            }
            // Whoever is told the count may take long over it; an end does not wait for that.
            tokio::select! {
                told = &mut ended => return if told.is_ok() { self.end_all().await },
                () = self.look(&now) => {}
            }
        }
    }

    /// What a former process has started goes on.
    async fn take_up(&mut self, plan: &AutoscalePlan) {
        let left = self.ground.ties.take_left(&self.pool);
        let left = left.unwrap_or_else(|| self.page.known().processes);
        let found = left.into_iter().filter_map(|kept| {
            let process = Process::adopt(&kept)?;
            Some((kept.name, process))
        });
        match &plan.driver {
            DriverPlan::Process(_) => {
                found.for_each(|(name, process)| self.adopt(name, Started::Process(process)));
                self.keep();
            }
            DriverPlan::Docker(docker_plan) => {
                end_all(found.map(|(_, process)| Started::Process(process))).await;
                self.keep();
                self.find(docker_plan).await;
            }
            DriverPlan::Exec(_) | DriverPlan::Webhook { .. } | DriverPlan::Kubernetes { .. } => {
                end_all(found.map(|(_, process)| Started::Process(process))).await;
                self.keep();
                self.recount(plan).await;
            }
        }
    }

    /// Containers of this pool that are not known yet.
    async fn find(&mut self, plan: &DockerPlan) {
        let found = docker::found(plan, &self.pool).await;
        self.is_unsure = found.is_err();
        match found {
            Ok(containers) => {
                for container in containers {
                    let name = &container.name;
                    let is_known = self.members.iter().any(|member| member.name == *name);
                    if !is_known && !self.endings.has(name) {
                        self.adopt(container.name.clone(), Started::Container(container));
                    }
                }
                self.disown();
                self.keep();
            }
            Err(why) => self.fail(why),
        }
    }

    /// Those that ended before they were found again.
    fn disown(&self) {
        for name in self.ground.grows.grown(&self.pool) {
            if !self.members.iter().any(|member| member.name == name) {
                // It may have been removed already.
                let _ = self.ground.grows.remove(&self.pool, &name, Duration::ZERO);
            }
        }
    }

    fn adopt(&mut self, name: String, started: Started) {
        let number = name.rsplit('-').next().and_then(|it| it.parse().ok()).unwrap_or(0);
        self.number = self.number.max(number);
        let snapshot = self.ground.numbers.snapshot();
        let pool = snapshot.plan.pools.iter().find(|pool| pool.name == self.pool);
        let mut backends = pool.into_iter().flat_map(|pool| &pool.backends);
        // Those that took traffic are in the pool already.
        let stage = if backends.any(|backend| *backend.name == *name) {
            Stage::serving()
        } else {
            Stage::starting()
        };
        self.members.push(Member { name, started, stage });
    }

    async fn look(&mut self, orders: &Orders) {
        self.bury().await;
        self.forgive();
        let recounts = Instant::now() >= self.recount_at;
        if recounts {
            self.recount(&orders.plan).await;
        }
        if self.is_unsure && Instant::now() >= self.rest_until {
            if let DriverPlan::Docker(plan) = &orders.plan.driver {
                self.find(plan).await;
            } else {
                self.is_unsure = false;
            }
        }
        self.follow(&orders.plan);
        self.advance(&orders.plan);
        self.examine();
        self.part();
        if self.endings.sweep() {
            self.keep();
        }
        if let Some(wanted) = orders.wanted {
            if driver::starts_each(&orders.plan.driver) {
                self.staff(&orders.plan, wanted).await;
            } else if !recounts {
                // Else these orders may be older than what was learnt.
                self.say(&orders.plan, wanted).await;
            }
        }
        self.tell();
    }

    /// Those that have ended by themselves are gone from the pool at once.
    async fn bury(&mut self) {
        let mut at = 0;
        while at < self.members.len() {
            if self.members[at].started.lives().await {
                at += 1;
                continue;
            }
            let gone = self.members.remove(at);
            if !matches!(gone.stage, Stage::Starting { .. }) {
                // It may have been removed already.
                let _ = self.ground.grows.remove(&self.pool, &gone.name, Duration::ZERO);
            }
            if !matches!(gone.stage, Stage::Leaving { .. }) {
                self.fail(format!("{} has ended by itself", gone.name));
            }
            // What it has started may run still.
            self.endings.begin(gone.name, gone.started);
            self.keep();
        }
    }

    /// One that has served for long enough shows that they can: one that is healthy and ends, over
    /// and over, does not.
    fn forgive(&mut self) {
        let lasts = |stage: &Stage| match stage {
            Stage::Serving { since, sick } => sick.is_none() && since.elapsed() >= MAX_PAUSE,
            Stage::Starting { .. } | Stage::Leaving { .. } => false,
        };
        if self.members.iter().any(|member| lasts(&member.stage)) {
            self.failures = 0;
        }
    }

    /// Those that somebody else has removed are not needed.
    fn follow(&mut self, plan: &AutoscalePlan) {
        let snapshot = self.ground.numbers.snapshot();
        let pool = snapshot.plan.pools.iter().find(|pool| pool.name == self.pool);
        let Some(pool) = pool else { return };
        let until = Instant::now() + plan.down.drain_timeout;
        for member in &mut self.members {
            let is_there = pool.backends.iter().any(|backend| *backend.name == *member.name);
            if matches!(member.stage, Stage::Serving { .. }) && !is_there {
                member.stage = Stage::Leaving { until };
            }
        }
    }

    /// Those that are healthy take traffic; those that are not in time are ended.
    fn advance(&mut self, plan: &AutoscalePlan) {
        let health = self.health();
        let patience = driver::start_timeout(&plan.driver);
        let mut late = Vec::new();
        for at in 0..self.members.len() {
            let member = &mut self.members[at];
            let Stage::Starting { since, good, probe } = &mut member.stage else { continue };
            let (name, address) = (member.name.clone(), member.started.address());
            match probe.heard() {
                Some(true) => *good += 1,
                Some(false) => *good = 0,
                None => {}
            }
            if *good >= health.healthy_threshold.max(1) {
                match self.ground.grows.add(&self.pool, &name, &address) {
                    Ok(()) => {
                        self.members[at].stage = Stage::serving();
                        self.trouble(None);
                        self.keep();
                    }
                    Err(why) => late.push((name, why)),
                }
            } else if since.elapsed() > patience {
                late.push((name.clone(), format!("{name} is not healthy after {patience:?}")));
            } else {
                let snapshot = self.ground.numbers.snapshot();
                let (pool, lookup) = (Arc::clone(&self.pool), Arc::clone(&self.lookup));
                let health = health.clone();
                let question = async move {
                    is_healthy(snapshot, (&pool, &health), (&address, &lookup)).await
                };
                probe.ask(question, &self.news);
            }
        }
        for (name, why) in late {
            self.fail(why);
            self.dismiss(&name);
        }
    }

    fn health(&self) -> HealthPlan {
        let snapshot = self.ground.numbers.snapshot();
        let pool = snapshot.plan.pools.iter().find(|pool| pool.name == self.pool);
        let bare = || evenkeel_core::plan::PoolPlan::bare(&self.pool, Vec::new()).health;
        pool.map_or_else(bare, |pool| pool.health.clone())
    }

    /// Those that leave are ended once nothing runs on them.
    fn part(&mut self) {
        let snapshot = self.ground.numbers.snapshot();
        let pool = snapshot.pools.iter().find(|pool| pool.plan.name == self.pool);
        let busy = |name: &str| {
            let backends = pool.map_or(&[][..], |pool| &pool.backends);
            let found = backends.iter().find(|backend| *backend.plan.name == *name);
            found.is_some_and(|backend| backend.in_flight() > 0)
        };
        let done = |member: &Member| {
            matches!(member.stage, Stage::Leaving { until }
                if Instant::now() >= until || !busy(&member.name))
        };
        let names: Vec<String> =
            self.members.iter().filter(|it| done(it)).map(|it| it.name.clone()).collect();
        for name in names {
            self.dismiss(&name);
        }
    }

    fn dismiss(&mut self, name: &str) {
        if let Some(at) = self.members.iter().position(|member| member.name == name) {
            let member = self.members.remove(at);
            self.endings.begin(member.name, member.started);
            self.keep();
        }
    }

    /// Starts what is missing, one at a time; lets go of what is too many, the newest first.
    async fn staff(&mut self, plan: &AutoscalePlan, wanted: u32) {
        let fixed = self.fixed();
        let wanted_here = usize::try_from(wanted.saturating_sub(fixed)).unwrap_or(usize::MAX);
        self.relieve(plan, wanted_here);
        let staying = |member: &&Member| !matches!(member.stage, Stage::Leaving { .. });
        let here = self.members.iter().filter(staying).count();
        if here < wanted_here && !self.is_unsure && Instant::now() >= self.rest_until {
            self.start(plan).await;
        }
        for _ in wanted_here..here {
            let newest = self.members.iter().rposition(|it| staying(&it));
            let Some(at) = newest else { break };
            let name = self.members[at].name.clone();
            if matches!(self.members[at].stage, Stage::Starting { .. }) {
                self.dismiss(&name);
                continue;
            }
            let drain = plan.down.drain_timeout;
            // It may have been removed already.
            let _ = self.ground.grows.remove(&self.pool, &name, drain);
            self.members[at].stage = Stage::Leaving { until: Instant::now() + drain };
        }
    }

    async fn start(&mut self, plan: &AutoscalePlan) {
        self.number += 1;
        let name = numbered(&self.pool, self.number);
        let ties = Arc::clone(&self.ground.ties);
        // What is written down is found again.
        let ties = self.ground.state_dir.is_none().then_some(&*ties);
        let count = u32::try_from(self.members.len() + 1).unwrap_or(u32::MAX);
        let names = Names { pool: &self.pool, name: &name, port: self.last_port, count };
        match driver::start(&plan.driver, names, ties).await {
            Ok(started) => {
                if let Started::Process(process) = &started {
                    self.last_port = process.port;
                }
                self.members.push(Member { name, started, stage: Stage::starting() });
                self.keep();
            }
            Err(why) => {
                self.is_unsure = matches!(plan.driver, DriverPlan::Docker(_));
                self.fail(why);
            }
        }
    }

    /// Backends that the configuration names, and that may take traffic.
    fn fixed(&self) -> u32 {
        let snapshot = self.ground.numbers.snapshot();
        let pool = snapshot.plan.pools.iter().find(|pool| pool.name == self.pool);
        let ours = |name: &str| self.members.iter().any(|member| member.name == name);
        let backends = pool.map_or(&[][..], |pool| &pool.backends);
        let fixed = backends
            .iter()
            .filter(|backend| backend.admin == AdminState::Enabled && !ours(&backend.name));
        u32::try_from(fixed.count()).unwrap_or(u32::MAX)
    }

    fn fail(&mut self, why: String) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(6)).min(MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.rest_until = Instant::now() + pause;
        if let Some(events) = &self.ground.events {
            events.emit(&Event {
                unix_nanos: unix_nanos(),
                level: LogLevel::Warn,
                name: "autoscale_failed",
                message: &why,
                fields: &[
                    ("pool", EventValue::Text(&self.pool)),
                    ("pause_seconds", EventValue::Float(pause.as_secs_f64())),
                ],
            });
        }
        self.trouble(Some(why));
    }

    fn trouble(&self, why: Option<String>) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).trouble = why;
    }

    fn tell(&self) {
        let count = |wanted: fn(&Stage) -> bool| {
            let found = self.members.iter().filter(|member| wanted(&member.stage)).count();
            u32::try_from(found).unwrap_or(u32::MAX)
        };
        let serving = count(|stage| matches!(stage, Stage::Serving { .. }));
        let starting = count(|stage| matches!(stage, Stage::Starting { .. }));
        // Whoever is told a count has so many, whether the pool knows them or not.
        let size = match self.said {
            Some(said) => Size { ready: said, starting: 0, fixed: 0 },
            None => {
                let fixed = self.fixed();
                Size { ready: fixed + serving, starting, fixed }
            }
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.size.is_some() || !self.is_unsure {
            told.size = Some(size);
        }
        let serving = self.members.iter().filter(|it| matches!(it.stage, Stage::Serving { .. }));
        told.serving = serving.map(|it| (it.name.clone(), it.started.address())).collect();
        told.names = self.members.iter().map(|member| member.name.clone()).collect();
    }

    /// Writes down what may outlive us. Whoever takes over is told of those that stay: those that
    /// go are still ended from here.
    fn keep(&self) {
        let kept = |member: &Member| {
            let serving = matches!(member.stage, Stage::Serving { .. });
            member.started.kept(&member.name, serving)
        };
        let stay: Vec<KeptProcess> = self.members.iter().map(kept).collect();
        self.page.set_processes(stay.iter().cloned().chain(self.endings.kept()).collect());
        self.told.lock().unwrap_or_else(PoisonError::into_inner).kept = stay;
    }

    async fn end_all(&mut self) {
        end_all(std::mem::take(&mut self.members).into_iter().map(|it| it.started)).await;
        self.endings.finish().await;
        self.keep();
    }
}
