//! What is known about an address now: counters, verdicts and learnt times. It belongs to the
//! address and its pool, and outlives the configurations that name them.

use super::pace::Hearing;
use super::{Bar, ConnectTimes};
use crate::address::Endpoint;
use crate::breaker::{Breaker, BreakerState};
use crate::health::{Health, HealthState};
use crate::strategy::least_response_time::ResponseTimes;
use crate::suspicion::{Suspicion, Trust};
use crate::time::Nanos;
use crossbeam_utils::CachePadded;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The number of a backend, so that workers can index by it. Given back when nobody knows the
/// backend any more, so that numbers stay small however many come and go.
#[derive(Debug)]
struct Slot(usize);

/// Numbers that were given back, and the first that was never given out.
static FREE_SLOTS: Mutex<(BinaryHeap<Reverse<usize>>, usize)> = Mutex::new((BinaryHeap::new(), 0));

impl Slot {
    fn take() -> Slot {
        let mut free = FREE_SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
        Slot(free.0.pop().map_or_else(
            || {
                free.1 += 1;
                free.1 - 1
            },
            |Reverse(slot)| slot,
        ))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut free = FREE_SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
        free.0.push(Reverse(self.0));
    }
}

/// Share of a backend's own idle-close time after which we stop using a connection, in percent.
const UNDERCUT_PERCENT: u64 = 75;
/// Two observations of an idle-close time within this distance, in percent, confirm each other.
const CONFIRM_WITHIN_PERCENT: u64 = 25;
/// Closes earlier than this are restarts or limits, not an idle timer, in milliseconds.
const MIN_IDLE_CLOSE_MS: u64 = 100;

/// Two observations must lie so far apart to confirm each other, in milliseconds: a restart closes
/// everything within a moment.
const CONFIRM_APART_MS: u64 = 1000;

/// A connection that the backend closed while it was idle.
#[derive(Clone, Copy, Debug)]
pub struct IdleClose {
    /// How long it had been idle.
    pub idle: Duration,
    /// When it was seen, on any clock that only moves forward.
    pub at: Duration,
}

/// One request whose response has not begun, in `Load::requests`.
const AWAITING: u64 = 1 << 32;

#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
fn in_flight_of(requests: u64) -> u32 {
    requests as u32
}

fn awaiting_of(requests: u64) -> u32 {
    (requests >> 32) as u32
}

/// What every request touches, together on lines of its own.
#[derive(Debug, Default)]
struct Load {
    /// Requests in flight, and [`AWAITING`] for each of those whose response has not begun.
    requests: AtomicU64,
    connecting: AtomicU32,
    hearing: Hearing,
}

/// What is known about an address now.
#[derive(Debug)]
pub struct Live {
    /// Unique among those that anybody knows; small, for indexing.
    pub slot: usize,
    _slot: Slot,
    /// The configuration in force has it no more.
    gone: AtomicBool,
    /// What probes found.
    pub health: Health,
    /// What traffic found.
    pub breaker: Breaker,
    /// Whether it may be dead right now.
    pub suspicion: Suspicion,
    /// How long its answers take, for `least_response_time`.
    pub times: ResponseTimes,
    /// How long its connections take.
    pub connect_times: ConnectTimes,
    load: CachePadded<Load>,
    /// Idle connections of all workers; each corrects it now and then.
    idle: AtomicI64,
    /// Of what is in flight, connections that became tunnels.
    tunnels: AtomicU32,
    /// Sessions that were tied to it.
    ties: AtomicU64,
    paused_until: AtomicU64,
    joined_at: AtomicU64,
    /// `Nanos` of the last change of the operator's wish, 0 before the first.
    wished_at: AtomicU64,
    resolved: Mutex<Vec<SocketAddr>>,
    rotation: AtomicUsize,
    idle_close_seen_ms: AtomicU64,
    idle_close_at_ms: AtomicU64,
    idle_close_ms: AtomicU64,
}

impl Live {
    /// Nothing is known yet.
    pub(super) fn new(endpoint: &Endpoint) -> Live {
        let fixed = match endpoint {
            Endpoint::Ip(address) => vec![*address],
            // It always means this machine (RFC 6761 section 6.3): no need to wait for a resolver.
            Endpoint::Name(host, port) if host.eq_ignore_ascii_case("localhost") => {
                vec![(Ipv4Addr::LOCALHOST, *port).into()]
            }
            Endpoint::Name(..) | Endpoint::Unix(_) => Vec::new(),
        };
        let slot = Slot::take();
        Live {
            slot: slot.0,
            _slot: slot,
            gone: AtomicBool::new(false),
            health: Health::default(),
            breaker: Breaker::default(),
            suspicion: Suspicion::default(),
            times: ResponseTimes::default(),
            connect_times: ConnectTimes::default(),
            load: CachePadded::default(),
            idle: AtomicI64::new(0),
            tunnels: AtomicU32::new(0),
            ties: AtomicU64::new(0),
            paused_until: AtomicU64::new(0),
            joined_at: AtomicU64::new(0),
            wished_at: AtomicU64::new(0),
            resolved: Mutex::new(fixed),
            rotation: AtomicUsize::new(0),
            idle_close_seen_ms: AtomicU64::new(0),
            idle_close_at_ms: AtomicU64::new(0),
            idle_close_ms: AtomicU64::new(0),
        }
    }

    /// The configuration in force has it no more.
    pub fn leave(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// True once `leave` was called.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// A client's session was tied to it.
    pub fn note_tie(&self) {
        self.ties.fetch_add(1, Ordering::Relaxed);
    }

    /// Sessions that were tied to it since the start.
    pub fn ties(&self) -> u64 {
        self.ties.load(Ordering::Relaxed)
    }

    pub(super) fn begin_tunnel(&self) {
        self.tunnels.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end_tunnel(&self) {
        self.tunnels.fetch_sub(1, Ordering::Relaxed);
    }

    /// Tunnels among what is in flight.
    pub fn tunnels(&self) -> u32 {
        self.tunnels.load(Ordering::Relaxed)
    }

    /// Begins a connection; how many were being made before.
    pub(super) fn begin_connecting(&self) -> u32 {
        self.load.connecting.fetch_add(1, Ordering::Relaxed)
    }

    /// Ends one.
    pub(super) fn end_connecting(&self) {
        self.load.connecting.fetch_sub(1, Ordering::Relaxed);
    }

    /// True while a name has no address yet.
    pub(super) fn has_no_address(&self) -> bool {
        self.lock_resolved().is_empty()
    }

    /// Requests sent and not finished.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        in_flight_of(self.load.requests.load(Ordering::Relaxed))
    }

    /// Counts one exchange until `release`. False, and not counted, if `max` (0 = unlimited) are
    /// there already.
    #[inline]
    pub(crate) fn occupy(&self, max: u32, now: Nanos) -> bool {
        let before = self.load.requests.fetch_add(AWAITING + 1, Ordering::Relaxed);
        if max > 0 && in_flight_of(before) >= max {
            self.load.requests.fetch_sub(AWAITING + 1, Ordering::Relaxed);
            return false;
        }
        if awaiting_of(before) == 0 {
            self.load.hearing.begin(now);
        }
        true
    }

    /// Ends an exchange whose response began, or never did.
    pub(crate) fn release(&self, answered: bool) {
        let counted = if answered { 1 } else { AWAITING + 1 };
        self.load.requests.fetch_sub(counted, Ordering::Relaxed);
    }

    /// An answer began, so long after its request was begun.
    #[inline]
    pub(crate) fn heard(&self, now: Nanos, took: Duration) {
        self.load.requests.fetch_sub(AWAITING, Ordering::Relaxed);
        self.load.hearing.heard(now, took);
    }

    /// True if requests are out and nothing has come back for much longer than usual. A response
    /// that has begun, however long it is, is not waited for.
    #[inline]
    pub(crate) fn is_silent(&self, now: Nanos) -> bool {
        let awaiting = awaiting_of(self.load.requests.load(Ordering::Relaxed));
        self.load.hearing.is_silent(now, awaiting)
    }

    /// True if `max` (0 = unlimited) connections are being made.
    pub(crate) fn is_connecting(&self, max: u32) -> bool {
        max > 0 && self.load.connecting.load(Ordering::Relaxed) >= max
    }

    /// The bars that do not come from the operator.
    pub(super) fn failing(&self) -> Option<Bar> {
        if self.health.state() == HealthState::Unhealthy {
            return Some(Bar::Unhealthy);
        }
        match (self.breaker.state(), self.suspicion.trust()) {
            (BreakerState::Open | BreakerState::HalfOpen, _) => Some(Bar::BreakerOpen),
            (BreakerState::Closed, Trust::Suspected | Trust::Forsaken) => Some(Bar::Suspected),
            (BreakerState::Closed, Trust::Trusted) => None,
        }
    }

    /// True if what waits for an answer here should rather be tried elsewhere.
    pub fn is_forsaken(&self) -> bool {
        self.suspicion.trust() == Trust::Forsaken
    }

    /// Idle connections to it, as of a moment ago.
    pub fn idle_connections(&self) -> u32 {
        u32::try_from(self.idle.load(Ordering::Relaxed).max(0)).unwrap_or(u32::MAX)
    }

    /// A worker has so many idle connections more than it last said, or fewer.
    pub fn note_idle(&self, difference: i64) {
        if difference != 0 {
            self.idle.fetch_add(difference, Ordering::Relaxed);
        }
    }

    /// It asked to be left alone until then.
    pub(crate) fn pause(&self, until: Nanos) {
        self.paused_until.store(until.0, Ordering::Relaxed);
    }

    pub(super) fn is_paused(&self, now: Nanos) -> bool {
        now.0 < self.paused_until.load(Ordering::Relaxed)
    }

    /// When its pause ends, if that is to come.
    pub(crate) fn paused_until(&self, now: Nanos) -> Option<Nanos> {
        self.is_paused(now).then(|| Nanos(self.paused_until.load(Ordering::Relaxed)))
    }

    /// It takes part again since now: a ramp may begin.
    pub(crate) fn rejoin(&self, now: Nanos) {
        self.joined_at.store(now.0.max(1), Ordering::Relaxed);
    }

    /// The operator wants something else with it from now on.
    pub(crate) fn note_wish(&self, now: Nanos) {
        self.wished_at.store(now.0.max(1), Ordering::Relaxed);
    }

    /// Since when the operator wants what is wanted; `None` = since it is known.
    pub fn wished_at(&self) -> Option<Nanos> {
        let at = Nanos(self.wished_at.load(Ordering::Relaxed));
        (at > Nanos::default()).then_some(at)
    }

    /// When it joined a pool that served already; `None` if it was there from the start.
    pub fn joined_at(&self) -> Option<Nanos> {
        match self.joined_at.load(Ordering::Relaxed) {
            0 => None,
            at => Some(Nanos(at)),
        }
    }

    /// The addresses to try, the next in turn first; empty while a name has not resolved.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses = self.lock_resolved().clone();
        if addresses.len() > 1 {
            let turn = self.rotation.fetch_add(1, Ordering::Relaxed) % addresses.len();
            addresses.rotate_left(turn);
        }
        addresses
    }

    /// Replaces the addresses that the backend's name stands for.
    pub fn publish(&self, addresses: &[SocketAddr]) {
        let mut resolved = self.lock_resolved();
        resolved.clear();
        resolved.extend_from_slice(addresses);
    }

    /// How long an idle connection may be used again: `configured`, or less if the backend is known
    /// to close earlier by itself.
    pub fn idle_timeout(&self, configured: Duration) -> Duration {
        match self.idle_close_ms.load(Ordering::Relaxed) {
            0 => configured,
            learned => configured.min(Duration::from_millis(learned * UNDERCUT_PERCENT / 100)),
        }
    }

    /// Learns from an idle connection that the backend closed. One observation may be a restart,
    /// and so may many at one moment; two alike at different times are an idle timer. True if no
    /// idle timer explains it: the backend may have gone.
    pub fn observe_idle_close(&self, closed: IdleClose) -> bool {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (idle, at) = (ms(closed.idle), ms(closed.at));
        if idle < MIN_IDLE_CLOSE_MS {
            return true;
        }
        let last_at = self.idle_close_at_ms.swap(at, Ordering::Relaxed);
        let before = self.idle_close_seen_ms.swap(idle, Ordering::Relaxed);
        let alike = before.abs_diff(idle).saturating_mul(100)
            <= before.saturating_mul(CONFIRM_WITHIN_PERCENT);
        if before > 0 && alike && at.abs_diff(last_at) >= CONFIRM_APART_MS {
            self.idle_close_ms.store(before.min(idle), Ordering::Relaxed);
        }
        let learned = self.idle_close_ms.load(Ordering::Relaxed);
        learned == 0 || idle < learned.saturating_mul(UNDERCUT_PERCENT) / 100
    }

    pub(super) fn lock_resolved(&self) -> std::sync::MutexGuard<'_, Vec<SocketAddr>> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
