//! The client's side of the translation: an HTTP/2 request becomes the head of an HTTP/1.1 request,
//! the head of our HTTP/1.1 response becomes an HTTP/2 response. What a request of HTTP/2 must not
//! be is refused here, as far as the library lets it pass (RFC 9113 8.1.1, 8.2, 8.3).

use super::lines::{self, is_clean, is_of_connection, write_line};
use super::shape::Framing;
use crate::explain::is_token;
use bytes::Bytes;
use h2::ext::Protocol;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, TE, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderName, Method, Response, StatusCode};
use std::io;

/// A request that is malformed; its stream is reset, and nothing of it is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What is known of the body when the head is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    /// The stream ended with the head.
    Nothing,
    /// All of it is here already.
    Exactly(u64),
    /// It comes.
    Something,
}

/// The framing of a request's body.
pub(crate) fn framing(parts: &Parts, announced: Announced) -> Result<Framing, Malformed> {
    if parts.extensions.get::<Protocol>().is_some() {
        return Ok(Framing::None);
    }
    let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(match announced {
            Announced::Nothing => Framing::None,
            Announced::Exactly(length) => Framing::Fixed(length),
            Announced::Something => Framing::Chunked,
        });
    };
    let length = length.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let length = length.and_then(|text| text.parse().ok()).ok_or(Malformed)?;
    let contradicts = announced == Announced::Nothing && length > 0;
    if contradicts || lengths.next().is_some() {
        return Err(Malformed);
    }
    Ok(Framing::Fixed(length))
}

/// Writes the head. `key` stands for the handshake of a WebSocket, which HTTP/2 has none of
/// (RFC 8441 5). Beyond `max_fields` lines a head is refused by whoever reads it.
pub(crate) fn write_head(
    parts: &Parts,
    framing: Framing,
    (key, max_fields): (&str, usize),
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let protocol = parts.extensions.get::<Protocol>();
    // The library looks at its letters as little as at any other pseudo-header's.
    if protocol.is_some_and(|named| !named.as_str().split('/').all(is_token)) {
        return Err(Malformed);
    }
    let target = target(parts, protocol)?;
    let method = if protocol.is_some() { "GET" } else { parts.method.as_str() };
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(authority) = authority(parts)? {
        write_line(b"host", authority, out);
    }
    write_fields(parts, max_fields, out)?;
    match (framing, protocol) {
        (Framing::Chunked, None) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        (Framing::Fixed(length), None) => {
            write_line(b"content-length", itoa::Buffer::new().format(length).as_bytes(), out);
        }
        (_, Some(protocol)) => {
            out.extend_from_slice(b"connection: upgrade\r\n");
            write_line(b"upgrade", protocol.as_str().as_bytes(), out);
            if is_websocket(protocol) {
                write_line(b"sec-websocket-key", key.as_bytes(), out);
            }
        }
        (Framing::None | Framing::Raw, None) => {}
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// True of the protocol whose handshake has a key.
pub(crate) fn is_websocket(protocol: &Protocol) -> bool {
    protocol.as_str().eq_ignore_ascii_case("websocket")
}

fn target<'a>(parts: &'a Parts, protocol: Option<&Protocol>) -> Result<&'a str, Malformed> {
    if parts.uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(Malformed);
    }
    if parts.method == Method::CONNECT && protocol.is_none() {
        // Refused by its method, whatever the target.
        return Ok("/");
    }
    let target = parts.uri.path_and_query().ok_or(Malformed)?.as_str();
    let asterisk = target == "*" && parts.method == Method::OPTIONS;
    if asterisk || target.starts_with('/') { Ok(target) } else { Err(Malformed) }
}

/// `:authority`, or `host`; where both are, they say the same.
fn authority(parts: &Parts) -> Result<Option<&[u8]>, Malformed> {
    let mut hosts = parts.headers.get_all(HOST).iter().map(|host| host.as_bytes());
    let named = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let Some(first) = hosts.next() else { return Ok(named) };
    let differs = named.is_some_and(|named| !named.eq_ignore_ascii_case(first));
    if differs || hosts.next().is_some() {
        return Err(Malformed);
    }
    Ok(Some(first))
}

fn write_fields(parts: &Parts, max_fields: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    // A head over the bound is not hidden by joining its crumbs.
    let joins = parts.headers.len() <= max_fields;
    let mut crumbs = parts.headers.get_all(COOKIE).iter().filter(|_| joins);
    for (name, value) in &parts.headers {
        let connection = is_of_connection(name) || *name == TRANSFER_ENCODING;
        let te = *name == TE && !value.as_bytes().eq_ignore_ascii_case(b"trailers");
        if connection || te || !is_clean(value) {
            return Err(Malformed);
        }
        if *name == COOKIE && joins {
            write_crumbs(&mut crumbs, out);
        } else if *name != HOST && *name != CONTENT_LENGTH && !is_handshake(parts, name) {
            write_line(name.as_str().as_bytes(), value.as_bytes(), out);
        }
    }
    Ok(())
}

/// All crumbs of a cookie as one line (RFC 9113 8.2.3), where the first one stood.
fn write_crumbs<'a>(crumbs: &mut impl Iterator<Item = &'a http::HeaderValue>, out: &mut Vec<u8>) {
    for (count, crumb) in crumbs.enumerate() {
        out.extend_from_slice(if count == 0 { b"cookie: " } else { b"; " });
        out.extend_from_slice(crumb.as_bytes());
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
}

/// The key of a handshake is ours to make.
fn is_handshake(parts: &Parts, name: &HeaderName) -> bool {
    name == "sec-websocket-key" && parts.extensions.get::<Protocol>().is_some()
}

/// A response head of ours, read again.
pub(crate) struct ResponseText {
    pub(crate) response: Response<()>,
    pub(crate) framing: Framing,
}

/// Reads a response head of ours. Without a body: the answer to HEAD, 204, 304. `tunnel`: the
/// client asked for one: then 101 becomes 200 (RFC 8441 5).
pub(crate) fn read_head(head: Bytes, to_head: bool, tunnel: bool) -> io::Result<ResponseText> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let status = head.get(9..12).and_then(|digits| StatusCode::from_bytes(digits).ok());
    let status = status.ok_or_else(malformed)?;
    let switched = status == StatusCode::SWITCHING_PROTOCOLS && tunnel;
    let mut response = Response::new(());
    *response.status_mut() = if switched { StatusCode::OK } else { status };
    let fields = response.headers_mut();
    let (mut length, mut chunked) = (None, false);
    for line in lines::lines(&head, lines::after_start_line(&head)) {
        let line = line.ok_or_else(malformed)?;
        let name = HeaderName::from_bytes(&head[line.name]).map_err(|_| malformed())?;
        chunked |= name == TRANSFER_ENCODING;
        if is_of_connection(&name) || (switched && name == "sec-websocket-accept") {
            continue;
        }
        let value = lines::shared_value(&head, line.value)?;
        if name == CONTENT_LENGTH {
            length = value.to_str().ok().and_then(|text| text.parse().ok());
        }
        fields.append(name, value);
    }
    let bodiless = to_head || status.is_informational() || status == StatusCode::NO_CONTENT;
    let framing = match length {
        _ if switched => Framing::Raw,
        _ if bodiless || status == StatusCode::NOT_MODIFIED => Framing::None,
        Some(length) => Framing::Fixed(length),
        None if chunked => Framing::Chunked,
        None => Framing::None,
    };
    if framing == Framing::Fixed(0) && is_grpc(&response) {
        // Trailers only: such a response is its head (the gRPC protocol over HTTP/2).
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    Ok(ResponseText { response, framing })
}

fn is_grpc(response: &Response<()>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    type Edit = fn(http::request::Builder) -> http::request::Builder;

    fn text(edit: Edit, announced: Announced) -> Result<String, Malformed> {
        let builder = Request::builder().method("GET").uri("http://a.test/x?y=1");
        let (parts, ()) = edit(builder).body(()).expect("a request").into_parts();
        let framing = framing(&parts, announced)?;
        let mut out = Vec::new();
        write_head(&parts, framing, ("a2V5", 5), &mut out)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn heads() {
        let cases: [(Edit, Announced, &str); 8] = [
            (|b| b, Announced::Nothing, "GET /x?y=1 HTTP/1.1\r\nhost: a.test\r\n\r\n"),
            (
                |b| b.method("POST").header("te", "trailers"),
                Announced::Something,
                "POST /x?y=1 HTTP/1.1\r\nhost: a.test\r\nte: trailers\r\n\
                 transfer-encoding: chunked\r\n\r\n",
            ),
            (
                |b| b.method("PUT").header("content-length", "3"),
                Announced::Something,
                "PUT /x?y=1 HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\n",
            ),
            (
                |b| b.method("PUT"),
                Announced::Exactly(7),
                "PUT /x?y=1 HTTP/1.1\r\nhost: a.test\r\ncontent-length: 7\r\n\r\n",
            ),
            (
                |b| b.header("cookie", "a=b").header("x", "1").header("cookie", "c=d"),
                Announced::Nothing,
                "GET /x?y=1 HTTP/1.1\r\nhost: a.test\r\ncookie: a=b; c=d\r\nx: 1\r\n\r\n",
            ),
            (
                |b| b.header("host", "A.test"),
                Announced::Nothing,
                "GET /x?y=1 HTTP/1.1\r\nhost: A.test\r\n\r\n",
            ),
            (
                |b| b.method("CONNECT").extension(Protocol::from_static("websocket")),
                Announced::Something,
                "GET /x?y=1 HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\n\
                 upgrade: websocket\r\nsec-websocket-key: a2V5\r\n\r\n",
            ),
            (
                |b| b.method("CONNECT").uri("a.test:443"),
                Announced::Something,
                "CONNECT / HTTP/1.1\r\nhost: a.test:443\r\ntransfer-encoding: chunked\r\n\r\n",
            ),
        ];
        for (edit, announced, expected) in cases {
            assert_eq!(text(edit, announced).as_deref(), Ok(expected));
        }
    }

    fn connect(builder: http::request::Builder, to: &str) -> http::request::Builder {
        builder.method("CONNECT").extension(Protocol::from(to))
    }

    #[test]
    fn malformed_requests() {
        let cases: [(&str, Edit, Announced); 13] = [
            ("RFC 9113 8.1.1", |b| b.header("content-length", "3"), Announced::Nothing),
            (
                "two lengths",
                |b| b.header("content-length", "3").header("content-length", "3"),
                Announced::Something,
            ),
            ("no number", |b| b.header("content-length", "+3"), Announced::Something),
            ("RFC 9113 8.2.1", |b| b.header("x", " a"), Announced::Nothing),
            ("RFC 9113 8.2.1", |b| b.header("x", "a\t"), Announced::Nothing),
            ("RFC 9113 8.2.2", |b| b.header("connection", "close"), Announced::Nothing),
            ("RFC 9113 8.2.2", |b| b.header("te", "gzip"), Announced::Nothing),
            ("RFC 9113 8.3.1", |b| b.header("host", "b.test"), Announced::Nothing),
            (
                "two hosts",
                |b| b.header("host", "a.test").header("host", "a.test"),
                Announced::Nothing,
            ),
            ("no path", |b| b.uri("*"), Announced::Nothing),
            ("a field in :protocol", |b| connect(b, "a\r\nx: y"), Announced::Something),
            ("two protocols", |b| connect(b, "a, b"), Announced::Something),
            ("no protocol", |b| connect(b, ""), Announced::Something),
        ];
        for (what, edit, announced) in cases {
            assert_eq!(text(edit, announced), Err(Malformed), "{what}");
        }
    }

    #[test]
    fn crumbs_beyond_the_bound_stay_lines() {
        let many: Edit = |mut builder| {
            for _ in 0..6 {
                builder = builder.header("cookie", "a=b");
            }
            builder
        };
        let text = text(many, Announced::Nothing).expect("a head");
        assert_eq!(text.matches("cookie: a=b\r\n").count(), 6, "{text}");
    }

    #[test]
    fn responses() {
        let read = |text: &str, to_head, tunnel| {
            read_head(text.to_owned().into(), to_head, tunnel).expect("our own")
        };
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\nX-A: b\r\n\r\n";
        let ResponseText { response, framing } = read(head, false, false);
        assert_eq!((response.status().as_u16(), framing), (200, Framing::Fixed(3)));
        assert!(!response.headers().contains_key("connection"));
        assert_eq!(response.headers()["x-a"], "b");
        assert_eq!(read(head, true, false).framing, Framing::None);
        let switch = "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
        let ResponseText { response, framing } = read(switch, false, true);
        assert_eq!((response.status().as_u16(), framing), (200, Framing::Raw));
        assert_eq!(response.headers().len(), 1);
        let trailers_only = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n\
                             grpc-status: 14\r\nContent-Length: 0\r\n\r\n";
        let ResponseText { response, framing } = read(trailers_only, false, false);
        assert_eq!(framing, Framing::Fixed(0));
        assert!(!response.headers().contains_key("content-length"));
    }
}
