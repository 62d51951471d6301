//! What locations say of the pools they share: a pool has one value of each, whoever goes there.

use super::Nginx;
use std::collections::BTreeMap;

/// By pool and key: the line where a location sets it, or none where it says nothing.
#[derive(Default)]
pub(super) struct Uses(BTreeMap<(String, &'static str), Vec<Option<usize>>>);

impl Uses {
    pub(super) fn note(&mut self, pool: &str, key: &'static str, line: Option<usize>) {
        self.0.entry((pool.to_owned(), key)).or_default().push(line);
    }
}

impl Nginx<'_> {
    /// Tells which value holds for locations too that do not ask for it.
    pub(super) fn tell_uses(&mut self) {
        for ((pool, key), lines) in std::mem::take(&mut self.uses.0) {
            let set = lines.iter().flatten().next().copied();
            if let (Some(line), true) = (set, lines.contains(&None)) {
                let text = format!("pool {pool} has one {key}: it holds for all that goes there");
                self.report.near(line, text);
            }
        }
    }
}
