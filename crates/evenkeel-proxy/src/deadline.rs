//! Deadlines of connections, swept every tick instead of armed one by one: moving a deadline is one
//! store, so a request costs no timer. They fire up to one tick late, never early.

use crate::clock::Nanos;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

/// Time between two sweeps.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// Tasks woken in one turn of a sweep: a fraction of a millisecond of work, behind which a request
/// that has just come may have to wait.
const WAKES_PER_TURN: usize = 16;
/// Turns of one sweep.
pub(crate) const TURNS_PER_SWEEP: usize = 64;

#[derive(Debug)]
struct Slot {
    at: Nanos,
    waiting_since: Option<Nanos>,
    listener: usize,
    waker: Option<Waker>,
}

/// The deadlines of one worker's client connections.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    /// Where the next turn begins.
    swept_to: Cell<usize>,
}

impl Deadlines {
    /// A deadline for the calling task, a client of this listener; gone when dropped.
    pub(crate) fn register(self: &Rc<Self>, waker: Waker, listener: usize) -> Deadline {
        let slot = Slot { at: Nanos::NEVER, waiting_since: None, listener, waker: Some(waker) };
        let mut slots = self.slots.borrow_mut();
        let index = match self.free.borrow_mut().pop() {
            Some(index) => index,
            None => slots.len(),
        };
        if index < slots.len() {
            slots[index] = slot;
        } else {
            slots.push(slot);
        }
        Deadline { index, deadlines: Rc::clone(self) }
    }

    /// One turn of a sweep: wakes some of the tasks whose time has come. True if the rest is for
    /// another turn, in between which everybody else is served: thousands of clients that came
    /// together would else hold everybody up when their time is over together.
    pub(crate) fn sweep(&self, now: Nanos) -> bool {
        let slots = self.slots.borrow();
        let from = self.swept_to.get().min(slots.len());
        let mut due = (from..).zip(&slots[from..]).filter(|(_, slot)| slot.at <= now);
        let mut end = 0;
        for (index, slot) in due.by_ref().take(WAKES_PER_TURN) {
            slot.waker.iter().for_each(Waker::wake_by_ref);
            end = index + 1;
        }
        let more = due.next().is_some();
        self.swept_to.set(if more { end } else { 0 });
        more
    }

    /// Wakes the tasks that serve a request right now.
    pub(crate) fn wake_busy(&self) {
        for slot in self.slots.borrow().iter().filter(|slot| slot.waiting_since.is_none()) {
            slot.waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// Wakes the clients of some listeners, and those who let them in.
    pub(crate) fn wake_clients_of(&self, listener: impl Fn(usize) -> bool) {
        for slot in self.slots.borrow().iter().filter(|slot| listener(slot.listener)) {
            slot.waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// Wakes every task, so that it looks at what has changed.
    pub(crate) fn wake_all(&self) {
        for slot in self.slots.borrow().iter() {
            slot.waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// Ends the waiting of up to `count` connections that have waited longest for a request, and at
    /// least since `before`: how room is made for new ones. `only` those of one listener, if given.
    pub(crate) fn expire_waiting(&self, count: usize, before: Nanos, only: Option<usize>) {
        let mut slots = self.slots.borrow_mut();
        let mut waiting: Vec<(Nanos, usize)> = slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| only.is_none_or(|listener| slot.listener == listener))
            .filter_map(|(index, slot)| Some((slot.waiting_since?, index)))
            .filter(|(since, _)| *since <= before)
            .collect();
        waiting.sort_unstable();
        for (_, index) in waiting.into_iter().take(count) {
            slots[index].at = Nanos::default();
            slots[index].waker.iter().for_each(Waker::wake_by_ref);
        }
    }
}

/// One task's deadline.
#[derive(Debug)]
pub(crate) struct Deadline {
    index: usize,
    deadlines: Rc<Deadlines>,
}

impl Deadline {
    /// Moves it.
    #[inline]
    pub(crate) fn set(&self, at: Nanos) {
        self.deadlines.slots.borrow_mut()[self.index].at = at;
    }

    /// Moves it, and says whether the task merely waits for a request.
    #[inline]
    pub(crate) fn set_waiting(&self, at: Nanos, since: Option<Nanos>) {
        let slot = &mut self.deadlines.slots.borrow_mut()[self.index];
        slot.at = at;
        slot.waiting_since = since;
    }

    /// True if it lies at or before `now`.
    #[inline]
    pub(crate) fn has_passed(&self, now: Nanos) -> bool {
        self.deadlines.slots.borrow()[self.index].at <= now
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let mut slots = self.deadlines.slots.borrow_mut();
        let slot = &mut slots[self.index];
        slot.at = Nanos::NEVER;
        slot.waiting_since = None;
        slot.waker = None;
        self.deadlines.free.borrow_mut().push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn sweep_wakes_only_what_is_due() {
        let deadlines = Rc::new(Deadlines::default());
        let count = Arc::new(Count::default());
        let early = deadlines.register(Arc::clone(&count).into(), 0);
        let late = deadlines.register(Arc::clone(&count).into(), 0);
        early.set(Nanos(10));
        late.set(Nanos(20));
        deadlines.sweep(Nanos(9));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        deadlines.sweep(Nanos(10));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(early.has_passed(Nanos(10)) && !late.has_passed(Nanos(10)));
        drop(early);
        deadlines.sweep(Nanos(30));
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_crowd_whose_time_is_over_is_woken_bit_by_bit() {
        let deadlines = Rc::new(Deadlines::default());
        let counts: Vec<_> =
            (0..WAKES_PER_TURN * 5 / 2).map(|_| Arc::new(Count::default())).collect();
        let register = |count: &Arc<Count>| deadlines.register(Arc::clone(count).into(), 0);
        let all: Vec<_> = counts.iter().map(register).collect();
        all.iter().for_each(|deadline| deadline.set(Nanos(1)));
        let woken = || counts.iter().filter(|count| count.0.load(Ordering::Relaxed) > 0).count();
        for (expected, more) in
            [(WAKES_PER_TURN, true), (WAKES_PER_TURN * 2, true), (counts.len(), false)]
        {
            assert_eq!((deadlines.sweep(Nanos(2)), woken()), (more, expected));
        }
    }

    #[test]
    fn the_longest_waiting_go_first() {
        let deadlines = Rc::new(Deadlines::default());
        let all: Vec<_> = (0..3).map(|_| deadlines.register(Waker::noop().clone(), 0)).collect();
        for (index, deadline) in all.iter().enumerate() {
            deadline.set_waiting(Nanos::NEVER, Some(Nanos(100 - index as u64)));
        }
        deadlines.expire_waiting(1, Nanos(100), Some(1));
        assert!(!all.iter().any(|d| d.has_passed(Nanos(1))), "another listener's");
        deadlines.expire_waiting(1, Nanos(100), Some(0));
        let passed: Vec<_> = all.iter().map(|d| d.has_passed(Nanos(1))).collect();
        assert_eq!(passed, [false, false, true]);
    }
}
