//! What one thread of a run counts.

use super::fault::Fault;
use super::journal::Rows;
use super::lane::Answer;
use super::live::Counter;
use super::report::Report;
use crate::{LatencyHistogram, LoadError};
use std::time::Duration;

/// How an answer without X-Backend is counted.
pub(crate) const DIRECT: &str = "direct";
/// Different backends that are counted by name; answers of further ones are counted as `OTHERS`.
const MAX_BACKENDS: usize = 1000;
const OTHERS: &str = "(others)";
/// Statuses are below this.
const STATUSES: usize = 1000;

/// One request that has ended.
pub(crate) struct Ended<'a> {
    /// From 1.
    pub(crate) seq: u64,
    /// When it began, or was due, from the start of the run.
    pub(crate) begun: Duration,
    /// From then.
    pub(crate) latency: Duration,
    /// What came of it.
    pub(crate) outcome: Result<Answer, Fault>,
    /// Who answered; empty if the answer does not say so.
    pub(crate) backend: &'a str,
}

/// Counts of one thread.
pub(crate) struct Tally {
    latency: LatencyHistogram,
    lateness: LatencyHistogram,
    statuses: Vec<u64>,
    backends: Vec<(String, u64)>,
    errors: [u64; LoadError::ALL.len()],
    texts: [Option<String>; LoadError::ALL.len()],
    bytes: u64,
    /// When the last request ended, from the start of the run.
    last: Duration,
    rows: Option<Rows>,
    live: Counter,
}

impl Tally {
    /// Counts into `live` too, and writes a row of each request if there are `rows`.
    pub(crate) fn new(live: Counter, rows: Option<Rows>) -> Tally {
        Tally {
            latency: LatencyHistogram::default(),
            lateness: LatencyHistogram::default(),
            statuses: vec![0; STATUSES],
            backends: Vec::new(),
            errors: Default::default(),
            texts: Default::default(),
            bytes: 0,
            last: Duration::ZERO,
            rows,
            live,
        }
    }

    /// Counts how late a request was sent that had its time.
    pub(crate) fn began_late(&mut self, by: Duration) {
        self.lateness.record(by);
    }

    /// Counts one request.
    pub(crate) fn count(&mut self, ended: Ended<'_>) {
        self.latency.record(ended.latency);
        self.last = self.last.max(ended.begun + ended.latency);
        let backend = match &ended.outcome {
            Ok(_) if ended.backend.is_empty() => DIRECT,
            Ok(_) => ended.backend,
            Err(_) => "",
        };
        if let Some(rows) = &mut self.rows {
            rows.add(&ended, backend);
        }
        match ended.outcome {
            Ok(answer) => {
                self.statuses[usize::from(answer.status) % STATUSES] += 1;
                self.bytes += answer.bytes;
                self.count_backend(backend);
                self.live.count(answer.status >= 400);
            }
            Err(fault) => {
                let index = fault.kind.index();
                self.errors[index] += 1;
                self.texts[index].get_or_insert(fault.text);
                self.live.count(true);
            }
        }
    }

    /// Hands the rows so far to whoever writes them.
    pub(crate) fn flush_rows(&mut self) {
        if let Some(rows) = &mut self.rows {
            rows.flush();
        }
    }

    /// Adds everything to a report; no further row will come.
    pub(crate) fn add_to(self, report: &mut Report) {
        report.elapsed = report.elapsed.max(self.last);
        report.latency.merge(&self.latency);
        report.lateness.merge(&self.lateness);
        report.bytes += self.bytes;
        for (status, count) in (0..).zip(&self.statuses).filter(|(_, count)| **count > 0) {
            *report.statuses.entry(status).or_default() += count;
        }
        for (name, count) in self.backends {
            *report.backends.entry(name).or_default() += count;
        }
        for (kind, text) in LoadError::ALL.into_iter().zip(self.texts) {
            let Some(text) = text else { continue };
            let error = report.errors.entry(kind).or_default();
            error.count += self.errors[kind.index()];
            error.text.get_or_insert(text);
        }
    }

    fn count_backend(&mut self, name: &str) {
        let known = self.backends.iter().position(|(known, _)| known == name);
        let full = self.backends.len() >= MAX_BACKENDS;
        match known {
            Some(index) => self.backends[index].1 += 1,
            None if full && name != OTHERS => self.count_backend(OTHERS),
            None => self.backends.push((name.to_owned(), 1)),
        }
    }
}
