//! A small world for the tests of renderings: a configuration, its backends and their counters.

use super::{FAMILIES, ProcessFigures, Reloads, View};
use evenkeel_config::{Format, Overrides, Source, read};
use evenkeel_core::affinity::CookieKeys;
use evenkeel_core::backend::Backend;
use evenkeel_core::health::{ProbeFault, ProbeResult};
use evenkeel_core::plan::{CookiePlan, MetricFamily};
use evenkeel_core::pool::Pool;
use evenkeel_core::snapshot::{Secrets, Snapshot};
use evenkeel_core::stats::{Cell, ExchangeEnd, MethodLabel, Series, Stats, Totals, Windows};
use evenkeel_core::time::Nanos;
use std::sync::Arc;
use std::time::Duration;

/// 2026-01-01T00:00:00Z, the moment 0 of the world.
pub(crate) const EPOCH_NANOS: u64 = 1_767_225_600_000_000_000;
/// How long an exchange takes unless it is said.
const USUAL_NANOS: u64 = 2_000_000;

/// A pool with two backends that are probed, and one with a single backend that is not.
pub(crate) const TWO_POOLS: &str = r#"
listeners: [{ name: web, bind: "127.0.0.1:0" }]
routes:
  - { name: r-gone, match: { hosts: [gone.test] }, pool: gone }
  - { name: r-web, pool: web }
pools:
  - name: web
    strategy: Round-Robin
    backends:
      - { name: b1, address: "127.0.0.1:8081", weight: 3 }
      - { name: b2, address: "http://127.0.0.1:8082" }
    health: { type: http, path: /health, unhealthy_threshold: 3 }
  - name: gone
    backends: [{ name: g1, address: "unix:/run/g1" }]
    health: { type: none }
"#;

pub(crate) struct Fixture {
    pub(crate) now_seconds: u64,
    pub(crate) families: Vec<MetricFamily>,
    pub(crate) snapshot: Snapshot,
    stats: Stats,
    totals: Totals,
    windows: Windows,
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn cookie_keys(&mut self, _: &CookiePlan) -> Arc<CookieKeys> {
        Arc::new(CookieKeys::random([0; 32]))
    }

    fn seed(&mut self) -> [u64; 2] {
        [0; 2]
    }
}

impl Fixture {
    /// Of a configuration in YAML.
    pub(crate) fn of(text: &str) -> Fixture {
        let source =
            Source { name: "test".to_owned(), text: text.to_owned(), format: Format::Yaml };
        let configuration = read(Some(&source), &Overrides::default()).expect("it is valid");
        let (plan, _) = configuration.plan();
        let stats = Stats::new(1);
        Fixture {
            now_seconds: 61,
            families: FAMILIES.to_vec(),
            snapshot: Snapshot::new(plan, &mut NoSecrets),
            totals: stats.read(),
            stats,
            windows: Windows::default(),
        }
    }

    pub(crate) fn view(&self) -> View<'_> {
        View {
            totals: &self.totals,
            windows: &self.windows,
            snapshot: &self.snapshot,
            idle: &|_: &Backend| 5,
            now: self.now(),
            unix_nanos: EPOCH_NANOS + self.now().0,
            uptime: self.now().into(),
            generation: 7,
            reloads: Reloads { applied: 6, ..Reloads::default() },
            probes: &[("success", 40), ("timeout", 2)],
            losses: &[("access_record", 3), ("span", 0)],
            process: ProcessFigures::read(),
            version: "1.2.3",
            families: &self.families,
            demo: false,
            scaling: &[],
            discovery: &[],
            differences: &[],
        }
    }

    pub(crate) fn now(&self) -> Nanos {
        Nanos::default().after(Duration::from_secs(self.now_seconds))
    }

    /// One try and its end.
    pub(crate) fn exchange(&mut self, pool: &str, backend: &str, code: u16) {
        let cell = self.cell(&format!("r-{pool}"), (pool, backend));
        cell.tried();
        cell.exchange(&end(code, USUAL_NANOS));
        self.totals = self.stats.read();
    }

    /// One try and its end, after so long.
    pub(crate) fn exchange_taking(&mut self, (pool, backend): (&str, &str), nanos: u64) {
        let cell = self.cell(&format!("r-{pool}"), (pool, backend));
        cell.tried();
        cell.exchange(&end(200, nanos));
        self.totals = self.stats.read();
    }

    /// A try that is followed by another one elsewhere.
    pub(crate) fn tried(&mut self, pool: &str, backend: &str) {
        self.cell(&format!("r-{pool}"), (pool, backend)).tried();
        self.totals = self.stats.read();
    }

    /// An answer without a route.
    pub(crate) fn local_reply(&mut self, code: u16) {
        self.cell("", ("", "")).exchange(&end(code, USUAL_NANOS));
        self.totals = self.stats.read();
    }

    /// Counts what else a worker counts.
    pub(crate) fn count(&mut self, count: impl Fn(&evenkeel_core::stats::WorkerStats)) {
        count(&self.stats.workers()[0]);
        self.totals = self.stats.read();
    }

    /// These backends are gone for good, with what they have counted.
    pub(crate) fn retire(&mut self, pool: &str, backends: &[&str]) {
        let series = |backend: &&str| series(&format!("r-{pool}"), (pool, backend));
        self.stats.retire(&backends.iter().map(series).collect());
        self.totals = self.stats.read();
    }

    pub(crate) fn tick(&mut self) {
        self.windows.tick(self.now(), &self.totals);
    }

    /// So many probes in a row fail, or one succeeds if none does; the last one ends 250 ms before
    /// now and took 12.4 ms.
    pub(crate) fn probe(&self, pool: &str, backend: &str, failures: u32) {
        let (pool, index) = self.find(pool, backend);
        let at = Nanos(self.now().0 - 250_000_000);
        let took = Duration::from_micros(12_400);
        let fault = (failures > 0).then_some(ProbeFault::Timeout);
        for _ in 0..failures.max(1) {
            pool.record_probe(index, ProbeResult { at, took, fault: fault.clone() });
        }
    }

    pub(crate) fn find(&self, pool: &str, backend: &str) -> (&Pool, usize) {
        let pool = self.snapshot.pools.iter().find(|it| &*it.plan.name == pool).expect("a pool");
        let index = pool.backends.iter().position(|it| &*it.plan.name == backend);
        (pool, index.expect("a backend"))
    }

    fn cell(&self, route: &str, (pool, backend): (&str, &str)) -> Arc<Cell> {
        self.stats.workers()[0].cell(&series(route, (pool, backend)))
    }
}

fn series(route: &str, (pool, backend): (&str, &str)) -> Series {
    let (pool, backend) = (pool.into(), backend.into());
    Series { listener: "web".into(), route: route.into(), pool, backend }
}

pub(crate) fn end(code: u16, nanos: u64) -> ExchangeEnd {
    ExchangeEnd {
        code,
        method: MethodLabel::Get,
        total: nanos,
        first_byte: Some(nanos / 2),
        connect: None,
        queue: None,
        bytes_in: 10,
        bytes_out: 100,
        failed: code >= 500,
    }
}
