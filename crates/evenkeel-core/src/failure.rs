// tidy: allow-file(line_width) because a table is read across
//! THE table from failure to status, code, side, resend safety and what probably helps. Every way in
//! which an exchange can fail is one variant; no other place maps errors to statuses.

mod try_code;

pub use try_code::TryCode;

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

impl Side {
    /// In a word: `client`, `backend` or `proxy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Backend => "backend",
            Side::Proxy => "proxy",
        }
    }
}

/// Whether a client may send the same request again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend {
    /// It would be refused again.
    Useless,
    /// No backend has seen it.
    Safe,
    /// A backend may have acted on it.
    IfRepeatable,
}

impl Resend {
    /// In a sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Resend::Useless => "no: the same request is refused again",
            Resend::Safe => "yes: no backend has acted on it",
            Resend::IfRepeatable => "only if it may be repeated: a backend may have acted on it",
        }
    }
}

macro_rules! failures {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $status:literal $reason:literal, $side:ident, $resend:ident, $message:literal, $hint:literal;)*) => {
        /// Why an exchange ended without the backend's own complete answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Failure { $($(#[doc = $doc])* $name,)* }

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

            /// What happened, for the operator.
            pub fn meaning(self) -> &'static str {
                match self { $(Failure::$name => concat!($($doc,)*).trim_ascii(),)* }
            }

            /// Whether the same request may be sent again.
            pub fn resend(self) -> Resend {
                match self { $(Failure::$name => Resend::$resend,)* }
            }

            /// What probably helps, for the operator.
            pub fn hint(self) -> &'static str {
                match self { $(Failure::$name => $hint,)* }
            }
        }
    };
}

failures! {
    /// The bytes are not a legal HTTP message (RFC 9112).
    BadRequest = "bad_request", 400 "Bad Request", Client, Useless, "The request is not valid HTTP.", "Look at what the client sends: a stray proxy, a broken library or an attack. `evenkeel requests` shows the first line.";
    /// HTTP without TLS on a port that takes TLS alone.
    TlsRequired = "tls_required", 400 "Bad Request", Client, Useless, "This port speaks TLS: ask with https://.", "Have the client use `https://`. A listener on the port for plain HTTP with `redirect: { scheme: https }` sends it there.";
    /// `allow` or `deny` of the route refused the client's address.
    Denied = "denied", 403 "Forbidden", Proxy, Useless, "Your address may not use this route.", "Add the address to the route's `allow`, or take it off `deny`; behind a proxy name that proxy in the listener's `trusted_proxies`.";
    /// No route matches.
    NoRoute = "no_route", 404 "Not Found", Proxy, Useless, "No route matches this host and path.", "Ask `evenkeel explain URL` why each route was passed over; a route without `match` at the end catches the rest.";
    /// CONNECT or TRACE.
    MethodRefused = "method_refused", 405 "Method Not Allowed", Proxy, Useless, "This method is not served.", "CONNECT and TRACE are never served; use another method.";
    /// The head was not complete in time.
    HeadTimeout = "head_timeout", 408 "Request Timeout", Client, Safe, "The request head took too long.", "A slow or idle client, or an attack that holds connections; raise `limits.request_head_timeout` for clients on very slow lines.";
    /// The body stalled, or moved too slowly.
    BodyTimeout = "body_timeout", 408 "Request Timeout", Client, IfRepeatable, "The request body took too long.", "The client stopped sending; raise `limits.idle_timeout` for clients on very slow lines.";
    /// Body over `max_request_body`.
    BodyTooLarge = "body_too_large", 413 "Content Too Large", Client, Useless, "The request body is too large.", "Raise the listener's `limits.max_request_body`, or have the client send less at once.";
    /// Request target too long.
    UriTooLong = "uri_too_long", 414 "URI Too Long", Client, Useless, "The request target is too long.", "Have the client send less in the target: a form as a POST, say.";
    /// An expectation other than 100-continue.
    ExpectationFailed = "expectation_failed", 417 "Expectation Failed", Client, Useless, "This expectation is not supported.", "Have the client leave `Expect` out, or send `100-continue`.";
    /// Host is not covered by the certificate that SNI chose.
    Misdirected = "misdirected", 421 "Misdirected Request", Client, Safe, "This connection does not serve that host.", "The client reused a connection for another host: it should open a new one. Add the name to the certificate if it belongs there.";
    /// Too many requests.
    RateLimited = "rate_limited", 429 "Too Many Requests", Proxy, Safe, "Too many requests; try again later.", "Wait as `Retry-After` says; raise the route's `rate_limit` if the traffic is wanted.";
    /// Head over `max_request_head` or `max_request_fields`.
    HeadTooLarge = "head_too_large", 431 "Request Header Fields Too Large", Client, Useless, "The request head is too large.", "Raise `limits.max_request_head` or `limits.max_request_fields`; often cookies have piled up.";
    /// HTTP version other than 1.x.
    VersionRefused = "version_refused", 505 "HTTP Version Not Supported", Client, Useless, "This HTTP version is not supported.", "Have the client speak HTTP/1.1 or HTTP/1.0.";
    /// No connection to any backend could be made.
    ConnectFailure = "connect_failure", 502 "Bad Gateway", Backend, Safe, "No connection to a backend could be made.", "Is the backend running, and does it listen on the address that is configured? Look for a firewall; raise `timeouts.connect` if it is far away.";
    /// The backend's connection broke before its answer was complete.
    Reset = "reset", 502 "Bad Gateway", Backend, IfRepeatable, "The backend closed the connection before answering.", "Look in the backend's log for a crash or a timeout of its own that is shorter than ours; `retry` hides it for requests that may be repeated.";
    /// The backend's answer is not legal HTTP.
    BadResponse = "bad_response", 502 "Bad Gateway", Backend, IfRepeatable, "The backend's answer is not valid HTTP.", "Does the port speak HTTP, and not TLS or another protocol? Ask the backend directly with `curl -v`.";
    /// A gRPC call for a pool whose backends speak HTTP/1.1.
    GrpcUnsupported = "grpc_unsupported", 502 "Bad Gateway", Proxy, Useless, "The backends of this route speak HTTP/1.1, which carries no gRPC.", "Give the pool `protocol: h2`, or its backends addresses that begin with `h2c://`.";
    /// No backend may be tried: disabled, draining, weight 0, unhealthy.
    NoBackend = "no_backend", 503 "Service Unavailable", Proxy, Safe, "No backend is available.", "See `evenkeel backend list` for why each is out: disabled, draining, weight 0 or unhealthy. Is the health check's path right?";
    /// The pool's queue is full.
    QueueFull = "queue_full", 503 "Service Unavailable", Proxy, Safe, "Too many requests are waiting.", "Every backend has its `connections.max`: add backends, raise the maximum or `connections.queue.max`.";
    /// Waited too long in the pool's queue.
    QueueTimeout = "queue_timeout", 503 "Service Unavailable", Proxy, Safe, "No backend became free in time.", "Backends are slower than requests come in: add backends, raise `connections.max` or `connections.queue.timeout`.";
    /// The backend did not answer in time.
    ResponseTimeout = "response_timeout", 504 "Gateway Timeout", Backend, IfRepeatable, "The backend did not answer in time.", "The backend is slow or stuck: look at its log and its load; raise `timeouts.response_head` or the route's `timeout` if it needs that long.";
    /// The request came through us before.
    Loop = "loop", 508 "Loop Detected", Proxy, Useless, "The request has passed this proxy before.", "A backend's address leads back to this proxy: look at DNS and at the pool's addresses.";
    /// The client left before the exchange ended; nobody is there to be told.
    ClientGone = "client_gone", 0 "", Client, IfRepeatable, "The client closed the connection.", "Often a client's own timeout: compare it with `first_byte` in `evenkeel requests`. Rare ones are people who left.";
}

impl Failure {
    /// The failure with this code.
    pub fn of_code(code: &str) -> Option<Failure> {
        Failure::ALL.iter().copied().find(|failure| failure.code() == code)
    }

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

    #[test]
    fn each_explains_itself() {
        for failure in Failure::ALL {
            let code = failure.code();
            assert_eq!(Failure::of_code(code), Some(*failure));
            for text in [failure.meaning(), failure.message(), failure.hint()] {
                assert!(text.ends_with('.') || text.ends_with('?'), "{code}: {text}");
                assert!(!text.contains("  "), "{code}: {text}");
            }
            // What a client did wrong does not become right by itself.
            let refused = matches!(failure.status(), 400 | 404 | 405 | 413 | 414 | 417 | 431);
            assert!(!refused || failure.resend() == Resend::Useless, "{code}");
        }
        assert_eq!(Failure::of_code("nonsense"), None);
    }
}
