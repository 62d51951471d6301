//! Processes that end with the rig, whatever ends it.

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// From a polite request to end to the other kind.
const END_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two looks at a process that is to end.
const END_LOOK: Duration = Duration::from_millis(5);
/// Where tools of the administrator are, whether or not PATH says so.
const MORE_FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin";
/// Bytes of a log that an error shows.
const SHOWN_BYTES: usize = 2000;

/// A command that is looked for where the administrator's tools are, too.
pub(super) fn command(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:{MORE_FOLDERS}")).stdin(Stdio::null());
    command
}

/// True if the tool is in a folder that [`command`] looks into.
pub(super) fn is_installed(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(MORE_FOLDERS.split(':')).any(|f| Path::new(f).join(tool).is_file())
}

/// The package that has a tool.
pub(super) fn package_of(tool: &str) -> &str {
    match tool {
        "unshare" | "setpriv" | "chrt" => "util-linux",
        "ip" => "iproute2",
        "nginx" => "nginx-light",
        other => other,
    }
}

/// A running process: dropped, it ends. The kernel ends it as well if the rig is killed.
pub(super) struct Process {
    child: Child,
    log: PathBuf,
    /// The pipe to its standard input, until it is taken.
    pub(super) stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts a program; what it prints goes to `log`, both streams appended.
    pub(super) fn start(program: &Path, arguments: &[&str], log: PathBuf) -> Result<Process> {
        Process::start_with("KILL", program, arguments, log)
    }

    /// Starts a program that has processes of its own, and ends them if it is asked politely.
    pub(super) fn start_family(
        program: &Path,
        arguments: &[&str],
        log: PathBuf,
    ) -> Result<Process> {
        Process::start_with("TERM", program, arguments, log)
    }

    /// `orphaned` names the signal that the kernel sends it if the rig is gone.
    fn start_with(
        orphaned: &'static str,
        program: &Path,
        arguments: &[&str],
        log: PathBuf,
    ) -> Result<Process> {
        let out = File::options().create(true).append(true).open(&log)?;
        let mut command = command("setpriv");
        command.args(["--pdeathsig", orphaned, "--"]);
        command.arg(program).args(arguments);
        command.stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(out);
        let mut child = command.spawn().with_context(|| format!("{}", program.display()))?;
        let stdin = child.stdin.take();
        Ok(Process { child, log, stdin })
    }

    /// Sends a signal.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).context("a process does not take it")
    }

    /// Ends it at once, as `kill -9` does.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Fails, with the end of its log, if it has ended by itself.
    pub(super) fn check_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let said = std::fs::read(&self.log).unwrap_or_default();
            let said = String::from_utf8_lossy(&said[said.len().saturating_sub(SHOWN_BYTES)..]);
            bail!("it ended with {status}: {said}");
        }
        Ok(())
    }

    fn ended_within(&mut self, timeout: Duration) -> bool {
        let since = Instant::now();
        while since.elapsed() < timeout {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::park_timeout(END_LOOK);
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stdin = None;
        // A process that has been waited for has no id any more: nobody else's is signalled.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal(Signal::CONT);
            let _ = self.signal(Signal::TERM);
            if !self.ended_within(END_TIMEOUT) {
                let _ = self.kill();
            }
        }
    }
}
