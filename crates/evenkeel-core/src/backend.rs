//! A backend while it serves: live counters and addresses that outlive configurations, because they
//! belong to its identity (pool, address) and not to the text that named it.
//!
//! Whether it may take traffic is decided on three axes that know nothing of each other: what the
//! operator wants (admin state, weight), what probes found (health), what traffic found (breaker).
//! `Backend::barred` is the only place that joins them; suspicion comes on top, while others exist.

mod pace;

pub use pace::ConnectTimes;

use crate::address::Endpoint;
use crate::affinity::BackendId;
use crate::breaker::{Breaker, BreakerState};
use crate::health::{Health, HealthState};
use crate::plan::{AdminState, BackendPlan};
use crate::strategy::least_response_time::ResponseTimes;
use crate::suspicion::{Suspicion, Trust};
use crate::time::Nanos;
use crossbeam_utils::CachePadded;
use pace::Hearing;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Numbers backends over the life of the process, so that workers can index by it.
static NEXT_SLOT: AtomicUsize = AtomicUsize::new(0);

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

/// Why a backend gets no new traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// The operator took it out.
    Disabled,
    /// The operator lets it finish what runs; sessions tied to it go on.
    Draining,
    /// Its weight is 0; sessions tied to it go on.
    NoWeight,
    /// Probes failed.
    Unhealthy,
    /// Requests failed.
    BreakerOpen,
    /// It may be dead; a probe will tell. Counts only while others exist.
    Suspected,
    /// It asked for a pause (`Retry-After`). Counts only while others exist.
    Paused,
}

impl Bar {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Bar::Disabled => "disabled",
            Bar::Draining => "draining",
            Bar::NoWeight => "weight 0",
            Bar::Unhealthy => "unhealthy",
            Bar::BreakerOpen => "breaker open",
            Bar::Suspected => "suspected",
            Bar::Paused => "asked for a pause",
        }
    }
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

/// One address that is called, with what is known about it now.
#[derive(Debug)]
pub struct Backend {
    /// As configured.
    pub plan: BackendPlan,
    /// Unique over the life of the process; small, for indexing.
    pub slot: usize,
    /// `host:port` for log lines.
    pub label: Arc<str>,
    /// What a session cookie calls it.
    pub id: BackendId,
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
    paused_until: AtomicU64,
    joined_at: AtomicU64,
    resolved: Mutex<Vec<SocketAddr>>,
    rotation: AtomicUsize,
    idle_close_seen_ms: AtomicU64,
    idle_close_at_ms: AtomicU64,
    idle_close_ms: AtomicU64,
}

impl Backend {
    /// A backend about which nothing is known yet.
    pub fn new(pool: &str, plan: BackendPlan) -> Backend {
        let fixed = match &plan.address.endpoint {
            Endpoint::Ip(address) => vec![*address],
            Endpoint::Name(..) | Endpoint::Unix(_) => Vec::new(),
        };
        Backend {
            label: plan.address.default_name().into(),
            id: BackendId::of(pool, &plan.name),
            plan,
            slot: NEXT_SLOT.fetch_add(1, Ordering::Relaxed),
            health: Health::default(),
            breaker: Breaker::default(),
            suspicion: Suspicion::default(),
            times: ResponseTimes::default(),
            connect_times: ConnectTimes::default(),
            load: CachePadded::default(),
            idle: AtomicI64::new(0),
            paused_until: AtomicU64::new(0),
            joined_at: AtomicU64::new(0),
            resolved: Mutex::new(fixed),
            rotation: AtomicUsize::new(0),
            idle_close_seen_ms: AtomicU64::new(0),
            idle_close_at_ms: AtomicU64::new(0),
            idle_close_ms: AtomicU64::new(0),
        }
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

    /// Counts a connection that is being made, for as long as the guard lives; `None` if `max`
    /// (0 = unlimited) are being made already.
    pub fn connecting(self: &Arc<Self>, max: u32) -> Option<Connecting> {
        let before = self.load.connecting.fetch_add(1, Ordering::Relaxed);
        let guard = Connecting(Arc::clone(self));
        (max == 0 || before < max).then_some(guard)
    }

    /// True if `max` (0 = unlimited) connections are being made.
    pub(crate) fn is_connecting(&self, max: u32) -> bool {
        max > 0 && self.load.connecting.load(Ordering::Relaxed) >= max
    }

    /// Why it gets no new traffic, the gravest reason first; `None` = it is eligible.
    pub fn barred(&self, now: Nanos) -> Option<Bar> {
        match self.plan.admin {
            AdminState::Disabled => return Some(Bar::Disabled),
            AdminState::Draining => return Some(Bar::Draining),
            AdminState::Enabled if self.plan.weight == 0 => return Some(Bar::NoWeight),
            AdminState::Enabled => {}
        }
        self.failing().or_else(|| self.is_paused(now).then_some(Bar::Paused))
    }

    /// The bars that do not come from the operator.
    fn failing(&self) -> Option<Bar> {
        if self.health.state() == HealthState::Unhealthy {
            return Some(Bar::Unhealthy);
        }
        match (self.breaker.state(), self.suspicion.trust()) {
            (BreakerState::Open | BreakerState::HalfOpen, _) => Some(Bar::BreakerOpen),
            (BreakerState::Closed, Trust::Suspected | Trust::Forsaken) => Some(Bar::Suspected),
            (BreakerState::Closed, Trust::Trusted) => None,
        }
    }

    /// True if a session that is tied to it may go on here. A doubt that a healthy backend may
    /// cause as well is no reason to move it.
    pub(crate) fn keeps_sessions(&self) -> bool {
        if self.plan.admin == AdminState::Disabled {
            return false;
        }
        match self.failing() {
            None => true,
            Some(Bar::Suspected) => self.suspicion.is_slight(),
            Some(_) => false,
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

    fn is_paused(&self, now: Nanos) -> bool {
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

    /// True while its name has no address yet.
    pub fn is_unresolved(&self) -> bool {
        matches!(self.plan.address.endpoint, Endpoint::Name(..)) && self.lock_resolved().is_empty()
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

    fn lock_resolved(&self) -> std::sync::MutexGuard<'_, Vec<SocketAddr>> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is being made.
#[derive(Debug)]
pub struct Connecting(Arc<Backend>);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.load.connecting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::BackendAddress;
    use crate::breaker::Trip;
    use crate::health::ProbeResult;
    use crate::plan::PoolPlan;
    use crate::suspicion::Doubt;

    fn backend(text: &str) -> Backend {
        let address = BackendAddress::parse(text).expect("valid");
        Backend::new("p", BackendPlan::bare(address))
    }

    #[test]
    fn idle_close_time_needs_two_observations() {
        let backend = backend("127.0.0.1:1");
        let configured = Duration::from_secs(30);
        let close = |idle_ms, at_ms| {
            let (idle, at) = (Duration::from_millis(idle_ms), Duration::from_millis(at_ms));
            let unexplained = backend.observe_idle_close(IdleClose { idle, at });
            (backend.idle_timeout(configured), unexplained)
        };
        assert_eq!(close(4000, 10_000), (configured, true));
        assert_eq!(close(4100, 10_010), (configured, true), "one restart closes many at once");
        assert_eq!(close(4000, 15_000), (Duration::from_secs(3), false), "an idle timer");
        assert_eq!(close(10, 20_000), (Duration::from_secs(3), true));
        assert_eq!(close(1500, 30_000), (Duration::from_secs(3), true), "much too early");
    }

    #[test]
    fn several_addresses_take_turns() {
        let backend = backend("name.test:80");
        assert!(backend.addresses().is_empty());
        let ip = |last: u8| SocketAddr::from(([127, 0, 0, last], 80));
        backend.publish(&[ip(1), ip(2)]);
        assert_eq!(backend.addresses(), [ip(1), ip(2)]);
        assert_eq!(backend.addresses(), [ip(2), ip(1)]);
    }

    #[test]
    fn a_slight_doubt_does_not_move_sessions() {
        let backend = backend("127.0.0.1:1");
        backend.suspicion.raise(Doubt::Silence, Nanos(1));
        assert_eq!(backend.barred(Nanos(1)), Some(Bar::Suspected));
        assert!(backend.keeps_sessions());
        backend.suspicion.confirm();
        assert!(!backend.keeps_sessions());
    }

    #[test]
    fn eligibility_has_one_truth_table() {
        let now = Nanos(1_000_000_000);
        let mut pool = PoolPlan::bare("p", Vec::new());
        pool.breaker.enabled = true;
        type Cause = fn(&mut Backend, &PoolPlan, Nanos);
        let spares_sessions = |bar| matches!(bar, Bar::Draining | Bar::NoWeight | Bar::Paused);
        let causes: &[(Bar, Cause)] = &[
            (Bar::Disabled, |backend, _, _| backend.plan.admin = AdminState::Disabled),
            (Bar::Draining, |backend, _, _| backend.plan.admin = AdminState::Draining),
            (Bar::NoWeight, |backend, _, _| backend.plan.weight = 0),
            (Bar::Unhealthy, |backend, pool, at| {
                for _ in 0..pool.health.unhealthy_threshold {
                    let fault = Some(crate::health::ProbeFault::Timeout);
                    let result = ProbeResult { at, took: Duration::ZERO, fault };
                    backend.health.record(&pool.health, result);
                }
            }),
            (Bar::BreakerOpen, |backend, pool, at| {
                let _ = backend.breaker.eject(&pool.breaker, at, Trip::Consecutive(5), 0.5);
            }),
            (Bar::Suspected, |backend, _, at| {
                backend.suspicion.raise(Doubt::Reset, at);
            }),
            (Bar::Paused, |backend, _, at| backend.pause(at.after(Duration::from_secs(1)))),
        ];
        assert_eq!(backend("127.0.0.1:1").barred(now), None);
        for (expected, cause) in causes {
            let mut backend = backend("127.0.0.1:1");
            cause(&mut backend, &pool, now);
            assert_eq!(backend.barred(now), Some(*expected));
            assert_eq!(backend.keeps_sessions(), spares_sessions(*expected), "{expected:?}");
        }
    }
}
