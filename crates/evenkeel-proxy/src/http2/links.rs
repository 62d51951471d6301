//! HTTP/2 connections to backends: each worker shares them among its tries, a stream each.

use super::answers::Answers;
use super::io::{Io, Watch};
use super::late::Late;
use super::outbound::Outbound;
use super::{
    BACKEND_CONNECTION_WINDOW_BYTES, BACKEND_STREAM_WINDOW_BYTES, MAX_BACKEND_SMALL_DATA_BYTES,
    MAX_CAUSED_RESETS, MAX_CONCURRENT_STREAMS, MAX_PENDING_RESETS, MAX_REMEMBERED_RESETS,
    MAX_SEND_BUFFER_BYTES,
};
use crate::clock::{Clock, Nanos};
use crate::net::Stream;
use crate::tls::Connector;
use bytes::Bytes;
use evenkeel_core::backend::Backend;
use h2::RecvStream;
use h2::client::{Builder, Connection, SendRequest};
use http::uri::Scheme;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;

/// Header bytes of one response; the strict parser's own bound is the same.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
/// Connections of one backend in one worker.
const MAX_LINKS: usize = 1024;
/// Streams that a backend resets one after the other, none of them answered, until their connection
/// is given up: what is wrong may be the connection, and another is to be had.
const MAX_RESETS_IN_A_ROW: u32 = 3;
/// Streams that we give up on one connection, most often because their clients went away, until no
/// more are opened on it. Over many of those a server ends the connection, and with it what others
/// have there (CVE-2023-44487): Netty, which gRPC for Java is built on, over 200 in half a minute.
const MAX_GIVEN_UP: u32 = 100;

/// What TLS a connection is spoken with.
type Secure = Option<Arc<Connector>>;

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) requests: SendRequest<Bytes>,
    pub(crate) scheme: Scheme,
    secure: Secure,
    open: Cell<usize>,
    closed: Cell<bool>,
    /// It has carried a request.
    used: Cell<bool>,
    /// Streams that were reset since one was answered.
    resets: Cell<u32>,
    /// Streams that were given up.
    given_up: Cell<u32>,
    /// They count as open.
    late: Late,
    /// What the backend has said.
    answers: Rc<RefCell<Answers>>,
    clock: Clock,
    /// Since when it carries none, as the last sweep found it.
    idle_since: Cell<Nanos>,
}

impl Link {
    /// No more streams are opened on it.
    pub(crate) fn close(&self) {
        self.closed.set(true);
    }

    /// The backend answered a stream.
    pub(crate) fn note_answer(&self) {
        self.resets.set(0);
    }

    /// It reset one instead.
    pub(crate) fn note_reset(&self) {
        self.resets.set(self.resets.get() + 1);
        if self.resets.get() >= MAX_RESETS_IN_A_ROW {
            self.close();
        }
    }

    /// So many streams were given up before their end.
    pub(crate) fn note_given_up(&self, streams: u32) {
        self.given_up.set(self.given_up.get().saturating_add(streams));
        if self.given_up.get() >= MAX_GIVEN_UP {
            self.close();
        }
    }

    /// A request leaves on this stream.
    pub(crate) fn expect(&self, stream: u32) -> Since {
        let mut answers = self.answers.borrow_mut();
        answers.expect(stream);
        Since { heard: answers.heard(), at: self.clock.now() }
    }

    /// The most that the fields of a request may come to; `None` if the backend has not said.
    pub(crate) fn max_head_bytes(&self) -> Option<u32> {
        self.answers.borrow().max_head_bytes()
    }

    /// Nobody waits for an answer on it any more.
    pub(crate) fn forget(&self, stream: u32) {
        self.answers.borrow_mut().forget(stream);
    }

    /// True if what came on this stream is no response.
    pub(crate) fn is_malformed(&self, stream: u32) -> bool {
        self.answers.borrow().is_malformed(stream)
    }

    /// A stream's time is over. If not a byte has come for anybody, or the backend stopped within a
    /// frame, it may be that none ever will: whoever comes next gets another connection.
    pub(crate) fn note_silence(&self, since: Since) {
        let answers = self.answers.borrow();
        if answers.heard() == since.heard || answers.is_stuck(since.at, self.clock.now()) {
            self.close();
        }
    }

    /// Leaves a stream open whose response is whole, until its end has come.
    pub(crate) fn await_end(&self, frames: RecvStream) {
        let late = self.late.take(frames, || self.clock.now());
        self.open.set(self.open.get() + usize::from(late));
    }

    /// Lets go of streams that have ended meanwhile.
    fn see_ends(&self) {
        self.open.set(self.open.get() - self.late.see_ends());
    }

    /// Gives up those that do not end.
    fn give_up_late(&self) {
        let given_up = self.late.give_up(|| self.clock.now());
        self.open.set(self.open.get() - given_up);
        self.note_given_up(u32::try_from(given_up).unwrap_or(u32::MAX));
    }

    /// True if its TLS is what is wanted now.
    fn is_secured_by(&self, secure: &Secure) -> bool {
        let pointer = |secure: &Secure| secure.as_ref().map(Arc::as_ptr);
        pointer(&self.secure) == pointer(secure)
    }

    /// True if another stream may be opened.
    fn has_room(&self) -> bool {
        let most = self.requests.current_max_send_streams().min(MAX_CONCURRENT_STREAMS as usize);
        !self.is_closed() && self.open.get() < most
    }

    /// True once the connection is over, or its backend has said goodbye.
    fn is_closed(&self) -> bool {
        if !self.closed.get() {
            let mut cx = Context::from_waker(Waker::noop());
            let polled = self.requests.clone().poll_ready(&mut cx);
            self.closed.set(matches!(polled, Poll::Ready(Err(_))));
        }
        self.closed.get()
    }
}

/// How much the backend had said on a connection when a request left, and when that was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Since {
    heard: u64,
    at: Nanos,
}

/// A place on a connection, for one stream.
#[derive(Debug)]
pub(crate) struct Lease(Rc<Link>);

impl Lease {
    fn take(link: &Rc<Link>) -> Lease {
        link.open.set(link.open.get() + 1);
        link.used.set(true);
        link.idle_since.set(Nanos::NEVER);
        Lease(Rc::clone(link))
    }

    pub(crate) fn link(&self) -> &Link {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

/// A connection that is being made; others wait for it instead of making their own.
#[derive(Debug, Default)]
struct Dial {
    done: Cell<Option<Result<(), io::ErrorKind>>>,
    waiting: Notify,
}

#[derive(Debug)]
struct PerBackend {
    backend: Arc<Backend>,
    links: Vec<Rc<Link>>,
    dial: Option<Rc<Dial>>,
    idle_timeout: Duration,
}

/// All of one worker, by the backend's slot.
#[derive(Debug, Default)]
pub(crate) struct Links {
    slots: RefCell<Vec<Option<PerBackend>>>,
}

impl Links {
    /// A stream on a connection that has room, and whether that has carried others.
    pub(crate) fn take(&self, backend: &Backend, secure: &Secure) -> Option<(Outbound, bool)> {
        let mut slots = self.slots.borrow_mut();
        let own = slots.get_mut(backend.slot)?.as_mut()?;
        own.links.retain(|link| !link.is_closed());
        let suits = |link: &&Rc<Link>| link.is_secured_by(secure) && link.has_room();
        let link = own.links.iter().find(suits)?;
        let used = link.used.get();
        Some((Outbound::new(Lease::take(link)), used))
    }

    /// True if a connection has room.
    pub(crate) fn has(&self, backend: &Backend) -> bool {
        let slots = self.slots.borrow();
        let own = slots.get(backend.slot).and_then(Option::as_ref);
        own.is_some_and(|own| own.links.iter().any(|link| link.has_room()))
    }

    /// A stream on a connection that has room, or on a new one that `dial` makes. Of those who need
    /// one at the same time, one dials.
    pub(crate) async fn connect<S, F>(
        &self,
        (backend, secure, idle_timeout): (&Arc<Backend>, &Secure, Duration),
        dial: impl Fn() -> F,
    ) -> io::Result<(Outbound, bool)>
    where
        S: Stream,
        F: Future<Output = io::Result<S>>,
    {
        loop {
            if let Some(taken) = self.take(backend, secure) {
                return Ok(taken);
            }
            let (dialling, mine) = self.dialling(backend, idle_timeout)?;
            if !mine {
                let waiting = dialling.waiting.notified();
                if dialling.done.get().is_none() {
                    waiting.await;
                }
                match dialling.done.get() {
                    Some(Err(kind)) => return Err(kind.into()),
                    Some(Ok(())) | None => continue,
                }
            }
            let guard = Dialling { links: self, slot: backend.slot, dial: dialling };
            let made = match dial().await {
                Ok(stream) => shake_hands(stream, (scheme_of(backend), secure)).await,
                Err(error) => Err(error),
            };
            match made {
                Ok(link) => {
                    let lease = Lease::take(&link);
                    self.keep(backend.slot, link);
                    guard.end(Ok(()));
                    return Ok((Outbound::new(lease), false));
                }
                Err(error) => {
                    guard.end(Err(error.kind()));
                    return Err(error);
                }
            }
        }
    }

    /// A stream on a connection that turned out to be one of HTTP/2.
    pub(crate) async fn adopt<S: Stream>(
        &self,
        (backend, secure, idle_timeout): (&Arc<Backend>, &Secure, Duration),
        stream: S,
    ) -> io::Result<Outbound> {
        let link = shake_hands(stream, (scheme_of(backend), secure)).await?;
        let lease = Lease::take(&link);
        self.with(backend, idle_timeout, |own| own.links.push(link));
        Ok(Outbound::new(lease))
    }

    fn with<T>(
        &self,
        backend: &Arc<Backend>,
        idle_timeout: Duration,
        act: impl FnOnce(&mut PerBackend) -> T,
    ) -> T {
        let mut slots = self.slots.borrow_mut();
        if slots.len() <= backend.slot {
            slots.resize_with(backend.slot + 1, || None);
        }
        let own = slots[backend.slot].get_or_insert_with(|| PerBackend {
            backend: Arc::clone(backend),
            links: Vec::new(),
            dial: None,
            idle_timeout,
        });
        own.idle_timeout = idle_timeout;
        act(own)
    }

    /// The dial under way, or a new one that is the caller's to make.
    fn dialling(
        &self,
        backend: &Arc<Backend>,
        idle_timeout: Duration,
    ) -> io::Result<(Rc<Dial>, bool)> {
        self.with(backend, idle_timeout, |own| {
            if let Some(dial) = &own.dial {
                return Ok((Rc::clone(dial), false));
            }
            if own.links.len() >= MAX_LINKS {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            let dial = Rc::new(Dial::default());
            own.dial = Some(Rc::clone(&dial));
            Ok((dial, true))
        })
    }

    fn keep(&self, slot: usize, link: Rc<Link>) {
        if let Some(Some(own)) = self.slots.borrow_mut().get_mut(slot) {
            own.links.push(link);
        }
    }

    /// Drops what has closed, or carried nothing for too long.
    pub(crate) fn sweep(&self, now: Nanos) {
        for own in self.slots.borrow_mut().iter_mut().flatten() {
            let timeout = own.idle_timeout;
            own.links.retain(|link| {
                link.give_up_late();
                if link.open.get() == 0 && link.idle_since.get() == Nanos::NEVER {
                    link.idle_since.set(now);
                }
                !link.is_closed() && now < link.idle_since.get().after(timeout)
            });
        }
    }

    /// Lets go of those that carry nothing.
    pub(crate) fn clear(&self) {
        for own in self.slots.borrow_mut().iter_mut().flatten() {
            own.links.retain(|link| link.open.get() > 0);
        }
    }

    /// Lets go of those to backends that are no more; what they carry still ends.
    pub(crate) fn forget_gone(&self) {
        for slot in self.slots.borrow_mut().iter_mut() {
            if slot.as_ref().is_some_and(|own| own.backend.is_gone() && own.dial.is_none()) {
                *slot = None;
            }
        }
    }
}

/// The end of a dial, however it comes.
struct Dialling<'a> {
    links: &'a Links,
    slot: usize,
    dial: Rc<Dial>,
}

impl Dialling<'_> {
    fn end(self, result: Result<(), io::ErrorKind>) {
        self.dial.done.set(Some(result));
    }
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        if self.dial.done.get().is_none() {
            // Whoever dialled gave up: the next one who needs a connection tries.
            self.dial.done.set(Some(Ok(())));
        }
        if let Some(Some(own)) = self.links.slots.borrow_mut().get_mut(self.slot) {
            own.dial = None;
        }
        self.dial.waiting.notify_waiters();
    }
}

fn scheme_of(backend: &Backend) -> Scheme {
    use evenkeel_core::address::Scheme as Spoken;
    match backend.plan.address.scheme {
        Spoken::Https => Scheme::HTTPS,
        Spoken::Http | Spoken::H2c => Scheme::HTTP,
    }
}

/// A stream on a connection of its own, for who shares nothing.
pub(crate) async fn alone<S: Stream>(stream: S, backend: &Backend) -> io::Result<Outbound> {
    let link = shake_hands(stream, (scheme_of(backend), &None)).await?;
    Ok(Outbound::new(Lease::take(&link)))
}

/// Begins HTTP/2, and waits for the peer's first words: one that speaks something else is found out
/// before it is sent a request.
async fn shake_hands<S: Stream>(
    stream: S,
    (scheme, secure): (Scheme, &Secure),
) -> io::Result<Rc<Link>> {
    let clock = Clock::start();
    let answers = Rc::new(RefCell::new(Answers::new(clock.now())));
    let io = Io::new(stream, Vec::new(), Watch::Backend(Rc::clone(&answers), clock));
    let (requests, mut connection) =
        builder().handshake(io.share()).await.map_err(io::Error::other)?;
    poll_fn(|cx| {
        if let Poll::Ready(ended) = poll_connection(cx, &mut connection, &io) {
            let error = ended.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
            return Poll::Ready(Err(error));
        }
        if answers.borrow().is_settled() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await?;
    let link = Rc::new(Link {
        requests,
        scheme,
        secure: secure.clone(),
        open: Cell::new(0),
        closed: Cell::new(false),
        used: Cell::new(false),
        resets: Cell::new(0),
        given_up: Cell::new(0),
        late: Late::default(),
        answers,
        clock,
        idle_since: Cell::new(Nanos::NEVER),
    });
    let known = Rc::downgrade(&link);
    tokio::task::spawn_local(async move {
        let turns = poll_fn(|cx| {
            let polled = poll_connection(cx, &mut connection, &io);
            known.upgrade().iter().for_each(|link| link.see_ends());
            polled
        });
        let _ = turns.await;
        if let Some(link) = known.upgrade() {
            link.close();
        }
    });
    Ok(link)
}

/// One turn of a connection. Ready once it is over.
fn poll_connection<S: Stream>(
    cx: &mut Context<'_>,
    connection: &mut Connection<Io<S>, Bytes>,
    io: &Io<S>,
) -> Poll<io::Result<()>> {
    io.pipe().begin_turn();
    if let Poll::Ready(ended) = Pin::new(connection).poll(cx) {
        return Poll::Ready(ended.map_err(io::Error::other));
    }
    match io.pipe().poll_drain(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .max_concurrent_streams(0)
        .initial_max_send_streams(MAX_CONCURRENT_STREAMS as usize)
        .max_header_list_size(MAX_HEAD_BYTES)
        .initial_window_size(BACKEND_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(BACKEND_CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(MAX_SEND_BUFFER_BYTES)
        .data_frame_budget(MAX_BACKEND_SMALL_DATA_BYTES)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_concurrent_reset_streams(MAX_REMEMBERED_RESETS)
        .max_local_error_reset_streams(Some(MAX_CAUSED_RESETS));
    builder
}
