//! YAML 1.2 to the tree: core schema, anchors, merge keys, one document.

use crate::bound::{MAX_DEPTH, MAX_NODES};
use crate::diagnostic::{Fault, Problem};
use crate::tree::{Entry, Node, Place, Value};
use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use std::collections::HashMap;
use std::net::Ipv6Addr;

/// Parses one document; an empty text is `Null`.
pub(crate) fn parse(text: &str) -> Result<Node, Problem> {
    document(text).map_err(|problem| at_bare_address(text, at_mark(text, at_tab(text, problem))))
}

/// Characters that mean something to YAML at the start of a value, or nothing yet.
const MARKS: [char; 4] = ['*', '%', '@', '`'];

/// A host such as `*.example.com` without quotes is an alias to YAML, which names no such thing.
fn at_mark(text: &str, problem: Problem) -> Problem {
    let told = problem.fault.message.as_str();
    if !["anchor", "unexpected character"].iter().any(|it| told.contains(it)) {
        return problem;
    }
    let line = text.lines().nth(problem.place.line.saturating_sub(1)).unwrap_or_default();
    let at = line.char_indices().nth(problem.place.column.saturating_sub(1));
    let Some((at, mark)) = at.filter(|(_, mark)| MARKS.contains(mark)) else { return problem };
    let rest = &line[at..];
    let end = rest.find(|c: char| c.is_whitespace() || ",]}".contains(c)).unwrap_or(rest.len());
    let word = &rest[..end];
    let fault = match (mark, word[1..].starts_with(|c: char| c.is_alphanumeric())) {
        ('*', true) => Fault::new(format!("{word} is an alias, and no `&{}` is above", &word[1..]))
            .hint(format!("text that begins with * needs quotes: \"{word}\"")),
        (_, _) => Fault::new(format!("text that begins with {mark} needs quotes"))
            .hint(format!("write \"{word}\"")),
    };
    Problem { fault, ..problem }
}

/// A bracket opens a list in YAML, and an IPv6 address for whoever has forgotten the quotes.
fn at_bare_address(text: &str, problem: Problem) -> Problem {
    let line = text.lines().nth(problem.place.line.saturating_sub(1)).unwrap_or_default();
    let Some((before, address)) = bare_address(line) else { return problem };
    let place = Place::in_file(problem.place.line, before.chars().count() + 1);
    let fault = Fault::new("an address that begins with [ needs quotes");
    Problem { place, fault: fault.hint(format!("write \"{address}\"")), ..problem }
}

/// The first `[v6]:port` of a line that is not quoted, and what stands before it.
fn bare_address(line: &str) -> Option<(&str, &str)> {
    line.match_indices('[').find_map(|(at, _)| {
        let (before, address) = line.split_at(at);
        // Looked for no further than an address goes: a line may be nothing but brackets.
        let inside = address.strip_prefix('[')?;
        let (ip, rest) = inside.split_at(inside.find(|c| !is_of_an_ip(c))?);
        let port = rest.strip_prefix("]:")?;
        let digits = port.len() - port.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let bare = digits > 0 && !before.ends_with(['"', '\'', '/']);
        let length = ip.len() + "[]:".len() + digits;
        (bare && ip.parse::<Ipv6Addr>().is_ok()).then_some((before, &address[..length]))
    })
}

fn is_of_an_ip(c: char) -> bool {
    c.is_ascii_hexdigit() || matches!(c, ':' | '.')
}

/// A tab is where it is, and not at the end of what stands before it.
fn at_tab(text: &str, problem: Problem) -> Problem {
    let line = problem.place.line;
    if !problem.fault.message.contains("tab") {
        return problem;
    }
    let indented = |line: &str| {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        line[..indent].find('\t')
    };
    let mut lines = text.lines().enumerate().skip(line.saturating_sub(1));
    let found = lines.find_map(|(index, line)| Some((index + 1, indented(line)? + 1)));
    let Some((line, column)) = found else { return problem };
    let fault = Fault::new("a tab cannot indent here").hint("indent with spaces");
    Problem { place: Place::in_file(line, column), fault, ..problem }
}

fn document(text: &str) -> Result<Node, Problem> {
    let options = granit_parser::options! { emit_comments: false };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder { parser, anchors: HashMap::new(), nodes: 0 };
    let mut root = None;
    loop {
        let (event, span) = builder.next()?;
        if matches!(event, Event::StreamEnd) {
            break;
        }
        if matches!(event, Event::StreamStart | Event::DocumentEnd) {
            continue;
        }
        if root.is_some() {
            return Err(syntax(&span, "a second document; one file is one configuration"));
        }
        let (event, span) = builder.next()?;
        root = Some(builder.node(event, span, 0)?);
    }
    Ok(root.unwrap_or_else(|| Node::new(Value::Null, Place::in_file(1, 1))))
}

/// What a plain scalar means in the core schema of YAML 1.2.
pub(crate) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        number if is_number(number) => Value::Number(number.to_owned()),
        other => Value::Str(other.to_owned()),
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(hex) = digits.strip_prefix("0x") {
        return !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
    }
    if let Some(octal) = digits.strip_prefix("0o") {
        return !octal.is_empty() && octal.bytes().all(|b| (b'0'..=b'7').contains(&b));
    }
    let numeric = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+');
    let starts =
        digits.strip_prefix('.').unwrap_or(digits).starts_with(|c: char| c.is_ascii_digit());
    starts && digits.bytes().all(numeric) && digits.parse::<f64>().is_ok()
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// Nodes by anchor id, with how many values each one holds.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(scan_problem(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Problem> {
        let before = self.nodes;
        self.count(1, &span)?;
        if depth > MAX_DEPTH {
            return Err(syntax(&span, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let place = place(&span);
        #[expect(clippy::wildcard_enum_match_arm, reason = "no other event starts a value")]
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (scalar(&text, style, tag.as_deref(), &span)?, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), &span)?;
                (Value::Seq(self.items(depth)?), anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), &span)?;
                (Value::Map(self.entries(depth)?), anchor)
            }
            Event::Alias(id) => return self.alias(id, &span),
            other => return Err(syntax(&span, format!("unexpected {other:?}"))),
        };
        let node = Node::new(value, place);
        if anchor > 0 {
            let values = self.nodes - before;
            self.count(values, &span)?;
            self.anchors.insert(anchor, (node.clone(), values));
        }
        Ok(node)
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(items);
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<Entry>, Problem> {
        let mut entries = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let Event::Scalar(key, ..) = event else {
                return Err(syntax(&span, "a key must be plain text"));
            };
            let key_place = place(&span);
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if key == "<<" {
                merged.push((value, span));
            } else {
                entries.push(Entry { key: key.into_owned(), key_place, value });
            }
        }
        for (value, span) in merged {
            merge(&mut entries, value, &span)?;
        }
        Ok(entries)
    }

    fn alias(&mut self, id: usize, span: &Span) -> Result<Node, Problem> {
        let Some((_, values)) = self.anchors.get(&id) else {
            return Err(syntax(span, "an alias inside the value it stands for"));
        };
        self.count(*values, span)?;
        match self.anchors.get(&id) {
            Some((node, _)) => Ok(Node::new(node.value.clone(), place(span))),
            None => Err(syntax(span, "unknown alias")),
        }
    }

    fn count(&mut self, values: usize, span: &Span) -> Result<(), Problem> {
        self.nodes += values;
        if self.nodes > MAX_NODES {
            return Err(syntax(span, format!("more than {MAX_NODES} values, aliases expanded")));
        }
        Ok(())
    }
}

/// Adds the entries of `<<: *anchor` (or a list of anchors); a key that is already there wins.
fn merge(entries: &mut Vec<Entry>, value: Node, span: &Span) -> Result<(), Problem> {
    let sources = match value.value {
        Value::Map(_) => vec![value],
        Value::Seq(items) => items,
        Value::Null => Vec::new(),
        Value::Bool(_) | Value::Number(_) | Value::Str(_) => vec![value],
    };
    for source in sources {
        let Value::Map(added) = source.value else {
            return Err(syntax(span, "<< takes a map or a list of maps"));
        };
        let known: std::collections::HashSet<String> =
            entries.iter().map(|entry| entry.key.clone()).collect();
        entries.extend(added.into_iter().filter(|entry| !known.contains(&entry.key)));
    }
    Ok(())
}

fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    span: &Span,
) -> Result<Value, Problem> {
    let literal = || Value::Str(text.to_owned());
    match tag.map(|tag| tag.core_suffix()) {
        Some(Some("str")) => return Ok(literal()),
        Some(Some("null" | "bool" | "int" | "float")) => return Ok(plain(text)),
        Some(_) => refuse_tag(tag, span)?,
        None => {}
    }
    Ok(match style {
        ScalarStyle::Plain => plain(text),
        ScalarStyle::SingleQuoted
        | ScalarStyle::DoubleQuoted
        | ScalarStyle::Literal
        | ScalarStyle::Folded => literal(),
    })
}

fn refuse_tag(tag: Option<&Tag>, span: &Span) -> Result<(), Problem> {
    match tag {
        Some(tag) if !matches!(tag.core_suffix(), Some("seq" | "map")) => {
            Err(syntax(span, format!("the tag {} has no meaning here", tag.original())))
        }
        Some(_) | None => Ok(()),
    }
}

fn place(span: &Span) -> Place {
    Place::in_file(span.start.line().max(1), span.start.col() + 1)
}

fn syntax(span: &Span, message: impl Into<String>) -> Problem {
    Problem { place: place(span), path: "syntax".to_owned(), fault: Fault::new(message) }
}

fn scan_problem(error: &ScanError) -> Problem {
    let marker = error.marker();
    let place = Place::in_file(marker.line().max(1), marker.col() + 1);
    Problem { place, path: "syntax".to_owned(), fault: Fault::new(error.info().to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_kind_and_place() {
        let root = parse("a: off\nb: 1.5\nc: \"2\"\nd: [x, ~, true]\ne: 0x1F\n").expect("valid");
        let at = |path: &str| root.at(path).map(|node| node.value.clone());
        assert_eq!(at("a"), Some(Value::Str("off".to_owned())));
        assert_eq!(at("b"), Some(Value::Number("1.5".to_owned())));
        assert_eq!(at("c"), Some(Value::Str("2".to_owned())));
        assert_eq!(at("d[1]"), None);
        assert_eq!(at("d[2]"), Some(Value::Bool(true)));
        assert_eq!(at("e"), Some(Value::Number("0x1F".to_owned())));
        assert_eq!(root.place_at("d[2]"), &Place::in_file(4, 11));
        assert_eq!(root.key_place_at("b"), &Place::in_file(2, 1));
    }

    #[test]
    fn plain_scalars() {
        for text in ["1", "-1", "+0.5", "1e3", ".5", "0o17"] {
            assert_eq!(plain(text), Value::Number(text.to_owned()));
        }
        for text in ["1.2.3.4", "10s", "-", "e3", "1-2", ".", "0x", "on", "200-399", "infinity"] {
            assert_eq!(plain(text), Value::Str(text.to_owned()));
        }
    }

    #[test]
    fn anchors_and_merge_keys() {
        let root = parse("a: &x { p: 1, q: 2 }\nb: { <<: *x, q: 3 }\nc: *x\n").expect("valid");
        assert_eq!(root.at("b.q").map(|n| &n.value), Some(&Value::Number("3".to_owned())));
        assert_eq!(root.at("b.p").map(|n| &n.value), Some(&Value::Number("1".to_owned())));
        assert_eq!(root.place_at("c"), &Place::in_file(3, 4), "an alias stands where it is used");
    }

    #[test]
    fn refuses_what_has_one_place_to_fail() {
        let deep = "[".repeat(100) + &"]".repeat(100);
        let bomb: String = (1..30).fold("a0: &a0 [x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
            let alias = format!("*a{}", n - 1);
            text + &format!("a{n}: &a{n} [{}]\n", [alias.as_str(); 8].join(","))
        });
        for (text, line, words) in [
            ("version: 1\npools: [a, b\nroutes: }\n", 3, ""),
            ("a: 1\n---\nb: 2\n", 2, "second document"),
            ("a: !custom 1\n", 1, "tag"),
            ("a: *nowhere\n", 1, "is an alias, and no `&nowhere` is above"),
            ("hosts: [*.a.test]\n", 1, "begins with * needs quotes"),
            ("hosts: [a, *.a.test, b]\n", 1, "begins with * needs quotes"),
            ("a:\n  b: *\n", 2, "begins with * needs quotes"),
            ("a: %x\n", 1, "begins with % needs quotes"),
            ("a: @x\n", 1, "begins with @ needs quotes"),
            ("a: { <<: 1 }\n", 1, "takes a map"),
            ("a: { <<: [x] }\n", 1, "takes a map"),
            ("a: &a [*a]\n", 1, "inside"),
            ("? [a]\n: b\n", 1, "key"),
            (deep.as_str(), 1, "nested"),
            (bomb.as_str(), 7, "values"),
        ] {
            let problem = parse(text).expect_err(text);
            assert_eq!(problem.place.line, line, "{text}: {problem:?}");
            assert!(problem.fault.message.contains(words), "{problem:?}");
        }
    }
}
