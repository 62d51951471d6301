//! Directives that are inherited: what is said once for `http` holds for every server and location
//! that does not say it again.

use super::Nginx;
use super::constant::is_constant;
use super::parse::Directive;
use super::refuse;
use super::values::{hash_key, named, size, time};
use crate::import::draft::Draft;
use crate::scalar::is_changeable;

/// A `limit_req_zone`.
pub(super) struct Zone {
    key: String,
    requests: u64,
    per: &'static str,
}

impl Zone {
    fn per_hour(&self) -> u64 {
        self.requests.saturating_mul(if self.per == "1s" { 3600 } else { 60 })
    }
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
        let of = |level: &&'a [Directive]| {
            let found: Vec<&'a Directive> =
                level.iter().filter(|directive| directive.name == name).collect();
            (!found.is_empty()).then_some(found)
        };
        self.levels.iter().rev().find_map(of).unwrap_or_default()
    }

    /// All directives of these names, in their order, from the innermost level that has any.
    pub(super) fn among(&self, names: &[&str]) -> Vec<&'a Directive> {
        let of = |level: &&'a [Directive]| {
            let is_one = |it: &&Directive| names.contains(&it.name.as_str());
            let found: Vec<&'a Directive> = level.iter().filter(is_one).collect();
            (!found.is_empty()).then_some(found)
        };
        self.levels.iter().rev().find_map(of).unwrap_or_default()
    }

    /// Every directive of every level.
    pub(super) fn every(&self) -> impl Iterator<Item = &'a Directive> {
        self.levels.iter().copied().flatten()
    }

    /// The block of a location such as `@name`.
    pub(super) fn location(&self, name: &str) -> Option<&'a [Directive]> {
        let all = self.levels.iter().rev().flat_map(|level| level.iter());
        let mut named = all.filter(|it| it.name == "location" && it.argument(0) == name);
        named.find_map(|it| it.block.as_deref())
    }

    /// True if a `try_files` in the innermost level, or in a location of it that is kept, ends
    /// there.
    pub(super) fn tries(&self, name: &str) -> bool {
        let is_it = |it: &Directive| {
            it.name == "try_files" && it.arguments.last().is_some_and(|last| last == name)
        };
        let level = self.levels.last().copied().unwrap_or_default();
        let is_kept = |it: &Directive| {
            it.name == "location"
                && matches!(it.arguments.as_slice(), [path] | [_, path]
                if path.starts_with('/') && !it.argument(0).starts_with('~'))
        };
        level.iter().any(|it| is_it(it) || is_kept(it) && it.block.iter().flatten().any(is_it))
    }

    /// The last directive of a name.
    pub(super) fn one(&self, name: &str) -> Option<&'a Directive> {
        self.all(name).pop()
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
    /// Not at all, with what that means.
    Not(&'static str),
    Lost,
}

impl Nginx<'_> {
    /// The remark of a directive that `apply` obeys, or that needs nothing.
    pub(super) fn judge(&mut self, directive: &Directive) {
        let (line, shown) = (directive.line, directive.shown());
        if is_constant(directive) {
            return self.report.near(line, format!("{shown}: stands where `proxy_pass` uses it"));
        }
        match self.kept_zone(directive).unwrap_or_else(|| kept(directive)) {
            Kept::Exact(how) => self.report.exact(line, format!("{shown}: {how}")),
            Kept::Near(how) => self.report.near(line, format!("{shown}: {how}")),
            Kept::Not(how) => self.report.lost(line, format!("{shown}: {how}")),
            Kept::Lost => self.lose(directive),
        }
    }

    /// The same within a location, which cannot have what a listener has.
    pub(super) fn judge_in_location(&mut self, directive: &Directive) {
        match directive.name.as_str() {
            "keepalive_timeout" | "limit_conn" | "set_real_ip_from" | "real_ip_header" => {
                let how = "a listener has it here, not a location";
                self.report.lost(directive.line, format!("{}: {how}", directive.shown()));
            }
            name if name.ends_with("_pass") && directive.argument(0).starts_with("http") => {}
            _ => self.judge(directive),
        }
    }

    /// `limit_req` and `limit_conn`, which are as good as their zones.
    fn kept_zone(&self, directive: &Directive) -> Option<Kept> {
        let known = match directive.name.as_str() {
            "limit_req" => {
                let zone = named(&directive.arguments, "zone");
                zone.is_some_and(|zone| self.zones.contains_key(zone))
            }
            "limit_conn" => self.client_zones.iter().any(|zone| zone == directive.argument(0)),
            _ => return None,
        };
        Some(match (known, directive.name.as_str()) {
            (false, _) => Kept::Not("its zone is not kept: nothing is limited"),
            (true, "limit_conn") => Kept::Near("limits.max_connections_per_ip of the listener"),
            (true, _) => Kept::Near(
                "rate_limit; what is over the rate gets 429 and is not delayed; of several the \
                 slowest counts",
            ),
        })
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
            if !header.argument(1).contains('$') && is_addable(header.argument(0)) {
                let field = (header.argument(0), header.argument(1));
                route.field("response_headers.add", header.line, field);
            }
        }
        for header in scope.all("proxy_hide_header").iter().filter(|it| is_addable(it.argument(0)))
        {
            route.push_text("response_headers.remove", header.line, header.argument(0));
        }
        self.limit(&scope.all("limit_req"), route);
        refuse::apply(scope, route);
    }

    /// The slowest of the limits in force.
    fn limit(&self, limits: &[&Directive], route: &mut Draft) {
        let all = limits.iter().filter_map(|limit| {
            let zone = self.zones.get(named(&limit.arguments, "zone")?)?;
            Some((*limit, zone))
        });
        let Some((limit, zone)) = all.min_by_key(|(_, zone)| zone.per_hour()) else { return };
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
        let attempts = scope.one("proxy_next_upstream_tries");
        let tries = attempts.and_then(|it| it.argument(0).parse::<u64>().ok());
        let tries = tries.filter(|tries| *tries > 0);
        if let (Some(attempts), Some(tries)) = (attempts, tries) {
            settings.push(("retry.attempts", attempts.line, tries.to_string()));
        }
        let reasons = scope.one("proxy_next_upstream");
        for key in ["timeouts.connect", "timeouts.response_head", "retry.attempts"] {
            let line = settings.iter().find(|(path, ..)| *path == key).map(|(_, line, _)| *line);
            self.uses.note(name, key, line);
        }
        self.uses.note(name, "retry.on", reasons.map(|reasons| reasons.line));
        let mut differ = Vec::new();
        let Some(pool) = self.pool(name) else { return };
        for (path, line, value) in settings {
            match pool.get(path) {
                Some(known) if known != value => {
                    differ
                        .push((line, format!("pool {name} has one {path}, {known}, not {value}")));
                }
                Some(_) => {}
                None if path == "retry.attempts" => pool.number(path, line, tries.unwrap_or(1)),
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
    if sent_anyway(name, value) || value.contains('$') || !is_changeable(name) {
        return;
    }
    if is_no_host(name, value) {
        return;
    }
    if value.is_empty() {
        return route.push_text("request_headers.remove", header.line, name);
    }
    route.field("request_headers.set", header.line, (name, value));
}

fn sent_anyway(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    // What a client sends is sent on, unless it is what only a trusted peer may say.
    let own = value.strip_prefix("$http_").is_some_and(|it| it.replace('_', "-") == name);
    if own && is_changeable(&name) && !name.contains("forwarded") && name != "x-real-ip" {
        return true;
    }
    let known = SENT_ANYWAY.iter().find(|(field, _)| *field == name);
    known.is_some_and(|(_, values)| values.contains(&value))
}

/// True of a field that a rule may add or remove: a request has one `Host` in any case.
fn is_addable(name: &str) -> bool {
    is_changeable(name) && !name.eq_ignore_ascii_case("host")
}

/// True of a `Host` that no request can have.
fn is_no_host(name: &str, value: &str) -> bool {
    name.eq_ignore_ascii_case("host") && evenkeel_core::host::parse(value.as_bytes()).is_none()
}

/// Why a field is not kept that no rule may change.
const FIXED: &str = "what frames a message or belongs to a connection is not changed by rules";

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
            (name, "$proxy_host") if name.eq_ignore_ascii_case("host") => {
                Kept::Exact("request_headers")
            }
            (name, value) if sent_anyway(name, value) => Kept::Exact("sent anyway"),
            (_, value) if value.contains('$') => Kept::Lost,
            (name, _) if !is_changeable(name) => Kept::Not(FIXED),
            (name, "") if !is_addable(name) => Kept::Not("a request has one Host in any case"),
            (name, value) if is_no_host(name, value) => Kept::Not("no request can have this Host"),
            _ => Kept::Exact("request_headers"),
        },
        "add_header" if directive.argument(1).contains('$') => Kept::Lost,
        "add_header" | "proxy_hide_header" if !is_addable(first) => Kept::Not(FIXED),
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
        "proxy_next_upstream" if directive.arguments.iter().all(|word| is_reason(word)) => {
            Kept::Exact("retry.on")
        }
        "proxy_next_upstream" => Kept::Near("retry.on, as far as it has the reason"),
        "proxy_next_upstream_tries" if first == "0" => Kept::Not("there is always a bound: 3"),
        "proxy_next_upstream_tries" => Kept::Exact("retry.attempts"),
        name if name.contains("ssl_") => kept_tls(name, first),
        "client_max_body_size" if size(first).is_some() => {
            Kept::Near("limits.max_request_body of the listener, the largest that is asked for")
        }
        "keepalive_timeout" if first.trim_end_matches('s') == "0" => {
            Kept::Not("connections of clients are kept open")
        }
        "keepalive_timeout" | "client_header_timeout" if time(&[first.to_owned()]).is_some() => {
            Kept::Exact("limits of the listener")
        }
        "client_body_timeout" | "send_timeout" => {
            Kept::Near("limits.idle_timeout holds for bodies too")
        }
        "set_real_ip_from" if !first.starts_with("unix:") => Kept::Exact("trusted_proxies"),
        "real_ip_recursive" if first == "on" => Kept::Exact("always so"),
        "real_ip_recursive" => Kept::Near("addresses of trusted_proxies are passed over"),
        "real_ip_header" if first.eq_ignore_ascii_case("x-forwarded-for") => {
            Kept::Exact("believed from trusted_proxies")
        }
        "real_ip_header" if first == "proxy_protocol" => Kept::Exact("proxy_protocol"),
        "real_ip_header" => Kept::Not("of trusted_proxies, X-Forwarded-For is believed"),
        "limit_req_status" if first == "429" => Kept::Exact("always so"),
        "limit_req_status" => Kept::Near("the status is 429"),
        "satisfy" if first == "any" => {
            Kept::Not("whom `allow` does not name is kept out, whatever else he shows")
        }
        "allow" | "deny" => Kept::Near("allow and deny of the route; deny wins whatever the order"),
        "access_log" if first == "off" => Kept::Near("logging.access is for the whole process"),
        "access_log" => Kept::Near("access records go to the log, see logging.file"),
        name => kept_by_itself(name, first),
    }
}

/// TLS on either side.
fn kept_tls(name: &str, first: &str) -> Kept {
    match name {
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
        (
            "gzip"
            | "gzip_static"
            | "ssi"
            | "autoindex"
            | "auth_basic"
            | "auth_request"
            | "proxy_intercept_errors"
            | "ssl_stapling"
            | "proxy_ssl_session_reuse",
            "off",
        )
        | ("satisfy", "all") => Kept::Exact("always so"),
        ("include", file) if file.ends_with("mime.types") => Kept::Near("no files are served"),
        ("default_type", _) => Kept::Near("no files are served"),
        (
            "ssl_ciphers"
            | "ssl_prefer_server_ciphers"
            | "ssl_session_cache"
            | "ssl_session_timeout"
            | "ssl_session_tickets"
            | "ssl_dhparam"
            | "ssl_ecdh_curve"
            | "ssl_conf_command"
            | "ssl_buffer_size",
            _,
        ) => Kept::Near("TLS has the program's own choice of ciphers and sessions"),
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

/// True of a reason that a retry has.
fn is_reason(word: &str) -> bool {
    let status = word.strip_prefix("http_").is_some_and(|status| status.parse::<u16>().is_ok());
    status || matches!(word, "off" | "error" | "timeout" | "non_idempotent")
}
