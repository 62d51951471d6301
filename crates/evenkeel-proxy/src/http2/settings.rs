//! What the SETTINGS of a peer say of the heads that it takes (RFC 9113 6.5.2), as they arrive.
//! Pure.

/// An identifier and a value.
const ENTRY_BYTES: usize = 6;
const MAX_HEADER_LIST_SIZE: u16 = 6;

/// All frames of one connection.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// The entry at hand, and how much of it has come.
    entry: [u8; ENTRY_BYTES],
    length: usize,
    max_head_bytes: Option<u32>,
}

impl Settings {
    /// The most that the fields of a head may come to; `None` if the peer has not said.
    pub(crate) fn max_head_bytes(&self) -> Option<u32> {
        self.max_head_bytes
    }

    /// A frame begins.
    pub(crate) fn begin(&mut self) {
        self.length = 0;
    }

    /// Takes the next bytes of its payload.
    pub(crate) fn push(&mut self, payload: &[u8]) {
        for byte in payload {
            self.entry[self.length] = *byte;
            self.length += 1;
            if self.length == ENTRY_BYTES {
                self.length = 0;
                self.take_entry();
            }
        }
    }

    fn take_entry(&mut self) {
        let [i0, i1, value @ ..] = self.entry;
        if u16::from_be_bytes([i0, i1]) == MAX_HEADER_LIST_SIZE {
            self.max_head_bytes = Some(u32::from_be_bytes(value));
        }
    }
}
