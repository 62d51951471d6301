//! `frontend`, and that half of `listen`: listeners and routes.

use super::condition::{self, Test};
use super::parse::Line;
use super::values::{Ipv6, binds, time};
use super::{Haproxy, Proxy};
use crate::import::draft::Draft;

impl Haproxy<'_> {
    pub(super) fn frontend(&mut self, proxy: &Proxy<'_>) {
        let redirect = redirects(proxy);
        let default = proxy.last(&["default_backend"]);
        let target = default.map(|line| (line.line, line.word(1)));
        let target = target.or(has_servers(proxy).then_some((proxy.line, proxy.name)));
        if is_left_out(proxy) {
            return;
        }
        let (names_of_tls, target) = match proxy.is_http() {
            true => (Vec::new(), target),
            false => by_server_name(proxy, target),
        };
        let mut names: Vec<String> = Vec::new();
        for line in proxy.all(&["bind"]) {
            let both = if line.has("v4v6") { Ipv6::Both } else { Ipv6::Only };
            for bind in binds(line.word(1), both) {
                let mut listener = self.listener(line, bind, proxy);
                if self.scoped && has_routes(proxy) {
                    let name = match names.len() {
                        0 => proxy.name.to_owned(),
                        more => format!("{}-{more}", proxy.name),
                    };
                    listener.text("name", line.line, name.clone());
                    names.push(name);
                }
                match (proxy.is_http(), &redirect) {
                    (true, Some((at, status, only_plain))) if !(line.has("ssl") && *only_plain) => {
                        listener.text("redirect.scheme", *at, "https");
                        listener.number("redirect.status", *at, *status);
                    }
                    (true, _) => {}
                    (false, _) => {
                        listener.text("protocol", line.line, "tcp");
                        if let Some((at, pool)) = target {
                            listener.text("pool", at, pool);
                        }
                        if !names_of_tls.is_empty() && !line.has("ssl") {
                            listener.list("sni_routes", line.line, names_of_tls.clone());
                        }
                    }
                }
                self.listeners.push(listener);
            }
        }
        if has_routes(proxy) {
            self.routes(proxy, target, &names);
        }
    }

    fn listener(&mut self, line: &Line, bind: String, proxy: &Proxy<'_>) -> Draft {
        let at = line.line;
        let mut listener = Draft::at(at);
        let is_unix = bind.starts_with("unix:");
        listener.text("bind", at, bind);
        for (name, path) in
            [("client", "limits.idle_timeout"), ("http-request", "limits.request_head_timeout")]
        {
            let Some(timeout) = proxy.last(&["timeout", name]) else { continue };
            if let Some(time) = time(timeout.word(2)) {
                listener.text(path, timeout.line, time);
            }
        }
        let own = proxy.last(&["maxconn"]);
        let own = own.and_then(|line| Some((line.line, line.word(1).parse().ok()?)));
        if let Some((at, max)) = own.or(self.max_connections) {
            listener.number("limits.max_connections", at, max);
        }
        if line.has("accept-proxy") && !is_unix {
            listener.text("proxy_protocol", at, "required");
            // HAProxy takes that header from anybody.
            listener.texts("trusted_proxies", at, ["0.0.0.0/0", "::/0"]);
        }
        if let Some(monitor) = proxy.last(&["monitor-uri"]).filter(|_| proxy.is_http()) {
            let mut mount = Draft::at(monitor.line);
            mount.text("path", monitor.line, monitor.word(1));
            mount.text("serve", monitor.line, "health");
            mount.number("down_status", monitor.line, 200);
            listener.push("mounts", mount);
        }
        if line.has("ssl") {
            tls(line, &mut listener);
        }
        listener
    }

    /// `names`: of the listeners that the routes are for; empty = all.
    fn routes(&mut self, proxy: &Proxy<'_>, default: Option<(usize, &str)>, names: &[String]) {
        let scope = |route: &mut Draft, line: usize| {
            if !names.is_empty() {
                route.texts("match.listeners", line, names.iter().map(String::as_str));
            }
        };
        let fixed = |rule: &&Line| !rule.word(1).contains("%[");
        for rule in proxy.all(&["use_backend"]).into_iter().filter(fixed) {
            for tests in condition::condition(rule, proxy).unwrap_or_default() {
                let mut route = Draft::at(rule.line);
                scope(&mut route, rule.line);
                if condition::write(&tests, &mut route, rule.line) {
                    self.pool_of(&mut route, (rule.line, rule.word(1)));
                    self.finish_route(route, rule.word(1), proxy);
                }
            }
        }
        if let Some((line, pool)) = default {
            let mut route = Draft::at(line);
            scope(&mut route, line);
            self.pool_of(&mut route, (line, pool));
            self.finish_route(route, pool, proxy);
        }
    }

    /// Where a route goes; one that lets nobody in gets a pool in the end.
    fn pool_of(&self, route: &mut Draft, (line, pool): (usize, &str)) {
        if !self.empty.iter().any(|name| name == pool) {
            route.text("pool", line, pool);
        }
    }

    /// Lays the rules of the frontend, then those of the backend, over a route.
    fn finish_route(&mut self, mut route: Draft, pool: &str, proxy: &Proxy<'_>) {
        for rule in rules(proxy) {
            super::rules::apply(rule, proxy, &mut route);
        }
        let of_backend = self.backend_lines.iter().find(|(name, _)| name == pool);
        // A `listen` is its own backend; a frontend may only be called like one.
        let is_own = pool == proxy.name && has_servers(proxy);
        if let Some((name, lines)) = of_backend.filter(|_| !is_own) {
            // Its conditions name ACLs of its own.
            let backend = Proxy { name, line: proxy.line, inherited: &[], own: lines };
            for rule in rules(&backend) {
                super::rules::apply(rule, &backend, &mut route);
            }
            super::rate::apply(&backend, &mut route);
        }
        super::rate::apply(proxy, &mut route);
        if self.empty.iter().any(|name| name == pool) {
            let line = proxy.line;
            route.texts("deny", line, ["0.0.0.0/0", "::/0"]);
        }
        self.routes.push(route);
    }
}

fn rules<'a>(proxy: &Proxy<'a>) -> impl Iterator<Item = &'a Line> {
    proxy.all(&["http-request"]).into_iter().chain(proxy.all(&["http-response"]))
}

/// True of a proxy that is a backend too.
fn has_servers(proxy: &Proxy<'_>) -> bool {
    ["server", "server-template"].iter().any(|word| proxy.last(&[word]).is_some())
}

/// True of an http frontend that sends nobody anywhere, such as one for statistics.
pub(super) fn is_left_out(proxy: &Proxy<'_>) -> bool {
    let says = |word: &str| proxy.last(&[word]).is_some();
    let sends = ["server", "server-template", "default_backend", "use_backend", "monitor-uri"];
    proxy.is_http() && !sends.iter().any(|word| says(word)) && redirects(proxy).is_none()
}

/// `use_backend` of a frontend of bytes: routes by TLS server name, and where all others go.
fn by_server_name<'a>(
    proxy: &Proxy<'a>,
    default: Option<(usize, &'a str)>,
) -> (Vec<Draft>, Option<(usize, &'a str)>) {
    let mut routes = Vec::new();
    for rule in proxy.all(&["use_backend"]) {
        for tests in condition::condition(rule, proxy).unwrap_or_default() {
            match tests.as_slice() {
                [] => return (routes, Some((rule.line, rule.word(1)))),
                [Test::ServerName(names)] => {
                    let mut route = Draft::at(rule.line);
                    route.texts("hosts", rule.line, names.iter().map(String::as_str));
                    route.text("pool", rule.line, rule.word(1));
                    routes.push(route);
                }
                _ => {}
            }
        }
    }
    (routes, default)
}

/// True of a frontend of bytes that waits for the server name of TLS.
pub(super) fn asks_server_names(proxy: &Proxy<'_>) -> bool {
    !proxy.is_http() && !by_server_name(proxy, None).0.is_empty()
}

/// True of an http frontend that does more than redirect.
pub(super) fn has_routes(proxy: &Proxy<'_>) -> bool {
    if is_left_out(proxy) {
        return false;
    }
    let only_redirects =
        redirects(proxy).is_some() && !proxy.all(&["bind"]).iter().any(|it| it.has("ssl"));
    proxy.is_http() && !only_redirects
}

/// `redirect scheme https`: its line, its status, and whether only plain connections are meant.
fn redirects(proxy: &Proxy<'_>) -> Option<(usize, u64, bool)> {
    let lines = proxy.all(&["redirect"]).into_iter();
    let mut lines = lines.chain(proxy.all(&["http-request", "redirect"]));
    let found = lines.rfind(|line| is_to_https(line) && is_redirect(line, proxy))?;
    let status = found.after("code").and_then(|code| code.parse().ok()).unwrap_or(302);
    Some((found.line, status, found.has("if") || found.has("unless")))
}

/// True of a redirect to https that keeps host, path and query.
pub(super) fn is_to_https(line: &Line) -> bool {
    let location = line.after("location").and_then(|to| to.strip_prefix("https://"));
    let host = ["%[hdr(host)]", "%[req.hdr(host)]"];
    let rest = ["%[capture.req.uri]", "%[pathq]"];
    let keeps = |to: &str| {
        let to = to.to_ascii_lowercase();
        host.iter().any(|host| to.strip_prefix(host).is_some_and(|to| rest.contains(&to)))
    };
    line.after("scheme") == Some("https") || location.is_some_and(keeps)
}

/// True of a redirect that a listener can make.
pub(super) fn is_redirect(line: &Line, proxy: &Proxy<'_>) -> bool {
    match condition::condition(line, proxy).as_deref() {
        Some([tests]) => tests.iter().all(|test| *test == Test::NotSecure),
        Some(_) | None => false,
    }
}

fn tls(line: &Line, listener: &mut Draft) {
    let at = line.line;
    listener.text("tls.min_version", at, "1.2");
    // Without `verify` HAProxy asks for no certificate, whatever the file.
    let verify = line.after("verify").filter(|how| matches!(*how, "required" | "optional"));
    if let Some(verify) = verify {
        listener.text("tls.client_auth", at, verify);
    }
    for pair in line.words.windows(2) {
        match (pair[0].as_str(), pair[1].as_str()) {
            // A list is not read here; it stands where its files are to be named.
            ("crt" | "crt-list", file) => {
                let mut certificate = Draft::at(at);
                certificate.text("cert", at, file);
                certificate.text("key", at, file);
                listener.push("tls.certificates", certificate);
            }
            ("alpn", protocols) => listener.texts("tls.alpn", at, protocols.split(',')),
            ("ca-file", file) if verify.is_some() => listener.text("tls.client_ca", at, file),
            ("ssl-min-ver", "TLSv1.3") => listener.text("tls.min_version", at, "1.3"),
            _ => {}
        }
    }
}
