//! Clients that never finish their request head (slowloris): each holds a connection, sends a byte
//! now and then, and calls again as soon as it is thrown out.

use super::network::BALANCER;
use super::process::command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// A byte is sent so often.
const DRIP: Duration = Duration::from_secs(5);
/// The crowd arrives within this time, so that the balancer's patience with all of them does not
/// end in one moment.
const ARRIVAL: Duration = Duration::from_secs(10);
/// Wait after a call that failed.
const PAUSE: Duration = Duration::from_millis(200);
/// The beginning of a request that has no end.
const BEGINNING: &[u8] = b"GET / HTTP/1.1\r\nHost: rig.test\r\nX-Slow: ";

/// So many slow clients, until dropped.
pub(super) struct Crowd {
    connected: Arc<AtomicUsize>,
    _stop: oneshot::Sender<()>,
}

impl Crowd {
    /// Begins to call, on a thread of its own.
    pub(super) fn start(size: usize) -> std::io::Result<Crowd> {
        let connected = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = oneshot::channel::<()>();
        let count = Arc::clone(&connected);
        let run = move || {
            give_way();
            // A crowd without a runtime is an empty one, which `connected` tells.
            let _ = super::block_on(async {
                let between = ARRIVAL / u32::try_from(size.max(1)).unwrap_or(u32::MAX);
                for _ in 0..size {
                    tokio::spawn(call_again(Arc::clone(&count)));
                    sleep(between).await;
                }
                let _ = stopped.await;
                Ok(())
            });
        };
        std::thread::Builder::new().name("crowd".to_owned()).spawn(run)?;
        Ok(Crowd { connected, _stop: stop })
    }

    /// Connections that the crowd holds now.
    pub(super) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }
}

/// The calling thread runs only while nobody else wants to, as if it were on another machine: its
/// work must not be taken for latency. Where that is not to be had, the lateness of the generator
/// tells.
fn give_way() {
    let thread = rustix::thread::gettid().to_string();
    let _ = command("chrt").args(["--idle", "--pid", "0", &thread]).status();
}

async fn call_again(count: Arc<AtomicUsize>) {
    loop {
        if let Ok(stream) = TcpStream::connect(BALANCER).await {
            count.fetch_add(1, Ordering::Relaxed);
            drip(stream).await;
            count.fetch_sub(1, Ordering::Relaxed);
        }
        sleep(PAUSE).await;
    }
}

/// Until the balancer has had enough.
async fn drip(mut stream: TcpStream) {
    let mut told = [0; 512];
    if stream.write_all(BEGINNING).await.is_err() {
        return;
    }
    loop {
        match timeout(DRIP, stream.read(&mut told)).await {
            Ok(_) => return,
            Err(_) if stream.write_all(b"x").await.is_err() => return,
            Err(_) => {}
        }
    }
}
