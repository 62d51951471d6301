//! What a histogram held at one time: merged with others, subtracted from later ones, asked.

use super::buckets::{BOUND_COUNT, BOUNDS, BOUNDS_NANOS, Bucket, OCTAVES, STEPS};

/// Durations that were counted, of one histogram or of several merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    octaves: Octaves,
    /// Durations within each bound and no smaller one, then those beyond all.
    bounds: [u64; BOUND_COUNT + 1],
    sum_nanos: u64,
}

/// A snapshot as plain numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramParts {
    /// Buckets in which something was counted: their place, and how much.
    pub buckets: Vec<(u64, u64)>,
    /// Durations within each of [`BOUNDS`] and no smaller one, then those beyond all.
    pub bounds: Vec<u64>,
    /// All of them together.
    pub sum_nanos: u64,
}

/// Counts by octave and step. Octaves in which nothing was counted have no memory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Octaves([Option<Box<[u64; STEPS]>>; OCTAVES]);

impl Default for Octaves {
    fn default() -> Octaves {
        Octaves([const { None }; OCTAVES])
    }
}

impl HistogramSnapshot {
    /// Adds what `other` counted.
    pub fn merge(&mut self, other: &HistogramSnapshot) {
        for (octave, counts) in other.octaves.0.iter().enumerate() {
            if let Some(counts) = counts {
                self.add_octave(octave, |step| counts[step]);
            }
        }
        self.add_bounds(|bound| other.bounds[bound], other.sum_nanos);
    }

    /// Takes away what `older`, an earlier snapshot of the same histograms, had counted already:
    /// what is left was recorded between the two.
    pub fn subtract(&mut self, older: &HistogramSnapshot) {
        let pairs = self.octaves.0.iter_mut().zip(&older.octaves.0);
        for (counts, older) in
            pairs.filter_map(|(counts, older)| counts.as_mut().zip(older.as_ref()))
        {
            take_away(counts.as_mut_slice(), older.as_slice());
        }
        take_away(&mut self.bounds, &older.bounds);
        self.sum_nanos = self.sum_nanos.wrapping_sub(older.sum_nanos);
    }

    /// How many durations; exact.
    pub fn count(&self) -> u64 {
        self.bounds.iter().sum()
    }

    /// All of them together in nanoseconds; exact modulo 2^64, which is 584 years.
    pub fn sum_nanos(&self) -> u64 {
        self.sum_nanos
    }

    /// The mean in nanoseconds; `None` if nothing was counted.
    pub fn mean(&self) -> Option<u64> {
        self.sum_nanos.checked_div(self.count())
    }

    /// The duration in nanoseconds that `quantile` (0 to 1) of all are not longer than: the middle
    /// of its bucket, which is off by at most 1/64 between 512 ns and 73 minutes. `None` if nothing
    /// was counted.
    pub fn percentile(&self, quantile: f64) -> Option<u64> {
        let total: u64 = self.counts().map(|(_, count)| count).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to total")]
        let rank = (quantile.clamp(0.0, 1.0) * total as f64).ceil() as u64;
        let rank = rank.clamp(1, total.max(1));
        let mut seen = 0;
        let found = self.counts().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        found.map(|(bucket, _)| bucket.middle())
    }

    /// How many durations are not longer than `nanos`: exact if that is one of [`BOUNDS`],
    /// otherwise without those that share its bucket.
    pub fn at_most(&self, nanos: u64) -> u64 {
        let bound = BOUNDS_NANOS.partition_point(|bound| *bound < nanos);
        let below: u64 = self.bounds[..bound].iter().sum();
        let within = below + self.bounds[bound];
        if BOUNDS_NANOS.get(bound) == Some(&nanos) {
            return within;
        }
        let whole = self.counts().take_while(|(bucket, _)| bucket.longest() <= nanos);
        whole.map(|(_, count)| count).sum::<u64>().clamp(below, within)
    }

    /// For each of [`BOUNDS`] how many durations are not longer, exactly. Those beyond the last are
    /// in [`HistogramSnapshot::count`] only.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let sums = self.bounds.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        BOUNDS.into_iter().zip(sums)
    }

    pub(super) fn add_octave(&mut self, octave: usize, count: impl Fn(usize) -> u64) {
        let counts = self.octaves.0[octave].get_or_insert_with(|| Box::new([0; STEPS]));
        counts.iter_mut().enumerate().for_each(|(step, sum)| *sum += count(step));
    }

    pub(super) fn add_bounds(&mut self, count: impl Fn(usize) -> u64, sum_nanos: u64) {
        self.bounds.iter_mut().enumerate().for_each(|(bound, sum)| *sum += count(bound));
        self.sum_nanos = self.sum_nanos.wrapping_add(sum_nanos);
    }

    /// By bound, those beyond all last.
    pub(super) fn bounds(&self) -> &[u64] {
        &self.bounds
    }

    /// As plain numbers, to be written down.
    pub fn parts(&self) -> HistogramParts {
        let place = |bucket: Bucket| (bucket.octave * STEPS + bucket.step) as u64;
        HistogramParts {
            buckets: self.counts().map(|(bucket, count)| (place(bucket), count)).collect(),
            bounds: self.bounds.to_vec(),
            sum_nanos: self.sum_nanos,
        }
    }

    /// From numbers that were written down; `None` if they are those of another form, or too many
    /// to be counts.
    pub fn from_parts(parts: &HistogramParts) -> Option<HistogramSnapshot> {
        let bounds = parts.bounds.as_slice().try_into().ok()?;
        let sum_nanos = parts.sum_nanos;
        let mut all = HistogramSnapshot { bounds, sum_nanos, octaves: Octaves::default() };
        for (place, count) in &parts.buckets {
            let place = usize::try_from(*place).ok()?;
            let counts = all.octaves.0.get_mut(place / STEPS)?;
            let count_there =
                &mut counts.get_or_insert_with(|| Box::new([0; STEPS]))[place % STEPS];
            *count_there = count_there.checked_add(*count)?;
        }
        let by_bound = checked_sum(all.bounds.iter().copied())?;
        let by_bucket = checked_sum(all.counts().map(|(_, count)| count))?;
        (by_bound == by_bucket).then_some(all)
    }

    /// Buckets in which something was counted, from the shortest durations to the longest.
    pub(super) fn counts(&self) -> impl Iterator<Item = (Bucket, u64)> + '_ {
        let octaves = self.octaves.0.iter().enumerate();
        let present = octaves.filter_map(|(octave, counts)| Some((octave, counts.as_ref()?)));
        let all = present.flat_map(|(octave, counts)| {
            let steps = counts.iter().enumerate();
            steps.map(move |(step, count)| (Bucket { octave, step }, *count))
        });
        all.filter(|(_, count)| *count > 0)
    }
}

fn checked_sum(mut counts: impl Iterator<Item = u64>) -> Option<u64> {
    counts.try_fold(0_u64, |sum, count| sum.checked_add(count))
}

/// Counts only grow; should one be smaller than it was, nothing is left of it.
fn take_away(counts: &mut [u64], older: &[u64]) {
    counts.iter_mut().zip(older).for_each(|(count, older)| *count = count.saturating_sub(*older));
}

#[cfg(test)]
mod tests {
    use super::super::Histogram;
    use super::*;

    fn of(durations: &[u64]) -> HistogramSnapshot {
        let histogram = Histogram::default();
        durations.iter().for_each(|nanos| histogram.record(*nanos));
        histogram.snapshot()
    }

    #[test]
    fn nothing_has_no_percentile() {
        let nothing = HistogramSnapshot::default();
        assert_eq!(nothing.percentile(0.5), None);
        assert_eq!((nothing.count(), nothing.mean()), (0, None));
        assert_eq!(nothing.at_most(u64::MAX), 0);
    }

    #[test]
    fn odd_quantiles_are_the_nearest_that_make_sense() {
        let snapshot = of(&[1_000, 1_000_000, 1_000_000_000]);
        let [first, last] = [0.0, 1.0].map(|quantile| snapshot.percentile(quantile));
        assert!(first < last);
        for (quantile, expected) in
            [(-1.0, first), (2.0, last), (f64::NAN, first), (f64::INFINITY, last)]
        {
            assert_eq!(snapshot.percentile(quantile), expected, "{quantile}");
        }
    }

    #[test]
    fn merging_is_recording_all_in_one() {
        let (some, others) = ([700, 2_000_000, 3_000_000], [2_000_001, 80_000_000_000, u64::MAX]);
        let mut merged = of(&some);
        merged.merge(&of(&others));
        assert_eq!(merged, of(&[some, others].concat()));
    }

    #[test]
    fn subtracting_leaves_what_came_later() {
        let (early, late) = ([1_000, 50_000_000], [1_000, 50_000_000, 50_000_000, 9_000_000_000]);
        let older = of(&early);
        let mut window = of(&[early.as_slice(), &late].concat());
        window.subtract(&older);
        assert_eq!(window, of(&late));
        window.subtract(&of(&late));
        assert_eq!((window.count(), window.sum_nanos(), window.percentile(0.9)), (0, 0, None));
    }

    #[test]
    fn a_sum_that_wraps_still_gives_windows() {
        let older = of(&[u64::MAX - 10]);
        let mut window = of(&[u64::MAX - 10, 50]);
        window.subtract(&older);
        assert_eq!((window.count(), window.sum_nanos()), (1, 50));
    }

    #[test]
    fn counts_grow_with_the_duration() {
        let snapshot = of(&[40_000_000, 49_999_999, 50_000_000, 50_000_001, 61_000_000_000]);
        for (nanos, expected) in [
            (0, 0),
            (49_000_000, 1),
            (50_000_000, 3),
            (50_000_001, 3),
            (60_000_000, 4),
            (100_000_000, 4),
            (60_000_000_000, 4),
            (u64::MAX, 5),
        ] {
            assert_eq!(snapshot.at_most(nanos), expected, "{nanos}");
        }
        let shown: Vec<_> = snapshot.cumulative().filter(|(bound, _)| *bound == 0.05).collect();
        assert_eq!(shown, [(0.05, 3)]);
        assert_eq!(snapshot.cumulative().last(), Some((60.0, 4)));
    }

    #[test]
    fn what_is_written_down_reads_back_the_same() {
        for durations in [&[][..], &[0, 700, 2_000_000, 2_000_001, 80_000_000_000, u64::MAX]] {
            let snapshot = of(durations);
            assert_eq!(HistogramSnapshot::from_parts(&snapshot.parts()), Some(snapshot));
        }
    }

    #[test]
    fn numbers_that_no_histogram_has_are_refused() {
        let good = of(&[700, 2_000_000]).parts();
        let change = |change: &dyn Fn(&mut HistogramParts)| {
            let mut parts = good.clone();
            change(&mut parts);
            HistogramSnapshot::from_parts(&parts)
        };
        assert!(change(&|_| {}).is_some());
        assert_eq!(change(&|parts| parts.buckets[0].0 = (OCTAVES * STEPS) as u64), None);
        assert_eq!(change(&|parts| parts.buckets[0].1 = u64::MAX), None);
        assert_eq!(change(&|parts| parts.bounds.truncate(3)), None);
        assert_eq!(change(&|parts| parts.bounds[0] += 1), None, "buckets and bounds disagree");
        assert_eq!(change(&|parts| parts.bounds = vec![u64::MAX; BOUND_COUNT + 1]), None);
    }
}
