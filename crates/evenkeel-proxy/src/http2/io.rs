//! A connection as the HTTP/2 library wants it. What is written gathers until the turn of the
//! connection's task is over, so that the frames of many streams leave in one write.

use super::meter::Meter;
use crate::clock::{Clock, Nanos};
use crate::net::Stream;
use std::cell::{RefCell, RefMut};
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that gather before they are written, whatever else comes.
const GATHERED_BYTES: usize = 64 * 1024;
/// A buffer that grew beyond this is not kept.
const KEPT_BYTES: usize = 16 * 1024;

/// The connection below, shared by the library and the task that owns it.
pub(crate) struct Pipe<S> {
    stream: S,
    /// Read before the protocol was known.
    ahead: Vec<u8>,
    out: Vec<u8>,
    written: usize,
    /// Bytes that came.
    pub(crate) received: u64,
    /// What a client may ask for; a backend is not measured.
    pub(crate) meter: Option<(Meter, Clock)>,
}

impl<S: Stream> Pipe<S> {
    /// Writes what has gathered.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let part = IoSlice::new(&self.out[self.written..]);
            match ready!(self.stream.poll_write(cx, &[part]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => self.note_written(taken),
            }
        }
        self.out.clear();
        self.written = 0;
        ready!(self.stream.poll_flush(cx))?;
        if self.out.capacity() > KEPT_BYTES {
            self.out = Vec::new();
        }
        self.stream.poll_flush(cx)
    }

    fn note_written(&mut self, bytes: usize) {
        self.written += bytes;
        if let Some((meter, _)) = &mut self.meter {
            meter.sent(bytes);
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let ends = |meter: &Meter| meter.is_exceeded() || meter.fault().is_some();
        if self.meter.as_ref().is_some_and(|(meter, _)| ends(meter)) {
            // The connection's task looks next, and ends it.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if self.ahead.is_empty() {
            let length = ready!(self.stream.poll_read(cx, buf.initialize_unfilled()))?;
            buf.advance(length);
        } else {
            let length = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..length]);
            self.ahead.drain(..length);
        }
        self.received += (buf.filled().len() - before) as u64;
        if let Some((meter, clock)) = &mut self.meter {
            let received = &buf.filled()[before..];
            let used = meter.observe(received, clock.now());
            if used < received.len() {
                buf.set_filled(before + used);
                return if used == 0 { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// One of the two owners of a connection.
pub(crate) struct Io<S>(Rc<RefCell<Pipe<S>>>);

impl<S: Stream> Io<S> {
    /// Over a connection, from which `ahead` has been read.
    pub(crate) fn new(stream: S, ahead: Vec<u8>, meter: Option<(Meter, Clock)>) -> Io<S> {
        let pipe = Pipe { stream, ahead, out: Vec::new(), written: 0, received: 0, meter };
        Io(Rc::new(RefCell::new(pipe)))
    }

    /// The other owner.
    pub(crate) fn share(&self) -> Io<S> {
        Io(Rc::clone(&self.0))
    }

    /// The connection itself.
    pub(crate) fn pipe(&self) -> RefMut<'_, Pipe<S>> {
        self.0.borrow_mut()
    }

    /// The connection alone, once the library has let go of it.
    pub(crate) fn into_stream(self) -> Option<S> {
        Rc::into_inner(self.0).map(|pipe| pipe.into_inner().stream)
    }

    /// Since when a frame or a header block is half there.
    pub(crate) fn half_since(&self) -> Option<Nanos> {
        self.pipe().meter.as_ref().and_then(|(meter, _)| meter.half_since())
    }
}

impl<S: Stream> AsyncRead for Io<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.pipe().poll_fill(cx, buf)
    }
}

impl<S: Stream> AsyncWrite for Io<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.pipe();
        if pipe.out.len() >= GATHERED_BYTES {
            ready!(pipe.poll_drain(cx))?;
        }
        pipe.out.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    /// The task writes at the end of its turn.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.pipe();
        ready!(pipe.poll_drain(cx))?;
        pipe.stream.poll_shutdown(cx)
    }
}
