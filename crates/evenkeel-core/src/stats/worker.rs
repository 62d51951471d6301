//! What one worker counts beside its exchanges' series.

use super::cells::Cell;
use super::counter::Counter;
use super::handshake::Handshake;
use super::label::{RetryReason, Series};
use super::mirrored::CopyCounts;
use super::table::Table;
use super::{ConnectionTotals, Totals};
use crate::failure::Failure;
use std::array;
use std::sync::Arc;

const FAILURES: usize = Failure::ALL.len();
/// First of the statuses that a retry can be due to, and how many there are.
const FIRST_RETRIED: u16 = 400;
const RETRIED: usize = 200;
const WORDS: [RetryReason; 5] = [
    RetryReason::ConnectFailure,
    RetryReason::Reset,
    RetryReason::PerTryTimeout,
    RetryReason::GrpcUnavailable,
    RetryReason::Stale,
];

/// Client connections of one listener, as one worker counts them (see [`Counter`]).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ConnectionCounts {
    /// Accepted.
    pub opened: Counter,
    /// Closed, by whom ever.
    pub closed: Counter,
    /// TLS handshakes, in the order of [`Handshake::ALL`].
    pub handshakes: [Counter; Handshake::ALL.len()],
    /// Datagrams that belong to no flow, and for which none could begin.
    pub flows_dropped: Counter,
}

impl ConnectionCounts {
    /// Counts what was counted elsewhere: nothing of it is open here.
    pub(super) fn take_over(&self, earlier: &ConnectionTotals) {
        self.closed.add(earlier.opened);
        self.opened.add(earlier.opened);
        self.flows_dropped.add(earlier.flows_dropped);
        for (counter, count) in self.handshakes.iter().zip(&earlier.handshakes) {
            counter.add(*count);
        }
    }
}

/// What all workers count in, each in its own cells.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) series: Arc<Table<Series, Cell>>,
    pub(super) listeners: Arc<Table<Arc<str>, ConnectionCounts>>,
    pub(super) copies: Arc<Table<Series, CopyCounts>>,
}

/// The numbers of one worker: that worker only may write to them (see [`Counter`]).
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerStats {
    index: usize,
    tables: Tables,
    failures: [Counter; FAILURES],
    retries: Retries,
    retry_budget_exhausted: Counter,
}

impl WorkerStats {
    pub(super) fn new(index: usize, tables: Tables) -> WorkerStats {
        WorkerStats {
            index,
            tables,
            failures: array::from_fn(|_| Counter::default()),
            retries: Retries::default(),
            retry_budget_exhausted: Counter::default(),
        }
    }

    /// Where this worker counts the exchanges of `series`. Locks for a moment, and allocates if it
    /// is new: to be kept by the caller for as long as its configuration is in force. The same
    /// names give the same cell; too many of them give the cell of `other`.
    pub fn cell(&self, series: &Series) -> Arc<Cell> {
        self.tables.series.cell(self.index, series)
    }

    /// Where this worker counts the client connections of a listener; to be kept by the caller.
    pub fn listener(&self, name: &Arc<str>) -> Arc<ConnectionCounts> {
        self.tables.listeners.cell(self.index, name)
    }

    /// Where this worker counts the copies of a route's requests for a pool; to be kept by the
    /// caller.
    pub fn copies(&self, of: &Series) -> Arc<CopyCounts> {
        self.tables.copies.cell(self.index, of)
    }

    /// Counts an exchange that failed.
    #[inline]
    pub fn failed(&self, failure: Failure) {
        self.failures[failure as usize].add(1);
    }

    /// Counts a retry. A status that none can be due to, outside 400..=599, counts as
    /// [`super::NO_STATUS`].
    #[inline]
    pub fn retried(&self, reason: RetryReason) {
        self.retries.of(reason).add(1);
    }

    /// Counts a retry that was not made because the budget had none left.
    #[inline]
    pub fn retry_refused(&self) {
        self.retry_budget_exhausted.add(1);
    }

    /// Counts what was counted elsewhere, besides series and listeners.
    pub(super) fn take_over(&self, earlier: &Totals) {
        for (failure, count) in &earlier.failures {
            self.failures[*failure as usize].add(*count);
        }
        for (reason, count) in &earlier.retries {
            self.retries.of(*reason).add(*count);
        }
        self.retry_budget_exhausted.add(earlier.retry_budget_exhausted);
    }

    pub(super) fn failures(&self, failure: Failure) -> u64 {
        self.failures[failure as usize].get()
    }

    pub(super) fn retries(&self, reason: RetryReason) -> u64 {
        self.retries.of(reason).get()
    }

    pub(super) fn refused_retries(&self) -> u64 {
        self.retry_budget_exhausted.get()
    }
}

/// Retries by reason.
#[derive(Debug)]
struct Retries {
    /// For statuses first those from [`FIRST_RETRIED`] on, then one for all others.
    statuses: [Counter; RETRIED + 1],
    words: [Counter; WORDS.len()],
}

impl Default for Retries {
    fn default() -> Retries {
        Retries {
            statuses: array::from_fn(|_| Counter::default()),
            words: array::from_fn(|_| Counter::default()),
        }
    }
}

impl Retries {
    fn of(&self, reason: RetryReason) -> &Counter {
        match reason {
            RetryReason::ConnectFailure => &self.words[0],
            RetryReason::Reset => &self.words[1],
            RetryReason::PerTryTimeout => &self.words[2],
            RetryReason::GrpcUnavailable => &self.words[3],
            RetryReason::Stale => &self.words[4],
            RetryReason::Status(status) => {
                let place = usize::from(status.wrapping_sub(FIRST_RETRIED));
                &self.statuses[place.min(RETRIED)]
            }
        }
    }
}

/// Every reason that retries are counted by, one only for all statuses outside 400..=599.
pub(super) fn retry_reasons() -> impl Iterator<Item = RetryReason> {
    let statuses = (FIRST_RETRIED..).take(RETRIED).chain([super::NO_STATUS]);
    WORDS.into_iter().chain(statuses.map(RetryReason::Status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Stats;

    #[test]
    fn every_failure_has_its_place() {
        for (place, failure) in Failure::ALL.iter().enumerate() {
            assert_eq!(*failure as usize, place);
        }
    }

    #[test]
    fn every_reason_is_read_back_from_its_label() {
        for reason in retry_reasons() {
            assert_eq!(RetryReason::parse(&reason.to_string()), Some(reason));
        }
        assert_eq!(RetryReason::parse("no reason"), None);
    }

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        let stats = Stats::new(1);
        let worker = &stats.workers()[0];
        for (times, reason) in retry_reasons().enumerate() {
            (0..times).for_each(|_| worker.retried(reason));
        }
        for (times, reason) in retry_reasons().enumerate() {
            assert_eq!(worker.retries(reason), times as u64, "{reason}");
        }
        worker.retried(RetryReason::Status(200));
        worker.retried(RetryReason::Status(999));
        let others = worker.retries(RetryReason::Status(super::super::NO_STATUS));
        assert_eq!(others, (WORDS.len() + RETRIED) as u64 + 2);
    }
}
