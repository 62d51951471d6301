//! The families of two older products, whose dashboards keep working: the same counters by backend
//! name alone. Backends of several pools that share a name are one.

use super::text::{Described, Exposition, Kind, Labels, Metric, Unit, Value};
use super::view::{View, condition};
use evenkeel_core::stats::{HistogramSnapshot, Series};
use std::collections::BTreeMap;

/// The metrics that both products have under different names.
struct Names {
    requests: Metric,
    duration: Metric,
    /// Requests in flight: both products said connections.
    connections: Metric,
}

static GOBALANCE: Names = Names {
    requests: Metric {
        name: "gobalance_requests_total",
        kind: Kind::Counter,
        help: "Total HTTP requests",
    },
    duration: Metric {
        name: "gobalance_request_duration_ms",
        kind: Kind::Histogram(Unit::Milliseconds),
        help: "Request duration in milliseconds",
    },
    connections: Metric {
        name: "gobalance_connections_active",
        kind: Kind::Gauge,
        help: "Active connections",
    },
};
const GOBALANCE_UP: Metric = Metric {
    name: "gobalance_backend_up",
    kind: Kind::Gauge,
    help: "Backend health (1 healthy, 0 not)",
};

static LOADBALANCER: Names = Names {
    requests: Metric {
        name: "loadbalancer_requests_total",
        kind: Kind::Counter,
        help: "Total requests by backend and status",
    },
    duration: Metric {
        name: "loadbalancer_request_duration_seconds",
        kind: Kind::Histogram(Unit::Seconds),
        help: "Response times by backend",
    },
    connections: Metric {
        name: "loadbalancer_backend_connections",
        kind: Kind::Gauge,
        help: "Active connections by backend",
    },
};

/// What each sample is labelled with.
pub(super) fn described() -> impl Iterator<Item = Described> {
    let own = |names: &'static Names| {
        let by_status: &[&str] = &["backend", "status"];
        let by_backend: &[&str] = &["backend"];
        let both = [(&names.duration, by_backend), (&names.connections, by_backend)];
        std::iter::once((&names.requests, by_status)).chain(both)
    };
    let up: Described = (&GOBALANCE_UP, &["backend"]);
    own(&GOBALANCE).chain([up]).chain(own(&LOADBALANCER))
}

pub(super) fn write_gobalance(view: &View<'_>, out: &mut Exposition) {
    write(&GOBALANCE, view, out);
    let mut up: BTreeMap<&str, bool> = BTreeMap::new();
    for (pool, backend) in view.backends() {
        *up.entry(&backend.plan.name).or_insert(true) &= condition(pool, backend).is_up();
    }
    let mut samples = out.family(&GOBALANCE_UP);
    for (name, is_up) in up {
        samples.sample(&Labels::of([("backend", name)]), is_up.into());
    }
}

pub(super) fn write_loadbalancer(view: &View<'_>, out: &mut Exposition) {
    write(&LOADBALANCER, view, out);
}

/// What was counted for all backends of one name; the empty name is for those that reached none.
#[derive(Default)]
struct Counted {
    requests: BTreeMap<u16, u64>,
    durations: HistogramSnapshot,
}

fn write(names: &Names, view: &View<'_>, out: &mut Exposition) {
    let mut counted: BTreeMap<&str, Counted> = BTreeMap::new();
    // Answers of our own without a route are no requests of theirs; of those that are gone, none is
    // a backend.
    let is_shown = |series: &Series| !series.route.is_empty() && !series.is_of_gone();
    let routed = view.totals.series.iter().filter(|(series, _)| is_shown(series));
    for (series, totals) in routed {
        let counted = counted.entry(&series.backend).or_default();
        for ((code, _), count) in &totals.requests {
            *counted.requests.entry(*code).or_default() += count;
        }
        counted.durations.merge(&totals.durations);
    }
    let mut samples = out.family(&names.requests);
    for (name, counted) in &counted {
        let labels = Labels::of([("backend", name)]);
        for (code, count) in &counted.requests {
            let mut digits = itoa::Buffer::new();
            let own = [("status", digits.format(*code))];
            samples.sample_with(&labels, &own, Value::Count(*count));
        }
    }
    let mut samples = out.family(&names.duration);
    for (name, counted) in &counted {
        samples.histogram(&Labels::of([("backend", name)]), &counted.durations);
    }
    let mut in_flight: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, backend) in view.backends() {
        *in_flight.entry(&backend.plan.name).or_default() += u64::from(backend.in_flight());
    }
    let mut samples = out.family(&names.connections);
    for (name, count) in in_flight {
        samples.sample(&Labels::of([("backend", name)]), Value::Count(count));
    }
}
