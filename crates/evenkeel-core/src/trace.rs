//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): what a client says of the trace that
//! its request belongs to, and what a backend is told.

use memchr::memmem;

/// Length of a `traceparent` of version 00.
const LENGTH: usize = 55;
const PARENT: &[u8] = b"traceparent";
const STATE: &[u8] = b"tracestate";
/// How our line begins, behind the line before it.
const OURS: &[u8] = b"\r\ntraceparent: 00-";
/// Hexadecimal digits of a trace's id, and of a span's.
const TRACE_DIGITS: usize = 32;
const SPAN_DIGITS: usize = 16;
/// The lowest flag: the caller records this trace.
const SAMPLED: u8 = 1;

/// The trace that a request belongs to, and the span that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Of all spans of the trace; not 0.
    pub trace: u128,
    /// Of the caller's span; not 0.
    pub span: u64,
    /// Whether the caller records it.
    pub sampled: bool,
}

impl TraceParent {
    /// The value of the one `traceparent` line of a request. `None` if it is not valid: then the
    /// trace begins anew.
    pub fn parse(value: &[u8]) -> Option<TraceParent> {
        let (version, rest) = (value.get(..2)?, value.get(2..LENGTH)?);
        let version = u8::try_from(digits(version)?).ok().filter(|version| *version != 0xff)?;
        // Later versions may go on behind another dash.
        let ends = match value.get(LENGTH) {
            None => true,
            Some(byte) => version > 0 && *byte == b'-',
        };
        let dashes = [0, 33, 50].iter().all(|at| rest[*at] == b'-');
        let trace = digits(&rest[1..33])?;
        let span = u64::try_from(digits(&rest[34..50])?).ok()?;
        let flags = u8::try_from(digits(&rest[51..53])?).ok()?;
        let valid = ends && dashes && trace != 0 && span != 0;
        valid.then_some(TraceParent { trace, span, sampled: flags & SAMPLED != 0 })
    }
}

/// Lower-case hexadecimal digits only.
fn digits(text: &[u8]) -> Option<u128> {
    let value = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    text.iter().try_fold(0, |sum, byte| Some(sum << 4 | u128::from(value(byte)?)))
}

/// Makes a request for a backend, whose head ends these bytes, part of a recorded trace: our
/// `traceparent` takes the place of every other. `tracestate` stays if the client's trace goes on.
pub fn adopt(head: &mut Vec<u8>, parent: &TraceParent, goes_on: bool) {
    drop_lines(head, PARENT);
    if !goes_on {
        drop_lines(head, STATE);
    }
    head.truncate(head.len().saturating_sub(2));
    let line = format!("traceparent: 00-{:032x}-{:016x}-01\r\n\r\n", parent.trace, parent.span);
    head.extend_from_slice(line.as_bytes());
}

/// Puts the id of another span into the line that [`adopt`] wrote.
pub fn renew(head: &mut [u8], span: u64) {
    let Some(at) = memmem::find(head, OURS) else { return };
    let start = at + OURS.len() + TRACE_DIGITS + 1;
    if let Some(place) = head.get_mut(start..start + SPAN_DIGITS) {
        place.copy_from_slice(format!("{span:016x}").as_bytes());
    }
}

/// Drops every line of the field with this lower-case name; the start line stays.
fn drop_lines(head: &mut Vec<u8>, name: &[u8]) {
    let mut from = 0;
    while let Some(end) = memmem::find(&head[from..], b"\r\n") {
        let start = from + end + 2;
        let line = &head[start..];
        let is_it = line.len() > name.len()
            && line[..name.len()].eq_ignore_ascii_case(name)
            && line[name.len()] == b':';
        if is_it {
            let length = memmem::find(line, b"\r\n").map_or(line.len(), |at| at + 2);
            head.drain(start..start + length);
        } else {
            from = start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn only_valid_ones_are_believed() {
        let parent = TraceParent {
            trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span: 0xb7ad_6b71_6920_3331,
            sampled: true,
        };
        assert_eq!(TraceParent::parse(GOOD.as_bytes()), Some(parent));
        let not = TraceParent { sampled: false, ..parent };
        assert_eq!(TraceParent::parse(GOOD.replace("-01", "-00").as_bytes()), Some(not));
        assert_eq!(TraceParent::parse(GOOD.replace("00-0a", "cc-0a").as_bytes()), Some(parent));
        let later = format!("{}-what", GOOD.replace("00-0a", "01-0a"));
        assert_eq!(TraceParent::parse(later.as_bytes()), Some(parent));
        let wrong = [
            String::new(),
            GOOD.to_uppercase(),
            GOOD.replace("00-0a", "ff-0a"),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            format!("{GOOD}-more"),
            GOOD.replace("-01", "-0x"),
            GOOD[..54].to_owned(),
            GOOD.replace('-', "_"),
        ];
        for value in wrong {
            assert_eq!(TraceParent::parse(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn a_head_has_one_parent_and_its_span_changes() {
        let parent = TraceParent { trace: 10, span: 11, sampled: true };
        let given = b"GET /traceparent:x HTTP/1.1\r\nTraceParent: a\r\nHost: x\r\n\
            tracestate: k=v\r\ntraceparent: b\r\n\r\n";
        for (goes_on, state) in [(true, "tracestate: k=v\r\n"), (false, "")] {
            let mut head = given.to_vec();
            adopt(&mut head, &parent, goes_on);
            renew(&mut head, 0xabc);
            let trace = format!("{:032x}-0000000000000abc-01", 10);
            let wanted = format!(
                "GET /traceparent:x HTTP/1.1\r\nHost: x\r\n{state}traceparent: 00-{trace}\r\n\r\n"
            );
            assert_eq!(String::from_utf8(head).expect("text"), wanted);
        }
    }
}
