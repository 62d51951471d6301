//! The lines of a message head, exactly as RFC 9112 2.1 to 5 has them: read once, from left to
//! right, into ranges of the buffer. What is only tolerated there (a bare LF, folded lines, white
//! space before a colon or between the words of a line) is refused here.

use crate::field::{Field, Span, classify};
use crate::framing::Version;

/// Why bytes are no message head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// A byte that cannot stand where it does.
    Line,
    /// The line is whole, and ends in no version of HTTP/1.
    Version,
    /// More field lines than were asked for.
    TooMany,
}

/// What is there so far; `None` = the line is not whole, and may become legal.
type Read<T> = Result<Option<T>, Malformed>;

/// `method SP target SP version CRLF`, after at most one empty line (RFC 9112 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestLine {
    pub(crate) method: Span,
    pub(crate) target: Span,
    pub(crate) version: Version,
    /// Where the fields begin.
    pub(crate) end: usize,
}

/// `version SP status [ SP reason ] CRLF`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StatusLine {
    pub(crate) version: Version,
    /// Three digits.
    pub(crate) status: u16,
    /// Empty also if it has bytes beyond ASCII.
    pub(crate) reason: Span,
    /// Where the fields begin.
    pub(crate) end: usize,
}

pub(crate) fn request_line(buf: &[u8]) -> Read<RequestLine> {
    let start = match buf {
        [b'\r'] | [] => return Ok(None),
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    let method_end = token_end(buf, start);
    let Some(space) = buf.get(method_end) else { return Ok(None) };
    if *space != b' ' || method_end == start {
        return Err(Malformed::Line);
    }
    let Some(target_end) = target_end(buf, method_end + 1) else { return Ok(None) };
    let target = &buf[method_end + 1..target_end];
    if buf[target_end] != b' ' || target.is_empty() {
        return Err(Malformed::Line);
    }
    if !target.is_ascii() && std::str::from_utf8(target).is_err() {
        return Err(Malformed::Line);
    }
    let whole = version_and_end(&buf[target_end + 1..])?;
    Ok(whole.map(|(version, length)| RequestLine {
        method: Span::new(start, method_end),
        target: Span::new(method_end + 1, target_end),
        version,
        end: target_end + 1 + length,
    }))
}

/// The version at the end of a request line, and how long it is with its CRLF.
fn version_and_end(rest: &[u8]) -> Read<(Version, usize)> {
    const LENGTH: usize = "HTTP/1.1\r\n".len();
    match rest.first_chunk::<LENGTH>() {
        Some(b"HTTP/1.1\r\n") => Ok(Some((Version::Http11, LENGTH))),
        Some(b"HTTP/1.0\r\n") => Ok(Some((Version::Http10, LENGTH))),
        Some(_) => Err(Malformed::Version),
        None if b"HTTP/1.1\r\n".starts_with(rest) || b"HTTP/1.0\r\n".starts_with(rest) => Ok(None),
        None if rest.contains(&b'\n') => Err(Malformed::Version),
        // It is told apart once it is whole.
        None => Ok(None),
    }
}

pub(crate) fn status_line(buf: &[u8]) -> Read<StatusLine> {
    const BEFORE: usize = "HTTP/1.1 200".len();
    let Some(before) = buf.first_chunk::<BEFORE>() else {
        let prefix = &buf[..buf.len().min("HTTP/1.".len())];
        return if b"HTTP/1.".starts_with(prefix) { Ok(None) } else { Err(Malformed::Version) };
    };
    let (version, status) = match before {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', status @ ..] => {
            (Version::Http11, status)
        }
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0', b' ', status @ ..] => {
            (Version::Http10, status)
        }
        _ => return Err(Malformed::Version),
    };
    let digits = status.iter().try_fold(0u16, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + u16::from(digit - b'0'))
    });
    let status = digits.ok_or(Malformed::Line)?;
    let start = match buf.get(BEFORE) {
        None => return Ok(None),
        Some(b' ') => BEFORE + 1,
        Some(_) => BEFORE,
    };
    let Some(end) = content_end(buf, start) else { return Ok(None) };
    if start == BEFORE && end > start {
        return Err(Malformed::Line);
    }
    let Some(next) = after_crlf(buf, end)? else { return Ok(None) };
    let reason = if buf[start..end].is_ascii() { Span::new(start, end) } else { Span::default() };
    Ok(Some(StatusLine { version, status, reason, end: next }))
}

/// Field lines from `at` on, up to the empty line that ends the head; says where the body begins.
/// At most `most` of them.
pub(crate) fn fields(
    buf: &[u8],
    mut at: usize,
    most: usize,
    fields: &mut Vec<Field>,
) -> Read<usize> {
    fields.clear();
    loop {
        match buf.get(at) {
            None => return Ok(None),
            Some(b'\r') => return after_crlf(buf, at),
            Some(_) => {}
        }
        let name_end = token_end(buf, at);
        let Some(colon) = buf.get(name_end) else { return Ok(None) };
        if *colon != b':' || name_end == at {
            return Err(Malformed::Line);
        }
        if fields.len() >= most {
            return Err(Malformed::TooMany);
        }
        let mut start = name_end + 1;
        while matches!(buf.get(start), Some(b' ' | b'\t')) {
            start += 1;
        }
        let Some(line_end) = content_end(buf, start) else { return Ok(None) };
        let Some(next) = after_crlf(buf, line_end)? else { return Ok(None) };
        let mut end = line_end;
        while end > start && matches!(buf[end - 1], b' ' | b'\t') {
            end -= 1;
        }
        if end == start {
            (start, end) = (name_end + 1, name_end + 1);
        }
        let known = classify(&buf[at..name_end]);
        let (name, value) = (Span::new(at, name_end), Span::new(start, end));
        fields.push(Field { name, value, known });
        at = next;
    }
}

/// Past the CRLF that must be here.
#[inline]
fn after_crlf(buf: &[u8], at: usize) -> Read<usize> {
    match buf.get(at..).unwrap_or_default() {
        [b'\r', b'\n', ..] => Ok(Some(at + 2)),
        [] | [b'\r'] => Ok(None),
        _ => Err(Malformed::Line),
    }
}

/// One in each byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte.
const HIGH: u64 = ONES << 7;

/// The first byte from `at` on that is none of a token. Letters and `-`, of which most names are
/// made, are told eight at a time: sums of seven bits do not touch their neighbours.
#[inline]
fn token_end(buf: &[u8], mut at: usize) -> usize {
    loop {
        if let Some(word) = buf.get(at..).and_then(<[u8]>::first_chunk::<8>) {
            let word = u64::from_le_bytes(*word);
            let low = word & !HIGH;
            let small = low | (ONES * 0x20);
            // Among the small letters, `a` reaches the highest bit of the first sum, `{` that of
            // the second.
            let letter = (small + ONES * (0x80 - 0x61)) ^ (small + ONES * (0x80 - 0x7b));
            let other = (low ^ (ONES * 0x2d)) + ONES * 0x7f;
            let hits = (word | (!letter & other)) & HIGH;
            if hits == 0 {
                at += 8;
                continue;
            }
            at += hits.trailing_zeros() as usize / 8;
        }
        match buf.get(at) {
            Some(byte) if TOKEN[usize::from(*byte)] => at += 1,
            Some(_) | None => return at,
        }
    }
}

/// The first byte from `at` on that is neither visible nor beyond ASCII: the end of a request
/// target, or an error. What the target means is judged elsewhere.
#[inline]
fn target_end(buf: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = below_or_delete(buf, at, b' ' + 1);
        match buf.get(at)? {
            b'!'..=b'~' | 0x80.. => at += 1,
            _ => return Some(at),
        }
    }
}

/// The first control byte from `at` on, HTAB excepted: the end of a value, or an error. `None` if
/// there is none.
#[inline]
fn content_end(buf: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = below_or_delete(buf, at, b' ');
        match buf.get(at)? {
            b'\t' | b' '..=b'~' | 0x80.. => at += 1,
            _ => return Some(at),
        }
    }
}

/// The first byte from `at` on that is less than `bound` (at most 0x80) or DEL, or where fewer than
/// eight bytes are left. Eight bytes at a time, by the usual trick for bytes below a bound (Mycroft
/// 1987; Anderson, "Bit Twiddling Hacks"), whose lowest hit is exact.
#[inline]
fn below_or_delete(buf: &[u8], mut at: usize, bound: u8) -> usize {
    while let Some(word) = buf.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*word);
        let below = word.wrapping_sub(ONES * u64::from(bound)) & !word;
        let delete = word ^ (ONES * 0x7f);
        let hits = (below | (delete.wrapping_sub(ONES) & !delete)) & HIGH;
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at
}

/// `tchar` of RFC 9110 5.6.2.
static TOKEN: [bool; 256] = set(b"!#$%&'*+-.^_`|~\
      0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

/// The set of these bytes.
pub(crate) const fn set(bytes: &[u8]) -> [bool; 256] {
    let mut set = [false; 256];
    let mut at = 0;
    while at < bytes.len() {
        set[bytes[at] as usize] = true;
        at += 1;
    }
    set
}

#[cfg(test)]
mod tests;
