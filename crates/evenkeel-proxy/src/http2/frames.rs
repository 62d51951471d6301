//! Frames of a connection as they arrive, in whatever pieces: their heads, and which bytes of their
//! payloads belong to header blocks. Pure.

/// Bytes of a frame's head.
pub(crate) const FRAME_HEAD_BYTES: usize = 9;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const PRIORITISED: u8 = 0x20;

/// Frame types (RFC 9113 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    Unknown,
}

impl Kind {
    fn of(byte: u8) -> Kind {
        match byte {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::Reset,
            4 => Kind::Settings,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            _ => Kind::Unknown,
        }
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) length: usize,
    pub(crate) stream: u32,
}

/// What the next bytes are.
#[derive(Debug)]
pub(crate) enum Part<'a> {
    /// A part of a frame's head; the rest is to come.
    HalfHead,
    /// The last byte of a frame's head.
    Head(Head),
    /// Payload; so much of it belongs to a header block.
    Payload(&'a [u8]),
}

/// Where in its frames a connection is.
#[derive(Debug)]
pub(crate) struct Frames {
    head_bytes: [u8; FRAME_HEAD_BYTES],
    head_length: usize,
    head: Head,
    payload_left: usize,
    /// Bytes that come before the frame's part of a header block.
    before_block: usize,
    /// The first of them says how many come behind it.
    padded: bool,
    padding: usize,
    /// The others, which name the stream that this one depends on.
    dependency: u32,
    dependency_left: usize,
    depends_on_itself: bool,
}

impl Frames {
    pub(crate) fn new() -> Frames {
        Frames {
            head_bytes: [0; FRAME_HEAD_BYTES],
            head_length: 0,
            head: Head { kind: Kind::Unknown, flags: 0, length: 0, stream: 0 },
            payload_left: 0,
            before_block: 0,
            padded: false,
            padding: 0,
            dependency: 0,
            dependency_left: 0,
            depends_on_itself: false,
        }
    }

    /// True if a frame has begun and not ended.
    pub(crate) fn is_half(&self) -> bool {
        self.head_length > 0 || self.payload_left > 0
    }

    /// True if what is half there is a body's.
    pub(crate) fn is_in_body(&self) -> bool {
        self.payload_left > 0 && self.head.kind == Kind::Data
    }

    /// True if all of the frame's payload has come.
    pub(crate) fn is_payload_whole(&self) -> bool {
        self.payload_left == 0
    }

    /// True if the stream of the frame at hand is said to depend on itself. The library does not
    /// unpack such a frame, so that the table that it shares with the peer is another one then.
    pub(crate) fn depends_on_itself(&self) -> bool {
        self.depends_on_itself
    }

    /// Takes the next part off the front.
    pub(crate) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Part<'a> {
        if self.payload_left > 0 {
            let (payload, rest) = bytes.split_at(self.payload_left.min(bytes.len()));
            *bytes = rest;
            return Part::Payload(self.of_block(payload));
        }
        let taken = (FRAME_HEAD_BYTES - self.head_length).min(bytes.len());
        self.head_bytes[self.head_length..self.head_length + taken]
            .copy_from_slice(&bytes[..taken]);
        self.head_length += taken;
        *bytes = &bytes[taken..];
        if self.head_length < FRAME_HEAD_BYTES {
            return Part::HalfHead;
        }
        self.head_length = 0;
        self.begin();
        Part::Head(self.head)
    }

    fn begin(&mut self) {
        let [l0, l1, l2, kind, flags, id @ ..] = self.head_bytes;
        let length = usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2);
        let stream = u32::from_be_bytes(id) & 0x7fff_ffff;
        self.head = Head { kind: Kind::of(kind), flags, length, stream };
        self.payload_left = length;
        let is_headers = self.head.kind == Kind::Headers;
        self.padded = is_headers && flags & PADDED != 0;
        let prioritised = is_headers && flags & PRIORITISED != 0;
        self.before_block = usize::from(self.padded) + if prioritised { 5 } else { 0 };
        self.padding = 0;
        (self.dependency, self.dependency_left) = (0, if prioritised { 4 } else { 0 });
        self.depends_on_itself = false;
    }

    /// The part of a payload that belongs to a header block.
    fn of_block<'a>(&mut self, mut payload: &'a [u8]) -> &'a [u8] {
        let mut left = self.payload_left;
        self.payload_left -= payload.len();
        if !matches!(self.head.kind, Kind::Headers | Kind::Continuation) {
            return &[];
        }
        while self.before_block > 0
            && let [first, rest @ ..] = payload
        {
            self.take_prefix(*first);
            payload = rest;
            left -= 1;
        }
        let in_block = left.saturating_sub(self.padding);
        &payload[..in_block.min(payload.len())]
    }

    fn take_prefix(&mut self, byte: u8) {
        self.before_block -= 1;
        if std::mem::take(&mut self.padded) {
            self.padding = usize::from(byte);
        } else if self.dependency_left > 0 {
            self.dependency = self.dependency << 8 | u32::from(byte);
            self.dependency_left -= 1;
            self.depends_on_itself =
                self.dependency_left == 0 && self.dependency & 0x7fff_ffff == self.head.stream;
        }
    }
}

#[cfg(test)]
pub(crate) const HEADERS_BYTE: u8 = 1;
#[cfg(test)]
pub(crate) const CONTINUATION_BYTE: u8 = 9;

/// The bytes of a frame.
#[cfg(test)]
pub(crate) fn frame_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).expect("small").to_be_bytes();
    let head = [&size[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The heads and the bytes of blocks, however the bytes are cut.
    fn parts(bytes: &[u8], size: usize) -> (Vec<(u32, usize)>, Vec<u8>, bool) {
        let (mut frames, mut heads, mut blocks) = (Frames::new(), Vec::new(), Vec::new());
        let mut itself = false;
        for mut piece in bytes.chunks(size) {
            while !piece.is_empty() {
                match frames.next(&mut piece) {
                    Part::HalfHead => {}
                    Part::Head(head) => heads.push((head.stream, head.length)),
                    Part::Payload(of_block) => blocks.extend_from_slice(of_block),
                }
                itself |= frames.depends_on_itself();
            }
        }
        (heads, blocks, itself)
    }

    #[test]
    fn blocks_are_what_neither_padding_nor_priority_is() {
        let block = b"block";
        let cases: [(u8, &[u8], &[u8]); 6] = [
            (0, block, block),
            (PADDED, b"\x02blockPP", block),
            (PRIORITISED, b"\0\0\0\x03\x01block", block),
            (PADDED | PRIORITISED, b"\x01\0\0\0\x03\x01blockP", block),
            (PADDED, b"\x09block", b""),
            (PADDED | PRIORITISED, b"\x01\0\0", b""),
        ];
        for (flags, payload, expected) in cases {
            let bytes =
                [frame_of(HEADERS_BYTE, flags, 1, payload), frame_of(6, 0, 0, b"p")].concat();
            for size in [1, 2, 3, 100] {
                let (heads, blocks, itself) = parts(&bytes, size);
                assert_eq!(heads, [(1, payload.len()), (0, 1)], "{flags:x}");
                assert_eq!(blocks, expected, "{flags:x} {size}");
                assert!(!itself);
            }
        }
        let more = frame_of(CONTINUATION_BYTE, PADDED | PRIORITISED, 1, block);
        assert_eq!(parts(&more, 4).1, block, "flags of other frames mean nothing there");
    }

    #[test]
    fn a_stream_that_depends_on_itself_is_seen() {
        for (flags, payload) in [
            (PRIORITISED, &b"\x80\0\0\x01\x01"[..]),
            (PADDED | PRIORITISED, b"\x01\0\0\0\x01\x01P"),
        ] {
            let bytes = frame_of(HEADERS_BYTE, flags, 1, payload);
            assert!(parts(&bytes, 1).2 && parts(&bytes, 100).2);
        }
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(
            frames in prop::collection::vec(
                (0u8..11, any::<u8>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..40)),
                1..8,
            ),
            size in 1usize..30,
        ) {
            let each = frames.iter().map(|(kind, flags, id, of)| frame_of(*kind, *flags, *id, of));
            let bytes = each.collect::<Vec<_>>().concat();
            prop_assert_eq!(parts(&bytes, size), parts(&bytes, 100_000));
        }
    }
}
