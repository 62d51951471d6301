//! A plan compiled for serving: immutable, shared by all workers, one for a whole exchange.

use crate::backend::{Backend, Pick};
use crate::plan::{Plan, PoolPlan, RoutePlan};
use crate::route::RouteTable;
use crate::strategy::round_robin::RoundRobin;
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
}

impl Snapshot {
    /// Compiles a checked plan.
    pub fn new(plan: Plan) -> Snapshot {
        let pools = plan.pools.iter().map(|pool| Arc::new(Pool::new(pool.clone()))).collect();
        Snapshot { table: RouteTable::compile(&plan.routes), plan, pools }
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

/// A named set of backends while it serves.
#[derive(Debug)]
pub struct Pool {
    /// As configured.
    pub plan: PoolPlan,
    /// In the order configured.
    pub backends: Vec<Arc<Backend>>,
    eligible: Vec<usize>,
    round_robin: RoundRobin,
}

impl Pool {
    fn new(plan: PoolPlan) -> Pool {
        let backends: Vec<_> =
            plan.backends.iter().map(|b| Arc::new(Backend::new(b.clone()))).collect();
        let eligible =
            backends.iter().enumerate().filter(|(_, b)| b.is_eligible()).map(|(i, _)| i).collect();
        Pool { plan, backends, eligible, round_robin: RoundRobin::default() }
    }

    /// The backend for the next try: in turn among the eligible ones that were not tried yet.
    /// `None` if there is no such backend.
    #[inline]
    pub fn pick(&self, tried: &Tried) -> Option<Pick> {
        for _ in 0..self.eligible.len() {
            let turn = self.round_robin.next(self.eligible.len())?;
            let backend = self.backends.get(*self.eligible.get(turn)?)?;
            if !tried.contains(backend.slot) {
                return Some(backend.pick());
            }
        }
        None
    }
}

/// The backends that one exchange has tried.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    slots: Vec<usize>,
}

impl Tried {
    /// Remembers a try; does not allocate before the first.
    pub fn push(&mut self, slot: usize) {
        self.slots.push(slot);
    }

    fn contains(&self, slot: usize) -> bool {
        self.slots.contains(&slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{AdminState, BackendPlan, ConnectionsPlan, RetryPlan, TimeoutsPlan};
    use crate::strategy::StrategyName;
    use std::time::Duration;

    fn pool(names: &[(&str, u32)]) -> Pool {
        let backends = names.iter().map(|(name, weight)| BackendPlan {
            name: (*name).into(),
            address: crate::address::BackendAddress::parse("127.0.0.1:1").expect("valid"),
            weight: *weight,
            admin: AdminState::Enabled,
        });
        Pool::new(PoolPlan {
            name: "p".into(),
            strategy: StrategyName::RoundRobin,
            strategy_text: "rr".into(),
            backends: backends.collect(),
            retry: RetryPlan {
                attempts: 3,
                on_connect_failure: true,
                on_reset: true,
                buffer_bytes: 65_536,
            },
            connections: ConnectionsPlan { max_idle: 64, idle_timeout: Duration::from_secs(30) },
            timeouts: TimeoutsPlan {
                connect: Duration::from_secs(3),
                response_head: Duration::from_secs(60),
                idle: Duration::from_secs(300),
            },
        })
    }

    fn name(pick: Option<Pick>) -> String {
        pick.map_or_else(String::new, |p| p.plan.name.to_string())
    }

    #[test]
    fn turns_skip_weight_zero_and_tried() {
        let pool = pool(&[("a", 1), ("b", 0), ("c", 1)]);
        let none = Tried::default();
        let order: Vec<_> = (0..4).map(|_| name(pool.pick(&none))).collect();
        assert_eq!(order, ["a", "c", "a", "c"]);
        let mut tried = Tried::default();
        tried.push(pool.backends[0].slot);
        assert_eq!(name(pool.pick(&tried)), "c");
        tried.push(pool.backends[2].slot);
        assert!(pool.pick(&tried).is_none());
    }

    #[test]
    fn a_failed_backend_leaves_the_others_alternating() {
        let pool = pool(&[("a", 1), ("b", 1), ("c", 1)]);
        let serve = || {
            let mut tried = Tried::default();
            loop {
                let pick = pool.pick(&tried).expect("two left");
                if &*pick.plan.name != "b" {
                    return pick.plan.name.to_string();
                }
                tried.push(pick.slot);
            }
        };
        let order: Vec<_> = (0..6).map(|_| serve()).collect();
        assert_eq!(order, ["a", "c", "a", "c", "a", "c"]);
    }
}
