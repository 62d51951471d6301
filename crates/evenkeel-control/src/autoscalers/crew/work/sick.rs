//! Backends that run but do not serve.

use super::super::super::driver;
use super::{Stage, Work};
use evenkeel_core::autoscale::AutoscalePlan;
use evenkeel_core::health::HealthState;
use evenkeel_core::plan::AdminState;
use tokio::time::Instant;

impl Work {
    /// Notes since when which of those that serve have been unhealthy.
    pub(super) fn examine(&mut self) {
        let snapshot = self.ground.numbers.snapshot();
        let pool = snapshot.pools.iter().find(|pool| pool.plan.name == self.pool);
        let backends = pool.map_or(&[][..], |pool| &pool.backends);
        for member in &mut self.members {
            let Stage::Serving { sick, .. } = &mut member.stage else { continue };
            let found = backends.iter().find(|backend| *backend.plan.name == *member.name);
            // Whoever has taken it out of traffic looks after it.
            let is_sick = found.is_some_and(|backend| {
                backend.plan.admin == AdminState::Enabled
                    && backend.health.state() == HealthState::Unhealthy
            });
            *sick = is_sick.then(|| sick.unwrap_or_else(Instant::now));
        }
    }

    /// Lets go of one that has been unhealthy for longer than a start may take. One at a time, and
    /// the next one only when another serves in its place: what keeps all of them from being
    /// healthy is not mended by new ones.
    pub(super) fn relieve(&mut self, plan: &AutoscalePlan, wanted: usize) {
        let serving = |stage: &Stage| matches!(stage, Stage::Serving { .. });
        let complete = self.members.iter().filter(|it| serving(&it.stage)).count() >= wanted;
        let starts = self.members.iter().any(|it| matches!(it.stage, Stage::Starting { .. }));
        if !complete || starts || Instant::now() < self.rest_until {
            return;
        }
        let patience = driver::start_timeout(&plan.driver);
        let too_long = |stage: &Stage| match stage {
            Stage::Serving { sick, .. } => sick.is_some_and(|since| since.elapsed() > patience),
            Stage::Starting { .. } | Stage::Leaving { .. } => false,
        };
        let Some(member) = self.members.iter_mut().find(|it| too_long(&it.stage)) else { return };
        let (name, drain) = (member.name.clone(), plan.down.drain_timeout);
        member.stage = Stage::Leaving { until: Instant::now() + drain };
        // It may have been removed already.
        let _ = self.ground.grows.remove(&self.pool, &name, drain);
        self.keep();
        self.fail(format!("{name} has been unhealthy for {patience:?}"));
    }
}
