//! A token bucket as one number: the generic cell rate algorithm in its virtual scheduling form
//! (ITU-T I.371, annex A; for requests: Brandur Leach, "Rate limiting, cells, and GCRA", 2015).
//!
//! The number is `full_at`, the theoretical arrival time: when the bucket will be full again. Each
//! request moves it on by one `interval`, and it may be at most `capacity` ahead of now.

use super::Allowance;
use crate::plan::RateLimitPlan;
use crate::time::Nanos;
use std::time::Duration;

/// Longest time in which a bucket fills (146 years), so that now plus it is a time. A plan with a
/// larger bucket gets one of this size.
const MAX_CAPACITY_NANOS: u64 = u64::MAX / 4;

/// What the buckets of one plan have in common.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Nanoseconds in which one token is added; at least 1. Rounded up: never faster than the
    /// plan, and slower by less than a nanosecond per request.
    interval: u64,
    /// Nanoseconds in which an empty bucket fills.
    capacity: u64,
    limit: u32,
}

impl Bucket {
    pub(super) fn new(plan: &RateLimitPlan) -> Bucket {
        let interval = plan.per.as_nanos().div_ceil(u128::from(plan.requests.max(1)));
        let interval = u64::try_from(interval).unwrap_or(u64::MAX).clamp(1, MAX_CAPACITY_NANOS);
        let limit = plan.burst.max(1);
        let capacity = interval.saturating_mul(u64::from(limit)).min(MAX_CAPACITY_NANOS);
        Bucket { interval, capacity, limit }
    }

    /// Takes a token: the new `full_at`, or how long to wait for a token.
    pub(super) fn take(&self, full_at: Nanos, now: Nanos) -> Result<Nanos, Duration> {
        let missing = full_at.since(now).saturating_add(self.interval);
        match missing.checked_sub(self.capacity) {
            None | Some(0) => Ok(Nanos(now.0.saturating_add(missing))),
            Some(wait) => Err(Duration::from_nanos(wait)),
        }
    }

    pub(super) fn allowance(&self, full_at: Nanos, now: Nanos) -> Allowance {
        let missing = full_at.since(now);
        let remaining = self.capacity.saturating_sub(missing) / self.interval;
        Allowance {
            limit: self.limit,
            remaining: u32::try_from(remaining).unwrap_or(self.limit),
            reset: Duration::from_nanos(missing),
        }
    }
}
