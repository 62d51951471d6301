//! Figures of autoscalers.

use super::text::{Described, Exposition, Kind, Labels, Metric, Value};
use super::view::View;
use evenkeel_core::pool::Pool;
use std::sync::Arc;

const DESIRED: Metric = Metric {
    name: "evenkeel_autoscale_desired_backends",
    kind: Kind::Gauge,
    help: "Backends that the pool should have.",
};
const DECISIONS: Metric = Metric {
    name: "evenkeel_autoscale_decisions_total",
    kind: Kind::Counter,
    help: "Changes of the number of backends that were decided, by direction.",
};
const BUFFERED: Metric = Metric {
    name: "evenkeel_autoscale_buffer_waiting",
    kind: Kind::Gauge,
    help: "Requests that wait for a first backend, because the pool was scaled to zero.",
};
const BUFFERED_TOTAL: Metric = Metric {
    name: "evenkeel_autoscale_buffered_total",
    kind: Kind::Counter,
    help: "Requests that came while the pool had no backend, and waited for one.",
};

/// What each sample is labelled with.
pub(super) const DESCRIBED: &[Described] = &[
    (&DESIRED, &["pool"]),
    (&DECISIONS, &["pool", "direction"]),
    (&BUFFERED, &["pool"]),
    (&BUFFERED_TOTAL, &["pool"]),
];

pub(super) fn write(view: &View<'_>, out: &mut Exposition) {
    if view.scaling.is_empty() {
        return;
    }
    let mut desired = out.family(&DESIRED);
    for (pool, count, _) in view.scaling {
        desired.sample(&Labels::of([("pool", pool)]), Value::Count(u64::from(*count)));
    }
    let mut decisions = out.family(&DECISIONS);
    for (pool, _, [up, down]) in view.scaling {
        for (direction, count) in [("up", up), ("down", down)] {
            let labels = Labels::of([("pool", &**pool), ("direction", direction)]);
            decisions.sample(&labels, Value::Count(*count));
        }
    }
    let sleepy = || {
        let may = |pool: &&Arc<Pool>| pool.plan.autoscale.as_ref().is_some_and(|it| it.min == 0);
        view.snapshot.pools.iter().filter(may)
    };
    if sleepy().next().is_none() {
        return;
    }
    let mut waiting = out.family(&BUFFERED);
    for pool in sleepy() {
        let count = Value::Count(pool.waiting.starts() as u64);
        waiting.sample(&Labels::of([("pool", &*pool.plan.name)]), count);
    }
    let mut total = out.family(&BUFFERED_TOTAL);
    for pool in sleepy() {
        let count = Value::Count(pool.waiting.started());
        total.sample(&Labels::of([("pool", &*pool.plan.name)]), count);
    }
}
