//! What a rendering needs, read by the caller at one moment.

use super::process::ProcessFigures;
use crate::differences::{Counted, RouteAndPool};
use crate::discoverers::Search;
use evenkeel_core::backend::Backend;
use evenkeel_core::breaker::BreakerState;
use evenkeel_core::health::{HealthState, Streak};
use evenkeel_core::plan::{HealthCheck, MetricFamily};
use evenkeel_core::pool::Pool;
use evenkeel_core::snapshot::Snapshot;
use evenkeel_core::stats::{CellTotals, HistogramSnapshot, Series, Totals, Windows};
use evenkeel_core::suspicion::Trust;
use evenkeel_core::time::Nanos;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Everything that a rendering needs.
pub struct View<'a> {
    /// What all workers have counted.
    pub totals: &'a Totals,
    /// For percentiles of the last minute; the caller lets it tick.
    pub windows: &'a Windows,
    /// The configuration in force, with its backends as they are now.
    pub snapshot: &'a Snapshot,
    /// Idle connections to a backend, of all workers.
    pub idle: &'a dyn Fn(&Backend) -> u64,
    /// The moment of the rendering.
    pub now: Nanos,
    /// The same moment in nanoseconds since 1970-01-01T00:00:00Z.
    pub unix_nanos: u64,
    /// Since the process began to serve.
    pub uptime: Duration,
    /// How many configurations have been put in force.
    pub generation: u64,
    /// How reloads ended.
    pub reloads: Reloads,
    /// Probes by result, each result once.
    pub probes: &'a [(&'a str, u64)],
    /// What was lost because nobody took it in time, each kind once.
    pub losses: &'a [(&'a str, u64)],
    /// `None` where the system does not tell.
    pub process: Option<ProcessFigures>,
    /// Of the program.
    pub version: &'a str,
    /// What to render as text.
    pub families: &'a [MetricFamily],
    /// Some backends are mocks.
    pub demo: bool,
    /// Of each autoscaler: its pool, backends that there should be, decisions up and down.
    pub scaling: &'a [(Arc<str>, u32, [u64; 2])],
    /// How each discovery stands, by pool.
    pub discovery: &'a [(Arc<str>, Search)],
    /// What copies of requests have shown, by route and pool.
    pub differences: &'a [(RouteAndPool, Counted)],
}

/// How reloads ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reloads {
    /// The new configuration is in force.
    pub applied: u64,
    /// It said what was in force already.
    pub unchanged: u64,
    /// It has errors; the old one stays in force.
    pub rejected: u64,
    /// The last one was rejected.
    pub failing: bool,
}

impl<'a> View<'a> {
    /// Every backend with its pool, in the order configured.
    pub(crate) fn backends(&self) -> impl Iterator<Item = (&'a Pool, &'a Backend)> + use<'a> {
        let pools = self.snapshot.pools.iter();
        pools.flat_map(|pool| pool.backends.iter().map(move |backend| (&**pool, &**backend)))
    }
}

/// Whether a backend serves well, from probes and traffic alone: what the operator wants with it is
/// another question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Nothing speaks against it.
    Healthy,
    /// Nothing speaks against it so far, but its first probe has not ended.
    Unknown,
    /// Probes failed, its name has no address, its breaker is not closed, or a doubt about it was
    /// confirmed.
    Unhealthy,
}

impl Condition {
    /// The benefit of the doubt is for those who have not been asked.
    pub(crate) fn is_up(self) -> bool {
        match self {
            Condition::Healthy | Condition::Unknown => true,
            Condition::Unhealthy => false,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Condition::Healthy => "healthy",
            Condition::Unknown => "unknown",
            Condition::Unhealthy => "unhealthy",
        }
    }
}

/// The condition of a backend of this pool.
pub(crate) fn condition(pool: &Pool, backend: &Backend) -> Condition {
    let is_closed = backend.breaker.state() == BreakerState::Closed;
    // Without an address there is nobody to ask.
    if !is_closed || backend.is_unresolved() || backend.suspicion.trust() == Trust::Forsaken {
        return Condition::Unhealthy;
    }
    match backend.health.state() {
        HealthState::Unhealthy => Condition::Unhealthy,
        HealthState::Healthy => Condition::Healthy,
        HealthState::Unknown if pool.plan.health.check == HealthCheck::Off => Condition::Healthy,
        HealthState::Unknown => match backend.health.report().streak {
            Streak::Failures(_) => Condition::Unhealthy,
            Streak::Successes(_) => Condition::Unknown,
        },
    }
}

/// Numbers of one series.
pub(crate) type Entry = (Series, CellTotals);

/// The series of each backend, by pool and name.
pub(crate) struct Traffic<'a>(HashMap<&'a str, HashMap<&'a str, Vec<&'a Entry>>>);

impl<'a> Traffic<'a> {
    pub(crate) fn of(totals: &'a Totals) -> Traffic<'a> {
        let mut by_pool: HashMap<&str, HashMap<&str, Vec<&Entry>>> = HashMap::new();
        for entry in &totals.series {
            let by_backend = by_pool.entry(&entry.0.pool).or_default();
            by_backend.entry(&entry.0.backend).or_default().push(entry);
        }
        Traffic(by_pool)
    }

    /// The series of one backend; empty if it had no traffic.
    pub(crate) fn series(&self, pool: &Pool, backend: &Backend) -> &[&'a Entry] {
        let by_backend = self.0.get(&*pool.plan.name);
        let series = by_backend.and_then(|by_backend| by_backend.get(&*backend.plan.name));
        series.map_or(&[], Vec::as_slice)
    }
}

/// Durations of the last minute of these series as one; of all time if nothing happened since.
pub(crate) fn recent<'a>(
    view: &View<'_>,
    series: impl Iterator<Item = &'a Entry>,
) -> HistogramSnapshot {
    // Windows are read by totals: those of these series only, so that the cost of asking about
    // every backend grows with the number of series, and not with its square.
    let with_durations = |(series, totals): &Entry| {
        let durations = totals.durations.clone();
        (series.clone(), CellTotals { durations, ..CellTotals::default() })
    };
    let own = Totals { series: series.map(with_durations).collect(), ..Totals::default() };
    let recent = view.windows.recent(view.now, &own, |_| true);
    if recent.count() > 0 { recent } else { own.merged(|_| true).durations }
}
