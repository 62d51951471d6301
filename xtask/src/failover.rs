//! `cargo xtask failover`: breaks one of three backends under an open-loop load, behind evenkeel,
//! HAProxy and nginx in turn, and measures what clients notice.
//!
//! Reading order: `options` (what to run), `network` (the namespace it runs in), `process`,
//! `backend`, `peer` (who runs), `fault` (what breaks), `capture` (who was sent what), `repeat`
//! (one run and what was measured), `report` (the table); `quiet` is the run without faults,
//! `slow` who may be there beside.
//! [docs/failover.md](../../docs/failover.md) tells what the figures mean.

mod backend;
mod capture;
mod fault;
mod load;
mod network;
mod options;
mod peer;
mod process;
mod quiet;
mod repeat;
mod report;
mod slow;

use crate::peer::Peer;
use anyhow::{Context as _, Result, bail};
use fault::Fault;
use options::{Options, Purpose};
use repeat::{Measured, Setup};
use report::Row;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use tokio::signal::unix::{SignalKind, signal};

/// The mode of the process that is a backend: ADDRESS and NAME follow.
const BACKEND: &str = "--backend";
/// The mode of the process that is in the namespace already: the user's flags follow.
const INSIDE: &str = "--in-namespace";
/// What a run ends with if a target does not hold.
const SHORT_OF_TARGET: u8 = 3;

/// Runs the rig with the arguments after `failover`.
///
/// # Errors
/// An argument is wrong, a tool is missing, or the rig could not be set up.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    match arguments.split_first() {
        Some((mode, [address, name])) if mode == BACKEND => {
            block_on(backend::serve(address.parse()?, name))?;
            Ok(ExitCode::SUCCESS)
        }
        Some((mode, rest)) if mode == INSIDE => block_on(until_stopped(Options::parse(rest)?)),
        Some((flag, _)) if flag == "--help" => {
            writeln!(std::io::stdout().lock(), "{}", options::USAGE)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(_) | None => enter_namespace(arguments),
    }
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// Becomes `unshare --net xtask failover --in-namespace ...`.
fn enter_namespace(arguments: &[String]) -> Result<ExitCode> {
    let options = Options::parse(arguments)?;
    if !rustix::process::geteuid().is_root() {
        bail!("a network namespace of its own needs root: try `sudo`");
    }
    let mut tools = vec!["unshare", "setpriv", "chrt", "ip", "iptables", "tcpdump"];
    tools.extend(options.peers.iter().filter_map(|peer| peer.tool()));
    for tool in tools {
        if !process::is_installed(tool) {
            bail!("{tool} is missing; on Debian: apt-get install {}", process::package_of(tool));
        }
    }
    let rig = std::env::current_exe().context("where this program is")?;
    let mut command = process::command("unshare");
    command.args(["--net", "--"]).arg(rig).args(["failover", INSIDE]).args(arguments);
    Err(command.exec()).context("cannot start unshare")
}

/// The run; a signal ends it, and with it every process that it started.
async fn until_stopped(options: Options) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = inside(options) => ended,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

async fn inside(options: Options) -> Result<ExitCode> {
    network::prepare()?;
    let folder = Folder::create()?;
    let setup = Setup { folder: folder.0.clone(), options };
    match setup.options.purpose {
        Purpose::Faults => faults(&setup).await,
        Purpose::QuietLatency => quiet::run(&setup).await,
    }
}

/// Every fault against every peer. Peers take turns repeat by repeat, so that each meets the same
/// weather on a shared machine. A repeat that could not be measured does not cost the others.
async fn faults(setup: &Setup) -> Result<ExitCode> {
    let options = &setup.options;
    let mut rows = Vec::new();
    for fault in &options.faults {
        let row = |peer: &Peer| Row { fault: *fault, peer: *peer, repeats: Vec::new(), lost: 0 };
        let mut of_fault: Vec<Row> = options.peers.iter().map(row).collect();
        for number in 1..=options.repeats {
            for row in &mut of_fault {
                let told = format!("{} {}: repeat {number}", row.peer.name(), fault.letter());
                let one = repeat::run(setup, row.peer, *fault).await;
                progress(&told, *fault, &one)?;
                row.add(one);
            }
        }
        rows.append(&mut of_fault);
        if let Some(path) = &options.json {
            report::write_json(path, options, &rows)?;
        }
    }
    let mut out = std::io::stdout().lock();
    write!(out, "{}", report::table(&rows))?;
    let short: Vec<String> = rows.iter().filter_map(Row::short_of_target).collect();
    if short.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "\nshort of the target: {}", short.join("; "))?;
    Ok(ExitCode::from(SHORT_OF_TARGET))
}

fn progress(told: &str, fault: Fault, one: &Result<Measured>) -> Result<()> {
    let what = fault.what();
    let figures = match one {
        Ok(one) => {
            let last = report::millis(one.last_first_try);
            format!("{} errors, last first try after {last} ms", one.failed)
        }
        Err(error) => format!("not measured: {error:#}"),
    };
    writeln!(std::io::stderr().lock(), "{told}: {what}: {figures}")?;
    Ok(())
}

/// A folder for configurations and logs; goes with the run.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Folder> {
        let name = format!("evenkeel-failover-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning of temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs one command to its end; its words are the error.
fn tool(program: &str, arguments: &str) -> Result<()> {
    let mut command: Command = process::command(program);
    let output = command.args(arguments.split_ascii_whitespace()).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {arguments}` ended with {}: {}", output.status, said.trim());
    }
    Ok(())
}
