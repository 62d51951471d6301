//! What a migration is to do: a checked plan, every default filled in.

use std::sync::Arc;
use std::time::Duration;

/// Cohorts that a key's hash is divided into.
pub const COHORTS: u32 = 10_000;

/// The staged move of one route's traffic from a pool to another.
#[derive(Clone, Debug, PartialEq)]
pub struct MigrationPlan {
    /// Its name, and its id.
    pub name: Arc<str>,
    /// Whose traffic moves.
    pub route: Arc<str>,
    /// The pool that serves all of it now.
    pub from: Arc<str>,
    /// The pool that shall serve it.
    pub to: Arc<str>,
    /// What decides who moves first.
    pub cohort: CohortKey,
    /// Between two checks.
    pub interval: Duration,
    /// The fast rule that does not wait for a check.
    pub abort: AbortRule,
    /// What must be true before the first stage.
    pub preflight: Preflight,
    /// In order; at least one.
    pub stages: Vec<Stage>,
    /// How long `from` stays ready after the last stage.
    pub watch: Duration,
    /// Who is asked or told.
    pub webhooks: Vec<Webhook>,
}

/// What decides who moves first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CohortKey {
    /// The client's address.
    ClientIp,
    /// The first value of this field, its name in lower case.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// Every request anew.
    Request,
}

/// One step of the move.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Whose requests go to the new pool.
    pub traffic: StageTraffic,
    /// Least time in it.
    pub min_duration: Duration,
    /// Fewest requests of the new pool in it.
    pub min_requests: u64,
    /// When `on_max_duration` applies.
    pub max_duration: Duration,
    /// What happens if it has not passed by then.
    pub on_max_duration: OnMaxDuration,
    /// Whether a person has to agree before it begins to count as passed.
    pub approval: Approval,
    /// What must hold.
    pub gates: Gates,
}

/// Whose requests go to the new pool.
#[derive(Clone, Debug, PartialEq)]
pub enum StageTraffic {
    /// Per cent of cohorts; what is above 100 is load on top.
    Weight(f64),
    /// Requests with these fields (lower-case name, value) and cookies.
    Match {
        /// Name in lower case, and value.
        headers: Vec<(String, String)>,
        /// Name and value.
        cookies: Vec<(String, String)>,
    },
    /// Per cent of requests are copied; no client gets an answer of the new pool.
    Mirror(f64),
}

impl StageTraffic {
    /// Per cent that is said of it: of clients, or of copies.
    pub fn weight(&self) -> f64 {
        match self {
            StageTraffic::Weight(weight) | StageTraffic::Mirror(weight) => *weight,
            StageTraffic::Match { .. } => 0.0,
        }
    }
}

/// What happens to a stage that has not passed in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMaxDuration {
    /// It goes on; it can still pass.
    Hold,
    /// The migration ends.
    Abort,
    /// It gets the same time again.
    Extend,
}

/// Whether a person has to agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// No.
    Auto,
    /// Yes, once the gates hold.
    Manual,
}

/// What must hold of the new pool; `None` is not looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Gates {
    /// Least share of successes, 0 to 1.
    pub success_rate: Option<f64>,
    /// Bounds on response times, by percentile.
    pub latency: [Option<Duration>; PERCENTILES.len()],
    /// Most that the share of successes may be below that of the old pool, 0 to 1.
    pub max_success_drop: Option<f64>,
    /// Most that response times may be a multiple of the old pool's, by percentile.
    pub latency_ratio: [Option<f64>; PERCENTILES.len()],
    /// Most of the answers to copies that may differ from those that clients get, 0 to 1; looked
    /// at in stages that copy.
    pub max_differences: Option<f64>,
    /// Of a verdict that compares, such as 0.95.
    pub confidence: f64,
}

/// The percentiles that gates speak of, with their names.
pub const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

impl Default for Gates {
    fn default() -> Gates {
        Gates {
            success_rate: Some(0.99),
            latency: [None; PERCENTILES.len()],
            max_success_drop: Some(0.01),
            latency_ratio: [None, None, Some(1.5)],
            max_differences: None,
            confidence: 0.95,
        }
    }
}

impl Gates {
    /// The risk of a verdict that compares.
    pub fn alpha(&self) -> f64 {
        (1.0 - self.confidence).clamp(1e-9, 0.5)
    }
}

/// The fast rule, looked at every second.
#[derive(Clone, Debug, PartialEq)]
pub struct AbortRule {
    /// Errors in a row.
    pub consecutive_errors: u64,
    /// Rate of errors, as a multiple of the old pool's.
    pub error_ratio: f64,
    /// Requests before the rate counts.
    pub min_requests: u64,
}

impl Default for AbortRule {
    fn default() -> AbortRule {
        AbortRule { consecutive_errors: 5, error_ratio: 10.0, min_requests: 50 }
    }
}

/// What must be true before the first stage, besides healthy backends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preflight {
    /// Synthetic requests to the new pool.
    pub requests: u32,
    /// Their path.
    pub path: String,
}

/// Somebody who is asked or told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where.
    pub url: String,
    /// When.
    pub on: Vec<HookPoint>,
    /// How long an answer is awaited.
    pub timeout: Duration,
}

/// When a webhook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    /// Before a stage moves traffic; the answer decides.
    BeforeStage,
    /// After a stage has passed; the answer decides.
    AfterStage,
    /// At the end of a migration that went through.
    Done,
    /// At the end of one that did not.
    Aborted,
}

impl HookPoint {
    /// As plans spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            HookPoint::BeforeStage => "before_stage",
            HookPoint::AfterStage => "after_stage",
            HookPoint::Done => "done",
            HookPoint::Aborted => "aborted",
        }
    }
}

impl MigrationPlan {
    /// True if somebody is called at this point.
    pub fn calls(&self, point: HookPoint) -> bool {
        self.webhooks.iter().any(|hook| hook.on.contains(&point))
    }

    /// The least time that it takes.
    pub fn least_duration(&self) -> Duration {
        self.stages.iter().map(|stage| stage.min_duration).sum::<Duration>() + self.watch
    }
}
