//! A request waits because every backend that may be tried has its maximum, or because its pool was
//! scaled to zero.

use crate::clock::Nanos;
use crate::exchange::{Exchange, Turn};
use crate::http1::Client;
use crate::net::{Net, Peek, Stream};
use crate::worker::{LocalSnapshot, Worker};
use evenkeel_core::failure::Failure;
use evenkeel_core::pool::{NoPick, Pick, Pool, WaitingRoom};
use evenkeel_core::queue::{Place, Refusal, Stand, Stay, Ticket};
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

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

/// The place of a request in a pool: which snapshot the pool is of, its route, and the pool.
type Home = (LocalSnapshot, Option<usize>, usize);

/// Waits until a backend has room, and picks it; in a pool that was scaled to zero, until it has a
/// backend. Those that have tried nobody yet pick in the configuration that is in force when they
/// are called: the exchange is then one of that.
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
    let patience = exchange.until(patience(pool));
    let until = *exchange.waits_until.get_or_insert(patience);
    let moved = RefCell::new(None);
    let picked = wait_until(worker, client, &*exchange, (Line { pool, now, until }, &moved)).await;
    let waited = exchange.record.times.queue.unwrap_or(0) + worker.now().since(now);
    exchange.record.times.queue = Some(waited);
    if let Some((snapshot, route, pool)) = moved.into_inner().filter(|_| picked.is_ok()) {
        exchange.record.move_to(snapshot, route, pool);
    }
    picked
}

/// How long a request may wait in a pool.
pub(crate) fn patience(pool: &Pool) -> Duration {
    match &pool.plan.autoscale {
        Some(scale) if pool.is_asleep() => scale.buffer_timeout,
        Some(_) | None => pool.plan.connections.queue_timeout,
    }
}

async fn wait_until<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &mut Client<N::Stream>,
    exchange: &Exchange<N>,
    (line, moved): (Line<'_>, &RefCell<Option<Home>>),
) -> Result<Pick, Failure> {
    if line.now >= line.until {
        return Err(Failure::QueueTimeout);
    }
    client.deadline.set_waiting(line.until, None);
    let again = || {
        let home = (exchange.tried.is_empty()).then(|| exchange.home_in_force()).flatten();
        let Some((snapshot, route, at)) = home else {
            moved.borrow_mut().take();
            let picked = exchange.pick(line.pool, Turn::Called);
            return picked.map_err(|none| line.none(none, line.pool));
        };
        let pool = snapshot.pools.get(at).ok_or(NoPick::Nobody)?;
        let picked = exchange.pick(pool, Turn::Called).map_err(|none| line.none(none, pool));
        *moved.borrow_mut() = Some((snapshot.clone(), route, at));
        picked
    };
    let gone = |cx: &mut Context<'_>| has_left(cx, client, exchange);
    queue_up(worker, line, again, gone).await
}

/// Where somebody lines up, since when, and until when at the latest.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) now: Nanos,
    pub(crate) until: Nanos,
}

impl Line<'_> {
    /// What it means that nobody was picked in the pool as it is now: a start takes its time, and
    /// a first backend may fail.
    pub(crate) fn none(&self, none: NoPick, now: &Pool) -> NoPick {
        if self.stay() == Stay::Start || now.is_asleep() { NoPick::Busy } else { none }
    }

    fn stay(&self) -> Stay {
        if self.pool.is_asleep() { Stay::Start } else { Stay::Turn }
    }

    fn stand(&self) -> Stand {
        Stand { joined: self.now, deadline: self.until, stay: self.stay() }
    }

    fn join(&self, waker: &Waker) -> Result<Ticket, Refusal> {
        let room = &self.pool.waiting;
        match (self.stay(), &self.pool.plan.autoscale) {
            (Stay::Start, Some(scale)) => {
                room.join_start(self.now, self.until, waker, scale.buffer_requests)
            }
            (Stay::Start | Stay::Turn, _) => room.join(self.now, self.until, waker),
        }
    }

    /// True if somebody should look again, now that this one has its place in the line.
    fn is_open<N: Net>(&self, worker: &Worker<N>) -> bool {
        let snapshot = worker.snapshot();
        let mut pools = snapshot.pools.iter();
        let same = pools.find(|pool| pool.plan.name == self.pool.plan.name);
        self.stay() == Stay::Turn || same.is_none_or(|pool| !pool.is_asleep())
    }
}

/// Waits for a place in a pool: `pick` is asked again when called, and `is_gone` whether the client
/// still waits.
///
/// # Errors
/// The queue is full, the wait took too long, nobody may be tried any more, or the client left.
pub(crate) async fn queue_up<N: Net>(
    worker: &Worker<N>,
    line: Line<'_>,
    pick: impl Fn() -> Result<Pick, NoPick>,
    mut is_gone: impl FnMut(&mut Context<'_>) -> bool,
) -> Result<Pick, Failure> {
    let room = &line.pool.waiting;
    let mut seat = Seat { room, ticket: None };
    poll_fn(|cx| {
        let called = match seat.ticket {
            None => match line.join(cx.waker()) {
                Ok(ticket) => {
                    seat.ticket = Some(ticket);
                    // Somebody may have left, or a backend come, between our look and our place in
                    // the queue: the first in the queue should look again.
                    if line.is_open(worker) {
                        room.call_next();
                    }
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
                    room.pass_on(ticket, line.stand(), worker.recent(), cx.waker());
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
