//! nginx: `http` with its servers, locations and upstreams, and `stream`.

mod assemble;
mod constant;
mod include;
mod limits;
mod location;
mod parse;
mod policy;
mod pool;
mod redirect;
mod refuse;
mod server;
mod sni;
mod stream;
mod tls;
mod uses;
mod values;

use super::Report;
use super::draft::Draft;
use super::files::Files;
use crate::diagnostic::Problem;
use crate::tree::Node;
use parse::Directive;
use policy::Scope;
use server::Server;
use std::collections::HashMap;

/// Everything that was read so far.
struct Nginx<'r> {
    report: &'r mut Report,
    root: Draft,
    /// By where they bind.
    listeners: Vec<(String, Draft)>,
    /// By name.
    pools: Vec<(String, Draft)>,
    servers: Vec<Server>,
    /// `limit_req_zone` by name.
    zones: HashMap<String, policy::Zone>,
    /// Names of `limit_conn_zone`s that count by client address.
    client_zones: Vec<String>,
    server_name_maps: Vec<sni::ServerNames>,
    uses: uses::Uses,
    /// Pools that some location calls without TLS.
    plain_pools: Vec<String>,
    /// Names of pools of `http`; `stream` has names of its own.
    http_pools: Vec<String>,
}

/// Reads a file; every directive gets a remark.
pub(super) fn read(
    text: &str,
    files: &mut Files<'_>,
    report: &mut Report,
) -> Result<Node, Problem> {
    let directives = parse::parse(text, 1)?;
    let directives = include::expand(directives, files, report, 0)?;
    let mut nginx = Nginx {
        report,
        root: Draft::at(1),
        listeners: Vec::new(),
        pools: Vec::new(),
        servers: Vec::new(),
        zones: HashMap::new(),
        client_zones: Vec::new(),
        server_name_maps: Vec::new(),
        uses: uses::Uses::default(),
        plain_pools: Vec::new(),
        http_pools: Vec::new(),
    };
    nginx.root.number("version", 1, 1);
    if is_part_of_http(&directives) {
        nginx.http(&directives);
    } else {
        // Pools of `stream` are named so that they differ from those of `http`.
        let (last, first): (Vec<_>, Vec<_>) = directives.iter().partition(|it| it.name == "stream");
        first.into_iter().chain(last).for_each(|directive| nginx.main(directive));
    }
    Ok(nginx.finish())
}

/// True of a file such as those in `conf.d` and `sites-enabled`, which `http` includes.
fn is_part_of_http(directives: &[Directive]) -> bool {
    let has = |names: &[&str]| directives.iter().any(|it| names.contains(&it.name.as_str()));
    has(&["server", "upstream"]) && !has(&["http", "stream", "events"])
}

impl Nginx<'_> {
    fn main(&mut self, directive: &Directive) {
        let line = directive.line;
        let block = directive.block.as_deref();
        match (directive.name.as_str(), block) {
            ("http", Some(block)) => {
                self.report.exact(line, "http");
                self.http(block);
            }
            ("stream", Some(block)) => {
                self.report.exact(line, "stream");
                self.stream(block);
            }
            ("events", Some(block)) => {
                self.report.exact(line, "events");
                block.iter().for_each(|inner| self.event(inner));
            }
            ("worker_processes", None) => self.workers(directive),
            ("error_log", None) => self.error_log(directive),
            _ => self.lose(directive),
        }
    }

    fn workers(&mut self, directive: &Directive) {
        let (line, shown) = (directive.line, directive.shown());
        match directive.argument(0) {
            "auto" => self.report.exact(line, format!("{shown}: one worker per core")),
            count => match count.parse::<u64>() {
                Ok(count @ 1..=1024) => {
                    self.root.number("workers", line, count);
                    self.report.exact(line, format!("{shown}: workers"));
                }
                Ok(_) | Err(_) => self.lose(directive),
            },
        }
    }

    fn event(&mut self, directive: &Directive) {
        let (line, shown) = (directive.line, directive.shown());
        if directive.name == "worker_connections" {
            let text = format!("{shown}: limits.max_connections of a listener is 10000 as it is");
            return self.report.near(line, text);
        }
        self.report.near(line, format!("{shown}: chosen by the program itself"));
    }

    /// The level is kept; events go to the log, wherever that is.
    fn error_log(&mut self, directive: &Directive) {
        let level = match directive.argument(1) {
            "debug" => "debug",
            "info" | "notice" => "info",
            "warn" => "warn",
            _ => "error",
        };
        self.root.text("logging.level", directive.line, level);
        let text = format!(
            "{}: logging.level; events and access records share one log",
            directive.shown()
        );
        self.report.near(directive.line, text);
    }

    fn http(&mut self, block: &[Directive]) {
        for directive in block.iter().filter(|directive| directive.name == "upstream") {
            self.read_pool(directive, directive.argument(0), "http");
        }
        for directive in block {
            self.zone(directive);
        }
        let scope = Scope::default().with(block);
        for directive in block {
            match (directive.name.as_str(), directive.block.as_deref()) {
                ("upstream", Some(_)) => {}
                ("limit_req_zone" | "limit_conn_zone", None) => {}
                ("server", Some(inner)) => self.server(directive.line, inner, &scope),
                ("map", Some(inner)) if is_upgrade(directive) => {
                    let (line, shown) = (directive.line, directive.shown());
                    self.report.exact(line, format!("{shown}: upgrades pass anyway"));
                    inner.iter().for_each(|it| self.report.exact(it.line, it.shown()));
                }
                ("error_log", None) => self.error_log(directive),
                _ => self.judge(directive),
            }
        }
        let servers = std::mem::take(&mut self.servers);
        self.assemble(servers);
        self.tell_uses();
    }

    /// Tells that a directive, with all in it, is not in the result.
    fn lose(&mut self, directive: &Directive) {
        let guards =
            ["allow", "deny", "auth_basic", "auth_request", "auth_jwt", "secure_link", "if"];
        let word = directive.argument(0);
        let guards = guards.contains(&directive.name.as_str()) && !matches!(word, "off" | "all");
        let all = directive.name == "deny" && word == "all";
        let shown = match guards || all {
            true => format!("{}: whom it kept out is let in", directive.shown()),
            false => directive.shown(),
        };
        self.report.lost(directive.line, shown);
        for inner in directive.block.iter().flatten() {
            self.lose(inner);
        }
    }

    /// The pool of a name.
    fn pool(&mut self, name: &str) -> Option<&mut Draft> {
        self.pools.iter_mut().find(|(known, _)| known == name).map(|(_, draft)| draft)
    }

    fn finish(self) -> Node {
        let mut root = self.root;
        let drafts =
            |list: Vec<(String, Draft)>| list.into_iter().map(|(_, draft)| draft).collect();
        root.list("listeners", 1, drafts(self.listeners));
        root.list("pools", 1, drafts(self.pools));
        root.node()
    }
}

/// True of the map that names what becomes of `Connection` where a client upgrades.
fn is_upgrade(map: &Directive) -> bool {
    map.argument(0) == "$http_upgrade" && map.argument(1) == "$connection_upgrade"
}
