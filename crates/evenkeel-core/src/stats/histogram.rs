//! Log-linear histogram of durations: every power of two is divided into 32 equal buckets, so that
//! the relative error of a percentile has a bound, whatever the durations are. The principle of Gil
//! Tene's HdrHistogram (<https://hdrhistogram.org>), with a fixed precision and memory by octave.
//! The bounds that a Prometheus histogram shows are counted apart, because they must be exact.

mod buckets;
mod snapshot;

pub use buckets::BOUNDS;
pub use snapshot::{HistogramParts, HistogramSnapshot};

use super::counter::Counter;
use buckets::{BOUND_COUNT, Bucket, OCTAVES, STEPS};
use std::array;
use std::sync::OnceLock;

/// Counters of one octave; whole cache lines, which no other thread writes.
#[derive(Debug)]
#[repr(align(128))]
struct Octave([Counter; STEPS]);

/// Durations as one thread records them. Any number of threads may take snapshots meanwhile.
#[derive(Debug)]
pub struct Histogram {
    octaves: [OnceLock<Box<Octave>>; OCTAVES],
    /// Durations within each bound and no smaller one; the last counter is for those beyond all.
    bounds: [Counter; BOUND_COUNT + 1],
    sum_nanos: Counter,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            octaves: array::from_fn(|_| OnceLock::new()),
            bounds: array::from_fn(|_| Counter::default()),
            sum_nanos: Counter::default(),
        }
    }
}

impl Histogram {
    /// Counts one duration. One thread only may call it (see [`Counter`]). Allocates when an octave
    /// is seen for the first time: at most 33 times 256 bytes.
    #[inline]
    pub fn record(&self, nanos: u64) {
        let bucket = Bucket::of(nanos);
        let octave = self.octaves[bucket.octave].get_or_init(new_octave);
        octave.0[bucket.step].add(1);
        self.bounds[bucket.bound(nanos)].add(1);
        self.sum_nanos.add(nanos);
    }

    /// Counts what was recorded elsewhere. One thread only may call it, as with `record`.
    pub(super) fn take_over(&self, earlier: &HistogramSnapshot) {
        for (bucket, count) in earlier.counts() {
            self.octaves[bucket.octave].get_or_init(new_octave).0[bucket.step].add(count);
        }
        for (counter, count) in self.bounds.iter().zip(earlier.bounds()) {
            counter.add(*count);
        }
        self.sum_nanos.add(earlier.sum_nanos());
    }

    /// Everything recorded so far. What is recorded meanwhile may be in some of its numbers and not
    /// yet in others, but none of them is ever smaller than in an earlier snapshot.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut snapshot = HistogramSnapshot::default();
        self.add_to(&mut snapshot);
        snapshot
    }

    /// Merges everything recorded so far into `snapshot`.
    pub fn add_to(&self, snapshot: &mut HistogramSnapshot) {
        for (octave, counters) in self.octaves.iter().enumerate() {
            if let Some(counters) = counters.get() {
                snapshot.add_octave(octave, |step| counters.0[step].get());
            }
        }
        snapshot.add_bounds(|bound| self.bounds[bound].get(), self.sum_nanos.get());
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let octaves = self.octaves.iter().filter(|octave| octave.get().is_some()).count();
        size_of::<Histogram>() + octaves * size_of::<Octave>()
    }
}

#[cold]
fn new_octave() -> Box<Octave> {
    Box::new(Octave(array::from_fn(|_| Counter::default())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LARGEST_ERROR: f64 = 0.02;
    const QUANTILES: [f64; 8] = [0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0];

    /// The smallest duration that at least `quantile` of all are not longer than.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the length")]
    fn exact(sorted: &[u64], quantile: f64) -> u64 {
        let rank = (quantile * sorted.len() as f64).ceil() as usize;
        sorted[rank.max(1) - 1]
    }

    fn check(mut durations: Vec<u64>) {
        let histogram = Histogram::default();
        durations.iter().for_each(|nanos| histogram.record(*nanos));
        let snapshot = histogram.snapshot();
        durations.sort_unstable();
        for quantile in QUANTILES {
            let exact = exact(&durations, quantile) as f64;
            let said = snapshot.percentile(quantile).expect("something was recorded") as f64;
            let error = (said - exact).abs() / exact;
            assert!(error <= LARGEST_ERROR, "{quantile}: {said} for {exact}, error {error}");
        }
        assert_eq!(snapshot.count(), durations.len() as u64);
        assert_eq!(snapshot.sum_nanos(), durations.iter().sum::<u64>());
        for bound in buckets::BOUNDS_NANOS {
            let within = durations.partition_point(|nanos| *nanos <= bound) as u64;
            assert_eq!(snapshot.at_most(bound), within, "{bound}");
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1e3 to 4e12")]
    fn log_uniform() -> impl Strategy<Value = u64> {
        (1e3_f64.ln()..3.6e12_f64.ln()).prop_map(|exponent| exponent.exp() as u64)
    }

    proptest! {
        #[test]
        fn percentiles_of_log_uniform_durations(
            durations in prop::collection::vec(log_uniform(), 1..2000),
        ) {
            check(durations);
        }

        #[test]
        fn percentiles_of_one_duration(nanos in log_uniform(), times in 1_usize..500) {
            check(vec![nanos; times]);
        }

        #[test]
        fn percentiles_of_fast_and_slow_durations(
            fast in prop::collection::vec(80_000_u64..120_000, 1..1000),
            slow in prop::collection::vec(900_000_000_u64..3_000_000_000, 1..50),
        ) {
            check([fast, slow].concat());
        }
    }

    #[test]
    fn durations_at_the_edges_of_bounds() {
        let around = |bound: u64| [bound - 1, bound, bound, bound + 1];
        check(buckets::BOUNDS_NANOS.into_iter().flat_map(around).collect());
    }

    #[test]
    fn memory_stays_flat_and_small() {
        let histogram = Histogram::default();
        assert!(histogram.bytes() <= 704, "{}", histogram.bytes());
        // A fast backend with a slow tail: 50 us to 50 ms.
        let durations = || (0..100_000_u64).map(|round| 50_000 + round * 499);
        durations().for_each(|nanos| histogram.record(nanos));
        let typical = histogram.bytes();
        assert!(typical <= 3_600, "{typical}");
        for _ in 1..100 {
            durations().for_each(|nanos| histogram.record(nanos));
        }
        assert_eq!(histogram.bytes(), typical);
        assert_eq!(histogram.snapshot().count(), 10_000_000);
        (0..64).for_each(|exponent| histogram.record(1 << exponent));
        assert!(histogram.bytes() <= 9_200, "{}", histogram.bytes());
    }
}
