//! GoBalance: one listener, one pool.

use super::Notes;
use super::build::{Build, list, number, text};
use super::foreign::{Foreign, scalar};
use super::policy::{self, Backends, FAILURE_THRESHOLD, LISTEN, NAME, RESET_TIMEOUT};
use crate::diagnostic::Fault;
use crate::tree::{Entry, Node, Value};
use std::net::IpAddr;

const BACKENDS: Backends = Backends { address: "address", urls_only: false };

const ATTEMPTS_NOTE: &str = "counts all tries of a request, the first one included";

const CONNECTING_NOTE: &str = "\
read as connection attempts in progress at a time per backend (connections.max_connecting), not as \
a cap on open connections; for that, convert the file and set connections.max";

pub(super) fn translate(root: &Node, notes: &mut Notes) -> Node {
    let mut file = Foreign::root(root, notes);
    let (address, port) = (file.take("bind_address"), file.take("listen_port"));
    let metrics = metrics(&mut file, notes);
    let mut mounts = vec![policy::health_mount(503)];
    mounts.extend(metrics);
    let listener = Build::new()
        .put("name", text(NAME))
        .put("bind", bind(address, port, notes))
        .put("mounts", list(mounts));
    let pool = pool(&mut file, notes);
    let mut log = file.section("logging", notes);
    let (level, format) = (log.take("level"), log.take("format"));
    let logging = Build::at(log.place()).moved_or("level", level, text("info")).moved_or(
        "format",
        format,
        text("json"),
    );
    log.finish(notes);
    file.finish(notes);
    let families = list(vec![text("native"), text("gobalance")]);
    Build::at(&root.place)
        .put("version", number(1))
        .put("listeners", list(vec![listener.node()]))
        .put("routes", policy::one_route())
        .put("pools", list(vec![pool]))
        .put("admin", policy::admin())
        .put("logging", logging.node())
        .put("metrics", Build::new().put("families", families).node())
        .node()
}

/// The mount of `/metrics`, unless it is turned off.
fn metrics(file: &mut Foreign<'_>, notes: &mut Notes) -> Option<Node> {
    let mut metrics = file.section("metrics", notes);
    let enabled = metrics.flag("enabled", notes).unwrap_or(true);
    let path = metrics.take("path").map_or_else(|| text("/metrics"), |path| path.value.clone());
    metrics.finish(notes);
    enabled.then(|| policy::metrics_mount(path, "prometheus"))
}

fn pool(file: &mut Foreign<'_>, notes: &mut Notes) -> Node {
    let strategy = file.take("balancing_strategy");
    let backends = BACKENDS.read(file, "backends", notes);
    let breaker = Build::new()
        .put("failure_threshold", number(FAILURE_THRESHOLD))
        .put("reset_timeout", text(RESET_TIMEOUT));
    Build::new()
        .put("name", text(NAME))
        .moved_or("strategy", strategy, text("round_robin"))
        .moved("backends", backends.as_ref())
        .put("health", health(file, notes))
        .put("circuit_breaker", breaker.node())
        .put("retry", retry(file, notes))
        .put("connections", connections(file, notes))
        .node()
}

fn health(file: &mut Foreign<'_>, notes: &mut Notes) -> Node {
    let mut written = file.section("health_check", notes);
    let mut take = |key| written.take(key);
    let (path, interval, timeout) = (take("path"), take("interval"), take("timeout"));
    let (healthy, unhealthy) = (take("healthy_threshold"), take("unhealthy_threshold"));
    let health = Build::at(written.place())
        .put("type", text("http"))
        .moved_or("path", path, text("/health"))
        .moved_or("interval", interval, text("10s"))
        .moved_or("timeout", timeout, text("5s"))
        .moved_or("healthy_threshold", healthy, number(2))
        .moved_or("unhealthy_threshold", unhealthy, number(3));
    written.finish(notes);
    health.node()
}

fn retry(file: &mut Foreign<'_>, notes: &mut Notes) -> Node {
    let mut written = file.section("retry", notes);
    let (attempts, growth) = (written.take("max_attempts"), written.take("backoff_multiplier"));
    let longest = written.take("max_backoff");
    if let Some(attempts) = attempts {
        notes.tell(&attempts.key_place, written.path_of("max_attempts"), ATTEMPTS_NOTE);
        written.refuse_beside("max_retries", attempts, notes);
    }
    let backoff = Build::new().moved_or("multiplier", growth, text("1.5")).moved_or(
        "max",
        longest,
        text("5s"),
    );
    let retry = Build::at(written.place())
        .moved_or("attempts", attempts, number(3))
        .put("budget", text("20%"))
        .put("backoff", backoff.node());
    written.finish(notes);
    retry.node()
}

fn connections(file: &mut Foreign<'_>, notes: &mut Notes) -> Node {
    let mut written = file.section("connections", notes);
    let (idle, max_idle) = (written.take("idle_timeout"), written.take("max_idle_per_host"));
    let connecting = written.take("max_attempts_per_host");
    if let Some(connecting) = connecting {
        let path = written.path_of("max_attempts_per_host");
        notes.tell(&connecting.key_place, path, CONNECTING_NOTE);
    }
    let connections = Build::at(written.place())
        .moved_or("max_idle", max_idle, number(10))
        .moved_or("idle_timeout", idle, text("90s"))
        .moved("max_connecting", connecting);
    written.finish(notes);
    connections.node()
}

/// `bind_address:listen_port`, with the place of the port, or of the address.
fn bind(address: Option<&Entry>, port: Option<&Entry>, notes: &mut Notes) -> Node {
    let host = address.map(|entry| host(entry, notes)).unwrap_or_default();
    let number = port.map(|entry| (entry, scalar(&entry.value).and_then(|it| it.parse().ok())));
    let number: u16 = match number {
        None => DEFAULT_PORT,
        Some((_, Some(number))) => number,
        Some((entry, None)) => {
            let fault = Fault::new("expected a port").hint("a whole number from 1 to 65535");
            notes.refuse(&entry.value.place, "listen_port".to_owned(), fault);
            DEFAULT_PORT
        }
    };
    let Some(written) = port.or(address) else { return text(LISTEN) };
    let bind = Value::Str(format!("{host}:{number}"));
    Node::new(bind, written.value.place.clone())
}

const DEFAULT_PORT: u16 = 8080;

/// An address as it stands before a port.
fn host(entry: &Entry, notes: &mut Notes) -> String {
    let text = scalar(&entry.value).unwrap_or_default();
    match text.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Ok(IpAddr::V4(_)) => text.to_owned(),
        Err(_) if matches!(text, "" | "*" | "localhost") => text.to_owned(),
        Err(_) => {
            let fault = Fault::new(format!("{text:?} is not an IP address"));
            let fault = fault.hint("such as 0.0.0.0, 127.0.0.1 or ::");
            notes.refuse(&entry.value.place, "bind_address".to_owned(), fault);
            String::new()
        }
    }
}
