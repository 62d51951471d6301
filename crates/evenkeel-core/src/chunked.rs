//! A strict decoder for the chunked transfer coding (RFC 9112 section 7.1), free of I/O: bytes in,
//! ranges of body bytes out, in whatever pieces they arrive.
//!
//! Received framing is never forwarded: chunk sizes and extensions end here, whoever sends the body
//! on writes its own. Stricter than the grammar: lines end in CRLF only, and no white space is
//! accepted around a chunk size or inside an extension.
//!
//! ```text
//!  Size --------CRLF, size > 0--------> Body -> BodyCr -> BodyLf -> Size
//!   | `;`                 ^
//!   v                     |
//!  extension ----CRLF-----+
//!
//!  Size or extension --CRLF, size = 0--> LineStart --CRLF--> Done
//!                                         |     ^
//!                                         field line CRLF
//! ```

use std::fmt;
use std::ops::Range;

/// Most hex digits of a chunk size, leading zeros included.
pub const MAX_SIZE_DIGITS: u8 = 16;
/// Most bytes of extensions of one chunk, from the first `;`.
pub const MAX_EXTENSION_BYTES: u16 = 256;
/// Most bytes of extensions of one body.
pub const MAX_BODY_EXTENSION_BYTES: u16 = 16 * 1024;
/// Most bytes of the trailer section of one body, line ends included.
pub const MAX_TRAILER_BYTES: u16 = 16 * 1024;
/// Largest chunk: a length that every signed 64-bit reader holds as well.
const MAX_CHUNK_BYTES: u64 = i64::MAX.unsigned_abs();

/// Why a body is not legal. The connection it came on cannot be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// No chunk size where one must stand.
    Size,
    /// A chunk size with too many digits, or beyond a signed 64-bit number.
    SizeTooLarge,
    /// A malformed chunk extension.
    Extension,
    /// More extensions than allowed for a chunk or for a body.
    ExtensionTooLong,
    /// Something else where CRLF must stand.
    LineEnd,
    /// A malformed trailer field line.
    Trailer,
    /// A trailer section longer than allowed.
    TrailersTooLong,
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChunkError::Size => "invalid chunk size",
            ChunkError::SizeTooLarge => "chunk size too large",
            ChunkError::Extension => "invalid chunk extension",
            ChunkError::ExtensionTooLong => "chunk extensions too long",
            ChunkError::LineEnd => "chunk line does not end in CRLF",
            ChunkError::Trailer => "invalid trailer field",
            ChunkError::TrailersTooLong => "trailer section too long",
        })
    }
}

impl std::error::Error for ChunkError {}

/// What a step found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkStep {
    /// All input is consumed and the body is not complete.
    NeedMore,
    /// This range of the input is body.
    Data(Range<usize>),
    /// The body is complete; input from the position on belongs to the next message.
    End,
}

/// What [`ChunkDecoder::decode_in_place`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of body, now at the front of the buffer.
    pub body_len: usize,
    /// Bytes of the buffer that were read; the next message, if any, begins there.
    pub consumed: usize,
    /// True if the body is complete.
    pub ended: bool,
}

/// Decodes one body; a new one is made for each message. A decoder that has failed stays failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChunkDecoder {
    state: State,
    /// Body bytes of the chunk still to come; the size itself while it is read.
    remaining: u64,
    size_digits: u8,
    extension_bytes: u16,
    body_extension_bytes: u16,
    trailer_bytes: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    At(Point),
    Body,
    Done,
    Failed(ChunkError),
}

impl Default for State {
    fn default() -> State {
        State::At(Point::Size)
    }
}

/// A place in the framing, where one byte decides what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    Size,
    Extension(Extension),
    /// After the CR of a size line.
    SizeLf,
    BodyCr,
    BodyLf,
    Trailer(Trailer),
    /// After the CR of the empty line that ends the body.
    EndLf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    NameStart,
    Name,
    ValueStart,
    Token,
    Quoted,
    QuotedPair,
    QuotedEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trailer {
    LineStart,
    Name,
    Value,
    Lf,
}

impl ChunkDecoder {
    /// Reads `input` from `*pos` up to the end of the next piece of body, and moves `*pos` behind
    /// what was read. Trailer fields are appended to `trailers`, each as `name:value CRLF`; they
    /// are complete at [`ChunkStep::End`].
    pub fn step(
        &mut self,
        input: &[u8],
        pos: &mut usize,
        trailers: &mut Vec<u8>,
    ) -> Result<ChunkStep, ChunkError> {
        loop {
            let point = match self.state {
                State::At(point) => point,
                State::Body if *pos < input.len() => return Ok(self.body(input, pos)),
                State::Body => return Ok(ChunkStep::NeedMore),
                State::Done => return Ok(ChunkStep::End),
                State::Failed(error) => return Err(error),
            };
            let Some(&byte) = input.get(*pos) else {
                return Ok(ChunkStep::NeedMore);
            };
            *pos += 1;
            self.state = self.read(point, byte, trailers).unwrap_or_else(State::Failed);
        }
    }

    /// Moves all body bytes of `buf` to its front, for a sender that writes its own framing.
    /// Trailers as in [`ChunkDecoder::step`].
    pub fn decode_in_place(
        &mut self,
        buf: &mut [u8],
        trailers: &mut Vec<u8>,
    ) -> Result<Decoded, ChunkError> {
        let (mut body_len, mut consumed) = (0, 0);
        loop {
            match self.step(buf, &mut consumed, trailers)? {
                ChunkStep::Data(range) => {
                    let len = range.len();
                    buf.copy_within(range, body_len);
                    body_len += len;
                }
                ChunkStep::NeedMore => {
                    return Ok(Decoded { body_len, consumed, ended: false });
                }
                ChunkStep::End => {
                    return Ok(Decoded { body_len, consumed, ended: true });
                }
            }
        }
    }

    fn body(&mut self, input: &[u8], pos: &mut usize) -> ChunkStep {
        let here = input.len() - *pos;
        let take = usize::try_from(self.remaining).map_or(here, |remaining| remaining.min(here));
        self.remaining -= take as u64;
        if self.remaining == 0 {
            self.state = State::At(Point::BodyCr);
        }
        let start = *pos;
        *pos += take;
        ChunkStep::Data(start..*pos)
    }

    /// One byte of framing: what comes after it.
    fn read(
        &mut self,
        point: Point,
        byte: u8,
        trailers: &mut Vec<u8>,
    ) -> Result<State, ChunkError> {
        let (wanted, next) = match point {
            Point::Size => return self.size(byte),
            Point::Extension(at) => return self.extension(at, byte),
            Point::Trailer(at) => return self.trailer(at, byte, trailers),
            Point::SizeLf if self.remaining > 0 => (b'\n', State::Body),
            Point::SizeLf => (b'\n', State::At(Point::Trailer(Trailer::LineStart))),
            Point::BodyCr => {
                (self.size_digits, self.extension_bytes) = (0, 0);
                (b'\r', State::At(Point::BodyLf))
            }
            Point::BodyLf => (b'\n', State::At(Point::Size)),
            Point::EndLf => (b'\n', State::Done),
        };
        if byte == wanted { Ok(next) } else { Err(ChunkError::LineEnd) }
    }

    fn size(&mut self, byte: u8) -> Result<State, ChunkError> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if self.size_digits == MAX_SIZE_DIGITS {
                return Err(ChunkError::SizeTooLarge);
            }
            // At most 16 digits of 4 bits: nothing is shifted out.
            self.size_digits += 1;
            self.remaining = (self.remaining << 4) | u64::from(digit);
            return Ok(State::At(Point::Size));
        }
        if self.remaining > MAX_CHUNK_BYTES {
            return Err(ChunkError::SizeTooLarge);
        }
        match byte {
            _ if self.size_digits == 0 => Err(ChunkError::Size),
            b'\r' => Ok(State::At(Point::SizeLf)),
            b'\n' => Err(ChunkError::LineEnd),
            b';' => self.count_extension(Extension::NameStart),
            _ => Err(ChunkError::Size),
        }
    }

    /// `*( ";" token [ "=" ( token / quoted-string ) ] )`, validated and dropped.
    fn extension(&mut self, at: Extension, byte: u8) -> Result<State, ChunkError> {
        let may_end = matches!(at, Extension::Name | Extension::Token | Extension::QuotedEnd);
        let next = match (at, byte) {
            (_, b'\r') if may_end => return Ok(State::At(Point::SizeLf)),
            (_, b'\n') if may_end => return Err(ChunkError::LineEnd),
            (_, b';') if may_end => Extension::NameStart,
            (Extension::NameStart | Extension::Name, _) if is_token(byte) => Extension::Name,
            (Extension::Name, b'=') => Extension::ValueStart,
            (Extension::ValueStart, b'"') => Extension::Quoted,
            (Extension::ValueStart | Extension::Token, _) if is_token(byte) => Extension::Token,
            (Extension::Quoted, b'"') => Extension::QuotedEnd,
            (Extension::Quoted, b'\\') => Extension::QuotedPair,
            (Extension::Quoted | Extension::QuotedPair, _) if is_text(byte) => Extension::Quoted,
            _ => return Err(ChunkError::Extension),
        };
        self.count_extension(next)
    }

    fn count_extension(&mut self, next: Extension) -> Result<State, ChunkError> {
        self.extension_bytes += 1;
        self.body_extension_bytes += 1;
        let fits = self.extension_bytes <= MAX_EXTENSION_BYTES
            && self.body_extension_bytes <= MAX_BODY_EXTENSION_BYTES;
        let next = State::At(Point::Extension(next));
        fits.then_some(next).ok_or(ChunkError::ExtensionTooLong)
    }

    /// `*( field-name ":" field-value CRLF ) CRLF`, without folded lines.
    fn trailer(
        &mut self,
        at: Trailer,
        byte: u8,
        trailers: &mut Vec<u8>,
    ) -> Result<State, ChunkError> {
        let next = match (at, byte) {
            (Trailer::LineStart, b'\r') => return Ok(State::At(Point::EndLf)),
            (Trailer::LineStart | Trailer::Name, _) if is_token(byte) => Trailer::Name,
            (Trailer::Name, b':') => Trailer::Value,
            (Trailer::Value, b'\r') => Trailer::Lf,
            (Trailer::Value, _) if is_text(byte) => Trailer::Value,
            (Trailer::Lf, b'\n') => Trailer::LineStart,
            (Trailer::Lf, _) | (_, b'\n') => return Err(ChunkError::LineEnd),
            _ => return Err(ChunkError::Trailer),
        };
        self.trailer_bytes += 1;
        if self.trailer_bytes > MAX_TRAILER_BYTES {
            return Err(ChunkError::TrailersTooLong);
        }
        trailers.push(byte);
        Ok(State::At(Point::Trailer(next)))
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What may stand in a field value or a quoted string: no control byte but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Writes the head of a chunk of `len` bytes, hex digits and CRLF, to the front of `out`; returns
/// its length. The chunk's bytes and a CRLF follow; a head of 0 begins the end of the body.
pub fn write_chunk_head(len: usize, out: &mut [u8; 18]) -> usize {
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1) as usize;
    for (at, byte) in out[..digits].iter_mut().enumerate() {
        *byte = b"0123456789abcdef"[(len >> (4 * (digits - 1 - at))) & 0xf];
    }
    out[digits..digits + 2].copy_from_slice(b"\r\n");
    digits + 2
}

#[cfg(test)]
mod tests;
