//! `http-request` and `http-response`, and what becomes of every line of a proxy.

use super::backend::{balanced, reason, statuses};
use super::condition::{self, Test};
use super::parse::Line;
use super::values::{is_foreign, time};
use super::{Haproxy, Proxy};
use crate::import::draft::Draft;
use crate::scalar::is_changeable;

/// Lays a rule over a route; what a route cannot say, its remark tells.
pub(super) fn apply(rule: &Line, proxy: &Proxy<'_>, route: &mut Draft) {
    if !is_kept(rule, proxy) {
        return;
    }
    let (at, name, value) = (rule.line, rule.word(2), rule.word(3));
    let side = if rule.word(0) == "http-request" { "request_headers" } else { "response_headers" };
    match rule.word(1) {
        "set-header" | "add-header" if sent_anyway(rule) => {}
        "set-header" => route.field(&format!("{side}.set"), at, (name, value)),
        "add-header" => route.field(&format!("{side}.add"), at, (name, value)),
        "del-header" => route.push_text(&format!("{side}.remove"), at, name),
        "deny" => {
            for test in condition::condition(rule, proxy).into_iter().flatten().flatten() {
                if let Test::Source(networks) = &test {
                    networks.iter().for_each(|network| route.push_text("deny", at, network));
                }
                if let Test::NotSource(networks) = &test {
                    networks.iter().for_each(|network| route.push_text("allow", at, network));
                }
            }
        }
        _ => {}
    }
}

/// Fields that the proxy sends of itself, with the values that it sends.
fn sent_anyway(rule: &Line) -> bool {
    let (name, value) = (rule.word(2).to_ascii_lowercase(), rule.word(3));
    let fetched = value.starts_with("%[");
    match name.as_str() {
        "x-forwarded-for" => matches!(value, "%[src]" | "%ci"),
        "x-forwarded-host" => {
            fetched && value.contains("hdr(") && value.to_lowercase().contains("host")
        }
        "x-forwarded-proto" => {
            let secure = rule.has("ssl_fc");
            let opposite = rule.has("unless") || rule.has("!{") || rule.has("!ssl_fc");
            secure && value == if opposite { "http" } else { "https" }
        }
        _ => false,
    }
}

/// True if a rule of ours may do that to the field: none frames a message, and a request has one
/// `Host` in any case, which names a host.
fn may_change(rule: &Line) -> bool {
    let host = rule.word(2).eq_ignore_ascii_case("host");
    let sets_host = || rule.word(1) == "set-header" && is_host(rule.word(3));
    is_changeable(rule.word(2)) && (!host || sets_host())
}

fn is_host(text: &str) -> bool {
    evenkeel_core::host::parse(text.as_bytes()).is_some()
}

/// True of a rule that holds always, with a fixed value, or that refuses networks.
fn is_kept(rule: &Line, proxy: &Proxy<'_>) -> bool {
    let conditional = rule.has("if") || rule.has("unless");
    match rule.word(1) {
        "set-header" | "add-header" if sent_anyway(rule) => true,
        "set-header" | "add-header" | "del-header" if !may_change(rule) => false,
        "set-header" | "add-header" => !conditional && !rule.word(3).contains('%'),
        "del-header" => !conditional && rule.words.len() == 3,
        "deny" => denies(rule, proxy),
        _ => false,
    }
}

/// True of a rule that refuses by network alone. Who else is refused can be said once only.
fn denies(rule: &Line, proxy: &Proxy<'_>) -> bool {
    let known = |rule: &Line| condition::condition(rule, proxy).unwrap_or_default();
    let others = |rule: &Line| {
        let tests = known(rule).into_iter().flatten();
        tests.filter(|test| matches!(test, Test::NotSource(_))).count()
    };
    let all = proxy.all(&["http-request", "deny"]);
    let once = all.iter().map(|rule| others(rule)).sum::<usize>() <= 1;
    let by_network = |tests: &Vec<Test>| match tests.as_slice() {
        [Test::Source(_)] => true,
        [Test::NotSource(_)] => once && !proxy.all(&["bind"]).is_empty(),
        _ => false,
    };
    let any = known(rule);
    !any.is_empty() && any.iter().all(by_network)
}

/// True of a rule that lets somebody not in.
fn refuses(rule: &Line) -> bool {
    let ends = ["deny", "tarpit", "reject", "silent-drop", "auth"];
    let answers = rule.word(1) == "return"
        && rule.after("status").is_some_and(|status| status.starts_with(['4', '5']));
    rule.word(0) == "http-request" && (ends.contains(&rule.word(1)) || answers)
        || rule.word(0) == "tcp-request" && (rule.has("reject") || rule.has("silent-drop"))
        || rule.word(0) == "block"
}

/// How a line is kept: exact, or nearly with these words.
enum Kept {
    Exact(&'static str),
    Near(&'static str),
    /// Not at all, with what that means.
    Not(&'static str),
    Lost,
    /// Lost, and it refused requests.
    Open,
    /// It has its remark.
    Told,
}

impl Haproxy<'_> {
    /// The remark of a line of a proxy or of `defaults`.
    pub(super) fn judge(&mut self, line: &Line, proxy: &Proxy<'_>) {
        let kept = kept(line, proxy);
        let (at, shown) = (line.line, line.shown());
        match kept {
            Kept::Exact(how) => self.report.exact(at, format!("{shown}: {how}")),
            Kept::Near(how) => self.report.near(at, format!("{shown}: {how}")),
            Kept::Lost => self.report.lost(at, shown),
            Kept::Not(how) => self.report.lost(at, format!("{shown}: {how}")),
            Kept::Open => self.report.lost(at, format!("{shown}: whom it kept out is let in")),
            Kept::Told => {}
        }
    }
}

fn kept(line: &Line, proxy: &Proxy<'_>) -> Kept {
    match (line.word(0), line.word(1)) {
        ("server", _) => Kept::Told,
        ("mode", "http" | "tcp") => Kept::Exact("protocol"),
        ("server-template", _) => Kept::Told,
        ("bind", _) if super::frontend::is_left_out(proxy) => {
            Kept::Not("nothing behind it is kept")
        }
        ("bind", _) => kept_bind(line),
        _ if super::rate::is_part(line, proxy) => {
            Kept::Near("rate_limit of each route, by client address; what is over it gets 429")
        }
        ("timeout", name) => kept_timeout(line, name),
        ("balance", word) => match balanced(word, Some(line)) {
            Some(_) if word == "source" => Kept::Near("strategy consistent_hash"),
            Some(_) => Kept::Exact("strategy"),
            None => Kept::Lost,
        },
        ("default_backend", _) => Kept::Exact("the last route"),
        ("default-server", _) => Kept::Exact("laid over the servers below"),
        ("retries", count) if count.parse::<u64>().is_ok() => {
            Kept::Exact("retry.attempts is one more")
        }
        ("retry-on", "all-retryable-errors" | "none") => Kept::Exact("retry.on"),
        ("retry-on", _) => match line.from(1).iter().all(|word| reason(word).is_some()) {
            true => Kept::Exact("retry.on"),
            false => Kept::Near("retry.on, as far as it has the reason"),
        },
        ("maxconn", max) if max.parse::<u64>().is_ok() => {
            Kept::Exact("limits.max_connections of the listener")
        }
        ("cookie", _) if line.has("insert") => {
            Kept::Near("affinity by a signed cookie of that name")
        }
        ("stick", "on") if line.word(2) == "src" => Kept::Near("affinity: client_ip, not kept"),
        ("stick-table" | "tcp-request" | "block", _) => kept_connection(line, proxy),
        ("hash-type", "consistent") => Kept::Exact("strategy consistent_hash"),
        ("monitor-uri", _) => Kept::Near("a mount of health"),
        ("log" | "log-format", _) => Kept::Near("see logging"),
        ("acl", _) if condition::is_known(line) => Kept::Exact("a match of the routes that use it"),
        ("option", "httpchk") if super::backend::checks_tls(proxy) => {
            Kept::Near("health.type: tcp, as checks have no TLS of their own")
        }
        ("http-check", _) if super::backend::checks_tls(proxy) => Kept::Not("checks only connect"),
        ("option", "httpchk") if line.from(4).iter().any(|word| word.contains('\n')) => {
            Kept::Near("health.type: http, with that Host and no other field")
        }
        ("option", "forwardfor") if line.words.len() > 2 => {
            Kept::Near("X-Forwarded-For is sent to all, under that name")
        }
        ("option", name) => kept_option(name),
        ("http-check", "send") => Kept::Near("method, path and host of the health check"),
        ("http-check", "expect") if matches!(line.word(2), "status" | "string") => {
            Kept::Exact("health.expect")
        }
        ("http-check", "expect")
            if line.word(2) == "rstatus" && statuses(line.word(3)).is_some() =>
        {
            Kept::Exact("health.expect_status")
        }
        ("http-request" | "http-response" | "redirect" | "use_backend", _) => {
            kept_rule(line, proxy)
        }
        _ => Kept::Lost,
    }
}

/// Tables, and rules of connections.
fn kept_connection(line: &Line, proxy: &Proxy<'_>) -> Kept {
    let waits = super::frontend::asks_server_names(proxy);
    match (line.word(0), line.word(1)) {
        ("stick-table", _) if proxy.last(&["stick", "on", "src"]).is_some() => {
            Kept::Near("affinity: client_ip, not kept")
        }
        ("stick-table", _) => Kept::Not("nothing is kept per client"),
        ("tcp-request", "inspect-delay") if waits => {
            Kept::Near("sni_routes wait for the first bytes of TLS")
        }
        ("tcp-request", "content") if waits && is_hello(line) => {
            Kept::Near("sni_routes wait for the first bytes of TLS")
        }
        _ if refuses(line) => Kept::Open,
        _ => Kept::Lost,
    }
}

/// True of the rule that lets TLS begin.
fn is_hello(line: &Line) -> bool {
    line.word(2) == "accept" && line.words.iter().any(|word| word.contains("ssl_hello_type"))
}

/// Rules with a condition name ACLs of the proxy they stand in.
fn kept_rule(line: &Line, proxy: &Proxy<'_>) -> Kept {
    match line.word(0) {
        "use_backend" if !proxy.is_http() => match condition::condition(line, proxy).as_deref() {
            Some([tests]) if tests.is_empty() => Kept::Exact("pool of the listener"),
            Some(any) if any.iter().all(|it| matches!(it[..], [Test::ServerName(_)])) => {
                Kept::Exact("sni_routes")
            }
            Some(_) | None => Kept::Not("its connections go where the others go"),
        },
        "use_backend" => match condition::condition(line, proxy) {
            Some(any) if !line.word(1).contains("%[") => {
                let fits = |tests: &Vec<Test>| {
                    condition::write(tests, &mut Draft::at(line.line), line.line)
                };
                match any.iter().all(fits) {
                    true if condition::ignores_case(line, proxy) => {
                        Kept::Near("a route; letter case counts, and path_prefix covers segments")
                    }
                    true if any.iter().flatten().any(|it| matches!(it, Test::Prefix(_))) => {
                        Kept::Near("a route; path_prefix covers whole segments")
                    }
                    true => Kept::Exact("a route"),
                    false => Kept::Not("its requests go where the rules below send them"),
                }
            }
            Some(_) | None => Kept::Not("its requests go where the rules below send them"),
        },
        "redirect" | "http-request" if line.has("redirect") => {
            let https = super::frontend::is_to_https(line);
            match https && super::frontend::is_redirect(line, proxy) {
                true => Kept::Exact("redirect of the listener"),
                false if super::backend::is_empty(proxy) => {
                    Kept::Not("what it redirected is refused")
                }
                false => Kept::Not("what it redirected is served"),
            }
        }
        _ if refuses(line) && super::backend::is_empty(proxy) => Kept::Near("deny of its routes"),
        _ if refuses(line) && !is_kept(line, proxy) => Kept::Open,
        _ if is_kept(line, proxy) => match line.word(1) {
            "set-header" | "add-header" if sent_anyway(line) => Kept::Exact("sent anyway"),
            "deny" => Kept::Near("allow and deny of every route of the frontend"),
            _ => Kept::Exact("headers of the routes"),
        },
        _ => Kept::Lost,
    }
}

fn kept_bind(line: &Line) -> Kept {
    let crt = line.after("crt").unwrap_or_default();
    if line.word(1).split(',').all(|address| address.starts_with("quic")) {
        return Kept::Not("QUIC is not spoken");
    }
    if line.word(1).split(',').any(is_foreign) {
        return Kept::Not("only addresses and paths are bound; sockets are passed as LISTEN_FDS");
    }
    if line.has("ssl") && (crt.is_empty() || crt.ends_with('/')) {
        return Kept::Not("name the files of the directory in tls.certificates");
    }
    let known = [
        "ssl",
        "crt",
        "alpn",
        "accept-proxy",
        "ca-file",
        "verify",
        "ssl-min-ver",
        "v4v6",
        "v6only",
        "name",
        "required",
        "optional",
        "none",
    ];
    let values = ["crt", "alpn", "ca-file", "verify", "ssl-min-ver", "name"];
    let words = line.from(2);
    let is_value = |at: usize| at > 0 && values.contains(&words[at - 1].as_str());
    let odd = words.iter().enumerate().any(|(at, word)| !is_value(at) && !known.contains(&&**word));
    let is_unix = ["/", "unix@", "abns@"].iter().any(|prefix| line.word(1).starts_with(prefix));
    if line.has("accept-proxy") && is_unix {
        return Kept::Near(
            "listeners[].bind, without accept-proxy: who calls a socket has no address",
        );
    }
    if line.has("accept-proxy") {
        return Kept::Near("listeners[].bind; trusted_proxies are all: name yours");
    }
    if odd {
        Kept::Near("listeners[].bind, without its other words")
    } else {
        Kept::Exact("listeners[].bind")
    }
}

fn kept_timeout(line: &Line, name: &str) -> Kept {
    if time(line.word(2)).is_none() {
        return Kept::Lost;
    }
    match name {
        "connect" => Kept::Exact("timeouts.connect"),
        "client" => Kept::Exact("limits.idle_timeout"),
        "server" => Kept::Near("timeouts.response_head and timeouts.idle"),
        "http-request" => Kept::Exact("limits.request_head_timeout"),
        "queue" => Kept::Exact("connections.queue.timeout"),
        "check" => Kept::Exact("health.timeout"),
        "tunnel" => Kept::Near("timeouts.idle, for bodies too"),
        "http-keep-alive" => Kept::Near("limits.idle_timeout, as that of `timeout client`"),
        _ => Kept::Lost,
    }
}

fn kept_option(name: &str) -> Kept {
    match name {
        "forwardfor" | "http-keep-alive" | "redispatch" => Kept::Exact("always so"),
        "httpchk" => Kept::Exact("health.type: http"),
        "tcp-check" => Kept::Near("health.type: tcp"),
        "mysql-check" | "pgsql-check" | "redis-check" | "smtpchk" | "ldap-check"
        | "ssl-hello-chk" | "spop-check" => Kept::Not("health.type: tcp, which only connects"),
        "http-server-close" | "httpclose" | "forceclose" => {
            Kept::Near("the program has its own way")
        }
        "httplog" | "tcplog" | "dontlognull" | "dontlog-normal" | "logasap" => {
            Kept::Near("see logging.access")
        }
        "splice-auto" | "splice-request" | "splice-response" | "tcp-smart-accept"
        | "tcp-smart-connect" | "tcpka" | "clitcpka" | "srvtcpka" => {
            Kept::Near("the program has its own way")
        }
        _ => Kept::Lost,
    }
}
