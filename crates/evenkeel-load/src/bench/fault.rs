//! Why a request got no complete answer.

use crate::LoadError;
use std::io;

/// A failed request: its kind, and what was said.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// What it is counted as.
    pub(crate) kind: LoadError,
    /// For people.
    pub(crate) text: String,
}

impl Fault {
    /// A fault with its text.
    pub(crate) fn new(kind: LoadError, text: impl Into<String>) -> Fault {
        Fault { kind, text: text.into() }
    }

    /// Time is over.
    pub(crate) fn timeout() -> Fault {
        Fault::new(LoadError::Timeout, "no complete answer in time")
    }

    /// The connection broke.
    pub(crate) fn reset(error: &io::Error) -> Fault {
        Fault::new(LoadError::Reset, error.to_string())
    }

    /// The other side closed the connection.
    pub(crate) fn closed() -> Fault {
        Fault::new(LoadError::Reset, "the connection was closed before the answer was complete")
    }

    /// The answer breaks the rules.
    pub(crate) fn bad(text: impl Into<String>) -> Fault {
        Fault::new(LoadError::BadResponse, text)
    }
}
