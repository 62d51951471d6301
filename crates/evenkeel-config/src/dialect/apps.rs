//! `apps`: a pool for each host.

use super::Notes;
use super::build::{Build, flag, list, number, text};
use super::foreign::Foreign;
use super::policy::{self, Backends, LISTEN, NAME};
use crate::diagnostic::Fault;
use crate::tree::{Node, Place, Value};
use std::collections::HashMap;

const BACKENDS: Backends = Backends { address: "url", urls_only: true };

/// Where its report is served, for every host.
const REPORT: &str = "/api/v1/loadBalancers/report";

pub(super) fn translate(root: &Node, notes: &mut Notes) -> Node {
    let mut file = Foreign::root(root, notes);
    let place = file.place().clone();
    let apps = match file.items("apps", notes) {
        Some((entry, apps)) => {
            if apps.is_empty() && notes.errors.is_empty() {
                notes.refuse(&entry.value.place, "apps".to_owned(), "needs at least one");
            }
            apps
        }
        None => {
            notes.refuse(&place, "apps".to_owned(), "`apps` is missing: needs at least one");
            Vec::new()
        }
    };
    file.finish(notes);
    let (mut routes, mut pools) = (Vec::new(), Vec::new());
    let mut hosts = HashMap::new();
    for (path, app) in apps {
        if is_second(&path, app, &mut hosts, notes) {
            continue;
        }
        if let Some((route, pool)) = one(path, app, notes) {
            routes.push(route);
            pools.push(pool);
        }
    }
    let mount = Build::new().put("path", text(REPORT)).put("serve", text("report"));
    let listener = Build::new()
        .put("name", text(NAME))
        .put("bind", text(LISTEN))
        .put("mounts", list(vec![mount.node()]));
    Build::at(&root.place)
        .put("version", number(1))
        .put("listeners", list(vec![listener.node()]))
        .put("routes", list(routes))
        .put("pools", list(pools))
        .put("admin", policy::admin())
        .node()
}

/// True for an app whose host another one has; only the first could get requests.
fn is_second<'a>(
    path: &str,
    app: &'a Node,
    hosts: &mut HashMap<String, &'a Place>,
    notes: &mut Notes,
) -> bool {
    let Some(host) = app.entry("host").map(|host| &host.value) else { return false };
    let Value::Str(name) = &host.value else { return false };
    let asked = as_asked(name);
    let Some(first) = hosts.get(&asked) else {
        hosts.insert(asked, &host.place);
        return false;
    };
    let message = format!("a second app for {name:?}; the first is on {}", first.phrase());
    notes.refuse(&host.place, format!("{path}.host"), Fault::new(message));
    true
}

/// A host as requests are matched with it: in lower case, without a port.
fn as_asked(host: &str) -> String {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(it, _)| it);
    name.to_ascii_lowercase()
}

/// The route and the pool of one app.
fn one(path: String, app: &Node, notes: &mut Notes) -> Option<(Node, Node)> {
    let mut written = Foreign::of(app, path, notes);
    let Some(host) = written.take("host") else {
        notes.refuse(&app.place, written.path_of("host"), "`host` is missing");
        return None;
    };
    let mut take = |key| written.take(key);
    let (health_uri, timeout) = (take("health_uri"), take("timeout"));
    let (cooldown, strategy) = (take("health_check_cooldown"), take("strategy"));
    let instances = BACKENDS.read(&mut written, "instances", notes);
    let health = Build::new()
        .put("type", text("http"))
        .moved_or("path", health_uri, text("/health"))
        .moved("interval", cooldown)
        .moved("timeout", timeout)
        .put("healthy_threshold", number(1))
        .put("unhealthy_threshold", number(1));
    let pool = Build::at(&app.place)
        .moved("name", Some(host))
        .moved_or("strategy", strategy, text("round_robin"))
        .moved("backends", instances.as_ref())
        .put("health", health.node())
        .put("circuit_breaker", policy::breaker(Foreign::empty(), notes));
    let pool = match timeout {
        Some(timeout) => {
            let head = policy::unclaimed(&timeout.value);
            pool.put("timeouts", Build::new().put("response_head", head).node())
        }
        None => pool,
    };
    written.finish(notes);
    let name = || policy::unclaimed(&host.value);
    let hosts = Node::new(Value::Seq(vec![host.value.clone()]), host.value.place.clone());
    let route = Build::new()
        .put("name", name())
        .put("match", Build::new().put("hosts", hosts).node())
        .put("pool", name());
    Some((route.node(), pool.put("fail_open", flag(false)).node()))
}
