//! Figures of autoscalers.

use super::text::{Exposition, Kind, Labels, Metric, Value};
use super::view::View;

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
}
