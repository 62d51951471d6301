//! Byte buffers that outlive a poll: pooled per worker, so that the steady state allocates nothing.

use crate::net::Stream;
use std::cell::RefCell;
use std::io;
use std::io::IoSlice;
use std::task::{Context, Poll, ready};

/// What is small: a request head, as a rule.
const SMALL_BYTES: usize = 8 * 1024;
/// Room of the free small buffers that a worker keeps: those of some thousand requests at a time.
const MAX_FREE_SMALL_BYTES: usize = 4 * 1024 * 1024;
/// A buffer that grew beyond this is given back to the allocator instead.
const LARGE_BYTES: usize = 96 * 1024;
/// Room of the free large buffers that a worker keeps.
const MAX_FREE_LARGE_BYTES: usize = 6 * 1024 * 1024;
/// Room that a new buffer starts with: a typical request head.
const NEW_BUFFER_BYTES: usize = 1024;

/// The free buffers of one worker.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    small: RefCell<Free>,
    large: RefCell<Free>,
}

/// Free buffers, the one that was used last at the end, and their room.
#[derive(Debug, Default)]
struct Free {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Free {
    fn pop(&mut self) -> Option<Vec<u8>> {
        let buffer = self.buffers.pop()?;
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    fn push(&mut self, mut buffer: Vec<u8>, most: usize) {
        if self.bytes + buffer.capacity() <= most {
            self.bytes += buffer.capacity();
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}

impl BufferPool {
    /// An empty buffer, likely to have room for so many bytes.
    #[inline]
    pub(crate) fn take(&self, bytes: usize) -> Vec<u8> {
        let pool = if bytes > SMALL_BYTES { &self.large } else { &self.small };
        let free = pool.borrow_mut().pop();
        free.unwrap_or_else(|| Vec::with_capacity(bytes.max(NEW_BUFFER_BYTES)))
    }

    /// Takes a buffer back.
    #[inline]
    pub(crate) fn give(&self, buffer: Vec<u8>) {
        let (pool, most) = match buffer.capacity() {
            0 => return,
            capacity if capacity <= SMALL_BYTES => (&self.small, MAX_FREE_SMALL_BYTES),
            capacity if capacity <= LARGE_BYTES => (&self.large, MAX_FREE_LARGE_BYTES),
            _ => return,
        };
        pool.borrow_mut().push(buffer, most);
    }
}

/// Bytes on their way out that the kernel has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) bytes: Vec<u8>,
    pub(crate) written: usize,
}

impl Outbox {
    /// True if there is nothing left to write.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.written >= self.bytes.len()
    }

    /// Bytes left to write.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.written)
    }

    /// Writes until all is taken; the bytes stay, so that they can be sent again elsewhere.
    #[inline]
    pub(crate) fn poll_write<S: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut S,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(to.poll_write(cx, &[IoSlice::new(rest)]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => self.written += taken,
            }
        }
        to.poll_flush(cx)
    }

    /// Writes until all is taken, then forgets the bytes.
    #[inline]
    pub(crate) fn poll_flush<S: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut S,
    ) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return to.poll_flush(cx);
        }
        ready!(self.poll_write(cx, to))?;
        self.bytes.clear();
        self.written = 0;
        to.poll_flush(cx)
    }

    /// Writes the parts as one message; what the kernel does not take is kept here, as is all of it
    /// if something was waiting before.
    #[inline]
    pub(crate) fn send<S: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut S,
        parts: [&[u8]; 3],
    ) -> io::Result<()> {
        self.send_by(S::poll_write, cx, to, parts)
    }

    /// The same for parts that more follows at once.
    pub(crate) fn send_ahead<S: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut S,
        parts: [&[u8]; 3],
    ) -> io::Result<()> {
        self.send_by(S::poll_write_ahead, cx, to, parts)
    }

    #[inline]
    fn send_by<S: Stream>(
        &mut self,
        write: fn(&mut S, &mut Context<'_>, &[IoSlice<'_>]) -> Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
        to: &mut S,
        parts: [&[u8]; 3],
    ) -> io::Result<()> {
        let slices = parts.map(IoSlice::new);
        let filled = if parts[1].is_empty() && parts[2].is_empty() { 1 } else { 3 };
        let mut taken = 0;
        if self.is_empty() && !parts[0].is_empty() {
            match write(to, cx, &slices[..filled]) {
                Poll::Ready(written) => taken = written?,
                Poll::Pending => {}
            }
        }
        for part in parts {
            let skip = taken.min(part.len());
            taken -= skip;
            self.bytes.extend_from_slice(&part[skip..]);
        }
        Ok(())
    }
}
