//! One end of a connection in memory. Readiness behaves as epoll's edges do in the real streams:
//! after a read that found all there was, nothing is readable until something new arrives; an end
//! or a break stays readable.

use super::pipe::{self, Ending, Piece, SharedWire};
use evenkeel_proxy::net::{Peek, Stream};
use std::io;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll};

/// One end of a connection.
pub struct MemoryStream {
    wire: SharedWire,
    end: usize,
    left: bool,
}

impl MemoryStream {
    pub(super) fn pair(wire: SharedWire) -> (MemoryStream, MemoryStream) {
        let far = MemoryStream { wire: Rc::clone(&wire), end: 1, left: false };
        (MemoryStream { wire, end: 0, left: false }, far)
    }
}

impl Stream for MemoryStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut wire = self.wire.borrow_mut();
        wire.pulse.beat();
        let pipe = &mut wire.pipes[1 - self.end];
        if !pipe.arrived.is_empty() {
            let length = pipe.take(buf);
            pipe.readable = length == buf.len();
            return Poll::Ready(Ok(length));
        }
        pipe.readable = false;
        match pipe.ending {
            Ending::End => Poll::Ready(Ok(0)),
            Ending::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Ending::Open => {
                pipe.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.wire.borrow_mut();
        wire.pulse.beat();
        if wire.pipes[1 - self.end].ending == Ending::Reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if wire.pipes[self.end].writer_done {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let wanted = parts.iter().map(|part| part.len()).sum();
        let taken = wire.admit(self.end, wanted);
        if taken == 0 && wanted > 0 {
            wire.pipes[self.end].writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        drop(wire);
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        pipe::send_bytes(&self.wire, self.end, &bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = std::mem::replace(&mut self.wire.borrow_mut().pipes[self.end].writer_done, true);
        if !done {
            pipe::send(&self.wire, self.end, Piece::End);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut wire = self.wire.borrow_mut();
        wire.pulse.beat();
        let pipe = &mut wire.pipes[1 - self.end];
        if pipe.readable || pipe.ending != Ending::Open {
            return Poll::Ready(());
        }
        pipe.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn peek(&mut self) -> Peek {
        let wire = self.wire.borrow();
        let pipe = &wire.pipes[1 - self.end];
        match pipe.ending {
            _ if !pipe.arrived.is_empty() => Peek::Bytes,
            Ending::Open => Peek::Nothing,
            Ending::End => Peek::End,
            Ending::Reset => Peek::Gone,
        }
    }

    fn reset(mut self) {
        self.left = true;
        pipe::leave(&self.wire, self.end, Piece::Reset);
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        if !self.left {
            pipe::leave(&self.wire, self.end, Piece::End);
        }
    }
}
