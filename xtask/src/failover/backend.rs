//! The backends: real processes, told what to do through a pipe.
//!
//! Each line on standard input is `STATUS DELAY_MS`: every answer from then on, `/health` included,
//! has that status and takes that long. The end of the input ends the process.

use super::BACKEND;
use super::network::address;
use super::process::Process;
use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use std::io::{BufRead as _, Write as _};
use std::net::{SocketAddr, TcpStream as BlockingStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Connections of one backend; more wait in the kernel.
const MAX_CONNECTIONS: usize = 10_000;
/// Connections that wait in the kernel.
const BACKLOG: u32 = 4096;
/// Bytes of a request head; one that is longer ends its connection.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// From the start of a process to its first answer.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks whether it listens.
const START_LOOK: Duration = Duration::from_millis(10);

/// How every request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    /// Of every answer.
    pub(super) status: u16,
    /// Before every answer.
    pub(super) delay: Duration,
}

impl Manner {
    fn parse(line: &str) -> Option<Manner> {
        let (status, delay) = line.split_once(' ')?;
        let delay = Duration::from_millis(delay.parse().ok()?);
        Some(Manner { status: status.parse().ok()?, delay })
    }
}

/// One backend as the rig sees it.
pub(super) struct Backend {
    number: usize,
    process: Process,
}

impl Backend {
    /// Starts it and waits until it listens.
    pub(super) async fn start(number: usize, manner: Manner, folder: &Path) -> Result<Backend> {
        let rig = std::env::current_exe()?;
        let (place, name) = (address(number).to_string(), name(number));
        let log = folder.join(format!("{name}.log"));
        let process = Process::start(&rig, &["failover", BACKEND, &place, &name], log)?;
        let mut backend = Backend { number, process };
        backend.behave(manner)?;
        let since = Instant::now();
        while BlockingStream::connect_timeout(&address(number), START_LOOK).is_err() {
            backend.process.check_running().with_context(|| name.clone())?;
            if since.elapsed() > START_TIMEOUT {
                bail!("{name} does not listen");
            }
            sleep(START_LOOK).await;
        }
        Ok(backend)
    }

    /// Which one it is.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// From now on it answers so.
    pub(super) fn behave(&mut self, manner: Manner) -> Result<()> {
        let stdin = self.process.stdin.as_mut().context("the backend has no input")?;
        writeln!(stdin, "{} {}", manner.status, manner.delay.as_millis())?;
        Ok(())
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// SIGSTOP: the kernel still takes connections and bytes, nobody answers.
    pub(super) fn pause(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub(super) fn resume(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }
}

/// What a backend calls itself in `X-Backend`.
pub(super) fn name(number: usize) -> String {
    format!("b{}", number + 1)
}

/// Serves as a backend until standard input ends.
pub(super) async fn serve(address: SocketAddr, name: &str) -> Result<()> {
    let manner = Arc::new(Mutex::new(Manner { status: 200, delay: Duration::ZERO }));
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let mut ended = listen_to_orders(Arc::clone(&manner))?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut ended => return Ok(()),
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                let (stream, _) = accepted?;
                connections.spawn(answer_all(stream, name.to_owned(), Arc::clone(&manner)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A thread of its own reads the orders; the receiver resolves when there will be no more.
fn listen_to_orders(manner: Arc<Mutex<Manner>>) -> Result<oneshot::Receiver<()>> {
    let (end, ended) = oneshot::channel();
    let listen = move || {
        for line in std::io::stdin().lock().lines() {
            let Some(told) = line.ok().as_deref().and_then(Manner::parse) else {
                break;
            };
            *manner.lock().unwrap_or_else(PoisonError::into_inner) = told;
        }
        // The server may be gone already.
        let _ = end.send(());
    };
    std::thread::Builder::new().name("orders".to_owned()).spawn(listen)?;
    Ok(ended)
}

async fn answer_all(mut stream: TcpStream, name: String, manner: Arc<Mutex<Manner>>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut head = Vec::with_capacity(1024);
    while read_head(&mut stream, &mut head).await {
        let Manner { status, delay } = *manner.lock().unwrap_or_else(PoisonError::into_inner);
        if !delay.is_zero() {
            sleep(delay).await;
        }
        let body = format!("Hello from {name}\n");
        let answer = format!(
            "HTTP/1.1 {status} {}\r\nX-Backend: {name}\r\nContent-Length: {}\r\n\r\n{body}",
            if status == 200 { "OK" } else { "As Told" },
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads one GET request and forgets it; false if there is none.
async fn read_head(stream: &mut TcpStream, head: &mut Vec<u8>) -> bool {
    const END: &[u8] = b"\r\n\r\n";
    loop {
        if let Some(end) = head.windows(END.len()).position(|window| window == END) {
            head.drain(..end + END.len());
            return true;
        }
        if head.len() > MAX_HEAD_BYTES || !matches!(stream.read_buf(head).await, Ok(1..)) {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read() {
        let manner = |status, millis| Some(Manner { status, delay: Duration::from_millis(millis) });
        let cases = [
            ("200 1", manner(200, 1)),
            ("503 0", manner(503, 0)),
            ("200", None),
            ("200 x", None),
            ("", None),
        ];
        for (line, wanted) in cases {
            assert_eq!(Manner::parse(line), wanted, "{line:?}");
        }
    }
}
