//! The machine: what it is told, what it wants done, and how it gets from stage to stage.

mod steps;
mod verdict;

use super::evidence::Share;
use super::gates::Arm;
use super::plan::{Approval, MigrationPlan, Stage, StageTraffic};
use super::state::{Capacity, Check, Command, Leg, Observation, Resumed, State, Verdict, Wish};
use super::trend::{Recent, Trend};
use crate::time::Nanos;
use std::collections::VecDeque;
use std::time::Duration;

/// Checks that are kept; of more, the oldest go.
const MAX_CHECKS: usize = 5_000;
/// How long the new pool may take to be healthy before the first stage.
const PREFLIGHT_PATIENCE: Duration = Duration::from_secs(30);
/// Seconds without trouble until a frozen one goes on.
const CALM: Duration = Duration::from_secs(10);
/// What is due within so little is done now: who tells what is seen comes about once a second, and
/// never to the instant.
const NEARLY: Duration = Duration::from_millis(200);
/// The last seconds are told apart by the clock: a wish has a look of its own between two of them.
const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Before,
    After,
    Person,
}

/// Readings of both pools.
#[derive(Clone, Debug, Default)]
struct Pair {
    from: Arm,
    to: Arm,
    differences: Share,
}

impl Pair {
    fn of(seen: &Observation) -> Pair {
        let (from, to) = (seen.from.clone(), seen.to.clone());
        Pair { from, to, differences: seen.differences }
    }

    /// What came since this reading.
    fn until(&self, seen: &Observation) -> Pair {
        let (now, then) = (seen.differences, self.differences);
        let of = now.of.saturating_sub(then.of);
        let hits = now.hits.saturating_sub(then.hits).min(of);
        Pair {
            from: seen.from.since(&self.from),
            to: seen.to.since(&self.to),
            differences: Share { hits, of },
        }
    }
}

/// A migration under way.
#[derive(Clone, Debug)]
pub struct Migration {
    plan: MigrationPlan,
    state: State,
    stage: usize,
    awaited: Option<Awaited>,
    /// What it does when it goes on: running or watching.
    held: Option<State>,
    /// When the stage began, less the time that it stood still.
    began: Nanos,
    /// Time spent in the stage before a restart.
    spent: Duration,
    /// Since when it stands still.
    still_since: Option<Nanos>,
    /// When neither pool was there last, or the old one hung.
    lost_at: Option<Nanos>,
    next_check: Nanos,
    /// End of the stage's time; grows by `extend`.
    until: Nanos,
    /// Readings when the stage began.
    base: Option<Pair>,
    /// Readings at the last check.
    checked: Pair,
    /// The last window in which the old pool had something to do.
    reference: Arm,
    looks: u64,
    recent: Recent,
    /// When the last of the last seconds ended.
    recent_at: Option<Nanos>,
    verdict: Option<Verdict>,
    reason: String,
    approved_by: Option<String>,
    asked_preflight: bool,
    checks: VecDeque<Check>,
    /// Checks that were ever kept.
    checks_made: u64,
    started_unix_ms: u64,
    ended_unix_ms: Option<u64>,
    commands: Vec<Command>,
}

impl Migration {
    /// From the beginning.
    pub fn start(plan: MigrationPlan, now: Nanos, unix_ms: u64) -> Migration {
        Migration {
            plan,
            state: State::Preflight,
            stage: 0,
            awaited: None,
            held: None,
            began: now,
            spent: Duration::ZERO,
            still_since: None,
            lost_at: None,
            next_check: now,
            until: Nanos::NEVER,
            base: None,
            checked: Pair::default(),
            reference: Arm::default(),
            looks: 0,
            recent: Recent::default(),
            recent_at: None,
            verdict: None,
            reason: "the new pool is looked at".to_owned(),
            approved_by: None,
            asked_preflight: false,
            checks: VecDeque::new(),
            checks_made: 0,
            started_unix_ms: unix_ms,
            ended_unix_ms: None,
            commands: Vec::new(),
        }
    }

    /// Where it was when the process ended. The stage is entered again with the time that it had
    /// spent, and proves itself anew: what was counted before is gone.
    pub fn resume(plan: MigrationPlan, was: Resumed, now: Nanos) -> Migration {
        let mut this = Migration::start(plan, now, was.started_unix_ms);
        this.stage = was.stage.min(this.plan.stages.len().saturating_sub(1));
        this.reason = was.reason;
        this.ended_unix_ms = was.ended_unix_ms;
        (this.looks, this.reference) = (was.looks, was.reference);
        match (was.state, was.leg) {
            (State::Done | State::Aborted, _) => this.state = was.state,
            (State::Preflight, _) => {}
            (State::Watching, _) | (_, Leg::Watch) => this.watch(now),
            (_, Leg::Entrance) => this.stand_before(now),
            (_, Leg::Stage) => {
                this.begin(now);
                this.approved_by = was.approved_by;
            }
        }
        if matches!(this.state, State::Running | State::Watching) {
            this.spent = was.elapsed;
            this.next_check = now.after(this.plan.interval);
        }
        if this.state == State::Running {
            this.until = this.until_of(was.elapsed, now);
        }
        if was.state == State::Paused {
            this.stand_still(State::Paused, "paused before the restart".to_owned(), now);
        }
        this
    }

    /// What is to be known of it after a restart.
    pub fn to_resume(&self, now: Nanos) -> Resumed {
        Resumed {
            state: self.state,
            stage: self.stage,
            leg: self.leg(),
            elapsed: self.elapsed(now),
            looks: self.looks,
            reference: self.reference.clone(),
            approved_by: self.approved_by.clone(),
            started_unix_ms: self.started_unix_ms,
            ended_unix_ms: self.ended_unix_ms,
            reason: self.reason.clone(),
        }
    }

    fn leg(&self) -> Leg {
        if self.state == State::Watching || self.held == Some(State::Watching) {
            Leg::Watch
        } else if self.awaited == Some(Awaited::Before) {
            Leg::Entrance
        } else {
            Leg::Stage
        }
    }

    /// What it is to do.
    pub fn plan(&self) -> &MigrationPlan {
        &self.plan
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// The stage, from 0.
    pub fn stage(&self) -> usize {
        self.stage
    }

    /// Per cent that go to the new pool, or are copied to it.
    pub fn weight(&self) -> f64 {
        match self.state {
            State::Preflight | State::Aborted => 0.0,
            State::Watching | State::Done => 100.0,
            State::Running | State::Waiting | State::Paused | State::Frozen => {
                if self.held == Some(State::Watching) {
                    return 100.0;
                }
                self.in_force().map_or(0.0, |stage| stage.traffic.weight())
            }
        }
    }

    /// Of the last check.
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// Why it is where it is.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Milliseconds since 1970 of beginning and end.
    pub fn times(&self) -> (u64, Option<u64>) {
        (self.started_unix_ms, self.ended_unix_ms)
    }

    /// The checks that are kept, the newest last.
    pub fn checks(&self) -> impl ExactSizeIterator<Item = &Check> {
        self.checks.iter()
    }

    /// How many checks came to be, those that are not kept any more included.
    pub fn checks_made(&self) -> u64 {
        self.checks_made
    }

    /// Time spent in the stage, without the time that it stood still.
    pub fn elapsed(&self, now: Nanos) -> Duration {
        self.spent + self.still_since.unwrap_or(now).duration_since(self.began)
    }

    fn current(&self) -> Option<&Stage> {
        self.plan.stages.get(self.stage)
    }

    /// Takes what is seen now, about once a second, and whenever somebody has wished something;
    /// what is to be done.
    pub fn tick(&mut self, now: Nanos, seen: &Observation) -> Vec<Command> {
        let is_second = |at| now.duration_since(at) + NEARLY >= SECOND;
        if !self.state.is_over() && self.recent_at.is_none_or(is_second) {
            self.recent.observe(&seen.from, &seen.to, seen.pending);
            self.recent_at = Some(now);
        }
        match self.state {
            State::Done | State::Aborted => {}
            State::Preflight => self.look_before(now, seen),
            State::Running | State::Waiting | State::Paused | State::Frozen | State::Watching => {
                self.look(now, seen);
            }
        }
        // What has just begun counts from now on, not from the next look.
        self.begin_counts(seen);
        std::mem::take(&mut self.commands)
    }

    fn look_before(&mut self, now: Nanos, seen: &Observation) {
        let Capacity { eligible, total, .. } = seen.capacity;
        if self.asked_preflight {
            return;
        }
        if total == 0 || eligible < total {
            self.reason =
                format!("{eligible} of {total} backends of the new pool can take requests");
            if self.elapsed(now) >= PREFLIGHT_PATIENCE {
                self.abort(format!("preflight: {}", self.reason), seen.unix_ms);
            }
            return;
        }
        self.asked_preflight = true;
        if self.plan.preflight.requests > 0 {
            self.commands.push(Command::Preflight);
        } else {
            self.enter(0, now);
        }
    }

    /// The synthetic requests have been answered.
    pub fn preflight_ended(&mut self, result: Result<(), String>, now: Nanos, unix_ms: u64) {
        if self.state == State::Preflight {
            match result {
                Ok(()) => self.enter(0, now),
                Err(why) => self.abort(format!("preflight: {why}"), unix_ms),
            }
        }
    }

    /// The webhooks have been answered, or not in time.
    pub fn hook_ended(&mut self, result: Result<(), String>, now: Nanos, unix_ms: u64) {
        match (self.awaited, result) {
            (Some(Awaited::Before), Ok(())) => self.begin(now),
            (Some(Awaited::After), Ok(())) => self.advance(now),
            (Some(Awaited::Before | Awaited::After), Err(why)) => {
                self.verdict = Some(Verdict::NoGo);
                self.abort(format!("webhook: {why}"), unix_ms);
            }
            (Some(Awaited::Person) | None, _) => {}
        }
    }

    /// Does what a person wants.
    ///
    /// # Errors
    /// It makes no sense in this state; why.
    pub fn wish(&mut self, wish: Wish, now: Nanos, unix_ms: u64) -> Result<(), String> {
        match (wish, self.state) {
            (wish, State::Done | State::Aborted) => Err(self.refusal(&wish)),
            (Wish::Abort(by), _) => {
                self.abort(format!("aborted by {by}"), unix_ms);
                Ok(())
            }
            (Wish::Pause, State::Running | State::Watching | State::Frozen) => {
                self.stand_still(State::Paused, "paused".to_owned(), now);
                Ok(())
            }
            (Wish::Resume, State::Paused | State::Frozen) => {
                self.go_on(now);
                Ok(())
            }
            (Wish::Approve(by), State::Waiting) if self.awaited == Some(Awaited::Person) => {
                self.approved_by = Some(by);
                self.passed(now);
                Ok(())
            }
            (Wish::Approve(by), State::Running)
                if self.current().is_some_and(|stage| stage.approval == Approval::Manual) =>
            {
                self.approved_by = Some(by);
                Ok(())
            }
            (wish @ (Wish::Pause | Wish::Resume | Wish::Approve(_)), _) => Err(self.refusal(&wish)),
        }
    }

    fn look(&mut self, now: Nanos, seen: &Observation) {
        self.begin_counts(seen);
        if self.lost_at.is_some() && !self.is_lost(now) {
            // What the new pool did since then was to come back.
            self.lost_at = None;
            self.recent.clear();
        }
        let longest = self.longest(seen);
        let trend = self.recent.judge(&self.plan.abort, self.allowed_errors(), longest);
        let uses = self.uses_the_new_pool();
        if let Trend::Failing(why) = &trend
            && uses
            && !self.is_lost(now)
        {
            return self.fail(why, seen);
        }
        let is_gone = uses && seen.capacity.eligible == 0;
        let both_gone = is_gone && seen.stable == 0;
        let hangs = trend == Trend::StableHangs;
        if both_gone || hangs {
            self.lost_at = Some(now);
        }
        if both_gone || hangs || trend == Trend::StableFails {
            let none = "no backend of either pool is eligible";
            let fails = if hangs { "the old pool hangs too" } else { "the old pool fails too" };
            self.freeze(if both_gone { none } else { fails }, now);
        } else if is_gone && (self.state != State::Frozen || self.has_calmed(now)) {
            return self.fail("no backend of the new pool is eligible", seen);
        } else if self.state == State::Frozen && self.has_calmed(now) {
            self.go_on(now);
        }
        match self.state {
            State::Running | State::Watching => self.look_at_gates(now, seen),
            State::Waiting if self.awaited == Some(Awaited::Person) => {
                self.look_at_gates(now, seen);
            }
            State::Waiting
            | State::Paused
            | State::Frozen
            | State::Preflight
            | State::Done
            | State::Aborted => {}
        }
    }

    /// The stage whose traffic is divided so now: while one has yet to begin, the one before it.
    fn in_force(&self) -> Option<&Stage> {
        let before = usize::from(self.awaited == Some(Awaited::Before));
        self.stage.checked_sub(before).and_then(|at| self.plan.stages.get(at))
    }

    fn has_moved_all(&self) -> bool {
        let all = |stage: &Stage| matches!(stage.traffic, StageTraffic::Weight(it) if it >= 100.0);
        self.leg() == Leg::Watch || self.in_force().is_some_and(all)
    }

    /// True if the new pool gets requests, or copies of them: then what it does to them ends it.
    fn uses_the_new_pool(&self) -> bool {
        self.leg() == Leg::Watch
            || self.in_force().is_some_and(|stage| match stage.traffic {
                StageTraffic::Weight(share) | StageTraffic::Mirror(share) => share > 0.0,
                StageTraffic::Match { .. } => true,
            })
    }

    /// Failures are remembered for as long by themselves; a pool that has hung has made none.
    fn has_calmed(&self, now: Nanos) -> bool {
        let still = self.still_since.is_some_and(|at| now.duration_since(at) >= CALM);
        still && !self.is_lost(now)
    }

    /// True if neither pool was there a moment ago: one of them is found again first.
    fn is_lost(&self, now: Nanos) -> bool {
        self.lost_at.is_some_and(|at| now.duration_since(at) < CALM)
    }

    /// The longest that the old pool has taken in the stage, or before it if it has ended nothing.
    fn longest(&self, seen: &Observation) -> Duration {
        let window = self.base.as_ref().map(|base| seen.from.since(&base.from));
        let all = [window.as_ref(), Some(&self.reference)].into_iter().flatten();
        let nanos = all.filter_map(|arm| arm.durations.percentile(1.0)).max();
        let nanos = nanos.or_else(|| seen.from.durations.percentile(1.0));
        Duration::from_nanos(nanos.unwrap_or(0))
    }

    fn allowed_errors(&self) -> f64 {
        let gate = self.current().and_then(|stage| stage.gates.success_rate);
        gate.map_or(0.05, |least| 1.0 - least)
    }

    fn look_at_gates(&mut self, now: Nanos, seen: &Observation) {
        if now.after(NEARLY) < self.next_check {
            return;
        }
        let verdict = self.check(now, seen);
        self.next_check = self.next_check_after(now);
        if self.state.is_over() || self.state == State::Frozen {
            return;
        }
        if self.state == State::Watching {
            if self.elapsed(now) + NEARLY >= self.plan.watch {
                self.finish(seen.unix_ms);
            }
            return;
        }
        let Some(stage) = self.current() else { return };
        let spent = self.elapsed(now) + NEARLY >= stage.min_duration;
        let Capacity { eligible, total, ramping } = seen.capacity;
        if verdict == Verdict::Go && spent && self.state == State::Running {
            if eligible < total || ramping > 0 {
                self.reason = format!(
                    "GO, but {eligible} of {total} backends of the new pool are eligible, \
                     {ramping} in slow start"
                );
            } else {
                self.agree(now);
            }
        } else if now.after(NEARLY) >= self.until {
            self.time_over(now, seen.unix_ms);
        }
    }

    /// Checks come every interval, and when the stage's least time is over.
    fn next_check_after(&self, now: Nanos) -> Nanos {
        // From when it was due, not from now: what comes late does not make the next one late.
        let due = self.next_check.after(self.plan.interval);
        let soon = now.after(NEARLY);
        let next = if due > soon { due } else { now.after(self.plan.interval) };
        let least = match self.state {
            State::Watching => self.plan.watch,
            State::Preflight
            | State::Running
            | State::Waiting
            | State::Paused
            | State::Frozen
            | State::Done
            | State::Aborted => self.current().map_or(Duration::ZERO, |stage| stage.min_duration),
        };
        let least = self.began.after(least.saturating_sub(self.spent));
        if least > soon { next.min(least) } else { next }
    }
}

#[cfg(test)]
mod tests;
