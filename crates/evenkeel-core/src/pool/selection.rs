//! Who is eligible at one moment: made when something changes, read by every pick.

use crate::backend::{Backend, Bar};
use crate::plan::{AdminState, PoolPlan};
use crate::strategy::StrategyName;
use crate::strategy::weighted::{Schedule, Shares};
use crate::time::Nanos;
use std::sync::Arc;

/// How a pool chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Among the eligible.
    Normal,
    /// Nobody is free of doubt or pause; those who are not worse than that serve.
    Doubtful,
    /// Every breaker is open: they are ignored (`fail_open`).
    FailOpen,
    /// Nobody may be tried.
    Empty,
}

/// The order of a strategy that is worked out once per selection.
#[derive(Debug)]
pub(super) enum Order {
    None,
    Turns(Schedule),
    Shares(Shares),
}

/// Who is eligible at one moment.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) mode: Mode,
    /// Indices of the backends to choose from.
    pub(super) members: Vec<usize>,
    /// Their weights.
    pub(super) weights: Vec<u32>,
    pub(super) order: Order,
    /// For each backend of the pool: whether it is a member.
    pub(super) is_member: Vec<bool>,
    /// Backends that only their breaker keeps out: a trial may be due.
    pub(super) tripped: Vec<usize>,
    /// For each backend of the pool: whether it is tripped.
    pub(super) is_tripped: Vec<bool>,
    /// Some member is in its slow start.
    pub(super) ramps: bool,
    /// A pause or a ramp will end.
    pub(super) ends_by_itself: bool,
}

impl Selection {
    pub(super) fn of(plan: &PoolPlan, backends: &[Arc<Backend>], now: Nanos) -> Selection {
        let bars: Vec<Option<Bar>> = backends.iter().map(|b| b.barred(now)).collect();
        let among = |allowed: &dyn Fn(&Option<Bar>) -> bool| -> Vec<usize> {
            bars.iter().enumerate().filter(|(_, bar)| allowed(bar)).map(|(at, _)| at).collect()
        };
        let calm = among(&|bar| bar.is_none());
        let doubtful = || among(&|bar| matches!(bar, None | Some(Bar::Suspected | Bar::Paused)));
        let any = || {
            among(&|bar| {
                matches!(bar, None | Some(Bar::Suspected | Bar::Paused | Bar::BreakerOpen))
            })
        };
        let (mode, members) = if !calm.is_empty() {
            (Mode::Normal, calm)
        } else {
            match (doubtful(), plan.fail_open) {
                (members, _) if !members.is_empty() => (Mode::Doubtful, members),
                (_, true) => match any() {
                    members if members.is_empty() => (Mode::Empty, members),
                    members => (Mode::FailOpen, members),
                },
                (_, false) => (Mode::Empty, Vec::new()),
            }
        };
        let weights: Vec<u32> = members.iter().map(|at| backends[*at].plan.weight).collect();
        let mut is_member = vec![false; backends.len()];
        members.iter().for_each(|at| is_member[*at] = true);
        let ramps = members.iter().any(|at| ramp_share(plan, &backends[*at], now).is_some());
        let paused = backends.iter().any(|backend| backend.paused_until(now).is_some());
        Selection {
            order: match plan.strategy {
                StrategyName::WeightedRoundRobin => Order::Turns(Schedule::new(&weights)),
                StrategyName::WeightedRandom => Order::Shares(Shares::new(&weights)),
                StrategyName::RoundRobin
                | StrategyName::Random
                | StrategyName::LeastConnections
                | StrategyName::LeastResponseTime
                | StrategyName::PowerOfTwo
                | StrategyName::ConsistentHash
                | StrategyName::Maglev => Order::None,
            },
            tripped: among(&|bar| *bar == Some(Bar::BreakerOpen)),
            is_tripped: bars.iter().map(|bar| *bar == Some(Bar::BreakerOpen)).collect(),
            mode,
            members,
            weights,
            is_member,
            ramps,
            ends_by_itself: ramps || paused,
        }
    }

    /// True if the backend may be tried when nobody else is left: only its breaker, a doubt or a
    /// pause speaks against it.
    pub(super) fn is_last_resort(&self, backend: &Backend, now: Nanos) -> bool {
        backend.plan.admin == AdminState::Enabled
            && matches!(
                backend.barred(now),
                None | Some(Bar::BreakerOpen | Bar::Suspected | Bar::Paused)
            )
    }
}

/// Least share of its turns that a backend in its slow start takes.
const RAMP_FLOOR: f64 = 0.1;

/// The share of its turns that a backend takes while its slow start lasts; `None` = all.
pub(super) fn ramp_share(plan: &PoolPlan, backend: &Backend, now: Nanos) -> Option<f64> {
    let since = now.duration_since(backend.joined_at()?);
    if since >= plan.slow_start {
        return None;
    }
    Some((since.as_secs_f64() / plan.slow_start.as_secs_f64()).max(RAMP_FLOOR))
}
