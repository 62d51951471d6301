//! An upgraded connection: bytes both ways until either side has had enough. Half-closes are passed
//! on, so a protocol that ends one direction first still gets its other half.

use crate::deadline::Deadline;
use crate::net::{Net, Stream};
use crate::pump::Pump;
use crate::wire::Wire;
use crate::worker::Worker;
use evenkeel_core::backend::OpenTunnel;
use evenkeel_core::pool::{Pick, Pool};
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

/// A tunnel that has been quiet for so long is ended when the server drains, or its listener or
/// backend has gone; a busy one goes on
/// until it is quiet, or until the drain's own bound.
const DRAIN_QUIET: Duration = Duration::from_secs(1);

/// Carries bytes until both directions ended, one broke, nothing moved for the pool's idle timeout,
/// or it has to go. Returns bytes (from the client, to the client).
pub(crate) async fn run<N: Net>(
    worker: &Worker<N>,
    ends: (&mut Wire<N::Stream>, &mut Vec<u8>, &mut Wire<N::Stream>),
    down: Box<Pump>,
    (deadline, (listener, pool, pick)): (&Deadline, (usize, &Pool, &Pick)),
) -> (u64, u64) {
    let _counted = OpenTunnel::to(pick);
    let (client, carry, backend) = ends;
    let idle = pool.plan.timeouts.idle;
    let mut up = Direction::new(Box::new(Pump::raw()));
    let mut down = Direction::new(down.into_tunnel());
    let mut nothing = Vec::new();
    let mut moved_at = worker.now();
    deadline.set(moved_at.after(idle));
    poll_fn(|cx| {
        let before = (up.pump.progress(), down.pump.progress());
        up.poll(cx, worker, (client, carry), backend);
        down.poll(cx, worker, (backend, &mut nothing), client);
        let over = up.broken || down.broken || (up.closed && down.closed);
        if (up.pump.progress(), down.pump.progress()) != before {
            moved_at = worker.now();
            deadline.set(moved_at.after(idle));
        }
        // Both sides are told that we end by an orderly end of the connection, between messages
        // as far as that can be seen from outside them.
        let quiet = worker.tick() >= moved_at.after(DRAIN_QUIET);
        let leaving = worker.is_leaving(listener) || pick.is_gone();
        let told = leaving && quiet && up.is_flushed() && down.is_flushed();
        if over || told || deadline.has_passed(worker.tick()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    up.pump.release(worker);
    down.pump.release(worker);
    (up.pump.moved, down.pump.moved)
}

struct Direction {
    pump: Box<Pump>,
    closed: bool,
    broken: bool,
}

impl Direction {
    fn new(pump: Box<Pump>) -> Direction {
        Direction { pump, closed: false, broken: false }
    }

    fn is_flushed(&self) -> bool {
        self.pump.outbox.is_empty()
    }

    fn poll<N: Net>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker<N>,
        from: (&mut Wire<N::Stream>, &mut Vec<u8>),
        to: &mut Wire<N::Stream>,
    ) {
        if self.closed || self.broken {
            return;
        }
        match self.pump.poll(cx, worker, from, to) {
            Poll::Pending => {}
            Poll::Ready(Err(_)) => self.broken = true,
            Poll::Ready(Ok(())) => match to.poll_shutdown(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.closed = true,
                Poll::Ready(Err(_)) => self.broken = true,
            },
        }
    }
}
