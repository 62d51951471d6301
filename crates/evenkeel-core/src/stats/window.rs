//! The last minute: what histograms hold now without what they held a minute ago.
//!
//! ```text
//! age of the snapshots kept, in seconds      3  13  23  33  43  53  63
//! the window                                 <---------------------->
//! ```

use super::histogram::HistogramSnapshot;
use super::label::Series;
use super::{CellTotals, Totals};
use crate::time::Nanos;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The time that a window covers at least, if so much has passed; at most one tick more.
pub const WINDOW: Duration = Duration::from_secs(60);
/// From one snapshot kept to the next.
const TICK: Duration = Duration::from_secs(10);
/// Snapshots kept: the youngest that is as old as the window, and all younger ones.
const KEPT: usize = 7;

/// Recent durations of one histogram.
#[derive(Debug, Default)]
pub struct Window {
    /// What was there before the beginning.
    floor: Option<Arc<HistogramSnapshot>>,
    /// From the oldest to the youngest; those between which nothing happened share their memory.
    kept: VecDeque<(Nanos, Arc<HistogramSnapshot>)>,
}

impl Window {
    /// Keeps `seen`, what the histogram holds at the time `now`, if the last one kept is a tick
    /// old. Best called every second; windows are longer if it is called less often than ticks.
    pub fn tick(&mut self, now: Nanos, seen: &HistogramSnapshot) {
        let last = self.kept.back();
        if last.is_some_and(|(at, _)| now.duration_since(*at) < TICK) {
            return;
        }
        let same = last.map(|(_, snapshot)| snapshot).filter(|snapshot| ***snapshot == *seen);
        let snapshot = same.map_or_else(|| Arc::new(seen.clone()), Arc::clone);
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((now, snapshot));
    }

    /// What was recorded in the last 60 to 70 seconds, or since the beginning if that is later.
    /// `seen` is what the histogram holds at the time `now`.
    pub fn recent(&self, now: Nanos, seen: &HistogramSnapshot) -> HistogramSnapshot {
        let mut recent = seen.clone();
        let old = |(at, _): &&(Nanos, Arc<HistogramSnapshot>)| now.duration_since(*at) >= WINDOW;
        let older = self.kept.iter().rev().find(old).map(|(_, older)| older);
        if let Some(older) = older.or(self.floor.as_ref()) {
            recent.subtract(older);
        }
        recent
    }
}

/// Recent durations of every series.
#[derive(Debug, Default)]
pub struct Windows {
    of: HashMap<Series, Window>,
}

impl Windows {
    /// Begins now, with what earlier processes have counted: that is not recent.
    pub fn begin(&mut self, earlier: &Totals) {
        for (series, totals) in &earlier.series {
            let window = self.of.entry(series.clone()).or_default();
            *window =
                Window { floor: Some(Arc::new(totals.durations.clone())), kept: VecDeque::new() };
        }
    }

    /// Keeps the durations of all series; as [`Window::tick`].
    pub fn tick(&mut self, now: Nanos, totals: &Totals) {
        for (series, totals) in with_recent(totals) {
            match self.of.get_mut(series) {
                Some(window) => window.tick(now, &totals.durations),
                None => {
                    let mut window = Window::default();
                    window.tick(now, &totals.durations);
                    self.of.insert(series.clone(), window);
                }
            }
        }
    }

    /// Forgets series that are counted apart no more.
    pub fn forget(&mut self, gone: &HashSet<Series>) {
        self.of.retain(|series, _| !gone.contains(series));
    }

    /// Durations of the last 60 to 70 seconds of all series that are `wanted`, as one.
    pub fn recent(
        &self,
        now: Nanos,
        totals: &Totals,
        wanted: impl Fn(&Series) -> bool,
    ) -> HistogramSnapshot {
        let mut merged = HistogramSnapshot::default();
        for (series, totals) in with_recent(totals).filter(|(series, _)| wanted(series)) {
            match self.of.get(series) {
                Some(window) => merged.merge(&window.recent(now, &totals.durations)),
                None => merged.merge(&totals.durations),
            }
        }
        merged
    }
}

/// Nothing of what backends counted that are gone is recent.
fn with_recent(totals: &Totals) -> impl Iterator<Item = &(Series, CellTotals)> {
    totals.series.iter().filter(|(series, _)| !series.is_of_gone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{ExchangeEnd, Histogram, MethodLabel, Stats};

    const MILLISECOND: u64 = 1_000_000;

    fn seconds(seconds: u64) -> Nanos {
        Nanos::default().after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_window_holds_the_last_minute_only() {
        let (histogram, mut window) = (Histogram::default(), Window::default());
        for second in 0..1_000 {
            window.tick(seconds(second), &histogram.snapshot());
            let recent = window.recent(seconds(second), &histogram.snapshot());
            let count = recent.count();
            assert!((second.min(60)..=second.min(69)).contains(&count), "{second}: {count}");
            histogram.record(MILLISECOND * (1 + second));
        }
        assert_eq!(window.kept.len(), KEPT);
        let recent = window.recent(seconds(1_000), &histogram.snapshot());
        let median = recent.percentile(0.5).expect("something was recorded") / MILLISECOND;
        assert!((950..=990).contains(&median), "{median}");
    }

    #[test]
    fn nothing_is_left_after_a_quiet_minute_and_it_takes_no_memory() {
        let (histogram, mut window) = (Histogram::default(), Window::default());
        histogram.record(MILLISECOND);
        let seen = histogram.snapshot();
        (0..=6).for_each(|tick| window.tick(seconds(10 * tick), &seen));
        assert_eq!(window.recent(seconds(59), &seen).count(), 1);
        assert_eq!(window.recent(seconds(60), &seen).count(), 0);
        assert_eq!(Arc::strong_count(&window.kept[0].1), KEPT);
    }

    #[test]
    fn ticks_that_come_late_make_the_window_longer() {
        let (histogram, mut window) = (Histogram::default(), Window::default());
        window.tick(seconds(0), &histogram.snapshot());
        histogram.record(MILLISECOND);
        window.tick(seconds(500), &histogram.snapshot());
        assert_eq!(window.recent(seconds(500), &histogram.snapshot()).count(), 1);
        assert_eq!(window.recent(seconds(560), &histogram.snapshot()).count(), 0);
    }

    #[test]
    fn what_was_counted_before_the_beginning_is_not_recent() {
        let (histogram, mut window) = (Histogram::default(), Window::default());
        histogram.record(MILLISECOND);
        window.floor = Some(Arc::new(histogram.snapshot()));
        assert_eq!(window.recent(seconds(0), &histogram.snapshot()).count(), 0);
        histogram.record(MILLISECOND);
        for second in 0..59 {
            window.tick(seconds(second), &histogram.snapshot());
            assert_eq!(window.recent(seconds(second), &histogram.snapshot()).count(), 1);
        }
        window.tick(seconds(60), &histogram.snapshot());
        assert_eq!(window.recent(seconds(60), &histogram.snapshot()).count(), 0);
    }

    #[test]
    fn every_series_has_a_window_of_its_own() {
        let (stats, mut windows) = (Stats::new(1), Windows::default());
        let exchange = |backend: &str| {
            let name = || "x".into();
            let backend = backend.into();
            let series = Series { listener: name(), route: name(), pool: name(), backend };
            stats.workers()[0].cell(&series).exchange(&ExchangeEnd {
                code: 200,
                method: MethodLabel::Get,
                total: MILLISECOND,
                first_byte: None,
                connect: None,
                queue: None,
                bytes_in: 0,
                bytes_out: 0,
                failed: false,
            });
        };
        exchange("early");
        windows.tick(seconds(0), &stats.read());
        exchange("late");
        exchange("early");
        let totals = stats.read();
        let count = |wanted: &str| {
            let wanted = |series: &Series| &*series.backend == wanted;
            windows.recent(seconds(60), &totals, wanted).count()
        };
        assert_eq!([count("early"), count("late"), count("absent")], [1, 1, 0]);
    }
}
