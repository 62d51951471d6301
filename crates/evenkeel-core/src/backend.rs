//! A backend while it serves: what the configuration says of it, and what is known of it now
//! (`live`), which outlives configurations because it belongs to its identity (pool, address) and
//! not to the text that named it.
//!
//! Whether it may take traffic is decided on three axes that know nothing of each other: what the
//! operator wants (admin state, weight), what probes found (health), what traffic found (breaker).
//! `Backend::barred` is the only place that joins them; suspicion comes on top, while others exist.

mod live;
mod memory;
mod pace;

pub use live::{IdleClose, Live};
pub use memory::Memory;
pub use pace::ConnectTimes;

use crate::address::Endpoint;
use crate::affinity::BackendId;
use crate::plan::{AdminState, BackendPlan};
use crate::time::Nanos;
use std::sync::Arc;

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

/// One address that is called, as one configuration names it. What is known about it now is `Live`,
/// which it shares with the same backend of other configurations.
#[derive(Debug)]
pub struct Backend {
    /// As configured.
    pub plan: BackendPlan,
    /// `host:port` for log lines.
    pub label: Arc<str>,
    /// What a session cookie calls it.
    pub id: BackendId,
    live: Arc<Live>,
}

impl std::ops::Deref for Backend {
    type Target = Live;

    #[inline]
    fn deref(&self) -> &Live {
        &self.live
    }
}

impl Backend {
    /// A backend about which nothing is known yet.
    pub fn new(pool: &str, plan: BackendPlan) -> Backend {
        let live = Arc::new(Live::new(&plan.address.endpoint));
        Backend::with(pool, plan, live)
    }

    fn with(pool: &str, plan: BackendPlan, live: Arc<Live>) -> Backend {
        let label = plan.address.place().into();
        Backend { label, id: BackendId::of(pool, &plan.name), plan, live }
    }

    /// The same backend in another configuration. If it begins to take new traffic with that, it
    /// joins now.
    pub(crate) fn replanned(&self, pool: &str, plan: BackendPlan, now: Nanos) -> Backend {
        let next = Backend::with(pool, plan, Arc::clone(&self.live));
        if next.is_wanted() && !self.is_wanted() {
            next.rejoin(now);
        }
        if next.plan.admin != self.plan.admin {
            next.note_wish(now);
        }
        next
    }

    /// True if the operator wants it to take new traffic.
    fn is_wanted(&self) -> bool {
        self.plan.admin == AdminState::Enabled && self.plan.weight > 0
    }

    /// Counts a connection that is being made, for as long as the guard lives; `None` if `max`
    /// (0 = unlimited) are being made already.
    pub fn connecting(self: &Arc<Self>, max: u32) -> Option<Connecting> {
        let before = self.begin_connecting();
        let guard = Connecting(Arc::clone(self));
        (max == 0 || before < max).then_some(guard)
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

    /// True while its name has no address yet.
    pub fn is_unresolved(&self) -> bool {
        matches!(self.plan.address.endpoint, Endpoint::Name(..)) && self.has_no_address()
    }
}

/// An exchange that has become a tunnel, for as long as the guard lives.
#[derive(Debug)]
pub struct OpenTunnel(Arc<Backend>);

impl OpenTunnel {
    /// A tunnel to this backend begins.
    pub fn to(backend: &Arc<Backend>) -> OpenTunnel {
        backend.begin_tunnel();
        OpenTunnel(Arc::clone(backend))
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.end_tunnel();
    }
}

/// A connection that is being made.
#[derive(Debug)]
pub struct Connecting(Arc<Backend>);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.end_connecting();
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
    use std::net::SocketAddr;
    use std::time::Duration;

    fn backend(text: &str) -> Backend {
        let address = BackendAddress::parse(text).expect("valid");
        Backend::new("p", BackendPlan::bare(address))
    }

    #[test]
    fn localhost_needs_no_resolver() {
        assert!(!backend("http://localhost:1").has_no_address());
        assert!(backend("http://app.internal:1").has_no_address());
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
