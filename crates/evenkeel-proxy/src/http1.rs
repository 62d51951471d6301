//! The client's side of HTTP/1: bytes become request heads, one after the other, in order. Nothing
//! here knows of routes or backends.

use crate::admit::new_request_id;
use crate::buffer::Outbox;
use crate::clock::Nanos;
use crate::count::OpenConnection;
use crate::deadline::Deadline;
use crate::exchange::{self, Exchange, Next};
use crate::http2::{self, Preface};
use crate::net::{Net, Stream};
use crate::record::{Part, Record};
use crate::refuse::{self, CALL_STATUS};
use crate::reply::{self, ReplyForm};
use crate::shared::Admission;
use crate::tls::Identity;
use crate::turns::Ticket;
use crate::welcome::{Entry, Guest};
use crate::wire::Wire;
use crate::worker::Worker;
use evenkeel_core::failure::Failure;
use evenkeel_core::grpc;
use evenkeel_core::headers::Protocol;
use evenkeel_core::plan::Limits;
use evenkeel_core::request::{HeadLimits, Parsed};
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// One read while a request head is awaited; also the most that is read ahead of a request.
const READ_AHEAD_BYTES: usize = 64 * 1024;
/// A client that has sent nothing yet is given this long when we drain.
pub(crate) const DRAIN_PATIENCE: Duration = Duration::from_secs(1);
/// After a refusal we read on so long, so that the reply is not lost to a reset.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// And so much.
const LINGER_BYTES: usize = 256 * 1024;
/// Of a line that is no request, and of a host in it, so much is recorded.
const MAX_TOLD_BYTES: usize = 512;

/// Where a client comes from; its text is made once per connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) ip: Option<IpAddr>,
    pub(crate) text: Box<str>,
    pub(crate) trusted: bool,
    /// What the connection speaks.
    pub(crate) protocol: Protocol,
    /// What the TLS handshake came to; `None` without TLS.
    pub(crate) secure: Option<Rc<Identity>>,
    /// Where it called from.
    pub(crate) source: Option<SocketAddr>,
    /// Where it called, if a proxy before us told, or its stream does not know.
    pub(crate) called: Option<SocketAddr>,
}

impl Peer {
    /// IPv4 addresses mapped into IPv6 count as IPv4.
    pub(crate) fn new(address: Option<SocketAddr>, trusted: &[ipnet::IpNet]) -> Peer {
        let ip = address.map(|address| address.ip().to_canonical());
        let trusted = ip.is_some_and(|ip| trusted.iter().any(|net| net.contains(&ip)));
        let text = ip.map(|ip| ip.to_string()).unwrap_or_default().into();
        let (source, called) = (address, None);
        let protocol = Protocol::Http1;
        Peer { ip, text, trusted, protocol, secure: None, source, called }
    }

    /// The same peer, once its connection, to this address of ours, turned out to be HTTP/2.
    pub(crate) fn speaking_http2(&self, address: Option<SocketAddr>) -> Peer {
        let called = self.called.or(address);
        Peer { protocol: Protocol::Http2, called, ..self.clone() }
    }
}

/// One client connection.
pub(crate) struct Client<S> {
    pub(crate) stream: Wire<S>,
    /// Bytes read and not consumed: the beginning of a head, or requests sent ahead.
    pub(crate) carry: Vec<u8>,
    pub(crate) peer: Rc<Peer>,
    /// The number of the listener that it came in by.
    pub(crate) listener: usize,
    pub(crate) deadline: Deadline,
    served: u32,
    /// `carry` has grown since it was last parsed.
    unparsed: bool,
    /// Its place among those whose requests have not begun.
    ticket: Ticket,
    parse_again_at: usize,
    since: Nanos,
    /// What it counts in; a stream of an HTTP/2 connection counts in nothing of its own.
    place: Option<Place>,
}

/// Where an open connection counts.
pub(crate) type Place = (Admission, OpenConnection);

/// A connection that is to be served by another protocol.
pub(crate) struct Handover<S> {
    pub(crate) stream: Wire<S>,
    /// Bytes read, none of them used.
    pub(crate) carry: Vec<u8>,
    pub(crate) peer: Rc<Peer>,
    pub(crate) listener: usize,
    pub(crate) deadline: Deadline,
    pub(crate) place: Option<Place>,
}

/// What waiting for a request came to.
enum Arrival<N: Net> {
    /// A request whose way is clear.
    Exchange(Box<Exchange<N>>),
    /// A request that gets a local reply; its exchange says how.
    Refused(Box<Exchange<N>>, Failure),
    /// Bytes that are no request, and what they are answered before the connection is closed.
    Malformed(Outbox),
    /// The beginning of an HTTP/2 connection; all of it is kept.
    Http2,
    /// The client left, or had nothing to say in time.
    Gone,
}

/// Serves one client until either side has had enough.
pub(crate) async fn serve<N: Net>(worker: Rc<Worker<N>>, guest: Guest<N::Stream>, entry: Entry) {
    let (listener, place) = entry;
    let Guest { stream, peer, carry } = guest;
    let place = Some(place);
    let mut client = Client::new(&worker, stream, (Rc::new(peer), listener), place).await;
    client.carry = carry;
    client.await_request(&worker);
    loop {
        let arrival = poll_fn(|cx| client.poll_request(cx, &worker)).await;
        if matches!(arrival, Arrival::Http2) {
            let Client { stream, carry, peer, listener, deadline, place, .. } = client;
            let client = Handover { stream, carry, peer, listener, deadline, place };
            return Box::pin(http2::server::serve(worker, client)).await;
        }
        match settle(&worker, &mut client, arrival).await {
            None | Some(Next::Close) => return leave(client.stream).await,
            Some(Next::Request) => client.served = client.served.saturating_add(1),
            Some(Next::Linger) if !worker.is_shedding() => {
                // Its place is free for another client meanwhile.
                let Client { stream, .. } = client;
                return Box::pin(linger(stream)).await;
            }
            Some(Next::Linger) => return leave(client.stream).await,
            Some(Next::Reset) => return client.stream.reset(),
        }
        client.await_request(&worker);
    }
}

/// Serves the one exchange of an HTTP/2 stream.
pub(crate) async fn serve_once<N: Net>(
    worker: &Rc<Worker<N>>,
    stream: Wire<N::Stream>,
    peer: Rc<Peer>,
    listener: usize,
) {
    let mut client = Client::new(worker, stream, (peer, listener), None).await;
    client.await_request(worker);
    let arrival = poll_fn(|cx| client.poll_request(cx, worker)).await;
    if let Some(Next::Reset) = settle(worker, &mut client, arrival).await {
        client.stream.reset();
    }
}

/// Does what a request asks for. `None`: there was none.
async fn settle<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &mut Client<N::Stream>,
    arrival: Arrival<N>,
) -> Option<Next> {
    Some(match arrival {
        Arrival::Exchange(mut exchange) => {
            let next = exchange::run(worker, client, &mut exchange).await;
            worker.exchanges.give(exchange);
            next
        }
        Arrival::Refused(mut exchange, failure) => {
            let refused = refuse::refuse(worker, client, &mut exchange, failure);
            let next = Box::pin(refused).await;
            worker.exchanges.give(exchange);
            next
        }
        Arrival::Malformed(reply) => Box::pin(refuse_bytes::<N>(client, reply)).await,
        Arrival::Http2 | Arrival::Gone => return None,
    })
}

impl<S: Stream> Client<S> {
    async fn new<N: Net<Stream = S>>(
        worker: &Rc<Worker<N>>,
        stream: Wire<S>,
        (peer, listener): (Rc<Peer>, usize),
        place: Option<Place>,
    ) -> Client<S> {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let deadline = worker.deadlines.register(waker, listener);
        Client {
            stream,
            carry: Vec::new(),
            peer,
            listener,
            deadline,
            served: 0,
            unparsed: false,
            ticket: Ticket::default(),
            parse_again_at: 0,
            since: worker.now(),
            place,
        }
    }

    /// The deadline of waiting: for the first byte of a request, or for the rest of its head.
    fn await_request<N: Net>(&mut self, worker: &Worker<N>) {
        self.since = worker.recent();
        self.unparsed = !self.carry.is_empty();
        self.parse_again_at = 0;
        let snapshot = worker.snapshot();
        let at = snapshot.listener(self.listener).map_or(self.since, |listener| {
            let limits = &listener.limits;
            let idle = self.served > 0 && self.carry.is_empty();
            self.since.after(if idle { limits.idle_timeout } else { limits.request_head_timeout })
        });
        self.deadline.set_waiting(at, Some(self.since));
    }

    /// True if nothing has come after the last request: then closing resets nothing, and takes
    /// nothing of the response away (RFC 9112 9.6).
    pub(crate) fn has_said_all(&mut self) -> bool {
        self.carry.is_empty() && self.stream.is_quiet()
    }

    /// How long it took from accept to the head of the connection's first request.
    pub(crate) fn accept_time(&self, now: Nanos) -> Option<u64> {
        (self.served == 0).then(|| now.since(self.since))
    }

    /// Reads until a whole head is there, and opens its exchange while its bytes are in place.
    fn poll_request<N: Net<Stream = S>>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Rc<Worker<N>>,
    ) -> Poll<Arrival<N>> {
        loop {
            if std::mem::take(&mut self.unparsed) {
                let mut carry = std::mem::take(&mut self.carry);
                let (arrival, used) = self.open(worker, &mut carry);
                carry.drain(..used);
                if carry.is_empty() {
                    carry = Vec::new();
                }
                self.carry = carry;
                if let Some(arrival) = arrival {
                    return Poll::Ready(arrival);
                }
            }
            let begins = self.carry.is_empty();
            let queues = begins && !worker.turns.has_room(&self.ticket);
            if queues {
                // Who is in the queue has something to read.
                if !self.ticket.is_waiting() && self.stream.poll_readable(cx).is_pending() {
                    return self.poll_patience(worker);
                }
                ready!(worker.turns.poll_begin(cx, &mut self.ticket));
            }
            let mut scratch = worker.take_scratch();
            let read = self.stream.poll_read(cx, &mut scratch[..READ_AHEAD_BYTES]);
            let arrival = match read {
                Poll::Ready(Ok(length)) if length > 0 => {
                    if begins && !queues {
                        worker.turns.begin();
                    }
                    self.take_bytes(worker, &mut scratch[..length])
                }
                Poll::Ready(_) => Some(Arrival::Gone),
                Poll::Pending => {
                    worker.scratch.borrow_mut().bytes = scratch;
                    return self.poll_patience(worker);
                }
            };
            worker.scratch.borrow_mut().bytes = scratch;
            if let Some(arrival) = arrival {
                return Poll::Ready(arrival);
            }
        }
    }

    /// New bytes: parsed in place if nothing was waiting, else put behind what was.
    fn take_bytes<N: Net<Stream = S>>(
        &mut self,
        worker: &Rc<Worker<N>>,
        bytes: &mut [u8],
    ) -> Option<Arrival<N>> {
        if self.carry.is_empty() {
            let (arrival, used) = self.open(worker, bytes);
            if arrival.is_none() {
                self.begin_head(worker);
                self.parse_again_at = bytes.len() * 2;
            }
            self.carry.extend_from_slice(&bytes[used..]);
            return arrival;
        }
        // A head is parsed again when its end may have come, or when it has doubled: one byte at a
        // time must not cost a parse each.
        let seam = self.carry.len().saturating_sub(3);
        self.carry.extend_from_slice(bytes);
        self.unparsed =
            head_may_end(&self.carry[seam..]) || self.carry.len() >= self.parse_again_at;
        if self.unparsed {
            self.parse_again_at = self.carry.len() * 2;
        }
        None
    }

    /// The first bytes of a head have come: from now on its own deadline runs.
    fn begin_head<N: Net>(&mut self, worker: &Worker<N>) {
        if self.served > 0 {
            let snapshot = worker.snapshot();
            let now = worker.now();
            if let Some(listener) = snapshot.listener(self.listener) {
                self.deadline
                    .set_waiting(now.after(listener.limits.request_head_timeout), Some(now));
            }
        }
    }

    /// Opens the exchange of the head at the start of `bytes`, and says how many bytes it used.
    /// `None` if the head is not whole.
    fn open<N: Net<Stream = S>>(
        &self,
        worker: &Rc<Worker<N>>,
        bytes: &mut [u8],
    ) -> (Option<Arrival<N>>, usize) {
        let snapshot = worker.snapshot();
        let Some(listener) = snapshot.listener(self.listener) else {
            return (Some(Arrival::Gone), 0);
        };
        let mut head = std::mem::take(&mut worker.scratch.borrow_mut().request);
        let result = match head.parse(bytes, head_limits(&listener.limits)) {
            Ok(Parsed::Partial) => (None, 0),
            Err(failure) => match self.preface(bytes) {
                Preface::Whole => (Some(Arrival::Http2), 0),
                Preface::Partial => (None, 0),
                Preface::Other => {
                    let reply = self.record_malformed(worker, bytes, failure);
                    (Some(Arrival::Malformed(reply)), bytes.len())
                }
            },
            Ok(Parsed::Complete) => {
                let (exchange, refusal, used) =
                    exchange::open(worker, self, listener, (&head, &*bytes));
                let arrival = match refusal {
                    None => Arrival::Exchange(exchange),
                    Some(failure) => Arrival::Refused(exchange, failure),
                };
                (Some(arrival), used)
            }
        };
        worker.scratch.borrow_mut().request = head;
        result
    }

    /// Whether bytes that are no request begin another protocol. Only a connection of its own can,
    /// and only with its first bytes. Where TLS agreed on HTTP/2, that is told what is wrong.
    fn preface(&self, bytes: &[u8]) -> Preface {
        let secure = self.peer.secure.as_ref();
        let agreed = secure.is_some_and(|identity| identity.alpn.as_deref() == Some(b"h2"));
        match &self.place {
            Some(_) if self.served == 0 && agreed => match Preface::of(bytes) {
                Preface::Whole | Preface::Other => Preface::Whole,
                Preface::Partial => Preface::Partial,
            },
            Some(_) if self.served == 0 => Preface::of(bytes),
            Some(_) | None => Preface::Other,
        }
    }

    /// Bytes that are no request are recorded as far as they can be told apart; returns what they
    /// are answered.
    fn record_malformed<N: Net>(
        &self,
        worker: &Rc<Worker<N>>,
        bytes: &[u8],
        failure: Failure,
    ) -> Outbox {
        let id = new_request_id(&worker.net);
        let form = ReplyForm::of_lines(bytes);
        let (reply, body_bytes) =
            reply::closing((bytes, form), failure, &id, &worker.date.borrow());
        let mut record = Record::start(worker, self.listener);
        record.status = failure.status();
        record.failure = Some(failure);
        if form == ReplyForm::Grpc {
            record.status = CALL_STATUS;
            record.grpc_status = Some(grpc::status_of(failure));
        }
        record.bytes_in = bytes.len() as u64;
        record.bytes_out = body_bytes;
        if record.is_wanted() {
            let line_end = bytes.iter().position(|b| matches!(b, b'\r' | b'\n'));
            let line = &bytes[..line_end.unwrap_or(bytes.len()).min(MAX_TOLD_BYTES)];
            let mut words = line.split(|b| *b == b' ');
            record.set(Part::RequestId, &id);
            record.set(Part::ClientIp, self.peer.text.as_bytes());
            record.set(Part::Method, words.next().unwrap_or_default());
            let host = reply::line_value(bytes, b"host").unwrap_or_default();
            record.set(Part::Host, &host[..host.len().min(MAX_TOLD_BYTES)]);
            let target = words.next().unwrap_or_default();
            let path = target.split(|b| *b == b'?').next().unwrap_or_default();
            record.set(Part::Path, path);
        }
        reply
    }

    /// Nothing to read now: time may be up, or a drain may have begun.
    fn poll_patience<N: Net>(&mut self, worker: &Rc<Worker<N>>) -> Poll<Arrival<N>> {
        let now = worker.tick();
        if self.deadline.has_passed(now) {
            return Poll::Ready(if self.carry.is_empty() {
                Arrival::Gone
            } else {
                let failure = Failure::HeadTimeout;
                Arrival::Malformed(self.record_malformed(worker, &self.carry, failure))
            });
        }
        let idle = self.carry.is_empty();
        let patience = self.served == 0 && now < self.since.after(DRAIN_PATIENCE);
        if worker.is_hurried(self.listener) && idle && !patience {
            return Poll::Ready(Arrival::Gone);
        }
        Poll::Pending
    }
}

/// True if an empty line lies in these bytes, however its end is spelt.
pub(crate) fn head_may_end(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"\n\r\n").is_some()
        || memchr::memmem::find(bytes, b"\n\n").is_some()
}

pub(crate) fn head_limits(limits: &Limits) -> HeadLimits {
    HeadLimits { max_bytes: limits.max_request_head_bytes, max_fields: limits.max_request_fields }
}

/// Answers bytes that are no request, then closes: nothing after them can be trusted.
async fn refuse_bytes<N: Net>(client: &mut Client<N::Stream>, mut reply: Outbox) -> Next {
    client.carry = Vec::new();
    let written = poll_fn(|cx| reply.poll_flush(cx, &mut client.stream));
    match tokio::time::timeout(LINGER, written).await {
        Ok(Ok(())) => Next::Linger,
        Ok(Err(_)) | Err(_) => Next::Close,
    }
}

/// Answers a client that has not begun to speak HTTP as it should, and closes.
pub(crate) async fn say_and_linger<S: Stream>(mut stream: Wire<S>, mut reply: Outbox) {
    let written = poll_fn(|cx| reply.poll_flush(cx, &mut stream));
    if matches!(tokio::time::timeout(LINGER, written).await, Ok(Ok(()))) {
        linger(stream).await;
    }
}

/// Ends a connection that has nothing left to say. What TLS still holds back goes out first.
async fn leave<S: Stream>(mut stream: Wire<S>) {
    if matches!(stream, Wire::Tls(_)) {
        let ended = Box::pin(poll_fn(|cx| stream.poll_shutdown(cx)));
        let _ = tokio::time::timeout(LINGER, ended).await;
    }
}

/// Ends our half and reads on for a moment: closing with unread bytes would reset the connection
/// and could take the reply away from the client (RFC 9112 9.6).
pub(crate) async fn linger<S: Stream>(mut stream: S) {
    let drain = async {
        let _ = poll_fn(|cx| stream.poll_shutdown(cx)).await;
        let mut buffer = [0; 4096];
        let mut read = 0;
        while read < LINGER_BYTES {
            match poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await {
                Ok(length) if length > 0 => read += length,
                _ => return,
            }
            // Whoever still floods does not hold up the others.
            tokio::task::yield_now().await;
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}
