//! `ssl_preread`: pools by TLS server name, named by a `map`.

use super::Nginx;
use super::parse::Directive;
use crate::import::draft::{Draft, with_port};

/// The variable that `ssl_preread` fills.
const SERVER_NAME: &str = "$ssl_preread_server_name";

/// A `map` of server names.
pub(super) struct ServerNames {
    variable: String,
    /// Name, target and line, in the order in which they are asked.
    names: Vec<(String, String, usize)>,
    default: Option<(String, usize)>,
}

/// Names as a route by server name has them: exact, or `*.suffix`.
fn hosts(name: &str, with_wildcards: bool) -> Option<Vec<String>> {
    if name.starts_with('~') || name.ends_with(".*") {
        return None;
    }
    match name.strip_prefix('.') {
        Some(bare) if with_wildcards => Some(vec![bare.to_owned(), format!("*.{bare}")]),
        None if with_wildcards || !name.contains('*') => Some(vec![name.to_owned()]),
        Some(_) | None => None,
    }
}

impl Nginx<'_> {
    /// True if the directive was such a map, with its remarks.
    pub(super) fn server_names(&mut self, directive: &Directive) -> bool {
        let Some(block) = directive.block.as_deref().filter(|_| directive.name == "map") else {
            return false;
        };
        if directive.argument(0) != SERVER_NAME {
            return false;
        }
        let (line, shown) = (directive.line, directive.shown());
        let variable = directive.argument(1).to_owned();
        self.report.exact(line, format!("{shown}: sni_routes of the listeners that use it"));
        let mut map = ServerNames { variable, names: Vec::new(), default: None };
        let with_wildcards = block.iter().any(|inner| inner.name == "hostnames");
        for entry in block {
            let (line, shown, to) = (entry.line, entry.shown(), entry.argument(0).to_owned());
            let found = hosts(&entry.name, with_wildcards);
            match (entry.name.as_str(), found) {
                ("hostnames", _) => self.report.exact(line, shown),
                (_, _) if to.contains('$') || to.is_empty() => self.lose(entry),
                ("default", _) => {
                    map.default = Some((to, line));
                    self.report.exact(line, format!("{shown}: pool of the listener"));
                }
                (_, Some(hosts)) => {
                    let hosts = hosts.into_iter().map(|host| (host, to.clone(), line));
                    map.names.extend(hosts);
                    self.report.exact(line, format!("{shown}: sni_routes"));
                }
                (_, None) => {
                    let text = format!("{shown}: a pattern; it goes where `default` goes");
                    self.report.lost(line, text);
                }
            }
        }
        // Exact names are asked first, then the longest suffix.
        map.names.sort_by_key(|(host, ..)| match host.strip_prefix("*.") {
            None => (false, 0),
            Some(suffix) => (true, usize::MAX - suffix.len()),
        });
        self.server_name_maps.push(map);
        true
    }

    /// Routes by server name for `proxy_pass $variable`, and the pool of all others.
    pub(super) fn sni_routes(&mut self, variable: &str) -> Option<(Vec<Draft>, Option<String>)> {
        let at = self.server_name_maps.iter().position(|map| map.variable == variable)?;
        let names = self.server_name_maps[at].names.clone();
        let default = self.server_name_maps[at].default.clone();
        let mut routes = Vec::new();
        for (host, target, line) in names {
            let target = self.stream_pool(&target, line);
            let mut route = Draft::at(line);
            route.texts("hosts", line, [host.as_str()]);
            route.text("pool", line, target);
            routes.push(route);
        }
        let default = default.map(|(target, line)| self.stream_pool(&target, line));
        Some((routes, default))
    }

    /// The pool of a name or address behind a `stream` server; made for what is no upstream.
    pub(super) fn stream_pool(&mut self, target: &str, line: usize) -> String {
        let name = self.stream_name(target);
        if self.pool(&name).is_none() {
            let mut pool = self.new_pool(&name, line);
            let mut backend = Draft::at(line);
            backend.text("address", line, with_port(target, 80));
            pool.push("backends", backend);
            self.pools.push((name.clone(), pool));
        }
        self.only_connects(&name, line);
        name
    }

    /// What the pool of a name or address behind `stream` is called: not as one of `http`, and
    /// without what no name can hold.
    pub(super) fn stream_name(&self, target: &str) -> String {
        let of_http = self.http_pools.iter().any(|name| name == target);
        let name = target.replace('/', "-");
        if of_http { format!("{name}-stream") } else { name }
    }
}
