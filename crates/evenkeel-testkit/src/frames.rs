//! HTTP/2 frame by frame, whatever the rules say: for what no well-behaved client would send.

use crate::wire::Wire;
use std::io::{self, Read, Write};

/// What a client says first (RFC 9113 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame type (RFC 9113 6.1).
pub const DATA: u8 = 0;
/// A frame type (RFC 9113 6.2).
pub const HEADERS: u8 = 1;
/// A frame type (RFC 9113 6.3).
pub const PRIORITY: u8 = 2;
/// A frame type (RFC 9113 6.4).
pub const RST_STREAM: u8 = 3;
/// A frame type (RFC 9113 6.5).
pub const SETTINGS: u8 = 4;
/// A frame type (RFC 9113 6.7).
pub const PING: u8 = 6;
/// A frame type (RFC 9113 6.8).
pub const GOAWAY: u8 = 7;
/// A frame type (RFC 9113 6.9).
pub const WINDOW_UPDATE: u8 = 8;
/// A frame type (RFC 9113 6.10).
pub const CONTINUATION: u8 = 9;

/// A flag of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// A flag of SETTINGS and PING.
pub const ACK: u8 = 1;
/// A flag of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;
/// A flag of DATA and HEADERS: a length of padding comes first.
pub const PADDED: u8 = 8;
/// A flag of HEADERS: a dependency comes first.
pub const PRIORITISED: u8 = 0x20;

/// An error code (RFC 9113 7).
pub const PROTOCOL_ERROR: u32 = 1;
/// An error code (RFC 9113 7).
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// One frame as it came.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What is in it, padding included.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM or GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let bytes = self.payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(u32::MAX, u32::from_be_bytes)
    }

    /// The status of a response; 0 if it stands in the dynamic table.
    pub fn status(&self) -> u16 {
        let resized = self.payload.iter().take_while(|byte| **byte & 0xe0 == 0x20).count();
        match &self.payload[resized..] {
            [0x88, ..] => 200,
            [0x89, ..] => 204,
            [0x8c, ..] => 400,
            [0x8d, ..] => 404,
            [0x8e, ..] => 500,
            [0x08 | 0x18 | 0x48, length, rest @ ..] => {
                let text = &rest[..usize::from(length & 0x7f)];
                if length & 0x80 == 0 {
                    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
                } else {
                    huffman_number(text)
                }
            }
            _ => 0,
        }
    }
}

/// A number in HPACK's code (RFC 7541 appendix B).
fn huffman_number(bytes: &[u8]) -> u16 {
    let bits: Vec<u8> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let (mut at, mut number) = (0, 0);
    let value = |from: usize, count: usize| {
        bits.get(from..from + count)
            .map(|b| b.iter().fold(0u16, |sum, bit| sum << 1 | u16::from(*bit)))
    };
    loop {
        let (digit, length) = match (value(at, 5), value(at, 6)) {
            (Some(short @ 0..=2), _) => (short, 5),
            (_, Some(long @ 0x19..=0x1f)) => (long - 0x19 + 3, 6),
            _ => return number,
        };
        number = number * 10 + digit;
        at += length;
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Fields as HPACK literals that no table keeps.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            push_length(text.len(), &mut block);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

fn push_length(length: usize, block: &mut Vec<u8>) {
    if length < 127 {
        block.push(u8::try_from(length).expect("short"));
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).expect("seven bits") | 0x80);
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("seven bits"));
}

/// The fields of a GET, and more.
pub fn get<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    request("GET", more)
}

/// The fields of a request, and more.
pub fn request<'a>(method: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields =
        vec![(":method", method), (":scheme", "http"), (":path", "/h2"), (":authority", "x")];
    fields.extend_from_slice(more);
    fields
}

/// What a stream came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A final response began.
    Status(u16),
    /// It was reset.
    Reset(u32),
    /// The connection ends.
    GoAway(u32),
    /// The connection has ended, and nothing was said about it.
    Closed,
}

/// What frames travel over.
pub trait Carrier: Read + Write {}

impl<T: Read + Write> Carrier for T {}

/// One connection.
pub struct Frames {
    stream: Box<dyn Carrier>,
    buffer: Vec<u8>,
}

impl Frames {
    /// Connects, and says that it speaks HTTP/2.
    pub fn connect(address: &str) -> Frames {
        Frames::silent(address).introduced()
    }

    /// Connects, and says nothing.
    ///
    /// # Panics
    /// If nobody listens.
    pub fn silent(address: &str) -> Frames {
        Frames::over(Wire::connect(address).expect("connected"))
    }

    /// Over a connection of any kind.
    pub fn over(stream: impl Carrier + 'static) -> Frames {
        Frames { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Says that it speaks HTTP/2.
    pub fn introduced(mut self) -> Frames {
        self.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        self
    }

    /// Sends as much as is taken: the proxy may have heard enough.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    /// A whole header block.
    pub fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        self.send(&frame(HEADERS, flags | END_HEADERS, stream, &block(fields)));
    }

    fn buffered(&mut self) -> Option<Frame> {
        let head = self.buffer.get(..9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if self.buffer.len() < 9 + length {
            return None;
        }
        let bytes: Vec<u8> = self.buffer.drain(..9 + length).collect();
        let stream = u32::from_be_bytes(bytes[5..9].try_into().expect("four"));
        Some(Frame { kind: bytes[3], flags: bytes[4], stream, payload: bytes[9..].to_vec() })
    }

    /// What this stream comes to.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        for frame in self.by_ref() {
            match frame.kind {
                HEADERS if frame.stream == stream && frame.status() >= 200 => {
                    return Outcome::Status(frame.status());
                }
                RST_STREAM if frame.stream == stream => return Outcome::Reset(frame.code()),
                GOAWAY => return Outcome::GoAway(frame.code()),
                _ => {}
            }
        }
        Outcome::Closed
    }

    /// The code of the GOAWAY that ends the connection; `None` if it ends without.
    pub fn farewell(&mut self) -> Option<u32> {
        for frame in self.by_ref() {
            if frame.kind == GOAWAY {
                return Some(frame.code());
            }
        }
        None
    }
}

/// The frames as they come, until the connection is over. Panics if it neither speaks nor ends.
impl Iterator for Frames {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        loop {
            if let Some(frame) = self.buffered() {
                return Some(frame);
            }
            let mut piece = [0; 16 * 1024];
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(length) => self.buffer.extend_from_slice(&piece[..length]),
                Err(error) => {
                    let ends = [ConnectionReset, ConnectionAborted, UnexpectedEof, BrokenPipe];
                    let ended = ends.contains(&error.kind());
                    assert!(ended, "the connection neither speaks nor ends: {error}");
                    return None;
                }
            }
        }
    }
}
