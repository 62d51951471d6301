//! Seeded worlds of two pools under a migration: how often an equal pool is called worse, and how
//! often a worse one is promoted.

use crate::drawn::{Draw, a_stage, plan, seeds};
use evenkeel_core::migration::{
    Arm, Capacity, Gates, Migration, Observation, Pending, Share, Stage, StageTraffic, State,
};
use evenkeel_core::stats::Histogram;
use evenkeel_core::time::Nanos;
use std::time::Duration;

/// Worlds of each kind that are played without further notice.
const SEEDS: u64 = 120;
/// The risk that the plans ask for.
const ALPHA: f64 = 0.05;
const RATE: f64 = 60.0;
const LONGEST: u64 = 900;

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

fn stage(weight: f64) -> Stage {
    Stage {
        traffic: StageTraffic::Weight(weight),
        min_duration: Duration::from_secs(40),
        max_duration: Duration::from_secs(80),
        gates: Gates { success_rate: Some(0.9), ..Gates::default() },
        ..a_stage()
    }
}

/// Plays one world to its end, or for as long as it may last.
fn play(seed: u64, natures: impl Fn(&mut Draw) -> (Nature, Nature)) -> (State, String) {
    let mut draw = Draw(seed);
    let (old, new) = natures(&mut draw);
    let (mut from, mut to) = (Pool::default(), Pool::default());
    let mut migration = Migration::start(plan(vec![stage(25.0), stage(50.0)]), Nanos(0), 0);
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

/// More than `ALPHA` of the worlds by more than luck explains (three standard deviations).
fn too_many(wrong: &[u64], of: usize) -> bool {
    let luck = 3.0 * (ALPHA * (1.0 - ALPHA) / of as f64).sqrt();
    wrong.len() as f64 / of as f64 > ALPHA + luck
}

#[test]
fn an_equal_pool_is_seldom_called_worse_and_often_promoted() {
    let seeds = seeds(SEEDS);
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
    let seeds = seeds(SEEDS);
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
