//! How a migration gets from one stage to the next, stands still, and ends.

use super::{Awaited, Command, Leg, Migration, Observation, Pair, State, Verdict, Wish};
use crate::migration::cohort::Traffic;
use crate::migration::plan::{Approval, HookPoint, OnMaxDuration, StageTraffic};
use crate::time::Nanos;
use std::time::Duration;

impl Migration {
    /// Why a wish makes no sense in this state.
    pub(super) fn refusal(&self, wish: &Wish) -> String {
        let manual = self.current().is_some_and(|stage| stage.approval == Approval::Manual);
        let state = self.state.as_str();
        if self.state.is_over() {
            return format!("the migration is {state}: it is over");
        }
        let why = match wish {
            Wish::Pause => "only one that is running, frozen or watching can be paused".to_owned(),
            Wish::Resume => "only one that is paused or frozen can be resumed".to_owned(),
            Wish::Approve(_) if manual => {
                "a stage is approved while it runs or waits for that".to_owned()
            }
            Wish::Approve(_) => {
                format!("stage {} needs no approval (`approval: auto`)", self.stage + 1)
            }
            Wish::Abort(_) => "it cannot be aborted".to_owned(),
        };
        format!("the migration is {state}: {why}")
    }

    /// The gates hold and the time is over: a person may have to agree.
    pub(super) fn agree(&mut self, now: Nanos) {
        let manual = self.current().is_some_and(|stage| stage.approval == Approval::Manual);
        if manual && self.approved_by.is_none() {
            self.await_one(Awaited::Person, "GO; waits for approval");
        } else {
            self.passed(now);
        }
    }

    pub(super) fn time_over(&mut self, now: Nanos, unix_ms: u64) {
        let Some(stage) = self.current() else { return };
        match stage.on_max_duration {
            OnMaxDuration::Hold => {}
            OnMaxDuration::Extend => self.until = now.after(stage.max_duration),
            OnMaxDuration::Abort => {
                self.abort(format!("max_duration is over: {}", self.reason), unix_ms);
            }
        }
    }

    pub(super) fn passed(&mut self, now: Nanos) {
        if let Some(check) = self.checks.back_mut() {
            check.approved_by.clone_from(&self.approved_by);
        }
        if self.plan.calls(HookPoint::AfterStage) {
            self.await_one(Awaited::After, "waits for a webhook after the stage");
            self.commands.push(Command::Call(HookPoint::AfterStage));
        } else {
            self.advance(now);
        }
    }

    pub(super) fn advance(&mut self, now: Nanos) {
        if self.stage + 1 < self.plan.stages.len() {
            self.enter(self.stage + 1, now);
        } else {
            self.watch(now);
        }
    }

    pub(super) fn await_one(&mut self, awaited: Awaited, why: &str) {
        self.state = State::Waiting;
        self.awaited = Some(awaited);
        self.reason = why.to_owned();
    }

    pub(super) fn enter(&mut self, stage: usize, now: Nanos) {
        self.stage = stage;
        if self.plan.calls(HookPoint::BeforeStage) {
            self.await_one(Awaited::Before, "waits for a webhook before the stage");
            self.commands.push(Command::Call(HookPoint::BeforeStage));
        } else {
            self.begin(now);
        }
    }

    /// Before a stage again, after a restart: traffic is divided as before, and the webhook asked.
    pub(super) fn stand_before(&mut self, now: Nanos) {
        let before = self.stage.checked_sub(1).and_then(|at| self.plan.stages.get(at));
        if let Some(stage) = before {
            self.commands.push(Command::Divide(divided(&stage.traffic)));
        }
        self.enter(self.stage, now);
    }

    pub(super) fn begin(&mut self, now: Nanos) {
        let Some(stage) = self.current() else { return };
        let traffic = divided(&stage.traffic);
        let least = stage.min_duration;
        self.restart(State::Running, now);
        self.until = self.until_of(Duration::ZERO, now);
        self.next_check = now.after(self.plan.interval.min(least));
        self.reason = format!("stage {} has begun", self.stage + 1);
        self.commands.push(Command::Divide(traffic));
    }

    /// When the time of the stage is over, of which so much has been spent.
    pub(super) fn until_of(&self, spent: Duration, now: Nanos) -> Nanos {
        let most = self.current().map(|stage| stage.max_duration.saturating_sub(spent));
        most.map_or(Nanos::NEVER, |left| now.after(left))
    }

    pub(super) fn watch(&mut self, now: Nanos) {
        self.restart(State::Watching, now);
        self.until = Nanos::NEVER;
        self.next_check = now.after(self.plan.interval.min(self.plan.watch));
        self.reason = "all has moved; the old pool stays ready".to_owned();
        self.commands.push(Command::Divide(divided(&StageTraffic::Weight(100.0))));
    }

    pub(super) fn restart(&mut self, state: State, now: Nanos) {
        self.state = state;
        self.awaited = None;
        self.held = None;
        self.approved_by = None;
        self.began = now;
        self.spent = Duration::ZERO;
        self.still_since = None;
        self.base = None;
    }

    /// Counts from here on, if it is not doing so.
    pub(super) fn begin_counts(&mut self, seen: &Observation) {
        if self.base.is_some() || self.state == State::Preflight || self.state.is_over() {
            return;
        }
        if self.reference.requests == 0 && self.has_moved_all() {
            // It has nothing to do in this stage either: it is what it was before.
            self.reference = seen.from.clone();
        }
        self.checked = Pair::of(seen);
        self.base = Some(self.checked.clone());
    }

    pub(super) fn stand_still(&mut self, state: State, why: String, now: Nanos) {
        self.held = Some(self.held.unwrap_or(self.state));
        self.state = state;
        self.still_since.get_or_insert(now);
        self.reason = why;
    }

    /// Nothing can be learnt now. What waits for somebody goes on waiting.
    pub(super) fn freeze(&mut self, why: &str, now: Nanos) {
        if matches!(self.state, State::Running | State::Watching) {
            self.stand_still(State::Frozen, why.to_owned(), now);
        }
    }

    /// What happened while it stood still does not count.
    pub(super) fn go_on(&mut self, now: Nanos) {
        let still = self.still_since.take().map_or(Duration::ZERO, |at| now.duration_since(at));
        self.began = self.began.after(still);
        self.until = self.until.after(still);
        self.state = self.held.take().unwrap_or(State::Running);
        self.base = None;
        self.lost_at = None;
        self.recent.clear();
        self.next_check = now.after(self.plan.interval);
        self.reason = "goes on; counts begin anew".to_owned();
    }

    /// The fast rule has struck: the counts are kept as a check.
    pub(super) fn fail(&mut self, why: &str, seen: &Observation) {
        self.note(Verdict::NoGo, why.to_owned(), (seen, Vec::new()));
        self.abort(why.to_owned(), seen.unix_ms);
    }

    pub(super) fn abort(&mut self, why: String, unix_ms: u64) {
        self.state = State::Aborted;
        self.awaited = None;
        self.verdict = Some(Verdict::NoGo);
        self.reason = why;
        self.ended_unix_ms = Some(unix_ms);
        self.commands.push(Command::Divide(Traffic::default()));
        if self.plan.calls(HookPoint::Aborted) {
            self.commands.push(Command::Call(HookPoint::Aborted));
        }
    }

    /// The configuration has the new pool as the route's pool, while the old one only stayed ready:
    /// that is what was to come, and a crash or a person came before it was written down. False if
    /// it is not so far.
    pub fn promoted(&mut self, unix_ms: u64) -> bool {
        let is_near = !self.state.is_over() && self.leg() == Leg::Watch;
        if is_near {
            self.finish(unix_ms);
            self.commands.retain(|command| *command != Command::Promote);
            self.commands.insert(0, Command::Divide(Traffic::default()));
        }
        is_near
    }

    pub(super) fn finish(&mut self, unix_ms: u64) {
        self.state = State::Done;
        self.reason = "the new pool is the route's pool".to_owned();
        self.ended_unix_ms = Some(unix_ms);
        self.commands.push(Command::Promote);
        if self.plan.calls(HookPoint::Done) {
            self.commands.push(Command::Call(HookPoint::Done));
        }
    }
}

fn divided(traffic: &StageTraffic) -> Traffic {
    match traffic {
        StageTraffic::Weight(weight) => Traffic {
            moved: Traffic::cohorts(*weight),
            copies: (weight - 100.0).max(0.0),
            ..Traffic::default()
        },
        StageTraffic::Match { headers, cookies } => {
            Traffic { headers: headers.clone(), cookies: cookies.clone(), ..Traffic::default() }
        }
        StageTraffic::Mirror(copies) => Traffic { copies: *copies, ..Traffic::default() },
    }
}
