//! The one path view: what a path means (`matching`, for routes and logs) and how it is spelt
//! towards the backend (`forward`), decided together so that the two can never disagree.
//!
//! Based on RFC 3986 section 6.2.2 (case, percent-encoding and dot-segment normalisation). Beyond
//! it, `//`, `%2F` and `%5C` count as one `/` when matching, and keep their spelling when
//! forwarded: object keys and scoped package names need that. A path that would gain a dot segment
//! in a backend that decodes once more is refused.
//!
//! `matching` is derived from `forward` alone, after its dot segments are gone.

use crate::failure::Failure;
use crate::plan::PathPolicy;
use memchr::{memchr, memmem, memrchr};

/// Buffers for the paths that have to be respelt; kept by the caller and reused. They never grow
/// beyond the longest path seen.
#[derive(Debug, Default)]
pub struct PathScratch {
    forward: Vec<u8>,
    matching: Vec<u8>,
}

/// Both sides of one path. Each begins with `/`, or is `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathView<'a> {
    /// For routes and logs: no dot segments, no empty segments, hex digits in upper case.
    pub matching: &'a [u8],
    /// For the backend: dot segments resolved, unreserved escapes decoded, the rest as spelt.
    pub forward: &'a [u8],
}

/// Views the path part of a request target: without query, beginning with `/`, or exactly `*`.
///
/// Anything else, an invalid escape, a raw byte that has no place in a path, and a path whose
/// dot segments appear only after decoding are a [`Failure::BadRequest`]. A path without anything
/// to normalise is lent as it is.
pub fn view<'a>(
    path: &'a [u8],
    policy: PathPolicy,
    scratch: &'a mut PathScratch,
) -> Result<PathView<'a>, Failure> {
    if path == b"*" {
        return Ok(PathView { matching: path, forward: path });
    }
    let found = scan(path);
    if !path.starts_with(b"/") || found & REFUSED != 0 {
        return Err(Failure::BadRequest);
    }
    if found == 0 {
        return Ok(PathView { matching: path, forward: path });
    }
    resolve(path, policy, &mut scratch.forward)?;
    let forward: &[u8] = &scratch.forward;
    if memchr(b'%', forward).is_none() && memmem::find(forward, b"//").is_none() {
        return Ok(PathView { matching: forward, forward });
    }
    unify(forward, &mut scratch.matching);
    Ok(PathView { matching: &scratch.matching, forward })
}

/// The matching view of a path as an operator writes it: spaces and letters beyond ASCII may stand
/// unescaped. `None` if no request could ever have that path.
pub fn canonical(text: &str) -> Option<String> {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte == b' ' || !byte.is_ascii() {
            escaped.push_str(&format!("%{byte:02X}"));
        } else {
            escaped.push(char::from(byte));
        }
    }
    let mut scratch = PathScratch::default();
    let view = view(escaped.as_bytes(), PathPolicy::Lenient, &mut scratch).ok()?;
    String::from_utf8(view.matching.to_vec()).ok()
}

/// The rest after a leading `/`, `%2F` or `%5C`.
pub(crate) fn after_separator(path: &[u8]) -> Option<&[u8]> {
    match path {
        [b'/', rest @ ..]
        | [b'%', b'2', b'F' | b'f', rest @ ..]
        | [b'%', b'5', b'C' | b'c', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Puts what a backend's paths begin with before the path of a request, in place of `before` bytes
/// that were put there for another. Returns how many bytes it is: none before `*`, which is no
/// path.
pub fn put_prefix(request: &mut Vec<u8>, before: usize, prefix: &str) -> usize {
    let Some(space) = memchr(b' ', request) else { return before };
    let path = space + 1;
    if request.get(path) != Some(&b'/') {
        return before;
    }
    request.splice(path..path + before, prefix.bytes());
    prefix.len()
}

// Classes of bytes, and what `scan` reports.
const REFUSED: u8 = 1;
const ESCAPE: u8 = 2;
const SLASH: u8 = 4;
const SLASH_OR_DOT: u8 = SLASH << 1;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0u8;
    loop {
        classes[byte as usize] = match byte {
            0..=b' ' | 0x7f..=0xff | b'\\' | b'#' | b'?' => REFUSED,
            b'%' => ESCAPE,
            b'/' => SLASH | SLASH_OR_DOT,
            b'.' => SLASH_OR_DOT,
            _ => 0,
        };
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

/// `REFUSED` and `ESCAPE` if such a byte occurs, `SLASH_OR_DOT` if `//` or `/.` does. Branchless:
/// nearly every path has none of them.
#[inline]
fn scan(path: &[u8]) -> u8 {
    let (mut bytes, mut pairs, mut previous) = (0, 0, 0);
    for &byte in path {
        let class = CLASSES[usize::from(byte)];
        bytes |= class;
        pairs |= ((previous & SLASH) << 1) & class;
        previous = class;
    }
    bytes & (REFUSED | ESCAPE) | pairs
}

/// Writes the forwarded spelling: unreserved escapes decoded, dot segments removed (RFC 3986
/// section 5.2.4, where an empty segment is a segment like any other).
fn resolve(path: &[u8], policy: PathPolicy, out: &mut Vec<u8>) -> Result<(), Failure> {
    out.clear();
    let mut rest = path;
    while let Some((_slash, after)) = rest.split_first() {
        let (segment, next) = after.split_at(memchr(b'/', after).unwrap_or(after.len()));
        let start = out.len();
        out.push(b'/');
        unescape(segment, policy, out)?;
        let written = &out[start + 1..];
        if is_dot_segment(written) {
            let keep = if written.len() == 2 { memrchr(b'/', &out[..start]) } else { Some(start) };
            out.truncate(keep.unwrap_or(0));
            if next.is_empty() {
                out.push(b'/');
            }
        } else if hides_dot_segment(written) {
            return Err(Failure::BadRequest);
        }
        rest = next;
    }
    Ok(())
}

/// Appends a segment, with the escapes of unreserved characters decoded and the others as spelt.
fn unescape(segment: &[u8], policy: PathPolicy, out: &mut Vec<u8>) -> Result<(), Failure> {
    let mut rest = segment;
    while let Some(at) = memchr(b'%', rest) {
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((&[_, high, low], after)) = escape.split_first_chunk() else {
            return Err(Failure::BadRequest);
        };
        match (hex_value(high)? << 4) | hex_value(low)? {
            0 => return Err(Failure::BadRequest),
            b'/' | b'\\' if policy == PathPolicy::Strict => return Err(Failure::BadRequest),
            byte if is_unreserved(byte) => out.push(byte),
            _ => out.extend_from_slice(&[b'%', high, low]),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// Writes the matching view of a forwarded spelling.
fn unify(forward: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = forward;
    loop {
        if let Some(after) = after_separator(rest) {
            if out.last() != Some(&b'/') {
                out.push(b'/');
            }
            rest = after;
            continue;
        }
        rest = match rest {
            [] => return,
            [b'%', high, low, after @ ..] => {
                out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
                after
            }
            [byte, after @ ..] => {
                out.push(*byte);
                after
            }
        };
    }
}

fn is_dot_segment(segment: &[u8]) -> bool {
    matches!(segment, b"." | b"..")
}

/// True if decoding `%2F` or `%5C` in the segment would make one of its parts a dot segment.
fn hides_dot_segment(segment: &[u8]) -> bool {
    let mut part = segment;
    let mut at = 0;
    while at < part.len() {
        match after_separator(&part[at..]) {
            Some(_) if is_dot_segment(&part[..at]) => return true,
            Some(after) => (part, at) = (after, 0),
            None => at += 1,
        }
    }
    is_dot_segment(part)
}

fn hex_value(digit: u8) -> Result<u8, Failure> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(Failure::BadRequest),
    }
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// `Some((matching, forward))`, or `None` if refused.
    fn seen(path: &[u8], policy: PathPolicy) -> Option<(String, String)> {
        let mut scratch = PathScratch::default();
        let view = view(path, policy, &mut scratch).ok()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some((text(view.matching), text(view.forward)))
    }

    fn lenient(path: &[u8]) -> Option<(String, String)> {
        seen(path, PathPolicy::Lenient)
    }

    #[test]
    fn a_prefix_takes_the_place_of_the_one_before() {
        let mut request = b"GET /a?b HTTP/1.1\r\n\r\n/".to_vec();
        let mut before = 0;
        for (prefix, path) in [("/base", "/base/a?b"), ("/x/y", "/x/y/a?b"), ("", "/a?b")] {
            before = put_prefix(&mut request, before, prefix);
            assert_eq!(before, prefix.len());
            assert_eq!(request, format!("GET {path} HTTP/1.1\r\n\r\n/").into_bytes());
        }
        let mut asterisk = b"OPTIONS * HTTP/1.1\r\n\r\n".to_vec();
        assert_eq!(put_prefix(&mut asterisk, 0, "/base"), 0);
        assert!(asterisk.starts_with(b"OPTIONS * "));
    }

    #[test]
    fn one_view() {
        // (path, matching, forward)
        let cases = [
            ("/", "/", "/"),
            ("*", "*", "*"),
            ("/a/b.html", "/a/b.html", "/a/b.html"),
            ("/admin;x=1", "/admin;x=1", "/admin;x=1"),
            ("/ADMIN", "/ADMIN", "/ADMIN"),
            ("/.well-known/x", "/.well-known/x", "/.well-known/x"),
            ("/a/...", "/a/...", "/a/..."),
            ("/public/../admin", "/admin", "/admin"),
            ("/public/%2e%2E/admin", "/admin", "/admin"),
            ("/public/.%2e/admin", "/admin", "/admin"),
            ("/a/./b/.", "/a/b/", "/a/b/"),
            ("/a/b/..", "/a/", "/a/"),
            ("/..", "/", "/"),
            ("/../../x", "/x", "/x"),
            ("//admin", "/admin", "//admin"),
            ("/a//../b", "/a/b", "/a/b"),
            ("/a/..//b", "/b", "//b"),
            ("/a/b/%2e%2e//", "/a/", "/a//"),
            ("/%7euser/%41", "/~user/A", "/~user/A"),
            ("/@scope%2fname", "/@scope/name", "/@scope%2fname"),
            ("/a%2F/%5c%2Fb", "/a/b", "/a%2F/%5c%2Fb"),
            ("/a%2Fb/../c", "/c", "/c"),
            ("/caf%c3%a9", "/caf%C3%A9", "/caf%c3%a9"),
            ("/%252e%252e/x", "/%252e%252e/x", "/%252e%252e/x"),
            ("/%2541", "/%2541", "/%2541"),
            ("/a%2f...", "/a/...", "/a%2f..."),
            ("/a%0ab%20c", "/a%0Ab%20c", "/a%0ab%20c"),
        ];
        for (path, matching, forward) in cases {
            let expected = Some((matching.to_owned(), forward.to_owned()));
            assert_eq!(lenient(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn refused() {
        let cases: [&[u8]; 31] = [
            b"",
            b"a",
            b"**",
            b"*/",
            b"%2Fa",
            b"/%",
            b"/%4",
            b"/a%4/",
            b"/%zz",
            b"/%4g",
            b"/%%34%31",
            b"/%+1",
            b"/%00",
            b"/a%00b",
            b"/a/..%2fb",
            b"/a%2f..%2fb",
            b"/a%2F%2e%2e",
            b"/%5c../x",
            b"/..%5cx",
            b"/.%2fx",
            b"/a%2f.",
            b"/a%2f./../../b",
            b"/a\\b",
            b"/a#b",
            b"/a?b",
            b"/a b",
            b"/a\tb",
            b"/a\x00b",
            b"/a\x7fb",
            b"/caf\xc3\xa9",
            b"/a\r\nb",
        ];
        for path in cases {
            assert_eq!(lenient(path), None, "{}", path.escape_ascii());
        }
    }

    #[test]
    fn strict_refuses_encoded_separators() {
        for path in ["/a%2Fb", "/a%2fb", "/a%5Cb", "/a%5cb"] {
            assert!(lenient(path.as_bytes()).is_some(), "{path}");
            assert_eq!(seen(path.as_bytes(), PathPolicy::Strict), None, "{path}");
        }
        for path in ["/a//b", "/%7e", "/a%20b"] {
            let strict = seen(path.as_bytes(), PathPolicy::Strict);
            assert_eq!(strict, lenient(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn a_plain_path_is_lent() {
        let path = b"/api/v1/users/42";
        let mut scratch = PathScratch::default();
        let view = view(path, PathPolicy::Lenient, &mut scratch).ok();
        assert!(view.is_some_and(|v| v.matching.as_ptr() == path.as_ptr()));
        assert!(view.is_some_and(|v| v.forward.as_ptr() == path.as_ptr()));
        assert_eq!(scratch.forward.capacity() + scratch.matching.capacity(), 0);
    }

    #[test]
    fn operators_spelling() {
        let cases = [
            ("/v1", Some("/v1")),
            ("/café au lait", Some("/caf%C3%A9%20au%20lait")),
            ("/%7euser//x", Some("/~user/x")),
            ("/a%2fb/", Some("/a/b/")),
            ("v1", None),
            ("/a?b", None),
            ("/%zz", None),
            ("/a\\b", None),
        ];
        for (text, expected) in cases {
            assert_eq!(canonical(text).as_deref(), expected, "{text}");
        }
    }

    /// What `forward` means, by plain text replacement.
    fn meaning(forward: &str) -> String {
        let mut text = forward.to_owned();
        for separator in ["%2F", "%2f", "%5C", "%5c"] {
            text = text.replace(separator, "/");
        }
        while text.contains("//") {
            text = text.replace("//", "/");
        }
        let mut parts = text.split('%');
        let mut upper = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (hex, rest) = part.split_at(2);
            upper.push_str(&format!("%{}{rest}", hex.to_ascii_uppercase()));
        }
        upper
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "/", "/", "/", "//", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", "%5C", "%25", "%41",
            "%7e", "%c3", "a", "b", ";", "x.y", "%", "%4", "%00", "\\", "é", " ",
        ]);
        vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()).into_bytes())
    }

    proptest! {
        #[test]
        fn views_agree(path in pieces()) {
            if let Some((matching, forward)) = lenient(&path) {
                prop_assert_eq!(meaning(&forward), matching.clone());
                prop_assert_eq!(lenient(forward.as_bytes()), Some((matching.clone(), forward)));
                let fenced = format!("{matching}/");
                prop_assert!(!fenced.contains("/../") && !fenced.contains("/./"));
                prop_assert!(matching.starts_with('/') && !matching.contains("//"));
            }
        }

        #[test]
        fn strict_is_lenient_without_separators(path in pieces()) {
            if let Some(strict) = seen(&path, PathPolicy::Strict) {
                let text = strict.1.to_ascii_lowercase();
                prop_assert!(!text.contains("%2f") && !text.contains("%5c"));
                prop_assert_eq!(Some(strict), lenient(&path));
            }
        }

        #[test]
        fn any_bytes(path in vec(any::<u8>(), 0..64)) {
            if let Some((_, forward)) = lenient(&path) {
                prop_assert!(forward.len() <= path.len());
            }
        }
    }
}
