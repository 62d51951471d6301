//! The record layer over any stream. What the proxy writes as one message leaves as one write;
//! what arrives is read in large pieces into the caller's own buffer and decrypted from there, so
//! that an idle connection holds no buffer of ours.

use crate::net::{Peek, Stream};
use rustls::Connection;
use std::cell::RefCell;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker, ready};

/// Most that is encrypted before the kernel has taken what was encrypted before.
const MAX_HELD_BYTES: usize = 128 * 1024;
/// Room in front of ciphertext that is decrypted in place: more than one record (RFC 8446 5.2), so
/// that plaintext never catches up with what is still to be decrypted.
const HEADROOM_BYTES: usize = 20 * 1024;
/// In buffers of at least this size ciphertext is read in place.
const IN_PLACE_FROM_BYTES: usize = 2 * HEADROOM_BYTES;
/// One read of ciphertext for a caller with a small buffer: a whole record (RFC 8446 5.2), so that
/// what is read of it is decrypted at once.
const SMALL_READ_BYTES: usize = 5 + 16 * 1024 + 256;

thread_local! {
    /// Where such a read goes; kept, so that it need not be cleared for each of them.
    static PIECE: RefCell<Vec<u8>> = RefCell::new(vec![0; SMALL_READ_BYTES]);
}

/// A TLS connection. Truncation, an end that the peer did not announce, is an error.
#[derive(Debug)]
pub struct TlsStream<S> {
    stream: S,
    session: Connection,
    /// Ciphertext that the session has no room for yet; at most one small read.
    unread: Vec<u8>,
    /// The peer has said that it will send no more.
    ended: bool,
    /// We have said so.
    told_end: bool,
}

impl<S: Stream> TlsStream<S> {
    /// Around a session that has not begun; `arrived` is what was read of it already.
    pub fn new(stream: S, mut session: Connection, arrived: Vec<u8>) -> TlsStream<S> {
        session.set_buffer_limit(Some(MAX_HELD_BYTES));
        TlsStream { stream, session, unread: arrived, ended: false, told_end: false }
    }

    /// What was agreed on.
    pub fn session(&self) -> &Connection {
        &self.session
    }

    /// Ready once the next step of the handshake can be made without waiting.
    pub fn poll_step_due(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        if self.unread.is_empty() && self.session.is_handshaking() {
            ready!(self.stream.poll_readable(cx));
        }
        Poll::Ready(Ok(()))
    }

    /// Goes on with the handshake as far as it can; ready when it is over.
    ///
    /// # Errors
    /// It failed; the peer was told why, if it still listens.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flush(cx))?;
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_small(cx, &mut []))?;
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.told_end, true) {
            self.session.send_close_notify();
        }
        self.poll_flush(cx)
    }

    /// Hands what has arrived to the session; tells the peer if it is no TLS.
    fn process(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.session.process_new_packets() {
            Ok(state) => {
                self.ended |= state.peer_has_closed();
                Ok(())
            }
            Err(error) => {
                // An alert, if it can be sent at once.
                let _ = self.poll_flush(cx);
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }

    /// Takes plaintext that is there.
    fn take(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        match self.session.reader().read(out) {
            Ok(length) => Ok(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn has_plaintext(&mut self) -> bool {
        self.session.reader().fill_buf().is_ok_and(|bytes| !bytes.is_empty())
    }

    /// Decrypts `input` and takes the plaintext; what finds no room in `out` stays `unread`.
    fn feed(&mut self, cx: &mut Context<'_>, input: &[u8], out: &mut [u8]) -> io::Result<usize> {
        let (mut rest, mut taken) = (input, 0);
        while !rest.is_empty() && !self.ended {
            if taken == out.len() && self.has_plaintext() {
                self.unread.extend_from_slice(rest);
                break;
            }
            if self.session.read_tls(&mut rest)? == 0 {
                break;
            }
            self.process(cx)?;
            taken += self.take(&mut out[taken..])?;
        }
        Ok(taken)
    }

    /// One read for a small buffer, or for none during a handshake.
    fn poll_small(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.unread.is_empty() {
            let unread = std::mem::take(&mut self.unread);
            return Poll::Ready(self.feed(cx, &unread, out));
        }
        PIECE.with_borrow_mut(|piece| match ready!(self.stream.poll_read(cx, piece))? {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            length => Poll::Ready(self.feed(cx, &piece[..length], out)),
        })
    }

    /// One read into a large buffer: ciphertext behind the headroom, plaintext from its beginning.
    fn poll_in_place(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let length = match ready!(self.stream.poll_read(cx, &mut buf[HEADROOM_BYTES..]))? {
            0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            length => length,
        };
        let (mut from, end, mut taken) = (HEADROOM_BYTES, HEADROOM_BYTES + length, 0);
        while from < end && !self.ended {
            let mut rest = &buf[from..end];
            match self.session.read_tls(&mut rest)? {
                0 => break,
                consumed => from += consumed,
            }
            self.process(cx)?;
            taken += self.take(&mut buf[taken..from])?;
        }
        Poll::Ready(Ok(taken))
    }
}

impl<S: Stream> Stream for TlsStream<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let taken = self.take(buf)?;
            if taken > 0 || self.ended {
                return Poll::Ready(Ok(taken));
            }
            // What the session itself has to say: an answer to a key update, the end of a write.
            if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                return Poll::Ready(Err(error));
            }
            let taken = if buf.len() >= IN_PLACE_FROM_BYTES && self.unread.is_empty() {
                ready!(self.poll_in_place(cx, buf))?
            } else {
                ready!(self.poll_small(cx, buf))?
            };
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let mut written = 0;
        loop {
            let mut writer = self.session.writer();
            let taken = match parts {
                parts if written == 0 => writer.write_vectored(parts)?,
                parts => writer.write(rest_of(parts, written))?,
            };
            written += taken;
            match self.poll_flush(cx) {
                Poll::Ready(Ok(())) if taken > 0 && written < total => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => return Poll::Ready(Ok(written)),
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let mut sink = Sink { stream: &mut self.stream, cx };
            match self.session.write_tls(&mut sink) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_close(cx))?;
        self.stream.poll_shutdown(cx)
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended || !self.unread.is_empty() || self.has_plaintext() {
            return Poll::Ready(());
        }
        // As a read does; who reads next is told of an error.
        if matches!(self.poll_flush(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(());
        }
        self.stream.poll_readable(cx)
    }

    fn local_address(&self) -> Option<SocketAddr> {
        self.stream.local_address()
    }

    fn peek(&mut self) -> Peek {
        if !self.unread.is_empty() || self.has_plaintext() {
            return Peek::Bytes;
        }
        if self.ended { Peek::End } else { self.stream.peek() }
    }

    fn reset(self) {
        self.stream.reset();
    }

    /// Says that we send no more: the peer can tell the end from a broken connection.
    fn farewell(&mut self) {
        if !self.session.is_handshaking() {
            let _ = self.poll_close(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Session tickets may arrive at any time: they are taken, and the stream is still quiet.
    fn is_quiet(&mut self) -> bool {
        if self.ended || !self.unread.is_empty() || self.has_plaintext() {
            return false;
        }
        if self.stream.is_quiet() {
            return true;
        }
        let mut cx = Context::from_waker(Waker::noop());
        let known = tokio::task::coop::has_budget_remaining();
        while let Poll::Ready(step) = self.poll_small(&mut cx, &mut []) {
            if step.is_err() || self.ended || self.has_plaintext() {
                return false;
            }
        }
        known
    }
}

/// What is left of the first part that `written` bytes do not cover.
fn rest_of<'a>(parts: &'a [IoSlice<'_>], written: usize) -> &'a [u8] {
    let mut skip = written;
    for part in parts {
        match part.get(skip..) {
            Some(rest) if !rest.is_empty() => return rest,
            Some(_) | None => skip -= part.len(),
        }
    }
    &[]
}

/// A stream as the session writes to it.
struct Sink<'a, 'b, S> {
    stream: &'a mut S,
    cx: &'a mut Context<'b>,
}

impl<S: Stream> Write for Sink<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.stream.poll_write(self.cx, parts) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
