//! Header fields as ranges into one buffer, classified once: no header map, no copies.

/// A range of the buffer that a message head was parsed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The range of `part` inside `whole`; `part` must be a slice of `whole`.
    #[inline]
    pub fn of(whole: &[u8], part: &[u8]) -> Span {
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        Span::new(start, start + part.len())
    }

    /// From byte positions; heads are far smaller than 4 GiB.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "heads are bounded far below 4 GiB")]
    pub fn new(start: usize, end: usize) -> Span {
        debug_assert!(u32::try_from(end).is_ok());
        Span { start: start as u32, end: end as u32 }
    }

    /// The bytes; empty if the range does not fit the buffer.
    #[inline]
    pub fn of_buf(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// True if there are no bytes.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// One field line. Its line begins at `name.start` and ends where the next one begins.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The field's name.
    pub name: Span,
    /// Its value, without surrounding white space.
    pub value: Span,
    /// What it means to a proxy.
    pub known: Known,
}

/// The fields that a proxy treats in a special way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Passes unchanged.
    Other,
    /// Has `_` in its name: to many programs the same as `-`, so it could alias a trusted field.
    Underscored,
    /// `Host`
    Host,
    /// `Content-Length`
    ContentLength,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Connection`
    Connection,
    /// `Keep-Alive`, `Proxy-Connection`, `Proxy-Authenticate`, `Proxy-Authorization`.
    HopByHop,
    /// `TE`
    Te,
    /// `Trailer`
    Trailer,
    /// `Upgrade`
    Upgrade,
    /// `HTTP2-Settings`
    Http2Settings,
    /// `Expect`
    Expect,
    /// `Via`
    Via,
    /// `Forwarded`, `X-Real-IP`, `X-Evenkeel-Mirror` and every `X-Forwarded-*` not listed below.
    ForwardedOther,
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `X-Forwarded-Proto`
    XForwardedProto,
    /// `X-Forwarded-Host`
    XForwardedHost,
    /// `X-Request-Id`
    XRequestId,
    /// `Accept`
    Accept,
    /// `Date`
    Date,
    /// `Content-Type`
    ContentType,
    /// `Client-Cert` (RFC 9440): identity that only we may state.
    ClientCert,
}

/// What a field name means to a proxy; looks at the length first.
#[inline]
pub fn classify(name: &[u8]) -> Known {
    match name.len() {
        2 if is(name, b"te") => Known::Te,
        3 if is(name, b"via") => Known::Via,
        4 if is(name, b"host") => Known::Host,
        4 if is(name, b"date") => Known::Date,
        6 if is(name, b"accept") => Known::Accept,
        6 if is(name, b"expect") => Known::Expect,
        7 if is(name, b"upgrade") => Known::Upgrade,
        7 if is(name, b"trailer") => Known::Trailer,
        9 if is(name, b"forwarded") || is(name, b"x-real-ip") => Known::ForwardedOther,
        10 if is(name, b"connection") => Known::Connection,
        10 if is(name, b"keep-alive") => Known::HopByHop,
        11 if is(name, b"client-cert") => Known::ClientCert,
        12 if is(name, b"content-type") => Known::ContentType,
        12 if is(name, b"x-request-id") => Known::XRequestId,
        14 if is(name, b"content-length") => Known::ContentLength,
        14 if is(name, b"http2-settings") => Known::Http2Settings,
        15 if is(name, b"x-forwarded-for") => Known::XForwardedFor,
        16 if is(name, b"proxy-connection") => Known::HopByHop,
        18 if is(name, b"proxy-authenticate") => Known::HopByHop,
        19 if is(name, b"proxy-authorization") => Known::HopByHop,
        16 if is(name, b"x-forwarded-host") => Known::XForwardedHost,
        17 if is(name, b"transfer-encoding") => Known::TransferEncoding,
        17 if is(name, b"x-forwarded-proto") => Known::XForwardedProto,
        17 if is(name, b"client-cert-chain") => Known::ClientCert,
        17 if is(name, b"x-evenkeel-mirror") => Known::ForwardedOther,
        _ => classify_by_prefix(name),
    }
}

/// True if it is this name, whatever its case. `text` is made of small letters, digits and `-`; of
/// what a name may contain (RFC 9110 5.6.2), and of what a value may (5.5), only they and capital
/// letters become these by a bit that is set.
#[inline]
pub(crate) fn is<const N: usize>(name: &[u8], text: &[u8; N]) -> bool {
    const SMALL: u64 = 0x2020_2020_2020_2020;
    let Ok(name) = <&[u8; N]>::try_from(name) else { return false };
    let word = |of: &[u8; N], at: usize| {
        let mut bytes = [0; 8];
        let rest = &of[at..];
        let length = rest.len().min(8);
        bytes[..length].copy_from_slice(&rest[..length]);
        u64::from_le_bytes(bytes)
    };
    // The last word overlaps the one before it.
    let last = N.saturating_sub(8);
    (0..last).step_by(8).chain([last]).all(|at| word(name, at) | SMALL == word(text, at) | SMALL)
}

#[inline]
fn classify_by_prefix(name: &[u8]) -> Known {
    const PREFIX: &[u8; 12] = b"x-forwarded-";
    if name.len() > PREFIX.len() && is(&name[..PREFIX.len()], PREFIX) {
        Known::ForwardedOther
    } else if name.iter().fold(false, |found, byte| found | (*byte == b'_')) {
        Known::Underscored
    } else {
        Known::Other
    }
}

/// True if a field may follow a body as a trailer: it must not change framing, routing, who is
/// asking, or what was already decided from the head (RFC 9110 6.5.1).
pub fn may_be_trailer(name: &[u8]) -> bool {
    const HEAD_ONLY: [&str; 19] = [
        "age",
        "authentication-info",
        "authorization",
        "cache-control",
        "content-encoding",
        "content-range",
        "content-type",
        "cookie",
        "expires",
        "if-match",
        "if-none-match",
        "location",
        "max-forwards",
        "pragma",
        "range",
        "retry-after",
        "set-cookie",
        "vary",
        "www-authenticate",
    ];
    let head_only = HEAD_ONLY.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()));
    classify(name) == Known::Other && !head_only
}

/// The comma-separated members of a list value, trimmed; empty ones are skipped (RFC 9110 5.6.1).
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// True if `name` is a member of the list value, whatever its case.
pub fn list_has(value: &[u8], name: &[u8]) -> bool {
    list(value).any(|member| member.eq_ignore_ascii_case(name))
}
