//! A backend while it serves: live counters and addresses that outlive configurations, because they
//! belong to its identity (pool, address) and not to the text that named it.

use crate::address::Endpoint;
use crate::plan::{AdminState, BackendPlan};
use crossbeam_utils::CachePadded;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
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

/// One address that is called, with what is known about it now.
#[derive(Debug)]
pub struct Backend {
    /// As configured.
    pub plan: BackendPlan,
    /// Unique over the life of the process; small, for indexing.
    pub slot: usize,
    /// `host:port` for log lines.
    pub label: Arc<str>,
    in_flight: CachePadded<AtomicU32>,
    resolved: Mutex<Vec<SocketAddr>>,
    rotation: AtomicUsize,
    idle_close_seen_ms: AtomicU64,
    idle_close_at_ms: AtomicU64,
    idle_close_ms: AtomicU64,
}

impl Backend {
    /// A backend about which nothing is known yet.
    pub fn new(plan: BackendPlan) -> Backend {
        let fixed = match &plan.address.endpoint {
            Endpoint::Ip(address) => vec![*address],
            Endpoint::Name(..) | Endpoint::Unix(_) => Vec::new(),
        };
        Backend {
            label: plan.address.default_name().into(),
            plan,
            slot: NEXT_SLOT.fetch_add(1, Ordering::Relaxed),
            in_flight: CachePadded::default(),
            resolved: Mutex::new(fixed),
            rotation: AtomicUsize::new(0),
            idle_close_seen_ms: AtomicU64::new(0),
            idle_close_at_ms: AtomicU64::new(0),
            idle_close_ms: AtomicU64::new(0),
        }
    }

    /// Requests sent and not finished.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts one exchange for as long as the guard lives.
    pub fn pick(self: &Arc<Self>) -> Pick {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Pick { backend: Arc::clone(self) }
    }

    /// True if new traffic may go here: admin state and weight; health and breaker join later.
    pub fn is_eligible(&self) -> bool {
        self.plan.weight > 0 && self.plan.admin == AdminState::Enabled
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
    /// and so may many at one moment; two alike at different times are an idle timer.
    pub fn observe_idle_close(&self, closed: IdleClose) {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (idle, at) = (ms(closed.idle), ms(closed.at));
        if idle < MIN_IDLE_CLOSE_MS {
            return;
        }
        let last_at = self.idle_close_at_ms.swap(at, Ordering::Relaxed);
        let before = self.idle_close_seen_ms.swap(idle, Ordering::Relaxed);
        let alike = before.abs_diff(idle).saturating_mul(100)
            <= before.saturating_mul(CONFIRM_WITHIN_PERCENT);
        if before > 0 && alike && at.abs_diff(last_at) >= CONFIRM_APART_MS {
            self.idle_close_ms.store(before.min(idle), Ordering::Relaxed);
        }
    }

    fn lock_resolved(&self) -> std::sync::MutexGuard<'_, Vec<SocketAddr>> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A chosen backend; holds its in-flight count until dropped.
#[derive(Debug)]
pub struct Pick {
    backend: Arc<Backend>,
}

impl std::ops::Deref for Pick {
    type Target = Arc<Backend>;

    fn deref(&self) -> &Arc<Backend> {
        &self.backend
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.backend.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::BackendAddress;

    pub(crate) fn plan(text: &str) -> BackendPlan {
        let address = BackendAddress::parse(text).expect("valid");
        let name = address.default_name().into();
        BackendPlan { name, address, weight: 1, admin: AdminState::Enabled }
    }

    #[test]
    fn in_flight_is_counted_by_guards() {
        let backend = Arc::new(Backend::new(plan("127.0.0.1:1")));
        let picks: Vec<_> = (0..3).map(|_| backend.pick()).collect();
        assert_eq!(backend.in_flight(), 3);
        drop(picks);
        assert_eq!(backend.in_flight(), 0);
    }

    #[test]
    fn idle_close_time_needs_two_observations() {
        let backend = Backend::new(plan("127.0.0.1:1"));
        let configured = Duration::from_secs(30);
        let close = |idle_ms, at_ms| {
            let (idle, at) = (Duration::from_millis(idle_ms), Duration::from_millis(at_ms));
            backend.observe_idle_close(IdleClose { idle, at });
            backend.idle_timeout(configured)
        };
        assert_eq!(close(4000, 10_000), configured);
        assert_eq!(close(4100, 10_010), configured, "one restart closes many at once");
        assert_eq!(close(4000, 15_000), Duration::from_secs(3));
        assert_eq!(close(10, 20_000), Duration::from_secs(3));
    }

    #[test]
    fn several_addresses_take_turns() {
        let backend = Backend::new(plan("name.test:80"));
        assert!(backend.addresses().is_empty());
        let ip = |last: u8| SocketAddr::from(([127, 0, 0, last], 80));
        backend.publish(&[ip(1), ip(2)]);
        assert_eq!(backend.addresses(), [ip(1), ip(2)]);
        assert_eq!(backend.addresses(), [ip(2), ip(1)]);
    }
}
