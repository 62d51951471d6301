//! `backend`, and that half of `listen`: a pool.

use super::parse::Line;
use super::values::time;
use super::{Haproxy, Proxy};
use crate::import::draft::Draft;

impl Haproxy<'_> {
    pub(super) fn backend(&mut self, proxy: &Proxy<'_>) {
        let (servers, templates) = (proxy.all(&["server"]), proxy.all(&["server-template"]));
        if is_empty(proxy) {
            self.empty.push(proxy.name.to_owned());
        }
        if servers.is_empty() && templates.is_empty() {
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
        for template in templates {
            self.template(template, &defaults, &mut pool);
        }
        if !pool.has("health.type") {
            pool.text("health.type", proxy.line, "none");
        } else if !pool.has("health.interval") {
            pool.text("health.interval", proxy.line, INTERVAL);
        }
        self.pools.push(pool);
        let lines = proxy.inherited.iter().chain(proxy.own).cloned().collect();
        self.backend_lines.push((proxy.name.to_owned(), lines));
    }
}

/// Between checks, unless `inter` says otherwise.
const INTERVAL: &str = "2s";

fn strategy(proxy: &Proxy<'_>, pool: &mut Draft) {
    let line = proxy.last(&["balance"]);
    let at = line.map_or(proxy.line, |line| line.line);
    let known = balanced(line.map_or("roundrobin", |line| line.word(1)), line);
    let (name, key) = known.unwrap_or(("weighted_round_robin", None));
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
        let all = |word: &String| match word.as_str() {
            "all-retryable-errors" => EVERY_REASON.iter().map(|it| (*it).to_owned()).collect(),
            word => reason(word).into_iter().collect::<Vec<String>>(),
        };
        on = reasons.from(1).iter().flat_map(all).collect();
        on.sort_unstable();
        on.dedup();
    }
    pool.texts("retry.on", at, on.iter().map(String::as_str));
}

/// What `all-retryable-errors` stands for.
const EVERY_REASON: &[&str] =
    &["connect_failure", "reset", "per_try_timeout", "500", "502", "503", "504"];

/// A reason of `retry-on`.
pub(super) fn reason(word: &str) -> Option<String> {
    match word {
        "conn-failure" => Some("connect_failure".to_owned()),
        "empty-response" | "junk-response" => Some("reset".to_owned()),
        "response-timeout" => Some("per_try_timeout".to_owned()),
        status => status.parse::<u16>().ok().map(|status| status.to_string()),
    }
}

/// True of a backend without servers: it only answers, or refuses.
pub(super) fn is_empty(proxy: &Proxy<'_>) -> bool {
    let says = |word: &str| proxy.last(&[word]).is_some();
    !["server", "server-template", "bind"].iter().any(|word| says(word))
}

/// True if checks speak TLS where requests do not.
pub(super) fn checks_tls(proxy: &Proxy<'_>) -> bool {
    let lines = ["server", "default-server"].iter().flat_map(|word| proxy.all(&[word]));
    lines.into_iter().any(|line| line.has("check-ssl") && !line.has("ssl"))
}

fn health(proxy: &Proxy<'_>, pool: &mut Draft) {
    let servers = proxy.all(&["server"]).into_iter().chain(proxy.all(&["default-server"]));
    let servers = servers.chain(proxy.all(&["server-template"]));
    if !servers.into_iter().any(|line| line.has("check")) || checks_tls(proxy) {
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
            ("rstatus", pattern) => {
                if let Some(codes) = statuses(pattern) {
                    pool.text("health.expect_status", expect.line, codes);
                }
            }
            ("string", text) => pool.text("health.expect_body", expect.line, text),
            _ => {}
        }
    }
}

/// The status codes of the patterns that are written for whole classes.
pub(super) fn statuses(pattern: &str) -> Option<&'static str> {
    let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
    let class = ["[0-9][0-9]", "[0-9]{2}", "..", "\\d\\d"];
    let class = class.iter().find_map(|rest| pattern.strip_suffix(rest)).unwrap_or(pattern);
    match class {
        "2" => Some("200-299"),
        "3" => Some("300-399"),
        "(2|3)" | "[23]" | "[2-3]" | "(3|2)" => Some("200-399"),
        _ => None,
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
