//! How traffic went over the last quarter of an hour.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How traffic went, step by step: of everything, of a route, of a pool or of a backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct History {
    /// Length of a step.
    pub step_seconds: u32,
    /// When the newest step ended.
    pub end: String,
    /// The oldest first; none before there was traffic.
    pub steps: Vec<HistoryStep>,
    /// Exchanges since the start, those after the newest step included.
    pub requests: u64,
    /// Those of them with a status of 500 and above.
    pub errors: u64,
}

/// What happened in one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryStep {
    /// Exchanges that ended.
    pub requests: u64,
    /// Those of them with a status of 500 and above.
    pub errors: u64,
    /// Half of them took at most so long; left out without any, here and below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// 95 % did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// 99 % did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
}

/// Whose history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryOf<'a> {
    /// Everything.
    All,
    /// A route, by its name.
    Route(&'a str),
    /// A pool, by its name.
    Pool(&'a str),
    /// A backend.
    Backend {
        /// Its pool.
        pool: &'a str,
        /// Its name.
        name: &'a str,
    },
}
