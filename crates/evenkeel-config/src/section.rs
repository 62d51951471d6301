//! Declares a section once: reader, defaults, effective rendering, schema, environment list and
//! reference are derived from it.

use crate::diagnostic::Fault;
use crate::key::{Atom, SectionShape, map_entries};
use crate::reader::Reader;
use crate::suggest::{closest, closest_or_akin, elsewhere};
use crate::tree::{Entry, Node, Value};
use serde_json::{Map, Value as Json};

/// What `section!` generates.
pub(crate) trait Section: Default {
    /// Its keys with their docs and defaults.
    fn describe() -> SectionShape;

    /// Names of all keys, and whether each is required.
    const NAMES: &'static [(&'static str, bool)];

    /// Reads the value of one key; false if there is no such key.
    fn read_key(&mut self, entry: &Entry, reader: &mut Reader) -> bool;

    /// Every key with its effective value.
    fn render_keys(&self) -> Map<String, Json>;
}

/// Reads every key of a section; a key without a value keeps its default.
pub(crate) fn read<S: Section>(node: &Node, reader: &mut Reader) -> Option<S> {
    let entries = map_entries(node, reader)?;
    let mut section = S::default();
    for entry in &entries {
        reader.under_key(&entry.key, |reader| {
            let known = S::NAMES.iter().any(|(name, _)| *name == entry.key);
            if !known {
                reader.refuse(&entry.key_place, unknown::<S>(&entry.key));
            } else if entry.value.value != Value::Null {
                section.read_key(entry, reader);
            }
        });
    }
    for (name, required) in S::NAMES {
        let given = entries.iter().any(|e| e.key == *name && e.value.value != Value::Null);
        if *required && !given {
            let message = format!("`{name}` is missing");
            reader.under_key(name, |reader| reader.refuse(&node.place, message));
        }
    }
    Some(section)
}

fn unknown<S: Section>(key: &str) -> Fault {
    let names: Vec<&str> = S::NAMES.iter().map(|(name, _)| *name).collect();
    match elsewhere(key, &names).or_else(|| closest_or_akin(key, &names)) {
        Some(meant) => {
            let message = format!("unknown key `{key}`; did you mean `{meant}`?");
            Fault::new(message).hint(format!("rename it to `{meant}`"))
        }
        None => Fault::new(format!("unknown key `{key}`"))
            .hint(format!("known keys here: {}", names.join(", "))),
    }
}

/// The key behind a field: raw identifiers lose their mark.
pub(crate) const fn key_name(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// The lines of a doc comment as one.
pub(crate) fn doc_line(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// One key is one line: `name: Type = default;`, or `name: Type = stand-in, required;`.
macro_rules! section {
    (@required required) => { true };
    (@required) => { false };
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $($(#[doc = $doc:literal])+
            $field:ident : $type:ty = $default:expr $(, $required:ident)? ;)*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) struct $name {
            $($(#[doc = $doc])+ pub(crate) $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* }
            }
        }

        impl $crate::section::Section for $name {
            fn describe() -> $crate::key::SectionShape {
                let default = $name::default();
                $crate::key::SectionShape {
                    name: stringify!($name),
                    about: $crate::section::doc_line(&[$($about),+]),
                    keys: vec![$($crate::key::KeyShape {
                        name: $crate::section::key_name(stringify!($field)),
                        doc: $crate::section::doc_line(&[$($doc),+]),
                        default: $crate::key::Key::render(&default.$field),
                        required: section!(@required $($required)?),
                        shape: <$type as $crate::key::Key>::shape(),
                    }),*],
                    shorthand: None,
                }
            }

            const NAMES: &'static [(&'static str, bool)] = &[$((
                    $crate::section::key_name(stringify!($field)),
                    section!(@required $($required)?),
                )),*];

            fn read_key(
                &mut self,
                entry: &$crate::tree::Entry,
                reader: &mut $crate::reader::Reader,
            ) -> bool {
                $(if entry.key == $crate::section::key_name(stringify!($field)) {
                    if let Some(value) = $crate::key::Key::read(&entry.value, reader) {
                        self.$field = value;
                    }
                    return true;
                })*
                false
            }

            fn render_keys(&self) -> serde_json::Map<String, serde_json::Value> {
                let mut keys = serde_json::Map::new();
                $(if let Some(value) = $crate::key::Key::render(&self.$field) {
                    let name = $crate::section::key_name(stringify!($field));
                    keys.insert(name.to_owned(), value);
                })*
                keys
            }
        }

        impl $crate::key::Key for $name {
            fn read(
                node: &$crate::tree::Node,
                reader: &mut $crate::reader::Reader,
            ) -> Option<Self> {
                $crate::section::read(node, reader)
            }

            fn render(&self) -> Option<serde_json::Value> {
                let keys = $crate::section::Section::render_keys(self);
                Some(serde_json::Value::Object(keys))
            }

            fn shape() -> $crate::key::Shape {
                $crate::key::Shape::Section(<$name as $crate::section::Section>::describe())
            }

            fn stand_in() -> Option<Self> {
                Some($name::default())
            }
        }
    };
}
pub(crate) use section;

/// Declares a closed set of words; the first is the default.
macro_rules! choice {
    (
        $(#[doc = $about:literal])+
        $name:ident ($word:literal) {
            $($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[doc = $doc])+ $variant,)* }

        impl $name {
            const ALL: &'static [($name, &'static str)] = &[$(($name::$variant, $text)),*];

            pub(crate) fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }

        impl $crate::key::Scalar for $name {
            const WORD: &'static str = $word;

            fn parse(atom: $crate::key::Atom<'_>) -> Result<Self, $crate::diagnostic::Fault> {
                $crate::section::choose(atom, $name::ALL)
            }

            fn json(&self) -> serde_json::Value {
                self.as_str().into()
            }

            fn schema() -> serde_json::Value {
                let mut words: Vec<serde_json::Value> = vec![$($text.into()),*];
                if words.iter().any(|word| word == "off") {
                    words.push(false.into());
                }
                serde_json::json!({ "enum": words })
            }
        }
    };
}
pub(crate) use choice;

/// Finds a word in a closed set. YAML 1.1 habits turn `off` into `false`: both are taken.
pub(crate) fn choose<T: Copy>(atom: Atom<'_>, all: &[(T, &'static str)]) -> Result<T, Fault> {
    let typed = match atom {
        Atom::Bool(false) if all.iter().any(|(_, word)| *word == "off") => "off",
        Atom::Bool(_) | Atom::Number(_) | Atom::Str(_) => atom.text(),
    };
    let wanted = typed.to_ascii_lowercase().replace('-', "_");
    if let Some((value, _)) = all.iter().find(|(_, word)| *word == wanted) {
        return Ok(*value);
    }
    let words: Vec<&str> = all.iter().map(|(_, word)| *word).collect();
    let meant = closest(typed, words.iter().copied());
    let meant = meant.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
    let fault = Fault::new(format!("{typed:?} is not known here{meant}"));
    Err(fault.hint(format!("one of: {}", words.join(", "))))
}
