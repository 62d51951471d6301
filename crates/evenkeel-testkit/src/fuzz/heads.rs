//! Message heads: what is accepted is well formed, and is so however much of it has arrived.

use super::is_token;
use evenkeel_core::failure::Failure;
use evenkeel_core::field::{Field, Known, Span};
use evenkeel_core::framing::BodyLength;
use evenkeel_core::path::{self, PathScratch};
use evenkeel_core::plan::PathPolicy;
use evenkeel_core::request::{HeadLimits, Parsed, RequestHead, Upgrade, Verb};
use evenkeel_core::response::{MAX_RESPONSE_HEAD_BYTES, ResponseHead};
use std::fmt::Debug;

/// The defaults of a listener.
const LIMITS: HeadLimits = HeadLimits { max_bytes: 32 * 1024, max_fields: 100 };
/// Most prefixes of one input that are parsed; of a longer input, some are left out.
const MAX_PREFIXES: usize = 512;

/// What parsing came to.
type Verdict = Result<Parsed, Failure>;

/// The head of a request.
///
/// # Panics
/// If what must hold does not.
pub fn request_head(bytes: &[u8]) {
    let mut head = RequestHead::default();
    let verdict = head.parse(bytes, LIMITS);
    if verdict == Ok(Parsed::Complete) {
        check_request(&head, bytes);
    }
    check_prefixes(bytes, (verdict, &head, head.bytes), &mut |prefix, again: &mut RequestHead| {
        again.parse(prefix, LIMITS)
    });
}

/// The head of a response, to every kind of request.
///
/// # Panics
/// If what must hold does not.
pub fn response_head(bytes: &[u8]) {
    for verb in [Verb::Safe, Verb::Head] {
        for upgrade in [Upgrade::NotAsked, Upgrade::WebSocket, Upgrade::Other] {
            let mut head = ResponseHead::default();
            let verdict = head.parse(bytes, verb, upgrade);
            if verdict == Ok(Parsed::Complete) {
                check_response(&head, bytes, (verb, upgrade));
            }
            let whole = (verdict, &head, head.bytes);
            check_prefixes(bytes, whole, &mut |prefix, again: &mut ResponseHead| {
                again.parse(prefix, verb, upgrade)
            });
        }
    }
}

/// More bytes may complete a head, or break it; they may not change it, nor mend it.
fn check_prefixes<H: Debug + Default>(
    bytes: &[u8],
    (verdict, head, head_bytes): (Verdict, &H, usize),
    parse: &mut dyn FnMut(&[u8], &mut H) -> Verdict,
) {
    let complete = verdict == Ok(Parsed::Complete);
    let mut again = H::default();
    for length in (0..bytes.len()).step_by(bytes.len() / MAX_PREFIXES + 1) {
        match parse(&bytes[..length], &mut again) {
            Ok(Parsed::Complete) => {
                assert!(complete, "complete at {length} bytes, then {verdict:?}");
                let (short, long) = (format!("{again:?}"), format!("{head:?}"));
                assert_eq!(short, long, "another head at {length} bytes");
            }
            Ok(Parsed::Partial) => {
                assert!(!complete || length < head_bytes, "partial at {length} of {head_bytes}");
            }
            Err(failure) => {
                assert!(verdict.is_err(), "{failure:?} at {length} bytes, then {verdict:?}");
            }
        }
    }
}

fn check_request(head: &RequestHead, bytes: &[u8]) {
    let own = &bytes[..head.bytes];
    assert!(own.len() <= LIMITS.max_bytes && head.fields.len() <= LIMITS.max_fields, "too large");
    check_lines(own, &head.fields);
    for span in [head.method, head.path, head.query, head.authority, head.upgrade] {
        check_span(span, own);
    }
    assert!(is_token(head.method.of_buf(own)), "{:?}", head.method.of_buf(own).escape_ascii());
    let count = |known| head.fields.iter().filter(|field| field.known == known).count();
    let framings = count(Known::ContentLength) + count(Known::TransferEncoding);
    let framed = usize::from(head.body != BodyLength::None);
    assert_eq!(framings, framed, "{framings} framing fields for {:?}", head.body);
    assert_ne!(head.body, BodyLength::UntilClose, "a request is never ended by its connection");
    assert!(count(Known::Host) < 2, "two hosts");
    let mut scratch = PathScratch::default();
    for policy in [PathPolicy::Lenient, PathPolicy::Strict] {
        let _ = path::view(head.path.of_buf(own), policy, &mut scratch);
    }
}

fn check_response(head: &ResponseHead, bytes: &[u8], (verb, upgrade): (Verb, Upgrade)) {
    let own = &bytes[..head.bytes];
    assert!(own.len() <= MAX_RESPONSE_HEAD_BYTES, "too large");
    check_lines(own, &head.fields);
    check_span(head.reason, own);
    assert!((100..600).contains(&head.status), "status {}", head.status);
    assert!(head.status != 101 || upgrade != Upgrade::NotAsked, "101 to whom did not ask");
    let bodiless = verb == Verb::Head || matches!(head.status, 100..=199 | 204 | 304);
    assert!(!bodiless || head.body == BodyLength::None, "{:?} of {}", head.body, head.status);
    assert!(!head.reusable || head.body != BodyLength::UntilClose, "reused after its end");
}

/// Lines end in CRLF, the head ends where it first may, and no control byte stands in it.
fn check_lines(own: &[u8], fields: &[Field]) {
    let end = own.windows(4).position(|window| window == b"\r\n\r\n");
    assert_eq!(end, own.len().checked_sub(4), "the end of a head of {} bytes", own.len());
    for (at, byte) in own.iter().enumerate() {
        match byte {
            b'\r' => assert_eq!(own.get(at + 1), Some(&b'\n'), "a lone CR at {at}"),
            b'\n' => assert!(own[..at].ends_with(b"\r"), "a lone LF at {at}"),
            b'\t' => {}
            _ => assert!(!byte.is_ascii_control(), "control byte {byte:#04x} at {at}"),
        }
    }
    for field in fields {
        check_span(field.name, own);
        check_span(field.value, own);
        let (name, value) = (field.name.of_buf(own), field.value.of_buf(own));
        assert!(is_token(name), "field name {}", name.escape_ascii());
        assert_eq!(own.get(field.name.end as usize), Some(&b':'), "no colon behind a name");
        let edges = [value.first(), value.last()];
        let blank = |edge: &Option<&u8>| matches!(edge, Some(b' ' | b'\t'));
        assert!(!edges.iter().any(blank), "space around {}", value.escape_ascii());
        assert!(!value.contains(&b'\n'), "two lines in {}", value.escape_ascii());
    }
}

fn check_span(span: Span, own: &[u8]) {
    let inside = span.start <= span.end && span.end as usize <= own.len();
    assert!(inside, "{span:?} of {} bytes", own.len());
}
