//! A circuit breaker, from one process to the next.

use super::window::{MAX_PARTS, WindowPart};
use super::{Breaker, BreakerState, MAX_JITTER, Trip, failures_of};
use crate::plan::BreakerPlan;
use crate::time::Nanos;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What a process knows of a breaker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BreakerMemory {
    /// When a trial may begin, be it that one is on its way; `None` = it is closed.
    pub open_until: Option<Nanos>,
    /// Of its last change.
    pub since: Option<Nanos>,
    /// As `Breaker::consecutive_failures`.
    pub consecutive_failures: u32,
    /// The last wait.
    pub wait: Duration,
    /// Times that it opened without having been closed for long.
    pub trips_in_a_row: u32,
    /// Times that it opened.
    pub trips: u32,
    /// Why it did the last time.
    pub last_trip: Option<Trip>,
    /// What ended while it was closed, in the last `BreakerPlan::window`.
    pub window: Vec<WindowPart>,
}

impl Breaker {
    /// All that another process needs to go on.
    pub fn memory(&self, window: Duration, now: Nanos) -> BreakerMemory {
        let course = self.course();
        BreakerMemory {
            open_until: (self.state() != BreakerState::Closed).then_some(course.until),
            since: self.since(),
            consecutive_failures: failures_of(self.word.load(Ordering::Relaxed)),
            wait: course.wait,
            trips_in_a_row: course.trips_in_a_row,
            trips: course.trips,
            last_trip: course.last_trip,
            window: self.window.parts(window, now),
        }
    }

    /// True if it is closed, and earlier trips make it wait no longer the next time.
    pub fn is_unremarkable(&self) -> bool {
        self.state() == BreakerState::Closed && self.course().trips_in_a_row == 0
    }

    /// Takes up what an earlier process knew, unless this one has opened it by now. An open one
    /// waits for no longer than any wait that the plan allows.
    pub fn recall(&self, plan: &BreakerPlan, now: Nanos, earlier: &BreakerMemory) {
        let mut course = self.course();
        if !plan.enabled || self.state() != BreakerState::Closed {
            return;
        }
        course.wait = earlier.wait;
        course.trips_in_a_row = earlier.trips_in_a_row;
        course.trips = course.trips.saturating_add(earlier.trips);
        course.last_trip = earlier.last_trip;
        self.set_failures(|own| own.max(earlier.consecutive_failures));
        for part in earlier.window.iter().take(MAX_PARTS) {
            self.window.take_up(plan.window, now, *part);
        }
        let since = earlier.since.unwrap_or_default();
        if let Some(until) = earlier.open_until {
            let longest = plan.max_reset_timeout.max(plan.reset_timeout);
            let longest = longest.saturating_add(longest.mul_f64(MAX_JITTER));
            course.until = until.min(now.after(longest));
            self.opened_at.store(since.0, Ordering::Relaxed);
            self.show(BreakerState::Open, course.until, since);
        } else {
            course.closed_at = since;
            self.changed_at.store(since.0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::{Transition, Verdict};
    use crate::plan::PoolPlan;

    fn plan() -> BreakerPlan {
        BreakerPlan { enabled: true, ..PoolPlan::bare("p", Vec::new()).breaker }
    }

    fn second(seconds: u64) -> Nanos {
        Nanos::default().after(Duration::from_secs(seconds))
    }

    fn memory(breaker: &Breaker) -> BreakerMemory {
        breaker.memory(plan().window, second(101))
    }

    /// Tripped at 100 s.
    fn open() -> Breaker {
        let breaker = Breaker::new();
        let opened = breaker.eject(&plan(), second(100), Trip::Consecutive(5), 0.0);
        assert!(opened.is_some());
        breaker
    }

    #[test]
    fn an_open_one_is_open_for_the_rest_of_its_wait() {
        let next = Breaker::new();
        next.recall(&plan(), second(102), &memory(&open()));
        assert_eq!(memory(&next), memory(&open()));
        assert_eq!((next.state(), next.since()), (BreakerState::Open, Some(second(100))));
        assert_eq!(next.last_trip(), Some(Trip::Consecutive(5)));
        let until = next.open_until().expect("open");
        let before = Nanos(until.0 - 1);
        assert!(next.try_trial(&plan(), before, 0.0).is_none());
        let trial = next.try_trial(&plan(), until, 0.0).expect("its wait is over");
        let failed = next.end_trial(&plan(), until, trial, Some(Verdict::Failure), 0.0);
        let Some(Transition::Opened { until: again, .. }) = failed else { panic!("{failed:?}") };
        assert_eq!(again.duration_since(until), 2 * plan().reset_timeout, "the second in a row");
    }

    #[test]
    fn one_on_trial_is_tried_again_at_once() {
        let before = open();
        let until = before.open_until().expect("open");
        assert!(before.try_trial(&plan(), until, 0.0).is_some());
        assert_eq!(before.state(), BreakerState::HalfOpen);
        let next = Breaker::new();
        next.recall(&plan(), until, &memory(&before));
        assert_eq!(next.state(), BreakerState::Open);
        assert!(next.try_trial(&plan(), until, 0.0).is_some());
    }

    #[test]
    fn failures_in_a_row_go_on() {
        let before = Breaker::new();
        let threshold = plan().failure_threshold;
        for _ in 1..threshold {
            assert!(before.record(&plan(), second(100), Verdict::Failure, 0.0).is_none());
        }
        let next = Breaker::new();
        next.recall(&plan(), second(101), &memory(&before));
        assert_eq!(next.consecutive_failures(), threshold - 1);
        assert!(next.record(&plan(), second(101), Verdict::Failure, 0.0).is_some());
    }

    #[test]
    fn the_share_of_failures_is_that_of_both_processes() {
        let plan = BreakerPlan { failure_rate: 0.5, min_requests: 20, ..plan() };
        let before = Breaker::new();
        for round in 0..19 {
            let verdict = if round % 2 == 0 { Verdict::Failure } else { Verdict::Success };
            assert!(before.record(&plan, second(100), verdict, 0.0).is_none());
        }
        let fail_at = |at: u64| {
            let next = Breaker::new();
            next.recall(&plan, second(101), &before.memory(plan.window, second(101)));
            next.record(&plan, second(at), Verdict::Failure, 0.0).is_some()
        };
        assert!(fail_at(101), "11 of 20 have failed");
        assert!(!fail_at(120), "1 of 1: the others are forgotten");
    }

    #[test]
    fn nonsense_is_bounded_and_who_is_off_stays_off() {
        let never = BreakerMemory { open_until: Some(Nanos::NEVER), ..memory(&open()) };
        let next = Breaker::new();
        next.recall(&plan(), second(102), &never);
        let longest = plan().max_reset_timeout.mul_f64(1.0 + MAX_JITTER);
        assert_eq!(next.open_until(), Some(second(102).after(longest)));
        let off = Breaker::new();
        off.recall(&BreakerPlan { enabled: false, ..plan() }, second(102), &never);
        assert_eq!(off.state(), BreakerState::Closed);
        let own = open();
        own.recall(&plan(), second(102), &BreakerMemory::default());
        assert_eq!(own.state(), BreakerState::Open, "it has found out for itself");
    }
}
