//! Which durations are counted together: pure arithmetic on nanoseconds.

/// Durations up to this many nanoseconds, about half a microsecond, share the first bucket.
const FLOOR_EXPONENT: u32 = 9;
/// Durations from 2 to this power of nanoseconds on, about 73 minutes, share the last bucket.
const CEILING_EXPONENT: u32 = 42;
const STEP_BITS: u32 = 5;
/// Buckets of equal width in one octave, which is the distance from one power of two to the next.
pub(super) const STEPS: usize = 1 << STEP_BITS;
/// Octaves from the first bucket to the last.
pub(super) const OCTAVES: usize = (CEILING_EXPONENT - FLOOR_EXPONENT) as usize;

/// Number of [`BOUNDS`].
pub(super) const BOUND_COUNT: usize = 18;
/// [`BOUNDS`] in nanoseconds.
pub(super) const BOUNDS_NANOS: [u64; BOUND_COUNT] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// Durations in seconds up to which counts are exact: the `le` of the histograms on show, without
/// the last one, which is infinite.
pub const BOUNDS: [f64; BOUND_COUNT] = {
    let mut bounds = [0.0; BOUND_COUNT];
    let mut at = 0;
    while at < BOUND_COUNT {
        bounds[at] = BOUNDS_NANOS[at] as f64 / 1e9;
        at += 1;
    }
    bounds
};

/// For each octave the first bound that a duration in it may be within.
const FIRST_BOUND: [usize; OCTAVES] = {
    let mut first = [0; OCTAVES];
    let mut octave = 1;
    while octave < OCTAVES {
        let mut bound = first[octave - 1];
        while bound < BOUND_COUNT && BOUNDS_NANOS[bound] < start_of(octave) {
            bound += 1;
        }
        first[octave] = bound;
        octave += 1;
    }
    first
};

/// A bucket, as octave and step within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bucket {
    pub(super) octave: usize,
    pub(super) step: usize,
}

impl Bucket {
    #[inline]
    pub(super) fn of(nanos: u64) -> Bucket {
        let nanos = nanos.clamp(1 << FLOOR_EXPONENT, (1 << CEILING_EXPONENT) - 1);
        let exponent = nanos.ilog2();
        let step = (nanos >> (exponent - STEP_BITS)) as usize & (STEPS - 1);
        Bucket { octave: (exponent - FLOOR_EXPONENT) as usize, step }
    }

    /// In nanoseconds.
    fn width(self) -> u64 {
        start_of(self.octave) / STEPS as u64
    }

    fn start(self) -> u64 {
        start_of(self.octave) + self.step as u64 * self.width()
    }

    /// What is said for all durations in it, in nanoseconds.
    pub(super) fn middle(self) -> u64 {
        self.start() + self.width() / 2
    }

    /// The longest duration in it, in nanoseconds, were it not the last.
    pub(super) fn longest(self) -> u64 {
        self.start() + self.width() - 1
    }

    /// The index of the first bound that `nanos`, which is in this bucket, is within;
    /// [`BOUND_COUNT`] if it is longer than all.
    #[inline]
    pub(super) fn bound(self, nanos: u64) -> usize {
        let mut bound = FIRST_BOUND[self.octave];
        while bound < BOUND_COUNT && nanos > BOUNDS_NANOS[bound] {
            bound += 1;
        }
        bound
    }
}

/// The shortest duration of an octave, in nanoseconds.
const fn start_of(octave: usize) -> u64 {
    1 << (FLOOR_EXPONENT as usize + octave)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut expected_start = 1 << FLOOR_EXPONENT;
        for octave in 0..OCTAVES {
            for step in 0..STEPS {
                let bucket = Bucket { octave, step };
                assert_eq!(bucket.start(), expected_start);
                for nanos in [bucket.start(), bucket.middle(), bucket.longest()] {
                    assert_eq!(Bucket::of(nanos), bucket, "{nanos}");
                }
                expected_start = bucket.longest() + 1;
            }
        }
        assert_eq!(expected_start, 1 << CEILING_EXPONENT);
    }

    #[test]
    fn what_is_too_short_or_too_long_is_in_the_outer_buckets() {
        let (first, last) =
            (Bucket { octave: 0, step: 0 }, Bucket { octave: OCTAVES - 1, step: STEPS - 1 });
        for (nanos, bucket) in [(0, first), (511, first), (1 << 42, last), (u64::MAX, last)] {
            assert_eq!(Bucket::of(nanos), bucket, "{nanos}");
        }
    }

    #[test]
    fn bounds_are_the_numbers_that_people_write() {
        let written = [
            0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
            2.5, 5.0, 10.0, 30.0, 60.0,
        ];
        assert_eq!(BOUNDS, written);
        assert!(BOUNDS.is_sorted());
    }

    #[test]
    fn a_duration_is_within_the_first_bound_not_below_it() {
        let around = |bound: u64| [bound - 1, bound, bound + 1];
        let powers = (1..64).map(|exponent| 1 << exponent);
        let durations = BOUNDS_NANOS.into_iter().chain(powers).flat_map(around);
        for nanos in durations.chain([0, u64::MAX]) {
            let expected = BOUNDS_NANOS.partition_point(|bound| *bound < nanos);
            assert_eq!(Bucket::of(nanos).bound(nanos), expected, "{nanos}");
        }
    }
}
