//! An upgraded connection: bytes both ways until either side has had enough. Half-closes are passed
//! on, so a protocol that ends one direction first still gets its other half.

use crate::clock::Nanos;
use crate::deadline::Deadline;
use crate::frame_position::{FramePosition, close_for_backend, close_for_client};
use crate::net::{Net, Stream};
use crate::pump::{Pump, PumpError};
use crate::wire::Wire;
use crate::worker::Worker;
use evenkeel_core::backend::OpenTunnel;
use evenkeel_core::pool::Pick;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

/// A tunnel that has been quiet for so long is ended when the server drains, or its listener or
/// backend has gone; a busy one goes on until it is quiet, or until the drain's own bound. A
/// WebSocket is ended between two of its frames.
const DRAIN_QUIET: Duration = Duration::from_secs(1);
/// After a farewell both sides have so long to end.
const FAREWELL: Duration = Duration::from_secs(1);
/// Reads of one poll while what comes is forgotten.
const READS_PER_POLL: u32 = 8;

/// What bounds a tunnel.
pub(crate) struct Terms<'a> {
    pub(crate) deadline: &'a Deadline,
    /// When the exchange's own time is up.
    pub(crate) until: Nanos,
    /// The number of the listener that it came in by.
    pub(crate) listener: usize,
    pub(crate) pick: &'a Pick,
    /// How long nothing may move.
    pub(crate) idle: Duration,
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ended {
    /// Bytes from the client, and to it.
    pub(crate) moved: (u64, u64),
    /// The client's connection broke.
    pub(crate) client_broke: bool,
    /// The backend's did, before it had ended its half.
    pub(crate) backend_broke: bool,
}

/// Carries bytes until both directions ended, one broke, nothing moved for the idle timeout, or it
/// has to go.
pub(crate) async fn run<N: Net>(
    worker: &Worker<N>,
    ends: (&mut Wire<N::Stream>, &mut Vec<u8>, &mut Wire<N::Stream>),
    down: Box<Pump>,
    terms: Terms<'_>,
) -> Ended {
    let _counted = OpenTunnel::to(terms.pick);
    let (client, carry, backend) = ends;
    let mut up = Box::new(Pump::raw());
    if down.position().is_some() {
        up.follow_frames();
    }
    let mut up = Direction::new(up);
    let mut down = Direction::new(down.into_tunnel());
    let mut nothing = Vec::new();
    let mut moved_at = worker.now();
    let bound = |moved_at: Nanos| moved_at.after(terms.idle).min(terms.until);
    terms.deadline.set(bound(moved_at));
    poll_fn(|cx| {
        let before = (up.pump.progress(), down.pump.progress());
        up.poll(cx, worker, (client, carry), backend);
        down.poll(cx, worker, (backend, &mut nothing), client);
        let over = up.is_broken() || down.is_broken() || (up.closed && down.closed);
        if (up.pump.progress(), down.pump.progress()) != before {
            moved_at = worker.now();
            terms.deadline.set(bound(moved_at));
        }
        if over || terms.deadline.has_passed(worker.tick()) {
            return Poll::Ready(());
        }
        let leaving = worker.is_hurried(terms.listener) || terms.pick.is_gone();
        if !leaving || !up.is_flushed() || !down.is_flushed() {
            return Poll::Pending;
        }
        if up.is_between_frames() && down.is_between_frames() {
            let [a, b, c, d, ..] = worker.net.random().to_be_bytes();
            up.say(&close_for_backend([a, b, c, d]));
            down.say(&close_for_client());
            return Poll::Ready(());
        }
        // Other protocols are told by an orderly end of the connection, between messages as far as
        // that can be seen from outside them.
        let quiet = worker.tick() >= moved_at.after(DRAIN_QUIET);
        if quiet { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    if !up.is_broken() && !down.is_broken() {
        terms.deadline.set(worker.now().after(FAREWELL));
        poll_fn(|cx| {
            let ended = [up.poll_end(cx, client, backend), down.poll_end(cx, backend, client)];
            let late = terms.deadline.has_passed(worker.tick());
            if late || ended == [true, true] { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    up.pump.release(worker);
    down.pump.release(worker);
    Ended {
        moved: (up.pump.moved, down.pump.moved),
        client_broke: up.broke == Some(Side::Source) || down.broke == Some(Side::Target),
        backend_broke: !down.closed
            && (up.broke == Some(Side::Target) || down.broke == Some(Side::Source)),
    }
}

/// One end of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

struct Direction {
    pump: Box<Pump>,
    closed: bool,
    broke: Option<Side>,
}

impl Direction {
    fn new(pump: Box<Pump>) -> Direction {
        Direction { pump, closed: false, broke: None }
    }

    fn is_broken(&self) -> bool {
        self.broke.is_some()
    }

    fn is_flushed(&self) -> bool {
        self.pump.is_flushed()
    }

    /// True if a frame of ours may be put in here.
    fn is_between_frames(&self) -> bool {
        !self.closed && self.pump.position().is_some_and(FramePosition::is_between)
    }

    /// Sends what is left and ends; what still comes is forgotten. True once the other side has
    /// ended too.
    fn poll_end<N: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Wire<N>,
        to: &mut Wire<N>,
    ) -> bool {
        if !self.closed {
            match self.pump.poll_flush(cx, to) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) => self.closed = to.poll_shutdown(cx).is_ready(),
                Poll::Ready(Err(_)) => return true,
            }
        }
        let mut forgotten = [0; 4096];
        for _ in 0..READS_PER_POLL {
            match from.poll_read(cx, &mut forgotten) {
                Poll::Pending => return false,
                Poll::Ready(Ok(length)) if length > 0 => {}
                Poll::Ready(_) => return true,
            }
        }
        cx.waker().wake_by_ref();
        false
    }

    /// Puts in bytes of ours.
    fn say(&mut self, bytes: &[u8]) {
        self.pump.outbox.bytes.extend_from_slice(bytes);
    }

    fn poll<N: Net>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker<N>,
        from: (&mut Wire<N::Stream>, &mut Vec<u8>),
        to: &mut Wire<N::Stream>,
    ) {
        if self.closed || self.is_broken() {
            return;
        }
        match self.pump.poll(cx, worker, from, to) {
            Poll::Pending => {}
            Poll::Ready(Err(PumpError::Write)) => self.broke = Some(Side::Target),
            Poll::Ready(Err(_)) => self.broke = Some(Side::Source),
            Poll::Ready(Ok(())) => match to.poll_shutdown(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.closed = true,
                Poll::Ready(Err(_)) => self.broke = Some(Side::Target),
            },
        }
    }
}
