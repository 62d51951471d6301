//! Every number of the process as text for scrapers: native families, and the families of two older
//! products as further renderings of the same counters.
//!
//! ```text
//! View (what the caller has read) ── native, compat ── text ── prometheus | openmetrics
//! ```
//!
//! The text is written here and not by the prometheus-client crate, because that one renders
//! OpenMetrics only, from metrics that it owns: text 0.0.4, which every scraper and `curl` user
//! expects, would have to be made from its output, and each scrape would copy all totals first.
//! The two formats differ in four places, all of them in `text`.
//!
//! Labels come from the configuration and from closed sets, so clients make no series. All of this
//! is pure but for `process`, which reads what the kernel says of this process.

mod compat;
mod discovery;
mod families;
#[cfg(test)]
pub(crate) mod fixture;
mod mirrors;
mod native;
mod negotiate;
mod process;
mod reference;
mod scaling;
mod text;
mod tls;
mod view;

pub(crate) use negotiate::accepts_json;
pub use negotiate::{Format, negotiate};
pub use process::ProcessFigures;
pub use reference::metrics_markdown;
pub use view::{Reloads, View};

pub(crate) use view::{Condition, Traffic, condition, recent};

use evenkeel_core::plan::MetricFamily;
use text::{Exposition, Syntax};

/// In the order of rendering.
const FAMILIES: [MetricFamily; 3] =
    [MetricFamily::Native, MetricFamily::Gobalance, MetricFamily::Loadbalancer];

/// The families that the view asks for, in the Prometheus text format 0.0.4.
pub fn prometheus(view: &View<'_>) -> String {
    exposition(view, Syntax::Classic)
}

/// The families that the view asks for, in OpenMetrics 1.0.
pub fn openmetrics(view: &View<'_>) -> String {
    exposition(view, Syntax::OpenMetrics)
}

fn exposition(view: &View<'_>, syntax: Syntax) -> String {
    let mut out = Exposition::new(syntax);
    for family in FAMILIES.iter().filter(|family| view.families.contains(family)) {
        match family {
            MetricFamily::Native => native::write(view, &mut out),
            MetricFamily::Gobalance => compat::write_gobalance(view, &mut out),
            MetricFamily::Loadbalancer => compat::write_loadbalancer(view, &mut out),
        }
    }
    out.finish()
}

#[cfg(test)]
mod tests;
