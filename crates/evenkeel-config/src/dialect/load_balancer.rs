//! Load Balancer: one listener, one pool, counters as JSON.

use super::Notes;
use super::build::{Build, flag, list, number, text};
use super::foreign::{Foreign, scalar};
use super::policy::{self, Backends, LISTEN, NAME};
use crate::tree::{Entry, Node, Value};

const BACKENDS: Backends = Backends { address: "url", urls_only: true };

/// Tries after the first, where nothing is written.
const MAX_RETRIES: u64 = 2;

/// Where its profiles are served.
const PPROF: &str = "127.0.0.1:6060";

/// Its retries have no budget: retries in a second that stand for that.
const BUDGET_FLOOR: u64 = 10_000;

const ENVIRONMENT_NOTE: &str = "a label without effect here";

const RETRIES_NOTE: &str = "counts tries after the first: retry.attempts is one more";

pub(super) fn translate(root: &Node, notes: &mut Notes) -> Node {
    let mut file = Foreign::root(root, notes);
    let mut server = file.section("server", notes);
    let address = server.take("address");
    if let Some(environment) = server.take("environment") {
        notes.tell(&environment.key_place, server.path_of("environment"), ENVIRONMENT_NOTE);
    }
    server.finish(notes);
    let mounts = list(vec![policy::metrics_mount(text("/metrics"), "json")]);
    let listener = Build::new()
        .put("name", text(NAME))
        .moved_or("bind", address, text(LISTEN))
        .put("mounts", mounts);
    let pool = pool(&mut file, notes);
    let mut log = file.section("logging", notes);
    let level = log.take("level");
    let logging =
        Build::at(log.place()).moved_or("level", level, text("info")).put("format", text("json"));
    log.finish(notes);
    file.finish(notes);
    Build::at(&root.place)
        .put("version", number(1))
        .put("listeners", list(vec![listener.node()]))
        .put("routes", policy::one_route())
        .put("pools", list(vec![pool]))
        .put("admin", policy::admin())
        .put("logging", logging.node())
        .put("debug", Build::new().put("pprof", text(PPROF)).node())
        .node()
}

fn pool(file: &mut Foreign<'_>, notes: &mut Notes) -> Node {
    let mut strategy = file.section("strategy", notes);
    let (kind, nodes) = (strategy.take("type"), strategy.take("virtual_nodes"));
    strategy.finish(notes);
    let hash = nodes.map(|nodes| Build::new().moved("virtual_nodes", Some(nodes)).node());
    let backends = BACKENDS.read(file, "backends", notes);
    let mut written = file.section("health_check", notes);
    let interval = written.take("interval");
    let health = Build::at(written.place())
        .put("type", text("http"))
        .put("path", text("/health"))
        .moved_or("interval", interval, text("2s"))
        .put("healthy_threshold", number(1))
        .put("unhealthy_threshold", number(1));
    written.finish(notes);
    let breaker = file.section("circuit_breaker", notes);
    let pool = Build::new().put("name", text(NAME)).moved_or("strategy", kind, text("round_robin"));
    let pool = match hash {
        Some(hash) => pool.put("hash", hash),
        None => pool,
    };
    pool.moved("backends", backends.as_ref())
        .put("health", health.node())
        .put("circuit_breaker", policy::breaker(breaker, notes))
        .put("retry", retry(file, notes))
        .put("fail_open", flag(false))
        .node()
}

fn retry(file: &mut Foreign<'_>, notes: &mut Notes) -> Node {
    let mut written = file.section("retry", notes);
    let retries = written.take("max_retries");
    if let Some(retries) = retries {
        notes.tell(&retries.key_place, written.path_of("max_retries"), RETRIES_NOTE);
        written.refuse_beside("max_attempts", retries, notes);
    }
    let attempts = retries.map(one_more);
    let retry = Build::at(written.place())
        .moved_or("attempts", attempts.as_ref(), number(MAX_RETRIES + 1))
        .put("budget", text("100%"))
        .put("budget_floor", number(BUDGET_FLOOR));
    written.finish(notes);
    retry.node()
}

/// Retries as tries; what is no number stays, for its reader to refuse.
fn one_more(retries: &Entry) -> Entry {
    let mut tries = retries.clone();
    if let Some(number) = scalar(&retries.value).and_then(|text| text.parse::<u32>().ok()) {
        tries.value.value = Value::Number((u64::from(number) + 1).to_string());
    }
    tries
}
