//! What becomes of copies of requests.

use super::cells::{Cell, CellTotals, ExchangeEnd};
use super::counter::Counter;

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyResult {
    /// It was answered.
    Sent,
    /// It was not made: no room, too long a body, or a request that cannot be copied.
    Skipped,
    /// It got no answer, or none that was whole.
    Failed,
}

impl CopyResult {
    /// Every one.
    pub const ALL: [CopyResult; 3] = [CopyResult::Sent, CopyResult::Skipped, CopyResult::Failed];

    /// As users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            CopyResult::Sent => "sent",
            CopyResult::Skipped => "skipped",
            CopyResult::Failed => "failed",
        }
    }
}

/// Copies of one route's requests for one pool, as one worker counts them (see [`Counter`]).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CopyCounts {
    results: [Counter; CopyResult::ALL.len()],
    answers: Cell,
}

impl CopyCounts {
    /// Counts so many copies that had the same fate.
    pub fn ended(&self, result: CopyResult, copies: u64) {
        self.results[result as usize].add(copies);
    }

    /// Counts how a copy was answered, or that it was not: then with the code of a failure.
    pub fn answered(&self, end: &ExchangeEnd) {
        self.answers.exchange(end);
    }

    /// Counts what was counted elsewhere.
    pub(super) fn take_over(&self, earlier: &CopyTotals) {
        for (counter, count) in self.results.iter().zip(&earlier.results) {
            counter.add(*count);
        }
        self.answers.take_over(&earlier.answers);
    }

    pub(super) fn add_to(&self, totals: &mut CopyTotals) {
        for (total, count) in totals.results.iter_mut().zip(&self.results) {
            *total += count.get();
        }
        self.answers.add_to(&mut totals.answers);
    }
}

/// What all workers have counted of the copies of one route for one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyTotals {
    /// In the order of [`CopyResult::ALL`].
    pub results: [u64; CopyResult::ALL.len()],
    /// How they were answered, and in what time.
    pub answers: CellTotals,
}

impl CopyTotals {
    /// True if nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.results.iter().all(|count| *count == 0) && self.answers.is_empty()
    }

    /// What was counted after `older`.
    #[must_use]
    pub fn since(&self, older: &CopyTotals) -> CopyTotals {
        let mut results = self.results;
        for (count, older) in results.iter_mut().zip(older.results) {
            *count = count.saturating_sub(older);
        }
        CopyTotals { results, answers: self.answers.since(&older.answers) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{MethodLabel, Series, Stats};

    fn of(route: &str) -> Series {
        let (route, pool) = (route.into(), "shadow".into());
        Series { listener: "".into(), route, pool, backend: "".into() }
    }

    #[test]
    fn copies_count_by_route_and_result_and_in_nothing_else() {
        let stats = Stats::new(2);
        for worker in stats.workers() {
            for (place, result) in CopyResult::ALL.into_iter().enumerate() {
                worker.copies(&of("r")).ended(result, place as u64 + 1);
            }
        }
        stats.workers()[0].copies(&of("r")).answered(&ExchangeEnd {
            code: 503,
            method: MethodLabel::Get,
            total: 1_000,
            first_byte: None,
            connect: None,
            queue: None,
            bytes_in: 0,
            bytes_out: 0,
            failed: true,
        });
        let totals = stats.read();
        assert!(totals.series.is_empty());
        let [(series, copies)] = totals.copies.as_slice() else { panic!("{totals:?}") };
        assert_eq!((&*series.route, copies.results), ("r", [2, 4, 6]));
        let answers: Vec<_> = copies.answers.requests.iter().collect();
        assert_eq!(answers, [(&(503, MethodLabel::Get), &1)]);
        let next = Stats::new(1);
        next.take_over(&totals);
        next.workers()[0].copies(&of("r")).ended(CopyResult::Failed, 5);
        let later = next.read();
        assert_eq!(later.copies[0].1.results, [2, 4, 11]);
        let since = later.since(&totals);
        assert_eq!(since.copies[0].1.results, [0, 0, 5]);
        assert!(totals.since(&totals).copies.is_empty());
    }
}
