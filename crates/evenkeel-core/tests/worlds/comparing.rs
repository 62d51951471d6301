//! Seeded worlds of two pools under a migration: how often an equal pool is called worse, and how
//! often a worse one is promoted. `EVENKEEL_SEEDS=2000` plays more of each kind, `EVENKEEL_SEED=42`
//! plays one.
#![expect(clippy::panic, reason = "a test ends where it fails")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "drawn within small bounds"
)]

use evenkeel_core::migration::{
    AbortRule, Approval, Arm, Capacity, CohortKey, Gates, Migration, MigrationPlan, Observation,
    OnMaxDuration, Pending, Preflight, Share, Stage, StageTraffic, State,
};
use evenkeel_core::stats::Histogram;
use evenkeel_core::time::Nanos;
use std::env;
use std::time::Duration;

/// Worlds of each kind that are played without further notice.
const SEEDS: u64 = 120;
/// The risk that the plans ask for.
const ALPHA: f64 = 0.05;
const RATE: f64 = 60.0;
const LONGEST: u64 = 900;

/// SplitMix64 (Steele, Lea, Flood 2014): a world needs no more.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.next()
    }

    /// A normal number by Box and Muller.
    fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.next().max(1e-12), self.next());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}

/// How a pool answers.
#[derive(Clone, Copy, Debug)]
struct Nature {
    /// Share of failures.
    errors: f64,
    /// Median of response times in ms; log-normal.
    median: f64,
    spread: f64,
}

#[derive(Default)]
struct Pool {
    requests: u64,
    errors: u64,
    durations: Histogram,
}

impl Pool {
    fn answer(&mut self, nature: &Nature, draw: &mut Draw) {
        self.requests += 1;
        self.errors += u64::from(draw.next() < nature.errors);
        let millis = nature.median * (nature.spread * draw.normal()).exp();
        self.durations.record((millis * 1e6) as u64);
    }

    fn arm(&self) -> Arm {
        let durations = self.durations.snapshot();
        Arm { requests: self.requests, errors: self.errors, durations }
    }
}

fn plan() -> MigrationPlan {
    let stage = |weight| Stage {
        traffic: StageTraffic::Weight(weight),
        min_duration: Duration::from_secs(40),
        min_requests: 100,
        max_duration: Duration::from_secs(80),
        on_max_duration: OnMaxDuration::Hold,
        approval: Approval::Auto,
        gates: Gates { success_rate: Some(0.9), ..Gates::default() },
    };
    MigrationPlan {
        name: "m".into(),
        route: "web".into(),
        from: "stable".into(),
        to: "canary".into(),
        cohort: CohortKey::ClientIp,
        interval: Duration::from_secs(10),
        abort: AbortRule::default(),
        preflight: Preflight::default(),
        stages: vec![stage(25.0), stage(50.0)],
        watch: Duration::from_secs(20),
        webhooks: Vec::new(),
    }
}

/// Plays one world to its end, or for as long as it may last.
fn play(seed: u64, natures: impl Fn(&mut Draw) -> (Nature, Nature)) -> (State, String) {
    let mut draw = Draw(seed);
    let (old, new) = natures(&mut draw);
    let (mut from, mut to) = (Pool::default(), Pool::default());
    let mut migration = Migration::start(plan(), Nanos(0), 0);
    for second in 1..LONGEST {
        let requests = (RATE * draw.between(0.7, 1.3)) as u64;
        for _ in 0..requests {
            if draw.next() * 100.0 < migration.weight() {
                to.answer(&new, &mut draw);
            } else {
                from.answer(&old, &mut draw);
            }
        }
        let seen = Observation {
            from: from.arm(),
            to: to.arm(),
            differences: Share::default(),
            capacity: Capacity { eligible: 2, total: 2, ramping: 0 },
            stable: 2,
            pending: [Pending::default(); 2],
            unix_ms: second * 1_000,
        };
        let now = Nanos::default().after(Duration::from_secs(second));
        migration.tick(now, &seen);
        if migration.state().is_over() {
            break;
        }
    }
    (migration.state(), migration.reason().to_owned())
}

fn some_nature(draw: &mut Draw) -> Nature {
    Nature {
        errors: [0.0, 0.001, 0.005, 0.02][(draw.next() * 4.0) as usize],
        median: draw.between(1.0, 80.0),
        spread: draw.between(0.2, 0.7),
    }
}

fn seeds() -> Vec<u64> {
    let number = |name: &str| {
        let text = env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
    };
    match number("EVENKEEL_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("EVENKEEL_SEEDS").unwrap_or(SEEDS)).collect(),
    }
}

/// More than `ALPHA` of the worlds by more than luck explains (three standard deviations).
fn too_many(wrong: &[u64], of: usize) -> bool {
    let luck = 3.0 * (ALPHA * (1.0 - ALPHA) / of as f64).sqrt();
    wrong.len() as f64 / of as f64 > ALPHA + luck
}

#[test]
fn an_equal_pool_is_seldom_called_worse_and_often_promoted() {
    let seeds = seeds();
    let (mut aborted, mut done) = (Vec::new(), 0);
    for seed in &seeds {
        let equal = |draw: &mut Draw| {
            let nature = some_nature(draw);
            (nature, nature)
        };
        match play(*seed, equal) {
            (State::Aborted, _) => aborted.push(*seed),
            (State::Done, _) => done += 1,
            _ => {}
        }
    }
    assert!(!too_many(&aborted, seeds.len()), "aborted: seeds {aborted:?}");
    assert!(seeds.len() == 1 || done * 2 > seeds.len(), "{done} of {} done", seeds.len());
}

#[test]
fn a_worse_pool_is_seldom_promoted() {
    let seeds = seeds();
    let (mut promoted, mut aborted) = (Vec::new(), 0);
    for seed in &seeds {
        let worse = |draw: &mut Draw| {
            let old = some_nature(draw);
            let new = if draw.next() < 0.5 {
                // Just beyond the allowed drop of a point, to far beyond it.
                Nature { errors: old.errors + draw.between(0.012, 0.08), ..old }
            } else {
                Nature { median: old.median * draw.between(1.6, 4.0), ..old }
            };
            (old, new)
        };
        match play(*seed, worse) {
            (State::Done, _) => promoted.push(*seed),
            (State::Aborted, _) => aborted += 1,
            _ => {}
        }
    }
    assert!(!too_many(&promoted, seeds.len()), "promoted: seeds {promoted:?}");
    assert!(seeds.len() == 1 || aborted * 2 > seeds.len(), "{aborted} of {}", seeds.len());
}
