//! A connection as the HTTP/2 library wants it. What is written gathers until the turn of the
//! connection's task is over, so that the frames of many streams leave in one write.

use super::answers::Answers;
use super::meter::Meter;
use crate::clock::{Clock, Nanos};
use crate::net::Stream;
use crate::turns;
use std::cell::{RefCell, RefMut};
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that gather before they are written, whatever else comes.
const GATHERED_BYTES: usize = 64 * 1024;
/// What one turn of a connection's task takes, in bytes; then everybody else's turn comes.
const MAX_TURN_COST: u64 = 32 * 1024;
/// What the first turn takes: the beginning of a client's connection is dear in itself.
const FIRST_TURN_COST: u64 = 256;
/// What is read at once from a client whose last bytes cost much more than they are. The library
/// works off all that it has read: its 8 KiB may be eight hundred frames.
const DEAR_READ_BYTES: usize = 1024;
/// So many times more.
const DEAR_RATIO: u64 = 8;
/// The same of one whose bytes cost more than anybody's who means well, or whom nobody knows yet.
const DEAREST_READ_BYTES: usize = 256;
const DEAREST_RATIO: u64 = 64;
/// A buffer that grew beyond this is not kept.
const KEPT_BYTES: usize = 16 * 1024;
/// Most that one read takes.
const READ_BYTES: usize = 32 * 1024;

thread_local! {
    /// Where it goes: the library's own room would have to be cleared before.
    static PIECE: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Who looks at what comes before the library does.
pub(crate) enum Watch {
    /// Bounds what a client may ask for.
    Client(Box<Meter>, Clock),
    /// Judges what a backend answers.
    Backend(Rc<RefCell<Answers>>, Clock),
}

/// The connection below, shared by the library and the task that owns it.
pub(crate) struct Pipe<S> {
    stream: S,
    /// Read before the protocol was known, and how much of it was taken.
    ahead: Vec<u8>,
    taken_ahead: usize,
    out: Vec<u8>,
    written: usize,
    /// What a turn may take, and what this one still may.
    turn_cost: u64,
    turn_left: u64,
    /// Most that one read takes.
    most: usize,
    watch: Watch,
}

impl<S: Stream> Pipe<S> {
    /// The task's turn has come.
    pub(crate) fn begin_turn(&mut self) {
        self.turn_left = self.turn_cost;
    }

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
        if let Some(meter) = self.meter() {
            meter.sent(bytes);
        }
    }

    /// The meter of a client; a backend is not measured.
    pub(crate) fn meter(&mut self) -> Option<&mut Meter> {
        match &mut self.watch {
            Watch::Client(meter, _) => Some(meter),
            Watch::Backend(..) => None,
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let ends = |meter: &mut Meter| meter.is_exceeded() || meter.fault().is_some();
        if self.meter().is_some_and(ends) {
            // The connection's task looks next, and ends it.
            return Poll::Pending;
        }
        if self.turn_left == 0 {
            self.turn_cost = MAX_TURN_COST;
            turns::come_again(cx);
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let most = self.most.min(buf.remaining());
        if self.ahead.is_empty() {
            ready!(PIECE.with_borrow_mut(|piece| {
                let piece = &mut piece[..most.min(READ_BYTES)];
                let length = ready!(self.stream.poll_read(cx, piece))?;
                buf.put_slice(&piece[..length]);
                Poll::Ready(Ok::<_, io::Error>(()))
            }))?;
        } else {
            let rest = &self.ahead[self.taken_ahead..];
            let length = rest.len().min(most);
            buf.put_slice(&rest[..length]);
            self.taken_ahead += length;
            if self.taken_ahead == self.ahead.len() {
                (self.ahead, self.taken_ahead) = (Vec::new(), 0);
            }
        }
        let length = (buf.filled().len() - before) as u64;
        self.turn_left = self.turn_left.saturating_sub(length);
        let received = &buf.filled()[before..];
        match &mut self.watch {
            Watch::Backend(answers, clock) => answers.borrow_mut().observe(received, clock.now()),
            Watch::Client(meter, clock) => {
                let used = meter.observe(received, clock.now());
                let cost = meter.take_cost();
                self.turn_left = self.turn_left.saturating_sub(cost);
                self.most = read_most(cost, length);
                if used < received.len() {
                    buf.set_filled(before + used);
                    return if used == 0 { Poll::Pending } else { Poll::Ready(Ok(())) };
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What is read at once after so many bytes that cost so much.
fn read_most(cost: u64, length: u64) -> usize {
    // Requests alone, however short, stay below the first ratio, and messages of gRPC below the
    // second.
    if cost / DEAREST_RATIO > length {
        DEAREST_READ_BYTES
    } else if cost / DEAR_RATIO > length {
        DEAR_READ_BYTES
    } else {
        usize::MAX
    }
}

/// One of the two owners of a connection.
pub(crate) struct Io<S>(Rc<RefCell<Pipe<S>>>);

impl<S: Stream> Io<S> {
    /// Over a connection, from which `ahead` has been read.
    pub(crate) fn new(stream: S, ahead: Vec<u8>, watch: Watch) -> Io<S> {
        let (most, turn_cost) = match watch {
            Watch::Client(..) => (DEAREST_READ_BYTES, FIRST_TURN_COST),
            Watch::Backend(..) => (usize::MAX, MAX_TURN_COST),
        };
        let (taken_ahead, written) = (0, 0);
        let pipe = Pipe {
            stream,
            ahead,
            taken_ahead,
            out: Vec::new(),
            written,
            turn_cost,
            turn_left: turn_cost,
            most,
            watch,
        };
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
        self.pipe().meter().and_then(|meter| meter.half_since())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Peek;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    /// A peer that never pauses, and what it repeats.
    struct Torrent(&'static [u8], usize);

    impl Stream for Torrent {
        fn poll_read(&mut self, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
            for byte in &mut *buf {
                *byte = self.0[self.1 % self.0.len()];
                self.1 += 1;
            }
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_write(
            &mut self,
            _: &mut Context<'_>,
            parts: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()))
        }

        fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }

        fn peek(&mut self) -> Peek {
            Peek::Bytes
        }

        fn reset(self) {}
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What it takes of the peer in one turn, in pieces of a thousand bytes.
    fn turn(io: &mut Io<Torrent>, wakes: &Arc<Wakes>) -> usize {
        let waker = Waker::from(Arc::clone(wakes));
        let mut cx = Context::from_waker(&waker);
        io.pipe().begin_turn();
        let mut pieces = 0;
        loop {
            let mut piece = [0; 1000];
            let mut piece = ReadBuf::new(&mut piece);
            match Pin::new(&mut *io).poll_read(&mut cx, &mut piece) {
                Poll::Ready(read) => read.expect("bytes"),
                Poll::Pending => return pieces,
            }
            pieces += 1;
        }
    }

    #[test]
    fn a_peer_that_never_pauses_gets_a_turn_like_everybody_else() {
        /// DATA of a byte on stream 1, and of a kilobyte.
        const SMALL: &[u8] = &[0, 0, 1, 0, 0, 0, 0, 0, 1, b'x'];
        const LARGE: &[u8] = &{
            let mut frame = [0; 1033];
            (frame[1], frame[8]) = (4, 1);
            frame
        };
        let client = || {
            let mut meter = Meter::new(100);
            meter.observe(super::super::PREFACE, Nanos(0));
            meter.observe(&[0, 0, 0, 4, 0, 0, 0, 0, 0], Nanos(0));
            Watch::Client(Box::new(meter), Clock::start())
        };
        let clock = Clock::start();
        let answers = Rc::new(RefCell::new(Answers::new(clock.now())));
        let backend = (Watch::Backend(answers, clock), LARGE, 33);
        let (small, large) = ((client(), SMALL, 1), (client(), LARGE, 30));
        for (watch, bytes, expected) in [backend, small, large] {
            let is_client = matches!(watch, Watch::Client(..));
            let wakes = Arc::new(Wakes::default());
            let mut io = Io::new(Torrent(bytes, 0), Vec::new(), watch);
            if is_client {
                assert_eq!(turn(&mut io, &wakes), 1, "nobody knows it yet");
                wakes.0.store(0, Ordering::Relaxed);
            }
            for count in 1..=3 {
                let pieces = turn(&mut io, &wakes);
                assert!(pieces.abs_diff(expected) <= 1, "{pieces} of {expected}");
                assert_eq!(wakes.0.load(Ordering::Relaxed), count, "it comes back");
            }
        }
    }
}
