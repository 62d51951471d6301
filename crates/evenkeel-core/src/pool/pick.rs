//! Who gets the next try.

use super::selection::{Order, Selection, ramp_share};
use super::{KeyTable, Mode, Pool, WaitingRoom};
use crate::backend::Backend;
use crate::breaker::{BreakerState, Trial};
use crate::plan::{AffinityPlan, BreakerPlan};
use crate::strategy::least_response_time::ResponseTimes;
use crate::strategy::round_robin::RoundRobin;
use crate::strategy::{StrategyName, least_connections, least_response_time, power_of_two, random};
use crate::time::Nanos;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

/// A trial is due for so long without a request that can be repeated: then any request will do.
const TRIAL_PATIENCE: Duration = Duration::from_secs(1);
/// Open breakers that one pick looks at, in a pool that has many.
const MAX_TRIALS_SOUGHT: usize = 32;
/// A backend that was full a moment ago is passed over at most so often.
const MAX_LOST_RACES: usize = 8;

/// The backends that one exchange has tried. The first, which usually is the only one, needs no
/// memory of its own.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    first: Option<usize>,
    more: Vec<usize>,
}

impl Tried {
    /// Remembers a try.
    #[inline]
    pub fn push(&mut self, slot: usize) {
        match self.first {
            None => self.first = Some(slot),
            Some(_) => self.more.push(slot),
        }
    }

    /// True before the first try.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// True if the backend was tried.
    #[inline]
    pub fn contains(&self, slot: usize) -> bool {
        self.first == Some(slot) || self.more.contains(&slot)
    }
}

/// What a pick depends on, besides the pool.
pub struct Query<'a> {
    /// Not these again.
    pub tried: &'a Tried,
    /// The time.
    pub now: Nanos,
    /// Uniform over u64.
    pub draw: u64,
    /// Of the request's key, for the hash strategies and `client_ip` affinity.
    pub hash: u64,
    /// Index of the backend that the request's session is tied to.
    pub tied: Option<usize>,
    /// True if the request may be sent again elsewhere: then it may try a backend out.
    pub repeatable: bool,
    /// True if an idle connection to the backend is at hand: then none has to be made.
    pub has_idle: &'a dyn Fn(&Backend) -> bool,
}

/// What choosing leaves behind: whose turn it was, whose response time was asked for.
pub(super) struct Marks<'a> {
    pub(super) cursor: &'a RoundRobin,
    pub(super) times: &'a dyn Fn(usize) -> &'a ResponseTimes,
}

/// Why nobody was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPick {
    /// Nobody may be tried (any more).
    Nobody,
    /// Somebody may, but has its `connections.max` or `max_connecting`.
    Busy,
}

#[derive(Debug)]
pub(super) struct TrialHold {
    pub(super) trial: Trial,
    plan: BreakerPlan,
    at: Nanos,
}

/// A chosen backend; holds its in-flight count, and perhaps its breaker's trial, until dropped.
#[derive(Debug)]
pub struct Pick {
    backend: Arc<Backend>,
    /// Index in the pool.
    pub index: usize,
    /// When it was chosen.
    pub at: Nanos,
    pub(super) trial: Option<Box<TrialHold>>,
    /// A response head has come.
    pub(super) answered: bool,
    waiting: Option<Arc<WaitingRoom>>,
    /// Counts it in the whole pool.
    in_flight: Option<Arc<AtomicU64>>,
}

impl Pick {
    /// True if its breaker is tried out with this request.
    pub fn is_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// True if nothing has come back from there for much longer than usual.
    #[inline]
    pub fn is_silent(&self, now: Nanos) -> bool {
        self.backend.is_silent(now)
    }
}

impl std::ops::Deref for Pick {
    type Target = Arc<Backend>;

    #[inline]
    fn deref(&self) -> &Arc<Backend> {
        &self.backend
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        if let Some(hold) = self.trial.take() {
            // No verdict: the client left, or the try was never made.
            let _ = self.breaker.end_trial(&hold.plan, hold.at, hold.trial, None, 0.0);
        }
        self.backend.release(self.answered);
        if let Some(in_flight) = &self.in_flight {
            in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(waiting) = &self.waiting {
            // Either we see who waits, or he sees the room that we leave.
            fence(Ordering::SeqCst);
            waiting.call_next();
        }
    }
}

impl Pool {
    /// The backend for the next try.
    ///
    /// # Errors
    /// Nobody may be tried, or all who may are busy.
    #[inline]
    pub fn pick(&self, query: &Query<'_>) -> Result<Pick, NoPick> {
        let selection = self.selection.load();
        if !selection.tripped.is_empty()
            && let Some(pick) = self.trial(&selection, query)
        {
            return Ok(pick);
        }
        if let Some(index) = self.tied(query) {
            return self.occupy(index, query).ok_or(NoPick::Busy);
        }
        for _ in 0..MAX_LOST_RACES {
            let live = Marks { cursor: &self.cursor, times: &|index| &self.backends[index].times };
            let Some(index) = self.choose(&selection, query, &live) else { break };
            if let Some(pick) = self.occupy(index, query) {
                return Ok(pick);
            }
        }
        let untried = |index: &&usize| !query.tried.contains(self.backends[**index].slot);
        if selection.members.iter().any(|index| untried(&index)) {
            return Err(NoPick::Busy);
        }
        self.last_resort(&selection, query).ok_or(NoPick::Nobody)
    }

    /// True if a try after those would find somebody.
    pub fn has_another(&self, tried: &Tried, now: Nanos) -> bool {
        let selection = self.selection.load();
        let mut members = selection.members.iter();
        members.any(|index| !tried.contains(self.backends[*index].slot))
            || self.plan.fail_open
                && self.backends.iter().any(|backend| {
                    !tried.contains(backend.slot)
                        && selection.is_last_resort(backend, now)
                        && !is_occupied(backend)
                })
    }

    pub(super) fn tied(&self, query: &Query<'_>) -> Option<usize> {
        let usable = |index: usize| {
            let backend = self.backends.get(index)?;
            let usable = backend.keeps_sessions() && !query.tried.contains(backend.slot);
            usable.then_some(index)
        };
        match (&self.plan.affinity, &*self.keys) {
            (AffinityPlan::Cookie(_), _) => usable(query.tied?),
            (AffinityPlan::ClientIp, KeyTable::Ring(ring)) => {
                let selection = self.selection.load();
                ring.choose(query.hash, |index| {
                    !selection.is_member[index] || query.tried.contains(self.backends[index].slot)
                })
            }
            (AffinityPlan::ClientIp, KeyTable::Maglev(table)) => {
                let selection = self.selection.load();
                table.choose(query.hash, |index| {
                    !selection.is_member[index] || query.tried.contains(self.backends[index].slot)
                })
            }
            (AffinityPlan::ClientIp, KeyTable::None) | (AffinityPlan::Off, _) => None,
        }
    }

    /// A backend whose breaker has waited long enough gets one request; where clients are tied by
    /// their key, one of those that are its own.
    fn trial(&self, selection: &Selection, query: &Query<'_>) -> Option<Pick> {
        let plan = &self.plan.breaker;
        self.trials_due(selection, query, |index| {
            let backend = &self.backends[index];
            let trial = backend.breaker.try_trial(plan, query.now, drawn(query.draw))?;
            let hold = Box::new(TrialHold { trial, plan: plan.clone(), at: query.now });
            let mut pick = self.occupy(index, query);
            match &mut pick {
                Some(pick) => pick.trial = Some(hold),
                None => drop(backend.breaker.end_trial(plan, query.now, hold.trial, None, 0.0)),
            }
            pick
        })
    }

    /// What `act` makes of the first backend that is due for a trial, and of which it makes
    /// something.
    pub(super) fn trials_due<T>(
        &self,
        selection: &Selection,
        query: &Query<'_>,
        act: impl Fn(usize) -> Option<T>,
    ) -> Option<T> {
        let out = |index: usize| !selection.is_member[index] && !selection.is_tripped[index];
        let owner = match (&self.plan.affinity, &*self.keys) {
            (AffinityPlan::Cookie(_), _) if self.tied(query).is_some() => return None,
            (AffinityPlan::ClientIp, KeyTable::Ring(ring)) => ring.choose(query.hash, out),
            (AffinityPlan::ClientIp, KeyTable::Maglev(table)) => table.choose(query.hash, out),
            (AffinityPlan::Off | AffinityPlan::Cookie(_) | AffinityPlan::ClientIp, _) => None,
        };
        let patient = query.now.0.saturating_sub(Nanos::default().after(TRIAL_PATIENCE).0);
        let by = if query.repeatable { query.now } else { Nanos(patient) };
        let many = selection.tripped.len();
        let from = random::below(query.draw, many)?;
        let some = selection.tripped.iter().cycle().skip(from).take(many.min(MAX_TRIALS_SOUGHT));
        let mut some = some.copied();
        some.find_map(|index| {
            let index = &index;
            let backend = &self.backends[*index];
            let own = owner.is_none_or(|owner| owner == *index);
            let by = if own { by } else { by.min(Nanos(patient)) };
            if backend.breaker.trial_at() > by || query.tried.contains(backend.slot) {
                return None;
            }
            act(*index)
        })
    }

    fn occupy(&self, index: usize, query: &Query<'_>) -> Option<Pick> {
        self.occupy_below(self.plan.connections.max, index, query)
    }

    /// The same while fewer than `max` are in flight there; 0 = however many.
    fn occupy_below(&self, max: u32, index: usize, query: &Query<'_>) -> Option<Pick> {
        let backend = self.backends.get(index)?;
        let connections = &self.plan.connections;
        if backend.is_connecting(connections.max_connecting) && !(query.has_idle)(backend) {
            return None;
        }
        backend.occupy(max, query.now).then(|| Pick {
            backend: Arc::clone(backend),
            index,
            at: query.now,
            trial: None,
            answered: false,
            waiting: (connections.max > 0
                || connections.max_connecting > 0
                || !self.waiting.is_empty())
            .then(|| Arc::clone(&self.waiting)),
            in_flight: self.is_bounded().then(|| {
                self.in_flight.fetch_add(1, Ordering::Relaxed);
                Arc::clone(&self.in_flight)
            }),
        })
    }

    /// The strategy's choice: index of a member that is untried and has room.
    #[inline]
    pub(super) fn choose(
        &self,
        selection: &Selection,
        query: &Query<'_>,
        marks: &Marks<'_>,
    ) -> Option<usize> {
        let limited = self.plan.connections.max > 0 || self.plan.connections.max_connecting > 0;
        let out = |index: usize| {
            let backend = &self.backends[index];
            query.tried.contains(backend.slot) || limited && self.is_full(backend, query)
        };
        if selection.ramps {
            let held_back = |index: usize| out(index) || self.is_held_back(index, query);
            if let Some(index) = self.by_strategy(selection, query, marks, held_back) {
                return Some(index);
            }
        }
        self.by_strategy(selection, query, marks, out)
    }

    pub(super) fn is_full(&self, backend: &Backend, query: &Query<'_>) -> bool {
        let connections = &self.plan.connections;
        connections.max > 0 && backend.in_flight() >= connections.max
            || backend.is_connecting(connections.max_connecting) && !(query.has_idle)(backend)
    }

    /// True if the backend leaves this turn to others, because its slow start lasts.
    fn is_held_back(&self, index: usize, query: &Query<'_>) -> bool {
        let share = ramp_share(&self.plan, &self.backends[index], query.now);
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let drawn = crate::strategy::hash::hash_with(&query.draw.to_le_bytes(), index as u64)
            as f64
            / u64::MAX as f64;
        share.is_some_and(|share| drawn >= share)
    }

    #[inline]
    fn by_strategy(
        &self,
        selection: &Selection,
        query: &Query<'_>,
        marks: &Marks<'_>,
        out: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let cursor = marks.cursor;
        let members = &selection.members;
        let skip = |position: usize| out(members[position]);
        let busy = |position: usize| self.backends[members[position]].in_flight();
        let position = match self.plan.strategy {
            // A second try takes nobody's turn, or the failing backend would get every first one.
            StrategyName::RoundRobin if !query.tried.is_empty() => {
                random::choose(query.draw, members.len(), skip)
            }
            StrategyName::RoundRobin => in_turn(cursor, members.len(), Some, skip),
            StrategyName::WeightedRoundRobin => match &selection.order {
                Order::Turns(turns) if !query.tried.is_empty() => {
                    let at = random::choose(query.draw, turns.len(), |turn| {
                        turns.at(turn).is_none_or(&skip)
                    });
                    at.and_then(|turn| turns.at(turn))
                }
                Order::Turns(turns) => in_turn(cursor, turns.len(), |turn| turns.at(turn), skip),
                Order::None | Order::Shares(_) => None,
            },
            StrategyName::WeightedRandom => match &selection.order {
                Order::Shares(shares) => shares.draw_unskipped(query.draw, skip),
                Order::None | Order::Turns(_) => None,
            },
            StrategyName::Random => random::choose(query.draw, members.len(), skip),
            StrategyName::PowerOfTwo => power_of_two::choose(members.len(), query.draw, busy, skip),
            StrategyName::LeastConnections => {
                let start = cursor.next(usize::MAX)?;
                least_connections::choose(&selection.weights, start, busy, skip)
            }
            StrategyName::LeastResponseTime => {
                let start = cursor.next(usize::MAX)?;
                let times = |position: usize| (marks.times)(members[position]);
                least_response_time::choose(&selection.weights, start, query.now, times, busy, skip)
            }
            StrategyName::ConsistentHash | StrategyName::Maglev => {
                return self.by_key(query.hash, |index| !selection.is_member[index] || out(index));
            }
        };
        members.get(position?).copied()
    }

    /// True if no backend may be much busier than the mean.
    fn is_bounded(&self) -> bool {
        self.plan.hash.load_factor > 0.0
    }

    fn by_key(&self, hash: u64, skip: impl Fn(usize) -> bool) -> Option<usize> {
        match &*self.keys {
            KeyTable::None => None,
            KeyTable::Maglev(table) => table.choose(hash, skip),
            KeyTable::Ring(ring) if self.is_bounded() => {
                let busy = |index: usize| self.backends[index].in_flight();
                let total = self.in_flight.load(Ordering::Relaxed);
                ring.choose_bounded(hash, self.plan.hash.load_factor, busy, total, skip)
            }
            KeyTable::Ring(ring) => ring.choose(hash, skip),
        }
    }

    /// Everybody who is eligible was tried: with `fail_open`, whoever only a breaker or a doubt
    /// keeps out is better than an error.
    fn last_resort(&self, selection: &Selection, query: &Query<'_>) -> Option<Pick> {
        let index = self.last_choice(selection, query)?;
        if self.backends[index].breaker.state() == BreakerState::Closed {
            return self.occupy(index, query);
        }
        // One at a time, as a trial would be.
        self.occupy_below(1, index, query)
    }

    pub(super) fn last_choice(&self, selection: &Selection, query: &Query<'_>) -> Option<usize> {
        if !self.plan.fail_open || selection.mode == Mode::Empty {
            return None;
        }
        random::choose(query.draw, self.backends.len(), |index| {
            let backend = &self.backends[index];
            query.tried.contains(backend.slot)
                || !selection.is_last_resort(backend, query.now)
                || is_occupied(backend)
        })
    }
}

/// The next in turn that is not skipped: skipping moves the cursor, so that the neighbour of one
/// who is out does not get double.
#[inline]
fn in_turn(
    cursor: &RoundRobin,
    turns: usize,
    at: impl Fn(usize) -> Option<usize>,
    skip: impl Fn(usize) -> bool,
) -> Option<usize> {
    for _ in 0..turns {
        let position = at(cursor.next(turns)?)?;
        if !skip(position) {
            return Some(position);
        }
    }
    None
}

/// True of a backend with an open breaker that has a request: a second one may not be its last
/// resort.
fn is_occupied(backend: &Backend) -> bool {
    backend.breaker.state() != BreakerState::Closed && backend.in_flight() > 0
}

/// A uniform number in [0, 1) from a uniform u64.
fn drawn(draw: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let drawn = (draw >> 11) as f64 / (1u64 << 53) as f64;
    drawn
}

#[cfg(test)]
impl Pool {
    /// A pick of this very backend.
    pub(crate) fn occupy_for_test(&self, index: usize, query: &Query<'_>) -> Pick {
        self.occupy(index, query).expect("room")
    }
}
