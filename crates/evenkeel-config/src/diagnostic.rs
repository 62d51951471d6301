//! What is wrong with a text and where: the errors and warnings a user reads.

use crate::bound::MAX_SNIPPET_CHARS;
use crate::tree::Place;
use std::fmt;

/// One error or warning with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file as the user named it; for a value that came from an environment variable or a
    /// flag, the name of that variable or flag.
    pub file: String,
    /// From 1; 0 if `file` is a variable or a flag.
    pub line: usize,
    /// From 1, in characters; 0 if `file` is a variable or a flag.
    pub column: usize,
    /// The key, such as `pools[0].strategy`; `syntax` if the text could not be parsed.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
    /// The source line with a caret below.
    pub snippet: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(snippet) = &self.snippet {
            write!(f, "\n{snippet}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration, sorted by position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// What is wrong with one value, before it is known where the value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Fault {
        Fault { message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hint = Some(hint.into());
        self
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Fault {
        Fault::new(message)
    }
}

impl From<&str> for Fault {
    fn from(message: &str) -> Fault {
        Fault::new(message)
    }
}

/// A fault with its place and key, before the source line is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) place: Place,
    pub(crate) path: String,
    pub(crate) fault: Fault,
}

/// A text by lines, to show the one that is meant.
#[derive(Clone, Debug)]
pub(crate) struct SourceLines {
    name: String,
    text: String,
    /// Byte offset at which each line starts.
    starts: Vec<usize>,
}

impl SourceLines {
    pub(crate) fn new(name: impl Into<String>, text: String) -> SourceLines {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        SourceLines { name: name.into(), starts: starts.collect(), text }
    }

    /// The position of a byte offset.
    pub(crate) fn place_of(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        Place::in_file(line, before.chars().count() + 1)
    }

    /// The position of a byte offset, counted from one already known if that is on its line.
    pub(crate) fn place_near(&self, known: &(usize, Place), offset: usize) -> Place {
        match self.text.get(known.0..offset) {
            Some(between) if !between.contains('\n') => {
                Place::in_file(known.1.line, known.1.column + between.chars().count())
            }
            Some(_) | None => self.place_of(offset),
        }
    }

    /// Problems as a user reads them, sorted by position.
    pub(crate) fn diagnostics(&self, mut problems: Vec<Problem>) -> Diagnostics {
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        Diagnostics(problems.into_iter().map(|problem| self.diagnostic(problem)).collect())
    }

    fn diagnostic(&self, Problem { place, path, fault }: Problem) -> Diagnostic {
        Diagnostic {
            snippet: place.origin.is_none().then(|| self.snippet(&place)).flatten(),
            file: place.origin.as_deref().unwrap_or(&self.name).to_owned(),
            line: place.line,
            column: place.column,
            path: printable(path),
            message: printable(fault.message),
            hint: fault.hint.map(printable),
        }
    }

    /// The line of `place` and a caret below its column; a long line is cut around it.
    fn snippet(&self, place: &Place) -> Option<String> {
        let start = *self.starts.get(place.line.checked_sub(1)?)?;
        let line = self.text.get(start..)?.split(['\n', '\r']).next()?;
        let column = place.column.checked_sub(1)?;
        let skipped = column.saturating_sub(MAX_SNIPPET_CHARS / 2);
        let shown = line.chars().skip(skipped).take(MAX_SNIPPET_CHARS);
        let shown: String = shown.map(|c| if c.is_control() { ' ' } else { c }).collect();
        if shown.trim().is_empty() {
            return None;
        }
        let number = place.line.to_string();
        let gutter = " ".repeat(number.len());
        let caret = " ".repeat(column - skipped);
        Some(format!("{number} | {}\n{gutter} | {caret}^", shown.trim_end()))
    }
}

/// Keys may hold anything; what is shown does nothing to a terminal.
fn printable(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let shown = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_line_with_a_caret_and_the_hint() {
        let lines = SourceLines::new("a.yaml", "one\n  two: x\r\n".to_owned());
        let fault = Fault::new("is wrong").hint("write y");
        let problem = Problem { place: Place::in_file(2, 8), path: "two".to_owned(), fault };
        let shown = lines.diagnostics(vec![problem]).to_string();
        assert_eq!(shown, "a.yaml:2:8: two: is wrong\n2 |   two: x\n  |        ^\nhint: write y");
    }

    #[test]
    fn control_characters_of_keys_are_spelt_out() {
        let lines = SourceLines::new("a.yaml", "x: 1\n".to_owned());
        let (place, fault) = (Place::in_file(1, 1), Fault::new("unknown key `\u{1b}[2J`"));
        let problem = Problem { place, path: "\u{1b}[2J".to_owned(), fault };
        let shown = lines.diagnostics(vec![problem]).to_string();
        assert!(shown.starts_with(r"a.yaml:1:1: \u{1b}[2J: unknown key `\u{1b}[2J`"), "{shown}");
    }

    #[test]
    fn a_variable_has_no_line() {
        let lines = SourceLines::new("a.yaml", "x: 1\n".to_owned());
        let place = Place::of("EVENKEEL__WORKERS");
        let problem = Problem { place, path: "workers".to_owned(), fault: "is wrong".into() };
        let shown = lines.diagnostics(vec![problem]).to_string();
        assert_eq!(shown, "EVENKEEL__WORKERS: workers: is wrong");
    }

    #[test]
    fn offsets_become_lines_and_columns() {
        let lines = SourceLines::new("a", "é=1\nb=2".to_owned());
        for (offset, line, column) in [(0, 1, 1), (2, 1, 2), (5, 2, 1), (7, 2, 3), (99, 2, 1)] {
            assert_eq!(lines.place_of(offset), Place::in_file(line, column), "{offset}");
        }
    }

    #[test]
    fn long_lines_are_cut_around_the_column() {
        let lines = SourceLines::new("a", "x".repeat(10_000));
        let fault = Fault::new("is wrong");
        let place = Place::in_file(1, 9_000);
        let problem = Problem { place, path: String::new(), fault };
        assert!(lines.diagnostics(vec![problem]).to_string().len() < 4 * MAX_SNIPPET_CHARS);
    }
}
