//! The life of one request, in the order in which it happens:
//!
//! ```text
//! open    one snapshot for the whole exchange
//!         admit: path view, route, access, rate, session, key                    (core, pure)
//!         the head for the backend is written to the exchange's own buffer       (core, pure)
//! run     loop { pick a backend          guard: counts in flight                 (core, pure)
//!                or wait for one         while every backend has its maximum     (wait)
//!                attempt: idle or new connection, forward, report                (the only I/O)
//!                next try? return? fail?                                         (core, pure) }
//! refuse  failure -> local reply; the record is written when the exchange drops
//! ```

use crate::admit::{Asked, accept_of};
use crate::attempt;
use crate::buffer::Outbox;
use crate::call::Call;
use crate::clock::Nanos;
use crate::http1::Client;
use crate::http2::Spoken;
use crate::mirror::Copying;
use crate::mount::{self, Own};
use crate::net::Net;
use crate::own_lines::OwnLines;
use crate::pump::MAX_TAPE_BYTES;
use crate::record::{Record, Times};
use crate::refuse::refuse;
use crate::reply::ReplyForm;
use crate::try_failure::{Retriable, TryError};
use crate::upload::Upload;
use crate::wait::wait;
use crate::worker::{LocalSnapshot, Worker};
use evenkeel_core::affinity::{Secure, Tie};
use evenkeel_core::failure::Failure;
use evenkeel_core::framing::Version;
use evenkeel_core::headers::{Persistence, Trailers};
use evenkeel_core::plan::{ListenerPlan, RetryMethods, RoutePlan};
use evenkeel_core::pool::{NoPick, Pick, Pool, Query, Tried};
use evenkeel_core::request::{RequestHead, Upgrade, Verb};
use evenkeel_core::retry::backoff;
use evenkeel_core::snapshot::MAX_TRIES;
use evenkeel_core::suspicion::Doubt;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Room for the fields that we add to a head.
const OWN_FIELDS_BYTES: usize = 512;
/// Finished exchanges kept per worker.
const MAX_FREE_EXCHANGES: usize = 256;

/// What the connection does after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Wait for the next request.
    Request,
    /// End, but let the client read what it was sent.
    Linger,
    /// End.
    Close,
    /// End so that the client cannot take what it has for a whole response.
    Reset,
}

/// Whether a request has waited for its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It has just come.
    Newcomer,
    /// It was called from the queue.
    Called,
}

/// Finished exchanges whose memory is used again; a connection that waits holds none.
#[expect(clippy::vec_box, reason = "the boxes themselves are what is used again")]
pub(crate) struct ExchangePool<N: Net>(RefCell<Vec<Box<Exchange<N>>>>);

impl<N: Net> ExchangePool<N> {
    pub(crate) fn new() -> ExchangePool<N> {
        ExchangePool(RefCell::new(Vec::new()))
    }

    fn take(&self, exchange: Exchange<N>) -> Box<Exchange<N>> {
        match self.0.borrow_mut().pop() {
            Some(mut place) => {
                *place = exchange;
                place
            }
            None => Box::new(exchange),
        }
    }

    /// Ends an exchange: its record is written, its buffers are free.
    pub(crate) fn give(&self, mut exchange: Box<Exchange<N>>) {
        if exchange.copying.is_some() {
            exchange.end_copies();
        }
        exchange.record.finish(&exchange.upload.kept.bytes);
        let mut upload = std::mem::take(&mut exchange.upload);
        upload.release(exchange.worker());
        exchange.ahead = Outbox::default();
        let mut free = self.0.borrow_mut();
        if free.len() < MAX_FREE_EXCHANGES {
            free.push(exchange);
        }
    }

    /// Forgets all of them; they hold on to their worker.
    pub(crate) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

/// One request on its way, independent of the buffer that its head was read into.
pub(crate) struct Exchange<N: Net> {
    pub(crate) record: Record<N>,
    pub(crate) verb: Verb,
    pub(crate) version: Version,
    pub(crate) persistence: Persistence,
    /// The client itself ends after this exchange: it will send nothing more.
    pub(crate) client_closes: bool,
    pub(crate) trailers: Trailers,
    pub(crate) upgrade: Upgrade,
    pub(crate) form: ReplyForm,
    /// What is special about a gRPC call.
    pub(crate) call: Option<Call>,
    /// The request for the backend.
    pub(crate) upload: Upload,
    /// Backends that were tried.
    pub(crate) tried: Tried,
    /// What a genuine session cookie says.
    pub(crate) tie: Option<Tie>,
    /// Whether the client speaks TLS with us.
    pub(crate) secure: Secure,
    /// Of the request's key, if the pool chooses by one.
    pub(crate) hash: u64,
    /// What the response says besides the backend's own fields.
    pub(crate) own_lines: OwnLines,
    /// When it has waited long enough for a place in the pool, once it has begun to.
    pub(crate) waits_until: Option<Nanos>,
    /// When a refused request may come again, if that is known.
    pub(crate) retry_after: Option<Duration>,
    /// What a mount is asked for; then no backend is.
    pub(crate) mounted: Option<Box<Own>>,
    /// Interim responses that the client has not taken yet; they come before anything else.
    pub(crate) ahead: Outbox,
    /// Copies that are to be made of the request, and have not been.
    pub(crate) copying: Option<Box<Copying>>,
}

/// Decides everything that can be decided from the head: what is refused is returned with the
/// failure. The number is how many of `bytes` the exchange has taken over.
pub(crate) fn open<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &Client<N::Stream>,
    listener: &ListenerPlan,
    (head, bytes): (&RequestHead, &[u8]),
) -> (Box<Exchange<N>>, Option<Failure>, usize) {
    let call = Call::of(head, bytes, worker.recent());
    let mut exchange = Exchange {
        record: Record::start(worker, client.listener),
        verb: head.verb,
        version: head.version,
        persistence: if head.keep_alive { Persistence::Keep } else { Persistence::Close },
        client_closes: !head.keep_alive,
        trailers: if head.wants_trailers { Trailers::Pass } else { Trailers::Drop },
        upgrade: head.upgrade_asked(bytes),
        form: call.as_ref().map_or_else(|| reply_form(head, bytes), |_| ReplyForm::Grpc),
        call,
        upload: Upload::new(worker.buffers.take(bytes.len() + OWN_FIELDS_BYTES)),
        tried: Tried::default(),
        tie: None,
        secure: if client.peer.secure.is_some() { Secure::Yes } else { Secure::No },
        hash: 0,
        own_lines: OwnLines::default(),
        waits_until: None,
        retry_after: None,
        mounted: None,
        ahead: Outbox::default(),
        copying: None,
    };
    exchange.record.accept = client.accept_time(exchange.record.started());
    let asked = Asked { head, bytes, peer: &client.peer, listener };
    let refusal = exchange.admit(worker, asked).err();
    if let Some(call) = &mut exchange.call {
        exchange.record.is_call = call.needs_trailers;
        call.place_timeout(&mut exchange.upload.kept.bytes);
    }
    let bounds = (listener.limits.max_request_body_bytes, exchange.trailers);
    let used = exchange.upload.begin_body(head.body, &bytes[head.bytes..], bounds);
    match &exchange.copying {
        Some(copying) => exchange.upload.record_stream(copying.most_kept()),
        None if exchange.call.is_some() => exchange.upload.record_stream(MAX_TAPE_BYTES),
        None => {}
    }
    exchange.record.bytes_in = used as u64;
    if head.expects_continue {
        exchange.upload.owe_continue();
    }
    let used = head.bytes + used;
    (worker.exchanges.take(exchange), refusal, used)
}

impl<N: Net> Exchange<N> {
    /// Notes a try before it is made.
    fn begin_try(&mut self, pick: &Pick) {
        self.record.tries += 1;
        self.record.backend = Some(pick.index);
        self.tried.push(pick.slot);
        self.record.try_at = pick.at;
        let queue = self.record.times.queue;
        self.record.times = Times { queue, ..Times::default() };
        self.upload.lead_to(&pick.plan.address.prefix);
        if let Some(call) = &self.call {
            call.shorten(self.upload.fields_mut(), pick.at);
        }
        self.begin_span();
    }

    /// The worker that serves it.
    pub(crate) fn worker(&self) -> &Worker<N> {
        self.record.worker()
    }

    /// `patience` from the time last asked for, but never beyond the route's own bound on the
    /// whole exchange.
    pub(crate) fn until(&self, patience: Duration) -> Nanos {
        let at = self.worker().recent().after(patience);
        let at = self.call.as_ref().map_or(at, |call| at.min(call.until));
        match self.route().map(|route| route.timeout) {
            Some(timeout) if !timeout.is_zero() => at.min(self.record.started().after(timeout)),
            Some(_) | None => at,
        }
    }

    /// True once the server drains or the listener has gone: this response is the last here.
    pub(crate) fn is_draining(&self) -> bool {
        self.worker().is_leaving(self.record.listener)
    }

    /// The route, once one was found.
    pub(crate) fn route(&self) -> Option<&RoutePlan> {
        self.record.route.and_then(|index| self.record.snapshot().plan.routes.get(index))
    }

    /// True if another try loses nothing: either no byte of this one was sent, or the request may
    /// be repeated; and all of it is still here.
    pub(crate) fn may_repeat(&self, sent: usize, pool: &Pool) -> bool {
        let retry = &pool.plan.retry;
        let harmless = sent == 0 || self.verb.is_idempotent() || retry.methods == RetryMethods::All;
        harmless && self.upload.is_replayable(retry.buffer_bytes as u64)
    }

    /// True if another backend should be tried. Then a token of the pool's budget is spent on it.
    pub(crate) fn wants_another(&self, pool: &Pool, why: Retriable, sent: usize) -> bool {
        let retry = &pool.plan.retry;
        let listed = match why {
            Retriable::Connect => retry.on.connect_failure,
            Retriable::Reset => retry.on.reset,
            Retriable::PerTryTimeout => retry.on.per_try_timeout,
            Retriable::GrpcUnavailable => retry.on.grpc_unavailable,
            Retriable::Status(status) => retry.on.statuses.binary_search(&status).is_ok(),
        };
        let most = retry.attempts.clamp(1, MAX_TRIES);
        let now = self.worker().recent();
        listed
            && self.record.tries < most
            && !self.is_overdue()
            && match why {
                // The backend says itself that it did nothing, whatever the method.
                Retriable::GrpcUnavailable => self.may_repeat(0, pool),
                Retriable::Connect
                | Retriable::Reset
                | Retriable::PerTryTimeout
                | Retriable::Status(_) => self.may_repeat(sent, pool),
            }
            && pool.has_another(&self.tried, now)
            && pool.budget.withdraw(retry, now)
    }

    /// True if it is a call whose own time is up, as its client measures it.
    pub(crate) fn is_past_call(&self, now: Nanos) -> bool {
        self.call.as_ref().is_some_and(|call| call.is_past(now))
    }

    /// True if the route's bound on the whole exchange has passed.
    fn is_overdue(&self) -> bool {
        self.until(Duration::MAX) <= self.worker().recent()
    }

    /// Route and pool of the same names in the configuration in force; `None` if it is the one that
    /// the exchange has, or has them no more.
    pub(crate) fn home_in_force(&self) -> Option<(LocalSnapshot, Option<usize>, usize)> {
        let own = self.record.snapshot();
        let now = self.worker().snapshot();
        if now.generation == own.generation {
            return None;
        }
        let name = &own.plan.pools.get(self.record.pool?)?.name;
        let pool = now.plan.pools.iter().position(|pool| pool.name == *name)?;
        let route = match self.route() {
            Some(route) => Some(now.plan.routes.iter().position(|it| it.name == route.name)?),
            None => None,
        };
        Some((now, route, pool))
    }

    /// The backend for the next try.
    pub(crate) fn pick(&self, pool: &Pool, turn: Turn) -> Result<Pick, NoPick> {
        if turn == Turn::Newcomer && !pool.waiting.is_empty() {
            // Nobody overtakes those who wait.
            return Err(NoPick::Busy);
        }
        let worker = self.worker();
        let query = Query {
            tried: &self.tried,
            now: worker.recent(),
            draw: worker.net.random(),
            hash: self.hash,
            tied: self.tie.and_then(|tie| pool.find_by_id(tie.backend)),
            repeatable: self.may_repeat(1, pool),
            has_idle: &|backend| worker.idle.borrow().has(backend) || worker.links.has(backend),
        };
        let pick = pool.pick(&query)?;
        if pick.is_silent(query.now) && worker.doubt(pool, pick.index, Doubt::Silence) {
            // Somebody else, if there is anybody.
            return pool.pick(&query).or(Ok(pick));
        }
        Ok(pick)
    }

    /// True for a call that needs trailers, of a pool that has none to give.
    pub(crate) fn is_beyond(&self, pool: &Pool) -> bool {
        self.call.as_ref().is_some_and(|call| call.needs_trailers) && !Spoken::is_http2_in(pool)
    }
}

fn reply_form(head: &RequestHead, bytes: &[u8]) -> ReplyForm {
    let accept = accept_of(head, bytes);
    accept.filter(|value| *value != b"*/*").map_or(ReplyForm::Json, ReplyForm::from_accept)
}

/// Forwards the request, trying other backends where that loses nothing.
pub(crate) async fn run<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &mut Client<N::Stream>,
    exchange: &mut Exchange<N>,
) -> Next {
    if let Some(own) = exchange.mounted.take() {
        return Box::pin(mount::answer(worker, client, exchange, *own)).await;
    }
    if exchange.copying.is_some() {
        exchange.send_copies();
    }
    let snapshot = exchange.record.snapshot().clone();
    let index = exchange.record.pool;
    let Some(pool) = index.and_then(|index| snapshot.pools.get(index)) else {
        return Box::pin(refuse(worker, client, exchange, Failure::NoBackend)).await;
    };
    pool.budget.deposit(&pool.plan.retry);
    let failure = match exchange.pick(pool, Turn::Newcomer) {
        Ok(pick) => match tries(worker, client, exchange, pool, pick).await {
            Ok(next) => return next,
            Err(failure) => failure,
        },
        Err(NoPick::Nobody) if !pool.is_asleep() => Failure::NoBackend,
        // Whoever has waited may belong to another configuration, and its pool, from then on.
        Err(NoPick::Nobody | NoPick::Busy) => {
            match Box::pin(wait(worker, client, exchange, pool)).await {
                Ok(pick) => match Box::pin(tries_again(worker, client, exchange, pick)).await {
                    Ok(next) => return next,
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            }
        }
    };
    Box::pin(refuse(worker, client, exchange, failure)).await
}

/// Tries the backend that was picked, then others where that loses nothing.
async fn tries<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &mut Client<N::Stream>,
    exchange: &mut Exchange<N>,
    pool: &Arc<Pool>,
    mut pick: Pick,
) -> Result<Next, Failure> {
    loop {
        exchange.begin_try(&pick);
        let failed = match attempt::run(worker, client, exchange, pool, pick).await {
            Ok(next) => return Ok(next),
            Err(failed) => failed,
        };
        worker.counts.lost_try(&exchange.record);
        exchange.record.lose_try(failed.error.into());
        if !failed.again {
            return Err(failed.error.into());
        }
        if let Some(why) = failed.error.retriable() {
            worker.counts.stats.retried(why.into());
        }
        exchange.upload.rewind();
        if failed.error != TryError::SlowConnect {
            back_off(exchange, pool).await;
        }
        pick = match exchange.pick(pool, Turn::Newcomer) {
            Ok(pick) => pick,
            Err(NoPick::Nobody) => return Err(failed.error.into()),
            Err(NoPick::Busy) => Box::pin(wait(worker, client, exchange, pool)).await?,
        };
    }
}

/// The same for an exchange that has waited.
async fn tries_again<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &mut Client<N::Stream>,
    exchange: &mut Exchange<N>,
    pick: Pick,
) -> Result<Next, Failure> {
    let snapshot = exchange.record.snapshot().clone();
    let pool = exchange.record.pool.and_then(|index| snapshot.pools.get(index));
    tries(worker, client, exchange, pool.ok_or(Failure::NoBackend)?, pick).await
}

/// Waits before another try; shorter if the exchange's own time is up sooner.
async fn back_off<N: Net>(exchange: &Exchange<N>, pool: &Pool) {
    let worker = exchange.worker();
    let wait = backoff(&pool.plan.retry.backoff, exchange.record.tries, worker.chance());
    let now = worker.now();
    let left = exchange.until(wait).duration_since(now);
    if !left.is_zero() {
        tokio::time::sleep(left).await;
        worker.now();
    }
}
