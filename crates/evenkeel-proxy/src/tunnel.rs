//! An upgraded connection: bytes both ways until either side has had enough. Half-closes are passed
//! on, so a protocol that ends one direction first still gets its other half.

use crate::deadline::Deadline;
use crate::net::{Net, Stream};
use crate::pump::Pump;
use crate::worker::Worker;
use evenkeel_core::snapshot::Pool;
use std::future::poll_fn;
use std::task::{Context, Poll};

/// Carries bytes until both directions ended, one broke, nothing moved for the pool's idle timeout,
/// or the server's drain is over. Returns bytes (from the client, to the client).
pub(crate) async fn run<N: Net>(
    worker: &Worker<N>,
    ends: (&mut N::Stream, &mut Vec<u8>, &mut N::Stream),
    down: Box<Pump>,
    (deadline, pool): (&Deadline, &Pool),
) -> (u64, u64) {
    let (client, carry, backend) = ends;
    let idle = pool.plan.timeouts.idle;
    let mut up = Direction::new(Box::new(Pump::raw()));
    let mut down = Direction::new(down.into_tunnel());
    let mut nothing = Vec::new();
    deadline.set(worker.now().after(idle));
    poll_fn(|cx| {
        let before = up.pump.moved + down.pump.moved;
        up.poll(cx, worker, (client, carry), backend);
        down.poll(cx, worker, (backend, &mut nothing), client);
        let over = up.broken || down.broken || (up.closed && down.closed);
        if up.pump.moved + down.pump.moved > before {
            deadline.set(worker.now().after(idle));
        }
        if over || deadline.has_passed(worker.tick()) { Poll::Ready(()) } else { Poll::Pending }
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

    fn poll<N: Net>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker<N>,
        from: (&mut N::Stream, &mut Vec<u8>),
        to: &mut N::Stream,
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
