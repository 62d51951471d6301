//! `server`: listeners, names, and the locations in the order that nginx asks them.

use super::Nginx;
use super::location::Location;
use super::parse::Directive;
use super::policy::Scope;
use super::redirect::{self, Redirect};
use super::refuse::refuses;
use super::tls::{Demand, is_of_listener};
use crate::import::draft::{Draft, with_port};

/// A listener of `[::]` takes IPv4 too.
const BOTH: &str = "ipv6only=off";

/// One server.
pub(super) struct Server {
    pub(super) line: usize,
    /// Places in the list of listeners.
    pub(super) listeners: Vec<usize>,
    pub(super) names: Vec<String>,
    /// Places where it answers for hosts that nobody names.
    pub(super) default_on: Vec<usize>,
    pub(super) locations: Vec<Location>,
    pub(super) redirect: Option<Redirect>,
    pub(super) demand: Demand,
    pub(super) verify_line: usize,
}

impl Nginx<'_> {
    pub(super) fn server(&mut self, line: usize, block: &[Directive], outer: &Scope<'_>) {
        let scope = outer.with(block);
        let mut server = Server {
            line,
            listeners: Vec::new(),
            names: Vec::new(),
            default_on: Vec::new(),
            locations: Vec::new(),
            redirect: None,
            demand: Demand::default(),
            verify_line: scope.one("ssl_verify_client").map_or(line, |verify| verify.line),
        };
        for directive in block {
            match directive.name.as_str() {
                "listen" => self.listen(directive, &mut server),
                "server_name" => self.names(directive, &mut server),
                _ => {}
            }
        }
        if server.listeners.is_empty() {
            let place = self.listener("0.0.0.0:80", line);
            server.listeners.push(place);
        }
        for place in server.listeners.clone() {
            self.listener_policy(&scope, block, place);
        }
        self.tls(block, &scope, &mut server);
        for directive in block {
            self.in_server(directive, &scope, &mut server);
        }
        // An answer of the server's own comes before every location.
        let answer = block.iter().find(|it| it.name == "return" && it.block.is_none());
        if let Some(answer) = answer.filter(|_| server.redirect.is_none()) {
            server.locations.clear();
            if refuses(answer) {
                server.locations.push(self.closed((answer.line, "/", false), answer));
            }
        }
        match server.takes_everything() || server.redirect.is_some() {
            true => self.report.exact(line, "server: routes"),
            false => {
                let how = "server: routes; what none of its locations takes is refused";
                self.report.near(line, how);
            }
        }
        self.servers.push(server);
    }

    fn in_server(&mut self, directive: &Directive, scope: &Scope<'_>, server: &mut Server) {
        if let Some(redirect) = redirect::of(directive, &server.names) {
            return self.redirect(redirect, directive, server);
        }
        match (directive.name.as_str(), directive.block.as_deref()) {
            ("listen" | "server_name", None) => {}
            ("location", Some(block)) => {
                let location = self.location(directive, block, scope);
                server.locations.extend(location);
            }
            ("try_files", None) => {
                let location = self.try_files(directive, ("/", false), scope);
                server.locations.extend(location);
            }
            ("return", None) if server.redirect.is_some() => {
                let how = "everything is redirected";
                self.report.near(directive.line, format!("{}: {how}", directive.shown()));
            }
            ("return", None) if refuses(directive) => {}
            ("return", None) => {
                let how = "answers of our own are not configured; only https://$host$request_uri";
                self.report.lost(directive.line, format!("{}: {how}", directive.shown()));
            }
            (name, None) if is_of_listener(name) => {}
            _ => self.judge(directive),
        }
    }

    /// Keeps the redirect; what becomes of it is told when all servers are known.
    fn redirect(&mut self, found: Redirect, directive: &Directive, server: &mut Server) {
        for inner in directive.block.iter().flatten().filter(|inner| inner.line != found.line) {
            self.lose(inner);
        }
        if directive.line != found.line {
            self.report.exact(directive.line, format!("{}: see its redirect", directive.shown()));
        }
        match server.redirect {
            Some(_) => self.report.near(found.line, format!("{}: see the other", found.shown)),
            None => server.redirect = Some(found),
        }
    }

    fn listen(&mut self, directive: &Directive, server: &mut Server) {
        let (line, shown) = (directive.line, directive.shown());
        let address = directive.argument(0);
        let bind = match address.parse::<u16>() {
            Ok(port) => format!("0.0.0.0:{port}"),
            Err(_) => with_port(address, 80).replacen("*:", "0.0.0.0:", 1),
        };
        // nginx takes IPv6 alone there unless it is told otherwise.
        let both = bind.starts_with("[::]:") && directive.arguments.iter().any(|it| it == BOTH);
        let bind = if both { bind.replacen("[::]", "", 1) } else { bind };
        if evenkeel_core::address::BindAddress::parse(&bind).is_err() {
            return self.report.lost(line, format!("{shown}: not an address to bind"));
        }
        if directive.arguments.iter().any(|word| word == "quic") {
            return self.report.lost(line, format!("{shown}: QUIC is not spoken"));
        }
        let place = self.listener(&bind, line);
        if !server.listeners.contains(&place) {
            server.listeners.push(place);
        }
        let mut odd = Vec::new();
        for word in directive.arguments.get(1..).unwrap_or_default() {
            let listener = &mut self.listeners[place].1;
            match word.split('=').next().unwrap_or_default() {
                "default_server" | "default" => server.default_on.push(place),
                "ssl" if listener.has("tls.alpn") => {}
                "ssl" => listener.texts("tls.alpn", line, ["http/1.1"]),
                "proxy_protocol" if bind.starts_with("unix:") => odd.push(word.clone()),
                "proxy_protocol" => listener.text("proxy_protocol", line, "required"),
                "http2" | "reuseport" | "backlog" | "fastopen" | "rcvbuf" | "sndbuf"
                | "deferred" | "so_keepalive" | "ipv6only" => {}
                _ => odd.push(word.clone()),
            }
        }
        let http2 = directive.arguments.iter().any(|word| word == "http2");
        // Without TLS it is spoken in any case, by prior knowledge.
        if http2 && self.listeners[place].1.has("tls.alpn") {
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
}
