//! How traffic went: for everything, each route, each pool and each backend a step every five
//! seconds, for a quarter of an hour. Charts begin with what was, not with when somebody looked.
//!
//! *Architecture invariant:* memory is bounded: [`STEPS`] of [`MAX_SCOPES`], whatever was counted.

use crate::ledger::HistoryForm;
use evenkeel_api::HistoryStep;
use evenkeel_core::pool::Pool;
use evenkeel_core::snapshot::Snapshot;
use evenkeel_core::stats::{CellTotals, HistogramSnapshot, Series, Totals};
use evenkeel_core::time::Nanos;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Length of a step.
pub(crate) const STEP: Duration = Duration::from_secs(5);
/// Steps that are kept: a quarter of an hour.
pub(crate) const STEPS: usize = 180;
/// Scopes that have a history; those that come later are in that of everything only.
const MAX_SCOPES: usize = 2_000;
/// The first status that counts as an error.
const FIRST_ERROR: u16 = 500;
const NANOS_PER_MILLI: f64 = 1_000_000.0;

/// Whose history.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    All,
    Route(Arc<str>),
    Pool(Arc<str>),
    Backend(Arc<str>, Arc<str>),
}

impl Scope {
    /// What the parameters `route`, `pool` and `backend` ask for; `None` if they make no sense
    /// together.
    pub(crate) fn named(parameter: impl Fn(&str) -> Option<Arc<str>>) -> Option<Scope> {
        match (parameter("route"), parameter("pool"), parameter("backend")) {
            (None, None, None) => Some(Scope::All),
            (Some(route), None, None) => Some(Scope::Route(route)),
            (None, Some(pool), None) => Some(Scope::Pool(pool)),
            (None, Some(pool), Some(backend)) => Some(Scope::Backend(pool, backend)),
            (Some(_), _, _) | (None, None, Some(_)) => None,
        }
    }

    /// What kind of thing it is of, and its name; `None` = everything.
    pub(crate) fn subject(&self) -> Option<(&'static str, &Arc<str>)> {
        match self {
            Scope::All => None,
            Scope::Route(route) => Some(("route", route)),
            Scope::Pool(pool) => Some(("pool", pool)),
            Scope::Backend(_, backend) => Some(("backend", backend)),
        }
    }

    /// Whether the configuration names it.
    fn is_in(&self, snapshot: &Snapshot) -> bool {
        let in_pool = |name: &str, test: &dyn Fn(&Pool) -> bool| {
            snapshot.pools.iter().any(|pool| *pool.plan.name == *name && test(pool))
        };
        match self {
            Scope::All => true,
            Scope::Route(name) => snapshot.plan.routes.iter().any(|it| *it.name == **name),
            Scope::Pool(name) => in_pool(name, &|_| true),
            Scope::Backend(pool, name) => {
                in_pool(pool, &|pool| pool.backends.iter().any(|it| *it.plan.name == **name))
            }
        }
    }

    /// Those that a series counts in.
    fn all_of(series: &Series) -> impl Iterator<Item = Scope> {
        let Series { route, pool, backend, .. } = series;
        let reached = |name: &Arc<str>| (!name.is_empty()).then(|| Arc::clone(name));
        let route = reached(route).map(Scope::Route);
        let own_pool = reached(pool).map(Scope::Pool);
        let pair = series.is_of_backend().then(|| reached(pool).zip(reached(backend))).flatten();
        let backend = pair.map(|(pool, backend)| Scope::Backend(pool, backend));
        [Some(Scope::All), route, own_pool, backend].into_iter().flatten()
    }

    /// Route, pool and backend, as `named` takes them.
    fn names(&self) -> (Option<String>, Option<String>, Option<String>) {
        let text = |name: &Arc<str>| Some(name.to_string());
        match self {
            Scope::All => (None, None, None),
            Scope::Route(route) => (text(route), None, None),
            Scope::Pool(pool) => (None, text(pool), None),
            Scope::Backend(pool, backend) => (None, text(pool), text(backend)),
        }
    }

    fn includes(&self, series: &Series) -> bool {
        match self {
            Scope::All => true,
            Scope::Route(name) => series.route == *name,
            Scope::Pool(name) => series.pool == *name,
            Scope::Backend(pool, name) => series.pool == *pool && series.backend == *name,
        }
    }
}

/// What was counted up to a moment.
#[derive(Clone, Debug, Default)]
struct Seen {
    requests: u64,
    errors: u64,
    durations: HistogramSnapshot,
}

impl Seen {
    fn add(&mut self, totals: &CellTotals) {
        self.requests += totals.exchanges();
        self.errors += errors(totals);
        self.durations.merge(&totals.durations);
    }

    fn merge(&mut self, other: &Seen) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.durations.merge(&other.durations);
    }

    /// What happened since `older`.
    fn step_since(&self, older: &Seen) -> HistoryStep {
        let mut durations = self.durations.clone();
        durations.subtract(&older.durations);
        #[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
        let quantile = |share| durations.percentile(share).map(|it| it as f64 / NANOS_PER_MILLI);
        HistoryStep {
            requests: self.requests.saturating_sub(older.requests),
            errors: self.errors.saturating_sub(older.errors),
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
        }
    }
}

fn errors(totals: &CellTotals) -> u64 {
    let failed = totals.requests.iter().filter(|((status, _), _)| *status >= FIRST_ERROR);
    failed.map(|(_, count)| count).sum()
}

#[derive(Debug, Default)]
struct Record {
    seen: Seen,
    steps: VecDeque<HistoryStep>,
}

/// The history of every scope that had traffic.
#[derive(Debug, Default)]
pub(crate) struct Histories {
    of: HashMap<Scope, Record>,
    /// When the newest step ended; `None` before the first.
    ended: Option<Nanos>,
}

impl Histories {
    /// Takes a step if one is over. Best called every second; what was counted before the first
    /// call is in no step.
    pub(crate) fn tick(&mut self, now: Nanos, totals: &Totals) {
        let is_first = self.ended.is_none();
        if self.ended.is_some_and(|ended| now.duration_since(ended) < STEP) {
            return;
        }
        self.ended = Some(now);
        for (scope, seen) in by_scope(totals) {
            if !self.of.contains_key(&scope) && self.of.len() >= MAX_SCOPES && scope != Scope::All {
                continue;
            }
            let record = self.of.entry(scope).or_default();
            if !is_first {
                if record.steps.len() == STEPS {
                    record.steps.pop_front();
                }
                record.steps.push_back(seen.step_since(&record.seen));
            }
            record.seen = seen;
        }
    }

    /// Goes on from what earlier processes have counted, which is in no step.
    pub(crate) fn begin(&mut self, earlier: &Totals) {
        for (scope, seen) in by_scope(earlier) {
            if self.of.contains_key(&scope) || self.of.len() < MAX_SCOPES || scope == Scope::All {
                self.of.entry(scope).or_default().seen.merge(&seen);
            }
        }
    }

    /// The steps of every scope, for another process.
    pub(crate) fn told(&self) -> Vec<HistoryForm> {
        let told = self.of.iter().filter(|(_, record)| !record.steps.is_empty());
        let form = |(scope, record): (&Scope, &Record)| HistoryForm {
            scope: scope.names(),
            steps: record.steps.iter().cloned().collect(),
        };
        told.map(form).collect()
    }

    /// Goes on from the steps of an earlier process: they come before those of this one.
    pub(crate) fn take_up(&mut self, earlier: Vec<HistoryForm>) {
        for HistoryForm { scope: (route, pool, backend), steps } in earlier {
            let name = |key: &str| {
                let all = [("route", &route), ("pool", &pool), ("backend", &backend)];
                let found = all.into_iter().find(|(known, _)| *known == key);
                found.and_then(|(_, name)| name.as_deref()).map(Arc::from)
            };
            let Some(scope) = Scope::named(name) else { continue };
            if !self.of.contains_key(&scope) && self.of.len() >= MAX_SCOPES && scope != Scope::All {
                continue;
            }
            let own = &mut self.of.entry(scope).or_default().steps;
            for step in steps.into_iter().rev().take(STEPS.saturating_sub(own.len())) {
                own.push_front(step);
            }
        }
    }

    /// Forgets backends that are counted apart no more.
    pub(crate) fn forget(&mut self, gone: &HashSet<Series>) {
        for Series { pool, backend, .. } in gone {
            self.of.remove(&Scope::Backend(Arc::clone(pool), Arc::clone(backend)));
        }
    }

    /// When the newest step ended.
    pub(crate) fn ended(&self) -> Option<Nanos> {
        self.ended
    }

    /// Whether a scope is configured, or was and has left a trace.
    pub(crate) fn know(&self, scope: &Scope, snapshot: &Snapshot) -> bool {
        scope.is_in(snapshot) || self.of.contains_key(scope)
    }

    /// The steps of a scope, the oldest first.
    pub(crate) fn steps(&self, scope: &Scope) -> Vec<HistoryStep> {
        let record = self.of.get(scope);
        record.map(|record| record.steps.iter().cloned().collect()).unwrap_or_default()
    }
}

fn by_scope(totals: &Totals) -> HashMap<Scope, Seen> {
    let mut all: HashMap<Scope, Seen> = HashMap::from([(Scope::All, Seen::default())]);
    for (series, totals) in &totals.series {
        for scope in Scope::all_of(series) {
            all.entry(scope).or_default().add(totals);
        }
    }
    all
}

/// Exchanges of a scope since the start, and how many of them were errors.
pub(crate) fn counted(scope: &Scope, totals: &Totals) -> (u64, u64) {
    let own = totals.series.iter().filter(|(series, _)| scope.includes(series));
    own.fold((0, 0), |(requests, failed), (_, totals)| {
        (requests + totals.exchanges(), failed + errors(totals))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_core::stats::{ExchangeEnd, MethodLabel, Stats};

    fn at(seconds: u64) -> Nanos {
        Nanos::default().after(Duration::from_secs(seconds))
    }

    fn exchange(stats: &Stats, route: &str, backend: &str, code: u16) {
        let pool = if backend.is_empty() { "" } else { "web" };
        let series = Series {
            listener: "main".into(),
            route: route.into(),
            pool: pool.into(),
            backend: backend.into(),
        };
        let end = ExchangeEnd {
            code,
            method: MethodLabel::Get,
            total: 4_000_000,
            first_byte: None,
            connect: None,
            queue: None,
            bytes_in: 0,
            bytes_out: 0,
            failed: false,
        };
        stats.workers()[0].cell(&series).exchange(&end);
    }

    fn requests(histories: &Histories, scope: &Scope) -> Vec<(u64, u64)> {
        histories.steps(scope).iter().map(|step| (step.requests, step.errors)).collect()
    }

    #[test]
    fn each_scope_has_the_steps_of_what_belongs_to_it() {
        let (stats, mut histories) = (Stats::new(1), Histories::default());
        exchange(&stats, "r", "b1", 200);
        histories.tick(at(1), &stats.read());
        assert!(histories.steps(&Scope::All).is_empty(), "what was before is in no step");
        exchange(&stats, "r", "b1", 200);
        exchange(&stats, "r", "b2", 503);
        exchange(&stats, "", "", 404);
        histories.tick(at(5), &stats.read());
        assert!(histories.steps(&Scope::All).is_empty(), "the step is not over");
        histories.tick(at(6), &stats.read());
        histories.tick(at(11), &stats.read());
        let backend = |name: &str| Scope::Backend("web".into(), name.into());
        let cases = [
            (Scope::All, vec![(3, 1), (0, 0)], (4, 1)),
            (Scope::Route("r".into()), vec![(2, 1), (0, 0)], (3, 1)),
            (Scope::Pool("web".into()), vec![(2, 1), (0, 0)], (3, 1)),
            (backend("b1"), vec![(1, 0), (0, 0)], (2, 0)),
            (backend("b2"), vec![(1, 1), (0, 0)], (1, 1)),
            (backend("b3"), vec![], (0, 0)),
        ];
        for (scope, steps, total) in cases {
            assert_eq!(requests(&histories, &scope), steps, "{scope:?}");
            assert_eq!(counted(&scope, &stats.read()), total, "{scope:?}");
        }
        assert_eq!(histories.ended(), Some(at(11)));
        let steps = histories.steps(&Scope::All);
        let p99 = steps[0].p99_ms.expect("something ended");
        assert!((p99 - 4.0).abs() < 0.1, "{p99}");
        assert_eq!(steps[1].p99_ms, None);
    }

    #[test]
    fn the_next_process_goes_on_with_the_steps_of_the_one_before() {
        let (stats, mut old) = (Stats::new(1), Histories::default());
        old.tick(at(0), &stats.read());
        exchange(&stats, "r", "b1", 200);
        old.tick(at(5), &stats.read());
        exchange(&stats, "r", "b1", 503);
        old.tick(at(10), &stats.read());
        let (later, mut new) = (Stats::new(1), Histories::default());
        new.tick(at(0), &later.read());
        exchange(&later, "r", "b1", 200);
        new.tick(at(5), &later.read());
        new.take_up(old.told());
        let backend = Scope::Backend("web".into(), "b1".into());
        for scope in [Scope::All, Scope::Route("r".into()), Scope::Pool("web".into()), backend] {
            assert_eq!(requests(&new, &scope), [(1, 0), (1, 1), (1, 0)], "{scope:?}");
        }
        for _ in 0..2 * STEPS {
            new.take_up(old.told());
        }
        assert_eq!(new.steps(&Scope::All).len(), STEPS);
    }

    #[test]
    fn memory_is_bounded_in_time_and_in_scopes() {
        let (stats, mut histories) = (Stats::new(1), Histories::default());
        for name in 0..MAX_SCOPES {
            exchange(&stats, &format!("r{name}"), "", 200);
        }
        histories.tick(at(0), &stats.read());
        exchange(&stats, "late", "", 200);
        for step in 1..=STEPS as u64 + 7 {
            histories.tick(at(5 * step), &stats.read());
        }
        assert_eq!(histories.of.len(), MAX_SCOPES);
        assert_eq!(histories.steps(&Scope::All).len(), STEPS);
        assert!(histories.steps(&Scope::Route("late".into())).is_empty());
        assert_eq!(counted(&Scope::Route("late".into()), &stats.read()), (1, 0));
    }
}
