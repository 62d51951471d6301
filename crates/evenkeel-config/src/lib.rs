//! READS TEXT. A configuration in YAML or TOML, with the environment and the command line over it,
//! becomes a checked [`Plan`]; what is wrong with it becomes [`Diagnostics`] with file, line,
//! column and key.
//!
//! The way of a text: `tree_yaml` or `tree_toml` make one spanned tree; `dialect` translates a file
//! of another product; `forms` writes the short form out; `overrides` lays variables and flags over
//! it; `sections` reads every key; `check` compares keys with each other; `plan` makes domain types
//! of it and `served` refuses what this version cannot do. Each stage reports everything it finds.
//!
//! *Architecture invariant:* nothing behind the tree knows which text form it came from.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod bound;
mod check;
mod comments;
mod convert;
mod diagnostic;
mod dialect;
mod difference;
mod edit;
mod environment;
mod forms;
mod import;
mod key;
mod migration;
mod overrides;
mod plan;
mod reader;
mod reference;
mod render;
mod scalar;
mod schema;
mod section;
mod sections;
mod suggest;
mod targets;
mod tokens;
mod tree;
mod tree_toml;
mod tree_yaml;

pub use convert::{Converted, convert, convert_with};
pub use diagnostic::{Diagnostic, Diagnostics};
pub use dialect::{Detected, Dialect};
pub use difference::{Difference, differences};
pub use edit::{Conflict, ConflictKind, Edit, NewBackend};
pub use environment::{EnvironmentKey, environment};
pub use import::{Fidelity, FindIncluded, Imported, Product, Remark, import, import_with};
pub use migration::{migration_names, migration_schema, read_migration};
pub use overrides::Overrides;
pub use reference::reference_markdown;
pub use scalar::{parse_duration, parse_ratio, shown_value};
pub use schema::schema;
pub use targets::read_targets;
pub use tokens::{TokenEntry, TokenRole, tokens};

use diagnostic::{Fault, Problem, SourceLines};
use evenkeel_core::discovery::Finds;
use evenkeel_core::plan::Plan;
use key::Key;
use sections::Root;
use tree::{Node, Place, Value};

/// The form of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2; JSON is a part of it.
    #[default]
    Yaml,
    /// TOML 1.1.
    Toml,
}

impl Format {
    /// The form that a file name's extension stands for.
    pub fn of_file_name(name: &str) -> Option<Format> {
        match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "yaml" | "yml" | "json" => Some(Format::Yaml),
            "toml" => Some(Format::Toml),
            _ => None,
        }
    }
}

/// A text and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The path as the user gave it.
    pub name: String,
    /// The whole text.
    pub text: String,
    /// Its form.
    pub format: Format,
}

/// A configuration that was read and found valid: the effective value of every key.
#[derive(Clone, Debug)]
pub struct Configuration {
    root: Root,
    merged: overrides::Merged,
    lines: SourceLines,
    /// Edits that could not be laid over the rest.
    pub conflicts: Vec<Conflict>,
    /// Backends that are there because they were found: pool and name.
    pub found: Vec<(String, String)>,
    detected: Detected,
    /// How odd keys of another product are read.
    notes: Vec<Problem>,
}

/// Reads a configuration: the file if there is one, the environment over it, flags over that.
///
/// # Errors
/// Everything that is wrong, sorted by position; a text that cannot be parsed is one error.
pub fn read(source: Option<&Source>, overrides: &Overrides) -> Result<Configuration, Diagnostics> {
    read_edited(source, overrides, &[])
}

/// Reads a configuration with edits over everything else.
///
/// # Errors
/// As `read`. An edit that speaks of what is not there is none: see `Configuration::conflicts`.
pub fn read_edited(
    source: Option<&Source>,
    overrides: &Overrides,
    edits: &[Edit],
) -> Result<Configuration, Diagnostics> {
    read_over(source, overrides, Layers { found: &Finds::new(), edits })
}

/// What lies over file, environment and flags, the lowest first.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// Backends that were found, for pools that discover.
    pub found: &'a Finds,
    /// Changes by name.
    pub edits: &'a [Edit],
}

/// Reads a configuration with everything that lies over it.
///
/// # Errors
/// As `read_edited`.
pub fn read_over(
    source: Option<&Source>,
    overrides: &Overrides,
    layers: Layers<'_>,
) -> Result<Configuration, Diagnostics> {
    let lines = match source {
        Some(source) => SourceLines::new(&source.name, source.text.clone()),
        None => SourceLines::new(NO_FILE, String::new()),
    };
    let tree = match parse(source, &lines) {
        Ok(tree) => tree,
        Err(problem) => return Err(lines.diagnostics(vec![problem])),
    };
    let first_line = source.and_then(|source| source.text.lines().next()).unwrap_or_default();
    let variables = &overrides.environment;
    let translated = dialect::translate(tree, first_line, overrides.dialect, variables);
    let dialect::Translated { tree, detected, written, mut notes } = translated;
    if !notes.errors.is_empty() {
        return Err(lines.diagnostics(notes.errors));
    }
    let mut reader = reader::Reader::default();
    let mut merged = overrides::merge((tree, written), overrides, &mut notes, &mut reader.problems);
    let found = edit::lay_found(&mut merged.tree, layers.found);
    let conflicts = edit::apply(&mut merged.tree, layers.edits);
    let root = Root::read(&merged.tree, &mut reader);
    let mut problems = reader.problems;
    if let Some(mut root) = root {
        check::complete(&mut root);
        check::check(&root, &merged.tree, &mut problems);
        if problems.is_empty() {
            let notes = notes.warnings;
            return Ok(Configuration { root, merged, lines, conflicts, found, detected, notes });
        }
    }
    Err(merged.diagnostics(problems, &lines))
}

/// Stands for the file's name if there is none.
const NO_FILE: &str = "command line";

fn parse(source: Option<&Source>, lines: &SourceLines) -> Result<Node, Problem> {
    let Some(source) = source else {
        return Ok(Node::new(Value::Null, Place::of(NO_FILE)));
    };
    if source.text.len() > bound::MAX_TEXT_BYTES {
        let fault = Fault::new(format!("longer than {} bytes", bound::MAX_TEXT_BYTES));
        return Err(Problem { place: Place::in_file(1, 1), path: "syntax".to_owned(), fault });
    }
    match source.format {
        Format::Yaml => tree_yaml::parse(&source.text),
        Format::Toml => tree_toml::parse(&source.text, lines),
    }
}

/// True of an environment variable that is read, or that a file of another product reads.
pub fn is_variable(name: &str) -> bool {
    name.starts_with(overrides::PREFIX) || dialect::is_variable(name)
}

impl Configuration {
    /// What is to be served, and warnings.
    pub fn plan(&self) -> (Plan, Vec<Diagnostic>) {
        let warnings = check::warnings(&self.root, &self.merged.tree);
        let mut warnings = self.merged.diagnostics(warnings, &self.lines).0;
        warnings.extend(self.lines.diagnostics(self.notes.clone()).0);
        (plan::plan(&self.root), warnings)
    }

    /// Whose form the file has.
    pub fn detected(&self) -> &Detected {
        &self.detected
    }

    /// Findings that were made elsewhere, such as in a file that a key names: key, message and hint
    /// of each; an empty hint is none.
    pub fn findings(&self, found: Vec<(String, String, &str)>) -> Vec<Diagnostic> {
        let problem = |(path, message, hint): (String, String, &str)| {
            let place = self.merged.tree.place_at(&path).clone();
            let fault = Fault { hint: (!hint.is_empty()).then(|| hint.to_owned()), message };
            Problem { place, path, fault }
        };
        let problems = found.into_iter().map(problem).collect();
        self.merged.diagnostics(problems, &self.lines).0
    }

    /// The effective configuration, defaults included, secrets hidden.
    pub fn to_json(&self) -> serde_json::Value {
        self.root.render().unwrap_or_default()
    }

    /// The same as YAML, which reads back to the same.
    pub fn to_yaml(&self) -> String {
        render::yaml(&self.to_json())
    }

    /// The same as TOML, which reads back to the same.
    pub fn to_toml(&self) -> String {
        render::toml(&self.to_json())
    }
}
