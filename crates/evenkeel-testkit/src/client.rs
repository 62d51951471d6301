//! A blocking client that sends any bytes and reads answers strictly.

use crate::message::{self, Kind, Message, Reading};
use crate::wire::{Ending, PATIENCE, Wire, ending_of};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

/// Bytes taken per read.
const READ_BYTES: usize = 64 * 1024;

/// One connection to the proxy.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    /// Received and not yet read as a message.
    unread: Vec<u8>,
}

/// Why no whole response came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoResponse {
    /// The connection ended before its first byte.
    Nothing(Ending),
    /// It ended within the response; the bytes that came.
    Cut(Ending, Vec<u8>),
    /// It is not legal HTTP: why.
    Malformed(String),
}

impl Client {
    /// Connects to `host:port` or `unix:/path`.
    ///
    /// # Panics
    /// If nobody listens there.
    pub fn connect(address: &str) -> Client {
        let wire = Wire::connect(address).expect("connected");
        Client { wire, unread: Vec::new() }
    }

    /// Sends all bytes.
    ///
    /// # Panics
    /// If the proxy does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.try_send(bytes).expect("the proxy takes what is sent");
        self
    }

    /// Sends all bytes, or as many as the proxy takes.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.write_all(bytes.as_ref())
    }

    /// Sends pieces of `size` bytes, each as a segment of its own.
    pub fn send_in_slices(&mut self, bytes: &[u8], size: usize) -> &mut Client {
        for piece in bytes.chunks(size) {
            self.send(piece);
            std::thread::yield_now();
        }
        self
    }

    /// The next response.
    pub fn response(&mut self) -> Result<Message, NoResponse> {
        self.read_message(Kind::Response)
    }

    /// The next response, read as the answer to HEAD.
    pub fn response_to_head(&mut self) -> Result<Message, NoResponse> {
        self.read_message(Kind::ResponseToHead)
    }

    /// The next response that is not interim.
    pub fn final_response(&mut self) -> Result<Message, NoResponse> {
        loop {
            let response = self.response()?;
            if response.status() >= 200 {
                return Ok(response);
            }
        }
    }

    /// Sends a request and reads its final response.
    ///
    /// # Panics
    /// If no whole response comes.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.send(request);
        self.final_response().expect("a response")
    }

    fn read_message(&mut self, kind: Kind) -> Result<Message, NoResponse> {
        loop {
            let reading = message::read(&self.unread, kind).map_err(NoResponse::Malformed)?;
            if let Reading::Whole(message, used) = reading {
                self.unread.drain(..used);
                return Ok(message);
            }
            let ending = match self.fill() {
                None => continue,
                Some(ending) => ending,
            };
            return match reading {
                Reading::UntilClose(message) if ending == Ending::Fin => {
                    self.unread.clear();
                    Ok(message)
                }
                Reading::Whole(..) | Reading::Partial | Reading::UntilClose(_)
                    if self.unread.is_empty() =>
                {
                    Err(NoResponse::Nothing(ending))
                }
                Reading::Whole(..) | Reading::Partial | Reading::UntilClose(_) => {
                    Err(NoResponse::Cut(ending, self.unread.clone()))
                }
            };
        }
    }

    /// Reads once; `Some` if nothing more comes.
    fn fill(&mut self) -> Option<Ending> {
        let start = self.unread.len();
        self.unread.resize(start + READ_BYTES, 0);
        let (length, ending) = match self.wire.read(&mut self.unread[start..]) {
            Ok(0) => (0, Some(Ending::Fin)),
            Ok(length) => (length, None),
            Err(error) => (0, Some(ending_of(&error))),
        };
        self.unread.truncate(start + length);
        ending
    }

    /// Waits until `wanted` has come, and takes everything up to its end.
    ///
    /// # Panics
    /// If it does not come.
    pub fn read_until(&mut self, wanted: &[u8]) -> Vec<u8> {
        let mut seen = 0;
        loop {
            let unseen = &self.unread[seen..];
            let at = unseen.windows(wanted.len()).position(|window| window == wanted);
            if let Some(at) = at {
                return self.unread.drain(..seen + at + wanted.len()).collect();
            }
            seen = self.unread.len().saturating_sub(wanted.len());
            let ending = self.fill();
            let text = self.unread.escape_ascii();
            assert_eq!(ending, None, "waiting for {:?} in {text}", wanted.escape_ascii());
        }
    }

    /// Everything up to the end of the connection, and how it ended.
    pub fn read_to_close(&mut self) -> (Vec<u8>, Ending) {
        let ending = loop {
            if let Some(ending) = self.fill() {
                break ending;
            }
        };
        (std::mem::take(&mut self.unread), ending)
    }

    /// True if nothing comes and the connection stays open for `quiet`.
    pub fn stays_quiet(&mut self, quiet: Duration) -> bool {
        self.wire.set_timeouts(quiet).expect("a live socket");
        let ending = self.fill();
        self.wire.set_timeouts(PATIENCE).expect("a live socket");
        ending == Some(Ending::StillOpen) && self.unread.is_empty()
    }

    /// From now on nothing is waited for any longer than this.
    pub fn bound_waits(&mut self, patience: Duration) -> &mut Client {
        self.wire.set_timeouts(patience).expect("a live socket");
        self
    }

    /// Makes the kernel hold little for us, so that what we do not read stays with the sender.
    pub fn shrink_receive_buffer(&mut self) -> &mut Client {
        self.wire.shrink_receive_buffer();
        self
    }

    /// Ends our half.
    pub fn half_close(&mut self) -> &mut Client {
        self.wire.shutdown(Shutdown::Write).expect("a live socket");
        self
    }

    /// Breaks the connection.
    pub fn reset(self) {
        self.wire.reset();
    }
}
