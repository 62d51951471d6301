//! The sending half of one HTTP/2 stream: bytes of HTTP/1.1 go in, frames come out, as fast as the
//! peer's windows allow.

use super::MAX_WRITE_BYTES;
use super::lines;
use super::shape::{Framing, Shape};
use super::spare;
use bytes::Bytes;
use h2::SendStream;
use std::io;
use std::io::IoSlice;
use std::task::{Context, Poll};

/// What a head opened.
pub(crate) enum Opening {
    /// An interim response: another head follows.
    Interim,
    /// A message with a body behind it.
    Body(SendStream<Bytes>, Framing),
    /// A message without a body; it is out.
    Whole(SendStream<Bytes>),
}

/// Makes frames of heads.
pub(crate) trait Heads {
    /// True if the connection carries messages of many clients. Then trailers stay out of its
    /// table of fields.
    const SHARED: bool;

    /// Takes a whole head.
    fn head(&mut self, cx: &mut Context<'_>, head: Bytes) -> io::Result<Opening>;
}

/// One half.
#[derive(Debug)]
pub(crate) struct Sending {
    shape: Shape,
    stream: Option<SendStream<Bytes>>,
    /// The end of the stream was sent.
    finished: bool,
}

/// The stream is over: nothing can be sent on it.
pub(crate) fn broken() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl Sending {
    pub(crate) fn new() -> Sending {
        Sending { shape: Shape::new(), stream: None, finished: false }
    }

    /// True once the whole message is out.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// True once this is a tunnel.
    pub(crate) fn is_tunnel(&self) -> bool {
        self.shape.is_raw()
    }

    /// The stream, once its head is out.
    pub(crate) fn stream(&mut self) -> Option<&mut SendStream<Bytes>> {
        self.stream.as_mut()
    }

    /// The head is out, and this is what follows it.
    fn begin(&mut self, stream: SendStream<Bytes>, framing: Framing) {
        self.stream = Some(stream);
        self.shape.begin_body(framing);
        self.finished = self.shape.is_done();
    }

    /// Takes as much as may go out now.
    pub(crate) fn poll_write<H: Heads>(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
        heads: &mut H,
    ) -> Poll<io::Result<usize>> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let room = self.room(cx, total)?;
        let mut piece = Piece { taken: 0, out: spare::take(room.min(total)), room };
        for part in parts {
            if !self.take(cx, part, total, &mut piece, heads)? {
                break;
            }
        }
        self.send::<H>(piece.out)?;
        match piece.taken {
            0 if self.finished && total > 0 => Poll::Ready(Err(broken())),
            0 if total > 0 => Poll::Pending,
            taken => Poll::Ready(Ok(taken)),
        }
    }

    /// Takes one part. False if something of it must wait.
    // tidy: allow(parameters) because the piece is what all parts of one write add to
    fn take(
        &mut self,
        cx: &mut Context<'_>,
        part: &[u8],
        total: usize,
        piece: &mut Piece,
        heads: &mut impl Heads,
    ) -> io::Result<bool> {
        let mut rest = part;
        while !rest.is_empty() {
            let used = if self.shape.awaits_head() {
                let (used, whole) = self.shape.take_head(rest)?;
                if let Some(head) = whole {
                    let opening = heads.head(cx, spare::share(head))?;
                    self.shape.forget_head();
                    self.open(opening);
                    piece.room = self.room(cx, total - piece.taken - used)?;
                }
                used
            } else {
                let before = piece.out.len();
                let used = self.shape.take_body(rest, piece.room, &mut piece.out)?;
                piece.room -= piece.out.len() - before;
                used
            };
            if used == 0 {
                return Ok(false);
            }
            piece.taken += used;
            rest = &rest[used..];
        }
        Ok(true)
    }

    fn open(&mut self, opening: Opening) {
        match opening {
            Opening::Interim => {}
            Opening::Body(stream, framing) => self.begin(stream, framing),
            Opening::Whole(stream) => self.begin(stream, Framing::None),
        }
    }

    /// Body bytes that may go out now, of so many that are there.
    fn room(&mut self, cx: &mut Context<'_>, wanted: usize) -> io::Result<usize> {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.finished && wanted > 0) else {
            return Ok(0);
        };
        stream.reserve_capacity(wanted.min(MAX_WRITE_BYTES));
        let room = stream.capacity();
        if room > 0 {
            return Ok(room);
        }
        match stream.poll_capacity(cx) {
            Poll::Ready(Some(Ok(room))) => Ok(room),
            Poll::Ready(Some(Err(_)) | None) => Err(broken()),
            Poll::Pending => Ok(0),
        }
    }

    /// Sends body bytes, and what ends the message if this was its end.
    fn send<H: Heads>(&mut self, body: Vec<u8>) -> io::Result<()> {
        let done = self.shape.is_done();
        let Some(stream) = self.stream.as_mut().filter(|_| !self.finished) else {
            spare::give(body);
            return Ok(());
        };
        let trailers = self.shape.trailers();
        if done && !trailers.is_empty() {
            if !body.is_empty() {
                stream.send_data(spare::seal(body), false).map_err(|_| broken())?;
            }
            let mut trailers = lines::trailers(trailers)?;
            trailers.values_mut().for_each(|value| value.set_sensitive(H::SHARED));
            stream.send_trailers(trailers).map_err(|_| broken())?;
        } else if done || !body.is_empty() {
            stream.send_data(spare::seal(body), done).map_err(|_| broken())?;
        }
        self.finished = done;
        Ok(())
    }

    /// Ends a tunnel's half.
    pub(crate) fn shut_down(&mut self) -> io::Result<()> {
        if self.shape.is_raw() && !self.finished {
            self.finished = true;
            let stream = self.stream.as_mut().ok_or_else(broken)?;
            stream.send_data(Bytes::new(), true).map_err(|_| broken())?;
        }
        Ok(())
    }
}

/// What one write took.
struct Piece {
    taken: usize,
    out: Vec<u8>,
    room: usize,
}
