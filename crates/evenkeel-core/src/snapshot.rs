//! A plan compiled for serving: immutable, shared by all workers, one for a whole exchange.

use crate::affinity::CookieKeys;
use crate::limit::RateLimiter;
use crate::plan::{AffinityPlan, CookiePlan, Plan, RoutePlan};
use crate::pool::Pool;
use crate::route::RouteTable;
use std::sync::Arc;

/// Tries that one exchange may make, whatever the configuration says.
pub const MAX_TRIES: u32 = 16;

/// The configuration in force.
#[derive(Debug)]
pub struct Snapshot {
    /// What it was made from.
    pub plan: Plan,
    /// Finds the route of a request.
    pub table: RouteTable,
    /// In the order of `plan.pools`.
    pub pools: Vec<Arc<Pool>>,
    /// In the order of `plan.routes`.
    pub limiters: Vec<Option<Arc<RateLimiter>>>,
}

/// What a snapshot needs that must not be guessed from outside.
pub trait Secrets {
    /// The keys that sign the cookies of this plan.
    fn cookie_keys(&mut self, plan: &CookiePlan) -> Arc<CookieKeys>;
    /// Numbers that nobody can predict.
    fn seed(&mut self) -> [u64; 2];
}

impl Snapshot {
    /// Compiles a checked plan.
    pub fn new(plan: Plan, secrets: &mut dyn Secrets) -> Snapshot {
        let mut pool = |plan: &crate::plan::PoolPlan| {
            let keys = match &plan.affinity {
                AffinityPlan::Cookie(cookie) => Some(secrets.cookie_keys(cookie)),
                AffinityPlan::Off | AffinityPlan::ClientIp => None,
            };
            Arc::new(Pool::new(plan.clone(), keys))
        };
        let pools = plan.pools.iter().map(&mut pool).collect();
        let mut limiter = |route: &RoutePlan| {
            let plan = route.rate_limit.as_ref()?;
            Some(Arc::new(RateLimiter::new(plan, secrets.seed())))
        };
        let limiters = plan.routes.iter().map(&mut limiter).collect();
        Snapshot { table: RouteTable::compile(&plan.routes), plan, pools, limiters }
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
