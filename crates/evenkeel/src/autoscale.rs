//! `autoscale`: what decides how many backends pools have, and a trial of it on a recorded trace.

use crate::arguments::{AdminArguments, RunArguments};
use crate::load::load;
use crate::output::print;
use crate::remote;
use crate::trouble::Trouble;
use clap::{Args, Subcommand};
use evenkeel_api::{Autoscaler as Document, AutoscalerList};
use evenkeel_core::autoscale::{AutoscalePlan, Autoscaler, Signals};
use evenkeel_core::time::Nanos;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A trace that is larger is none.
const MAX_TRACE_BYTES: u64 = 256 << 20;
/// The columns of a trace.
const COLUMNS: [&str; 6] = ["time_s", "requests", "errors", "in_flight", "queue_wait_ms", "p95_ms"];

/// Says and steers how many backends pools have.
#[derive(Args, Debug)]
pub(crate) struct AutoscaleArguments {
    /// What to do.
    #[command(subcommand)]
    command: AutoscaleCommand,
}

#[derive(Debug, Subcommand)]
enum AutoscaleCommand {
    /// Say how many backends there are and should be, and the last decisions.
    Status {
        /// Answer as JSON.
        #[arg(long)]
        json: bool,
        /// Which running evenkeel.
        #[command(flatten)]
        admin: AdminArguments,
    },
    /// Leave the number of backends as it is.
    Pause(Named),
    /// Decide again how many there should be.
    Resume(Named),
    /// Replay a recorded trace against the policy of a file: what would have been decided.
    ///
    /// The trace is CSV with the header time_s,requests,errors,in_flight,queue_wait_ms,p95_ms;
    /// requests and errors are totals so far.
    Simulate {
        /// The trace.
        trace: PathBuf,
        /// The configuration file with the policy.
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Whose policy; left out, that of the first pool that has one.
        #[arg(long, value_name = "NAME")]
        pool: Option<String>,
        /// Answer as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Which autoscaler.
#[derive(Args, Debug)]
struct Named {
    /// Its pool; left out, the only one there is.
    pool: Option<String>,
    /// Which running evenkeel.
    #[command(flatten)]
    admin: AdminArguments,
}

/// Does what was asked.
pub(crate) fn run(arguments: &AutoscaleArguments) -> Result<(), Trouble> {
    match &arguments.command {
        AutoscaleCommand::Status { json, admin } => {
            let list = remote::ask(remote::client(admin)?.autoscalers())?;
            if *json { as_json(&list) } else { print(told(&list)) }
        }
        AutoscaleCommand::Pause(named) => {
            let (client, pool) = find(named)?;
            print(line(&remote::ask(client.pause_autoscaler(&pool))?))
        }
        AutoscaleCommand::Resume(named) => {
            let (client, pool) = find(named)?;
            print(line(&remote::ask(client.resume_autoscaler(&pool))?))
        }
        AutoscaleCommand::Simulate { trace, config, pool, json } => {
            let run = RunArguments { config: config.clone(), ..RunArguments::default() };
            let plan = policy(&run, pool.as_deref())?;
            simulate(trace, plan, *json)
        }
    }
}

fn find(named: &Named) -> Result<(evenkeel_api::Client, String), Trouble> {
    let client = remote::client(&named.admin)?;
    if let Some(pool) = &named.pool {
        return Ok((client, pool.clone()));
    }
    let all = remote::ask(client.autoscalers())?.autoscalers;
    match all.as_slice() {
        [only] => Ok((client, only.pool.clone())),
        [] => Err(Trouble::Mistake("no pool has an `autoscale` section".to_owned())),
        several => {
            let names: Vec<&str> = several.iter().map(|it| it.pool.as_str()).collect();
            Err(Trouble::Mistake(format!("which pool? one of: {}", names.join(", "))))
        }
    }
}

fn line(it: &Document) -> String {
    let mode = match (it.paused, it.acts) {
        (true, _) => "  paused",
        (false, false) => "  advice only",
        (false, true) => "",
    };
    let held = it.held.as_ref().map_or_else(String::new, |why| format!("\n  {why}"));
    let (pool, current, desired) = (&it.pool, it.current, it.desired);
    format!("{pool}  {current} of {desired} backends ({} to {}){mode}{held}\n", it.min, it.max)
}

fn told(list: &AutoscalerList) -> String {
    if list.autoscalers.is_empty() {
        return "no pool has an `autoscale` section\n".to_owned();
    }
    let mut text = String::new();
    for it in &list.autoscalers {
        text.push_str(&line(it));
        for decision in it.decisions.iter().rev().take(10).rev() {
            let (from, to) = (decision.from, decision.to);
            text.push_str(&format!("  {}  {from} -> {to}  {}\n", decision.time, decision.reason));
        }
    }
    text
}

fn as_json(value: &impl serde::Serialize) -> Result<(), Trouble> {
    let value = serde_json::to_value(value).unwrap_or_default();
    print(format_args!("{value:#}\n"))
}

fn policy(run: &RunArguments, pool: Option<&str>) -> Result<AutoscalePlan, Trouble> {
    let plan = load(run)?.plan;
    let wanted = |name: &str| pool.is_none_or(|pool| pool == name);
    let mut pools = plan.pools.iter().filter(|it| wanted(&it.name));
    let found = pools.find_map(|pool| pool.autoscale.clone());
    found.ok_or_else(|| {
        let whose = pool.map_or_else(String::new, |pool| format!(" named {pool:?}"));
        Trouble::Mistake(format!("the file has no pool{whose} with an `autoscale` section"))
    })
}

/// One line of a trace.
fn sample(line: &str) -> Option<(f64, Signals)> {
    let mut cells = line.split(',').map(|cell| cell.trim().parse::<f64>().ok());
    let mut next = || cells.next().flatten().filter(|cell| cell.is_finite() && *cell >= 0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let (time, requests, errors, in_flight) =
        (next()?, next()? as u64, next()? as u64, next()? as u32);
    let millis = |value: f64| Duration::from_secs_f64(value.min(1e9) / 1e3);
    let (queue_wait, p95) = (millis(next()?), millis(next()?));
    Some((time, Signals { requests, errors, in_flight, queue_wait, p95, ..Signals::default() }))
}

fn simulate(trace: &Path, plan: AutoscalePlan, json: bool) -> Result<(), Trouble> {
    let name = trace.display();
    let failed = |error: &dyn std::fmt::Display| {
        Trouble::Mistake(format!("cannot read the trace {name}: {error}"))
    };
    let length = std::fs::metadata(trace).map_err(|error| failed(&error))?.len();
    if length > MAX_TRACE_BYTES {
        return Err(failed(&format!("longer than {MAX_TRACE_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(trace).map_err(|error| failed(&error))?;
    let mut lines = text.lines().enumerate();
    let header = COLUMNS.join(",");
    if lines.next().is_none_or(|(_, first)| first.trim() != header) {
        return Err(Trouble::Mistake(format!("{name}:1: the header must be {header}")));
    }
    let mut ready = plan.min.max(1);
    let mut machine = Autoscaler::new(plan, Nanos::default());
    let mut decisions = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let Some((time, signals)) = sample(line) else {
            let place = number + 1;
            return Err(Trouble::Mistake(format!("{name}:{place}: not six numbers: {line}")));
        };
        let now = Nanos::default().after(Duration::from_secs_f64(time.min(1e9)));
        if let Some(decision) = machine.tick(now, &Signals { ready, ..signals }) {
            ready = decision.to;
            decisions.push((time, decision));
        }
    }
    if json {
        let shown = decisions.iter().map(|(time, it)| {
            serde_json::json!({ "time_s": time, "from": it.from, "to": it.to, "reason": it.reason })
        });
        let value = serde_json::json!({ "decisions": shown.collect::<Vec<_>>(), "final": ready });
        return print(format_args!("{value:#}\n"));
    }
    for (time, it) in &decisions {
        print(format_args!("{time:>10.1}s  {} -> {}  {}\n", it.from, it.to, it.reason))?;
    }
    print(format_args!("{} decisions, {ready} backends at the end\n", decisions.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_trace_has_six_numbers() {
        let (time, signals) = sample("15, 25,0 ,3,1.5,20").unwrap();
        assert_eq!((time, signals.requests, signals.in_flight), (15.0, 25, 3));
        assert_eq!(signals.queue_wait, Duration::from_micros(1_500));
        for wrong in ["", "1,2,3", "1,2,3,4,5,x", "-1,2,3,4,5,6"] {
            assert!(sample(wrong).is_none(), "{wrong}");
        }
    }
}
