//! One HTTP/2 stream of a client as the byte stream on which an exchange is served: the request
//! reads as HTTP/1.1, the response is written as HTTP/1.1.

use super::from_client::{self, Announced, Malformed};
use super::receiving::Receiving;
use super::sending::{Heads, Opening, Sending};
use super::shape::Framing;
use super::{spare, websocket};
use crate::net::{Peek, Stream};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Method, Request};
use std::io;
use std::io::IoSlice;
use std::task::{Context, Poll};

/// The stream.
#[derive(Debug)]
pub struct Inbound {
    /// The request's head.
    head: Vec<u8>,
    read: usize,
    receiving: Receiving,
    sending: Sending,
    responder: Responder,
    /// What answers the key of a WebSocket's handshake, which is ours.
    accept: Option<String>,
    gone: bool,
    /// With what the stream ends if its response is not whole.
    fault: Reason,
}

/// Makes the response's frames of its heads.
#[derive(Debug)]
struct Responder {
    respond: SendResponse<Bytes>,
    to_head: bool,
    tunnel: bool,
}

impl Heads for Responder {
    const SHARED: bool = false;

    fn head(&mut self, _: &mut Context<'_>, head: Bytes) -> io::Result<Opening> {
        let text = from_client::read_head(head, self.to_head, self.tunnel)?;
        let (response, framing) = (text.response, text.framing);
        if response.status().is_informational() {
            self.respond.send_informational(response).map_err(io::Error::other)?;
            return Ok(Opening::Interim);
        }
        let whole = matches!(framing, Framing::None | Framing::Fixed(0));
        let stream = self.respond.send_response(response, whole).map_err(io::Error::other)?;
        Ok(if whole { Opening::Whole(stream) } else { Opening::Body(stream, framing) })
    }
}

impl Inbound {
    /// A stream whose request has just come.
    pub(crate) fn open(
        cx: &mut Context<'_>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        (key, max_fields): (&str, usize),
    ) -> Result<Inbound, (Malformed, SendResponse<Bytes>)> {
        let (parts, mut frames) = request.into_parts();
        let (announced, first) = announced(cx, &mut frames, &mut respond);
        let mut head = spare::take(0);
        let written = from_client::framing(&parts, announced).and_then(|framing| {
            from_client::write_head(&parts, framing, (key, max_fields), &mut head)?;
            Ok(framing)
        });
        let framing = match written {
            Ok(framing) => framing,
            Err(malformed) => return Err((malformed, respond)),
        };
        let protocol = parts.extensions.get::<h2::ext::Protocol>();
        let is_websocket = protocol.is_some_and(from_client::is_websocket);
        let accept = is_websocket.then(|| websocket::accept(key.as_bytes()));
        let tunnel = protocol.is_some();
        let mut receiving = Receiving::new(frames, framing);
        if let Some(first) = first {
            receiving = receiving.with_first(first);
        }
        let responder = Responder { respond, to_head: parts.method == Method::HEAD, tunnel };
        let sending = Sending::new();
        let fault = Reason::INTERNAL_ERROR;
        let (read, gone) = (0, false);
        Ok(Inbound { head, read, receiving, sending, responder, accept, gone, fault })
    }

    /// Ends the stream with an error.
    fn abort(&mut self, reason: Reason) {
        match self.sending.stream() {
            Some(stream) => stream.send_reset(reason),
            None => self.responder.respond.send_reset(reason),
        }
        self.gone = true;
    }

    /// Body bytes; an end that the peer's own error followed is none.
    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = self.receiving.poll_read(cx, buf);
        if self.receiving.has_ended() && self.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if matches!(&read, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::InvalidData) {
            self.fault = Reason::PROTOCOL_ERROR;
        }
        read
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match self.sending.stream() {
            Some(stream) => stream.poll_reset(cx),
            None => self.responder.respond.poll_reset(cx),
        };
        reset.map(|_| self.gone = true)
    }
}

/// What can be told of the body now. A short one is often here already, to its end: then its length
/// is known, and it can be sent again.
fn announced(
    cx: &mut Context<'_>,
    frames: &mut RecvStream,
    respond: &mut SendResponse<Bytes>,
) -> (Announced, Option<Bytes>) {
    if frames.is_end_stream() {
        return (Announced::Nothing, None);
    }
    match frames.poll_data(cx) {
        // Trailers that are malformed end a stream and then reset it.
        Poll::Ready(Some(Ok(first)))
            if frames.is_end_stream() && respond.poll_reset(cx).is_pending() =>
        {
            (Announced::Exactly(first.len() as u64), Some(first))
        }
        Poll::Ready(Some(Ok(first))) => (Announced::Something, Some(first)),
        // An end without a body but with trailers, or a stream that broke: told when it is read.
        Poll::Ready(Some(Err(_)) | None) | Poll::Pending => (Announced::Something, None),
    }
}

impl Stream for Inbound {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let head = &self.head[self.read..];
        if head.is_empty() {
            if self.responder.tunnel && !self.is_switched() {
                // Nothing of a tunnel comes before it is one; only an end.
                return self.poll_gone(cx).map(|()| Err(io::ErrorKind::ConnectionReset.into()));
            }
            return self.poll_body(cx, buf);
        }
        let length = head.len().min(buf.len());
        buf[..length].copy_from_slice(&head[..length]);
        self.read += length;
        if self.read == self.head.len() {
            spare::give(std::mem::take(&mut self.head));
            self.read = 0;
        }
        let rest = &mut buf[length..];
        if rest.is_empty() || !self.head.is_empty() || self.responder.tunnel {
            return Poll::Ready(Ok(length));
        }
        Poll::Ready(Ok(match self.poll_body(cx, rest) {
            Poll::Ready(Ok(more)) => length + more,
            Poll::Ready(Err(_)) | Poll::Pending => length,
        }))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.sending.poll_write(cx, parts, &mut self.responder);
        if self.responder.tunnel && self.is_switched() && !self.receiving.is_raw() {
            self.receiving.become_raw();
        }
        written
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.sending.shut_down())
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.head.is_empty() || self.receiving.has_bytes() {
            return Poll::Ready(());
        }
        self.poll_gone(cx)
    }

    fn peek(&mut self) -> Peek {
        if self.gone {
            Peek::Gone
        } else if self.receiving.has_bytes() || !self.head.is_empty() {
            Peek::Bytes
        } else {
            Peek::Nothing
        }
    }

    fn reset(mut self) {
        self.abort(Reason::INTERNAL_ERROR);
    }

    fn is_quiet(&mut self) -> bool {
        !self.gone
    }
}

impl Inbound {
    fn is_switched(&self) -> bool {
        self.sending.is_tunnel()
    }

    /// True if a switch of protocols with this `Sec-WebSocket-Accept` answers the key that we have
    /// made for the client (RFC 6455 4.1).
    pub(crate) fn is_accepted(&self, accept: Option<&[u8]>) -> bool {
        self.accept.as_ref().is_none_or(|wanted| accept == Some(wanted.as_bytes()))
    }

    /// A tunnel was asked for, and nothing is answered yet.
    pub(crate) fn awaits_tunnel(&self) -> bool {
        self.responder.tunnel && !self.is_switched()
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        // A response that is not whole must not look as if it were.
        if !self.sending.is_finished() && !self.gone {
            self.abort(self.fault);
        }
    }
}
