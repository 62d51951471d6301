//! One HTTP/2 stream to a backend as the byte stream of a try: the request is written as HTTP/1.1,
//! the response reads as HTTP/1.1.

use super::links::{Lease, Since};
use super::receiving::{Receiving, Remains};
use super::sending::{Heads, Opening, Sending, broken};
use super::shape::Framing;
use super::to_backend::{self, Answered, RequestText, Tunnel};
use crate::net::{Peek, Stream};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::{Method, Request, Response};
use std::future::Future;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The stream.
#[derive(Debug)]
pub struct Outbound {
    asker: Asker,
    sending: Sending,
    /// Heads of the response that were not taken yet.
    heads: Vec<u8>,
    read: usize,
    receiving: Option<Receiving>,
}

/// Opens the stream with the request's head.
#[derive(Debug)]
struct Asker {
    lease: Lease,
    response: Option<ResponseFuture>,
    to_head: bool,
    tunnel: Option<Tunnel>,
    /// The request could not leave: nothing comes back.
    unasked: bool,
    /// Because its head is more than the backend takes.
    oversized: bool,
    /// The backend says that it did nothing about the request.
    unprocessed: bool,
    /// What the backend answers is no response.
    malformed: bool,
    /// The stream ended in an error.
    failed: bool,
    /// The stream, once the request has left.
    asked: Option<(u32, Since)>,
}

impl Heads for Asker {
    const SHARED: bool = true;

    fn head(&mut self, _: &mut Context<'_>, head: Bytes) -> io::Result<Opening> {
        let opened = self.ask(head);
        self.unasked = opened.is_err();
        opened
    }
}

impl Asker {
    fn ask(&mut self, head: Bytes) -> io::Result<Opening> {
        let link = self.lease.link();
        let mut requests: SendRequest<Bytes> = link.requests.clone();
        let takes_tunnels = || requests.is_extended_connect_protocol_enabled();
        let text = to_backend::read_head(head, &link.scheme, takes_tunnels)?;
        let RequestText { request, framing, tunnel } = text;
        if link.max_head_bytes().is_some_and(|most| is_beyond(most, &request)) {
            // Backends end connections over it, and with them what others have on them.
            self.oversized = true;
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.to_head = request.method() == Method::HEAD;
        self.tunnel = tunnel;
        let whole = matches!(framing, Framing::None | Framing::Fixed(0));
        match requests.send_request(request, whole) {
            Ok((response, stream)) => {
                let id = stream.stream_id().as_u32();
                self.asked = Some((id, link.expect(id)));
                self.response = Some(response);
                Ok(if whole { Opening::Whole(stream) } else { Opening::Body(stream, framing) })
            }
            Err(error) => {
                // It never left: the connection takes no more streams.
                self.unprocessed = true;
                link.close();
                Err(io::Error::other(error))
            }
        }
    }
}

/// True if a request's fields come to more than the backend takes.
fn is_beyond(most: u32, request: &Request<()>) -> bool {
    usize::try_from(most).is_ok_and(|most| to_backend::head_bytes(request) > most)
}

/// True if the library found out that what came is no response.
fn is_of_malformed(error: &h2::Error) -> bool {
    error.is_reset() && error.is_library()
}

impl Asker {
    /// True if the library lets pass what is no response.
    fn is_overlooked(&self) -> bool {
        self.asked.is_some_and(|(id, _)| self.lease.link().is_malformed(id))
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        if let Some((id, _)) = self.asked {
            self.lease.link().forget(id);
        }
    }
}

impl Drop for Outbound {
    /// A response that is whole may lack the end of its stream; one that is not is given up.
    fn drop(&mut self) {
        if self.asker.asked.is_none() || self.asker.failed || self.asker.malformed {
            return;
        }
        let link = self.asker.lease.link();
        let receiving = self.receiving.take().filter(|_| self.sending.is_finished());
        match receiving.map(Receiving::into_rest) {
            Some(Remains::Nothing) => {}
            Some(Remains::End(frames)) => link.await_end(frames),
            Some(Remains::Body) | None => link.note_given_up(1),
        }
    }
}

impl Outbound {
    /// A stream that is opened by the first head written to it.
    pub(crate) fn new(lease: Lease) -> Outbound {
        let asker = Asker {
            lease,
            response: None,
            to_head: false,
            tunnel: None,
            unasked: false,
            oversized: false,
            unprocessed: false,
            malformed: false,
            failed: false,
            asked: None,
        };
        let sending = Sending::new();
        Outbound { asker, sending, heads: Vec::new(), read: 0, receiving: None }
    }

    /// True if the backend says that it did nothing about the request: it may be sent again.
    pub(crate) fn is_unprocessed(&self) -> bool {
        self.asker.unprocessed
    }

    /// True if the request's head is more than the backend takes, so that it was not sent.
    pub(crate) fn is_oversized(&self) -> bool {
        self.asker.oversized
    }

    /// The time for an answer is over, and none has begun.
    pub(crate) fn note_silence(&self) {
        if self.receiving.is_none()
            && let Some((_, since)) = self.asker.asked
        {
            self.asker.lease.link().note_silence(since);
        }
    }

    /// True if the backend answers what is no response of HTTP/2.
    pub(crate) fn is_malformed(&self) -> bool {
        self.asker.malformed || self.asker.is_overlooked()
    }

    fn fail(&mut self, error: h2::Error) -> io::Error {
        let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
        // A farewell without an error reaches only streams that came after the last one served.
        let farewell = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
        self.asker.malformed |= is_of_malformed(&error);
        self.asker.unprocessed = error.is_remote() && (refused || farewell);
        if error.is_go_away() || error.is_io() {
            self.asker.lease.link().close();
        } else if error.is_reset() && error.is_remote() && !refused {
            self.asker.lease.link().note_reset();
        }
        io::Error::other(error)
    }

    /// Takes no more of what is no response (RFC 9113 8.1.1).
    fn refuse(&mut self) -> io::Error {
        self.asker.malformed = true;
        if let Some(stream) = self.sending.stream() {
            stream.send_reset(Reason::PROTOCOL_ERROR);
        }
        io::ErrorKind::InvalidData.into()
    }

    /// Asks for the next head of the response.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(response) = &mut self.asker.response else {
            // As long as the request's head was not written, its writer is woken.
            let unasked = self.asker.unasked;
            return if unasked { Poll::Ready(Err(broken())) } else { Poll::Pending };
        };
        if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
            return Poll::Ready(match interim {
                Ok(interim) => self.write_head(interim, None),
                Err(error) => Err(self.fail(error)),
            });
        }
        match ready!(Pin::new(response).poll(cx)) {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                Poll::Ready(self.write_head(Response::from_parts(parts, ()), Some(body)))
            }
            Err(error) => Poll::Ready(Err(self.fail(error))),
        }
    }

    fn write_head(&mut self, response: Response<()>, body: Option<RecvStream>) -> io::Result<()> {
        let (parts, ()) = response.into_parts();
        let answered = Answered {
            to_head: self.asker.to_head,
            tunnel: self.asker.tunnel.as_ref().filter(|_| body.is_some()),
            ended: body.as_ref().is_none_or(RecvStream::is_end_stream),
        };
        self.heads.clear();
        self.read = 0;
        let framing = to_backend::write_head(&parts, answered, &mut self.heads);
        let Some(framing) = framing else { return Err(self.refuse()) };
        if let Some(body) = body {
            self.asker.lease.link().note_answer();
            self.receiving = Some(Receiving::new(body, framing));
        }
        Ok(())
    }
}

impl Stream for Outbound {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut filled = 0;
        if self.is_malformed() {
            return Poll::Ready(Err(self.refuse()));
        }
        loop {
            let head = &self.heads[self.read..];
            if !head.is_empty() {
                let length = head.len().min(buf.len() - filled);
                buf[filled..filled + length].copy_from_slice(&head[..length]);
                self.read += length;
                filled += length;
            }
            if filled == buf.len() {
                return Poll::Ready(Ok(filled));
            }
            let polled = match &mut self.receiving {
                Some(receiving) => receiving.poll_read(cx, &mut buf[filled..]),
                None => match self.poll_head(cx) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending => Poll::Pending,
                },
            };
            return match polled {
                Poll::Ready(Ok(length)) => Poll::Ready(Ok(filled + length)),
                Poll::Ready(Err(_)) | Poll::Pending if filled > 0 => Poll::Ready(Ok(filled)),
                Poll::Ready(Err(error)) => {
                    self.asker.failed = true;
                    let library = error.get_ref().and_then(|of| of.downcast_ref::<h2::Error>());
                    self.asker.malformed |= library.is_some_and(is_of_malformed);
                    Poll::Ready(Err(error))
                }
                Poll::Pending => Poll::Pending,
            };
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.sending.poll_write(cx, parts, &mut self.asker)
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.sending.shut_down())
    }

    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<()> {
        let bytes = self.receiving.as_ref().is_some_and(Receiving::has_bytes);
        if bytes || self.read < self.heads.len() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn peek(&mut self) -> Peek {
        let bytes = self.receiving.as_ref().is_some_and(Receiving::has_bytes);
        if bytes || self.read < self.heads.len() { Peek::Bytes } else { Peek::Nothing }
    }

    fn reset(mut self) {
        self.receiving = None;
        if let Some(stream) = self.sending.stream() {
            stream.send_reset(Reason::CANCEL);
        }
    }

    fn is_quiet(&mut self) -> bool {
        // Not kept for another exchange: the connection below is.
        false
    }
}
