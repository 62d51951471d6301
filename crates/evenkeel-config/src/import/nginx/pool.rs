//! `upstream`: a pool.

use super::Nginx;
use super::parse::Directive;
use super::values::{hash_key, named, time};
use crate::import::draft::{Draft, with_port};
use std::collections::HashMap;

/// Port of a server without one.
const HTTP_PORT: u16 = 80;

impl Nginx<'_> {
    /// A pool for an upstream.
    pub(super) fn read_pool(&mut self, directive: &Directive, name: &str, scheme: &str) {
        self.report.exact(directive.line, format!("{}: pool {name}", directive.shown()));
        let mut pool = self.new_pool(name, directive.line);
        let block = directive.block.as_deref().unwrap_or_default();
        // Servers that are never taken out: the breaker is one for all of them.
        let servers = || block.iter().filter(|inner| inner.name == "server");
        let steady = servers().next().is_some() && servers().all(never_fails);
        if steady {
            pool.flag("circuit_breaker.enabled", directive.line, false);
        }
        let mut known = HashMap::new();
        for inner in block {
            match inner.name.as_str() {
                "server" => self.backend(inner, (&mut pool, &mut known), scheme),
                _ => self.pool_policy(inner, &mut pool),
            }
        }
        if !pool.has("strategy") {
            pool.text("strategy", directive.line, "weighted_round_robin");
        }
        self.pools.push((name.to_owned(), pool));
    }

    /// A pool as nginx has it: no health checks; retries without a budget, not on statuses.
    pub(super) fn new_pool(&self, name: &str, line: usize) -> Draft {
        let mut pool = Draft::at(line);
        pool.text("name", line, name);
        pool.text("health.type", line, "none");
        pool.text("retry.budget", line, "100%");
        pool.texts("retry.on", line, ["connect_failure", "reset", "per_try_timeout"]);
        pool
    }

    /// `known`: how often each address is there.
    fn backend(
        &mut self,
        directive: &Directive,
        (pool, known): (&mut Draft, &mut HashMap<String, u32>),
        scheme: &str,
    ) {
        let (line, shown) = (directive.line, directive.shown());
        let mut backend = Draft::at(line);
        let port = if scheme == "https" { 443 } else { HTTP_PORT };
        let address = with_port(directive.argument(0), port);
        let address = if scheme == "https" { format!("https://{address}") } else { address };
        let mut differs: Vec<String> = Vec::new();
        let alike = known.entry(address.clone()).or_insert(0);
        *alike += 1;
        if *alike > 1 {
            backend.text("name", line, format!("{}-{alike}", directive.argument(0)));
            differs.push("a backend of the same address under another name".to_owned());
        }
        backend.text("address", line, address);
        let parameters = directive.arguments.get(1..).unwrap_or_default();
        for parameter in parameters {
            let value = parameter.split_once('=').map_or("", |(_, value)| value);
            let number = value.parse::<u64>();
            match (parameter.split('=').next().unwrap_or_default(), number) {
                ("weight", Ok(weight)) => backend.number("weight", line, weight),
                ("down", _) => backend.text("admin", line, "disabled"),
                ("backup", _) => {
                    backend.text("admin", line, "disabled");
                    let how = "there are no backup servers: it is disabled, to be enabled by hand";
                    return self.add_backend(pool, backend, (line, format!("{shown}: {how}")));
                }
                ("max_conns", Ok(max)) => shared(pool, "connections.max", line, max, &mut differs),
                ("max_fails", Ok(0)) | ("fail_timeout", Ok(0)) => {
                    if !pool.has("circuit_breaker.enabled") {
                        differs.push(format!("{parameter} is not kept: the breaker is for all"));
                    }
                }
                ("max_fails", Ok(fails)) => {
                    shared(pool, "circuit_breaker.failure_threshold", line, fails, &mut differs);
                }
                ("fail_timeout" | "slow_start", _) => {
                    let path = match parameter.starts_with("fail") {
                        true => "circuit_breaker.reset_timeout",
                        false => "slow_start",
                    };
                    let time = time(&[value.to_owned()]);
                    match (time, pool.get(path)) {
                        (Some(time), None) => pool.text(path, line, time),
                        (Some(time), Some(known)) if known == time => {}
                        (Some(_), Some(known)) => {
                            differs.push(format!("{path} is one for all, {known}"));
                        }
                        (None, _) => differs.push(format!("{parameter} is not kept")),
                    }
                }
                ("resolve", _) => {}
                _ => differs.push(format!("{parameter} is not kept")),
            }
        }
        pool.push("backends", backend);
        match differs.as_slice() {
            [] => self.report.exact(line, format!("{shown}: a backend")),
            differs => self.report.near(line, format!("{shown}: {}", differs.join("; "))),
        }
    }

    fn add_backend(&mut self, pool: &mut Draft, backend: Draft, (line, text): (usize, String)) {
        pool.push("backends", backend);
        self.report.lost(line, text);
    }

    fn pool_policy(&mut self, directive: &Directive, pool: &mut Draft) {
        let (line, shown) = (directive.line, directive.shown());
        let arguments = &directive.arguments;
        match directive.name.as_str() {
            "least_conn" => {
                pool.text("strategy", line, "least_connections");
                self.report.exact(line, format!("{shown}: strategy"));
            }
            "ip_hash" => {
                pool.text("strategy", line, "consistent_hash");
                let how = "strategy consistent_hash by the whole client address";
                self.report.near(line, format!("{shown}: {how}"));
            }
            "random" => {
                let two = directive.argument(0) == "two";
                pool.text("strategy", line, if two { "power_of_two" } else { "weighted_random" });
                self.report.exact(line, format!("{shown}: strategy"));
            }
            "least_time" => {
                pool.text("strategy", line, "least_response_time");
                self.report.near(line, format!("{shown}: strategy least_response_time"));
            }
            "hash" => self.hash(directive, pool),
            "keepalive" => match directive.argument(0).parse() {
                Ok(idle) => {
                    pool.number("connections.max_idle", line, idle);
                    let how = "connections.max_idle, for the process as a whole";
                    self.report.near(line, format!("{shown}: {how}"));
                }
                Err(_) => self.lose(directive),
            },
            "keepalive_timeout" => match time(arguments) {
                Some(time) => {
                    pool.text("connections.idle_timeout", line, time);
                    self.report.exact(line, format!("{shown}: connections.idle_timeout"));
                }
                None => self.lose(directive),
            },
            "zone" => self.report.exact(line, format!("{shown}: workers share state anyway")),
            "sticky" => self.sticky(directive, pool),
            _ => self.lose(directive),
        }
    }

    fn hash(&mut self, directive: &Directive, pool: &mut Draft) {
        let (line, shown) = (directive.line, directive.shown());
        let whole = directive.argument(0) == "$request_uri";
        let key = if whole { Some("path".to_owned()) } else { hash_key(directive.argument(0)) };
        let Some(key) = key else { return self.lose(directive) };
        pool.text("strategy", line, "consistent_hash");
        pool.text("hash.key", line, key);
        match directive.argument(1) {
            "consistent" if !whole => self.report.exact(line, format!("{shown}: hash.key")),
            "consistent" => {
                self.report.near(line, format!("{shown}: by the path, without the query"))
            }
            _ => self.report.near(line, format!("{shown}: strategy consistent_hash")),
        }
    }

    fn sticky(&mut self, directive: &Directive, pool: &mut Draft) {
        let line = directive.line;
        if directive.argument(0) != "cookie" || directive.argument(1).is_empty() {
            return self.lose(directive);
        }
        pool.text("affinity.type", line, "cookie");
        pool.text("affinity.cookie_name", line, directive.argument(1));
        let expires = named(&directive.arguments, "expires");
        if let Some(ttl) = expires.and_then(|expires| time(&[expires.to_owned()])) {
            pool.text("affinity.ttl", line, ttl);
        }
        let how = "affinity by a signed cookie of that name";
        self.report.near(line, format!("{}: {how}", directive.shown()));
    }
}

/// True of a server that nginx never takes out.
fn never_fails(server: &Directive) -> bool {
    let is = |word: &String| {
        matches!(word.as_str(), "max_fails=0" | "fail_timeout=0" | "fail_timeout=0s")
    };
    server.arguments.iter().any(is)
}

/// Sets a number that servers have, but here the pool: the first one counts.
fn shared(pool: &mut Draft, path: &str, line: usize, number: u64, differs: &mut Vec<String>) {
    match pool.get(path) {
        None => pool.number(path, line, number),
        Some(known) if *known == number.to_string() => {}
        Some(known) => differs.push(format!("{path} is one for all, {known}")),
    }
}
