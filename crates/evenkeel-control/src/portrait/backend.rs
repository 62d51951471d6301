//! A backend with its three axes, each with its reason.

use super::Portrait;
use crate::documents::time_text;
use crate::metrics::recent;
use evenkeel_api as api;
use evenkeel_core::address::{BackendAddress, Endpoint, Scheme};
use evenkeel_core::backend::Backend;
use evenkeel_core::breaker::BreakerState;
use evenkeel_core::health::{HealthState, ProbeResult};
use evenkeel_core::plan::{AdminState, HealthCheck};
use evenkeel_core::pool::Pool;
use evenkeel_core::time::Nanos;

const NANOS_PER_MILLI: f64 = 1_000_000.0;

impl Portrait<'_> {
    pub(super) fn backend(&self, pool: &Pool, backend: &Backend) -> api::Backend {
        let series = self.traffic.series(pool, backend);
        let durations = recent(self.view, series.iter().copied());
        let percentile = |quantile| durations.percentile(quantile).map(millis);
        let report = backend.health.report();
        let window = backend.breaker.window(&pool.plan.breaker, self.view.now);
        let breaker = breaker(backend.breaker.state());
        let is_open = breaker != api::BreakerState::Closed;
        let bar = backend.barred(self.view.now);
        api::Backend {
            name: backend.plan.name.to_string(),
            address: backend.label.to_string(),
            url: url(&backend.plan.address),
            weight: backend.plan.weight,
            admin: admin(backend.plan.admin),
            admin_since: backend.wished_at().map(|at| self.time(at)),
            admin_reason: Some(self.wish_of(pool, backend).to_owned()),
            health: if pool.plan.health.check == HealthCheck::Off {
                api::HealthState::Unchecked
            } else {
                health(report.state)
            },
            health_since: (report.since > Nanos::default()).then(|| self.time(report.since)),
            health_reason: report.last_fault.as_ref().map(ToString::to_string),
            results: report.results.iter().map(|it| self.probe(it)).collect(),
            breaker,
            breaker_since: backend.breaker.since().map(|at| self.time(at)),
            breaker_until: backend.breaker.open_until().map(|until| self.time(until)),
            breaker_reason: backend
                .breaker
                .last_trip()
                .filter(|_| is_open)
                .map(|trip| trip.to_string()),
            suspected: backend.suspicion.cause().map(|(doubt, _)| doubt.as_str().to_owned()),
            eligible: bar.is_none(),
            reason: bar.map(|bar| bar.as_str().to_owned()),
            in_flight: backend.in_flight(),
            p50_ms: percentile(0.5),
            p95_ms: percentile(0.95),
            p99_ms: percentile(0.99),
            requests: series.iter().map(|(_, totals)| totals.exchanges()).sum(),
            error_rate: 1.0 - window.success_rate(),
            source: self.source(pool, backend),
        }
    }

    fn source(&self, pool: &Pool, backend: &Backend) -> api::Source {
        self.sources.of(&place(pool, backend))
    }

    /// Who wants its admin state to be as it is.
    fn wish_of(&self, pool: &Pool, backend: &Backend) -> &'static str {
        match self.sources.of_wish(&place(pool, backend)) {
            api::Source::Config => "as configured",
            api::Source::Api => "set over the API",
            api::Source::Discovery => "told by discovery",
            api::Source::Autoscale => "set by the autoscaler",
        }
    }

    fn probe(&self, probe: &ProbeResult) -> api::ProbeResult {
        api::ProbeResult {
            time: self.time(probe.at),
            took_ms: millis(u64::try_from(probe.took.as_nanos()).unwrap_or(u64::MAX)),
            fault: probe.fault.as_ref().map(ToString::to_string),
        }
    }

    /// A moment that has been, or is to come.
    fn time(&self, at: Nanos) -> String {
        let now = self.view.now;
        let unix = self.view.unix_nanos.saturating_sub(now.since(at));
        time_text(unix.saturating_add(at.since(now)))
    }
}

fn place(pool: &Pool, backend: &Backend) -> (String, String) {
    (pool.plan.name.to_string(), backend.plan.name.to_string())
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
fn millis(nanos: u64) -> f64 {
    nanos as f64 / NANOS_PER_MILLI
}

fn admin(state: AdminState) -> api::AdminState {
    match state {
        AdminState::Enabled => api::AdminState::Enabled,
        AdminState::Draining => api::AdminState::Draining,
        AdminState::Disabled => api::AdminState::Disabled,
    }
}

fn health(state: HealthState) -> api::HealthState {
    match state {
        HealthState::Unknown => api::HealthState::Unknown,
        HealthState::Healthy => api::HealthState::Healthy,
        HealthState::Unhealthy => api::HealthState::Unhealthy,
    }
}

fn breaker(state: BreakerState) -> api::BreakerState {
    match state {
        BreakerState::Closed => api::BreakerState::Closed,
        BreakerState::Open => api::BreakerState::Open,
        BreakerState::HalfOpen => api::BreakerState::HalfOpen,
    }
}

/// Its address as a URL, however it was spelt.
pub(crate) fn url(address: &BackendAddress) -> String {
    let scheme = match (&address.endpoint, address.scheme) {
        (Endpoint::Unix(_), _) => return address.text.to_string(),
        (_, Scheme::Http) => "http",
        (_, Scheme::Https) => "https",
        (_, Scheme::H2c) => "h2c",
    };
    format!("{scheme}://{}", address.default_name())
}
