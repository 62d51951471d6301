//! What is seen of both pools.

use super::Migrations;
use evenkeel_core::migration::{Arm, Capacity, MigrationPlan, Observation};
use evenkeel_core::plan::AdminState;
use evenkeel_core::pool::Pool;
use evenkeel_core::stats::{CellTotals, Series, Totals};
use evenkeel_core::time::Nanos;

impl Migrations {
    /// Both pools of a plan as they are now; `None` if one of them is gone.
    pub(super) fn observe(&self, plan: &MigrationPlan, totals: &Totals) -> Option<Observation> {
        let snapshot = self.numbers.snapshot();
        let pool = |name: &str| snapshot.pools.iter().find(|pool| *pool.plan.name == *name);
        pool(&plan.from)?;
        let capacity = capacity(pool(&plan.to)?, self.numbers.now());
        let arm = |pool: &str| {
            let is_it = |series: &Series| *series.route == *plan.route && *series.pool == *pool;
            arm(totals.merged(is_it))
        };
        let (from, mut to) = (arm(&plan.from), arm(&plan.to));
        add_copies(&mut to, plan, totals);
        let differences = self.numbers.differences().share(&plan.route, &plan.to);
        Some(Observation { from, to, differences, capacity, unix_ms: super::unix_ms() })
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
        if backend.barred(now).is_none() {
            capacity.eligible += 1;
            capacity.ramping += usize::from(pool.is_ramping(backend, now));
        }
    }
    capacity
}
