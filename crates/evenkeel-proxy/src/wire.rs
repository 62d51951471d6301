//! One connection to a client or to a backend, whatever it runs over. Everything above it reads and
//! writes bytes of HTTP or of a tunnel; what is below decides how they look on the network. Being
//! generic over the network's own stream, all of it runs over the network in memory as well.

use crate::http2::{Inbound, MAX_WRITE_BYTES, Outbound};
use crate::net::{Peek, Stream};
use crate::socket::Socket;
use crate::tls::TlsStream;
use std::io;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::task::{Context, Poll};

/// A connection. Calls are dispatched inline, the plain one first: it is the hottest.
#[derive(Debug)]
pub enum Wire<S> {
    /// The network's own stream, as it is.
    Plain(S),
    /// TLS over it.
    Tls(Box<TlsStream<S>>),
    /// One stream of a client's HTTP/2 connection.
    Inbound(Box<Inbound>),
    /// One stream of an HTTP/2 connection to a backend.
    Outbound(Box<Outbound>),
}

impl<S: Stream> Stream for Wire<S> {
    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Wire::Plain(stream) => stream.poll_read(cx, buf),
            Wire::Tls(stream) => stream.poll_read(cx, buf),
            Wire::Inbound(stream) => stream.poll_read(cx, buf),
            Wire::Outbound(stream) => stream.poll_read(cx, buf),
        }
    }

    #[inline]
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Wire::Plain(stream) => stream.poll_write(cx, parts),
            Wire::Tls(stream) => stream.poll_write(cx, parts),
            Wire::Inbound(stream) => stream.poll_write(cx, parts),
            Wire::Outbound(stream) => stream.poll_write(cx, parts),
        }
    }

    fn poll_write_ahead(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Wire::Plain(stream) => stream.poll_write_ahead(cx, parts),
            Wire::Tls(_) | Wire::Inbound(_) | Wire::Outbound(_) => self.poll_write(cx, parts),
        }
    }

    #[inline]
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Wire::Plain(stream) => stream.poll_flush(cx),
            Wire::Tls(stream) => stream.poll_flush(cx),
            Wire::Inbound(stream) => stream.poll_flush(cx),
            Wire::Outbound(stream) => stream.poll_flush(cx),
        }
    }

    #[inline]
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Wire::Plain(stream) => stream.poll_shutdown(cx),
            Wire::Tls(stream) => stream.poll_shutdown(cx),
            Wire::Inbound(stream) => stream.poll_shutdown(cx),
            Wire::Outbound(stream) => stream.poll_shutdown(cx),
        }
    }

    #[inline]
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Wire::Plain(stream) => stream.poll_readable(cx),
            Wire::Tls(stream) => stream.poll_readable(cx),
            Wire::Inbound(stream) => stream.poll_readable(cx),
            Wire::Outbound(stream) => stream.poll_readable(cx),
        }
    }

    #[inline]
    fn peek(&mut self) -> Peek {
        match self {
            Wire::Plain(stream) => stream.peek(),
            Wire::Tls(stream) => stream.peek(),
            Wire::Inbound(stream) => stream.peek(),
            Wire::Outbound(stream) => stream.peek(),
        }
    }

    #[inline]
    fn reset(self) {
        match self {
            Wire::Plain(stream) => stream.reset(),
            Wire::Tls(stream) => stream.reset(),
            Wire::Inbound(stream) => stream.reset(),
            Wire::Outbound(stream) => stream.reset(),
        }
    }

    #[inline]
    fn is_quiet(&mut self) -> bool {
        match self {
            Wire::Plain(stream) => stream.is_quiet(),
            Wire::Tls(stream) => stream.is_quiet(),
            Wire::Inbound(stream) => stream.is_quiet(),
            Wire::Outbound(stream) => stream.is_quiet(),
        }
    }

    #[inline]
    fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Wire::Plain(stream) => stream.local_address(),
            Wire::Tls(stream) => stream.local_address(),
            Wire::Inbound(stream) => stream.local_address(),
            Wire::Outbound(stream) => stream.local_address(),
        }
    }

    #[inline]
    fn write_most(&self) -> usize {
        match self {
            Wire::Plain(_) | Wire::Tls(_) => usize::MAX,
            Wire::Inbound(_) | Wire::Outbound(_) => MAX_WRITE_BYTES,
        }
    }

    #[inline]
    fn socket(&self) -> Option<&Socket> {
        match self {
            Wire::Plain(stream) => stream.socket(),
            Wire::Tls(_) | Wire::Inbound(_) | Wire::Outbound(_) => None,
        }
    }

    #[inline]
    fn farewell(&mut self) {
        match self {
            Wire::Plain(stream) => stream.farewell(),
            Wire::Tls(stream) => stream.farewell(),
            Wire::Inbound(stream) => stream.farewell(),
            Wire::Outbound(stream) => stream.farewell(),
        }
    }
}

impl<S> Wire<S> {
    /// True if the backend says that it did nothing about the request that it was sent.
    pub(crate) fn is_unprocessed(&self) -> bool {
        match self {
            Wire::Outbound(stream) => stream.is_unprocessed(),
            Wire::Plain(_) | Wire::Tls(_) | Wire::Inbound(_) => false,
        }
    }

    /// True if the request's head is more than the backend takes, so that it was not sent.
    pub(crate) fn is_oversized(&self) -> bool {
        match self {
            Wire::Outbound(stream) => stream.is_oversized(),
            Wire::Plain(_) | Wire::Tls(_) | Wire::Inbound(_) => false,
        }
    }

    /// True if the backend answers what is no response, though it reads like one so far.
    pub(crate) fn is_malformed(&self) -> bool {
        match self {
            Wire::Outbound(stream) => stream.is_malformed(),
            Wire::Plain(_) | Wire::Tls(_) | Wire::Inbound(_) => false,
        }
    }

    /// The backend has had its time, and has not begun to answer.
    pub(crate) fn note_silence(&self) {
        if let Wire::Outbound(stream) = self {
            stream.note_silence();
        }
    }

    /// False if the client's handshake is ours, and a switch of protocols with this
    /// `Sec-WebSocket-Accept` is no answer to it: the client cannot find out.
    pub(crate) fn is_accepted(&self, accept: Option<&[u8]>) -> bool {
        match self {
            Wire::Inbound(stream) => stream.is_accepted(accept),
            Wire::Plain(_) | Wire::Tls(_) | Wire::Outbound(_) => true,
        }
    }

    /// True if the client asked for a tunnel by CONNECT, so that any success would tell it that it
    /// has one (RFC 8441 5).
    pub(crate) fn awaits_tunnel(&self) -> bool {
        match self {
            Wire::Inbound(stream) => stream.awaits_tunnel(),
            Wire::Plain(_) | Wire::Tls(_) | Wire::Outbound(_) => false,
        }
    }
}
