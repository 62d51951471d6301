//! What pools must keep, whatever happens: who may be asked, how often in all, and by whom.

use crate::simulation::journal::{AccessLine, Journal, ProxyLog};
use crate::simulation::world::{World, backend_address};
use evenkeel_core::plan::{AdminState, AffinityPlan, BackendPlan, PoolPlan, RateKey};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// The proxy's log tells whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(1);

/// All breaches.
pub(super) fn check(world: &World, journal: &Journal, log: &ProxyLog) -> Vec<String> {
    let mut breaches = Vec::new();
    for (index, pool) in world.plan.pools.iter().enumerate() {
        let own: Vec<_> = log.records.iter().filter(|line| *line.pool == *pool.name).collect();
        breaches.extend(retries(pool, &own));
        breaches.extend(rate(world, index, journal));
        for (at, backend) in pool.backends.iter().enumerate() {
            breaches.extend(barred(backend, backend_address(index, at), journal));
        }
    }
    breaches.extend(sessions(world, journal, log));
    breaches.extend(homes(world, journal, log));
    breaches
}

/// Tries are bounded per request, and retries by the budget.
fn retries(pool: &PoolPlan, lines: &[&AccessLine]) -> Vec<String> {
    let plan = &pool.retry;
    let mut breaches = Vec::new();
    for line in lines.iter().filter(|line| line.tries > plan.attempts) {
        breaches.push(format!("{} was tried {} times, not {}", line.id, line.tries, plan.attempts));
    }
    let count = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    let again: u32 = lines.iter().map(|line| line.tries.saturating_sub(1)).sum();
    let last = lines.iter().map(|line| line.at).max().unwrap_or_default();
    let floor = f64::from(plan.budget_floor) * (last.as_secs_f64() + 1.0);
    let most = plan.budget * count(lines.len()) + floor;
    if f64::from(again) > most + 0.001 {
        let requests = lines.len();
        breaches.push(format!("{}: {again} retries of {requests} requests, not {most}", pool.name));
    }
    breaches
}

/// A route's rate limit lets through what it says, and no less.
fn rate(world: &World, index: usize, journal: &Journal) -> Option<String> {
    let plan = world.plan.routes.get(index)?.rate_limit.as_ref()?;
    let requests = || {
        let all = world.clients.iter().flat_map(|client| &client.requests);
        all.filter(move |request| request.pool == index)
    };
    let ids: BTreeSet<&str> = requests().map(|request| request.id.as_str()).collect();
    let seen: BTreeSet<&str> = journal.sightings.iter().map(|seen| seen.id.as_str()).collect();
    let passed = ids.intersection(&seen).count();
    let last = journal.sightings.iter().map(|seen| seen.at).max().unwrap_or_default();
    let refilled = last.as_secs_f64() / plan.per.as_secs_f64() * f64::from(plan.requests);
    let most = f64::from(plan.burst) + refilled + 1.0;
    let over = f64::from(u32::try_from(passed).unwrap_or(u32::MAX)) > most;
    let pool = index;
    (plan.key == RateKey::Route && over)
        .then(|| format!("p{pool}: the rate limit let {passed} through, not {most}"))
}

/// Who is out gets nothing, but for sessions that may go on.
fn barred(backend: &BackendPlan, address: SocketAddr, journal: &Journal) -> Option<String> {
    if backend.admin == AdminState::Enabled && backend.weight > 0 {
        return None;
    }
    let spares = backend.admin != AdminState::Disabled;
    let wrong = journal.sightings.iter().find(|seen| {
        let tied = journal.ties.get(&seen.id) == Some(&address);
        seen.backend == address && !(spares && tied)
    })?;
    let (admin, weight) = (backend.admin, backend.weight);
    Some(format!("{} came to {address}, which is {admin:?} with weight {weight}", wrong.id))
}

/// A client stays where its cookie ties it while nothing speaks against that, and is told so when
/// it is moved; a forged cookie is none.
fn sessions(world: &World, journal: &Journal, log: &ProxyLog) -> Vec<String> {
    let mut breaches = Vec::new();
    let pools = requested_pools(world);
    for session in &journal.sessions {
        let Some(pool) = pools.get(session.id.as_str()).and_then(|at| world.plan.pools.get(*at))
        else {
            continue;
        };
        let (id, tied, backend) = (&session.id, session.tied, session.backend);
        if !matches!(pool.affinity, AffinityPlan::Cookie(_)) {
            if session.renewed {
                breaches.push(format!("{id}: a cookie without cookie affinity"));
            }
            continue;
        }
        let stayed = tied == Some(backend);
        if stayed == session.renewed {
            breaches.push(format!(
                "{id}: tied to {tied:?}, answered by {backend}, cookie set: {}",
                session.renewed
            ));
        }
        if let Some(home) = tied.filter(|_| !stayed)
            && !may_leave(pool, home, (id, session.at), log)
        {
            breaches.push(format!("{id} was moved from {home} to {backend} without need"));
        }
    }
    breaches
}

/// True if something speaks against the backend, as the proxy or the backend itself told, or the
/// request was tried more than once.
fn may_leave(
    pool: &PoolPlan,
    home: SocketAddr,
    (id, at): (&str, Duration),
    log: &ProxyLog,
) -> bool {
    let name = home.to_string();
    let disabled = pool
        .backends
        .iter()
        .any(|backend| *backend.name == *name && backend.admin == AdminState::Disabled);
    let told = log.told.iter().any(|told| told.backend == name && told.at <= at + ROUNDING);
    let again = log.records.iter().any(|line| line.id == id && line.tries > 1);
    disabled || told || again
}

/// With affinity by address, a client's requests go to one backend while all is well.
fn homes(world: &World, journal: &Journal, log: &ProxyLog) -> Vec<String> {
    let mut breaches = Vec::new();
    for (index, pool) in world.plan.pools.iter().enumerate() {
        let troubled = log.told.iter().any(|told| told.pool == *pool.name)
            || pool.backends.iter().any(|backend| {
                journal.complaints.iter().any(|(by, _)| by.to_string() == *backend.name)
            });
        if pool.affinity != AffinityPlan::ClientIp || troubled {
            continue;
        }
        for client in &world.clients {
            let again = |id: &str| log.records.iter().any(|line| line.id == id && line.tries > 1);
            let own = client.requests.iter().filter(|request| request.pool == index);
            let own = own.filter(|request| !again(&request.id));
            let ids: BTreeSet<&str> = own.map(|request| request.id.as_str()).collect();
            let seen = journal.sightings.iter().filter(|seen| ids.contains(seen.id.as_str()));
            let seen: BTreeSet<_> = seen.map(|seen| seen.backend).collect();
            if seen.len() > 1 {
                breaches.push(format!("p{index}: one address was sent to {seen:?}"));
            }
        }
    }
    breaches
}

/// The pool of each request.
fn requested_pools(world: &World) -> BTreeMap<&str, usize> {
    let all = world.clients.iter().flat_map(|client| &client.requests);
    all.map(|request| (request.id.as_str(), request.pool)).collect()
}
