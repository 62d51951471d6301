//! What breaker and retry are worth: the same load twice, a backend killed in the middle.

use super::arguments::CompareArguments;
use super::process::Process;
use super::write;
use crate::output::print;
use crate::trouble::Trouble;
use evenkeel_load::bench::Report;
use serde_json::{Value, json};

const BACKENDS: [&str; 3] = ["backend-1", "backend-2", "backend-3"];
/// Which of them is killed.
const VICTIM: usize = 1;

/// One of the two runs.
#[derive(Clone, Copy)]
enum Mode {
    With,
    Without,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::With => "With circuit breaker and retry",
            Mode::Without => "Without",
        }
    }

    /// How often a request is tried, and whether there is a breaker.
    fn policy(self) -> (u32, bool) {
        match self {
            Mode::With => (3, true),
            Mode::Without => (1, false),
        }
    }
}

/// Runs both, writes the table. True if nothing was lost with breaker and retry.
pub(crate) fn compare(arguments: &CompareArguments) -> Result<bool, Trouble> {
    let CompareArguments { requests, kill_after, out } = arguments;
    if kill_after >= requests {
        let text = format!("-kill-after {kill_after} must be less than -requests {requests}");
        return Err(Trouble::Mistake(text));
    }
    let with = one_run(Mode::With, arguments)?;
    let without = one_run(Mode::Without, arguments)?;
    let table = table(arguments, &[(Mode::With, &with), (Mode::Without, &without)]);
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let made = std::fs::create_dir_all(folder);
        made.map_err(|error| {
            Trouble::CannotStart(format!("cannot make {}: {error}", folder.display()))
        })?;
    }
    write(out, &table)?;
    print(format_args!("{table}\nwritten to {}\n", out.display()))?;
    Ok(with.failed() == 0)
}

/// The load of one mode; the victim is killed, for good, between two requests.
fn one_run(mode: Mode, arguments: &CompareArguments) -> Result<Report, Trouble> {
    let mut backends = Vec::with_capacity(BACKENDS.len());
    for name in BACKENDS {
        backends.push(Process::backend(name)?);
    }
    let balancer = Process::balancer(&configuration(mode, &backends))?;
    let mut report = balancer.send("/", arguments.kill_after)?;
    backends.remove(VICTIM).kill();
    report.add(balancer.send("/", arguments.requests - arguments.kill_after)?);
    Ok(report)
}

fn configuration(mode: Mode, backends: &[Process]) -> Value {
    let (attempts, breaker) = mode.policy();
    let backends: Vec<_> = BACKENDS
        .iter()
        .zip(backends)
        .map(|(name, process)| json!({ "name": name, "address": process.address }))
        .collect();
    json!({
        "version": 1,
        "listeners": [{ "name": "compare", "bind": "127.0.0.1:0" }],
        "routes": [{ "pool": "compare" }],
        "pools": [{
            "name": "compare",
            "strategy": "round_robin",
            "backends": backends,
            "health": { "type": "none" },
            "circuit_breaker": { "enabled": breaker },
            "retry": { "attempts": attempts },
        }],
        "admin": { "bind": "127.0.0.1:0" },
        "logging": { "level": "info", "format": "json", "access": { "enabled": false } },
        "shutdown": { "drain_timeout": "1s" },
    })
}

fn table(arguments: &CompareArguments, rows: &[(Mode, &Report)]) -> String {
    let CompareArguments { requests, kill_after, .. } = arguments;
    let rows: String = rows
        .iter()
        .map(|(mode, report)| {
            let (all, good) = (report.requests(), report.succeeded());
            let (name, failed, rate) = (mode.name(), report.failed(), rate(good, all));
            format!("| {name} | {all} | {good} | {failed} | {rate:.1}% |\n")
        })
        .collect();
    format!(
        "\
# What circuit breaker and retry are worth

`evenkeel bench compare -requests {requests} -kill-after {kill_after}`: three backends in turn, no
health checks, {requests} requests one after another; after {kill_after} of them one backend dies.

| Mode | Requests | Succeeded | Failed | Success rate |
|---|---|---|---|---|
{rows}"
    )
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn rate(good: u64, all: u64) -> f64 {
    good as f64 * 100.0 / all.max(1) as f64
}
