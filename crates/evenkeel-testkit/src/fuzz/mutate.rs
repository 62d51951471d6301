//! Small changes to bytes that are worth it: those that readers of HTTP have disagreed about.

use fastrand::Rng;

/// Most changes of one mutation.
const MAX_CHANGES: usize = 4;
/// Most bytes that are moved at once.
const MAX_PIECE: usize = 64;
/// What is put in.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\t",
    b" ",
    b",",
    b":",
    b";",
    b"\"",
    b"\\",
    b"_",
    b"/",
    b"..",
    b"%2e",
    b"%2F",
    b"%00",
    b"\x0b",
    b"\x1b[2J",
    b"\x7f",
    b"\x85",
    b"\xff",
    b"\xe2\x80\xae",
    b"0",
    b"5",
    b"ffffffffffffffff",
    b"0\r\n\r\n",
    b"Host: b\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: foo\r\n",
    b"Expect: 100-continue\r\n",
    b"TE: trailers\r\nConnection: TE\r\n",
    b"GET /smug HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
];

/// `bytes` with some changes; pieces of `other` may come in.
pub fn mutate(rng: &mut Rng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.usize(1..=MAX_CHANGES) {
        change(rng, &mut bytes, other);
    }
    bytes
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = rng.usize(0..=bytes.len());
    let piece = at..bytes.len().min(at + rng.usize(1..=MAX_PIECE));
    match rng.u8(0..7) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.u8(0..8);
            }
        }
        1 => {
            let word = WORDS[rng.usize(0..WORDS.len())];
            bytes.splice(at..at, word.iter().copied());
        }
        2 => drop(bytes.drain(piece)),
        3 => drop(bytes.drain(at..bytes.len().min(at + 1))),
        4 => {
            let piece = bytes[piece].to_vec();
            bytes.splice(at..at, piece);
        }
        5 => {
            let from = rng.usize(0..=other.len());
            let to = other.len().min(from + rng.usize(1..=MAX_PIECE));
            bytes.splice(piece, other[from..to].iter().copied());
        }
        _ => swap_line_end(rng, bytes, at),
    }
}

/// The first line end behind `from` becomes one of another kind.
fn swap_line_end(rng: &mut Rng, bytes: &mut Vec<u8>, from: usize) {
    let Some(found) = bytes[from..].iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return;
    };
    let at = from + found;
    let length = if bytes[at..].starts_with(b"\r\n") { 2 } else { 1 };
    let ends: [&[u8]; 6] = [b"\r\n", b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n "];
    bytes.splice(at..at + length, ends[rng.usize(0..ends.len())].iter().copied());
}
