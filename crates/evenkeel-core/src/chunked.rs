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
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Whole {
        body: Vec<u8>,
        trailers: Vec<u8>,
        consumed: usize,
        ended: bool,
    }

    /// Decodes `input` as it arrives in pieces cut at `cuts`.
    fn decode(input: &[u8], cuts: &[usize]) -> Result<Whole, ChunkError> {
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
        ends.push(input.len());
        ends.sort_unstable();
        let mut decoder = ChunkDecoder::default();
        let mut whole = Whole::default();
        let mut start = 0;
        for end in ends {
            let mut piece = input[start..end].to_vec();
            let decoded = decoder.decode_in_place(&mut piece, &mut whole.trailers)?;
            whole.body.extend_from_slice(&piece[..decoded.body_len]);
            whole.consumed += decoded.consumed;
            whole.ended = decoded.ended;
            assert!(decoded.ended || decoded.consumed == piece.len());
            start = end;
        }
        Ok(whole)
    }

    #[test]
    fn legal_bodies() {
        let quoted = b"5;a=\"b;\\\"\xff\t\";c\r\nhello\r\n0;last=1\r\n\r\n".as_slice();
        // (input, body, trailers, bytes left for the next message)
        let cases: [(&[u8], &str, &str, usize); 9] = [
            (b"0\r\n\r\n", "", "", 0),
            (b"5\r\nhello\r\n0\r\n\r\nGET", "hello", "", 3),
            (b"000\r\n\r\n", "", "", 0),
            (b"0000000000000005\r\nhello\r\n0\r\n\r\n", "hello", "", 0),
            (b"a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", "01234567890123456789a", "", 0),
            (b"2\r\n\r\n\r\n0\r\n\r\n", "\r\n", "", 0),
            (b"5;a;b=c\r\nhello\r\n0\r\n\r\n", "hello", "", 0),
            (quoted, "hello", "", 0),
            (b"0\r\nA: b\r\nx-c:\r\n\r\n\r\n", "", "A: b\r\nx-c:\r\n", 2),
        ];
        for (input, body, trailers, left) in cases {
            let whole = decode(input, &[]);
            let expected = Whole {
                body: body.into(),
                trailers: trailers.into(),
                consumed: input.len() - left,
                ended: true,
            };
            assert_eq!(whole, Ok(expected), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn refused_bodies() {
        use ChunkError::*;
        let cases: [(&[u8], ChunkError); 41] = [
            // Line ends: CRLF and nothing else.
            (b"5\nhello\r\n0\r\n\r\n", LineEnd),
            (b"5\rX", LineEnd),
            (b"5\r\r\n", LineEnd),
            (b"5\r\nhello\n", LineEnd),
            (b"5\r\nhello\rX", LineEnd),
            (b"5\r\nhelloX\r\n", LineEnd),
            (b"5\r\nhello0\r\n\r\n", LineEnd),
            (b"0\n\n", LineEnd),
            (b"0\r\n\n", LineEnd),
            (b"0\r\n\rX", LineEnd),
            (b"5;a\nhello", LineEnd),
            (b"5;a=b\n", LineEnd),
            // Chunk sizes.
            (b"0x5\r\n", Size),
            (b"+5\r\n", Size),
            (b"-5\r\n", Size),
            (b" 5\r\n", Size),
            (b"5 \r\n", Size),
            (b"5\t\r\n", Size),
            (b"5_0\r\n", Size),
            (b"\r\n", Size),
            (b"\n", Size),
            (b";a\r\n", Size),
            (b"g\r\n", Size),
            (b"5\r\nhello\r\n\r\n", Size),
            (b"ffffffffffffffff1\r\n", SizeTooLarge),
            (b"ffffffffffffffff\r\n", SizeTooLarge),
            (b"8000000000000000\r\n", SizeTooLarge),
            (b"0000000000000000000000000000000000000000\r\n", SizeTooLarge),
            (b"00000000000000005\r\n", SizeTooLarge),
            // Extensions.
            (b"5;\n", Extension),
            (b"5;\r\n", Extension),
            (b"5;a=\nb", Extension),
            (b"5;a=\r\n", Extension),
            (b"5;\x00", Extension),
            (b"5;a=\"b\r\n", Extension),
            (b"5; a\r\n", Extension),
            // Trailers.
            (b"0\r\nHost x\r\n\r\n", Trailer),
            (b"0\r\nA : b\r\n\r\n", Trailer),
            (b"0\r\n: b\r\n\r\n", Trailer),
            (b"0\r\nA: b\r\n c\r\n\r\n", Trailer),
            (b"0\r\nA: b\x00\r\n\r\n", Trailer),
        ];
        for (input, error) in cases {
            assert_eq!(decode(input, &[]), Err(error), "{}", input.escape_ascii());
        }
        assert_eq!(decode(b"0\r\nA: b\rC: d\r\n\r\n", &[]), Err(LineEnd));
        assert_eq!(decode(b"0\r\nA: b\nC: d\r\n\r\n", &[]), Err(LineEnd));
    }

    #[test]
    fn the_largest_size_is_held() {
        let mut decoder = ChunkDecoder::default();
        let input = b"7fffffffffffffff\r\nabc";
        let mut pos = 0;
        let step = decoder.step(input, &mut pos, &mut Vec::new());
        assert_eq!(step, Ok(ChunkStep::Data(18..21)));
        assert_eq!(decoder.remaining, MAX_CHUNK_BYTES - 3);
    }

    #[test]
    fn bounds() {
        let chunk = |bytes: usize| format!("1;{}\r\nx\r\n", "a".repeat(bytes - 1));
        let body =
            |chunks: &[String]| decode(format!("{}0\r\n\r\n", chunks.concat()).as_bytes(), &[]);
        assert!(body(&[chunk(256)]).is_ok());
        assert_eq!(body(&[chunk(257)]), Err(ChunkError::ExtensionTooLong));
        assert!(body(&vec![chunk(256); 64]).is_ok());
        assert_eq!(body(&vec![chunk(256); 65]), Err(ChunkError::ExtensionTooLong));

        let trailer = |bytes: usize| format!("0\r\nA:{}\r\n\r\n", "b".repeat(bytes - 4));
        let whole = decode(trailer(16 * 1024).as_bytes(), &[]);
        assert!(whole.is_ok_and(|whole| whole.trailers.len() == 16 * 1024));
        let refused = decode(trailer(16 * 1024 + 1).as_bytes(), &[]);
        assert_eq!(refused, Err(ChunkError::TrailersTooLong));
        assert!(size_of::<ChunkDecoder>() <= 48);
    }

    #[test]
    fn ended_and_failed_stay_so() {
        let mut trailers = Vec::new();
        let mut ended = ChunkDecoder::default();
        let mut pos = 0;
        assert_eq!(ended.step(b"0\r\n\r\n5\r\n", &mut pos, &mut trailers), Ok(ChunkStep::End));
        assert_eq!(ended.step(b"0\r\n\r\n5\r\n", &mut pos, &mut trailers), Ok(ChunkStep::End));
        assert_eq!(pos, 5);

        let mut failed = ChunkDecoder::default();
        assert_eq!(failed.step(b"x", &mut 0, &mut trailers), Err(ChunkError::Size));
        assert_eq!(failed.step(b"0\r\n\r\n", &mut 0, &mut trailers), Err(ChunkError::Size));
    }

    #[test]
    fn chunk_heads() {
        let cases = [
            (0, "0\r\n"),
            (1, "1\r\n"),
            (15, "f\r\n"),
            (16, "10\r\n"),
            (0xabcdef, "abcdef\r\n"),
            (usize::MAX, "ffffffffffffffff\r\n"),
        ];
        for (len, expected) in cases {
            let mut out = [0; 18];
            let written = write_chunk_head(len, &mut out);
            assert_eq!(&out[..written], expected.as_bytes());
        }
    }

    /// Bytes that are mostly framing, so that random input gets somewhere.
    fn framing_bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "\r\n", "\r\n", "\r\n", "0", "1", "2", "5", "f", ";", "a", "=", "\"", "\\", ":",
            "A: b", " ", "\r", "\n", "hello", "\0",
        ]);
        vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes())
    }

    fn extension() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["", ";a", ";b=\"c\""])
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_bytes(
            chunks in vec((vec(any::<u8>(), 1..40), extension()), 0..6),
            trailers in prop::sample::select(vec!["", "A: b\r\n", "A: b\r\nC:d\r\n"]),
            cuts in vec(any::<usize>(), 0..12),
        ) {
            let mut input = Vec::new();
            let mut body = Vec::new();
            for (bytes, extension) in &chunks {
                input.extend(format!("{:x}{extension}\r\n", bytes.len()).bytes());
                input.extend(bytes.iter().chain(b"\r\n"));
                body.extend_from_slice(bytes);
            }
            input.extend(format!("0\r\n{trailers}\r\n").bytes());
            let consumed = input.len();
            let trailers = trailers.as_bytes().to_vec();
            let expected = Whole { body, trailers, consumed, ended: true };
            prop_assert_eq!(decode(&input, &cuts), Ok(expected));
        }

        #[test]
        fn splits_do_not_change_what_any_bytes_mean(
            input in framing_bytes(),
            cuts in vec(any::<usize>(), 0..6),
        ) {
            let whole = decode(&input, &[]);
            prop_assert_eq!(decode(&input, &cuts), whole);
        }

        #[test]
        fn any_bytes(input in vec(any::<u8>(), 0..200)) {
            if let Ok(whole) = decode(&input, &[]) {
                prop_assert!(whole.body.len() + whole.trailers.len() <= whole.consumed);
                prop_assert!(whole.consumed <= input.len());
            }
        }
    }
}
