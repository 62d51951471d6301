//! What a pick would do, without doing it: the same questions in the same order, asked of copies of
//! whatever choosing would move.

use super::pick::Marks;
use super::{Mode, Pool, Query};
use crate::backend::Bar;
use crate::strategy::StrategyName;
use crate::strategy::least_response_time::ResponseTimes;

const NANOS_PER_MS: f64 = 1e6;

/// What a pick would come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreseen {
    /// The breaker of this backend is due for a trial, and this request would be it.
    Trial(usize),
    /// The session, or the address, is tied to this backend.
    Tied(usize),
    /// The strategy would choose this backend.
    Chosen(usize),
    /// Nobody is eligible; this one is only barred by its breaker or a doubt (`fail_open`).
    LastResort(usize),
    /// All who may be tried are full: the request would wait.
    Queued,
    /// Nobody may be tried.
    Nobody,
}

impl Foreseen {
    /// The backend, if there is one.
    pub fn backend(self) -> Option<usize> {
        match self {
            Foreseen::Trial(index)
            | Foreseen::Tied(index)
            | Foreseen::Chosen(index)
            | Foreseen::LastResort(index) => Some(index),
            Foreseen::Queued | Foreseen::Nobody => None,
        }
    }
}

/// One backend as the pick would see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// What the strategy compares; the lowest wins, shares apart. `None` where it compares nothing.
    pub score: Option<f64>,
    /// Why it gets no new traffic, the gravest reason first.
    pub bar: Option<Bar>,
    /// Whether the strategy may choose it: not barred, or barred while nobody is better.
    pub eligible: bool,
    /// Whether it has no room for one more.
    pub full: bool,
    /// Requests in flight.
    pub in_flight: u32,
}

/// What a pick would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// How the pool chooses.
    pub mode: Mode,
    /// All backends, in the order configured.
    pub candidates: Vec<Candidate>,
    /// The outcome.
    pub outcome: Foreseen,
}

impl Pool {
    /// What [`Pool::pick`] would do with this query now. Nothing is taken, counted or moved.
    pub fn preview(&self, query: &Query<'_>) -> Preview {
        let selection = self.selection.load();
        let candidate =
            |(index, backend): (usize, &std::sync::Arc<crate::backend::Backend>)| Candidate {
                score: self.score(index),
                bar: backend.barred(query.now),
                eligible: selection.is_member[index],
                full: self.is_full(backend, query),
                in_flight: backend.in_flight(),
            };
        let candidates = self.backends.iter().enumerate().map(candidate).collect();
        Preview { mode: selection.mode, candidates, outcome: self.foresee(query) }
    }

    fn foresee(&self, query: &Query<'_>) -> Foreseen {
        let selection = self.selection.load();
        let has_room = |index: usize| !self.is_full(&self.backends[index], query);
        let trial = |index: usize| has_room(index).then_some(index);
        if !selection.tripped.is_empty()
            && let Some(index) = self.trials_due(&selection, query, trial)
        {
            return Foreseen::Trial(index);
        }
        if let Some(index) = self.tied(query) {
            return if has_room(index) { Foreseen::Tied(index) } else { Foreseen::Queued };
        }
        let times: Vec<ResponseTimes> = self.backends.iter().map(|b| b.times.copied()).collect();
        let marks = Marks { cursor: &self.cursor.copied(), times: &|index| &times[index] };
        if let Some(index) = self.choose(&selection, query, &marks) {
            return Foreseen::Chosen(index);
        }
        let untried = |index: &usize| !query.tried.contains(self.backends[*index].slot);
        if selection.members.iter().any(untried) {
            return Foreseen::Queued;
        }
        match self.last_choice(&selection, query) {
            Some(index) if has_room(index) => Foreseen::LastResort(index),
            Some(_) | None => Foreseen::Nobody,
        }
    }

    /// What the strategy compares of a backend, in its own unit.
    fn score(&self, index: usize) -> Option<f64> {
        let backend = &self.backends[index];
        let weight = f64::from(backend.plan.weight);
        let in_flight = f64::from(backend.in_flight());
        match self.plan.strategy {
            StrategyName::LeastConnections => (weight > 0.0).then(|| in_flight / weight),
            StrategyName::LeastResponseTime => (weight > 0.0)
                .then(|| backend.times.cost(backend.in_flight()) / weight)
                .map(|nanos| nanos / NANOS_PER_MS),
            StrategyName::PowerOfTwo => Some(in_flight),
            StrategyName::WeightedRandom | StrategyName::WeightedRoundRobin => {
                let total: f64 = self.backends.iter().map(|b| f64::from(b.plan.weight)).sum();
                (total > 0.0).then(|| weight / total)
            }
            StrategyName::RoundRobin
            | StrategyName::Random
            | StrategyName::ConsistentHash
            | StrategyName::Maglev => None,
        }
    }

    /// The unit of a candidate's score, in words; `None` where nothing is compared.
    pub fn score_unit(&self) -> Option<&'static str> {
        match self.plan.strategy {
            StrategyName::LeastConnections => Some("in flight per weight"),
            StrategyName::LeastResponseTime => Some("ms expected per weight"),
            StrategyName::PowerOfTwo => Some("in flight"),
            StrategyName::WeightedRandom | StrategyName::WeightedRoundRobin => {
                Some("share of all weights")
            }
            StrategyName::RoundRobin
            | StrategyName::Random
            | StrategyName::ConsistentHash
            | StrategyName::Maglev => None,
        }
    }

    /// True if the choice depends on a draw: another time it may be another.
    pub fn draws(&self) -> bool {
        matches!(
            self.plan.strategy,
            StrategyName::Random | StrategyName::WeightedRandom | StrategyName::PowerOfTwo
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::BackendAddress;
    use crate::plan::{AdminState, BackendPlan, PoolPlan};
    use crate::pool::Tried;
    use crate::strategy::STRATEGY_NAMES;
    use crate::time::Nanos;

    fn pool(adjust: impl FnOnce(&mut PoolPlan)) -> Pool {
        let backend = |port: u16| {
            let address = BackendAddress::parse(&format!("127.0.0.1:{port}")).expect("valid");
            BackendPlan { weight: u32::from(port), ..BackendPlan::bare(address) }
        };
        let mut plan = PoolPlan::bare("p", (1..=4).map(backend).collect());
        adjust(&mut plan);
        Pool::new(plan, None)
    }

    fn query(tried: &Tried, step: u64) -> Query<'_> {
        Query {
            tried,
            now: Nanos(1_000_000_000 + step),
            draw: step.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            hash: step.wrapping_mul(0xd134_2543_de82_ef95),
            tied: None,
            repeatable: true,
            has_idle: &|_| false,
        }
    }

    /// Whatever the strategy: what is foreseen is what is then picked, however often it is asked.
    #[test]
    fn a_pick_does_what_was_foreseen() {
        for (strategy, _) in STRATEGY_NAMES {
            let pool = pool(|plan| plan.strategy = *strategy);
            let tried = Tried::default();
            let mut held = Vec::new();
            for step in 0..200 {
                let query = query(&tried, step);
                let foreseen = pool.preview(&query).outcome;
                assert_eq!(pool.preview(&query).outcome, foreseen, "{strategy:?} moves nothing");
                let pick = pool.pick(&query).expect("somebody");
                assert_eq!(foreseen, Foreseen::Chosen(pick.index), "{strategy:?}, step {step}");
                held.push(pick);
                if step % 3 == 0 {
                    held.remove(0);
                }
            }
        }
    }

    #[test]
    fn who_is_out_says_why() {
        let pool = pool(|plan| {
            plan.backends[0].admin = AdminState::Disabled;
            plan.backends[1].weight = 0;
            plan.connections.max = 1;
        });
        let tried = Tried::default();
        let preview = pool.preview(&query(&tried, 0));
        let bars: Vec<_> = preview.candidates.iter().map(|one| (one.eligible, one.bar)).collect();
        let out = [Some(Bar::Disabled), Some(Bar::NoWeight)];
        assert_eq!(bars, [(false, out[0]), (false, out[1]), (true, None), (true, None)]);
        let held: Vec<_> =
            (0..2).map(|step| pool.pick(&query(&tried, step)).expect("room")).collect();
        let preview = pool.preview(&query(&tried, 2));
        assert_eq!(preview.outcome, Foreseen::Queued);
        assert!(preview.candidates[2].full && preview.candidates[3].full);
        drop(held);
    }

    #[test]
    fn nobody_is_nobody() {
        let pool = pool(|plan| plan.backends.iter_mut().for_each(|backend| backend.weight = 0));
        let preview = pool.preview(&query(&Tried::default(), 0));
        assert_eq!((preview.outcome, preview.mode), (Foreseen::Nobody, Mode::Empty));
    }
}
