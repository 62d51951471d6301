//! What must hold whatever the bytes are: one function for each reader of foreign bytes. The
//! targets in `fuzz/` call them, and `tests/corpus.rs` of the proxy replays the corpus through
//! them.
//!
//! Each takes any bytes and panics if something does not hold; that is how a fuzzer is told.

mod exchange;
mod heads;
mod mutate;
mod openings;
mod record;

pub use exchange::{exchange, frames};
pub use heads::{request_head, response_head};
pub use mutate::mutate;
pub use openings::{client_hello, proxy_header};
pub use record::access_record;

use evenkeel_core::chunked::{ChunkDecoder, ChunkError, ChunkStep};
use evenkeel_core::path::{self, PathScratch};
use evenkeel_core::plan::PathPolicy;
use fastrand::Rng;

/// A function that any bytes may be given to.
pub type Target = fn(&[u8]);

/// All of them, by the name of their corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("access_record", access_record),
    ("chunked", chunked),
    ("client_hello", client_hello),
    ("exchange", exchange),
    ("frames", frames),
    ("path", path),
    ("proxy_header", proxy_header),
    ("request_head", request_head),
    ("response_head", response_head),
];

/// Ways in which a chunked body is split, besides byte by byte.
const SPLITS: u64 = 4;

/// A request path has one view: it does not change when seen again, and it hides no dot segment.
///
/// # Panics
/// If that does not hold.
pub fn path(bytes: &[u8]) {
    let lenient = seen(bytes, PathPolicy::Lenient);
    let strict = seen(bytes, PathPolicy::Strict);
    assert!(strict.is_none() || strict == lenient, "strict sees {strict:?}, lenient {lenient:?}");
    let Some((matching, forward)) = lenient else { return };
    let again = seen(&forward, PathPolicy::Lenient);
    assert_eq!(again.as_ref(), Some(&(matching.clone(), forward.clone())), "seen again");
    assert!(forward.len() <= bytes.len() && matching.len() <= forward.len(), "{forward:?}");
    if matching == b"*" {
        return;
    }
    assert!(forward.iter().all(u8::is_ascii_graphic), "{}", forward.escape_ascii());
    for view in [&matching, &forward] {
        let mut segments = view.split(|byte| *byte == b'/');
        assert_eq!(segments.next(), Some(&b""[..]), "does not begin with a slash");
        let dots = segments.find(|segment| matches!(*segment, b"." | b".."));
        assert_eq!(dots, None, "{}", view.escape_ascii());
    }
    assert!(!matching.windows(2).any(|pair| pair == b"//"), "{}", matching.escape_ascii());
}

fn seen(bytes: &[u8], policy: PathPolicy) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut scratch = PathScratch::default();
    let view = path::view(bytes, policy, &mut scratch).ok()?;
    Some((view.matching.to_vec(), view.forward.to_vec()))
}

/// A chunked body means the same in whatever pieces it arrives, and the same to a second reader.
///
/// # Panics
/// If that does not hold.
pub fn chunked(bytes: &[u8]) {
    let whole = Decoding::of(bytes, std::iter::once(bytes.len()));
    assert_eq!(Decoding::of(bytes, 1..=bytes.len()), whole, "byte by byte");
    let mut rng = Rng::with_seed(seed_of(bytes));
    for _ in 0..SPLITS {
        let mut ends: Vec<_> = (0..rng.usize(1..8)).map(|_| rng.usize(0..=bytes.len())).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        assert_eq!(Decoding::of(bytes, ends.iter().copied()), whole, "split at {ends:?}");
    }
    assert!(whole.body.len() + whole.trailers.len() <= whole.consumed, "more out than in");
    if whole.verdict != Ok(ChunkStep::End) {
        return;
    }
    let (body, used) = second_reading(bytes);
    assert_eq!((body, used), (whole.body, whole.consumed), "two readings");
}

/// A whole chunked body, read line by line, and the bytes that it took.
fn second_reading(bytes: &[u8]) -> (Vec<u8>, usize) {
    let (mut body, mut rest) = (Vec::new(), bytes);
    loop {
        let line = take_line(&mut rest);
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let digits = std::str::from_utf8(digits).expect("a chunk size is text");
        assert!(digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "chunk size {digits:?}");
        let size = usize::from_str_radix(digits, 16).expect("a chunk size is a number");
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size..];
        assert!(take_line(&mut rest).is_empty(), "no line end behind a chunk");
    }
    loop {
        let line = take_line(&mut rest);
        if line.is_empty() {
            return (body, bytes.len() - rest.len());
        }
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        assert!(is_token(name) && name.len() < line.len(), "trailer {}", line.escape_ascii());
    }
}

/// Up to the next CRLF, which is taken too.
fn take_line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("a line ends in CRLF");
    let line = &rest[..end];
    *rest = &rest[end + 2..];
    let control = |byte: &u8| *byte != b'\t' && byte.is_ascii_control();
    assert!(!line.iter().any(control), "control byte in {}", line.escape_ascii());
    line
}

/// What a decoder made of a body.
#[derive(Debug, PartialEq, Eq)]
struct Decoding {
    body: Vec<u8>,
    trailers: Vec<u8>,
    consumed: usize,
    verdict: Result<ChunkStep, ChunkError>,
}

impl Decoding {
    /// Of bytes that arrive in pieces, given by their ends.
    fn of(bytes: &[u8], ends: impl Iterator<Item = usize>) -> Decoding {
        let mut decoder = ChunkDecoder::default();
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        let (mut start, mut verdict) = (0, Ok(ChunkStep::NeedMore));
        for end in ends {
            let piece = &bytes[start..end];
            let mut at = 0;
            verdict = loop {
                match decoder.step(piece, &mut at, &mut trailers) {
                    Ok(ChunkStep::Data(range)) => body.extend_from_slice(&piece[range]),
                    verdict => break verdict,
                }
            };
            start += at;
            if verdict != Ok(ChunkStep::NeedMore) {
                break;
            }
            assert_eq!(at, piece.len(), "wants more and has not read all");
        }
        Decoding { body, trailers, consumed: start, verdict }
    }
}

/// A seed for what the bytes leave open: the same bytes, the same seed (FNV-1a, 64 bits).
fn seed_of(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// `tchar` of RFC 9110 section 5.6.2, and at least one.
fn is_token(bytes: &[u8]) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(token)
}
