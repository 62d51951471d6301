//! What people and pipes read: colour only on a terminal, and never with NO_COLOR.

use crate::trouble::Trouble;
use evenkeel_config::Diagnostic;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// Select Graphic Rendition codes of ECMA-48.
const BOLD_RED: &str = "\x1b[1;31m";
const BOLD_YELLOW: &str = "\x1b[1;33m";
const BOLD_GREEN: &str = "\x1b[1;32m";
const PLAIN: &str = "\x1b[0m";

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Something stopped us.
    Error,
    /// Something to look at.
    Warning,
    /// We serve.
    Ready,
}

impl Tone {
    fn label(self) -> &'static str {
        match self {
            Tone::Error => "error",
            Tone::Warning => "warning",
            Tone::Ready => "ready",
        }
    }

    /// Text in its colour.
    pub(crate) fn paint(self, text: &str) -> String {
        format!("{}{text}{PLAIN}", self.colour())
    }

    fn colour(self) -> &'static str {
        match self {
            Tone::Error => BOLD_RED,
            Tone::Warning => BOLD_YELLOW,
            Tone::Ready => BOLD_GREEN,
        }
    }
}

/// Writes text to stdout, whole.
pub(crate) fn print(text: impl Display) -> Result<(), Trouble> {
    let mut out = io::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(Trouble::Unwritable)
}

/// Writes a labelled line to stderr. Nobody is left to be told if that fails.
pub(crate) fn say(tone: Tone, text: impl Display) {
    let mut stderr = io::stderr().lock();
    let line = labelled(tone, &text.to_string(), in_colour(&stderr));
    let _ = stderr.write_all(line.as_bytes());
}

/// Writes a line to stderr as it is.
pub(crate) fn report(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes findings to stderr, an empty line between two.
pub(crate) fn say_findings(findings: &[Diagnostic]) {
    let mut stderr = io::stderr().lock();
    let colour = in_colour(&stderr);
    let findings: Vec<_> = findings.iter().map(|f| painted(&f.to_string(), colour)).collect();
    let _ = stderr.write_all(findings.join("\n").as_bytes());
}

/// True if what is printed may be in colour.
pub(crate) fn paints_stdout() -> bool {
    in_colour(&io::stdout())
}

/// True if somebody may be sitting in front of stderr.
pub(crate) fn someone_reads() -> bool {
    io::stderr().is_terminal()
}

fn in_colour(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !refused
}

fn labelled(tone: Tone, text: &str, colour: bool) -> String {
    let text = text.trim_end();
    let label = tone.label();
    if colour {
        format!("{}{label}:{PLAIN} {text}\n", tone.colour())
    } else {
        format!("{label}: {text}\n")
    }
}

/// A finding as it is, so that it starts with the name of its file; in colour its first line stands
/// out, and the hint.
fn painted(finding: &str, colour: bool) -> String {
    let mut text = String::with_capacity(finding.len());
    for (index, line) in finding.lines().enumerate() {
        let hint = line.strip_prefix("hint:").filter(|_| colour);
        match hint {
            Some(hint) => text.push_str(&format!("{BOLD_GREEN}hint:{PLAIN}{hint}")),
            None if index == 0 && colour => text.push_str(&format!("{BOLD_RED}{line}{PLAIN}")),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        assert_eq!(labelled(Tone::Error, "no\n", false), "error: no\n");
        assert_eq!(labelled(Tone::Warning, "no", true), "\x1b[1;33mwarning:\x1b[0m no\n");
    }

    #[test]
    fn findings_keep_their_text() {
        let finding = "a.yaml:1:1: x: no\n1 | x\nhint: y";
        assert_eq!(painted(finding, false), format!("{finding}\n"));
        let colourful = painted(finding, true);
        assert!(colourful.starts_with("\x1b[1;31ma.yaml:1:1: x: no\x1b[0m\n1 | x\n"));
        assert!(colourful.ends_with("\x1b[1;32mhint:\x1b[0m y\n"));
    }
}
