//! What went wrong in one try.

use evenkeel_core::failure::Failure;
use evenkeel_core::stats::RetryReason;

/// What went wrong in one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TryError {
    /// No connection.
    Connect,
    /// The connection takes so long that another backend is tried beside.
    SlowConnect,
    /// This machine has no descriptor or port for a connection.
    Starved,
    /// The connection broke.
    Reset,
    /// The backend does not answer, nor does it answer a probe.
    Forsaken,
    /// What came back is not HTTP.
    BadResponse,
    /// A call needs trailers, and what the pool speaks has none to give: nothing was sent.
    NoTrailers,
    /// The request's head is more than the backend takes: nothing was sent.
    HeadTooLarge,
    /// A status that is worth another try; nothing of it went to the client.
    Status(u16),
    /// A call was answered with UNAVAILABLE, and nothing else.
    Unavailable,
    /// No response head in time.
    Timeout,
    /// No response head in the time of one try.
    PerTryTimeout,
    /// The client left.
    ClientGone,
    /// The request's body is not legal.
    BadRequestBody,
    /// The request's body is over the limit.
    BodyTooLarge,
    /// The request's body stalled.
    BodyTimeout,
}

/// What may be listed as worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retriable {
    Connect,
    Reset,
    PerTryTimeout,
    GrpcUnavailable,
    Status(u16),
}

impl From<Retriable> for RetryReason {
    fn from(why: Retriable) -> RetryReason {
        match why {
            Retriable::Connect => RetryReason::ConnectFailure,
            Retriable::Reset => RetryReason::Reset,
            Retriable::PerTryTimeout => RetryReason::PerTryTimeout,
            Retriable::GrpcUnavailable => RetryReason::GrpcUnavailable,
            Retriable::Status(status) => RetryReason::Status(status),
        }
    }
}

impl TryError {
    /// Under what it is listed; `None` = never worth another try.
    pub(crate) fn retriable(self) -> Option<Retriable> {
        match self {
            TryError::Connect | TryError::SlowConnect | TryError::Starved => {
                Some(Retriable::Connect)
            }
            TryError::Reset | TryError::Forsaken => Some(Retriable::Reset),
            TryError::PerTryTimeout => Some(Retriable::PerTryTimeout),
            TryError::Unavailable => Some(Retriable::GrpcUnavailable),
            TryError::Status(status) => Some(Retriable::Status(status)),
            TryError::BadResponse
            | TryError::NoTrailers
            | TryError::HeadTooLarge
            | TryError::Timeout
            | TryError::ClientGone
            | TryError::BadRequestBody
            | TryError::BodyTooLarge
            | TryError::BodyTimeout => None,
        }
    }

    /// True if the backend is to blame, and its pool does not know yet.
    pub(crate) fn is_backends(self) -> bool {
        match self {
            TryError::Connect
            | TryError::Reset
            | TryError::BadResponse
            | TryError::Timeout
            | TryError::PerTryTimeout => true,
            TryError::SlowConnect
            | TryError::Starved
            | TryError::Forsaken
            | TryError::NoTrailers
            | TryError::HeadTooLarge
            | TryError::Unavailable
            | TryError::Status(_)
            | TryError::ClientGone
            | TryError::BadRequestBody
            | TryError::BodyTooLarge
            | TryError::BodyTimeout => false,
        }
    }
}

impl From<TryError> for Failure {
    fn from(error: TryError) -> Failure {
        match error {
            TryError::Connect | TryError::SlowConnect | TryError::Starved => {
                Failure::ConnectFailure
            }
            TryError::Reset => Failure::Reset,
            TryError::BadResponse => Failure::BadResponse,
            TryError::NoTrailers => Failure::GrpcUnsupported,
            TryError::HeadTooLarge => Failure::HeadTooLarge,
            // Another try was granted, and then nobody was left to make it.
            TryError::Unavailable | TryError::Status(_) => Failure::NoBackend,
            TryError::Timeout | TryError::PerTryTimeout | TryError::Forsaken => {
                Failure::ResponseTimeout
            }
            TryError::ClientGone => Failure::ClientGone,
            TryError::BadRequestBody => Failure::BadRequest,
            TryError::BodyTooLarge => Failure::BodyTooLarge,
            TryError::BodyTimeout => Failure::BodyTimeout,
        }
    }
}

/// What went wrong, and what had happened by then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TryFailure {
    pub(crate) error: TryError,
    /// Bytes of the request that the kernel took.
    pub(crate) sent: usize,
    /// The connection had been idle, and broke without a byte of response: that says nothing about
    /// the backend.
    pub(crate) stale: bool,
    /// The client may be why: its pool learns nothing of the backend from it.
    pub(crate) provoked: bool,
    /// Another try was granted, and paid for.
    pub(crate) again: bool,
}

impl TryFailure {
    pub(crate) fn unsent(error: TryError) -> TryFailure {
        TryFailure { error, sent: 0, stale: false, provoked: false, again: false }
    }
}
