//! How often and when a request is tried again.

mod after;
mod budget;

pub use after::{MAX_RETRY_AFTER, retry_after};
pub use budget::RetryBudget;

use crate::plan::BackoffPlan;
use std::time::Duration;

/// Longest request body that is kept for another try, whatever `retry.buffer` allows.
pub const MAX_REPLAYED_BYTES: u64 = 64 * 1024;

/// The wait before a retry (1 = the first): drawn between zero and a bound that grows with every
/// retry. "Full jitter" of Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
/// 2015. `chance` is drawn from [0, 1).
pub fn backoff(plan: &BackoffPlan, retry: u32, chance: f64) -> Duration {
    let growths = i32::try_from(retry.saturating_sub(1)).unwrap_or(i32::MAX);
    // Not a number or infinite (zero times infinity, or overflow): the largest bound holds.
    let bound = plan.base.as_secs_f64() * plan.multiplier.max(1.0).powi(growths);
    let bound = bound.min(plan.max.as_secs_f64());
    Duration::try_from_secs_f64(bound * chance.clamp(0.0, 1.0)).unwrap_or(plan.max).min(plan.max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan() -> BackoffPlan {
        let millis = Duration::from_millis;
        BackoffPlan { base: millis(25), multiplier: 2.0, max: millis(1000) }
    }

    #[test]
    fn the_bound_doubles_up_to_the_largest() {
        let almost_one = 1.0 - f64::EPSILON;
        for (retry, millis) in
            [(0, 25), (1, 25), (2, 50), (3, 100), (6, 800), (7, 1000), (99, 1000)]
        {
            let bound = Duration::from_millis(millis);
            let wait = backoff(&plan(), retry, almost_one);
            assert!(bound - wait < Duration::from_micros(1), "{retry}: {wait:?}");
            assert_eq!(backoff(&plan(), retry, 0.0), Duration::ZERO, "{retry}");
            let half = backoff(&plan(), retry, 0.5).abs_diff(bound / 2);
            assert!(half < Duration::from_micros(1), "{retry}");
        }
    }

    #[test]
    fn without_a_base_nobody_waits_long() {
        let none = BackoffPlan { base: Duration::ZERO, ..plan() };
        assert_eq!(backoff(&none, 3, 0.9), Duration::ZERO);
        let nothing = BackoffPlan { max: Duration::ZERO, ..plan() };
        assert_eq!(backoff(&nothing, 3, 0.9), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn never_longer_than_the_largest(
            base in any::<u64>(),
            max in any::<u64>(),
            multiplier in any::<f64>(),
            retry in any::<u32>(),
            chance in any::<f64>(),
        ) {
            let max = Duration::from_nanos(max);
            let plan = BackoffPlan { base: Duration::from_nanos(base), multiplier, max };
            prop_assert!(backoff(&plan, retry, chance) <= max);
        }
    }
}
