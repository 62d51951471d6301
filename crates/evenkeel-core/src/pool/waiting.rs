//! Where requests wait while every backend has its `connections.max`; shared by the workers.

use crate::queue::{Place, Queue, Refusal, Stand, Ticket};
use crate::time::Nanos;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// The queue of one pool. Wakers are called outside of its lock.
#[derive(Debug)]
pub struct WaitingRoom {
    queue: Mutex<Queue<Waker>>,
    /// So that nobody takes the lock when nobody waits.
    count: AtomicUsize,
    /// Of these, requests that wait for a first backend.
    starts: AtomicUsize,
    /// Requests that ever did.
    started: AtomicU64,
    /// Who is to be told when one comes.
    alarm: Mutex<Option<Waker>>,
    /// The latest time that anyone here has told.
    latest: AtomicU64,
}

impl WaitingRoom {
    pub(super) fn new(max: usize, timeout: Duration) -> WaitingRoom {
        WaitingRoom {
            queue: Mutex::new(Queue::new(max, timeout)),
            count: AtomicUsize::new(0),
            starts: AtomicUsize::new(0),
            started: AtomicU64::new(0),
            alarm: Mutex::default(),
            latest: AtomicU64::new(0),
        }
    }

    /// From now on. Those who wait keep their time.
    pub(super) fn set_bounds(&self, max: usize, timeout: Duration) {
        self.with(self.latest(), |queue| queue.set_bounds(max, timeout));
    }

    /// Requests that wait.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// True if nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a place in the queue.
    ///
    /// # Errors
    /// The queue is full.
    pub fn join(&self, now: Nanos, deadline: Nanos, waker: &Waker) -> Result<Ticket, Refusal> {
        self.with(now, |queue| queue.join(now, deadline, waker.clone()))
    }

    /// Takes a place in the buffer of a pool that was scaled to zero, and calls for a backend.
    ///
    /// # Errors
    /// There are `max` already.
    pub fn join_start(
        &self,
        now: Nanos,
        deadline: Nanos,
        waker: &Waker,
        max: usize,
    ) -> Result<Ticket, Refusal> {
        let ticket = self.with(now, |queue| queue.join_start(now, deadline, waker.clone(), max))?;
        self.started.fetch_add(1, Ordering::Relaxed);
        let alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner).take();
        alarm.into_iter().for_each(Waker::wake);
        Ok(ticket)
    }

    /// Requests that wait for a first backend.
    pub fn starts(&self) -> usize {
        self.starts.load(Ordering::Relaxed)
    }

    /// Requests that ever waited for a first backend.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// Wakes this one with the next request that waits for a first backend; whoever asks looks at
    /// `starts` afterwards, so that none is missed.
    pub fn set_alarm(&self, waker: &Waker) {
        let mut alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
        if alarm.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            *alarm = Some(waker.clone());
        }
    }

    /// What has become of a ticket; it is woken when that changes.
    pub fn poll(&self, ticket: Ticket, now: Nanos, waker: &Waker) -> Place {
        self.with(now, |queue| {
            queue.set_waker(ticket, waker.clone());
            queue.poll(ticket, now)
        })
    }

    /// Gives a place up; if it had been called, the next one is.
    pub fn leave(&self, ticket: Ticket) {
        let now = self.latest();
        let next = self.with(now, |queue| queue.leave(ticket, now));
        next.into_iter().for_each(Waker::wake);
    }

    /// A backend has room again.
    pub fn call_next(&self) {
        if !self.is_empty() {
            let now = self.latest();
            let next = self.with(now, |queue| queue.call_next(now));
            next.into_iter().for_each(Waker::wake);
        }
    }

    /// Called in vain: waits again where and as it stood, and the next after it is called.
    pub fn pass_on(&self, ticket: Ticket, stand: Stand, now: Nanos, waker: &Waker) {
        let next = self.with(now, |queue| queue.pass_on(ticket, stand, now, waker.clone()));
        next.into_iter().for_each(Waker::wake);
    }

    /// Wakes those whose time is over.
    pub fn expire(&self, now: Nanos) {
        if !self.is_empty() {
            let expired = self.with(now, |queue| queue.expired(now));
            expired.into_iter().for_each(Waker::wake);
        }
    }

    fn latest(&self) -> Nanos {
        Nanos(self.latest.load(Ordering::Relaxed))
    }

    fn with<T>(&self, now: Nanos, act: impl FnOnce(&mut Queue<Waker>) -> T) -> T {
        self.latest.fetch_max(now.0, Ordering::Relaxed);
        let mut queue: MutexGuard<'_, Queue<Waker>> =
            self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut queue);
        self.count.store(queue.places(), Ordering::Relaxed);
        self.starts.store(queue.starts(), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        result
    }
}
