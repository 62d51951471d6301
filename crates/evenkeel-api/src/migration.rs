//! Traffic on its way from one pool to another.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All migrations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MigrationList {
    /// The newest last.
    pub migrations: Vec<Migration>,
}

/// The staged move of one route's traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Migration {
    /// Unique; the plan's name.
    pub id: String,
    /// Whose traffic moves.
    pub route: String,
    /// The pool that served all of it.
    pub from: String,
    /// The pool that shall serve it.
    pub to: String,
    /// Where it is.
    pub state: MigrationState,
    /// From 0.
    pub stage: usize,
    /// How many there are.
    #[serde(default)]
    pub stages: usize,
    /// Per cent that go to the new pool, or are copied to it.
    pub weight: f64,
    /// Of the last check.
    pub verdict: Option<Verdict>,
    /// Why it is where it is.
    pub reason: String,
    /// When it began.
    pub started: String,
    /// When it ended.
    pub ended: Option<String>,
    /// Every look at the gates, the newest last.
    pub checks: Vec<MigrationCheck>,
}

/// Where a migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MigrationState {
    /// Nothing has moved.
    Preflight,
    /// A stage is under way.
    Running,
    /// For a webhook, or a person.
    Waiting,
    /// By a person.
    Paused,
    /// The old pool fails too.
    Frozen,
    /// All has moved; the old pool stays ready.
    Watching,
    /// The new pool is the route's pool.
    Done,
    /// The old pool has everything again.
    Aborted,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// Every gate holds.
    #[serde(rename = "GO")]
    Go,
    /// A gate is broken.
    #[serde(rename = "NO-GO")]
    NoGo,
    /// Neither can be said.
    #[serde(rename = "NOT-ENOUGH-DATA")]
    NotEnoughData,
}

/// One look at the gates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MigrationCheck {
    /// When.
    pub time: String,
    /// From 0.
    pub stage: usize,
    /// Per cent.
    pub weight: f64,
    /// What it came to.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// Who agreed to the end of the stage.
    pub approved_by: Option<String>,
    /// The old pool in the stage.
    pub from: ArmReport,
    /// The new pool in the stage.
    pub to: ArmReport,
    /// Each gate.
    pub gates: Vec<GateReport>,
}

/// What one pool answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ArmReport {
    /// Requests that ended.
    pub requests: u64,
    /// Of these, failures.
    pub errors: u64,
    /// 0 to 1.
    pub success_rate: f64,
    /// Median; null if nothing was answered.
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
}

/// What one gate came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateReport {
    /// Its key in a plan.
    pub gate: String,
    /// What it asks for: a share, milliseconds, or a multiple.
    pub threshold: f64,
    /// What was found, in the same unit.
    pub value: Option<f64>,
    /// Of a gate that compares.
    pub confidence: Option<f64>,
    /// False if it is broken, and while not enough is known.
    pub holds: bool,
}

/// What a plan will take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MigrationOutline {
    /// The plan's name.
    pub id: String,
    /// Whose traffic moves.
    pub route: String,
    /// The pool that serves all of it now.
    pub from: String,
    /// The pool that shall serve it.
    pub to: String,
    /// In order.
    pub stages: Vec<StageOutline>,
    /// After the last stage.
    pub watch_s: f64,
    /// Least time of all together.
    pub least_s: f64,
    /// Requests per second on the route now; null if it is not known.
    pub rate_rps: Option<f64>,
    /// Time that it will take at this rate, all being well.
    pub eta_s: Option<f64>,
}

/// What a stage will take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageOutline {
    /// What it does, in words.
    pub traffic: String,
    /// Per cent.
    pub weight: f64,
    /// Least time.
    pub min_duration_s: f64,
    /// Requests of the new pool that a verdict needs, all being well.
    pub samples_needed: u64,
    /// Time until so many at the rate now; null if it is not known.
    pub eta_s: Option<f64>,
}

/// Who agrees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Approval {
    /// A name; left out, that of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}
