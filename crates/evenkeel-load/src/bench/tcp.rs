//! Bytes over TCP: what is sent must come back; with nothing to send, connecting is the exchange.

use super::fault::Fault;
use super::lane::{Answer, Client};
use super::link::{Dialer, Link};
use bytes::Bytes;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// An exchange that went well has no status of its own.
const ANSWERED: u16 = 200;
/// Bytes that are compared at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// Sends the same bytes again and again.
pub(crate) struct Tcp {
    dialer: Arc<Dialer>,
    payload: Bytes,
    keep_alive: bool,
    link: Option<Link>,
}

impl Tcp {
    /// An empty payload means: connect, nothing more.
    pub(crate) fn new(dialer: Arc<Dialer>, payload: Bytes, keep_alive: bool) -> Tcp {
        Tcp { dialer, payload, keep_alive, link: None }
    }

    async fn attempt(&mut self, deadline: Instant) -> Result<Answer, Fault> {
        let link = match self.link.take() {
            Some(link) => link,
            None => self.dialer.open(deadline).await?,
        };
        if self.payload.is_empty() {
            return Ok(Answer { status: ANSWERED, bytes: 0 });
        }
        // Both at once: the other side may not read on before we do.
        let (mut from, mut to) = tokio::io::split(link);
        let send = async {
            to.write_all(&self.payload).await.map_err(|error| Fault::reset(&error))?;
            to.flush().await.map_err(|error| Fault::reset(&error))
        };
        let receive = async {
            let mut piece = vec![0; PIECE_BYTES.min(self.payload.len())];
            for wanted in self.payload.chunks(PIECE_BYTES) {
                let piece = &mut piece[..wanted.len()];
                from.read_exact(piece).await.map_err(|_| Fault::closed())?;
                if piece != wanted {
                    return Err(Fault::bad("other bytes came back than were sent"));
                }
            }
            Ok(())
        };
        tokio::try_join!(send, receive)?;
        if self.keep_alive {
            self.link = Some(from.unsplit(to));
        }
        Ok(Answer { status: ANSWERED, bytes: self.payload.len() as u64 })
    }
}

impl Client for Tcp {
    async fn exchange(&mut self, _: u64, deadline: Instant) -> Result<Answer, Fault> {
        match timeout_at(deadline, self.attempt(deadline)).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::timeout()),
        }
    }

    fn backend(&self) -> &str {
        ""
    }
}
