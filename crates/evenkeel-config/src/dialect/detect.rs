//! Whose form a text has: told on its first line, or seen from its keys at the top.

use super::{Detected, Dialect};
use crate::diagnostic::{Fault, Problem};
use crate::key::{Key, Shape};
use crate::sections::Root;
use crate::suggest::closest;
use crate::tree::{Entry, Node, Place, Value};

/// Keys at the top that only one foreign dialect has.
const SIGNS: &[(&str, Dialect)] = &[
    ("apps", Dialect::Apps),
    ("server", Dialect::LoadBalancer),
    ("circuit_breaker", Dialect::LoadBalancer),
    ("listen_port", Dialect::Gobalance),
    ("balancing_strategy", Dialect::Gobalance),
    ("bind_address", Dialect::Gobalance),
    ("connections", Dialect::Gobalance),
];

/// Keys at the top that only the native form has.
const NATIVE: &[&str] = &["version", "listeners", "routes", "pools", "listen", "preset"];

/// How a first line names a dialect.
const DIRECTIVE: &str = "dialect:";

/// The hint of every error of this room.
const SIGNATURES: &str = "\
native: version, listeners, routes, pools, or listen and backends; gobalance: listen_port, \
balancing_strategy; load-balancer: server, strategy, backends[].url; apps: apps; go-loadbalancer: \
preset. To decide, start the file with `# dialect: NAME`, or use --dialect NAME";

/// A key that speaks for a dialect.
struct Sign<'a> {
    dialect: Dialect,
    key: String,
    place: &'a Place,
}

/// The dialect of a tree; an error if its keys speak for none, or for two.
pub(super) fn detect(
    tree: &Node,
    first_line: &str,
    named: Option<Dialect>,
    errors: &mut Vec<Problem>,
) -> Detected {
    let told = |dialect, reason: &str| Detected { dialect, reason: reason.to_owned() };
    if let Some(dialect) = named {
        return told(dialect, "--dialect");
    }
    match directive(first_line) {
        Some(Ok(dialect)) => return told(dialect, "its first line"),
        Some(Err(name)) => {
            let names: Vec<&str> = Dialect::names().collect();
            let fault = Fault::new(format!("unknown dialect {name:?}"));
            let fault = fault.hint(format!("one of: {}", names.join(", ")));
            errors.push(Problem { place: Place::in_file(1, 1), path: "dialect".into(), fault });
            return Detected::default();
        }
        None => {}
    }
    let Value::Map(entries) = &tree.value else { return Detected::default() };
    let native = entries.iter().find(|entry| NATIVE.contains(&entry.key.as_str()));
    if let Some(preset) = entries.iter().find(|entry| entry.key == "preset") {
        return seen(Dialect::GoLoadbalancer, "preset", &preset.key_place);
    }
    // A native file with a stray key: its reader says which, and what was meant.
    if native.is_some_and(|native| native.key != "listen") {
        return Detected::default();
    }
    let signs = signs(entries);
    let Some(first) = signs.first() else {
        if native.is_none() {
            refuse_strangers(entries, errors);
        }
        return Detected::default();
    };
    let native = native.map(|it| Sign {
        dialect: Dialect::Native,
        key: it.key.clone(),
        place: &it.key_place,
    });
    let other = signs.iter().find(|sign| sign.dialect != first.dialect);
    if let Some(other) = other.or(native.as_ref()) {
        errors.push(clash(first, other));
    }
    seen(first.dialect, &first.key, first.place)
}

fn seen(dialect: Dialect, key: &str, place: &Place) -> Detected {
    Detected { dialect, reason: format!("`{key}` on {}", place.phrase()) }
}

/// `# dialect: gobalance`; the name if it is unknown.
fn directive(line: &str) -> Option<Result<Dialect, &str>> {
    let comment = line.trim_start_matches('\u{feff}').trim().strip_prefix('#')?;
    let name = comment.trim_start().strip_prefix(DIRECTIVE)?.trim();
    Some(Dialect::parse(name).ok_or(name))
}

/// True of a first line that names a dialect.
pub(crate) fn is_directive(line: &str) -> bool {
    directive(line).is_some()
}

fn signs(entries: &[Entry]) -> Vec<Sign<'_>> {
    let mut signs = Vec::new();
    for entry in entries {
        let key = entry.key.as_str();
        if let Some((_, dialect)) = SIGNS.iter().find(|(sign, _)| *sign == key) {
            signs.push(Sign { dialect: *dialect, key: key.to_owned(), place: &entry.key_place });
        }
        if key == "strategy" && matches!(entry.value.value, Value::Map(_)) {
            let (dialect, key) = (Dialect::LoadBalancer, key.to_owned());
            signs.push(Sign { dialect, key, place: &entry.key_place });
        }
        if key == "backends" {
            signs.extend(backend_sign(&entry.value, entries));
        }
    }
    signs
}

/// Backends by `url` are of one dialect; those by `address` of another, unless another key is ours.
fn backend_sign<'a>(backends: &'a Node, entries: &[Entry]) -> Option<Sign<'a>> {
    let Value::Seq(items) = &backends.value else { return None };
    let find = |key: &str| items.iter().find_map(|item| item.entry(key));
    if let Some(url) = find("url") {
        let (dialect, key) = (Dialect::LoadBalancer, "backends[].url".to_owned());
        return Some(Sign { dialect, key, place: &url.key_place });
    }
    let shared = ["backends", "logging", "metrics"];
    let names = native_names();
    let ours = |entry: &Entry| {
        let key = entry.key.as_str();
        !shared.contains(&key) && names.contains(&key)
    };
    if entries.iter().any(ours) || find("name").is_some() || find("admin").is_some() {
        return None;
    }
    let (dialect, key) = (Dialect::Gobalance, "backends[].address".to_owned());
    find("address").map(|address| Sign { dialect, key, place: &address.key_place })
}

fn native_names() -> Vec<&'static str> {
    match Root::shape() {
        Shape::Section(root) => root.keys.iter().map(|key| key.name).collect(),
        Shape::Scalar(..) | Shape::List(_) | Shape::Table | Shape::Free => Vec::new(),
    }
}

/// Keys that no form has, nor looks like: whose file is this?
fn refuse_strangers(entries: &[Entry], errors: &mut Vec<Problem>) {
    let names = native_names();
    let known = |entry: &Entry| {
        names.contains(&entry.key.as_str()) || closest(&entry.key, names.iter().copied()).is_some()
    };
    let Some(stranger) = entries.iter().find(|entry| !known(entry)) else { return };
    if entries.iter().any(|entry| entry.key == "backends") {
        return;
    }
    let found: Vec<String> =
        entries.iter().take(MAX_SHOWN).map(|entry| format!("`{}`", entry.key)).collect();
    let message = format!("no known form of configuration; found {}", found.join(", "));
    errors.push(Problem {
        place: stranger.key_place.clone(),
        path: stranger.key.clone(),
        fault: Fault::new(message).hint(SIGNATURES),
    });
}

/// Keys named in one message.
const MAX_SHOWN: usize = 8;

fn clash(first: &Sign<'_>, other: &Sign<'_>) -> Problem {
    let (one, at, two) = (&first.key, first.place.phrase(), &other.key);
    let message = format!(
        "`{two}` is of {}, but `{one}` on {at} is of {}: one file is of one product",
        other.dialect, first.dialect
    );
    let fault = Fault::new(message).hint(SIGNATURES);
    Problem { place: other.place.clone(), path: two.clone(), fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Result<Dialect, String> {
        let mut errors = Vec::new();
        let tree = crate::tree_yaml::parse(text).expect(text);
        let first = text.lines().next().unwrap_or_default();
        let detected = detect(&tree, first, None, &mut errors);
        match errors.first() {
            Some(error) => Err(error.fault.message.clone()),
            None => Ok(detected.dialect),
        }
    }

    #[test]
    fn keys_tell() {
        for (text, dialect) in [
            ("apps: []\n", Dialect::Apps),
            ("backends: [{ url: http://a }]\n", Dialect::LoadBalancer),
            ("strategy: { type: random }\n", Dialect::LoadBalancer),
            ("listen_port: 1\nretry: {}\n", Dialect::Gobalance),
            ("backends: [{ address: \"a:1\" }]\n", Dialect::Gobalance),
            ("listen: \":1\"\nbackends: [{ address: \"a:1\" }]\n", Dialect::Native),
            ("strategy: rr\nbackends: [{ address: \"a:1\" }]\n", Dialect::Native),
            ("backends: [{ name: x, address: \"a:1\" }]\n", Dialect::Native),
            ("backends: [\"a:1\"]\n", Dialect::Native),
            ("version: 1\npools: []\nconnections: {}\n", Dialect::Native),
            ("version: 1\npreset: go-loadbalancer\n", Dialect::GoLoadbalancer),
            ("# dialect: apps\nlisten_port: 1\n", Dialect::Apps),
            ("#dialect: gobalancer\nlisten_port: 1\n", Dialect::Native),
            ("", Dialect::Native),
            ("[a]\n", Dialect::Native),
            ("stratgy: rr\n", Dialect::Native),
        ] {
            assert_eq!(found(text), Ok(dialect), "{text}");
        }
    }

    #[test]
    fn no_guess_between_two() {
        for (text, words) in [
            ("apps: []\nlisten_port: 1\n", "`listen_port` is of gobalance, but `apps` on line 1"),
            ("listen: \":1\"\nserver: {}\n", "`listen` is of native, but `server` on line 2"),
            ("foo: 1\nquux: 2\n", "found `foo`, `quux`"),
            ("# dialect: nonsense\n", "unknown dialect \"nonsense\""),
        ] {
            let error = found(text).expect_err(text);
            assert!(error.contains(words), "{error}");
        }
    }
}
