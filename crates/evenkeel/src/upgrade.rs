//! `upgrade`: has the running evenkeel hand over to the program as it is on disk now, and waits
//! until that serves, or says why it does not.
//!
//! Which process runs is told by its admin listener, or by its pid file. What became of the
//! handover is told by whoever answers there afterwards: another process, or the same one with what
//! went wrong.

use crate::arguments::UpgradeArguments;
use crate::output::{Tone, print, say};
use crate::pid_file;
use crate::remote;
use crate::system::runtime;
use crate::trouble::Trouble;
use evenkeel_api::{Client, ClientError, HandoverState, Status};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How often is looked what became of it.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Exit code if the old process serves on.
const NOT_HELD: u8 = 3;

/// What became of it.
enum Outcome {
    /// This process serves now.
    Done { to: u32, version: Option<String> },
    /// The old one serves on.
    Failed(String),
}

/// Upgrades, and says how that went.
pub(crate) fn run(arguments: &UpgradeArguments) -> Result<ExitCode, Trouble> {
    let (from, outcome) = match &arguments.pid_file {
        Some(file) => by_file(file, arguments.timeout)?,
        None => {
            let client = remote::client(&arguments.look.admin)?;
            runtime()?.block_on(by_admin(&client, arguments.timeout))?
        }
    };
    let as_json = arguments.look.json;
    match outcome {
        Outcome::Done { to, version } => {
            let version_text = version.as_deref().unwrap_or_default();
            if as_json {
                let said = json!({ "upgraded": true, "from": from, "to": to, "version": version });
                print(format_args!("{said:#}\n"))?;
            } else {
                print(format_args!("process {to} serves now, not {from}; {version_text}\n"))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Failed(why) => {
            if as_json {
                let said = json!({ "upgraded": false, "from": from, "error": why });
                print(format_args!("{said:#}\n"))?;
            }
            say(Tone::Error, format_args!("process {from} serves on: {why}"));
            Ok(ExitCode::from(NOT_HELD))
        }
    }
}

fn ask_to_hand_over(id: u32) -> Result<Pid, Trouble> {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Trouble::CannotStart(format!("{id} is no process")))?;
    if catches_usr2(id) == Some(false) {
        let text = format!("process {id} is no evenkeel that runs; the pid file is an old one");
        return Err(Trouble::CannotStart(text));
    }
    let refused = |error: Errno| {
        let hint = match error {
            Errno::SRCH => "it is not on this machine, or in another container",
            Errno::PERM => "it belongs to another user; be that one, or root",
            _ => "the system refused",
        };
        Trouble::CannotStart(format!("cannot signal process {id}: {hint} ({error})"))
    };
    kill_process(pid, Signal::USR2).map_err(refused)?;
    Ok(pid)
}

/// Whether a process has a handler for SIGUSR2; one without would be ended by it. `None` if the
/// system does not say, as where there is no `/proc`.
fn catches_usr2(id: u32) -> Option<bool> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    let mask = u64::from_str_radix(caught.trim(), 16).ok()?;
    Some(mask & (1 << (Signal::USR2.as_raw() - 1)) != 0)
}

/// The admin listener tells which process it is, before and after.
async fn by_admin(client: &Client, timeout: Duration) -> Result<(u32, Outcome), Trouble> {
    let before = client.status().await.map_err(unreachable)?;
    let Some(from) = before.pid else {
        let text = "the running evenkeel is too old to be upgraded so; send it SIGUSR2";
        return Err(Trouble::CannotStart(text.to_owned()));
    };
    let number = before.handover.as_ref().map_or(0, |it| it.number);
    ask_to_hand_over(from)?;
    let until = Instant::now() + timeout;
    while Instant::now() < until {
        sleep(LOOK_EVERY).await;
        // In between nobody may answer; the next look will tell.
        let Ok(now) = client.status().await else { continue };
        if let Some(outcome) = outcome(from, number, now) {
            return Ok((from, outcome));
        }
    }
    let why = format!("nothing came of it within {timeout:?}; its log may say more");
    Ok((from, Outcome::Failed(why)))
}

/// `None` while it goes on.
fn outcome(from: u32, number: u64, now: Status) -> Option<Outcome> {
    let to = now.pid.filter(|pid| *pid != from);
    if let Some(to) = to {
        return Some(Outcome::Done { to, version: Some(now.version) });
    }
    let last = now.handover.filter(|it| it.number > number)?;
    match last.state {
        HandoverState::Running => None,
        HandoverState::Failed => Some(Outcome::Failed(last.error.unwrap_or_default())),
    }
}

fn unreachable(error: ClientError) -> Trouble {
    let hint = "name the admin listener with --admin, or the process with --pid-file";
    let error = remote::in_words(&error);
    Trouble::CannotStart(format!("no running evenkeel found: {error}\n  {hint}"))
}

/// The pid file tells which process serves, before and after.
fn by_file(file: &Path, timeout: Duration) -> Result<(u32, Outcome), Trouble> {
    let from = pid_file::read(file)?;
    let pid = ask_to_hand_over(from)?;
    let until = Instant::now() + timeout;
    while Instant::now() < until {
        std::thread::park_timeout(LOOK_EVERY);
        let to = pid_file::read(file).ok().filter(|to| *to != from);
        if let Some(to) = to {
            return Ok((from, Outcome::Done { to, version: None }));
        }
        if test_kill_process(pid).is_err() {
            let text = format!("process {from} has ended, and no other serves in its place");
            return Err(Trouble::CannotStart(text));
        }
    }
    let why = format!("no other process was ready within {timeout:?}; its log says why");
    Ok((from, Outcome::Failed(why)))
}
