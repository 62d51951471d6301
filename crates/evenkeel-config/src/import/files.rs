//! The texts of one configuration: the file that was named, then those that it includes. Their
//! lines are counted on, so that one number is a line of one of them.

use crate::Source;
use crate::bound::MAX_TEXT_BYTES;
use crate::diagnostic::{Diagnostics, Problem, SourceLines};

/// What an `include` stands for: every file of a pattern, or nothing if it cannot be read.
pub type FindIncluded<'a> = &'a dyn Fn(&str) -> Option<Vec<Source>>;

/// Files of one configuration.
const MAX_FILES: usize = 1_000;

pub(super) struct Files<'a> {
    parts: Vec<Part>,
    find: FindIncluded<'a>,
    bytes: usize,
}

struct Part {
    /// Lines of those before it.
    before: usize,
    name: String,
    text: String,
}

impl Part {
    /// One more than it has line ends: an error may stand behind the last one.
    fn lines(&self) -> usize {
        self.text.matches('\n').count() + 1
    }
}

impl<'a> Files<'a> {
    pub(super) fn new(source: &Source, find: FindIncluded<'a>) -> Files<'a> {
        let (name, text) = (source.name.clone(), source.text.clone());
        Files { bytes: text.len(), parts: vec![Part { before: 0, name, text }], find }
    }

    /// The texts of a pattern, each with the number of its first line; `None` if one cannot be
    /// read, or they are too many.
    pub(super) fn include(&mut self, pattern: &str) -> Option<Vec<(usize, String)>> {
        let found = (self.find)(pattern)?;
        let bytes: usize = found.iter().map(|source| source.text.len()).sum();
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_TEXT_BYTES || self.parts.len() + found.len() > MAX_FILES {
            return None;
        }
        let add = |Source { name, text, .. }| {
            let before = self.parts.last().map_or(0, |last| last.before + last.lines());
            self.parts.push(Part { before, name, text: text.clone() });
            (before + 1, text)
        };
        Some(found.into_iter().map(add).collect())
    }

    fn part(&self, line: usize) -> &Part {
        let after = self.parts.partition_point(|part| part.before < line).max(1);
        // There is always the file that was named.
        &self.parts[after - 1]
    }

    /// The file of a line, and which of its lines it is.
    pub(super) fn place(&self, line: usize) -> (&str, usize) {
        let part = self.part(line);
        (&part.name, line - part.before)
    }

    /// Problems as a user reads them, each in its file.
    pub(super) fn diagnostics(&self, problems: Vec<Problem>) -> Diagnostics {
        let told = |mut problem: Problem| {
            let part = self.part(problem.place.line);
            problem.place.line -= part.before;
            SourceLines::new(&part.name, part.text.clone()).diagnostics(vec![problem]).0
        };
        Diagnostics(problems.into_iter().flat_map(told).collect())
    }
}
