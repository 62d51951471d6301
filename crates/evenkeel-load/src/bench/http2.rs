//! HTTP/2: many exchanges share a connection.

use super::fault::Fault;
use super::lane::{Answer, Client};
use super::link::Dialer;
use super::patience::Patience;
use crate::LoadError;
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, SendStream};
use http::Request;
use std::future::poll_fn;
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Exchanges that share a connection.
pub(crate) const STREAMS_PER_CONNECTION: usize = 100;
/// How much of one answer may be on its way.
const STREAM_WINDOW: u32 = 1 << 20;
/// How much of all answers of a connection may be on its way.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// A connection that closes before a request went out is replaced this often.
const MAX_OPENINGS: u32 = 2;

/// A connection that several clients share.
pub(crate) struct Trunk {
    dialer: Arc<Dialer>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    sender: Option<SendRequest<Bytes>>,
    /// Counts connections, so that only the first to see one fail replaces it.
    generation: u64,
}

impl Trunk {
    /// Opens nothing yet.
    pub(crate) fn new(dialer: Arc<Dialer>) -> Arc<Trunk> {
        Arc::new(Trunk { dialer, open: Mutex::default() })
    }

    async fn sender(&self, deadline: Instant) -> Result<(SendRequest<Bytes>, u64), Fault> {
        let mut open = self.open.lock().await;
        if let Some(sender) = &open.sender {
            return Ok((sender.clone(), open.generation));
        }
        let link = self.dialer.open(deadline).await?;
        let shaken = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_push(false)
            .handshake(link)
            .await;
        let (sender, connection) = shaken.map_err(|error| fault(&error))?;
        // Ends when the last sender is gone; its errors are told to the exchanges.
        tokio::spawn(async move { drop(connection.await) });
        open.generation += 1;
        open.sender = Some(sender.clone());
        Ok((sender, open.generation))
    }

    async fn forget(&self, generation: u64) {
        let mut open = self.open.lock().await;
        if open.generation == generation {
            open.sender = None;
        }
    }
}

/// Sends the same request again and again.
pub(crate) struct Http2 {
    caller: Caller,
    patience: Patience,
}

impl Http2 {
    /// One of those that share the trunk; needs a running runtime.
    pub(crate) fn new(
        trunk: Arc<Trunk>,
        head: Request<()>,
        body: Bytes,
        keep_alive: bool,
    ) -> Http2 {
        let caller =
            Caller { trunk, head, body, keep_alive, backend: String::new(), current: None };
        Http2 { caller, patience: Patience::new() }
    }
}

impl Client for Http2 {
    async fn exchange(&mut self, _: u64, deadline: Instant) -> Result<Answer, Fault> {
        self.caller.backend.clear();
        self.patience.within(deadline, self.caller.attempt(deadline)).await
    }

    fn backend(&self) -> &str {
        &self.caller.backend
    }
}

struct Caller {
    trunk: Arc<Trunk>,
    head: Request<()>,
    body: Bytes,
    keep_alive: bool,
    backend: String,
    /// The connection of the last exchange, and which of the trunk's it is.
    current: Option<(SendRequest<Bytes>, u64)>,
}

impl Caller {
    async fn attempt(&mut self, deadline: Instant) -> Result<Answer, Fault> {
        let (mut sender, generation) = self.ready_sender(deadline).await?;
        let answered = self.send(&mut sender).await;
        let broken = answered.as_ref().is_err_and(|error| !error.is_reset());
        if broken || !self.keep_alive {
            self.trunk.forget(generation).await;
        } else {
            self.current = Some((sender, generation));
        }
        answered.map_err(|error| fault(&error))
    }

    /// A connection that takes another request; one that has been closed is replaced.
    async fn ready_sender(
        &mut self,
        deadline: Instant,
    ) -> Result<(SendRequest<Bytes>, u64), Fault> {
        let mut openings = 0;
        loop {
            let (sender, generation) = match self.current.take() {
                Some(current) => current,
                None => self.trunk.sender(deadline).await?,
            };
            match sender.ready().await {
                Ok(sender) => return Ok((sender, generation)),
                Err(error) => {
                    self.trunk.forget(generation).await;
                    openings += 1;
                    if openings == MAX_OPENINGS {
                        return Err(fault(&error));
                    }
                }
            }
        }
    }

    async fn send(&mut self, sender: &mut SendRequest<Bytes>) -> Result<Answer, h2::Error> {
        let bodiless = self.body.is_empty();
        let (answer, mut upload) = sender.send_request(self.head.clone(), bodiless)?;
        if !bodiless {
            send_body(&mut upload, self.body.clone()).await?;
        }
        let (head, mut body) = answer.await?.into_parts();
        if let Some(backend) = head.headers.get("x-backend") {
            self.backend.push_str(&String::from_utf8_lossy(backend.as_bytes()));
        }
        let bytes = drop_body(&mut body).await?;
        Ok(Answer { status: head.status.as_u16(), bytes })
    }
}

/// Sends as much at a time as the server allows. An answer may come before all is sent; what the
/// server refuses then shows in the answer.
async fn send_body(upload: &mut SendStream<Bytes>, mut body: Bytes) -> Result<(), h2::Error> {
    while !body.is_empty() {
        upload.reserve_capacity(body.len());
        match poll_fn(|cx| upload.poll_capacity(cx)).await {
            Some(Ok(room)) if room > 0 => {
                let part = body.split_to(room.min(body.len()));
                upload.send_data(part, body.is_empty())?;
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error),
            None => return Ok(()),
        }
    }
    Ok(())
}

async fn drop_body(body: &mut RecvStream) -> Result<u64, h2::Error> {
    let mut bytes = 0;
    while let Some(part) = body.data().await {
        let part = part?.len();
        bytes += part as u64;
        body.flow_control().release_capacity(part)?;
    }
    Ok(bytes)
}

fn fault(error: &h2::Error) -> Fault {
    let ours = error.is_library() && !error.is_io();
    let kind = if ours { LoadError::BadResponse } else { LoadError::Reset };
    Fault::new(kind, format!("HTTP/2: {error}"))
}
