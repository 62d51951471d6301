//! The head of a request as a flat view: method, target and fields are ranges into the buffer that
//! it was read into. Strict by RFC 9112; what two programs could read in two ways is refused.

use crate::failure::Failure;
use crate::field::{Field, Known, Span, is, list, list_has};
use crate::framing::{BodyLength, FramingFields, Version};
use crate::grammar::{self, Malformed};
use crate::host;

/// Hard bound on fields of one head, whatever the configuration says.
pub const MAX_FIELDS: usize = 256;
/// Longest request target.
pub const MAX_TARGET_BYTES: usize = 8 * 1024;
/// Longest request line up to the end of the target: room for any method and a leading empty line.
const MAX_LINE_BYTES: usize = MAX_TARGET_BYTES + 64;
/// Field names that `Connection` may list.
const MAX_NAMED_FIELDS: usize = 32;

/// Bounds of one head, from the listener's configuration.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of request line and fields.
    pub max_bytes: usize,
    /// Number of fields, at most [`MAX_FIELDS`].
    pub max_fields: usize,
}

/// Methods that a proxy treats in a special way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verb {
    /// GET, OPTIONS: safe.
    #[default]
    Safe,
    /// HEAD: safe, its answer has no body.
    Head,
    /// PUT, DELETE: may be repeated, but change something.
    Idempotent,
    /// POST, PATCH and everything unknown: must not be repeated.
    Once,
}

impl Verb {
    /// True if sending the request twice has the effect of sending it once (RFC 9110 9.2.2).
    pub fn is_idempotent(self) -> bool {
        match self {
            Verb::Safe | Verb::Head | Verb::Idempotent => true,
            Verb::Once => false,
        }
    }
}

/// Whether a request asks to change protocols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upgrade {
    /// No: a 101 is an error.
    #[default]
    NotAsked,
    /// To a WebSocket, and the question is passed on: a 101 turns the connection into a tunnel.
    WebSocket,
    /// To something else, in the same way.
    Other,
}

/// What parsing found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The whole head is there.
    Complete,
    /// More bytes are needed.
    Partial,
}

/// One request head. Reused from request to request: parsing does not allocate once warm.
#[derive(Debug, Default)]
pub struct RequestHead {
    /// The method's name.
    pub method: Span,
    /// What may be done with it.
    pub verb: Verb,
    /// The path part of the target, or `*`.
    pub path: Span,
    /// The query with its `?`; empty if there is none.
    pub query: Span,
    /// `Host` value, or the authority of an absolute-form target; empty only in HTTP/1.0.
    pub authority: Span,
    /// The name in the authority: without port and trailing dot, in the client's own case.
    pub host: Span,
    /// The target carried the authority: `Host` is rewritten from it.
    pub absolute_form: bool,
    /// HTTP/1.0 or 1.1.
    pub version: Version,
    /// In the order received.
    pub fields: Vec<Field>,
    /// Bytes of the head; the body begins here.
    pub bytes: usize,
    /// The one body length.
    pub body: BodyLength,
    /// The client wants the connection kept.
    pub keep_alive: bool,
    /// The client waits for `100 Continue`.
    pub expects_continue: bool,
    /// `TE: trailers`.
    pub wants_trailers: bool,
    /// Protocol asked for by `Upgrade`; empty if none or if it must not be passed on.
    pub upgrade: Span,
    /// `Connection` names fields to be removed.
    pub names_fields: bool,
}

impl RequestHead {
    /// Parses the head at the start of `buf`. `Err` = refuse and close.
    pub fn parse(&mut self, buf: &[u8], limits: HeadLimits) -> Result<Parsed, Failure> {
        let window = &buf[..buf.len().min(limits.max_bytes)];
        let read = grammar::request_line(window).and_then(|line| {
            let Some(line) = line else { return Ok(None) };
            let end = grammar::fields(window, line.end, limits.max_fields, &mut self.fields)?;
            Ok(end.map(|end| (line, end)))
        });
        let (line, bytes) = match read {
            Ok(Some(whole)) => whole,
            Ok(None) => return partial(buf, limits),
            Err(error) => return Err(refusal(error, buf)),
        };
        self.version = line.version;
        self.bytes = bytes;
        self.method = line.method;
        self.verb = verb(line.method.of_buf(buf))?;
        self.interpret(buf)?;
        self.read_target(buf, line.target.of_buf(buf))?;
        Ok(Parsed::Complete)
    }

    /// Whether the question for another protocol is passed on.
    pub fn upgrade_asked(&self, buf: &[u8]) -> Upgrade {
        match self.upgrade.of_buf(buf) {
            [] => Upgrade::NotAsked,
            asked if asked.eq_ignore_ascii_case(b"websocket") => Upgrade::WebSocket,
            _ => Upgrade::Other,
        }
    }

    /// The values of a field, each line on its own.
    pub fn values<'a>(&'a self, buf: &'a [u8], known: Known) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |f| f.known == known).map(|f| f.value.of_buf(buf))
    }

    /// True if `Connection` names this field, so that it ends here (RFC 9110 7.6.1).
    pub fn is_named_by_connection(&self, buf: &[u8], name: &[u8]) -> bool {
        self.names_fields && self.values(buf, Known::Connection).any(|v| list_has(v, name))
    }

    fn interpret(&mut self, buf: &[u8]) -> Result<(), Failure> {
        let mut framing = FramingFields::default();
        let (mut hosts, mut expects) = (0, 0);
        let (mut close, mut keep, mut upgrade_named) = (false, false, false);
        let (mut upgrade, mut upgrades) = (Span::default(), 0);
        self.names_fields = false;
        self.wants_trailers = false;
        self.authority = Span::default();
        for field in &self.fields {
            match field.known {
                Known::Other | Known::Accept | Known::Date => {}
                Known::ContentLength | Known::TransferEncoding => framing.observe(field, buf),
                Known::Host => {
                    hosts += 1;
                    self.authority = field.value;
                }
                Known::Connection => {
                    let options = ConnectionOptions::read(field.value.of_buf(buf))?;
                    close |= options.close;
                    keep |= options.keep_alive;
                    upgrade_named |= options.upgrade;
                    self.names_fields |= options.names_fields;
                }
                Known::Te => self.wants_trailers |= list_has(field.value.of_buf(buf), b"trailers"),
                Known::Upgrade => {
                    upgrade = field.value;
                    upgrades += 1;
                }
                Known::Expect => {
                    let known = field.value.of_buf(buf).eq_ignore_ascii_case(b"100-continue");
                    expects += if known { 1 } else { 2 };
                }
                Known::Underscored
                | Known::HopByHop
                | Known::Trailer
                | Known::Http2Settings
                | Known::Via
                | Known::ForwardedOther
                | Known::XForwardedFor
                | Known::XForwardedProto
                | Known::XForwardedHost
                | Known::XRequestId
                | Known::ContentType
                | Known::ClientCert => {}
            }
        }
        self.body = framing.of_request(self.version)?;
        let http11 = self.version == Version::Http11;
        if hosts > 1 || (http11 && hosts == 0) {
            return Err(Failure::BadRequest);
        }
        if expects > 1 {
            return Err(Failure::ExpectationFailed);
        }
        self.keep_alive = !close && (http11 || keep);
        self.expects_continue = http11 && expects == 1 && !self.body.is_empty();
        let may_upgrade = http11 && upgrade_named && self.body.is_empty();
        let wanted = upgrade.of_buf(buf);
        let plain = upgrades == 1 && !wanted.is_empty() && !wanted.contains(&b',');
        let allowed = may_upgrade && plain && may_become(self.method.of_buf(buf), wanted);
        self.upgrade = if allowed { upgrade } else { Span::default() };
        Ok(())
    }

    /// origin-form, absolute-form or `*` (RFC 9112 3.2); `Host` must be valid in every form.
    fn read_target(&mut self, buf: &[u8], target: &[u8]) -> Result<(), Failure> {
        let line_end = Span::of(buf, target).end as usize;
        if target.len() > MAX_TARGET_BYTES || line_end > MAX_LINE_BYTES {
            return Err(Failure::UriTooLong);
        }
        let host = self.authority.of_buf(buf);
        let has_host = self.fields.iter().any(|f| f.known == Known::Host);
        self.host = Span::default();
        if has_host {
            let host = host::parse(host).ok_or(Failure::BadRequest)?;
            self.host = Span::of(buf, host.name);
        }
        let mut rest = Span::of(buf, target);
        self.absolute_form = false;
        if target.first() != Some(&b'/') && target != b"*" {
            let authority = absolute_authority(target).ok_or(Failure::BadRequest)?;
            let host = host::parse(authority).ok_or(Failure::BadRequest)?;
            self.host = Span::of(buf, host.name);
            self.authority = Span::of(buf, authority);
            self.absolute_form = true;
            rest.start = self.authority.end;
        }
        let rest_bytes = rest.of_buf(buf);
        if rest_bytes == b"*" && self.method.of_buf(buf) != b"OPTIONS" {
            return Err(Failure::BadRequest);
        }
        let path_len = memchr::memchr(b'?', rest_bytes).unwrap_or(rest_bytes.len());
        self.path = Span::new(rest.start as usize, rest.start as usize + path_len);
        self.query = Span { start: self.path.end, end: rest.end };
        let query = self.query.of_buf(buf);
        if query.iter().any(|b| *b == b'#' || *b <= b' ' || *b >= 0x7f) {
            return Err(Failure::BadRequest);
        }
        Ok(())
    }
}

/// The authority of `http://authority/path`; `None` if the target is no such thing.
fn absolute_authority(target: &[u8]) -> Option<&[u8]> {
    let after = |scheme: &[u8]| {
        let (head, rest) = target.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = after(b"http://").or_else(|| after(b"https://"))?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    Some(&rest[..end])
}

#[derive(Default)]
struct ConnectionOptions {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    names_fields: bool,
}

impl ConnectionOptions {
    #[inline]
    fn read(value: &[u8]) -> Result<ConnectionOptions, Failure> {
        let mut options = ConnectionOptions::default();
        if is(value, b"keep-alive") {
            // Nearly all say just that.
            options.keep_alive = true;
            return Ok(options);
        }
        for (count, option) in list(value).enumerate() {
            if count >= MAX_NAMED_FIELDS {
                return Err(Failure::BadRequest);
            }
            if option.eq_ignore_ascii_case(b"close") {
                options.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                options.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                options.upgrade = true;
            } else {
                options.names_fields = true;
            }
        }
        Ok(options)
    }
}

fn verb(method: &[u8]) -> Result<Verb, Failure> {
    match method {
        b"GET" | b"OPTIONS" => Ok(Verb::Safe),
        b"HEAD" => Ok(Verb::Head),
        b"PUT" | b"DELETE" => Ok(Verb::Idempotent),
        b"CONNECT" | b"TRACE" => Err(Failure::MethodRefused),
        _ => Ok(Verb::Once),
    }
}

/// More is to come, unless what is there is over the bounds already.
fn partial(buf: &[u8], limits: HeadLimits) -> Result<Parsed, Failure> {
    let line = memchr::memchr(b'\n', buf).unwrap_or(buf.len());
    if line > MAX_LINE_BYTES + " HTTP/1.1\r".len() || line >= limits.max_bytes {
        return Err(Failure::UriTooLong);
    }
    if buf.len() >= limits.max_bytes { Err(Failure::HeadTooLarge) } else { Ok(Parsed::Partial) }
}

fn refusal(error: Malformed, buf: &[u8]) -> Failure {
    match error {
        Malformed::TooMany => Failure::HeadTooLarge,
        Malformed::Version => version_refusal(buf),
        Malformed::Line => Failure::BadRequest,
    }
}

/// A well-formed version of another major number is 505, everything else is malformed.
fn version_refusal(buf: &[u8]) -> Failure {
    let line = &buf[..memchr::memchr(b'\r', buf).unwrap_or(buf.len())];
    let version = line.rsplit(|b| *b == b' ').next().unwrap_or_default();
    match version {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && *major != b'1' && minor.is_ascii_digit() =>
        {
            Failure::VersionRefused
        }
        _ => Failure::BadRequest,
    }
}

/// True if a connection may become this after a request with this method. Nothing follows an answer
/// to HEAD, a tunnel least of all; a WebSocket is asked for by GET (RFC 6455 4.1); h2c is a way to
/// smuggle.
fn may_become(method: &[u8], protocol: &[u8]) -> bool {
    let websocket = protocol.eq_ignore_ascii_case(b"websocket");
    let unknown = method == b"HEAD" || (websocket && method != b"GET");
    !unknown && !protocol.eq_ignore_ascii_case(b"h2c")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { max_bytes: 32 * 1024, max_fields: 100 };

    fn parse(text: &str) -> Result<(Parsed, RequestHead), Failure> {
        let mut head = RequestHead::default();
        let parsed = head.parse(text.as_bytes(), LIMITS)?;
        Ok((parsed, head))
    }

    #[test]
    fn forms_of_a_target() {
        let text = "GET /a/b?c=d HTTP/1.1\r\nHost: x\r\n\r\n";
        let (_, head) = parse(text).expect("origin form");
        assert_eq!(head.path.of_buf(text.as_bytes()), b"/a/b");
        assert_eq!(head.query.of_buf(text.as_bytes()), b"?c=d");
        let text = "GET http://a.test:80/p HTTP/1.1\r\nHost: b\r\n\r\n";
        let (_, head) = parse(text).expect("absolute form");
        assert_eq!(head.authority.of_buf(text.as_bytes()), b"a.test:80");
        assert!(head.absolute_form);
        assert!(parse("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").is_ok());
    }

    #[test]
    fn refusals() {
        let cases = [
            ("GET / HTTP/1.1\r\n\r\n", Failure::BadRequest),
            ("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", Failure::BadRequest),
            ("GET / HTTP/1.1\nHost: x\n\n", Failure::BadRequest),
            ("GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", Failure::BadRequest),
            ("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\n", Failure::BadRequest),
            ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", Failure::BadRequest),
            ("GET / HTTP/1.1\r\nHost: x\r\n a: b\r\n\r\n", Failure::BadRequest),
            ("GET * HTTP/1.1\r\nHost: x\r\n\r\n", Failure::BadRequest),
            ("GET x HTTP/1.1\r\nHost: x\r\n\r\n", Failure::BadRequest),
            ("GET / HTTP/1.2\r\nHost: x\r\n\r\n", Failure::BadRequest),
            ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", Failure::VersionRefused),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", Failure::MethodRefused),
            ("GET / HTTP/1.1\r\nHost: x\r\nExpect: y\r\n\r\n", Failure::ExpectationFailed),
        ];
        for (text, failure) in cases {
            assert_eq!(parse(text).err(), Some(failure), "{text:?}");
        }
    }

    #[test]
    fn bounds() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(9000));
        assert_eq!(parse(&long).err(), Some(Failure::UriTooLong));
        let longer = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(90_000));
        assert_eq!(parse(&longer).err(), Some(Failure::UriTooLong), "longer than any head");
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(100));
        assert_eq!(parse(&many).err(), Some(Failure::HeadTooLarge));
        let big = format!("GET / HTTP/1.1\r\nHost: x\r\na: {}\r\n\r\n", "b".repeat(40_000));
        assert_eq!(parse(&big).err(), Some(Failure::HeadTooLarge));
        assert_eq!(parse("GET / HT").map(|p| p.0), Ok(Parsed::Partial));
    }

    #[test]
    fn every_prefix_is_partial_or_refused_never_complete() {
        let text = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n";
        for cut in 0..text.len() {
            assert_eq!(parse(&text[..cut]).map(|p| p.0), Ok(Parsed::Partial), "{cut}");
        }
        let (_, head) = parse(text).expect("whole");
        assert_eq!(head.body, BodyLength::Fixed(3));
    }
}
