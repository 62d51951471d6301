//! A client's HTTP/2 connection: its streams become exchanges, and what a client may ask for
//! besides is bounded.

use super::from_client::Malformed;
use super::inbound::Inbound;
use super::io::{Io, Watch};
use super::lanes::{self, Fare, Running};
use super::meter::{Fault, MALFORMED_GLITCHES, Meter};
use super::websocket;
use super::{
    CONNECTION_WINDOW_BYTES, MAX_CAUSED_RESETS, MAX_CONCURRENT_STREAMS, MAX_PENDING_RESETS,
    MAX_REMEMBERED_RESETS, MAX_SEND_BUFFER_BYTES, MAX_SMALL_DATA_BYTES, STREAM_WINDOW_BYTES,
};
use crate::clock::Nanos;
use crate::deadline::Deadline;
use crate::http1::{self, DRAIN_PATIENCE, Handover, LINGER, Peer};
use crate::net::{Net, Stream};
use crate::wire::Wire;
use crate::worker::Worker;
use bytes::Bytes;
use evenkeel_core::plan::Limits;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

type Link<N> = Connection<Io<Wire<<N as Net>::Stream>>, Bytes>;
type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// Serves the streams of one connection until either side has had enough.
pub(crate) async fn serve<N: Net>(worker: Rc<Worker<N>>, client: Handover<N::Stream>) {
    let Handover { stream, carry, peer, listener, deadline, place } = client;
    let snapshot = worker.snapshot();
    let Some(limits) = snapshot.listener(listener).map(|plan| plan.limits.clone()) else {
        return;
    };
    // Everybody else's turn comes between the steps by which a connection begins and ends.
    tokio::task::yield_now().await;
    let meter = Meter::new(limits.max_request_fields);
    let watch = Watch::Client(Box::new(meter), worker.shared.clock);
    let peer = Rc::new(peer.speaking_http2(stream.local_address()));
    let io = Io::new(stream, carry, watch);
    let session = Session {
        io,
        peer,
        listener,
        deadline,
        limits,
        open: Rc::default(),
        idle_since: Some(worker.now()),
        farewell: Farewell::None,
        worker: Rc::clone(&worker),
    };
    let io = session.io.share();
    session.run().await;
    // Its place is free for another client meanwhile.
    drop(place);
    if let Some(stream) = io.into_stream().filter(|_| !worker.is_shedding()) {
        tokio::task::yield_now().await;
        http1::linger(stream).await;
    }
}

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    /// Nobody speaks of it.
    None,
    /// The client was told to open no more streams, and since when.
    Told(Nanos),
    /// The end was sent; until when it may take.
    Sent(Nanos),
}

/// One connection.
struct Session<N: Net> {
    worker: Rc<Worker<N>>,
    io: Io<Wire<N::Stream>>,
    peer: Rc<Peer>,
    listener: usize,
    deadline: Deadline,
    limits: Limits,
    /// Exchanges that run, those included whose streams the client has given up.
    open: Rc<Cell<u32>>,
    /// Since when there is none.
    idle_since: Option<Nanos>,
    farewell: Farewell,
}

impl<N: Net> Session<N> {
    async fn run(mut self) {
        if let Some(mut link) = self.shake_hands().await {
            tokio::task::yield_now().await;
            poll_fn(|cx| self.poll(cx, &mut link)).await;
        }
    }

    async fn shake_hands(&mut self) -> Option<Link<N>> {
        let since = self.worker.now();
        self.deadline.set_waiting(since.after(self.limits.request_head_timeout), Some(since));
        let head_bytes = u32::try_from(self.limits.max_request_head_bytes).unwrap_or(u32::MAX);
        let mut shaking = pin!(builder(head_bytes).handshake(self.io.share()));
        let shaken = poll_fn(|cx| {
            self.io.pipe().begin_turn();
            let shaken = shaking.as_mut().poll(cx);
            let drained = self.io.pipe().poll_drain(cx);
            let late = self.deadline.has_passed(self.worker.tick());
            match shaken {
                Poll::Ready(link) => Poll::Ready(link.ok()),
                Poll::Pending if late || matches!(drained, Poll::Ready(Err(_))) => {
                    Poll::Ready(None)
                }
                Poll::Pending => Poll::Pending,
            }
        });
        shaken.await
    }

    /// One turn: what has come is taken, what is due is done, what has gathered is written. Ready
    /// once the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>, link: &mut Link<N>) -> Poll<()> {
        self.io.pipe().begin_turn();
        loop {
            match link.poll_accept(cx) {
                Poll::Ready(Some(Ok(asked))) => self.begin(cx, asked),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => {
                    if !self.ends(link) {
                        break;
                    }
                }
            }
        }
        if let Poll::Ready(Err(_)) = self.io.pipe().poll_drain(cx) {
            return Poll::Ready(());
        }
        let late = matches!(self.farewell, Farewell::Sent(until) if until <= self.worker.tick());
        if late { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Looks whether the connection must end. True if it was told to just now.
    fn ends(&mut self, link: &mut Link<N>) -> bool {
        let now = self.worker.now();
        if matches!(self.farewell, Farewell::Sent(_)) {
            return false;
        }
        let idle = self.open.get() == 0;
        self.idle_since = if idle { Some(self.idle_since.unwrap_or(now)) } else { None };
        let half_since = self.io.half_since();
        let exceeded = self.with_meter(|meter| meter.is_exceeded());
        let overdue =
            self.deadline.has_passed(self.worker.tick()) && (idle || half_since.is_some());
        let fault = self.with_meter(|meter| meter.fault());
        if exceeded || fault.is_some() || overdue {
            link.abrupt_shutdown(match (fault, exceeded || half_since.is_some()) {
                (Some(Fault::Protocol), _) => Reason::PROTOCOL_ERROR,
                (Some(Fault::FrameSize), _) => Reason::FRAME_SIZE_ERROR,
                (None, true) => Reason::ENHANCE_YOUR_CALM,
                (None, false) => Reason::NO_ERROR,
            });
            let until = now.after(LINGER);
            self.farewell = Farewell::Sent(until);
            self.deadline.set_waiting(until, None);
            return true;
        }
        let told = self.worker.is_leaving(self.listener) && self.farewell == Farewell::None;
        if told {
            // Twice: first that no stream should follow, then, a round trip later, which was last.
            link.graceful_shutdown();
            self.farewell = Farewell::Told(now);
        }
        self.set_deadline(half_since);
        told
    }

    fn set_deadline(&self, half_since: Option<Nanos>) {
        let limits = &self.limits;
        let half = half_since.map(|since| since.after(limits.request_head_timeout));
        let idle = self.idle_since.map(|since| match self.farewell {
            Farewell::Told(told) => since.max(told).after(DRAIN_PATIENCE),
            Farewell::None | Farewell::Sent(_) => since.after(limits.idle_timeout),
        });
        let at = half.unwrap_or(Nanos::NEVER).min(idle.unwrap_or(Nanos::NEVER));
        self.deadline.set_waiting(at, self.idle_since);
    }

    fn with_meter<T>(&self, use_it: impl FnOnce(&mut Meter) -> T) -> T
    where
        T: Default,
    {
        self.io.pipe().meter().map(use_it).unwrap_or_default()
    }

    /// Serves one stream, beside the others.
    fn begin(&mut self, cx: &mut Context<'_>, (request, mut respond): Asked) {
        if respond.poll_reset(cx).is_ready() {
            // The client thought better of it before anything was done.
            return self.with_meter(|meter| meter.glitch(1));
        }
        if self.open.get() >= MAX_CONCURRENT_STREAMS {
            respond.send_reset(Reason::REFUSED_STREAM);
            return self.with_meter(|meter| meter.glitch(1));
        }
        let key = match request.extensions().get::<h2::ext::Protocol>() {
            Some(_) => websocket::new_key(&self.worker.net),
            None => String::new(),
        };
        let terms = (&*key, self.limits.max_request_fields);
        match Inbound::open(cx, request, respond, terms) {
            Err((Malformed, mut respond)) => {
                respond.send_reset(Reason::PROTOCOL_ERROR);
                self.with_meter(|meter| meter.glitch(MALFORMED_GLITCHES));
            }
            Ok(stream) => {
                let running = Running::among(&self.open);
                let (stream, peer) = (Box::new(stream), Rc::clone(&self.peer));
                let fare = Fare { stream, peer, listener: self.listener, running };
                lanes::serve(&self.worker, fare);
            }
        }
    }
}

/// What is over the limit of a head is refused by whoever reads it, with a reply and a record. Only
/// what is twice over it the library refuses unread, with a status and nothing else.
fn builder(max_head_bytes: u32) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .max_header_list_size(max_head_bytes.saturating_mul(2))
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(MAX_SEND_BUFFER_BYTES)
        .data_frame_budget(MAX_SMALL_DATA_BYTES)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_concurrent_reset_streams(MAX_REMEMBERED_RESETS)
        .max_local_error_reset_streams(Some(MAX_CAUSED_RESETS))
        .enable_connect_protocol();
    builder
}
