//! A tree as TOML 1.0, which every TOML reader takes.

use super::yaml_text::{is_shared, quoted};
use crate::comments::Comments;
use crate::tree::{Entry, Node, Place, Value};

/// Columns up to which a table or array stays on one line.
const MAX_COLUMNS: usize = 96;

/// The whole document.
pub(super) fn text(tree: &Node, comments: Comments) -> String {
    let mut writer = Writer { out: String::new(), comments };
    for comment in std::mem::take(&mut writer.comments.top) {
        writer.out.push_str(&format!("#{comment}\n"));
    }
    if let Value::Map(entries) = &tree.value {
        writer.table(entries, "");
    }
    let Writer { mut out, comments } = writer;
    for comment in comments.rest() {
        out.push_str(&format!("#{comment}\n"));
    }
    out
}

struct Writer {
    out: String,
    comments: Comments,
}

impl Writer {
    /// What fits on lines of its own first, then tables, which have no end but the next one.
    fn table(&mut self, entries: &[Entry], path: &str) {
        let mut tables = Vec::new();
        for entry in entries {
            let key = key(&entry.key);
            if self.is_table(entry, path, key.len()) {
                tables.push((entry, format!("{path}{key}")));
            } else {
                self.assignment(entry, &key);
            }
        }
        for (entry, path) in tables {
            match &entry.value.value {
                Value::Map(inner) => {
                    self.header(&entry.key_place, &format!("[{path}]"));
                    self.table(inner, &format!("{path}."));
                }
                Value::Seq(items) => self.tables(entry, items, &path),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Str(_) => {}
            }
        }
    }

    fn tables(&mut self, entry: &Entry, items: &[Node], path: &str) {
        let (mut own, mut of_list) = self.comments.take(entry.key_place.line);
        // In TOML the list and its first item are one line.
        if items.first().is_none_or(|first| first.place.line != entry.key_place.line) {
            own.extend(of_list.take());
        }
        for item in items {
            let (above, beside) = self.comments.take(item.place.line);
            own.extend(above);
            self.out.push('\n');
            self.lines_of(std::mem::take(&mut own));
            self.line(&format!("[[{path}]]"), beside.or(of_list.take()));
            if let Value::Map(inner) = &item.value {
                self.table(inner, &format!("{path}."));
            }
        }
    }

    /// True of what needs a header: a list of maps, or a map that does not fit on one line.
    fn is_table(&self, entry: &Entry, path: &str, key: usize) -> bool {
        let column = key + " = ".len();
        match &entry.value.value {
            Value::Map(inner) => {
                !inner.is_empty() && (path.is_empty() || !self.fits(&entry.value, column))
            }
            Value::Seq(items) => {
                let maps = items.iter().all(|item| matches!(item.value, Value::Map(_)));
                let fit = items.iter().all(|item| self.fits(item, INDENT.len()));
                !items.is_empty() && maps && (path.is_empty() || !fit)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Str(_) => false,
        }
    }

    fn fits(&self, node: &Node, column: usize) -> bool {
        column + inline(node).chars().count() <= MAX_COLUMNS && !self.comments.are_in(node)
    }

    fn assignment(&mut self, entry: &Entry, key: &str) {
        let (above, beside) = self.comments.take(entry.key_place.line);
        self.lines_of(above);
        let start = format!("{key} = ");
        let whole = self.fits(&entry.value, start.len());
        let Some(items) = entry.value.items().filter(|_| !whole) else {
            return self.line(&format!("{start}{}", inline(&entry.value)), beside);
        };
        self.line(&format!("{start}["), beside);
        for item in items {
            let (above, beside) = self.comments.take(item.place.line);
            above.iter().for_each(|text| self.out.push_str(&format!("{INDENT}#{text}\n")));
            self.line(&format!("{INDENT}{},", inline(item)), beside);
        }
        self.out.push_str("]\n");
    }

    fn header(&mut self, place: &Place, header: &str) {
        let (above, beside) = self.comments.take(place.line);
        self.out.push('\n');
        self.lines_of(above);
        self.line(header, beside);
    }

    fn lines_of(&mut self, comments: Vec<String>) {
        comments.iter().for_each(|text| self.out.push_str(&format!("#{text}\n")));
    }

    fn line(&mut self, text: &str, beside: Option<String>) {
        let beside = beside.map(|text| format!("  #{text}")).unwrap_or_default();
        self.out.push_str(&format!("{text}{beside}\n"));
    }
}

const INDENT: &str = "  ";

fn key(key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let is_bare = !key.is_empty() && key.bytes().all(bare);
    if is_bare { key.to_owned() } else { quoted(key) }
}

/// A value on one line.
fn inline(node: &Node) -> String {
    match &node.value {
        // Only a list can hold nothing at a place, and TOML has no word for it.
        Value::Null => quoted(""),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) if is_shared(number) => number.clone(),
        Value::Number(text) | Value::Str(text) => quoted(text),
        Value::Seq(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Map(entries) => {
            let pair = |entry: &Entry| format!("{} = {}", key(&entry.key), inline(&entry.value));
            let pairs: Vec<String> = entries.iter().map(pair).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
    }
}
