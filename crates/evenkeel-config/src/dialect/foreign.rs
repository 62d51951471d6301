//! Reads a map of another product: keys are taken by name; what nobody took is told, not refused,
//! since their loaders ignored it.

use super::Notes;
use crate::diagnostic::{Fault, Problem};
use crate::suggest::closest;
use crate::tree::{Entry, Node, Place, Value};

/// One map while it is read.
pub(super) struct Foreign<'a> {
    path: String,
    left: Vec<&'a Entry>,
    taken: Vec<&'static str>,
    place: Place,
}

impl<'a> Foreign<'a> {
    /// The map at the root of a file.
    pub(super) fn root(root: &'a Node, notes: &mut Notes) -> Foreign<'a> {
        Foreign::of(root, String::new(), notes)
    }

    /// A map that nobody wrote.
    pub(super) fn empty() -> Foreign<'a> {
        let (left, taken) = (Vec::new(), Vec::new());
        Foreign { path: String::new(), left, taken, place: super::build::nowhere() }
    }

    /// The map at `path`; another value is refused and read as an empty map.
    pub(super) fn of(node: &'a Node, path: String, notes: &mut Notes) -> Foreign<'a> {
        let mut left: Vec<&Entry> = Vec::new();
        match &node.value {
            Value::Map(entries) => {
                let mut first = std::collections::HashMap::with_capacity(entries.len());
                for entry in entries {
                    if let Some(before) = first.insert(entry.key.as_str(), &entry.key_place) {
                        let (key, before) = (&entry.key, Place::phrase(before));
                        let message = format!("`{key}` is given twice, first on {before}");
                        let path = join(&path, key);
                        notes.refuse(&entry.key_place, path, message);
                    } else {
                        left.push(entry);
                    }
                }
            }
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) | Value::Str(_) | Value::Seq(_) => {
                let message = format!("expected a map, found {}", node.kind());
                notes.refuse(&node.place, path.clone(), message);
            }
        }
        Foreign { path, left, taken: Vec::new(), place: node.place.clone() }
    }

    /// Where the map stands.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The path of one of its keys.
    pub(super) fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Refuses a key of another product beside the one that it would contradict.
    pub(super) fn refuse_beside(&mut self, key: &str, other: &Entry, notes: &mut Notes) {
        let Some(at) = self.left.iter().position(|entry| entry.key == key) else { return };
        let entry = self.left.remove(at);
        let (of, line) = (&other.key, Place::phrase(&other.key_place));
        let message = format!(
            "`{of}` on {line} says it too, in another way: max_attempts counts all tries, \
             max_retries those after the first"
        );
        notes.refuse(&entry.key_place, self.path_of(key), Fault::new(message).hint("keep one"));
    }

    /// A key with a value.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.taken.push(key);
        let at = self.left.iter().position(|entry| entry.key == key)?;
        let entry = self.left.remove(at);
        (entry.value.value != Value::Null).then_some(entry)
    }

    /// A map below a key; an empty one if it is not written.
    pub(super) fn section(&mut self, key: &'static str, notes: &mut Notes) -> Foreign<'a> {
        let path = self.path_of(key);
        match self.take(key) {
            Some(entry) => Foreign::of(&entry.value, path, notes),
            None => Foreign { path, ..Foreign::empty() },
        }
    }

    /// The items of a list below a key, each with its path.
    pub(super) fn items(
        &mut self,
        key: &'static str,
        notes: &mut Notes,
    ) -> Option<(&'a Entry, Vec<(String, &'a Node)>)> {
        let path = self.path_of(key);
        let entry = self.take(key)?;
        let Value::Seq(items) = &entry.value.value else {
            let message = format!("expected a list, found {}", entry.value.kind());
            notes.refuse(&entry.value.place, path, message);
            return Some((entry, Vec::new()));
        };
        let items = items.iter().enumerate();
        Some((entry, items.map(|(at, item)| (format!("{path}[{at}]"), item)).collect()))
    }

    /// `true` or `false` below a key.
    pub(super) fn flag(&mut self, key: &'static str, notes: &mut Notes) -> Option<bool> {
        let path = self.path_of(key);
        let entry = self.take(key)?;
        match &entry.value.value {
            Value::Bool(flag) => Some(*flag),
            Value::Null | Value::Number(_) | Value::Str(_) | Value::Seq(_) | Value::Map(_) => {
                let message = format!("expected true or false, found {}", entry.value.kind());
                notes.refuse(&entry.value.place, path, message);
                None
            }
        }
    }

    /// Tells what was not taken.
    pub(super) fn finish(self, notes: &mut Notes) {
        for entry in self.left {
            let mut fault = Fault::new(format!("unknown key `{}` is ignored", entry.key));
            if let Some(meant) = closest(&entry.key, self.taken.iter().copied()) {
                fault = fault.hint(format!("did you mean `{meant}`?"));
            }
            notes.tell(&entry.key_place, join(&self.path, &entry.key), fault);
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl Notes {
    /// Something that stops the translation.
    pub(super) fn refuse(&mut self, place: &Place, path: String, fault: impl Into<Fault>) {
        self.errors.push(Problem { place: place.clone(), path, fault: fault.into() });
    }

    /// Something a user should know.
    pub(super) fn tell(&mut self, place: &Place, path: String, fault: impl Into<Fault>) {
        self.warnings.push(Problem { place: place.clone(), path, fault: fault.into() });
    }
}

/// A scalar as text.
pub(super) fn scalar(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Str(text) | Value::Number(text) => Some(text.trim()),
        Value::Null | Value::Bool(_) | Value::Seq(_) | Value::Map(_) => None,
    }
}
