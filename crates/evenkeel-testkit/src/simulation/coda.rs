//! The end of a world: what was counted is counted back, and who is well serves again.

use super::client;
use super::journal::Stage;
use super::world::{Backend, Client, Cookie, Mood, Request, World, backend_address};
use evenkeel_core::plan::{AcceptProxy, AdminState, PoolPlan};
use evenkeel_core::pool::{Mode, Pool};
use evenkeel_core::time::Nanos;
use evenkeel_proxy::shared::Shared;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Virtual time that the proxy has to forget clients that are gone.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// How often that is looked at.
const SETTLE_POLL: Duration = Duration::from_millis(100);
/// Time after the last calls in which doubts that they raised are settled.
const DOUBT_LIMIT: Duration = Duration::from_secs(3);
/// Calls to each backend of a pool, on average.
const CALLS_PER_BACKEND: usize = 3;
/// Pause between two calls.
const CALL_PAUSE_MS: u64 = 250;
/// Number of the client that calls.
const CALLER: usize = 200;
/// A backend that answers later than this may fail its trials.
const PROMPT_MS: u64 = 150;

/// I7: what was counted is counted back.
pub(super) async fn settle(stage: &Stage, shared: &Shared) {
    let in_flight = || {
        let snapshot = shared.snapshot();
        let backends = snapshot.pools.iter().flat_map(|pool| &pool.backends);
        backends.map(|backend| backend.in_flight()).sum::<u32>()
    };
    let waiting = || shared.snapshot().pools.iter().map(|pool| pool.waiting.len()).sum::<usize>();
    let quiet = async {
        while shared.client_connections() > 0 || in_flight() > 0 || waiting() > 0 {
            sleep(SETTLE_POLL).await;
        }
    };
    if timeout(SETTLE_LIMIT, quiet).await.is_err() {
        let (clients, requests, waiting) = (shared.client_connections(), in_flight(), waiting());
        stage.breach(&format!(
            "I7: {clients} clients, {requests} requests and {waiting} that wait stay counted"
        ));
    }
}

/// The client whose calls end a world that is looked at.
pub(super) fn caller(world: &World) -> Option<Client> {
    world.calm_ms?;
    let requests = world.plan.pools.iter().enumerate().flat_map(|(pool, plan)| {
        (0..plan.backends.len() * CALLS_PER_BACKEND).map(move |number| Request {
            pool,
            think_ms: CALL_PAUSE_MS,
            cookie: Cookie::Missing,
            ..Request::get(&format!("p{pool}call{number}"))
        })
    });
    let requests = requests.collect();
    let tells = world.plan.listeners[0].proxy_protocol == AcceptProxy::Required;
    let behind = tells.then(|| SocketAddr::from(([203, 0, 113, 250], 4_000)));
    Some(Client { fresh: true, behind, ..Client::sequential(requests) })
}

/// Lets time pass, calls, and looks whether everybody who is well takes part again.
pub(super) async fn play(stage: &Rc<Stage>, world: &World, shared: &Shared) {
    let (Some(calm), Some(caller)) = (world.calm_ms, caller(world)) else { return };
    sleep(Duration::from_millis(calm)).await;
    client::play(Rc::clone(stage), caller, CALLER).await;
    settle(stage, shared).await;
    let snapshot = shared.snapshot();
    for (index, pool) in snapshot.pools.iter().enumerate() {
        for (at, backend) in pool.backends.iter().enumerate() {
            let address = backend_address(index, at);
            let script = world.backends.iter().find(|script| script.address == address);
            let takes_part = backend.plan.admin == AdminState::Enabled && backend.plan.weight > 0;
            if !takes_part || !script.is_some_and(|script| is_well(world, script, &pool.plan)) {
                continue;
            }
            let serves = async {
                while bar(stage, pool, at).is_some() {
                    sleep(SETTLE_POLL).await;
                }
            };
            if timeout(DOUBT_LIMIT, serves).await.is_err() {
                let bar = bar(stage, pool, at).unwrap_or_default();
                stage.breach(&format!("{address} is well and does not serve again: {bar}"));
            }
        }
    }
}

/// What keeps a backend from serving.
fn bar(stage: &Stage, pool: &Pool, at: usize) -> Option<String> {
    let now = Nanos::default().after(stage.net.elapsed());
    match (pool.backends[at].barred(now), pool.mode()) {
        (Some(bar), _) => Some(bar.as_str().to_owned()),
        (None, Mode::Normal) => None,
        (None, mode) => Some(format!("its pool is {mode:?}")),
    }
}

/// True if in the end it answers everything, soon enough.
fn is_well(world: &World, backend: &Backend, pool: &PoolPlan) -> bool {
    let Backend { dial, manners, .. } = backend;
    let mood = backend.moods.last().map_or(Mood::Well, |(_, mood)| *mood);
    let per_try = pool.retry.per_try_timeout;
    let patience = if per_try.is_zero() { pool.timeouts.response_head } else { per_try };
    let patience = patience.min(pool.health.timeout);
    let faults = manners.faulty + manners.failing + manners.hasty + manners.early;
    let late = *manners.late_ms.end();
    mood == Mood::Well
        && faults == 0
        && !manners.breaks
        && !manners.silent
        && (dial.refuse_percent, dial.hang_percent) == (0, 0)
        && late <= PROMPT_MS
        && Duration::from_millis(late * 2 + 100) < patience
        && world.shape.break_percent == 0
}
