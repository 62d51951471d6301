//! `/health`: how the backends are.

use super::time_text;
use crate::metrics::{Condition, Traffic, View, condition, recent};
use evenkeel_core::backend::{Backend, Bar};
use evenkeel_core::health::ProbeResult;
use evenkeel_core::plan::AdminState;
use evenkeel_core::pool::Pool;
use serde_json::{Value, json};

const NANOS_PER_MILLI: u64 = 1_000_000;

/// How the backends are as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthStatus {
    /// Every backend that is wanted is healthy.
    Healthy,
    /// Some backend is not, or some pool has nobody left.
    Degraded,
    /// No pool has anybody left.
    Unhealthy,
}

impl HealthStatus {
    /// The word of the document.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthStatus::Healthy => "healthy",
            HealthStatus::Degraded => "degraded",
            HealthStatus::Unhealthy => "unhealthy",
        }
    }
}

/// One backend, as document and page show it.
pub(super) struct Row<'a> {
    pub(super) pool: &'a Pool,
    pub(super) backend: &'a Backend,
    pub(super) condition: Condition,
    /// Why it takes no new traffic.
    pub(super) bar: Option<Bar>,
    /// Of the last probe; where nothing is probed, the mean of recent exchanges.
    pub(super) latency_ms: u64,
    /// Share of failures among what ended in the window of its breaker, 0 to 1.
    pub(super) error_rate: f64,
    /// When its last probe ended.
    pub(super) last_check: Option<String>,
}

pub(super) fn rows<'a>(view: &View<'a>) -> Vec<Row<'a>> {
    let traffic = Traffic::of(view.totals);
    view.backends().map(|(pool, backend)| row(view, &traffic, (pool, backend))).collect()
}

fn row<'a>(
    view: &View<'a>,
    traffic: &Traffic<'_>,
    (pool, backend): (&'a Pool, &'a Backend),
) -> Row<'a> {
    let last = backend.health.report().results.pop();
    let nanos = match &last {
        Some(probe) => u64::try_from(probe.took.as_nanos()).unwrap_or(u64::MAX),
        None => {
            let series = traffic.series(pool, backend).iter().copied();
            recent(view, series).mean().unwrap_or_default()
        }
    };
    let window = backend.breaker.window(&pool.plan.breaker, view.now);
    let ended_at =
        |probe: ProbeResult| time_text(view.unix_nanos.saturating_sub(view.now.since(probe.at)));
    Row {
        pool,
        backend,
        condition: condition(pool, backend),
        bar: backend.barred(view.now),
        latency_ms: nanos.saturating_add(NANOS_PER_MILLI / 2) / NANOS_PER_MILLI,
        error_rate: 1.0 - window.success_rate(),
        last_check: last.map(ended_at),
    }
}

/// What the rows amount to. Backends that the operator does not want are not missed, unless nobody
/// else is there.
pub(super) fn status(view: &View<'_>, rows: &[Row<'_>]) -> HealthStatus {
    let mut pools = view.snapshot.pools.iter();
    let is_any_down = pools.clone().any(|pool| pool.is_down());
    if is_any_down && pools.all(|pool| pool.is_down()) {
        return HealthStatus::Unhealthy;
    }
    // Names that have no address yet are nobody.
    if !rows.is_empty() && rows.iter().all(|row| row.backend.is_unresolved()) {
        return HealthStatus::Unhealthy;
    }
    let is_missed = |row: &Row<'_>| {
        let plan = &row.backend.plan;
        let is_wanted = plan.admin == AdminState::Enabled && plan.weight > 0;
        is_wanted && row.condition != Condition::Healthy
    };
    if is_any_down || rows.iter().any(is_missed) {
        HealthStatus::Degraded
    } else {
        HealthStatus::Healthy
    }
}

/// `{status, timestamp, backends: [{address, status, latency_ms, error_rate, active_connections,
/// last_check}]}`. `address` is `host:port`; `status` of a backend is `healthy`, `unhealthy`, or
/// `unknown` until its first probe has ended; `last_check` is null where there is none. `demo` is
/// true if some backends are mocks, and else left out.
pub fn health_json(view: &View<'_>) -> (HealthStatus, Value) {
    let rows = rows(view);
    let status = status(view, &rows);
    let backend = |row: &Row<'_>| {
        json!({
            "address": &*row.backend.label,
            "status": row.condition.as_str(),
            "latency_ms": row.latency_ms,
            "error_rate": row.error_rate,
            "active_connections": row.backend.in_flight(),
            "last_check": row.last_check,
        })
    };
    let mut document = json!({
        "status": status.as_str(),
        "timestamp": time_text(view.unix_nanos),
        "backends": rows.iter().map(backend).collect::<Vec<Value>>(),
    });
    if view.demo {
        document["demo"] = true.into();
    }
    (status, document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::fixture::{Fixture, TWO_POOLS};
    use evenkeel_core::breaker::Verdict;
    use evenkeel_core::suspicion::Doubt;

    #[test]
    fn the_document_has_its_exact_keys() {
        let mut fixture = Fixture::of(TWO_POOLS);
        fixture.probe("web", "b1", 0);
        fixture.exchange_taking(("gone", "g1"), 30_600_000);
        let (pool, b1) = fixture.find("web", "b1");
        for verdict in [Verdict::Success, Verdict::Success, Verdict::Failure, Verdict::Success] {
            let breaker = &pool.backends[b1].breaker;
            assert_eq!(breaker.record(&pool.plan.breaker, fixture.now(), verdict, 0.0), None);
        }
        let (status, document) = health_json(&fixture.view());
        assert_eq!(status, HealthStatus::Degraded, "b2 was not probed");
        let expected = json!({
            "status": "degraded",
            "timestamp": "2026-01-01T00:01:01.000Z",
            "backends": [
                {
                    "address": "127.0.0.1:8081", "status": "healthy", "latency_ms": 12,
                    "error_rate": 0.25, "active_connections": 0,
                    "last_check": "2026-01-01T00:01:00.750Z",
                },
                {
                    "address": "127.0.0.1:8082", "status": "unknown", "latency_ms": 0,
                    "error_rate": 0.0, "active_connections": 0, "last_check": null,
                },
                {
                    "address": "unix:/run/g1", "status": "healthy", "latency_ms": 31,
                    "error_rate": 0.0, "active_connections": 0, "last_check": null,
                },
            ],
        });
        assert_eq!(document, expected);
        let order = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(order(&document), order(&expected));
    }

    const BOTH: [&str; 2] = ["b1", "b2"];

    #[test]
    fn a_pool_that_sleeps_is_well() {
        let scaled = "\n    autoscale: { min: 0, max: 1, \
             driver: { type: exec, command: [\"true\"] } }\n";
        let text = "listeners: [{ bind: \":80\" }]\npools:\n  - name: web\n    backends: []";
        let status = |text: &str| health_json(&Fixture::of(text).view()).0;
        assert_eq!(status(&format!("{text}{scaled}")), HealthStatus::Healthy);
        assert_eq!(
            status(&format!("{text}{}", scaled.replace("0,", "1,"))),
            HealthStatus::Unhealthy
        );
    }

    fn probe_both(fixture: &Fixture, failures: u32) {
        BOTH.iter().for_each(|backend| fixture.probe("web", backend, failures));
    }

    /// What happens to the pool `web`, and the status that follows.
    fn check(happens: impl Fn(&Fixture), expected: HealthStatus) {
        let route = "  - { name: r-gone, match: { hosts: [gone.test] }, pool: gone }\n";
        let one_pool = TWO_POOLS.split("  - name: gone").next().unwrap().replace(route, "");
        let fixture = Fixture::of(&one_pool);
        probe_both(&fixture, 0);
        happens(&fixture);
        let (status, document) = health_json(&fixture.view());
        assert_eq!(status, expected, "{document}");
        assert_eq!(document["status"], expected.as_str());
    }

    #[test]
    fn the_status_is_that_of_those_who_are_left() {
        check(|_| {}, HealthStatus::Healthy);
        check(|fixture| fixture.probe("web", "b2", 2), HealthStatus::Healthy);
        check(|fixture| fixture.probe("web", "b2", 3), HealthStatus::Degraded);
        let all_down = |fixture: &Fixture| probe_both(fixture, 3);
        check(all_down, HealthStatus::Unhealthy);
        let back = |fixture: &Fixture| {
            all_down(fixture);
            (0..2).for_each(|_| probe_both(fixture, 0));
        };
        check(back, HealthStatus::Healthy);
        let doubted = |fixture: &Fixture| {
            let (pool, index) = fixture.find("web", "b1");
            assert!(pool.doubt(index, Doubt::Reset, fixture.now()).is_some());
        };
        check(doubted, HealthStatus::Healthy);
        let forsaken = |fixture: &Fixture| {
            doubted(fixture);
            let (pool, index) = fixture.find("web", "b1");
            assert!(pool.backends[index].suspicion.confirm());
        };
        check(forsaken, HealthStatus::Degraded);
    }

    #[test]
    fn open_breakers_are_ignored_as_long_as_traffic_flows() {
        let all_open = |fixture: &Fixture| {
            for backend in BOTH {
                let (pool, index) = fixture.find("web", backend);
                let failures = 0..pool.plan.breaker.failure_threshold;
                let breaker = &pool.backends[index].breaker;
                failures.for_each(|_| {
                    breaker.record(&pool.plan.breaker, fixture.now(), Verdict::Failure, 0.0);
                });
                pool.refresh(fixture.now());
            }
        };
        check(all_open, HealthStatus::Degraded);
    }

    #[test]
    fn a_pool_without_anybody_degrades_the_others() {
        let fixture = Fixture::of(TWO_POOLS);
        probe_both(&fixture, 0);
        assert_eq!(health_json(&fixture.view()).0, HealthStatus::Healthy);
        probe_both(&fixture, 3);
        assert_eq!(health_json(&fixture.view()).0, HealthStatus::Degraded);
    }

    #[test]
    fn who_is_taken_out_by_the_operator_is_not_missed() {
        let out = |state: &str| {
            let text = TWO_POOLS.replace("weight: 3", &format!("weight: 3, admin: {state}"));
            let fixture = Fixture::of(&text);
            fixture.probe("web", "b2", 0);
            health_json(&fixture.view()).0
        };
        assert_eq!(out("disabled"), HealthStatus::Healthy);
        assert_eq!(out("draining"), HealthStatus::Healthy);
        assert_eq!(out("enabled"), HealthStatus::Degraded, "it was not probed");
    }
}
