//! Latencies counted in buckets, so that any number of them takes the same memory.

use std::time::Duration;

/// Values of up to this many bits have a bucket for each nanosecond, up to 2047; above, a bucket
/// spans at most 1/1024 of its value.
const EXACT_BITS: u32 = 11;
/// Buckets of each further doubling.
const BUCKETS_PER_DOUBLING: usize = 1024;
/// Longer values are counted as this one, about 73 minutes.
const MAX_NS: u64 = (1 << MAX_BITS) - 1;
/// log2 of the values that are told apart.
const MAX_BITS: u32 = 42;
/// 33,792 buckets, 264 KiB; those with values of their own fill two doublings' worth.
const BUCKETS: usize = (2 + MAX_BITS - EXACT_BITS) as usize * BUCKETS_PER_DOUBLING;

/// Counts latencies from 1 ns to 73 minutes with a relative error below 0.1 %.
///
/// The buckets are linear within each doubling, after Gil Tene's `HdrHistogram`
/// (<https://hdrhistogram.org>).
#[derive(Clone, Debug)]
pub struct LatencyHistogram {
    buckets: Vec<u64>,
    count: u64,
    sum_ns: u128,
    min: Duration,
    max: Duration,
}

impl Default for LatencyHistogram {
    fn default() -> LatencyHistogram {
        let buckets = vec![0; BUCKETS];
        let (min, max) = (Duration::MAX, Duration::ZERO);
        LatencyHistogram { buckets, count: 0, sum_ns: 0, min, max }
    }
}

impl LatencyHistogram {
    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(MAX_NS).min(MAX_NS);
        self.buckets[bucket_of(nanos)] += 1;
        self.count += 1;
        self.sum_ns += latency.as_nanos();
        self.min = self.min.min(latency);
        self.max = self.max.max(latency);
    }

    /// Adds all that another histogram has counted.
    pub fn merge(&mut self, other: &LatencyHistogram) {
        for (bucket, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += count;
        }
        self.count += other.count;
        self.sum_ns += other.sum_ns;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exactly; zero if none was counted.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The shortest, exactly; zero if none was counted.
    pub fn min(&self) -> Duration {
        if self.count == 0 { Duration::ZERO } else { self.min }
    }

    /// The arithmetic mean, exactly; zero if none was counted.
    pub fn mean(&self) -> Duration {
        let mean = self.sum_ns / u128::from(self.count.max(1));
        Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX))
    }

    /// How many of those counted lie in each of `parts` equal parts between the shortest and the
    /// longest: the upper bound of each part and its count. Empty if none was counted.
    pub fn spread(&self, parts: u32) -> Vec<(Duration, u64)> {
        if self.count == 0 || parts == 0 {
            return Vec::new();
        }
        let step = (self.max - self.min) / parts;
        let bound = |part| if part == parts { self.max } else { self.min + step * part };
        let mut spread: Vec<_> = (1..=parts).map(|part| (bound(part), 0)).collect();
        let mut part = 0;
        for (bucket, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            let value = Duration::from_nanos(highest_of(bucket)).min(self.max);
            while part + 1 < spread.len() && value > spread[part].0 {
                part += 1;
            }
            spread[part].1 += count;
        }
        spread
    }

    /// The latency that `share` (0 to 1) of those counted do not exceed, by the nearest rank;
    /// zero if none was counted.
    pub fn percentile(&self, share: f64) -> Duration {
        let mut left = rank(share, self.count);
        for (bucket, count) in self.buckets.iter().enumerate() {
            if *count >= left {
                return Duration::from_nanos(highest_of(bucket)).min(self.max);
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

fn bucket_of(nanos: u64) -> usize {
    let doublings = (u64::BITS - nanos.leading_zeros()).saturating_sub(EXACT_BITS);
    // Values that have buckets of their own, and the top 11 bits of anything above: at most 2047.
    let top = usize::try_from(nanos >> doublings).unwrap_or(usize::MAX);
    doublings as usize * BUCKETS_PER_DOUBLING + top
}

/// The largest value of a bucket, in nanoseconds.
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
        for nanos in (0..40_000).chain([1 << 20, (1 << 20) + 1, 123_456_789, MAX_NS]) {
            let bucket = bucket_of(nanos);
            let highest = highest_of(bucket);
            assert!(bucket < BUCKETS, "{nanos}");
            assert!(highest >= nanos && highest - nanos <= nanos / 1024, "{nanos} {highest}");
            assert_eq!(bucket_of(highest), bucket, "{nanos}");
            assert!(bucket_of(highest + 1) > bucket, "{nanos}");
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
        assert_eq!(histogram.min(), Duration::from_millis(1));
        assert_eq!(histogram.mean(), Duration::from_micros(50_500));
    }

    #[test]
    fn merged_is_as_if_counted_by_one() {
        let (mut one, mut odd, mut even) = Default::default();
        for millis in 1..=100 {
            let histogram: &mut LatencyHistogram =
                if millis % 2 == 0 { &mut even } else { &mut odd };
            histogram.record(Duration::from_millis(millis));
            LatencyHistogram::record(&mut one, Duration::from_millis(millis));
        }
        odd.merge(&even);
        assert_eq!(odd.buckets, one.buckets);
        let told = |h: &LatencyHistogram| (h.count(), h.min(), h.max(), h.mean());
        assert_eq!(told(&odd), told(&one));
    }

    #[test]
    fn the_spread_counts_each_once() {
        let mut histogram = LatencyHistogram::default();
        assert_eq!(histogram.spread(10), []);
        for millis in 1..=101 {
            histogram.record(Duration::from_millis(millis));
        }
        let spread = histogram.spread(10);
        assert_eq!(spread.len(), 10);
        assert_eq!(spread.iter().map(|(_, count)| count).sum::<u64>(), 101);
        assert!(spread.iter().all(|(_, count)| (9..=12).contains(count)), "{spread:?}");
        assert_eq!(spread[9].0, Duration::from_millis(101));
        let mut same = LatencyHistogram::default();
        same.record(Duration::from_millis(3));
        assert_eq!(same.spread(4).iter().map(|(_, count)| count).sum::<u64>(), 1);
    }

    #[test]
    fn what_is_too_long_is_counted_all_the_same() {
        let mut histogram = LatencyHistogram::default();
        histogram.record(Duration::from_secs(1 << 40));
        assert_eq!(histogram.count(), 1);
        assert_eq!(histogram.percentile(0.5), Duration::from_nanos(MAX_NS));
    }
}
