//! Figures of discoveries.

use super::text::{Described, Exposition, Kind, Labels, Metric, Value};
use super::view::View;

const UP: Metric = Metric {
    name: "evenkeel_discovery_up",
    kind: Kind::Gauge,
    help: "1 if the last answer about the backends of the pool could be used.",
};
const BACKENDS: Metric = Metric {
    name: "evenkeel_discovery_backends",
    kind: Kind::Gauge,
    help: "Backends of the pool that are there because they were found.",
};
const AGE: Metric = Metric {
    name: "evenkeel_discovery_age_seconds",
    kind: Kind::Gauge,
    help: "Time since the last good answer about the backends of the pool.",
};

/// What each sample is labelled with.
pub(super) const DESCRIBED: &[Described] =
    &[(&UP, &["pool"]), (&BACKENDS, &["pool"]), (&AGE, &["pool"])];

pub(super) fn write(view: &View<'_>, out: &mut Exposition) {
    if view.discovery.is_empty() {
        return;
    }
    let mut up = out.family(&UP);
    for (pool, standing) in view.discovery {
        up.sample(&Labels::of([("pool", pool)]), Value::Count(u64::from(standing.up)));
    }
    let mut backends = out.family(&BACKENDS);
    for (pool, standing) in view.discovery {
        let count = u64::try_from(standing.backends).unwrap_or(u64::MAX);
        backends.sample(&Labels::of([("pool", pool)]), Value::Count(count));
    }
    let mut age = out.family(&AGE);
    for (pool, standing) in view.discovery {
        if let Some(confirmed) = standing.confirmed {
            let seconds = confirmed.elapsed().as_secs_f64();
            age.sample(&Labels::of([("pool", pool)]), Value::Real(seconds));
        }
    }
}
