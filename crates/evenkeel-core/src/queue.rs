//! Requests that wait because every backend is busy: first come, first called, for a bounded time.
//!
//! ```text
//!            call_next             poll
//!   Waiting ----------> Called ----------> out, with a place
//!      |  \                \     leave
//!      |   \ leave          +------------> out; its place calls the next
//!      |    +--> out
//!      | its time is over  poll or leave
//!      +----> TimedOut ------------------> out
//! ```
//!
//! How long an entry may wait tells a burst from an overload, as in CoDel (Nichols and Jacobson,
//! "Controlling Queue Delay", 2012) in the form of Maurer's "Fail at Scale" (2015). A queue that
//! has been empty lately drains what came in a burst, so each entry has the whole `timeout`. One
//! that has not been empty for longer than `timeout` is a standing queue: it only adds delay, and
//! who waited long has likely given up. Until it is empty once, each may wait a tenth of `timeout`.
//!
//! A pool that was scaled to zero has nobody to be busy: who waits there for a first backend
//! (`join_start`) is held in a bounded buffer, in the same order. Such an entry has all the time it
//! was given, for a long start is no overload, and the queue is not a standing one because of it.
//!
//! *Architecture invariant:* between calls, every ticket handed out that has not come to its end
//! is in exactly one of `waiting` and `settled`, which together hold at most `max` that wait for
//! their turn, and those in `starts`, of which there are as many as the buffer may hold.
//!
//! With n entries, every call takes O(log n), entries that ran out being set aside once each; only
//! `expired` looks at all of them.

use crate::time::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// In a standing queue an entry waits this part of `timeout`.
const STANDING_DIVISOR: u32 = 10;

/// The queue of one pool. `W` is what wakes the owner of an entry; it is handed back to be woken,
/// never woken here.
#[derive(Debug)]
pub struct Queue<W> {
    max: usize,
    timeout: Duration,
    next: u64,
    /// When the queue was last joined while nobody waited.
    busy_since: Nanos,
    /// By ticket, which is the order of joining.
    waiting: BTreeMap<u64, Waiting<W>>,
    /// By ticket: no longer waiting, and the owner has not looked yet.
    settled: BTreeMap<u64, Settled<W>>,
    /// Tickets of those who were held for a start, whether they still wait or were called.
    starts: BTreeSet<u64>,
}

/// Stands for one entry; of no use in another queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// Why a request may not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are as many as may be.
    Full,
}

/// What an entry waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// For room: a standing queue cuts that short.
    Turn,
    /// For a first backend.
    Start,
}

/// How an entry stands in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// Since when.
    pub joined: Nanos,
    /// Until when at the latest.
    pub deadline: Nanos,
    /// What for.
    pub stay: Stay,
}

/// What has become of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its turn has not come.
    Waiting,
    /// It may go. The place is now its owner's, who calls the next when giving it up.
    Called,
    /// It waited as long as it may; or it is not in the queue at all.
    TimedOut,
}

#[derive(Debug)]
struct Waiting<W> {
    stand: Stand,
    waker: W,
}

#[derive(Debug)]
enum Settled<W> {
    Called,
    /// With the waker, until `expired` has handed it out.
    TimedOut(Option<W>),
}

impl<W> Queue<W> {
    /// An empty queue of at most `max` entries, each of which waits at most `timeout`.
    pub fn new(max: usize, timeout: Duration) -> Queue<W> {
        Queue {
            max,
            timeout,
            next: 0,
            busy_since: Nanos::default(),
            waiting: BTreeMap::new(),
            settled: BTreeMap::new(),
            starts: BTreeSet::new(),
        }
    }

    /// From now on; entries that are there stay, and keep their time.
    pub fn set_bounds(&mut self, max: usize, timeout: Duration) {
        (self.max, self.timeout) = (max, timeout);
    }

    /// Lines up. `deadline` is when the client's own time is spent.
    ///
    /// # Errors
    /// The queue is full; entries whose owners have not looked yet count, too.
    pub fn join(&mut self, now: Nanos, deadline: Nanos, waker: W) -> Result<Ticket, Refusal> {
        self.set_spent_aside(now);
        if self.places() - self.starts.len() >= self.max {
            return Err(Refusal::Full);
        }
        Ok(self.line_up(Stand { joined: now, deadline, stay: Stay::Turn }, waker))
    }

    /// Lines up for a first backend, in a buffer of `max`, until `deadline`.
    ///
    /// # Errors
    /// The buffer is full.
    pub fn join_start(
        &mut self,
        now: Nanos,
        deadline: Nanos,
        waker: W,
        max: usize,
    ) -> Result<Ticket, Refusal> {
        self.set_spent_aside(now);
        if self.starts.len() >= max {
            return Err(Refusal::Full);
        }
        let ticket = self.line_up(Stand { joined: now, deadline, stay: Stay::Start }, waker);
        self.starts.insert(ticket.0);
        Ok(ticket)
    }

    fn line_up(&mut self, stand: Stand, waker: W) -> Ticket {
        if self.waiting.is_empty() {
            self.busy_since = stand.joined;
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.waiting.insert(ticket.0, Waiting { stand, waker });
        ticket
    }

    /// A ticket is out. With the last of those who waited for a start, the queue begins anew.
    fn end_start(&mut self, ticket: Ticket, now: Nanos) {
        if self.starts.remove(&ticket.0) && self.starts.is_empty() {
            self.busy_since = now;
        }
    }

    /// Replaces the waker of a ticket that waits. For one that does not, nothing is kept: `poll`
    /// tells its end at once.
    pub fn set_waker(&mut self, ticket: Ticket, waker: W) {
        if let Some(entry) = self.waiting.get_mut(&ticket.0) {
            entry.waker = waker;
        }
    }

    /// A place became free: calls the first that is in time, and hands out its waker.
    pub fn call_next(&mut self, now: Nanos) -> Option<W> {
        self.set_spent_aside(now);
        let (ticket, entry) = self.waiting.pop_first()?;
        self.settled.insert(ticket, Settled::Called);
        Some(entry.waker)
    }

    /// Called in vain, for the place is not one that it can use: it waits again where and as it
    /// stood, and the next after it is called. O(log n).
    pub fn pass_on(&mut self, ticket: Ticket, stand: Stand, now: Nanos, waker: W) -> Option<W> {
        if stand.stay == Stay::Start {
            self.starts.insert(ticket.0);
        }
        self.waiting.insert(ticket.0, Waiting { stand, waker });
        self.set_spent_aside(now);
        let next = *self.waiting.range(ticket.0 + 1..).next()?.0;
        let entry = self.waiting.remove(&next)?;
        self.settled.insert(next, Settled::Called);
        Some(entry.waker)
    }

    /// What has become of a ticket. An answer other than `Waiting` takes it out of the queue.
    pub fn poll(&mut self, ticket: Ticket, now: Nanos) -> Place {
        match self.settled.remove(&ticket.0) {
            Some(Settled::Called) => {
                self.end_start(ticket, now);
                return Place::Called;
            }
            Some(Settled::TimedOut(_)) => {
                self.end_start(ticket, now);
                return Place::TimedOut;
            }
            None => {}
        }
        let patience = self.patience(now);
        match self.waiting.get(&ticket.0) {
            Some(entry) if !entry.is_spent(patience, now) => Place::Waiting,
            Some(_) | None => {
                self.waiting.remove(&ticket.0);
                self.end_start(ticket, now);
                Place::TimedOut
            }
        }
    }

    /// The client left, or it got a backend otherwise. If it had been called and not looked, its
    /// place goes to the next, whose waker is handed out.
    pub fn leave(&mut self, ticket: Ticket, now: Nanos) -> Option<W> {
        self.waiting.remove(&ticket.0);
        self.end_start(ticket, now);
        match self.settled.remove(&ticket.0) {
            Some(Settled::Called) => self.call_next(now),
            Some(Settled::TimedOut(_)) | None => None,
        }
    }

    /// On a tick: the wakers of all entries whose time is over, each once, so that their owners
    /// look.
    pub fn expired(&mut self, now: Nanos) -> Vec<W> {
        let patience = self.patience(now);
        let spent = self.waiting.extract_if(.., |_, entry| entry.is_spent(patience, now));
        let aside = spent.map(|(ticket, entry)| (ticket, Settled::TimedOut(Some(entry.waker))));
        self.settled.extend(aside);
        let not_told = self.settled.values_mut().filter_map(|settled| match settled {
            Settled::Called => None,
            Settled::TimedOut(waker) => waker.take(),
        });
        not_told.collect()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many of those who wait, or were called and have not looked yet, came for a start.
    pub fn starts(&self) -> usize {
        self.starts.len()
    }

    /// How many wait, or were called and have not looked yet.
    pub fn places(&self) -> usize {
        self.waiting.len() + self.settled.len()
    }

    /// True if nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes those out of the way that stand first and are spent. Afterwards the queue is empty
    /// only if nobody waits, and the first one is in time.
    fn set_spent_aside(&mut self, now: Nanos) {
        let patience = self.patience(now);
        while let Some(first) = self.waiting.first_entry() {
            if !first.get().is_spent(patience, now) {
                break;
            }
            let (ticket, entry) = first.remove_entry();
            self.settled.insert(ticket, Settled::TimedOut(Some(entry.waker)));
        }
    }

    /// How long an entry may wait, as things stand.
    fn patience(&self, now: Nanos) -> Duration {
        let standing = !self.is_empty()
            && self.starts.is_empty()
            && now.duration_since(self.busy_since) > self.timeout;
        if standing { self.timeout / STANDING_DIVISOR } else { self.timeout }
    }
}

impl<W> Waiting<W> {
    fn is_spent(&self, patience: Duration, now: Nanos) -> bool {
        let Stand { joined, deadline, stay } = self.stand;
        now >= deadline || stay == Stay::Turn && now >= joined.after(patience)
    }
}

#[cfg(test)]
mod tests;
