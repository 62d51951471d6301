//! `include`: the directives of other files, put where it stands.

use super::parse::{self, Directive};
use crate::diagnostic::Problem;
use crate::import::Report;
use crate::import::files::Files;

/// Files that include one another.
const MAX_DEPTH: usize = 8;

/// The directives with those of included files in their places. An `include` whose files cannot be
/// read stays, and is told where it stands.
pub(super) fn expand(
    directives: Vec<Directive>,
    files: &mut Files<'_>,
    report: &mut Report,
    depth: usize,
) -> Result<Vec<Directive>, Problem> {
    let mut expanded = Vec::with_capacity(directives.len());
    for mut directive in directives {
        if let Some(block) = directive.block.take() {
            directive.block = Some(expand(block, files, report, depth)?);
        }
        let found = pattern(&directive).filter(|_| depth < MAX_DEPTH);
        let Some(texts) = found.and_then(|pattern| files.include(pattern)) else {
            expanded.push(directive);
            continue;
        };
        let shown = directive.shown();
        let count = texts.len();
        report.exact(directive.line, format!("{shown}: what its files say, {count} of them"));
        for (first, text) in texts {
            let inner = parse::parse(&text, first)?;
            expanded.extend(expand(inner, files, report, depth + 1)?);
        }
    }
    Ok(expanded)
}

/// The files that are meant; those with types of files have no part in this.
fn pattern(directive: &Directive) -> Option<&str> {
    match directive.arguments.as_slice() {
        [pattern] if directive.name == "include" && directive.block.is_none() => {
            (!pattern.ends_with("mime.types")).then_some(pattern.as_str())
        }
        _ => None,
    }
}
