//! The families that concern TLS.

use super::text::{Described, Exposition, Kind, Labels, Metric, Value};
use super::view::View;
use evenkeel_core::stats::{ConnectionTotals, Handshake};
use evenkeel_proxy::tls::certificates;
use std::collections::BTreeMap;

const HANDSHAKES: Metric = Metric {
    name: "evenkeel_tls_handshakes_total",
    kind: Kind::Counter,
    help: "TLS handshakes of clients by result.",
};
const EXPIRY: Metric = Metric {
    name: "evenkeel_certificate_expiry_timestamp_seconds",
    kind: Kind::Gauge,
    help: "Unix time of the end of a listener's certificate.",
};

/// What each sample is labelled with.
pub(super) const DESCRIBED: &[Described] =
    &[(&HANDSHAKES, &["listener", "result"]), (&EXPIRY, &["listener", "name"])];

/// Writes them for listeners with these numbers.
pub(super) fn write(
    view: &View<'_>,
    listeners: &BTreeMap<&str, ConnectionTotals>,
    out: &mut Exposition,
) {
    let mut samples = out.family(&HANDSHAKES);
    for (name, totals) in listeners {
        for (result, count) in Handshake::ALL.iter().zip(totals.handshakes) {
            if count > 0 || (*result == Handshake::Success && is_secure(view, name)) {
                let labels = Labels::of([("listener", name), ("result", result.as_str())]);
                samples.sample(&labels, Value::Count(count));
            }
        }
    }
    // Of several certificates for one name, the one that ends first.
    let mut ends: BTreeMap<(String, String), i64> = BTreeMap::new();
    for facts in certificates(view.snapshot) {
        let end = ends.entry((facts.listener.to_string(), facts.name)).or_insert(i64::MAX);
        *end = facts.not_after.min(*end);
    }
    let mut samples = out.family(&EXPIRY);
    for ((listener, name), end) in ends {
        let labels = Labels::of([("listener", &*listener), ("name", &*name)]);
        samples.sample(&labels, Value::Count(u64::try_from(end).unwrap_or(0)));
    }
}

fn is_secure(view: &View<'_>, listener: &str) -> bool {
    let mut listeners = view.snapshot.plan.listeners.iter();
    listeners.any(|plan| &*plan.name == listener && plan.tls.is_some())
}
