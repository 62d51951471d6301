//! Backends as processes of this machine.

use super::Ties;
use super::driver::Names;
use super::keep::KeptProcess;
use evenkeel_core::autoscale::ProcessPlan;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between being asked to end and being made to.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const STOP_POLL: Duration = Duration::from_millis(50);
/// The program of a command that is this very one, wherever it lies and whatever it is called.
const OWN_NAME: &str = "evenkeel";
/// The hidden command that guards a process.
const GUARD: &str = "tied-process";
/// Bytes of what a guard says.
const MAX_SAID_BYTES: u64 = 4096;

/// A process that was started by us, or by a former one of us.
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) port: u16,
    /// Where it is reached, as it is listed.
    pub(super) address: String,
    /// When it began, as the kernel counts: another process of the same number has another.
    pub(super) began: u64,
    /// The process or its guard, if we have started it.
    child: Option<Child>,
}

/// Starts a process on a free port. One that is tied ends with us, however we end; one that is not
/// outlives us, and is written down by the caller.
///
/// # Errors
/// No port is free, or the program cannot be started.
pub(super) async fn start(
    plan: &ProcessPlan,
    names: Names<'_>,
    ties: Option<&Ties>,
) -> Result<Process, String> {
    let port = free_port(plan, names.port)?;
    let names = Names { port, ..names };
    let words: Vec<String> = plan.command.iter().map(|word| names.fill(word)).collect();
    let (program, arguments) = words.split_first().ok_or("the command is empty")?;
    let cannot = |error: io::Error| format!("{program}: {error}");
    let own = own_program();
    let run = match &own {
        Some(own) if program == OWN_NAME => own.as_os_str(),
        Some(_) | None => program.as_ref(),
    };
    let guard = match (ties, &own) {
        (Some(ties), Some(own)) => Some((own, ties.reader().map_err(cannot)?)),
        (None, _) | (Some(_), None) => None,
    };
    let mut command = match guard {
        Some((own, tie)) => {
            let mut guard = Command::new(own);
            guard.arg(GUARD).arg("--").arg(run).stdin(tie).stdout(Stdio::piped());
            guard
        }
        None => {
            let mut command = Command::new(run);
            // Our stdout has our own lines only.
            command.stdin(Stdio::null()).stdout(io::stderr());
            command
        }
    };
    command.args(arguments).env("PORT", port.to_string());
    command.envs(plan.env.iter().map(|(name, value)| (name, names.fill(value))));
    let mut child = command.process_group(0).spawn().map_err(cannot)?;
    let pid = match child.stdout.take() {
        None => child.id(),
        Some(said) => guarded(said).await.map_err(|why| format!("{program}: {why}"))?,
    };
    let address = plan.address.replace("{port}", &port.to_string());
    Ok(Process { pid, port, address, began: began(pid).unwrap_or(0), child: Some(child) })
}

/// The process that a guard has started.
async fn guarded(said: ChildStdout) -> Result<u32, String> {
    let mut line = String::new();
    let reading = tokio::task::spawn_blocking(move || {
        // The guard closes it at once, or ends.
        let read = BufReader::new(said).take(MAX_SAID_BYTES).read_line(&mut line);
        read.map(|_| line)
    });
    let said = reading.await.map_err(|error| error.to_string())?;
    let line = said.map_err(|error| error.to_string())?;
    line.trim().parse().map_err(|_| line.trim().to_owned())
}

/// A port that nobody listens on; `after` is the one that was given last.
fn free_port(plan: &ProcessPlan, after: u16) -> Result<u16, String> {
    let all = plan.ports.clone();
    let later = all.clone().filter(|port| *port > after);
    let mut ports = later.chain(all.filter(|port| *port <= after));
    let is_taken = |port: u16| {
        // A name such as localhost means both; a machine may have one of them only.
        let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port));
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err()
            || v6.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    };
    let is_free = |port: &u16| !is_taken(*port);
    ports.find(is_free).ok_or_else(|| {
        format!("every port from {} to {} is taken", plan.ports.start(), plan.ports.end())
    })
}

impl Process {
    /// One that a former process has started, if it still runs.
    pub(super) fn adopt(kept: &KeptProcess) -> Option<Process> {
        let KeptProcess { pid, port, began: began_then, .. } = *kept;
        let runs = began(pid) == Some(began_then) && began_then > 0;
        let address = kept.address();
        runs.then_some(Process { pid, port, address, began: began_then, child: None })
    }

    /// What the next process needs to find it.
    pub(super) fn kept(&self, name: &str, serving: bool) -> KeptProcess {
        KeptProcess {
            name: name.to_owned(),
            pid: self.pid,
            port: self.port,
            address: Some(self.address.clone()),
            began: self.began,
            serving,
        }
    }

    pub(super) fn lives(&mut self) -> bool {
        let ended = self.child.as_mut().is_some_and(|it| !matches!(it.try_wait(), Ok(None)));
        let is_own = self.child.as_ref().is_some_and(|child| child.id() == self.pid);
        if is_own { !ended } else { began(self.pid) == Some(self.began) }
    }

    /// True while it runs, or anything that it has started and that has stayed in its group.
    fn any_lives(&mut self) -> bool {
        // A group that is empty gives its number away, but not to one that began earlier.
        let is_another = began(self.pid).is_some_and(|began| began != self.began);
        self.lives() || (!is_another && group_lives(self.pid))
    }

    pub(super) async fn stop(mut self) {
        let until = Instant::now() + STOP_TIMEOUT;
        if self.any_lives() {
            send(self.pid, Signal::TERM);
        }
        while self.any_lives() && Instant::now() < until {
            sleep(STOP_POLL).await;
        }
        if self.any_lives() {
            send(self.pid, Signal::KILL);
            sleep(STOP_POLL).await;
        }
        // Its end is taken note of, and that of its guard.
        while self.child.as_mut().is_some_and(|it| matches!(it.try_wait(), Ok(None))) {
            if Instant::now() >= until + STOP_TIMEOUT {
                return;
            }
            sleep(STOP_POLL).await;
        }
    }
}

/// What the kernel says of a process that runs (fields of `/proc/PID/stat`, proc(5)).
struct Stat {
    /// Field 5.
    group: u32,
    /// Field 22.
    began: u64,
}

/// `None` if it does not run.
fn stat(pid: impl std::fmt::Display) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold blanks and parentheses; fields are counted behind it.
    let mut rest = text.rsplit_once(')')?.1.split_whitespace();
    let state = rest.next()?;
    let group = rest.nth(1)?.parse().ok()?;
    let began = rest.nth(16)?.parse().ok()?;
    (state != "Z" && state != "X").then_some(Stat { group, began })
}

/// When a process began; `None` if it does not run.
fn began(pid: u32) -> Option<u64> {
    stat(pid).map(|stat| stat.began)
}

/// True while a process of this group runs; the dead that nobody has taken note of do not count.
fn group_lives(group: u32) -> bool {
    let number = i32::try_from(group).ok().and_then(Pid::from_raw);
    if number.is_none_or(|number| test_kill_process_group(number).is_err()) {
        return false;
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut stats = processes.filter_map(|process| stat(process.file_name().to_str()?));
    stats.any(|stat| stat.group == group)
}

/// To a process and those that it has started.
fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended just now.
        let _ = kill_process_group(pid, signal);
    }
}

/// What runs this program again, also when its file was replaced meanwhile.
fn own_program() -> Option<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { Some(running) } else { std::env::current_exe().ok() }
}

/// Ends a command that leads a group, with what it has started.
pub(super) fn end_command(child: &mut Child) {
    send(child.id(), Signal::KILL);
}

/// Guards a program: starts it, tells its number on stdout, and ends it when stdin ends. Returns
/// when it has ended.
///
/// # Errors
/// The program cannot be started.
pub fn guard(words: &[String]) -> io::Result<()> {
    enum News {
        Ended,
        Alone,
    }
    let (program, arguments) =
        words.split_first().ok_or_else(|| io::Error::other("the command is empty"))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(io::stderr()).process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            writeln!(io::stdout(), "{error}")?;
            return Err(error);
        }
    };
    let pid = child.id();
    writeln!(io::stdout(), "{pid}")?;
    let (tell, news) = std::sync::mpsc::sync_channel(2);
    let told = tell.clone();
    std::thread::spawn(move || {
        // Nothing is ever written: it ends, or breaks, with the last evenkeel.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = told.send(News::Alone);
    });
    std::thread::spawn(move || {
        let _ = child.wait();
        let _ = tell.send(News::Ended);
    });
    if let Ok(News::Alone) = news.recv() {
        send(pid, Signal::TERM);
        let until = std::time::Instant::now() + STOP_TIMEOUT;
        while group_lives(pid) && std::time::Instant::now() < until {
            std::thread::park_timeout(STOP_POLL);
        }
        if group_lives(pid) {
            send(pid, Signal::KILL);
        }
    }
    Ok(())
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
            address: "http://localhost:{port}".to_owned(),
            env: Vec::new(),
            start_timeout: Duration::from_secs(5),
        }
    }

    const NAMES: Names<'_> = Names { pool: "web", name: "web-auto-1", port: 0, count: 1 };

    #[tokio::test]
    async fn a_process_is_started_found_again_and_stopped() {
        let mut started = start(&plan(&["sleep", "60"]), NAMES, None).await.unwrap();
        assert!(started.lives());
        assert_eq!(started.address, format!("http://localhost:{}", started.port));
        let mut kept = started.kept("web-auto-1", true);
        let mut again = Process::adopt(&kept).unwrap();
        assert!(again.lives());
        assert_eq!(again.address, started.address);
        kept.began += 1;
        assert!(Process::adopt(&kept).is_none());
        started.stop().await;
        assert!(!again.lives());
    }

    /// The number that a process has written to this file.
    async fn said(file: &std::path::Path) -> u32 {
        loop {
            let text = fs::read_to_string(file).unwrap_or_default();
            if let Some(pid) = text.strip_suffix('\n') {
                return pid.parse().unwrap();
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_a_process_has_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let name = file.to_str().unwrap();
        // The shell heeds SIGTERM, what it waits for does not.
        let deaf = format!("trap '' TERM; sleep 60 & echo $! > {name}; trap - TERM; wait");
        let started = start(&plan(&["sh", "-c", &deaf]), NAMES, None).await.unwrap();
        let (group, inner) = (started.pid, said(&file).await);
        assert!(began(inner).is_some() && group_lives(group));
        started.stop().await;
        assert_eq!((began(inner), group_lives(group)), (None, false));
        // The shell ends by itself, and leaves it behind.
        fs::remove_file(&file).unwrap();
        let brief = format!("sleep 60 & echo $! > {name}");
        let mut started = start(&plan(&["sh", "-c", &brief]), NAMES, None).await.unwrap();
        let inner = said(&file).await;
        while started.lives() {
            tokio::task::yield_now().await;
        }
        assert!(began(inner).is_some());
        started.stop().await;
        assert_eq!(began(inner), None);
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let wrong = start(&plan(&["/no/such/program"]), NAMES, None).await;
        assert!(wrong.err().unwrap().contains("/no/such/program"));
    }

    #[tokio::test]
    async fn our_own_name_is_this_very_program() {
        // The tests are this program now: they list themselves, and end.
        let started = start(&plan(&["evenkeel", "--list"]), NAMES, None).await.unwrap();
        assert!(started.pid > 0);
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
