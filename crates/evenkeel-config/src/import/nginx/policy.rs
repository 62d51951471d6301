//! Directives that are inherited: what is said once for `http` holds for every server and location
//! that does not say it again.

use super::Nginx;
use super::parse::Directive;
use super::values::{hash_key, named, size, time};
use crate::import::draft::Draft;

/// A `limit_req_zone`.
pub(super) struct Zone {
    key: String,
    requests: u64,
    per: &'static str,
}

/// The levels around a directive, innermost last.
#[derive(Clone, Default)]
pub(super) struct Scope<'a> {
    levels: Vec<&'a [Directive]>,
}

impl<'a> Scope<'a> {
    /// One level further in.
    pub(super) fn with(&self, block: &'a [Directive]) -> Scope<'a> {
        let mut levels = self.levels.clone();
        levels.push(block);
        Scope { levels }
    }

    /// All directives of a name, from the innermost level that has one.
    pub(super) fn all(&self, name: &str) -> Vec<&'a Directive> {
        self.all_of(&[name])
    }

    /// All directives of these names in their order, from the innermost level that has one.
    fn all_of(&self, names: &[&str]) -> Vec<&'a Directive> {
        let of = |level: &&'a [Directive]| {
            let found: Vec<&'a Directive> =
                level.iter().filter(|directive| names.contains(&&*directive.name)).collect();
            (!found.is_empty()).then_some(found)
        };
        self.levels.iter().rev().find_map(of).unwrap_or_default()
    }

    /// The last directive of a name.
    pub(super) fn one(&self, name: &str) -> Option<&'a Directive> {
        self.all(name).pop()
    }
}

/// Who is let in: the first rule that knows the client decides, so behind `all` none matters.
fn access(scope: &Scope<'_>, route: &mut Draft) {
    let rules = scope.all_of(&["allow", "deny"]);
    let end = rules.iter().position(|rule| rule.argument(0) == "all");
    let (named, rest) = rules.split_at(end.unwrap_or(rules.len()));
    let refused = rest.first().filter(|rule| rule.name == "deny");
    let of = |name: &'static str| named.iter().filter(move |rule| rule.name == name);
    // Without `deny all` everybody is let in whom no other rule keeps out.
    for rule in of("allow").filter(|_| refused.is_some()) {
        route.push_text("allow", rule.line, rule.argument(0));
    }
    for rule in of("deny") {
        route.push_text("deny", rule.line, rule.argument(0));
    }
    if let Some(all) = refused.filter(|_| of("allow").next().is_none()) {
        route.texts("deny", all.line, ["0.0.0.0/0", "::/0"]);
    }
}

/// Fields that are sent whatever a rule says, with the values that mean so.
const SENT_ANYWAY: &[(&str, &[&str])] = &[
    ("host", &["$host", "$http_host", "$host:$server_port"]),
    ("x-forwarded-for", &["$proxy_add_x_forwarded_for", "$remote_addr"]),
    ("x-forwarded-proto", &["$scheme"]),
    ("x-forwarded-host", &["$host", "$http_host"]),
    ("x-request-id", &["$request_id"]),
    ("upgrade", &["$http_upgrade"]),
    (
        "connection",
        &["", "upgrade", "Upgrade", "keep-alive", "$connection_upgrade", "$http_connection"],
    ),
];

/// How a directive that stands in any level is kept.
pub(super) enum Kept {
    Exact(&'static str),
    Near(&'static str),
    Lost,
}

impl Nginx<'_> {
    /// The remark of a directive that `apply` obeys, or that needs nothing.
    pub(super) fn judge(&mut self, directive: &Directive) {
        let (line, shown) = (directive.line, directive.shown());
        match kept(directive) {
            Kept::Exact(how) => self.report.exact(line, format!("{shown}: {how}")),
            Kept::Near(how) => self.report.near(line, format!("{shown}: {how}")),
            Kept::Lost => self.lose(directive),
        }
    }

    /// `limit_req_zone` and `limit_conn_zone`.
    pub(super) fn zone(&mut self, directive: &Directive) {
        let (line, shown) = (directive.line, directive.shown());
        let (key, name) = (directive.argument(0), named(&directive.arguments, "zone"));
        let name = name.and_then(|zone| zone.split(':').next()).map(str::to_owned);
        match (directive.name.as_str(), name) {
            ("limit_req_zone", Some(name)) => {
                let rate = named(&directive.arguments, "rate").and_then(rate);
                let key = match key {
                    "$server_name" | "$host" => Some("route".to_owned()),
                    key => {
                        hash_key(key).filter(|key| key == "client_ip" || key.starts_with("header"))
                    }
                };
                let (Some((requests, per)), Some(key)) = (rate, key) else {
                    return self.lose(directive);
                };
                self.report.exact(line, format!("{shown}: rate_limit of the routes that use it"));
                self.zones.insert(name, Zone { key, requests, per });
            }
            ("limit_conn_zone", Some(name)) => {
                if hash_key(key).as_deref() != Some("client_ip") {
                    return self.lose(directive);
                }
                self.report.exact(line, format!("{shown}: counted per client address"));
                self.client_zones.push(name);
            }
            ("limit_req_zone" | "limit_conn_zone", None) => self.lose(directive),
            _ => {}
        }
    }

    /// Lays the policy in force over a route.
    pub(super) fn apply_to_route(&self, scope: &Scope<'_>, route: &mut Draft) {
        for header in scope.all("proxy_set_header") {
            request_header(header, route);
        }
        for header in scope.all("add_header") {
            if !header.argument(1).contains('$') && !header.argument(0).is_empty() {
                let field = (header.argument(0), header.argument(1));
                route.field("response_headers.add", header.line, field);
            }
        }
        for header in scope.all("proxy_hide_header") {
            route.push_text("response_headers.remove", header.line, header.argument(0));
        }
        for limit in scope.all("limit_req") {
            self.limit(limit, route);
        }
        access(scope, route);
    }

    fn limit(&self, limit: &Directive, route: &mut Draft) {
        let zone = named(&limit.arguments, "zone").and_then(|name| self.zones.get(name));
        let Some(zone) = zone else { return };
        let burst = named(&limit.arguments, "burst").and_then(|burst| burst.parse::<u64>().ok());
        let line = limit.line;
        route.number("rate_limit.requests", line, zone.requests);
        route.text("rate_limit.per", line, zone.per);
        route.number("rate_limit.burst", line, burst.unwrap_or(0) + 1);
        route.text("rate_limit.key", line, zone.key.clone());
    }

    /// Lays the policy in force over a pool; where two locations differ, the first one counts.
    pub(super) fn apply_to_pool(&mut self, scope: &Scope<'_>, name: &str) {
        let mut settings: Vec<(&'static str, usize, String)> = Vec::new();
        for (directive, paths) in [
            ("proxy_connect_timeout", &["timeouts.connect"][..]),
            ("proxy_read_timeout", &["timeouts.response_head", "timeouts.idle"][..]),
            ("proxy_timeout", &["timeouts.idle"][..]),
        ] {
            let Some(found) = scope.one(directive) else { continue };
            if let Some(time) = time(&found.arguments) {
                settings.extend(paths.iter().map(|path| (*path, found.line, time.clone())));
            }
        }
        for (directive, path) in [
            ("proxy_ssl_trusted_certificate", "tls.ca_file"),
            ("proxy_ssl_name", "tls.server_name"),
            ("proxy_ssl_certificate", "tls.client_cert"),
            ("proxy_ssl_certificate_key", "tls.client_key"),
        ] {
            let found = scope.one(directive).filter(|found| !found.argument(0).contains('$'));
            settings.extend(found.map(|it| (path, it.line, it.argument(0).to_owned())));
        }
        if let Some(tries) = scope.one("proxy_next_upstream_tries")
            && tries.argument(0).parse().is_ok_and(|tries: u64| tries > 0)
        {
            settings.push(("retry.attempts", tries.line, tries.argument(0).to_owned()));
        }
        let reasons = scope.one("proxy_next_upstream");
        let mut differ = Vec::new();
        let Some(pool) = self.pool(name) else { return };
        for (path, line, value) in settings {
            match pool.get(path) {
                Some(known) if known != value => {
                    differ
                        .push((line, format!("pool {name} has one {path}, {known}, not {value}")));
                }
                Some(_) => {}
                None => pool.text(path, line, value),
            }
        }
        if let Some(reasons) = reasons {
            retry_on(reasons, pool);
        }
        differ.into_iter().for_each(|(line, text)| self.report.near(line, text));
    }
}

fn request_header(header: &Directive, route: &mut Draft) {
    let (name, value) = (header.argument(0), header.argument(1));
    if sent_anyway(name, value) || value.contains('$') || name.is_empty() {
        return;
    }
    if value.is_empty() {
        return route.push_text("request_headers.remove", header.line, name);
    }
    route.field("request_headers.set", header.line, (name, value));
}

fn sent_anyway(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let known = SENT_ANYWAY.iter().find(|(field, _)| *field == name);
    known.is_some_and(|(_, values)| values.contains(&value))
}

/// Fields of a connection, which the proxy writes itself.
fn is_fixed(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(
        name.as_str(),
        "connection"
            | "upgrade"
            | "content-length"
            | "transfer-encoding"
            | "te"
            | "keep-alive"
            | "trailer"
            | "proxy-connection"
    )
}

/// `proxy_next_upstream error timeout http_503 non_idempotent`.
fn retry_on(directive: &Directive, pool: &mut Draft) {
    let mut on = Vec::new();
    for reason in &directive.arguments {
        match reason.as_str() {
            "off" => return pool.number("retry.attempts", directive.line, 1),
            "error" => on.extend(["connect_failure", "reset"]),
            "timeout" => on.push("per_try_timeout"),
            "non_idempotent" => pool.text("retry.methods", directive.line, "all"),
            reason => {
                on.extend(reason.strip_prefix("http_").filter(|it| it.parse::<u16>().is_ok()))
            }
        }
    }
    pool.texts("retry.on", directive.line, on);
}

/// `10r/s`, `30r/m`.
fn rate(text: &str) -> Option<(u64, &'static str)> {
    let (requests, per) = text.split_once("r/")?;
    let per = match per {
        "s" => "1s",
        "m" => "1m",
        _ => return None,
    };
    requests.parse().ok().filter(|requests| *requests > 0).map(|requests| (requests, per))
}

fn kept(directive: &Directive) -> Kept {
    let first = directive.argument(0);
    match directive.name.as_str() {
        "proxy_set_header" => match (first, directive.argument(1)) {
            (name, value) if sent_anyway(name, value) => Kept::Exact("sent anyway"),
            (_, value) if value.contains('$') => Kept::Lost,
            (name, _) if is_fixed(name) => Kept::Lost,
            _ => Kept::Exact("request_headers"),
        },
        "add_header" if directive.argument(1).contains('$') => Kept::Lost,
        "add_header" if directive.arguments.last().is_some_and(|word| word == "always") => {
            Kept::Exact("response_headers.add")
        }
        "add_header" => Kept::Near("response_headers.add, on answers of every status"),
        "proxy_hide_header" => Kept::Exact("response_headers.remove"),
        "proxy_connect_timeout" if time(&directive.arguments).is_some() => {
            Kept::Exact("timeouts.connect")
        }
        "proxy_read_timeout" if time(&directive.arguments).is_some() => {
            Kept::Near("timeouts.response_head and timeouts.idle")
        }
        "proxy_send_timeout" => Kept::Near("timeouts.idle counts in both directions"),
        "proxy_next_upstream" => Kept::Exact("retry.on"),
        "proxy_next_upstream_tries" => Kept::Exact("retry.attempts"),
        "proxy_ssl_trusted_certificate"
        | "proxy_ssl_name"
        | "proxy_ssl_certificate"
        | "proxy_ssl_certificate_key"
        | "proxy_ssl_verify"
        | "grpc_ssl_verify"
            if !first.contains('$') =>
        {
            Kept::Exact("tls of the pool")
        }
        "proxy_ssl_server_name" => Kept::Near("the name is always sent"),
        "ssl_certificate"
        | "ssl_certificate_key"
        | "ssl_client_certificate"
        | "ssl_verify_client" => Kept::Exact("tls of the listeners that say nothing else"),
        "ssl_protocols" => Kept::Near("tls.min_version; nothing older than TLS 1.2 is spoken"),
        "client_max_body_size" if size(first).is_some() => {
            Kept::Near("limits.max_request_body of the listener")
        }
        "keepalive_timeout" | "client_header_timeout" if time(&[first.to_owned()]).is_some() => {
            Kept::Exact("limits of the listener")
        }
        "client_body_timeout" | "send_timeout" => {
            Kept::Near("limits.idle_timeout holds for bodies too")
        }
        "set_real_ip_from" if !first.starts_with("unix:") => Kept::Exact("trusted_proxies"),
        "real_ip_header" if first.eq_ignore_ascii_case("x-forwarded-for") => {
            Kept::Exact("believed from trusted_proxies")
        }
        "real_ip_header" if first == "proxy_protocol" => Kept::Exact("proxy_protocol"),
        "limit_req" => match directive.arguments.iter().any(|word| word == "nodelay") {
            true => Kept::Exact("rate_limit"),
            false => Kept::Near("rate_limit; what is over the rate is refused, not delayed"),
        },
        "limit_conn" => Kept::Near("limits.max_connections_per_ip of the listener"),
        "allow" | "deny" => Kept::Near("allow and deny of the route; deny wins whatever the order"),
        "access_log" if first == "off" => Kept::Near("logging.access is for the whole process"),
        "access_log" => Kept::Near("access records go to the log, see logging.file"),
        name => kept_by_itself(name, first),
    }
}

/// What needs no key here.
fn kept_by_itself(name: &str, first: &str) -> Kept {
    match (name, first) {
        ("proxy_http_version", "1.1") | ("proxy_redirect" | "proxy_cache", "off") => {
            Kept::Exact("always so")
        }
        ("proxy_buffering" | "proxy_request_buffering", "off") => {
            Kept::Exact("bodies are streamed")
        }
        ("proxy_buffering" | "proxy_request_buffering", _) => Kept::Near("bodies are streamed"),
        ("http2" | "http2_push" | "http3", "off") | ("http2", "on") => Kept::Exact("by ALPN"),
        (
            "sendfile"
            | "tcp_nopush"
            | "tcp_nodelay"
            | "server_tokens"
            | "resolver"
            | "resolver_timeout"
            | "reset_timedout_connection"
            | "server_names_hash_bucket_size"
            | "server_names_hash_max_size"
            | "types_hash_max_size"
            | "proxy_headers_hash_max_size"
            | "proxy_headers_hash_bucket_size"
            | "variables_hash_max_size",
            _,
        ) => Kept::Near("the program has its own way"),
        _ => Kept::Lost,
    }
}

/// Lays the policy of a server over a listener.
pub(super) fn apply_to_listener(scope: &Scope<'_>, client_zones: &[String], listener: &mut Draft) {
    let mut time_of = |name: &str, path: &str| {
        let Some(found) = scope.one(name) else { return };
        if let Some(time) = time(&[found.argument(0).to_owned()]) {
            listener.text(path, found.line, time);
        }
    };
    time_of("keepalive_timeout", "limits.idle_timeout");
    time_of("client_header_timeout", "limits.request_head_timeout");
    let body = scope.one("client_max_body_size");
    match body.and_then(|body| Some((body.line, size(body.argument(0))?))) {
        Some((line, size)) => listener.text("limits.max_request_body", line, size),
        None => listener.text("limits.max_request_body", 1, DEFAULT_BODY),
    }
    for limit in scope.all("limit_conn") {
        let counted = client_zones.iter().any(|zone| zone == limit.argument(0));
        if let Some(max) = limit.argument(1).parse().ok().filter(|_| counted) {
            listener.number("limits.max_connections_per_ip", limit.line, max);
        }
    }
    let trusted = scope.all("set_real_ip_from");
    let networks = trusted.iter().map(|rule| rule.argument(0));
    let networks: Vec<&str> = networks.filter(|text| !text.starts_with("unix:")).collect();
    if let Some(line) = trusted.first().map(|rule| rule.line).filter(|_| !networks.is_empty()) {
        listener.texts("trusted_proxies", line, networks);
    } else if listener.has("proxy_protocol") {
        // nginx takes that header from anybody.
        listener.texts("trusted_proxies", 1, ["0.0.0.0/0", "::/0"]);
    }
}

/// What nginx takes of a body unless it is told otherwise.
const DEFAULT_BODY: &str = "1m";
