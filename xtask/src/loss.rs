//! `cargo xtask loss`: changes a balancer under load, and counts what clients lose: evenkeel,
//! HAProxy and nginx in turn, on loopback.
//!
//! ```text
//!   clients (threads) ──▶ balancer ──▶ three backends        meanwhile: reloads, upgrades, a drain
//!   fresh connections, kept connections, WebSockets that look at nothing, slow downloads
//! ```
//!
//! Reading order: `options`, `peer` (who is tested, and how it is told to change), `clients` (what
//! is lost), `report`. [docs/loss.md](../../docs/loss.md) tells what the figures mean.

mod clients;
mod options;
mod peer;
mod report;

use crate::peer::Peer;
use anyhow::{Context as _, Result, bail};
use clients::Clients;
use options::{Change, Options};
use report::Row;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// What a run ends with if evenkeel lost something.
const SHORT_OF_TARGET: u8 = 3;
/// From its start to the first answer.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Backends.
const BACKENDS: usize = 3;

/// Runs the rig with the arguments after `loss`.
///
/// # Errors
/// An argument is wrong, a program is missing, or the rig could not be set up.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    if arguments.iter().any(|it| it == "--help") {
        writeln!(std::io::stdout().lock(), "{}", options::USAGE)?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::parse(arguments)?;
    let folder = Folder::create()?;
    let mut backends = Vec::new();
    for number in 1..=BACKENDS {
        backends.push(Backend::start(&options.bin, number)?);
    }
    let addresses: Vec<SocketAddr> = backends.iter().map(|it| it.address).collect();
    let mut rows = Vec::new();
    for change in &options.changes {
        for peer in &options.peers {
            let setup = Setup { folder: &folder.0, options: &options, backends: &addresses };
            let row = match change {
                Change::Drain => drain(&setup, *peer)?,
                Change::Reload | Change::Upgrade => under_load(&setup, *peer, *change)?,
            };
            writeln!(std::io::stderr().lock(), "{}", report::line(&row))?;
            rows.push(row);
        }
    }
    write!(std::io::stdout().lock(), "{}", report::table(&rows))?;
    let lost = rows.iter().any(|row| row.peer == Peer::Evenkeel && row.losses.total() > 0);
    Ok(if lost { ExitCode::from(SHORT_OF_TARGET) } else { ExitCode::SUCCESS })
}

/// What every part of a run needs.
struct Setup<'a> {
    folder: &'a Path,
    options: &'a Options,
    backends: &'a [SocketAddr],
}

impl Setup<'_> {
    /// A balancer that answers.
    fn start(&self, peer: Peer) -> Result<peer::Running> {
        let mut running = peer::Running::start(peer, self)?;
        let since = Instant::now();
        while clients::get(running.address, "/").is_err() {
            running.check()?;
            if since.elapsed() > START_TIMEOUT {
                bail!("{} does not answer", peer.name());
            }
            std::thread::park_timeout(LOOK);
        }
        Ok(running)
    }
}

/// Changes it again and again while clients of all kinds go on.
fn under_load(setup: &Setup<'_>, peer: Peer, change: Change) -> Result<Row> {
    let options = setup.options;
    let mut running = setup.start(peer)?;
    let clients = Clients::start(running.address, options);
    std::thread::park_timeout(options.pause);
    let mut failed = 0;
    for number in 1..=options.times {
        let changed = match change {
            Change::Reload => running.reload(number),
            Change::Upgrade | Change::Drain => running.upgrade(),
        };
        if let Err(error) = changed {
            writeln!(std::io::stderr().lock(), "{} {number}: {error:#}", peer.name())?;
            failed += 1;
        }
        std::thread::park_timeout(options.pause);
    }
    let losses = clients.end();
    running.stop()?;
    Ok(Row { peer, change, times: options.times, failed, losses, ended: None })
}

/// Asks it to end while requests of two seconds are in flight.
fn drain(setup: &Setup<'_>, peer: Peer) -> Result<Row> {
    let mut running = setup.start(peer)?;
    let asked = clients::ask_slowly(running.address, setup.options.in_flight)?;
    let since = Instant::now();
    running.ask_to_end()?;
    let losses = asked.end();
    running.await_end()?;
    let ended = Some(since.elapsed());
    Ok(Row { peer, change: Change::Drain, times: 1, failed: 0, losses, ended })
}

/// A backend: our own test server.
struct Backend {
    address: SocketAddr,
    child: Child,
}

impl Backend {
    fn start(bin: &Path, number: usize) -> Result<Backend> {
        let name = format!("b{number}");
        let mut command = Command::new(bin);
        command.args(["testserver", "--listen", "127.0.0.1:0", "--name", &name]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start a backend")?;
        let out = child.stdout.take().context("it was piped")?;
        let err = child.stderr.take().context("it was piped")?;
        let (found, address) = std::sync::mpsc::sync_channel(1);
        read_lines(out, found.clone());
        read_lines(err, found);
        let address = address.recv_timeout(START_TIMEOUT).context("a backend does not listen")?;
        Ok(Backend { address, child })
    }
}

/// Reads to the end, so that the writer never waits; the address that is told is passed on.
fn read_lines(
    from: impl std::io::Read + Send + 'static,
    found: std::sync::mpsc::SyncSender<SocketAddr>,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let told = line.split("http://").nth(1);
            let told = told.and_then(|it| it.trim_end_matches('/').trim().parse().ok());
            if let (Some(address), true) = (told, line.contains("listens on")) {
                // It is waited for once.
                let _ = found.try_send(address);
            }
        }
    });
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn connect(address: SocketAddr, timeout: Duration) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A folder for configurations and logs; goes with the run.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Folder> {
        let path = std::env::temp_dir().join(format!("evenkeel-loss-{}", std::process::id()));
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
