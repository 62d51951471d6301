//! TOML 1.1 to the tree.

use crate::bound::{MAX_DEPTH, MAX_NODES};
use crate::diagnostic::{Fault, Problem, SourceLines};
use crate::tree::{Entry, Node, Place, Value};
use std::borrow::Cow;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_parser::lexer::TokenKind;

/// Parses a document; `lines` are those of the same text.
pub(crate) fn parse(text: &str, lines: &SourceLines) -> Result<Node, Problem> {
    refuse_depth(text, lines)?;
    let table = DeTable::parse(text).map_err(|error| {
        let place = lines.place_of(error.span().map_or(0, |span| span.start));
        let message = error.message().replace('\n', "; ");
        Problem { place, path: "syntax".to_owned(), fault: Fault::new(message) }
    })?;
    let mut builder = Builder { lines, nodes: 0, near: (0, lines.place_of(0)) };
    let span = table.span();
    let entries = builder.entries(table.into_inner(), &span, 0)?;
    Ok(Node::new(Value::Map(entries), lines.place_of(0)))
}

/// Dotted keys nest without brackets and unbounded by the parser, which recurses over what it
/// built: depth is bounded on the tokens, before it is parsed.
fn refuse_depth(text: &str, lines: &SourceLines) -> Result<(), Problem> {
    let (mut open, mut depth): (Vec<usize>, usize) = (Vec::new(), 0);
    for token in toml_parser::Source::new(text).lex() {
        match token.kind() {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                open.push(depth);
                depth += 1;
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                depth = open.pop().unwrap_or_default();
            }
            TokenKind::Dot => depth += 1,
            TokenKind::Comma => depth = open.last().map_or(0, |before| before + 1),
            TokenKind::Newline if open.is_empty() => depth = 0,
            TokenKind::Equals
            | TokenKind::Whitespace
            | TokenKind::Comment
            | TokenKind::Newline
            | TokenKind::LiteralString
            | TokenKind::BasicString
            | TokenKind::MlLiteralString
            | TokenKind::MlBasicString
            | TokenKind::Atom
            | TokenKind::Eof => {}
        }
        if depth > MAX_DEPTH {
            return Err(too_deep(lines.place_of(token.span().start())));
        }
    }
    Ok(())
}

fn too_deep(place: Place) -> Problem {
    let fault = Fault::new(format!("nested deeper than {MAX_DEPTH} levels"));
    Problem { place, path: "syntax".to_owned(), fault }
}

struct Builder<'a> {
    lines: &'a SourceLines,
    nodes: usize,
    /// The last offset looked up: the next one is mostly near, on the same long line.
    near: (usize, Place),
}

impl Builder<'_> {
    fn entries(
        &mut self,
        table: DeTable<'_>,
        span: &Range<usize>,
        depth: usize,
    ) -> Result<Vec<Entry>, Problem> {
        self.admit(span, depth)?;
        let entry = |(key, value): (Spanned<Cow<'_, str>>, Spanned<DeValue<'_>>)| {
            let key_place = self.place(key.span().start);
            let value = self.node(value, depth + 1)?;
            Ok(Entry { key: key.into_inner().into_owned(), key_place, value })
        };
        table.into_iter().map(entry).collect()
    }

    fn node(&mut self, value: Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Problem> {
        let span = value.span();
        let place = self.place(span.start);
        self.admit(&span, depth)?;
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Str(text.into_owned()),
            DeValue::Integer(number) => Value::Number(number.to_string()),
            DeValue::Float(number) => Value::Number(number.to_string()),
            DeValue::Boolean(flag) => Value::Bool(flag),
            DeValue::Datetime(date) => Value::Str(date.to_string()),
            DeValue::Array(items) => {
                let items = items.into_iter().map(|item| self.node(item, depth + 1));
                Value::Seq(items.collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => Value::Map(self.entries(table, &span, depth)?),
        };
        Ok(Node::new(value, place))
    }

    fn place(&mut self, offset: usize) -> Place {
        self.near = (offset, self.lines.place_near(&self.near, offset));
        self.near.1.clone()
    }

    fn admit(&mut self, span: &Range<usize>, depth: usize) -> Result<(), Problem> {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(too_deep(self.place(span.start)));
        }
        if self.nodes > MAX_NODES {
            let fault = Fault::new(format!("more than {MAX_NODES} values"));
            let place = self.place(span.start);
            return Err(Problem { place, path: "syntax".to_owned(), fault });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Result<Node, Problem> {
        parse(text, &SourceLines::new("a.toml", text.to_owned()))
    }

    #[test]
    fn values_keep_their_kind_and_place() {
        let root = tree("version = 1\n[[pools]]\nname = \"x\"\nretry.budget = 0.25\n").expect("ok");
        assert_eq!(root.at("version").map(|n| &n.value), Some(&Value::Number("1".to_owned())));
        let budget = root.at("pools[0].retry.budget").expect("there");
        assert_eq!(budget.value, Value::Number("0.25".to_owned()));
        assert_eq!(budget.place, Place::in_file(4, 16));
        assert_eq!(root.key_place_at("pools[0].name"), &Place::in_file(3, 1));
    }

    #[test]
    fn refuses_with_a_place() {
        let deep = format!("a = {}{}", "[".repeat(70), "]".repeat(70));
        let dotted = format!("x = 1\n{}z = 1", "a.".repeat(100));
        let endless = format!("x = 1\n{}z = 1", "a.".repeat(1_000_000));
        let nested = "a.b.c={".repeat(60);
        for (text, line) in [
            ("version = 1\n[[pools\nname = \"x\"\n", 2),
            ("a = 1\na = 2\n", 2),
            (deep.as_str(), 1),
            (dotted.as_str(), 2),
            (endless.as_str(), 2),
            (nested.as_str(), 1),
        ] {
            let problem = tree(text).expect_err(text);
            assert_eq!(problem.place.line, line, "{problem:?}");
            assert_eq!(problem.path, "syntax");
        }
    }
}
