//! Why the program ends without having done what was asked, and the exit code that says so.

use crate::output::{self, Tone};
use evenkeel_config::Diagnostics;
use std::io;
use std::process::ExitCode;

/// What went wrong, by whose turn it is.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The user asked for something that cannot be; says what to do instead.
    Mistake(String),
    /// The configuration does not hold.
    Invalid(Diagnostics),
    /// The machine refused what we need; says what and why.
    CannotStart(String),
    /// Our answer could not be written.
    Unwritable(io::Error),
}

impl Trouble {
    /// 1 for the user's mistakes, 2 for what the machine refused; a reader that left is neither.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Trouble::Mistake(_) | Trouble::Invalid(_) => ExitCode::from(1),
            Trouble::Unwritable(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            Trouble::CannotStart(_) | Trouble::Unwritable(_) => ExitCode::from(2),
        }
    }

    /// Tells it to the person at stderr.
    pub(crate) fn say(&self) {
        match self {
            Trouble::Mistake(text) | Trouble::CannotStart(text) => output::say(Tone::Error, text),
            Trouble::Invalid(findings) => output::say_findings(&findings.0),
            Trouble::Unwritable(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Trouble::Unwritable(error) => {
                output::say(Tone::Error, format_args!("cannot write the answer: {error}"));
            }
        }
    }
}

/// For a log, where nobody sees colours.
#[cfg(windows)]
impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Mistake(text) | Trouble::CannotStart(text) => f.write_str(text),
            Trouble::Invalid(findings) => findings.fmt(f),
            Trouble::Unwritable(error) => write!(f, "cannot write the answer: {error}"),
        }
    }
}
