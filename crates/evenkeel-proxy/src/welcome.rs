//! Between accept and the first byte of what a client has come for: a PROXY header, the TLS
//! handshake. One deadline covers all of it, and nothing that arrives meanwhile moves it.
//!
//! Handshakes cost ten times what a request costs, so they take turns: in one round of the worker's
//! tasks one handshake goes on by one step, and whoever is being served does not wait behind more.

use crate::admit::new_request_id;
use crate::deadline::Deadline;
use crate::http1::{self, Peer, Place};
use crate::net::{Net, Stream};
use crate::reply::{self, ReplyForm};
use crate::shared::Admission;
use crate::tcp;
use crate::tls::{Acceptor, Identity, Material, TlsStream};
use crate::wire::Wire;
use crate::worker::Worker;
use evenkeel_core::failure::Failure;
use evenkeel_core::plan::{AcceptProxy, ListenerPlan, ListenerProtocol};
use evenkeel_core::proxy_protocol::{self, Opening, Told};
use evenkeel_core::stats::Handshake;
use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::Semaphore;

/// Handshakes of one worker that are under way; a client beyond that is closed at once, so that
/// those who wait still finish in time.
const MAX_HANDSHAKES: usize = 4096;
/// Most that is read before it is known what the client speaks.
const FIRST_READ_BYTES: usize = 2048;
/// The type of a TLS record that begins a handshake (RFC 8446 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// The handshakes of one worker.
#[derive(Debug)]
pub(crate) struct Handshakes {
    turn: Semaphore,
    under_way: Cell<usize>,
}

impl Default for Handshakes {
    fn default() -> Handshakes {
        Handshakes { turn: Semaphore::new(1), under_way: Cell::new(0) }
    }
}

/// One handshake under way.
struct UnderWay<'a>(&'a Handshakes);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
    }
}

impl Handshakes {
    /// `None` if there are too many.
    fn enter(&self) -> Option<UnderWay<'_>> {
        let under_way = self.under_way.get();
        (under_way < MAX_HANDSHAKES).then(|| {
            self.under_way.set(under_way + 1);
            UnderWay(self)
        })
    }
}

/// A client that has been let in, and who it is.
pub(crate) struct Guest<S> {
    pub(crate) stream: Wire<S>,
    pub(crate) peer: Peer,
    /// What it has sent already.
    pub(crate) carry: Vec<u8>,
}

/// The number of the listener that a client came in by, and where it counts.
pub(crate) type Entry = (usize, Place);

/// True if a client of this listener speaks HTTP from its first byte.
pub(crate) fn is_plain(listener: &ListenerPlan) -> bool {
    listener.tls.is_none()
        && listener.proxy_protocol == AcceptProxy::Off
        && listener.protocol == ListenerProtocol::Http
}

/// Serves a client that has something to settle first, or speaks no HTTP.
pub(crate) async fn serve<N: Net>(
    worker: Rc<Worker<N>>,
    stream: N::Stream,
    peer: Peer,
    mut entry: Entry,
) {
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let deadline = worker.deadlines.register(waker, entry.0);
    let snapshot = worker.snapshot();
    let Some(listener) = snapshot.listener(entry.0) else { return };
    let tls = listener.tls.as_ref();
    let patience = tls.map_or(listener.limits.request_head_timeout, |tls| tls.handshake_timeout);
    let now = worker.now();
    deadline.set_waiting(now.after(patience), Some(now));
    let (admission, _) = &mut entry.1;
    let settled = settle(&worker, (stream, peer), (listener, admission), &deadline).await;
    let Some(guest) = settled else { return };
    drop(deadline);
    let protocol = listener.protocol.clone();
    drop(snapshot);
    match protocol {
        ListenerProtocol::Http => http1::serve(worker, guest, entry).await,
        ListenerProtocol::Tcp(plan) => Box::pin(tcp::serve(worker, guest, plan, entry)).await,
        // Datagrams have no connections.
        ListenerProtocol::Udp(_) => {}
    }
}

/// The header and the handshake; `None` if the client is not let in.
async fn settle<N: Net>(
    worker: &Worker<N>,
    (mut stream, peer): (N::Stream, Peer),
    (listener, admission): (&ListenerPlan, &mut Admission),
    deadline: &Deadline,
) -> Option<Guest<N::Stream>> {
    let (peer, arrived) = match (listener.proxy_protocol, peer.trusted) {
        (AcceptProxy::Off, _) | (AcceptProxy::Optional, false) => (peer, Vec::new()),
        (AcceptProxy::Required, false) => return None,
        (AcceptProxy::Optional | AcceptProxy::Required, true) => {
            let required = listener.proxy_protocol == AcceptProxy::Required;
            let (told, arrived) = read_header(worker, &mut stream, deadline, required).await?;
            (told.map_or(peer, |told| peer_of(&told, listener)), arrived)
        }
    };
    if peer.called.is_some() && !admission.count(&peer, listener.limits.max_connections_per_ip) {
        return None;
    }
    if listener.tls.is_none() {
        return Some(Guest { stream: Wire::Plain(stream), peer, carry: arrived });
    }
    let snapshot = worker.snapshot();
    let acceptor = Material::of(&snapshot).acceptor(&listener.name)?;
    let shaken = shake_hands(worker, (stream, arrived), acceptor, deadline).await;
    let result = match &shaken {
        Ok(_) => Handshake::Success,
        Err(result) => *result,
    };
    worker.counts.handshake(&listener.name, result);
    let stream = shaken.ok()?;
    let identity = Identity::of(&stream, Arc::clone(acceptor));
    let peer = Peer { secure: Some(Rc::new(identity)), ..peer };
    Some(Guest { stream: Wire::Tls(Box::new(stream)), peer, carry: Vec::new() })
}

/// The client that a header tells of.
fn peer_of(told: &(SocketAddr, SocketAddr), listener: &ListenerPlan) -> Peer {
    let (source, destination) = *told;
    let peer = Peer::new(Some(source), &listener.trusted_proxies);
    Peer { called: Some(destination), ..peer }
}

/// Source and destination of a connection, as a header tells them.
type Route = (SocketAddr, SocketAddr);

/// Reads a PROXY header, and what has come behind it. The outer `None`: there should have been one.
async fn read_header<N: Net>(
    worker: &Worker<N>,
    stream: &mut N::Stream,
    deadline: &Deadline,
    required: bool,
) -> Option<(Option<Route>, Vec<u8>)> {
    let mut arrived = Vec::new();
    let mut piece = [0; FIRST_READ_BYTES];
    loop {
        let read = in_time(worker, deadline, |cx| stream.poll_read(cx, &mut piece)).await.ok()?;
        let length = read.ok().filter(|length| *length > 0)?;
        arrived.extend_from_slice(&piece[..length]);
        match proxy_protocol::parse(&arrived).ok()? {
            Opening::Partial => {}
            Opening::Absent if required => return None,
            Opening::Absent => return Some((None, arrived)),
            Opening::Header(told, used) => {
                arrived.drain(..used);
                let route = match told {
                    Told::Nothing => None,
                    Told::Client { source, destination } => Some((source, destination)),
                };
                return Some((route, arrived));
            }
        }
    }
}

/// The handshake; on failure, what came of it.
async fn shake_hands<N: Net>(
    worker: &Worker<N>,
    (mut stream, mut arrived): (N::Stream, Vec<u8>),
    acceptor: &Acceptor,
    deadline: &Deadline,
) -> Result<TlsStream<N::Stream>, Handshake> {
    let Some(_under_way) = worker.handshakes.enter() else { return Err(Handshake::Shed) };
    if arrived.is_empty() {
        arrived = vec![0; FIRST_READ_BYTES];
        match in_time(worker, deadline, |cx| stream.poll_read(cx, &mut arrived)).await? {
            Ok(length) if length > 0 => arrived.truncate(length),
            Ok(_) | Err(_) => return Err(Handshake::ClientGone),
        }
    }
    if is_http(&arrived) {
        answer_plain(worker, stream, &arrived).await;
        return Err(Handshake::Plaintext);
    }
    let mut stream = acceptor.accept(stream, arrived).map_err(|_| Handshake::Failure)?;
    loop {
        let due = in_time(worker, deadline, |cx| stream.poll_step_due(cx)).await?;
        due.map_err(|_| Handshake::ClientGone)?;
        // The semaphore is never closed.
        let Ok(turn) = worker.handshakes.turn.acquire().await else {
            return Err(Handshake::Failure);
        };
        let step = poll_fn(|cx| Poll::Ready(stream.poll_handshake(cx))).await;
        tokio::task::yield_now().await;
        drop(turn);
        match step {
            Poll::Ready(Ok(())) => return Ok(stream),
            Poll::Ready(Err(error)) => return Err(what_went_wrong(&error)),
            Poll::Pending => {}
        }
    }
}

/// What `poll` comes to, if that is before the deadline.
async fn in_time<N: Net, T>(
    worker: &Worker<N>,
    deadline: &Deadline,
    mut poll: impl FnMut(&mut std::task::Context<'_>) -> Poll<T>,
) -> Result<T, Handshake> {
    poll_fn(|cx| match poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending if deadline.has_passed(worker.tick()) => Poll::Ready(Err(Handshake::Timeout)),
        Poll::Pending => Poll::Pending,
    })
    .await
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the rest has no words of its own")]
fn what_went_wrong(error: &std::io::Error) -> Handshake {
    use rustls::Error;
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return Handshake::ClientGone;
    };
    match tls {
        Error::NoApplicationProtocol => Handshake::NoProtocol,
        Error::NoCertificatesPresented => Handshake::NoCertificate,
        Error::InvalidCertificate(_) => Handshake::BadCertificate,
        Error::AlertReceived(_) => Handshake::Refused,
        _ => Handshake::Failure,
    }
}

/// True for bytes that begin an HTTP request: no TLS record begins with a letter.
fn is_http(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| *first != HANDSHAKE_RECORD && first.is_ascii_uppercase())
}

/// Tells a client that speaks HTTP without TLS, in words that it understands.
async fn answer_plain<N: Net>(worker: &Worker<N>, stream: N::Stream, asked: &[u8]) {
    let stream = Wire::Plain(stream);
    let id = new_request_id(&worker.net);
    let asked = (asked, ReplyForm::of_lines(asked));
    let (answer, _) = reply::closing(asked, Failure::TlsRequired, &id, &worker.date.borrow());
    Box::pin(http1::say_and_linger(stream, answer)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_no_record() {
        for (bytes, http) in [
            (&b"GET / HTTP/1.1"[..], true),
            (b"\x16\x03\x01", false),
            (b"", false),
            (b"\0\0", false),
        ] {
            assert_eq!(is_http(bytes), http);
        }
    }

    #[test]
    fn handshakes_are_bounded() {
        let handshakes = Handshakes::default();
        let all: Vec<_> = (0..MAX_HANDSHAKES).map(|_| handshakes.enter()).collect();
        assert!(all.iter().all(Option::is_some));
        assert!(handshakes.enter().is_none());
        drop(all);
        assert!(handshakes.enter().is_some());
    }
}
