//! Whole worlds from one seed: the real proxy between scripted clients and backends on a network in
//! memory, with virtual time. The same seed plays the same world, to the byte.
//!
//! ```text
//! draw     seed -> World: plan, connections, manners of backends, scripts of clients
//! play     everything at once on one thread; all tell the journal
//! check    journal and access records against the invariants
//! ```
//!
//! Invariants: every request has exactly one outcome (I1), no response goes to whom did not ask
//! (I2), what must not be repeated is seen once (I3), what may is seen as often as allowed (I4),
//! bytes in are bytes out (I5), a truncated body never ends cleanly (I6), counts return to zero
//! (I7). No task panics, nothing hangs or spins, backends see well-formed requests only.
//!
//! Of pools: tries and retries stay within their bounds; a backend has at most `connections.max`
//! requests and one probe at a time; who is disabled, draining or without weight gets nothing but
//! its sessions; who is unhealthy gets nothing but probes (I9), and those go on; an open breaker
//! lets one trial through at a time; sessions stay where they are while nothing speaks against it,
//! forged cookies tie nobody, and no session cookie reaches a backend; nobody waits longer than the
//! queue allows; local 429 and 503 carry `Retry-After`; who is well in the end serves again.

mod backend;
mod check;
mod client;
mod coda;
mod draw;
mod host;
mod inbox;
mod jar;
mod journal;
mod mood;
mod multiplexed;
mod response;
mod tunnels;
mod watchdog;
mod world;

pub use journal::{Errand, Outcome, Sighting, Told, Visit};
pub use tunnels::{Tunnels, play_tunnels};
pub use world::{
    Backend, Body, Client, Cookie, Forged, Leave, Manners, Method, Mood, Promise, Request, World,
    backend_address, cookie_plan, health_page, listener_address, plan_of,
};

use crate::memory::{DialShape, MemoryNet};
use evenkeel_core::plan::{AffinityPlan, LogFormat, LogLevel, Plan};
use evenkeel_proxy::listen::accept_loop;
use evenkeel_proxy::log::{Log, LogOptions};
use evenkeel_proxy::prober::Prober;
use evenkeel_proxy::secrets;
use evenkeel_proxy::shared::{Bounds, Shared};
use evenkeel_proxy::worker::Worker;
use fastrand::Rng;
use journal::{Journal, ProxyLog, Stage};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::{sleep, timeout};

/// Virtual time in which every world must end.
const WORLD_LIMIT: Duration = Duration::from_secs(1_800);
/// Client connections that the proxy takes at once.
const BOUNDS: Bounds = Bounds { max_clients: 10_000, workers: 1 };

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What came of one world.
#[derive(Debug)]
pub struct Report {
    /// The seed that it was played with.
    pub seed: u64,
    /// What it was made of.
    pub world: World,
    /// What happened, line by line; the same for the same seed.
    pub trace: Vec<String>,
    /// What must never happen, and did.
    pub breaches: Vec<String>,
    /// How each request ended.
    pub outcomes: BTreeMap<String, Vec<Outcome>>,
    /// Which backend saw which request, in order.
    pub sightings: Vec<Sighting>,
    /// What kept backends busy, in the order in which it ended.
    pub visits: Vec<Visit>,
    /// What the proxy told about pools and backends.
    pub told: Vec<Told>,
}

impl Report {
    /// Everything a reader needs to find the fault.
    pub fn story(&self) -> String {
        let (trace, breaches) = (self.trace.join("\n"), self.breaches.join("\n  "));
        let World { shape, backends, clients, .. } = &self.world;
        let (plan, promise) = (&self.world.plan, self.world.promise);
        let lines = |all: Vec<String>| all.join("\n");
        let backends = lines(backends.iter().map(|backend| format!("{backend:?}")).collect());
        let clients = lines(clients.iter().map(|client| format!("{client:?}")).collect());
        format!(
            "{plan:?}\n{shape:?}\npromise: {promise:?}\n{backends}\n{clients}\n{trace}\n\
             seed {}, breaches:\n  {breaches}",
            self.seed
        )
    }
}

/// Draws the world of a seed and plays it.
pub fn play_seed(seed: u64) -> Report {
    play(&draw::world(seed), seed)
}

/// Plays a world; the seed decides everything that the world leaves open.
///
/// # Panics
/// If the machine gives no runtime or temporary file.
pub fn play(world: &World, seed: u64) -> Report {
    watch_for_panics();
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let file = directory.path().join("proxy.log");
    let options =
        LogOptions { format: LogFormat::Json, level: LogLevel::Debug, file: Some(file.clone()) };
    let mut world = world.clone();
    give_keys(&mut world.plan, directory.path());
    let _guard = watchdog::watch(seed);
    let log = Log::start(options).expect("a log file");
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build_local(LocalOptions::default())
        .expect("a runtime");
    let mut journal = runtime.block_on(play_all(world.clone(), seed, &log));
    drop(runtime);
    log.close();
    let panics = PANICS.with_borrow_mut(std::mem::take);
    journal.breaches.extend(panics.into_iter().map(|panic| format!("panic: {panic}")));
    let log = ProxyLog::read(&file);
    world.clients.extend(coda::caller(&world));
    let found = check::check(&world, &journal, &log);
    journal.breaches.extend(found);
    let Journal { mut trace, breaches, outcomes, sightings, visits, .. } = journal;
    trace.extend(log.told.iter().map(|told| format!("proxy: {told:?}")));
    trace.extend(log.records.iter().map(|record| format!("proxy: {record:?}")));
    Report { seed, world, trace, breaches, outcomes, sightings, visits, told: log.told }
}

/// Runs the proxy and everyone else until all is said.
async fn play_all(world: World, seed: u64, log: &Log) -> Journal {
    let mut rng = Rng::with_seed(seed);
    let net = MemoryNet::new(rng.u64(..), world.shape.clone());
    let stage = Rc::new(Stage { net: net.clone(), journal: RefCell::default() });
    let snapshot = secrets::compile(world.plan.clone()).expect("no files to read");
    let shared = Arc::new(Shared::new(snapshot, BOUNDS, rng.u32(..), log.events()));
    let worker = Worker::new(net.clone(), Arc::clone(&shared), Some(log.sink()));
    for index in 0..world.plan.listeners.len() {
        let listener = net.bind(listener_address(index), DialShape::smooth());
        tokio::task::spawn_local(accept_loop(Rc::clone(&worker), listener, index));
    }
    let ticks = tokio::task::spawn_local(Rc::clone(&worker).run_ticks());
    let prober = Prober::new(net.clone(), Arc::clone(&shared)).run();
    let prober = tokio::task::spawn_local(prober);
    for backend in world.backends.clone() {
        let listener = net.bind(backend.address, backend.dial.clone());
        let script = host::play(Rc::clone(&stage), backend, listener, rng.fork());
        tokio::task::spawn_local(script);
    }
    if let Some(after) = world.drain_ms {
        let (shared, stage) = (Arc::clone(&shared), Rc::clone(&stage));
        tokio::task::spawn_local(async move {
            sleep(Duration::from_millis(after)).await;
            stage.note("proxy: drains");
            shared.drain();
        });
    }
    let play_client = |(number, plan): (usize, Client)| {
        if plan.http2 {
            tokio::task::spawn_local(multiplexed::play(Rc::clone(&stage), plan, number))
        } else {
            tokio::task::spawn_local(client::play(Rc::clone(&stage), plan, number))
        }
    };
    let clients: Vec<_> = world.clients.clone().into_iter().enumerate().map(play_client).collect();
    let all = async {
        for client in clients {
            let _ = client.await;
        }
    };
    if timeout(WORLD_LIMIT, all).await.is_err() {
        stage.breach("the world does not end");
    }
    coda::settle(&stage, &shared).await;
    coda::play(&stage, &world, &shared).await;
    shared.stop();
    let _ = ticks.await;
    let _ = prober.await;
    net.close();
    stage.journal.take()
}

/// Puts the key of all session cookies where the plan says it is.
fn give_keys(plan: &mut Plan, directory: &Path) {
    for pool in &mut plan.pools {
        if let AffinityPlan::Cookie(cookie) = &mut pool.affinity
            && let Some(name) = &cookie.secret_file
        {
            let file = directory.join(name);
            std::fs::write(&file, jar::KEYS).expect("a key file");
            cookie.secret_file = Some(file);
        }
    }
}

/// A task's panic ends nothing but the task: remember it for the world that it belongs to.
fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
            usual(panic);
        }));
    });
}
