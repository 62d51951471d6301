//! The clients, each kind on threads of its own. What a client was not told to expect is a loss: a
//! connection that is refused or breaks before the answer is whole, an answer that is none of the
//! backend's. A connection that ends where the last answer said so is none.

use super::connect;
use super::options::Options;
use anyhow::{Context as _, Result, bail};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Of everything that a client does.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Threads that open a connection for each request, and threads that keep theirs.
const FRESH: u32 = 4;
const KEPT: u32 = 8;
/// A download, and how it is read: in so many parts, with a pause between them.
const DOWNLOAD: &str = "/bytes/20000000";
const PARTS: u32 = 20;
const PART_PAUSE: Duration = Duration::from_millis(250);
/// Between two messages of a WebSocket.
const MESSAGE_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of an answer's head.
const MAX_HEAD: usize = 16 * 1024;

/// What was done, and how much of it was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) all: u64,
    pub(super) lost: u64,
}

impl Tally {
    fn count<T>(&mut self, outcome: &Result<T>) {
        self.all += 1;
        self.lost += u64::from(outcome.is_err());
    }

    fn add(&mut self, other: Tally) {
        self.all += other.all;
        self.lost += other.lost;
    }
}

/// By kind of client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    /// Requests on connections of their own.
    pub(super) fresh: Tally,
    /// Requests on connections that are kept.
    pub(super) kept: Tally,
    /// WebSockets.
    pub(super) websockets: Tally,
    /// Downloads of five seconds.
    pub(super) downloads: Tally,
    /// Requests of two seconds.
    pub(super) slow: Tally,
}

impl Losses {
    /// Of all kinds.
    pub(super) fn total(&self) -> u64 {
        let Losses { fresh, kept, websockets, downloads, slow } = self;
        [fresh, kept, websockets, downloads, slow].iter().map(|tally| tally.lost).sum()
    }
}

/// A head, as far as it matters here.
struct Head {
    status: u16,
    length: usize,
    closes: bool,
    /// Bytes of the body that came with it.
    rest: Vec<u8>,
}

fn read_head(stream: &mut TcpStream) -> Result<Head> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk)?;
        if count == 0 || bytes.len() > MAX_HEAD {
            bail!("no whole head");
        }
        bytes.extend_from_slice(&chunk[..count]);
    };
    let text = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let field = |name: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(own, _)| *own == name).map(|(_, value)| value.trim().to_owned())
    };
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok(Head {
        status: status.context("no status")?,
        length: field("content-length").and_then(|text| text.parse().ok()).unwrap_or(0),
        closes: field("connection").is_some_and(|value| value.contains("close")),
        rest: bytes.split_off(end),
    })
}

/// One exchange on a connection; whether that ends with it.
fn exchange(stream: &mut TcpStream, path: &str, more: &str) -> Result<bool> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: rig.test\r\n{more}\r\n");
    stream.write_all(request.as_bytes())?;
    let head = read_head(stream)?;
    if head.status != 200 {
        bail!("status {}", head.status);
    }
    let mut body = vec![0; head.length.saturating_sub(head.rest.len())];
    stream.read_exact(&mut body)?;
    Ok(head.closes)
}

/// One request on a connection of its own.
pub(super) fn get(address: SocketAddr, path: &str) -> Result<()> {
    let mut stream = connect(address, TIMEOUT)?;
    exchange(&mut stream, path, "Connection: close\r\n")?;
    Ok(())
}

/// Waits until it is time for the next turn; after a delay turns are made up for.
struct Pace {
    next: Instant,
    every: Duration,
}

impl Pace {
    fn of(every: Duration) -> Pace {
        Pace { next: Instant::now(), every }
    }

    fn wait(&mut self) {
        self.next += self.every;
        while let Some(left) = self.next.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
    }
}

/// Clients that go on until they are ended.
pub(super) struct Clients {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Losses>>,
}

impl Clients {
    /// Starts all kinds.
    pub(super) fn start(address: SocketAddr, options: &Options) -> Clients {
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = Clients { over, threads: Vec::new() };
        let every = Duration::from_secs(1) * (FRESH + KEPT) / options.rate.max(1);
        for _ in 0..FRESH {
            clients.spawn(move |over| Losses { fresh: fresh(address, every, over), ..none() });
        }
        for _ in 0..KEPT {
            clients.spawn(move |over| Losses { kept: kept(address, every, over), ..none() });
        }
        for _ in 0..options.websockets {
            clients.spawn(move |over| Losses { websockets: websocket(address, over), ..none() });
        }
        for _ in 0..options.downloads {
            clients.spawn(move |over| Losses { downloads: downloads(address, over), ..none() });
        }
        clients
    }

    fn spawn(&mut self, client: impl FnOnce(&AtomicBool) -> Losses + Send + 'static) {
        let over = Arc::clone(&self.over);
        self.threads.push(std::thread::spawn(move || client(&over)));
    }

    /// Lets all finish what they are at; what they lost.
    pub(super) fn end(self) -> Losses {
        self.over.store(true, Ordering::Relaxed);
        sum(self.threads)
    }
}

fn none() -> Losses {
    Losses::default()
}

fn sum(threads: Vec<JoinHandle<Losses>>) -> Losses {
    let mut all = Losses::default();
    // A thread that panicked has said so itself.
    for losses in threads.into_iter().filter_map(|thread| thread.join().ok()) {
        all.fresh.add(losses.fresh);
        all.kept.add(losses.kept);
        all.websockets.add(losses.websockets);
        all.downloads.add(losses.downloads);
        all.slow.add(losses.slow);
    }
    all
}

fn fresh(address: SocketAddr, every: Duration, over: &AtomicBool) -> Tally {
    let (mut tally, mut pace) = (Tally::default(), Pace::of(every));
    while !over.load(Ordering::Relaxed) {
        tally.count(&get(address, "/"));
        pace.wait();
    }
    tally
}

fn kept(address: SocketAddr, every: Duration, over: &AtomicBool) -> Tally {
    let (mut tally, mut pace) = (Tally::default(), Pace::of(every));
    let mut connection = None;
    while !over.load(Ordering::Relaxed) {
        let outcome = on_kept(&mut connection, address);
        tally.count(&outcome);
        pace.wait();
    }
    tally
}

fn on_kept(connection: &mut Option<TcpStream>, address: SocketAddr) -> Result<()> {
    let mut stream = match connection.take() {
        Some(stream) => stream,
        None => connect(address, TIMEOUT)?,
    };
    if !exchange(&mut stream, "/", "")? {
        *connection = Some(stream);
    }
    Ok(())
}

/// Each WebSocket that breaks is one lost, and another takes its place.
fn websocket(address: SocketAddr, over: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    while !over.load(Ordering::Relaxed) {
        tally.count(&talk(address, over));
    }
    tally
}

/// Sends and awaits echoes until the end; never looks whether the other side wants to close.
fn talk(address: SocketAddr, over: &AtomicBool) -> Result<()> {
    const OPENING: &str = "GET /ws HTTP/1.1\r\nHost: rig.test\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut stream = connect(address, TIMEOUT)?;
    stream.write_all(OPENING.as_bytes())?;
    let head = read_head(&mut stream)?;
    if head.status != 101 || !head.rest.is_empty() {
        bail!("no WebSocket: status {}", head.status);
    }
    let mut pace = Pace::of(MESSAGE_PAUSE);
    while !over.load(Ordering::Relaxed) {
        // A masked text of four bytes (RFC 6455 5.2), the mask zero, and its echo.
        stream.write_all(b"\x81\x84\0\0\0\0ping")?;
        let mut echo = [0; 6];
        stream.read_exact(&mut echo)?;
        if echo != *b"\x81\x04ping" {
            bail!("no echo: {echo:?}");
        }
        pace.wait();
    }
    Ok(())
}

fn downloads(address: SocketAddr, over: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    while !over.load(Ordering::Relaxed) {
        tally.count(&download(address));
    }
    tally
}

fn download(address: SocketAddr) -> Result<()> {
    let mut stream = connect(address, TIMEOUT)?;
    let request = format!("GET {DOWNLOAD} HTTP/1.1\r\nHost: rig.test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let head = read_head(&mut stream)?;
    if head.status != 200 {
        bail!("status {}", head.status);
    }
    let mut left = head.length.saturating_sub(head.rest.len());
    let mut part = vec![0; head.length.div_ceil(PARTS as usize).max(1)];
    while left > 0 {
        let size = part.len().min(left);
        stream.read_exact(&mut part[..size])?;
        left -= size;
        std::thread::park_timeout(PART_PAUSE);
    }
    Ok(())
}

/// Requests of two seconds, all of which have been sent.
pub(super) struct Asked(Vec<JoinHandle<Losses>>);

/// Sends so many of them.
pub(super) fn ask_slowly(address: SocketAddr, count: usize) -> Result<Asked> {
    const REQUEST: &str = "GET /delay/2s HTTP/1.1\r\nHost: rig.test\r\nConnection: close\r\n\r\n";
    let sent = Arc::new(Barrier::new(count + 1));
    let ask = |_| {
        let sent = Arc::clone(&sent);
        std::thread::spawn(move || {
            let begun = connect(address, TIMEOUT).and_then(|mut stream| {
                stream.write_all(REQUEST.as_bytes())?;
                Ok(stream)
            });
            sent.wait();
            let outcome = begun.map_err(anyhow::Error::from).and_then(|mut stream| {
                let head = read_head(&mut stream)?;
                let mut body = vec![0; head.length.saturating_sub(head.rest.len())];
                stream.read_exact(&mut body)?;
                if head.status == 200 { Ok(()) } else { bail!("status {}", head.status) }
            });
            let mut slow = Tally::default();
            slow.count(&outcome);
            Losses { slow, ..none() }
        })
    };
    let threads = (0..count).map(ask).collect();
    sent.wait();
    // All are with the balancer a moment later.
    std::thread::park_timeout(Duration::from_millis(300));
    Ok(Asked(threads))
}

impl Asked {
    /// What came of them.
    pub(super) fn end(self) -> Losses {
        sum(self.0)
    }
}
