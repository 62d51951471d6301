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
//! (I7). And no task panics, nothing hangs, backends see well-formed requests only.

mod backend;
mod check;
mod client;
mod draw;
mod inbox;
mod journal;
mod world;

pub use journal::{Outcome, Sighting};
pub use world::{
    Backend, Body, Client, Leave, Manners, Method, Promise, Request, World, backend_address,
    listener_address, plan_of,
};

use crate::memory::{DialShape, MemoryNet};
use evenkeel_core::plan::{LogFormat, LogLevel};
use evenkeel_proxy::listen::accept_loop;
use evenkeel_proxy::log::{Log, LogOptions};
use evenkeel_proxy::prober::Prober;
use evenkeel_proxy::secrets;
use evenkeel_proxy::shared::{Bounds, Shared};
use evenkeel_proxy::worker::Worker;
use fastrand::Rng;
use journal::{AccessLine, Journal, Stage};
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
/// Virtual time that the proxy has to forget clients that are gone.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// How often that is looked at.
const SETTLE_POLL: Duration = Duration::from_millis(100);
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
    let file = directory.path().join("access.log");
    let options =
        LogOptions { format: LogFormat::Json, level: LogLevel::Warn, file: Some(file.clone()) };
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
    let lines = read_records(&file);
    let found = check::check(world, &journal, &lines);
    journal.breaches.extend(found);
    let Journal { trace, breaches, outcomes, sightings, .. } = journal;
    Report { seed, world: world.clone(), trace, breaches, outcomes, sightings }
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
        let script = backend::play(Rc::clone(&stage), backend, listener, rng.fork());
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
    let play_client = |(number, plan)| client::play(Rc::clone(&stage), plan, number);
    let clients = world.clients.clone().into_iter().enumerate().map(play_client);
    let clients: Vec<_> = clients.map(tokio::task::spawn_local).collect();
    let all = async {
        for client in clients {
            let _ = client.await;
        }
    };
    if timeout(WORLD_LIMIT, all).await.is_err() {
        stage.breach("the world does not end");
    }
    settle(&stage, &shared).await;
    shared.stop();
    let _ = ticks.await;
    let _ = prober.await;
    net.close();
    stage.journal.take()
}

/// I7: what was counted is counted back.
async fn settle(stage: &Stage, shared: &Shared) {
    let in_flight = || {
        let snapshot = shared.snapshot();
        let backends = snapshot.pools.iter().flat_map(|pool| &pool.backends);
        backends.map(|backend| backend.in_flight()).sum::<u32>()
    };
    let quiet = async {
        while shared.client_connections() > 0 || in_flight() > 0 {
            sleep(SETTLE_POLL).await;
        }
    };
    if timeout(SETTLE_LIMIT, quiet).await.is_err() {
        let (clients, requests) = (shared.client_connections(), in_flight());
        stage.breach(&format!("I7: {clients} clients and {requests} requests stay counted"));
    }
}

fn read_records(file: &Path) -> Vec<AccessLine> {
    let text = std::fs::read_to_string(file).expect("a log file");
    let lines = text.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
        let id = line["path"].as_str()?.rsplit('/').next()?.to_owned();
        let status = line["status"].as_u64().and_then(|status| u16::try_from(status).ok())?;
        let failure = line["failure"].as_str().map(str::to_owned);
        Some(AccessLine { id, status, failure })
    });
    lines.collect()
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
