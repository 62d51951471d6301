//! `server`: listeners, names, and the locations in the order that nginx asks them.

use super::Nginx;
use super::location::{Location, refuses};
use super::parse::Directive;
use super::policy::{Scope, apply_to_listener};
use crate::import::draft::{Draft, with_port};

/// One server.
pub(super) struct Server {
    pub(super) line: usize,
    /// Places in the list of listeners.
    listeners: Vec<usize>,
    names: Vec<String>,
    /// Places where it answers for hosts that nobody names.
    default_on: Vec<usize>,
    locations: Vec<Location>,
    /// Line and words of `return 301 https://…`, and its status.
    redirect: Option<(usize, String, u64)>,
}

impl Nginx<'_> {
    pub(super) fn server(&mut self, line: usize, block: &[Directive], outer: &Scope<'_>) {
        self.report.exact(line, "server: routes");
        let scope = outer.with(block);
        let mut server = Server {
            line,
            listeners: Vec::new(),
            names: Vec::new(),
            default_on: Vec::new(),
            locations: Vec::new(),
            redirect: None,
        };
        for directive in block.iter().filter(|directive| directive.name == "listen") {
            self.listen(directive, &mut server);
        }
        if server.listeners.is_empty() {
            let place = self.listener("0.0.0.0:80", line);
            server.listeners.push(place);
        }
        for place in server.listeners.clone() {
            let listener = &mut self.listeners[place].1;
            apply_to_listener(&scope, &self.client_zones, listener);
        }
        self.tls(block, &scope, &server);
        // A `return` comes before any location.
        let refusal = block.iter().find(|it| it.name == "return" && refuses(it));
        for directive in block {
            match (refusal, directive.name.as_str()) {
                (Some(refusal), "location") => {
                    let text = format!("{}: behind {}", directive.shown(), refusal.shown());
                    self.report.near(directive.line, text);
                }
                (Some(refusal), "return") if std::ptr::eq(refusal, directive) => {
                    let closed = self.closed((refusal.line, "/", false), refusal);
                    server.locations.push(closed);
                }
                _ => self.in_server(directive, &scope, &mut server),
            }
        }
        self.servers.push(server);
    }

    fn in_server(&mut self, directive: &Directive, scope: &Scope<'_>, server: &mut Server) {
        match (directive.name.as_str(), directive.block.as_deref()) {
            ("listen", None) => {}
            ("server_name", None) => self.names(directive, server),
            ("location", Some(block)) => {
                let location = self.location(directive, block, scope);
                server.locations.extend(location);
            }
            ("return", None) => self.redirect(directive, server),
            ("ssl_certificate" | "ssl_certificate_key" | "ssl_protocols", None) => {}
            ("ssl_client_certificate" | "ssl_verify_client", None) => {}
            _ => self.judge(directive),
        }
    }

    fn listen(&mut self, directive: &Directive, server: &mut Server) {
        let (line, shown) = (directive.line, directive.shown());
        let address = directive.argument(0);
        let bind = match address.parse::<u16>() {
            Ok(port) => format!("0.0.0.0:{port}"),
            Err(_) => with_port(address, 80).replacen("*:", "0.0.0.0:", 1),
        };
        if evenkeel_core::address::BindAddress::parse(&bind).is_err() {
            return self.report.lost(line, format!("{shown}: not an address to bind"));
        }
        let place = self.listener(&bind, line);
        server.listeners.push(place);
        let mut odd = Vec::new();
        for word in directive.arguments.get(1..).unwrap_or_default() {
            let listener = &mut self.listeners[place].1;
            match word.split('=').next().unwrap_or_default() {
                "default_server" | "default" => server.default_on.push(place),
                "ssl" => listener.texts("tls.alpn", line, ["http/1.1"]),
                "proxy_protocol" if bind.starts_with("unix:") => odd.push(word.clone()),
                "proxy_protocol" => listener.text("proxy_protocol", line, "required"),
                "http2" | "reuseport" | "backlog" | "deferred" | "so_keepalive" | "ipv6only" => {}
                _ => odd.push(word.clone()),
            }
        }
        if directive.arguments.iter().any(|word| word == "http2") {
            self.listeners[place].1.texts("tls.alpn", line, ["h2", "http/1.1"]);
        }
        match odd.as_slice() {
            [] => self.report.exact(line, format!("{shown}: listeners[].bind")),
            odd => {
                let text = format!("{shown}: listeners[].bind, without {}", odd.join(" "));
                self.report.near(line, text);
            }
        }
    }

    /// The place of the listener that binds there.
    pub(super) fn listener(&mut self, bind: &str, line: usize) -> usize {
        if let Some(place) = self.listeners.iter().position(|(known, _)| known == bind) {
            return place;
        }
        let mut listener = Draft::at(line);
        listener.text("bind", line, bind);
        self.listeners.push((bind.to_owned(), listener));
        self.listeners.len() - 1
    }

    /// Certificates of a server, on each of its listeners that speaks TLS.
    fn tls(&mut self, block: &[Directive], scope: &Scope<'_>, server: &Server) {
        let find = |name: &str| scope.one(name);
        let keys = |it: &&Directive| matches!(&*it.name, "ssl_certificate" | "ssl_certificate_key");
        let http2 = find("http2").is_some_and(|directive| directive.argument(0) == "on");
        for place in &server.listeners {
            let listener = &mut self.listeners[*place].1;
            if !listener.has("tls") {
                continue;
            }
            if http2 {
                listener.texts("tls.alpn", server.line, ["h2", "http/1.1"]);
            }
            if let (Some(cert), Some(key)) = (find("ssl_certificate"), find("ssl_certificate_key"))
            {
                let mut pair = Draft::at(cert.line);
                pair.text("cert", cert.line, cert.argument(0));
                pair.text("key", key.line, key.argument(0));
                listener.push("tls.certificates", pair);
            }
            if let Some(oldest) = find("ssl_protocols") {
                let only_13 = !oldest.arguments.iter().any(|it| it != "TLSv1.3");
                listener.text("tls.min_version", oldest.line, if only_13 { "1.3" } else { "1.2" });
            }
            // Without it nginx asks for no certificate, whatever the file. And without a file it is
            // not served, rather than to everybody.
            if let Some(verify) = find("ssl_verify_client").filter(|it| it.argument(0) != "off") {
                let how = if verify.argument(0) == "on" { "required" } else { "optional" };
                listener.text("tls.client_auth", verify.line, how);
                if let Some(ca) = find("ssl_client_certificate") {
                    listener.text("tls.client_ca", ca.line, ca.argument(0));
                }
            }
        }
        let secure = server.listeners.iter().any(|place| self.listeners[*place].1.has("tls"));
        for directive in block.iter().filter(|it| keys(it) || it.name.starts_with("ssl_")) {
            let (line, shown) = (directive.line, directive.shown());
            match directive.name.as_str() {
                "ssl_certificate"
                | "ssl_certificate_key"
                | "ssl_client_certificate"
                | "ssl_verify_client"
                    if secure =>
                {
                    self.report.exact(line, format!("{shown}: tls of the listener"));
                }
                "ssl_protocols" if secure => {
                    let how = "tls.min_version; nothing older than TLS 1.2 is spoken";
                    self.report.near(line, format!("{shown}: {how}"));
                }
                "ssl_certificate"
                | "ssl_certificate_key"
                | "ssl_client_certificate"
                | "ssl_verify_client"
                | "ssl_protocols" => {
                    self.report.lost(line, format!("{shown}: no `listen … ssl` in this server"));
                }
                _ => {}
            }
        }
    }

    fn names(&mut self, directive: &Directive, server: &mut Server) {
        let (line, shown) = (directive.line, directive.shown());
        let mut odd = Vec::new();
        for name in &directive.arguments {
            match name.as_str() {
                "_" | "" => {}
                name if name.starts_with('~') || name.ends_with(".*") => odd.push(name.to_owned()),
                name => match name.strip_prefix('.') {
                    Some(bare) => server.names.extend([bare.to_owned(), format!("*.{bare}")]),
                    None => server.names.push(name.to_owned()),
                },
            }
        }
        match odd.as_slice() {
            [] => self.report.exact(line, format!("{shown}: match.hosts")),
            odd => {
                let text =
                    format!("{shown}: match.hosts has no patterns such as {}", odd.join(" "));
                self.report.lost(line, text);
            }
        }
    }

    fn redirect(&mut self, directive: &Directive, server: &mut Server) {
        let status = directive.argument(0).parse::<u64>();
        let to = directive.argument(1);
        let kept = ["https://$host$request_uri", "https://$server_name$request_uri"];
        let kept = kept.contains(&to) || to == "https://$http_host$request_uri";
        match status {
            Ok(status @ 300..=399) if kept => {
                server.redirect = Some((directive.line, directive.shown(), status));
            }
            Ok(_) | Err(_) => {
                let how = "answers of our own are not configured; only https://$host$request_uri";
                self.report.lost(directive.line, format!("{}: {how}", directive.shown()));
            }
        }
    }

    /// Routes of all servers in the order that nginx chooses in: exact names, wildcards, and the
    /// default of each listener.
    pub(super) fn assemble(&mut self, mut servers: Vec<Server>) {
        self.redirects(&servers);
        servers.retain(|server| server.redirect.is_none());
        let mut places: Vec<usize> = servers.iter().flat_map(|it| it.listeners.clone()).collect();
        places.sort_unstable();
        places.dedup();
        let everywhere = |server: &Server| places.iter().all(|it| server.listeners.contains(it));
        let scoped = !servers.iter().all(everywhere);
        let scope = |places: Vec<usize>| if scoped { places } else { Vec::new() };
        let on = |place: usize| servers.iter().filter(move |it| it.listeners.contains(&place));
        let alone = |server: &Server| server.listeners.iter().all(|it| on(*it).count() == 1);
        let mut routes = Vec::new();
        for wildcard in [false, true] {
            for server in servers.iter().filter(|server| !alone(server)) {
                let is_kind = |name: &&String| name.starts_with("*.") == wildcard;
                let names: Vec<&str> =
                    server.names.iter().filter(is_kind).map(String::as_str).collect();
                if !names.is_empty() {
                    routes.extend(server.routes(&names, &scope(server.listeners.clone())));
                }
            }
        }
        let default_on = |place: usize| {
            let named = on(place).find(|server| server.default_on.contains(&place));
            named.or_else(|| on(place).next())
        };
        for server in &servers {
            let is_it =
                |place: &usize| default_on(*place).is_some_and(|it| std::ptr::eq(it, server));
            let own = places.iter().copied().filter(is_it);
            let own: Vec<usize> = own.collect();
            if !own.is_empty() {
                routes.extend(server.routes(&[], &scope(own)));
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
    fn redirects(&mut self, servers: &[Server]) {
        for server in servers {
            let Some((line, shown, status)) = &server.redirect else { continue };
            let alone = |place: &usize| {
                let mut others = servers.iter().filter(|it| it.listeners.contains(place));
                others.all(|it| it.redirect.is_some())
            };
            if !server.listeners.iter().all(alone) {
                let how = "only a whole listener can redirect, and this one serves others too";
                self.report.lost(*line, format!("{shown}: {how}"));
                continue;
            }
            self.report.exact(*line, format!("{shown}: redirect of the listener"));
            for place in &server.listeners {
                let listener = &mut self.listeners[*place].1;
                listener.text("redirect.scheme", *line, "https");
                listener.number("redirect.port", *line, 443);
                listener.number("redirect.status", *line, *status);
            }
        }
    }
}

/// What a listener is called where routes name it.
fn name_of(place: usize) -> String {
    format!("listener-{place}")
}

impl Server {
    /// Its routes for these hosts on these listeners, all if there are none: exact paths, then
    /// prefixes, the longest first.
    fn routes(&self, hosts: &[&str], places: &[usize]) -> Vec<Draft> {
        let mut locations: Vec<&Location> = self.locations.iter().collect();
        locations.sort_by_key(|location| (!location.exact, usize::MAX - location.path.len()));
        let route = |location: &Location| {
            let mut route = location.route.clone();
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
        locations.into_iter().map(route).collect()
    }
}
