//! What is read here is what another parser reads, as far as that is as strict.

use super::*;
use proptest::prelude::*;

const MOST: usize = 8;
type Lines = Vec<(Vec<u8>, Vec<u8>)>;

fn lines(buf: &[u8], fields: &[Field]) -> Lines {
    let line = |field: &Field| (field.name.of_buf(buf).to_vec(), field.value.of_buf(buf).to_vec());
    fields.iter().map(line).collect()
}

fn lines_of(headers: &[httparse::Header<'_>]) -> Lines {
    headers.iter().map(|line| (line.name.as_bytes().to_vec(), line.value.to_vec())).collect()
}

/// Method or status, target or reason, version, fields, length of the head.
type Whole = (Vec<u8>, Vec<u8>, Version, Lines, usize);

fn request(buf: &[u8]) -> Read<Whole> {
    let Some(line) = request_line(buf)? else { return Ok(None) };
    let mut list = Vec::new();
    let Some(end) = fields(buf, line.end, MOST, &mut list)? else { return Ok(None) };
    let (method, target) = (line.method.of_buf(buf), line.target.of_buf(buf));
    Ok(Some((method.to_vec(), target.to_vec(), line.version, lines(buf, &list), end)))
}

fn response(buf: &[u8]) -> Read<Whole> {
    let Some(line) = status_line(buf)? else { return Ok(None) };
    let mut list = Vec::new();
    let Some(end) = fields(buf, line.end, MOST, &mut list)? else { return Ok(None) };
    let status = line.status.to_string().into_bytes();
    let reason = line.reason.of_buf(buf).to_vec();
    Ok(Some((status, reason, line.version, lines(buf, &list), end)))
}

/// True if each line of the head ends in CRLF, and there is at most one empty line before it.
fn is_strict(head: &[u8], first: u8) -> bool {
    let bare = |at: usize| head[at] == b'\n' && (at == 0 || head[at - 1] != b'\r');
    let leading = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    !(0..head.len()).any(bare) && leading <= usize::from(first)
}

fn version(number: Option<u8>) -> Version {
    if number == Some(0) { Version::Http10 } else { Version::Http11 }
}

fn request_elsewhere(buf: &[u8]) -> Option<Whole> {
    let mut headers = [httparse::EMPTY_HEADER; MOST];
    let mut head = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(end)) = head.parse(buf) else { return None };
    let strict = is_strict(&buf[..end], 2);
    let (method, target) = (head.method?.as_bytes().to_vec(), head.path?.as_bytes().to_vec());
    strict.then(|| (method, target, version(head.version), lines_of(head.headers), end))
}

fn response_elsewhere(buf: &[u8]) -> Option<Whole> {
    let mut headers = [httparse::EMPTY_HEADER; MOST];
    let mut head = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(end)) = head.parse(buf) else { return None };
    let strict = is_strict(&buf[..end], 0);
    let status = head.code?.to_string().into_bytes();
    let reason = head.reason?.as_bytes().to_vec();
    strict.then(|| (status, reason, version(head.version), lines_of(head.headers), end))
}

/// Pieces of which heads are made, right and wrong, one after the other.
fn pieces(beginnings: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&[u8]; 28] = [
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b": ",
        b"a",
        b"Host: x\r\n",
        b"Host: x\r\n",
        b"Content-Length: 5\r\n",
        b"X_y:\tz \t\r\n",
        b"empty:\r\n",
        b"empty:   \r\n",
        b"long: 0123456789abcdefghijklmnopqrstuvwxyz\r\n",
        b"tab: a\tb\r\n",
        b" folded\r\n",
        b"\0",
        b"\x7f",
        b"\x1f",
        b"\x80",
        b"\xc3\xa9",
        b"obs: \xff\xfe\r\n",
        b"HTTP/1.1",
        b"/",
        b"\"",
    ];
    let piece = prop::sample::select(&PIECES[..]);
    let first = prop::sample::select(beginnings);
    (first, prop::collection::vec(piece, 0..12), any::<bool>()).prop_map(|(first, rest, ends)| {
        let end: &[u8] = if ends { b"\r\n" } else { b"" };
        [first, &rest.concat(), end].concat()
    })
}

const REQUESTS: [&[u8]; 16] = [
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\n",
    b"POST /a?b HTTP/1.0\r\n",
    b"\r\nGET / HTTP/1.1\r\n",
    b"\r\n\r\nGET / HTTP/1.1\r\n",
    b"GET  / HTTP/1.1\r\n",
    b"GET / HTTP/1.1 \r\n",
    b"GET / HTTP/1.1\n",
    b"GET / HTTP/2.0\r\n",
    b"GET / HTTP/1.2\r\n",
    b"GET /\r\n",
    b"G@T / HTTP/1.1\r\n",
    b"GET /\xc3\xa9 HTTP/1.1\r\n",
    b"GET /\xff HTTP/1.1\r\n",
    b" / HTTP/1.1\r\n",
    b"",
];
const RESPONSES: [&[u8]; 16] = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 404 Not Found\r\n",
    b"HTTP/1.1 204\r\n",
    b"HTTP/1.1 204 \r\n",
    b"HTTP/1.1  200 OK\r\n",
    b"HTTP/1.1 2000 OK\r\n",
    b"HTTP/1.1 20 OK\r\n",
    b"HTTP/1.1 200 \xc3\xa9\r\n",
    b"HTTP/1.1 200 a\tb\r\n",
    b"HTTP/1.1 200 a\0\r\n",
    b"HTTP/2.0 200 OK\r\n",
    b"\r\nHTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\n",
    b"HTTP/1.1 200OK\r\n",
    b"",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn requests_are_read_as_elsewhere(buf in pieces(&REQUESTS)) {
        let expected = request_elsewhere(&buf);
        prop_assert_eq!(request(&buf).ok().flatten(), expected.clone());
        if let Some((.., end)) = expected {
            for length in 0..end {
                prop_assert_eq!(request(&buf[..length]), Ok(None), "{} bytes", length);
            }
        }
    }

    #[test]
    fn responses_are_read_as_elsewhere(buf in pieces(&RESPONSES)) {
        let expected = response_elsewhere(&buf);
        prop_assert_eq!(response(&buf).ok().flatten(), expected.clone());
        if let Some((.., end)) = expected {
            for length in 0..end {
                prop_assert_eq!(response(&buf[..length]), Ok(None), "{} bytes", length);
            }
        }
    }

    #[test]
    fn a_value_ends_at_its_first_control_byte(buf: Vec<u8>, at in 0usize..9) {
        let ends = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
        let expected = buf.iter().enumerate().skip(at).find(|(_, byte)| ends(byte));
        prop_assert_eq!(content_end(&buf, at), expected.map(|(at, _)| at));
    }
}

#[test]
fn what_cannot_become_a_head_is_known_at_once() {
    let line: [&[u8]; 6] =
        [b"\x16\x03\x01", b" GET", b"GET@", b"GET /\0", b"GET / HTTP/1.1\r\na b", b"\rG"];
    for bytes in line {
        assert_eq!(request(bytes), Err(Malformed::Line), "{}", bytes.escape_ascii());
    }
    for bytes in [&b"GET / HTTP/2.0\r\n"[..], b"GET / HTTP/1.1\n", b"GET / x\n"] {
        assert_eq!(request(bytes), Err(Malformed::Version), "{}", bytes.escape_ascii());
    }
    assert_eq!(response(b"SSH-2.0"), Err(Malformed::Version));
    let many = [b"GET / HTTP/1.1\r\n".to_vec(), b"a: b\r\n".repeat(MOST + 1)].concat();
    assert_eq!(request(&many), Err(Malformed::TooMany));
}
