//! What a client asked: the head of one request, checked and reduced to what matters here.

use crate::limits::MAX_FIELDS;
use crate::refusal::Refusal;
use crate::target::Target;
use httparse::{Header, Status};
use std::mem::MaybeUninit;

/// How long a request body is (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// That many bytes; 0 without a body.
    Fixed(u64),
    /// Chunked transfer coding.
    Chunked,
}

/// What becomes of the connection after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// Stays open, as is usual in HTTP/1.1.
    Open,
    /// Stays open although it is HTTP/1.0, which must be said.
    OpenOld,
    /// Ends.
    Close,
}

/// HTTP/1.0 or 1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Knows no chunks and no upgrade.
    Http10,
    /// The usual.
    Http11,
}

/// The opening of a WebSocket, as far as the client got it right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Well-formed, with the client's key.
    Key(String),
    /// Not a WebSocket request, or of another version.
    UpgradeRequired,
}

/// The parts of a request that only `/echo` reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    /// As sent.
    pub(crate) method: String,
    /// The request target as sent, with its query.
    pub(crate) target: String,
    /// Name and value as sent, in their order.
    pub(crate) fields: Vec<(String, String)>,
}

/// One parsed request head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// What it asks for.
    pub(crate) target: Target,
    /// HEAD: the answer has no body.
    pub(crate) head_only: bool,
    /// HTTP/1.0 or 1.1.
    pub(crate) version: Version,
    /// What follows the head.
    pub(crate) body: BodyLength,
    /// The client waits for leave to send the body.
    pub(crate) expects_continue: bool,
    /// What becomes of the connection.
    pub(crate) persistence: Persistence,
    /// Filled for `/echo` only.
    pub(crate) copied: Option<Copied>,
    /// Filled for `/ws` only.
    pub(crate) opening: Option<Opening>,
}

/// Parses one head from the start of `bytes`; `None` if it is not complete. Gives its length too.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Refusal> {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_FIELDS];
    let mut raw = httparse::Request::new(&mut []);
    let length = match raw.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
        Err(httparse::Error::Version) => return Err(Refusal::VersionRefused),
        Err(_) => return Err(Refusal::BadRequest),
    };
    let method = raw.method.unwrap_or_default();
    if method == "CONNECT" {
        return Err(Refusal::MethodRefused);
    }
    let text = raw.path.unwrap_or_default();
    let version = if raw.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let target = Target::find(text);
    let request = Request {
        target,
        head_only: method == "HEAD",
        version,
        body: body_length(raw.headers)?,
        expects_continue: version == Version::Http11
            && has_token(raw.headers, "expect", "100-continue"),
        persistence: persistence(raw.headers, version),
        copied: (target == Target::Echo).then(|| copy(&raw)),
        opening: (target == Target::WebSocket).then(|| opening(&raw, version)),
    };
    Ok(Some((request, length)))
}

fn body_length(fields: &[Header<'_>]) -> Result<BodyLength, Refusal> {
    let mut fixed = None;
    let mut chunked = false;
    for field in fields {
        if field.name.eq_ignore_ascii_case("content-length") {
            let length = parse_length(field.value).ok_or(Refusal::BadRequest)?;
            if fixed.is_some_and(|earlier| earlier != length) {
                return Err(Refusal::BadRequest);
            }
            fixed = Some(length);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::UnknownCoding);
            }
            chunked = true;
        }
    }
    match (chunked, fixed) {
        // Two lengths are one too many: the classic of request smuggling.
        (true, Some(_)) => Err(Refusal::BadRequest),
        (true, None) => Ok(BodyLength::Chunked),
        (false, length) => Ok(BodyLength::Fixed(length.unwrap_or(0))),
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

fn persistence(fields: &[Header<'_>], version: Version) -> Persistence {
    if has_token(fields, "connection", "close") {
        return Persistence::Close;
    }
    match version {
        Version::Http11 => Persistence::Open,
        Version::Http10 if has_token(fields, "connection", "keep-alive") => Persistence::OpenOld,
        Version::Http10 => Persistence::Close,
    }
}

/// True if a field of that name lists the token, in any case.
fn has_token(fields: &[Header<'_>], name: &str, token: &str) -> bool {
    let named = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
    let mut tokens = named.flat_map(|field| field.value.split(|byte| *byte == b','));
    tokens.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn copy(raw: &httparse::Request<'_, '_>) -> Copied {
    let pair = |field: &Header<'_>| {
        (field.name.to_owned(), String::from_utf8_lossy(field.value).into_owned())
    };
    Copied {
        method: raw.method.unwrap_or_default().to_owned(),
        target: raw.path.unwrap_or_default().to_owned(),
        fields: raw.headers.iter().map(pair).collect(),
    }
}

/// RFC 6455, section 4.2.1.
fn opening(raw: &httparse::Request<'_, '_>, version: Version) -> Opening {
    let fields: &[Header<'_>] = raw.headers;
    let asks = version == Version::Http11
        && raw.method == Some("GET")
        && has_token(fields, "connection", "upgrade")
        && has_token(fields, "upgrade", "websocket")
        && has_token(fields, "sec-websocket-version", "13");
    let key = fields.iter().find(|field| field.name.eq_ignore_ascii_case("sec-websocket-key"));
    // A key is 16 bytes in base64.
    match key.map(|field| String::from_utf8_lossy(field.value)) {
        Some(key) if asks && key.len() == 24 => Opening::Key(key.into_owned()),
        _ => Opening::UpgradeRequired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Request {
        let (request, length) = parse(text.as_bytes()).expect(text).expect(text);
        assert_eq!(length, text.len());
        request
    }

    #[test]
    fn framing_and_persistence() {
        let cases = [
            ("GET / HTTP/1.1\r\n\r\n", BodyLength::Fixed(0), Persistence::Open),
            ("GET / HTTP/1.0\r\n\r\n", BodyLength::Fixed(0), Persistence::Close),
            (
                "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
                BodyLength::Fixed(0),
                Persistence::OpenOld,
            ),
            (
                "PUT / HTTP/1.1\r\nContent-Length: 7\r\nConnection: x, close\r\n\r\n",
                BodyLength::Fixed(7),
                Persistence::Close,
            ),
            (
                "PUT / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n",
                BodyLength::Chunked,
                Persistence::Open,
            ),
        ];
        for (text, body, persistence) in cases {
            let request = parsed(text);
            assert_eq!((request.body, request.persistence), (body, persistence), "{text}");
        }
    }

    #[test]
    fn refusals() {
        let cases = [
            ("GET /\0 HTTP/1.1\r\n\r\n", Refusal::BadRequest),
            ("GET / HTTP/2.0\r\n\r\n", Refusal::VersionRefused),
            ("CONNECT a:1 HTTP/1.1\r\n\r\n", Refusal::MethodRefused),
            ("GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", Refusal::BadRequest),
            ("GET / HTTP/1.1\r\nContent-Length: \r\n\r\n", Refusal::BadRequest),
            (
                "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                Refusal::BadRequest,
            ),
            (
                "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Refusal::BadRequest,
            ),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", Refusal::UnknownCoding),
        ];
        for (text, refusal) in cases {
            assert_eq!(parse(text.as_bytes()).expect_err(text), refusal, "{text}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(parse(many.as_bytes()).expect_err("too many"), Refusal::HeadTooLarge);
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: x\r\n").expect("partial"), None);
    }

    #[test]
    fn only_a_complete_opening_has_a_key() {
        let good = "GET /ws HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\n\
                    Upgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let key = Opening::Key("dGhlIHNhbXBsZSBub25jZQ==".to_owned());
        assert_eq!(parsed(good).opening, Some(key));
        for (part, other) in [("13", "12"), ("GET", "PUT"), ("ZQ==", ""), ("WebSocket\r", "h2c\r")]
        {
            let bad = good.replace(part, other);
            assert_eq!(parsed(&bad).opening, Some(Opening::UpgradeRequired), "{bad}");
        }
    }
}
