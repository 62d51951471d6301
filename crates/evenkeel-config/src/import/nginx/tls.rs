//! TLS of listeners. nginx has it per server; here the servers of one listener share it.

use super::Nginx;
use super::parse::Directive;
use super::policy::Scope;
use super::server::Server;
use crate::import::draft::Draft;

/// What a server asks of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Demand {
    #[default]
    Nothing,
    Optional,
    Required,
}

impl Demand {
    fn of(scope: &Scope<'_>) -> Demand {
        match scope.one("ssl_verify_client").map(|verify| verify.argument(0)) {
            Some("on") => Demand::Required,
            Some("optional" | "optional_no_ca") => Demand::Optional,
            Some(_) | None => Demand::Nothing,
        }
    }
}

impl Nginx<'_> {
    /// Certificates of a server, on each of its listeners that speaks TLS.
    pub(super) fn tls(&mut self, block: &[Directive], scope: &Scope<'_>, server: &mut Server) {
        let find = |name: &str| scope.one(name);
        let http2 = find("http2").is_some_and(|directive| directive.argument(0) == "on");
        server.demand = Demand::of(scope);
        for place in &server.listeners {
            let listener = &mut self.listeners[*place].1;
            if !listener.has("tls") {
                continue;
            }
            if http2 {
                listener.texts("tls.alpn", server.line, ["h2", "http/1.1"]);
            }
            certificates(scope, listener);
            if let Some(oldest) = find("ssl_protocols") {
                let only_13 = !oldest.arguments.iter().any(|it| it != "TLSv1.3");
                listener.text("tls.min_version", oldest.line, if only_13 { "1.3" } else { "1.2" });
            }
            if let Some(ca) = find("ssl_client_certificate")
                .filter(|_| server.demand != Demand::Nothing && !listener.has("tls.client_ca"))
            {
                listener.text("tls.client_ca", ca.line, ca.argument(0));
            }
        }
        let secure = server.listeners.iter().any(|place| self.listeners[*place].1.has("tls"));
        for directive in block.iter().filter(|it| is_of_listener(&it.name)) {
            let (line, shown) = (directive.line, directive.shown());
            let how = "tls.min_version; nothing older than TLS 1.2 is spoken";
            match directive.name.as_str() {
                _ if !secure => {
                    self.report.lost(line, format!("{shown}: no `listen … ssl` in this server"));
                }
                "ssl_protocols" => self.report.near(line, format!("{shown}: {how}")),
                "ssl_verify_client" if directive.argument(0) == "optional_no_ca" => {
                    let how = "client_auth: optional; a certificate that is shown must be valid";
                    self.report.near(line, format!("{shown}: {how}"));
                }
                _ => self.report.exact(line, format!("{shown}: tls of the listener")),
            }
        }
    }

    /// A listener asks of all its clients what the strictest of its servers asks.
    pub(super) fn demands(&mut self, servers: &[Server]) {
        for place in 0..self.listeners.len() {
            let on = || servers.iter().filter(|server| server.listeners.contains(&place));
            let demand = on().map(|server| server.demand).max().unwrap_or_default();
            let listener = &mut self.listeners[place].1;
            let how = match demand {
                Demand::Required => "required",
                Demand::Optional => "optional",
                Demand::Nothing => continue,
            };
            if !listener.has("tls") {
                continue;
            }
            // Also without a file: then it is not served, rather than to everybody.
            let strictest = on().find(|server| server.demand == demand);
            let line = strictest.map_or(1, |server| server.verify_line);
            listener.text("tls.client_auth", line, how);
            for server in on().filter(|server| server.demand < demand) {
                let text = format!(
                    "server: another server of this listener verifies clients, so client_auth: \
                     {how} holds for clients of this one too"
                );
                self.report.near(server.line, text);
            }
        }
    }
}

/// Directives that say what a listener does.
pub(super) fn is_of_listener(name: &str) -> bool {
    matches!(
        name,
        "ssl_certificate"
            | "ssl_certificate_key"
            | "ssl_protocols"
            | "ssl_client_certificate"
            | "ssl_verify_client"
    )
}

/// Each certificate with the key beside it; there may be one per kind of key.
fn certificates(scope: &Scope<'_>, listener: &mut Draft) {
    let (certs, keys) = (scope.all("ssl_certificate"), scope.all("ssl_certificate_key"));
    for (cert, key) in certs.iter().zip(&keys) {
        let known = (0..listener.len("tls.certificates")).any(|at| {
            let path = format!("tls.certificates[{at}].cert");
            listener.get(&path) == Some(cert.argument(0))
        });
        if !known {
            let mut pair = Draft::at(cert.line);
            pair.text("cert", cert.line, cert.argument(0));
            pair.text("key", key.line, key.argument(0));
            listener.push("tls.certificates", pair);
        }
    }
}
