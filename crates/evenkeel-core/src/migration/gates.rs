//! Whether the gates of a stage hold. A gate that compares passes only if what was counted refutes,
//! with the confidence asked for, that the new pool is worse than allowed; it fails only if what
//! was counted refutes that it is not. Between the two there is not enough to say.

use super::evidence::{Share, least_needed};
use super::plan::{Gates, PERCENTILES};
use crate::stats::HistogramSnapshot;
use std::time::Duration;

/// What one pool has answered, in a window or in all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arm {
    /// Requests that ended.
    pub requests: u64,
    /// Of these, failures.
    pub errors: u64,
    /// How long they took.
    pub durations: HistogramSnapshot,
}

impl Arm {
    /// What came since `older`, an earlier reading of the same.
    pub fn since(&self, older: &Arm) -> Arm {
        let mut durations = self.durations.clone();
        durations.subtract(&older.durations);
        Arm {
            requests: self.requests.saturating_sub(older.requests),
            errors: self.errors.saturating_sub(older.errors).min(self.requests),
            durations,
        }
    }

    /// Failures among requests.
    pub fn failed(&self) -> Share {
        Share { hits: self.errors.min(self.requests), of: self.requests }
    }

    /// Share of successes, 0 to 1; 1 of nothing.
    pub fn success_rate(&self) -> f64 {
        1.0 - self.failed().rate()
    }

    /// What is told of it.
    pub fn figures(&self) -> ArmFigures {
        let Arm { requests, errors, .. } = *self;
        let percentile = |quantile| self.durations.percentile(quantile);
        let percentiles_ms =
            PERCENTILES.map(|(_, quantile)| percentile(quantile).map(|nanos| nanos as f64 / 1e6));
        ArmFigures { requests, errors, success_rate: self.success_rate(), percentiles_ms }
    }

    /// Requests that took longer than `nanos`.
    fn slower_than(&self, nanos: f64) -> Share {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let within = self.durations.at_most(nanos as u64);
        let of = self.durations.count();
        Share { hits: of.saturating_sub(within), of }
    }
}

/// What is told of an arm. Thousands of these are kept, so it is small; an arm itself has some
/// kilobytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ArmFigures {
    /// Requests that ended.
    pub requests: u64,
    /// Of these, failures.
    pub errors: u64,
    /// Share of successes, 0 to 1; 1 of nothing.
    pub success_rate: f64,
    /// The [`PERCENTILES`] in milliseconds; `None` if nothing was answered.
    pub percentiles_ms: [Option<f64>; PERCENTILES.len()],
}

/// What is known of one gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds.
    Holds,
    /// Not enough is known.
    Open,
    /// It does not hold.
    Broken,
}

/// One gate at one check.
#[derive(Clone, Debug, PartialEq)]
pub struct GateResult {
    /// Its key in a plan.
    pub gate: &'static str,
    /// What it asks for: a share, milliseconds, or a multiple.
    pub threshold: f64,
    /// What was found, in the same unit; `None` if nothing was.
    pub value: Option<f64>,
    /// Of the comparison; `None` of a gate that does not compare.
    pub confidence: Option<f64>,
    /// What is known of it.
    pub standing: Standing,
    /// True if it compares with the old pool.
    pub compares: bool,
}

/// Risks of one look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Risks {
    /// That a gate is called broken though it holds.
    pub(super) of_breaking: f64,
    /// That a gate is called holding though it does not.
    pub(super) of_passing: f64,
}

/// Every gate, for the new pool `to` beside the old pool `from`, and for what copies have shown.
pub(super) fn judge(
    gates: &Gates,
    (from, to): (&Arm, &Arm),
    differences: Share,
    risks: Risks,
) -> Vec<GateResult> {
    let mut all = Vec::new();
    if let Some(least) = gates.success_rate {
        all.push(success(least, to, risks));
    }
    if let Some(most) = gates.max_success_drop {
        all.push(success_drop(most, (from, to), (gates, risks)));
    }
    for (index, (_, quantile)) in PERCENTILES.iter().enumerate() {
        if let Some(most) = gates.latency[index] {
            let gate = ["p50", "p95", "p99"][index];
            all.push(latency(gate, *quantile, (most, to), risks));
        }
        if let Some(most) = gates.latency_ratio[index] {
            let gate = ["max_p50_ratio", "max_p95_ratio", "max_p99_ratio"][index];
            all.push(latency_ratio((gate, *quantile), most, (from, to), (gates, risks)));
        }
    }
    if let Some(most) = gates.max_differences {
        all.push(differing(most, differences, risks));
    }
    all
}

/// Gates that compare or bound; what the risk of a look is divided by.
pub(super) fn count(gates: &Gates) -> usize {
    let latency = gates.latency.iter().filter(|gate| gate.is_some()).count();
    let ratio = gates.latency_ratio.iter().filter(|gate| gate.is_some()).count();
    let rates = usize::from(gates.success_rate.is_some());
    let shares = [gates.max_success_drop, gates.max_differences];
    rates + shares.iter().filter(|gate| gate.is_some()).count() + latency + ratio
}

/// Requests of the new pool that the gates need at least, all being well.
pub fn samples_needed(gates: &Gates) -> u64 {
    let alpha = gates.alpha();
    let drop = gates.max_success_drop.map_or(0, |most| least_needed(most, alpha));
    let times = PERCENTILES.iter().zip(gates.latency.iter().zip(&gates.latency_ratio));
    let times = times.map(|((_, quantile), (most, ratio))| {
        let told = most.map_or(0, |_| least_told(*quantile));
        told.max(ratio.map_or(0, |_| least_needed(1.0 - quantile, alpha)))
    });
    drop.max(times.max().unwrap_or(0))
}

/// Fewest requests of which one at least is above this percentile: with less it says nothing.
fn least_told(quantile: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "2 to 100")]
    let least = (1.0 / (1.0 - quantile)).ceil() as u64;
    least
}

fn differing(most: f64, found: Share, risks: Risks) -> GateResult {
    let standing = if found.of == 0 {
        Standing::Open
    } else if found.rate() <= most {
        Standing::Holds
    } else if found.chance_of_more(most) < risks.of_breaking {
        Standing::Broken
    } else {
        Standing::Open
    };
    let value = (found.of > 0).then(|| found.rate());
    let gate = "max_differences";
    // It stands for itself: an old pool cannot break it too.
    GateResult { gate, threshold: most, value, confidence: None, standing, compares: true }
}

fn success(least: f64, to: &Arm, risks: Risks) -> GateResult {
    let failed = to.failed();
    let standing = if failed.of == 0 {
        Standing::Open
    } else if to.success_rate() >= least {
        Standing::Holds
    } else if failed.chance_of_more(1.0 - least) < risks.of_breaking {
        Standing::Broken
    } else {
        Standing::Open
    };
    let value = (failed.of > 0).then(|| to.success_rate());
    let gate = "success_rate";
    GateResult { gate, threshold: least, value, confidence: None, standing, compares: false }
}

/// The risk is divided between the two pools: what bounds the old one, and the tail of the new one.
fn success_drop(
    most: f64,
    (from, to): (&Arm, &Arm),
    (gates, risks): (&Gates, Risks),
) -> GateResult {
    let (old, new) = (from.failed(), to.failed());
    let standing = if old.of == 0 || new.of == 0 {
        Standing::Open
    } else {
        let (part, rest) = divided(risks.of_breaking);
        let allowed = (old.upper_bound(part) + most).min(1.0);
        let (part_passing, rest_passing) = match old.hits {
            0 => (risks.of_passing, risks.of_passing),
            _ => divided(risks.of_passing),
        };
        let forbidden = (old.lower_bound(part_passing) + most).min(1.0);
        if new.chance_of_more(allowed) < rest {
            Standing::Broken
        } else if forbidden >= 1.0 || new.chance_of_less(forbidden) < rest_passing {
            Standing::Holds
        } else {
            Standing::Open
        }
    };
    let known = old.of > 0 && new.of > 0;
    GateResult {
        gate: "max_success_drop",
        threshold: most,
        value: known.then(|| new.rate() - old.rate()),
        confidence: Some(gates.confidence),
        standing,
        compares: true,
    }
}

fn latency(
    gate: &'static str,
    quantile: f64,
    (most, to): (Duration, &Arm),
    risks: Risks,
) -> GateResult {
    let slower = to.slower_than(most.as_nanos() as f64);
    let found = to.durations.percentile(quantile);
    let enough = slower.of >= least_told(quantile);
    let standing = match found {
        Some(found) if u128::from(found) <= most.as_nanos() && enough => Standing::Holds,
        Some(_) if slower.chance_of_more(1.0 - quantile) < risks.of_breaking => Standing::Broken,
        Some(_) | None => Standing::Open,
    };
    GateResult {
        gate,
        threshold: most.as_secs_f64() * 1e3,
        value: found.map(|nanos| nanos as f64 / 1e6),
        confidence: None,
        standing,
        compares: false,
    }
}

/// What the old pool rarely exceeds, times `most`, the new pool must not exceed more often.
fn latency_ratio(
    (gate, quantile): (&'static str, f64),
    most: f64,
    (from, to): (&Arm, &Arm),
    (gates, risks): (&Gates, Risks),
) -> GateResult {
    let both = to.durations.percentile(quantile).zip(from.durations.percentile(quantile));
    let standing = match both {
        None => Standing::Open,
        Some((_, old)) if is_slower((from, to), (old, most), risks.of_breaking) => Standing::Broken,
        Some(_) => {
            let fastest = bound_below(from, quantile, risks.of_passing);
            let slow = fastest.map(|fastest| to.slower_than(fastest * most));
            let rare = |slow: Share| slow.chance_of_less(1.0 - quantile) < risks.of_passing;
            if slow.is_some_and(rare) { Standing::Holds } else { Standing::Open }
        }
    };
    GateResult {
        gate,
        threshold: most,
        value: both.map(|(new, old)| new as f64 / old.max(1) as f64),
        confidence: Some(gates.confidence),
        standing,
        compares: true,
    }
}

/// True if the new pool exceeds `most` times `usual` more often than the old pool exceeds `usual`.
fn is_slower((from, to): (&Arm, &Arm), (usual, most): (u64, f64), risk: f64) -> bool {
    let (part, rest) = divided(risk);
    let left = from.slower_than(usual as f64).upper_bound(part);
    to.slower_than(usual as f64 * most).chance_of_more(left) < rest
}

/// The old pool is known better than the new one as a rule; it gets the smaller part of the risk.
fn divided(risk: f64) -> (f64, f64) {
    (risk * 0.2, risk * 0.8)
}

/// A duration that a pool's percentile is not below, with this risk.
fn bound_below(arm: &Arm, quantile: f64, risk: f64) -> Option<f64> {
    let of = arm.durations.count();
    let mut step = rank_of(quantile, of);
    loop {
        let below = Share { hits: step.checked_sub(1)?, of };
        if below.chance_of_less(quantile) < risk {
            return Some(arm.durations.percentile(step as f64 / of as f64)? as f64);
        }
        step = step.checked_sub((of / 512).max(1))?;
    }
}

fn rank_of(quantile: f64, of: u64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to of")]
    let rank = (quantile * of as f64).ceil() as u64;
    rank
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Histogram;

    #[test]
    fn a_bound_on_a_percentile_holds_with_the_samples_that_it_is_said_to_need() {
        let risks = Risks { of_breaking: 0.01, of_passing: 0.05 };
        for (index, needed) in [2, 20, 100].into_iter().enumerate() {
            let mut gates = Gates {
                success_rate: None,
                max_success_drop: None,
                latency_ratio: [None; PERCENTILES.len()],
                ..Gates::default()
            };
            gates.latency[index] = Some(Duration::from_millis(500));
            assert_eq!(samples_needed(&gates), needed, "{gates:?}");
            let standing = |requests: u64| {
                let mut to = Arm { requests, ..Arm::default() };
                let durations = Histogram::default();
                (0..requests).for_each(|_| durations.record(1_000_000));
                to.durations = durations.snapshot();
                judge(&gates, (&Arm::default(), &to), Share::default(), risks)[0].standing
            };
            assert_eq!(standing(needed - 1), Standing::Open);
            assert_eq!(standing(needed), Standing::Holds);
        }
    }
}
