//! Tasks that serve the streams of clients. A task is memory of some kilobytes and a place in the
//! runtime's lists, more than a short exchange should cost: one that has served its stream waits
//! for another.

use super::Inbound;
use crate::http1::{self, Peer};
use crate::net::Net;
use crate::wire::Wire;
use crate::worker::Worker;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Tasks of a worker that wait for a stream.
const MAX_WAITING: usize = 256;

/// One stream to be served.
pub(crate) struct Fare {
    pub(crate) stream: Box<Inbound>,
    pub(crate) peer: Rc<Peer>,
    pub(crate) listener: usize,
    pub(crate) running: Running,
}

/// Counts one exchange of a connection while it runs.
pub(crate) struct Running(Rc<Cell<u32>>);

impl Running {
    /// One more.
    pub(crate) fn among(open: &Rc<Cell<u32>>) -> Running {
        open.set(open.get() + 1);
        Running(Rc::clone(open))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The tasks that wait.
#[derive(Default)]
pub(crate) struct Lanes {
    waiting: RefCell<Vec<Rc<Lane>>>,
}

/// Where a waiting task gets its next stream.
#[derive(Default)]
struct Lane {
    next: RefCell<Option<Fare>>,
    waker: RefCell<Option<Waker>>,
}

/// Serves a stream beside everything else.
pub(crate) fn serve<N: Net>(worker: &Rc<Worker<N>>, fare: Fare) {
    // The one that was busy last: its memory is still in the caches.
    let lane = worker.lanes.waiting.borrow_mut().pop();
    match lane {
        Some(lane) => lane.give(fare),
        None => drop(tokio::task::spawn_local(run(Rc::clone(worker), fare))),
    }
}

async fn run<N: Net>(worker: Rc<Worker<N>>, first: Fare) {
    let lane = Rc::new(Lane::default());
    let mut fare = first;
    loop {
        let Fare { stream, peer, listener, running } = fare;
        http1::serve_once(&worker, Wire::Inbound(stream), peer, listener).await;
        drop(running);
        if !worker.lanes.keep(&lane) {
            return;
        }
        fare = poll_fn(|cx| lane.poll_next(cx)).await;
    }
}

impl Lanes {
    /// True if the task may wait.
    fn keep(&self, lane: &Rc<Lane>) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let kept = waiting.len() < MAX_WAITING;
        if kept {
            waiting.push(Rc::clone(lane));
        }
        kept
    }
}

impl Lane {
    fn give(&self, fare: Fare) {
        *self.next.borrow_mut() = Some(fare);
        self.waker.borrow().iter().for_each(Waker::wake_by_ref);
    }

    fn poll_next(&self, cx: &Context<'_>) -> Poll<Fare> {
        if let Some(fare) = self.next.borrow_mut().take() {
            return Poll::Ready(fare);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}
