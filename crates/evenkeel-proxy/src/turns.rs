//! Who begins when more requests have come than are served in one turn of the worker's loop: so
//! many per turn, in the order of their coming, behind the responses that have come. What has begun
//! is finished before more is begun, so that a worker with all hands full works on few requests at
//! a time: their memory, and the connections to backends that they use, stay in the caches of the
//! processor. Backends that take their time lose nothing by it, for turns do not wait.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Requests that begin in one turn.
const BEGUN_PER_TURN: usize = 32;

/// A place in the queue; empty for who does not wait.
#[derive(Debug, Default)]
pub(crate) struct Ticket(Option<u64>);

impl Ticket {
    /// True for a place in the queue, called or not.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.0.is_some()
    }
}

/// The queue of one worker's clients.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Requests that have begun in this turn.
    begun: Cell<usize>,
    queue: RefCell<VecDeque<Waker>>,
    /// How many have been called from the queue so far: the number of the first ticket in it.
    called: Cell<u64>,
    /// Who ends the turns.
    keeper: RefCell<Option<Waker>>,
}

impl Turns {
    /// True if who has no ticket need not ask for one: a request may [`begin`](Turns::begin).
    #[inline]
    pub(crate) fn has_room(&self, ticket: &Ticket) -> bool {
        !ticket.is_waiting() && self.begun.get() < BEGUN_PER_TURN
    }

    /// A request begins where there is room.
    #[inline]
    pub(crate) fn begin(&self) {
        let begun = self.begun.get() + 1;
        self.begun.set(begun);
        if begun == BEGUN_PER_TURN {
            self.keeper.borrow().iter().for_each(Waker::wake_by_ref);
        }
    }

    /// Ready if a request may begin now; else the calling task is woken when it may.
    #[inline]
    pub(crate) fn poll_begin(&self, cx: &mut Context<'_>, ticket: &mut Ticket) -> Poll<()> {
        if self.has_room(ticket) {
            self.begin();
            return Poll::Ready(());
        }
        self.poll_called(cx, ticket)
    }

    fn poll_called(&self, cx: &mut Context<'_>, ticket: &mut Ticket) -> Poll<()> {
        let called = self.called.get();
        match ticket.0 {
            Some(number) if number < called => {
                *ticket = Ticket::default();
                Poll::Ready(())
            }
            Some(_) => Poll::Pending,
            // Where nobody ends a turn, nobody waits for the next one.
            None if self.keeper.borrow().is_none() => Poll::Ready(()),
            None => {
                let mut queue = self.queue.borrow_mut();
                *ticket = Ticket(Some(called + queue.len() as u64));
                queue.push_back(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Begins a turn with those who have waited longest. True if it is full by that.
    fn next(&self) -> bool {
        let mut queue = self.queue.borrow_mut();
        let count = queue.len().min(BEGUN_PER_TURN);
        queue.drain(..count).for_each(Waker::wake);
        self.called.set(self.called.get() + count as u64);
        self.begun.set(count);
        count == BEGUN_PER_TURN
    }

    /// Ends each turn that is full, once everything else that was ready has been served and the
    /// network was asked for more. Runs until it is dropped, as a task of its own.
    pub(crate) async fn keep(self: Rc<Self>) {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        *self.keeper.borrow_mut() = Some(waker);
        loop {
            let is_full = || self.begun.get() >= BEGUN_PER_TURN;
            poll_fn(|_| if is_full() { Poll::Ready(()) } else { Poll::Pending }).await;
            tokio::task::yield_now().await;
            while self.next() {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Wakes the task when all others that can go on have had their turn, and after a look at who has
/// become able to. A task that wakes itself at once has dozens of turns before the runtime looks.
pub(crate) fn come_again(cx: &mut Context<'_>) {
    // Leaves the waker with the runtime the first time that it is asked.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who may begin, of those who ask.
    fn ask(turns: &Turns, tickets: &mut [Ticket]) -> Vec<usize> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut begin = |ticket| turns.poll_begin(&mut cx, ticket).is_ready();
        tickets.iter_mut().enumerate().filter_map(|(who, it)| begin(it).then_some(who)).collect()
    }

    fn tickets(count: usize) -> Vec<Ticket> {
        (0..count).map(|_| Ticket::default()).collect()
    }

    fn kept() -> Turns {
        let turns = Turns::default();
        *turns.keeper.borrow_mut() = Some(Waker::noop().clone());
        turns
    }

    #[test]
    fn so_many_begin_in_a_turn_the_others_in_their_order() {
        let (turns, mut all) = (kept(), tickets(BEGUN_PER_TURN * 5 / 2));
        let (first, second) = (BEGUN_PER_TURN, BEGUN_PER_TURN * 2);
        assert_eq!(ask(&turns, &mut all), (0..first).collect::<Vec<_>>());
        assert!(turns.next(), "the next turn is full");
        // A newcomer goes behind those who wait, whoever asks first.
        let mut newcomer = tickets(1);
        assert!(ask(&turns, &mut newcomer).is_empty());
        assert_eq!(ask(&turns, &mut all[first..]), (0..first).collect::<Vec<_>>());
        assert!(ask(&turns, &mut all[second..]).is_empty());
        assert!(!turns.next(), "half a turn waits");
        assert_eq!(ask(&turns, &mut all[second..]).len(), BEGUN_PER_TURN / 2);
        assert_eq!(ask(&turns, &mut newcomer), [0]);
        assert!(turns.queue.borrow().is_empty());
    }

    #[test]
    fn who_left_the_queue_holds_nobody_up() {
        let (turns, mut all) = (kept(), tickets(BEGUN_PER_TURN * 3));
        ask(&turns, &mut all);
        all.truncate(BEGUN_PER_TURN);
        let mut last = tickets(1);
        assert!(ask(&turns, &mut last).is_empty());
        assert!(turns.next() && turns.next() && !turns.next());
        assert_eq!(ask(&turns, &mut last), [0]);
    }

    #[test]
    fn nobody_waits_where_no_turn_ends() {
        let turns = Turns::default();
        let mut all = tickets(BEGUN_PER_TURN * 2);
        assert_eq!(ask(&turns, &mut all).len(), all.len());
    }

    #[tokio::test]
    async fn turns_end_by_themselves_and_all_are_served() {
        tokio::task::LocalSet::new()
            .run_until(async {
                let turns = Rc::new(Turns::default());
                tokio::task::spawn_local(Rc::clone(&turns).keep());
                let served = Rc::new(RefCell::new(Vec::new()));
                let tasks = (0..BEGUN_PER_TURN * 4).map(|who| {
                    let (turns, served) = (Rc::clone(&turns), Rc::clone(&served));
                    tokio::task::spawn_local(async move {
                        let mut ticket = Ticket::default();
                        poll_fn(|cx| turns.poll_begin(cx, &mut ticket)).await;
                        served.borrow_mut().push(who);
                    })
                });
                for task in tasks.collect::<Vec<_>>() {
                    task.await.expect("served");
                }
                let expected: Vec<_> = (0..BEGUN_PER_TURN * 4).collect();
                assert_eq!(*served.borrow(), expected);
            })
            .await;
    }
}
