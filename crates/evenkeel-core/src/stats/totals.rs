//! What all have counted, added up.

use super::{CellTotals, ConnectionCounts, CopyTotals, Handshake, RetryReason, Series};
use crate::failure::Failure;
use std::collections::HashMap;
use std::sync::Arc;

/// Client connections of one listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionTotals {
    /// Accepted.
    pub opened: u64,
    /// Closed.
    pub closed: u64,
    /// TLS handshakes, in the order of [`Handshake::ALL`].
    pub handshakes: [u64; Handshake::ALL.len()],
    /// Datagrams that belong to no flow, and for which none could begin.
    pub flows_dropped: u64,
}

impl ConnectionTotals {
    /// Those that are open.
    pub fn open(self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }

    /// What was counted after `older`.
    #[must_use]
    pub fn since(mut self, older: ConnectionTotals) -> ConnectionTotals {
        self.opened = self.opened.saturating_sub(older.opened);
        self.closed = self.closed.saturating_sub(older.closed);
        self.flows_dropped = self.flows_dropped.saturating_sub(older.flows_dropped);
        for (count, older) in self.handshakes.iter_mut().zip(older.handshakes) {
            *count = count.saturating_sub(older);
        }
        self
    }

    pub(super) fn add(&mut self, counts: &ConnectionCounts) {
        self.closed += counts.closed.get();
        self.opened += counts.opened.get();
        self.flows_dropped += counts.flows_dropped.get();
        for (total, count) in self.handshakes.iter_mut().zip(&counts.handshakes) {
            *total += count.get();
        }
    }
}

/// What all workers have counted. Every number is exact; those that are read while an exchange ends
/// may have it in one place and not yet in another.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Exchanges, in the order in which their series were first seen.
    pub series: Vec<(Series, CellTotals)>,
    /// Client connections.
    pub listeners: Vec<(Arc<str>, ConnectionTotals)>,
    /// Copies of requests, by route and by the pool that they are for.
    pub copies: Vec<(Series, CopyTotals)>,
    /// Exchanges that failed, by failure; those that never happened are left out.
    pub failures: Vec<(Failure, u64)>,
    /// Retries by reason; those that never happened are left out.
    pub retries: Vec<(RetryReason, u64)>,
    /// Retries that were not made because the budget had none left.
    pub retry_budget_exhausted: u64,
}

impl Totals {
    /// Exchanges for which a route matched.
    pub fn routed(&self) -> u64 {
        self.exchanges(|series| !series.route.is_empty())
    }

    /// Local replies without a route.
    pub fn unrouted(&self) -> u64 {
        self.exchanges(|series| series.route.is_empty())
    }

    fn exchanges(&self, wanted: impl Fn(&Series) -> bool) -> u64 {
        let matching = self.series.iter().filter(|(series, _)| wanted(series));
        matching.map(|(_, totals)| totals.exchanges()).sum()
    }

    /// What was counted after `older`, of those in whom something was.
    #[must_use]
    pub fn since(&self, older: &Totals) -> Totals {
        let before: HashMap<&Series, &CellTotals> =
            older.series.iter().map(|(series, totals)| (series, totals)).collect();
        let series = self.series.iter().filter_map(|(series, totals)| {
            let later = match before.get(series) {
                Some(older) => totals.since(older),
                None => totals.clone(),
            };
            (!later.is_empty()).then(|| (series.clone(), later))
        });
        let listeners = self.listeners.iter().filter_map(|(name, totals)| {
            let before = older.listeners.iter().find(|(known, _)| known == name);
            let later = totals.since(before.map(|(_, older)| *older).unwrap_or_default());
            (later != ConnectionTotals::default()).then(|| (Arc::clone(name), later))
        });
        let copies = self.copies.iter().filter_map(|(series, totals)| {
            let before = older.copies.iter().find(|(known, _)| known == series);
            let later = before.map_or_else(|| totals.clone(), |(_, older)| totals.since(older));
            (!later.is_empty()).then(|| (series.clone(), later))
        });
        let exhausted = self.retry_budget_exhausted;
        Totals {
            series: series.collect(),
            listeners: listeners.collect(),
            copies: copies.collect(),
            failures: later(&self.failures, &older.failures),
            retries: later(&self.retries, &older.retries),
            retry_budget_exhausted: exhausted.saturating_sub(older.retry_budget_exhausted),
        }
    }

    /// All series that are `wanted`, as one.
    pub fn merged(&self, wanted: impl Fn(&Series) -> bool) -> CellTotals {
        let mut merged = CellTotals::default();
        for (_, totals) in self.series.iter().filter(|(series, _)| wanted(series)) {
            merged.merge(totals);
        }
        merged
    }
}

fn later<K: Copy + PartialEq>(counts: &[(K, u64)], older: &[(K, u64)]) -> Vec<(K, u64)> {
    let more = counts.iter().map(|(key, count)| {
        let before = older.iter().find(|(known, _)| known == key).map_or(0, |(_, count)| *count);
        (*key, count.saturating_sub(before))
    });
    more.filter(|(_, count)| *count > 0).collect()
}
