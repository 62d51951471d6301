//! The receiving half of one HTTP/2 stream: frames come in, the body of an HTTP/1.1 message comes
//! out. The peer's window is opened again only as bytes are taken.

use super::lines;
use super::shape::Framing;
use crate::turns;
use bytes::{Buf, Bytes};
use h2::RecvStream;
use std::io;
use std::io::Write;
use std::task::{Context, Poll, ready};

/// Pieces that one read puts together: the head, the bytes and the end of a chunk, as a rule. In
/// small frames a whole buffer would hold up everybody else.
const MAX_PIECES_PER_READ: usize = 96;
/// And so many in a row, whoever reads them; then everybody else's turn comes.
const MAX_PIECES_PER_TURN: usize = 4 * MAX_PIECES_PER_READ;

/// One half.
#[derive(Debug)]
pub(crate) struct Receiving {
    frames: RecvStream,
    framing: Framing,
    /// Of the DATA frame at hand.
    left: Bytes,
    /// Framing of ours that comes before `left`, or before more frames are asked for.
    staged: Vec<u8>,
    staged_at: usize,
    ended: bool,
    /// It went wrong; it goes on being wrong.
    broken: bool,
    /// Pieces since nothing was to be had.
    in_a_row: usize,
}

/// What a stream still lacks.
pub(crate) enum Remains {
    Nothing,
    /// Only its end: the message is whole and was taken.
    End(RecvStream),
    Body,
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

impl Receiving {
    /// The body of a message, with the framing that its head announced.
    pub(crate) fn new(frames: RecvStream, framing: Framing) -> Receiving {
        let (left, staged) = (Bytes::new(), Vec::new());
        let ended = matches!(framing, Framing::None | Framing::Fixed(0));
        let (staged_at, broken, in_a_row) = (0, false, 0);
        Receiving { frames, framing, left, staged, staged_at, ended, broken, in_a_row }
    }

    /// A body whose first frame was taken already.
    pub(crate) fn with_first(mut self, first: Bytes) -> Receiving {
        self.begin(first);
        self
    }

    /// True if these are the bytes of a tunnel.
    pub(crate) fn is_raw(&self) -> bool {
        self.framing == Framing::Raw
    }

    /// From now on the bytes of a tunnel.
    pub(crate) fn become_raw(&mut self) {
        self.framing = Framing::Raw;
        self.ended = false;
    }

    /// True once the end has come, though it may not have been taken yet.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// What has not come yet of the stream, or was not taken.
    pub(crate) fn into_rest(self) -> Remains {
        if self.frames.is_end_stream() {
            return Remains::Nothing;
        }
        let whole = matches!(self.framing, Framing::None | Framing::Fixed(0));
        let taken = whole && self.left.is_empty() && !self.broken;
        if taken { Remains::End(self.frames) } else { Remains::Body }
    }

    /// True if bytes are at hand without asking for frames.
    pub(crate) fn has_bytes(&self) -> bool {
        !self.left.is_empty() || self.staged_at < self.staged.len()
    }

    /// Fills `buf` as far as there is something; 0 = the end.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut filled = 0;
        if self.broken {
            return Poll::Ready(Err(malformed()));
        }
        if self.in_a_row >= MAX_PIECES_PER_TURN {
            self.in_a_row = 0;
            turns::come_again(cx);
            return Poll::Pending;
        }
        for _ in 0..MAX_PIECES_PER_READ {
            if filled == buf.len() {
                break;
            }
            self.in_a_row += 1;
            match self.poll_some(cx, &mut buf[filled..]) {
                Poll::Ready(Ok(0)) => break,
                Poll::Ready(Ok(length)) => filled += length,
                Poll::Ready(Err(error)) => {
                    self.broken = true;
                    if filled > 0 {
                        break;
                    }
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => {
                    self.in_a_row = 0;
                    if filled > 0 {
                        break;
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(filled))
    }

    fn poll_some(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let staged = &self.staged[self.staged_at..];
            if !staged.is_empty() {
                let length = staged.len().min(buf.len());
                buf[..length].copy_from_slice(&staged[..length]);
                self.staged_at += length;
                return Poll::Ready(Ok(length));
            }
            if !self.left.is_empty() {
                return Poll::Ready(Ok(self.take_left(buf)));
            }
            if self.ended {
                return Poll::Ready(Ok(0));
            }
            match ready!(self.frames.poll_data(cx)) {
                Some(Ok(data)) => self.begin(data),
                // Also a reset with NO_ERROR: what it follows is whole only if the peer said so
                // before, and then the library gives the end instead (RFC 9113 8.1).
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => ready!(self.poll_end(cx))?,
            }
        }
    }

    fn take_left(&mut self, buf: &mut [u8]) -> usize {
        let length = self.left.len().min(buf.len());
        buf[..length].copy_from_slice(&self.left[..length]);
        self.left.advance(length);
        // Fails only for a stream that is over; then nobody waits for the window.
        let _ = self.frames.flow_control().release_capacity(length);
        if self.left.is_empty() {
            self.left = Bytes::new();
            if self.framing == Framing::Chunked {
                self.stage(|staged| staged.extend_from_slice(b"\r\n"));
            }
        }
        length
    }

    fn begin(&mut self, data: Bytes) {
        if let Framing::Fixed(left) = &mut self.framing {
            *left = left.saturating_sub(data.len() as u64);
        }
        if self.framing == Framing::Chunked && !data.is_empty() {
            let length = data.len();
            self.stage(|staged| {
                // Writing to a Vec cannot fail.
                let _ = write!(staged, "{length:x}\r\n");
            });
        }
        self.left = data;
    }

    fn stage(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.staged.clear();
        self.staged_at = 0;
        write(&mut self.staged);
    }

    /// All DATA has come.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.framing {
            Framing::Chunked => {
                let trailers = ready!(self.frames.poll_trailers(cx)).map_err(io::Error::other)?;
                let mut text = Vec::new();
                if let Some(trailers) = trailers {
                    lines::write_trailers(&trailers, &mut text).ok_or_else(malformed)?;
                }
                self.end(&text);
            }
            Framing::Fixed(left) if left > 0 => {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            Framing::None | Framing::Fixed(_) | Framing::Raw => self.ended = true,
        }
        Poll::Ready(Ok(()))
    }

    fn end(&mut self, trailers: &[u8]) {
        self.ended = true;
        self.stage(|staged| {
            staged.extend_from_slice(b"0\r\n");
            staged.extend_from_slice(trailers);
            staged.extend_from_slice(b"\r\n");
        });
    }
}
