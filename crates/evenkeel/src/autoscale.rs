//! `autoscale`: what decides how many backends pools have, and a trial of it on a recorded trace.

mod simulate;

use crate::arguments::{AdminArguments, RunArguments};
use crate::output::print;
use crate::remote;
use crate::trouble::Trouble;
use clap::{Args, Subcommand};
use evenkeel_api::{Autoscaler as Document, AutoscalerList};
use simulate::Trial;
use std::path::PathBuf;

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
    /// The trace is CSV with the header time_s,requests,errors,in_flight,queue_wait_ms,p95_ms, a
    /// line for each second or so. time_s may count from any time; requests and errors are totals
    /// so far.
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
            let trial = Trial::of(trace, &run, pool.as_deref())?;
            if *json { as_json(&trial.document()) } else { print(trial.told()) }
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
    let telling = it.telling.as_ref().map_or_else(String::new, |it| {
        format!("\n  {}: told to have {}, under way since {}", it.driver, it.count, it.since)
    });
    let (pool, current, desired) = (&it.pool, it.current, it.desired);
    let (min, max) = (it.min, it.max);
    format!("{pool}  {current} of {desired} backends ({min} to {max}){mode}{held}{telling}\n")
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
