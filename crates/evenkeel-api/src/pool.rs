//! Pools and backends: as they are, and as they are to be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All pools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolList {
    /// In the order configured.
    pub pools: Vec<Pool>,
}

/// A named set of backends while it serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pool {
    /// Unique.
    pub name: String,
    /// The balancing algorithm, as the user spelt it.
    pub strategy: String,
    /// How it chooses now.
    pub mode: PoolMode,
    /// In the order configured.
    pub backends: Vec<Backend>,
    /// Requests that wait for a backend with room.
    pub waiting: u64,
    /// Bounds retries.
    pub retry_budget: RetryBudget,
    /// How its backends are found, if they are found elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<PoolDiscovery>,
}

/// How the backends of a pool are found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolDiscovery {
    /// Who is asked: `dns`, `file`, `docker`, `kubernetes` or `consul`.
    pub r#type: String,
    /// Whether the last answer could be used; if not, what was known stays.
    pub up: bool,
    /// Why it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Backends that are there because they were found.
    pub backends: u32,
    /// Backends that were found, but left out because there are too many.
    pub left_out: u32,
    /// Seconds since the last good answer; `null` before the first.
    pub age_seconds: Option<f64>,
}

/// How a pool chooses now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PoolMode {
    /// Among the eligible; or it is scaled to zero, and wakes with a request.
    Normal,
    /// Nobody is free of doubt or pause: those who are not worse than that serve.
    Doubtful,
    /// Every breaker is open: they are ignored (`fail_open`).
    FailingOpen,
    /// Nobody may be tried.
    Down,
}

/// Bounds the retries of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RetryBudget {
    /// Retries allowed as a share of requests.
    pub ratio: f64,
    /// Retries per second allowed whatever the share says.
    pub floor: u32,
    /// Retries that were not allowed, since the start.
    pub refused: u64,
}

/// The backends of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BackendList {
    /// In the order configured.
    pub backends: Vec<Backend>,
}

/// One address that is called. Admin state, health and breaker are three axes, each with its
/// reason; `eligible` joins them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Backend {
    /// Unique in its pool.
    pub name: String,
    /// `host:port`, or `unix:` and a path.
    pub address: String,
    /// The address with its scheme.
    pub url: String,
    /// Share of new traffic; 0 = none.
    pub weight: u32,
    /// The operator's wish.
    pub admin: AdminState,
    /// When that was wished; left out: at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_since: Option<String>,
    /// Who wished it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_reason: Option<String>,
    /// What probes found.
    pub health: HealthState,
    /// When that was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_since: Option<String>,
    /// Why the last probe that failed did so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_reason: Option<String>,
    /// The last probes, the newest last.
    #[serde(default)]
    pub results: Vec<ProbeResult>,
    /// What traffic found.
    pub breaker: BreakerState,
    /// When that was found; left out: it was never otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker_since: Option<String>,
    /// When a trial may begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker_until: Option<String>,
    /// Why it opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker_reason: Option<String>,
    /// What raised a doubt that no probe has settled yet; `null` if there is none.
    pub suspected: Option<String>,
    /// Whether it may be picked.
    pub eligible: bool,
    /// Why not; `null` if it may.
    pub reason: Option<String>,
    /// Requests sent and not finished.
    pub in_flight: u32,
    /// Half of the recent requests took at most so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// 95 % did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// 99 % did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// Since the start.
    pub requests: u64,
    /// Share of the recent requests that failed.
    pub error_rate: f64,
    /// Where it comes from.
    pub source: Source,
}

/// The operator's wish for a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdminState {
    /// Takes traffic.
    Enabled,
    /// Finishes what runs, takes nothing new.
    Draining,
    /// Out.
    Disabled,
}

/// What probes found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// No verdict yet.
    Unknown,
    /// It answers as it should.
    Healthy,
    /// It does not.
    Unhealthy,
    /// Nothing probes it.
    Unchecked,
}

/// One probe that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeResult {
    /// When.
    pub time: String,
    /// How long it took, connection included.
    pub took_ms: f64,
    /// Why it failed; `null` = success.
    pub fault: Option<String>,
}

/// Whether traffic flows to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// It flows.
    Closed,
    /// The backend is left alone.
    Open,
    /// One trial is on its way.
    HalfOpen,
}

/// Where a backend comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The configuration.
    Config,
    /// Added through this API.
    Api,
    /// Found by discovery.
    Discovery,
    /// Started by the autoscaler.
    Autoscale,
}

/// A change of a backend; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct BackendPatch {
    /// Share of new traffic; 0 = none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 65535))]
    pub weight: Option<u32>,
    /// The operator's wish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<AdminState>,
}

/// Every spelling of a balancing algorithm.
pub const STRATEGIES: [&str; 29] = [
    "round_robin",
    "round-robin",
    "rr",
    "weighted_round_robin",
    "weighted-round-robin",
    "weighted",
    "wrr",
    "weighted_random",
    "weighted-random",
    "random",
    "least_connections",
    "least-connections",
    "least_conn",
    "least-conn",
    "leastconn",
    "least_response_time",
    "least-response-time",
    "least_response",
    "least-response",
    "ewma",
    "power_of_two",
    "power-of-two",
    "p2c",
    "consistent_hash",
    "consistent-hash",
    "ring",
    "ip_hash",
    "ip-hash",
    "maglev",
];

/// A change of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PoolPatch {
    /// The balancing algorithm, by any of its names.
    #[schemars(extend("enum" = STRATEGIES))]
    pub strategy: String,
}

/// A name that is given over this API: printable ASCII, no blank at either end.
const NAME: &str = "^[!-~]([ -~]{0,98}[!-~])?$";
/// Where a backend may be, without the rarer spellings of IPv6.
const ADDRESS: &str = concat!(
    r"^(unix:/[!-~]{1,90}|((https?|h2c)://)?",
    r"([A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63}){0,3}",
    r"|\[([0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}\]",
    r"|\[([0-9A-Fa-f]{1,4}:){0,5}:[0-9A-Fa-f]{1,4}\]",
    r"):([1-9][0-9]{0,3}|[1-5][0-9]{4})/?)$",
);

/// A backend to add.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct NewBackend {
    /// Unique in its pool; left out: the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = NAME))]
    pub name: Option<String>,
    /// `host:port`, `http://`, `https://`, `h2c://` or `unix:`.
    #[schemars(regex(pattern = ADDRESS))]
    pub address: String,
    /// Share of new traffic; left out: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 65535))]
    pub weight: Option<u32>,
    /// The operator's wish; left out: `enabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<AdminState>,
}
