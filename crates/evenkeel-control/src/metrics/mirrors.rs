//! Copies of requests.

use super::text::{Exposition, Kind, Labels, Metric, Value};
use super::view::View;
use evenkeel_core::stats::CopyResult;
use std::collections::BTreeMap;

const COPIES: Metric = Metric {
    name: "evenkeel_mirror_requests_total",
    kind: Kind::Counter,
    help: "Copies of requests: answered, not made for want of room, or not answered whole.",
};

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
}
