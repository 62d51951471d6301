//! A request waits because every backend that may be tried has its maximum.

use crate::exchange::Exchange;
use crate::http1::Client;
use crate::net::{Net, Peek, Stream};
use crate::worker::Worker;
use evenkeel_core::failure::Failure;
use evenkeel_core::pool::{Pool, WaitingRoom};
use evenkeel_core::queue::{Place, Ticket};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

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

/// Waits until a backend has room.
///
/// # Errors
/// The queue is full, the wait took too long, or the client left.
pub(crate) async fn wait<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &mut Client<N::Stream>,
    exchange: &mut Exchange<N>,
    pool: &Pool,
) -> Result<(), Failure> {
    let room = &pool.waiting;
    let now = worker.now();
    let patience = exchange.until(pool.plan.connections.queue_timeout);
    let until = *exchange.waits_until.get_or_insert(patience);
    let exchange = &*exchange;
    if now >= until {
        return Err(Failure::QueueTimeout);
    }
    client.deadline.set_waiting(until, None);
    let mut seat = Seat { room, ticket: None };
    poll_fn(|cx| {
        let Some(ticket) = seat.ticket else {
            return match room.join(now, until, cx.waker()) {
                Ok(ticket) => {
                    seat.ticket = Some(ticket);
                    // Somebody may have left between our look and our place in the queue.
                    if exchange.has_room(pool) {
                        room.call_next();
                    }
                    let _ = client.stream.poll_readable(cx);
                    Poll::Pending
                }
                Err(_) => Poll::Ready(Err(Failure::QueueFull)),
            };
        };
        match room.poll(ticket, worker.now(), cx.waker()) {
            Place::Called if !exchange.has_room(pool) => {
                room.pass_on(ticket, (now, until), worker.recent(), cx.waker());
                let _ = client.stream.poll_readable(cx);
                Poll::Pending
            }
            Place::Called => {
                seat.ticket = None;
                Poll::Ready(Ok(()))
            }
            Place::TimedOut => {
                seat.ticket = None;
                Poll::Ready(Err(Failure::QueueTimeout))
            }
            Place::Waiting => {
                let left = exchange.upload.has_arrived()
                    && client.stream.poll_readable(cx).is_ready()
                    && client.stream.peek() == Peek::Gone;
                if left { Poll::Ready(Err(Failure::ClientGone)) } else { Poll::Pending }
            }
        }
    })
    .await
}
