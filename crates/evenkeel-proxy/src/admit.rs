//! What is decided from the head alone, in this order: path view, loop, route, access, rate, pool,
//! session and key, and the head for the backend.

use crate::client_ip::{client_ip, may_use};
use crate::exchange::Exchange;
use crate::http1::Client;
use crate::net::Net;
use crate::record::Part;
use crate::session;
use crate::worker::{Scratch, Worker};
use evenkeel_core::affinity::{find_cookie, query_value};
use evenkeel_core::failure::Failure;
use evenkeel_core::field::Known;
use evenkeel_core::framing::BodyLength;
use evenkeel_core::headers::{self, Forwarding, Target};
use evenkeel_core::limit::{Admission, RateLimiter};
use evenkeel_core::path::{self, PathView};
use evenkeel_core::plan::{
    AffinityPlan, HashKey, ListenerPlan, PathMatch, RateKey, RateLimitPlan, RoutePlan,
};
use evenkeel_core::pool::Pool;
use evenkeel_core::request::RequestHead;
use evenkeel_core::route::{FieldLookup, RouteQuery, strip_prefix};
use evenkeel_core::stats::MethodLabel;
use evenkeel_core::strategy::hash::hash;
use std::net::IpAddr;

/// A request head, and who sent it.
pub(crate) struct Asked<'a, S> {
    pub(crate) head: &'a RequestHead,
    pub(crate) bytes: &'a [u8],
    pub(crate) client: &'a Client<S>,
    pub(crate) listener: &'a ListenerPlan,
}

impl<S> Clone for Asked<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Asked<'_, S> {}

impl<S> Asked<'_, S> {
    fn ip(&self) -> Option<IpAddr> {
        let trusted = &self.listener.trusted_proxies;
        client_ip(&self.client.peer, trusted, self.head, self.bytes)
    }

    /// The first value of a field that means anything.
    fn first_value(&self, lower_name: &str) -> Option<&[u8]> {
        let trusted = self.client.peer.trusted;
        let mut fields = self.head.fields.iter();
        let field = fields.find(|field| {
            field.name.of_buf(self.bytes).eq_ignore_ascii_case(lower_name.as_bytes())
                && headers::is_believed(field.known, trusted)
        })?;
        Some(field.value.of_buf(self.bytes))
    }
}

impl<N: Net> Exchange<N> {
    /// Decides all of it; the head for the backend is then in the exchange's own buffer.
    pub(crate) fn admit(
        &mut self,
        worker: &Worker<N>,
        asked: Asked<'_, N::Stream>,
    ) -> Result<(), Failure> {
        let Asked { head, bytes, client, listener } = asked;
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
        self.note_head(asked, &from);
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
        if !may_use(route, || asked.ip()) {
            return Err(Failure::Denied);
        }
        if let (Some(plan), Some(Some(limiter))) = (&route.rate_limit, snapshot.limiters.get(index))
        {
            self.count_rate(worker, plan, limiter, asked)?;
        }
        let body_max = listener.limits.max_request_body_bytes;
        if matches!(head.body, BodyLength::Fixed(length) if body_max > 0 && length > body_max) {
            return Err(Failure::BodyTooLarge);
        }
        self.record.pool = self.choose_pool(worker, route, asked);
        let pool = self.record.pool.and_then(|at| snapshot.pools.get(at));
        let pool = pool.ok_or(Failure::NoBackend)?;
        self.choose_key(worker, pool, &view, asked);
        let stripped = match &route.matches.path {
            PathMatch::Prefix(prefix) if route.strip_prefix => strip_prefix(view.forward, prefix),
            PathMatch::Prefix(_) | PathMatch::Exact(_) | PathMatch::Any => view.forward.into(),
        };
        let target = Target {
            path: &stripped,
            fallback_host: pool.backends.first().map_or("", |backend| &backend.label),
            rules: &route.request_headers,
            own_cookie: session::cookie_name(pool),
        };
        headers::for_backend(head, bytes, &target, &from, &mut self.upload.kept.bytes);
        Ok(())
    }

    /// The pool of the route; of several, the one that the client's session is tied to, or a drawn
    /// one.
    fn choose_pool(
        &self,
        worker: &Worker<N>,
        route: &RoutePlan,
        asked: Asked<'_, N::Stream>,
    ) -> Option<usize> {
        let snapshot = self.record.snapshot();
        if route.split.len() == 1 {
            return snapshot.pool_of(route, 0);
        }
        let now = worker.net.unix_nanos();
        let is_tied = |index: usize| {
            let pool = snapshot.pools.get(index);
            pool.is_some_and(|pool| session::tie(pool, asked.head, asked.bytes, now).is_some())
        };
        let mut arms = route.split.iter().filter(|(_, weight)| *weight > 0);
        let tied = arms.find(|(index, _)| is_tied(*index)).map(|(index, _)| *index);
        tied.or_else(|| snapshot.pool_of(route, worker.net.random()))
    }

    /// Takes a token of the route's rate limit.
    fn count_rate(
        &mut self,
        worker: &Worker<N>,
        plan: &RateLimitPlan,
        limiter: &RateLimiter,
        asked: Asked<'_, N::Stream>,
    ) -> Result<(), Failure> {
        let by_ip = || match asked.ip() {
            Some(ip) => limiter.key_of_ip(ip),
            None => limiter.key_of_bytes(b""),
        };
        let key = match &plan.key {
            RateKey::ClientIp => by_ip(),
            // Leaving the field out is no way around the limit.
            RateKey::Header(name) => match asked.first_value(name) {
                Some(value) => limiter.key_of_bytes(value),
                None => by_ip(),
            },
            RateKey::Route => limiter.whole(),
        };
        match limiter.check(key, worker.recent()) {
            Admission::Allowed(allowance) => {
                self.own_lines.rate(&allowance);
                Ok(())
            }
            Admission::Limited { allowance, retry_after } => {
                self.own_lines.rate(&allowance);
                self.retry_after = Some(retry_after);
                Err(Failure::RateLimited)
            }
        }
    }

    /// What decides which backend this very request gets: its session, its key.
    fn choose_key(
        &mut self,
        worker: &Worker<N>,
        pool: &Pool,
        view: &PathView<'_>,
        asked: Asked<'_, N::Stream>,
    ) {
        if pool.cookie_keys.is_some() {
            let now = worker.net.unix_nanos();
            self.tie = session::tie(pool, asked.head, asked.bytes, now);
        }
        if !pool.wants_hash() {
            return;
        }
        let by_ip = || match asked.ip() {
            Some(IpAddr::V4(ip)) => hash(&ip.octets()),
            Some(IpAddr::V6(ip)) => hash(&ip.octets()),
            None => hash(b""),
        };
        let query = asked.head.query.of_buf(asked.bytes);
        let query = query.strip_prefix(b"?").unwrap_or(query);
        let by = match &pool.plan.affinity {
            AffinityPlan::ClientIp => &HashKey::ClientIp,
            AffinityPlan::Off | AffinityPlan::Cookie(_) => &pool.plan.hash.key,
        };
        let key = match by {
            HashKey::ClientIp => None,
            HashKey::Header(name) => asked.first_value(name),
            HashKey::Cookie(name) => headers::cookie_lines(asked.head, asked.bytes)
                .find_map(|line| find_cookie(line, name.as_bytes())),
            HashKey::Path => Some(view.matching),
            HashKey::Query(None) => Some(query).filter(|query| !query.is_empty()),
            HashKey::Query(Some(name)) => query_value(query, name.as_bytes()),
        };
        self.hash = key.map_or_else(by_ip, hash);
    }

    fn note_head(&mut self, asked: Asked<'_, N::Stream>, from: &Forwarding<'_>) {
        let Asked { head, bytes, client, .. } = asked;
        self.record.method = MethodLabel::of(head.method.of_buf(bytes));
        self.record.set(Part::RequestId, headers::request_id(head, bytes, from));
        if self.record.is_wanted() {
            if client.peer.trusted {
                let text = asked.ip().map(|ip| ip.to_string()).unwrap_or_default();
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
}

/// The header lines of a request, for route tests.
struct Lines<'a> {
    head: &'a RequestHead,
    bytes: &'a [u8],
    trusted: bool,
}

impl FieldLookup for Lines<'_> {
    fn any_value(&self, lower_name: &[u8], test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.head.fields.iter().any(|field| {
            field.name.of_buf(self.bytes).eq_ignore_ascii_case(lower_name)
                && headers::is_believed(field.known, self.trusted)
                && test(field.value.of_buf(self.bytes))
        })
    }
}

/// The first value of `Accept`.
pub(crate) fn accept_of<'a>(head: &'a RequestHead, bytes: &'a [u8]) -> Option<&'a [u8]> {
    head.values(bytes, Known::Accept).next()
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
