//! The families as a page: what is written to `docs/reference/metrics.md`.

use super::text::{Described, Kind, Metric};
use super::{compat, discovery, families, mirrors, scaling, tls};

const NATIVE: [(&str, &[Described]); 5] = [
    ("", families::DESCRIBED),
    ("TLS", tls::DESCRIBED),
    ("Copies of requests (`mirror`)", mirrors::DESCRIBED),
    ("Discovery, of pools that have one", discovery::DESCRIBED),
    ("Autoscaling, of pools that have one", scaling::DESCRIBED),
];

const ABOUT: &str = "\
# Metrics

What `/metrics` of the admin listener, `/prometheus` and mounts with `serve: metrics` show, in the \
formats of Prometheus and OpenMetrics. Times are in seconds, sizes in bytes. Labels come from the \
configuration and from closed sets: clients make no series. `metrics.families` says which families \
are shown; `native` is all that begins with `evenkeel_` or `process_`.
";

const COMPAT: &str = "
## Families of older products

The same counters under the names that `metrics.families: [gobalance, loadbalancer]` adds, for \
dashboards that exist.
";

/// Every family with its kind, labels and meaning, as Markdown.
pub fn metrics_markdown() -> String {
    let mut page = ABOUT.to_owned();
    for (title, described) in NATIVE {
        if !title.is_empty() {
            page.push_str(&format!("\n## {title}\n"));
        }
        push_table(&mut page, described.iter().copied());
    }
    page.push_str(COMPAT);
    push_table(&mut page, compat::described());
    page
}

fn push_table(page: &mut String, described: impl Iterator<Item = Described>) {
    page.push_str("\n| family | kind | labels | meaning |\n|---|---|---|---|\n");
    for (Metric { name, kind, help }, labels) in described {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Constant => "info",
            Kind::Histogram(_) => "histogram",
        };
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        page.push_str(&format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", ")));
    }
}

#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = Described> {
    let native = NATIVE.into_iter().flat_map(|(_, described)| described.iter().copied());
    native.chain(compat::described())
}
