//! The routes of all servers, in the order that nginx asks them.

use super::Nginx;
use super::location::{Location, matching};
use super::redirect::{Extent, Redirect};
use super::refuse;
use super::server::Server;
use crate::import::draft::Draft;

impl Nginx<'_> {
    /// Routes of all servers: exact names, wildcards, the longest first, and the default of each
    /// listener.
    pub(super) fn assemble(&mut self, mut servers: Vec<Server>) {
        self.demands(&servers);
        self.redirects(&mut servers);
        servers.retain(|server| !server.listeners.is_empty());
        let mut places: Vec<usize> = servers.iter().flat_map(|it| it.listeners.clone()).collect();
        places.sort_unstable();
        places.dedup();
        let everywhere = |server: &Server| places.iter().all(|it| server.listeners.contains(it));
        let scoped = !servers.iter().all(everywhere);
        let scope = |places: &[usize]| if scoped { places.to_vec() } else { Vec::new() };
        let mut routes = Vec::new();
        for (server, names) in named(&servers) {
            routes.extend(server.routes(&names, &scope(&server.listeners)));
        }
        for server in &servers {
            let own: Vec<usize> =
                places.iter().copied().filter(|it| is_default(server, *it, &servers)).collect();
            if !own.is_empty() {
                routes.extend(server.routes(&[], &scope(&own)));
            } else if server.names.is_empty() {
                let how = "none of its names is kept: its requests go to the default server";
                self.report.lost(server.line, format!("server: {how}"));
            }
        }
        if scoped {
            for place in places {
                self.listeners[place].1.text("name", 1, name_of(place));
            }
        }
        let any = self.pools.first().map(|(name, _)| name.clone());
        for mut route in routes {
            if let Some(pool) = any.as_ref().filter(|_| !route.has("pool")) {
                // It lets nobody in.
                route.text("pool", 1, pool.clone());
            }
            self.root.push("routes", route);
        }
    }

    /// A listener all of whose servers redirect does nothing else.
    fn redirects(&mut self, servers: &mut [Server]) {
        let redirects = |place: usize, servers: &[Server]| {
            let mut on = servers.iter().filter(|it| it.listeners.contains(&place));
            on.all(|it| it.redirect.as_ref().is_some_and(|redirect| it.is_whole(redirect)))
        };
        let is_tls = |place: &usize, nginx: &Self| nginx.listeners[*place].1.has("tls");
        let plain: Vec<Vec<usize>> = servers
            .iter()
            .map(|server| server.listeners.iter().copied().filter(|it| !is_tls(it, self)).collect())
            .collect();
        let held: Vec<bool> = servers
            .iter()
            .zip(&plain)
            .map(|(server, plain)| {
                let redirect = server.redirect.as_ref();
                redirect.is_some_and(|redirect| {
                    let all = plain.len() == server.listeners.len();
                    (all || redirect.extent == Extent::Plain)
                        && !plain.is_empty()
                        && plain.iter().all(|place| redirects(*place, servers))
                })
            })
            .collect();
        for ((server, plain), held) in servers.iter_mut().zip(plain).zip(held) {
            let Some(redirect) = server.redirect.take() else { continue };
            if held {
                self.hold(&redirect, &plain);
                server.listeners.retain(|place| !plain.contains(place));
            } else {
                self.give_up(&redirect, server);
            }
        }
    }

    fn hold(&mut self, redirect: &Redirect, places: &[usize]) {
        let (line, shown) = (redirect.line, &redirect.shown);
        match redirect.renames {
            true => {
                let how = "redirect of the listener, to the host that was asked for";
                self.report.near(line, format!("{shown}: {how}"));
            }
            false => self.report.exact(line, format!("{shown}: redirect of the listener")),
        }
        for place in places {
            let listener = &mut self.listeners[*place].1;
            listener.text("redirect.scheme", line, "https");
            listener.number("redirect.port", line, redirect.port);
            listener.number("redirect.status", line, redirect.status);
        }
    }

    /// Nothing that was redirected is served to anybody instead.
    fn give_up(&mut self, redirect: &Redirect, server: &mut Server) {
        let why = "only a whole listener can redirect, and this one serves others too";
        let how = match redirect.extent {
            Extent::Everything => {
                server.locations.clear();
                "what it was for is refused"
            }
            Extent::Rest => "what it was for is refused",
            Extent::Plain => "what comes without TLS is served",
        };
        self.report.lost(redirect.line, format!("{}: {why}; {how}", redirect.shown));
    }
}

/// Every server that has to be named, with its names of a kind: all that are exact, then each
/// wildcard, the longest first.
fn named(servers: &[Server]) -> Vec<(&Server, Vec<&str>)> {
    let alone = |server: &Server| {
        let on = |place: &usize| servers.iter().filter(|it| it.listeners.contains(place)).count();
        server.listeners.iter().all(|place| on(place) == 1)
    };
    let is_wild = |name: &&str| name.starts_with("*.");
    let (mut exact, mut wild) = (Vec::new(), Vec::new());
    for server in servers.iter().filter(|server| !alone(server)) {
        let names = server.names.iter().map(String::as_str);
        let (wildcards, names): (Vec<&str>, Vec<&str>) = names.partition(is_wild);
        if !names.is_empty() {
            exact.push((server, names));
        }
        wild.extend(wildcards.into_iter().map(|name| (server, vec![name])));
    }
    wild.sort_by_key(|(_, names)| usize::MAX - names[0].len());
    exact.into_iter().chain(wild).collect()
}

/// True if the server answers on a listener for hosts that nobody names.
fn is_default(server: &Server, place: usize, servers: &[Server]) -> bool {
    let on = || servers.iter().filter(|it| it.listeners.contains(&place));
    let default = on().find(|it| it.default_on.contains(&place)).or_else(|| on().next());
    default.is_some_and(|it| std::ptr::eq(it, server))
}

/// What a listener is called where routes name it.
fn name_of(place: usize) -> String {
    format!("listener-{place}")
}

impl Server {
    /// True if a location takes whatever no other one takes.
    pub(super) fn takes_everything(&self) -> bool {
        self.locations.iter().any(|location| location.path == "/" && !location.exact)
    }

    /// True of a redirect of all that comes to it: one in its `location /` has others beside it.
    fn is_whole(&self, redirect: &Redirect) -> bool {
        redirect.extent != Extent::Rest || self.locations.is_empty()
    }

    /// Its routes for these hosts on these listeners, all if there are none: exact paths, then
    /// prefixes, the longest first. Of a named host nothing is left to other servers.
    fn routes(&self, hosts: &[&str], places: &[usize]) -> Vec<Draft> {
        let mut locations: Vec<&Location> = self.locations.iter().collect();
        locations.sort_by_key(|location| (!location.exact, usize::MAX - location.path.len()));
        let route = |mut route: Draft| {
            if !places.is_empty() {
                let names: Vec<String> = places.iter().copied().map(name_of).collect();
                let names = names.iter().map(String::as_str);
                route.texts("match.listeners", self.line, names);
            }
            if !hosts.is_empty() {
                route.texts("match.hosts", self.line, hosts.iter().copied());
            }
            route
        };
        let mut routes: Vec<Draft> =
            locations.into_iter().map(|location| route(location.route.clone())).collect();
        if !hosts.is_empty() && !self.takes_everything() {
            let mut rest = matching(self.line, "/", false);
            refuse::nobody(&mut rest, self.line);
            routes.push(route(rest));
        }
        routes
    }
}
