//! What no key can tell alone: names that are used and defined, keys that exclude each other.

mod collector;
mod discovery;
mod inert;
mod mirror;
mod probes;
mod scale;
mod wire;

use crate::diagnostic::{Fault, Problem};
use crate::scalar::{Address, HeaderValue, Host, Name, Whole};
use crate::sections::{
    AffinityType, Alpn, ListenerProtocol, Match, Mount, MountAccept, Pool, RedirectScheme, Root,
    Route,
};
use crate::suggest::closest;
use crate::tree::{Node, Place, Value};
use evenkeel_core::address::BindAddress;
use evenkeel_core::affinity::CookieKeys;
use std::collections::HashMap;
use std::net::SocketAddr;

/// A pool's requests in one interval that ask for one more backend, if nothing else does.
const REQUESTS_PER_INTERVAL: u64 = 20;

/// What a token has.
const TOKEN_KEYS: &[&str] = &["name", "role", "sha256"];

/// Gives names to what has none, the only pool a route if there are no routes, a bucket its size, a
/// redirect its port, and an autoscaler something to go by.
pub(crate) fn complete(root: &mut Root) {
    if root.routes.is_empty() && root.pools.len() == 1 {
        let pool = Some(root.pools[0].name.clone());
        root.routes.push(Route { name: Name("default".to_owned()), pool, ..Route::default() });
    }
    let number = |name: &mut Name, kind: &str, index: usize| {
        if name.0.is_empty() {
            *name = Name(format!("{kind}-{index}"));
        }
    };
    for (index, listener) in root.listeners.iter_mut().enumerate() {
        number(&mut listener.name, "listener", index);
        // A tunnel may carry anything.
        let offered = match listener.protocol {
            ListenerProtocol::Http => vec![Alpn::H2, Alpn::Http11],
            ListenerProtocol::Tcp | ListenerProtocol::Udp => Vec::new(),
        };
        if let Some(tls) = &mut listener.tls {
            tls.alpn.get_or_insert(offered);
        }
        if let Some(redirect) = &mut listener.redirect {
            let usual = if redirect.scheme == RedirectScheme::Https { 443 } else { 80 };
            redirect.port.get_or_insert(Whole(usual));
        }
    }
    for (index, route) in root.routes.iter_mut().enumerate() {
        number(&mut route.name, "route", index);
    }
    for limit in root.routes.iter_mut().filter_map(|route| route.rate_limit.as_mut()) {
        limit.burst.get_or_insert(limit.requests);
    }
    for scale in root.pools.iter_mut().filter_map(|pool| pool.autoscale.0.as_mut()) {
        let targets = scale.in_flight.0 > 0
            || scale.rps.0 > 0
            || !scale.queue_wait.0.is_zero()
            || !scale.p95.0.is_zero();
        let requests = if targets { 0 } else { REQUESTS_PER_INTERVAL };
        scale.requests_per_interval.get_or_insert(Whole(requests));
    }
    for backend in root.pools.iter_mut().flat_map(|pool| &mut pool.backends) {
        if backend.0.name.0.is_empty() && backend.0.address != Address::stand_in() {
            backend.0.name = Name(backend.0.address.0.default_name());
        }
    }
}

/// Reports every contradiction.
pub(crate) fn check(root: &Root, tree: &Node, problems: &mut Vec<Problem>) {
    let mut check = Check { tree, problems };
    check.present(root);
    let names = |names: Vec<&Name>| names.into_iter().map(|name| name.0.clone()).collect();
    check.unique("listeners", names(root.listeners.iter().map(|l| &l.name).collect()));
    check.unique("routes", names(root.routes.iter().map(|r| &r.name).collect()));
    check.unique("pools", names(root.pools.iter().map(|p| &p.name).collect()));
    for (index, pool) in root.pools.iter().enumerate() {
        let path = format!("pools[{index}]");
        check.pool(pool, &path);
        check.probes(pool, &path);
    }
    check.references(root);
    check.listeners_of_routes(root);
    check.wire(root);
    check.mirrors(root);
    for (index, route) in root.routes.iter().enumerate() {
        check.route(route, &format!("routes[{index}]"));
    }
    check.binds(root);
}

/// What is legal but hardly meant.
pub(crate) fn warnings(root: &Root, tree: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut check = Check { tree, problems: &mut problems };
    let after = |index: usize| root.routes.len() - index - 1;
    let is_open = |route: &Route| {
        let open = Match { path_prefix: route.r#match.path_prefix.clone(), ..Match::default() };
        let every_path = open.path_prefix.as_ref().is_none_or(|prefix| prefix.0 == "/");
        every_path && route.r#match == open
    };
    if let Some(index) = root.routes.iter().position(is_open).filter(|index| after(*index) > 0) {
        let message = format!("matches every request, so the {} after it get none", after(index));
        let fault = Fault::new(message).hint("move it to the end");
        check.report(&format!("routes[{index}]"), fault);
    }
    for (index, route) in root.routes.iter().enumerate() {
        if route.strip_prefix && route.r#match.path_prefix.is_none() {
            let path = format!("routes[{index}].strip_prefix");
            check.report(&path, "nothing is removed without `match.path_prefix`");
        }
    }
    check.mounts(root);
    check.unused_tls(root);
    check.inert(root);
    let mut named: HashMap<&str, &str> = HashMap::new();
    for (index, pool) in root.pools.iter().enumerate() {
        let affinity = &pool.affinity;
        let cookie = (affinity.r#type == AffinityType::Cookie).then_some(&affinity.cookie_name.0);
        let Some(cookie) = cookie else { continue };
        if let Some(other) = named.insert(cookie, &pool.name.0) {
            let message = format!("pool {other} sets the cookie {cookie:?} too");
            let hint = "with routes of one host to both, each would end the other's sessions; give \
                        each its own cookie_name";
            check.report(&format!("pools[{index}].affinity"), Fault::new(message).hint(hint));
        }
    }
    problems
}

/// True if a route names the path of a mount: all that is below `/` is nobody's in particular.
fn overlap(route: &Route, mount: &Mount) -> bool {
    let path = mount.path.0.as_str();
    let test = &route.r#match;
    let named = match (&test.path, &test.path_prefix) {
        (Some(exact), _) => exact.0 == path,
        (None, Some(prefix)) if prefix.0 != "/" => {
            let rest = path.strip_prefix(prefix.0.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        (None, Some(_) | None) => false,
    };
    let shared = |host: &Host| mount.hosts.contains(host);
    let hosts = test.hosts.is_empty() || mount.hosts.is_empty() || test.hosts.iter().any(shared);
    let methods = &test.methods;
    let read = methods.is_empty() || methods.iter().any(|it| it.0 == "GET" || it.0 == "HEAD");
    named && hosts && read
}

/// True if the first mount answers whatever the second would.
fn covers(first: &Mount, second: &Mount) -> bool {
    let every_host = first.hosts.is_empty()
        || (!second.hosts.is_empty() && second.hosts.iter().all(|it| first.hosts.contains(it)));
    let every_client = first.accept == MountAccept::Any || first.accept == second.accept;
    first.path == second.path && every_host && every_client
}

struct Check<'a> {
    tree: &'a Node,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    fn report(&mut self, path: &str, fault: impl Into<Fault>) {
        let place = self.tree.place_at(path).clone();
        self.problems.push(Problem { place, path: path.to_owned(), fault: fault.into() });
    }

    fn report_at(&mut self, place: Place, path: &str, fault: Fault) {
        self.problems.push(Problem { place, path: path.to_owned(), fault });
    }

    /// True if `word` of a closed set is written at `path`; another word has been reported.
    fn says(&self, path: &str, word: &str) -> bool {
        self.tree.at(path).is_some_and(|node| match &node.value {
            Value::Str(text) => text.to_ascii_lowercase().replace('-', "_") == word,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Seq(_) | Value::Map(_) => {
                false
            }
        })
    }

    /// True if something is wrong with the value at `path` itself; for what is asked but once.
    fn is_reported(&self, path: &str) -> bool {
        self.problems.iter().any(|problem| problem.path == path)
    }

    /// True if nothing was written, or an empty list: no problem was reported for it yet.
    fn is_empty(&self, path: &str) -> bool {
        self.tree.at(path).is_none_or(|node| node.value == Value::Seq(Vec::new()))
    }

    fn present(&mut self, root: &Root) {
        // Whoever mixes the short form with the full one has written them, and is told so.
        let pooled = !self.is_reported("backends") && !self.is_reported("strategy");
        if root.pools.is_empty() && self.is_empty("pools") && wire::needs_pools(root) && pooled {
            let hint = r#"smallest file: backends: ["127.0.0.1:8081", "127.0.0.1:8082"]"#;
            self.report("pools", Fault::new("`pools` is missing: needs at least one").hint(hint));
        }
        if root.listeners.is_empty() && self.is_empty("listeners") && !self.is_reported("listen") {
            let fault = Fault::new("`listeners` is missing: needs at least one");
            self.report("listeners", fault.hint(r#"listeners: [{ bind: ":8080" }]"#));
        }
        let routed = wire::needs_routes(root);
        if root.routes.is_empty() && root.pools.len() > 1 && self.is_empty("routes") && routed {
            let message = "`routes` is missing: with several pools, needs at least one";
            let fault = Fault::new(message);
            self.report("routes", fault.hint("routes: [{ pool: NAME }]"));
        }
    }

    /// The names of the items of `list` differ; an empty one is already reported.
    fn unique(&mut self, list: &str, names: Vec<String>) {
        let kind = list.rsplit('.').next().unwrap_or(list).trim_end_matches('s');
        let mut first: HashMap<String, usize> = HashMap::with_capacity(names.len());
        for (index, name) in names.into_iter().enumerate() {
            let path = format!("{list}[{index}].name");
            if kind == "pool" && name.contains('/') {
                self.report(&path, format!("{name:?}: a pool's name cannot hold /"));
            }
            if name.is_empty() {
                continue;
            }
            if let Some(before) = first.get(&name) {
                let place = self.tree.place_at(&format!("{list}[{before}].name"));
                let place = place.phrase();
                let message = format!("a second {kind} named {name:?}; the first is on {place}");
                self.report(&path, message);
            } else {
                first.insert(name, index);
            }
        }
    }

    /// Times that mean nothing as zero.
    fn pool_times(&mut self, pool: &Pool, path: &str) {
        let breaker = &pool.circuit_breaker;
        for (key, time) in [
            ("health.interval", pool.health.interval),
            ("health.timeout", pool.health.timeout),
            ("circuit_breaker.window", breaker.window),
            ("circuit_breaker.reset_timeout", breaker.reset_timeout),
            ("affinity.ttl", pool.affinity.ttl),
        ] {
            if time.0.is_zero() {
                let fault = Fault::new("0s is too short").hint("such as 5s");
                self.report(&format!("{path}.{key}"), fault);
            }
        }
    }

    /// The keys that sign cookies can be used.
    fn cookie_keys(&mut self, pool: &Pool, path: &str) {
        let file = &pool.affinity.secret_file.0;
        if pool.affinity.r#type != AffinityType::Cookie || file.is_empty() {
            return;
        }
        let keys = std::fs::read_to_string(file)
            .map_err(|error| format!("cannot read {file}: {error}"))
            .and_then(|text| {
                CookieKeys::parse(&text).map_err(|fault| format!("cannot use {file}: {fault}"))
            });
        if let Err(why) = keys {
            let hint = "a file with one key a line, such as made by: openssl rand -hex 32";
            self.report(&format!("{path}.affinity.secret_file"), Fault::new(why).hint(hint));
        }
    }

    /// Requests that a route was written for, but a mount answers.
    fn mounts(&mut self, root: &Root) {
        for (at, listener) in root.listeners.iter().enumerate() {
            for (index, mount) in listener.mounts.iter().enumerate() {
                let at_path = format!("listeners[{at}].mounts[{index}].path");
                if listener.mounts[..index].iter().any(|first| covers(first, mount)) {
                    let path = &mount.path.0;
                    let message =
                        format!("a mount before it answers {path}, so this one gets none");
                    self.report(&at_path, Fault::new(message).hint("a path of its own"));
                    continue;
                }
                let here = |route: &&Route| {
                    let names = &route.r#match.listeners;
                    names.is_empty() || names.contains(&listener.name)
                };
                let mut routes = root.routes.iter().filter(here);
                let Some(route) = routes.find(|route| overlap(route, mount)) else { continue };
                let (path, name) = (&mount.path.0, &route.name.0);
                let message = format!(
                    "route {name} matches {path} too; this mount answers GET and HEAD before it"
                );
                let fault = Fault::new(message).hint("move the mount to a path of its own");
                self.report(&at_path, fault);
            }
        }
    }

    /// The tokens of the admin listener can be used.
    fn tokens(&mut self, file: &str) {
        if file.is_empty() {
            return;
        }
        let found = std::fs::read_to_string(file)
            .map_err(|error| format!("cannot read {file}: {error}"))
            .and_then(|text| match crate::tokens(file, &text) {
                // What stands there is not told: who asks may not be who may read the file. Which
                // key of ours it is may be.
                Err(faults) => Err(faults.0.first().map_or_else(String::new, |fault| {
                    let key = fault.path.rsplit('.').next().filter(|key| TOKEN_KEYS.contains(key));
                    let what = key.map_or("no tokens file".to_owned(), |key| {
                        format!("`{key}` is missing, wrong or given twice")
                    });
                    format!("{file}:{}:{}: {what}", fault.line, fault.column)
                })),
                Ok(_) => Ok(()),
            });
        if let Err(why) = found {
            let hint = "a file with `tokens: [{name, role, sha256}]`, a role being viewer, \
                        operator or admin; `evenkeel token new` prints the lines";
            self.report("admin.tokens_file", Fault::new(why).hint(hint));
        }
    }

    fn pool(&mut self, pool: &Pool, path: &str) {
        self.pool_times(pool, path);
        self.cookie_keys(pool, path);
        let backends = format!("{path}.backends");
        let elsewhere = pool.discovery.0.is_some();
        if pool.backends.is_empty() && !elsewhere && pool.autoscale.0.is_none() {
            let written =
                self.tree.at(path).is_some_and(|node| matches!(node.value, Value::Map(_)));
            if written && self.is_empty(&backends) {
                let fault = Fault::new("needs at least one backend");
                self.report(&backends, fault.hint(r#"backends: ["127.0.0.1:8081"]"#));
            }
        }
        let names = pool.backends.iter().map(|backend| backend.0.name.0.clone()).collect();
        self.unique(&backends, names);
        if let Some(discovery) = &pool.discovery.0 {
            self.discovery(discovery, &format!("{path}.discovery"));
        }
        if let Some(scale) = &pool.autoscale.0 {
            self.autoscale(scale, &format!("{path}.autoscale"));
        }
    }

    /// Every pool that is named must exist.
    fn references(&mut self, root: &Root) {
        let mut named: Vec<(String, &Name)> = Vec::new();
        for (index, listener) in root.listeners.iter().enumerate() {
            let path = format!("listeners[{index}]");
            named.extend(listener.pool.iter().map(|pool| (format!("{path}.pool"), pool)));
            for (index, sni) in listener.sni_routes.iter().enumerate() {
                named.push((format!("{path}.sni_routes[{index}].pool"), &sni.pool));
            }
        }
        for (index, route) in root.routes.iter().enumerate() {
            let path = format!("routes[{index}]");
            named.extend(route.pool.iter().map(|pool| (format!("{path}.pool"), pool)));
            for (index, arm) in route.split.iter().enumerate() {
                named.push((format!("{path}.split[{index}].pool"), &arm.pool));
            }
            let mirror = route.mirror.iter();
            named.extend(mirror.map(|mirror| (format!("{path}.mirror.pool"), &mirror.pool)));
        }
        let known: std::collections::HashSet<&str> =
            root.pools.iter().map(|pool| pool.name.0.as_str()).collect();
        let missing =
            |(_, pool): &(String, &Name)| !pool.0.is_empty() && !known.contains(pool.0.as_str());
        for (path, pool) in named.into_iter().filter(missing) {
            let pools = || root.pools.iter().map(|pool| pool.name.0.as_str());
            let fault = match closest(&pool.0, pools()) {
                Some(meant) => {
                    Fault::new(format!("unknown pool {:?}; did you mean `{meant}`?", pool.0))
                }
                None => Fault::new(format!("unknown pool {:?}", pool.0))
                    .hint("every pool is defined under `pools`, with a `name`"),
            };
            self.report(&path, fault);
        }
    }

    fn route(&mut self, route: &Route, path: &str) {
        if route.rate_limit.as_ref().is_some_and(|limit| limit.per.0.is_zero()) {
            let fault = Fault::new("0s is too short").hint("such as 1s");
            self.report(&format!("{path}.rate_limit.per"), fault);
        }
        let split = format!("{path}.split");
        match (&route.pool, route.split.as_slice()) {
            (Some(_), [_, ..]) => {
                self.report(&split, "`pool` and `split` exclude each other");
            }
            (None, []) => {
                let written = |key: &str| self.tree.at(&format!("{path}.{key}")).is_some();
                let is_map = self.tree.at(path).is_some_and(|n| matches!(n.value, Value::Map(_)));
                if is_map && !written("pool") && self.is_empty(&split) {
                    let fault = Fault::new("names no pool").hint("pool: NAME");
                    self.report(&format!("{path}.pool"), fault);
                }
            }
            (None, arms) if arms.iter().all(|arm| arm.weight == Whole(0)) => {
                self.report(&split, "every weight is 0, so no request could go anywhere");
            }
            (Some(_), []) | (None, [_, ..]) => {}
        }
        self.host_of_requests(route, &format!("{path}.request_headers.set"));
        if route.r#match.path.is_some() && route.r#match.path_prefix.is_some() {
            let path = format!("{path}.match.path_prefix");
            self.report(&path, "`path` and `path_prefix` exclude each other");
        }
    }

    /// A rule sends no `Host` that would be refused of a client.
    fn host_of_requests(&mut self, route: &Route, path: &str) {
        let mut rules = route.request_headers.set.0.iter();
        let Some((_, HeaderValue(host))) = rules.find(|(name, _)| name.0 == "host") else { return };
        if evenkeel_core::host::parse(host.as_bytes()).is_some() {
            return;
        }
        let fault = Fault::new(format!("{host:?} is no host that a request can have"));
        let fault = fault.hint("a name or an address, as in app.internal or app.internal:8080");
        let entries = self.tree.at(path).map(|node| &node.value);
        let place = match entries {
            Some(Value::Map(rows)) => rows.iter().find(|it| it.key.eq_ignore_ascii_case("host")),
            Some(_) | None => None,
        };
        let place = place.map_or(self.tree.place_at(path), |row| &row.value.place).clone();
        self.report_at(place, &format!("{path}.host"), fault);
    }

    fn binds(&mut self, root: &Root) {
        let own = [("admin.bind", &root.admin.bind.0), ("debug.pprof", &root.debug.pprof.0)];
        let own =
            own.into_iter().filter_map(|(path, bind)| Some((path.to_owned(), bind.as_ref()?)));
        let own = own.map(|(path, bind)| (path, bind, false));
        let listeners = root.listeners.iter().enumerate().map(|(index, listener)| {
            let is_udp = listener.protocol == ListenerProtocol::Udp;
            (format!("listeners[{index}].bind"), &listener.bind.0, is_udp)
        });
        // A port of tcp and one of udp are two, as DNS has them.
        let mut taken: HashMap<_, Vec<(String, &BindAddress)>> = HashMap::new();
        for (path, bind, is_udp) in listeners.chain(own) {
            let port = bind.socket_addrs().first().map(SocketAddr::port);
            if port == Some(0) {
                continue;
            }
            let alike = taken.entry((port, is_udp)).or_default();
            if let Some((before, other)) = alike.iter().find(|(_, other)| bind.overlaps(other)) {
                let whole = if bind == *other { "" } else { &format!(", which is {other}") };
                let fault = Fault::new(format!("{bind} is already bound by `{before}`{whole}"));
                // Nobody has written what is the default: the other one is what can be seen.
                let seen = if self.tree.at(&path).is_some() { &path } else { before };
                let place = self.tree.place_at(seen).clone();
                let hint = "each needs a port or an address of its own";
                self.report_at(place, &path, fault.hint(hint));
            }
            alike.push((path, bind));
        }
        self.tokens(&root.admin.tokens_file.0);
        let admin = &root.admin;
        let open = admin.bind.0.as_ref().is_some_and(|bind| !bind.is_loopback());
        if open && admin.tokens_file.0.is_empty() && !admin.insecure {
            let message = "an admin listener that other machines can reach needs `tokens_file`";
            let hint = "bind it to 127.0.0.1, set admin.tokens_file, or set admin.insecure: true";
            self.report("admin.bind", Fault::new(message).hint(hint));
        }
        self.collector(&root.tracing.otlp);
        let open = root.debug.pprof.0.as_ref().is_some_and(|bind| !bind.is_loopback());
        if open && admin.tokens_file.0.is_empty() && !admin.insecure {
            let message = "profiles that other machines can reach need `admin.tokens_file`";
            let hint = "bind it to 127.0.0.1, set admin.tokens_file, or set admin.insecure: true";
            self.report("debug.pprof", Fault::new(message).hint(hint));
        }
    }
}
