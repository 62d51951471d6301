//! `convert`: any accepted file as the native form, in one spelling: keys in the order of the
//! reference, values as the user wrote them, comments with what they belong to.
//!
//! What is converted again comes out byte for byte the same.

mod order;
mod toml_text;
mod yaml_text;

use crate::comments::Comments;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::dialect::Detected;
use crate::tree::{Entry, Node, Place, Value};
use crate::{Configuration, Dialect, Format, Overrides, Source};

/// A converted file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The native form.
    pub text: String,
    /// Whose form the file had.
    pub detected: Detected,
    /// How odd keys were read.
    pub notes: Vec<Diagnostic>,
}

/// Converts a file; neither the environment nor flags have a part in it.
///
/// # Errors
/// Everything that is wrong with the file.
pub fn convert(
    source: &Source,
    dialect: Option<Dialect>,
    to: Format,
) -> Result<Converted, Diagnostics> {
    convert_with(source, &Overrides { dialect, ..Overrides::default() }, to)
}

/// As `convert`, with what goes over the file made a part of it.
///
/// # Errors
/// Everything that is wrong with it, by place.
pub fn convert_with(
    source: &Source,
    overrides: &Overrides,
    to: Format,
) -> Result<Converted, Diagnostics> {
    let configuration = crate::read(Some(source), overrides)?;
    let notes = configuration.lines.diagnostics(configuration.notes.clone()).0;
    let text = written(&configuration, source, to);
    Ok(Converted { text, detected: configuration.detected, notes })
}

/// A tree that has no text with comments.
pub(crate) fn plain_text(tree: Node, to: Format) -> String {
    let tree = order::ordered(tree);
    match to {
        Format::Yaml => yaml_text::text(&tree, Comments::default()),
        Format::Toml => toml_text::text(&tree, Comments::default()),
    }
}

fn written(configuration: &Configuration, source: &Source, to: Format) -> String {
    let mut tree = configuration.merged.tree.clone();
    if tree.at("version").is_none()
        && let Value::Map(entries) = &mut tree.value
    {
        let value = Node::new(Value::Number("1".to_owned()), Place::default());
        let (key, key_place) = ("version".to_owned(), Place::default());
        entries.retain(|entry| entry.key != key);
        entries.push(Entry { key, key_place, value });
    }
    let comments = Comments::of(&source.text, source.format, &tree);
    let tree = order::ordered(tree);
    match to {
        Format::Yaml => yaml_text::text(&tree, comments),
        Format::Toml => toml_text::text(&tree, comments),
    }
}
