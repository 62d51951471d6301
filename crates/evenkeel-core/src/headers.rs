//! What changes in a head on its way through: hop-by-hop fields go, forwarding fields are judged by
//! trust, framing is written anew, and everything else is copied as it was spelt, in whole runs.

use crate::affinity::strip_cookie;
use crate::field::{Field, Known, Span, list};
use crate::framing::{BodyLength, Version};
use crate::plan::HeaderRules;
use crate::request::RequestHead;
use crate::response::ResponseHead;

/// Between a field's name and its value.
const SEPARATOR: &[u8] = b": ";
/// Bytes of a request id that a trusted peer may hand us.
pub const MAX_REQUEST_ID_BYTES: usize = 128;

/// What we know about the client of one request.
#[derive(Clone, Copy, Debug)]
pub struct Forwarding<'a> {
    /// Address of the connection's other end, as text; empty on a unix socket.
    pub peer: &'a str,
    /// The peer's forwarding fields are believed.
    pub trusted: bool,
    /// Our name in `Via`, unique per process so that a loop is seen: `evenkeel-1a2b3c4d`.
    pub pseudonym: &'a str,
    /// Id for `X-Request-Id`, unless a trusted peer gave one.
    pub request_id: &'a [u8],
    /// What the client's connection speaks.
    pub protocol: Protocol,
    /// The client speaks TLS with us.
    pub secure: bool,
    /// `Client-Cert` (RFC 9440): the certificate that it was let in with; empty = none.
    pub client_cert: &'a [u8],
}

/// What a client's connection speaks; its exchanges have the form of HTTP/1 all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
}

/// Where a request goes, and as what.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Path to ask for; begins with `/`, or is `*`.
    pub path: &'a [u8],
    /// `Host` if the client (HTTP/1.0) gave none.
    pub fallback_host: &'a str,
    /// The route's changes.
    pub rules: &'a HeaderRules,
    /// Name of the cookie that is ours and goes no further; empty = none.
    pub own_cookie: &'a str,
}

/// The id under which the request is known: a trusted peer's own if it is usable, else ours.
pub fn request_id<'a>(head: &RequestHead, buf: &'a [u8], from: &Forwarding<'a>) -> &'a [u8] {
    if !from.trusted {
        return from.request_id;
    }
    let mut given = head.fields.iter().filter(|f| f.known == Known::XRequestId);
    let usable = |id: &&[u8]| {
        !id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES && id.iter().all(u8::is_ascii_graphic)
    };
    given.next().map(|f| f.value.of_buf(buf)).filter(usable).unwrap_or(from.request_id)
}

/// True if this request has passed us before (RFC 9110 7.6.3).
pub fn is_loop(head: &RequestHead, buf: &[u8], pseudonym: &str) -> bool {
    head.values(buf, Known::Via).flat_map(list).any(|hop| {
        let name = hop.split(|b| *b == b' ').filter(|part| !part.is_empty()).nth(1);
        name == Some(pseudonym.as_bytes())
    })
}

/// Writes the head of the request for the backend to `out`.
pub fn for_backend(
    head: &RequestHead,
    buf: &[u8],
    target: &Target<'_>,
    from: &Forwarding<'_>,
    out: &mut Vec<u8>,
) {
    let get = |span: Span| span.of_buf(buf);
    push(out, &[get(head.method), b" ", target.path, get(head.query), b" HTTP/1.1\r\n"]);
    let mut own = OwnFields { rules: target.rules, out };
    if head.absolute_form {
        own.write(b"Host: ", &[get(head.authority)]);
    } else if head.authority.is_empty() {
        own.write(b"Host: ", &[target.fallback_host.as_bytes()]);
    }
    let has_own_cookie = |field: &Field| {
        !target.own_cookie.is_empty() && is_cookie(field, buf) // told apart only where we set one
    };
    let keep = |field: &Field| {
        keeps_request_field(head, buf, field, from.trusted) && !has_own_cookie(field)
    };
    copy_fields(&head.fields, &buf[..head.bytes], target.rules, keep, out);
    let is_hop = |field: &Field| head.is_named_by_connection(buf, get(field.name));
    for field in head.fields.iter().filter(|field| has_own_cookie(field) && !is_hop(field)) {
        write_cookie(get(field.value), target, out);
    }
    write_forwarding(head, buf, from, &mut OwnFields { rules: target.rules, out });
    write_framing(head.body, out);
    if !head.upgrade.is_empty() {
        push(out, &[b"Connection: Upgrade\r\nUpgrade: ", get(head.upgrade), b"\r\n"]);
    } else if head.wants_trailers {
        push(out, &[b"TE: trailers\r\nConnection: TE\r\n"]);
    }
    write_added(target.rules, out);
    out.extend_from_slice(b"\r\n");
}

fn is_cookie(field: &Field, buf: &[u8]) -> bool {
    field.known == Known::Other && field.name.of_buf(buf).eq_ignore_ascii_case(b"cookie")
}

/// The value of each cookie line.
pub fn cookie_lines<'a>(
    head: &'a RequestHead,
    buf: &'a [u8],
) -> impl Iterator<Item = &'a [u8]> + 'a {
    head.fields.iter().filter(|field| is_cookie(field, buf)).map(|field| field.value.of_buf(buf))
}

/// A cookie line without the cookie that is ours.
fn write_cookie(line: &[u8], target: &Target<'_>, out: &mut Vec<u8>) {
    if is_replaced(target.rules, b"cookie") {
        return;
    }
    let start = out.len();
    out.extend_from_slice(b"Cookie: ");
    if strip_cookie(line, target.own_cookie.as_bytes(), out) {
        out.extend_from_slice(b"\r\n");
    } else {
        out.truncate(start);
    }
}

/// True if a field from such a peer means anything: what is dropped before forwarding must not
/// decide anything either.
pub fn is_believed(known: Known, trusted: bool) -> bool {
    match known {
        Known::Underscored
        | Known::ForwardedOther
        | Known::XForwardedFor
        | Known::XForwardedProto
        | Known::XForwardedHost
        | Known::XRequestId => trusted,
        Known::ClientCert => false,
        Known::Other
        | Known::Host
        | Known::ContentLength
        | Known::TransferEncoding
        | Known::Connection
        | Known::HopByHop
        | Known::Te
        | Known::Trailer
        | Known::Upgrade
        | Known::Http2Settings
        | Known::Expect
        | Known::Via
        | Known::Date
        | Known::ContentType
        | Known::Accept => true,
    }
}

/// True if a forwarded request has this field as we write it, if at all.
fn is_rewritten(known: Known) -> bool {
    matches!(
        known,
        Known::XForwardedFor
            | Known::XRequestId
            | Known::ContentLength
            | Known::TransferEncoding
            | Known::Connection
            | Known::HopByHop
            | Known::Te
            | Known::Trailer
            | Known::Upgrade
            | Known::Http2Settings
            | Known::Expect
    )
}

fn keeps_request_field(head: &RequestHead, buf: &[u8], field: &Field, trusted: bool) -> bool {
    if field.known == Known::Host {
        return !head.absolute_form && !head.authority.is_empty();
    }
    is_believed(field.known, trusted)
        && !is_rewritten(field.known)
        && !head.is_named_by_connection(buf, field.name.of_buf(buf))
}

/// Writes fields of ours, except those that the route sets or removes.
struct OwnFields<'a> {
    rules: &'a HeaderRules,
    out: &'a mut Vec<u8>,
}

impl OwnFields<'_> {
    /// `line` is the beginning of the line, with its separator.
    #[inline]
    fn write<const N: usize>(&mut self, line: &[u8; N], value: &[&[u8]]) {
        let name = &line[..N - SEPARATOR.len()];
        if self.rules.is_empty() || !is_replaced(self.rules, name) {
            self.out.extend_from_slice(line);
            push(self.out, value);
            self.out.extend_from_slice(b"\r\n");
        }
    }
}

fn write_forwarding(
    head: &RequestHead,
    buf: &[u8],
    from: &Forwarding<'_>,
    own: &mut OwnFields<'_>,
) {
    let kept = |known: Known| {
        let mut fields = head.fields.iter().filter(|f| f.known == known);
        from.trusted && fields.any(|f| !head.is_named_by_connection(buf, f.name.of_buf(buf)))
    };
    let peer = from.peer.as_bytes();
    if from.trusted && !peer.is_empty() {
        let hops = head.values(buf, Known::XForwardedFor).filter(|hop| !hop.is_empty());
        let mut chain: Vec<&[u8]> = hops.flat_map(|hop| [hop, &b", "[..]]).collect();
        chain.push(peer);
        own.write(b"X-Forwarded-For: ", &chain);
    } else if !peer.is_empty() {
        own.write(b"X-Forwarded-For: ", &[peer]);
    }
    if !kept(Known::XForwardedProto) {
        own.write(b"X-Forwarded-Proto: ", &[if from.secure { b"https" } else { &b"http"[..] }]);
    }
    if !head.authority.is_empty() && !kept(Known::XForwardedHost) {
        own.write(b"X-Forwarded-Host: ", &[head.authority.of_buf(buf)]);
    }
    own.write(b"X-Request-Id: ", &[request_id(head, buf, from)]);
    if !from.client_cert.is_empty() {
        own.write(b"Client-Cert: ", &[from.client_cert]);
    }
    let received: &[u8] = match (from.protocol, head.version) {
        (Protocol::Http2, _) => b"2.0 ",
        (Protocol::Http1, Version::Http10) => b"1.0 ",
        (Protocol::Http1, Version::Http11) => b"1.1 ",
    };
    own.write(b"Via: ", &[received, from.pseudonym.as_bytes()]);
}

/// What happens to the client's connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It stays for another request.
    Keep,
    /// It ends.
    Close,
}

/// Whether the trailer fields of a chunked body are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trailers {
    /// Forwarded.
    Pass,
    /// Read and forgotten.
    Drop,
}

/// What a client is told besides the backend's own fields.
#[derive(Clone, Copy, Debug)]
pub struct ClientSide<'a> {
    /// Version of the client's request.
    pub version: Version,
    /// Whether the connection stays open after this response.
    pub persistence: Persistence,
    /// Whether trailers follow the body.
    pub trailers: Trailers,
    /// `Date` for a final response that has none (RFC 9110 6.6.1).
    pub date: &'a str,
    /// The route's changes.
    pub rules: &'a HeaderRules,
    /// Whole lines of ours, each with its CRLF.
    pub own_lines: &'a [u8],
}

/// The framing that the client gets for a body of this length.
pub fn body_for_client(body: BodyLength, version: Version) -> BodyLength {
    match (body, version) {
        (BodyLength::Chunked | BodyLength::UntilClose, Version::Http10) => BodyLength::UntilClose,
        (BodyLength::Chunked | BodyLength::UntilClose, Version::Http11) => BodyLength::Chunked,
        (BodyLength::None | BodyLength::Fixed(_), _) => body,
    }
}

/// Writes the head of the response for the client to `out`.
pub fn for_client(head: &ResponseHead, buf: &[u8], to: &ClientSide<'_>, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    let status = digits.format(head.status).as_bytes();
    push(out, &[b"HTTP/1.1 ", status, b" ", head.reason.of_buf(buf), b"\r\n"]);
    let keep = |field: &Field| match field.known {
        Known::ContentLength
        | Known::TransferEncoding
        | Known::Connection
        | Known::HopByHop
        | Known::Te
        | Known::Upgrade
        | Known::Http2Settings => false,
        Known::Trailer => to.trailers == Trailers::Pass,
        Known::Other
        | Known::Underscored
        | Known::Host
        | Known::Expect
        | Known::Via
        | Known::ForwardedOther
        | Known::XForwardedFor
        | Known::XForwardedProto
        | Known::XForwardedHost
        | Known::XRequestId
        | Known::Accept
        | Known::Date
        | Known::ContentType
        | Known::ClientCert => !head.is_named_by_connection(buf, field.name.of_buf(buf)),
    };
    copy_fields(&head.fields, &buf[..head.bytes], to.rules, keep, out);
    if head.status >= 200 && !head.fields.iter().any(|field| field.known == Known::Date) {
        OwnFields { rules: to.rules, out }.write(b"Date: ", &[to.date.as_bytes()]);
    }
    if let Some(length) = head.announced {
        write_framing(BodyLength::Fixed(length), out);
    } else if head.status >= 200 {
        write_framing(body_for_client(head.body, to.version), out);
    }
    if head.status == 101 {
        let upgrade = head.fields.iter().find(|f| f.known == Known::Upgrade);
        let protocol = upgrade.map_or(&b"websocket"[..], |f| f.value.of_buf(buf));
        push(out, &[b"Connection: Upgrade\r\nUpgrade: ", protocol, b"\r\n"]);
    } else if head.status >= 200 {
        write_connection(to.version, to.persistence, out);
    }
    out.extend_from_slice(to.own_lines);
    write_added(to.rules, out);
    out.extend_from_slice(b"\r\n");
}

/// States whether the connection stays, where the version's default does not.
pub fn write_connection(version: Version, persistence: Persistence, out: &mut Vec<u8>) {
    match (version, persistence) {
        (_, Persistence::Close) => out.extend_from_slice(b"Connection: close\r\n"),
        (Version::Http10, Persistence::Keep) => {
            out.extend_from_slice(b"Connection: keep-alive\r\n")
        }
        (Version::Http11, Persistence::Keep) => {}
    }
}

fn write_framing(body: BodyLength, out: &mut Vec<u8>) {
    match body {
        BodyLength::None | BodyLength::UntilClose => {}
        BodyLength::Fixed(length) => {
            let mut digits = itoa::Buffer::new();
            push(out, &[b"Content-Length: ", digits.format(length).as_bytes(), b"\r\n"]);
        }
        BodyLength::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

fn write_added(rules: &HeaderRules, out: &mut Vec<u8>) {
    for (name, value) in rules.set.iter().chain(&rules.add) {
        push(out, &[name.as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
}

/// Copies the kept field lines; neighbours that are kept are copied as one range.
fn copy_fields(
    fields: &[Field],
    head: &[u8],
    rules: &HeaderRules,
    keep: impl Fn(&Field) -> bool,
    out: &mut Vec<u8>,
) {
    let unruled = rules.is_empty();
    let end = head.len().saturating_sub(2);
    let mut run = fields.first().map_or(end, |f| f.name.start as usize);
    for (at, field) in fields.iter().enumerate() {
        let ruled = !unruled && is_replaced(rules, field.name.of_buf(head));
        if ruled || !keep(field) {
            let start = field.name.start as usize;
            if run < start {
                out.extend_from_slice(head.get(run..start).unwrap_or_default());
            }
            // Its line ends where the next one begins.
            run = fields.get(at + 1).map_or(end, |next| next.name.start as usize);
        }
    }
    out.extend_from_slice(head.get(run..end).unwrap_or_default());
}

fn is_replaced(rules: &HeaderRules, name: &[u8]) -> bool {
    let is = |rule: &str| rule.as_bytes().eq_ignore_ascii_case(name);
    rules.remove.iter().any(|rule| is(rule)) || rules.set.iter().any(|(rule, _)| is(rule))
}

#[inline]
fn push(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}
