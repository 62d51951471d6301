//! One spanned tree for every text form: what YAML, TOML, the environment and flags become before
//! any key is interpreted.

use std::sync::Arc;

/// Where a value was written. Places of the file sort before those of variables and flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// The environment variable or flag, if it was not the file.
    pub(crate) origin: Option<Arc<str>>,
    /// From 1; 0 outside a file.
    pub(crate) line: usize,
    /// From 1, in characters; 0 outside a file.
    pub(crate) column: usize,
}

impl Place {
    pub(crate) fn in_file(line: usize, column: usize) -> Place {
        Place { origin: None, line, column }
    }

    pub(crate) fn of(origin: &str) -> Place {
        Place { origin: Some(origin.into()), line: 0, column: 0 }
    }

    /// `line 3`, or the variable: how another message refers to this place.
    pub(crate) fn phrase(&self) -> String {
        match &self.origin {
            Some(origin) => origin.to_string(),
            None => format!("line {}", self.line),
        }
    }
}

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// What a text says, before it is known what is expected there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// As written, so that a key that wants text or a wide number loses nothing.
    Number(String),
    Str(String),
    Seq(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value. The same key may stand twice in a map; readers refuse that.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) value: Node,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Index(usize),
    Key(String),
}

/// `pools[0].strategy` as steps.
pub(crate) fn steps(path: &str) -> Vec<Step> {
    let parts = path.split(['.', '[']).filter(|part| !part.is_empty());
    let step = |part: &str| match part.strip_suffix(']').map(str::parse) {
        Some(Ok(index)) => Step::Index(index),
        Some(Err(_)) | None => Step::Key(part.to_owned()),
    };
    parts.map(step).collect()
}

impl Node {
    pub(crate) fn new(value: Value, place: Place) -> Node {
        Node { value, place }
    }

    /// What kind of value this is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Str(_) => "text",
            Value::Seq(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The entry of a map by its key.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Str(_) | Value::Seq(_) => None,
        }
    }

    /// The value of an entry of a map, to be changed.
    pub(crate) fn value_mut(&mut self, key: &str) -> Option<&mut Value> {
        match &mut self.value {
            Value::Map(entries) => {
                let entry = entries.iter_mut().find(|entry| entry.key == key)?;
                Some(&mut entry.value.value)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Str(_) | Value::Seq(_) => None,
        }
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Seq(items) => Some(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Str(_) | Value::Map(_) => None,
        }
    }

    fn item(&self, index: usize) -> Option<&Node> {
        self.items()?.get(index)
    }

    /// The value at a path such as `pools[0].strategy`, if one is written there.
    pub(crate) fn at(&self, path: &str) -> Option<&Node> {
        let found = steps(path).iter().try_fold(self, |node, step| match step {
            Step::Key(key) => node.entry(key).map(|entry| &entry.value),
            Step::Index(index) => node.item(*index),
        })?;
        (found.value != Value::Null).then_some(found)
    }

    /// Where the value at `path` stands; if it is not written, its nearest ancestor.
    pub(crate) fn place_at(&self, path: &str) -> &Place {
        let mut node = self;
        for step in steps(path) {
            let next = match &step {
                Step::Key(key) => node.entry(key).map(|entry| &entry.value),
                Step::Index(index) => node.item(*index),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        &node.place
    }

    /// Where the key at the end of `path` stands; if it is not written, its nearest ancestor.
    pub(crate) fn key_place_at(&self, path: &str) -> &Place {
        if let Some((parent, key)) = path.rsplit_once('.')
            && let Some(entry) = self.at(parent).and_then(|node| node.entry(key))
        {
            return &entry.key_place;
        }
        self.entry(path).map_or_else(|| self.place_at(path), |entry| &entry.key_place)
    }

    /// The value at `steps`, to be changed, if one is written there.
    pub(crate) fn at_steps_mut(&mut self, steps: &[Step]) -> Option<&mut Node> {
        steps.iter().try_fold(self, |node, step| match (step, &mut node.value) {
            (Step::Key(key), Value::Map(entries)) => {
                entries.iter_mut().find(|entry| entry.key == *key).map(|entry| &mut entry.value)
            }
            (Step::Index(index), Value::Seq(items)) => items.get_mut(*index),
            (Step::Key(_) | Step::Index(_), _) => None,
        })
    }

    /// Replaces or adds the value at `steps`, adding the maps and lists on the way.
    pub(crate) fn set(&mut self, steps: &[Step], new: Node) -> Result<(), String> {
        let mut node = self;
        for step in steps {
            let place = new.place.clone();
            node = match step {
                Step::Key(key) => node.entry_to_set(key, place)?,
                Step::Index(index) => node.item_to_set(*index, place)?,
            };
        }
        *node = new;
        Ok(())
    }

    fn entry_to_set(&mut self, key: &str, place: Place) -> Result<&mut Node, String> {
        if self.value == Value::Null {
            self.value = Value::Map(Vec::new());
        }
        let kind = self.kind();
        let Value::Map(entries) = &mut self.value else {
            return Err(format!("no key {key:?} here: the value is {kind}"));
        };
        let exact = entries.iter().position(|entry| entry.key == key);
        // Variables are spelt in capitals, and names of fields in any way.
        let alike = || entries.iter().position(|entry| entry.key.eq_ignore_ascii_case(key));
        let at = exact.or_else(alike).unwrap_or(entries.len());
        if at == entries.len() {
            let value = Node::new(Value::Null, place.clone());
            entries.push(Entry { key: key.to_owned(), key_place: place, value });
        }
        Ok(&mut entries[at].value)
    }

    fn item_to_set(&mut self, index: usize, place: Place) -> Result<&mut Node, String> {
        if self.value == Value::Null {
            self.value = Value::Seq(Vec::new());
        }
        let kind = self.kind();
        let Value::Seq(items) = &mut self.value else {
            return Err(format!("no item {index} here: the value is {kind}"));
        };
        if index > items.len() {
            return Err(format!("no item {index}: the list has {} (from 0)", items.len()));
        }
        if index == items.len() {
            items.push(Node::new(Value::Null, place));
        }
        Ok(&mut items[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Node {
        Node::new(Value::Str(value.to_owned()), Place::of("--flag"))
    }

    #[test]
    fn sets_what_is_missing_and_finds_it() {
        let mut root = Node::new(Value::Null, Place::in_file(1, 1));
        root.set(&steps("pools[0].strategy"), text("a")).expect("added");
        root.set(&steps("pools[0].strategy"), text("b")).expect("replaced");
        assert_eq!(root.at("pools[0].strategy"), Some(&text("b")));
        assert_eq!(root.at("pools[1]"), None);
        assert_eq!(root.place_at("pools[0].nothing.here").origin.as_deref(), Some("--flag"));
        assert!(root.set(&steps("pools[2]"), text("c")).is_err(), "a gap in a list");
        assert!(root.set(&steps("pools.name"), text("c")).is_err(), "a key of a list");
        assert!(root.set(&steps("pools[0].strategy[0]"), text("c")).is_err(), "an item of text");
    }
}
