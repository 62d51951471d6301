//! What a migration is told, says and keeps.

use super::cohort::Traffic;
use super::evidence::Share;
use super::gates::{Arm, ArmFigures, GateResult};
use super::plan::HookPoint;
use super::unanswered::Pending;
use std::time::Duration;

/// Where a migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The new pool is looked at; nothing has moved.
    Preflight,
    /// A stage is under way.
    Running,
    /// For a webhook, or a person.
    Waiting,
    /// By a person.
    Paused,
    /// The old pool fails too: nothing can be learnt.
    Frozen,
    /// All has moved; the old pool stays ready.
    Watching,
    /// The new pool is the route's pool.
    Done,
    /// The old pool has everything again.
    Aborted,
}

impl State {
    /// Every one.
    pub const ALL: [State; 8] = [
        State::Preflight,
        State::Running,
        State::Waiting,
        State::Paused,
        State::Frozen,
        State::Watching,
        State::Done,
        State::Aborted,
    ];

    /// As users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Preflight => "preflight",
            State::Running => "running",
            State::Waiting => "waiting",
            State::Paused => "paused",
            State::Frozen => "frozen",
            State::Watching => "watching",
            State::Done => "done",
            State::Aborted => "aborted",
        }
    }

    /// The state of this name.
    pub fn parse(text: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// True once nothing will change any more.
    pub fn is_over(self) -> bool {
        matches!(self, State::Done | State::Aborted)
    }
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every gate holds.
    Go,
    /// A gate is broken.
    NoGo,
    /// Neither can be said.
    NotEnoughData,
}

impl Verdict {
    /// As users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Go => "GO",
            Verdict::NoGo => "NO-GO",
            Verdict::NotEnoughData => "NOT-ENOUGH-DATA",
        }
    }
}

/// One look at the gates, with everything that it was based on.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// From 0.
    pub stage: usize,
    /// Per cent.
    pub weight: f64,
    /// What it came to.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// Who agreed to the stage's end.
    pub approved_by: Option<String>,
    /// The old pool in the stage.
    pub from: ArmFigures,
    /// The new pool in the stage.
    pub to: ArmFigures,
    /// Each gate.
    pub gates: Vec<GateResult>,
}

/// Backends of the new pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// That may be picked.
    pub eligible: usize,
    /// That are there.
    pub total: usize,
    /// Of the eligible, those in their slow start.
    pub ramping: usize,
}

/// What is seen of both pools: totals since any time, the same for every observation.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The old pool's answers on this route.
    pub from: Arm,
    /// The new pool's.
    pub to: Arm,
    /// Answers of the new pool to copies that differed from those that clients got.
    pub differences: Share,
    /// The new pool's backends.
    pub capacity: Capacity,
    /// Requests that wait for the old pool and for the new one.
    pub pending: [Pending; 2],
    /// Of the old pool's backends, those that may be picked and whose last probe did not fail.
    pub stable: usize,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Ask the new pool so often; the answer comes by `preflight_ended`.
    Preflight,
    /// Divide requests like this from now on.
    Divide(Traffic),
    /// Call the webhooks of this point; before and after stages the answer comes by `hook_ended`.
    Call(HookPoint),
    /// The new pool becomes the route's pool.
    Promote,
}

/// What a person wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Stand still.
    Pause,
    /// Go on.
    Resume,
    /// Let the stage pass.
    Approve(String),
    /// End it.
    Abort(String),
}

/// Which part of its way a migration is on, whatever it waits for there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leg {
    /// A webhook is asked whether the stage may begin.
    Entrance,
    /// The stage.
    #[default]
    Stage,
    /// After the last stage.
    Watch,
}

impl Leg {
    /// As it is written down.
    pub fn as_str(self) -> &'static str {
        match self {
            Leg::Entrance => "entrance",
            Leg::Stage => "stage",
            Leg::Watch => "watch",
        }
    }

    /// The part of this name.
    pub fn parse(text: &str) -> Option<Leg> {
        [Leg::Entrance, Leg::Stage, Leg::Watch].into_iter().find(|leg| leg.as_str() == text)
    }
}

/// What outlives the process.
#[derive(Clone, Debug, PartialEq)]
pub struct Resumed {
    /// Where it was.
    pub state: State,
    /// From 0.
    pub stage: usize,
    /// In which part of it.
    pub leg: Leg,
    /// Time spent in the stage.
    pub elapsed: Duration,
    /// How often gates were looked at: the risk of them all is shared by all looks.
    pub looks: u64,
    /// The old pool as it was when it last had something to do.
    pub reference: Arm,
    /// Who agreed to the stage's end ahead of it.
    pub approved_by: Option<String>,
    /// Milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Of an end.
    pub ended_unix_ms: Option<u64>,
    /// Why it is where it is.
    pub reason: String,
}
