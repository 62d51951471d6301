//! The seam between the proxy and the network. Connection code is generic over these traits and
//! monomorphised; the real sockets are in `socket`, a seeded in-memory network in the testkit.
//!
//! Time has its seam in the runtime: everything here asks `tokio::time`, whose clock a test pauses.

use crate::socket::Socket;
use evenkeel_core::address::Endpoint;
use std::future::Future;
use std::io;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// What lies at the reading end of a stream, learnt without taking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// Nothing yet.
    Nothing,
    /// Bytes.
    Bytes,
    /// The peer will send no more, but may still read.
    End,
    /// The connection is broken.
    Gone,
}

/// A connected byte stream. Reads and writes never block; a short read means that nothing more was
/// there, so the next read need not ask the kernel before it is told of new bytes.
pub trait Stream: 'static {
    /// Reads into `buf`, which is not empty; 0 = the peer ended.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes the parts in order, as one message if the kernel takes it.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// The same for parts that more follows at once: they may wait for it, to go out together.
    fn poll_write_ahead(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write(cx, parts)
    }

    /// Passes on what was taken, but is still held back here; ready when nothing is.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends our half; the peer can still send.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready once bytes, an end or an error may be there to read; costs no system call.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Looks without taking.
    fn peek(&mut self) -> Peek;

    /// Closes so that the peer sees a reset, never a clean end.
    fn reset(self);

    /// The address that the peer has called, or that it was called from.
    fn local_address(&self) -> Option<SocketAddr> {
        None
    }

    /// The most that one write takes; whatever is read beyond that would wait in memory.
    fn write_most(&self) -> usize {
        usize::MAX
    }

    /// The kernel's own socket, if nothing lies between: then bytes need not come here to pass from
    /// one to another.
    fn socket(&self) -> Option<&Socket> {
        None
    }

    /// Takes leave as well as that can be done without waiting; for a stream that is dropped.
    fn farewell(&mut self) {}

    /// True if nothing arrived while the stream lay idle: no byte, no end, no error.
    fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        // Out of budget, every stream claims to be pending.
        let known = tokio::task::coop::has_budget_remaining();
        (self.poll_readable(&mut cx).is_pending() && known) || self.peek() == Peek::Nothing
    }
}

/// A future on the worker's own thread.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// One place to connect to: an endpoint with its name resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// An IP socket.
    Ip(SocketAddr),
    /// A unix socket's path.
    Unix(std::path::PathBuf),
}

impl Destination {
    /// The unix path of an endpoint, if it is one.
    pub fn of_unix(endpoint: &Endpoint) -> Option<Destination> {
        match endpoint {
            Endpoint::Unix(path) => Some(Destination::Unix(path.clone())),
            Endpoint::Ip(_) | Endpoint::Name(..) => None,
        }
    }
}

/// What a worker needs from the outside world, besides time.
pub trait Net: 'static {
    /// Connections of this network, to clients and to backends.
    type Stream: Stream;

    /// Opens a connection; bounded by the caller.
    fn connect<'a>(&'a self, to: &'a Destination) -> LocalFuture<'a, io::Result<Self::Stream>>;

    /// A uniform random number; not secret.
    fn random(&self) -> u64;

    /// Nanoseconds since 1970, for records.
    fn unix_nanos(&self) -> u64;
}

/// Where clients come from.
pub trait Accept: 'static {
    /// The connections it yields.
    type Stream: Stream;

    /// The next client and its address; no address on a unix socket.
    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Stream, Option<SocketAddr>)>>;
}
