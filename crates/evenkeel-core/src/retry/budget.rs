//! How many retries a pool may send, so that they cannot become the load that keeps it down.

use crate::plan::RetryPlan;
use crate::time::Nanos;
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicU64, Ordering};

/// One retry, in the unit of the share: small enough that a share of 0.0001 % is counted.
const TOKEN: u64 = 1_000_000;
/// Retries that can be saved up from the share: seconds worth of the floor.
const SAVED_SECONDS: u64 = 10;
/// The floor that they are reckoned with at least.
const MIN_FLOOR: u64 = 10;
/// The floor's bucket holds what it gains in this time.
const FLOOR_BURST_NANOS: u64 = 1_000_000_000;

/// The retries that a pool may send: a share of its requests, or so many per second, whichever is
/// more. Two token buckets: a retry needs a whole token of either and takes one of both. Google,
/// "Site Reliability Engineering", chapter 21, "Per-client retry budget"; the floor is that of
/// Finagle's `RetryBudget`.
#[derive(Debug, Default)]
pub struct RetryBudget {
    /// Saved up from the share, `TOKEN` for each retry.
    share: CachePadded<AtomicU64>,
    /// When the floor's bucket was empty, in nanoseconds since `FLOOR_BURST_NANOS` before time
    /// zero: it starts full. What it holds follows from the time that has passed.
    floor_empty_at: AtomicU64,
    refused: AtomicU64,
}

impl RetryBudget {
    /// Counts a request: at most one load and one addition.
    #[inline]
    pub fn deposit(&self, plan: &RetryPlan) {
        if self.share.load(Ordering::Relaxed) < most_saved(plan) {
            self.share.fetch_add(per_request(plan), Ordering::Relaxed);
        }
    }

    /// Whether a retry may be sent now; counts it if so.
    pub fn withdraw(&self, plan: &RetryPlan, now: Nanos) -> bool {
        if self.take_share(plan) {
            self.take_floor(plan, now, Least::Anything);
            return true;
        }
        if self.take_floor(plan, now, Least::Whole) {
            // What is left of the share is less than one token.
            self.share.store(0, Ordering::Relaxed);
            return true;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Retries that were not allowed.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn take_share(&self, plan: &RetryPlan) -> bool {
        let take = |saved: u64| saved.checked_sub(TOKEN);
        per_request(plan) > 0
            && self.share.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Takes a token, or with `Least::Anything` what there is of one, out of the floor's bucket.
    fn take_floor(&self, plan: &RetryPlan, now: Nanos, least: Least) -> bool {
        let Some(cost) = FLOOR_BURST_NANOS.checked_div(u64::from(plan.budget_floor)) else {
            return false;
        };
        let now = now.0.saturating_add(FLOOR_BURST_NANOS);
        let take = |empty_at: u64| {
            let level = now.saturating_sub(empty_at).min(FLOOR_BURST_NANOS);
            let left = match least {
                Least::Whole => level.checked_sub(cost)?,
                Least::Anything => level.saturating_sub(cost),
            };
            // A thread whose `now` is older must not turn time back.
            Some((now - left).max(empty_at))
        };
        self.floor_empty_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// What a withdrawal is content with.
#[derive(Clone, Copy)]
enum Least {
    Whole,
    Anything,
}

/// What a request adds to the share, in parts of a `TOKEN`.
#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to TOKEN")]
fn per_request(plan: &RetryPlan) -> u64 {
    (plan.budget.clamp(0.0, 1.0) * TOKEN as f64).round() as u64
}

/// Most of the share that can be saved up: quiet hours must not pay for a storm.
#[inline]
fn most_saved(plan: &RetryPlan) -> u64 {
    u64::from(plan.budget_floor).max(MIN_FLOOR) * SAVED_SECONDS * TOKEN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{BackoffPlan, RetryMethods, RetryOn};
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::Duration;

    fn plan(budget: f64, budget_floor: u32) -> RetryPlan {
        RetryPlan {
            attempts: 3,
            budget,
            budget_floor,
            on: RetryOn::default(),
            methods: RetryMethods::Idempotent,
            backoff: BackoffPlan {
                base: Duration::from_millis(25),
                multiplier: 2.0,
                max: Duration::from_secs(1),
            },
            buffer_bytes: 0,
            per_try_timeout: Duration::ZERO,
        }
    }

    fn millis(millis: u64) -> Nanos {
        Nanos::default().after(Duration::from_millis(millis))
    }

    /// Sends requests evenly, each of which wants two retries; returns requests and retries.
    fn storm(plan: &RetryPlan, per_second: u64, seconds: u64) -> (u64, u64) {
        let budget = RetryBudget::default();
        let (requests, mut retries) = (per_second * seconds, 0);
        for n in 0..requests {
            let now = Nanos(n * 1_000_000_000 / per_second);
            budget.deposit(plan);
            retries += u64::from(budget.withdraw(plan, now));
            retries += u64::from(budget.withdraw(plan, now));
        }
        assert_eq!(retries + budget.refused(), 2 * requests);
        (requests, retries)
    }

    #[test]
    fn a_storm_is_held_to_the_share() {
        let (requests, retries) = storm(&plan(0.2, 10), 2_000, 30);
        assert!(retries <= requests / 5 + 10, "{retries} of {requests}");
        assert!(retries >= requests / 5 - 10, "{retries} of {requests}");
    }

    #[test]
    fn few_requests_are_held_to_the_floor() {
        // 20 requests a second would pay for 4 retries; the floor allows 10, and never both.
        let (requests, retries) = storm(&plan(0.2, 10), 20, 60);
        assert!((600..=610).contains(&retries), "{retries} of {requests}");
        let (_, retries) = storm(&plan(0.0, 10), 2_000, 30);
        assert!((300..=310).contains(&retries), "{retries}");
        let (requests, retries) = storm(&plan(0.001, 0), 2_000, 30);
        assert_eq!(retries, requests / 1_000);
        assert_eq!(storm(&plan(0.0, 0), 2_000, 30).1, 0);
        assert_eq!(storm(&plan(f64::NAN, 0), 2_000, 30).1, 0);
    }

    #[test]
    fn quiet_hours_do_not_pay_for_a_storm() {
        for (floor, most) in [(0, 100), (10, 100), (50, 500)] {
            let plan = plan(0.2, floor);
            let budget = RetryBudget::default();
            for _ in 0..100_000 {
                budget.deposit(&plan);
            }
            let at_once = (0..10_000).filter(|_| budget.withdraw(&plan, millis(0))).count();
            assert_eq!(at_once, most, "{floor}");
        }
    }

    #[test]
    fn the_floor_fills_by_time() {
        let plan = plan(0.0, 4);
        let budget = RetryBudget::default();
        let allowed = |at: u64| (0..100).filter(|_| budget.withdraw(&plan, millis(at))).count();
        let cases =
            [(0, 4), (249, 0), (250, 1), (999, 2), (1_000, 1), (500, 0), (60_000, 4), (60_000, 0)];
        for (at, expected) in cases {
            assert_eq!(allowed(at), expected, "{at}");
        }
        assert!(!budget.withdraw(&self::plan(0.0, 0), millis(120_000)), "turned off later");
    }

    #[test]
    fn a_thread_that_lags_does_not_fill_the_floor() {
        let plan = plan(1.0, 4);
        let budget = RetryBudget::default();
        while budget.withdraw(&plan, millis(60_000)) {}
        budget.deposit(&plan);
        assert!(budget.withdraw(&plan, millis(1_000)), "the share has one");
        assert!(!budget.withdraw(&plan, millis(60_000)));
    }

    #[test]
    fn a_share_turned_off_is_worth_nothing() {
        let budget = RetryBudget::default();
        for _ in 0..100 {
            budget.deposit(&plan(1.0, 0));
        }
        assert!(budget.withdraw(&plan(1.0, 0), millis(0)));
        assert!(!budget.withdraw(&plan(0.0, 0), millis(0)));
    }

    #[test]
    fn threads_share_one_budget() {
        let (plan, budget, allowed) = (plan(0.5, 7), RetryBudget::default(), AtomicUsize::new(0));
        for _ in 0..100 {
            budget.deposit(&plan);
        }
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mine = (0..1_000).filter(|_| budget.withdraw(&plan, millis(0))).count();
                    allowed.fetch_add(mine, Ordering::Relaxed);
                });
            }
        });
        let allowed = allowed.into_inner();
        assert!((50..=57).contains(&allowed), "{allowed}");
    }
}
