//! Backends that discovery has found, as if the file named them: at the end of their pool, and only
//! if the file does not name them itself.

use super::{admin_word, items, map, name_of, number, said, text};
use crate::tree::{Node, Value};
use evenkeel_core::address::{BackendAddress, Endpoint, Scheme};
use evenkeel_core::discovery::{Finds, Found};
use std::collections::HashSet;

/// Lays what was found over the tree of the full form, in pools that discover; tells what was laid,
/// as pool and name.
pub(crate) fn lay_found(tree: &mut Node, finds: &Finds) -> Vec<(String, String)> {
    let mut laid = Vec::new();
    if finds.is_empty() {
        return laid;
    }
    let Some(Value::Seq(pools)) = tree.value_mut("pools") else { return laid };
    for pool in pools {
        let discovers = pool.at("discovery").is_some_and(|it| it.value != Value::Map(Vec::new()));
        let Some(name) = name_of(pool).map(str::to_owned).filter(|_| discovers) else { continue };
        let (Some(found), Ok(backends)) = (finds.get(&name), items(pool, "backends")) else {
            continue;
        };
        let mut names: HashSet<String> = backends.iter().filter_map(own_name).collect();
        let taken: HashSet<_> = backends.iter().filter_map(identity).collect();
        for one in found {
            let identity = (one.address.scheme, one.address.endpoint.clone());
            if !taken.contains(&identity) && names.insert(one.name.clone()) {
                backends.push(as_node(one));
                laid.push((name.clone(), one.name.clone()));
            }
        }
    }
    laid
}

fn address(backend: &Node) -> Option<BackendAddress> {
    let written = backend.entry("address").map_or(backend, |entry| &entry.value);
    BackendAddress::parse(said(written)?.trim()).ok()
}

fn own_name(backend: &Node) -> Option<String> {
    let given = name_of(backend).map(str::to_owned);
    given.or_else(|| address(backend).map(|address| address.default_name()))
}

fn identity(backend: &Node) -> Option<(Scheme, Endpoint)> {
    address(backend).map(|address| (address.scheme, address.endpoint))
}

fn as_node(found: &Found) -> Node {
    map(vec![
        ("name", text(&found.name)),
        ("address", text(&found.address.text)),
        ("weight", number(found.weight)),
        ("admin", text(admin_word(found.admin))),
    ])
}
