//! The grammar of nginx: words, blocks, semicolons.

use crate::bound::{MAX_DEPTH, MAX_NODES};
use crate::diagnostic::Problem;
use crate::import::wrong;

/// One directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) arguments: Vec<String>,
    pub(super) line: usize,
    /// What stands in its braces.
    pub(super) block: Option<Vec<Directive>>,
}

impl Directive {
    /// The argument at a place, or nothing.
    pub(super) fn argument(&self, at: usize) -> &str {
        self.arguments.get(at).map_or("", String::as_str)
    }

    /// As it is written.
    pub(super) fn shown(&self) -> String {
        let words = std::iter::once(&self.name).chain(&self.arguments);
        words.map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// Every directive of a file, whose first line has this number.
pub(super) fn parse(text: &str, line: usize) -> Result<Vec<Directive>, Problem> {
    let text = text.trim_start_matches('\u{feff}');
    let mut words = Words { rest: text.chars().peekable(), line, count: 0 };
    block(&mut words, 0)
}

/// A piece of the text.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Word(String),
    Open,
    Close,
    End,
    Over,
}

struct Words<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    count: usize,
}

fn block(words: &mut Words<'_>, depth: usize) -> Result<Vec<Directive>, Problem> {
    if depth > MAX_DEPTH {
        return Err(wrong(words.line, format!("nested deeper than {MAX_DEPTH} levels")));
    }
    let mut directives = Vec::new();
    loop {
        match words.next()? {
            Piece::Close if depth > 0 => return Ok(directives),
            Piece::Close => return Err(wrong(words.line, "} without {")),
            Piece::Over if depth == 0 => return Ok(directives),
            Piece::Over => {
                return Err(wrong(words.line, "the file ends within a block: } missing"));
            }
            Piece::Open => return Err(wrong(words.line, "{ without a name before it")),
            Piece::End => {}
            Piece::Word(name) => directives.push(directive(name, words, depth)?),
        }
    }
}

fn directive(name: String, words: &mut Words<'_>, depth: usize) -> Result<Directive, Problem> {
    let line = words.line;
    let mut arguments = Vec::new();
    loop {
        match words.next()? {
            Piece::Word(word) => arguments.push(word),
            Piece::End => return Ok(Directive { name, arguments, line, block: None }),
            Piece::Open => {
                let block = Some(block(words, depth + 1)?);
                return Ok(Directive { name, arguments, line, block });
            }
            Piece::Close | Piece::Over => {
                return Err(wrong(line, format!("`{name}` is not ended by ;")));
            }
        }
    }
}

impl Words<'_> {
    fn next(&mut self) -> Result<Piece, Problem> {
        self.count += 1;
        if self.count > MAX_NODES {
            return Err(wrong(self.line, format!("more than {MAX_NODES} words")));
        }
        self.skip_space();
        match self.take() {
            None => Ok(Piece::Over),
            Some('{') => Ok(Piece::Open),
            Some('}') => Ok(Piece::Close),
            Some(';') => Ok(Piece::End),
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            Some(first) => Ok(Piece::Word(self.bare(first))),
        }
    }

    fn take(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn skip_space(&mut self) {
        while let Some(next) = self.rest.peek() {
            match next {
                '#' => while self.take().is_some_and(|c| c != '\n') {},
                c if c.is_whitespace() => {
                    self.take();
                }
                _ => return,
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Piece, Problem> {
        let line = self.line;
        let mut word = String::new();
        loop {
            match self.take() {
                None => return Err(wrong(line, format!("{quote} is not closed"))),
                Some(c) if c == quote => return Ok(Piece::Word(word)),
                Some('\\') => match self.take() {
                    Some(c) if c == quote || c == '\\' => word.push(c),
                    Some(c) => word.extend(['\\', c]),
                    None => {}
                },
                Some(c) => word.push(c),
            }
        }
    }

    /// A word without quotes; `${name}` is a part of it.
    fn bare(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some(next) = self.rest.peek().copied() {
            let variable = next == '{' && word.ends_with('$');
            if next.is_whitespace() || matches!(next, ';' | '{' | '}') && !variable {
                break;
            }
            word.extend(self.take());
            if next == '\\' {
                word.extend(self.take());
            } else if variable {
                while let Some(c) = self.take() {
                    word.push(c);
                    if c == '}' {
                        break;
                    }
                }
            }
        }
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_blocks_and_lines() {
        let text = "a 1;\n# no\nhttp {\n  b \"x;{ y\" '$z' ${v}w;\n  c {}\n}\n";
        let found = parse(text, 1).expect("valid");
        assert_eq!(found.len(), 2);
        let inner = found[1].block.as_ref().expect("a block");
        assert_eq!((found[1].line, inner[0].line, inner[1].line), (3, 4, 5));
        assert_eq!(inner[0].arguments, ["x;{ y", "$z", "${v}w"]);
        assert_eq!(inner[1].block.as_deref(), Some(&[][..]));
    }

    #[test]
    fn refuses_with_the_line() {
        let deep = "a {\n".repeat(100);
        for (text, line, words) in [
            ("a 1\n", 1, "not ended"),
            ("http {\n a;\n", 3, "} missing"),
            ("a;\n}\n", 2, "without {"),
            ("{ }", 1, "without a name"),
            ("\na 'x", 2, "not closed"),
            (deep.as_str(), 65, "nested"),
        ] {
            let problem = parse(text, 1).expect_err(text);
            assert_eq!(problem.place.line, line, "{text}: {problem:?}");
            assert!(problem.fault.message.contains(words), "{problem:?}");
        }
    }
}
