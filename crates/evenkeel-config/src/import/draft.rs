//! The native form while it is put together, path by path.

use crate::tree::{Node, Place, Value, steps};

/// A map that is filled by paths such as `limits.idle_timeout`.
#[derive(Clone, Debug)]
pub(super) struct Draft(Node);

impl Draft {
    /// An empty map for what stands on `line`.
    pub(super) fn at(line: usize) -> Draft {
        Draft(Node::new(Value::Map(Vec::new()), Place::in_file(line, 1)))
    }

    fn set(&mut self, path: &str, line: usize, value: Value) {
        // Every path is ours, and leads through maps that this made.
        self.0.set(&steps(path), Node::new(value, Place::in_file(line, 1))).ok();
    }

    pub(super) fn text(&mut self, path: &str, line: usize, text: impl Into<String>) {
        self.set(path, line, Value::Str(text.into()));
    }

    pub(super) fn number(&mut self, path: &str, line: usize, number: u64) {
        self.set(path, line, Value::Number(number.to_string()));
    }

    pub(super) fn flag(&mut self, path: &str, line: usize, flag: bool) {
        self.set(path, line, Value::Bool(flag));
    }

    pub(super) fn texts<'a>(
        &mut self,
        path: &str,
        line: usize,
        texts: impl IntoIterator<Item = &'a str>,
    ) {
        let item = |text: &str| Node::new(Value::Str(text.to_owned()), Place::in_file(line, 1));
        self.set(path, line, Value::Seq(texts.into_iter().map(item).collect()));
    }

    /// Sets a field of a table, whose name may hold any character of a path.
    pub(super) fn field(&mut self, table: &str, line: usize, (name, value): (&str, &str)) {
        let mut path = steps(table);
        path.push(crate::tree::Step::Key(name.to_ascii_lowercase()));
        let value = Node::new(Value::Str(value.to_owned()), Place::in_file(line, 1));
        self.0.set(&path, value).ok();
    }

    /// Adds a text to a list.
    pub(super) fn push_text(&mut self, path: &str, line: usize, text: &str) {
        let at = self.len(path);
        self.text(&format!("{path}[{at}]"), line, text);
    }

    /// Adds a map to a list.
    pub(super) fn push(&mut self, path: &str, draft: Draft) {
        let at = self.len(path);
        self.0.set(&steps(&format!("{path}[{at}]")), draft.0).ok();
    }

    /// Replaces a list of maps.
    pub(super) fn list(&mut self, path: &str, line: usize, drafts: Vec<Draft>) {
        self.set(path, line, Value::Seq(drafts.into_iter().map(|draft| draft.0).collect()));
    }

    pub(super) fn len(&self, path: &str) -> usize {
        self.0.at(path).and_then(Node::items).map_or(0, <[Node]>::len)
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.0.at(path).is_some()
    }

    /// The text at a path.
    pub(super) fn get(&self, path: &str) -> Option<&str> {
        match &self.0.at(path)?.value {
            Value::Str(text) | Value::Number(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::Seq(_) | Value::Map(_) => None,
        }
    }

    /// The flag at a path.
    pub(super) fn flag_at(&self, path: &str) -> Option<bool> {
        match self.0.at(path)?.value {
            Value::Bool(flag) => Some(flag),
            Value::Null | Value::Str(_) | Value::Number(_) | Value::Seq(_) | Value::Map(_) => None,
        }
    }

    pub(super) fn node(self) -> Node {
        self.0
    }
}

/// Milliseconds as a duration of the native form.
pub(super) fn duration(millis: u64) -> String {
    if millis.is_multiple_of(1000) { format!("{}s", millis / 1000) } else { format!("{millis}ms") }
}

/// `host:port` of an address that may lack its port.
pub(super) fn with_port(address: &str, port: u16) -> String {
    let bare_v6 = address.ends_with(']');
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| digits(port));
    if address.starts_with("unix:") || has_port && !bare_v6 {
        address.to_owned()
    } else {
        format!("{address}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_added_where_none_is() {
        assert_eq!(with_port("a", 80), "a:80");
        assert_eq!(with_port("a:81", 80), "a:81");
        assert_eq!(with_port("[::1]", 80), "[::1]:80");
        assert_eq!(with_port("[::1]:81", 80), "[::1]:81");
        assert_eq!(with_port("unix:/x", 80), "unix:/x");
    }
}
