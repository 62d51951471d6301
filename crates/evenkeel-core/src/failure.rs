// tidy: allow-file(line_width) because a table is read across
//! THE table from failure to status, code, side and resend safety. Every way in which an exchange
//! can fail is one variant; no other place maps errors to statuses.

/// Who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client sent something wrong, or left.
    Client,
    /// The backend did.
    Backend,
    /// We refused by configuration or limits.
    Proxy,
}

macro_rules! failures {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal $reason:literal, $side:ident, $message:literal;)*) => {
        /// Why an exchange ended without the backend's own complete answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Failure { $($(#[$doc])* $name,)* }

        impl Failure {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Failure] = &[$(Failure::$name,)*];

            /// The stable code of body, log and metric.
            pub fn code(self) -> &'static str {
                match self { $(Failure::$name => $code,)* }
            }

            /// The HTTP status of the local reply; 0 if the connection is just closed.
            pub fn status(self) -> u16 {
                match self { $(Failure::$name => $status,)* }
            }

            /// The reason phrase of that status.
            pub fn reason(self) -> &'static str {
                match self { $(Failure::$name => $reason,)* }
            }

            /// Who is to blame.
            pub fn side(self) -> Side {
                match self { $(Failure::$name => Side::$side,)* }
            }

            /// One sentence for the client.
            pub fn message(self) -> &'static str {
                match self { $(Failure::$name => $message,)* }
            }
        }
    };
}

failures! {
    /// The bytes are not a legal HTTP message (RFC 9112).
    BadRequest = "bad_request", 400 "Bad Request", Client, "The request is not valid HTTP.";
    /// `allow` or `deny` of the route refused the client's address.
    Denied = "denied", 403 "Forbidden", Proxy, "Your address may not use this route.";
    /// No route matches.
    NoRoute = "no_route", 404 "Not Found", Proxy, "No route matches this host and path.";
    /// CONNECT or TRACE.
    MethodRefused = "method_refused", 405 "Method Not Allowed", Proxy, "This method is not served.";
    /// The head was not complete in time.
    HeadTimeout = "head_timeout", 408 "Request Timeout", Client, "The request head took too long.";
    /// The body stalled, or moved too slowly.
    BodyTimeout = "body_timeout", 408 "Request Timeout", Client, "The request body took too long.";
    /// Body over `max_request_body`.
    BodyTooLarge = "body_too_large", 413 "Content Too Large", Client, "The request body is too large.";
    /// Request target too long.
    UriTooLong = "uri_too_long", 414 "URI Too Long", Client, "The request target is too long.";
    /// An expectation other than 100-continue.
    ExpectationFailed = "expectation_failed", 417 "Expectation Failed", Client, "This expectation is not supported.";
    /// Host is not covered by the certificate that SNI chose.
    Misdirected = "misdirected", 421 "Misdirected Request", Client, "This connection does not serve that host.";
    /// Too many requests.
    RateLimited = "rate_limited", 429 "Too Many Requests", Proxy, "Too many requests; try again later.";
    /// Head over `max_request_head` or `max_request_fields`.
    HeadTooLarge = "head_too_large", 431 "Request Header Fields Too Large", Client, "The request head is too large.";
    /// HTTP version other than 1.x.
    VersionRefused = "version_refused", 505 "HTTP Version Not Supported", Client, "This HTTP version is not supported.";
    /// No connection to any backend could be made.
    ConnectFailure = "connect_failure", 502 "Bad Gateway", Backend, "No connection to a backend could be made.";
    /// The backend's connection broke before its answer was complete.
    Reset = "reset", 502 "Bad Gateway", Backend, "The backend closed the connection before answering.";
    /// The backend's answer is not legal HTTP.
    BadResponse = "bad_response", 502 "Bad Gateway", Backend, "The backend's answer is not valid HTTP.";
    /// No backend may be tried: disabled, draining, weight 0, unhealthy.
    NoBackend = "no_backend", 503 "Service Unavailable", Proxy, "No backend is available.";
    /// The pool's queue is full.
    QueueFull = "queue_full", 503 "Service Unavailable", Proxy, "Too many requests are waiting.";
    /// Waited too long in the pool's queue.
    QueueTimeout = "queue_timeout", 503 "Service Unavailable", Proxy, "No backend became free in time.";
    /// The backend did not answer in time.
    ResponseTimeout = "response_timeout", 504 "Gateway Timeout", Backend, "The backend did not answer in time.";
    /// The request came through us before.
    Loop = "loop", 508 "Loop Detected", Proxy, "The request has passed this proxy before.";
    /// The client left before the exchange ended; nobody is there to be told.
    ClientGone = "client_gone", 0 "", Client, "The client closed the connection.";
}

impl Failure {
    /// Seconds to suggest in `Retry-After`, for those that pass by themselves.
    pub fn retry_after_seconds(self) -> Option<u32> {
        let temporary = self.status() == 503 || self.status() == 429;
        temporary.then_some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_stable_in_form() {
        let mut codes: Vec<_> = Failure::ALL.iter().map(|f| f.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Failure::ALL.len());
        assert!(codes.iter().all(|c| c.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }
}
