//! Why a request goes where it goes, in words: what the serving code decides, as the API tells it.

use evenkeel_api::{Candidate, Deadlines, ExplainRequest, Explanation, RouteVerdict};
use evenkeel_core::limit::Admission;
use evenkeel_core::mirror::MirrorPlan;
use evenkeel_core::plan::{
    AffinityPlan, HashKey, HeaderRules, ListenerPlan, Plan, PoolPlan, RateKey, RoutePlan,
};
use evenkeel_core::pool::{Candidate as Seen, Foreseen, Mode, Pool, Preview};
use evenkeel_core::snapshot::Snapshot;
use evenkeel_proxy::explain::{self, Explained, Instead, Moment, Question};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Which way the request would go at this moment, and why. Changes nothing.
///
/// # Errors
/// The field of the request that cannot be, and why.
pub fn explain(
    snapshot: &Snapshot,
    request: &ExplainRequest,
    moment: Moment,
) -> Result<Explanation, (&'static str, String)> {
    let client = match &request.client {
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(text) => text.parse::<IpAddr>().map_err(|_| {
            ("client", format!("`{text}` is no IP address, as 203.0.113.7 or 2001:db8::1 is"))
        })?,
    };
    let fields: Vec<(String, String)> = request.headers.clone().into_iter().collect();
    let method = request.method.as_deref().unwrap_or("GET");
    let asked = (method, request.url.as_str());
    let question =
        Question::new(&snapshot.plan, asked, &fields, client).map_err(|why| at_field(&why))?;
    Ok(in_words(snapshot, &explain::explain(snapshot, &question, moment)))
}

/// The field at fault, and what is wrong with it.
fn at_field(why: &str) -> (&'static str, String) {
    let named = ["method", "headers", "url"].into_iter().find(|field| why.starts_with(field));
    let field = named.unwrap_or("url");
    let message = why.strip_prefix(field).and_then(|rest| rest.strip_prefix(": "));
    (field, message.unwrap_or(why).to_owned())
}

fn in_words(snapshot: &Snapshot, explained: &Explained) -> Explanation {
    let plan = &snapshot.plan;
    let route = explained.route.and_then(|index| plan.routes.get(index));
    let pool = explained.pool.and_then(|index| snapshot.pools.get(index));
    let preview = explained.preview.as_ref();
    let verdict = |(index, why): &(usize, Option<&'static str>)| {
        let name = plan.routes.get(*index).map_or("", |route| &route.name);
        RouteVerdict {
            route: name.to_owned(),
            matched: why.is_none(),
            reason: why.map_or_else(|| matched(snapshot, explained), str::to_owned),
        }
    };
    let candidates = match (pool, preview) {
        (Some(pool), Some(preview)) => candidates(pool, preview),
        (None, _) | (_, None) => Vec::new(),
    };
    let backend = preview.and_then(|preview| preview.outcome.backend());
    let backend = backend.and_then(|index| pool?.backends.get(index));
    let listener = plan.listeners.get(explained.listener);
    let instead = listener.and_then(|it| instead(it, explained.instead.as_ref()?));
    Explanation {
        listener: listener.map_or(String::new(), |listener| listener.name.to_string()),
        instead,
        routes: explained.routes.iter().map(verdict).collect(),
        route: route.map(|route| route.name.to_string()),
        pool: pool.map(|pool| pool.plan.name.to_string()),
        backend: backend.map(|backend| backend.plan.name.to_string()),
        candidates,
        deadlines: deadlines(route, pool.map(|pool| &pool.plan)),
        strategy: pool.map(|pool| pool.plan.strategy_text.to_string()),
        affinity: pool.and_then(|pool| affinity(pool, explained)),
        filters: route.map(|route| filters(plan, route, explained)).unwrap_or_default(),
        failure: explained.failure.map(|failure| failure.code().to_owned()),
    }
}

/// What answers, or names the pool, in the place of a route.
fn instead(listener: &ListenerPlan, instead: &Instead) -> Option<String> {
    Some(match instead {
        Instead::Mount(at) => {
            let mount = listener.mounts.get(*at)?;
            format!("its mount {} answers, before any route", mount.path)
        }
        Instead::Redirect { status, location } => {
            format!("it redirects everybody ({status}): to {location}")
        }
        Instead::ServerName(at) => {
            format!("it passes TLS through by server name: sni_routes[{at}] covers it")
        }
        Instead::Listener => "it has no routes: its own pool takes everybody".to_owned(),
    })
}

/// What matched, and how one of several pools is chosen.
fn matched(snapshot: &Snapshot, explained: &Explained) -> String {
    let plan = &snapshot.plan;
    let Some(route) = explained.route.and_then(|index| plan.routes.get(index)) else {
        return "it matches".to_owned();
    };
    let test = &route.matches;
    let parts = [
        (!test.listeners.is_empty(), "listener"),
        (!test.hosts.is_empty(), "host"),
        (test.path != evenkeel_core::plan::PathMatch::Any, "path"),
        (!test.methods.is_empty(), "method"),
        (!test.headers.is_empty(), "headers"),
    ];
    let parts: Vec<&str> = parts.iter().filter(|(tested, _)| *tested).map(|(_, p)| *p).collect();
    let mut text = match parts.as_slice() {
        [] => "it matches every request".to_owned(),
        parts => format!("{} match", parts.join(", ")),
    };
    if route.arms.is_some() {
        text.push_str("; a migration divides its requests, by the client's cohort");
    } else if route.split.len() > 1 {
        let total: u64 = route.split.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let arm = |(pool, weight): &(usize, u32)| {
            let name = plan.pools.get(*pool).map_or("", |pool| &pool.name);
            format!("{name} {weight} of {total}")
        };
        let arms: Vec<String> = route.split.iter().map(arm).collect();
        let how = if explained.arm_is_tied { "by the session cookie" } else { "drawn" };
        text.push_str(&format!("; its pool is {how}: {}", arms.join(", ")));
    }
    text
}

fn candidates(pool: &Pool, preview: &Preview) -> Vec<Candidate> {
    let all = pool.backends.iter().zip(&preview.candidates).enumerate();
    all.map(|(index, (backend, seen))| Candidate {
        name: backend.plan.name.to_string(),
        score: seen.score,
        eligible: seen.eligible,
        reason: reason(pool, preview, (index, seen)),
    })
    .collect()
}

fn reason(pool: &Pool, preview: &Preview, (index, seen): (usize, &Seen)) -> String {
    let mut words = Vec::new();
    match (seen.bar, seen.eligible) {
        (Some(bar), false) => words.push(bar.as_str().to_owned()),
        (Some(bar), true) => words.push(format!("{}, but nobody is better", bar.as_str())),
        (None, true) => words.push("eligible".to_owned()),
        (None, false) => words.push("not yet taken into account".to_owned()),
    }
    if seen.full {
        words.push("has its connections.max".to_owned());
    }
    if let (Some(score), Some(unit)) = (seen.score, pool.score_unit()) {
        words.push(format!("{} {unit}", rounded(score)));
    }
    words.push(format!("{} in flight", seen.in_flight));
    let chosen = match preview.outcome {
        Foreseen::Trial(at) => (at == index).then_some("gets this request as its breaker's trial"),
        Foreseen::Tied(at) => (at == index).then_some("tied to this client"),
        Foreseen::Chosen(at) if pool.draws() => (at == index).then_some("drawn this time"),
        Foreseen::Chosen(at) if pool.wants_hash() => (at == index).then_some("owns the key"),
        Foreseen::Chosen(at) => (at == index).then_some("next"),
        Foreseen::LastResort(at) => (at == index).then_some("the last resort (fail_open)"),
        Foreseen::Queued | Foreseen::Nobody => None,
    };
    words.extend(chosen.map(str::to_owned));
    words.join(", ")
}

fn rounded(score: f64) -> f64 {
    (score * 1000.0).round() / 1000.0
}

fn affinity(pool: &Pool, explained: &Explained) -> Option<String> {
    let mode = match explained.preview.as_ref().map(|preview| (preview.mode, preview.outcome)) {
        Some((_, Foreseen::Queued)) => Some("the request waits in the queue: all are full"),
        Some((Mode::FailOpen, _)) => Some("open breakers are ignored (fail_open)"),
        Some((Mode::Doubtful, _)) => Some("everybody is in doubt, all serve"),
        Some((Mode::Normal | Mode::Empty, _)) | None => None,
    };
    let tie = match &pool.plan.affinity {
        AffinityPlan::Cookie(cookie) => Some(match explained.tied.map(|at| &pool.backends[at]) {
            Some(backend) => format!("cookie `{}` ties to {}", cookie.name, backend.plan.name),
            None => format!("cookie `{}`: none yet, the answer sets it", cookie.name),
        }),
        AffinityPlan::ClientIp => Some("by the client's address".to_owned()),
        AffinityPlan::Off if pool.wants_hash() => {
            Some(format!("by the key: {}", key_in_words(&pool.plan.hash.key)))
        }
        AffinityPlan::Off => None,
    };
    let words: Vec<String> = tie.into_iter().chain(mode.map(str::to_owned)).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

fn key_in_words(key: &HashKey) -> String {
    match key {
        HashKey::ClientIp => "the client's address".to_owned(),
        HashKey::Header(name) => format!("header `{name}`"),
        HashKey::Cookie(name) => format!("cookie `{name}`"),
        HashKey::Path => "the path".to_owned(),
        HashKey::Query(None) => "the query".to_owned(),
        HashKey::Query(Some(name)) => format!("query parameter `{name}`"),
    }
}

fn filters(plan: &Plan, route: &RoutePlan, explained: &Explained) -> Vec<String> {
    let mut filters = Vec::new();
    let client = explained.client.map_or("nobody".to_owned(), |ip| ip.to_string());
    if !route.deny.is_empty() || !route.allow.is_empty() {
        let denied = explained.failure == Some(evenkeel_core::failure::Failure::Denied);
        let verdict = if denied { "refuse" } else { "let in" };
        filters.push(format!("allow and deny {verdict} {client}"));
    }
    if let Some(limit) = &route.rate_limit {
        let key = match &limit.key {
            RateKey::ClientIp => "client_ip".to_owned(),
            RateKey::Header(name) => format!("header:{name}"),
            RateKey::Route => "route".to_owned(),
        };
        let state = match &explained.rate {
            Some(Admission::Allowed(left)) => format!("{} left after this one", left.remaining),
            Some(Admission::Limited { retry_after, .. }) => {
                format!("used up, again in {} s", retry_after.as_secs_f64().ceil())
            }
            None => "not reached".to_owned(),
        };
        let (requests, per) = (limit.requests, limit.per);
        filters.push(format!("rate limit {requests} per {per:?} by {key}: {state}"));
    }
    if route.strip_prefix {
        filters.push(format!("strip_prefix: the backend is asked for {}", explained.forwarded));
    }
    rules("request", &route.request_headers, &mut filters);
    rules("response", &route.response_headers, &mut filters);
    for mirror in &route.mirrors {
        let MirrorPlan { percent, max_body_bytes, .. } = mirror;
        let pool = plan.pools.get(mirror.pool).map_or("", |pool| &pool.name);
        filters.push(format!(
            "mirror: {percent} % of requests with bodies up to {max_body_bytes} bytes are copied \
             to the pool {pool}"
        ));
    }
    filters
}

fn rules(side: &str, rules: &HeaderRules, filters: &mut Vec<String>) {
    // Names only: values may be secrets.
    filters.extend(rules.remove.iter().map(|name| format!("{side} header {name} removed")));
    filters.extend(rules.set.iter().map(|(name, _)| format!("{side} header {name} set")));
    filters.extend(rules.add.iter().map(|(name, _)| format!("{side} header {name} added")));
}

fn deadlines(route: Option<&RoutePlan>, pool: Option<&PoolPlan>) -> Deadlines {
    let bounded = |time: Duration| match u64::try_from(time.as_millis()) {
        Ok(ms) if ms > 0 && time < LONGEST => Some(ms),
        Ok(_) | Err(_) => None,
    };
    Deadlines {
        timeout_ms: route.and_then(|route| bounded(route.timeout)),
        queue_timeout_ms: pool.and_then(|pool| bounded(pool.connections.queue_timeout)),
        connect_timeout_ms: pool.and_then(|pool| bounded(pool.timeouts.connect)),
        per_try_timeout_ms: pool.and_then(|pool| bounded(pool.retry.per_try_timeout)),
        response_head_timeout_ms: pool.and_then(|pool| bounded(pool.timeouts.response_head)),
        idle_timeout_ms: pool.and_then(|pool| bounded(pool.timeouts.idle)),
    }
}

/// From here on a bound stands for none.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
