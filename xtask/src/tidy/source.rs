//! One file as the rules see it: its lines, its code without the text of literals, its syntax tree.

use super::{Finding, Rule};
use proc_macro2::{LineColumn, TokenStream, TokenTree};
use std::str::FromStr as _;

/// A file below the root of the workspace.
pub(super) struct Source {
    /// From the root, with `/`.
    pub(super) path: String,
    /// As stored.
    pub(super) lines: Vec<String>,
    /// Rust: the lines with every literal blanked, so that only code and comments are left. Other
    /// files: as stored.
    pub(super) bare: Vec<String>,
    /// Rust only: every token, groups opened.
    pub(super) tokens: Vec<Token>,
    /// Rust only, if it parses.
    pub(super) tree: Option<syn::File>,
    syntax_error: Option<Finding>,
}

/// An identifier or a mark, with its place.
pub(super) struct Token {
    pub(super) text: String,
    /// From 1.
    pub(super) line: usize,
}

/// Read from a plain comment; documentation may speak of exceptions.
struct Exception {
    line: usize,
    rule: String,
    whole_file: bool,
}

impl Source {
    pub(super) fn new(path: &str, text: String) -> Source {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut source = Source {
            path: path.to_owned(),
            bare: lines.clone(),
            lines,
            tokens: Vec::new(),
            tree: None,
            syntax_error: None,
        };
        if source.is_rust() {
            source.read_rust(&text);
        }
        source
    }

    fn read_rust(&mut self, text: &str) {
        if let Ok(stream) = TokenStream::from_str(text) {
            let mut literals = Vec::new();
            flatten(stream, &mut self.tokens, &mut literals);
            for (start, end) in literals {
                blank(&mut self.bare, start, end);
            }
        }
        match syn::parse_file(text) {
            Ok(tree) => self.tree = Some(tree),
            Err(error) => {
                let line = error.span().start().line;
                self.syntax_error = Some(self.finding(line, Rule::Syntax, error.to_string()));
            }
        }
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The crate's folder, e.g. `crates/evenkeel-core`, if the file is in one.
    pub(super) fn crate_folder(&self) -> Option<&str> {
        if self.path.starts_with("xtask/") {
            return Some("xtask");
        }
        let inside = self.path.strip_prefix("crates/")?;
        let (name, _) = inside.split_once('/')?;
        Some(&self.path[.."crates/".len() + name.len()])
    }

    /// True in the crate's own code, not in its tests, benches or examples.
    pub(super) fn is_product_code(&self) -> bool {
        let folder = self.crate_folder().unwrap_or_default();
        self.is_rust() && self.path[folder.len()..].starts_with("/src/")
    }

    /// A finding at `line` of this file.
    pub(super) fn finding(&self, line: usize, rule: Rule, message: String) -> Finding {
        Finding { path: self.path.clone(), line, rule, message }
    }

    /// Takes away what exceptions name; adds those that name nothing, and the syntax error.
    pub(super) fn without_excepted(&self, findings: Vec<Finding>) -> Vec<Finding> {
        let exceptions = self.exceptions();
        let covers = |exception: &Exception, finding: &Finding| {
            let near = exception.line == finding.line || exception.line + 1 == finding.line;
            exception.rule == finding.rule.name() && (exception.whole_file || near)
        };
        let unused = exceptions.iter().filter(|e| !findings.iter().any(|f| covers(e, f)));
        let unused = unused.map(|e| {
            let message = format!("nothing here breaks `{}`; remove the exception", e.rule);
            self.finding(e.line, Rule::UnusedException, message)
        });
        let unused: Vec<Finding> = unused.collect();
        let left = findings.into_iter().filter(|f| !exceptions.iter().any(|e| covers(e, f)));
        left.chain(unused).chain(self.syntax_error.clone()).collect()
    }

    /// Only in files with code; prose may show exceptions.
    fn exceptions(&self) -> Vec<Exception> {
        if self.path.ends_with(".md") {
            return Vec::new();
        }
        let read = |(index, line): (usize, &String)| parse_exception(line, index + 1);
        self.bare.iter().enumerate().filter_map(read).collect()
    }
}

fn parse_exception(line: &str, number: usize) -> Option<Exception> {
    let (before, rest) = line.split_once("tidy: allow")?;
    let before = before.trim_end();
    let plain_comment = before.ends_with("//") && !before.ends_with("///");
    if !plain_comment && !before.ends_with('#') {
        return None;
    }
    let (whole_file, rest) = match rest.strip_prefix("-file(") {
        Some(rest) => (true, rest),
        None => (false, rest.strip_prefix('(')?),
    };
    let (rule, reason) = rest.split_once(") because ")?;
    let named = !reason.trim().is_empty();
    named.then(|| Exception { line: number, rule: rule.to_owned(), whole_file })
}

/// Opens every group; collects identifiers and marks, and the places of literals.
fn flatten(
    stream: TokenStream,
    tokens: &mut Vec<Token>,
    literals: &mut Vec<(LineColumn, LineColumn)>,
) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => flatten(group.stream(), tokens, literals),
            TokenTree::Ident(ident) => tokens.push(Token { text: ident.to_string(), line }),
            TokenTree::Punct(mark) => tokens.push(Token { text: mark.to_string(), line }),
            TokenTree::Literal(text) => literals.push((text.span().start(), text.span().end())),
        }
    }
}

/// Overwrites a literal with blanks. A doc comment is a literal too, but one that starts with `/`:
/// it stays, because it is a comment.
fn blank(lines: &mut [String], start: LineColumn, end: LineColumn) {
    let first = lines.get(start.line - 1).and_then(|line| line.chars().nth(start.column));
    if first.is_none_or(|first| first == '/') {
        return;
    }
    for number in start.line..=end.line {
        let Some(line) = lines.get_mut(number - 1) else {
            return;
        };
        let from = if number == start.line { start.column } else { 0 };
        let to = if number == end.line { end.column } else { usize::MAX };
        let inside = |(column, letter)| {
            if (from..to).contains(&column) { ' ' } else { letter }
        };
        *line = line.chars().enumerate().map(inside).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_blank_comments_stay() {
        let text = "/// doc\nfn a() { b(\"é x\", r#\"one\ntwo\"#, 'c'); } // note";
        let source = Source::new("xtask/src/a.rs", text.to_owned());
        let expected = ["/// doc", "fn a() { b(     ,       ", "     ,    ); } // note"];
        let bare: Vec<_> = source.bare.iter().map(|line| line.trim_end()).collect();
        let expected: Vec<_> = expected.iter().map(|line| line.trim_end()).collect();
        assert_eq!(bare, expected);
    }

    #[test]
    fn crate_folders() {
        let cases = [
            ("crates/evenkeel-core/src/plan.rs", Some("crates/evenkeel-core"), true),
            ("crates/evenkeel-core/tests/a.rs", Some("crates/evenkeel-core"), false),
            ("crates/evenkeel-core/Cargo.toml", Some("crates/evenkeel-core"), false),
            ("xtask/src/main.rs", Some("xtask"), true),
            ("README.md", None, false),
        ];
        for (path, folder, product) in cases {
            let source = Source::new(path, String::new());
            assert_eq!((source.crate_folder(), source.is_product_code()), (folder, product));
        }
    }

    #[test]
    fn a_file_that_does_not_parse_is_a_finding() {
        assert_eq!(crate::tidy::rules("xtask/src/a.rs", "fn a( {}"), ["syntax"]);
        assert_eq!(crate::tidy::rules("xtask/src/a.rs", "struct;"), ["syntax"]);
    }
}
