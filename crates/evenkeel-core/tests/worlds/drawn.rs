//! What worlds are made of: numbers that a seed draws, and the plan of a migration.

use evenkeel_core::migration::{
    AbortRule, Approval, CohortKey, Gates, MigrationPlan, OnMaxDuration, Preflight, Stage,
    StageTraffic,
};
use std::env;
use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood 2014): a world needs no more.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.next()
    }

    /// A normal number by Box and Muller.
    pub(crate) fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.next().max(1e-12), self.next());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    /// A whole number, both bounds included.
    pub(crate) fn whole(&mut self, low: u64, high: u64) -> u64 {
        low + (self.next() * (high - low + 1) as f64) as u64
    }
}

pub(crate) fn a_stage() -> Stage {
    Stage {
        traffic: StageTraffic::Weight(50.0),
        min_duration: Duration::ZERO,
        min_requests: 100,
        max_duration: Duration::ZERO,
        on_max_duration: OnMaxDuration::Hold,
        approval: Approval::Auto,
        gates: Gates::default(),
    }
}

pub(crate) fn plan(stages: Vec<Stage>) -> MigrationPlan {
    MigrationPlan {
        name: "m".into(),
        route: "web".into(),
        from: "stable".into(),
        to: "canary".into(),
        cohort: CohortKey::ClientIp,
        interval: Duration::from_secs(10),
        abort: AbortRule::default(),
        preflight: Preflight::default(),
        stages,
        watch: Duration::from_secs(20),
        webhooks: Vec::new(),
    }
}

/// The seeds to play: so many, unless the environment asks for others.
pub(crate) fn seeds(count: u64) -> Vec<u64> {
    let number = |name: &str| {
        let text = env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
    };
    match number("EVENKEEL_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("EVENKEEL_SEEDS").unwrap_or(count)).collect(),
    }
}
