//! `location`: one route.

use super::Nginx;
use super::constant::written_out;
use super::parse::Directive;
use super::policy::Scope;
use super::refuse::{self, refuses};
use crate::import::draft::{Draft, with_port};

/// What becomes of the requests of a location that is not kept.
const ELSEWHERE: &str = "what it was for goes where the other locations send it";

/// One location that proxies.
pub(super) struct Location {
    pub(super) exact: bool,
    pub(super) path: String,
    pub(super) route: Draft,
}

/// What `proxy_pass` says.
struct Target {
    pool: String,
    /// What nginx sends as `Host` unless it is told otherwise.
    host: String,
    /// The path that takes the place of the location's.
    path: Option<String>,
}

impl Nginx<'_> {
    /// The route of a location; none if it does not proxy, or matches by a pattern.
    pub(super) fn location(
        &mut self,
        directive: &Directive,
        block: &[Directive],
        outer: &Scope<'_>,
    ) -> Option<Location> {
        let (line, shown) = (directive.line, directive.shown());
        let (modifier, path) = match directive.arguments.as_slice() {
            [path] => ("", path.as_str()),
            [modifier, path] => (modifier.as_str(), path.as_str()),
            _ => ("~", ""),
        };
        if path.starts_with('@') && outer.tries(path) {
            self.report.exact(line, format!("{shown}: see try_files"));
            block.iter().for_each(|inner| self.judge_in_location(inner));
            return None;
        }
        let pass = block.iter().rev().find(|it| is_pass(it));
        let by_pattern = !matches!(modifier, "" | "=" | "^~") || !path.starts_with('/');
        let exact = modifier == "=";
        // What comes before all else; rules of access come only before what is served.
        let first = |it: &Directive| matches!(it.name.as_str(), "return" | "internal");
        let refusal = block.iter().find(|it| refuses(it) && (pass.is_none() || first(it)));
        if let Some(refusal) = refusal.filter(|_| !by_pattern) {
            self.tell_match((line, shown), path, exact);
            return Some(self.refusing(block, (line, path, exact), refusal));
        }
        let tries = block.iter().find(|it| it.name == "try_files" && it.block.is_none());
        if let Some(tries) = tries.filter(|_| pass.is_none() && !by_pattern)
            && let Some(found) = self.try_files(tries, (path, exact), &outer.with(block))
        {
            self.tell_match((line, shown), path, exact);
            let rest = block.iter().filter(|inner| !std::ptr::eq(*inner, tries));
            rest.for_each(|inner| self.judge_in_location(inner));
            return Some(found);
        }
        let Some(pass) = pass.filter(|_| !by_pattern) else {
            let why = match by_pattern {
                true if path.starts_with('@') => "nothing that is kept goes there",
                true => "a pattern of paths",
                false => "it proxies nothing",
            };
            self.report.lost(line, format!("{shown}: {why}; {ELSEWHERE}"));
            block.iter().for_each(|inner| self.lose(inner));
            return None;
        };
        let inner = block.iter().filter(|inner| !is_pass(inner));
        let location = self.proxying((line, path, exact), pass, &outer.with(block));
        if location.is_some() {
            self.tell_match((line, shown), path, exact);
            inner.for_each(|inner| self.judge_in_location(inner));
        } else {
            self.report.lost(line, format!("{shown}: {ELSEWHERE}"));
            inner.for_each(|inner| self.lose(inner));
        }
        location
    }

    /// The route to where `pass` goes.
    fn proxying(
        &mut self,
        (line, path, exact): (usize, &str, bool),
        pass: &Directive,
        scope: &Scope<'_>,
    ) -> Option<Location> {
        let target = self.target(pass, scope)?;
        let mut route = matching(line, path, exact);
        route.text("pool", pass.line, target.pool.clone());
        self.tell_pass(pass, (path, exact), &target, &mut route);
        if pass.name == "proxy_pass" && !names_host(scope) {
            route.field("request_headers.set", pass.line, ("host", &target.host));
        }
        self.apply_to_route(scope, &mut route);
        if self.is_unverified(scope, pass)
            && let Some(pool) = self.pool(&target.pool)
        {
            pool.flag("tls.insecure_skip_verify", pass.line, true);
        }
        self.apply_to_pool(scope, &target.pool);
        Some(Location { exact, path: path.to_owned(), route })
    }

    /// `try_files … @name`: everything goes to the location of that name, as no file is served.
    pub(super) fn try_files(
        &mut self,
        directive: &Directive,
        (path, exact): (&str, bool),
        scope: &Scope<'_>,
    ) -> Option<Location> {
        let (line, shown) = (directive.line, directive.shown());
        let name = directive.arguments.last().filter(|name| name.starts_with('@'));
        let block = name.and_then(|name| scope.location(name));
        let pass = block.and_then(|block| block.iter().rev().find(|it| is_pass(it)));
        let (Some(name), Some(block), Some(pass)) = (name, block, pass) else {
            self.lose(directive);
            return None;
        };
        self.report.near(line, format!("{shown}: no file is served; everything goes to {name}"));
        self.proxying((line, path, exact), pass, &scope.with(block))
    }

    /// A route that lets nobody in; which pool it has does not matter.
    fn refusing(
        &mut self,
        block: &[Directive],
        (line, path, exact): (usize, &str, bool),
        refusal: &Directive,
    ) -> Location {
        for inner in block.iter().filter(|inner| !std::ptr::eq(*inner, refusal)) {
            match inner.name.as_str() {
                "allow" | "deny" => {
                    let text = format!("{}: nobody is let in", inner.shown());
                    self.report.lost(inner.line, text);
                }
                _ => self.lose(inner),
            }
        }
        self.closed((line, path, exact), refusal)
    }

    /// The same, and the remark on why.
    pub(super) fn closed(
        &mut self,
        (line, path, exact): (usize, &str, bool),
        refusal: &Directive,
    ) -> Location {
        let mut route = matching(line, path, exact);
        refuse::nobody(&mut route, refusal.line);
        let shown = refusal.shown();
        match refusal.argument(0) {
            "all" | "403" => self.report.exact(refusal.line, format!("{shown}: deny of the route")),
            _ => self.report.near(refusal.line, format!("{shown}: deny of the route, so 403")),
        }
        Location { exact, path: path.to_owned(), route }
    }

    /// TLS towards the backends: unless told so, nginx verifies no certificate.
    fn is_unverified(&self, scope: &Scope<'_>, pass: &Directive) -> bool {
        let url = written_out(pass.argument(0), scope).unwrap_or_default();
        let secure = ["https://", "grpcs://"].iter().any(|it| url.starts_with(it));
        let names = ["proxy_ssl_verify", "grpc_ssl_verify"];
        let verifies = |name: &&str| scope.one(name).is_some_and(|it| it.argument(0) == "on");
        secure && !names.iter().any(verifies)
    }

    fn tell_match(&mut self, (line, shown): (usize, String), path: &str, exact: bool) {
        if exact || path == "/" {
            return self.report.exact(line, format!("{shown}: match"));
        }
        let bare = path.trim_end_matches('/');
        let how = if path.ends_with('/') {
            format!("match.path_prefix, which covers {bare} itself too")
        } else {
            format!("match.path_prefix covers whole segments: {path}/x, not {path}x")
        };
        self.report.near(line, format!("{shown}: {how}"));
    }

    fn tell_pass(
        &mut self,
        pass: &Directive,
        (path, exact): (&str, bool),
        target: &Target,
        route: &mut Draft,
    ) {
        let (line, shown) = (pass.line, pass.shown());
        match target.path.as_deref() {
            None => self.report.exact(line, format!("{shown}: pool {}", target.pool)),
            Some(same) if same == path => {
                self.report.exact(line, format!("{shown}: pool {}", target.pool));
            }
            Some("/") if path.ends_with('/') && !exact => {
                route.flag("strip_prefix", line, true);
                self.report.exact(line, format!("{shown}: strip_prefix"));
            }
            Some("/") if path != "/" && !exact => {
                route.flag("strip_prefix", line, true);
                let how = format!("strip_prefix; {path}/x is /x there, not //x");
                self.report.near(line, format!("{shown}: {how}"));
            }
            Some(other) => {
                let how = format!("the path is not rewritten to {other}");
                self.report.lost(line, format!("{shown}: {how}"));
            }
        }
    }

    /// The pool that `proxy_pass` names; made for an address that is no upstream.
    fn target(&mut self, pass: &Directive, scope: &Scope<'_>) -> Option<Target> {
        let url = written_out(pass.argument(0), scope);
        let parts = url.as_deref().map(|url| url.split_once("://").unwrap_or(("http", url)));
        let usable = |it: &(&str, &str)| matches!(it.0, "http" | "https" | "grpc" | "grpcs");
        let Some((scheme, rest)) = parts.filter(usable) else {
            let text = format!("{}: the address is not known before a request", pass.shown());
            self.report.lost(pass.line, text);
            return None;
        };
        let (host, path) = match rest.strip_prefix("unix:") {
            Some(socket) => {
                let (socket, path) = socket.split_once(':').unwrap_or((socket, ""));
                (format!("unix:{socket}"), path.to_owned())
            }
            None => match rest.find('/') {
                Some(at) => (rest[..at].to_owned(), rest[at..].to_owned()),
                None => (rest.to_owned(), String::new()),
            },
        };
        if !path.is_empty() && pass.argument(0).contains('$') {
            let text = format!("{}: every request would get the path {path}", pass.shown());
            self.report.lost(pass.line, text);
            return None;
        }
        let secure = matches!(scheme, "https" | "grpcs");
        // The name of a pool holds no slashes.
        let name = host.replace('/', "-");
        if self.pool(&name).is_none() {
            self.single((&name, &host), secure, pass.line);
        }
        if scheme.starts_with("grpc")
            && let Some(pool) = self.pool(&name)
        {
            pool.text("protocol", pass.line, "h2");
        }
        let speaks_tls = self.pool(&name).is_some_and(|pool| is_secure(pool));
        if secure && !speaks_tls {
            self.secure(&name, pass.line);
        }
        let was_plain = self.plain_pools.contains(&name);
        if !secure && !was_plain {
            self.plain_pools.push(name.clone());
        }
        if secure && was_plain || !secure && speaks_tls {
            let how = "the pool speaks TLS for all that goes there";
            self.report.near(pass.line, format!("{}: {how}", pass.shown()));
        }
        let named = if host.starts_with("unix:") { "localhost".to_owned() } else { host };
        Some(Target { pool: name, host: named, path: (!path.is_empty()).then_some(path) })
    }

    /// A pool of one backend.
    fn single(&mut self, (name, host): (&str, &str), secure: bool, line: usize) {
        let mut pool = self.new_pool(name, line);
        let address = with_port(host, if secure { 443 } else { 80 });
        let mut backend = Draft::at(line);
        backend.text("address", line, if secure { format!("https://{address}") } else { address });
        pool.push("backends", backend);
        self.pools.push((name.to_owned(), pool));
    }

    /// TLS towards the backends.
    pub(super) fn secure(&mut self, host: &str, line: usize) {
        let Some(pool) = self.pool(host) else { return };
        for at in 0..pool.len("backends") {
            let path = format!("backends[{at}].address");
            let plain = pool.get(&path).filter(|address| !address.contains("://"));
            if let Some(plain) = plain.map(str::to_owned) {
                pool.text(&path, line, format!("https://{plain}"));
            }
        }
    }
}

/// A route for this path.
pub(super) fn matching(line: usize, path: &str, exact: bool) -> Draft {
    let mut route = Draft::at(line);
    match (exact, path.trim_end_matches('/')) {
        (true, _) => route.text("match.path", line, path),
        (false, "") => {}
        (false, prefix) => route.text("match.path_prefix", line, prefix),
    }
    route
}

/// True if a backend of it is called with TLS.
fn is_secure(pool: &Draft) -> bool {
    let address = |at: usize| pool.get(&format!("backends[{at}].address"));
    (0..pool.len("backends")).filter_map(address).any(|it| it.starts_with("https://"))
}

/// True of what sends requests on.
fn is_pass(directive: &Directive) -> bool {
    matches!(directive.name.as_str(), "proxy_pass" | "grpc_pass")
}

/// True if a `proxy_set_header` in force says what `Host` is sent.
fn names_host(scope: &Scope<'_>) -> bool {
    let is_other = |it: &&Directive| {
        it.argument(0).eq_ignore_ascii_case("host") && it.argument(1) != "$proxy_host"
    };
    scope.all("proxy_set_header").iter().any(is_other)
}
