//! The process as a whole, and the two documents whose shapes older programs rely on.

use crate::pool::PoolMode;
use crate::problem::Role;
use crate::route::Listener;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the process does now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// What the one who asks may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Its process id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The last handover to a new program that was begun, if this process still serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<Handover>,
    /// Since its start.
    pub uptime_seconds: u64,
    /// Whether it takes traffic.
    pub state: State,
    /// Counts the snapshots that have served, the present one included.
    pub generation: u64,
    /// Threads that serve.
    pub workers: u32,
    /// Where clients come in.
    pub listeners: Vec<Listener>,
    /// Open now, of all listeners.
    pub client_connections: u64,
    /// Each pool in a line.
    pub pools: Vec<PoolSummary>,
    /// Edits made through the API that do not fit the file any more, and change nothing.
    #[serde(default)]
    pub conflicts: Vec<String>,
    /// How many edits made through the API lie over the file.
    #[serde(default)]
    pub edits: u64,
    /// Why the last reload was rejected; the configuration before it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

/// Whether the process takes traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not yet.
    Starting,
    /// It does.
    Ready,
    /// It finishes what is in flight, and ends.
    Draining,
}

/// A handover to a new program, as the process tells it that began it. Once it has succeeded,
/// another process answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Handover {
    /// Counts those of this process, from 1.
    pub number: u64,
    /// How it is.
    pub state: HandoverState,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a handover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HandoverState {
    /// The new program is not ready yet.
    Running,
    /// It failed; this process serves on.
    Failed,
}

/// One pool in a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolSummary {
    /// Unique.
    pub name: String,
    /// How it chooses now.
    pub mode: PoolMode,
    /// How many backends it has.
    pub backends: u32,
    /// How many of them may be picked.
    pub eligible: u32,
}

/// `/health`: every backend on one page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealthDocument {
    /// All backends taken together.
    pub status: Overall,
    /// When this was written.
    pub timestamp: String,
    /// Of all pools.
    pub backends: Vec<HealthOfBackend>,
}

/// All backends taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overall {
    /// All of them serve.
    Healthy,
    /// Some do.
    Degraded,
    /// None does.
    Unhealthy,
}

/// A backend in `/health`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealthOfBackend {
    /// `host:port`.
    pub address: String,
    /// `healthy`, `unhealthy`, or a word on why it takes no traffic.
    pub status: String,
    /// Mean time of its answers.
    pub latency_ms: f64,
    /// Share of its requests that failed.
    pub error_rate: f64,
    /// Requests sent and not finished.
    pub active_connections: u64,
    /// When it was last probed; `null` if never.
    pub last_check: Option<String>,
}

/// `/api/v1/loadBalancers/report`: who serves which host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// One for each host that routes name; `*` for those that name none.
    pub apps: Vec<ReportedApp>,
}

/// A host, and who serves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportedApp {
    /// As the routes name it, or `*`.
    pub host: String,
    /// The backends of its pool.
    pub instances: Vec<ReportedInstance>,
}

/// A backend in the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportedInstance {
    /// With its scheme.
    pub url: String,
    /// Whether it may be picked.
    pub healthy: bool,
}
