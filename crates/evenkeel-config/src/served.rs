//! What this version reads, but does not serve. Keys that would change safety or meaning are
//! refused; keys that would only be missing are warned about if they are written. A feature that
//! comes to be served loses its line here.

use crate::diagnostic::{Fault, Problem};
use crate::scalar::RetryOn;
use crate::sections::{
    AcceptProxy, AffinityType, Family, HealthType, Listener, ListenerProtocol, Pool, PoolProtocol,
    PoolTls, RetryMethods, Root, Route, SendProxy, UdpLimits,
};
use crate::tree::Node;
use evenkeel_core::address::Scheme;
use evenkeel_core::strategy::StrategyName;
use serde_json::json;
use std::time::Duration;

/// Keys that would change safety or meaning.
pub(crate) fn refused(root: &Root, tree: &Node) -> Vec<Problem> {
    let mut found = Found { tree, problems: Vec::new() };
    for (index, listener) in root.listeners.iter().enumerate() {
        refused_of_listener(listener, &format!("listeners[{index}]"), &mut found);
    }
    for (index, route) in root.routes.iter().enumerate() {
        refused_of_route(route, &format!("routes[{index}]"), &mut found);
    }
    for (index, pool) in root.pools.iter().enumerate() {
        refused_of_pool(pool, &format!("pools[{index}]"), &mut found);
    }
    let open = root.admin.bind.0.as_ref().is_some_and(|bind| !bind.is_loopback());
    if open && !root.admin.insecure {
        found.refuse("admin.tokens_file");
    }
    found.problems
}

/// Keys that are written and do nothing.
pub(crate) fn without_effect(root: &Root, tree: &Node) -> Vec<Problem> {
    let mut found = Found { tree, problems: Vec::new() };
    for (index, pool) in root.pools.iter().enumerate() {
        without_effect_of_pool(pool, &format!("pools[{index}]"), &mut found);
    }
    for key in ["state_dir", "recorder", "admin.tokens_file"] {
        found.warn(key);
    }
    if !root.tracing.otlp.endpoint.0.is_empty() {
        found.warn("tracing.otlp.endpoint");
    }
    if root.debug.pprof.0.is_some() {
        found.warn("debug.pprof");
    }
    if root.metrics.families != [Family::Native] {
        found.warn("metrics.families");
    }
    found.problems
}

struct Found<'a> {
    tree: &'a Node,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn report(&mut self, path: &str, message: String) {
        let place = self.tree.key_place_at(path).clone();
        let fault = Fault::new(message);
        self.problems.push(Problem { place, path: path.to_owned(), fault });
    }

    fn refuse(&mut self, path: &str) {
        let key = path.rsplit_once('.').map_or(path, |(_, key)| key);
        self.report(path, format!("`{key}` is not served by this version"));
    }

    fn refuse_value(&mut self, path: String, value: &str) {
        let key = path.rsplit_once('.').map_or(path.as_str(), |(_, key)| key);
        self.report(&path, format!("`{key}: {value}` is not served by this version"));
    }

    fn warn(&mut self, path: &str) {
        if self.tree.at(path).is_some() {
            let key = path.rsplit_once('.').map_or(path, |(_, key)| key);
            self.report(path, format!("`{key}` has no effect in this version"));
        }
    }
}

fn refused_of_listener(listener: &Listener, path: &str, found: &mut Found<'_>) {
    if listener.protocol != ListenerProtocol::Http {
        found.refuse_value(format!("{path}.protocol"), listener.protocol.as_str());
    }
    if listener.proxy_protocol != AcceptProxy::Off {
        found.refuse_value(format!("{path}.proxy_protocol"), listener.proxy_protocol.as_str());
    }
    let keys = [
        ("tls", listener.tls.is_some()),
        ("redirect", listener.redirect.is_some()),
        ("mounts", !listener.mounts.is_empty()),
        ("sni_routes", !listener.sni_routes.is_empty()),
        ("pool", listener.pool.is_some()),
        ("udp", listener.udp != UdpLimits::default()),
    ];
    for (key, _) in keys.into_iter().filter(|(_, used)| *used) {
        found.refuse(&format!("{path}.{key}"));
    }
}

fn refused_of_route(route: &Route, path: &str, found: &mut Found<'_>) {
    let keys = [("rate_limit", route.rate_limit.is_some()), ("mirror", route.mirror.is_some())];
    for (key, _) in keys.into_iter().filter(|(_, used)| *used) {
        found.refuse(&format!("{path}.{key}"));
    }
}

fn refused_of_pool(pool: &Pool, path: &str, found: &mut Found<'_>) {
    if pool.strategy.name != StrategyName::RoundRobin {
        found.refuse_value(format!("{path}.strategy"), &pool.strategy.text);
    }
    if pool.protocol != PoolProtocol::Http1 {
        found.refuse_value(format!("{path}.protocol"), pool.protocol.as_str());
    }
    if pool.proxy_protocol != SendProxy::Off {
        found.refuse_value(format!("{path}.proxy_protocol"), pool.proxy_protocol.as_str());
    }
    if pool.affinity.r#type != AffinityType::None {
        found.refuse(&format!("{path}.affinity"));
    }
    if pool.retry.methods != RetryMethods::Idempotent {
        found.refuse_value(format!("{path}.retry.methods"), pool.retry.methods.as_str());
    }
    let keys = [
        ("discovery", pool.discovery.0 != json!({})),
        ("autoscale", pool.autoscale.0.is_some()),
        ("tls", pool.tls != PoolTls::default()),
        ("retry.per_try_timeout", pool.retry.per_try_timeout.0 > Duration::ZERO),
        ("connections.max", pool.connections.max.0 > 0),
        ("connections.max_connecting", pool.connections.max_connecting.0 > 0),
    ];
    for (key, _) in keys.into_iter().filter(|(_, used)| *used) {
        found.refuse(&format!("{path}.{key}"));
    }
    for (index, backend) in pool.backends.iter().enumerate() {
        let scheme = match backend.0.address.0.scheme {
            Scheme::Http => continue,
            Scheme::Https => "https",
            Scheme::H2c => "h2c",
        };
        let item = format!("{path}.backends[{index}]");
        let long = format!("{item}.address");
        let path = if found.tree.at(&long).is_some() { long } else { item };
        let place = found.tree.place_at(&path).clone();
        let fault = Fault::new(format!("{scheme}:// is not served by this version"));
        found.problems.push(Problem { place, path, fault });
    }
}

fn without_effect_of_pool(pool: &Pool, path: &str, found: &mut Found<'_>) {
    let served = |reason: &RetryOn| matches!(reason, RetryOn::ConnectFailure | RetryOn::Reset);
    let keys = [
        ("health", pool.health.r#type != HealthType::None),
        ("circuit_breaker", pool.circuit_breaker.enabled),
        ("slow_start", pool.slow_start.0 > Duration::ZERO),
        ("fail_open", true),
        ("hash", true),
        ("connections.queue", true),
        ("retry.budget", true),
        ("retry.budget_floor", true),
        ("retry.backoff", true),
        ("retry.on", !pool.retry.on.iter().all(served)),
    ];
    for (key, _) in keys.into_iter().filter(|(_, used)| *used) {
        found.warn(&format!("{path}.{key}"));
    }
}
