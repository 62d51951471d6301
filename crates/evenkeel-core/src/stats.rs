//! Numbers: how often, how long, how much. Every worker writes to cells of its own, without a lock
//! and without an atomic read-modify-write; whoever wants to know adds them up. Totals are exact.
//!
//! ```text
//! Stats ── WorkerStats (one per worker) ── failures, retries
//!   └── table: Series -> one Cell per worker ── requests by status and method, bytes, tries,
//!                                               histograms: duration, first byte, connect, queue
//! ```
//!
//! What earlier processes have counted stands in the cells of one more worker, which never serves.
//!
//! *Architecture invariant:* nothing here is written by two threads, except the tables' rows when a
//! series is seen for the first time.

mod cells;
mod counter;
mod handshake;
mod histogram;
mod label;
mod mirrored;
mod statuses;
mod table;
mod totals;
mod window;
mod worker;

pub use cells::{Cell, CellTotals, ExchangeEnd};
pub use counter::Counter;
pub use handshake::Handshake;
pub use histogram::{BOUNDS, Histogram, HistogramParts, HistogramSnapshot};
pub use label::{GONE, MethodLabel, OTHER, RetryReason, Series};
pub use mirrored::{CopyCounts, CopyResult, CopyTotals};
pub use statuses::{NO_STATUS, StatusTotals};
pub use totals::{ConnectionTotals, Totals};
pub use window::{WINDOW, Window, Windows};
pub use worker::{ConnectionCounts, WorkerStats};

use crate::failure::Failure;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use table::{MaxKeys, Table};
use worker::Tables;

/// Series that are counted apart, unless said otherwise; all further ones are one.
pub const MAX_SERIES: usize = 100_000;
/// Listeners whose connections are counted apart; all further ones are one.
const MAX_LISTENERS: usize = 1_000;
/// Routes and pools whose copies are counted apart; all further ones are one.
const MAX_MIRRORS: usize = 1_000;

/// The size of [`Stats`].
#[derive(Clone, Copy, Debug)]
pub struct StatsSize {
    /// Threads that count.
    pub workers: usize,
    /// Series that are counted apart, besides the one named [`OTHER`].
    pub max_series: usize,
}

/// All numbers of the process.
#[derive(Debug)]
pub struct Stats {
    workers: Vec<Arc<WorkerStats>>,
    /// What earlier processes have counted; locked while that is written.
    bygone: Mutex<()>,
    bygone_stats: WorkerStats,
    /// Locked alone while series are taken away.
    reading: RwLock<()>,
    series: Arc<Table<Series, Cell>>,
    listeners: Arc<Table<Arc<str>, ConnectionCounts>>,
    copies: Arc<Table<Series, CopyCounts>>,
}

impl Stats {
    /// For so many workers and up to [`MAX_SERIES`] series.
    pub fn new(workers: usize) -> Stats {
        Stats::sized(StatsSize { workers, max_series: MAX_SERIES })
    }

    /// Of a given size.
    pub fn sized(size: StatsSize) -> Stats {
        let max_series = MaxKeys(size.max_series);
        let parts = size.workers + 1;
        let series = Arc::new(Table::new(parts, Series::other(), max_series));
        let max_listeners = MaxKeys(MAX_LISTENERS);
        let listeners = Arc::new(Table::new(parts, OTHER.into(), max_listeners));
        let copies = Arc::new(Table::new(parts, Series::other(), MaxKeys(MAX_MIRRORS)));
        let tables = || Tables {
            series: Arc::clone(&series),
            listeners: Arc::clone(&listeners),
            copies: Arc::clone(&copies),
        };
        let worker = |index| WorkerStats::new(index, tables());
        Stats {
            workers: (0..size.workers).map(|index| Arc::new(worker(index))).collect(),
            bygone: Mutex::default(),
            reading: RwLock::default(),
            bygone_stats: worker(size.workers),
            series,
            listeners,
            copies,
        }
    }

    /// Counts what an earlier process has counted. Series beyond the bound count as [`OTHER`].
    pub fn take_over(&self, earlier: &Totals) {
        let _one_at_a_time = self.bygone.lock().unwrap_or_else(PoisonError::into_inner);
        for (series, totals) in &earlier.series {
            self.bygone_stats.cell(series).take_over(totals);
        }
        for (listener, totals) in &earlier.listeners {
            self.bygone_stats.listener(listener).take_over(totals);
        }
        for (series, totals) in &earlier.copies {
            self.bygone_stats.copies(series).take_over(totals);
        }
        self.bygone_stats.take_over(earlier);
    }

    /// Counts these series of backends with the others that are gone: see [`GONE`]. What an
    /// exchange counts in one of them at the same moment may be lost: it is for those in which
    /// nothing has been counted for long.
    pub fn retire(&self, gone: &HashSet<Series>) {
        let _one_at_a_time = self.bygone.lock().unwrap_or_else(PoisonError::into_inner);
        let _alone = self.reading.write().unwrap_or_else(PoisonError::into_inner);
        for row in self.series.take(|series| series.is_of_backend() && gone.contains(series)) {
            let mut totals = CellTotals::default();
            row.cells().for_each(|cell| cell.add_to(&mut totals));
            self.bygone_stats.cell(&row.key.of_gone()).take_over(&totals);
        }
    }

    /// All who have counted.
    fn counted(&self) -> impl Iterator<Item = &WorkerStats> {
        self.workers.iter().map(AsRef::as_ref).chain([&self.bygone_stats])
    }

    /// Where each worker counts. Two threads must not use the same.
    pub fn workers(&self) -> &[Arc<WorkerStats>] {
        &self.workers
    }

    /// Everything that all workers have counted so far.
    pub fn read(&self) -> Totals {
        let _with_others = self.reading.read().unwrap_or_else(PoisonError::into_inner);
        Totals {
            series: self.read_series(),
            listeners: self.read_listeners(),
            copies: self.read_copies(),
            failures: self.sums(Failure::ALL.iter().copied(), WorkerStats::failures),
            retries: self.sums(worker::retry_reasons(), WorkerStats::retries),
            retry_budget_exhausted: self.counted().map(WorkerStats::refused_retries).sum(),
        }
    }

    fn read_series(&self) -> Vec<(Series, CellTotals)> {
        let mut all = Vec::new();
        for row in self.series.rows() {
            let mut cells = row.cells().peekable();
            if cells.peek().is_some() {
                let mut totals = CellTotals::default();
                cells.for_each(|cell| cell.add_to(&mut totals));
                all.push((row.key.clone(), totals));
            }
        }
        all
    }

    fn read_listeners(&self) -> Vec<(Arc<str>, ConnectionTotals)> {
        let mut all = Vec::new();
        for row in self.listeners.rows() {
            let mut cells = row.cells().peekable();
            if cells.peek().is_some() {
                let mut totals = ConnectionTotals::default();
                cells.for_each(|counts| totals.add(counts));
                all.push((Arc::clone(&row.key), totals));
            }
        }
        all
    }

    fn read_copies(&self) -> Vec<(Series, CopyTotals)> {
        let mut all = Vec::new();
        for row in self.copies.rows() {
            let mut totals = CopyTotals::default();
            row.cells().for_each(|counts| counts.add_to(&mut totals));
            if totals != CopyTotals::default() {
                all.push((row.key.clone(), totals));
            }
        }
        all
    }

    /// The sum over workers for each key that was counted at all.
    fn sums<K: Copy>(
        &self,
        keys: impl Iterator<Item = K>,
        count: impl Fn(&WorkerStats, K) -> u64,
    ) -> Vec<(K, u64)> {
        let sum = |key| (key, self.counted().map(|worker| count(worker, key)).sum());
        keys.map(sum).filter(|(_, sum)| *sum > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    fn series(route: &str, backend: &str) -> Series {
        let (route, backend) = (route.into(), backend.into());
        Series { listener: "main".into(), route, pool: "web".into(), backend }
    }

    fn end(round: u32) -> ExchangeEnd {
        let nanos = u64::from(round);
        ExchangeEnd {
            code: if round.is_multiple_of(4) { 503 } else { 200 },
            method: MethodLabel::ALL[round as usize % MethodLabel::ALL.len()],
            total: 1_000 + nanos * 100,
            first_byte: round.is_multiple_of(2).then_some(nanos),
            connect: None,
            queue: None,
            bytes_in: 3,
            bytes_out: nanos,
            failed: false,
        }
    }

    #[test]
    fn two_write_while_a_third_reads() {
        const ROUNDS: u32 = 1_000_000;
        const EVENTS: u64 = ROUNDS as u64;
        let stats = Stats::new(2);
        let shared = series("r", "b:1");
        let written = AtomicBool::new(false);
        thread::scope(|scope| {
            let write = |worker: usize| {
                let own = &stats.workers()[worker];
                let (cell, listener) = (own.cell(&shared), own.listener(&shared.listener));
                for round in 0..ROUNDS {
                    listener.opened.add(1);
                    cell.exchange(&end(round));
                    own.failed(Failure::ALL[round as usize % Failure::ALL.len()]);
                    listener.closed.add(1);
                }
            };
            let writers = [0, 1].map(|worker| scope.spawn(move || write(worker)));
            let read = scope.spawn(|| read_until(&stats, &written));
            writers.into_iter().for_each(|writer| writer.join().expect("it does not panic"));
            written.store(true, Ordering::Release);
            assert!(read.join().expect("it does not panic") > 0);
        });
        let totals = stats.read();
        let cell = &totals.series[0].1;
        assert_eq!((cell.exchanges(), totals.routed()), (2 * EVENTS, 2 * EVENTS));
        assert_eq!((cell.bytes_in, cell.bytes_out), (6 * EVENTS, EVENTS * (EVENTS - 1)));
        assert_eq!((cell.durations.count(), cell.first_byte.count()), (2 * EVENTS, EVENTS));
        assert_eq!(cell.durations.sum_nanos(), 2_000 * EVENTS + 100 * EVENTS * (EVENTS - 1));
        let failed: u64 = cell.requests.iter().filter(|(key, _)| key.0 == 503).map(|it| it.1).sum();
        assert_eq!(failed, EVENTS / 2);
        assert_eq!(totals.failures.iter().map(|(_, count)| count).sum::<u64>(), 2 * EVENTS);
        let closed = ConnectionTotals {
            opened: 2 * EVENTS,
            closed: 2 * EVENTS,
            ..ConnectionTotals::default()
        };
        assert_eq!(totals.listeners, [("main".into(), closed)]);
    }

    /// Reads until all is written; how often. No number may be smaller than before.
    fn read_until(stats: &Stats, written: &AtomicBool) -> u32 {
        let (mut reads, mut older) = (0, [0; 6]);
        while !written.load(Ordering::Acquire) {
            let totals = stats.read();
            let cell = totals.merged(|_| true);
            let newer = [
                cell.exchanges(),
                cell.bytes_out,
                cell.durations.count(),
                cell.durations.sum_nanos(),
                cell.durations.at_most(1_000_000),
                totals.failures.iter().map(|(_, count)| count).sum(),
            ];
            assert!(older.iter().zip(newer).all(|(older, newer)| *older <= newer), "{older:?}");
            (older, reads) = (newer, reads + 1);
        }
        reads
    }

    #[test]
    fn the_same_names_go_on_counting() {
        let stats = Stats::new(1);
        stats.workers()[0].cell(&series("r", "b:1")).exchange(&end(1));
        stats.workers()[0].cell(&series("r", "b:1")).exchange(&end(2));
        stats.workers()[0].cell(&series("", "")).exchange(&end(3));
        let totals = stats.read();
        assert_eq!(totals.series.len(), 2);
        assert_eq!((totals.routed(), totals.unrouted()), (2, 1));
    }

    #[test]
    fn series_beyond_the_bound_are_counted_as_other() {
        let stats = Stats::sized(StatsSize { workers: 2, max_series: 3 });
        for name in ["a", "b", "c", "d", "e"] {
            stats.workers()[0].cell(&series(name, "b:1")).exchange(&end(1));
            stats.workers()[1].cell(&series(name, "b:1")).exchange(&end(1));
        }
        let totals = stats.read();
        let counts: Vec<_> =
            totals.series.iter().map(|(series, it)| (&*series.route, it.exchanges())).collect();
        assert_eq!(counts, [(OTHER, 4), ("a", 2), ("b", 2), ("c", 2)]);
    }

    #[test]
    fn those_that_are_gone_are_counted_together_and_make_room() {
        let stats = Stats::sized(StatsSize { workers: 2, max_series: 4 });
        let pods = |round: u32| [1, 2].map(|pod| series("r", &format!("pod-{round}-{pod}")));
        for round in 1..=100 {
            for (worker, series) in stats.workers().iter().zip(pods(round)) {
                worker.cell(&series).tried();
                worker.cell(&series).exchange(&end(round));
            }
            stats.workers()[0].cell(&series("r", "")).exchange(&end(round));
            let gone = pods(round).into_iter().chain([series("r", "")]).collect();
            stats.retire(&gone);
        }
        let totals = stats.read();
        let seen: Vec<_> = totals.series.iter().map(|(it, cell)| (it, cell.exchanges())).collect();
        let (own, gone) = (series("r", ""), series("r", GONE));
        assert_eq!(seen, [(&own, 100), (&gone, 200)], "no backend is not gone");
        let all = totals.merged(|it| *it.pool == *"web");
        assert_eq!((all.tries, all.durations.count(), all.bytes_in), (200, 300, 900));
        assert_eq!(totals.routed(), 300);
    }

    #[test]
    fn what_never_happened_is_not_there() {
        let stats = Stats::new(2);
        stats.workers()[0].failed(Failure::Reset);
        stats.workers()[1].retried(RetryReason::Status(503));
        stats.workers()[1].retried(RetryReason::Reset);
        stats.workers()[1].retry_refused();
        let totals = stats.read();
        assert_eq!(totals.failures, [(Failure::Reset, 1)]);
        let retries: Vec<_> = totals.retries.iter().map(|it| (it.0.to_string(), it.1)).collect();
        assert_eq!(retries, [("reset".to_owned(), 1), ("503".to_owned(), 1)]);
        assert_eq!(totals.retry_budget_exhausted, 1);
        assert!(totals.series.is_empty() && totals.listeners.is_empty());
    }

    /// Some of everything.
    fn count(stats: &Stats, rounds: u32) {
        let worker = &stats.workers()[0];
        for round in 0..rounds {
            let cell = worker.cell(&series("r", "b:1"));
            cell.tried();
            let (connect, queue) = (Some(30_000), round.is_multiple_of(3).then_some(7_000_000));
            cell.exchange(&ExchangeEnd { connect, queue, ..end(round) });
            let listener = worker.listener(&"main".into());
            listener.opened.add(1);
            listener.handshakes[0].add(1);
            listener.flows_dropped.add(2);
            worker.failed(Failure::Reset);
            worker.retried(RetryReason::Status(503));
            worker.retry_refused();
        }
    }

    #[test]
    fn what_earlier_processes_counted_goes_on() {
        let (old, new, all) = (Stats::new(2), Stats::new(1), Stats::new(1));
        count(&old, 100);
        let handed_over = old.read();
        count(&new, 30);
        new.take_over(&handed_over);
        count(&all, 100);
        count(&all, 30);
        let open = |mut totals: Totals| {
            totals.listeners.iter_mut().for_each(|(_, it)| it.closed = 0);
            format!("{totals:?}")
        };
        assert_eq!(open(new.read()), open(all.read()));
        assert_eq!(new.read().listeners[0].1.open(), 30, "what it had open is not open here");
    }

    #[test]
    fn what_came_after_is_exactly_the_rest() {
        let (old, new, rest) = (Stats::new(1), Stats::new(1), Stats::new(1));
        count(&old, 40);
        let first = old.read();
        new.take_over(&first);
        assert_eq!(format!("{:?}", first.since(&first)), format!("{:?}", Totals::default()));
        old.workers()[0].cell(&series("late", "b:2")).exchange(&end(7));
        count(&old, 5);
        let last = old.read();
        new.take_over(&last.since(&first));
        rest.take_over(&last);
        assert_eq!(format!("{:?}", new.read()), format!("{:?}", rest.read()));
    }

    #[test]
    fn what_is_taken_over_keeps_to_the_bound_on_series() {
        let stats = Stats::sized(StatsSize { workers: 1, max_series: 2 });
        let big = Stats::new(1);
        ["a", "b", "c", "d"].iter().for_each(|it| big.workers()[0].cell(&series(it, "")).tried());
        stats.take_over(&big.read());
        let tries: Vec<_> = stats
            .read()
            .series
            .iter()
            .map(|(series, it)| (series.route.clone(), it.tries))
            .collect();
        assert_eq!(tries, [(OTHER.into(), 2), ("a".into(), 1), ("b".into(), 1)]);
    }
}
