//! Why a request gets no regular answer.

/// Why a request gets no regular answer; its connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not legal HTTP/1.
    BadRequest,
    /// Head or body did not come in time.
    Timeout,
    /// Head over its bounds.
    HeadTooLarge,
    /// A transfer coding other than chunked.
    UnknownCoding,
    /// CONNECT: this is no proxy.
    MethodRefused,
    /// An HTTP version other than 1.0 and 1.1.
    VersionRefused,
    /// The client has left; there is nobody to answer.
    Gone,
}

impl Refusal {
    /// The status to answer, if there is somebody to read it.
    pub(crate) fn status(self) -> Option<u16> {
        match self {
            Refusal::BadRequest => Some(400),
            Refusal::Timeout => Some(408),
            Refusal::HeadTooLarge => Some(431),
            Refusal::UnknownCoding => Some(501),
            Refusal::MethodRefused => Some(405),
            Refusal::VersionRefused => Some(505),
            Refusal::Gone => None,
        }
    }
}
