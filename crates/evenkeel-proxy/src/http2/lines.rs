//! Field lines of HTTP/1.1 as the fields of HTTP/2 and back.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use std::io;
use std::ops::Range;

/// One field line, as ranges of the head that it is in.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: Range<usize>,
    pub(crate) value: Range<usize>,
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// The start line's length, and the field lines of a head (or of a trailer section, whose start
/// line is empty).
pub(crate) fn lines(text: &[u8], mut at: usize) -> impl Iterator<Item = Option<Line>> + '_ {
    std::iter::from_fn(move || {
        let rest = text.get(at..)?;
        let length = memchr::memchr(b'\n', rest)?;
        let line = rest[..length].strip_suffix(b"\r")?;
        if line.is_empty() {
            return None;
        }
        let start = at;
        at += length + 1;
        let Some(colon) = memchr::memchr(b':', line) else { return Some(None) };
        let value = line[colon + 1..].trim_ascii();
        let offset = value.as_ptr() as usize - line.as_ptr() as usize;
        Some(Some(Line {
            name: start..start + colon,
            value: start + offset..start + offset + value.len(),
        }))
    })
}

/// Where the field lines of a head begin.
pub(crate) fn after_start_line(text: &[u8]) -> usize {
    memchr::memchr(b'\n', text).map_or(text.len(), |at| at + 1)
}

/// The value of a line that shares the head's memory.
pub(crate) fn shared_value(head: &Bytes, range: Range<usize>) -> io::Result<HeaderValue> {
    HeaderValue::from_maybe_shared(head.slice(range)).map_err(|_| malformed())
}

/// Fields that belong to one connection of HTTP/1.1, or say how its messages end: HTTP/2 has no
/// place for them (RFC 9113 8.2.2).
pub(crate) fn is_of_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// The trailer section of ours as fields.
pub(crate) fn trailers(text: &[u8]) -> io::Result<HeaderMap> {
    let text = Bytes::copy_from_slice(text);
    let mut fields = HeaderMap::new();
    for line in lines(&text, 0) {
        let line = line.ok_or_else(malformed)?;
        let name = HeaderName::from_bytes(&text[line.name]).map_err(|_| malformed())?;
        if !is_of_connection(&name) {
            fields.append(name, shared_value(&text, line.value)?);
        }
    }
    Ok(fields)
}

/// Received trailers as lines; `None` if they say what only a head may say (RFC 9113 8.1).
pub(crate) fn write_trailers(fields: &HeaderMap, out: &mut Vec<u8>) -> Option<()> {
    for (name, value) in fields {
        let framing = matches!(name.as_str(), "content-length" | "te" | "host" | "trailer");
        if framing || is_of_connection(name) || !is_clean(value) {
            return None;
        }
        write_line(name.as_str().as_bytes(), value.as_bytes(), out);
    }
    Some(())
}

/// One line.
pub(crate) fn write_line(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.reserve(name.len() + value.len() + 4);
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// A value must not begin or end with white space (RFC 9113 8.2.1).
pub(crate) fn is_clean(value: &HeaderValue) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = value.as_bytes();
    !blank(bytes.first()) && !blank(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_ranges_of_their_head() {
        let head = b"HTTP/1.1 200 OK\r\na: b\r\nEmpty:\r\nc:  d e \r\n\r\nbody";
        let found: Vec<_> = lines(head, after_start_line(head))
            .map(|line| line.expect("a colon"))
            .map(|line| (&head[line.name], &head[line.value]))
            .collect();
        let expected: [(&[u8], &[u8]); 3] = [(b"a", b"b"), (b"Empty", b""), (b"c", b"d e")];
        assert_eq!(found, expected);
        let broken = b"x\r\nno colon\r\n\r\n";
        assert!(lines(broken, 3).any(|line| line.is_none()));
    }

    #[test]
    fn trailers_go_both_ways() {
        let fields = trailers(b"grpc-status: 0\r\nConnection: x\r\nX-A: 1\r\nx-a: 2\r\n");
        let fields = fields.expect("lines");
        let mut text = Vec::new();
        assert_eq!(write_trailers(&fields, &mut text), Some(()));
        assert_eq!(text, b"grpc-status: 0\r\nx-a: 1\r\nx-a: 2\r\n");
        for name in ["content-length", "transfer-encoding", "te", "host", "connection"] {
            let mut fields = HeaderMap::new();
            fields.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
            assert_eq!(write_trailers(&fields, &mut Vec::new()), None, "{name}");
        }
    }
}
