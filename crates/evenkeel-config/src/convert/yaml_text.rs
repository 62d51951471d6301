//! A tree as YAML.

use crate::comments::Comments;
use crate::tree::{Entry, Node, Place, Value};
use crate::tree_yaml::plain;

/// Columns up to which a map or list stays on one line.
const MAX_COLUMNS: usize = 96;

/// Spaces of one level.
const INDENT: usize = 2;

/// The whole document.
pub(super) fn text(tree: &Node, comments: Comments) -> String {
    let mut writer = Writer { out: String::new(), comments, beside: Vec::new() };
    for comment in std::mem::take(&mut writer.comments.top) {
        writer.out.push_str(&format!("#{comment}\n"));
    }
    match &tree.value {
        Value::Map(entries) => writer.entries(entries, 0, false),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Str(_) | Value::Seq(_) => {}
    }
    let Writer { mut out, comments, .. } = writer;
    for comment in comments.rest() {
        out.push_str(&format!("#{comment}\n"));
    }
    out
}

struct Writer {
    out: String,
    comments: Comments,
    /// Comments for the end of the line that is being written.
    beside: Vec<String>,
}

impl Writer {
    /// Entries at `indent`; the first one continues a line if `continued`.
    fn entries(&mut self, entries: &[Entry], indent: usize, mut continued: bool) {
        for entry in entries {
            self.begin(&entry.key_place, indent, std::mem::take(&mut continued));
            let key = scalar(&entry.key);
            self.out.push_str(&format!("{key}:"));
            self.value(&entry.value, indent, indent + key.len() + 2);
        }
    }

    /// A value behind its key; `column` is where it would start on the same line.
    fn value(&mut self, node: &Node, indent: usize, column: usize) {
        if let Some(line) = self.on_one_line(node, column) {
            self.out.push(' ');
            self.out.push_str(&line);
            return self.end_line();
        }
        self.end_line();
        match &node.value {
            Value::Map(entries) => self.entries(entries, indent + INDENT, false),
            Value::Seq(items) => self.items(items, indent + INDENT),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Str(_) => {}
        }
    }

    fn items(&mut self, items: &[Node], indent: usize) {
        for item in items {
            self.begin(&item.place, indent, false);
            self.out.push('-');
            match (&item.value, self.on_one_line(item, indent + INDENT)) {
                (_, Some(line)) => {
                    self.out.push(' ');
                    self.out.push_str(&line);
                    self.end_line();
                }
                (Value::Map(entries), None) => {
                    self.out.push(' ');
                    self.entries(entries, indent + INDENT, true);
                }
                (_, None) => self.value(item, indent, indent + INDENT),
            }
        }
    }

    /// Comments above, and the indent; comments beside wait for the end of the line. Where a line
    /// is continued, comments above would end it: they join those beside.
    fn begin(&mut self, place: &Place, indent: usize, continued: bool) {
        let (above, beside) = self.comments.take(place.line);
        let spaces = " ".repeat(indent);
        if continued {
            self.beside.extend(above);
        } else {
            above.iter().for_each(|text| self.out.push_str(&format!("{spaces}#{text}\n")));
            self.out.push_str(&spaces);
        }
        self.beside.extend(beside);
    }

    fn end_line(&mut self) {
        for (index, text) in std::mem::take(&mut self.beside).into_iter().enumerate() {
            let gap = if index == 0 { "  " } else { " " };
            self.out.push_str(&format!("{gap}#{text}"));
        }
        self.out.push('\n');
    }

    /// The value as it stands on one line: scalars, and small collections without comments.
    fn on_one_line(&self, node: &Node, column: usize) -> Option<String> {
        let line = match &node.value {
            Value::Map(entries) if entries.is_empty() => return Some("{}".to_owned()),
            Value::Seq(items) if items.is_empty() => return Some("[]".to_owned()),
            Value::Map(entries) => {
                let scalars = entries
                    .iter()
                    .map(|entry| Some(format!("{}: {}", scalar(&entry.key), leaf(&entry.value)?)));
                format!("{{ {} }}", scalars.collect::<Option<Vec<_>>>()?.join(", "))
            }
            Value::Seq(items) => {
                let scalars = items.iter().map(leaf).collect::<Option<Vec<_>>>()?;
                format!("[{}]", scalars.join(", "))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Str(_) => return leaf(node),
        };
        let fits = column + line.chars().count() <= MAX_COLUMNS;
        (fits && !self.comments.are_in(node)).then_some(line)
    }
}

/// A scalar, an empty collection, or a list of scalars.
fn leaf(node: &Node) -> Option<String> {
    match &node.value {
        Value::Null => Some("null".to_owned()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) if is_shared(number) => Some(number.clone()),
        Value::Number(text) | Value::Str(text) => Some(scalar(text)),
        Value::Map(entries) if entries.is_empty() => Some("{}".to_owned()),
        Value::Seq(items) => {
            let scalar = |item: &Node| match item.value {
                Value::Seq(_) | Value::Map(_) => None,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Str(_) => leaf(item),
            };
            let items = items.iter().map(scalar).collect::<Option<Vec<_>>>()?;
            Some(format!("[{}]", items.join(", ")))
        }
        Value::Map(_) => None,
    }
}

/// A number that YAML and TOML write alike; others stay text, which every key reads the same.
pub(super) fn is_shared(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let decimal = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let leading = whole.len() > 1 && whole.starts_with('0');
    decimal(whole) && !leading && fraction.is_none_or(decimal) && number.len() <= MAX_DIGITS
}

/// Digits that a 64-bit number always has room for.
const MAX_DIGITS: usize = 18;

/// A text, quoted unless every YAML reader takes it for the same text without.
fn scalar(text: &str) -> String {
    let first = |c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_');
    let inner = |c: char| c.is_ascii_alphanumeric() || "/_.-+%=".contains(c);
    let simple = text.starts_with(first) && text.chars().all(inner);
    let number_first = text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_alphabetic() || c == '%')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '%'));
    let word = text.to_ascii_lowercase();
    let old_word = ["y", "n", "yes", "no", "on", "off"].contains(&word.as_str());
    let text_again = plain(text) == Value::Str(text.to_owned());
    if (simple || number_first && !looks_exponential(text)) && !old_word && text_again {
        return text.to_owned();
    }
    quoted(text)
}

/// `1e5`, `0x1f`: numbers to some readers.
fn looks_exponential(text: &str) -> bool {
    text.contains(['e', 'E', 'x', 'X'])
}

/// In double quotes; what is not printable is escaped, in the way that YAML, TOML and JSON share.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() || is_odd(c) => {
                let code = u32::from(c);
                let escape =
                    if code > 0xffff { format!("\\U{code:08x}") } else { format!("\\u{code:04x}") };
                quoted.push_str(&escape);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Line separators, the byte order mark, and characters outside the planes that readers share.
fn is_odd(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}
