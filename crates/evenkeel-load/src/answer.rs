//! What is said to a client: rendered once for the plain path, on demand for the others.

use crate::limits::BLOCK_BYTES;
use crate::request::Persistence;
use std::io::Write;

/// The body of sized answers, repeated as often as needed.
pub(crate) static BLOCK: [u8; BLOCK_BYTES] = [b'x'; BLOCK_BYTES];

/// Starts the names of backends that are played in a demo: every answer says so in `X-Demo`.
pub const MOCK_PREFIX: &str = "mock-";

/// How the length of an answer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By Content-Length.
    Length(u64),
    /// In chunks.
    Chunked,
    /// By closing the connection.
    UntilClose,
}

/// The parts of an answer's head that differ.
pub(crate) struct Head<'a> {
    /// 101 or 200 to 599.
    pub(crate) status: u16,
    /// Value of X-Backend.
    pub(crate) backend: &'a str,
    /// Value of Content-Type.
    pub(crate) content_type: &'a str,
    /// How the end of the body is told.
    pub(crate) framing: Framing,
    /// Further lines, each with its line end.
    pub(crate) extra: &'a str,
}

impl Head<'_> {
    /// The bytes, with the empty line.
    pub(crate) fn render(&self, persistence: Persistence) -> Vec<u8> {
        let mut head = Vec::with_capacity(256);
        let Head { status, backend, content_type, extra, .. } = self;
        // Writing to a vector cannot fail.
        let _ = write!(head, "HTTP/1.1 {status} {}\r\nX-Backend: {backend}\r\n", reason(*status));
        if backend.starts_with(MOCK_PREFIX) {
            head.extend_from_slice(b"X-Demo: 1\r\n");
        }
        if may_have_body(*status) {
            let _ = write!(head, "Content-Type: {content_type}\r\n");
            let _ = match self.framing {
                Framing::Length(length) => write!(head, "Content-Length: {length}\r\n"),
                Framing::Chunked => write!(head, "Transfer-Encoding: chunked\r\n"),
                Framing::UntilClose => Ok(()),
            };
        }
        head.extend_from_slice(match persistence {
            Persistence::Open => b"",
            Persistence::OpenOld => b"Connection: keep-alive\r\n",
            Persistence::Close => b"Connection: close\r\n",
        });
        head.extend_from_slice(extra.as_bytes());
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// An answer that is the same every time, rendered for each kind of connection.
pub(crate) struct Ready {
    open: Rendered,
    open_old: Rendered,
    close: Rendered,
    /// Bytes of the body that are not in the rendering and are to be streamed after it.
    pub(crate) streamed: u64,
}

struct Rendered {
    bytes: Vec<u8>,
    head: usize,
}

impl Ready {
    /// A body that is a text.
    pub(crate) fn text(status: u16, backend: &str, text: &str) -> Ready {
        Ready::new(status, backend, (text.as_bytes(), 0))
    }

    /// A body of `size` bytes.
    pub(crate) fn sized(status: u16, backend: &str, size: u64) -> Ready {
        let at_once = usize::try_from(size).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
        Ready::new(status, backend, (&BLOCK[..at_once], size - at_once as u64))
    }

    /// A body in two parts: the bytes kept ready, and how many are streamed after them.
    fn new(status: u16, backend: &str, body: (&[u8], u64)) -> Ready {
        let (now, later) = if may_have_body(status) { body } else { (&[][..], 0) };
        let framing = Framing::Length(now.len() as u64 + later);
        let head = Head { status, backend, content_type: "text/plain", framing, extra: "" };
        let render = |persistence| {
            let mut bytes = head.render(persistence);
            let head = bytes.len();
            bytes.extend_from_slice(now);
            Rendered { bytes, head }
        };
        Ready {
            open: render(Persistence::Open),
            open_old: render(Persistence::OpenOld),
            close: render(Persistence::Close),
            streamed: later,
        }
    }

    /// The head alone.
    pub(crate) fn head(&self, persistence: Persistence) -> &[u8] {
        let rendered = self.rendered(persistence);
        &rendered.bytes[..rendered.head]
    }

    /// Head and body, as far as the body is not streamed.
    pub(crate) fn bytes(&self, persistence: Persistence) -> &[u8] {
        &self.rendered(persistence).bytes
    }

    fn rendered(&self, persistence: Persistence) -> &Rendered {
        match persistence {
            Persistence::Open => &self.open,
            Persistence::OpenOld => &self.open_old,
            Persistence::Close => &self.close,
        }
    }
}

/// RFC 9110, section 6.4.1: these answers end with their head.
fn may_have_body(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}

/// The phrase of RFC 9110 for the statuses that are met in tests; empty otherwise.
fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        418 => "I'm a teapot",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_for_each_kind_of_connection() {
        let ready = Ready::text(200, "b1", "hi");
        let common = "HTTP/1.1 200 OK\r\nX-Backend: b1\r\nContent-Type: text/plain\r\n\
                      Content-Length: 2\r\n";
        let cases = [
            (Persistence::Open, ""),
            (Persistence::OpenOld, "Connection: keep-alive\r\n"),
            (Persistence::Close, "Connection: close\r\n"),
        ];
        for (persistence, line) in cases {
            let head = format!("{common}{line}\r\n");
            assert_eq!(ready.head(persistence), head.as_bytes());
            assert_eq!(ready.bytes(persistence), format!("{head}hi").as_bytes());
        }
    }

    #[test]
    fn bodiless_statuses_and_long_bodies() {
        let none = Ready::text(204, "b1", "hi");
        let wanted = b"HTTP/1.1 204 No Content\r\nX-Backend: b1\r\n\r\n";
        assert_eq!(none.bytes(Persistence::Open), wanted);
        let long = Ready::sized(200, "b1", BLOCK_BYTES as u64 + 5);
        assert_eq!(long.streamed, 5);
        let head = long.head(Persistence::Open);
        assert_eq!(long.bytes(Persistence::Open).len(), head.len() + BLOCK_BYTES);
        assert!(String::from_utf8_lossy(head).contains("Content-Length: 65541\r\n"));
    }
}
