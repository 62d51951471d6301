//! HAProxy: `global`, `defaults`, and the proxies: `frontend`, `backend`, `listen`.

mod backend;
mod condition;
mod frontend;
mod parse;
mod rate;
mod rules;
mod server;
mod values;

use super::Report;
use super::draft::Draft;
use crate::diagnostic::Problem;
use crate::tree::Node;
use parse::{Line, Section};

/// Everything that was read so far.
struct Haproxy<'r> {
    report: &'r mut Report,
    root: Draft,
    listeners: Vec<Draft>,
    routes: Vec<Draft>,
    pools: Vec<Draft>,
    /// What backends say, who lay their rules over every route to them.
    backend_lines: Vec<(String, Vec<Line>)>,
    /// Backends without servers: what goes there is refused.
    empty: Vec<String>,
    /// Several frontends have routes: each is named with its listeners.
    scoped: bool,
    /// `maxconn` of `global`.
    max_connections: Option<(usize, u64)>,
}

/// Reads a file; every line gets a remark.
pub(super) fn read(text: &str, report: &mut Report) -> Result<Node, Problem> {
    let mut sections = parse::parse(text)?;
    complete_paths(&mut sections);
    let mut haproxy = Haproxy {
        report,
        root: Draft::at(1),
        listeners: Vec::new(),
        routes: Vec::new(),
        pools: Vec::new(),
        backend_lines: Vec::new(),
        empty: Vec::new(),
        scoped: false,
        max_connections: None,
    };
    haproxy.root.number("version", 1, 1);
    haproxy.sections(&sections);
    let Haproxy { mut root, listeners, mut routes, pools, .. } = haproxy;
    if let Some(any) = pools.first().and_then(|pool| pool.get("name")) {
        for route in routes.iter_mut().filter(|route| !route.has("pool")) {
            // It lets nobody in.
            route.text("pool", 1, any);
        }
    }
    root.list("listeners", 1, listeners);
    root.list("routes", 1, routes);
    root.list("pools", 1, pools);
    Ok(root.node())
}

/// Puts the folders that `global` names before the files of certificates that stand in them.
fn complete_paths(sections: &mut [Section]) {
    let said = |base: &str| {
        let global = sections.iter().filter(|section| section.kind == "global");
        let mut lines = global.flat_map(|section| &section.lines).filter(|it| it.starts(&[base]));
        lines.next_back().map(|line| line.word(1).to_owned())
    };
    let bases = [
        (said("crt-base"), ["crt", "crt-list"].as_slice()),
        (said("ca-base"), ["ca-file", "crl-file"].as_slice()),
    ];
    let lines = sections.iter_mut().flat_map(|section| &mut section.lines);
    let speaks_tls = |line: &&mut Line| line.starts(&["bind"]) || line.word(0).contains("server");
    for line in lines.filter(speaks_tls) {
        for at in 1..line.words.len() {
            let named = |words: &[&str]| words.contains(&line.words[at - 1].as_str());
            let base = bases.iter().find(|(_, words)| named(words));
            let file = &line.words[at];
            if let Some((Some(base), _)) = base
                && !file.starts_with(['/', '@'])
            {
                line.words[at] = format!("{}/{file}", base.trim_end_matches('/'));
            }
        }
    }
}

/// A proxy: its lines, after those of the `defaults` above it.
struct Proxy<'a> {
    name: &'a str,
    line: usize,
    /// Those of `defaults`, which have their remarks already.
    inherited: &'a [Line],
    own: &'a [Line],
}

impl<'a> Proxy<'a> {
    /// Every line that starts with these words; the last one counts where only one can.
    fn all(&self, words: &[&str]) -> Vec<&'a Line> {
        self.inherited.iter().chain(self.own).filter(|line| line.starts(words)).collect()
    }

    fn last(&self, words: &[&str]) -> Option<&'a Line> {
        self.all(words).pop()
    }

    /// True if it speaks HTTP.
    fn is_http(&self) -> bool {
        self.last(&["mode"]).is_some_and(|line| line.word(1) == "http")
    }
}

fn is_proxy(kind: &str) -> bool {
    matches!(kind, "frontend" | "backend" | "listen")
}

/// `defaults` that are laid over one another at most.
const MAX_DEFAULTS: usize = 16;

/// A section of `defaults`, after those that it begins with.
struct Defaults<'a> {
    name: &'a str,
    depth: usize,
    lines: Vec<Line>,
}

/// Every section of `defaults`, in their order.
fn all_defaults(sections: &[Section]) -> Vec<Defaults<'_>> {
    let mut all: Vec<Defaults<'_>> = Vec::new();
    for section in sections.iter().filter(|section| section.kind == "defaults") {
        let from = section.from.as_deref();
        let before = all.iter().rfind(|it| from == Some(it.name) && it.depth < MAX_DEFAULTS);
        let depth = before.map_or(0, |it| it.depth + 1);
        let mut lines = before.map(|it| it.lines.clone()).unwrap_or_default();
        lines.extend(section.lines.iter().cloned());
        all.push(Defaults { name: &section.name, depth, lines });
    }
    all
}

/// Every proxy with the `defaults` in force, and these themselves.
fn proxies<'a>(sections: &'a [Section], all: &'a [Defaults<'a>]) -> Vec<(&'a str, Proxy<'a>)> {
    let mut passed = 0;
    let mut proxies = Vec::new();
    for section in sections {
        let (name, own): (&str, &[Line]) = (&section.name, &section.lines);
        let known = all.get(..passed).unwrap_or_default();
        let named = known.iter().rfind(|it| section.from.as_deref() == Some(it.name));
        let named = named.map(|it| it.lines.as_slice());
        let proxy = |inherited| Proxy { name, line: section.line, inherited, own };
        if section.kind == "defaults" {
            passed += 1;
            proxies.push((section.kind.as_str(), proxy(named.unwrap_or_default())));
        } else if is_proxy(&section.kind) {
            let above = known.last().map(|it| it.lines.as_slice()).unwrap_or_default();
            proxies.push((section.kind.as_str(), proxy(named.unwrap_or(above))));
        }
    }
    proxies
}

impl Haproxy<'_> {
    fn sections(&mut self, sections: &[Section]) {
        for section in sections.iter().filter(|section| section.kind == "global") {
            self.report.exact(section.line, "global");
            section.lines.iter().for_each(|line| self.global(line));
        }
        let defaults = all_defaults(sections);
        let proxies = proxies(sections, &defaults);
        // Routes lay the rules of their backends over themselves: backends come first.
        for (kind, proxy) in &proxies {
            if matches!(*kind, "backend" | "listen") {
                self.backend(proxy);
            }
        }
        let fronts: Vec<&Proxy<'_>> = proxies
            .iter()
            .filter(|(kind, _)| matches!(*kind, "frontend" | "listen"))
            .map(|(_, proxy)| proxy)
            .collect();
        self.scoped = fronts.iter().filter(|proxy| frontend::has_routes(proxy)).count() > 1;
        fronts.into_iter().for_each(|proxy| self.frontend(proxy));
        for (kind, proxy) in &proxies {
            let named = format!("{kind} {}", proxy.name);
            if self.empty.iter().any(|name| name == proxy.name) && *kind != "frontend" {
                let how = "it has no servers: what goes there is refused";
                self.report.near(proxy.line, format!("{named}: {how}"));
            } else if *kind != "defaults" && *kind != "backend" && frontend::is_left_out(proxy) {
                let how = "nothing behind it is kept; it is left out";
                self.report.lost(proxy.line, format!("{named}: {how}"));
            } else {
                let how = if *kind == "defaults" { ": laid over the proxies below" } else { "" };
                self.report.exact(proxy.line, format!("{named}{how}"));
            }
            proxy.own.iter().for_each(|line| self.judge(line, proxy));
        }
        let known = |kind: &str| matches!(kind, "global" | "defaults") || is_proxy(kind);
        for section in sections.iter().filter(|section| !known(&section.kind)) {
            self.report.lost(section.line, format!("{} {}", section.kind, section.name));
            section.lines.iter().for_each(|line| self.report.lost(line.line, line.shown()));
        }
    }

    fn global(&mut self, line: &Line) {
        let (at, shown) = (line.line, line.shown());
        let number = line.word(1).parse::<u64>();
        match (line.word(0), number) {
            ("maxconn", Ok(max)) => {
                self.max_connections = Some((at, max));
                self.report.near(at, format!("{shown}: limits.max_connections of each listener"));
            }
            ("nbthread", Ok(workers @ 1..=1024)) => {
                self.root.number("workers", at, workers);
                self.report.exact(at, format!("{shown}: workers"));
            }
            ("hard-stop-after", _) => match values::time(line.word(1)) {
                Some(time) => {
                    self.root.text("shutdown.drain_timeout", at, time);
                    self.report.exact(at, format!("{shown}: shutdown.drain_timeout"));
                }
                None => self.report.lost(at, shown),
            },
            ("crt-base" | "ca-base", _) => {
                self.report.exact(at, format!("{shown}: stands before what is in it"));
            }
            ("log", _) => self.report.near(at, format!("{shown}: see logging; no syslog")),
            ("daemon" | "master-worker" | "nbproc", _) => {
                self.report.near(at, format!("{shown}: one process with a thread per core"));
            }
            _ => self.report.lost(at, shown),
        }
    }
}
