//! What breaker and retry are worth: the same load twice, a backend killed in the middle.
//!
//! Backends and balancer are processes of this same program, so that a kill is a kill.

use super::arguments::CompareArguments;
use super::{trouble, write};
use crate::output::print;
use crate::trouble::Trouble;
use evenkeel_load::bench::{Bench, BenchUrl, Connections, LiveBench, Report, Trust};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

const BACKENDS: [&str; 3] = ["backend-1", "backend-2", "backend-3"];
/// Which of them is killed.
const VICTIM: usize = 1;
/// How long a process may take until it serves.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// Of one request.
const TIMEOUT: Duration = Duration::from_secs(20);

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
    let mut report = send(&balancer, arguments.kill_after)?;
    backends.remove(VICTIM).kill();
    report.add(send(&balancer, arguments.requests - arguments.kill_after)?);
    Ok(report)
}

/// Sends so many requests one after another.
fn send(balancer: &Process, requests: u64) -> Result<Report, Trouble> {
    if requests == 0 {
        return Ok(Report::default());
    }
    let url = format!("http://{}/", balancer.address);
    let bench = Bench {
        url: BenchUrl::parse(&url).map_err(Trouble::CannotStart)?,
        requests: Some(requests),
        duration: None,
        concurrency: 1,
        connections: Connections::All,
        rate: None,
        ramp: Duration::ZERO,
        method: None,
        headers: Vec::new(),
        body: Vec::new(),
        http2: false,
        trust: Trust::Public,
        timeout: TIMEOUT,
        keep_alive: true,
        csv: None,
    };
    bench.run(&LiveBench::default()).map_err(trouble)
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

/// A process of this program; killed when dropped.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn backend(name: &str) -> Result<Process, Trouble> {
        let words = ["testserver", "--listen", "127.0.0.1:0", "--name", name];
        Process::start(&words, "", |line| {
            Some(line.split_once("http://")?.1.trim_end_matches('/').to_owned())
        })
    }

    fn balancer(configuration: &Value) -> Result<Process, Trouble> {
        // JSON is YAML.
        Process::start(&["run", "-c", "-"], &configuration.to_string(), |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            let started = event.get("event")? == "started";
            let listeners = event.get("listeners").filter(|_| started)?.as_str()?;
            Some(listeners.split_once('=')?.1.to_owned())
        })
    }

    /// Starts the program with these words; `address` finds in its output where it listens.
    fn start(
        words: &[&str],
        stdin: &str,
        address: fn(&str) -> Option<String>,
    ) -> Result<Process, Trouble> {
        let cannot = |why: String| {
            Trouble::CannotStart(format!("cannot start `evenkeel {}`: {why}", words.join(" ")))
        };
        let program = std::env::current_exe().map_err(|error| cannot(error.to_string()))?;
        let mut child = command(&program, words).spawn().map_err(|e| cannot(e.to_string()))?;
        if let Some(mut pipe) = child.stdin.take() {
            // A process that does not read it ends, and says why.
            let _ = pipe.write_all(stdin.as_bytes());
        }
        let (told, heard) = sync_channel(1);
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || listen(stdout, &told, address));
        }
        let mut process = Process { child, address: String::new() };
        match heard.recv_timeout(START_PATIENCE) {
            Ok(found) => process.address = found,
            Err(_) => return Err(cannot("it did not say where it listens".to_owned())),
        }
        Ok(process)
    }

    /// Ends it at once, as a crash would.
    fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // One that has ended already is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The configuration of the user's own balancer must not reach ours.
fn command(program: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("EVENKEEL") {
            command.env_remove(name);
        }
    }
    for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"] {
        command.env_remove(name);
    }
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// Tells the address, then reads on so that the process never waits for us.
fn listen(stdout: impl Read, told: &SyncSender<String>, address: fn(&str) -> Option<String>) {
    let lines = BufReader::new(stdout).lines().map_while(Result::ok);
    for found in lines.filter_map(|line| address(&line)) {
        // Only the first is waited for.
        let _ = told.try_send(found);
    }
}
