//! Frames of HTTP/2 (RFC 9113, sections 4 and 6): how they are told apart and written.

use crate::bench::fault::Fault;

/// What a client says first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes before the payload of a frame.
pub(crate) const HEAD_BYTES: usize = 9;
/// Bytes of a payload; we never allow more, and never send more.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 16_384;
/// The largest window, and the highest stream.
pub(crate) const MAX_31_BITS: u32 = (1 << 31) - 1;

/// DATA.
pub(crate) const DATA: u8 = 0;
/// HEADERS.
pub(crate) const HEADERS: u8 = 1;
/// PRIORITY.
pub(crate) const PRIORITY: u8 = 2;
/// RST_STREAM.
pub(crate) const RST_STREAM: u8 = 3;
/// SETTINGS.
pub(crate) const SETTINGS: u8 = 4;
/// PUSH_PROMISE.
pub(crate) const PUSH_PROMISE: u8 = 5;
/// PING.
pub(crate) const PING: u8 = 6;
/// GOAWAY.
pub(crate) const GOAWAY: u8 = 7;
/// WINDOW_UPDATE.
pub(crate) const WINDOW_UPDATE: u8 = 8;
/// CONTINUATION.
pub(crate) const CONTINUATION: u8 = 9;

/// Flag of DATA and HEADERS.
pub(crate) const END_STREAM: u8 = 0x1;
/// Flag of SETTINGS and PING.
pub(crate) const ACK: u8 = 0x1;
/// Flag of HEADERS and CONTINUATION.
pub(crate) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const HAS_PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: usize = 5;

/// Error codes, by their number.
const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];
/// The code of a stream that nobody waits for any more.
pub(crate) const CANCEL: u32 = 8;

/// The name of an error code.
pub(crate) fn name_of(code: u32) -> &'static str {
    let index = usize::try_from(code).unwrap_or(CODES.len());
    CODES.get(index).copied().unwrap_or("an unknown code")
}

/// An answer that breaks the rules of HTTP/2.
pub(crate) fn broken(text: &str) -> Fault {
    Fault::bad(format!("HTTP/2: {text}"))
}

/// One frame as it came.
pub(crate) struct Frame<'a> {
    /// Its type.
    pub(crate) kind: u8,
    /// Its flags.
    pub(crate) flags: u8,
    /// Its stream; 0 = the connection.
    pub(crate) stream: u32,
    /// What is in it.
    pub(crate) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Length of the payload of the frame that begins here; `None` if that is not known yet.
    pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
        let [high, middle, low] = *bytes.first_chunk()?;
        usize::try_from(u32::from_be_bytes([0, high, middle, low])).ok()
    }

    /// The frame that begins here, if it is complete.
    pub(crate) fn first(bytes: &'a [u8]) -> Result<Option<Frame<'a>>, Fault> {
        let Some(length) = Frame::length(bytes) else { return Ok(None) };
        if length > MAX_PAYLOAD_BYTES {
            return Err(broken("a frame is longer than 16 KiB"));
        }
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let [_, _, _, kind, flags, stream @ ..] = *head;
        let stream = u32::from_be_bytes(stream) & MAX_31_BITS;
        Ok(rest.get(..length).map(|payload| Frame { kind, flags, stream, payload }))
    }

    /// True if all of these flags are set.
    pub(crate) fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// The payload without padding and, in HEADERS, priority.
    pub(crate) fn content(&self) -> Result<&'a [u8], Fault> {
        let mut content = self.payload;
        if self.has(PADDED) {
            let (length, rest) =
                content.split_first().ok_or_else(|| broken("no room for padding"))?;
            let kept = rest.len().checked_sub(usize::from(*length));
            content = &rest[..kept.ok_or_else(|| broken("padding is longer than its frame"))?];
        }
        if self.kind == HEADERS && self.has(HAS_PRIORITY) {
            content =
                content.get(PRIORITY_BYTES..).ok_or_else(|| broken("HEADERS are too short"))?;
        }
        Ok(content)
    }

    /// The number that the payload begins with; `exact` = and nothing else.
    pub(crate) fn number(&self, exact: bool) -> Result<u32, Fault> {
        match self.payload.split_first_chunk() {
            Some((number, rest)) if rest.is_empty() || !exact => Ok(u32::from_be_bytes(*number)),
            _ => Err(broken("a frame has a wrong length")),
        }
    }
}

/// Writes the head of a frame.
pub(crate) fn push_head(out: &mut Vec<u8>, length: usize, kind_flags: [u8; 2], stream: u32) {
    let [.., high, middle, low] = length.to_be_bytes();
    let [kind, flags] = kind_flags;
    let [a, b, c, d] = stream.to_be_bytes();
    out.extend_from_slice(&[high, middle, low, kind, flags, a, b, c, d]);
}

/// Writes a frame that holds a number: RST_STREAM, WINDOW_UPDATE.
pub(crate) fn push_number(out: &mut Vec<u8>, kind: u8, stream: u32, number: u32) {
    push_head(out, 4, [kind, 0], stream);
    out.extend_from_slice(&number.to_be_bytes());
}
