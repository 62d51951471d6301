//! Writes `docs/reference/` from what the program says of itself, or checks that it is up to date.

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Each generated page: the topic of `evenkeel docs TOPIC`, written to `docs/reference/TOPIC.md`.
const TOPICS: &[&str] = &["config", "cli", "environment", "failures", "admin-api", "metrics"];

/// What to do with the generated pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Write them.
    Write,
    /// Fail if a stored page differs.
    Check,
}

/// Generates every page with `binary`, or with a debug build of the program if none is given.
///
/// # Errors
/// The program did not build or did not run, a file could not be written, or (`Mode::Check`) a
/// stored page differs from the generated one.
pub fn run(root: &Path, mode: Mode, binary: Option<&Path>) -> Result<()> {
    let folder = root.join("docs/reference");
    fs::create_dir_all(&folder)?;
    let mut stale = Vec::new();
    for topic in TOPICS {
        let page = generate(root, binary, topic)?;
        let path = folder.join(format!("{topic}.md"));
        match mode {
            Mode::Write => fs::write(&path, page).with_context(|| path.display().to_string())?,
            Mode::Check => {
                let stored = fs::read_to_string(&path).unwrap_or_default();
                if let Some(line) = first_difference(&stored, &page) {
                    stale.push(format!("docs/reference/{topic}.md:{line}"));
                }
            }
        }
    }
    if !stale.is_empty() {
        bail!("out of date: {}; run `cargo xtask docs`", stale.join(", "));
    }
    Ok(())
}

fn generate(root: &Path, binary: Option<&Path>, topic: &str) -> Result<String> {
    let mut command = match binary {
        Some(path) => Command::new(path),
        None => {
            let mut cargo = Command::new("cargo");
            cargo.args(["run", "--quiet", "--locked", "--package", "evenkeel", "--"]);
            cargo
        }
    };
    let output = command.args(["docs", topic]).current_dir(root).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`evenkeel docs {topic}` ended with {}: {said}", output.status);
    }
    let page = String::from_utf8(output.stdout)?;
    if page.trim().is_empty() {
        bail!("`evenkeel docs {topic}` printed nothing");
    }
    Ok(page)
}

/// Number of the first line (from 1) in which the texts differ; `None` if they are equal.
fn first_difference(stored: &str, generated: &str) -> Option<usize> {
    if stored == generated {
        return None;
    }
    let same = stored.lines().zip(generated.lines()).take_while(|(a, b)| a == b).count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_difference_names_the_line() {
        let cases = [
            ("a\nb\n", "a\nb\n", None),
            ("a\nb\n", "a\nc\n", Some(2)),
            ("", "a\n", Some(1)),
            ("a\n", "a\nb\n", Some(2)),
            ("a", "a\n", Some(2)),
        ];
        for (stored, generated, expected) in cases {
            assert_eq!(first_difference(stored, generated), expected, "{stored:?} {generated:?}");
        }
    }
}
