//! How long a body is: decided once from strict rules, never forwarded as received. Sources:
//! RFC 9112 section 6 (message body length), section 11.2 (request smuggling).

use crate::failure::Failure;
use crate::field::{Field, Known};

/// Largest accepted `Content-Length`; fits every language's signed 64-bit number.
const MAX_CONTENT_LENGTH: u64 = i64::MAX as u64;
/// Digits accepted in one, leading zeros included.
const MAX_LENGTH_DIGITS: usize = 19;

/// The one length that both sides of a proxied message obey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyLength {
    /// No body, and none announced.
    #[default]
    None,
    /// Exactly so many bytes.
    Fixed(u64),
    /// Chunked coding ends it.
    Chunked,
    /// The end of the connection ends it; only in responses.
    UntilClose,
}

impl BodyLength {
    /// True if no body byte follows the head.
    #[inline]
    pub fn is_empty(self) -> bool {
        matches!(self, BodyLength::None | BodyLength::Fixed(0))
    }
}

/// HTTP/1.0 or HTTP/1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// What the framing fields of a head say, before the rules are applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct FramingFields {
    lengths: u8,
    length: Option<u64>,
    lengths_differ: bool,
    malformed: bool,
    codings: u8,
    chunked: bool,
}

impl FramingFields {
    /// Takes one `Content-Length` or `Transfer-Encoding` line into account.
    #[inline]
    pub fn observe(&mut self, field: &Field, buf: &[u8]) {
        let value = field.value.of_buf(buf);
        if field.known == Known::ContentLength {
            let length = parse_length(value);
            self.malformed |= length.is_none();
            self.lengths_differ |= self.lengths > 0 && self.length != length;
            self.lengths = self.lengths.saturating_add(1);
            self.length = length;
        } else {
            self.chunked = value.eq_ignore_ascii_case(b"chunked");
            self.codings = self.codings.saturating_add(1);
        }
    }

    /// The body length of a request: anything but one unambiguous statement is refused, because a
    /// backend might read it another way.
    #[inline]
    pub fn of_request(&self, version: Version) -> Result<BodyLength, Failure> {
        if self.codings > 0 {
            let plain = self.codings == 1 && self.chunked && self.lengths == 0;
            return match version {
                Version::Http11 if plain => Ok(BodyLength::Chunked),
                Version::Http11 | Version::Http10 => Err(Failure::BadRequest),
            };
        }
        match self.length {
            _ if self.malformed || self.lengths > 1 => Err(Failure::BadRequest),
            Some(length) => Ok(BodyLength::Fixed(length)),
            None => Ok(BodyLength::None),
        }
    }

    /// The body length of a response with a body, and whether its connection may be used again
    /// (RFC 9112 6.3 rules 3 to 8).
    #[inline]
    pub fn of_response(&self, version: Version) -> Result<(BodyLength, bool), Failure> {
        if self.malformed || self.lengths_differ {
            return Err(Failure::BadResponse);
        }
        if self.codings > 0 {
            if self.codings > 1 || !self.chunked || version == Version::Http10 {
                return Err(Failure::BadResponse);
            }
            return Ok((BodyLength::Chunked, self.lengths == 0));
        }
        match self.length {
            Some(length) => Ok((BodyLength::Fixed(length), true)),
            None => Ok((BodyLength::UntilClose, false)),
        }
    }

    /// The announced length, for answers that carry it without a body (HEAD, 304).
    pub fn announced(&self) -> Option<u64> {
        if self.codings == 0 { self.length } else { None }
    }
}

/// Digits only (RFC 9110 8.6); no sign, space, list or overflow.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > MAX_LENGTH_DIGITS {
        return None;
    }
    let mut length = 0u64;
    for byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        length = length.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    (length <= MAX_CONTENT_LENGTH).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_length_is_digits_only() {
        assert_eq!(parse_length(b"0"), Some(0));
        assert_eq!(parse_length(b"005"), Some(5));
        assert_eq!(parse_length(b"9223372036854775807"), Some(i64::MAX as u64));
        let bad: &[&[u8]] =
            &[b"", b"+5", b"-1", b"0x5", b"5 0", b"5, 5", b"5_0", b"9223372036854775808"];
        for value in bad {
            assert_eq!(parse_length(value), None, "{value:?}");
        }
    }
}
