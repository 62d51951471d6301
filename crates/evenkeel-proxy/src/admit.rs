//! What is decided from the head alone, in this order: path view, loop, route, access, rate, pool,
//! session and key, and the head for the backend.

use crate::client_ip::{client_ip, may_use};
use crate::exchange::Exchange;
use crate::http1::Peer;
use crate::mount::{self, Own};
use crate::net::Net;
use crate::record::Part;
use crate::redirect;
use crate::session;
use crate::trace;
use crate::worker::{Scratch, Worker};
use evenkeel_core::affinity::{find_cookie, query_value};
use evenkeel_core::failure::Failure;
use evenkeel_core::field::Known;
use evenkeel_core::framing::BodyLength;
use evenkeel_core::headers::{self, Forwarding, Target};
use evenkeel_core::limit::{Admission, RateLimiter};
use evenkeel_core::migration::{ArmRule, CohortKey, Named};
use evenkeel_core::path::{self, PathView};
use evenkeel_core::plan::{
    AffinityPlan, HashKey, ListenerPlan, PathMatch, RateKey, RateLimitPlan, RoutePlan,
};
use evenkeel_core::pool::Pool;
use evenkeel_core::request::RequestHead;
use evenkeel_core::route::{FieldLookup, RouteQuery, strip_prefix};
use evenkeel_core::snapshot::Snapshot;
use evenkeel_core::stats::MethodLabel;
use evenkeel_core::strategy::hash::{hash, hash_with};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// So that an address decides between pools by another number than between backends.
const ARM_SEED: u64 = 0x61_72_6d;

impl Peer {
    /// What a backend is told of this client; `id` is for a request that brings none.
    fn forwarding<'a>(&'a self, pseudonym: &'a str, id: &'a [u8; 32]) -> Forwarding<'a> {
        Forwarding {
            peer: &self.text,
            trusted: self.trusted,
            pseudonym,
            request_id: id,
            protocol: self.protocol,
            secure: self.secure.is_some(),
            client_cert: self.secure.as_ref().map_or(&[], |identity| &identity.client_cert),
        }
    }
}

/// A request head, and who sent it.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) bytes: &'a [u8],
    pub(crate) peer: &'a Peer,
    pub(crate) listener: &'a ListenerPlan,
}

impl<'a> Asked<'a> {
    /// The client behind trusted proxies.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        client_ip(self.peer, &self.listener.trusted_proxies, self.head, self.bytes)
    }

    /// What routes ask about.
    pub(crate) fn query<'q>(
        &self,
        (host, path): (&'q [u8], &'q [u8]),
        lines: &'q Lines<'a>,
    ) -> RouteQuery<'q>
    where
        'a: 'q,
    {
        let method = self.head.method.of_buf(self.bytes);
        RouteQuery { listener: &self.listener.name, host, path, method, fields: lines }
    }

    /// The header lines, for route tests.
    pub(crate) fn lines(&self) -> Lines<'a> {
        Lines { head: self.head, bytes: self.bytes, trusted: self.peer.trusted }
    }

    /// Of a route with several pools, the one that the client's session is tied to.
    pub(crate) fn tied_arm(
        &self,
        snapshot: &Snapshot,
        route: &RoutePlan,
        unix_nanos: u64,
    ) -> Option<usize> {
        let is_tied = |index: usize| {
            let pool = snapshot.pools.get(index);
            let tie = |pool: &Arc<Pool>| session::tie(pool, self.head, self.bytes, unix_nanos);
            pool.is_some_and(|pool| tie(pool).is_some())
        };
        let mut arms = route.split.iter().filter(|(_, weight)| *weight > 0);
        arms.find(|(index, _)| is_tied(*index)).map(|(index, _)| *index)
    }

    /// What decides between the pools of a split: the client's address if one of them keeps
    /// clients by it, else chance.
    pub(crate) fn arm_draw(
        &self,
        snapshot: &Snapshot,
        route: &RoutePlan,
        chance: impl FnOnce() -> u64,
    ) -> u64 {
        let by_address = |(index, _): &(usize, u32)| {
            let pool = snapshot.pools.get(*index);
            pool.is_some_and(|pool| pool.plan.affinity == AffinityPlan::ClientIp)
        };
        match self.ip().filter(|_| route.split.iter().any(by_address)) {
            Some(IpAddr::V4(ip)) => hash_with(&ip.octets(), ARM_SEED),
            Some(IpAddr::V6(ip)) => hash_with(&ip.octets(), ARM_SEED),
            None => chance(),
        }
    }

    /// The pool that a migration gives the request to; `random` is for cohorts of single requests.
    pub(crate) fn moved_to(&self, rule: &ArmRule, random: u64) -> usize {
        let cookie = |name: &str| {
            let mut lines = headers::cookie_lines(self.head, self.bytes);
            lines.find_map(|line| find_cookie(line, name.as_bytes()))
        };
        let drawn = random.to_le_bytes();
        let address = || self.ip().map_or_else(Vec::new, |ip| ip.to_string().into_bytes());
        let cohort = match &rule.key {
            CohortKey::Request => rule.cohort(&drawn),
            CohortKey::ClientIp => rule.cohort(&address()),
            CohortKey::Header(name) => match self.first_value(name) {
                Some(value) => rule.cohort(value),
                None => rule.cohort(&address()),
            },
            CohortKey::Cookie(name) => match cookie(name) {
                Some(value) => rule.cohort(value),
                None => rule.cohort(&address()),
            },
        };
        rule.pool(cohort, |named| match named {
            Named::Header(name, value) => {
                let lines = self.lines();
                lines.any_value(name.as_bytes(), &mut |found| found == value.as_bytes())
            }
            Named::Cookie(name, value) => cookie(name).is_some_and(|it| it == value.as_bytes()),
        })
    }

    /// The bucket that the request takes a token from.
    pub(crate) fn rate_key(&self, plan: &RateLimitPlan, limiter: &RateLimiter) -> u64 {
        let by_ip = || match self.ip() {
            Some(ip) => limiter.key_of_ip(ip),
            None => limiter.key_of_bytes(b""),
        };
        match &plan.key {
            RateKey::ClientIp => by_ip(),
            // Leaving the field out is no way around the limit.
            RateKey::Header(name) => match self.first_value(name) {
                Some(value) => limiter.key_of_bytes(value),
                None => by_ip(),
            },
            RateKey::Route => limiter.whole(),
        }
    }

    /// The hash of the key that the pool chooses by. `path` is the matching side of the view.
    pub(crate) fn hash(&self, pool: &Pool, path: &[u8]) -> u64 {
        let by_ip = || match self.ip() {
            Some(IpAddr::V4(ip)) => hash(&ip.octets()),
            Some(IpAddr::V6(ip)) => hash(&ip.octets()),
            None => hash(b""),
        };
        let query = self.head.query.of_buf(self.bytes);
        let query = query.strip_prefix(b"?").unwrap_or(query);
        let by = match &pool.plan.affinity {
            AffinityPlan::ClientIp => &HashKey::ClientIp,
            AffinityPlan::Off | AffinityPlan::Cookie(_) => &pool.plan.hash.key,
        };
        let key = match by {
            HashKey::ClientIp => None,
            HashKey::Header(name) => self.first_value(name),
            HashKey::Cookie(name) => headers::cookie_lines(self.head, self.bytes)
                .find_map(|line| find_cookie(line, name.as_bytes())),
            HashKey::Path => Some(path),
            HashKey::Query(None) => Some(query).filter(|query| !query.is_empty()),
            HashKey::Query(Some(name)) => query_value(query, name.as_bytes()),
        };
        key.map_or_else(by_ip, hash)
    }

    /// True if the body is announced longer than the listener allows.
    pub(crate) fn is_too_large(&self) -> bool {
        let most = self.listener.limits.max_request_body_bytes;
        matches!(self.head.body, BodyLength::Fixed(length) if most > 0 && length > most)
    }

    /// The first value of a field that means anything.
    pub(crate) fn first_value(&self, lower_name: &str) -> Option<&[u8]> {
        let trusted = self.peer.trusted;
        let mut fields = self.head.fields.iter();
        let field = fields.find(|field| {
            field.name.of_buf(self.bytes).eq_ignore_ascii_case(lower_name.as_bytes())
                && headers::is_believed(field.known, trusted)
        })?;
        Some(field.value.of_buf(self.bytes))
    }
}

/// The path that a request names; with none `/`, or `*` where the server itself is asked for its
/// options (RFC 9112 3.2.4).
fn given_path<'a>(head: &RequestHead, bytes: &'a [u8]) -> &'a [u8] {
    match head.path.of_buf(bytes) {
        b"" if head.query.is_empty() && head.method.of_buf(bytes) == b"OPTIONS" => b"*",
        b"" => b"/",
        path => path,
    }
}

impl<N: Net> Exchange<N> {
    /// Decides all of it; the head for the backend is then in the exchange's own buffer.
    pub(crate) fn admit(&mut self, worker: &Worker<N>, asked: Asked<'_>) -> Result<(), Failure> {
        let Asked { head, bytes, peer, listener } = asked;
        let Scratch { path: path_scratch, host: host_lower, .. } =
            &mut *worker.scratch.borrow_mut();
        let id = new_request_id(&worker.net);
        let from = peer.forwarding(&worker.shared.pseudonym, &id);
        let given = given_path(head, bytes);
        self.note_head(asked, &from);
        if let Some(plan) = &self.record.snapshot().plan.tracing {
            self.record.traced = trace::begin(&worker.net, asked, plan);
        }
        let view = path::view(given, listener.paths, path_scratch);
        self.note_path(view.as_ref().map_or(given, |view| view.forward));
        let view = view?;
        if headers::is_loop(head, bytes, from.pseudonym) {
            return Err(Failure::Loop);
        }
        let snapshot = self.record.snapshot().clone();
        host_lower.clear();
        host_lower.extend_from_slice(head.host.of_buf(bytes));
        host_lower.make_ascii_lowercase();
        if peer.secure.as_ref().is_some_and(|identity| !identity.serves(host_lower)) {
            return Err(Failure::Misdirected);
        }
        if !listener.mounts.is_empty()
            && let Some(wish) = mount::find(asked, host_lower, view.matching)
        {
            self.mounted = Some(Box::new(Own::Mount(wish)));
            return Ok(());
        }
        if let Some(redirect) = &listener.redirect {
            let page = Own::Page(redirect::page(redirect, asked, view.forward)?);
            self.mounted = Some(Box::new(page));
            return Ok(());
        }
        let lines = asked.lines();
        let query = asked.query((host_lower, view.matching), &lines);
        let index = snapshot.table.find(&query).ok_or(Failure::NoRoute)?;
        let route = snapshot.plan.routes.get(index).ok_or(Failure::NoRoute)?;
        self.record.route = Some(index);
        if !may_use(route, || asked.ip()) {
            return Err(Failure::Denied);
        }
        if let Some(Some(limiter)) = snapshot.limiters.get(index) {
            self.count_rate(worker, route, limiter, asked)?;
        }
        if asked.is_too_large() {
            return Err(Failure::BodyTooLarge);
        }
        self.record.pool = self.choose_pool(worker, route, asked);
        if let Some(rule) = &route.arms {
            self.record.awaiting = self.record.pool.and_then(|pool| rule.begin(pool));
        }
        let pool = self.record.pool.and_then(|at| snapshot.pools.get(at));
        let pool = pool.ok_or(Failure::NoBackend)?;
        self.choose_key(worker, pool, &view, asked);
        let stripped = forwarded_path(route, view.forward);
        let target = Target {
            path: &stripped,
            fallback_host: pool.backends.first().map_or("", |backend| &backend.label),
            rules: &route.request_headers,
            own_cookie: session::cookie_name(pool),
        };
        headers::for_backend(head, bytes, &target, &from, &mut self.upload.kept.bytes);
        self.pass_trace();
        if !route.mirrors.is_empty() {
            self.draw_copies(route, asked, view.matching);
        }
        Ok(())
    }

    /// The pool of the route; of several, the one that the client's session is tied to, or a drawn
    /// one.
    fn choose_pool(
        &self,
        worker: &Worker<N>,
        route: &RoutePlan,
        asked: Asked<'_>,
    ) -> Option<usize> {
        if let Some(rule) = &route.arms {
            return Some(asked.moved_to(rule, worker.net.random()));
        }
        let snapshot = self.record.snapshot();
        if route.split.len() == 1 {
            return snapshot.pool_of(route, 0);
        }
        let tied = asked.tied_arm(snapshot, route, worker.net.unix_nanos());
        let draw = || asked.arm_draw(snapshot, route, || worker.net.random());
        tied.or_else(|| snapshot.pool_of(route, draw()))
    }

    /// Takes a token of the route's rate limit.
    fn count_rate(
        &mut self,
        worker: &Worker<N>,
        route: &RoutePlan,
        limiter: &RateLimiter,
        asked: Asked<'_>,
    ) -> Result<(), Failure> {
        let Some(plan) = &route.rate_limit else { return Ok(()) };
        let key = asked.rate_key(plan, limiter);
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
        asked: Asked<'_>,
    ) {
        if pool.cookie_keys.is_some() {
            let now = worker.net.unix_nanos();
            self.tie = session::tie(pool, asked.head, asked.bytes, now);
        }
        if pool.wants_hash() {
            self.hash = asked.hash(pool, view.matching);
        }
    }

    fn note_head(&mut self, asked: Asked<'_>, from: &Forwarding<'_>) {
        let Asked { head, bytes, peer, .. } = asked;
        self.record.method = MethodLabel::of(head.method.of_buf(bytes));
        self.record.set(Part::RequestId, headers::request_id(head, bytes, from));
        if self.record.is_wanted() {
            if peer.trusted {
                let text = asked.ip().map(|ip| ip.to_string()).unwrap_or_default();
                self.record.set(Part::ClientIp, text.as_bytes());
            } else {
                self.record.set(Part::ClientIp, peer.text.as_bytes());
            }
            self.record.set(Part::Method, head.method.of_buf(bytes));
            self.record.set(Part::Host, head.authority.of_buf(bytes));
        }
    }

    /// A path that is refused, and so has no view, is noted as it was given.
    fn note_path(&mut self, path: &[u8]) {
        if self.record.is_wanted() {
            self.record.set(Part::Path, path);
        }
    }
}

/// The path that the backend is asked for.
pub(crate) fn forwarded_path<'a>(route: &RoutePlan, forward: &'a [u8]) -> Cow<'a, [u8]> {
    match &route.matches.path {
        PathMatch::Prefix(prefix) if route.strip_prefix => strip_prefix(forward, prefix),
        PathMatch::Prefix(_) | PathMatch::Exact(_) | PathMatch::Any => forward.into(),
    }
}

/// The header lines of a request, for route tests.
pub(crate) struct Lines<'a> {
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
