//! Backends that were removed, and finish what runs.

use super::{Course, Edit, Steering};
use evenkeel_core::discovery::Found;
use evenkeel_core::plan::AdminState;
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
    let leaves = |pool: &str, backend: &str| {
        leaving.iter().any(|it| it.pool == pool && it.backend == backend)
    };
    if let Edit::RemoveBackend { pool, backend, .. } = edit
        && leaves(pool, backend)
    {
        let (pool, backend) = (pool.clone(), backend.clone());
        return Edit::Admin { pool, backend, admin: AdminState::Draining };
    }
    edit.clone()
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

    /// A removal with time to drain, if the backend is there.
    pub(super) fn begins_to_leave(edit: &Edit) -> Option<Leaving> {
        let Edit::RemoveBackend { pool, backend, drain } = edit else { return None };
        let until = Instant::now() + (*drain).min(MAX_DRAIN);
        let (pool, backend) = (pool.clone(), backend.clone());
        (!drain.is_zero()).then_some(Leaving { pool, backend, until, found: None })
    }
}
