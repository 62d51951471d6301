//! The HTTP/1.1 client of the load generator: kept-alive connections, opened as needed.

use super::{LoadError, OpenLoop};
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

const BACKEND_FIELD: HeaderName = HeaderName::from_static("x-backend");

/// An answer that was read to its end.
pub(super) struct Answer {
    /// As sent.
    pub(super) status: u16,
    /// Value of X-Backend.
    pub(super) backend: Option<String>,
    /// When its last byte was read.
    pub(super) ended: Instant,
}

/// Sends requests to one address.
pub(super) struct Client {
    address: SocketAddr,
    host: HeaderValue,
    path: String,
    timeout: Duration,
    /// One permit for each exchange, hence an upper bound of the connections: one is opened only
    /// if none is idle, and then all others carry an exchange.
    permits: Semaphore,
    /// The one used last is used next.
    idle: Mutex<Vec<Connection>>,
    opened: AtomicU64,
}

struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// Moves the bytes; ends with the connection at the latest.
    _driver: JoinSet<()>,
}

impl Client {
    /// Fails with `InvalidInput` for a host that cannot stand in a field.
    pub(super) fn new(load: &OpenLoop) -> io::Result<Arc<Client>> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        Ok(Arc::new(Client {
            address: load.address,
            host: HeaderValue::from_str(&load.host).map_err(invalid)?,
            path: load.path.clone(),
            timeout: load.timeout,
            permits: Semaphore::new(load.max_connections.min(Semaphore::MAX_PERMITS)),
            idle: Mutex::new(Vec::new()),
            opened: AtomicU64::new(0),
        }))
    }

    /// Connections opened so far.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Sends request number `seq` and reads the answer, all of it before `due` + timeout.
    pub(super) async fn get(&self, seq: u64, due: Instant) -> Result<Answer, LoadError> {
        let deadline = due + self.timeout;
        match timeout_at(deadline, self.exchange(seq)).await {
            Ok(answer) => answer,
            Err(_) => Err(LoadError::Timeout),
        }
    }

    async fn exchange(&self, seq: u64) -> Result<Answer, LoadError> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await.map_err(|_| LoadError::Timeout)?;
        let mut connection = match self.take_idle() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let request = self.request(seq)?;
        let response = connection.sender.send_request(request).await.map_err(|e| kind(&e))?;
        let status = response.status().as_u16();
        let backend = response.headers().get(BACKEND_FIELD);
        let backend = backend.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let closing = response.headers().get(CONNECTION).is_some_and(|v| v == "close");
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(|error| kind(&error))?;
        }
        let ended = Instant::now();
        if !closing {
            self.keep(connection).await;
        }
        Ok(Answer { status, backend, ended })
    }

    fn request(&self, seq: u64) -> Result<Request<Empty<Bytes>>, LoadError> {
        let path = self.path.replace("{seq}", &seq.to_string());
        let request = Request::get(path).header(HOST, self.host.clone()).body(Empty::new());
        // Only a path that is none fails, and it does so for every request.
        request.map_err(|_| LoadError::BadResponse)
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(connection) = idle.pop() {
            if connection.sender.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose answer has been read. A closed one is dropped here.
    async fn keep(&self, mut connection: Connection) {
        if connection.sender.ready().await.is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }

    async fn connect(&self) -> Result<Connection, LoadError> {
        let stream = TcpStream::connect(self.address).await.map_err(|_| LoadError::Connect)?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        stream.set_nodelay(true).map_err(|_| LoadError::Connect)?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await.map_err(|e| kind(&e))?;
        let mut driving = JoinSet::new();
        driving.spawn(async move {
            // An error of the connection is told to the exchange that it carried.
            let _ = driver.await;
        });
        Ok(Connection { sender, _driver: driving })
    }
}

fn kind(error: &hyper::Error) -> LoadError {
    if error.is_parse() { LoadError::BadResponse } else { LoadError::Reset }
}
