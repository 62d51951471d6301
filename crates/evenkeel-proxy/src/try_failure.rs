//! What went wrong in one try, and what had happened by then: decides whether another is safe.

use evenkeel_core::failure::Failure;

/// What went wrong in one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TryError {
    /// No connection.
    Connect,
    /// The connection broke.
    Reset,
    /// What came back is not HTTP.
    BadResponse,
    /// No response head in time.
    Timeout,
    /// The client left.
    ClientGone,
    /// The request's body is not legal.
    BadRequestBody,
    /// The request's body is over the limit.
    BodyTooLarge,
    /// The request's body stalled.
    BodyTimeout,
}

impl From<TryError> for Failure {
    fn from(error: TryError) -> Failure {
        match error {
            TryError::Connect => Failure::ConnectFailure,
            TryError::Reset => Failure::Reset,
            TryError::BadResponse => Failure::BadResponse,
            TryError::Timeout => Failure::ResponseTimeout,
            TryError::ClientGone => Failure::ClientGone,
            TryError::BadRequestBody => Failure::BadRequest,
            TryError::BodyTooLarge => Failure::BodyTooLarge,
            TryError::BodyTimeout => Failure::BodyTimeout,
        }
    }
}

/// What went wrong, and what had happened by then: decides whether another try is safe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TryFailure {
    pub(crate) error: TryError,
    /// Bytes of the request that the kernel took.
    pub(crate) sent: usize,
    /// The connection had been idle, and broke without a byte of response.
    pub(crate) stale: bool,
}

impl TryFailure {
    pub(crate) fn connect() -> TryFailure {
        TryFailure { error: TryError::Connect, sent: 0, stale: false }
    }

    /// True if the connection had died while it was idle: nothing is known against the backend.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale
    }
}
