//! The grammar of HAProxy: lines of words under section names.

use crate::bound::MAX_NODES;
use crate::diagnostic::Problem;
use crate::import::wrong;

/// Words that begin a section.
const SECTIONS: &[&str] = &[
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "resolvers",
    "userlist",
    "peers",
    "mailers",
    "cache",
    "program",
    "ring",
    "http-errors",
    "log-forward",
    "fcgi-app",
    "crt-store",
    "traces",
    "log-profile",
];

/// A section with its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) kind: String,
    pub(super) name: String,
    /// The `defaults` that it names.
    pub(super) from: Option<String>,
    pub(super) line: usize,
    pub(super) lines: Vec<Line>,
}

/// One line of words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) line: usize,
    pub(super) words: Vec<String>,
}

impl Line {
    /// The word at a place, or nothing.
    pub(super) fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    /// The words from a place on.
    pub(super) fn from(&self, at: usize) -> &[String] {
        self.words.get(at..).unwrap_or_default()
    }

    /// True if its first words are these.
    pub(super) fn starts(&self, words: &[&str]) -> bool {
        words.len() <= self.words.len() && words.iter().zip(&self.words).all(|(a, b)| a == b)
    }

    /// As it is written, on one line.
    pub(super) fn shown(&self) -> String {
        let text = self.words.join(" ");
        text.replace('\r', "\\r").replace('\n', "\\n").replace('\t', "\\t")
    }

    /// The word after this one.
    pub(super) fn after(&self, word: &str) -> Option<&str> {
        let at = self.words.iter().position(|known| known == word)?;
        self.words.get(at + 1).map(String::as_str)
    }

    pub(super) fn has(&self, word: &str) -> bool {
        self.words.iter().any(|known| known == word)
    }
}

/// Every section of a file.
pub(super) fn parse(text: &str) -> Result<Vec<Section>, Problem> {
    let mut sections: Vec<Section> = Vec::new();
    let mut count = 0;
    for (index, text) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = index + 1;
        let words = words(text, line)?;
        count += words.len();
        if count > MAX_NODES {
            return Err(wrong(line, format!("more than {MAX_NODES} words")));
        }
        let Some(first) = words.first() else { continue };
        if SECTIONS.contains(&first.as_str()) {
            let name = words.get(1).cloned().unwrap_or_default();
            let proxy = matches!(first.as_str(), "frontend" | "backend" | "listen");
            if proxy && name.is_empty() {
                return Err(wrong(line, format!("`{first}` has no name")));
            }
            let from = words.windows(2).find(|pair| pair[0] == "from").map(|it| it[1].clone());
            sections.push(Section { kind: first.clone(), name, from, line, lines: Vec::new() });
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(Line { line, words });
        } else {
            let message = format!("`{first}` before any section");
            return Err(wrong(line, message));
        }
    }
    Ok(sections)
}

/// What a character stands for behind a `\`.
fn escaped(c: char) -> char {
    match c {
        'r' => '\r',
        'n' => '\n',
        't' => '\t',
        c => c,
    }
}

/// Words of a line: blanks part them, quotes and \ keep them together, # ends them.
fn words(text: &str, line: usize) -> Result<Vec<String>, Problem> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => {
                word.get_or_insert_default().extend(rest.next().map(escaped));
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(wrong(line, format!("{open} is not closed")));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_lines_and_words() {
        let text = "# no\nglobal\n  maxconn 5 # no\nbackend b\n  server a\\ b \"c # d\" '$e'\n";
        let found = parse(text).expect("valid");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].lines[0].words, ["maxconn", "5"]);
        assert_eq!((found[1].line, found[1].lines[0].line), (4, 5));
        assert_eq!(found[1].lines[0].words, ["server", "a b", "c # d", "$e"]);
    }

    #[test]
    fn refuses_with_the_line() {
        for (text, line, words) in [
            ("maxconn 1\n", 1, "before any section"),
            ("global\nbackend\n", 2, "no name"),
            ("global\n log \"x\n", 2, "not closed"),
        ] {
            let problem = parse(text).expect_err(text);
            assert_eq!(problem.place.line, line, "{problem:?}");
            assert!(problem.fault.message.contains(words), "{problem:?}");
        }
    }
}
