//! One client's socket with what was read from it and not used yet.

use crate::limits::{
    BODY_TIMEOUT, LINGER_BYTES, LINGER_TIMEOUT, MAX_HEAD_BYTES, READ_BUFFER_BYTES,
};
use crate::refusal::Refusal;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// A socket and its read buffer.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Wire {
    /// Wraps an accepted socket.
    pub(crate) fn new(stream: TcpStream) -> Wire {
        Wire { stream, buffer: vec![0; READ_BUFFER_BYTES], start: 0, end: 0 }
    }

    /// What was read and not consumed.
    pub(crate) fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Forgets the first `bytes` of what is buffered.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Reads at least one more byte. Refuses a client that has finished sending, that lets the
    /// deadline pass, or whose `MAX_HEAD_BYTES` waiting bytes make no sense yet.
    pub(crate) async fn fill(&mut self, deadline: Instant) -> Result<(), Refusal> {
        self.make_room()?;
        let read = self.stream.read(&mut self.buffer[self.end..]);
        match timeout_at(deadline, read).await {
            Ok(Ok(0)) | Ok(Err(_)) => Err(Refusal::Gone),
            Ok(Ok(bytes)) => {
                self.end += bytes;
                Ok(())
            }
            Err(_) => Err(Refusal::Timeout),
        }
    }

    fn make_room(&mut self) -> Result<(), Refusal> {
        if self.end < self.buffer.len() {
            return Ok(());
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            return Ok(());
        }
        if self.end >= MAX_HEAD_BYTES {
            return Err(Refusal::HeadTooLarge);
        }
        self.buffer.resize(MAX_HEAD_BYTES.min(self.buffer.len() * 2), 0);
        Ok(())
    }

    /// Writes all of it: one system call if the socket takes it at once.
    /// A client that does not take them has left, as far as we are concerned.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let written = match self.stream.try_write(bytes) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return Err(Refusal::Gone),
        };
        if written == bytes.len() {
            return Ok(());
        }
        let rest = self.stream.write_all(&bytes[written..]);
        match timeout(BODY_TIMEOUT, rest).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Refusal::Gone),
        }
    }

    /// Returns when the client has closed its side; what it still sends is dropped.
    pub(crate) async fn client_left(&mut self) {
        self.start = 0;
        self.end = 0;
        while let Ok(1..) = self.stream.read(&mut self.buffer).await {}
    }

    /// Closes so that an answer sent before the request was read is not lost to a reset.
    pub(crate) async fn linger(mut self) {
        if self.stream.shutdown().await.is_err() {
            return;
        }
        let drop_rest = async {
            let mut dropped = 0;
            while dropped < LINGER_BYTES {
                match self.stream.read(&mut self.buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(bytes) => dropped += bytes,
                }
            }
        };
        // Either the client has left or its time is over: the socket is closed in both cases.
        let _ = timeout(LINGER_TIMEOUT, drop_rest).await;
    }

    /// The socket and the unused bytes, for another protocol.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        let unused = self.buffered().to_vec();
        (self.stream, unused)
    }
}
