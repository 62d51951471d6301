//! `/api/v1/loadBalancers/report`: which hosts are served by whom.

use crate::metrics::{View, condition};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// What a route without hosts is listed as.
const ANY_HOST: &str = "*";

/// One host with the backends behind it.
#[derive(Default)]
struct App {
    instances: Vec<Value>,
    /// Pools whose backends are listed.
    pools: HashSet<usize>,
}

/// `{apps: [{host, instances: [{url, healthy}]}]}`: hosts in the order of the routes, each once,
/// `*` for routes without one; under each the backends of every pool that a route of it leads to.
/// Addresses are as written in the configuration.
pub fn report_json(view: &View<'_>) -> Value {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut apps: Vec<(&str, App)> = Vec::new();
    for route in &view.snapshot.plan.routes {
        let any = route.matches.hosts.is_empty().then_some(ANY_HOST);
        for host in route.matches.hosts.iter().map(String::as_str).chain(any) {
            let place = *places.entry(host).or_insert(apps.len());
            if place == apps.len() {
                apps.push((host, App::default()));
            }
            for (pool, _) in &route.split {
                list(view, *pool, &mut apps[place].1);
            }
        }
    }
    let app = |(host, app): (&str, App)| json!({ "host": host, "instances": app.instances });
    json!({ "apps": apps.into_iter().map(app).collect::<Vec<Value>>() })
}

/// Adds the backends of a pool, given by its place in the plan, unless they are there.
fn list(view: &View<'_>, place: usize, app: &mut App) {
    let Some(pool) = view.snapshot.pools.get(place).filter(|_| app.pools.insert(place)) else {
        return;
    };
    app.instances.extend(pool.backends.iter().map(|backend| {
        let is_up = condition(pool, backend).is_up();
        json!({ "url": &*backend.plan.address.text, "healthy": is_up })
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::fixture::{Fixture, TWO_POOLS};

    #[test]
    fn hosts_come_in_the_order_of_routes() {
        let fixture = Fixture::of(TWO_POOLS);
        fixture.probe("web", "b2", 3);
        let expected = json!({"apps": [
            {"host": "gone.test", "instances": [{"url": "unix:/run/g1", "healthy": true}]},
            {"host": "*", "instances": [
                {"url": "127.0.0.1:8081", "healthy": true},
                {"url": "http://127.0.0.1:8082", "healthy": false},
            ]},
        ]});
        assert_eq!(report_json(&fixture.view()), expected);
    }

    #[test]
    fn a_host_of_many_routes_is_listed_once() {
        let fixture = Fixture::of(
            "listeners: [{bind: \":0\"}]\nroutes:\n  \
             - {match: {hosts: [a.test, b.test], path: /x}, pool: a}\n  \
             - {match: {hosts: [a.test]}, split: [{pool: a, weight: 1}, {pool: b, weight: 1}]}\n\
             pools:\n  - {name: a, backends: [\"127.0.0.1:1\"]}\n  \
             - {name: b, backends: [\"127.0.0.1:2\"]}\n  \
             - {name: unreached, backends: [\"127.0.0.1:3\"]}\n",
        );
        let report = report_json(&fixture.view());
        let hosts: Vec<_> = report["apps"].as_array().unwrap().iter().collect();
        let listed = |app: &Value| app["instances"].as_array().unwrap().len();
        let counts: Vec<_> = hosts.iter().map(|app| (app["host"].clone(), listed(app))).collect();
        assert_eq!(counts, [(json!("a.test"), 2), (json!("b.test"), 1)]);
    }
}
