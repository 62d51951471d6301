//! Migrations as documents: for the API, and as a report in Markdown.

use super::{Entry, time_of};
use evenkeel_api::{
    ArmReport, GateReport, Migration as Document, MigrationCheck, MigrationState, Verdict,
};
use evenkeel_core::migration::{self as core, ArmFigures, Check, GateResult, Standing, State};
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

fn arm(arm: &ArmFigures) -> ArmReport {
    let [p50_ms, p95_ms, p99_ms] =
        arm.percentiles_ms.map(|ms| ms.map(|ms| (ms * 1e3).round() / 1e3));
    let ArmFigures { requests, errors, success_rate, .. } = *arm;
    ArmReport { requests, errors, success_rate, p50_ms, p95_ms, p99_ms }
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
    writeln!(out, "- Reason: {}", it.reason.replace(['\r', '\n'], " "))?;
    writeln!(
        out,
        "- Started {}, ended {}\n",
        it.started,
        it.ended.as_deref().unwrap_or("not yet")
    )?;
    write_stages(it, out)?;
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
        writeln!(
            out,
            "| {} | {} | {}% | {} | {} | {} | {} | {} |",
            check.time,
            check.stage + 1,
            check.weight,
            verdict_text(check.verdict),
            arm(&check.from),
            arm(&check.to),
            cell(&check.reason),
            cell(check.approved_by.as_deref().unwrap_or("–")),
        )?;
    }
    write_gates(it, out)
}

/// One row for each run of checks that count from the same beginning: a stage, what is left of it
/// after a pause or a restart, the watch.
fn write_stages(it: &Document, out: &mut String) -> std::fmt::Result {
    if it.checks.is_empty() {
        return Ok(());
    }
    let [from, to] =
        [&it.from, &it.to].map(|pool| format!("`{pool}`: requests, errors %, p50, p95, p99 ms"));
    writeln!(out, "## Stages\n")?;
    writeln!(out, "| stage | weight | first check | last check | {from} | {to} | decision |")?;
    writeln!(out, "|--:|--:|---|---|--:|--:|---|")?;
    let begins_anew = |before: &MigrationCheck, check: &MigrationCheck| {
        check.stage != before.stage || check.to.requests < before.to.requests
    };
    for run in it.checks.chunk_by(|before, check| !begins_anew(before, check)) {
        let ([first, ..], [.., last]) = (run, run) else { continue };
        writeln!(
            out,
            "| {} | {}% | {} | {} | {} | {} | {} |",
            last.stage + 1,
            last.weight,
            first.time,
            last.time,
            in_short(&last.from),
            in_short(&last.to),
            verdict_text(last.verdict),
        )?;
    }
    writeln!(out)
}

fn in_short(arm: &ArmReport) -> String {
    let errors = (1.0 - arm.success_rate) * 100.0;
    let ms = |ms: Option<f64>| ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.1}"));
    let times = [arm.p50_ms, arm.p95_ms, arm.p99_ms].map(ms).join(", ");
    format!("{}, {errors:.2}, {times}", arm.requests)
}

fn verdict_text(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Go => "GO",
        Verdict::NoGo => "NO-GO",
        Verdict::NotEnoughData => "NOT-ENOUGH-DATA",
    }
}

/// A text that stays in its cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\r', '\n'], " ")
}

/// Every gate of the last check that has any, as it was judged last: while nothing comes to the old
/// pool any more there is nothing to compare with, which says nothing of what was found before.
fn write_gates(it: &Document, out: &mut String) -> std::fmt::Result {
    let judged = || it.checks.iter().rev().filter(|check| !check.gates.is_empty());
    let Some(last) = judged().next() else { return Ok(()) };
    writeln!(out, "\n## Gates as they were judged last\n")?;
    writeln!(out, "| gate | threshold | found | confidence | holds | check |")?;
    writeln!(out, "|---|--:|--:|--:|---|---|")?;
    for gate in &last.gates {
        let of = |check| Some((check, found_at(check, &gate.gate)?));
        let (check, gate) = judged().find_map(of).unwrap_or((last, gate));
        let number =
            |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |it| format!("{it:.4}"));
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            gate.gate,
            gate.threshold,
            number(gate.value),
            number(gate.confidence),
            if gate.holds { "yes" } else { "no" },
            check.time,
        )?;
    }
    Ok(())
}

/// A gate of a check, if there was something to judge it by.
fn found_at<'a>(check: &'a MigrationCheck, name: &str) -> Option<&'a GateReport> {
    check.gates.iter().find(|gate| gate.gate == name && gate.value.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stage: usize, second: u32, requests: u64) -> MigrationCheck {
        let arm = |requests, errors| ArmReport {
            requests,
            errors,
            success_rate: 1.0 - errors as f64 / requests.max(1) as f64,
            p50_ms: Some(1.0),
            p95_ms: Some(2.0),
            p99_ms: None,
        };
        MigrationCheck {
            time: format!("12:00:{second:02}"),
            stage,
            weight: 50.0,
            verdict: Verdict::Go,
            reason: "every gate holds".to_owned(),
            approved_by: Some("ann|bob\nx".to_owned()),
            from: arm(400, 0),
            to: arm(requests, 1),
            gates: Vec::new(),
        }
    }

    fn report(checks: Vec<MigrationCheck>) -> String {
        migration_markdown(&Document {
            id: "m".to_owned(),
            route: "web".to_owned(),
            from: "old".to_owned(),
            to: "new".to_owned(),
            state: MigrationState::Running,
            stage: 0,
            stages: 2,
            weight: 50.0,
            verdict: None,
            reason: "said".to_owned(),
            started: "then".to_owned(),
            ended: None,
            checks,
        })
    }

    #[test]
    fn a_stage_is_a_row_and_counts_that_begin_anew_another_one() {
        let checks = vec![
            check(0, 1, 100),
            check(0, 2, 200),
            check(1, 3, 100),
            check(1, 4, 400),
            check(1, 5, 50),
        ];
        let text = report(checks);
        let rows: Vec<&str> = text
            .lines()
            .skip_while(|line| *line != "## Stages")
            .take_while(|line| *line != "## Checks")
            .filter(|line| line.starts_with("| ") && line.contains("12:00"))
            .collect();
        assert_eq!(
            rows,
            [
                "| 1 | 50% | 12:00:01 | 12:00:02 | 400, 0.00, 1.0, 2.0, – | \
                 200, 0.50, 1.0, 2.0, – | GO |",
                "| 2 | 50% | 12:00:03 | 12:00:04 | 400, 0.00, 1.0, 2.0, – | \
                 400, 0.25, 1.0, 2.0, – | GO |",
                "| 2 | 50% | 12:00:05 | 12:00:05 | 400, 0.00, 1.0, 2.0, – | \
                 50, 2.00, 1.0, 2.0, – | GO |",
            ],
            "{text}"
        );
        assert!(!report(Vec::new()).contains("## Stages"));
    }

    fn gate(gate: &str, value: Option<f64>) -> GateReport {
        let (gate, holds) = (gate.to_owned(), value.is_some());
        GateReport { gate, threshold: 0.99, value, confidence: None, holds }
    }

    #[test]
    fn gates_stand_with_the_check_that_found_something() {
        let judged = |second, gates| MigrationCheck { gates, ..check(0, second, 100) };
        let text = report(vec![
            judged(1, vec![gate("success_rate", Some(0.98)), gate("max_p99_ratio", Some(1.25))]),
            // The old pool gets nothing any more.
            judged(2, vec![gate("success_rate", Some(1.0)), gate("max_p99_ratio", None)]),
            check(0, 3, 200),
        ]);
        for row in [
            "| success_rate | 0.99 | 1.0000 | – | yes | 12:00:02 |",
            "| max_p99_ratio | 0.99 | 1.2500 | – | yes | 12:00:01 |",
        ] {
            assert!(text.contains(row), "{row}\n{text}");
        }
        let none = report(vec![judged(1, vec![gate("max_p99_ratio", None)])]);
        assert!(none.contains("| max_p99_ratio | 0.99 | – | – | no | 12:00:01 |"), "{none}");
        assert!(!report(vec![check(0, 1, 100)]).contains("## Gates"));
    }

    #[test]
    fn what_people_say_stays_in_its_cell() {
        let text = report(vec![check(0, 1, 100)]);
        assert!(text.contains("| ann\\|bob x |"), "{text}");
    }
}
