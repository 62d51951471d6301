//! Checks the house rules of STYLE.md, GLOSSARY.md and ARCHITECTURE.md over a tree of files.
//!
//! One file at a time: [`source::Source`] reads it, each room adds its [`Finding`]s, and those that
//! an exception names are taken away. An exception is a comment on the line or the line before,
//! `tidy: allow(RULE) because REASON`, or `tidy: allow-file(RULE) because REASON` anywhere in the
//! file. One that takes nothing away is a finding itself.

mod edges;
mod functions;
mod names;
mod source;
mod tables;
mod text;
mod unsafety;

use anyhow::{Context as _, Result};
use source::Source;
use std::fmt;
use std::fs;
use std::path::Path;

/// Folders without text of ours.
const SKIPPED_FOLDERS: &[&str] = &[".git", "target", "artifacts", "node_modules"];
/// Files larger than this are not text written by hand.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Bound on the depth of the tree.
const MAX_DEPTH: usize = 16;

/// A rule of the house.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A file has too many lines.
    FileLength,
    /// A function has too many lines.
    FunctionLength,
    /// A function has too many parameters.
    Parameters,
    /// Branches and loops stand too deep in one another.
    Nesting,
    /// A line is too wide.
    LineWidth,
    /// A crate uses one it must not know.
    CrateEdge,
    /// A crate that decides touches the world.
    Pure,
    /// A name has a noun that says nothing, or one the glossary gives another word for.
    BannedNoun,
    /// A test is skipped without a reason.
    Ignore,
    /// Unsafe code outside its rooms, or a crate that does not forbid it.
    Unsafe,
    /// Something is left to be done.
    Unfinished,
    /// Text that speaks of something else than the project.
    ForeignText,
    /// A table in which a percentile is below a lower one.
    Percentiles,
    /// An exception that excepts nothing.
    UnusedException,
    /// The file does not parse.
    Syntax,
}

impl Rule {
    /// Its name in findings and exceptions.
    pub fn name(self) -> &'static str {
        match self {
            Rule::FileLength => "file_length",
            Rule::FunctionLength => "function_length",
            Rule::Parameters => "parameters",
            Rule::Nesting => "nesting",
            Rule::LineWidth => "line_width",
            Rule::CrateEdge => "crate_edge",
            Rule::Pure => "pure",
            Rule::BannedNoun => "banned_noun",
            Rule::Ignore => "ignore",
            Rule::Unsafe => "unsafe",
            Rule::Unfinished => "unfinished",
            Rule::ForeignText => "foreign_text",
            Rule::Percentiles => "percentiles",
            Rule::UnusedException => "unused_exception",
            Rule::Syntax => "syntax",
        }
    }
}

/// A place where a rule does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// From the root of the workspace, with `/`.
    pub path: String,
    /// From 1.
    pub line: usize,
    /// Which rule.
    pub rule: Rule,
    /// What is wrong, in one sentence.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule.name(), self.message)
    }
}

/// Checks every text file below `root`, in the order of their paths.
///
/// # Errors
/// A folder or file could not be read.
pub fn check_tree(root: &Path) -> Result<Vec<Finding>> {
    let mut paths = Vec::new();
    collect(root, "", MAX_DEPTH, &mut paths)?;
    paths.sort();
    let mut findings = Vec::new();
    for path in paths {
        let bytes = fs::read(root.join(&path)).with_context(|| path.clone())?;
        if let Ok(text) = String::from_utf8(bytes) {
            findings.extend(check_file(&path, text));
        }
    }
    Ok(findings)
}

/// Adds the paths of the files in `folder`, from the root.
fn collect(root: &Path, folder: &str, depth: usize, paths: &mut Vec<String>) -> Result<()> {
    let whole = root.join(folder);
    for entry in fs::read_dir(&whole).with_context(|| whole.display().to_string())? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if SKIPPED_FOLDERS.contains(&name.as_str()) {
            // Also where `.git` is a file that names a folder elsewhere.
            continue;
        }
        if kind.is_dir() && depth > 0 {
            collect(root, &path, depth - 1, paths)?;
        } else if kind.is_file() && entry.metadata()?.len() <= MAX_FILE_BYTES {
            paths.push(path);
        }
    }
    Ok(())
}

/// Checks one file; `path` is from the root of the workspace.
pub fn check_file(path: &str, text: String) -> Vec<Finding> {
    let source = Source::new(path, text);
    let mut findings = Vec::new();
    text::check(&source, &mut findings);
    tables::check(&source, &mut findings);
    names::check(&source, &mut findings);
    functions::check(&source, &mut findings);
    unsafety::check(&source, &mut findings);
    edges::check(&source, &mut findings);
    let mut left = source.without_excepted(findings);
    left.sort_by_key(|finding| finding.line);
    left
}

/// Names of the rules found in `text`, in the order of lines; for the rooms' tests. `ALLOW` stands
/// for the first words of an exception, so that a test's text is not one itself.
#[cfg(test)]
fn rules(path: &str, text: &str) -> Vec<&'static str> {
    let findings = check_file(path, text.replace("ALLOW", "tidy: allow"));
    findings.iter().map(|finding| finding.rule.name()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_need_a_reason_and_a_finding() {
        let wide = format!("const A: &str = \"{}\";", "x".repeat(90));
        let cases = [
            (wide.clone(), vec!["line_width"]),
            (format!("// ALLOW(line_width) because it is a table\n{wide}"), vec![]),
            (format!("// ALLOW-file(line_width) because tables\n\nfn a() {{}}\n{wide}"), vec![]),
            (format!("// ALLOW(line_width)\n{wide}"), vec!["line_width"]),
            (format!("// ALLOW(line_width) because \n{wide}"), vec!["line_width"]),
            (
                format!("// ALLOW(nesting) because x\n{wide}"),
                vec!["unused_exception", "line_width"],
            ),
            (
                "// ALLOW(line_width) because I like it\nfn a() {}".to_owned(),
                vec!["unused_exception"],
            ),
            ("fn a() -> &'static str { \"// ALLOW(x) because\" }".to_owned(), vec![]),
        ];
        for (text, expected) in cases {
            assert_eq!(rules("crates/evenkeel-core/src/a.rs", &text), expected, "{text}");
        }
    }

    #[test]
    fn a_finding_reads_as_a_place() {
        let findings = check_file("xtask/src/a.rs", "fn a() {}\nfn b() { todo!() }\n".to_owned());
        let shown: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["xtask/src/a.rs:2: unfinished: `todo!` is left to be done"]);
    }
}
