//! Why requests get no answer.

/// Why a request got no complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoadError {
    /// No connection could be opened.
    Connect,
    /// The connection ended before the answer did.
    Reset,
    /// The answer was not HTTP.
    BadResponse,
    /// Time was over before the answer was complete, the wait for a connection included.
    Timeout,
    /// No TLS connection came to be.
    Tls,
    /// The run was ended while the request was under way.
    Interrupted,
}

impl LoadError {
    /// Every kind, in the order of [`LoadError::index`].
    pub(crate) const ALL: [LoadError; 6] = [
        LoadError::Connect,
        LoadError::Reset,
        LoadError::BadResponse,
        LoadError::Timeout,
        LoadError::Tls,
        LoadError::Interrupted,
    ];

    /// Its place in [`LoadError::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// Its code in files.
    pub fn code(self) -> &'static str {
        match self {
            LoadError::Connect => "connect_failure",
            LoadError::Reset => "reset",
            LoadError::BadResponse => "bad_response",
            LoadError::Timeout => "timeout",
            LoadError::Tls => "tls_failure",
            LoadError::Interrupted => "interrupted",
        }
    }
}
