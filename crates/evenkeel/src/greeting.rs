//! The lines that greet at start, for people who read the log while it starts.

use crate::wiring::tell;
use evenkeel_core::plan::{LogLevel, Plan};
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

fn say(log: &EventLog, words: &str) {
    tell(log, (LogLevel::Info, GREETING), words, &[]);
}
