//! Bounds of a listener, which the servers that share it have in common here.

use super::Nginx;
use super::parse::Directive;
use super::policy::Scope;
use super::values::{bytes, size, time};

/// What nginx takes of a body unless it is told otherwise.
const DEFAULT_BODY: &str = "1m";

impl Nginx<'_> {
    /// Lays the policy of a server over one of its listeners.
    pub(super) fn listener_policy(&mut self, scope: &Scope<'_>, block: &[Directive], place: usize) {
        for (name, path) in [
            ("keepalive_timeout", "limits.idle_timeout"),
            ("client_header_timeout", "limits.request_head_timeout"),
        ] {
            let Some(found) = scope.one(name) else { continue };
            // Without a bound is the opposite of what 0 means.
            let time = time(&[found.argument(0).to_owned()]).filter(|time| time != "0s");
            let Some(time) = time else { continue };
            let listener = &mut self.listeners[place].1;
            match listener.get(path) {
                Some(known) if known != time => {
                    let text = format!("{}: the listener has one {path}, {known}", found.shown());
                    self.report.near(found.line, text);
                }
                Some(_) => {}
                None => listener.text(path, found.line, time),
            }
        }
        self.body(scope, block, place);
        let listener = &mut self.listeners[place].1;
        for limit in scope.all("limit_conn") {
            let counted = self.client_zones.iter().any(|zone| zone == limit.argument(0));
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

    /// The largest body that a server of the listener takes, or a location of one.
    fn body(&mut self, scope: &Scope<'_>, block: &[Directive], place: usize) {
        let written = |directive: &Directive| Some((directive.line, size(directive.argument(0))?));
        let own = scope.one("client_max_body_size").and_then(written);
        let mut all = vec![own.unwrap_or_else(|| (1, DEFAULT_BODY.to_owned()))];
        of_locations(block, &mut |directive| all.extend(written(directive)));
        let listener = &mut self.listeners[place].1;
        for (line, size) in all {
            let known = listener.get("limits.max_request_body").and_then(bytes);
            if known.is_none_or(|known| bytes(&size).is_some_and(|size| size > known)) {
                listener.text("limits.max_request_body", line, size);
            }
        }
    }
}

/// Every `client_max_body_size` of the locations in a block.
fn of_locations(block: &[Directive], take: &mut impl FnMut(&Directive)) {
    for inner in block.iter().filter(|it| it.name == "location") {
        let inner = inner.block.as_deref().unwrap_or_default();
        inner.iter().filter(|it| it.name == "client_max_body_size").for_each(&mut *take);
        of_locations(inner, take);
    }
}
