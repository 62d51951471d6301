//! The reference of every key, as Markdown.

use crate::key::{Key, KeyShape, SectionShape, Shape};
use crate::sections::Root;
use crate::served::{self, Unserved, Verdict};
use serde_json::Value as Json;
use std::fmt::Write;

/// Every key with its type, default and meaning: what is not served yet, then one table per
/// section.
pub fn reference_markdown() -> String {
    let unserved = served::list();
    let mut text = String::from("# Configuration reference\n");
    if !unserved.is_empty() {
        not_served_yet(&unserved, &mut text);
    }
    if let Shape::Section(root) = Root::shape() {
        Reference { unserved, text: &mut text }.section(root, "");
    }
    text
}

fn not_served_yet(unserved: &[Unserved], text: &mut String) {
    text.push_str(
        "\n## Not served yet\n\nThe format is ahead of the program: every key below is read and \
         checked, but this version does not act on all of them. Those that would change safety or \
         meaning are refused by `evenkeel check` and `evenkeel run` if they are used:\n\n",
    );
    names_of(Verdict::Refused, unserved, text);
    text.push_str("\nThe others do nothing, and a warning says so where they are written:\n\n");
    names_of(Verdict::WithoutEffect, unserved, text);
}

fn names_of(verdict: Verdict, unserved: &[Unserved], text: &mut String) {
    for Unserved { path, served, .. } in unserved.iter().filter(|one| one.verdict == verdict) {
        let except = if served.is_empty() { String::new() } else { format!(" ({served})") };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "- `{path}`{except}");
    }
}

/// The mark of a key or section: *Not served yet.*
fn mark(unserved: &Unserved) -> String {
    let words = match unserved.verdict {
        Verdict::Refused => "Not served yet",
        Verdict::WithoutEffect => "No effect yet",
    };
    match unserved.served {
        "" => format!("*{words}.* "),
        served => format!("*{words}, except: {served}.* "),
    }
}

/// The tables while they are written.
struct Reference<'a> {
    unserved: Vec<Unserved>,
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
        let mark = self.mark_of_section(path);
        let _ = write!(self.text, "\n## {title}\n\n{mark}{about}\n\n");
        self.text.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
        let mut below = Vec::new();
        for key in keys {
            self.row(&key, path);
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

    fn row(&mut self, key: &KeyShape, path: &str) {
        let KeyShape { name, doc, default, required, shape } = key;
        let default = match (default, shape) {
            _ if *required => "required".to_owned(),
            (Some(Json::String(default)), _) if default.is_empty() => "`\"\"`".to_owned(),
            (Some(Json::String(default)), _) => format!("`{default}`"),
            (Some(_), Shape::Section(_)) => "see below".to_owned(),
            (Some(default), _) => format!("`{default}`"),
            (None, _) => String::new(),
        };
        let full = format!("{path}{name}");
        let mark = self.unserved.iter().find(|one| one.path == full).map(mark).unwrap_or_default();
        let meaning = format!("{mark}{doc}").replace('|', "\\|");
        let _ = writeln!(self.text, "| `{name}` | {} | {default} | {meaning} |", kind(shape));
    }

    /// The mark of a section that is not served as a whole, or lies below one.
    fn mark_of_section(&self, path: &str) -> String {
        let whole = |one: &&Unserved| {
            let rest = path.strip_prefix(&one.path);
            one.served.is_empty() && rest.is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        self.unserved.iter().find(whole).map(mark).unwrap_or_default()
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

    #[test]
    fn every_key_that_is_not_served_is_marked_in_its_table() {
        let text = reference_markdown();
        for Unserved { path, .. } in served::list() {
            let (section, key) = path.rsplit_once('.').unwrap_or(("", &path));
            let title = match section {
                "" => "\n## Top level\n".to_owned(),
                section => format!("\n## `{section}`\n"),
            };
            let (_, table) = text.split_once(&title).expect(&title);
            let table = table.split("\n## ").next().expect("a first part");
            let start = format!("| `{key}` |");
            let row = table.lines().find(|line| line.starts_with(&start)).expect(&path);
            assert!(row.contains("| *No"), "{row}");
        }
    }
}
