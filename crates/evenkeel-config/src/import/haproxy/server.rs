//! `server`: a backend.

use super::Haproxy;
use super::parse::Line;
use super::values::time;
use crate::import::draft::{Draft, with_port};

/// A word that stands alone, or takes the next one as its value.
fn takes_value(word: &str) -> bool {
    matches!(
        word,
        "weight"
            | "inter"
            | "fastinter"
            | "downinter"
            | "rise"
            | "fall"
            | "maxconn"
            | "maxqueue"
            | "slowstart"
            | "verify"
            | "ca-file"
            | "crt"
            | "sni"
            | "alpn"
            | "proto"
            | "cookie"
            | "port"
            | "addr"
            | "resolvers"
            | "resolve-prefer"
            | "init-addr"
            | "id"
            | "check-sni"
            | "check-alpn"
            | "on-marked-down"
            | "on-error"
            | "observe"
            | "error-limit"
            | "source"
            | "track"
            | "ciphers"
            | "ssl-min-ver"
            | "ssl-max-ver"
            | "verifyhost"
            | "pool-max-conn"
            | "pool-purge-delay"
            | "minconn"
            | "namespace"
            | "redir"
            | "agent-port"
            | "agent-inter"
    )
}

impl Haproxy<'_> {
    /// One backend; `defaults` are the words of `default-server` lines.
    pub(super) fn server(&mut self, line: &Line, defaults: &[String], pool: &mut Draft) {
        let at = line.line;
        let mut backend = Draft::at(at);
        backend.text("name", at, line.word(1));
        let words: Vec<String> = defaults.iter().chain(line.from(3)).cloned().collect();
        let secure = words.iter().any(|word| word == "ssl");
        let address = line.word(2).trim_start_matches("ipv4@").trim_start_matches("ipv6@");
        let address = address.replacen("unix@", "unix:", 1);
        let address = if address.starts_with('/') { format!("unix:{address}") } else { address };
        let port = if secure { 443 } else { 80 };
        let whole = with_port(&address, port);
        let has_port = whole == address;
        backend.text("address", at, if secure { format!("https://{whole}") } else { whole });
        let mut odd = parameters(&words, (&mut backend, pool), at);
        if !has_port {
            odd.push(format!("the port that a client called: always {port}"));
        }
        let has = |name: &str| words.iter().any(|word| word == name);
        let backup = has("backup");
        if has("disabled") || backup {
            backend.text("admin", at, "disabled");
        }
        pool.push("backends", backend);
        let shown = line.shown();
        if backup {
            let how = "there are no backup servers: it is disabled, to be enabled by hand";
            return self.report.lost(at, format!("{shown}: {how}"));
        }
        let text = format!("{shown}: a backend, without {}", odd.join(", "));
        match odd.as_slice() {
            [] => self.report.exact(at, format!("{shown}: a backend")),
            // Elsewhere its checks and requests would have gone.
            _ if has("port") || has("addr") || has("redir") => self.report.lost(at, text),
            _ => self.report.near(at, text),
        }
    }

    /// `server-template PREFIX COUNT NAME:PORT`: whoever the name stands for.
    pub(super) fn template(&mut self, line: &Line, defaults: &[String], pool: &mut Draft) {
        let (at, shown) = (line.line, line.shown());
        let (name, port) = line.word(3).rsplit_once(':').unwrap_or((line.word(3), "80"));
        let count = line.word(2).rsplit('-').next().and_then(|count| count.parse::<u64>().ok());
        if pool.has("discovery") || name.is_empty() {
            return self.report.lost(at, format!("{shown}: a pool has one discovery"));
        }
        pool.text("discovery.type", at, "dns");
        let service = name.starts_with('_');
        pool.text("discovery.name", at, name);
        match service {
            true => pool.text("discovery.record", at, "srv"),
            false => pool.text("discovery.port", at, port),
        }
        if let Some(count) = count.filter(|count| *count > 0) {
            pool.number("discovery.max", at, count);
        }
        let words: Vec<String> = defaults.iter().chain(line.from(4)).cloned().collect();
        if words.iter().any(|word| word == "ssl") {
            pool.text("discovery.scheme", at, "https");
        }
        let odd = parameters(&words, (&mut Draft::at(at), pool), at);
        let without =
            if odd.is_empty() { String::new() } else { format!(", without {}", odd.join(", ")) };
        let how = "discovery by dns, each address a backend of weight 1";
        self.report.near(at, format!("{shown}: {how}{without}"));
    }
}

/// Obeys the words behind an address; answers with those that it could not.
fn parameters(
    words: &[String],
    (backend, pool): (&mut Draft, &mut Draft),
    line: usize,
) -> Vec<String> {
    let mut odd = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let value = if takes_value(word) { rest.next().map(String::as_str) } else { None };
        parameter(word, value, (backend, pool), line, &mut odd);
    }
    odd
}

/// One parameter; what a backend cannot have, its pool gets.
fn parameter(
    word: &str,
    value: Option<&str>,
    (backend, pool): (&mut Draft, &mut Draft),
    line: usize,
    odd: &mut Vec<String>,
) {
    let number = value.and_then(|value| value.parse::<u64>().ok());
    let duration = value.and_then(time);
    match (word, number, duration) {
        ("weight", Some(weight), _) => backend.number("weight", line, weight),
        ("check", ..) if !pool.has("health.type") => pool.text("health.type", line, "tcp"),
        ("check" | "init-addr" | "resolvers" | "id" | "enabled" | "resolve-prefer", ..) => {}
        ("inter", _, Some(time)) => pool.text("health.interval", line, time),
        ("rise", Some(rise), _) => pool.number("health.healthy_threshold", line, rise),
        ("fall", Some(fall), _) => pool.number("health.unhealthy_threshold", line, fall),
        ("maxconn", Some(max), _) => {
            pool.number("connections.max", line, max);
            odd.push("a maxconn of its own: connections.max is one for all".to_owned());
        }
        ("disabled" | "backup", ..) => {}
        ("port" | "addr", ..) => odd.push(format!("{word}: checks go to the backend itself")),
        ("slowstart", _, Some(time)) => pool.text("slow_start", line, time),
        ("ssl", ..) => {}
        ("verify", ..) => {
            let path = "tls.insecure_skip_verify";
            let (skips, known) = (value == Some("none"), pool.flag_at(path));
            match known {
                Some(known) if known != skips => {
                    odd.push("a verify of its own: certificates of all are verified".to_owned());
                    pool.flag(path, line, false);
                }
                Some(_) | None => pool.flag(path, line, skips),
            }
        }
        ("ca-file", ..) => pool.text("tls.ca_file", line, value.unwrap_or_default()),
        ("crt", ..) => {
            pool.text("tls.client_cert", line, value.unwrap_or_default());
            pool.text("tls.client_key", line, value.unwrap_or_default());
        }
        ("sni" | "verifyhost", ..) => {
            let name = value.unwrap_or_default();
            let fixed = name.strip_prefix("str(").and_then(|name| name.strip_suffix(')'));
            match fixed.or((word == "verifyhost").then_some(name)) {
                Some(name) => pool.text("tls.server_name", line, name),
                None => odd.push(format!("{word} {name}")),
            }
        }
        ("send-proxy", ..) => pool.text("proxy_protocol", line, "v1"),
        ("send-proxy-v2", ..) => pool.text("proxy_protocol", line, "v2"),
        ("proto" | "alpn", ..) if value == Some("h2") => pool.text("protocol", line, "h2"),
        ("alpn", ..) => pool.text("protocol", line, "auto"),
        ("cookie", ..) => odd.push("cookie: cookies of ours name no backend".to_owned()),
        (word, ..) => odd.push(word.to_owned()),
    }
}
