//! Bytes of HTTP/1.1 taken apart again. Exchanges speak HTTP/1.1 whatever carries them; on an
//! HTTP/2 stream their head, body and trailers become frames. The bytes are our own, so their form
//! is known: what does not fit is a defect, and ends the stream.

use std::io;

/// Longest head that is taken apart; beyond what requests and responses are bounded by.
const MAX_HEAD_BYTES: usize = 256 * 1024;
/// Longest line of a chunk's size, and longest trailer section.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// How the body behind a head ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Fixed(u64),
    /// Chunked coding.
    Chunked,
    /// A tunnel: whatever comes.
    Raw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Fixed(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    Raw,
    Done,
}

/// One message on its way through.
#[derive(Debug)]
pub(crate) struct Shape {
    state: State,
    /// A head, a line or trailers that are not whole yet; a head and trailers until they are used.
    text: Vec<u8>,
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message of ours has no HTTP/1.1 form")
}

impl Shape {
    pub(crate) fn new() -> Shape {
        Shape { state: State::Head, text: Vec::new() }
    }

    /// True while a head is awaited.
    pub(crate) fn awaits_head(&self) -> bool {
        self.state == State::Head
    }

    /// True once the whole message was taken.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// True if this is a tunnel.
    pub(crate) fn is_raw(&self) -> bool {
        self.state == State::Raw
    }

    /// Takes bytes of a head: how many, and the head once it is whole, to be forgotten when used.
    pub(crate) fn take_head<'a>(
        &'a mut self,
        bytes: &'a [u8],
    ) -> io::Result<(usize, Option<&'a [u8]>)> {
        const END: &[u8] = b"\r\n\r\n";
        let before = self.text.len().min(END.len() - 1);
        let mut seam = [0; 6];
        let ahead = bytes.len().min(END.len() - 1);
        seam[..before].copy_from_slice(&self.text[self.text.len() - before..]);
        seam[before..before + ahead].copy_from_slice(&bytes[..ahead]);
        let seam = &seam[..before + ahead];
        let across = if before > 0 { memchr::memmem::find(seam, END) } else { None };
        let end = match across {
            Some(at) => Some(at + END.len() - before),
            None => memchr::memmem::find(bytes, END).map(|at| at + END.len()),
        };
        let used = end.unwrap_or(bytes.len());
        if self.text.len() + used > MAX_HEAD_BYTES {
            return Err(malformed());
        }
        if self.text.is_empty() && end.is_some() {
            return Ok((used, Some(&bytes[..used])));
        }
        self.text.extend_from_slice(&bytes[..used]);
        Ok((used, end.is_some().then_some(&*self.text)))
    }

    /// The whole head was used.
    pub(crate) fn forget_head(&mut self) {
        self.text.clear();
    }

    /// What follows the head that was just whole.
    pub(crate) fn begin_body(&mut self, framing: Framing) {
        self.state = match framing {
            Framing::None | Framing::Fixed(0) => State::Done,
            Framing::Fixed(length) => State::Fixed(length),
            Framing::Chunked => State::ChunkSize,
            Framing::Raw => State::Raw,
        };
    }

    /// Takes what may be taken of a body: at most `room` bytes of it go to `out`. Returns how many
    /// of `bytes` were used.
    pub(crate) fn take_body(
        &mut self,
        bytes: &[u8],
        room: usize,
        out: &mut Vec<u8>,
    ) -> io::Result<usize> {
        let most = out.len() + room;
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            let step = match self.state {
                State::Head | State::Done => break,
                State::Fixed(left) | State::Chunk(left) => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX);
                    let length = length.min(rest.len()).min(most - out.len());
                    out.extend_from_slice(&rest[..length]);
                    self.moved(length as u64);
                    length
                }
                State::Raw => {
                    let length = rest.len().min(most - out.len());
                    out.extend_from_slice(&rest[..length]);
                    length
                }
                State::ChunkSize | State::ChunkEnd | State::Trailers => self.take_line(rest)?,
            };
            if step == 0 {
                break;
            }
            used += step;
        }
        Ok(used)
    }

    fn moved(&mut self, length: u64) {
        self.state = match self.state {
            State::Fixed(left) if left == length => State::Done,
            State::Fixed(left) => State::Fixed(left - length),
            State::Chunk(left) if left == length => State::ChunkEnd,
            State::Chunk(left) => State::Chunk(left - length),
            other @ (State::Head
            | State::ChunkSize
            | State::ChunkEnd
            | State::Trailers
            | State::Raw
            | State::Done) => other,
        };
    }

    /// Takes bytes up to the end of a line.
    fn take_line(&mut self, rest: &[u8]) -> io::Result<usize> {
        let end = memchr::memchr(b'\n', rest).map(|at| at + 1);
        let used = end.unwrap_or(rest.len());
        if self.text.len() + used > MAX_LINE_BYTES {
            return Err(malformed());
        }
        self.text.extend_from_slice(&rest[..used]);
        if end.is_some() {
            self.end_line()?;
        }
        Ok(used)
    }

    fn end_line(&mut self) -> io::Result<()> {
        match self.state {
            State::ChunkSize => {
                let size = chunk_size(&self.text).ok_or_else(malformed)?;
                self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
                self.text.clear();
            }
            State::ChunkEnd if self.text == b"\r\n" => {
                self.state = State::ChunkSize;
                self.text.clear();
            }
            State::ChunkEnd => return Err(malformed()),
            State::Trailers if self.text == b"\r\n" || self.text.ends_with(b"\r\n\r\n") => {
                self.text.truncate(self.text.len() - 2);
                self.state = State::Done;
            }
            State::Head
            | State::Fixed(_)
            | State::Chunk(_)
            | State::Trailers
            | State::Raw
            | State::Done => {}
        }
        Ok(())
    }

    /// Lines of the trailer section of a message that is done, each with its CRLF.
    pub(crate) fn trailers(&self) -> &[u8] {
        if self.is_done() { &self.text } else { b"" }
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes the bytes in pieces, with so much room each time.
    fn take(framing: Framing, bytes: &[u8], piece: usize, room: usize) -> (Vec<u8>, Shape) {
        let mut shape = Shape::new();
        shape.begin_body(framing);
        let (mut out, mut at) = (Vec::new(), 0);
        while at < bytes.len() && !shape.is_done() {
            let end = bytes.len().min(at + piece);
            let used = shape.take_body(&bytes[at..end], room, &mut out).expect("our own form");
            assert!(used > 0, "moves");
            at += used;
        }
        assert_eq!(at, bytes.len(), "all of it");
        (out, shape)
    }

    #[test]
    fn chunks_in_every_piece() {
        let bytes = b"5\r\nhello\r\n7\r\n, world\r\n0\r\ngrpc-status: 0\r\na: b\r\n\r\n";
        for piece in 1..bytes.len() {
            for room in [1, 3, 100] {
                let (out, shape) = take(Framing::Chunked, bytes, piece, room);
                assert_eq!(out, b"hello, world");
                assert!(shape.is_done());
                assert_eq!(shape.trailers(), b"grpc-status: 0\r\na: b\r\n");
            }
        }
        let (out, shape) = take(Framing::Chunked, b"0\r\n\r\n", 1, 0);
        assert!(out.is_empty() && shape.is_done() && shape.trailers().is_empty());
    }

    #[test]
    fn a_head_in_every_piece() {
        let bytes = b"HTTP/1.1 200 OK\r\na: b\r\n\r\nbody";
        for piece in 1..bytes.len() {
            let mut shape = Shape::new();
            let mut at = 0;
            let whole = loop {
                let end = bytes.len().min(at + piece);
                let (used, whole) = shape.take_head(&bytes[at..end]).expect("our own form");
                at += used;
                if let Some(whole) = whole {
                    break whole.to_vec();
                }
            };
            assert_eq!(at, bytes.len() - 4, "{piece}");
            assert_eq!(whole, &bytes[..at]);
            shape.forget_head();
            assert_eq!(shape.take_head(b"HTTP/1.1 2").expect("a part"), (10, None), "{piece}");
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        for bytes in [&b"x\r\n"[..], b"5\r\nhelloX\r\n", b"\r\n", b"fffffffffffffffff\r\n"] {
            let mut shape = Shape::new();
            shape.begin_body(Framing::Chunked);
            assert!(shape.take_body(bytes, 100, &mut Vec::new()).is_err(), "{bytes:?}");
        }
        let mut shape = Shape::new();
        shape.begin_body(Framing::Fixed(2));
        let mut out = Vec::new();
        assert_eq!(shape.take_body(b"abc", 100, &mut out).expect("a body"), 2, "not more");
        assert!(shape.is_done());
    }
}
