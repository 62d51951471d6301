//! The new program as nobody's child: a process in between starts it, and ends once it is ready, so
//! that whoever looks after orphans becomes its parent. For what systemd has started that is
//! systemd, which kills a main process that is no child of its own without waiting for its end.
//!
//! ```text
//!   old ── starts ──> starter ── starts ──> new
//!    │ <─ pid, or why not ─┤                 │
//!    │ <─────────────── ready ───────────────┤
//!    ├── leave ──────────> ends   (else kills it, and tells its status)
//! ```

use super::{VARIABLE, number};
use crate::trouble::Trouble;
use evenkeel_proxy::socket::inherited;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// By this name it finds its end of the link.
pub(super) const LINK: &str = "link";
/// What it is told when the new program needs nobody any more.
const LEAVE: &[u8] = b"leave";
/// What it tells first, if the program has started.
const BEGUN: &str = "pid ";

/// The old program's hold on it.
pub(super) struct Starter {
    child: Child,
    link: BufReader<UnixStream>,
    pid: u32,
}

impl Starter {
    /// Starts it with the program and its words, and the other end of `link`; what else is open for
    /// them stays so.
    pub(super) fn start(
        words: impl Iterator<Item = OsString>,
        said: &Value,
        link: UnixStream,
    ) -> io::Result<Starter> {
        let mut command = Command::new(own_program()?);
        command.args(["new-program", "--"]).args(words).env(VARIABLE, said.to_string());
        Ok(Starter { child: command.spawn()?, link: BufReader::new(link), pid: 0 })
    }

    /// Waits until the program has started, which it does at once or never.
    pub(super) fn await_start(&mut self) -> io::Result<()> {
        let line = self.next_line()?;
        if let Some(pid) = line.strip_prefix(BEGUN).and_then(|pid| pid.parse().ok()) {
            self.pid = pid;
            return Ok(());
        }
        let status = self.child.wait()?;
        Err(io::Error::other(if line.is_empty() { status.to_string() } else { line }))
    }

    /// Leaves the new program to itself.
    pub(super) fn leave(mut self) -> u32 {
        // Should it have ended, so has its hold on the program.
        let _ = self.link.get_mut().write_all(LEAVE);
        let _ = self.link.get_mut().shutdown(Shutdown::Write);
        let _ = self.child.wait();
        self.pid
    }

    /// Ends the new program, unless it does so within this time; says how it ended.
    pub(super) fn end(mut self, patience: Option<Duration>) -> String {
        let by_itself = patience.and_then(|patience| {
            self.link.get_ref().set_read_timeout(Some(patience)).ok()?;
            self.next_line().ok()
        });
        let status = by_itself.or_else(|| {
            self.link.get_ref().set_read_timeout(None).ok()?;
            self.link.get_ref().shutdown(Shutdown::Write).ok()?;
            self.next_line().ok()
        });
        let _ = self.link.get_ref().shutdown(Shutdown::Write);
        let _ = self.child.wait();
        status.unwrap_or_default()
    }

    fn next_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.link.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

/// This program, wherever its file is now.
fn own_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    std::env::current_exe()
}

/// Is the process in between.
///
/// # Errors
/// Nobody of ours has started it.
pub(crate) fn start(words: &[OsString]) -> Result<(), Trouble> {
    let broken = |why: String| Trouble::Mistake(format!("only evenkeel itself starts this: {why}"));
    let text = std::env::var(VARIABLE).map_err(|error| broken(error.to_string()))?;
    let mut said: Value = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
    let link =
        number(&said[LINK]).and_then(inherited).map_err(|error| broken(error.to_string()))?;
    said["from"] = std::process::id().into();
    let link = UnixStream::from(link);
    let last = between(words, &said, &link).unwrap_or_else(|error| Some(error.to_string()));
    if let Some(last) = last {
        // Whoever wanted to know may have ended.
        let _ = writeln!(&link, "{last}");
    }
    Ok(())
}

/// Threads that each tell one piece of news.
const TELLERS: usize = 2;

/// What happens while the program runs.
enum News {
    /// It needs nobody any more.
    Leave,
    /// It must end: so it was said, or nobody is there who could say so.
    End,
    /// It has ended like this.
    Ended(String),
}

/// Starts the program, and says how it ended; `None` if it is left to itself. Whoever waits for
/// what is open here to close learns of its end by the end of this process.
fn between(words: &[OsString], said: &Value, mut link: &UnixStream) -> io::Result<Option<String>> {
    let [program, words @ ..] = words else { return Err(io::Error::other("it has no name")) };
    let mut child = Command::new(program).args(words).env(VARIABLE, said.to_string()).spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    writeln!(link, "{BEGUN}{}", child.id())?;
    let mut heard = link.try_clone()?;
    let (tell, news) = mpsc::sync_channel(TELLERS);
    let tell_end = tell.clone();
    thread::Builder::new().name("ek-child".to_owned()).spawn(move || {
        let status = child.wait().map_or_else(|error| error.to_string(), |it| it.to_string());
        tell_end.send(News::Ended(status))
    })?;
    thread::Builder::new().name("ek-link".to_owned()).spawn(move || {
        let mut word = Vec::new();
        let leave = heard.read_to_end(&mut word).is_ok() && word == LEAVE;
        tell.send(if leave { News::Leave } else { News::End })
    })?;
    for news in news {
        match news {
            News::Leave => return Ok(None),
            News::Ended(status) => return Ok(Some(status)),
            // It may be ending by itself.
            News::End => drop(pid.map(|pid| kill_process(pid, Signal::KILL))),
        }
    }
    Err(io::Error::other("its end was not awaited"))
}
