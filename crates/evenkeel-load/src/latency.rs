//! Latencies counted in buckets, so that any number of them takes the same memory.

use std::time::Duration;

/// Values of up to this many bits have a bucket for each microsecond, up to 2047; above, a bucket
/// spans at most 1/1024 of its value.
const EXACT_BITS: u32 = 11;
/// Buckets of each further doubling.
const BUCKETS_PER_DOUBLING: usize = 1024;
/// Longer values are counted as this one, about 71 minutes.
const MAX_US: u64 = (1 << 32) - 1;
/// log2 of the values that are told apart.
const MAX_BITS: u32 = 32;
/// 23,552 buckets, 184 KiB; those with values of their own fill two doublings' worth.
const BUCKETS: usize = (2 + MAX_BITS - EXACT_BITS) as usize * BUCKETS_PER_DOUBLING;

/// Counts latencies from 1 µs to 71 minutes with a relative error below 0.1 %.
///
/// The buckets are linear within each doubling, after Gil Tene's `HdrHistogram`
/// (<https://hdrhistogram.org>).
#[derive(Clone, Debug)]
pub struct LatencyHistogram {
    buckets: Vec<u64>,
    count: u64,
    max: Duration,
}

impl Default for LatencyHistogram {
    fn default() -> LatencyHistogram {
        LatencyHistogram { buckets: vec![0; BUCKETS], count: 0, max: Duration::ZERO }
    }
}

impl LatencyHistogram {
    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(MAX_US).min(MAX_US);
        self.buckets[bucket_of(micros)] += 1;
        self.count += 1;
        self.max = self.max.max(latency);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exactly; zero if none was counted.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The latency that `share` (0 to 1) of those counted do not exceed, by the nearest rank;
    /// zero if none was counted.
    pub fn percentile(&self, share: f64) -> Duration {
        let mut left = rank(share, self.count);
        for (bucket, count) in self.buckets.iter().enumerate() {
            if *count >= left {
                return Duration::from_micros(highest_of(bucket)).min(self.max);
            }
            left -= count;
        }
        self.max
    }
}

/// The nearest rank of a share, from 1 to `count`; 0 if there is nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a count below 2^52 is one"
)]
fn rank(share: f64, count: u64) -> u64 {
    ((share.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(count.min(1), count)
}

fn bucket_of(micros: u64) -> usize {
    let doublings = (u64::BITS - micros.leading_zeros()).saturating_sub(EXACT_BITS);
    // Below `EXACT_US`, and the top 11 bits of anything above: at most 2047.
    let top = usize::try_from(micros >> doublings).unwrap_or(usize::MAX);
    doublings as usize * BUCKETS_PER_DOUBLING + top
}

/// The largest value of a bucket, in microseconds.
fn highest_of(bucket: usize) -> u64 {
    let doublings = (bucket / BUCKETS_PER_DOUBLING).saturating_sub(1);
    let top = (bucket - doublings * BUCKETS_PER_DOUBLING) as u64;
    ((top + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_spans_a_thousandth() {
        for micros in (0..40_000).chain([1 << 20, (1 << 20) + 1, 123_456_789, MAX_US]) {
            let bucket = bucket_of(micros);
            let highest = highest_of(bucket);
            assert!(bucket < BUCKETS, "{micros}");
            assert!(highest >= micros && highest - micros <= micros / 1024, "{micros} {highest}");
            assert_eq!(bucket_of(highest), bucket, "{micros}");
            assert!(bucket_of(highest + 1) > bucket, "{micros}");
        }
    }

    #[test]
    fn percentiles_are_ranks() {
        let mut histogram = LatencyHistogram::default();
        assert_eq!(histogram.percentile(0.5), Duration::ZERO);
        for millis in 1..=100 {
            histogram.record(Duration::from_millis(millis));
        }
        let cases = [(0.0, 1), (0.01, 1), (0.5, 50), (0.99, 99), (0.999, 100), (1.0, 100)];
        for (share, millis) in cases {
            let (found, wanted) = (histogram.percentile(share), Duration::from_millis(millis));
            assert!(found >= wanted && found - wanted <= wanted / 1000, "{share} {found:?}");
        }
        assert_eq!((histogram.count(), histogram.max()), (100, Duration::from_millis(100)));
    }

    #[test]
    fn what_is_too_long_is_counted_all_the_same() {
        let mut histogram = LatencyHistogram::default();
        histogram.record(Duration::from_secs(1 << 40));
        assert_eq!(histogram.count(), 1);
        assert_eq!(histogram.percentile(0.5), Duration::from_micros(MAX_US));
    }
}
