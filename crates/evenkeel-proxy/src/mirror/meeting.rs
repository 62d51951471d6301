//! Where the answer to a request and the answer to its copy meet. Whoever comes second passes both
//! on; what comes alone is forgotten.

use super::Held;
use crate::detail::{Compared, Detail};
use crate::net::Net;
use crate::pump::Pump;
use crate::worker::Worker;
use evenkeel_core::mirror::{BodyWitness, DiffPlan, Heard, HeardHead};
use evenkeel_core::response::ResponseHead;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes kept of the path of a request.
const MAX_PATH_BYTES: usize = 1024;

/// One request and its copy.
#[derive(Debug)]
pub(super) struct Meeting {
    pub(super) route: Arc<str>,
    pub(super) pool: Arc<str>,
    pub(super) plan: Arc<DiffPlan>,
    /// The request's id.
    pub(super) id: String,
    /// Method and path, without the query.
    pub(super) asked: (String, String),
    /// Who was here first.
    first: RefCell<Option<(Side, Heard)>>,
    /// What both sides may keep, for as long as they do.
    _held: Rc<Held>,
}

/// Whose answer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The request's own.
    Real,
    /// That of its copy.
    Shadow,
}

impl Meeting {
    /// About the request that `request` is the text of.
    pub(super) fn new(
        (route, pool, plan): (&Arc<str>, &Arc<str>, &Arc<DiffPlan>),
        (request, id): (&[u8], &[u8]),
        held: Rc<Held>,
    ) -> Rc<Meeting> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let mut words = line.split(|byte| *byte == b' ');
        let method = text(words.next().unwrap_or_default());
        let target = words.next().unwrap_or_default();
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        Rc::new(Meeting {
            route: Arc::clone(route),
            pool: Arc::clone(pool),
            plan: Arc::clone(plan),
            id: text(id),
            asked: (method, text(&path[..path.len().min(MAX_PATH_BYTES)])),
            first: RefCell::new(None),
            _held: held,
        })
    }

    /// One side has its answer.
    pub(super) fn arrive<N: Net>(&self, worker: &Worker<N>, side: Side, heard: Heard) {
        let Some((other, theirs)) = self.first.borrow_mut().take() else {
            *self.first.borrow_mut() = Some((side, heard));
            return;
        };
        let (real, shadow) = match other {
            Side::Real => (theirs, heard),
            Side::Shadow => (heard, theirs),
        };
        let Some(details) = worker.shared.events.details() else { return };
        details.offer(Detail::Compared(Box::new(Compared {
            route: Arc::clone(&self.route),
            pool: Arc::clone(&self.pool),
            plan: Arc::clone(&self.plan),
            ended_unix: worker.net.unix_nanos(),
            id: self.id.clone(),
            method: self.asked.0.clone(),
            path: self.asked.1.clone(),
            real,
            shadow,
        })));
    }
}

/// What is noted of the request's own answer, for one copy.
#[derive(Debug)]
pub(super) struct Watched {
    meeting: Rc<Meeting>,
    head: Option<HeardHead>,
    body: Rc<RefCell<BodyWitness>>,
}

impl Watched {
    pub(super) fn new(meeting: &Rc<Meeting>) -> Watched {
        let body = Rc::new(RefCell::new(BodyWitness::new(meeting.plan.body)));
        Watched { meeting: Rc::clone(meeting), head: None, body }
    }

    /// The head that the client gets, before it is changed, and the pump that will carry its body.
    pub(super) fn hear(&mut self, head: &ResponseHead, bytes: &[u8], pump: &mut Pump) {
        self.head = Some(HeardHead::of(&self.meeting.plan, head, bytes));
        pump.watched_by(Rc::clone(&self.body));
    }

    /// The client has all of the answer.
    pub(super) fn end<N: Net>(self, worker: &Worker<N>, took: std::time::Duration) {
        let Some(head) = self.head else { return };
        let body = self.body.borrow_mut().end();
        self.meeting.arrive(worker, Side::Real, Heard { head, body, took });
    }
}
