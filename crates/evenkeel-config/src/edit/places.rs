//! Where the backends of pools stand, by name: thousands of edits are laid over thousands of
//! backends without a search for each.

use super::{default_name, name_of, said};
use crate::tree::Node;
use std::collections::HashMap;

/// Of the pools that edits spoke of, as long as nothing else moves their backends.
#[derive(Default)]
pub(super) struct Places(HashMap<String, HashMap<String, usize>>);

impl Places {
    /// The place of a backend by its name, given or not; of several the first.
    pub(super) fn of(
        &mut self,
        pool: &str,
        backends: &[Node],
        name: &str,
    ) -> Result<usize, String> {
        let at = self.known(pool, backends).get(name);
        at.copied().ok_or_else(|| format!("no backend {name:?}"))
    }

    /// Adds one, whose name is not there.
    pub(super) fn push(
        &mut self,
        pool: &str,
        backends: &mut Vec<Node>,
        (name, node): (String, Node),
    ) {
        self.known(pool, backends).insert(name, backends.len());
        backends.push(node);
    }

    /// Takes one away.
    pub(super) fn remove(&mut self, pool: &str, backends: &mut Vec<Node>, at: usize) {
        let known = self.known(pool, backends);
        backends.remove(at);
        known.retain(|_, place| *place != at);
        known.values_mut().filter(|place| **place > at).for_each(|place| *place -= 1);
        if known.len() < backends.len() {
            // Another one had its name, which is an error wherever it stays.
            self.0.remove(pool);
        }
    }

    fn known(&mut self, pool: &str, backends: &[Node]) -> &mut HashMap<String, usize> {
        if !self.0.contains_key(pool) {
            self.0.insert(pool.to_owned(), places(backends));
        }
        self.0.entry(pool.to_owned()).or_default()
    }
}

fn places(backends: &[Node]) -> HashMap<String, usize> {
    let mut places = HashMap::with_capacity(backends.len());
    for (at, backend) in backends.iter().enumerate() {
        if let Some(name) = name_in(backend) {
            places.entry(name).or_insert(at);
        }
    }
    places
}

fn name_in(backend: &Node) -> Option<String> {
    let given = name_of(backend).map(str::to_owned);
    given.or_else(|| {
        let address = backend.entry("address").map_or(backend, |entry| &entry.value);
        said(address).map(default_name)
    })
}
