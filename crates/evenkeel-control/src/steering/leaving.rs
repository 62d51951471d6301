//! Backends that were removed, and finish what runs.

use super::overlay::Overlay;
use super::{Author, Course, Edit, Steering};
use evenkeel_core::discovery::Found;
use evenkeel_core::plan::AdminState;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A backend that was removed, and finishes what runs.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    pub(super) pool: String,
    pub(super) backend: String,
    pub(super) until: Instant,
    /// What it was, if discovery had found it.
    pub(super) found: Option<Found>,
}

/// A longer drain is cut to this.
pub(super) const MAX_DRAIN: Duration = Duration::from_secs(24 * 3600);

/// A backend that was removed is there, and drains, until nothing runs on it.
pub(super) fn as_is(edit: &Edit, leaving: &[Leaving]) -> Edit {
    if let Edit::RemoveBackend { pool, backend, .. } = edit
        && leaving.iter().any(|it| it.is(pool, backend))
    {
        let (pool, backend) = (pool.clone(), backend.clone());
        return Edit::Admin { pool, backend, admin: AdminState::Draining };
    }
    edit.clone()
}

/// Removals with time to drain, which are about to be laid over, begin. Who drains already is given
/// the new time, and goes at once if that is none.
pub(super) fn begin(leaving: &mut Vec<Leaving>, overlay: &mut Overlay, edits: &[Edit]) {
    for edit in edits {
        let Edit::RemoveBackend { pool, backend, drain } = edit else { continue };
        if leaving.iter().any(|it| it.is(pool, backend)) {
            leaving.retain(|it| !it.is(pool, backend));
            let removes = |it: &Arc<Edit>| {
                matches!(&**it, Edit::RemoveBackend { pool: of, backend: name, .. }
                    if of == pool && name == backend)
            };
            overlay.iter().rposition(removes).map(|at| overlay.remove(at));
        }
        if !drain.is_zero() {
            let until = Instant::now() + (*drain).min(MAX_DRAIN);
            let (pool, backend) = (pool.clone(), backend.clone());
            leaving.push(Leaving { pool, backend, until, found: None });
        }
    }
}

impl Leaving {
    /// True of this backend.
    pub(super) fn is(&self, pool: &str, backend: &str) -> bool {
        self.pool == pool && self.backend == backend
    }
}

impl Steering {
    /// Forgets who was removed and has drained; true if somebody has.
    pub(super) fn has_left(&self, course: &mut Course, now: Instant) -> bool {
        if course.leaving.is_empty() {
            return false;
        }
        let snapshot = self.server.state().snapshot();
        let busy = |it: &Leaving| {
            let pool = snapshot.pools.iter().find(|pool| *pool.plan.name == *it.pool);
            let backends = pool.map_or(&[][..], |pool| &pool.backends);
            let backend = backends.iter().find(|backend| *backend.plan.name == *it.backend);
            backend.is_some_and(|backend| backend.in_flight() > 0)
        };
        let before = course.leaving.len();
        course.leaving.retain(|it| busy(it) && now < it.until);
        course.leaving.len() < before
    }

    /// Puts in force that some have left.
    pub(super) fn let_go(&self, course: &mut Course) {
        let mut next = course.state.clone();
        next.forget_taken_back(&course.leaving, &self.in_force.load().conflicts);
        let said = course.state.overlay.len();
        if let Err(rejected) = self.change_quietly(course, next) {
            self.tell_rejected(&rejected, &Author::named("drain"));
        }
        self.shorten_newest(course, said);
    }
}
