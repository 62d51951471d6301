//! Memory that the streams of a worker's thread use again. Most messages over HTTP/2 are short, and
//! many are under way at a time: what each needs for a moment comes from here instead of the
//! allocator.

use bytes::{Bytes, BytesMut};
use std::cell::RefCell;

/// From a block small pieces are cut; it lives as long as the last of them.
const BLOCK_BYTES: usize = 8 * 1024;
/// What is larger gets memory of its own, so that one that stays keeps no block of others'.
const SMALL_BYTES: usize = 1024;
/// Free buffers kept.
const MAX_FREE: usize = 128;
/// A buffer that grew beyond this is not kept.
const KEPT_BYTES: usize = 4 * 1024;

thread_local! {
    static SPARE: Spare = Spare::default();
}

#[derive(Default)]
struct Spare {
    block: RefCell<BytesMut>,
    free: RefCell<Vec<Vec<u8>>>,
}

/// An empty buffer with room for so many bytes, as a rule without asking for memory.
pub(crate) fn take(bytes: usize) -> Vec<u8> {
    if bytes > SMALL_BYTES {
        return Vec::with_capacity(bytes);
    }
    let kept = SPARE.with(|spare| spare.free.borrow_mut().pop());
    kept.unwrap_or_else(|| Vec::with_capacity(SMALL_BYTES))
}

/// Takes a buffer back.
pub(crate) fn give(mut buffer: Vec<u8>) {
    if !(SMALL_BYTES..=KEPT_BYTES).contains(&buffer.capacity()) {
        return;
    }
    buffer.clear();
    SPARE.with(|spare| {
        let mut free = spare.free.borrow_mut();
        if free.len() < MAX_FREE {
            free.push(buffer);
        }
    });
}

/// A copy that can be shared.
pub(crate) fn share(bytes: &[u8]) -> Bytes {
    if bytes.len() > SMALL_BYTES {
        return Bytes::copy_from_slice(bytes);
    }
    SPARE.with(|spare| {
        let mut block = spare.block.borrow_mut();
        if block.capacity() < bytes.len() {
            // A block of which no piece is left is taken from its beginning again.
            block.reserve(BLOCK_BYTES);
        }
        block.extend_from_slice(bytes);
        block.split().freeze()
    })
}

/// What a buffer holds, to be shared.
pub(crate) fn seal(buffer: Vec<u8>) -> Bytes {
    if buffer.len() > SMALL_BYTES {
        return buffer.into();
    }
    let bytes = share(&buffer);
    give(buffer);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_share_a_block_and_large_ones_do_not() {
        let (first, second) = (share(b"one"), share(b"two"));
        assert_eq!((&first[..], &second[..]), (&b"one"[..], &b"two"[..]));
        assert_eq!(first.as_ptr() as usize + 3, second.as_ptr() as usize);
        let large = share(&[b'x'; SMALL_BYTES + 1]);
        assert!(large.is_unique(), "memory of its own");
        assert!(!share(b"three").is_unique());
        // However many pieces are cut, none changes another.
        let pieces: Vec<_> = (0..2000u32).map(|n| (n, share(&n.to_be_bytes()))).collect();
        assert!(pieces.iter().all(|(n, piece)| piece[..] == n.to_be_bytes()));
        assert_eq!(&first[..], b"one");
    }

    #[test]
    fn buffers_are_used_again_unless_they_grew() {
        let mut buffer = take(10);
        buffer.extend_from_slice(b"abc");
        let place = buffer.as_ptr();
        assert_eq!(&seal(buffer)[..], b"abc");
        let again = take(SMALL_BYTES);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        let mut grown = take(KEPT_BYTES * 2);
        grown.resize(KEPT_BYTES * 2, 0);
        let place = grown.as_ptr();
        assert_eq!(seal(grown).as_ptr(), place, "what is large is not copied");
    }
}
