//! The short form, written out as the full form on the tree.

use crate::diagnostic::{Fault, Problem};
use crate::tree::{Entry, Node, Place, Step, Value};

/// Keys of the short form and what they stand for.
const SHORT: &[(&str, &str)] = &[
    ("listen", "listeners[0].bind"),
    ("backends", "pools[0].backends"),
    ("strategy", "pools[0].strategy"),
];

/// Keys of the full form that the short form replaces.
const FULL: &[&str] = &["listeners", "routes", "pools"];

/// Name of the listener, route and pool of the short form.
const NAME: &str = "default";

/// Where the short form listens if it does not say.
const LISTEN: &str = ":8080";

/// True for a key of the short form.
pub(crate) fn is_short(key: &str) -> bool {
    SHORT.iter().any(|(short, _)| *short == key)
}

/// True if the text has any key of the full form.
pub(crate) fn is_full(root: &Node) -> bool {
    FULL.iter().any(|key| root.entry(key).is_some())
}

/// The key the user wrote for a path of the full form.
pub(crate) fn written_path(path: &str) -> String {
    let found = SHORT.iter().find_map(|(short, full)| Some((short, path.strip_prefix(full)?)));
    found.map_or_else(|| path.to_owned(), |(short, rest)| format!("{short}{rest}"))
}

/// Writes the short form out; true if the text was in it.
pub(crate) fn expand(root: &mut Node, problems: &mut Vec<Problem>) -> bool {
    let place = root.place.clone();
    let full = FULL.iter().copied().find(|key| root.entry(key).is_some());
    let Value::Map(entries) = &mut root.value else { return false };
    let (short, kept): (Vec<Entry>, Vec<Entry>) =
        std::mem::take(entries).into_iter().partition(|entry| is_short(&entry.key));
    *entries = kept;
    if short.is_empty() {
        return false;
    }
    if let Some(full) = full {
        problems.extend(short.iter().map(|entry| mixed(entry, full)));
        return false;
    }
    let mut take = |key: &str| {
        let mut given = short.iter().filter(|entry| entry.key == key);
        let first = given.next()?;
        problems.extend(given.map(|entry| twice(entry, &first.key_place)));
        Some(first.value.clone())
    };
    let listen = take("listen");
    let strategy = take("strategy");
    let backends = take("backends");
    let text = |value: &str| Node::new(Value::Str(value.to_owned()), place.clone());
    let section = |keys: [(&str, Option<Node>); 3]| {
        let entries = keys.into_iter().filter_map(|(key, value)| Some(entry(key, value?)));
        let map = Node::new(Value::Map(entries.collect()), place.clone());
        Node::new(Value::Seq(vec![map]), place.clone())
    };
    let listen = listen.unwrap_or_else(|| text(LISTEN));
    let named = || ("name", Some(text(NAME)));
    let listeners = section([named(), ("bind", Some(listen)), ("", None)]);
    let routes = section([named(), ("pool", Some(text(NAME))), ("", None)]);
    let pools = section([named(), ("strategy", strategy), ("backends", backends)]);
    entries.extend([entry("listeners", listeners), entry("routes", routes), entry("pools", pools)]);
    true
}

fn entry(key: &str, value: Node) -> Entry {
    Entry { key: key.to_owned(), key_place: value.place.clone(), value }
}

fn mixed(entry: &Entry, full: &str) -> Problem {
    let key = &entry.key;
    let instead = SHORT.iter().find(|(short, _)| short == key).map_or("", |(_, full)| full);
    let fault =
        Fault::new(format!("`{key}` is of the short form and cannot stand beside `{full}`"));
    let fault = fault.hint(format!("use {instead}"));
    Problem { place: entry.key_place.clone(), path: key.clone(), fault }
}

fn twice(entry: &Entry, first: &Place) -> Problem {
    let message = format!("`{}` is given twice, first on {}", entry.key, first.phrase());
    let place = entry.key_place.clone();
    Problem { place, path: entry.key.clone(), fault: Fault::new(message) }
}

/// A backend that is an address alone becomes the map that it stands for.
pub(crate) fn write_out_backend(backend: &mut Node) {
    if matches!(backend.value, Value::Str(_)) {
        let address = backend.clone();
        backend.value = Value::Map(vec![entry("address", address)]);
    }
}

/// As `write_out_backend` for the backend of which `steps` name a key, if they do.
pub(crate) fn write_out_backend_at(root: &mut Node, steps: &[Step]) {
    let is_inside = |steps: &[Step]| match steps {
        [Step::Key(list), Step::Index(_), Step::Key(_)] => list == "backends",
        _ => false,
    };
    if let Some(at) = steps.windows(3).position(is_inside)
        && let Some(backend) = root.at_steps_mut(&steps[..at + 2])
    {
        write_out_backend(backend);
    }
}
