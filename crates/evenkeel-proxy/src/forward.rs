//! One try: send the request to one backend, await its response head, pass the response on. The
//! only place where both sides of an exchange meet the network.

use crate::clock::Nanos;
use crate::exchange::{Exchange, Next};
use crate::http1::{Client, head_may_end};
use crate::idle::BackendConnection;
use crate::net::{Net, Peek, Stream};
use crate::pump::{COPY_BELOW_BYTES, Pump, PumpError, Toward};
use crate::try_failure::{TryError, TryFailure};
use crate::tunnel;
use crate::upload::UploadError;
use crate::worker::{Scratch, Worker};
use evenkeel_core::backend::Pick;
use evenkeel_core::failure::Failure;
use evenkeel_core::framing::{BodyLength, Version};
use evenkeel_core::headers::{self, ClientSide, Persistence};
use evenkeel_core::plan::HeaderRules;
use evenkeel_core::request::Parsed;
use evenkeel_core::response::{MAX_INTERIM_RESPONSES, ResponseHead};
use evenkeel_core::snapshot::Pool;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Most that is read at once while a response head is awaited.
const RESPONSE_READ_BYTES: usize = 128 * 1024;
/// A response this small waits for its last byte before its head goes out: one write instead of
/// two, and a backend that dies between them costs nothing that can be repeated.
const HOLD_BELOW_BYTES: u64 = 16 * 1024;
/// But not longer than this.
const HOLD_TIME: Duration = Duration::from_millis(100);
static NO_RULES: HeaderRules = HeaderRules { set: Vec::new(), add: Vec::new(), remove: Vec::new() };

/// The backend of one try.
pub(crate) struct Hop<'a, S> {
    pub(crate) pool: &'a Pool,
    pub(crate) pick: &'a Pick,
    pub(crate) connection: BackendConnection<S>,
}

/// One try in progress.
struct Try<S> {
    connection: BackendConnection<S>,
    /// Beginning of a response head that is not whole yet.
    partial: Vec<u8>,
    interim_count: u32,
    /// Until when a small response waits for its last byte.
    held_until: Option<Nanos>,
    watching_client: bool,
    send_failed: bool,
    reusable: bool,
    parse_again_at: usize,
}

/// What the response head led to.
enum Answer {
    /// All of it is with the client.
    Whole,
    /// Bodies are still moving.
    Bodies(Box<Pump>),
    /// The connection is a tunnel now; the pump toward the client holds what must go first.
    Tunnel(Box<Pump>),
}

/// Sends the request and passes the response on.
pub(crate) async fn run<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &mut Client<N::Stream>,
    exchange: &mut Exchange<N>,
    hop: Hop<'_, N::Stream>,
) -> Result<Next, TryFailure> {
    let mut this = Try {
        connection: hop.connection,
        partial: Vec::new(),
        interim_count: 0,
        held_until: None,
        watching_client: true,
        send_failed: false,
        reusable: false,
        parse_again_at: 0,
    };
    let patience = this.patience(client, exchange, hop.pool);
    client.deadline.set_waiting(exchange.until(patience), None);
    let answer = poll_fn(|cx| {
        let before = (!exchange.upload.is_sent()).then(|| exchange.upload.progress());
        let answer = this.poll_answer(cx, worker, client, exchange);
        if answer.is_pending() && before.is_some() {
            let moved = before != Some(exchange.upload.progress());
            if moved && this.held_until.is_none() {
                worker.now();
                let patience = this.patience(client, exchange, hop.pool);
                client.deadline.set(exchange.until(patience));
            }
        }
        answer
    });
    let answer = answer.await.map_err(|error| this.failure(exchange, error))?;
    let whole = match answer {
        Answer::Whole => true,
        Answer::Bodies(pump) => {
            Box::pin(this.stream_bodies(worker, client, exchange, (pump, hop.pool))).await
        }
        Answer::Tunnel(down) => {
            let ends = (&mut client.stream, &mut client.carry, &mut this.connection.stream);
            let moved = Box::pin(tunnel::run(worker, ends, down, (&client.deadline, hop.pool)));
            (exchange.record.bytes_in, exchange.record.bytes_out) = moved.await;
            return Ok(Next::Close);
        }
    };
    if !whole {
        let ends = exchange.version == Version::Http10;
        return Ok(if ends { Next::Reset } else { Next::Close });
    }
    if this.reusable && !worker.is_draining() {
        let bounds = &hop.pool.plan.connections;
        worker.idle.borrow_mut().give(hop.pick, bounds, this.connection, worker.recent());
    }
    Ok(match (exchange.persistence, exchange.upload.has_arrived()) {
        (Persistence::Keep, true) => Next::Request,
        (Persistence::Close, true) if exchange.client_closes && client.carry.is_empty() => {
            Next::Close
        }
        (Persistence::Keep | Persistence::Close, _) => Next::Linger,
    })
}

impl<S: Stream> Try<S> {
    fn failure<N: Net>(&self, exchange: &Exchange<N>, error: TryError) -> TryFailure {
        let heard = !self.partial.is_empty() || self.interim_count > 0;
        TryFailure {
            error,
            sent: exchange.upload.kept.written,
            stale: error == TryError::Reset && self.connection.reused && !heard,
        }
    }

    /// While a request goes up, each byte gives it this long again; once it is up, the response's
    /// own deadline runs.
    fn patience<N: Net<Stream = S>>(
        &self,
        client: &Client<S>,
        exchange: &Exchange<N>,
        pool: &Pool,
    ) -> Duration {
        if exchange.upload.is_sent() {
            pool.plan.timeouts.response_head
        } else if exchange.upload.has_arrived() {
            pool.plan.timeouts.idle.min(pool.plan.timeouts.response_head)
        } else {
            client_patience(client, exchange, pool)
        }
    }

    fn poll_answer<N: Net<Stream = S>>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker<N>,
        client: &mut Client<S>,
        exchange: &mut Exchange<N>,
    ) -> Poll<Result<Answer, TryError>> {
        self.send(cx, worker, client, exchange)?;
        loop {
            let mut scratch = worker.scratch.borrow_mut();
            let start = self.partial.len();
            scratch.bytes[..start].copy_from_slice(&self.partial);
            let window = &mut scratch.bytes[start..RESPONSE_READ_BYTES];
            let read = match self.connection.stream.poll_read(cx, window) {
                Poll::Ready(Ok(length)) if length > 0 => length,
                Poll::Ready(_) => return Poll::Ready(Err(TryError::Reset)),
                Poll::Pending if self.held_until.is_some_and(|until| until <= worker.tick()) => 0,
                Poll::Pending => {
                    drop(scratch);
                    return self.poll_waiting(cx, worker, client, exchange);
                }
            };
            if self.is_still_partial(&scratch.bytes[..start + read], start) {
                self.partial.extend_from_slice(&scratch.bytes[start..start + read]);
                continue;
            }
            self.partial.clear();
            match self.read_head(cx, &mut scratch, start + read, (client, exchange)) {
                Ok(Some(answer)) => return Poll::Ready(Ok(answer)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// True if parsing again is in vain: a head that trickles in is parsed when its end may have
    /// come, or when it has doubled.
    fn is_still_partial(&mut self, bytes: &[u8], start: usize) -> bool {
        if start == 0 || self.held_until.is_some() {
            self.parse_again_at = bytes.len() * 2;
            return false;
        }
        let news = &bytes[start.saturating_sub(3)..];
        if head_may_end(news) || bytes.len() >= self.parse_again_at {
            self.parse_again_at = bytes.len() * 2;
            return false;
        }
        true
    }

    /// Sends what is there of the request. A backend that stops reading may still answer, so a
    /// failed write is no verdict yet.
    fn send<N: Net<Stream = S>>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker<N>,
        client: &mut Client<S>,
        exchange: &mut Exchange<N>,
    ) -> Result<(), TryError> {
        if self.send_failed {
            return Ok(());
        }
        let ahead = &mut exchange.ahead;
        let flushed = ahead.poll_flush(cx, &mut client.stream);
        if matches!(flushed, Poll::Ready(Err(_))) {
            return Err(TryError::ClientGone);
        }
        let from = (&mut client.stream, &mut client.carry, ahead);
        let sent = exchange.upload.send(cx, worker, from, &mut self.connection.stream);
        exchange.record.bytes_in = exchange.upload.bytes_in();
        match sent {
            Ok(()) => Ok(()),
            Err(UploadError::Backend) => {
                self.send_failed = true;
                Ok(())
            }
            Err(UploadError::Client) => Err(TryError::ClientGone),
            Err(UploadError::BadChunk) => Err(TryError::BadRequestBody),
            Err(UploadError::TooLarge) => Err(TryError::BodyTooLarge),
            Err(UploadError::TooSlow) => Err(TryError::BodyTimeout),
        }
    }

    /// Nothing to read from the backend: time may be up, or the client may have left.
    fn poll_waiting<N: Net>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker<N>,
        client: &mut Client<S>,
        exchange: &Exchange<N>,
    ) -> Poll<Result<Answer, TryError>> {
        if client.deadline.has_passed(worker.tick()) {
            let client_stalls = exchange.upload.waits_for_client() && !self.send_failed;
            let error = if client_stalls { TryError::BodyTimeout } else { TryError::Timeout };
            return Poll::Ready(Err(error));
        }
        let watching = self.watching_client && exchange.upload.has_arrived();
        if watching && client.stream.poll_readable(cx).is_ready() {
            // Bytes are the next request, an end may be half of a close: both can wait.
            self.watching_client = false;
            if client.stream.peek() == Peek::Gone {
                return Poll::Ready(Err(TryError::ClientGone));
            }
        }
        Poll::Pending
    }

    /// Parses what has come; passes interim responses on, keeps a partial head, delivers a final
    /// one. `None`: more must be read.
    fn read_head<N: Net<Stream = S>>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        length: usize,
        (client, exchange): (&mut Client<S>, &mut Exchange<N>),
    ) -> Result<Option<Answer>, TryError> {
        let mut start = 0;
        let mut head = std::mem::take(&mut scratch.response);
        let result = loop {
            let bytes = &scratch.bytes[start..length];
            match head.parse(bytes, exchange.verb, exchange.upgrade) {
                Err(_) => break Err(TryError::BadResponse),
                Ok(Parsed::Partial) => {
                    self.partial.extend_from_slice(bytes);
                    break Ok(None);
                }
                Ok(Parsed::Complete) if head.is_interim() => {
                    let forwarded = self.pass_interim(cx, &head, bytes, (client, exchange));
                    if let Err(error) = forwarded {
                        break Err(error);
                    }
                    start += head.bytes;
                }
                Ok(Parsed::Complete) if self.holds(&head, bytes.len(), (client, exchange)) => {
                    self.partial.extend_from_slice(bytes);
                    break Ok(None);
                }
                Ok(Parsed::Complete) => {
                    exchange.worker().now();
                    let answer =
                        self.deliver(cx, scratch, (&head, start..length), (client, exchange));
                    break answer.map(Some);
                }
            }
        };
        scratch.response = head;
        result
    }

    /// True if this response is small and should wait for its last byte.
    fn holds<N: Net<Stream = S>>(
        &mut self,
        head: &ResponseHead,
        arrived: usize,
        (client, exchange): (&Client<S>, &Exchange<N>),
    ) -> bool {
        let BodyLength::Fixed(length) = head.body else { return false };
        let missing = ((arrived - head.bytes) as u64) < length;
        if !missing || length > HOLD_BELOW_BYTES || !exchange.upload.is_sent() {
            return false;
        }
        let worker = exchange.worker();
        let until = *self.held_until.get_or_insert_with(|| {
            let until = worker.now().after(HOLD_TIME);
            client.deadline.set(until);
            until
        });
        worker.tick() < until
    }

    /// 103 and its like go to clients that know them; 100 ends here, we have answered that.
    fn pass_interim<N: Net>(
        &mut self,
        cx: &mut Context<'_>,
        head: &ResponseHead,
        bytes: &[u8],
        (client, exchange): (&mut Client<S>, &mut Exchange<N>),
    ) -> Result<(), TryError> {
        self.interim_count += 1;
        if self.interim_count > MAX_INTERIM_RESPONSES {
            return Err(TryError::BadResponse);
        }
        if head.status == 100 || exchange.version == Version::Http10 {
            return Ok(());
        }
        let mut out = Vec::new();
        headers::for_client(head, bytes, &client_side(exchange), &mut out);
        let sent = exchange.ahead.send(cx, &mut client.stream, [&out, &[], &[]]);
        sent.map_err(|_| TryError::ClientGone)
    }

    /// Writes the final head, and what has come of the body, to the client.
    fn deliver<N: Net<Stream = S>>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        (head, range): (&ResponseHead, std::ops::Range<usize>),
        (client, exchange): (&mut Client<S>, &mut Exchange<N>),
    ) -> Result<Answer, TryError> {
        let Scratch { bytes, out, tail, .. } = scratch;
        let (head_bytes, body) = bytes[range].split_at_mut(head.bytes);
        let to_client = headers::body_for_client(head.body, exchange.version);
        let ends = to_client == BodyLength::UntilClose || head.status == 101;
        let unread = !exchange.upload.has_arrived();
        if ends || unread || self.send_failed || exchange.is_draining() {
            exchange.persistence = Persistence::Close;
        }
        out.clear();
        tail.clear();
        let date = exchange.worker().date.borrow();
        let to = ClientSide { date: &date, ..client_side(exchange) };
        headers::for_client(head, head_bytes, &to, out);
        drop(date);
        exchange.record.status = head.status;
        let (from, to) = match head.status {
            101 => (BodyLength::UntilClose, BodyLength::UntilClose),
            _ => (head.body, to_client),
        };
        let mut pump = Pump::new(from, to, Toward::Client, 0).with_trailers(exchange.trailers);
        let framed = pump.frame(body, out, tail).map_err(|_| TryError::BadResponse)?;
        pump.outbox = std::mem::take(&mut exchange.ahead);
        pump.excess |= framed.consumed < body.len();
        let piece = &body[framed.body];
        let sent = if piece.len() < COPY_BELOW_BYTES {
            out.extend_from_slice(piece);
            out.append(tail);
            pump.outbox.send(cx, &mut client.stream, [out, &[], &[]])
        } else {
            pump.outbox.send(cx, &mut client.stream, [out, piece, tail])
        };
        sent.map_err(|_| TryError::ClientGone)?;
        exchange.record.bytes_out = pump.moved;
        self.reusable = head.reusable && !pump.excess && exchange.upload.is_sent();
        if head.status == 101 {
            return Ok(Answer::Tunnel(Box::new(pump)));
        }
        if pump.is_done() && exchange.upload.has_arrived() {
            return Ok(Answer::Whole);
        }
        Ok(Answer::Bodies(Box::new(pump)))
    }

    /// Moves both bodies until the response is with the client. False if it could not be completed:
    /// the client's connection then ends without the end of the message.
    async fn stream_bodies<N: Net<Stream = S>>(
        &mut self,
        worker: &Worker<N>,
        client: &mut Client<S>,
        exchange: &mut Exchange<N>,
        (mut down, pool): (Box<Pump>, &Pool),
    ) -> bool {
        let idle = pool.plan.timeouts.idle;
        let mut ignored = Vec::new();
        client.deadline.set(exchange.until(idle));
        let ended = poll_fn(|cx| {
            let before = (down.progress(), exchange.upload.progress());
            if let Err(error) = self.send(cx, worker, client, exchange) {
                return Poll::Ready(Err(error.into()));
            }
            let from = (&mut self.connection.stream, &mut ignored);
            let polled = down.poll(cx, worker, from, &mut client.stream);
            exchange.record.bytes_out = down.moved;
            match polled {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(of_response(&error))),
                Poll::Pending => {}
            }
            if (down.progress(), exchange.upload.progress()) != before {
                worker.now();
                let client_stalls = !down.outbox.is_empty();
                let patience =
                    if client_stalls { client_patience(client, exchange, pool) } else { idle };
                client.deadline.set(exchange.until(patience));
            } else if client.deadline.has_passed(worker.tick()) {
                let client_stalls = !down.outbox.is_empty();
                let failure =
                    if client_stalls { Failure::ClientGone } else { Failure::ResponseTimeout };
                return Poll::Ready(Err(failure));
            }
            Poll::Pending
        });
        let ended = ended.await;
        self.reusable &= !down.excess && exchange.upload.is_sent();
        down.release(worker);
        exchange.record.failure = ended.err();
        ended.is_ok()
    }
}

/// How long a client may leave a body lying: the listener's bound, or the pool's if that is less.
fn client_patience<N: Net, S>(client: &Client<S>, exchange: &Exchange<N>, pool: &Pool) -> Duration {
    let listener = exchange.record.snapshot().plan.listeners.get(client.listener);
    let own = listener.map_or(Duration::MAX, |listener| listener.limits.idle_timeout);
    own.min(pool.plan.timeouts.idle)
}

fn of_response(error: &PumpError) -> Failure {
    match error {
        PumpError::Read | PumpError::Truncated => Failure::Reset,
        PumpError::BadChunk | PumpError::TooLarge => Failure::BadResponse,
        PumpError::Write | PumpError::TooSlow => Failure::ClientGone,
    }
}

fn client_side<N: Net>(exchange: &Exchange<N>) -> ClientSide<'_> {
    ClientSide {
        version: exchange.version,
        persistence: exchange.persistence,
        trailers: exchange.trailers,
        date: "",
        rules: exchange.route().map_or(&NO_RULES, |route| &route.response_headers),
    }
}
