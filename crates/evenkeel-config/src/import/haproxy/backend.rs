//! `backend`, and that half of `listen`: a pool.

use super::parse::Line;
use super::values::time;
use super::{Haproxy, Proxy};
use crate::import::draft::Draft;

impl Haproxy<'_> {
    pub(super) fn backend(&mut self, proxy: &Proxy<'_>) {
        let servers = proxy.all(&["server"]);
        if servers.is_empty() {
            return;
        }
        let mut pool = Draft::at(proxy.line);
        pool.text("name", proxy.line, proxy.name);
        let http = proxy.is_http();
        strategy(proxy, &mut pool);
        timeouts(proxy, &mut pool);
        retries(proxy, &mut pool, http);
        health(proxy, &mut pool);
        affinity(proxy, &mut pool);
        let defaults: Vec<String> =
            proxy.all(&["default-server"]).iter().flat_map(|it| it.from(1)).cloned().collect();
        for server in servers {
            self.server(server, &defaults, &mut pool);
        }
        if !pool.has("health.type") {
            pool.text("health.type", proxy.line, "none");
        }
        self.pools.push(pool);
        let rule = |line: &&Line| line.starts(&["http-request"]) || line.starts(&["http-response"]);
        let rules = proxy.inherited.iter().chain(proxy.own).filter(rule).cloned().collect();
        self.backend_rules.push((proxy.name.to_owned(), rules));
    }
}

fn strategy(proxy: &Proxy<'_>, pool: &mut Draft) {
    let line = proxy.last(&["balance"]);
    let at = line.map_or(proxy.line, |line| line.line);
    let Some((name, key)) = balanced(line.map_or("roundrobin", |line| line.word(1)), line) else {
        return;
    };
    pool.text("strategy", at, name);
    if let Some(key) = key {
        pool.text("hash.key", at, key);
    }
}

/// Strategy and hash key of a `balance` word; `None` if there is none like it.
pub(super) fn balanced(word: &str, line: Option<&Line>) -> Option<(&'static str, Option<String>)> {
    let hashed = |key: String| Some(("consistent_hash", Some(key)));
    match word {
        "roundrobin" | "static-rr" => Some(("weighted_round_robin", None)),
        "leastconn" => Some(("least_connections", None)),
        "source" => hashed("client_ip".to_owned()),
        "uri" => hashed("path".to_owned()),
        "url_param" => hashed(format!("query:{}", line.map_or("", |line| line.word(2)))),
        "random" => Some(("power_of_two", None)),
        word => {
            if word.starts_with("random(") {
                return Some(("power_of_two", None));
            }
            let name = word.strip_prefix("hdr(")?.strip_suffix(')')?;
            hashed(format!("header:{name}"))
        }
    }
}

fn timeouts(proxy: &Proxy<'_>, pool: &mut Draft) {
    for (name, paths) in [
        ("connect", &["timeouts.connect"][..]),
        ("server", &["timeouts.response_head", "timeouts.idle"][..]),
        ("tunnel", &["timeouts.idle"][..]),
        ("queue", &["connections.queue.timeout"][..]),
        ("check", &["health.timeout"][..]),
    ] {
        let Some(line) = proxy.last(&["timeout", name]) else { continue };
        if let Some(time) = time(line.word(2)) {
            paths.iter().for_each(|path| pool.text(path, line.line, time.clone()));
        }
    }
}

/// Tries after the first; HAProxy makes three.
const RETRIES: u64 = 3;

fn retries(proxy: &Proxy<'_>, pool: &mut Draft, http: bool) {
    let line = proxy.last(&["retries"]);
    let retries = line.and_then(|line| line.word(1).parse::<u64>().ok());
    let at = line.map_or(proxy.line, |line| line.line);
    pool.number("retry.attempts", at, retries.unwrap_or(RETRIES) + 1);
    pool.text("retry.budget", at, "100%");
    let mut on = vec!["connect_failure".to_owned()];
    if let Some(reasons) = proxy.last(&["retry-on"]).filter(|_| http) {
        on = reasons.from(1).iter().filter_map(|word| reason(word)).collect();
    }
    pool.texts("retry.on", at, on.iter().map(String::as_str));
}

/// A reason of `retry-on`.
pub(super) fn reason(word: &str) -> Option<String> {
    match word {
        "conn-failure" => Some("connect_failure".to_owned()),
        "empty-response" | "junk-response" => Some("reset".to_owned()),
        "response-timeout" => Some("per_try_timeout".to_owned()),
        status => status.parse::<u16>().ok().map(|status| status.to_string()),
    }
}

fn health(proxy: &Proxy<'_>, pool: &mut Draft) {
    let servers = proxy.all(&["server"]).into_iter().chain(proxy.all(&["default-server"]));
    if !servers.into_iter().any(|line| line.has("check")) {
        return;
    }
    let Some(check) = proxy.last(&["option", "httpchk"]) else { return };
    let at = check.line;
    pool.text("health.type", at, "http");
    let (method, path) = match check.from(2) {
        [] => ("OPTIONS", "/"),
        [path] => ("OPTIONS", path.as_str()),
        [method, path, ..] => (method.as_str(), path.as_str()),
    };
    pool.text("health.method", at, method);
    pool.text("health.path", at, path);
    // Up to HAProxy 2.2 fields stand behind the version.
    let version = check.from(4).join(" ");
    for field in version.lines().skip(1) {
        if let Some((name, value)) = field.split_once(':')
            && name.eq_ignore_ascii_case("host")
        {
            pool.text("health.host", at, value.trim());
        }
    }
    if let Some(send) = proxy.last(&["http-check", "send"]) {
        for (word, key) in [("meth", "method"), ("uri", "path")] {
            if let Some(value) = send.after(word) {
                pool.text(&format!("health.{key}"), send.line, value);
            }
        }
        let host =
            send.words.windows(3).find(|it| it[0] == "hdr" && it[1].eq_ignore_ascii_case("host"));
        if let Some(host) = host {
            pool.text("health.host", send.line, host[2].clone());
        }
    }
    if let Some(expect) = proxy.last(&["http-check", "expect"]) {
        match (expect.word(2), expect.word(3)) {
            ("status", codes) => pool.text("health.expect_status", expect.line, codes),
            ("string", text) => pool.text("health.expect_body", expect.line, text),
            _ => {}
        }
    }
}

fn affinity(proxy: &Proxy<'_>, pool: &mut Draft) {
    if let Some(cookie) = proxy.last(&["cookie"]).filter(|line| line.has("insert")) {
        pool.text("affinity.type", cookie.line, "cookie");
        pool.text("affinity.cookie_name", cookie.line, cookie.word(1));
        if let Some(ttl) = cookie.after("maxlife").or(cookie.after("maxidle")).and_then(time) {
            pool.text("affinity.ttl", cookie.line, ttl);
        }
    } else if let Some(stick) = proxy.last(&["stick", "on", "src"]) {
        pool.text("affinity.type", stick.line, "client_ip");
    }
}
