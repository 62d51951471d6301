//! One direction of a body: reads from one side, decodes the received framing, writes our own to
//! the other. Nothing is read while something is still to be written: that is the back-pressure.

mod blind;

use crate::buffer::Outbox;
use crate::frame_position::FramePosition;
use crate::net::{Net, Stream};
use crate::rate::Rate;
use crate::siphon::Siphon;
use crate::worker::{SCRATCH_BYTES, Scratch, Worker};
use evenkeel_core::chunked::{ChunkDecoder, write_chunk_head};
use evenkeel_core::field::{Known, classify, may_be_trailer};
use evenkeel_core::framing::BodyLength;
use evenkeel_core::headers::Trailers;
use evenkeel_core::mirror::BodyWitness;
use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Largest read while stalled transfers hold much memory.
const FRUGAL_READ_BYTES: usize = 16 * 1024;
/// Largest read of a chunked request body: what follows its end waits in memory.
const CHUNKED_READ_BYTES: usize = 64 * 1024;
/// Bytes that stalled transfers of one worker may hold before reads become small.
const MAX_HELD_BYTES: usize = 16 * 1024 * 1024;
/// Reads of one poll, so that one fast body does not starve the other connections.
const READS_PER_POLL: u32 = 8;
/// A small piece is copied behind its head and sent as one; a larger one is sent in place.
pub(crate) const COPY_BELOW_BYTES: usize = 4 * 1024;
/// Most of a streamed request that is kept to be sent again, framing included; of one that is
/// copied as well, its framing may have so much on top.
pub(crate) const MAX_TAPE_BYTES: usize = 64 * 1024;

/// Largest read for now: what a stalled client does not take stays in memory.
#[inline]
pub(crate) fn read_most<N: Net>(worker: &Worker<N>) -> usize {
    let frugal = worker.held_bytes.get() > MAX_HELD_BYTES;
    if frugal { FRUGAL_READ_BYTES } else { SCRATCH_BYTES }
}

/// Why a direction ended early.
#[derive(Debug)]
pub(crate) enum PumpError {
    /// The reading side broke.
    Read,
    /// The writing side broke.
    Write,
    /// The reading side ended before its message did.
    Truncated,
    /// The chunked coding is not legal.
    BadChunk,
    /// More body than the limit allows.
    TooLarge,
    /// The client moves fewer bytes than the minimum rate.
    TooSlow,
}

#[derive(Debug)]
enum Source {
    Fixed(u64),
    Chunked(ChunkDecoder),
    UntilClose,
}

/// Which side is the client: only clients are held to the minimum rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toward {
    /// A request body on its way up.
    Backend,
    /// A response body on its way down.
    Client,
    /// A tunnel: no rate is asked for.
    Tunnel,
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Pump {
    source: Source,
    chunked_out: bool,
    toward: Toward,
    pass_trailers: Trailers,
    trailers: Vec<u8>,
    pub(crate) outbox: Outbox,
    siphon: Siphon,
    ended: bool,
    held: usize,
    rate: Rate,
    max_bytes: u64,
    /// Body bytes that came from the source.
    pub(crate) moved: u64,
    /// Bytes came after the end of the message.
    pub(crate) excess: bool,
    /// Where a WebSocket's frames stand.
    position: Option<Box<FramePosition>>,
    /// All that went out, while that is little enough to be sent again.
    tape: Option<Tape>,
    /// Who looks on as the body goes by; as a rule nobody.
    witnesses: Vec<Rc<RefCell<BodyWitness>>>,
}

/// What went out, up to a bound.
#[derive(Debug)]
struct Tape {
    bytes: Vec<u8>,
    most: usize,
}

/// What framing one piece of received bytes gave.
pub(crate) struct Framed {
    /// Body bytes, inside the piece.
    pub(crate) body: Range<usize>,
    /// Bytes of the piece that belong to this message.
    pub(crate) consumed: usize,
}

impl Pump {
    /// A direction that reads `from` and writes `to`; `max_bytes` of body, 0 = unlimited.
    pub(crate) fn new(from: BodyLength, to: BodyLength, toward: Toward, max_bytes: u64) -> Pump {
        let source = match from {
            BodyLength::None => Source::Fixed(0),
            BodyLength::Fixed(length) => Source::Fixed(length),
            BodyLength::Chunked => Source::Chunked(ChunkDecoder::default()),
            BodyLength::UntilClose => Source::UntilClose,
        };
        let much = matches!(source, Source::Fixed(left) if left >= blind::WORTH_A_PIPE_BYTES);
        Pump {
            ended: matches!(source, Source::Fixed(0)),
            source,
            chunked_out: to == BodyLength::Chunked,
            toward,
            pass_trailers: Trailers::Drop,
            trailers: Vec::new(),
            outbox: Outbox::default(),
            siphon: if much { Siphon::on() } else { Siphon::default() },
            held: 0,
            rate: Rate::default(),
            max_bytes,
            moved: 0,
            excess: false,
            position: None,
            tape: None,
            witnesses: Vec::new(),
        }
    }

    /// Both ends raw: whatever comes is passed on until the source ends.
    pub(crate) fn raw() -> Pump {
        Pump::new(BodyLength::UntilClose, BodyLength::UntilClose, Toward::Tunnel, 0)
    }

    /// The same direction as one of a tunnel: no minimum rate.
    pub(crate) fn into_tunnel(mut self: Box<Self>) -> Box<Pump> {
        self.toward = Toward::Tunnel;
        self
    }

    /// Says whether trailers pass.
    pub(crate) fn with_trailers(mut self, trailers: Trailers) -> Pump {
        self.pass_trailers = trailers;
        self
    }

    /// From now on follows the frames of a WebSocket.
    pub(crate) fn follow_frames(&mut self) {
        self.position = Some(Box::default());
    }

    /// Where its frames stand, if they are followed.
    pub(crate) fn position(&self) -> Option<&FramePosition> {
        self.position.as_deref()
    }

    /// From now on keeps what goes out, if that is no more than `most` bytes in all.
    pub(crate) fn record(&mut self, most: usize) {
        self.tape = Some(Tape { bytes: Vec::new(), most });
    }

    /// From now on shows the body to this witness as well.
    pub(crate) fn watched_by(&mut self, witness: Rc<RefCell<BodyWitness>>) {
        self.witnesses.push(witness);
    }

    /// All that went out; `None` if it is not kept.
    pub(crate) fn tape(&self) -> Option<&[u8]> {
        self.tape.as_ref().map(|tape| tape.bytes.as_slice())
    }

    /// Sends again what went out. Only where it was kept.
    pub(crate) fn rewind(&mut self) {
        if let Some(tape) = &self.tape {
            self.outbox = Outbox { bytes: tape.bytes.clone(), written: 0 };
        }
    }

    fn keep(&mut self, parts: [&[u8]; 3]) {
        let Some(tape) = &mut self.tape else { return };
        let more: usize = parts.iter().map(|part| part.len()).sum();
        if tape.bytes.len() + more > tape.most {
            self.tape = None;
        } else {
            parts.iter().for_each(|part| tape.bytes.extend_from_slice(part));
        }
    }

    /// The trailer section that has come, in lines.
    pub(crate) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// True once the source has said all, whether it was written or not.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Changes whenever a byte moves, in or out.
    pub(crate) fn progress(&self) -> (u64, usize) {
        (self.moved, self.outbox.left() + self.siphon.held())
    }

    /// True if everything that was read is written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.outbox.is_empty() && self.siphon.held() == 0
    }

    /// True once the whole message was read and written.
    pub(crate) fn is_done(&self) -> bool {
        self.ended && self.is_flushed()
    }

    /// Frames a piece: body bytes are moved to the front of what it returns, our framing is
    /// appended to `before` (goes in front of the body) and `after`.
    pub(crate) fn frame(
        &mut self,
        piece: &mut [u8],
        before: &mut Vec<u8>,
        after: &mut Vec<u8>,
    ) -> Result<Framed, PumpError> {
        let framed = match &mut self.source {
            Source::Fixed(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(piece.len());
                *left -= taken as u64;
                self.ended = *left == 0;
                Framed { body: 0..taken, consumed: taken }
            }
            Source::UntilClose => {
                if let Some(position) = &mut self.position {
                    position.observe(piece);
                }
                Framed { body: 0..piece.len(), consumed: piece.len() }
            }
            Source::Chunked(decoder) => {
                let decoded = decoder.decode_in_place(piece, &mut self.trailers);
                let decoded = decoded.map_err(|_| PumpError::BadChunk)?;
                self.ended = decoded.ended;
                Framed { body: 0..decoded.body_len, consumed: decoded.consumed }
            }
        };
        self.moved += framed.body.len() as u64;
        for witness in &self.witnesses {
            witness.borrow_mut().take(&piece[framed.body.clone()]);
        }
        if self.max_bytes > 0 && self.moved > self.max_bytes {
            return Err(PumpError::TooLarge);
        }
        if self.chunked_out && !framed.body.is_empty() {
            let mut line = [0; 18];
            let length = write_chunk_head(framed.body.len(), &mut line);
            before.extend_from_slice(&line[..length]);
            after.extend_from_slice(b"\r\n");
        }
        if self.ended {
            self.write_end(after);
        }
        Ok(framed)
    }

    fn write_end(&mut self, after: &mut Vec<u8>) {
        if self.chunked_out {
            after.extend_from_slice(b"0\r\n");
            if self.pass_trailers == Trailers::Pass {
                let lines = self.trailers.split_inclusive(|byte| *byte == b'\n');
                for line in lines.filter(|line| is_allowed(line, self.toward)) {
                    after.extend_from_slice(line);
                }
            }
            after.extend_from_slice(b"\r\n");
        }
    }

    /// Ends the message for the target, with these trailers, although the source did not end it.
    /// False if there is no way to say that any more.
    pub(crate) fn end_early(&mut self, trailers: &[u8]) -> bool {
        let possible = self.chunked_out
            && self.pass_trailers == Trailers::Pass
            && !self.ended
            && self.siphon.held() == 0;
        if possible {
            self.trailers = trailers.to_vec();
            self.ended = true;
            let mut end = Vec::new();
            self.write_end(&mut end);
            self.outbox.bytes.extend_from_slice(&end);
        }
        possible
    }

    /// Moves bytes until the message is done, the source has nothing, or the target takes nothing.
    /// Bytes after the message are put into `carry` (they belong to the next one).
    pub(crate) fn poll<N: Net, F: Stream, T: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker<N>,
        from: (&mut F, &mut Vec<u8>),
        to: &mut T,
    ) -> Poll<Result<(), PumpError>> {
        let before = self.moved;
        let polled = self.poll_moving(cx, worker, from, to);
        if polled.is_pending() {
            self.note_moved(self.moved - before);
        }
        polled
    }

    /// Writes what was read.
    pub(crate) fn poll_flush<T: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut T,
    ) -> Poll<io::Result<()>> {
        ready!(self.outbox.poll_flush(cx, to))?;
        self.siphon.poll_empty(cx, to)
    }

    fn poll_moving<N: Net, F: Stream, T: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker<N>,
        from: (&mut F, &mut Vec<u8>),
        to: &mut T,
    ) -> Poll<Result<(), PumpError>> {
        let (from, carry) = from;
        for _ in 0..READS_PER_POLL {
            let flushed = self.outbox.poll_flush(cx, to);
            self.note_waiting(worker, Side::Target, flushed.is_pending())?;
            ready!(flushed).map_err(|_| PumpError::Write)?;
            self.account(worker);
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if carry.is_empty() && self.siphons() {
                ready!(self.poll_siphon(cx, worker, (from, to)))?;
                continue;
            }
            let mut scratch = worker.scratch.borrow_mut();
            let length = if carry.is_empty() {
                let window = self.read_window(worker).min(to.write_most());
                let read = from.poll_read(cx, &mut scratch.bytes[..window]);
                self.note_waiting(worker, Side::Source, read.is_pending())?;
                ready!(read).map_err(|_| PumpError::Read)?
            } else {
                let length = carry.len().min(SCRATCH_BYTES);
                scratch.bytes[..length].copy_from_slice(&carry[..length]);
                carry.drain(..length);
                length
            };
            self.pass(cx, (&mut scratch, length), carry, to)?;
            self.account(worker);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Frames and sends `length` bytes at the start of the scratch; 0 = the source ended.
    fn pass<T: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        (scratch, length): (&mut Scratch, usize),
        carry: &mut Vec<u8>,
        to: &mut T,
    ) -> Result<(), PumpError> {
        let Scratch { bytes, out, tail, .. } = scratch;
        out.clear();
        tail.clear();
        if length == 0 {
            if !matches!(self.source, Source::UntilClose) {
                return Err(PumpError::Truncated);
            }
            self.ended = true;
            self.write_end(tail);
            return self.outbox.send(cx, to, [tail, &[], &[]]).map_err(|_| PumpError::Write);
        }
        let framed = self.frame(&mut bytes[..length], out, tail)?;
        if framed.consumed < length {
            self.excess = true;
            carry.extend_from_slice(&bytes[framed.consumed..length]);
        }
        let body = &bytes[framed.body];
        let parts: [&[u8]; 3] =
            if body.len() < COPY_BELOW_BYTES && !(out.is_empty() && tail.is_empty()) {
                out.extend_from_slice(body);
                out.append(tail);
                [out, &[], &[]]
            } else if out.is_empty() && tail.is_empty() {
                [body, &[], &[]]
            } else {
                [out, body, tail]
            };
        self.keep(parts);
        self.outbox.send(cx, to, parts).map_err(|_| PumpError::Write)
    }

    /// How much to read now: all there is room for, since each read costs two wake-ups, unless
    /// stalled transfers hold much memory already. Nothing is read ahead of a request's own body,
    /// beyond what a chunked one needs to find its end.
    fn read_window<N: Net>(&self, worker: &Worker<N>) -> usize {
        let window = read_most(worker);
        match (self.toward, &self.source) {
            (Toward::Backend, Source::Fixed(left)) => {
                window.min(usize::try_from(*left).unwrap_or(window))
            }
            (Toward::Backend, Source::Chunked(_)) => window.min(CHUNKED_READ_BYTES),
            (Toward::Backend, Source::UntilClose) | (Toward::Client | Toward::Tunnel, _) => window,
        }
    }

    /// Keeps the worker's sum of held bytes true.
    fn account<N: Net>(&mut self, worker: &Worker<N>) {
        let held = self.outbox.bytes.len();
        if held != self.held {
            worker.held_bytes.set(worker.held_bytes.get() + held - self.held);
            self.held = held;
            if held == 0 {
                self.outbox.bytes = Vec::new();
            }
        }
    }

    /// Gives back what this direction holds; call before dropping it.
    pub(crate) fn release<N: Net>(&mut self, worker: &Worker<N>) {
        self.outbox = Outbox::default();
        self.siphon.release(&worker.pipes);
        self.account(worker);
    }

    /// Measures how long the client makes us wait, and refuses those that drip.
    fn note_waiting<N: Net>(
        &mut self,
        worker: &Worker<N>,
        on: Side,
        pending: bool,
    ) -> Result<(), PumpError> {
        let client = match self.toward {
            Toward::Backend => Side::Source,
            Toward::Client => Side::Target,
            Toward::Tunnel => return Ok(()),
        };
        if on != client {
            return Ok(());
        }
        if pending {
            self.rate.wait(worker.tick());
            return Ok(());
        }
        self.rate.resume(worker.tick(), self.moved).map_err(|_| PumpError::TooSlow)
    }
}

/// The metadata of a call may have `_` in its names; only what clients send could alias a field
/// that is trusted.
fn is_allowed(trailer: &[u8], toward: Toward) -> bool {
    let name = trailer.split(|byte| *byte == b':').next().unwrap_or_default();
    let harmless = toward == Toward::Client && classify(name) == Known::Underscored;
    may_be_trailer(name) || harmless
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}
