//! Backends as processes of this machine.

use super::driver::Names;
use evenkeel_core::autoscale::ProcessPlan;
use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between being asked to end and being made to.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const STOP_POLL: Duration = Duration::from_millis(50);
/// The hidden command that ties a process to ours.
const TIE: &str = "tied-process";

/// A process that was started by us, or by a former one of us.
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) port: u16,
    /// When it began, as the kernel counts: another process of the same number has another.
    pub(super) began: u64,
    child: Option<Child>,
}

/// Starts a process on a free port. One that is written down outlives us; one that is not ends with
/// us, however we end.
///
/// # Errors
/// No port is free, or the program cannot be started.
pub(super) fn start(
    plan: &ProcessPlan,
    names: Names<'_>,
    keeps: Option<&Path>,
) -> Result<Process, String> {
    let port = free_port(plan, names.port)?;
    let names = Names { port, ..names };
    let words: Vec<String> = plan.command.iter().map(|word| names.fill(word)).collect();
    let (program, arguments) = words.split_first().ok_or("the command is empty")?;
    let mut command = match (keeps, std::env::current_exe()) {
        (None, Ok(own)) => {
            let mut tied = Command::new(own);
            tied.arg(TIE).arg("--").arg(program);
            tied
        }
        (None, Err(_)) | (Some(_), _) => Command::new(program),
    };
    command.args(arguments).env("PORT", port.to_string());
    command.envs(plan.env.iter().map(|(name, value)| (name, names.fill(value))));
    // Our stdout has our own lines only.
    command.stdin(Stdio::null()).stdout(io::stderr()).process_group(0);
    let child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    let pid = child.id();
    Ok(Process { pid, port, began: began(pid).unwrap_or(0), child: Some(child) })
}

/// A port that nobody listens on; `after` is the one that was given last.
fn free_port(plan: &ProcessPlan, after: u16) -> Result<u16, String> {
    let all = plan.ports.clone();
    let later = all.clone().filter(|port| *port > after);
    let mut ports = later.chain(all.filter(|port| *port <= after));
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(is_free).ok_or_else(|| {
        format!("every port from {} to {} is taken", plan.ports.start(), plan.ports.end())
    })
}

impl Process {
    /// One that a former process has started, if it still runs.
    pub(super) fn adopt(pid: u32, port: u16, began_then: u64) -> Option<Process> {
        let runs = began(pid) == Some(began_then) && began_then > 0;
        runs.then_some(Process { pid, port, began: began_then, child: None })
    }

    pub(super) fn lives(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => began(self.pid) == Some(self.began),
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended just now.
            let _ = kill_process_group(pid, signal);
        }
    }

    pub(super) async fn stop(mut self) {
        if !self.lives() {
            return;
        }
        self.signal(Signal::TERM);
        let until = Instant::now() + STOP_TIMEOUT;
        while self.lives() && Instant::now() < until {
            sleep(STOP_POLL).await;
        }
        if self.lives() {
            self.signal(Signal::KILL);
            sleep(STOP_POLL).await;
            // Its end is taken note of.
            let _ = self.lives();
        }
    }
}

/// When a process began (field 22 of `/proc/PID/stat`, proc(5)); `None` if it does not run.
fn began(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold blanks and parentheses; fields are counted behind it.
    let mut rest = text.rsplit_once(')')?.1.split_whitespace();
    let state = rest.next()?;
    let began = rest.nth(18)?.parse().ok()?;
    (state != "Z" && state != "X").then_some(began)
}

/// Becomes another program that gets SIGTERM when the process that started it ends.
///
/// # Errors
/// The program cannot be started; otherwise it does not return.
pub fn die_with_parent(words: &[String]) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let (program, arguments) =
        words.split_first().ok_or_else(|| io::Error::other("the command is empty"))?;
    Err(Command::new(program).args(arguments).exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(command: &[&str]) -> ProcessPlan {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        ProcessPlan {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            ports: port..=port.saturating_add(50),
            env: Vec::new(),
            start_timeout: Duration::from_secs(5),
        }
    }

    const NAMES: Names<'_> = Names { pool: "web", name: "web-auto-1", port: 0, count: 1 };

    #[tokio::test]
    async fn a_process_is_started_found_again_and_stopped() {
        let keeps = Some(Path::new("/nowhere"));
        let mut started = start(&plan(&["sleep", "60"]), NAMES, keeps).unwrap();
        assert!(started.lives());
        let mut again = Process::adopt(started.pid, started.port, started.began).unwrap();
        assert!(again.lives());
        assert!(Process::adopt(started.pid, started.port, started.began + 1).is_none());
        started.stop().await;
        assert!(!again.lives());
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let keeps = Some(Path::new("/nowhere"));
        let wrong = start(&plan(&["/no/such/program"]), NAMES, keeps);
        assert!(wrong.err().unwrap().contains("/no/such/program"));
    }

    #[test]
    fn templates_are_filled() {
        let names = Names { port: 20_001, ..NAMES };
        assert_eq!(
            names.fill("--port={port} {pool}/{name} {count}"),
            "--port=20001 web/web-auto-1 1"
        );
    }
}
