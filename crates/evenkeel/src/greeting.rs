//! The lines that greet at start, for people who read the log while it starts.

use crate::wiring::tell;
use evenkeel_core::plan::{ListenerPlan, LogLevel, Plan};
use evenkeel_core::record::GREETING;
use evenkeel_proxy::log::EventLog;

/// What is being started: the name, every backend, every listener.
pub(crate) fn begin(plan: &Plan, log: &EventLog) {
    let Some(name) = &plan.logging.greeting else { return };
    say(log, &format!("Starting {name}"));
    say(log, "Initializing backend servers...");
    for backend in plan.pools.iter().flat_map(|pool| &pool.backends) {
        let (address, weight) = (&backend.address.text, backend.weight);
        say(log, &format!("Added backend: {address} (weight: {weight})"));
    }
    for listener in &plan.listeners {
        say(log, &format!("Load balancer starting on {}", listener.bind));
    }
}

/// Traffic is welcome.
pub(crate) fn ready(plan: &Plan, log: &EventLog) {
    if plan.logging.greeting.is_some() {
        say(log, "Load balancer is ready to accept connections");
    }
}

/// Backends that are named one by one; of further ones only the number.
const MAX_NAMED: usize = 100;

/// Every backend as `POOL/NAME`, in the order of the file.
pub(crate) fn backends(plan: &Plan) -> String {
    let all = plan.pools.iter().flat_map(|pool| pool.backends.iter().map(move |it| (pool, it)));
    let named = all.clone().take(MAX_NAMED);
    let mut words: Vec<_> =
        named.map(|(pool, backend)| format!("{}/{}", pool.name, backend.name)).collect();
    let more = all.count() - words.len();
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    words.join(" ")
}

/// Every path that a listener answers itself, as `LISTENER=PATH`.
pub(crate) fn mounts(plan: &Plan) -> String {
    let of = |listener: &ListenerPlan| {
        let name = listener.name.clone();
        listener.mounts.iter().map(move |it| format!("{name}={}", it.path)).collect::<Vec<_>>()
    };
    plan.listeners.iter().flat_map(of).collect::<Vec<_>>().join(" ")
}

fn say(log: &EventLog, words: &str) {
    tell(log, (LogLevel::Info, GREETING), words, &[]);
}
