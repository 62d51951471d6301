//! A checked configuration as domain types: what the text meant, with every default filled in.
//! The config crate builds it, `snapshot` compiles it for serving; nothing else reads text.

mod discovery;
mod layer4;
mod mount;
mod pool;
mod tls;
mod watching;

pub use discovery::*;
pub use layer4::*;
pub use mount::*;
pub use pool::*;
pub use tls::*;
pub use watching::*;

use crate::address::BindAddress;
use crate::migration::ArmRule;
use crate::mirror::MirrorPlan;
use ipnet::IpNet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Where requests come in; at least one.
    pub listeners: Vec<ListenerPlan>,
    /// First match wins.
    pub routes: Vec<RoutePlan>,
    /// Named sets of backends.
    pub pools: Vec<PoolPlan>,
    /// The operator's listener.
    pub admin: AdminPlan,
    /// Access records and events.
    pub logging: LoggingPlan,
    /// Renderings of the counters.
    pub metrics: Vec<MetricFamily>,
    /// Serving threads; 0 = one per core.
    pub workers: usize,
    /// How a stop drains.
    pub shutdown: ShutdownPlan,
    /// Where what outlives the process is kept; `None` = nothing outlives it.
    pub state_dir: Option<PathBuf>,
    /// Exchanges that are worth a second look.
    pub recorder: RecorderPlan,
    /// Spans of exchanges; `None` = no span is made.
    pub tracing: Option<TracingPlan>,
    /// Where profiles are served; `None` = nowhere.
    pub pprof: Option<BindAddress>,
    /// Backends on loopback that nobody serves are played by the program itself.
    pub mocks: bool,
}

/// One socket that accepts clients.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerPlan {
    /// Unique name.
    pub name: Arc<str>,
    /// Where it binds.
    pub bind: BindAddress,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Bounds of one connection and of all.
    pub limits: Limits,
    /// How encoded slashes in a path are treated.
    pub paths: PathPolicy,
    /// Read-only endpoints of ours, asked before the routes; the first match wins.
    pub mounts: Vec<MountPlan>,
    /// What is spoken.
    pub protocol: ListenerProtocol,
    /// TLS, if clients speak it.
    pub tls: Option<ListenerTlsPlan>,
    /// Whether trusted peers send a PROXY header first.
    pub proxy_protocol: AcceptProxy,
    /// Every request is answered with a redirect.
    pub redirect: Option<RedirectPlan>,
}

/// Bounds on what clients may use; 0 means unlimited where it says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Open client connections of this listener; 0 = unlimited.
    pub max_connections: usize,
    /// Open connections per client address; 0 = unlimited.
    pub max_connections_per_ip: usize,
    /// From the first byte of a request (or from accept) to the end of its head.
    pub request_head_timeout: Duration,
    /// Without a request, or without a byte moving in a body.
    pub idle_timeout: Duration,
    /// Bytes of request line and fields.
    pub max_request_head_bytes: usize,
    /// Number of fields.
    pub max_request_fields: usize,
    /// Bytes of a request body; 0 = unlimited.
    pub max_request_body_bytes: u64,
}

/// How a path with encoded separators is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathPolicy {
    /// `%2F` matches as `/`, and is forwarded as spelt.
    Lenient,
    /// Every encoded `/` and `\` is refused.
    Strict,
}

/// A test and where requests that pass it go.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutePlan {
    /// Unique name; `route-N` (from 0) if the user gave none.
    pub name: Arc<str>,
    /// What a request must be.
    pub matches: RouteMatch,
    /// Pools by share: (index into `Plan::pools`, weight); a plain `pool:` is one with weight 1.
    pub split: Vec<(usize, u32)>,
    /// Removes the matched `path_prefix` before forwarding.
    pub strip_prefix: bool,
    /// Changes to the request's fields.
    pub request_headers: HeaderRules,
    /// Changes to the response's fields.
    pub response_headers: HeaderRules,
    /// Client networks let in; empty = all.
    pub allow: Vec<IpNet>,
    /// Client networks refused; wins over `allow`.
    pub deny: Vec<IpNet>,
    /// Bound of the whole exchange; zero = none.
    pub timeout: Duration,
    /// Bound on requests per time.
    pub rate_limit: Option<RateLimitPlan>,
    /// Divides requests between two pools while a migration moves them; then `split` is not asked.
    pub arms: Option<ArmRule>,
    /// Copies of its requests; as a rule none.
    pub mirrors: Vec<MirrorPlan>,
}

/// A token bucket per key.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimitPlan {
    /// Tokens added per `per`; at least 1.
    pub requests: u32,
    /// Time in which `requests` tokens are added.
    pub per: Duration,
    /// Size of the bucket, in tokens; at least 1.
    pub burst: u32,
    /// What has a bucket of its own.
    pub key: RateKey,
}

/// What has a bucket of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateKey {
    /// The client's address; of IPv6 its /64.
    ClientIp,
    /// The first value of this field, its name in lower case.
    Header(String),
    /// All requests of the route together.
    Route,
}

/// The test of a route; an empty part matches everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteMatch {
    /// Names of the listeners that it came in by.
    pub listeners: Vec<String>,
    /// Exact names, or `*.suffix`; lower case, without port or trailing dot.
    pub hosts: Vec<String>,
    /// On the path view.
    pub path: PathMatch,
    /// Upper case.
    pub methods: Vec<String>,
    /// Lower-case name and exact value; all must hold, each on any of its lines.
    pub headers: Vec<(String, String)>,
}

/// The path part of a route's test.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum PathMatch {
    /// Every path.
    #[default]
    Any,
    /// This path, query ignored.
    Exact(String),
    /// Whole segments: `/v1` covers `/v1` and `/v1/x`, not `/v10`. Without a trailing slash.
    Prefix(String),
}

/// Changes to a message's fields: remove, then set, then add. Names are lower case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderRules {
    /// Replaces every field of the name.
    pub set: Vec<(String, String)>,
    /// Appends a field.
    pub add: Vec<(String, String)>,
    /// Drops every field of the name.
    pub remove: Vec<String>,
}

impl HeaderRules {
    /// True if nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// The operator's listener.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminPlan {
    /// Where it binds; `None` turns it off.
    pub bind: Option<BindAddress>,
    /// False: a bind that is taken is a warning, and there is no admin listener.
    pub required: bool,
    /// File with the tokens that are asked for; `None` = none is.
    pub tokens_file: Option<PathBuf>,
}

/// Whose names the metrics have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricFamily {
    /// `evenkeel_*` and `process_*`, in base units.
    Native,
    /// `gobalance_*`, durations in milliseconds.
    Gobalance,
    /// `loadbalancer_*`, durations in seconds.
    Loadbalancer,
}

/// Access records and events.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggingPlan {
    /// Least severe event that is written; access records are not affected.
    pub level: LogLevel,
    /// Shape of a line.
    pub format: LogFormat,
    /// File to append to; `None` = stdout.
    pub file: Option<PathBuf>,
    /// Whether exchanges are recorded.
    pub access: bool,
    /// Share of exchanges recorded, 0 to 1.
    pub access_sample: f64,
    /// Name in the lines that greet at start; `None` = no such lines.
    pub greeting: Option<Arc<str>>,
}

/// Severity, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Details of decisions.
    Debug,
    /// What happens.
    Info,
    /// What should be looked at.
    Warn,
    /// What failed.
    Error,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object.
    Json,
    /// Human words.
    Text,
    /// `[INFO] …`.
    Bracket,
    /// `key=value` pairs.
    Logfmt,
}

/// How a stop drains.
#[derive(Clone, Debug, PartialEq)]
pub struct ShutdownPlan {
    /// Readiness off, still accepting.
    pub grace: Duration,
    /// Bound on finishing what is in flight.
    pub drain_timeout: Duration,
}
