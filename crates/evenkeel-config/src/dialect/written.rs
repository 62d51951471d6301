//! Back from a place to the key that the user wrote there.

use crate::tree::{Node, Place, Value};
use std::collections::HashMap;

/// Every path of a tree as it was written, by its place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    values: HashMap<Place, String>,
    keys: HashMap<Place, String>,
}

impl Written {
    pub(crate) fn new(tree: &Node) -> Written {
        let mut written = Written::default();
        written.note(tree, String::new());
        written
    }

    /// The path of the value at `place`, or of the key there; `None` if nothing was written there.
    pub(crate) fn path_at(&self, place: &Place) -> Option<&str> {
        let value = self.values.get(place).filter(|path| !path.is_empty());
        value.or_else(|| self.keys.get(place)).map(String::as_str)
    }

    /// A map begins where its first key does: the outermost value at a place has its name.
    fn note(&mut self, node: &Node, path: String) {
        match &node.value {
            Value::Seq(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.note(item, format!("{path}[{index}]"));
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    let dot = if path.is_empty() { "" } else { "." };
                    let path = format!("{path}{dot}{}", entry.key);
                    self.keys.insert(entry.key_place.clone(), path.clone());
                    self.note(&entry.value, path);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Str(_) => {}
        }
        self.values.insert(node.place.clone(), path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_written() {
        let text = "a:\n  b: 1\nc:\n  - d: x\n    e: [y, z]\n";
        let written = Written::new(&crate::tree_yaml::parse(text).expect("valid"));
        for (line, column, path) in [
            (2, 6, Some("a.b")),
            (2, 3, Some("a")),
            (4, 5, Some("c[0]")),
            (4, 8, Some("c[0].d")),
            (5, 12, Some("c[0].e[1]")),
            (1, 1, Some("a")),
            (9, 9, None),
        ] {
            assert_eq!(written.path_at(&Place::in_file(line, column)), path, "{line}:{column}");
        }
    }
}
