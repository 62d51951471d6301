//! The two directions of one connection: bounded, in order, late, breakable.

use super::{WireShape, chance};
use fastrand::Rng;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Polls of all streams at one point in virtual time; more is a busy loop.
const MAX_POLLS_PER_INSTANT: u32 = 2_000_000;

/// What all connections of one network share.
#[derive(Default)]
pub(super) struct Pulse {
    /// The world has ended.
    pub(super) over: Cell<bool>,
    at: Cell<Option<Instant>>,
    polls: Cell<u32>,
}

impl Pulse {
    /// Counts one poll of a stream.
    pub(super) fn beat(&self) {
        let now = Instant::now();
        if self.at.replace(Some(now)) != Some(now) {
            self.polls.set(0);
        }
        self.polls.set(self.polls.get() + 1);
        let busy = self.polls.get() > MAX_POLLS_PER_INSTANT;
        assert!(!busy, "busy loop: streams are polled without end while no time passes");
    }
}

/// One thing on its way.
pub(super) enum Piece {
    Bytes(Vec<u8>),
    End,
    Reset,
}

/// What the reading end has been told of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Open,
    End,
    Reset,
}

/// One direction.
pub(super) struct Pipe {
    /// Bytes sent and not read.
    held: usize,
    transit: VecDeque<(Instant, Piece)>,
    pub(super) arrived: VecDeque<u8>,
    pub(super) ending: Ending,
    /// Something came since the last read that found all there was.
    pub(super) readable: bool,
    pub(super) writer_done: bool,
    pub(super) reader_gone: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    last_at: Option<Instant>,
    courier: bool,
}

impl Pipe {
    fn new() -> Pipe {
        Pipe {
            held: 0,
            transit: VecDeque::new(),
            arrived: VecDeque::new(),
            ending: Ending::Open,
            readable: false,
            writer_done: false,
            reader_gone: false,
            reader: None,
            writer: None,
            last_at: None,
            courier: false,
        }
    }

    /// Takes bytes out for the reader, and makes room for the writer.
    pub(super) fn take(&mut self, buf: &mut [u8]) -> usize {
        let length = buf.len().min(self.arrived.len());
        for (place, byte) in buf.iter_mut().zip(self.arrived.drain(..length)) {
            *place = byte;
        }
        self.free(length);
        length
    }

    fn free(&mut self, bytes: usize) {
        self.held -= bytes;
        self.writer.take().into_iter().for_each(Waker::wake);
    }

    /// What is still on its way is lost.
    fn lose_transit(&mut self) {
        let lost = self.transit.drain(..).map(|(_, piece)| match piece {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::End | Piece::Reset => 0,
        });
        self.held -= lost.sum::<usize>();
    }

    /// The reader is gone: what it had not read vanishes. True if there was something.
    fn abandon(&mut self) -> bool {
        self.reader_gone = true;
        let unread = self.arrived.len();
        self.arrived.clear();
        self.free(unread);
        unread > 0
    }
}

/// Both directions; `pipes[e]` carries what end `e` writes.
pub(super) struct Wire {
    pub(super) pipes: [Pipe; 2],
    pub(super) pulse: Rc<Pulse>,
    rng: Rng,
    capacity: usize,
    piece: usize,
    delay_ms: u64,
    short_write_percent: u8,
    breaks_after: Option<u64>,
}

pub(super) type SharedWire = Rc<RefCell<Wire>>;

impl Wire {
    pub(super) fn draw(mut rng: Rng, shape: &WireShape, pulse: Rc<Pulse>) -> SharedWire {
        let breaks = chance(&mut rng, shape.break_percent);
        let breaks_after = breaks.then(|| rng.u64(shape.break_at.clone()));
        Rc::new(RefCell::new(Wire {
            pipes: [Pipe::new(), Pipe::new()],
            pulse,
            capacity: rng.usize(shape.capacity.clone()),
            piece: rng.usize(shape.piece.clone()).max(1),
            delay_ms: rng.u64(shape.delay_ms.clone()),
            short_write_percent: shape.short_write_percent,
            breaks_after,
            rng,
        }))
    }

    /// How many of `wanted` bytes end `end` may write now.
    pub(super) fn admit(&mut self, end: usize, wanted: usize) -> usize {
        let room = self.capacity.saturating_sub(self.pipes[end].held);
        let most = wanted.min(room);
        if most > 1 && chance(&mut self.rng, self.short_write_percent) {
            return self.rng.usize(1..=most);
        }
        most
    }
}

/// Sends bytes that were admitted, in pieces; breaks the connection if its byte has come.
pub(super) fn send_bytes(wire: &SharedWire, end: usize, bytes: &[u8]) {
    let mut left = bytes;
    while !left.is_empty() {
        let (piece, breaks) = {
            let mut this = wire.borrow_mut();
            let most = this.piece.min(left.len());
            let length = this.rng.usize(1..=most).max(most / 2);
            this.pipes[end].held += length;
            let before = this.breaks_after;
            this.breaks_after = before.map(|bytes| bytes.saturating_sub(length as u64));
            (length, before.is_some_and(|before| before > 0) && this.breaks_after == Some(0))
        };
        let (now, rest) = left.split_at(piece);
        send(wire, end, Piece::Bytes(now.to_vec()));
        left = rest;
        if breaks {
            send(wire, 0, Piece::Reset);
            send(wire, 1, Piece::Reset);
        }
    }
}

/// Puts one thing on its way: it arrives now, or is carried by the direction's courier.
pub(super) fn send(wire: &SharedWire, end: usize, piece: Piece) {
    let mut this = wire.borrow_mut();
    if this.pulse.over.get() {
        return;
    }
    let most = this.delay_ms;
    let delay = if most == 0 { 0 } else { this.rng.u64(0..=most) };
    let now = Instant::now();
    let pipe = &mut this.pipes[end];
    let at = (now + Duration::from_millis(delay)).max(pipe.last_at.unwrap_or(now));
    pipe.last_at = Some(at);
    if at <= now && pipe.transit.is_empty() {
        let bounced = this.deliver(end, piece);
        drop(this);
        bounce(wire, end, bounced);
        return;
    }
    pipe.transit.push_back((at, piece));
    if !std::mem::replace(&mut pipe.courier, true) {
        tokio::task::spawn_local(carry(Rc::clone(wire), end));
    }
}

/// One end leaves. `Piece::Reset` also loses what it had sent and was still on its way, sometimes.
pub(super) fn leave(wire: &SharedWire, end: usize, how: Piece) {
    let parting = {
        let mut this = wire.borrow_mut();
        let unread = this.pipes[1 - end].abandon();
        let done = this.pipes[end].writer_done;
        let over = this.pipes[1 - end].ending == Ending::Reset;
        this.pipes[end].writer_done = true;
        // Closing with bytes unread is a reset, not an end.
        if over {
            None
        } else if unread || matches!(how, Piece::Reset) {
            Some(Piece::Reset)
        } else {
            Some(how).filter(|_| !done)
        }
    };
    let Some(parting) = parting else { return };
    if matches!(parting, Piece::Reset) {
        let mut this = wire.borrow_mut();
        if this.rng.bool() {
            this.pipes[end].lose_transit();
        }
    }
    send(wire, end, parting);
}

impl Wire {
    /// Hands one thing over. True if the other end is gone and its host answers with a reset.
    fn deliver(&mut self, end: usize, piece: Piece) -> bool {
        let pipe = &mut self.pipes[end];
        if pipe.reader_gone {
            if let Piece::Bytes(bytes) = piece {
                pipe.free(bytes.len());
                return true;
            }
            return false;
        }
        match (pipe.ending, piece) {
            (Ending::Reset, _) => return false,
            (_, Piece::Bytes(bytes)) => pipe.arrived.extend(bytes),
            (_, Piece::End) => pipe.ending = Ending::End,
            (_, Piece::Reset) => pipe.ending = Ending::Reset,
        }
        pipe.readable = true;
        pipe.reader.take().into_iter().for_each(Waker::wake);
        if self.pipes[end].ending == Ending::Reset {
            self.pipes[1 - end].writer.take().into_iter().for_each(Waker::wake);
        }
        false
    }
}

fn bounce(wire: &SharedWire, end: usize, bounced: bool) {
    let told = wire.borrow().pipes[1 - end].ending == Ending::Reset;
    if bounced && !told {
        send(wire, 1 - end, Piece::Reset);
    }
}

/// Delivers one direction's things when their time comes.
async fn carry(wire: SharedWire, end: usize) {
    loop {
        let next = wire.borrow().pipes[end].transit.front().map(|(at, _)| *at);
        let Some(at) = next else { break };
        sleep_until(at).await;
        let mut this = wire.borrow_mut();
        // What it waited for may have been lost to a reset meanwhile.
        let now = Instant::now();
        if let Some((_, piece)) = this.pipes[end].transit.pop_front_if(|(at, _)| *at <= now) {
            let bounced = this.deliver(end, piece);
            drop(this);
            bounce(&wire, end, bounced);
        }
    }
    wire.borrow_mut().pipes[end].courier = false;
}
