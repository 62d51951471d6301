//! The authority a request names: a strict reading of `Host` (RFC 9110 section 7.2, `uri-host
//! [ ":" port ]` of RFC 3986 section 3.2.2), so that no backend can read it differently.

use crate::grammar::set;
use std::net::Ipv6Addr;

/// Longest name accepted, in bytes: that of a DNS name in text form, with its trailing dot.
pub const MAX_HOST_BYTES: usize = 254;

/// Most digits of a port.
const MAX_PORT_DIGITS: usize = 5;

/// A host and its port, as the client spelt them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host<'a> {
    /// Without port and without one trailing dot; an IPv6 address keeps its brackets. Case as
    /// received.
    pub name: &'a [u8],
    /// The port, if one was written.
    pub port: Option<u16>,
}

/// Parses the value of `Host`, or the authority of an absolute target, without surrounding space.
///
/// `None` for everything that is not exactly one host with at most one port: empty, lists,
/// userinfo, escapes, paths, control bytes, bytes beyond ASCII, empty labels, ports over 65535.
pub fn parse(value: &[u8]) -> Option<Host<'_>> {
    let (name, port) = if value.first() == Some(&b'[') {
        let (address, port) = value.split_at(memchr::memchr(b']', value)? + 1);
        let inside = std::str::from_utf8(&address[1..address.len() - 1]).ok()?;
        inside.parse::<Ipv6Addr>().ok()?;
        (address, port)
    } else {
        let (name, port) = value.split_at(reg_name_end(value)?);
        let dotless = name.strip_suffix(b".").unwrap_or(name);
        ((1..=MAX_HOST_BYTES).contains(&dotless.len()).then_some(dotless)?, port)
    };
    Some(Host { name, port: parse_port(port)? })
}

/// Where a registered name (or IPv4 address) without escapes and without empty labels, except one
/// at its end, is over: at a colon or at the end. Of the sub-delimiters, the comma is refused: it
/// makes a list of the field.
fn reg_name_end(value: &[u8]) -> Option<usize> {
    let mut label_is_empty = true;
    for (at, byte) in value.iter().enumerate() {
        match byte {
            _ if NAME_BYTES[usize::from(*byte)] => label_is_empty = false,
            b'.' if !label_is_empty => label_is_empty = true,
            b':' => return Some(at),
            _ => return None,
        }
    }
    Some(value.len())
}

static NAME_BYTES: [bool; 256] = set(b"-_~!$&'()*+;=\
      0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

/// Nothing, or `:` and 1 to 5 digits: `Some(None)` and `Some(Some(port))`.
fn parse_port(text: &[u8]) -> Option<Option<u16>> {
    let digits = match text {
        [] => return Some(None),
        [b':', digits @ ..] if (1..=MAX_PORT_DIGITS).contains(&digits.len()) => digits,
        _ => return None,
    };
    let mut port = 0u32;
    for digit in digits {
        port = port * 10 + char::from(*digit).to_digit(10)?;
    }
    u16::try_from(port).ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepted() {
        let cases = [
            ("example.com", "example.com", None),
            ("Example.COM:8080", "Example.COM", Some(8080)),
            ("a.test.", "a.test", None),
            ("a.test.:443", "a.test", Some(443)),
            ("localhost:65535", "localhost", Some(65535)),
            ("127.0.0.1:00080", "127.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8::1]:8443", "[2001:DB8::1]", Some(8443)),
            ("my_app-1~x", "my_app-1~x", None),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ];
        for (value, name, port) in cases {
            assert_eq!(
                parse(value.as_bytes()),
                Some(Host { name: name.as_bytes(), port }),
                "{value}"
            );
        }
    }

    #[test]
    fn refused() {
        let cases: [&[u8]; 38] = [
            b"",
            b".",
            b"..",
            b"a..",
            b"a..b",
            b".a",
            b":80",
            b"a:",
            b"a:x",
            b"a:+80",
            b"a:-1",
            b"a: 80",
            b"a:65536",
            b"a:000080",
            b"a:99999999999",
            b"a:80:80",
            b"::1",
            b"a,b",
            b"a, b",
            b"user@a",
            b"user:pw@a",
            b"a/b",
            b"a?b",
            b"a#b",
            b"a\\b",
            b"a b",
            b" a",
            b"a\tb",
            b"a\0",
            b"a%2e",
            b"\"a\"",
            b"a\xc3\xa9",
            b"[::1",
            b"[]",
            b"[1.2.3.4]",
            b"[::1%25eth0]",
            b"[::1]x",
            b"[::1]x80",
        ];
        for value in cases {
            assert_eq!(parse(value), None, "{}", value.escape_ascii());
        }
        assert_eq!(parse(&[b'a'; MAX_HOST_BYTES + 1]), None);
    }

    proptest! {
        #[test]
        fn never_panics_and_says_what_was_there(value in "[a-zA-Z0-9.:,@/\\[\\]%é -]{0,20}") {
            if let Some(host) = parse(value.as_bytes()) {
                prop_assert!(!host.name.is_empty());
                prop_assert!(value.as_bytes().starts_with(host.name));
                prop_assert!(!value.contains([',', '@', '/', '%', ' ']) && value.is_ascii());
            }
        }
    }
}
