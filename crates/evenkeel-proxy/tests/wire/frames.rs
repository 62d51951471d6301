//! HTTP/2 frame by frame, whatever the rules say: for what no well-behaved client would send.

use evenkeel_testkit::wire::PATIENCE;
use std::io::{self, Read, Write};
use std::net::TcpStream;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// One frame as it came.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let bytes = self.payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(u32::MAX, u32::from_be_bytes)
    }

    /// The status of a response; 0 if it stands in the dynamic table.
    pub(crate) fn status(&self) -> u16 {
        match self.payload.as_slice() {
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
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Fields as HPACK literals that no table keeps.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
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
pub(crate) fn get<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    request("GET", more)
}

/// The fields of a request, and more.
pub(crate) fn request<'a>(method: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields =
        vec![(":method", method), (":scheme", "http"), (":path", "/h2"), (":authority", "x")];
    fields.extend_from_slice(more);
    fields
}

/// What a stream came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Status(u16),
    Reset(u32),
    GoAway(u32),
    Closed,
}

/// One connection.
pub(crate) struct Frames {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Frames {
    /// Connects, and says that it speaks HTTP/2.
    pub(crate) fn connect(address: &str) -> Frames {
        let mut frames = Frames::silent(address);
        frames.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        frames
    }

    /// Connects, and says nothing.
    pub(crate) fn silent(address: &str) -> Frames {
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a live socket");
        stream.set_nodelay(true).expect("a live socket");
        Frames { stream, buffer: Vec::new() }
    }

    /// Sends as much as is taken: the proxy may have heard enough.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub(crate) fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        self.send(&frame(HEADERS, flags | END_HEADERS, stream, &block(fields)));
    }

    /// The next frame; `None` once the connection is over.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(head) = self.buffer.get(..9) {
                let length =
                    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                if self.buffer.len() >= 9 + length {
                    let bytes: Vec<u8> = self.buffer.drain(..9 + length).collect();
                    let stream = u32::from_be_bytes(bytes[5..9].try_into().expect("four"));
                    let (kind, flags) = (bytes[3], bytes[4]);
                    return Some(Frame { kind, flags, stream, payload: bytes[9..].to_vec() });
                }
            }
            let mut piece = [0; 16 * 1024];
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(length) => self.buffer.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the connection neither speaks nor ends: {error}"),
            }
        }
    }

    /// What this stream comes to.
    pub(crate) fn outcome(&mut self, stream: u32) -> Outcome {
        while let Some(frame) = self.next() {
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
    pub(crate) fn farewell(&mut self) -> Option<u32> {
        while let Some(frame) = self.next() {
            if frame.kind == GOAWAY {
                return Some(frame.code());
            }
        }
        None
    }
}
