//! Migrations as documents: for the API, and as a report in Markdown.

use super::{Entry, time_of};
use evenkeel_api::{
    ArmReport, GateReport, Migration as Document, MigrationCheck, MigrationState, Verdict,
};
use evenkeel_core::migration::{self as core, Arm, Check, GateResult, Standing, State};
use std::fmt::Write;

pub(super) fn document(entry: &Entry) -> Document {
    let machine = &entry.machine;
    let plan = machine.plan();
    let (started, ended) = machine.times();
    let checks = checks(entry);
    let last = checks.last().map(|check| check.verdict);
    Document {
        id: plan.name.to_string(),
        route: plan.route.to_string(),
        from: plan.from.to_string(),
        to: plan.to.to_string(),
        state: state(machine.state()),
        stage: machine.stage(),
        stages: plan.stages.len(),
        weight: machine.weight(),
        verdict: machine.verdict().map(verdict).or(last),
        reason: machine.reason().to_owned(),
        started: time_of(started),
        ended: ended.map(time_of),
        checks,
    }
}

/// Those of before a restart first.
pub(super) fn checks(entry: &Entry) -> Vec<MigrationCheck> {
    entry.before.iter().cloned().chain(entry.machine.checks().map(check)).collect()
}

fn state(state: State) -> MigrationState {
    match state {
        State::Preflight => MigrationState::Preflight,
        State::Running => MigrationState::Running,
        State::Waiting => MigrationState::Waiting,
        State::Paused => MigrationState::Paused,
        State::Frozen => MigrationState::Frozen,
        State::Watching => MigrationState::Watching,
        State::Done => MigrationState::Done,
        State::Aborted => MigrationState::Aborted,
    }
}

fn verdict(verdict: core::Verdict) -> Verdict {
    match verdict {
        core::Verdict::Go => Verdict::Go,
        core::Verdict::NoGo => Verdict::NoGo,
        core::Verdict::NotEnoughData => Verdict::NotEnoughData,
    }
}

fn check(check: &Check) -> MigrationCheck {
    MigrationCheck {
        time: time_of(check.unix_ms),
        stage: check.stage,
        weight: check.weight,
        verdict: verdict(check.verdict),
        reason: check.reason.clone(),
        approved_by: check.approved_by.clone(),
        from: arm(&check.from),
        to: arm(&check.to),
        gates: check.gates.iter().map(gate).collect(),
    }
}

fn arm(arm: &Arm) -> ArmReport {
    let percentile = |quantile| arm.percentile_ms(quantile).map(|ms| (ms * 1e3).round() / 1e3);
    ArmReport {
        requests: arm.requests,
        errors: arm.errors,
        success_rate: arm.success_rate(),
        p50_ms: percentile(0.5),
        p95_ms: percentile(0.95),
        p99_ms: percentile(0.99),
    }
}

fn gate(gate: &GateResult) -> GateReport {
    GateReport {
        gate: gate.gate.to_owned(),
        threshold: gate.threshold,
        value: gate.value,
        confidence: gate.confidence,
        holds: gate.standing == Standing::Holds,
    }
}

/// The report of a migration: every decision with what it was based on.
pub fn migration_markdown(it: &Document) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_report(it, &mut out);
    out
}

fn write_report(it: &Document, out: &mut String) -> std::fmt::Result {
    let state = super::state_text(it);
    writeln!(out, "# Migration {}\n", it.id)?;
    writeln!(out, "- Route `{}`: from `{}` to `{}`", it.route, it.from, it.to)?;
    writeln!(
        out,
        "- State: **{state}**, stage {} of {}, weight {}%",
        it.stage + 1,
        it.stages,
        it.weight
    )?;
    writeln!(out, "- Reason: {}", it.reason)?;
    writeln!(
        out,
        "- Started {}, ended {}\n",
        it.started,
        it.ended.as_deref().unwrap_or("not yet")
    )?;
    writeln!(out, "## Checks\n")?;
    let arms = [&it.from, &it.to].map(|pool| format!("`{pool}`: requests, errors, p99 ms"));
    let [from, to] = arms;
    writeln!(out, "| time | stage | weight | verdict | {from} | {to} | reason | approved by |")?;
    writeln!(out, "|---|--:|--:|---|--:|--:|---|---|")?;
    for check in &it.checks {
        let arm = |arm: &ArmReport| {
            let p99 = arm.p99_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.1}"));
            format!("{}, {}, {p99}", arm.requests, arm.errors)
        };
        let verdict = match check.verdict {
            Verdict::Go => "GO",
            Verdict::NoGo => "NO-GO",
            Verdict::NotEnoughData => "NOT-ENOUGH-DATA",
        };
        writeln!(
            out,
            "| {} | {} | {}% | {verdict} | {} | {} | {} | {} |",
            check.time,
            check.stage + 1,
            check.weight,
            arm(&check.from),
            arm(&check.to),
            check.reason,
            check.approved_by.as_deref().unwrap_or("–"),
        )?;
    }
    write_gates(it, out)
}

fn write_gates(it: &Document, out: &mut String) -> std::fmt::Result {
    let Some(last) = it.checks.iter().rev().find(|check| !check.gates.is_empty()) else {
        return Ok(());
    };
    writeln!(out, "\n## Gates at the last check\n")?;
    writeln!(out, "| gate | threshold | found | confidence | holds |")?;
    writeln!(out, "|---|--:|--:|--:|---|")?;
    for gate in &last.gates {
        let number =
            |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |it| format!("{it:.4}"));
        writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            gate.gate,
            gate.threshold,
            number(gate.value),
            number(gate.confidence),
            if gate.holds { "yes" } else { "no" },
        )?;
    }
    Ok(())
}
