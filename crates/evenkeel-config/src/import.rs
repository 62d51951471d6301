//! `convert --from nginx` and `--from haproxy`: the reverse-proxy part of another product's
//! configuration in the native form, and a report that has a line for every directive. Nothing is
//! dropped in silence.

mod draft;
mod files;
mod haproxy;
mod nginx;

pub use files::FindIncluded;

use crate::diagnostic::{Diagnostics, Fault, Problem};
use crate::key::Key;
use crate::reader::Reader;
use crate::sections::Root;
use crate::tree::{Node, Place};
use crate::{Format, Source, bound, check, convert};
use files::Files;
use std::fmt;

/// Whose configuration is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
}

impl Product {
    /// The product of a name such as `nginx`.
    pub fn parse(name: &str) -> Option<Product> {
        match name.to_ascii_lowercase().as_str() {
            "nginx" => Some(Product::Nginx),
            "haproxy" => Some(Product::Haproxy),
            _ => None,
        }
    }
}

/// How well a directive could be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fidelity {
    /// It means the same.
    Exact,
    /// It means nearly the same; the text says what differs.
    Approximated,
    /// It is not in the result.
    Unsupported,
}

impl fmt::Display for Fidelity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fidelity::Exact => "exact",
            Fidelity::Approximated => "approximated",
            Fidelity::Unsupported => "unsupported",
        })
    }
}

/// A line whose grammar does not hold.
fn wrong(line: usize, message: impl Into<String>) -> Problem {
    let place = Place::in_file(line, 1);
    Problem { place, path: "syntax".to_owned(), fault: Fault::new(message) }
}

/// What became of one directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The file that it stands in.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// How well it was kept.
    pub fidelity: Fidelity,
    /// The directive, and what it became.
    pub text: String,
}

/// An imported configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The native form.
    pub text: String,
    /// A remark for every directive, in the order of lines.
    pub report: Vec<Remark>,
}

/// Imports a configuration that includes no other file.
///
/// # Errors
/// As `import_with`.
pub fn import(source: &Source, product: Product, to: Format) -> Result<Imported, Diagnostics> {
    import_with(source, product, to, &|_| None)
}

/// Imports a configuration, with the files that it includes in their places.
///
/// # Errors
/// A text that cannot be parsed, or whose result would not be valid.
pub fn import_with(
    source: &Source,
    product: Product,
    to: Format,
    included: FindIncluded<'_>,
) -> Result<Imported, Diagnostics> {
    let mut files = Files::new(source, included);
    if source.text.len() > bound::MAX_TEXT_BYTES {
        let fault = Fault::new(format!("longer than {} bytes", bound::MAX_TEXT_BYTES));
        let problem = Problem { place: Place::in_file(1, 1), path: "syntax".to_owned(), fault };
        return Err(files.diagnostics(vec![problem]));
    }
    let mut report = Report::default();
    let read = match product {
        Product::Nginx => nginx::read(&source.text, &mut files, &mut report),
        Product::Haproxy => haproxy::read(&source.text, &mut report),
    };
    let tree = read.map_err(|problem| files.diagnostics(vec![problem]))?;
    let problems = mistakes(&tree);
    if !problems.is_empty() {
        let no_pool = tree.at("pools").and_then(Node::items).is_none_or(<[Node]>::is_empty);
        // Nor does anything ask for one.
        let only_missing = problems.iter().all(|problem| !problem.path.contains('['));
        let nothing = no_pool && only_missing;
        return Err(files.diagnostics(if nothing { vec![nowhere(product)] } else { problems }));
    }
    report.0.sort_by_key(|remark| remark.line);
    for remark in &mut report.0 {
        let (file, line) = files.place(remark.line);
        (remark.file, remark.line) = (file.to_owned(), line);
    }
    Ok(Imported { text: convert::plain_text(tree, to), report: report.0 })
}

/// There is nothing to convert.
fn nowhere(product: Product) -> Problem {
    let (names, hint) = match product {
        Product::Nginx => (
            "`proxy_pass`",
            "files that serve, redirect or refuse only have no counterpart; an `include` is \
             followed if its files can be read from here",
        ),
        Product::Haproxy => ("`server`", "frontends and backends are in another file"),
    };
    let message = format!("nothing is sent anywhere: no {names} that can be kept");
    let fault = Fault::new(message).hint(hint);
    Problem { place: Place::in_file(1, 1), path: "pools".to_owned(), fault }
}

/// What is wrong with the result as a configuration.
fn mistakes(tree: &Node) -> Vec<Problem> {
    let mut reader = Reader::default();
    let root = Root::read(tree, &mut reader);
    let mut problems = reader.problems;
    if let Some(mut root) = root {
        check::complete(&mut root);
        check::check(&root, tree, &mut problems);
    }
    problems
}

/// Remarks while they are made.
#[derive(Debug, Default)]
struct Report(Vec<Remark>);

impl Report {
    /// The file is known once all have been read.
    fn push(&mut self, line: usize, fidelity: Fidelity, text: String) {
        self.0.push(Remark { file: String::new(), line, fidelity, text });
    }

    fn exact(&mut self, line: usize, text: impl Into<String>) {
        self.push(line, Fidelity::Exact, text.into());
    }

    fn near(&mut self, line: usize, text: impl Into<String>) {
        self.push(line, Fidelity::Approximated, text.into());
    }

    fn lost(&mut self, line: usize, text: impl Into<String>) {
        self.push(line, Fidelity::Unsupported, text.into());
    }
}
