//! One HTTP/1.1 connection at a time, opened again when the server has had enough of it.

use super::fault::Fault;
use super::incoming::Incoming;
use super::lane::{Answer, Client};
use super::link::{Dialer, Link};
use super::numbered::Numbered;
use super::patience::Patience;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Sends the same request again and again.
pub(crate) struct Http1 {
    dialer: Arc<Dialer>,
    request: Numbered,
    link: Option<Link>,
    incoming: Incoming,
    patience: Patience,
}

impl Http1 {
    /// Needs a running runtime.
    pub(crate) fn new(dialer: Arc<Dialer>, request: Numbered, head_only: bool) -> Http1 {
        let (incoming, patience) = (Incoming::new(head_only), Patience::new());
        Http1 { dialer, request, link: None, incoming, patience }
    }

    /// The connection of the last exchange, unless the server has closed it meanwhile.
    fn take_open(&mut self) -> Option<Link> {
        let mut link = self.link.take()?;
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        // Anything but silence is an end, an error, or bytes that nobody asked for.
        Pin::new(&mut link).poll_read(&mut cx, &mut byte).is_pending().then_some(link)
    }

    fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        link: &mut Link,
        written: &mut Written,
    ) -> Poll<Result<(), Fault>> {
        if !written.done {
            // A server may answer, and close, before it has read everything: go on reading.
            written.poll(cx, link, self.request.bytes());
        }
        loop {
            let mut room = ReadBuf::new(self.incoming.room());
            match ready!(Pin::new(&mut *link).poll_read(cx, &mut room)) {
                Ok(()) if room.filled().is_empty() => {
                    let ended = if self.incoming.closed() { Ok(()) } else { Err(Fault::closed()) };
                    return Poll::Ready(ended);
                }
                Ok(()) => {
                    let received = room.filled().len();
                    if self.incoming.received(received)? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(error) => return Poll::Ready(Err(Fault::reset(&error))),
            }
        }
    }
}

impl Client for Http1 {
    async fn exchange(&mut self, seq: u64, deadline: Instant) -> Result<Answer, Fault> {
        self.request.number(seq);
        let mut link = match self.take_open() {
            Some(link) => link,
            None => self.dialer.open(deadline).await?,
        };
        self.incoming.begin();
        let mut written = Written::default();
        poll_fn(|cx| match self.poll_exchange(cx, &mut link, &mut written) {
            Poll::Pending => self.patience.poll(cx, deadline).map(|()| Err(Fault::timeout())),
            ended => ended,
        })
        .await?;
        if written.done && self.incoming.can_go_on() {
            self.link = Some(link);
        }
        Ok(Answer { status: self.incoming.status, bytes: self.incoming.bytes })
    }

    fn backend(&self) -> &str {
        &self.incoming.backend
    }
}

/// How much of a request has gone out.
#[derive(Default)]
struct Written {
    bytes: usize,
    done: bool,
    failed: bool,
}

impl Written {
    fn poll(&mut self, cx: &mut Context<'_>, link: &mut Link, request: &[u8]) {
        while self.bytes < request.len() && !self.failed {
            match Pin::new(&mut *link).poll_write(cx, &request[self.bytes..]) {
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => self.failed = true,
                Poll::Ready(Ok(bytes)) => self.bytes += bytes,
                Poll::Pending => return,
            }
        }
        if !self.failed {
            self.done = matches!(Pin::new(link).poll_flush(cx), Poll::Ready(Ok(())));
        }
    }
}
