//! The reference of every key, as Markdown.

use crate::key::{Key, KeyShape, SectionShape, Shape};
use crate::sections::Root;
use serde_json::Value as Json;
use std::fmt::Write;

/// Every key with its type, default and meaning: one table per section.
pub fn reference_markdown() -> String {
    let mut text = String::from("# Configuration reference\n");
    if let Shape::Section(root) = Root::shape() {
        Reference { text: &mut text }.section(root, "");
    }
    text
}

/// The tables while they are written.
struct Reference<'a> {
    text: &'a mut String,
}

impl Reference<'_> {
    /// Writes a section and then those below it; `path` is empty or ends in a dot.
    fn section(&mut self, shape: SectionShape, path: &str) {
        let SectionShape { about, keys, .. } = shape;
        let title = match path.strip_suffix('.') {
            None => "Top level".to_owned(),
            Some(path) => format!("`{path}`"),
        };
        // Writing to a String cannot fail.
        let _ = write!(self.text, "\n## {title}\n\n{about}\n\n");
        self.text.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
        let mut below = Vec::new();
        for key in keys {
            self.row(&key);
            let name = key.name;
            match key.shape {
                Shape::Section(inner) => below.push((format!("{path}{name}."), inner)),
                Shape::List(item) => {
                    if let Shape::Section(inner) = *item {
                        below.push((format!("{path}{name}[]."), inner));
                    }
                }
                Shape::Scalar(..) | Shape::Table | Shape::Free => {}
            }
        }
        // The short form has the same backends as a pool.
        for (path, inner) in below.into_iter().filter(|(path, _)| path != "backends[].") {
            self.section(inner, &path);
        }
    }

    fn row(&mut self, key: &KeyShape) {
        let KeyShape { name, doc, default, required, shape } = key;
        let default = match (default, shape) {
            _ if *required => "required".to_owned(),
            (Some(Json::String(default)), _) if default.is_empty() => "`\"\"`".to_owned(),
            (Some(Json::String(default)), _) => format!("`{default}`"),
            (Some(_), Shape::Section(_)) => "see below".to_owned(),
            (Some(default), _) => format!("`{default}`"),
            (None, _) => String::new(),
        };
        let meaning = doc.replace('|', "\\|");
        let _ = writeln!(self.text, "| `{name}` | {} | {default} | {meaning} |", kind(shape));
    }
}

fn kind(shape: &Shape) -> String {
    match shape {
        Shape::Scalar(word, schema) => match schema.get("enum").and_then(Json::as_array) {
            Some(words) if words.len() <= MAX_WORDS => {
                let words = words.iter().filter_map(Json::as_str);
                words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            }
            Some(_) | None => (*word).to_owned(),
        },
        Shape::Section(_) => "section".to_owned(),
        Shape::List(item) => format!("list of {}", kind(item)),
        Shape::Table => "map of text".to_owned(),
        Shape::Free => "map".to_owned(),
    }
}

/// Words of a closed set that are listed in place of its type.
const MAX_WORDS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_a_table_for_every_section() {
        let text = reference_markdown();
        for line in [
            "## `pools[].retry.backoff`\n\nWait between tries",
            "## `pools[].autoscale.scale_up`\n\nGrowth.",
            "## `pools[].retry`\n\nWhat is tried again",
            "| `budget` | ratio | `0.2` | Retries as a share of requests. |",
            "| `state_dir` | text | `\"\"` | ",
            "## `routes[].mirror`\n\nCopies of requests",
            "| `protocol` | `http`, `tcp`, `udp` | `http` | What is spoken.",
            "| `level` | `debug`, `info`, `warn`, `error` | `info` | Least severe",
            "| `bind` | address to bind | required |",
        ] {
            assert!(text.contains(line), "{line}");
        }
    }
}
