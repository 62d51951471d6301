//! A trial of a policy on a recorded trace: what would have been decided.

use crate::arguments::RunArguments;
use crate::load::load;
use crate::trouble::Trouble;
use evenkeel_core::autoscale::{AutoscalePlan, Autoscaler, Decision, Signals};
use evenkeel_core::plan::{AdminState, PoolPlan};
use evenkeel_core::time::Nanos;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// A trace that is larger is none.
const MAX_TRACE_BYTES: u64 = 256 << 20;
/// The longest that one may last.
const MAX_TRACE_SECONDS: f64 = 1e9;
/// The columns of a trace.
const COLUMNS: [&str; 6] = ["time_s", "requests", "errors", "in_flight", "queue_wait_ms", "p95_ms"];

/// Whose policy is tried.
struct Policy {
    plan: AutoscalePlan,
    /// Backends that the configuration names.
    fixed: u32,
}

/// What a policy would have decided.
pub(super) struct Trial {
    decisions: Vec<(f64, Decision)>,
    /// Backends at the end.
    left: u32,
}

impl Trial {
    /// Of the named pool's policy, or of the first that has one.
    pub(super) fn of(
        trace: &Path,
        run: &RunArguments,
        pool: Option<&str>,
    ) -> Result<Trial, Trouble> {
        let policy = policy(run, pool)?;
        let text = text_of(trace)?;
        replay(&text, policy)
            .map_err(|(line, why)| Trouble::Mistake(format!("{}:{line}: {why}", trace.display())))
    }

    /// As JSON.
    pub(super) fn document(&self) -> Value {
        let shown = self.decisions.iter().map(|(time, it)| {
            let signals: BTreeMap<_, _> = it.signals.iter().copied().collect();
            json!({
                "time_s": time,
                "from": it.from,
                "to": it.to,
                "reason": it.reason,
                "signals": signals,
            })
        });
        json!({ "decisions": shown.collect::<Vec<_>>(), "final": self.left })
    }

    /// For people.
    pub(super) fn told(&self) -> String {
        let mut text = String::new();
        for (time, it) in &self.decisions {
            text += &format!("{time:>10.1}s  {} -> {}  {}\n", it.from, it.to, it.reason);
        }
        let many = plural(self.decisions.len(), "decision");
        let backends = plural(self.left as usize, "backend");
        text + &format!("{many}, {backends} at the end\n")
    }
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("{count} {what}") } else { format!("{count} {what}s") }
}

fn policy(run: &RunArguments, pool: Option<&str>) -> Result<Policy, Trouble> {
    let plan = load(run)?.plan;
    let wanted = |name: &str| pool.is_none_or(|pool| pool == name);
    let mut pools = plan.pools.iter().filter(|it| wanted(&it.name));
    let found = pools.find_map(|pool| Some((pool.autoscale.clone()?, fixed(pool))));
    let (plan, fixed) = found.ok_or_else(|| {
        let whose = pool.map_or_else(String::new, |pool| format!(" named {pool:?}"));
        Trouble::Mistake(format!("the file has no pool{whose} with an `autoscale` section"))
    })?;
    Ok(Policy { plan, fixed })
}

fn fixed(pool: &PoolPlan) -> u32 {
    let enabled = pool.backends.iter().filter(|it| it.admin == AdminState::Enabled);
    u32::try_from(enabled.count()).unwrap_or(u32::MAX)
}

fn text_of(trace: &Path) -> Result<String, Trouble> {
    let name = trace.display();
    let failed = |error: &dyn std::fmt::Display| {
        Trouble::Mistake(format!("cannot read the trace {name}: {error}"))
    };
    let file = File::open(trace).map_err(|error| failed(&error))?;
    let mut text = String::new();
    // What is no file has no length, but may have no end.
    let read = file.take(MAX_TRACE_BYTES + 1).read_to_string(&mut text);
    match read.map_err(|error| failed(&error))? as u64 {
        ..=MAX_TRACE_BYTES => Ok(text),
        _ => Err(failed(&format!("longer than {MAX_TRACE_BYTES} bytes"))),
    }
}

/// One line of a trace.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    time: f64,
    signals: Signals,
}

fn row(line: &str) -> Option<Row> {
    let cell = |cell: &str| {
        let number = cell.trim().parse::<f64>().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number)
    };
    let cells: Option<Vec<f64>> = line.split(',').map(cell).collect();
    let [time, requests, errors, in_flight, queue_wait, p95] = cells?.try_into().ok()?;
    let millis = |value: f64| Duration::from_secs_f64(value.min(1e9) / 1e3);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let signals = Signals {
        requests: requests as u64,
        errors: errors as u64,
        in_flight: in_flight as u32,
        queue_wait: millis(queue_wait),
        p95: millis(p95),
        ..Signals::default()
    };
    Some(Row { time, signals })
}

/// Why a line cannot come after the one before it, in a trace that begins at `first`.
fn misfit([before, row]: [&Row; 2], first: f64) -> Option<String> {
    let (now, then) = (&row.signals, &before.signals);
    if row.time <= before.time {
        Some(format!("time_s must rise: {} comes after {}", row.time, before.time))
    } else if row.time - first > MAX_TRACE_SECONDS {
        Some(format!("more than {MAX_TRACE_SECONDS} s after the first line"))
    } else if now.requests < then.requests || now.errors < then.errors {
        let fallen = "requests and errors are totals so far and never fall; what was recorded \
                      after a restart is a trace of its own";
        Some(fallen.to_owned())
    } else {
        None
    }
}

/// Every backend that is wanted is there at once. An error is the line that is wrong, and why.
fn replay(text: &str, Policy { plan, fixed }: Policy) -> Result<Trial, (usize, String)> {
    let mut lines = text.lines().zip(1..);
    let header = COLUMNS.join(",");
    if lines.next().is_none_or(|(first, _)| first.trim() != header) {
        return Err((1, format!("the header must be {header}")));
    }
    let mut ready = plan.min.max(fixed);
    let mut machine = Autoscaler::new(plan, Nanos::default());
    let mut decisions = Vec::new();
    let mut known: Option<(f64, Row)> = None;
    for (line, number) in lines.filter(|(line, _)| !line.trim().is_empty()) {
        let row = row(line).ok_or_else(|| (number, format!("not six numbers: {line}")))?;
        let (first, before) = known.get_or_insert_with(|| (row.time, row.clone()));
        if row != *before
            && let Some(why) = misfit([before, &row], *first)
        {
            return Err((number, why));
        }
        let now = Nanos::default().after(Duration::from_secs_f64(row.time - *first));
        let signals = Signals { ready, fixed, ..row.signals.clone() };
        // Without a backend, whoever came since the last line waits for one.
        let came = signals.requests.saturating_sub(before.signals.requests);
        let waiting = if ready == 0 { came.max(u64::from(signals.in_flight)) } else { 0 };
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        if let Some(decision) = machine.tick(now, &Signals { waiting, ..signals }) {
            ready = decision.to;
            decisions.push((row.time, decision));
        }
        *before = row;
    }
    if known.is_none() {
        return Err((2, "there is no line behind the header".to_owned()));
    }
    Ok(Trial { decisions, left: ready })
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_core::autoscale::{DriverPlan, LeasePlan, ScaleDownPlan, ScaleUpPlan};

    fn policy(min: u32, fixed: u32) -> Policy {
        let plan = AutoscalePlan {
            min,
            max: 5,
            interval: Duration::from_secs(5),
            requests_per_interval: 20,
            in_flight: 0,
            queue_wait: Duration::ZERO,
            rps: 0,
            p95: Duration::ZERO,
            up: ScaleUpPlan { step: 1, window: Duration::from_secs(5) },
            down: ScaleDownPlan {
                step: 1,
                after: Duration::from_secs(10),
                every: Duration::from_secs(5),
                drain_timeout: Duration::ZERO,
            },
            max_error_rate: 0.1,
            dry_run: false,
            buffer_requests: 1_000,
            buffer_timeout: Duration::from_secs(30),
            lease: LeasePlan::Alone,
            driver: DriverPlan::Exec(Vec::new()),
        };
        Policy { plan, fixed }
    }

    fn trace(rows: &[&str]) -> String {
        [&[&*COLUMNS.join(",")], rows].concat().join("\n")
    }

    fn steps(rows: &[&str], policy: Policy) -> Vec<(f64, u32, u32)> {
        let trial = replay(&trace(rows), policy).unwrap();
        trial.decisions.iter().map(|(time, it)| (*time, it.from, it.to)).collect()
    }

    #[test]
    fn a_line_of_a_trace_has_six_numbers() {
        let Row { time, signals } = row("15, 25,0 ,3,1.5,20").unwrap();
        assert_eq!((time, signals.requests, signals.in_flight), (15.0, 25, 3));
        assert_eq!(signals.queue_wait, Duration::from_micros(1_500));
        for wrong in ["", "1,2,3", "1,2,3,4,5,x", "-1,2,3,4,5,6", "1,2,3,4,5,6,7", "nan,2,3,4,5,6"]
        {
            assert!(row(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn it_begins_when_the_trace_begins() {
        for first in [0.0, 1_000.0, 1_790_000_000.0] {
            let at = |after: u32| first + f64::from(after);
            let row = |after: u32, requests: u32| format!("{},{requests},0,0,0,0", at(after));
            let rows = [row(0, 1_000), row(5, 1_005), row(10, 1_040)];
            let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            assert_eq!(steps(&rows, policy(1, 0)), [(at(10), 1, 2)], "from {first} on");
        }
    }

    #[test]
    fn backends_of_the_configuration_are_there_and_stay() {
        let rows = ["0,0,0,0,0,0", "5,30,0,0,0,0", "10,30,0,0,0,0", "20,30,0,0,0,0"];
        let later = ["25,30,0,0,0,0", "30,30,0,0,0,0", "60,30,0,0,0,0"];
        let found = steps(&[rows.as_slice(), &later].concat(), policy(1, 2));
        assert_eq!(found, [(5.0, 2, 3), (20.0, 3, 2)]);
    }

    #[test]
    fn who_comes_while_there_is_no_backend_wakes_one() {
        let rows = ["0,0,0,0,0,0", "5,0,0,0,0,0", "6,1,0,0,0,0", "7,2,0,0,0,0"];
        assert_eq!(steps(&rows, policy(0, 0)), [(6.0, 0, 1)]);
    }

    #[test]
    fn what_is_no_trace_is_told_with_its_line() {
        let rows: [(&[&str], usize); 5] = [
            (&[], 2),
            (&["0,0,0,0,0,0", "5,1"], 3),
            (&["5,0,0,0,0,0", "4,1,0,0,0,0"], 3),
            (&["5,9,0,0,0,0", "6,1,0,0,0,0"], 3),
            (&["5,9,4,0,0,0", "6,9,3,0,0,0"], 3),
        ];
        for (rows, line) in rows {
            let wrong = replay(&trace(rows), policy(1, 0)).err().unwrap();
            assert_eq!(wrong.0, line, "{wrong:?}");
        }
        assert_eq!(replay("time,requests\n1,2", policy(1, 0)).err().unwrap().0, 1);
    }
}
