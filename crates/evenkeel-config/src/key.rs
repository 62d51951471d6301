//! What every type of a key can do: be read from the tree, be shown again, and describe itself.

use crate::diagnostic::Fault;
use crate::reader::Reader;
use crate::tree::{Entry, Node, Place, Value};
use serde_json::{Map, Value as Json, json};
use std::collections::HashMap;

/// A type that can stand as the value of a key.
pub(crate) trait Key: Sized {
    /// Reads a value; reports what is wrong and returns `None` if nothing can be made of it.
    fn read(node: &Node, reader: &mut Reader) -> Option<Self>;

    /// The value in its canonical form; `None` leaves the key out.
    fn render(&self) -> Option<Json>;

    /// What may be written.
    fn shape() -> Shape;

    /// Stands for a list item that could not be read, so that later items keep their index.
    fn stand_in() -> Option<Self> {
        None
    }
}

/// What may be written as a value: schema, environment and reference are derived from it.
pub(crate) enum Shape {
    /// One word for the reference, and its JSON Schema.
    Scalar(&'static str, Json),
    /// Fixed keys.
    Section(SectionShape),
    /// Any number of one shape.
    List(Box<Shape>),
    /// Free keys with text.
    Table,
    /// Anything.
    Free,
}

/// Fixed keys under a name.
pub(crate) struct SectionShape {
    pub(crate) name: &'static str,
    pub(crate) about: String,
    pub(crate) keys: Vec<KeyShape>,
    /// A scalar that may stand for the whole section.
    pub(crate) shorthand: Option<Json>,
}

/// One key of a section.
pub(crate) struct KeyShape {
    pub(crate) name: &'static str,
    pub(crate) doc: String,
    /// `None`: left out.
    pub(crate) default: Option<Json>,
    pub(crate) required: bool,
    pub(crate) shape: Shape,
}

/// A scalar as the text has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Atom<'a> {
    Bool(bool),
    Number(&'a str),
    Str(&'a str),
}

impl<'a> Atom<'a> {
    /// As text; numbers as they were written.
    pub(crate) fn text(self) -> &'a str {
        match self {
            Atom::Bool(true) => "true",
            Atom::Bool(false) => "false",
            Atom::Number(text) | Atom::Str(text) => text,
        }
    }
}

/// A type made of one scalar.
pub(crate) trait Scalar: Sized {
    /// With an article: "a duration".
    const WORD: &'static str;

    /// The value, or what is wrong with it.
    fn parse(atom: Atom<'_>) -> Result<Self, Fault>;

    /// Canonical form.
    fn json(&self) -> Json;

    /// JSON Schema of what may be written.
    fn schema() -> Json;

    /// True of a free key whose value is not shown.
    fn is_secret(&self) -> bool {
        false
    }
}

/// Shown in place of a secret.
pub(crate) const REDACTED: &str = "<redacted>";

impl<T: Scalar> Key for T {
    fn read(node: &Node, reader: &mut Reader) -> Option<T> {
        let atom = match &node.value {
            Value::Bool(flag) => Atom::Bool(*flag),
            Value::Number(text) => Atom::Number(text),
            Value::Str(text) => Atom::Str(text),
            Value::Null | Value::Seq(_) | Value::Map(_) => {
                let message = format!("expected {}, found {}", T::WORD, node.kind());
                reader.refuse(&node.place, message);
                return None;
            }
        };
        T::parse(atom).map_err(|fault| reader.refuse(&node.place, fault)).ok()
    }

    fn render(&self) -> Option<Json> {
        Some(self.json())
    }

    fn shape() -> Shape {
        let word = T::WORD.trim_start_matches("an ").trim_start_matches("a ");
        Shape::Scalar(word, T::schema())
    }
}

impl<T: Key> Key for Vec<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Vec<T>> {
        let Value::Seq(items) = &node.value else {
            let fault = Fault::new(format!("expected a list, found {}", node.kind()));
            reader.refuse(&node.place, fault.hint("write it in brackets: [a, b]"));
            return None;
        };
        let read = |(index, item): (usize, &Node)| {
            reader.under_index(index, |reader| T::read(item, reader)).or_else(T::stand_in)
        };
        Some(items.iter().enumerate().filter_map(read).collect())
    }

    fn render(&self) -> Option<Json> {
        Some(self.iter().filter_map(Key::render).collect())
    }

    fn shape() -> Shape {
        Shape::List(Box::new(T::shape()))
    }
}

/// A key that is off unless it is written, and then left out of the effective configuration.
impl<T: Key> Key for Option<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Option<T>> {
        T::read(node, reader).map(Some)
    }

    fn render(&self) -> Option<Json> {
        self.as_ref().and_then(Key::render)
    }

    fn shape() -> Shape {
        T::shape()
    }
}

/// A section that `{}` turns off.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OrEmpty<T>(pub(crate) Option<T>);

impl<T: Key> Key for OrEmpty<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<OrEmpty<T>> {
        if node.value == Value::Map(Vec::new()) {
            return Some(OrEmpty(None));
        }
        T::read(node, reader).map(|section| OrEmpty(Some(section)))
    }

    fn render(&self) -> Option<Json> {
        self.0.as_ref().map_or_else(|| Some(json!({})), Key::render)
    }

    fn shape() -> Shape {
        T::shape()
    }
}

/// Free keys with one scalar each, sorted by key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table<K, V>(pub(crate) Vec<(K, V)>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Table(Vec::new())
    }
}

impl<K: Scalar + Ord, V: Scalar> Key for Table<K, V> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let entries = map_entries(node, reader)?;
        let mut rows: Vec<(K, V)> = Vec::new();
        for entry in entries {
            reader.under_key(&entry.key, |reader| {
                let key = match K::parse(Atom::Str(&entry.key)) {
                    Ok(key) => key,
                    Err(fault) => return reader.refuse(&entry.key_place, fault),
                };
                if let Some(value) = V::read(&entry.value, reader) {
                    rows.push((key, value));
                }
            });
        }
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(pair) = rows.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            reader.refuse(&node.place, format!("{} is given twice", pair[0].0.json()));
        }
        Some(Table(rows))
    }

    fn render(&self) -> Option<Json> {
        let text = |key: &K| key.json().as_str().unwrap_or_default().to_owned();
        let shown = |key: &K, value: &V| match key.is_secret() {
            true => Json::from(REDACTED),
            false => value.json(),
        };
        let rows = self.0.iter().map(|(key, value)| (text(key), shown(key, value)));
        Some(Json::Object(rows.collect::<Map<_, _>>()))
    }

    fn shape() -> Shape {
        Shape::Table
    }
}

/// The entries of a map, with those written twice reported; other values are refused.
pub(crate) fn map_entries<'a>(node: &'a Node, reader: &mut Reader) -> Option<Vec<&'a Entry>> {
    let Value::Map(entries) = &node.value else {
        let fault = Fault::new(format!("expected a map, found {}", node.kind()));
        reader.refuse(&node.place, fault.hint("a map has keys: { key: value }"));
        return None;
    };
    let mut first: HashMap<&str, &Place> = HashMap::with_capacity(entries.len());
    let mut unique = Vec::with_capacity(entries.len());
    for entry in entries {
        if let Some(place) = first.get(entry.key.as_str()) {
            let message = format!("`{}` is given twice, first on {}", entry.key, place.phrase());
            reader.under_key(&entry.key, |reader| reader.refuse(&entry.key_place, message));
        } else {
            first.insert(&entry.key, &entry.key_place);
            unique.push(entry);
        }
    }
    Some(unique)
}
