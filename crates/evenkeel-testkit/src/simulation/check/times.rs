//! What must hold at every moment: how many requests a backend has, who is left alone, who waits.

use crate::simulation::journal::{AccessLine, Errand, Journal, ProxyLog, Visit};
use crate::simulation::world::{Backend, Body, Mood, World, backend_address};
use evenkeel_core::plan::{HealthCheck, PoolPlan};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// What one side has ended, the other knows after so long: two ways of a piece, a connect, a pause.
const GRACE: Duration = Duration::from_millis(60);
/// A request on its way reaches its backend in this time beyond the time to connect.
const ON_ITS_WAY: Duration = Duration::from_millis(500);
/// The proxy looks at deadlines so often; and what it says must find its way to the client.
const TICK_AND_REPLY: Duration = Duration::from_millis(50 + 350);
/// A trial without a verdict is given up after this, or after `reset_timeout` if that is longer.
const LEAST_TRIAL: Duration = Duration::from_secs(1);

/// All breaches.
pub(super) fn check(world: &World, journal: &Journal, log: &ProxyLog) -> Vec<String> {
    let mut breaches = Vec::new();
    let requests = world.clients.iter().flat_map(|client| &client.requests);
    // Of a body, the rest is awaited after a refusal: that is no waiting in a queue.
    let bodiless = requests.filter(|request| request.body == Body::Nothing);
    let bodiless: BTreeSet<&str> = bodiless.map(|request| request.id.as_str()).collect();
    for (index, pool) in world.plan.pools.iter().enumerate() {
        let bodiless = |line: &&AccessLine| bodiless.contains(line.id.as_str());
        let own = log.records.iter().filter(|line| *line.pool == *pool.name);
        for line in own.filter(bodiless) {
            breaches.extend(queue(pool, line));
        }
        for at in 0..pool.backends.len() {
            let address = backend_address(index, at);
            let visits = |errand| {
                let own = journal.visits.iter();
                own.filter(move |visit| visit.backend == address && visit.errand == errand)
            };
            let requests: Vec<_> = visits(Errand::Request).collect();
            let probes: Vec<_> = visits(Errand::Probe).collect();
            let most = usize::try_from(pool.connections.max).unwrap_or(usize::MAX);
            if most > 0 {
                breaches.extend(
                    crowd(&requests, most)
                        .map(|at| format!("{address} has more than {most} requests at {at:?}")),
                );
            }
            breaches.extend(crowd(&probes, 1).map(|at| format!("{address}: two probes at {at:?}")));
            let script = world.backends.iter().find(|backend| backend.address == address);
            let thaws = script.map_or(&[][..], |script| &script.moods);
            breaches.extend(left_alone((pool, address), thaws, (journal, log)));
            breaches.extend(trials((pool, address), &requests, log));
            breaches.extend(script.and_then(|script| probed(pool, script, &probes, world)));
        }
    }
    breaches
}

/// When there were more than `most` at a time, for longer than news takes to travel.
fn crowd(visits: &[&Visit], most: usize) -> Option<Duration> {
    let over = |at: Duration| {
        let still = |visit: &&&Visit| visit.from <= at && visit.to > at + GRACE;
        visits.iter().filter(still).count() > most
    };
    visits.iter().map(|visit| visit.from).find(|from| over(*from))
}

/// I9: who is unhealthy gets no new requests, but probes.
fn left_alone(
    (pool, address): (&PoolPlan, SocketAddr),
    moods: &[(u64, Mood)],
    (journal, log): (&Journal, &ProxyLog),
) -> Option<String> {
    // Who moves again reads what came long ago.
    let thaws = |at: Duration| {
        moods.iter().any(|(begin, _)| {
            let begin = Duration::from_millis(*begin);
            at >= begin && at < begin + GRACE
        })
    };
    let name = address.to_string();
    let own = || log.told.iter().filter(|told| told.backend == name && *told.pool == *pool.name);
    let quiet = pool.timeouts.connect + ON_ITS_WAY;
    own().filter(|told| told.event == "backend_unhealthy").find_map(|told| {
        let healthy = |later: &&_| is_later(later, told.at, "backend_healthy");
        let until = own().find(healthy).map_or(Duration::MAX, |later| later.at);
        let wrong = journal.sightings.iter().find(|seen| {
            let late = seen.at > told.at + quiet && seen.at < until;
            seen.backend == address && late && !thaws(seen.at)
        })?;
        let (id, at, since) = (&wrong.id, wrong.at, told.at);
        Some(format!("I9: {id} came to {address} at {at:?}, unhealthy since {since:?}"))
    })
}

fn is_later(told: &crate::simulation::journal::Told, than: Duration, event: &str) -> bool {
    told.at >= than && told.event == event
}

/// While a breaker is not closed, its backend has one request at a time, each a trial. A trial
/// without an answer is given up after a time; then there may be another.
fn trials(
    (pool, address): (&PoolPlan, SocketAddr),
    visits: &[&Visit],
    log: &ProxyLog,
) -> Option<String> {
    if pool.fail_open {
        return None;
    }
    let name = address.to_string();
    let own = || log.told.iter().filter(|told| told.backend == name && *told.pool == *pool.name);
    let life = pool.breaker.reset_timeout.max(LEAST_TRIAL);
    let late = pool.timeouts.connect + ON_ITS_WAY;
    own().filter(|told| told.event == "breaker_opened").find_map(|told| {
        let closed = own().find(|later| is_later(later, told.at, "breaker_closed"));
        let until = closed.map_or(Duration::MAX, |closed| closed.at);
        let tried = |visit: &&&Visit| visit.seen > told.at + late && visit.to + GRACE < until;
        let mut tried: Vec<_> = visits.iter().filter(|visit| tried(visit)).collect();
        tried.sort_by_key(|visit| visit.seen);
        let wrong = tried.windows(2).find(|pair| {
            pair[1].seen > pair[0].seen
                && pair[1].seen + GRACE < pair[0].to
                && pair[1].seen < pair[0].seen + life - GRACE - late
        })?;
        Some(format!("{address}: two trials at {:?}, open since {:?}", wrong[1].seen, told.at))
    })
}

/// Nobody waits in the queue for longer than it allows, and not at all if it is full. After a try
/// there may be a second wait: that is not looked at.
fn queue(pool: &PoolPlan, line: &AccessLine) -> Option<String> {
    let most = match line.failure.as_deref() {
        Some("queue_timeout") if line.tries == 0 => pool.connections.queue_timeout,
        Some("queue_full") if line.tries == 0 => Duration::ZERO,
        Some(_) | None => return None,
    };
    let (id, failure, latency) = (&line.id, &line.failure, line.latency);
    (latency > most + TICK_AND_REPLY)
        .then(|| format!("{id}: {failure:?} after {latency:?}, not {most:?}"))
}

/// Probes go on as long as the proxy runs.
fn probed(pool: &PoolPlan, backend: &Backend, probes: &[&Visit], world: &World) -> Option<String> {
    let HealthCheck::Http(_) = &pool.health.check else { return None };
    let dial = &backend.dial;
    let seen = backend.moods.iter().all(|(_, mood)| matches!(mood, Mood::Sick | Mood::Unavailable));
    let reachable = seen && dial.refuse_percent == 0 && dial.hang_percent == 0;
    let manners = &backend.manners;
    if !reachable || world.shape.break_percent > 0 || manners.hasty > 0 || world.drain_ms.is_some()
    {
        return None;
    }
    let most = pool.health.interval.mul_f64(1.05) + pool.health.timeout + GRACE * 2;
    let mut seen: Vec<Duration> = probes.iter().map(|probe| probe.seen).collect();
    seen.sort();
    let address = backend.address;
    if seen.is_empty() {
        return Some(format!("{address} was never probed"));
    }
    let gap = seen.windows(2).find(|pair| pair[1] - pair[0] > most)?;
    Some(format!("{address}: no probe between {:?} and {:?}", gap[0], gap[1]))
}
