//! Where in a WebSocket's stream of frames a direction stands (RFC 6455 5.2): between two of them a
//! word of ours can be put in. Looks at frame heads only. Pure.

/// Longest head: two bytes, eight of length, four of mask.
const MAX_HEAD_BYTES: usize = 14;
const RESERVED_BITS: u8 = 0x70;
const OPCODE_BITS: u8 = 0x0f;
const CLOSE: u8 = 0x8;
const MASKED: u8 = 0x80;
/// The endpoint goes away (RFC 6455 7.4.1).
const GOING_AWAY: [u8; 2] = 1001u16.to_be_bytes();

/// One direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FramePosition {
    head: [u8; MAX_HEAD_BYTES],
    head_len: usize,
    payload_left: u64,
    /// What came is no frame, or was the last one: nothing of ours belongs here.
    over: bool,
}

impl FramePosition {
    /// Takes bytes into account that pass.
    pub(crate) fn observe(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.over {
            if self.payload_left > 0 {
                let skipped = usize::try_from(self.payload_left).unwrap_or(usize::MAX);
                let skipped = skipped.min(rest.len());
                self.payload_left -= skipped as u64;
                rest = &rest[skipped..];
                continue;
            }
            // The bound of a head is that of its array: `end_head` takes it before it is full.
            self.head[self.head_len] = rest[0];
            self.head_len += 1;
            rest = &rest[1..];
            self.end_head();
        }
    }

    /// Reads the head, if it is whole.
    fn end_head(&mut self) {
        let first = self.head[0];
        let opcode = first & OPCODE_BITS;
        let known = matches!(opcode, 0..=2 | 8..=10);
        if first & RESERVED_BITS != 0 || !known {
            self.over = true;
            return;
        }
        if self.head_len < 2 {
            return;
        }
        let short = self.head[1] & !MASKED;
        let length_bytes = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask_bytes = if self.head[1] & MASKED != 0 { 4 } else { 0 };
        if self.head_len < 2 + length_bytes + mask_bytes {
            return;
        }
        self.payload_left = match length_bytes {
            0 => u64::from(short),
            bytes => {
                let digits = &self.head[2..2 + bytes];
                digits.iter().fold(0, |length, byte| length << 8 | u64::from(*byte))
            }
        };
        self.head_len = 0;
        self.over = opcode == CLOSE;
    }

    /// True between two frames.
    pub(crate) fn is_between(&self) -> bool {
        !self.over && self.head_len == 0 && self.payload_left == 0
    }
}

/// A close frame for a client.
pub(crate) fn close_for_client() -> [u8; 4] {
    [0x80 | CLOSE, 2, GOING_AWAY[0], GOING_AWAY[1]]
}

/// A close frame for a server: what clients send is masked (RFC 6455 5.3).
pub(crate) fn close_for_backend(mask: [u8; 4]) -> [u8; 8] {
    let [a, b, c, d] = mask;
    [0x80 | CLOSE, MASKED | 2, a, b, c, d, GOING_AWAY[0] ^ a, GOING_AWAY[1] ^ b]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(bytes: &[u8]) -> FramePosition {
        let mut whole = FramePosition::default();
        whole.observe(bytes);
        let mut pieces = FramePosition::default();
        bytes.iter().for_each(|byte| pieces.observe(&[*byte]));
        assert_eq!(whole.is_between(), pieces.is_between(), "{bytes:x?}");
        whole
    }

    #[test]
    fn positions() {
        let long = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
        let longer = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &[7; 65_536]].concat();
        let cases: [(&str, &[u8], bool); 11] = [
            ("nothing", b"", true),
            ("text", b"\x81\x05hello", true),
            ("masked", b"\x81\x85\x01\x02\x03\x04masks", true),
            ("two", b"\x01\x01a\x80\x01b", true),
            ("a ping within a message", b"\x01\x01a\x89\x00", true),
            ("sixteen bits", &long, true),
            ("sixty-four bits", &longer, true),
            ("half a head", b"\x81", false),
            ("half a payload", b"\x81\x05hel", false),
            ("a close", b"\x88\x02\x03\xe8", false),
            ("no frame", b"last words", false),
        ];
        for (what, bytes, between) in cases {
            assert_eq!(observe(bytes).is_between(), between, "{what}");
        }
        let mut lost = observe(b"last words");
        lost.observe(b"\x81\x05hello");
        assert!(!lost.is_between(), "never again");
    }

    #[test]
    fn close_frames() {
        assert_eq!(close_for_client(), [0x88, 2, 0x03, 0xe9]);
        let [_, _, a, b, _, _, high, low] = close_for_backend([1, 2, 3, 4]);
        assert_eq!([high ^ a, low ^ b], GOING_AWAY);
        assert!(!observe(&close_for_backend([9; 4])).is_between());
    }
}
