//! Backends and balancers as processes of this same program, so that a kill is a kill.

use super::trouble;
use crate::trouble::Trouble;
use evenkeel_load::bench::{Bench, BenchUrl, LiveBench, Report};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// How long a process may take until it serves.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// A process of this program; killed when dropped.
pub(super) struct Process {
    child: Child,
    /// Where it listens.
    pub(super) address: String,
    /// Where its admin listener is; empty if it has none.
    pub(super) admin: String,
}

/// Finds in a line of output where a process and its admin listener are.
type Places = fn(&str) -> Option<(String, String)>;

impl Process {
    /// A backend that does as its paths say.
    pub(super) fn backend(name: &str) -> Result<Process, Trouble> {
        let words = ["testserver", "--listen", "127.0.0.1:0", "--name", name];
        Process::start(&words, "", |line| {
            let address = line.split_once("http://")?.1.trim_end_matches('/');
            Some((address.to_owned(), String::new()))
        })
    }

    /// A balancer, with one listener.
    pub(super) fn balancer(configuration: &Value) -> Result<Process, Trouble> {
        // JSON is YAML.
        Process::start(&["run", "-c", "-"], &configuration.to_string(), |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            let started = event.get("event")? == "started";
            let listeners = event.get("listeners").filter(|_| started)?.as_str()?;
            let admin = event.get("admin")?.as_str()?.to_owned();
            Some((listeners.split_once('=')?.1.to_owned(), admin))
        })
    }

    /// Starts the program with these words.
    fn start(words: &[&str], stdin: &str, places: Places) -> Result<Process, Trouble> {
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
            thread::spawn(move || listen(stdout, &told, places));
        }
        let mut process = Process { child, address: String::new(), admin: String::new() };
        match heard.recv_timeout(START_PATIENCE) {
            Ok(found) => (process.address, process.admin) = found,
            Err(_) => return Err(cannot("it did not say where it listens".to_owned())),
        }
        Ok(process)
    }

    /// Sends so many requests for a path one after another.
    pub(super) fn send(&self, path: &str, requests: u64) -> Result<Report, Trouble> {
        if requests == 0 {
            return Ok(Report::default());
        }
        let url = format!("http://{}{path}", self.address);
        let url = BenchUrl::parse(&url).map_err(Trouble::CannotStart)?;
        let bench = Bench { requests: Some(requests), ..Bench::to(url) };
        bench.run(&LiveBench::default()).map_err(trouble)
    }

    /// Ends it at once, as a crash would.
    pub(super) fn kill(mut self) {
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

/// Tells the places, then reads on so that the process never waits for us.
fn listen(stdout: impl Read, told: &SyncSender<(String, String)>, places: Places) {
    let lines = BufReader::new(stdout).lines().map_while(Result::ok);
    for found in lines.filter_map(|line| places(&line)) {
        // Only the first is waited for.
        let _ = told.try_send(found);
    }
}
