//! Makes maps of the native form out of values that were written elsewhere.

use crate::tree::{Entry, Node, Place, Value};

/// Where values stand that the dialect implies: nowhere in the file.
pub(super) fn nowhere() -> Place {
    Place::default()
}

/// A text that the dialect implies.
pub(super) fn text(text: &str) -> Node {
    Node::new(Value::Str(text.to_owned()), nowhere())
}

/// A number that the dialect implies.
pub(super) fn number(number: u64) -> Node {
    Node::new(Value::Number(number.to_string()), nowhere())
}

/// A switch that the dialect implies.
pub(super) fn flag(flag: bool) -> Node {
    Node::new(Value::Bool(flag), nowhere())
}

/// A list of what was built.
pub(super) fn list(items: Vec<Node>) -> Node {
    Node::new(Value::Seq(items), nowhere())
}

/// A map under construction, in the order of its keys.
#[derive(Debug)]
pub(super) struct Build {
    entries: Vec<Entry>,
    place: Place,
}

impl Build {
    /// A map that nobody wrote.
    pub(super) fn new() -> Build {
        Build { entries: Vec::new(), place: nowhere() }
    }

    /// A map that stands for one the user wrote.
    pub(super) fn at(place: &Place) -> Build {
        Build { entries: Vec::new(), place: place.clone() }
    }

    /// A key whose value was built. A map that was built has no line of its own: its keys do.
    pub(super) fn put(mut self, key: &str, value: Node) -> Build {
        let key_place = match value.value {
            Value::Seq(_) | Value::Map(_) => nowhere(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Str(_) => value.place.clone(),
        };
        self.entries.push(Entry { key: key.to_owned(), key_place, value });
        self
    }

    /// A key whose value the user wrote under a key of the dialect; nothing if they did not.
    pub(super) fn moved(mut self, key: &str, from: Option<&Entry>) -> Build {
        self.entries.extend(from.map(|from| Entry { key: key.to_owned(), ..from.clone() }));
        self
    }

    /// The same, with what the dialect means if nothing is written.
    pub(super) fn moved_or(self, key: &str, from: Option<&Entry>, implied: Node) -> Build {
        match from {
            Some(_) => self.moved(key, from),
            None => self.put(key, implied),
        }
    }

    /// The map.
    pub(super) fn node(self) -> Node {
        Node::new(Value::Map(self.entries), self.place)
    }
}
