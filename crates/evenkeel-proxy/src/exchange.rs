//! The life of one request, in the order in which it happens:
//!
//! ```text
//! open    one snapshot for the whole exchange; path view, route, access, loop    (core, pure)
//!         the head for the backend is written to the exchange's own buffer       (core, pure)
//! run     loop { pick a backend          guard: counts in flight                 (core, pure)
//!                idle or new connection                                          (connect, idle)
//!                forward: send, await the response head, stream both bodies      (the only I/O)
//!                next try? return? fail?                                         (core, pure) }
//! refuse  failure -> local reply; the record is written when the exchange drops
//! ```

use crate::buffer::Outbox;
use crate::client_ip::{client_ip, may_use};
use crate::clock::Nanos;
use crate::connect;
use crate::forward::{self, Hop};
use crate::http1::Client;
use crate::net::Net;
use crate::record::{Part, Record};
use crate::refuse::refuse;
use crate::reply::ReplyForm;
use crate::try_failure::{TryError, TryFailure};
use crate::upload::Upload;
use crate::worker::{Scratch, Worker};
use evenkeel_core::backend::Pick;
use evenkeel_core::failure::Failure;
use evenkeel_core::field::Known;
use evenkeel_core::framing::{BodyLength, Version};
use evenkeel_core::headers::{self, Forwarding, Persistence, Target, Trailers};
use evenkeel_core::path;
use evenkeel_core::plan::{ListenerPlan, PathMatch, RoutePlan};
use evenkeel_core::request::{RequestHead, Upgrade, Verb};
use evenkeel_core::route::{FieldLookup, RouteQuery, strip_prefix};
use evenkeel_core::snapshot::{MAX_TRIES, Pool, Tried};
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
        exchange.record.finish();
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
    /// The request for the backend.
    pub(crate) upload: Upload,
    /// Interim responses that the client has not taken yet; they come before anything else.
    pub(crate) ahead: Outbox,
}

/// Decides everything that can be decided from the head: what is refused is returned with the
/// failure. The number is how many of `bytes` the exchange has taken over.
pub(crate) fn open<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &Client<N::Stream>,
    listener: &ListenerPlan,
    (head, bytes): (&RequestHead, &[u8]),
) -> (Box<Exchange<N>>, Option<Failure>, usize) {
    let mut exchange = Exchange {
        record: Record::start(worker, client.listener),
        verb: head.verb,
        version: head.version,
        persistence: if head.keep_alive { Persistence::Keep } else { Persistence::Close },
        client_closes: !head.keep_alive,
        trailers: if head.wants_trailers { Trailers::Pass } else { Trailers::Drop },
        upgrade: head.upgrade_asked(),
        form: reply_form(head, bytes),
        upload: Upload::new(worker.buffers.take(bytes.len() + OWN_FIELDS_BYTES)),
        ahead: Outbox::default(),
    };
    let refusal = exchange.admit(worker, client, listener, (head, bytes)).err();
    let bounds = (listener.limits.max_request_body_bytes, exchange.trailers);
    let used = exchange.upload.begin_body(head.body, &bytes[head.bytes..], bounds);
    exchange.record.bytes_in = used as u64;
    if head.expects_continue {
        exchange.upload.owe_continue();
    }
    let used = head.bytes + used;
    (worker.exchanges.take(exchange), refusal, used)
}

impl<N: Net> Exchange<N> {
    /// Path view, route, access, pool, and the head for the backend, in this order.
    fn admit(
        &mut self,
        worker: &Worker<N>,
        client: &Client<N::Stream>,
        listener: &ListenerPlan,
        (head, bytes): (&RequestHead, &[u8]),
    ) -> Result<(), Failure> {
        let Scratch { path: path_scratch, host: host_lower, .. } =
            &mut *worker.scratch.borrow_mut();
        let id = new_request_id(&worker.net);
        let from = Forwarding {
            peer: &client.peer.text,
            trusted: client.peer.trusted,
            pseudonym: &worker.shared.pseudonym,
            request_id: &id,
        };
        let given = if head.path.is_empty() { b"/" } else { head.path.of_buf(bytes) };
        self.note_head(client, (head, bytes), &from);
        let view = path::view(given, listener.paths, path_scratch)?;
        self.note_path(view.forward);
        if headers::is_loop(head, bytes, from.pseudonym) {
            return Err(Failure::Loop);
        }
        let snapshot = self.record.snapshot().clone();
        host_lower.clear();
        host_lower.extend_from_slice(head.host.of_buf(bytes));
        host_lower.make_ascii_lowercase();
        let query = RouteQuery {
            host: host_lower,
            path: view.matching,
            method: head.method.of_buf(bytes),
            fields: &Lines { head, bytes, trusted: from.trusted },
        };
        let index = snapshot.table.find(&query).ok_or(Failure::NoRoute)?;
        let route = snapshot.plan.routes.get(index).ok_or(Failure::NoRoute)?;
        self.record.route = Some(index);
        let trusted = &listener.trusted_proxies;
        if !may_use(route, || client_ip(&client.peer, trusted, head, bytes)) {
            return Err(Failure::Denied);
        }
        let body_max = listener.limits.max_request_body_bytes;
        if matches!(head.body, BodyLength::Fixed(length) if body_max > 0 && length > body_max) {
            return Err(Failure::BodyTooLarge);
        }
        let draw = if route.split.len() > 1 { worker.net.random() } else { 0 };
        self.record.pool = snapshot.pool_of(route, draw);
        let pool = self.pool().ok_or(Failure::NoBackend)?;
        let stripped = match &route.matches.path {
            PathMatch::Prefix(prefix) if route.strip_prefix => strip_prefix(view.forward, prefix),
            PathMatch::Prefix(_) | PathMatch::Exact(_) | PathMatch::Any => view.forward.into(),
        };
        let target = Target {
            path: &stripped,
            fallback_host: pool.backends.first().map_or("", |backend| &backend.label),
            rules: &route.request_headers,
        };
        headers::for_backend(head, bytes, &target, &from, &mut self.upload.kept.bytes);
        Ok(())
    }

    fn note_head(
        &mut self,
        client: &Client<N::Stream>,
        (head, bytes): (&RequestHead, &[u8]),
        from: &Forwarding<'_>,
    ) {
        self.record.set(Part::RequestId, headers::request_id(head, bytes, from));
        if self.record.is_wanted() {
            let snapshot = self.record.snapshot().clone();
            let listener = snapshot.plan.listeners.get(client.listener);
            let trusted = listener.map_or(&[][..], |listener| &listener.trusted_proxies);
            if client.peer.trusted {
                let ip = client_ip(&client.peer, trusted, head, bytes);
                let text = ip.map(|ip| ip.to_string()).unwrap_or_default();
                self.record.set(Part::ClientIp, text.as_bytes());
            } else {
                self.record.set(Part::ClientIp, client.peer.text.as_bytes());
            }
            self.record.set(Part::Method, head.method.of_buf(bytes));
            self.record.set(Part::Host, head.authority.of_buf(bytes));
        }
    }

    fn note_path(&mut self, path: &[u8]) {
        if self.record.is_wanted() {
            self.record.set(Part::Path, path);
        }
    }

    /// The pool that the route chose.
    pub(crate) fn pool(&self) -> Option<Arc<Pool>> {
        self.record.pool.and_then(|index| self.record.snapshot().pools.get(index)).cloned()
    }

    /// The worker that serves it.
    pub(crate) fn worker(&self) -> &Worker<N> {
        self.record.worker()
    }

    /// `patience` from the time last asked for, but never beyond the route's own bound on the
    /// whole exchange.
    pub(crate) fn until(&self, patience: Duration) -> Nanos {
        let at = self.worker().recent().after(patience);
        match self.route().map(|route| route.timeout) {
            Some(timeout) if !timeout.is_zero() => at.min(self.record.started().after(timeout)),
            Some(_) | None => at,
        }
    }

    /// True once the server drains: this response is the connection's last.
    pub(crate) fn is_draining(&self) -> bool {
        self.worker().is_draining()
    }

    /// The route, once one was found.
    pub(crate) fn route(&self) -> Option<&RoutePlan> {
        self.record.route.and_then(|index| self.record.snapshot().plan.routes.get(index))
    }

    /// True if another try loses nothing: either no byte of this one was sent, or the request may
    /// be repeated and all of it is still here.
    fn may_repeat(&self, failure: &TryFailure, pool: &Pool) -> bool {
        let whole = self.upload.is_replayable(pool.plan.retry.buffer_bytes as u64);
        whole && (failure.sent == 0 || self.verb.is_idempotent())
    }

    /// True if the route's bound on the whole exchange has passed.
    fn is_overdue(&self) -> bool {
        self.until(Duration::MAX) <= self.worker().recent()
    }
}

/// The header lines of a request, for route tests.
struct Lines<'a> {
    head: &'a RequestHead,
    bytes: &'a [u8],
    trusted: bool,
}

impl Lines<'_> {
    /// A field that is dropped before forwarding must not choose the route either.
    fn counts(&self, known: Known) -> bool {
        match known {
            Known::Underscored
            | Known::ForwardedOther
            | Known::XForwardedFor
            | Known::XForwardedProto
            | Known::XForwardedHost
            | Known::XRequestId => self.trusted,
            Known::ClientCert => false,
            Known::Other
            | Known::Host
            | Known::ContentLength
            | Known::TransferEncoding
            | Known::Connection
            | Known::HopByHop
            | Known::Te
            | Known::Trailer
            | Known::Upgrade
            | Known::Http2Settings
            | Known::Expect
            | Known::Via
            | Known::Date
            | Known::Accept => true,
        }
    }
}

impl FieldLookup for Lines<'_> {
    fn any_value(&self, lower_name: &[u8], test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.head.fields.iter().any(|field| {
            field.name.of_buf(self.bytes).eq_ignore_ascii_case(lower_name)
                && self.counts(field.known)
                && test(field.value.of_buf(self.bytes))
        })
    }
}

fn reply_form(head: &RequestHead, bytes: &[u8]) -> ReplyForm {
    let accept = head.values(bytes, Known::Accept).next();
    accept.filter(|value| *value != b"*/*").map_or(ReplyForm::Json, ReplyForm::from_accept)
}

/// 128 random bits as 32 hexadecimal digits.
pub(crate) fn new_request_id<N: Net>(net: &N) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bits = u128::from(net.random()) << 64 | u128::from(net.random());
    let mut id = [0; 32];
    for (digit, place) in id.iter_mut().zip((0..128).step_by(4)) {
        *digit = DIGITS[(bits >> place & 0xf) as usize];
    }
    id
}

/// Forwards the request, trying other backends where that loses nothing.
pub(crate) async fn run<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &mut Client<N::Stream>,
    exchange: &mut Exchange<N>,
) -> Next {
    let Some(pool) = exchange.pool() else {
        return Box::pin(refuse(worker, client, exchange, Failure::NoBackend)).await;
    };
    let mut tried = Tried::default();
    let mut failure = Failure::NoBackend;
    let most = pool.plan.retry.attempts.clamp(1, MAX_TRIES);
    while exchange.record.tries < most {
        if exchange.is_overdue() {
            failure = Failure::ResponseTimeout;
            break;
        }
        let Some(pick) = pool.pick(&tried) else { break };
        exchange.record.tries += 1;
        exchange.record.backend = Some(Arc::clone(&pick.label));
        let outcome = match worker.idle_connection(&pick) {
            Some(connection) => {
                let hop = Hop { pool: &pool, pick: &pick, connection };
                forward::run(worker, client, exchange, hop).await
            }
            None => dial_and_forward(worker, client, exchange, (&pool, &pick)).await,
        };
        let outcome = match outcome {
            Err(failed) if failed.is_stale() && exchange.may_repeat(&failed, &pool) => {
                // The idle connection had died: that says nothing about the backend.
                exchange.upload.rewind();
                dial_and_forward(worker, client, exchange, (&pool, &pick)).await
            }
            outcome => outcome,
        };
        match outcome {
            Ok(next) => return next,
            Err(failed) => {
                failure = failed.error.into();
                let retry = &pool.plan.retry;
                let listed = match failed.error {
                    TryError::Connect => retry.on_connect_failure,
                    TryError::Reset => retry.on_reset,
                    TryError::BadResponse
                    | TryError::Timeout
                    | TryError::ClientGone
                    | TryError::BadRequestBody
                    | TryError::BodyTooLarge
                    | TryError::BodyTimeout => false,
                };
                if !listed || !exchange.may_repeat(&failed, &pool) {
                    break;
                }
                tried.push(pick.slot);
                exchange.upload.rewind();
            }
        }
    }
    Box::pin(refuse(worker, client, exchange, failure)).await
}

async fn dial_and_forward<N: Net>(
    worker: &Rc<Worker<N>>,
    client: &mut Client<N::Stream>,
    exchange: &mut Exchange<N>,
    (pool, pick): (&Pool, &Pick),
) -> Result<Next, TryFailure> {
    let now = worker.now();
    let patience = exchange.until(pool.plan.timeouts.connect).duration_since(now);
    let mut dialled = Box::pin(connect::dial(&worker.net, pick, patience)).await;
    if dialled.as_ref().is_err_and(connect::lacks_descriptors) {
        // Idle connections hold descriptors that this request needs.
        worker.make_room();
        dialled = Box::pin(connect::dial(&worker.net, pick, patience)).await;
    }
    worker.now();
    let connection = dialled.map_err(|_| TryFailure::connect())?;
    forward::run(worker, client, exchange, Hop { pool, pick, connection }).await
}
