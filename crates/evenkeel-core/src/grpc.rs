//! What a proxy must know of gRPC over HTTP/2: which exchanges are calls, how they end, how long
//! they may take. Source: the gRPC protocol over HTTP/2, and the gRPC status codes.

use crate::failure::Failure;
use std::time::Duration;

/// CANCELLED: the client did not wait for the end.
pub const CANCELLED: u8 = 1;
/// OK.
pub const OK: u8 = 0;
/// UNKNOWN: also the meaning of a call that ends without a status.
pub const UNKNOWN: u8 = 2;
const PERMISSION_DENIED: u8 = 7;
/// DEADLINE_EXCEEDED: it took longer than its client, or somebody on the way, waits.
pub const DEADLINE_EXCEEDED: u8 = 4;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;
/// UNAVAILABLE: another backend may do better.
pub const UNAVAILABLE: u8 = 14;
const DATA_LOSS: u8 = 15;
/// Codes from here on are not known.
pub const STATUSES: usize = 17;

/// Digits of a timeout.
const TIMEOUT_DIGITS: usize = 8;
/// Bytes of a timeout as we write it: digits and a unit.
pub const TIMEOUT_BYTES: usize = TIMEOUT_DIGITS + 1;

/// True if a request with this `Content-Type` is a call.
#[inline]
pub fn is_call(content_type: &[u8]) -> bool {
    const KIND: &[u8] = b"application/grpc";
    content_type.get(..KIND.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(KIND))
}

/// True if such a call is gRPC-Web, whose end stands in its body.
pub fn is_web(content_type: &[u8]) -> bool {
    const KIND: &[u8] = b"application/grpc-web";
    content_type.get(..KIND.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(KIND))
}

/// The value of `grpc-status`.
pub fn parse_status(value: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(value).ok()?;
    text.parse().ok().filter(|status| usize::from(*status) < STATUSES)
}

/// The `grpc-status` among the lines of a trailer section.
pub fn status_of_trailers(lines: &[u8]) -> Option<u8> {
    lines.split(|byte| *byte == b'\n').find_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        let is_it = line[..colon].eq_ignore_ascii_case(b"grpc-status");
        if is_it { parse_status(line[colon + 1..].trim_ascii()) } else { None }
    })
}

/// True if a call that ends so is a failure of its backend: UNKNOWN, DEADLINE_EXCEEDED, INTERNAL,
/// UNAVAILABLE, DATA_LOSS.
pub fn is_failure(status: u8) -> bool {
    matches!(status, UNKNOWN | DEADLINE_EXCEEDED | INTERNAL | UNAVAILABLE | DATA_LOSS)
}

/// With which status a call ends that fails so.
pub fn status_of(failure: Failure) -> u8 {
    match failure {
        Failure::NoBackend
        | Failure::ConnectFailure
        | Failure::Reset
        | Failure::QueueFull
        | Failure::QueueTimeout
        | Failure::BadResponse => UNAVAILABLE,
        Failure::ResponseTimeout | Failure::BodyTimeout | Failure::HeadTimeout => DEADLINE_EXCEEDED,
        Failure::RateLimited | Failure::BodyTooLarge | Failure::HeadTooLarge => RESOURCE_EXHAUSTED,
        Failure::NoRoute | Failure::MethodRefused | Failure::GrpcUnsupported => UNIMPLEMENTED,
        Failure::Denied => PERMISSION_DENIED,
        Failure::BadRequest
        | Failure::TlsRequired
        | Failure::UriTooLong
        | Failure::ExpectationFailed
        | Failure::VersionRefused
        | Failure::Loop => INTERNAL,
        Failure::Misdirected | Failure::ClientGone => UNKNOWN,
    }
}

/// The value of `grpc-timeout`: up to eight digits and a unit.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > TIMEOUT_DIGITS || !digits.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// A timeout in eight digits and the finest unit that they can say; never longer than it is.
pub fn write_timeout(timeout: Duration) -> [u8; TIMEOUT_BYTES] {
    const MOST: u128 = 99_999_999;
    const UNITS: [(u8, u128); 6] = [
        (b'n', 1),
        (b'u', 1_000),
        (b'm', 1_000_000),
        (b'S', 1_000_000_000),
        (b'M', 60_000_000_000),
        (b'H', 3_600_000_000_000),
    ];
    let nanos = timeout.as_nanos();
    let fits = |(_, size): &&(u8, u128)| nanos / size <= MOST;
    let (unit, size) = UNITS.iter().find(fits).copied().unwrap_or((b'H', UNITS[5].1));
    let mut count = (nanos / size).min(MOST);
    let mut text = [b'0'; TIMEOUT_BYTES];
    for digit in text[..TIMEOUT_DIGITS].iter_mut().rev() {
        // A remainder of ten fits a byte.
        *digit = b'0' + u8::try_from(count % 10).unwrap_or(0);
        count /= 10;
    }
    text[TIMEOUT_DIGITS] = unit;
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_by_their_type() {
        let yes: [&[u8]; 4] = [
            b"application/grpc",
            b"application/grpc+proto",
            b"Application/GRPC",
            b"application/grpc;x",
        ];
        assert!(yes.iter().all(|kind| is_call(kind)));
        assert!(![&b"application/json"[..], b"application/grp", b""].iter().any(|k| is_call(k)));
    }

    #[test]
    fn timeouts() {
        let cases: [(&[u8], Option<Duration>); 10] = [
            (b"1H", Some(Duration::from_secs(3600))),
            (b"2M", Some(Duration::from_secs(120))),
            (b"5S", Some(Duration::from_secs(5))),
            (b"250m", Some(Duration::from_millis(250))),
            (b"00000007u", Some(Duration::from_micros(7))),
            (b"9n", Some(Duration::from_nanos(9))),
            (b"123456789S", None),
            (b"S", None),
            (b"-1S", None),
            (b"1x", None),
        ];
        for (value, expected) in cases {
            assert_eq!(parse_timeout(value), expected, "{value:?}");
        }
        let written = [
            (Duration::from_millis(50), b"50000000n"),
            (Duration::from_millis(100), b"00100000u"),
            (Duration::from_secs(5), b"05000000u"),
            (Duration::from_secs(3600), b"03600000m"),
            (Duration::ZERO, b"00000000n"),
        ];
        for (timeout, expected) in written {
            assert_eq!(&write_timeout(timeout), expected);
            assert_eq!(parse_timeout(expected), Some(timeout));
        }
        assert_eq!(&write_timeout(Duration::MAX), b"99999999H");
    }

    #[test]
    fn statuses() {
        assert_eq!(status_of_trailers(b"a: b\r\nGrpc-Status: 14\r\n"), Some(UNAVAILABLE));
        assert_eq!(status_of_trailers(b"grpc-status: 99\r\n"), None);
        assert_eq!(status_of_trailers(b"grpc-message: x\r\n"), None);
        let failures = (0..17).filter(|status| is_failure(*status)).collect::<Vec<_>>();
        assert_eq!(failures, [2, 4, 13, 14, 15]);
    }

    #[test]
    fn local_replies_have_the_status_that_clients_expect() {
        let cases = [
            (Failure::NoBackend, 14),
            (Failure::ConnectFailure, 14),
            (Failure::Reset, 14),
            (Failure::QueueFull, 14),
            (Failure::ResponseTimeout, 4),
            (Failure::RateLimited, 8),
            (Failure::NoRoute, 12),
        ];
        for (failure, status) in cases {
            assert_eq!(status_of(failure), status, "{failure:?}");
        }
    }
}
