//! Copies of requests to another pool. Which requests are copied is drawn once their head is
//! admitted; a copy is sent when all of its request is here, by a task of its own.
//!
//! ```text
//! admit ── draw_copies ── Copying: room is held for the body        full, too long: skipped
//! run, first answer, end ── send_copies, once all has arrived        never whole: skipped
//!     task: carry ── pick, connection, request, answer               no answer: failed
//!           meeting ── with the answer that the client gets          to who compares them
//! ```
//!
//! *Architecture invariant:* nothing here is awaited by an exchange, and no bound that an exchange
//! depends on is used by a copy: what has no room is not made.

mod answer;
mod carry;
mod meeting;

use crate::admit::Asked;
use crate::exchange::Exchange;
use crate::http2::Spoken;
use crate::net::Net;
use crate::pump::{MAX_TAPE_BYTES, Pump};
use crate::record::Part;
use carry::{Copy, carry};
use evenkeel_core::framing::BodyLength;
use evenkeel_core::mirror::{BodyDiff, MAX_KEPT_BYTES, marked};
use evenkeel_core::plan::RoutePlan;
use evenkeel_core::request::Upgrade;
use evenkeel_core::response::ResponseHead;
use evenkeel_core::stats::CopyResult;
use meeting::{Meeting, Watched};
use std::cell::Cell;
use std::rc::Rc;

/// Copies of one worker that may be under way.
const MAX_COPIES: usize = 512;
/// Bytes of requests that one worker may hold for copies.
const MAX_HELD_BYTES: usize = 32 * 1024 * 1024;
/// What is held for the head of a request.
const HEAD_BYTES: usize = 4 * 1024;

/// What the copies of one worker use.
#[derive(Debug, Default)]
pub(crate) struct Room {
    copies: Cell<usize>,
    bytes: Cell<usize>,
}

impl Room {
    /// Holds so many bytes, if they are to be had.
    fn hold(self: &Rc<Self>, bytes: usize) -> Option<Held> {
        let held = self.bytes.get().checked_add(bytes)?;
        (held <= MAX_HELD_BYTES).then(|| {
            self.bytes.set(held);
            Held { room: Rc::clone(self), bytes }
        })
    }

    /// One more copy under way, if there is room.
    fn enter(self: &Rc<Self>) -> Option<UnderWay> {
        let copies = self.copies.get() + 1;
        (copies <= MAX_COPIES).then(|| {
            self.copies.set(copies);
            UnderWay(Rc::clone(self))
        })
    }
}

/// Bytes that copies may use; free again on drop.
#[derive(Debug)]
struct Held {
    room: Rc<Room>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.bytes.set(self.room.bytes.get() - self.bytes);
    }
}

/// A copy under way; over on drop.
#[derive(Debug)]
struct UnderWay(Rc<Room>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.copies.set(self.0.copies.get() - 1);
    }
}

/// Copies that are to be made of one request.
#[derive(Debug)]
pub(crate) struct Copying {
    /// Not sent off yet.
    wanted: Vec<Wanted>,
    /// The longest body that any of them may have.
    max_body: u64,
    /// Of those sent off, the ones whose answers are compared.
    watched: Vec<Watched>,
}

/// Copies for one pool.
#[derive(Debug)]
struct Wanted {
    /// Which of the route's mirrors.
    mirror: usize,
    copies: u32,
    /// Of the request's key, if that pool chooses by one.
    hash: u64,
    held: Held,
}

impl Copying {
    /// Most of a streamed request that is kept, framing included.
    pub(crate) fn most_kept(&self) -> usize {
        usize::try_from(self.max_body).unwrap_or(usize::MAX).saturating_add(MAX_TAPE_BYTES)
    }
}

impl<N: Net> Exchange<N> {
    /// Draws the copies that are made of this request. `path` is the matching side of its view.
    #[cold]
    pub(crate) fn draw_copies(&mut self, route: &RoutePlan, asked: Asked<'_>, path: &[u8]) {
        let worker = self.record.worker_to_keep();
        let mut copying = Copying { wanted: Vec::new(), max_body: 0, watched: Vec::new() };
        for (index, mirror) in route.mirrors.iter().enumerate() {
            let copies = mirror.copies(worker.net.random());
            let pool = self.record.snapshot().pools.get(mirror.pool);
            let Some(pool) = pool.filter(|_| copies > 0) else { continue };
            let body = match asked.head.body {
                BodyLength::None | BodyLength::UntilClose => 0,
                BodyLength::Fixed(length) => length,
                BodyLength::Chunked => mirror.max_body_bytes,
            };
            let trailers = self.call.as_ref().is_some_and(|call| call.needs_trailers);
            let may = self.upgrade == Upgrade::NotAsked
                && body <= mirror.max_body_bytes
                && (!trailers || Spoken::is_http2_in(pool));
            let kept = match &mirror.diff {
                Some(diff) if diff.body == BodyDiff::Json => 2 * MAX_KEPT_BYTES,
                Some(_) | None => 0,
            };
            let bytes = usize::try_from(body).unwrap_or(usize::MAX).saturating_add(HEAD_BYTES);
            let bytes = bytes.saturating_add(kept);
            let held = || worker.mirrors.hold(bytes.saturating_mul(copies as usize));
            let Some(held) = may.then(held).flatten() else {
                let counts = worker.counts.copies(&route.name, &pool.plan.name);
                counts.ended(CopyResult::Skipped, copies.into());
                continue;
            };
            let hash = if pool.wants_hash() { asked.hash(pool, path) } else { 0 };
            copying.max_body = copying.max_body.max(mirror.max_body_bytes);
            copying.wanted.push(Wanted { mirror: index, copies, hash, held });
        }
        if !copying.wanted.is_empty() {
            self.copying = Some(Box::new(copying));
        }
    }

    /// Sends the copies off, if all of the request is here.
    #[cold]
    pub(crate) fn send_copies(&mut self) {
        if !self.upload.is_whole() {
            return;
        }
        let Some(mut copying) = self.copying.take() else { return };
        let wanted = std::mem::take(&mut copying.wanted);
        self.send_off(wanted, Some(&mut copying.watched));
        self.copying = Some(copying);
    }

    /// The exchange is over: what was not sent off until now is sent if all is here, or skipped.
    #[cold]
    pub(crate) fn end_copies(&mut self) {
        let Some(copying) = self.copying.take() else { return };
        let Copying { wanted, watched, .. } = *copying;
        // Nobody has watched the answer for these.
        self.send_off(wanted, None);
        let worker = self.record.worker();
        let took = worker.recent().duration_since(self.record.try_at);
        if self.record.failure.is_none() {
            watched.into_iter().for_each(|it| it.end(worker, took));
        }
    }

    /// Takes note of the answer that the client gets, where it is compared.
    #[cold]
    pub(crate) fn watch_answer(&mut self, head: &ResponseHead, bytes: &[u8], pump: &mut Pump) {
        let watched = self.copying.iter_mut().flat_map(|copying| &mut copying.watched);
        watched.for_each(|it| it.hear(head, bytes, pump));
    }

    /// `watched`: where those are noted whose answers are compared.
    fn send_off(&self, wanted: Vec<Wanted>, mut watched: Option<&mut Vec<Watched>>) {
        let worker = self.record.worker_to_keep();
        let Some(route) = self.route() else { return };
        let whole = self.upload.for_anybody();
        for wanted in wanted {
            let Some(mirror) = route.mirrors.get(wanted.mirror) else { continue };
            let Some(pool) = self.record.snapshot().pools.get(mirror.pool) else { continue };
            let counts = worker.counts.copies(&route.name, &pool.plan.name);
            if !self.upload.is_whole() || self.upload.bytes_in() > mirror.max_body_bytes {
                counts.ended(CopyResult::Skipped, wanted.copies.into());
                continue;
            }
            let held = Rc::new(wanted.held);
            let names = |diff| (&route.name, &pool.plan.name, diff);
            let request = (&*whole, self.record.get(Part::RequestId));
            let mut diff = mirror.diff.as_ref();
            for _ in 0..wanted.copies {
                let Some(under_way) = worker.mirrors.enter() else {
                    counts.ended(CopyResult::Skipped, 1);
                    continue;
                };
                // Of several copies one is compared.
                let compared = diff.take().zip(watched.as_deref_mut());
                let meeting = compared.map(|(diff, watched)| {
                    let meeting = Meeting::new(names(diff), request, Rc::clone(&held));
                    watched.push(Watched::new(&meeting));
                    meeting
                });
                let copy = Copy {
                    meeting,
                    request: marked(&whole).into_owned(),
                    snapshot: self.record.snapshot().clone(),
                    pool: mirror.pool,
                    counts: worker.counts.copies(&route.name, &pool.plan.name),
                    hash: wanted.hash,
                    verb: self.verb,
                    method: self.record.method,
                    is_call: self.call.is_some(),
                    guards: (Rc::clone(&held), under_way),
                };
                tokio::task::spawn_local(carry(Rc::clone(&worker), copy));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_given_back() {
        let room: Rc<Room> = Rc::default();
        let all = room.hold(MAX_HELD_BYTES).expect("all of it");
        assert!(room.hold(1).is_none() && room.hold(usize::MAX).is_none());
        drop(all);
        assert!(room.hold(1).is_some());
        let mut under_way: Vec<_> = (0..MAX_COPIES).filter_map(|_| room.enter()).collect();
        assert_eq!((under_way.len(), room.enter().is_none()), (MAX_COPIES, true));
        under_way.pop();
        assert!(room.enter().is_some());
        drop(under_way);
        assert_eq!((room.copies.get(), room.bytes.get()), (0, 0));
    }
}
