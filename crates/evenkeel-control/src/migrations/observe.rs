//! What is seen of both pools.

use super::Migrations;
use evenkeel_core::backend::{Backend, Bar};
use evenkeel_core::breaker::BreakerState;
use evenkeel_core::migration::{Arm, Capacity, MigrationPlan, Observation, Pending};
use evenkeel_core::plan::AdminState;
use evenkeel_core::pool::Pool;
use evenkeel_core::stats::{CellTotals, Series, Totals};
use evenkeel_core::time::Nanos;

impl Migrations {
    /// Both pools of a plan as they are now; `None` if one of them is gone.
    pub(super) fn observe(
        &self,
        plan: &MigrationPlan,
        totals: &Totals,
        pending: [Pending; 2],
    ) -> Option<Observation> {
        let snapshot = self.numbers.snapshot();
        let pool = |name: &str| snapshot.pools.iter().find(|pool| *pool.plan.name == *name);
        let now = self.numbers.now();
        let stable = sound(pool(&plan.from)?, now);
        let mut capacity = capacity(pool(&plan.to)?, now);
        capacity.total = self.with_coming(&plan.to, capacity.total);
        let arm = |pool: &str| {
            let is_it = |series: &Series| *series.route == *plan.route && *series.pool == *pool;
            arm(totals.merged(is_it))
        };
        let (from, mut to) = (arm(&plan.from), arm(&plan.to));
        add_copies(&mut to, plan, totals);
        let differences = self.numbers.differences().share(&plan.route, &plan.to);
        let unix_ms = super::unix_ms();
        Some(Observation { from, to, differences, capacity, stable, pending, unix_ms })
    }

    /// Requests per second of a route over the last minute.
    pub(super) fn rate_of(&self, route: &str) -> f64 {
        self.numbers.rate(|series| *series.route == *route)
    }
}

/// What the pool answered to copies says as much of it as what it answered to clients.
fn add_copies(to: &mut Arm, plan: &MigrationPlan, totals: &Totals) {
    let are_its = |series: &Series| *series.route == *plan.route && *series.pool == *plan.to;
    for (_, copies) in totals.copies.iter().filter(|(series, _)| are_its(series)) {
        to.requests += copies.answers.durations.count();
        to.errors += copies.answers.failed;
        to.durations.merge(&copies.answers.durations);
    }
}

fn arm(totals: CellTotals) -> Arm {
    let requests = totals.durations.count();
    Arm { requests, errors: totals.failed, durations: totals.durations }
}

fn capacity(pool: &Pool, now: Nanos) -> Capacity {
    let wanted = pool
        .backends
        .iter()
        .filter(|backend| backend.plan.admin == AdminState::Enabled && backend.plan.weight > 0);
    let mut capacity = Capacity::default();
    for backend in wanted {
        capacity.total += 1;
        if stands(backend, now) {
            capacity.eligible += 1;
            capacity.ramping += usize::from(pool.is_ramping(backend, now));
        }
    }
    capacity
}

/// Backends of the old pool that say something against the new one by being there. One whose last
/// probe has failed may be as lost as those of the new pool, and be found out a little later.
fn sound(pool: &Pool, now: Nanos) -> usize {
    let sound = |backend: &Backend| stands(backend, now) && !backend.health.is_wavering();
    pool.backends.iter().filter(|backend| sound(backend)).count()
}

/// True if it would be given requests. A doubt and a pause count only while others exist, and a
/// breaker whose wait is over needs a request to close: without traffic it stays as it is.
fn stands(backend: &Backend, now: Nanos) -> bool {
    match backend.barred(now) {
        None | Some(Bar::Suspected | Bar::Paused) => true,
        Some(Bar::BreakerOpen) => {
            let breaker = &backend.breaker;
            breaker.state() == BreakerState::HalfOpen || breaker.trial_at() <= now
        }
        Some(Bar::Disabled | Bar::Draining | Bar::NoWeight | Bar::Unhealthy) => false,
    }
}
