//! What this version reads, but does not serve: one list, which `check` and the reference are
//! derived from. Keys that would change safety or meaning are refused; keys that would only be
//! missing are warned about if they are written. A feature that comes to be served loses its line
//! here.

use crate::diagnostic::{Fault, Problem};
use crate::sections::{Listener, Pool, Root, Route};
use crate::tree::{Node, Value};

/// What becomes of a key that is used, but not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It would change safety or meaning: an error.
    Refused,
    /// It does nothing: a warning where it is written.
    WithoutEffect,
}

/// A key of section `S` that is not served, or only in part.
struct Gap<S> {
    /// Below the section, such as `retry.budget`.
    key: &'static str,
    verdict: Verdict,
    /// What of it is served; empty = nothing.
    served: &'static str,
    /// True if the section asks for what is not served.
    used: fn(&S) -> bool,
}

#[allow(dead_code, reason = "features come before they are served, and not always is one")]
const fn refused<S>(key: &'static str, used: fn(&S) -> bool) -> Gap<S> {
    Gap { key, verdict: Verdict::Refused, served: "", used }
}

impl<S> Gap<S> {
    /// The same with a part that is served.
    #[allow(dead_code, reason = "features come in parts, and not always one is on its way")]
    const fn except(self, served: &'static str) -> Gap<S> {
        Gap { key: self.key, verdict: self.verdict, served, used: self.used }
    }
}

const ROOT: &[Gap<Root>] = &[];

const LISTENER: &[Gap<Listener>] = &[];

const ROUTE: &[Gap<Route>] = &[];

const POOL: &[Gap<Pool>] = &[];

/// One line of the list, for the reference.
pub(crate) struct Unserved {
    /// The key as the reference names it, such as `pools[].retry.budget`.
    pub(crate) path: String,
    pub(crate) verdict: Verdict,
    /// What of it is served; empty = nothing.
    pub(crate) served: &'static str,
}

/// The whole list.
pub(crate) fn list() -> Vec<Unserved> {
    let mut all = Vec::new();
    describe("", ROOT, &mut all);
    describe("listeners[].", LISTENER, &mut all);
    describe("routes[].", ROUTE, &mut all);
    describe("pools[].", POOL, &mut all);
    all
}

fn describe<S>(prefix: &str, gaps: &[Gap<S>], all: &mut Vec<Unserved>) {
    let described = |gap: &Gap<S>| Unserved {
        path: format!("{prefix}{}", gap.key),
        verdict: gap.verdict,
        served: gap.served,
    };
    all.extend(gaps.iter().map(described));
}

/// Every use of a key that gets this verdict.
pub(crate) fn find(verdict: Verdict, root: &Root, tree: &Node) -> Vec<Problem> {
    let mut found = Found { verdict, tree, problems: Vec::new() };
    found.look("", (ROOT, root));
    for (index, listener) in root.listeners.iter().enumerate() {
        found.look(&format!("listeners[{index}]"), (LISTENER, listener));
    }
    for (index, route) in root.routes.iter().enumerate() {
        found.look(&format!("routes[{index}]"), (ROUTE, route));
    }
    for (index, pool) in root.pools.iter().enumerate() {
        let path = format!("pools[{index}]");
        found.look(&path, (POOL, pool));
    }
    found.problems
}

struct Found<'a> {
    verdict: Verdict,
    tree: &'a Node,
    problems: Vec<Problem>,
}

impl Found<'_> {
    /// Looks for uses in the section at `path`.
    fn look<S>(&mut self, path: &str, (gaps, section): (&[Gap<S>], &S)) {
        let used = |gap: &&Gap<S>| gap.verdict == self.verdict && (gap.used)(section);
        let used: Vec<_> = gaps.iter().filter(used).collect();
        for gap in used {
            let dot = if path.is_empty() { "" } else { "." };
            let full = format!("{path}{dot}{}", gap.key);
            let written = self.tree.at(&full);
            let path = match (gap.verdict, written) {
                (Verdict::WithoutEffect, None) => continue,
                // An address alone stands for its whole section.
                (Verdict::Refused, None) if self.tree.at(path).is_some_and(is_text) => path,
                (Verdict::Refused | Verdict::WithoutEffect, _) => &full,
            };
            self.report(path, gap);
        }
    }

    fn report<S>(&mut self, path: &str, gap: &Gap<S>) {
        let key = gap.key.rsplit_once('.').map_or(gap.key, |(_, key)| key);
        let value = match self.tree.at(path).map(|node| &node.value) {
            Some(Value::Str(text) | Value::Number(text)) if !gap.served.is_empty() => {
                format!(": {text}")
            }
            Some(_) | None => String::new(),
        };
        let message = match gap.verdict {
            Verdict::Refused => format!("`{key}{value}` is not served by this version"),
            Verdict::WithoutEffect if gap.served.is_empty() => {
                format!("`{key}` has no effect in this version")
            }
            Verdict::WithoutEffect => format!("`{key}` has only some effect in this version"),
        };
        let mut fault = Fault::new(message);
        if !gap.served.is_empty() {
            fault = fault.hint(gap.served);
        }
        let place = self.tree.key_place_at(path).clone();
        self.problems.push(Problem { place, path: path.to_owned(), fault });
    }
}

fn is_text(node: &Node) -> bool {
    matches!(node.value, Value::Str(_))
}
