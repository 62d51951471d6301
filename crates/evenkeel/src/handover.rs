//! Handing over to a new program: it gets the very sockets, loads everything, says that it is
//! ready, and only then this one ends. Whatever goes wrong with it, this one serves on.
//!
//! ```text
//!   old: spawn ──────────────── wait ── ready ── counts ──> drain, exit
//!          │ sockets, state       ^ │              │
//!          │                      │ └─ end, or a minute over ──> serve on
//!   new:   └─> load, bind nothing, probe           └─> let clients in
//! ```
//!
//! The new program finds what it got in one variable: numbers of descriptors, and of five pipes.
//! The sockets of systemd (`LISTEN_FDS`) are taken in the same way. Who starts it is in `starter`.

mod counts;
mod starter;

pub(crate) use counts::{Bequest, Bygone};
pub(crate) use starter::start;

use crate::trouble::Trouble;
use evenkeel_control::{AdminSockets, Heritage, Ledger};
use evenkeel_proxy::server::{Inherited, InheritedSocket, Legacy, SECRET_BYTES};
use evenkeel_proxy::socket::{BoundSocket, inherited};
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::{Value, json};
use starter::{LINK, Starter};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Names what a process got from the one before it.
const VARIABLE: &str = "EVENKEEL_HANDOVER";
/// A new program is given so long to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How often is looked whether it is still wanted.
const STOP_POLL: Duration = Duration::from_millis(50);
/// Why it is not, if its end of the pipe was closed.
const ENDED: &str = "it ended before it was ready";
/// How long one that closed it may take to end by itself.
const OWN_END_TIME: Duration = Duration::from_secs(2);
/// What it says when it is.
const READY: &[u8; 5] = b"ready";
/// Bytes of one thing that a new program is told before it is ready.
const MAX_TOLD: u64 = 1 << 30;
/// The first descriptor that systemd passes.
const SYSTEMD_FIRST: RawFd = 3;
/// Descriptors that systemd may pass.
const MAX_SYSTEMD: RawFd = 1024;

/// What a process got from the one before it.
#[derive(Default)]
pub(crate) struct Inheritance {
    pub(crate) legacy: Legacy,
    pub(crate) admin: AdminSockets,
    pub(crate) scaled: Heritage,
    /// What `Steering::bequeath` gave.
    pub(crate) state: Option<Vec<u8>>,
    ready: Option<File>,
    counts: Option<File>,
}

/// What a new program gets.
pub(crate) struct Leavings {
    pub(crate) legacy: Legacy,
    pub(crate) admin: AdminSockets,
    pub(crate) scaled: Heritage,
    /// What `Steering::bequeath` gave.
    pub(crate) state: Vec<u8>,
}

/// A new program that serves.
pub(crate) struct Successor {
    /// Its process id.
    pub(crate) pid: u32,
    /// How it gets to know what was counted here.
    pub(crate) bequest: Bequest,
}

impl Inheritance {
    /// Takes what is there; once, before anything else is opened.
    pub(crate) fn take() -> Result<Inheritance, Trouble> {
        let broken = |why: String| Trouble::CannotStart(format!("{VARIABLE}: {why}"));
        let Some(text) = std::env::var_os(VARIABLE) else {
            let broken = |error| Trouble::CannotStart(format!("LISTEN_FDS: {error}"));
            return from_systemd().map_err(broken);
        };
        let said: Value = serde_json::from_slice(text.as_encoded_bytes())
            .map_err(|error| broken(error.to_string()))?;
        if said["from"].as_u64() != Some(u64::from(std::os::unix::process::parent_id())) {
            // It was meant for whoever started us.
            return Ok(Inheritance::default());
        }
        from_parent(&said).map_err(|error| broken(error.to_string()))
    }

    /// True if a process before this one still serves.
    pub(crate) fn is_handover(&self) -> bool {
        self.ready.is_some()
    }

    /// Tells the process before this one that it may go, and counts on from where it stops; what
    /// cannot be counted is told. `None` if there is no such process.
    pub(crate) fn tell_ready(
        self,
        ledger: &Arc<Ledger>,
        tell: impl Fn(&str) + Send + 'static,
    ) -> Option<Bygone> {
        // It may have given up waiting; then it serves on, and so do we until we are ended.
        let _ = self.ready?.write_all(READY);
        let counts = self.counts?;
        // Without a thread what it has counted is lost, and nothing else.
        Bygone::read(counts, Arc::clone(ledger), tell).ok()
    }
}

fn number(value: &Value) -> io::Result<RawFd> {
    let number = value.as_i64().and_then(|number| RawFd::try_from(number).ok());
    number.ok_or_else(|| io::Error::other(format!("{value} is no descriptor")))
}

fn from_parent(said: &Value) -> io::Result<Inheritance> {
    let mut all = Inheritance::default();
    for item in said["sockets"].as_array().into_iter().flatten() {
        let name = item["name"].as_str().unwrap_or_default().to_owned();
        let socket = BoundSocket::from_inherited(inherited(number(&item["fd"])?)?)?;
        if item["admin"].as_bool() == Some(true) {
            all.admin.push((name, socket));
        } else {
            let with_file = item["with_file"].as_bool() == Some(true);
            all.legacy.sockets.push(InheritedSocket { name, socket, with_file });
        }
    }
    for tie in said["ties"].as_array().into_iter().flatten() {
        all.scaled.ties.push(inherited(number(tie)?)?);
    }
    let pipe = |name: &str| Ok::<_, io::Error>(File::from(inherited(number(&said[name])?)?));
    all.scaled.processes = read_told(pipe("scaled")?)?;
    all.state = Some(read_told(pipe("state")?)?);
    let mut secrets = [0; SECRET_BYTES];
    pipe("secrets")?.read_exact(&mut secrets)?;
    all.legacy.secrets = Some(secrets);
    (all.ready, all.counts) = (Some(pipe("ready")?), Some(pipe("counts")?));
    Ok(all)
}

/// All of it, or nothing.
fn read_told(pipe: File) -> io::Result<Vec<u8>> {
    let mut told = Vec::new();
    pipe.take(MAX_TOLD + 1).read_to_end(&mut told)?;
    if u64::try_from(told.len()).is_ok_and(|length| length <= MAX_TOLD) {
        return Ok(told);
    }
    Err(io::Error::other(format!("more than {MAX_TOLD} bytes are told")))
}

/// The sockets that systemd opened for this very process, with their names.
fn from_systemd() -> io::Result<Inheritance> {
    let variable = |name: &str| std::env::var(name).ok();
    let count = variable("LISTEN_FDS").and_then(|count| count.parse::<RawFd>().ok());
    let own = variable("LISTEN_PID").and_then(|pid| pid.parse::<u32>().ok());
    let (Some(count), true) = (count, own == Some(std::process::id())) else {
        return Ok(Inheritance::default());
    };
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut sockets = Inherited::new();
    for at in 0..count.clamp(0, MAX_SYSTEMD) {
        let name = names.next().filter(|name| *name != "unknown").unwrap_or_default();
        let socket = BoundSocket::from_inherited(inherited(SYSTEMD_FIRST + at)?)?;
        sockets.push(InheritedSocket { name: name.to_owned(), socket, with_file: false });
    }
    let legacy = Legacy { sockets, secrets: None };
    Ok(Inheritance { legacy, ..Inheritance::default() })
}

/// What a new program gets, open for it.
struct Estate {
    /// With what it is told of each.
    sockets: Vec<(OwnedFd, Value)>,
    ties: Vec<OwnedFd>,
    /// With the names by which it knows them; the link is for who starts it.
    pipes: [(&'static str, OwnedFd); 6],
}

impl Estate {
    fn said(&self) -> Value {
        let sockets: Vec<Value> = self
            .sockets
            .iter()
            .map(|(fd, told)| {
                let mut told = told.clone();
                told["fd"] = fd.as_raw_fd().into();
                told
            })
            .collect();
        let ties: Vec<RawFd> = self.ties.iter().map(AsRawFd::as_raw_fd).collect();
        let mut said = json!({ "from": std::process::id(), "sockets": sockets, "ties": ties });
        for (name, pipe) in &self.pipes {
            said[name] = pipe.as_raw_fd().into();
        }
        said
    }

    /// Whether they stay open in a program that is started.
    fn keep(&self, flags: FdFlags) -> io::Result<()> {
        let sockets = self.sockets.iter().map(|(fd, _)| fd);
        let pipes = self.pipes.iter().map(|(_, pipe)| pipe);
        sockets.chain(&self.ties).chain(pipes).try_for_each(|fd| Ok(fcntl_setfd(fd, flags)?))
    }
}

/// A new program that was started, and the pipes to it.
struct Started {
    starter: Starter,
    ready: io::PipeReader,
    counts: io::PipeWriter,
}

/// Starts the program again, as it was started, and waits until it is ready, or until `stop` says
/// that nobody wants it any more.
///
/// # Errors
/// Why it is not, in words. It has ended then.
pub(crate) fn hand_over(leavings: Leavings, stop: &AtomicBool) -> Result<Successor, String> {
    let cannot = |error: io::Error| format!("cannot start the new program: {error}");
    let Started { mut starter, ready, counts } = spawn(leavings).map_err(cannot)?;
    starter.await_start().map_err(cannot)?;
    // Made first: from `ready` on nothing may go wrong.
    let bequest = Bequest::into(counts).map_err(cannot);
    let pid = await_ready(starter, ready, stop)?;
    Ok(Successor { pid, bequest: bequest? })
}

fn spawn(Leavings { legacy, admin, scaled, state }: Leavings) -> io::Result<Started> {
    let (ready, ready_writer) = io::pipe()?;
    let (counts_reader, counts) = io::pipe()?;
    let (link, its_link) = UnixStream::pair()?;
    let secrets = legacy.secrets.unwrap_or([0; SECRET_BYTES]);
    let pipes = [
        ("secrets", told(secrets.to_vec())?),
        ("state", told(state)?),
        ("scaled", told(scaled.processes)?),
        ("ready", ready_writer.into()),
        ("counts", counts_reader.into()),
        (LINK, its_link.into()),
    ];
    let mut sockets = Vec::new();
    for InheritedSocket { name, socket, with_file } in legacy.sockets {
        let told = json!({ "name": name, "admin": false, "with_file": with_file });
        sockets.push((socket.as_fd().try_clone_to_owned()?, told));
    }
    for (name, socket) in admin {
        let told = json!({ "name": name, "admin": true });
        sockets.push((socket.as_fd().try_clone_to_owned()?, told));
    }
    let estate = Estate { sockets, ties: scaled.ties, pipes };
    let said = estate.said();
    estate.keep(FdFlags::empty())?;
    let starter = Starter::start(std::env::args_os(), &said, link);
    // Nobody else who is started gets them.
    estate.keep(FdFlags::CLOEXEC)?;
    Ok(Started { starter: starter?, ready, counts })
}

/// A pipe out of which this comes, whoever reads it, and whenever.
fn told(what: Vec<u8>) -> io::Result<OwnedFd> {
    let (reader, mut writer) = io::pipe()?;
    // Who ends without having read it does not need it.
    let write = move || drop(writer.write_all(&what));
    std::thread::Builder::new().name("ek-told".to_owned()).spawn(write)?;
    Ok(reader.into())
}

fn await_ready(
    starter: Starter,
    mut reader: io::PipeReader,
    stop: &AtomicBool,
) -> Result<u32, String> {
    let (said, heard) = std::sync::mpsc::sync_channel(1);
    let spawned = std::thread::Builder::new().name("ek-handover".to_owned()).spawn(move || {
        let mut word = [0; READY.len()];
        let read = reader.read_exact(&mut word);
        // Whoever waited may have given up.
        let _ = said.send(read.is_ok() && word == *READY);
    });
    let until = Instant::now() + READY_TIMEOUT;
    let why = loop {
        match heard.recv_timeout(STOP_POLL) {
            Ok(true) => return Ok(starter.leave()),
            Ok(false) => break ENDED,
            Err(_) if spawned.is_err() => break "there is no thread to wait for it",
            Err(_) if stop.load(Ordering::Acquire) => break "a stop was asked for",
            Err(_) if Instant::now() >= until => break "it was not ready within a minute",
            Err(_) => {}
        }
    };
    // Its own status says more than that of our kill.
    let status = starter.end((why == ENDED).then_some(OWN_END_TIME));
    Err(format!("the new program failed: {why} ({status})"))
}
