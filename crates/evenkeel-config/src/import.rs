//! `convert --from nginx` and `--from haproxy`: the reverse-proxy part of another product's
//! configuration in the native form, and a report that has a line for every directive. Nothing is
//! dropped in silence.

mod draft;
mod haproxy;
mod nginx;

use crate::diagnostic::{Diagnostics, Fault, Problem, SourceLines};
use crate::key::Key;
use crate::reader::Reader;
use crate::sections::Root;
use crate::tree::{Node, Place};
use crate::{Format, Source, bound, check, convert};
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

/// Imports a configuration.
///
/// # Errors
/// A text that cannot be parsed, or whose result would not be valid.
pub fn import(source: &Source, product: Product, to: Format) -> Result<Imported, Diagnostics> {
    let lines = SourceLines::new(&source.name, source.text.clone());
    if source.text.len() > bound::MAX_TEXT_BYTES {
        let fault = Fault::new(format!("longer than {} bytes", bound::MAX_TEXT_BYTES));
        let problem = Problem { place: Place::in_file(1, 1), path: "syntax".to_owned(), fault };
        return Err(lines.diagnostics(vec![problem]));
    }
    let mut report = Report::default();
    let read = match product {
        Product::Nginx => nginx::read(&source.text, &mut report),
        Product::Haproxy => haproxy::read(&source.text, &mut report),
    };
    let tree = read.map_err(|problem| lines.diagnostics(vec![problem]))?;
    let problems = mistakes(&tree);
    if !problems.is_empty() {
        return Err(lines.diagnostics(problems));
    }
    report.0.sort_by_key(|remark| remark.line);
    Ok(Imported { text: convert::plain_text(tree, to), report: report.0 })
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
    fn exact(&mut self, line: usize, text: impl Into<String>) {
        self.0.push(Remark { line, fidelity: Fidelity::Exact, text: text.into() });
    }

    fn near(&mut self, line: usize, text: impl Into<String>) {
        self.0.push(Remark { line, fidelity: Fidelity::Approximated, text: text.into() });
    }

    fn lost(&mut self, line: usize, text: impl Into<String>) {
        self.0.push(Remark { line, fidelity: Fidelity::Unsupported, text: text.into() });
    }
}
