//! The health of a backend, from one process to the next.

use super::{Health, HealthReport, HealthState, MAX_RESULTS, NO_STATUS};
use crate::plan::HealthPlan;
use std::mem;
use std::sync::atomic::Ordering;

/// What a process knows of a backend's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthMemory {
    /// The verdict, and what led to it.
    pub report: HealthReport,
    /// Of the very first HTTP answer.
    pub first_status: Option<u16>,
}

impl Health {
    /// All that another process needs to go on.
    pub fn memory(&self) -> HealthMemory {
        let first_status = self.first_status.load(Ordering::Relaxed);
        let first_status = (first_status != NO_STATUS).then_some(first_status);
        HealthMemory { report: self.report(), first_status }
    }

    /// Takes up what an earlier process knew; what was found here after that counts on top of it.
    pub fn recall(&self, plan: &HealthPlan, earlier: &HealthMemory) {
        let HealthMemory { report, first_status } = earlier;
        if report.state == HealthState::Unknown && report.results.is_empty() {
            return;
        }
        let known_until = report.results.last().map_or(report.since, |result| result.at);
        let skipped = report.results.len().saturating_sub(MAX_RESULTS);
        let own = {
            let mut history = self.history();
            history.since = report.since;
            history.streak = report.streak;
            history.last_fault.clone_from(&report.last_fault);
            self.state.store(report.state as u8, Ordering::Release);
            let earlier = report.results.iter().skip(skipped).cloned().collect();
            mem::replace(&mut history.results, earlier)
        };
        if let Some(status) = first_status {
            self.first_status.store(*status, Ordering::Relaxed);
        }
        for result in own.into_iter().filter(|result| result.at > known_until) {
            // Whoever recalls looks at the state afterwards.
            let _ = self.record(plan, result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{ProbeFault, ProbeResult, Streak};
    use crate::plan::HealthCheck;
    use crate::time::Nanos;
    use std::time::Duration;

    const PLAN: HealthPlan = HealthPlan {
        check: HealthCheck::Tcp,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        healthy_threshold: 2,
        unhealthy_threshold: 3,
    };

    fn probe(health: &Health, at: u64, fault: Option<ProbeFault>) {
        let result = ProbeResult { at: Nanos(at), took: Duration::from_millis(1), fault };
        let _ = health.record(&PLAN, result);
    }

    /// Three failures, at 10, 20 and 30.
    fn dead() -> Health {
        let health = Health::default();
        (1..=3).for_each(|n| probe(&health, n * 10, Some(ProbeFault::Timeout)));
        health.note_first_status(404);
        health
    }

    #[test]
    fn what_was_known_is_known_again() {
        let next = Health::default();
        next.recall(&PLAN, &dead().memory());
        assert_eq!(next.memory(), dead().memory());
        assert_eq!((next.state(), next.report().since), (HealthState::Unhealthy, Nanos(30)));
        assert!(next.accepts_missing_page());
    }

    #[test]
    fn own_results_count_if_they_are_newer() {
        let next = Health::default();
        probe(&next, 25, None);
        assert_eq!(next.state(), HealthState::Healthy);
        next.recall(&PLAN, &dead().memory());
        assert_eq!(next.memory(), dead().memory(), "the earlier process has probed since");
        let next = Health::default();
        probe(&next, 35, None);
        next.recall(&PLAN, &dead().memory());
        assert_eq!(next.state(), HealthState::Unhealthy, "one success is not enough");
        assert_eq!(next.report().streak, Streak::Successes(1));
        assert_eq!(next.report().results.len(), 4);
        probe(&next, 45, None);
        assert_eq!((next.state(), next.report().since), (HealthState::Healthy, Nanos(45)));
    }

    #[test]
    fn who_knew_nothing_changes_nothing() {
        let next = dead();
        next.recall(&PLAN, &Health::default().memory());
        assert_eq!(next.memory(), dead().memory());
    }

    #[test]
    fn no_more_results_are_kept_than_ever() {
        let mut memory = dead().memory();
        let newest = memory.report.results[2].clone();
        memory.report.results.extend(std::iter::repeat_n(newest, 2 * MAX_RESULTS));
        let next = Health::default();
        next.recall(&PLAN, &memory);
        assert_eq!(next.report().results.len(), MAX_RESULTS);
    }
}
