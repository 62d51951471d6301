//! WebSocket: a message, and the one that comes back.

use super::fault::Fault;
use super::lane::{Answer, Client};
use super::link::{Dialer, Link};
use super::report::FIRST_FAILURE;
use crate::LoadError;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// What is sent when there is no body.
const DEFAULT_MESSAGE: &str = "evenkeel";
/// A message that came back counts as answered; it has no status of its own.
const ANSWERED: u16 = 200;
/// Other messages that may come before the one that is waited for.
const MAX_STRAYS: usize = 1000;

/// Sends the same message again and again.
pub(crate) struct WebSocket {
    dialer: Arc<Dialer>,
    opening: (String, HeaderMap),
    message: Message,
    keep_alive: bool,
    socket: Option<WebSocketStream<Link>>,
    backend: String,
}

impl WebSocket {
    /// Sends `body` as text if it is text, else as bytes.
    pub(crate) fn new(
        dialer: Arc<Dialer>,
        opening: (String, HeaderMap),
        body: Bytes,
        keep_alive: bool,
    ) -> WebSocket {
        let message = match Utf8Bytes::try_from(body.clone()) {
            Ok(text) if text.is_empty() => Message::text(DEFAULT_MESSAGE),
            Ok(text) => Message::Text(text),
            Err(_) => Message::Binary(body),
        };
        let (socket, backend) = (None, String::new());
        WebSocket { dialer, opening, message, keep_alive, socket, backend }
    }

    async fn attempt(&mut self, deadline: Instant) -> Result<Answer, Fault> {
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => match self.open(deadline).await? {
                Opened::Socket(socket) => *socket,
                Opened::Refused(answer) => return Ok(answer),
            },
        };
        socket.send(self.message.clone()).await.map_err(|error| fault(&error))?;
        let bytes = self.await_echo(&mut socket).await?;
        if self.keep_alive {
            self.socket = Some(socket);
        } else {
            // The server has answered; how it takes the farewell is no part of that.
            let _ = socket.close(None).await;
        }
        Ok(Answer { status: ANSWERED, bytes })
    }

    async fn open(&mut self, deadline: Instant) -> Result<Opened, Fault> {
        let link = self.dialer.open(deadline).await?;
        let (uri, fields) = &self.opening;
        let mut request = uri.as_str().into_client_request().map_err(|error| fault(&error))?;
        for (name, value) in fields {
            request.headers_mut().insert(name, value.clone());
        }
        match client_async_with_config(request, link, None).await {
            Ok((socket, response)) => {
                self.note_backend(&response.map(|_| None));
                Ok(Opened::Socket(Box::new(socket)))
            }
            Err(Error::Http(response)) => {
                let status = response.status().as_u16();
                if status < FIRST_FAILURE {
                    return Err(Fault::bad(format!("status {status} instead of a WebSocket")));
                }
                self.note_backend(&response);
                let bytes = response.body().as_ref().map_or(0, |body| body.len() as u64);
                Ok(Opened::Refused(Answer { status, bytes }))
            }
            Err(error) => Err(fault(&error)),
        }
    }

    fn note_backend(&mut self, response: &Response) {
        self.backend.clear();
        if let Some(backend) = response.headers().get("x-backend") {
            self.backend.push_str(&String::from_utf8_lossy(backend.as_bytes()));
        }
    }

    async fn await_echo(&self, socket: &mut WebSocketStream<Link>) -> Result<u64, Fault> {
        for _ in 0..MAX_STRAYS {
            match socket.next().await {
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Err(Fault::closed()),
                Some(Ok(message)) if message == self.message => return Ok(message.len() as u64),
                Some(Ok(_)) => return Err(Fault::bad("another message came back than was sent")),
                Some(Err(error)) => return Err(fault(&error)),
            }
        }
        Err(Fault::bad("only pings came back"))
    }
}

/// What an opening led to.
enum Opened {
    Socket(Box<WebSocketStream<Link>>),
    /// An answer without a WebSocket.
    Refused(Answer),
}

impl Client for WebSocket {
    async fn exchange(&mut self, _: u64, deadline: Instant) -> Result<Answer, Fault> {
        match timeout_at(deadline, self.attempt(deadline)).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::timeout()),
        }
    }

    fn backend(&self) -> &str {
        &self.backend
    }
}

fn fault(error: &Error) -> Fault {
    let broken = matches!(error, Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed);
    let kind = if broken { LoadError::Reset } else { LoadError::BadResponse };
    Fault::new(kind, error.to_string())
}
