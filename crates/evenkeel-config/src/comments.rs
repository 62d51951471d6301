//! Comments of a text, each with the line it stands on; `convert` writes them again.

use crate::Format;
use crate::bound::MAX_NODES;
use crate::diagnostic::SourceLines;
use crate::dialect::is_directive;
use crate::tree::{Node, Value};
use granit_parser::{Event, Parser, Placement};
use std::collections::{BTreeMap, BTreeSet};
use toml_parser::lexer::TokenKind;

/// One comment, without its `#`.
struct Comment {
    line: usize,
    /// It has its line for itself.
    alone: bool,
    text: String,
}

/// Comments by the line of what they belong to.
#[derive(Debug, Default)]
pub(crate) struct Comments {
    /// Before anything else.
    pub(crate) top: Vec<String>,
    above: BTreeMap<usize, Vec<String>>,
    beside: BTreeMap<usize, String>,
    /// After everything else.
    pub(crate) end: Vec<String>,
}

impl Comments {
    /// Those of `text`, for what of it is in `tree`. The line that names a dialect is none.
    pub(crate) fn of(text: &str, format: Format, tree: &Node) -> Comments {
        let mut lines = BTreeSet::new();
        collect_lines(tree, &mut lines);
        let found = match format {
            Format::Yaml => in_yaml(text),
            Format::Toml => in_toml(text),
        };
        let mut comments = Comments::default();
        for comment in found {
            let directive = comment.line == 1 && is_directive(text.lines().next().unwrap_or(""));
            if !directive {
                comments.add(comment, &lines);
            }
        }
        comments
    }

    fn add(&mut self, Comment { line, alone, text }: Comment, lines: &BTreeSet<usize>) {
        if !alone && lines.contains(&line) {
            self.beside.insert(line, text);
            return;
        }
        match lines.range(line..).next() {
            Some(next) if Some(next) == lines.first() => self.top.push(text),
            Some(next) => self.above.entry(*next).or_default().push(text),
            None => self.end.push(text),
        }
    }

    /// Takes the comments above and beside what begins on `line`.
    pub(crate) fn take(&mut self, line: usize) -> (Vec<String>, Option<String>) {
        (self.above.remove(&line).unwrap_or_default(), self.beside.remove(&line))
    }

    /// True if something within `node` has comments that nobody took.
    pub(crate) fn are_in(&self, node: &Node) -> bool {
        if self.above.is_empty() && self.beside.is_empty() {
            return false;
        }
        let mut lines = BTreeSet::new();
        collect_lines(node, &mut lines);
        lines.iter().any(|line| self.above.contains_key(line) || self.beside.contains_key(line))
    }

    /// What is left: of lines that are not written again.
    pub(crate) fn rest(self) -> Vec<String> {
        let above = self.above.into_values().flatten();
        above.chain(self.beside.into_values()).chain(self.end).collect()
    }
}

/// The lines on which keys and items of the tree begin.
fn collect_lines(node: &Node, lines: &mut BTreeSet<usize>) {
    match &node.value {
        Value::Seq(items) => {
            for item in items {
                lines.extend(line_of(item.place.line));
                collect_lines(item, lines);
            }
        }
        Value::Map(entries) => {
            for entry in entries.iter().filter(|entry| entry.value.value != Value::Null) {
                lines.extend(line_of(entry.key_place.line));
                collect_lines(&entry.value, lines);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Str(_) => {}
    }
}

fn line_of(line: usize) -> Option<usize> {
    (line > 0).then_some(line)
}

fn in_yaml(text: &str) -> Vec<Comment> {
    let options = granit_parser::options! {
        emit_comments: true,
        max_buffered_comment_events: MAX_NODES,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut comments = Vec::new();
    // The text was parsed before: an error cannot come up, and would end the list.
    while let Some(Ok((event, span))) = parser.next_event() {
        if let Event::Comment(comment, placement) = event {
            let (line, alone) = (span.start.line().max(1), placement != Placement::Right);
            comments.push(Comment { line, alone, text: comment.trim_end().to_owned() });
        }
    }
    comments
}

fn in_toml(text: &str) -> Vec<Comment> {
    let lines = SourceLines::new("", text.to_owned());
    let mut comments = Vec::new();
    for token in toml_parser::Source::new(text).lex() {
        if token.kind() != TokenKind::Comment {
            continue;
        }
        let (start, end) = (token.span().start(), token.span().end());
        let before = text[..start].rsplit('\n').next().unwrap_or_default();
        let comment = text[start..end].trim_start_matches('#').trim_end();
        let (line, alone) = (lines.place_of(start).line, before.trim().is_empty());
        comments.push(Comment { line, alone, text: comment.to_owned() });
    }
    comments
}
