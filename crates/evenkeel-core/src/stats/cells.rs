//! What one worker counts of one series.

use super::counter::Counter;
use super::histogram::{Histogram, HistogramSnapshot};
use super::label::MethodLabel;
use super::statuses::{StatusCounters, StatusTotals};
use crate::grpc::STATUSES;
use std::array;
use std::sync::OnceLock;

/// An exchange that has ended. Times are in nanoseconds, and absent if it never came so far.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeEnd {
    /// Status that the client got; 0 if none.
    pub code: u16,
    /// The request's method.
    pub method: MethodLabel,
    /// From the end of the request's head to the end of the exchange.
    pub total: u64,
    /// From the last try's start to the first byte of its answer.
    pub first_byte: Option<u64>,
    /// To make a new connection to the backend.
    pub connect: Option<u64>,
    /// Waiting for a backend to have room.
    pub queue: Option<u64>,
    /// Received from the client.
    pub bytes_in: u64,
    /// Sent to the client.
    pub bytes_out: u64,
    /// It went wrong on our side or the backend's, whatever its status says: a 5xx, a gRPC call
    /// that failed, an answer that was cut short.
    pub failed: bool,
}

/// What one worker counts of one series: that worker only may write to it (see [`Counter`]). Its
/// own cache lines: workers do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Cell {
    tries: Counter,
    failed: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    requests: StatusCounters,
    durations: Histogram,
    first_byte: OnceLock<Box<Histogram>>,
    connect: OnceLock<Box<Histogram>>,
    queue: OnceLock<Box<Histogram>>,
    calls: OnceLock<Box<CallCounters>>,
}

/// gRPC calls by how they ended; whole cache lines, which no other thread writes.
#[derive(Debug)]
#[repr(align(128))]
struct CallCounters([Counter; STATUSES]);

#[cold]
fn new_calls() -> Box<CallCounters> {
    Box::new(CallCounters(array::from_fn(|_| Counter::default())))
}

impl Cell {
    /// Counts an exchange. Allocates only when a status class, a magnitude of duration or a kind of
    /// time is seen for the first time.
    #[inline]
    pub fn exchange(&self, end: &ExchangeEnd) {
        self.requests.count(end.code, end.method);
        self.durations.record(end.total);
        record_if(&self.first_byte, end.first_byte);
        record_if(&self.connect, end.connect);
        record_if(&self.queue, end.queue);
        self.bytes_in.add(end.bytes_in);
        self.bytes_out.add(end.bytes_out);
        if end.failed {
            self.failed.add(1);
        }
    }

    /// Counts the exchange as a gRPC call that ended so. Allocates for the first one.
    #[inline]
    pub fn call(&self, status: u8) {
        if let Some(counter) = self.calls.get_or_init(new_calls).0.get(usize::from(status)) {
            counter.add(1);
        }
    }

    /// Counts one try: the request was sent to the series' backend, or that was attempted.
    #[inline]
    pub fn tried(&self) {
        self.tries.add(1);
    }

    /// Counts what was counted elsewhere.
    pub(super) fn take_over(&self, earlier: &CellTotals) {
        self.requests.take_over(&earlier.requests);
        self.durations.take_over(&earlier.durations);
        take_over_if(&self.first_byte, &earlier.first_byte);
        take_over_if(&self.connect, &earlier.connect);
        take_over_if(&self.queue, &earlier.queue);
        self.bytes_in.add(earlier.bytes_in);
        self.bytes_out.add(earlier.bytes_out);
        self.tries.add(earlier.tries);
        if earlier.calls != [0; STATUSES] {
            let own = self.calls.get_or_init(new_calls).0.iter();
            own.zip(earlier.calls).for_each(|(counter, count)| counter.add(count));
        }
        self.failed.add(earlier.failed);
    }

    /// Adds what was counted so far.
    pub(super) fn add_to(&self, totals: &mut CellTotals) {
        self.requests.add_to(&mut totals.requests);
        self.durations.add_to(&mut totals.durations);
        add_if(&self.first_byte, &mut totals.first_byte);
        add_if(&self.connect, &mut totals.connect);
        add_if(&self.queue, &mut totals.queue);
        totals.bytes_in += self.bytes_in.get();
        totals.bytes_out += self.bytes_out.get();
        totals.tries += self.tries.get();
        let calls = self.calls.get().into_iter().flat_map(|calls| &calls.0);
        totals.calls.iter_mut().zip(calls).for_each(|(total, count)| *total += count.get());
        totals.failed += self.failed.get();
    }
}

#[inline]
fn record_if(histogram: &OnceLock<Box<Histogram>>, nanos: Option<u64>) {
    if let Some(nanos) = nanos {
        histogram.get_or_init(Box::default).record(nanos);
    }
}

fn take_over_if(histogram: &OnceLock<Box<Histogram>>, earlier: &HistogramSnapshot) {
    if earlier.count() > 0 {
        histogram.get_or_init(Box::default).take_over(earlier);
    }
}

fn add_if(histogram: &OnceLock<Box<Histogram>>, snapshot: &mut HistogramSnapshot) {
    if let Some(histogram) = histogram.get() {
        histogram.add_to(snapshot);
    }
}

/// What all workers have counted of one series, or of several merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellTotals {
    /// Exchanges by status and method.
    pub requests: StatusTotals,
    /// Of exchanges, from the end of the request's head to their end.
    pub durations: HistogramSnapshot,
    /// From the last try's start to the first byte of its answer.
    pub first_byte: HistogramSnapshot,
    /// To make new connections to backends.
    pub connect: HistogramSnapshot,
    /// Waiting for a backend to have room.
    pub queue: HistogramSnapshot,
    /// Received from clients.
    pub bytes_in: u64,
    /// Sent to clients.
    pub bytes_out: u64,
    /// Tries, repeats included.
    pub tries: u64,
    /// gRPC calls by `grpc-status`.
    pub calls: [u64; STATUSES],
    /// Exchanges that went wrong on our side or the backend's.
    pub failed: u64,
}

impl CellTotals {
    /// Exchanges, whatever their status and method.
    pub fn exchanges(&self) -> u64 {
        self.requests.values().sum()
    }

    /// Adds another series.
    pub fn merge(&mut self, other: &CellTotals) {
        for (key, count) in &other.requests {
            *self.requests.entry(*key).or_default() += count;
        }
        self.durations.merge(&other.durations);
        self.first_byte.merge(&other.first_byte);
        self.connect.merge(&other.connect);
        self.queue.merge(&other.queue);
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.tries += other.tries;
        self.calls.iter_mut().zip(other.calls).for_each(|(total, count)| *total += count);
        self.failed += other.failed;
    }

    /// What was counted after `older`.
    pub fn since(&self, older: &CellTotals) -> CellTotals {
        let requests = self.requests.iter().filter_map(|(key, count)| {
            let more = count.saturating_sub(older.requests.get(key).copied().unwrap_or(0));
            (more > 0).then_some((*key, more))
        });
        let later = |own: &HistogramSnapshot, older: &HistogramSnapshot| {
            let mut later = own.clone();
            later.subtract(older);
            later
        };
        CellTotals {
            requests: requests.collect(),
            durations: later(&self.durations, &older.durations),
            first_byte: later(&self.first_byte, &older.first_byte),
            connect: later(&self.connect, &older.connect),
            queue: later(&self.queue, &older.queue),
            bytes_in: self.bytes_in.saturating_sub(older.bytes_in),
            bytes_out: self.bytes_out.saturating_sub(older.bytes_out),
            tries: self.tries.saturating_sub(older.tries),
            calls: array::from_fn(|at| self.calls[at].saturating_sub(older.calls[at])),
            failed: self.failed.saturating_sub(older.failed),
        }
    }

    /// True if nothing was counted.
    pub fn is_empty(&self) -> bool {
        let CellTotals { bytes_in, bytes_out, tries, calls, .. } = self;
        let histograms = [&self.durations, &self.first_byte, &self.connect, &self.queue];
        self.requests.is_empty()
            && histograms.iter().all(|it| it.count() == 0)
            && [bytes_in, bytes_out, tries].iter().all(|it| **it == 0)
            && *calls == [0; STATUSES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: ExchangeEnd = ExchangeEnd {
        code: 200,
        method: MethodLabel::Get,
        total: 1_500_000,
        first_byte: Some(1_000_000),
        connect: None,
        queue: None,
        bytes_in: 10,
        bytes_out: 200,
        failed: false,
    };

    fn totals(cell: &Cell) -> CellTotals {
        let mut totals = CellTotals::default();
        cell.add_to(&mut totals);
        totals
    }

    #[test]
    fn an_exchange_is_in_every_number_it_has() {
        let cell = Cell::default();
        cell.tried();
        cell.tried();
        cell.exchange(&END);
        cell.exchange(&ExchangeEnd {
            code: 0,
            method: MethodLabel::of(b"BREW"),
            first_byte: None,
            connect: Some(30_000),
            queue: Some(7_000_000),
            failed: true,
            ..END
        });
        let totals = totals(&cell);
        let expected = [((0, MethodLabel::Other), 1), ((200, MethodLabel::Get), 1)];
        assert_eq!(totals.requests, StatusTotals::from(expected));
        assert_eq!((totals.exchanges(), totals.tries, totals.failed), (2, 2, 1));
        assert_eq!((totals.bytes_in, totals.bytes_out), (20, 400));
        let times = [&totals.durations, &totals.first_byte, &totals.connect, &totals.queue];
        let counted = times.map(|times| (times.count(), times.sum_nanos()));
        assert_eq!(counted, [(2, 3_000_000), (1, 1_000_000), (1, 30_000), (1, 7_000_000)]);
    }

    #[test]
    fn merging_is_counting_all_in_one() {
        let (one, other, both) = (Cell::default(), Cell::default(), Cell::default());
        let ends = [END, ExchangeEnd { code: 503, connect: Some(9_000), ..END }];
        for (cell, end) in [(&one, ends[0]), (&other, ends[1]), (&both, ends[0]), (&both, ends[1])]
        {
            cell.tried();
            cell.exchange(&end);
        }
        let mut merged = totals(&one);
        merged.merge(&totals(&other));
        assert_eq!(merged, totals(&both));
    }

    #[test]
    fn calls_are_counted_by_their_end() {
        let (one, other) = (Cell::default(), Cell::default());
        assert_eq!(totals(&one).calls, [0; STATUSES]);
        for status in [0, 0, 14, u8::MAX] {
            one.call(status);
        }
        other.call(16);
        let mut merged = totals(&one);
        merged.merge(&totals(&other));
        let counted: Vec<_> =
            merged.calls.iter().enumerate().filter(|(_, count)| **count > 0).collect();
        assert_eq!(counted, [(0, &2), (14, &1), (16, &1)]);
    }

    #[test]
    fn a_cell_without_rare_times_is_small() {
        assert!(size_of::<Cell>() <= 1_536, "{}", size_of::<Cell>());
    }
}
