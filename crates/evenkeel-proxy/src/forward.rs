//! One try: send the request to one backend, await its response head, pass the response on. The
//! only place where both sides of an exchange meet the network.

mod response;

use crate::clock::Nanos;
use crate::exchange::{Exchange, Next};
use crate::http1::{Client, head_may_end};
use crate::idle::BackendConnection;
use crate::net::{Net, Peek, Stream};
use crate::pump::{self, Pump};
use crate::try_failure::{Retriable, TryError, TryFailure};
use crate::tunnel::{self, Terms};
use crate::upload::UploadError;
use crate::worker::Worker;
use evenkeel_core::framing::Version;
use evenkeel_core::headers::Persistence;
use evenkeel_core::plan::SendProxy;
use evenkeel_core::pool::{Pick, Pool};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Most that is read at once while a response head is awaited.
const RESPONSE_READ_BYTES: usize = 128 * 1024;
/// The same if the last response was long: the rest of this one can go by without coming here.
const LONG_RESPONSE_READ_BYTES: usize = 4 * 1024;

/// How long a client that sends no more is waited for: it may have closed half of its connection,
/// and read on. Most have left.
const HALF_CLOSED_TIME: Duration = Duration::from_secs(2);

/// One try in progress.
pub(crate) struct Try<'a, S> {
    pool: &'a Arc<Pool>,
    pick: &'a mut Pick,
    connection: BackendConnection<S>,
    /// When `per_try_timeout` is over.
    try_until: Nanos,
    /// Until when a client that sends no more is waited for.
    client_until: Nanos,
    /// Beginning of a response head that is not whole yet.
    partial: Vec<u8>,
    interim_count: u32,
    /// Until when a small response waits for its last byte.
    held_until: Option<Nanos>,
    watching_client: bool,
    send_failed: bool,
    /// No other try is to be had, though the backend seems gone.
    stays: bool,
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
    mut this: Try<'_, N::Stream>,
) -> Result<Next, TryFailure> {
    if exchange.is_beyond(this.pool) {
        // Its backends can be reached, so that is what is wrong. Nothing was said on this one.
        this.reusable = true;
        this.let_go(worker);
        return Err(TryFailure::unsent(TryError::NoTrailers));
    }
    if exchange.upload.has_arrived() {
        this.bound_try(this.pick.at);
    }
    client.deadline.set_waiting(Nanos::NEVER, None);
    let mut begins = true;
    let answer = poll_fn(|cx| {
        let begins = std::mem::take(&mut begins);
        let before = (!exchange.upload.is_sent()).then(|| exchange.upload.progress());
        let answer = this.poll_answer(cx, worker, client, exchange);
        if answer.is_pending() && (begins || before.is_some()) {
            let moved = begins || before != Some(exchange.upload.progress());
            if moved && this.held_until.is_none() {
                // The time was asked for just before the try began.
                let now = if begins { worker.recent() } else { worker.now() };
                if exchange.upload.is_sent() {
                    this.bound_try(now);
                }
                client.deadline.set(this.deadline(client, exchange));
            }
        }
        answer
    });
    let answer = answer.await.map_err(|error| this.failure(exchange, error))?;
    let whole = match answer {
        Answer::Whole => true,
        Answer::Bodies(pump) => Box::pin(this.stream_bodies(worker, client, exchange, pump)).await,
        Answer::Tunnel(down) => {
            return Ok(Box::pin(this.tunnel(worker, client, exchange, down)).await);
        }
    };
    if !whole {
        let ends = exchange.version == Version::Http10;
        return Ok(if ends { Next::Reset } else { Next::Close });
    }
    this.let_go(worker);
    Ok(match (exchange.persistence, exchange.upload.has_arrived()) {
        (Persistence::Keep, true) => Next::Request,
        (Persistence::Close, true) if exchange.client_closes && client.has_said_all() => {
            Next::Close
        }
        (Persistence::Keep | Persistence::Close, _) => Next::Linger,
    })
}

impl<'a, S: Stream> Try<'a, S> {
    /// A try with this backend, over this connection.
    pub(crate) fn new(
        pool: &'a Arc<Pool>,
        pick: &'a mut Pick,
        connection: BackendConnection<S>,
    ) -> Try<'a, S> {
        Try {
            pool,
            pick,
            connection,
            try_until: Nanos::NEVER,
            client_until: Nanos::NEVER,
            partial: Vec::new(),
            interim_count: 0,
            held_until: None,
            watching_client: true,
            send_failed: false,
            stays: false,
            reusable: false,
            parse_again_at: 0,
        }
    }

    /// Carries what is no HTTP any more, to its end. What breaks on one side breaks on the other: a
    /// clean end would say that all has come.
    async fn tunnel<N: Net<Stream = S>>(
        mut self,
        worker: &Worker<N>,
        client: &mut Client<S>,
        exchange: &mut Exchange<N>,
        down: Box<Pump>,
    ) -> Next {
        let ends = (&mut client.stream, &mut client.carry, &mut self.connection.stream);
        let terms = Terms {
            deadline: &client.deadline,
            until: exchange.until(Duration::MAX),
            listener: client.listener,
            pick: self.pick,
            idle: self.pool.plan.timeouts.idle,
        };
        let ended = tunnel::run(worker, ends, down, terms).await;
        (exchange.record.bytes_in, exchange.record.bytes_out) = ended.moved;
        if ended.client_broke {
            self.connection.stream.reset();
        } else {
            self.connection.stream.farewell();
        }
        if ended.backend_broke { Next::Reset } else { Next::Close }
    }

    /// Keeps the connection for another exchange, if it can serve one.
    fn let_go<N: Net<Stream = S>>(mut self, worker: &Worker<N>) {
        let shared = self.pool.plan.proxy_protocol == SendProxy::Off;
        if self.reusable && shared && !worker.is_draining() {
            let bounds = &self.pool.plan.connections;
            worker.idle.borrow_mut().give(self.pick, bounds, self.connection, worker.recent());
        } else {
            self.connection.stream.farewell();
        }
    }

    fn failure<N: Net>(&self, exchange: &Exchange<N>, error: TryError) -> TryFailure {
        let heard = !self.partial.is_empty() || self.interim_count > 0;
        let unprocessed = self.connection.stream.is_unprocessed();
        let provoked = self.is_provoked(exchange, error);
        if !provoked && matches!(error, TryError::Timeout | TryError::PerTryTimeout) {
            self.connection.stream.note_silence();
        }
        TryFailure {
            error,
            sent: if unprocessed { 0 } else { exchange.upload.kept.written },
            stale: error == TryError::Reset && self.connection.reused && !heard,
            provoked,
            again: matches!(
                error,
                TryError::Status(_) | TryError::Unavailable | TryError::Forsaken
            ),
        }
    }

    /// True if the client may be why: a backend that tires of waiting for a body may break the
    /// connection, and how long a call may take its client says. The latter excuses no backend
    /// that answers nobody.
    fn is_provoked<N: Net>(&self, exchange: &Exchange<N>, error: TryError) -> bool {
        let now = exchange.worker().recent();
        match error {
            TryError::Reset => exchange.upload.waits_for_client(),
            TryError::Timeout => exchange.is_past_call(now) && !self.pick.is_silent(now),
            TryError::Connect
            | TryError::SlowConnect
            | TryError::Starved
            | TryError::Forsaken
            | TryError::BadResponse
            | TryError::NoTrailers
            | TryError::HeadTooLarge
            | TryError::Status(_)
            | TryError::Unavailable
            | TryError::PerTryTimeout
            | TryError::ClientGone
            | TryError::BadRequestBody
            | TryError::BodyTooLarge
            | TryError::BodyTimeout => false,
        }
    }

    /// `per_try_timeout` runs while the backend is what is waited for: not while a client uploads.
    fn bound_try(&mut self, since: Nanos) {
        let per_try = self.pool.plan.retry.per_try_timeout;
        if !per_try.is_zero() && self.try_until == Nanos::NEVER {
            self.try_until = since.after(per_try);
        }
    }

    fn deadline<N: Net<Stream = S>>(&self, client: &Client<S>, exchange: &Exchange<N>) -> Nanos {
        let own = exchange.until(self.patience(client, exchange));
        own.min(self.try_until).min(self.client_until)
    }

    /// While a request goes up, each byte gives it this long again; once it is up, the response's
    /// own deadline runs.
    fn patience<N: Net<Stream = S>>(&self, client: &Client<S>, exchange: &Exchange<N>) -> Duration {
        let timeouts = &self.pool.plan.timeouts;
        if exchange.upload.is_sent() {
            timeouts.response_head
        } else if exchange.upload.has_arrived() {
            timeouts.idle.min(timeouts.response_head)
        } else {
            client_patience(client, exchange, self.pool)
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
            let most = client.stream.write_most().min(pump::read_most(worker));
            let most = most.min(self.read_most(start));
            let window = &mut scratch.bytes[start..start + most];
            let read = match self.connection.stream.poll_read(cx, window) {
                Poll::Ready(Ok(length)) if length > 0 => length,
                Poll::Ready(_) if self.connection.stream.is_malformed() => {
                    return Poll::Ready(Err(TryError::BadResponse));
                }
                Poll::Ready(_) if self.connection.stream.is_oversized() => {
                    return Poll::Ready(Err(TryError::HeadTooLarge));
                }
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

    fn read_most(&self, start: usize) -> usize {
        let most = RESPONSE_READ_BYTES - start;
        if self.connection.long { most.min(LONG_RESPONSE_READ_BYTES) } else { most }
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
    fn poll_waiting<N: Net<Stream = S>>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker<N>,
        client: &mut Client<S>,
        exchange: &Exchange<N>,
    ) -> Poll<Result<Answer, TryError>> {
        if client.deadline.has_passed(worker.tick()) {
            let client_stalls = exchange.upload.waits_for_client() && !self.send_failed;
            return Poll::Ready(Err(match client_stalls {
                true => TryError::BodyTimeout,
                false if self.client_until <= worker.tick() => TryError::ClientGone,
                false if self.try_until <= worker.tick() => TryError::PerTryTimeout,
                false => TryError::Timeout,
            }));
        }
        if self.pick.is_forsaken() && self.held_until.is_none() && !self.stays {
            // Asked once: if no other try is granted, this one goes on.
            self.stays = true;
            let sent = exchange.upload.kept.written;
            if exchange.wants_another(self.pool, Retriable::Reset, sent) {
                return Poll::Ready(Err(TryError::Forsaken));
            }
        }
        match self.watches_client(cx, client, exchange) {
            Peek::Gone => return Poll::Ready(Err(TryError::ClientGone)),
            Peek::End if self.held_until.is_none() => {
                self.client_until = worker.now().after(HALF_CLOSED_TIME);
                client.deadline.set(self.deadline(client, exchange));
            }
            Peek::Nothing | Peek::Bytes | Peek::End => {}
        }
        Poll::Pending
    }

    /// Looks whether the client has left. Once something has come from it, that is not asked again:
    /// bytes are the next request, which can wait; an end may be half of a close.
    fn watches_client<N: Net>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client<S>,
        exchange: &Exchange<N>,
    ) -> Peek {
        let watching = self.watching_client && exchange.upload.has_arrived();
        if !watching || client.stream.poll_readable(cx).is_pending() {
            return Peek::Nothing;
        }
        self.watching_client = false;
        client.stream.peek()
    }
}

/// How long a client may leave a body lying: the listener's bound, or the pool's if that is less.
fn client_patience<N: Net, S>(client: &Client<S>, exchange: &Exchange<N>, pool: &Pool) -> Duration {
    let listener = exchange.record.snapshot().listener(client.listener);
    let own = listener.map_or(Duration::MAX, |listener| listener.limits.idle_timeout);
    own.min(pool.plan.timeouts.idle)
}
