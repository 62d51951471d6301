//! What several dialects imply alike.

use super::Notes;
use super::build::{Build, flag, list, number, text};
use super::foreign::{Foreign, scalar};
use crate::diagnostic::Fault;
use crate::tree::{Entry, Node};
use evenkeel_core::address::BackendAddress;
use std::collections::HashMap;

/// Name of the only listener, route and pool.
pub(super) const NAME: &str = "default";

/// Where a dialect listens if its file does not say.
pub(super) const LISTEN: &str = ":8080";

/// Failures in a row that trip a breaker, and the wait after, where nothing is written.
pub(super) const FAILURE_THRESHOLD: u64 = 5;
pub(super) const RESET_TIMEOUT: &str = "30s";

/// The admin listener beside a foreign file: two of them may run on one host.
pub(super) fn admin() -> Node {
    Build::new().put("required", flag(false)).node()
}

/// One route that takes everything to the only pool.
pub(super) fn one_route() -> Node {
    list(vec![Build::new().put("name", text(NAME)).put("pool", text(NAME)).node()])
}

/// `{ path, serve: metrics, default_format }`.
pub(super) fn metrics_mount(path: Node, format: &str) -> Node {
    let mount = Build::new().put("path", path).put("serve", text("metrics"));
    mount.put("default_format", text(format)).node()
}

/// `{ path: /health, serve: health, down_status }`.
pub(super) fn health_mount(down_status: u64) -> Node {
    let mount = Build::new().put("path", text("/health")).put("serve", text("health"));
    mount.put("down_status", number(down_status)).node()
}

/// A breaker that only counts failures in a row and always waits as long: the wait of the file.
pub(super) fn breaker(mut written: Foreign<'_>, notes: &mut Notes) -> Node {
    let (enabled, threshold) = (written.take("enabled"), written.take("failure_threshold"));
    let reset = written.take("reset_timeout");
    let longest = reset.map_or_else(|| text(RESET_TIMEOUT), |reset| unclaimed(&reset.value));
    let built = Build::at(written.place())
        .moved_or("enabled", enabled, flag(true))
        .moved_or("failure_threshold", threshold, number(FAILURE_THRESHOLD))
        .put("failure_rate", text("100%"))
        .moved_or("reset_timeout", reset, text(RESET_TIMEOUT))
        .put("max_reset_timeout", longest);
    written.finish(notes);
    built.node()
}

/// A second use of a value: the first one has its place, and with it its comments and errors.
pub(super) fn unclaimed(node: &Node) -> Node {
    Node { value: node.value.clone(), place: super::build::nowhere() }
}

/// How a dialect writes its backends.
pub(super) struct Backends {
    /// The key of the address.
    pub(super) address: &'static str,
    /// Only `http://` and `https://` are addresses.
    pub(super) urls_only: bool,
}

impl Backends {
    /// The list below `key` in the native form; told if it is missing or empty.
    pub(super) fn read(
        &self,
        file: &mut Foreign<'_>,
        key: &'static str,
        notes: &mut Notes,
    ) -> Option<Entry> {
        let (place, path) = (file.place().clone(), file.path_of(key));
        let Some((entry, items)) = file.items(key, notes) else {
            notes.refuse(&place, path, format!("`{key}` is missing: needs at least one"));
            return None;
        };
        if items.is_empty() && notes.errors.is_empty() {
            notes.refuse(&entry.value.place, path, "needs at least one");
        }
        let mut names = HashMap::with_capacity(items.len());
        let read = |(path, item): (String, &Node)| self.backend(path, item, &mut names, notes);
        let items: Vec<Node> = items.into_iter().map(read).collect();
        let value =
            Node { value: crate::tree::Value::Seq(items), place: entry.value.place.clone() };
        Some(Entry { value, ..entry.clone() })
    }

    fn backend(
        &self,
        path: String,
        item: &Node,
        names: &mut HashMap<String, u64>,
        notes: &mut Notes,
    ) -> Node {
        let mut written = Foreign::of(item, path.clone(), notes);
        let (address, weight) = (written.take(self.address), written.take("weight"));
        let path = written.path_of(self.address);
        let Some(address) = address else {
            let key = self.address;
            notes.refuse(&item.place, path, format!("`{key}` is missing"));
            return Build::at(&item.place).node();
        };
        self.refuse_scheme(&address.value, &path, notes);
        let mut built = Build::at(&item.place);
        if let Some(name) = second_name(&address.value, &path, names, notes) {
            built = built.put("name", text(&name));
        }
        let built = built.moved("address", Some(address)).moved_or("weight", weight, number(1));
        written.finish(notes);
        built.node()
    }

    fn refuse_scheme(&self, address: &Node, path: &str, notes: &mut Notes) {
        let Some(text) = scalar(address).filter(|_| self.urls_only) else { return };
        // Schemes have no case (RFC 3986 3.1).
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        if !matches!(scheme.as_deref(), Some("http" | "https")) {
            let fault = Fault::new(format!("invalid scheme in {text:?}"));
            let bare = text.split_once("://").map_or(text, |(_, bare)| bare);
            let fault = fault.hint(format!("http:// or https:// first, such as http://{bare}"));
            notes.refuse(&address.place, path.to_owned(), fault);
        }
    }
}

/// A name for a backend whose address stands in the list already.
pub(super) fn second_name(
    address: &Node,
    path: &str,
    names: &mut HashMap<String, u64>,
    notes: &mut Notes,
) -> Option<String> {
    let address_text = scalar(address)?;
    let name = BackendAddress::parse(address_text).ok()?.default_name();
    let count = names.entry(name.clone()).or_default();
    *count += 1;
    if *count == 1 {
        return None;
    }
    let second = format!("{name}#{count}");
    let message = format!("a second backend at {address_text}; it is called {second}");
    notes.tell(&address.place, path.to_owned(), message);
    Some(second)
}
