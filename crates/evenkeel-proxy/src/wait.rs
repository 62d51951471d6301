//! A request waits because every backend that may be tried has its maximum.

use crate::clock::Nanos;
use crate::exchange::{Exchange, Turn};
use crate::http1::Client;
use crate::net::{Net, Peek, Stream};
use crate::worker::Worker;
use evenkeel_core::failure::Failure;
use evenkeel_core::pool::{NoPick, Pick, Pool, WaitingRoom};
use evenkeel_core::queue::{Place, Ticket};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A place in the queue; left when dropped.
struct Seat<'a> {
    room: &'a WaitingRoom,
    ticket: Option<Ticket>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.room.leave(ticket);
        }
    }
}

/// Waits until a backend has room, and picks it.
///
/// # Errors
/// The queue is full, the wait took too long, nobody may be tried any more, or the client left.
pub(crate) async fn wait<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &mut Client<N::Stream>,
    exchange: &mut Exchange<N>,
    pool: &Pool,
) -> Result<Pick, Failure> {
    let now = worker.now();
    let patience = exchange.until(pool.plan.connections.queue_timeout);
    let until = *exchange.waits_until.get_or_insert(patience);
    let picked = wait_until(worker, client, &*exchange, (pool, now, until)).await;
    let waited = exchange.record.times.queue.unwrap_or(0) + worker.now().since(now);
    exchange.record.times.queue = Some(waited);
    picked
}

async fn wait_until<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &mut Client<N::Stream>,
    exchange: &Exchange<N>,
    (pool, now, until): (&Pool, Nanos, Nanos),
) -> Result<Pick, Failure> {
    if now >= until {
        return Err(Failure::QueueTimeout);
    }
    client.deadline.set_waiting(until, None);
    let again = || exchange.pick(pool, Turn::Called);
    let gone = |cx: &mut Context<'_>| has_left(cx, client, exchange);
    queue_up(worker, (pool, now, until), again, gone).await
}

/// Waits for a place in a pool: `pick` is asked again when called, and `is_gone` whether the client
/// still waits.
///
/// # Errors
/// The queue is full, the wait took too long, nobody may be tried any more, or the client left.
pub(crate) async fn queue_up<N: Net>(
    worker: &Worker<N>,
    (pool, now, until): (&Pool, Nanos, Nanos),
    pick: impl Fn() -> Result<Pick, NoPick>,
    mut is_gone: impl FnMut(&mut Context<'_>) -> bool,
) -> Result<Pick, Failure> {
    let room = &pool.waiting;
    let mut seat = Seat { room, ticket: None };
    poll_fn(|cx| {
        let called = match seat.ticket {
            None => match room.join(now, until, cx.waker()) {
                Ok(ticket) => {
                    seat.ticket = Some(ticket);
                    // Somebody may have left between our look and our place in the queue: the
                    // first in the queue should look again.
                    room.call_next();
                    false
                }
                Err(_) => return Poll::Ready(Err(Failure::QueueFull)),
            },
            Some(ticket) => match room.poll(ticket, worker.now(), cx.waker()) {
                Place::Called => true,
                Place::Waiting => false,
                Place::TimedOut => {
                    seat.ticket = None;
                    return Poll::Ready(Err(Failure::QueueTimeout));
                }
            },
        };
        if called && let Some(ticket) = seat.ticket {
            match pick() {
                Ok(pick) => {
                    seat.ticket = None;
                    return Poll::Ready(Ok(pick));
                }
                Err(NoPick::Nobody) => {
                    seat.ticket = None;
                    room.call_next();
                    return Poll::Ready(Err(Failure::NoBackend));
                }
                Err(NoPick::Busy) => {
                    room.pass_on(ticket, (now, until), worker.recent(), cx.waker());
                }
            }
        }
        if is_gone(cx) { Poll::Ready(Err(Failure::ClientGone)) } else { Poll::Pending }
    })
    .await
}

/// True if the client has broken the connection.
fn has_left<N: Net>(
    cx: &mut Context<'_>,
    client: &mut Client<N::Stream>,
    exchange: &Exchange<N>,
) -> bool {
    exchange.upload.has_arrived()
        && client.stream.poll_readable(cx).is_ready()
        && client.stream.peek() == Peek::Gone
}
