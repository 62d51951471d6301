//! `preset: go-loadbalancer`: what Go Load Balancer has built in, filled in where a native file
//! says nothing.

use super::Notes;
use super::build::{Build, flag, list, number, text};
use super::policy::{self, LISTEN, NAME};
use crate::diagnostic::Fault;
use crate::tree::{Entry, Node, Step, Value};
use std::collections::HashMap;

/// The only preset.
const PRESET: &str = "go-loadbalancer";

/// How it names itself at start.
const GREETING: &str = "Go Load Balancer Application";

/// Its backends, with weights.
const BACKENDS: [(&str, u64); 3] =
    [("http://localhost:8081", 3), ("http://localhost:8082", 2), ("http://localhost:8083", 1)];

/// Where more backends get their ports.
const PORTS: &str = "8084-8099";

/// Where they are reached, spelt like the first three.
const ADDRESS: &str = "http://localhost:{port}";

pub(super) fn expand(root: &Node, notes: &mut Notes) -> Node {
    let mut tree = root.clone();
    if tree.value == Value::Null {
        tree.value = Value::Map(Vec::new());
    }
    take_preset(&mut tree, notes);
    let short = crate::forms::expand(&mut tree, &mut notes.errors);
    fill(&mut tree, "version", number(1));
    let listener = Build::new().put("name", text(NAME)).put("bind", text(LISTEN));
    fill(&mut tree, "listeners", list(vec![listener.node()]));
    fill(&mut tree, "listeners[0].mounts", mounts());
    fill(&mut tree, "pools", list(vec![pool()]));
    let pool_name = tree.at("pools[0].name").map_or_else(|| text(NAME), policy::unclaimed);
    if short && tree.at("pools[0].backends").is_none() {
        // What was written is only where it listens, or its strategy.
        fill(&mut tree, "pools[0].backends", backends());
        fill(&mut tree, "pools[0].autoscale", autoscale());
    }
    if short {
        // Its one route is written by the short form, not by the user.
        tree.set(&[Step::Key("routes".to_owned())], routes(&pool_name)).ok();
    }
    fill(&mut tree, "routes", routes(&pool_name));
    let pools = tree.at("pools").and_then(Node::items).map_or(0, <[Node]>::len);
    for index in 0..pools {
        fill_pool(&mut tree, &format!("pools[{index}]"));
        name_again(&mut tree, &format!("pools[{index}].backends"), notes);
    }
    fill(&mut tree, "admin.required", flag(false));
    fill(&mut tree, "logging.format", text("bracket"));
    fill(&mut tree, "logging.greeting", text(GREETING));
    fill(&mut tree, "metrics.families", list(vec![text("native"), text("loadbalancer")]));
    fill(&mut tree, "mocks", flag(true));
    tree
}

/// Removes the key, whose value is the only preset there is.
fn take_preset(tree: &mut Node, notes: &mut Notes) {
    let Value::Map(entries) = &mut tree.value else { return };
    let Some(at) = entries.iter().position(|entry| entry.key == "preset") else { return };
    let Entry { value, .. } = entries.remove(at);
    if value.value != Value::Str(PRESET.to_owned()) {
        let fault = Fault::new("unknown preset").hint(format!("only {PRESET} is known"));
        notes.refuse(&value.place, "preset".to_owned(), fault);
    }
}

/// Sets what is not written; a value of the wrong kind on the way is told by its reader.
fn fill(tree: &mut Node, path: &str, implied: Node) {
    if tree.at(path).is_none() {
        tree.set(&crate::tree::steps(path), implied).ok();
    }
}

fn fill_pool(tree: &mut Node, pool: &str) {
    let mut fill = |key: &str, implied| fill(tree, &format!("{pool}.{key}"), implied);
    fill("strategy", text("weighted_random"));
    fill("health.interval", text("10s"));
    fill("health.timeout", text("2s"));
    fill("affinity.type", text("cookie"));
    fill("affinity.ttl", text("1h"));
    if tree.at(&format!("{pool}.autoscale")).is_some() {
        let driver = format!("{pool}.autoscale.driver");
        self::fill(tree, &driver, self::driver());
    }
}

/// Backends at an address that stands in the list already get names of their own.
fn name_again(tree: &mut Node, list: &str, notes: &mut Notes) {
    let count = tree.at(list).and_then(Node::items).map_or(0, <[Node]>::len);
    let mut names = HashMap::new();
    for path in (0..count).map(|at| format!("{list}[{at}]")) {
        let at = |key: &str| tree.at(&format!("{path}{key}")).cloned();
        let Some(item) = at("").filter(|_| at(".name").is_none()) else { continue };
        let is_short = matches!(item.value, Value::Str(_));
        let address = if is_short { Some(item.clone()) } else { at(".address") };
        let Some(address) = address else { continue };
        let Some(name) = policy::second_name(&address, &path, &mut names, notes) else { continue };
        if is_short {
            let long = Build::at(&item.place).put("address", address).node();
            tree.set(&crate::tree::steps(&path), long).ok();
        }
        fill(tree, &format!("{path}.name"), text(&name));
    }
}

/// The four endpoints; `/` only for browsers.
fn mounts() -> Node {
    let dashboard = Build::new()
        .put("path", text("/"))
        .put("serve", text("dashboard"))
        .put("accept", text("html"));
    list(vec![
        dashboard.node(),
        policy::health_mount(200),
        policy::metrics_mount(text("/metrics"), "json"),
        policy::metrics_mount(text("/prometheus"), "prometheus"),
    ])
}

/// `/lb` without its prefix, then everything else.
fn routes(pool: &Node) -> Node {
    let prefix = Build::new().put("x-forwarded-prefix", text("/lb"));
    let lb = Build::new()
        .put("name", text("lb"))
        .put("match", Build::new().put("path_prefix", text("/lb")).node())
        .put("pool", pool.clone())
        .put("strip_prefix", flag(true))
        .put("request_headers", Build::new().put("set", prefix.node()).node());
    let rest = Build::new().put("name", text(NAME)).put("pool", pool.clone());
    list(vec![lb.node(), rest.node()])
}

/// The pool of a start without any file.
fn pool() -> Node {
    Build::new()
        .put("name", text(NAME))
        .put("backends", backends())
        .put("autoscale", autoscale())
        .node()
}

fn backends() -> Node {
    let backend = |(address, weight): (&str, u64)| {
        Build::new().put("address", text(address)).put("weight", number(weight)).node()
    };
    list(BACKENDS.into_iter().map(backend).collect())
}

fn autoscale() -> Node {
    Build::new()
        .put("interval", text("15s"))
        .put("requests_per_interval", number(20))
        .put("driver", driver())
        .node()
}

/// More mocks, as processes of this program.
fn driver() -> Node {
    let command = ["evenkeel", "testserver", "--listen", "127.0.0.1:{port}", "--name", "{name}"];
    Build::new()
        .put("type", text("process"))
        .put("command", list(command.into_iter().map(text).collect()))
        .put("ports", text(PORTS))
        .put("address", text(ADDRESS))
        .node()
}
