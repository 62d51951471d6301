//! What the outcome of a try means for those who come after.

use super::{Mode, Pick, Pool};
use crate::breaker::{self, Transition, Verdict};
use crate::strategy::StrategyName;
use crate::time::Nanos;
use std::time::Duration;

/// Statuses from here on are failures of the backend.
const FIRST_FAILURE_STATUS: u16 = 500;
/// Too Many Requests: no failure, but no reason to send more either.
const TOO_MANY_REQUESTS: u16 = 429;

/// Longest pause that a backend can ask for.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// How a try ended, as far as its backend is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A response head with this status came.
    Answered(u16),
    /// A response began whose end will say how it went.
    Begun,
    /// No connection, no answer in time, a broken connection, or an answer that is not HTTP.
    Failed,
}

/// What has changed for the pool.
#[derive(Clone, Debug)]
pub struct Change {
    /// The breaker of the backend concerned.
    pub breaker: Option<Transition>,
    /// How the pool chooses from now on.
    pub mode: Option<Mode>,
}

impl Pool {
    /// Takes the outcome of a try: for its breaker, for the trial it may have been, for its
    /// response time. `Some` if that changed who is eligible.
    #[inline]
    pub fn report(
        &self,
        pick: &mut Pick,
        outcome: Outcome,
        now: Nanos,
        chance: f64,
    ) -> Option<Change> {
        let took = now.duration_since(pick.at);
        let verdict = match outcome {
            Outcome::Begun => {
                if !std::mem::replace(&mut pick.answered, true) {
                    pick.heard(now, took);
                }
                return None;
            }
            Outcome::Answered(status) => {
                if !std::mem::replace(&mut pick.answered, true) {
                    pick.heard(now, took);
                }
                self.observe(
                    pick,
                    now,
                    took,
                    status < FIRST_FAILURE_STATUS && status != TOO_MANY_REQUESTS,
                );
                if status < FIRST_FAILURE_STATUS { Verdict::Success } else { Verdict::Failure }
            }
            Outcome::Failed => {
                self.observe(pick, now, took, false);
                Verdict::Failure
            }
        };
        let plan = &self.plan.breaker;
        let transition = match pick.trial.take() {
            None if pick.breaker.predates_opening(pick.at) => return None,
            None => pick.breaker.record(plan, now, verdict, chance),
            Some(hold) => pick.breaker.end_trial(plan, now, hold.trial, Some(verdict), chance),
        }?;
        if matches!(transition, Transition::Closed) {
            pick.rejoin(now);
        }
        Some(self.changed(transition, now))
    }

    fn observe(&self, pick: &Pick, now: Nanos, took: Duration, good: bool) {
        if self.plan.strategy == StrategyName::LeastResponseTime {
            pick.times.observe(now, took, good);
        }
    }

    /// The backend asked to be left alone for so long; it is, while others are eligible. What one
    /// answer says must not cost much: no longer than 5 s, at most half of the pool.
    pub fn pause(&self, index: usize, now: Nanos, wait: Duration) -> Option<Mode> {
        let backend = self.backends.get(index)?;
        if backend.paused_until(now).is_some() {
            return None;
        }
        let out = self.backends.iter().filter(|backend| backend.barred(now).is_some()).count();
        if breaker::ejectable(self.backends.len(), out) == 0 {
            return None;
        }
        let longest = MAX_PAUSE.min(self.plan.breaker.max_reset_timeout);
        backend.pause(now.after(wait.min(longest)));
        self.refresh(now)
    }
}
