//! The listener of the test backend.

use crate::answer::{MOCK_PREFIX, Ready};
use crate::connection::{self, Script};
use crate::limits::{
    ACCEPT_BACKLOG, ACCEPT_PAUSE, MAX_ANSWER_BYTES, MAX_CONNECTIONS, MAX_DELAY, MAX_NAME_BYTES,
};
use crate::target::is_final_status;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How a test backend behaves on every path that has no behaviour of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct TestServerOptions {
    /// Its name, told in `X-Backend` and in bodies: 1 to 256 visible ASCII characters or spaces.
    /// One that starts with [`MOCK_PREFIX`](crate::MOCK_PREFIX) adds `X-Demo: 1`.
    pub name: String,
    /// Time before each answer; up to an hour.
    pub delay: Duration,
    /// Share of requests that get a 500, 0 to 1.
    pub fail_rate: f64,
    /// Status of the answers that do not fail, 200 to 599.
    pub status: u16,
    /// Bytes of each body, up to 1 GiB; 0 = a short text with the name.
    pub body_size: usize,
}

impl TestServerOptions {
    fn script(self) -> Result<Script, &'static str> {
        let TestServerOptions { name, delay, fail_rate, status, body_size } = self;
        let printable = name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !printable || name.trim() != name || !(1..=MAX_NAME_BYTES).contains(&name.len()) {
            return Err("the name must be 1 to 256 visible ASCII characters");
        }
        if delay > MAX_DELAY {
            return Err("the delay must be at most one hour");
        }
        if !(0.0..=1.0).contains(&fail_rate) {
            return Err("the fail rate must be between 0 and 1");
        }
        if !is_final_status(status) {
            return Err("the status must be between 200 and 599");
        }
        let body_size = body_size as u64;
        let plain = match body_size {
            0 => Ready::text(status, &name, &format!("Hello from {name}\n")),
            1..=MAX_ANSWER_BYTES => Ready::sized(status, &name, body_size),
            _ => return Err("the body size must be at most 1 GiB"),
        };
        let failed = Ready::text(500, &name, &format!("{name} fails as it was told to\n"));
        let health = Ready::text(200, &name, "ok");
        let delayed = Ready::text(200, &name, &format!("Hello from {name}, after a while\n"));
        Ok(Script { name, delay, fail_rate, plain, failed, health, delayed })
    }
}

/// An HTTP/1 backend to play with and to measure against.
///
/// Paths with a behaviour of their own: `/echo`, `/events`, `/ws`, `/health`, `/status/NNN`,
/// `/delay/250ms`, `/bytes/N`. The options hold for all others.
pub struct TestServer {
    listener: TcpListener,
    address: SocketAddr,
    script: Arc<Script>,
}

impl TestServer {
    /// Binds the address (port 0: a free one). Fails with `InvalidInput` for options out of
    /// their ranges, otherwise with what the system says. Mocks share their port with those of
    /// other processes of this user, so that one can go on where another ends.
    pub async fn bind(addr: SocketAddr, options: TestServerOptions) -> io::Result<TestServer> {
        let is_mock = options.name.starts_with(MOCK_PREFIX);
        let script = options.script();
        let script = script.map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        #[cfg(unix)]
        socket.set_reuseport(is_mock && addr.port() != 0)?;
        #[cfg(not(unix))]
        let _ = is_mock;
        socket.bind(addr)?;
        let listener = socket.listen(ACCEPT_BACKLOG)?;
        let address = listener.local_addr()?;
        Ok(TestServer { listener, address, script: Arc::new(script) })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` resolves; then listener and connections are closed at once.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                stream = self.accept(), if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn(connection::serve(stream, Arc::clone(&self.script)));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// The next client; survives every error of the system.
    async fn accept(&self) -> TcpStream {
        loop {
            match self.listener.accept().await {
                // An answer is one write: waiting for more to send would only delay it.
                Ok((stream, _)) if stream.set_nodelay(true).is_ok() => return stream,
                Ok(_) => {}
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        let good = TestServerOptions {
            name: "b1".to_owned(),
            delay: Duration::ZERO,
            fail_rate: 0.0,
            status: 200,
            body_size: 0,
        };
        assert!(good.clone().script().is_ok());
        let bad = [
            TestServerOptions { name: "a\r\nb".to_owned(), ..good.clone() },
            TestServerOptions { name: String::new(), ..good.clone() },
            TestServerOptions { delay: MAX_DELAY * 2, ..good.clone() },
            TestServerOptions { fail_rate: f64::NAN, ..good.clone() },
            TestServerOptions { fail_rate: 1.1, ..good.clone() },
            TestServerOptions { status: 101, ..good.clone() },
            TestServerOptions { body_size: 2 << 30, ..good },
        ];
        for options in bad {
            let told = format!("{options:?}");
            assert!(options.script().is_err(), "{told}");
        }
    }
}
