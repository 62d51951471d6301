//! Seeded worlds in which pools under a migration hang, answering nobody, and are then cut off:
//! both, whose fate says nothing of the new one, or the new one alone.

use crate::drawn::{Draw, a_stage, plan, seeds};
use evenkeel_core::migration::{
    Arm, Capacity, Migration, Observation, Pending, Share, Stage, StageTraffic, State,
};
use evenkeel_core::stats::Histogram;
use evenkeel_core::time::Nanos;
use std::time::Duration;

/// Worlds of each kind that are played without further notice.
const SEEDS: u64 = 100;
/// When the trouble begins.
const BEGINS: u64 = 20;
const LONGEST: u64 = 120;
/// Looks at the pools in a second of this world.
const STEPS: u64 = 10;
const PROBE_INTERVAL: u64 = 5 * STEPS;
const PROBE_TIMEOUT: u64 = 2 * STEPS;
/// After a probe that failed.
const HURRIED: u64 = STEPS;
const UNHEALTHY: u32 = 3;
const HEALTHY: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Hangs,
    IsCut,
}

/// A pool of one backend with its health checks.
#[derive(Default)]
struct Pool {
    requests: u64,
    errors: u64,
    durations: Histogram,
    waiting: u64,
    answered: u64,
    failures: u32,
    successes: u32,
    is_down: bool,
    probe_at: u64,
    probe_ends: Option<u64>,
}

impl Pool {
    fn end(&mut self, count: u64, errors: u64) {
        self.requests += count;
        self.errors += errors;
        (0..count).for_each(|_| self.durations.record(5_000_000));
    }

    fn ask(&mut self, mood: Mood) {
        match mood {
            _ if self.is_down => self.end(1, 1),
            Mood::Well => {
                self.answered += 1;
                self.end(1, 0);
            }
            Mood::Hangs => self.waiting += 1,
            Mood::IsCut => self.end(1, 1),
        }
    }

    fn step(&mut self, step: u64, mood: Mood) {
        let waited = std::mem::take(&mut self.waiting);
        match mood {
            Mood::Well => {
                self.answered += waited;
                self.end(waited, 0);
            }
            Mood::Hangs => self.waiting = waited,
            Mood::IsCut => self.end(waited, waited),
        }
        let ends = match self.probe_ends {
            None if step >= self.probe_at => step + PROBE_TIMEOUT,
            None => return,
            Some(ends) => ends,
        };
        self.probe_ends = Some(ends);
        if mood == Mood::Hangs && step < ends {
            return;
        }
        self.probe_ends = None;
        if mood == Mood::Well {
            (self.successes, self.failures) = (self.successes + 1, 0);
        } else {
            (self.successes, self.failures) = (0, self.failures + 1);
        }
        let wavers = if self.is_down { self.successes > 0 } else { self.failures > 0 };
        self.probe_at = step + if wavers { HURRIED } else { PROBE_INTERVAL };
        self.is_down = match self.is_down {
            true => self.successes < HEALTHY,
            false => self.failures >= UNHEALTHY,
        };
    }

    fn arm(&self) -> Arm {
        let durations = self.durations.snapshot();
        Arm { requests: self.requests, errors: self.errors, durations }
    }

    fn pending(&self) -> Pending {
        Pending { requests: self.waiting, answered: self.answered }
    }
}

fn stage(weight: f64) -> Stage {
    Stage {
        traffic: StageTraffic::Weight(weight),
        min_duration: Duration::from_secs(300),
        max_duration: Duration::from_secs(600),
        ..a_stage()
    }
}

/// What came of it: the state, why, how often it froze, and when it ended.
struct Outcome {
    state: State,
    reason: String,
    froze: bool,
    second: u64,
    /// Tenths of a second that the trouble took.
    lasted: u64,
    world: String,
}

/// Plays one world; `spared` says whether the old pool has nothing of it.
fn play(seed: u64, spared: bool) -> Outcome {
    let mut draw = Draw(seed);
    let weight = [25.0, 50.0, 90.0][draw.whole(0, 2) as usize];
    let rate = [20, 60, 200][draw.whole(0, 2) as usize];
    let cut = BEGINS * STEPS + draw.whole(0, 25 * STEPS);
    let ends = cut + draw.whole(0, 15 * STEPS);
    let mood = |step: u64| match step {
        step if step < BEGINS * STEPS || step >= ends => Mood::Well,
        step if step < cut => Mood::Hangs,
        _ => Mood::IsCut,
    };
    let mut pools = [Pool::default(), Pool::default()];
    pools.iter_mut().for_each(|pool| pool.probe_at = draw.whole(0, PROBE_INTERVAL));
    let look = draw.whole(0, STEPS - 1);
    let mut migration = Migration::start(plan(vec![stage(weight)]), Nanos(0), 0);
    let (mut froze, mut second) = (false, 0);
    for step in 1..LONGEST * STEPS {
        let moods = [if spared { Mood::Well } else { mood(step) }, mood(step)];
        for _ in 0..rate / STEPS {
            let arm = usize::from(draw.next() * 100.0 < migration.weight());
            pools[arm].ask(moods[arm]);
        }
        pools.iter_mut().zip(moods).for_each(|(pool, mood)| pool.step(step, mood));
        if step % STEPS != look {
            continue;
        }
        let [from, to] = &pools;
        let unix_ms = step * 1_000 / STEPS;
        let seen = Observation {
            from: from.arm(),
            to: to.arm(),
            differences: Share::default(),
            capacity: Capacity { eligible: usize::from(!to.is_down), total: 1, ramping: 0 },
            stable: usize::from(!from.is_down && from.failures == 0),
            pending: [from.pending(), to.pending()],
            unix_ms,
        };
        migration.tick(Nanos::default().after(Duration::from_millis(unix_ms)), &seen);
        froze |= migration.state() == State::Frozen;
        if migration.state().is_over() {
            break;
        }
        second = step / STEPS;
    }
    let (state, reason) = (migration.state(), migration.reason().to_owned());
    let world = format!("{weight} % of {rate}/s, cut at {cut}, over at {ends} tenths of a second");
    let lasted = ends - BEGINS * STEPS;
    Outcome { state, reason, froze, second, lasted, world }
}

#[test]
fn what_both_pools_suffer_ends_no_migration() {
    let mut froze = 0;
    let mut wrong = Vec::new();
    for seed in seeds(SEEDS) {
        let outcome = play(seed, false);
        froze += u64::from(outcome.froze);
        if outcome.state != State::Running {
            wrong.push((seed, outcome.second, outcome.reason, outcome.world));
        }
    }
    // In the second in which it begins, an old pool with little to do may have shown nothing yet.
    let of = seeds(SEEDS).len();
    assert!(wrong.len() * 100 <= of, "{} of {of} worlds: {wrong:?}", wrong.len());
    assert!(froze > 0);
}

#[test]
fn what_the_new_pool_suffers_alone_ends_it() {
    for seed in seeds(SEEDS) {
        let Outcome { state, reason, froze, second, lasted, world } = play(seed, true);
        // Trouble of a few seconds may be a pause.
        let is_fit = state == State::Aborted || lasted < 3 * STEPS;
        assert!(is_fit && !froze, "seed {seed}: {state:?}, second {second}: {reason}; {world}");
    }
}
