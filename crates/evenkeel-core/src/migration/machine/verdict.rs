//! One check: windows, gates, verdict.

use super::{Awaited, Check, MAX_CHECKS, Migration, Observation, Pair, State, Verdict};
use crate::migration::evidence::spend;
use crate::migration::gates::{self, Arm, GateResult, Risks, Standing};
use crate::migration::plan::{Gates, StageTraffic};
use crate::time::Nanos;

/// Risk that a pool is called plainly worse.
const WORSE_RISK: f64 = 0.01;

impl Migration {
    /// Looks at the gates over the stage, and over the time since the last check. A broken one ends
    /// the migration, unless the old pool breaks it too.
    pub(super) fn check(&mut self, now: Nanos, seen: &Observation) -> Verdict {
        let Some(stage) = self.current() else { return Verdict::NotEnoughData };
        let (mut gates, least) = (stage.gates.clone(), stage.min_requests);
        if !matches!(stage.traffic, StageTraffic::Mirror(_)) {
            // Only copies have another answer beside theirs.
            gates.max_differences = None;
        }
        self.looks += 1;
        let window = self.window(seen);
        let latest = self.checked.until(seen);
        let risks = self.risks(&gates);
        let results = gates::judge(&gates, (&window.from, &window.to), window.differences, risks);
        let late_from = if has_use(&latest.from, least) { &latest.from } else { &window.from };
        let late = gates::judge(&gates, (late_from, &latest.to), latest.differences, risks);
        let lately = Pair { from: late_from.clone(), ..latest };
        self.checked = Pair::of(seen);
        let broken = results.iter().chain(&late);
        let broken: Vec<&GateResult> =
            broken.filter(|gate| gate.standing == Standing::Broken).collect();
        let (verdict, reason) = match broken.first() {
            Some(gate) => (Verdict::NoGo, told(gate)),
            None => open_or_go(&results, &window.to, (least, self.state)),
        };
        let shared = !broken.is_empty()
            && broken.iter().all(|gate| !gate.compares)
            && [&window, &lately].iter().any(|it| breaks_too(&gates, &it.from) && !is_worse(it));
        self.note(verdict, reason.clone(), (seen, results));
        if shared {
            let why = format!("{reason}; the old pool fails too");
            self.stand_still(State::Frozen, why, now);
        } else if verdict == Verdict::NoGo {
            self.abort(reason, seen.unix_ms);
        }
        verdict
    }

    /// Keeps a check.
    pub(super) fn note(
        &mut self,
        verdict: Verdict,
        reason: String,
        (seen, gates): (&Observation, Vec<GateResult>),
    ) {
        let Pair { from, to, .. } = self.window(seen);
        self.verdict = Some(verdict);
        self.reason.clone_from(&reason);
        if self.awaited == Some(Awaited::Person) {
            self.reason.push_str("; waits for approval");
        }
        self.checks_made += 1;
        self.checks.push_back(Check {
            unix_ms: seen.unix_ms,
            stage: self.stage,
            weight: self.weight(),
            verdict,
            reason,
            approved_by: self.approved_by.clone(),
            from: from.figures(),
            to: to.figures(),
            gates,
        });
        while self.checks.len() > MAX_CHECKS {
            self.checks.pop_front();
        }
    }

    /// What the stage has seen. An old pool with nothing to do is the one that it was when it last
    /// had.
    fn window(&mut self, seen: &Observation) -> Pair {
        let Some(base) = &self.base else { return Pair::default() };
        let window = base.until(seen);
        let needed = self.current().map_or(1, |stage| stage.min_requests.max(1));
        if window.from.requests >= needed.min(self.reference.requests.max(1)) {
            self.reference = window.from.clone();
            return window;
        }
        Pair { from: self.reference.clone(), ..window }
    }

    /// The risk that an equal pool is called broken is shared by all looks, gates and windows of
    /// all stages.
    fn risks(&self, gates: &Gates) -> Risks {
        let ways = gates::count(gates).max(1) * 2;
        let alpha = gates.alpha();
        Risks { of_breaking: spend(alpha, self.looks) / ways as f64, of_passing: alpha }
    }
}

/// True if so much was counted that it can be compared with.
fn has_use(arm: &Arm, least: u64) -> bool {
    arm.requests >= least.clamp(1, 100)
}

fn open_or_go(results: &[GateResult], to: &Arm, (least, state): (u64, State)) -> (Verdict, String) {
    // After the last stage nothing is to be proved any more, only to be refuted.
    if state == State::Watching {
        return (Verdict::Go, "no gate is broken".to_owned());
    }
    if to.requests < least {
        let reason = format!("{} of {least} requests", to.requests);
        return (Verdict::NotEnoughData, reason);
    }
    match results.iter().find(|gate| gate.standing == Standing::Open) {
        Some(gate) => (Verdict::NotEnoughData, told(gate)),
        None => (Verdict::Go, "every gate holds".to_owned()),
    }
}

/// True if it is plain that the new pool fails more often than the old one.
fn is_worse(window: &Pair) -> bool {
    let usual = window.from.failed().upper_bound(WORSE_RISK);
    window.to.failed().chance_of_more(usual) < WORSE_RISK
}

/// True if the old pool breaks what is asked of the new one by itself.
fn breaks_too(gates: &Gates, from: &Arm) -> bool {
    let slow = |(gate, (_, quantile)): (&Option<std::time::Duration>, &(&str, f64))| {
        let found = from.durations.percentile(*quantile);
        gate.zip(found).is_some_and(|(most, found)| u128::from(found) > most.as_nanos())
    };
    let fails = gates.success_rate.is_some_and(|least| from.success_rate() < least);
    fails || gates.latency.iter().zip(&super::super::plan::PERCENTILES).any(slow)
}

fn told(gate: &GateResult) -> String {
    let GateResult { gate: name, threshold, value, standing, .. } = gate;
    let shown = |number: f64| {
        if name.contains("ratio") {
            format!("{number:.2} x")
        } else if name.starts_with('p') {
            format!("{number:.1} ms")
        } else {
            format!("{:.3} %", number * 100.0)
        }
    };
    let found = value.map_or_else(|| "nothing yet".to_owned(), shown);
    let meaning = match standing {
        Standing::Holds => "holds",
        Standing::Open => "not enough requests to say",
        Standing::Broken => "does not hold",
    };
    format!("{name} {meaning}: {found}, threshold {}", shown(*threshold))
}
