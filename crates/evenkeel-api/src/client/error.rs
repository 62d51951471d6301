//! Why a call failed, in words for the person who made it.

use crate::problem::Problem;
use std::time::Duration;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The base is no address of an admin listener.
    #[error("{base:?} is no address of an admin listener: {reason}")]
    BadAddress {
        /// As given.
        base: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Something in the request cannot be sent: a token of a wrong file, or a broken ETag.
    #[error("the request cannot be sent: {reason}")]
    Unsendable {
        /// What is wrong with it.
        reason: String,
    },
    /// There is no connection.
    #[error(
        "cannot reach {address}: {reason}; \
         is evenkeel running, and is `admin.bind` this address?"
    )]
    Unreachable {
        /// As given.
        address: String,
        /// The operating system's words.
        reason: String,
    },
    /// evenkeel refused.
    #[error("refused: {0}")]
    Refused(Problem),
    /// The answer is not one of an admin listener.
    #[error("{address} gave no proper answer: {reason}; is this an evenkeel admin listener?")]
    BadAnswer {
        /// As given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer is larger than any that is expected.
    #[error("the answer of {address} is larger than {max_bytes} bytes")]
    TooLarge {
        /// As given.
        address: String,
        /// The bound.
        max_bytes: usize,
    },
    /// The answer was not complete in time.
    #[error("{address} did not answer within {after:?}")]
    Timeout {
        /// As given.
        address: String,
        /// The bound.
        after: Duration,
    },
}
