//! Copies of requests.

use super::text::{Described, Exposition, Kind, Labels, Metric, Value};
use super::view::View;
use crate::differences::Counted;
use evenkeel_core::mirror::DifferenceKind;
use evenkeel_core::plan::RoutePlan;
use evenkeel_core::stats::CopyResult;
use std::collections::BTreeMap;

const COPIES: Metric = Metric {
    name: "evenkeel_mirror_requests_total",
    kind: Kind::Counter,
    help: "Copies of requests: answered, not made for want of room, or not answered whole.",
};

const DIFFERENCES: Metric = Metric {
    name: "evenkeel_mirror_differences_total",
    kind: Kind::Counter,
    help: "Answers to copies that were not the same as those that the clients got, by kind.",
};
const COMPARED: Metric = Metric {
    name: "evenkeel_mirror_compared_total",
    kind: Kind::Counter,
    help: "Answers to copies that were compared with those that the clients got.",
};
const TOOK: Metric = Metric {
    name: "evenkeel_mirror_compared_seconds_total",
    kind: Kind::Counter,
    help: "Time that compared answers took, of the requests (real) and of their copies (mirror).",
};

/// What each sample is labelled with.
pub(super) const DESCRIBED: &[Described] = &[
    (&COPIES, &["route", "result"]),
    (&DIFFERENCES, &["route", "kind"]),
    (&COMPARED, &["route"]),
    (&TOOK, &["route", "side"]),
];

/// Counts by result, in the order of [`CopyResult::ALL`].
type Results = [u64; CopyResult::ALL.len()];

/// Routes that copy even before their first request, and all that were counted.
pub(super) fn write(view: &View<'_>, out: &mut Exposition) {
    let copying = view.snapshot.plan.routes.iter().filter(|route| !route.mirrors.is_empty());
    let mut routes: BTreeMap<&str, Results> =
        copying.map(|route| (&*route.name, Results::default())).collect();
    for (series, totals) in &view.totals.copies {
        let sums = routes.entry(&*series.route).or_default();
        sums.iter_mut().zip(totals.results).for_each(|(sum, count)| *sum += count);
    }
    let mut samples = out.family(&COPIES);
    for (route, counts) in &routes {
        for (result, count) in CopyResult::ALL.iter().zip(counts) {
            let labels = [("route", *route), ("result", result.as_str())];
            samples.sample(&Labels::of(labels), Value::Count(*count));
        }
    }
    write_differences(view, out);
}

/// Routes that compare even before their first difference.
fn write_differences(view: &View<'_>, out: &mut Exposition) {
    let compares = |route: &&RoutePlan| route.mirrors.iter().any(|mirror| mirror.diff.is_some());
    let comparing = view.snapshot.plan.routes.iter().filter(compares);
    let mut routes: BTreeMap<&str, Counted> =
        comparing.map(|route| (&*route.name, Counted::default())).collect();
    for ((route, _), counted) in view.differences {
        let sums = routes.entry(&**route).or_default();
        sums.compared += counted.compared;
        sums.kinds.iter_mut().zip(counted.kinds).for_each(|(sum, count)| *sum += count);
        sums.took.iter_mut().zip(counted.took).for_each(|(sum, nanos)| *sum += nanos);
    }
    let mut samples = out.family(&DIFFERENCES);
    for (route, counted) in &routes {
        for (kind, count) in DifferenceKind::ALL.iter().zip(counted.kinds) {
            let labels = [("route", *route), ("kind", kind.as_str())];
            samples.sample(&Labels::of(labels), Value::Count(count));
        }
    }
    let mut samples = out.family(&COMPARED);
    for (route, counted) in &routes {
        samples.sample(&Labels::of([("route", *route)]), Value::Count(counted.compared));
    }
    let mut samples = out.family(&TOOK);
    for (route, counted) in &routes {
        for (side, nanos) in ["real", "mirror"].into_iter().zip(counted.took) {
            let labels = [("route", *route), ("side", side)];
            samples.sample(&Labels::of(labels), Value::Real(nanos as f64 / 1e9));
        }
    }
}
