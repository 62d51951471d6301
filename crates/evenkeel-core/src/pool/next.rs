//! A pool of the next configuration: what is known of its backends, its queue, its budget and its
//! turns goes on; tables are made anew only if what they were made from has changed.

use super::{Begun, KeyTable, Mode, Pool, WaitingRoom, key_table};
use crate::address::{Endpoint, Scheme};
use crate::affinity::CookieKeys;
use crate::backend::Backend;
use crate::plan::{AffinityPlan, BackendPlan, HealthCheck, PoolPlan};
use crate::retry::RetryBudget;
use crate::strategy::round_robin::RoundRobin;
use crate::time::Nanos;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What the same pool of several configurations tells each other: exchanges of an older one still
/// find out about backends that a newer one chooses from.
#[derive(Debug, Default)]
pub(super) struct News {
    count: AtomicU64,
    /// The last mode that was told.
    mode: AtomicU8,
}

impl News {
    /// Who is eligible may have changed.
    pub(super) fn tell(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// True if another mode was told last; for one of those who find out. Normal is not told before
    /// something else was.
    pub(super) fn is_new(&self, mode: Mode) -> bool {
        let code = match mode {
            Mode::Normal | Mode::Doubtful => 0,
            Mode::FailOpen => 1,
            Mode::Empty => 2,
        };
        self.mode.swap(code, Ordering::Relaxed) != code
    }

    /// How often that was told.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }
}

/// What a pool shares with the same pool of another configuration.
pub(super) struct Parts {
    pub(super) keys: Arc<KeyTable>,
    pub(super) in_flight: Arc<AtomicU64>,
    pub(super) budget: Arc<RetryBudget>,
    pub(super) waiting: Arc<WaitingRoom>,
    pub(super) begun: Arc<Begun>,
    pub(super) cursor: Arc<RoundRobin>,
    pub(super) news: Arc<News>,
}

/// What makes a backend the same one: how it is reached, however that is spelt.
type Identity<'a> = (Scheme, &'a Endpoint);

fn identity(plan: &BackendPlan) -> Identity<'_> {
    (plan.address.scheme, &plan.address.endpoint)
}

impl Pool {
    /// The same pool in another configuration. Backends that were not there before join now.
    pub(crate) fn replanned(
        self: &Arc<Pool>,
        plan: &PoolPlan,
        cookie_keys: Option<Arc<CookieKeys>>,
        now: Nanos,
    ) -> Arc<Pool> {
        let same_keys = match (&self.cookie_keys, &cookie_keys) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if same_keys && self.plan == *plan {
            return Arc::clone(self);
        }
        let backends = self.backends_for(plan, now);
        forget_verdicts(&self.plan, plan, &backends, now);
        let connections = &plan.connections;
        self.waiting.set_bounds(connections.queue_max, connections.queue_timeout);
        let parts = Parts {
            keys: self.keys_for(plan),
            in_flight: Arc::clone(&self.in_flight),
            budget: Arc::clone(&self.budget),
            waiting: Arc::clone(&self.waiting),
            begun: Arc::clone(&self.begun),
            cursor: Arc::clone(&self.cursor),
            news: Arc::clone(&self.news),
        };
        Arc::new(Pool::of((plan.clone(), backends), cookie_keys, parts, now))
    }

    fn backends_for(&self, plan: &PoolPlan, now: Nanos) -> Vec<Arc<Backend>> {
        let mut known: HashMap<Identity<'_>, Vec<&Arc<Backend>>> = HashMap::new();
        for backend in &self.backends {
            known.entry(identity(&backend.plan)).or_default().push(backend);
        }
        let mut backends = Vec::with_capacity(plan.backends.len());
        for wanted in &plan.backends {
            let found = known.get_mut(&identity(wanted)).and_then(|alike| {
                // One address may be there under several names.
                let named = alike.iter().position(|backend| backend.plan.name == wanted.name);
                Some(alike.swap_remove(named.or_else(|| alike.len().checked_sub(1))?))
            });
            backends.push(match found {
                Some(known) if known.plan == *wanted => Arc::clone(known),
                Some(known) => Arc::new(known.replanned(&plan.name, wanted.clone(), now)),
                None => {
                    let new = Backend::new(&plan.name, wanted.clone());
                    new.rejoin(now);
                    Arc::new(new)
                }
            });
        }
        backends
    }

    /// The table of keys, made anew only if it would differ.
    fn keys_for(&self, plan: &PoolPlan) -> Arc<KeyTable> {
        let kind = |plan: &PoolPlan| {
            let by_address = plan.affinity == AffinityPlan::ClientIp;
            (by_address, plan.strategy, plan.hash.virtual_nodes)
        };
        let members = |plan: &PoolPlan| plan.backends.len();
        let alike = |(one, other): (&BackendPlan, &BackendPlan)| {
            one.name == other.name && one.weight == other.weight
        };
        let same = kind(&self.plan) == kind(plan)
            && members(&self.plan) == members(plan)
            && self.plan.backends.iter().zip(&plan.backends).all(alike);
        if same { Arc::clone(&self.keys) } else { Arc::new(key_table(plan)) }
    }
}

/// A verdict that nothing could take back any more is no verdict.
fn forget_verdicts(old: &PoolPlan, new: &PoolPlan, backends: &[Arc<Backend>], now: Nanos) {
    if old.health.check != HealthCheck::Off && new.health.check == HealthCheck::Off {
        backends.iter().for_each(|backend| backend.health.forget());
    }
    if old.breaker.enabled && !new.breaker.enabled {
        backends.iter().for_each(|backend| backend.breaker.restore(now));
    }
}

#[cfg(test)]
impl Pool {
    /// True if both choose by the very same table.
    pub(crate) fn shares_keys_with(&self, other: &Pool) -> bool {
        Arc::ptr_eq(&self.keys, &other.keys)
    }
}
