//! What numbers are told apart by. Every label is from a closed set or from the configuration:
//! whatever clients send, they make no new one.

use super::statuses::NO_STATUS;
use std::fmt;
use std::sync::Arc;

/// The name of what is counted together because there is no room to count it apart.
pub const OTHER: &str = "other";

/// The name under which backends that are gone for good are counted together, by listener, route
/// and pool: so that what belongs to those stays exact. No backend can be called so.
pub const GONE: &str = "\0";

/// Where an exchange went, by names: so that counting goes on when a configuration is replaced by
/// one that has the same names. Empty text means that none was reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series {
    /// Where the client came in.
    pub listener: Arc<str>,
    /// The route that matched.
    pub route: Arc<str>,
    /// Its pool.
    pub pool: Arc<str>,
    /// The last backend tried.
    pub backend: Arc<str>,
}

impl Series {
    /// True of a backend's own.
    pub fn is_of_backend(&self) -> bool {
        !self.backend.is_empty() && *self.backend != *GONE
    }

    /// True of what backends have counted that are gone.
    pub fn is_of_gone(&self) -> bool {
        *self.backend == *GONE
    }

    /// Where that goes when the backend is gone.
    pub(super) fn of_gone(&self) -> Series {
        Series { backend: GONE.into(), ..self.clone() }
    }

    /// The series of what is beyond the bound on series.
    pub(super) fn other() -> Series {
        let other: Arc<str> = OTHER.into();
        Series {
            listener: Arc::clone(&other),
            route: Arc::clone(&other),
            pool: Arc::clone(&other),
            backend: other,
        }
    }
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// The method of a request, as far as it is counted apart.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum MethodLabel {
            $($(#[$doc])* $name,)*
            /// Any other, invented ones included.
            Other,
        }

        impl MethodLabel {
            /// All of them, in the order of the declaration.
            pub const ALL: &'static [MethodLabel] = &[$(MethodLabel::$name,)* MethodLabel::Other];

            /// Of a method as it was sent; methods are case-sensitive (RFC 9110 section 9.1).
            pub fn of(method: &[u8]) -> MethodLabel {
                $(if method == $text.as_bytes() {
                    return MethodLabel::$name;
                })*
                MethodLabel::Other
            }

            /// The text of the label.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(MethodLabel::$name => $text,)*
                    MethodLabel::Other => OTHER,
                }
            }
        }
    };
}

methods! {
    /// GET
    Get = "GET";
    /// HEAD
    Head = "HEAD";
    /// POST
    Post = "POST";
    /// PUT
    Put = "PUT";
    /// PATCH
    Patch = "PATCH";
    /// DELETE
    Delete = "DELETE";
    /// OPTIONS
    Options = "OPTIONS";
}

/// Why a request was sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RetryReason {
    /// No connection to the backend could be made.
    ConnectFailure,
    /// The connection broke before the answer was complete.
    Reset,
    /// One try took too long.
    PerTryTimeout,
    /// The backend said by gRPC that it is unavailable.
    GrpcUnavailable,
    /// A connection that had been idle turned out to be closed by the backend.
    Stale,
    /// The answer had this status.
    Status(u16),
}

impl RetryReason {
    /// From its label.
    pub fn parse(text: &str) -> Option<RetryReason> {
        let words = [
            RetryReason::ConnectFailure,
            RetryReason::Reset,
            RetryReason::PerTryTimeout,
            RetryReason::GrpcUnavailable,
            RetryReason::Stale,
            RetryReason::Status(NO_STATUS),
        ];
        let word = words.into_iter().find(|word| word.to_string() == text);
        word.or_else(|| Some(RetryReason::Status(text.parse().ok()?)))
    }
}

impl fmt::Display for RetryReason {
    /// As in the configuration: a word, or the status as a number; [`OTHER`] for [`NO_STATUS`].
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RetryReason::ConnectFailure => out.write_str("connect_failure"),
            RetryReason::Reset => out.write_str("reset"),
            RetryReason::PerTryTimeout => out.write_str("per_try_timeout"),
            RetryReason::GrpcUnavailable => out.write_str("grpc_unavailable"),
            RetryReason::Stale => out.write_str("stale"),
            RetryReason::Status(NO_STATUS) => out.write_str(OTHER),
            RetryReason::Status(status) => write!(out, "{status}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_place_and_its_name() {
        for (place, method) in MethodLabel::ALL.iter().enumerate() {
            assert_eq!(*method as usize, place);
            assert_eq!(MethodLabel::of(method.as_str().as_bytes()), *method);
        }
        for invented in ["", "get", "GETT", "PROPFIND", "other", "\u{1b}["] {
            assert_eq!(MethodLabel::of(invented.as_bytes()), MethodLabel::Other, "{invented:?}");
        }
    }
}
