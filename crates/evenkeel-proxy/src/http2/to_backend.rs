//! The backend's side of the translation: the head of our HTTP/1.1 request becomes an HTTP/2
//! request, an HTTP/2 response becomes the head of an HTTP/1.1 response.

use super::lines::{self, is_clean, is_of_connection, write_line};
use super::shape::Framing;
use super::websocket;
use bytes::Bytes;
use evenkeel_core::grpc;
use h2::ext::Protocol;
use http::header::{CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, Method, Request, StatusCode, Uri, response};
use std::io;
use std::io::Write;

/// A request head of ours, read again.
#[derive(Debug)]
pub(crate) struct RequestText {
    pub(crate) request: Request<()>,
    pub(crate) framing: Framing,
    /// It asks for a tunnel.
    pub(crate) tunnel: Option<Tunnel>,
}

/// What an HTTP/1.1 client is told of the tunnel that it asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tunnel {
    /// The protocol that the connection becomes.
    protocol: String,
    /// With what a WebSocket's handshake is accepted; empty = it is none.
    accept: String,
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// Reads a request head of ours. What asks for another protocol becomes an extended CONNECT
/// (RFC 8441 4) if the backend takes those; else the asking ends here, and the rest is a request
/// like any other (RFC 9110 7.8).
pub(crate) fn read_head(
    head: Bytes,
    scheme: &Scheme,
    takes_tunnels: impl Fn() -> bool,
) -> io::Result<RequestText> {
    let start = lines::after_start_line(&head);
    let mut words = head[..start].trim_ascii_end().split(|byte| *byte == b' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(malformed());
    };
    let mut request = Request::new(());
    let fields = request.headers_mut();
    let (mut length, mut chunked) = (None, false);
    let (mut authority, mut protocol, mut key) = (None, None, None);
    for line in lines::lines(&head, start) {
        let line = line.ok_or_else(malformed)?;
        let name = HeaderName::from_bytes(&head[line.name]).map_err(|_| malformed())?;
        let value = &head[line.value.clone()];
        chunked |= name == TRANSFER_ENCODING;
        if name == HOST {
            authority = Some(Authority::try_from(value).map_err(|_| malformed())?);
        } else if name == UPGRADE {
            let named = std::str::from_utf8(value).ok().filter(|_| takes_tunnels());
            protocol = named.map(Protocol::from);
        } else if name == "sec-websocket-key" {
            key = Some(websocket::accept(value));
        } else if is_carried(&name, value) {
            let mut value = lines::shared_value(&head, line.value)?;
            value.set_sensitive(!is_shared(&name));
            if name == CONTENT_LENGTH {
                length = value.to_str().ok().and_then(|text| text.parse().ok());
            }
            fields.append(name, value);
        }
    }
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme.clone());
    parts.authority = authority;
    parts.path_and_query = Some(path_and_query(target)?);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| malformed())?;
    let framing = match (&protocol, length) {
        (Some(_), _) => Framing::Raw,
        (None, Some(length)) => Framing::Fixed(length),
        (None, None) if chunked => Framing::Chunked,
        (None, None) => Framing::None,
    };
    *request.method_mut() = match protocol {
        Some(_) => Method::CONNECT,
        None => Method::from_bytes(method).map_err(|_| malformed())?,
    };
    let tunnel = protocol.as_ref().map(|protocol| Tunnel {
        protocol: protocol.as_str().to_owned(),
        accept: key.unwrap_or_default(),
    });
    if let Some(protocol) = protocol {
        request.extensions_mut().insert(protocol);
    }
    Ok(RequestText { request, framing, tunnel })
}

/// What the fields of a request come to, as a peer's bound on them counts (RFC 9113 6.5.2).
pub(crate) fn head_bytes(request: &Request<()>) -> usize {
    const OF_EACH: usize = 32;
    let uri = request.uri();
    let pseudo = [
        (":method", request.method().as_str()),
        (":scheme", uri.scheme_str().unwrap_or_default()),
        (":authority", uri.authority().map(Authority::as_str).unwrap_or_default()),
        (":path", uri.path_and_query().map(PathAndQuery::as_str).unwrap_or_default()),
    ];
    let pseudo = pseudo.iter().map(|(name, value)| name.len() + value.len() + OF_EACH);
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + OF_EACH);
    pseudo.chain(fields).sum()
}

/// Fields that a backend gets. A timeout that is none stays here: there are backends that it makes
/// refuse calls of others on the same connection.
fn is_carried(name: &HeaderName, value: &[u8]) -> bool {
    match name.as_str() {
        "grpc-timeout" => grpc::parse_timeout(value).is_some(),
        _ => !is_of_connection(name) && (*name != TE || value == b"trailers"),
    }
}

/// Fields whose values many requests of many clients share. Everything else stays out of the table
/// that all requests of a connection share (RFC 7541 7.1): nobody can find out there what another
/// client has sent, what one backend's library made of a bad value it does not tell all, and what
/// never comes again does not push out what does.
fn is_shared(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "accept"
            | "accept-charset"
            | "accept-encoding"
            | "accept-language"
            | "cache-control"
            | "content-encoding"
            | "content-type"
            | "dnt"
            | "grpc-accept-encoding"
            | "origin"
            | "pragma"
            | "priority"
            | "sec-ch-ua"
            | "sec-ch-ua-mobile"
            | "sec-ch-ua-platform"
            | "sec-fetch-dest"
            | "sec-fetch-mode"
            | "sec-fetch-site"
            | "sec-fetch-user"
            | "sec-gpc"
            | "sec-websocket-protocol"
            | "sec-websocket-version"
            | "te"
            | "upgrade-insecure-requests"
            | "user-agent"
            | "via"
            | "x-forwarded-host"
            | "x-forwarded-proto"
            | "x-requested-with"
    )
}

/// The target as it is, or with what the library does not take in percent.
fn path_and_query(target: &[u8]) -> io::Result<PathAndQuery> {
    let strange = |byte: &u8| !byte.is_ascii_graphic() || b"\"#<>\\^`{|}".contains(byte);
    match PathAndQuery::try_from(target) {
        Ok(target) => Ok(target),
        Err(_) => {
            let mut escaped = Vec::with_capacity(target.len() + 16);
            for byte in target {
                if strange(byte) {
                    // Writing to a Vec cannot fail.
                    let _ = write!(escaped, "%{byte:02X}");
                } else {
                    escaped.push(*byte);
                }
            }
            PathAndQuery::try_from(escaped).map_err(|_| malformed())
        }
    }
}

/// What the response answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered<'a> {
    /// To HEAD: no body follows.
    pub(crate) to_head: bool,
    /// Set if a tunnel was asked for.
    pub(crate) tunnel: Option<&'a Tunnel>,
    /// The stream ended with the head.
    pub(crate) ended: bool,
}

/// Writes the head of a response, final or interim, and says how its body comes. `None` if HTTP/2
/// has no such response (RFC 9113 8.2.1, 8.6).
pub(crate) fn write_head(
    parts: &response::Parts,
    answered: Answered<'_>,
    out: &mut Vec<u8>,
) -> Option<Framing> {
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return None;
    }
    let switched = answered.tunnel.filter(|_| parts.status.is_success());
    let status = switched.map_or(parts.status, |_| StatusCode::SWITCHING_PROTOCOLS);
    let reason = status.canonical_reason().unwrap_or("");
    // Writing to a Vec cannot fail.
    let _ = write!(out, "HTTP/1.1 {} {reason}\r\n", status.as_u16());
    let mut length = None;
    for (name, value) in &parts.headers {
        if !is_clean(value) {
            return None;
        }
        if is_of_connection(name) || (switched.is_some() && *name == CONTENT_LENGTH) {
            continue;
        }
        if *name == CONTENT_LENGTH {
            length = Some(value.to_str().ok()?.parse().ok()?);
        }
        write_line(name.as_str().as_bytes(), value.as_bytes(), out);
    }
    if let Some(Tunnel { protocol, accept }) = switched {
        out.extend_from_slice(b"connection: upgrade\r\n");
        write_line(b"upgrade", protocol.as_bytes(), out);
        if !accept.is_empty() {
            write_line(b"sec-websocket-accept", accept.as_bytes(), out);
        }
        out.extend_from_slice(b"\r\n");
        return Some(Framing::Raw);
    }
    let empty = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let framing = match length {
        _ if answered.to_head || empty || parts.status.is_informational() => Framing::None,
        Some(length) => Framing::Fixed(length),
        None if answered.ended => {
            out.extend_from_slice(b"content-length: 0\r\n");
            Framing::Fixed(0)
        }
        None => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Framing::Chunked
        }
    };
    out.extend_from_slice(b"\r\n");
    Some(framing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    fn request(text: &str) -> RequestText {
        read_head(text.to_owned().into(), &Scheme::HTTP, || true).expect("our own form")
    }

    #[test]
    fn what_a_client_says_is_kept_from_others() {
        let fields = |text: &str| {
            let head = format!("POST /a.B/C HTTP/1.1\r\nhost: x\r\n{text}\r\n");
            let read = read_head(head.into(), &Scheme::HTTP, || true).expect("our own form");
            let (parts, ()) = read.request.into_parts();
            let told = |(name, value): (&HeaderName, &http::HeaderValue)| {
                (name.to_string(), value.is_sensitive())
            };
            parts.headers.iter().map(told).collect::<Vec<_>>()
        };
        let own = |name: &str, sensitive| (name.to_owned(), sensitive);
        assert_eq!(fields("grpc-timeout: 00000001S\r\n"), [own("grpc-timeout", true)]);
        for bad in ["-1S", "1", "", "1X", "999999999S", "1S, 2S"] {
            assert_eq!(fields(&format!("grpc-timeout: {bad}\r\n")), [], "{bad}");
        }
        let text = "trace-bin: AA==\r\ngrpc-encoding: gzip\r\nx-a: b\r\n";
        let expected = [own("trace-bin", true), own("grpc-encoding", true), own("x-a", true)];
        assert_eq!(fields(text), expected);
        let text = "cookie: a=b\r\nauthorization: c\r\nx-request-id: d\r\nuser-agent: e\r\n";
        let expected = [
            own("cookie", true),
            own("authorization", true),
            own("x-request-id", true),
            own("user-agent", false),
        ];
        assert_eq!(fields(text), expected);
    }

    #[test]
    fn requests() {
        let plain = request(
            "POST /a?b=c HTTP/1.1\r\nHost: x:8080\r\nX-A: 1\r\nx-a: 2\r\n\
             TE: trailers\r\nConnection: TE\r\nContent-Length: 3\r\n\r\n",
        );
        assert_eq!(plain.request.uri().to_string(), "http://x:8080/a?b=c");
        assert_eq!((plain.request.method().as_str(), plain.framing), ("POST", Framing::Fixed(3)));
        assert_eq!(plain.request.headers().get_all("x-a").iter().count(), 2);
        assert_eq!(plain.request.headers()["te"], "trailers");
        assert!(!plain.request.headers().contains_key("connection"));
        let chunked = request("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(chunked.framing, Framing::Chunked);
        assert!(chunked.request.headers().is_empty() && chunked.tunnel.is_none());
        let odd = request("GET /<{x}>?\"` HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(
            odd.request.uri().path_and_query().expect("one").as_str(),
            "/%3C%7Bx%7D%3E?%22%60"
        );
        // RFC 9113 6.5.2: names, values, and 32 bytes for each of five fields.
        let small = request("GET /a HTTP/1.1\r\nHost: x\r\nX-A: bc\r\n\r\n").request;
        assert_eq!(head_bytes(&small), 10 + 11 + 11 + 7 + 5 + 5 * 32);
        let options = request("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(options.request.uri().path(), "*");
    }

    #[test]
    fn an_upgrade_is_an_extended_connect() {
        let asked = request(
            "GET /ws HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\n\r\n",
        );
        assert_eq!((asked.request.method(), asked.framing), (&Method::CONNECT, Framing::Raw));
        let protocol = asked.request.extensions().get::<Protocol>().expect("one");
        assert_eq!(protocol.as_str(), "websocket");
        assert_eq!(asked.request.headers().len(), 1);
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned();
        assert_eq!(asked.tunnel, Some(Tunnel { protocol: "websocket".to_owned(), accept }));
    }

    #[test]
    fn responses() {
        let text = |builder: response::Builder, answered: Answered<'_>| {
            let (parts, ()) = builder.body(()).expect("a response").into_parts();
            let mut out = Vec::new();
            let framing = write_head(&parts, answered, &mut out);
            (framing, String::from_utf8(out).expect("text"))
        };
        let tunnel = |protocol: &str, accept: &str| Tunnel {
            protocol: protocol.to_owned(),
            accept: accept.to_owned(),
        };
        let (socket, other) = (tunnel("websocket", "k"), tunnel("other/1", ""));
        let plain = Answered { to_head: false, tunnel: None, ended: false };
        let ended = Answered { ended: true, ..plain };
        let cases = [
            (
                Response::builder().header("content-length", "3"),
                plain,
                Some(Framing::Fixed(3)),
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n",
            ),
            (
                Response::builder().header("x", "1"),
                plain,
                Some(Framing::Chunked),
                "HTTP/1.1 200 OK\r\nx: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            ),
            (
                Response::builder().header("grpc-status", "14"),
                ended,
                Some(Framing::Fixed(0)),
                "HTTP/1.1 200 OK\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n",
            ),
            (
                Response::builder().header("content-length", "9"),
                Answered { to_head: true, ..ended },
                Some(Framing::None),
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
            ),
            (
                Response::builder().status(103),
                plain,
                Some(Framing::None),
                "HTTP/1.1 103 Early Hints\r\n\r\n",
            ),
            (Response::builder().status(101), plain, None, ""),
            (Response::builder().header("x", "a "), ended, None, "HTTP/1.1 200 OK\r\n"),
            (
                Response::builder().header("sec-websocket-protocol", "chat"),
                Answered { tunnel: Some(&socket), ..plain },
                Some(Framing::Raw),
                "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-protocol: chat\r\n\
                 connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: k\r\n\r\n",
            ),
            (
                Response::builder(),
                Answered { tunnel: Some(&other), ..plain },
                Some(Framing::Raw),
                "HTTP/1.1 101 Switching Protocols\r\n\
                 connection: upgrade\r\nupgrade: other/1\r\n\r\n",
            ),
        ];
        for (builder, answered, framing, expected) in cases {
            assert_eq!(text(builder, answered), (framing, expected.to_owned()));
        }
    }
}
