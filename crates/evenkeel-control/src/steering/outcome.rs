//! What goes in and comes out of a change.

use evenkeel_config::{Conflict, Diagnostics, Overrides, Source};
use std::fmt;

/// What is read: the text, and what lies over it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The text; `None` = there is no file.
    pub source: Option<Source>,
    /// Environment and flags.
    pub overrides: Overrides,
}

/// Reads what is written, now.
pub type ReadFile = dyn Fn() -> Result<Written, Rejected> + Send + Sync;

/// Who changes something, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The name of a token, a signal, `file`.
    pub name: String,
    /// In words; empty if none was given.
    pub reason: String,
}

impl Author {
    /// Without a reason.
    pub fn named(name: &str) -> Author {
        Author { name: name.to_owned(), reason: String::new() }
    }
}

const STALE: &str = "the configuration has changed meanwhile";

/// Why a configuration was not put in force; what was in force still is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// It has errors.
    Invalid(Diagnostics),
    /// It could not be read.
    Unreadable(String),
    /// The system refused something that it needs, such as a port.
    Refused(String),
    /// The configuration has changed since it was looked at.
    Stale {
        /// What its ETag is now.
        current: String,
    },
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejected::Invalid(problems) => problems.fmt(f),
            Rejected::Unreadable(why) | Rejected::Refused(why) => f.write_str(why),
            Rejected::Stale { .. } => f.write_str(STALE),
        }
    }
}

impl std::error::Error for Rejected {}

/// Why an edit was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// It speaks of what is not there.
    NotFound(String),
    /// It adds what is there already.
    Exists(String),
    /// The configuration has changed since it was looked at.
    Stale {
        /// What its ETag is now.
        current: String,
    },
    /// The configuration would not hold.
    Invalid(Diagnostics),
    /// The system refused something that it needs, or a bound would be passed.
    Refused(String),
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EditError::NotFound(why) | EditError::Exists(why) | EditError::Refused(why) => {
                f.write_str(why)
            }
            EditError::Stale { .. } => f.write_str(STALE),
            EditError::Invalid(problems) => problems.fmt(f),
        }
    }
}

impl std::error::Error for EditError {}

impl From<Rejected> for EditError {
    fn from(rejected: Rejected) -> EditError {
        match rejected {
            Rejected::Invalid(problems) => EditError::Invalid(problems),
            Rejected::Unreadable(why) | Rejected::Refused(why) => EditError::Refused(why),
            Rejected::Stale { current } => EditError::Stale { current },
        }
    }
}

/// What a change did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Whether anything is different.
    pub changed: bool,
    /// The generation in force.
    pub generation: u64,
    /// What is different, a line for each key.
    pub changes: Vec<String>,
    /// What of it does not take effect, and what that needs.
    pub notes: Vec<String>,
    /// Edits that do not fit the file any more.
    pub conflicts: Vec<Conflict>,
    /// Edits made through the API that lie over the file.
    pub edits: usize,
}
