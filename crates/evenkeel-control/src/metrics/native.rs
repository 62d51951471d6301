//! The families `evenkeel_*` and `process_*`.

use super::families::{
    ACCEPTED, BACKEND_UP, BREAKER, BUDGET_EXHAUSTED, BUILD, BYTES_IN, BYTES_OUT,
    CLIENT_CONNECTIONS, CONNECT, CONNECTIONS, CPU, DROPPED, DURATION, ELIGIBLE, FAIL_OPEN,
    FAILURES, FIRST_BYTE, FLOWS_DROPPED, GENERATION, GRPC_CALLS, IN_FLIGHT, MAX_FDS, OPEN_FDS,
    POOL_MODE, PROBES, QUEUE_REJECTED, QUEUE_WAIT, QUEUE_WAITING, RELOAD_SUCCESSFUL, RELOADS,
    REQUESTS, RESIDENT, RETRIES, START, THREADS, TRIES, VIRTUAL, WEIGHT,
};
use super::mirrors;
use super::process::ProcessFigures;
use super::text::{Exposition, Labels, Metric, Value};
use super::view::{View, condition};
use super::{discovery, scaling};
use evenkeel_core::backend::Backend;
use evenkeel_core::breaker::BreakerState;
use evenkeel_core::failure::{Failure, Side};
use evenkeel_core::plan::{ListenerPlan, ListenerProtocol};
use evenkeel_core::pool::{Mode, Pool};
use evenkeel_core::stats::{CellTotals, ConnectionTotals, HistogramSnapshot, RetryReason, Series};
use std::collections::BTreeMap;

/// Shown before they happen, so that the first time is an increase.
const USUAL_RETRIES: [RetryReason; 5] = [
    RetryReason::ConnectFailure,
    RetryReason::Reset,
    RetryReason::PerTryTimeout,
    RetryReason::GrpcUnavailable,
    RetryReason::Stale,
];

/// A metric, and where its value is found.
type Reading<T> = (&'static Metric, fn(&T) -> Value);
type DurationReading = (&'static Metric, fn(&CellTotals) -> &HistogramSnapshot);

pub(super) fn write(view: &View<'_>, out: &mut Exposition) {
    write_config(view, out);
    write_exchanges(view, out);
    write_failures(view, out);
    write_listeners(view, out);
    write_pool_durations(view, out);
    write_pools(view, out);
    write_backends(view, out);
    mirrors::write(view, out);
    scaling::write(view, out);
    discovery::write(view, out);
    if let Some(figures) = &view.process {
        write_process(figures, out);
    }
}

fn write_config(view: &View<'_>, out: &mut Exposition) {
    let version = Labels::of([("version", view.version)]);
    out.family(&BUILD).sample(&version, Value::Count(1));
    out.single(&GENERATION, Value::Count(view.generation));
    let reloads = view.reloads;
    out.single(&RELOAD_SUCCESSFUL, Value::Count(u64::from(!reloads.failing)));
    let by_result = [
        ("applied", reloads.applied),
        ("unchanged", reloads.unchanged),
        ("rejected", reloads.rejected),
    ];
    for (metric, counts) in [(&RELOADS, by_result.as_slice()), (&PROBES, view.probes)] {
        let mut samples = out.family(metric);
        for (result, count) in counts {
            samples.sample(&Labels::of([("result", result)]), Value::Count(*count));
        }
    }
    let mut samples = out.family(&DROPPED);
    for (kind, count) in view.losses {
        samples.sample(&Labels::of([("kind", kind)]), Value::Count(*count));
    }
}

fn write_exchanges(view: &View<'_>, out: &mut Exposition) {
    let labelled = |entry: &'_ (Series, CellTotals)| {
        let series = &entry.0;
        Labels::of([
            ("listener", &series.listener),
            ("route", &series.route),
            ("pool", &series.pool),
            ("backend", &series.backend),
        ])
    };
    // To those that are gone none of these belongs.
    let shown = || view.totals.series.iter().filter(|(series, _)| !series.is_of_gone());
    let labels: Vec<Labels> = shown().map(labelled).collect();
    let all = || labels.iter().zip(shown().map(|(_, totals)| totals));

    let mut samples = out.family(&REQUESTS);
    for (labels, totals) in all() {
        for ((code, method), count) in &totals.requests {
            let mut digits = itoa::Buffer::new();
            let own = [("code", digits.format(*code)), ("method", method.as_str())];
            samples.sample_with(labels, &own, Value::Count(*count));
        }
    }
    let mut samples = out.family(&DURATION);
    all().for_each(|(labels, totals)| samples.histogram(labels, &totals.durations));

    write_calls(view, out);
    let counters: [Reading<CellTotals>; 3] = [
        (&TRIES, |totals| Value::Count(totals.tries)),
        (&BYTES_IN, |totals| Value::Count(totals.bytes_in)),
        (&BYTES_OUT, |totals| Value::Count(totals.bytes_out)),
    ];
    for (metric, count) in counters {
        let mut samples = out.family(metric);
        all().for_each(|(labels, totals)| samples.sample(labels, count(totals)));
    }
}

/// By route and pool only: which backend it was, `evenkeel_requests_total` tells well enough.
fn write_calls(view: &View<'_>, out: &mut Exposition) {
    let mut calls: BTreeMap<(&str, &str, usize), u64> = BTreeMap::new();
    for (series, totals) in &view.totals.series {
        for (code, count) in totals.calls.iter().enumerate().filter(|(_, count)| **count > 0) {
            *calls.entry((&series.route, &series.pool, code)).or_default() += count;
        }
    }
    let mut samples = out.family(&GRPC_CALLS);
    for ((route, pool, code), count) in calls {
        let mut digits = itoa::Buffer::new();
        let labels = [("route", route), ("pool", pool), ("code", digits.format(code))];
        samples.sample(&Labels::of(labels), Value::Count(count));
    }
}

fn write_failures(view: &View<'_>, out: &mut Exposition) {
    let totals = view.totals;
    let failed = |failure: Failure| {
        let found = totals.failures.iter().find(|(counted, _)| *counted == failure);
        Value::Count(found.map_or(0, |(_, count)| *count))
    };
    let mut samples = out.family(&FAILURES);
    for failure in Failure::ALL {
        let labels = [("failure", failure.code()), ("side", side(failure.side()))];
        samples.sample(&Labels::of(labels), failed(*failure));
    }
    let mut samples = out.family(&QUEUE_REJECTED);
    for failure in [Failure::QueueFull, Failure::QueueTimeout] {
        samples.sample(&Labels::of([("failure", failure.code())]), failed(failure));
    }
    let mut retries: BTreeMap<RetryReason, u64> = USUAL_RETRIES.map(|reason| (reason, 0)).into();
    retries.extend(totals.retries.iter().copied());
    let mut samples = out.family(&RETRIES);
    for (reason, count) in retries {
        samples.sample(&Labels::of([("reason", &reason.to_string())]), Value::Count(count));
    }
    out.single(&BUDGET_EXHAUSTED, Value::Count(totals.retry_budget_exhausted));
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Backend => "backend",
        Side::Proxy => "proxy",
    }
}

/// Those of the configuration even before the first client, and all that were counted.
fn write_listeners(view: &View<'_>, out: &mut Exposition) {
    let configured = view.snapshot.plan.listeners.iter();
    let mut listeners: BTreeMap<&str, ConnectionTotals> =
        configured.map(|plan| (&*plan.name, ConnectionTotals::default())).collect();
    listeners.extend(view.totals.listeners.iter().map(|(name, totals)| (&**name, *totals)));
    let counts: [Reading<ConnectionTotals>; 2] = [
        (&CLIENT_CONNECTIONS, |totals| Value::Count(totals.open())),
        (&ACCEPTED, |totals| Value::Count(totals.opened)),
    ];
    for (metric, count) in counts {
        let mut samples = out.family(metric);
        for (name, totals) in &listeners {
            samples.sample(&Labels::of([("listener", name)]), count(totals));
        }
    }
    let mut samples = out.family(&FLOWS_DROPPED);
    for listener in view.snapshot.plan.listeners.iter().filter(|it| is_udp(it)) {
        let dropped = listeners.get(&*listener.name).map_or(0, |totals| totals.flows_dropped);
        samples.sample(&Labels::of([("listener", &listener.name)]), Value::Count(dropped));
    }
    super::tls::write(view, &listeners, out);
}

fn is_udp(listener: &ListenerPlan) -> bool {
    matches!(listener.protocol, ListenerProtocol::Udp(_))
}

/// By pool only: a histogram is many series.
fn write_pool_durations(view: &View<'_>, out: &mut Exposition) {
    let kinds: [DurationReading; 3] = [
        (&FIRST_BYTE, |totals| &totals.first_byte),
        (&CONNECT, |totals| &totals.connect),
        (&QUEUE_WAIT, |totals| &totals.queue),
    ];
    for (metric, durations) in kinds {
        let mut by_pool: BTreeMap<&str, HistogramSnapshot> = BTreeMap::new();
        let reached_a_pool =
            view.totals.series.iter().filter(|(series, _)| !series.pool.is_empty());
        for (series, totals) in reached_a_pool {
            by_pool.entry(&series.pool).or_default().merge(durations(totals));
        }
        let mut samples = out.family(metric);
        for (pool, durations) in &by_pool {
            samples.histogram(&Labels::of([("pool", pool)]), durations);
        }
    }
}

fn write_pools(view: &View<'_>, out: &mut Exposition) {
    let gauges: [Reading<Pool>; 3] = [
        (&QUEUE_WAITING, |pool| Value::Count(pool.waiting.len() as u64)),
        (&POOL_MODE, |pool| Value::Count(mode(pool.told_mode()))),
        (&FAIL_OPEN, |pool| (pool.mode() == Mode::FailOpen).into()),
    ];
    for (metric, value) in gauges {
        let mut samples = out.family(metric);
        for pool in &view.snapshot.pools {
            samples.sample(&Labels::of([("pool", &pool.plan.name)]), value(pool));
        }
    }
}

fn mode(mode: Mode) -> u64 {
    match mode {
        Mode::Normal => 0,
        Mode::Doubtful => 1,
        Mode::FailOpen => 2,
        Mode::Empty => 3,
    }
}

/// A backend where it stands.
struct Standing<'a> {
    pool: &'a Pool,
    backend: &'a Backend,
    labels: Labels,
    idle: u64,
    is_eligible: bool,
}

fn write_backends(view: &View<'_>, out: &mut Exposition) {
    let standing = |(pool, backend)| {
        let (pool, backend): (&Pool, &Backend) = (pool, backend);
        Standing {
            pool,
            backend,
            labels: Labels::of([("pool", &pool.plan.name), ("backend", &backend.plan.name)]),
            idle: (view.idle)(backend),
            is_eligible: backend.barred(view.now).is_none(),
        }
    };
    let all: Vec<Standing<'_>> = view.backends().map(standing).collect();
    let gauges: [Reading<Standing<'_>>; 5] = [
        (&BACKEND_UP, |it| condition(it.pool, it.backend).is_up().into()),
        (&ELIGIBLE, |it| it.is_eligible.into()),
        (&WEIGHT, |it| Value::Count(it.backend.plan.weight.into())),
        (&IN_FLIGHT, |it| Value::Count(it.backend.in_flight().into())),
        (&BREAKER, |it| Value::Count(breaker(it.backend.breaker.state()))),
    ];
    for (metric, value) in gauges {
        let mut samples = out.family(metric);
        all.iter().for_each(|it| samples.sample(&it.labels, value(it)));
    }
    let mut samples = out.family(&CONNECTIONS);
    for it in &all {
        for (state, count) in [("active", it.backend.in_flight().into()), ("idle", it.idle)] {
            samples.sample_with(&it.labels, &[("state", state)], Value::Count(count));
        }
    }
}

fn breaker(state: BreakerState) -> u64 {
    match state {
        BreakerState::Closed => 0,
        BreakerState::Open => 1,
        BreakerState::HalfOpen => 2,
    }
}

fn write_process(figures: &ProcessFigures, out: &mut Exposition) {
    out.single(&CPU, Value::Real(figures.cpu_seconds));
    out.single(&OPEN_FDS, Value::Count(figures.open_fds));
    if let Some(max) = figures.max_fds {
        out.single(&MAX_FDS, Value::Count(max));
    }
    out.single(&RESIDENT, Value::Count(figures.resident_bytes));
    out.single(&VIRTUAL, Value::Count(figures.virtual_bytes));
    out.single(&THREADS, Value::Count(figures.threads));
    out.single(&START, Value::Real(figures.start_seconds));
}
