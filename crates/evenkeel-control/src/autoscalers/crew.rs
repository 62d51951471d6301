//! The backends of one pool from start to stop: started, probed, added, drained, ended. What fails
//! is tried again, later each time.
//!
//! ```text
//! Starting ─ healthy often enough ─▶ Serving ─ one too many ─▶ Leaving ─ nothing runs ─▶ ended
//!     └────── too late, or it ended by itself ───┴──────────────▶ removed, and a pause
//! ```

use super::driver::{self, Names, Started};
use super::keep::{self, KeptProcess};
use super::{Ground, docker};
use crate::numbers::unix_nanos;
use crate::outgoing::call;
use evenkeel_core::autoscale::{AutoscalePlan, DriverPlan};
use evenkeel_core::plan::{AdminState, HealthCheck, HealthPlan, LogLevel};
use evenkeel_core::record::{Event, EventValue};
use hyper::Method;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// How often a crew looks after its backends.
const LOOK: Duration = Duration::from_millis(250);
/// Pause after a first failure; doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Backends of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// That take traffic, or could.
    pub(super) ready: u32,
    /// That are on their way.
    pub(super) starting: u32,
}

impl Size {
    pub(super) fn all(self) -> u32 {
        self.ready + self.starting
    }
}

/// What a crew tells.
#[derive(Clone, Debug, Default)]
struct Told {
    size: Size,
    names: Vec<String>,
    trouble: Option<String>,
}

/// What a crew is told.
#[derive(Clone, Debug)]
struct Orders {
    plan: AutoscalePlan,
    /// Backends of the whole pool; `None` = nobody has decided yet.
    wanted: Option<u32>,
}

/// Looks after the backends of one pool that an autoscaler has started.
pub(super) struct Crew {
    orders: watch::Sender<Orders>,
    told: Arc<Mutex<Told>>,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Crew {
    pub(super) fn new(ground: Ground, pool: Arc<str>, plan: AutoscalePlan) -> Crew {
        let (orders, latest) = watch::channel(Orders { plan, wanted: None });
        let (end, ended) = oneshot::channel();
        let told = Arc::new(Mutex::new(Told::default()));
        let mut work = Work {
            ground,
            pool,
            told: Arc::clone(&told),
            members: Vec::new(),
            number: 0,
            last_port: 0,
            said: None,
            failures: 0,
            rest_until: Instant::now(),
        };
        work.tell(None);
        let task = tokio::spawn(async move { work.run(latest, ended).await });
        Crew { orders, told, end, task }
    }

    fn told(&self) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn size(&self) -> Size {
        self.told().size
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.told().names
    }

    /// Why it cannot do what it should, if that is so.
    pub(super) fn trouble(&self) -> Option<String> {
        self.told().trouble
    }

    pub(super) fn want(&self, count: u32) {
        self.orders.send_if_modified(|orders| orders.wanted.replace(count) != Some(count));
    }

    pub(super) fn replan(&self, plan: AutoscalePlan) {
        self.orders.send_modify(|orders| orders.plan = plan);
    }

    /// Ends every backend that it has started.
    pub(super) async fn end(self) {
        let _ = self.end.send(());
        // A panic has been reported on its own task.
        let _ = self.task.await;
    }
}

enum Stage {
    Starting { since: Instant, good: u32 },
    Serving,
    Leaving { until: Instant },
}

struct Member {
    name: String,
    started: Started,
    stage: Stage,
}

struct Work {
    ground: Ground,
    pool: Arc<str>,
    told: Arc<Mutex<Told>>,
    members: Vec<Member>,
    /// Of the last name that was given.
    number: u32,
    last_port: u16,
    /// The count that was told to a driver that starts no single backends.
    said: Option<u32>,
    failures: u32,
    rest_until: Instant,
}

impl Work {
    async fn run(&mut self, mut orders: watch::Receiver<Orders>, mut ended: oneshot::Receiver<()>) {
        let first = orders.borrow().plan.clone();
        self.take_up(&first).await;
        loop {
            tokio::select! {
                _ = &mut ended => return self.end_all().await,
                () = sleep(LOOK) => {}
            }
            let now = orders.borrow_and_update().clone();
            self.look(&now).await;
        }
    }

    /// What a former process has started goes on.
    async fn take_up(&mut self, plan: &AutoscalePlan) {
        match (&plan.driver, &self.ground.state_dir) {
            (DriverPlan::Process(_), Some(state_dir)) => {
                for kept in keep::read(&keep::file(state_dir, &self.pool)) {
                    let KeptProcess { name, pid, port, began } = kept;
                    if let Some(process) = super::process::Process::adopt(pid, port, began) {
                        self.adopt(name, Started::Process(process));
                    }
                }
                self.keep();
            }
            (DriverPlan::Docker(docker_plan), _) => {
                match docker::found(docker_plan, &self.pool).await {
                    Ok(containers) => {
                        for container in containers {
                            self.adopt(container.name.clone(), Started::Container(container));
                        }
                    }
                    Err(why) => self.fail(why),
                }
            }
            _ => {}
        }
    }

    fn adopt(&mut self, name: String, started: Started) {
        let number = name.rsplit('-').next().and_then(|it| it.parse().ok()).unwrap_or(0);
        self.number = self.number.max(number);
        let stage = Stage::Starting { since: Instant::now(), good: 0 };
        self.members.push(Member { name, started, stage });
    }

    async fn look(&mut self, orders: &Orders) {
        self.bury().await;
        self.advance(&orders.plan).await;
        self.part().await;
        if let Some(wanted) = orders.wanted {
            if driver::starts_each(&orders.plan.driver) {
                self.staff(&orders.plan, wanted).await;
            } else {
                self.say(&orders.plan, wanted).await;
            }
        }
        let trouble = self.told.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone();
        self.tell(trouble);
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
            gone.started.stop().await;
            self.keep();
        }
    }

    /// Those that are healthy take traffic; those that are not in time are ended.
    async fn advance(&mut self, plan: &AutoscalePlan) {
        let health = self.health();
        let patience = start_timeout(plan);
        let mut late = Vec::new();
        for at in 0..self.members.len() {
            let member = &mut self.members[at];
            let Stage::Starting { since, good } = &mut member.stage else { continue };
            let address = member.started.address();
            *good = if is_healthy(&health, &address).await { *good + 1 } else { 0 };
            if *good >= health.healthy_threshold.max(1) {
                let name = member.name.clone();
                match self.ground.grows.add(&self.pool, &name, &address) {
                    Ok(()) => {
                        self.members[at].stage = Stage::Serving;
                        self.failures = 0;
                        self.trouble(None);
                    }
                    Err(why) => {
                        self.trouble(Some(why));
                        late.push(name);
                    }
                }
            } else if since.elapsed() > patience {
                late.push(member.name.clone());
            }
        }
        for name in late {
            self.fail(format!("{name} is not healthy after {patience:?}"));
            self.dismiss(&name).await;
        }
    }

    fn health(&self) -> HealthPlan {
        let snapshot = self.ground.numbers.snapshot();
        let pool = snapshot.plan.pools.iter().find(|pool| pool.name == self.pool);
        let bare = || evenkeel_core::plan::PoolPlan::bare(&self.pool, Vec::new()).health;
        pool.map_or_else(bare, |pool| pool.health.clone())
    }

    /// Those that leave are ended once nothing runs on them.
    async fn part(&mut self) {
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
            self.dismiss(&name).await;
        }
    }

    async fn dismiss(&mut self, name: &str) {
        if let Some(at) = self.members.iter().position(|member| member.name == name) {
            let member = self.members.remove(at);
            member.started.stop().await;
            self.keep();
        }
    }

    /// Starts what is missing, one at a time; lets go of what is too many, the newest first.
    async fn staff(&mut self, plan: &AutoscalePlan, wanted: u32) {
        let fixed = self.fixed();
        let wanted_here = usize::try_from(wanted.saturating_sub(fixed)).unwrap_or(usize::MAX);
        let staying = |member: &&Member| !matches!(member.stage, Stage::Leaving { .. });
        let here = self.members.iter().filter(staying).count();
        if here < wanted_here && Instant::now() >= self.rest_until {
            self.start(plan).await;
        }
        for _ in wanted_here..here {
            let newest = self.members.iter().rposition(|it| staying(&it));
            let Some(at) = newest else { break };
            let name = self.members[at].name.clone();
            if matches!(self.members[at].stage, Stage::Starting { .. }) {
                self.dismiss(&name).await;
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
        let name = format!("{}-auto-{}", self.pool, self.number);
        let keeps = self.ground.state_dir.clone();
        let count = u32::try_from(self.members.len() + 1).unwrap_or(u32::MAX);
        let names = Names { pool: &self.pool, name: &name, port: self.last_port, count };
        match driver::start(&plan.driver, names, keeps.as_deref()).await {
            Ok(started) => {
                if let Started::Process(process) = &started {
                    self.last_port = process.port;
                }
                let stage = Stage::Starting { since: Instant::now(), good: 0 };
                self.members.push(Member { name, started, stage });
                self.keep();
            }
            Err(why) => self.fail(why),
        }
    }

    /// Tells a driver that starts no single backends how many there should be.
    async fn say(&mut self, plan: &AutoscalePlan, count: u32) {
        if self.said == Some(count) || Instant::now() < self.rest_until {
            return;
        }
        let names = Names { pool: &self.pool, name: "", port: 0, count };
        match driver::set(&plan.driver, names).await {
            Ok(()) => {
                self.said = Some(count);
                self.failures = 0;
                self.trouble(None);
            }
            Err(why) => self.fail(why),
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

    fn tell(&self, trouble: Option<String>) {
        let count = |wanted: fn(&Stage) -> bool| {
            let found = self.members.iter().filter(|member| wanted(&member.stage)).count();
            u32::try_from(found).unwrap_or(u32::MAX)
        };
        let serving = count(|stage| matches!(stage, Stage::Serving));
        let starting = count(|stage| matches!(stage, Stage::Starting { .. }));
        // Whoever is told a count has so many, whether the pool knows them or not.
        let ready = self.said.unwrap_or_else(|| self.fixed() + serving);
        let told = Told {
            size: Size { ready, starting },
            names: self.members.iter().map(|member| member.name.clone()).collect(),
            trouble,
        };
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }

    /// Writes down what would outlive us.
    fn keep(&self) {
        let Some(state_dir) = &self.ground.state_dir else { return };
        let kept = |member: &Member| match &member.started {
            Started::Process(process) => Some(KeptProcess {
                name: member.name.clone(),
                pid: process.pid,
                port: process.port,
                began: process.began,
            }),
            Started::Container(_) => None,
        };
        let all: Vec<KeptProcess> = self.members.iter().filter_map(kept).collect();
        if let Err(error) = keep::write(&keep::file(state_dir, &self.pool), &all) {
            self.trouble(Some(format!("{}: {error}", state_dir.display())));
        }
    }

    async fn end_all(&mut self) {
        for member in std::mem::take(&mut self.members) {
            member.started.stop().await;
        }
        self.keep();
    }
}

fn start_timeout(plan: &AutoscalePlan) -> Duration {
    match &plan.driver {
        DriverPlan::Process(process) => process.start_timeout,
        DriverPlan::Docker(docker) => docker.start_timeout,
        DriverPlan::Exec(_) | DriverPlan::Webhook { .. } | DriverPlan::Kubernetes { .. } => {
            Duration::MAX
        }
    }
}

/// What the pool's own health check would say.
async fn is_healthy(health: &HealthPlan, address: &str) -> bool {
    match &health.check {
        HealthCheck::Http(check) => {
            let url = format!("http://{address}{}", check.path);
            let method = Method::from_bytes(check.method.as_bytes()).unwrap_or(Method::GET);
            let answer = call(method, &url, None, health.timeout).await;
            let fits = |status: u16| {
                check.expect_status.iter().any(|range| range.contains(&status))
                    || check.by_default && status == 404
            };
            answer.is_ok_and(fits)
        }
        // Its own probes ask more, once it is in the pool.
        HealthCheck::Off | HealthCheck::Tcp | HealthCheck::Grpc(_) => {
            let connecting = TcpStream::connect(address);
            timeout(health.timeout, connecting).await.is_ok_and(|connected| connected.is_ok())
        }
    }
}
