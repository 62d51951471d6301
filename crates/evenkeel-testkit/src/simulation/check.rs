//! Joins what clients, backends and the proxy's own records say.

mod pools;
mod times;

use super::journal::{AccessLine, Journal, Outcome, ProxyLog};
use super::world::{Method, Promise, Request, World};
use evenkeel_core::plan::RetryMethods;
use std::collections::BTreeMap;

/// All breaches that only the whole story shows.
pub(super) fn check(world: &World, journal: &Journal, log: &ProxyLog) -> Vec<String> {
    let requests = world.clients.iter().flat_map(|client| &client.requests);
    let requests: BTreeMap<&str, &Request> =
        requests.map(|request| (request.id.as_str(), request)).collect();
    let mut breaches = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for sighting in &journal.sightings {
        *seen.entry(&sighting.id).or_default() += 1;
        if !requests.contains_key(sighting.id.as_str()) {
            breaches.push(format!("backends saw {:?}, which nobody sent", sighting.id));
        }
    }
    if world.promise != Promise::Nothing {
        let cut = journal.cut.iter().map(|id| format!("I5: a backend got a part of {id}"));
        breaches.extend(cut);
    }
    for (id, request) in requests {
        let outcomes = journal.outcomes.get(id).map_or(&[][..], Vec::as_slice);
        let times = seen.get(id).copied().unwrap_or(0);
        if outcomes.len() != 1 {
            breaches.push(format!("I1: {id} has {} outcomes: {outcomes:?}", outcomes.len()));
        }
        breaches.extend(repeats(world, request, times));
        if let [outcome] = outcomes {
            breaches.extend(promise(world, request, outcome));
            let own: Vec<_> = log.records.iter().filter(|line| line.id == id).collect();
            breaches.extend(records(request, (outcome, times), &own));
        }
    }
    breaches.extend(callers(world, log));
    breaches.extend(pools::check(world, journal, log));
    breaches.extend(times::check(world, journal, log));
    breaches
}

/// Whoever a PROXY header names is the client.
fn callers(world: &World, log: &ProxyLog) -> Vec<String> {
    let told = world.clients.iter().filter_map(|client| Some((client.behind?, client)));
    let named: BTreeMap<&str, String> = told
        .flat_map(|(behind, client)| client.requests.iter().map(move |one| (behind, one)))
        .map(|(behind, request)| (request.id.as_str(), behind.ip().to_string()))
        .collect();
    let wrong = log.records.iter().filter_map(|line| {
        let wanted = named.get(line.id.as_str()).filter(|wanted| **wanted != line.client_ip)?;
        Some(format!("{} was called by {wanted}, recorded {line:?}", line.id))
    });
    wrong.collect()
}

/// I3, I4: how often backends may see a request.
fn repeats(world: &World, request: &Request, times: usize) -> Option<String> {
    let retry = world.plan.pools.get(request.pool).map(|pool| &pool.retry);
    let attempts = retry.map_or(0, |retry| usize::try_from(retry.attempts).unwrap_or(usize::MAX));
    let all = retry.is_some_and(|retry| retry.methods == RetryMethods::All);
    let (rule, most) = match request.method {
        Method::Post if !all => ("I3", 1),
        // Each try may find one idle connection dead and repeat on a new one.
        Method::Post | Method::Get | Method::Head | Method::Put => {
            ("I4", attempts.saturating_mul(2))
        }
    };
    let id = &request.id;
    (times > most).then(|| format!("{rule}: backends saw {id} {times} times, not {most}"))
}

/// What the faults of the world must not touch.
fn promise(world: &World, request: &Request, outcome: &Outcome) -> Option<String> {
    let safe = matches!(request.method, Method::Get | Method::Head);
    let answered = matches!(outcome, Outcome::Answered { .. });
    let local = matches!(outcome, Outcome::Answered { local: true, .. });
    let kept = match world.promise {
        Promise::All => answered && !local,
        Promise::Safe => answered && !(local && safe),
        Promise::Nothing => true,
    };
    let id = &request.id;
    (!kept).then(|| format!("lost: {id} ended with {outcome:?}"))
}

/// I1 as the proxy tells it: one record per exchange, and a true one.
fn records(
    request: &Request,
    (outcome, times): (&Outcome, usize),
    lines: &[&AccessLine],
) -> Option<String> {
    let id = &request.id;
    let at_least = usize::from(times > 0 || matches!(outcome, Outcome::Answered { .. }));
    if !(at_least..=1).contains(&lines.len()) {
        return Some(format!("I1: {id} has {} access records: {lines:?}", lines.len()));
    }
    let line = lines.first()?;
    if let Outcome::Answered { status, local, .. } = outcome {
        if line.status != *status {
            return Some(format!("{id}: got {status}, recorded {line:?}"));
        }
        if *local != line.failure.is_some() && *local {
            return Some(format!("{id}: local reply recorded without failure: {line:?}"));
        }
    }
    None
}
