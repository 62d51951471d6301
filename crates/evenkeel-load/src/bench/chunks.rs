//! Chunked coding, read for its length alone.

/// Digits of a chunk's size.
const MAX_SIZE_DIGITS: u32 = 16;

/// Where in a chunked body we are (RFC 9112, section 7.1):
/// `Size → Extension → Data → DataEnd → Size …`, after the last chunk `Trailer → … → done`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Size {
        size: u64,
        digits: u32,
    },
    Extension {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// The line end after the data.
    DataEnd,
    Trailer {
        line: usize,
    },
    Done,
}

/// Reads a chunked body piece by piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunks(Place);

/// The coding is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl Chunks {
    /// Before the first chunk.
    pub(crate) fn new() -> Chunks {
        Chunks(Place::Size { size: 0, digits: 0 })
    }

    /// True after the last line.
    pub(crate) fn is_done(self) -> bool {
        self.0 == Place::Done
    }

    /// Reads on; gives how many bytes were taken, and how many of them were data.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(usize, u64), Broken> {
        let (mut at, mut data) = (0, 0);
        while at < bytes.len() && self.0 != Place::Done {
            if let Place::Data { left } = self.0 {
                let here = left.min((bytes.len() - at) as u64);
                // At most the length of a slice.
                at += usize::try_from(here).unwrap_or(usize::MAX);
                data += here;
                let left = left - here;
                self.0 = if left == 0 { Place::DataEnd } else { Place::Data { left } };
            } else {
                self.0 = self.0.after(bytes[at])?;
                at += 1;
            }
        }
        Ok((at, data))
    }
}

impl Place {
    fn after(self, byte: u8) -> Result<Place, Broken> {
        let digit = char::from(byte).to_digit(16);
        match self {
            Place::Size { size, digits } => match (byte, digit) {
                (_, Some(digit)) if digits < MAX_SIZE_DIGITS => {
                    Ok(Place::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
                }
                (b'\r' | b'\n' | b';' | b' ' | b'\t', None) if digits > 0 => {
                    Place::Extension { size }.after(byte)
                }
                _ => Err(Broken),
            },
            Place::Extension { size: 0 } if byte == b'\n' => Ok(Place::Trailer { line: 0 }),
            Place::Extension { size } if byte == b'\n' => Ok(Place::Data { left: size }),
            Place::Extension { size } => Ok(Place::Extension { size }),
            Place::DataEnd => match byte {
                b'\r' => Ok(Place::DataEnd),
                b'\n' => Ok(Place::Size { size: 0, digits: 0 }),
                _ => Err(Broken),
            },
            Place::Trailer { line } => match byte {
                b'\n' if line == 0 => Ok(Place::Done),
                b'\n' => Ok(Place::Trailer { line: 0 }),
                b'\r' => Ok(Place::Trailer { line }),
                _ => Ok(Place::Trailer { line: line + 1 }),
            },
            // Neither asks for a byte.
            Place::Data { .. } | Place::Done => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_however_the_bytes_come() {
        let bodies = [
            ("0\r\n\r\n", 0),
            ("3\r\nabc\r\n0\r\n\r\n", 3),
            ("3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nt: 1\r\nu: 2\r\n\r\n", 13),
        ];
        for (body, wanted) in bodies {
            for size in 1..=body.len() {
                let (mut chunks, mut data) = (Chunks::new(), 0);
                for piece in body.as_bytes().chunks(size) {
                    let (taken, here) = chunks.read(piece).expect(body);
                    assert_eq!(taken, piece.len());
                    data += here;
                }
                assert!(chunks.is_done(), "{body} {size}");
                assert_eq!(data, wanted, "{body} {size}");
            }
        }
        let mut chunks = Chunks::new();
        assert_eq!(chunks.read(b"0\r\n\r\nHTTP"), Ok((5, 0)));
    }

    #[test]
    fn broken_codings_are_seen() {
        for body in ["x\r\n", "\r\n", "3\r\nabcd\r\n", "11111111111111111\r\n"] {
            assert_eq!(Chunks::new().read(body.as_bytes()), Err(Broken), "{body}");
        }
    }
}
