//! What a change would touch: counted on what serves now.

use super::in_force::InForce;
use evenkeel_config::{Conflict, Diagnostic, Difference, differences};
use evenkeel_core::address::{Endpoint, Scheme};
use evenkeel_core::plan::{Plan, PoolPlan};
use evenkeel_core::snapshot::Snapshot;
use serde_json::Value as Json;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

/// What a change would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// What would be different, by key.
    pub changes: Vec<Difference>,
    /// What would end or drain.
    pub touched: Touched,
    /// What would need a restart.
    pub notes: Vec<String>,
    /// Edits that would not fit the file any more.
    pub conflicts: Vec<Conflict>,
    /// What would hold but should be looked at.
    pub warnings: Vec<Diagnostic>,
}

/// What would end or drain, because its own listener or backend goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Names of listeners that would go.
    pub listeners: Vec<String>,
    /// Client connections of those listeners.
    pub connections: usize,
    /// Backends that would go, as POOL/NAME.
    pub backends: Vec<String>,
    /// Requests in flight there; they would end by themselves.
    pub requests: u64,
    /// Tunnels there.
    pub tunnels: u64,
    /// Sessions that are tied to those backends by a cookie that was issued since the start; some
    /// of them may have ended.
    pub sessions: u64,
}

/// What is different by key. If that is nothing that is shown, a secret is.
pub(super) fn changes(before: &InForce, shown: &Json, plan: &Plan) -> Vec<Difference> {
    let mut changes = differences(before.json(), shown);
    if changes.is_empty() && *before.plan != *plan {
        let path = "a value that is not shown".to_owned();
        changes.push(Difference { path, before: None, after: None });
    }
    changes
}

pub(super) fn preview(now: &Snapshot, next: &Plan) -> Preview {
    let mut touched = Touched::default();
    let stay: HashSet<usize> =
        now.doors_for(&next.listeners).iter().map(|door| door.number).collect();
    for (listener, door) in now.plan.listeners.iter().zip(&now.doors) {
        if !stay.contains(&door.number) {
            touched.listeners.push(listener.name.to_string());
            touched.connections += door.open.load(Ordering::Relaxed);
        }
    }
    let pools: HashMap<&str, &PoolPlan> =
        next.pools.iter().map(|pool| (&*pool.name, pool)).collect();
    for pool in &now.pools {
        let stay: HashSet<(Scheme, &Endpoint)> =
            pools.get(&*pool.plan.name).map_or_else(HashSet::new, |plan| {
                let addresses = plan.backends.iter().map(|backend| &backend.address);
                addresses.map(|address| (address.scheme, &address.endpoint)).collect()
            });
        for backend in &pool.backends {
            let address = &backend.plan.address;
            if stay.contains(&(address.scheme, &address.endpoint)) {
                continue;
            }
            touched.backends.push(format!("{}/{}", pool.plan.name, backend.plan.name));
            let (all, tunnels) = (u64::from(backend.in_flight()), u64::from(backend.tunnels()));
            touched.requests += all.saturating_sub(tunnels);
            touched.tunnels += tunnels;
            touched.sessions += backend.ties();
        }
    }
    Preview { touched, ..Preview::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_config::{Configuration, Format, Overrides, Source};

    fn with_key(key: &str) -> (Configuration, Plan) {
        let text = format!(
            "listeners: [{{ bind: ':80' }}]\npools: [{{ name: a, backends: ['127.0.0.1:1'] }}]\n\
             routes: [{{ pool: a, match: {{ headers: {{ x-api-key: {key} }} }} }}]\n"
        );
        let source = Source { name: "c.yaml".to_owned(), text, format: Format::Yaml };
        let read = evenkeel_config::read(Some(&source), &Overrides::default()).expect("valid");
        let plan = read.plan().0;
        (read, plan)
    }

    #[test]
    fn a_secret_that_changes_is_a_change() {
        let (before, plan) = with_key("one");
        let before = InForce::new(before, plan, 1);
        let told = |key: &str| {
            let (after, plan) = with_key(key);
            let found = changes(&before, &after.to_json(), &plan);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told("one"), [""; 0]);
        assert_eq!(told("two"), ["a value that is not shown"]);
    }
}
