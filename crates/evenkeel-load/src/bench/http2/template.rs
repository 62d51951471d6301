//! The request that a connection repeats.

use super::hpack::Field;
use bytes::Bytes;
use http::{Method, Request};

/// The request of every exchange.
pub(crate) struct Template {
    /// Pseudo-header fields come first (RFC 9113, section 8.3).
    pub(crate) fields: Vec<Field>,
    /// What follows them.
    pub(crate) body: Bytes,
    /// True if answers have no body, whatever they say of it (HEAD).
    pub(crate) head_only: bool,
}

impl Template {
    /// Renders nothing yet: that depends on the connection.
    pub(crate) fn new(head: &Request<()>, body: Bytes) -> Template {
        let uri = head.uri();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let pseudo = [
            (":method", head.method().as_str()),
            (":scheme", uri.scheme_str().unwrap_or("http")),
            (":authority", authority),
            (":path", path),
        ];
        let pseudo = pseudo.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let fields = head.headers().iter().map(|(n, v)| (n.as_str().as_bytes(), v.as_bytes()));
        let fields = pseudo.into_iter().chain(fields).map(|(n, v)| (n.to_vec(), v.to_vec()));
        Template { fields: fields.collect(), body, head_only: head.method() == Method::HEAD }
    }
}
