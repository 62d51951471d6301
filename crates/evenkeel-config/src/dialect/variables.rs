//! Environment variables that another product has under names of its own. They lie over the file,
//! below `EVENKEEL__…` and flags.

use super::Notes;
use crate::diagnostic::Fault;
use crate::overrides::PREFIX;
use crate::tree::{Node, Place, Value, steps};
use crate::tree_yaml::plain;
use evenkeel_core::address::BindAddress;

/// Variables of every dialect.
const SHARED: &[&str] = &["STRATEGY_TYPE", "SERVER_ADDRESS", "PORT", "LOGGING_LEVEL"];

/// Variables of load-balancer alone, with its keys.
const LOAD_BALANCER: &[(&str, &str)] = &[
    ("SERVER_ENVIRONMENT", "server.environment"),
    ("HEALTH_CHECK_INTERVAL", "health_check.interval"),
    ("STRATEGY_VIRTUAL_NODES", "strategy.virtual_nodes"),
    ("CIRCUIT_BREAKER_ENABLED", "circuit_breaker.enabled"),
    ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "circuit_breaker.failure_threshold"),
    ("CIRCUIT_BREAKER_RESET_TIMEOUT", "circuit_breaker.reset_timeout"),
    ("RETRY_MAX_RETRIES", "retry.max_retries"),
];

/// True of a variable that some dialect reads.
pub(crate) fn is_variable(name: &str) -> bool {
    SHARED.contains(&name) || LOAD_BALANCER.iter().any(|(variable, _)| *variable == name)
}

/// Every variable, with what it sets and where it holds.
pub(crate) fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
    let shared = SHARED.iter().map(|name| match *name {
        "STRATEGY_TYPE" => (*name, "Strategy of every pool."),
        "SERVER_ADDRESS" => (*name, "Where the first listener binds."),
        "PORT" => (*name, "Port of the first listener; not heeded beside SERVER_ADDRESS."),
        _ => (*name, "Least severe event that is written."),
    });
    let own = LOAD_BALANCER.iter().map(|(name, _)| (*name, "Its key of a load-balancer file."));
    shared.chain(own)
}

/// Lays the variables of load-balancer over its tree.
pub(super) fn over_load_balancer(
    tree: &mut Node,
    environment: &[(String, String)],
    notes: &mut Notes,
) {
    for (variable, key) in LOAD_BALANCER {
        if let Some(text) = value_of(variable, environment) {
            let value = Node::new(plain(text), Place::of(variable));
            set(tree, key, value, notes);
        }
    }
}

/// Lays the variables of every dialect over a native file, whose own keys they then hide: that is
/// told.
pub(crate) fn over_ours(tree: &mut Node, environment: &[(String, String)], notes: &mut Notes) {
    let keys = [BIND, "pools[0].strategy", LEVEL];
    // What the short form leaves out stands where the file begins.
    let stands = |node: &Node| node.place.line > 0 && node.place != tree.place;
    let is_written = |key: &&str| tree.at(key).is_some_and(stands);
    let written: Vec<&str> = keys.into_iter().filter(is_written).collect();
    over_native(tree, environment, notes);
    for key in written {
        let place = tree.place_at(key).clone();
        if let Some(name) = &place.origin {
            let fault = Fault::new(format!("the variable {name} counts, not what the file says"));
            let fault = fault.hint(format!("unset {name} if it is meant for another program"));
            notes.tell(&place, key.to_owned(), fault);
        }
    }
}

/// Lays the variables of every dialect over the native tree.
pub(super) fn over_native(tree: &mut Node, environment: &[(String, String)], notes: &mut Notes) {
    let find = |name: &str| value_of(name, environment);
    let text = |name: &str, text: &str| Node::new(Value::Str(text.to_owned()), Place::of(name));
    if let Some(strategy) = find("STRATEGY_TYPE") {
        let pools = tree.at("pools").and_then(Node::items).map_or(0, <[Node]>::len);
        for index in 0..pools {
            let key = format!("pools[{index}].strategy");
            lay(tree, &key, text("STRATEGY_TYPE", strategy), notes);
        }
    }
    if let Some(level) = find("LOGGING_LEVEL") {
        lay(tree, LEVEL, text("LOGGING_LEVEL", level), notes);
    }
    if tree.at("listeners[0]").is_none() {
        return;
    }
    if let Some(address) = find("SERVER_ADDRESS") {
        lay(tree, BIND, text("SERVER_ADDRESS", address), notes);
    } else if let Some(port) = find("PORT") {
        match port.parse() {
            Ok(port @ 1..=u16::MAX) => {
                if let Some(bind) = on_port(tree, port) {
                    lay(tree, BIND, text("PORT", &bind), notes);
                }
            }
            Ok(0) | Err(_) => {
                let fault = Fault::new(format!("PORT={port:?} is ignored: not a port"));
                let fault = fault.hint("a whole number from 1 to 65535");
                notes.tell(&Place::of("PORT"), BIND.to_owned(), fault);
            }
        }
    }
}

pub(crate) const BIND: &str = "listeners[0].bind";
const LEVEL: &str = "logging.level";

/// The first listener's bind with another port; `None` if it has none.
pub(crate) fn on_port(tree: &Node, port: u16) -> Option<String> {
    let bind = tree.at(BIND).and_then(super::foreign::scalar).map(BindAddress::parse);
    match bind {
        Some(Ok(BindAddress::Ip(mut address))) => {
            address.set_port(port);
            Some(address.to_string())
        }
        Some(Ok(BindAddress::AnyIp(_))) | None => Some(format!(":{port}")),
        // Told by the reader, or not a port at all.
        Some(Ok(BindAddress::Unix(_)) | Err(_)) => None,
    }
}

fn value_of<'a>(name: &str, environment: &'a [(String, String)]) -> Option<&'a str> {
    let found = environment.iter().find(|(variable, _)| variable == name);
    found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

/// Sets what no variable of ours has set.
fn lay(tree: &mut Node, key: &str, value: Node, notes: &mut Notes) {
    let origin = tree.at(key).and_then(|node| node.place.origin.as_deref());
    if !origin.is_some_and(|origin| origin.starts_with(PREFIX)) {
        set(tree, key, value, notes);
    }
}

fn set(tree: &mut Node, key: &str, value: Node, notes: &mut Notes) {
    let place = value.place.clone();
    if let Err(message) = tree.set(&steps(key), value) {
        notes.refuse(&place, key.to_owned(), message);
    }
}
