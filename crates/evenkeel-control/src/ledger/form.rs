//! Counts as text: JSON with a version, on one line.

use super::memories::Memories;
use evenkeel_core::failure::Failure;
use evenkeel_core::grpc::STATUSES;
use evenkeel_core::stats::{
    CellTotals, ConnectionTotals, CopyResult, CopyTotals, Handshake, HistogramParts,
    HistogramSnapshot, MethodLabel, RetryReason, Series, StatusTotals, Totals,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Of the form; another one is not read.
const VERSION: u64 = 1;
/// No count is larger; what is read and is, is no count.
const MAX_COUNT: u64 = 1 << 60;

/// What goes from one process to the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carried {
    /// Of traffic.
    pub(crate) totals: Totals,
    /// Probes that found nothing wrong, and those that did.
    pub(crate) probes: [u64; 2],
    /// Reloads: applied, unchanged, rejected.
    pub(crate) reloads: [u64; 3],
    /// What is known of backends; only in a handover.
    pub(crate) verdicts: Option<Value>,
    /// How far migrations are; only in a handover.
    pub(crate) migrations: Option<Value>,
    /// What is remembered of exchanges and of how traffic went; only in a handover.
    pub(crate) memories: Option<Memories>,
}

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

#[derive(Serialize, Deserialize)]
struct Form {
    version: u64,
    series: Vec<SeriesForm>,
    listeners: Vec<ListenerForm>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    copies: Vec<CopyForm>,
    failures: BTreeMap<String, u64>,
    retries: BTreeMap<String, u64>,
    retry_budget_exhausted: u64,
    probes: [u64; 2],
    reloads: [u64; 3],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verdicts: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    migrations: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memories: Option<Memories>,
}

#[derive(Serialize, Deserialize)]
struct SeriesForm {
    listener: String,
    route: String,
    pool: String,
    backend: String,
    requests: Vec<(u16, String, u64)>,
    durations: TimesForm,
    #[serde(default, skip_serializing_if = "TimesForm::is_empty")]
    first_byte: TimesForm,
    #[serde(default, skip_serializing_if = "TimesForm::is_empty")]
    connect: TimesForm,
    #[serde(default, skip_serializing_if = "TimesForm::is_empty")]
    queue: TimesForm,
    bytes_in: u64,
    bytes_out: u64,
    tries: u64,
    /// gRPC calls: those of each `grpc-status` that occurred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    calls: Vec<(usize, u64)>,
    #[serde(default)]
    failed: u64,
}

/// How long something took, as it is written down.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct TimesForm {
    buckets: Vec<(u64, u64)>,
    bounds: Vec<u64>,
    sum_nanos: u64,
}

#[derive(Serialize, Deserialize)]
struct CopyForm {
    results: BTreeMap<String, u64>,
    answers: SeriesForm,
}

#[derive(Serialize, Deserialize)]
struct ListenerForm {
    name: String,
    opened: u64,
    handshakes: BTreeMap<String, u64>,
    flows_dropped: u64,
}

impl Carried {
    /// What was counted after `older`.
    pub(crate) fn since(&self, older: &Carried) -> Carried {
        let mut later =
            Carried { verdicts: None, migrations: None, memories: None, ..self.clone() };
        later.totals = self.totals.since(&older.totals);
        let pairs = later.probes.iter_mut().zip(older.probes);
        let all = pairs.chain(later.reloads.iter_mut().zip(older.reloads));
        all.for_each(|(count, older)| *count = count.saturating_sub(older));
        later
    }

    /// True if nothing was counted.
    pub(crate) fn is_empty(&self) -> bool {
        let Totals { series, listeners, copies, failures, retries, retry_budget_exhausted } =
            &self.totals;
        let lists = [series.len(), listeners.len(), copies.len(), failures.len(), retries.len()];
        let counts = self.probes.iter().chain(&self.reloads).chain([retry_budget_exhausted]);
        lists.iter().all(|length| *length == 0) && counts.into_iter().all(|count| *count == 0)
    }

    pub(crate) fn to_text(&self) -> Vec<u8> {
        let totals = &self.totals;
        let form = Form {
            version: VERSION,
            series: totals.series.iter().map(SeriesForm::of).collect(),
            listeners: totals.listeners.iter().map(ListenerForm::of).collect(),
            copies: totals.copies.iter().map(CopyForm::of).collect(),
            failures: totals.failures.iter().map(|(it, n)| (it.code().to_owned(), *n)).collect(),
            retries: totals.retries.iter().map(|(it, n)| (it.to_string(), *n)).collect(),
            retry_budget_exhausted: totals.retry_budget_exhausted,
            probes: self.probes,
            reloads: self.reloads,
            verdicts: self.verdicts.clone(),
            migrations: self.migrations.clone(),
            memories: self.memories.clone(),
        };
        // Strings and numbers only: it cannot fail.
        serde_json::to_vec(&form).unwrap_or_default()
    }

    /// Reads it again. Names that this version does not know are left out.
    pub(crate) fn parse(text: &[u8]) -> Result<Carried, String> {
        let words = |error: serde_json::Error| error.to_string();
        let Versioned { version } = serde_json::from_slice(text).map_err(words)?;
        if version != VERSION {
            return Err(format!("written in form {version}, not {VERSION}"));
        }
        let form: Form = serde_json::from_slice(text).map_err(words)?;
        form.read().ok_or_else(|| "it has numbers that are no counts".to_owned())
    }
}

fn count(number: u64) -> Option<u64> {
    (number <= MAX_COUNT).then_some(number)
}

impl Form {
    fn read(self) -> Option<Carried> {
        let failure = |code: &str| Failure::ALL.iter().find(|it| it.code() == code).copied();
        let totals = Totals {
            series: self.series.into_iter().map(SeriesForm::read).collect::<Option<_>>()?,
            listeners: self.listeners.into_iter().map(ListenerForm::read).collect::<Option<_>>()?,
            copies: self.copies.into_iter().map(CopyForm::read).collect::<Option<_>>()?,
            failures: known(&self.failures, failure)?,
            retries: known(&self.retries, RetryReason::parse)?,
            retry_budget_exhausted: count(self.retry_budget_exhausted)?,
        };
        let mut others = self.probes.iter().chain(&self.reloads);
        others.all(|number| count(*number).is_some()).then_some(())?;
        let Form { probes, reloads, verdicts, migrations, memories, .. } = self;
        Some(Carried { totals, probes, reloads, verdicts, migrations, memories })
    }
}

/// Those whose name is known; `None` if one is no count.
fn known<K>(
    counts: &BTreeMap<String, u64>,
    parse: impl Fn(&str) -> Option<K>,
) -> Option<Vec<(K, u64)>> {
    let all = counts.iter().map(|(name, number)| Some((parse(name), count(*number)?)));
    let all: Option<Vec<_>> = all.collect();
    Some(all?.into_iter().filter_map(|(key, number)| Some((key?, number))).collect())
}

impl SeriesForm {
    fn of((series, totals): &(Series, CellTotals)) -> SeriesForm {
        SeriesForm::of_both(series, totals)
    }

    fn of_both(series: &Series, totals: &CellTotals) -> SeriesForm {
        let name = |name: &Arc<str>| name.to_string();
        let request = |((code, method), number): (&(u16, MethodLabel), &u64)| {
            (*code, method.as_str().to_owned(), *number)
        };
        SeriesForm {
            listener: name(&series.listener),
            route: name(&series.route),
            pool: name(&series.pool),
            backend: name(&series.backend),
            requests: totals.requests.iter().map(request).collect(),
            durations: TimesForm::of(&totals.durations),
            first_byte: TimesForm::of(&totals.first_byte),
            connect: TimesForm::of(&totals.connect),
            queue: TimesForm::of(&totals.queue),
            bytes_in: totals.bytes_in,
            bytes_out: totals.bytes_out,
            tries: totals.tries,
            calls: totals.calls.into_iter().enumerate().filter(|(_, number)| *number > 0).collect(),
            failed: totals.failed,
        }
    }

    fn read(self) -> Option<(Series, CellTotals)> {
        let mut requests = StatusTotals::new();
        for (code, method, number) in self.requests {
            let all = requests.entry((code, MethodLabel::of(method.as_bytes()))).or_default();
            *all = count(count(number)? + *all)?;
        }
        let series = Series {
            listener: self.listener.into(),
            route: self.route.into(),
            pool: self.pool.into(),
            backend: self.backend.into(),
        };
        let mut calls = [0; STATUSES];
        for (status, number) in self.calls {
            if let Some(own) = calls.get_mut(status) {
                *own = count(number)?;
            }
        }
        let totals = CellTotals {
            requests,
            durations: self.durations.read()?,
            first_byte: self.first_byte.read()?,
            connect: self.connect.read()?,
            queue: self.queue.read()?,
            bytes_in: count(self.bytes_in)?,
            bytes_out: count(self.bytes_out)?,
            tries: count(self.tries)?,
            calls,
            failed: count(self.failed)?,
        };
        Some((series, totals))
    }
}

impl CopyForm {
    fn of((series, totals): &(Series, CopyTotals)) -> CopyForm {
        let results = CopyResult::ALL.iter().zip(totals.results);
        CopyForm {
            results: results.map(|(it, number)| (it.as_str().to_owned(), number)).collect(),
            answers: SeriesForm::of_both(series, &totals.answers),
        }
    }

    fn read(self) -> Option<(Series, CopyTotals)> {
        let (series, answers) = self.answers.read()?;
        let mut totals = CopyTotals { answers, ..CopyTotals::default() };
        for (total, result) in totals.results.iter_mut().zip(CopyResult::ALL) {
            *total = count(self.results.get(result.as_str()).copied().unwrap_or(0))?;
        }
        Some((series, totals))
    }
}

impl TimesForm {
    pub(crate) fn of(times: &HistogramSnapshot) -> TimesForm {
        if times.count() == 0 {
            return TimesForm::default();
        }
        let HistogramParts { buckets, bounds, sum_nanos } = times.parts();
        TimesForm { buckets, bounds, sum_nanos }
    }

    fn is_empty(&self) -> bool {
        self.bounds.is_empty()
    }

    /// `None` if it makes no sense.
    pub(crate) fn read(self) -> Option<HistogramSnapshot> {
        if self.is_empty() {
            return Some(HistogramSnapshot::default());
        }
        let TimesForm { buckets, bounds, sum_nanos } = self;
        let times = HistogramSnapshot::from_parts(&HistogramParts { buckets, bounds, sum_nanos })?;
        count(times.count()).map(|_| times)
    }
}

impl ListenerForm {
    fn of((name, totals): &(Arc<str>, ConnectionTotals)) -> ListenerForm {
        let handshakes = Handshake::ALL.iter().zip(totals.handshakes);
        let happened = handshakes.filter(|(_, number)| *number > 0);
        ListenerForm {
            name: name.to_string(),
            opened: totals.opened,
            handshakes: happened.map(|(it, number)| (it.as_str().to_owned(), number)).collect(),
            flows_dropped: totals.flows_dropped,
        }
    }

    fn read(self) -> Option<(Arc<str>, ConnectionTotals)> {
        let mut totals = ConnectionTotals {
            opened: count(self.opened)?,
            closed: self.opened,
            flows_dropped: count(self.flows_dropped)?,
            ..ConnectionTotals::default()
        };
        for (place, handshake) in Handshake::ALL.iter().enumerate() {
            let number = self.handshakes.get(handshake.as_str()).copied().unwrap_or(0);
            totals.handshakes[place] = count(number)?;
        }
        Some((self.name.into(), totals))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_core::stats::{ExchangeEnd, Stats};

    fn some() -> Carried {
        let stats = Stats::new(1);
        let worker = &stats.workers()[0];
        for (route, code) in [("a", 200), ("a", 503), ("\"b\"\n", 0)] {
            let name = || "x".into();
            let series =
                Series { listener: name(), route: route.into(), pool: name(), backend: name() };
            worker.copies(&series).ended(CopyResult::Failed, 2);
            let cell = worker.cell(&series);
            cell.tried();
            cell.call(14);
            cell.exchange(&ExchangeEnd {
                code,
                method: MethodLabel::Patch,
                total: 1_500_000,
                first_byte: Some(1_000_000),
                connect: None,
                queue: None,
                bytes_in: 10,
                bytes_out: 200,
                failed: false,
            });
        }
        let listener = worker.listener(&"web".into());
        listener.opened.add(3);
        listener.handshakes[1].add(2);
        listener.flows_dropped.add(4);
        worker.failed(Failure::Reset);
        worker.retried(RetryReason::Status(503));
        worker.retried(RetryReason::Stale);
        worker.retry_refused();
        let mut totals = stats.read();
        totals.listeners[0].1.closed = 3;
        Carried { totals, probes: [7, 8], reloads: [1, 2, 3], ..Carried::default() }
    }

    #[test]
    fn what_is_written_reads_back_the_same_on_one_line() {
        let some = some();
        let text = some.to_text();
        assert!(!text.contains(&b'\n'));
        let read = Carried::parse(&text).unwrap();
        assert_eq!(String::from_utf8(read.to_text()), String::from_utf8(text));
        assert!(some.since(&read).is_empty() && !some.is_empty());
    }

    #[test]
    fn names_of_other_versions_are_left_out() {
        let text = String::from_utf8(some().to_text()).unwrap();
        let text = text.replace("\"reset\"", "\"from_the_future\"").replace("PATCH", "QUERY");
        let read = Carried::parse(text.as_bytes()).unwrap();
        assert!(read.totals.failures.is_empty());
        let methods: Vec<_> =
            read.totals.series.iter().flat_map(|it| it.1.requests.keys()).map(|it| it.1).collect();
        assert_eq!(methods, [MethodLabel::Other; 3]);
    }

    #[test]
    fn other_text_is_refused_in_words() {
        let good = String::from_utf8(some().to_text()).unwrap();
        let cases = [
            (String::new(), "EOF"),
            (good[..good.len() / 2].to_owned(), "EOF"),
            (good.replace("\"version\":1", "\"version\":2"), "form 2, not 1"),
            (good.replace("\"bytes_out\":200", "\"bytes_out\":18446744073709551615"), "no counts"),
            (good.replace("\"bytes_out\":200", "\"bytes_out\":-1"), "integer `-1`"),
            ("[]".to_owned(), "invalid length"),
        ];
        for (text, expected) in cases {
            let error = Carried::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
