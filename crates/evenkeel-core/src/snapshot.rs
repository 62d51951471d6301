//! A plan compiled for serving: immutable, shared by all workers, one for a whole exchange.
//!
//! The next one carries over by identity what is known now: a listener is known by its name and
//! where it binds, a route by its name, a pool by its name, a backend by its pool and address.

use crate::affinity::CookieKeys;
use crate::limit::RateLimiter;
use crate::plan::{
    AffinityPlan, CookiePlan, ListenerPlan, ListenerProtocol, Plan, PoolPlan, RoutePlan,
};
use crate::pool::Pool;
use crate::route::RouteTable;
use crate::time::Nanos;
use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// Tries that one exchange may make, whatever the configuration says.
pub const MAX_TRIES: u32 = 16;

/// The configuration in force.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts snapshots from 1.
    pub generation: u64,
    /// What it was made from.
    pub plan: Plan,
    /// Finds the route of a request.
    pub table: RouteTable,
    /// In the order of `plan.pools`.
    pub pools: Vec<Arc<Pool>>,
    /// In the order of `plan.routes`.
    pub limiters: Vec<Option<Arc<RateLimiter>>>,
    /// In the order of `plan.listeners`.
    pub doors: Vec<Door>,
    /// No listener had this number, or a higher one.
    next_door: usize,
    /// What else belongs to this configuration, such as certificates.
    pub sealed: Sealed,
}

/// A listener over all configurations that have it.
#[derive(Clone, Debug)]
pub struct Door {
    /// Stands for it wherever a listener is referred to; never used for another one.
    pub number: usize,
    /// Client connections that came in here and are open.
    pub open: Arc<AtomicUsize>,
}

impl Door {
    fn new(number: usize) -> Door {
        Door { number, open: Arc::default() }
    }
}

/// What only the serving code can read of a snapshot; it is swapped with it.
pub type Sealed = Arc<dyn Any + Send + Sync>;

/// What a snapshot needs that must not be guessed from outside.
pub trait Secrets {
    /// The keys that sign the cookies of this plan.
    fn cookie_keys(&mut self, plan: &CookiePlan) -> Arc<CookieKeys>;
    /// Numbers that nobody can predict.
    fn seed(&mut self) -> [u64; 2];
    /// What else belongs to the configuration; by default nothing.
    fn sealed(&mut self) -> Sealed {
        Arc::new(())
    }
}

impl Snapshot {
    /// Compiles a checked plan.
    pub fn new(plan: Plan, secrets: &mut dyn Secrets) -> Snapshot {
        let pool = |plan: &PoolPlan, keys| Arc::new(Pool::new(plan.clone(), keys));
        let pools = pools(&plan, secrets, pool);
        let limiters = limiters(&plan, secrets, |_| None);
        let doors: Vec<Door> = (0..plan.listeners.len()).map(Door::new).collect();
        let (next_door, table) = (doors.len(), RouteTable::compile(&plan.routes));
        let sealed = secrets.sealed();
        Snapshot { generation: 1, table, plan, pools, limiters, doors, next_door, sealed }
    }

    /// Compiles the plan that takes the place of this one now. Nothing of this one changes, but
    /// both know the same of what they have in common.
    pub fn next(&self, plan: Plan, secrets: &mut dyn Secrets, now: Nanos) -> Snapshot {
        let known: HashMap<&str, &Arc<Pool>> =
            self.pools.iter().map(|pool| (&*pool.plan.name, pool)).collect();
        let pool = |plan: &PoolPlan, keys| match known.get(&*plan.name) {
            Some(pool) => pool.replanned(plan, keys, now),
            None => Arc::new(Pool::new(plan.clone(), keys)),
        };
        let pools = pools(&plan, secrets, pool);
        let known: HashMap<&str, usize> =
            self.plan.routes.iter().enumerate().map(|(at, route)| (&*route.name, at)).collect();
        let limiters = limiters(&plan, secrets, |route| {
            let at = *known.get(&*route.name)?;
            let same = self.plan.routes[at].rate_limit == route.rate_limit;
            same.then(|| self.limiters[at].clone()).flatten()
        });
        let doors = self.doors_for(&plan.listeners);
        let next_door = doors.iter().map(|door| door.number + 1).fold(self.next_door, usize::max);
        let generation = self.generation + 1;
        let table = RouteTable::compile(&plan.routes);
        let sealed = secrets.sealed();
        Snapshot { generation, table, plan, pools, limiters, doors, next_door, sealed }
    }

    /// Who those of the next plan are. A listener is the same if it binds where it did; which of
    /// several that let the system choose a port, its name tells.
    pub fn doors_for(&self, wanted: &[ListenerPlan]) -> Vec<Door> {
        let mut free: Vec<(&ListenerPlan, &Door)> =
            self.plan.listeners.iter().zip(&self.doors).collect();
        let mut doors: Vec<Option<Door>> = vec![None; wanted.len()];
        for by_name in [true, false] {
            for (listener, door) in wanted.iter().zip(&mut doors).filter(|(_, d)| d.is_none()) {
                let any_port = listener.bind.socket_addrs().iter().any(|at| at.port() == 0);
                let found = free.iter().position(|(known, _)| {
                    known.bind == listener.bind
                        && is_udp(known) == is_udp(listener)
                        && if by_name { known.name == listener.name } else { !any_port }
                });
                *door = found.map(|at| free.swap_remove(at).1.clone());
            }
        }
        let mut numbers = self.next_door..;
        // The numbers do not end: a process has not so many listeners in its life.
        let mut new = || Door::new(numbers.next().unwrap_or(usize::MAX));
        doors.into_iter().map(|door| door.unwrap_or_else(&mut new)).collect()
    }

    /// The place in `plan.listeners` of the listener with this number; `None` if it has gone.
    #[inline]
    pub fn listener_index(&self, number: usize) -> Option<usize> {
        self.doors.iter().position(|door| door.number == number)
    }

    /// The listener with this number; `None` if it has gone.
    #[inline]
    pub fn listener(&self, number: usize) -> Option<&ListenerPlan> {
        self.plan.listeners.get(self.listener_index(number)?)
    }

    /// Index of the pool for one request of a route; `draw` is uniform over u64 and decides a
    /// split.
    pub fn pool_of(&self, route: &RoutePlan, draw: u64) -> Option<usize> {
        if let [(pool, _)] = route.split.as_slice() {
            return Some(*pool);
        }
        let total: u64 = route.split.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut left = draw.checked_rem(total)?;
        for (pool, weight) in &route.split {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return Some(*pool),
            }
        }
        None
    }
}

fn is_udp(listener: &ListenerPlan) -> bool {
    matches!(listener.protocol, ListenerProtocol::Udp(_))
}

fn pools(
    plan: &Plan,
    secrets: &mut dyn Secrets,
    pool: impl Fn(&PoolPlan, Option<Arc<CookieKeys>>) -> Arc<Pool>,
) -> Vec<Arc<Pool>> {
    let with_keys = |plan: &PoolPlan| {
        let keys = match &plan.affinity {
            AffinityPlan::Cookie(cookie) => Some(secrets.cookie_keys(cookie)),
            AffinityPlan::Off | AffinityPlan::ClientIp => None,
        };
        pool(plan, keys)
    };
    plan.pools.iter().map(with_keys).collect()
}

fn limiters(
    plan: &Plan,
    secrets: &mut dyn Secrets,
    known: impl Fn(&RoutePlan) -> Option<Arc<RateLimiter>>,
) -> Vec<Option<Arc<RateLimiter>>> {
    let limiter = |route: &RoutePlan| {
        let plan = route.rate_limit.as_ref()?;
        known(route).or_else(|| Some(Arc::new(RateLimiter::new(plan, secrets.seed()))))
    };
    plan.routes.iter().map(limiter).collect()
}

#[cfg(test)]
mod tests;
