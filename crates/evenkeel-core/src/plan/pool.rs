//! The part of a plan that concerns one pool.

use super::{DiscoveryPlan, PoolTlsPlan, SendProxy};
use crate::address::BackendAddress;
use crate::autoscale::AutoscalePlan;
use crate::strategy::StrategyName;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A named set of backends with its policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolPlan {
    /// Unique name.
    pub name: Arc<str>,
    /// How the next backend is chosen.
    pub strategy: StrategyName,
    /// As the user spelt it.
    pub strategy_text: Arc<str>,
    /// What the hash strategies hash.
    pub hash: HashPlan,
    /// What is spoken to its backends.
    pub protocol: PoolProtocol,
    /// At least one, unless others come later: by discovery, or by an autoscaler.
    pub backends: Vec<BackendPlan>,
    /// Where further ones are found; `None` = nowhere.
    pub discovery: Option<DiscoveryPlan>,
    /// Active checks.
    pub health: HealthPlan,
    /// Takes a failing backend out for a while.
    pub breaker: BreakerPlan,
    /// What is tried again.
    pub retry: RetryPlan,
    /// Keeps a client on its backend.
    pub affinity: AffinityPlan,
    /// Connections kept and allowed.
    pub connections: ConnectionsPlan,
    /// Deadlines towards backends.
    pub timeouts: TimeoutsPlan,
    /// Ramp of a backend that (re)joins; zero = none.
    pub slow_start: Duration,
    /// Starts and stops backends by load; `None` = not.
    pub autoscale: Option<AutoscalePlan>,
    /// Nothing eligible: ignore breaker and suspicion, never admin state or failed checks.
    pub fail_open: bool,
    /// TLS to `https://` backends.
    pub tls: PoolTlsPlan,
    /// PROXY header sent first on every new connection.
    pub proxy_protocol: SendProxy,
}

impl PoolPlan {
    /// Round robin over these backends; everything that can be turned off is off. What a caller
    /// without a configuration starts from.
    pub fn bare(name: &str, backends: Vec<BackendPlan>) -> PoolPlan {
        PoolPlan {
            name: name.into(),
            strategy: StrategyName::RoundRobin,
            strategy_text: StrategyName::RoundRobin.as_str().into(),
            hash: HashPlan { key: HashKey::ClientIp, virtual_nodes: 100, load_factor: 0.0 },
            protocol: PoolProtocol::Http1,
            backends,
            discovery: None,
            health: HealthPlan {
                check: HealthCheck::Off,
                interval: Duration::from_secs(5),
                timeout: Duration::from_secs(2),
                healthy_threshold: 2,
                unhealthy_threshold: 3,
            },
            breaker: BreakerPlan {
                enabled: false,
                failure_threshold: 5,
                failure_rate: 0.5,
                min_requests: 20,
                window: Duration::from_secs(10),
                reset_timeout: Duration::from_secs(5),
                max_reset_timeout: Duration::from_secs(60),
            },
            retry: RetryPlan {
                attempts: 1,
                budget: 0.2,
                budget_floor: 10,
                on: RetryOn::default(),
                methods: RetryMethods::Idempotent,
                backoff: BackoffPlan {
                    base: Duration::from_millis(25),
                    multiplier: 2.0,
                    max: Duration::from_secs(1),
                },
                buffer_bytes: 64 * 1024,
                per_try_timeout: Duration::ZERO,
            },
            affinity: AffinityPlan::Off,
            connections: ConnectionsPlan {
                max: 0,
                max_idle: 64,
                idle_timeout: Duration::from_secs(30),
                max_connecting: 0,
                queue_max: 1024,
                queue_timeout: Duration::from_secs(5),
            },
            timeouts: TimeoutsPlan {
                connect: Duration::from_secs(3),
                response_head: Duration::from_secs(60),
                idle: Duration::from_secs(300),
            },
            slow_start: Duration::ZERO,
            autoscale: None,
            fail_open: true,
            tls: PoolTlsPlan::default(),
            proxy_protocol: SendProxy::Off,
        }
    }
}

/// What is spoken to the backends of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolProtocol {
    /// HTTP/1.1; an address that begins with `h2c://` says otherwise for itself.
    Http1,
    /// HTTP/2: over TLS by ALPN, else by prior knowledge.
    Http2,
    /// Over TLS what ALPN finds, else HTTP/1.1.
    Auto,
}

/// What the hash strategies hash, and how evenly.
#[derive(Clone, Debug, PartialEq)]
pub struct HashPlan {
    /// The part of a request that decides.
    pub key: HashKey,
    /// Points on the ring of a backend with weight 1.
    pub virtual_nodes: u32,
    /// Most that a backend may be busier than the mean, such as 1.25; 0 = unbounded.
    pub load_factor: f64,
}

/// The part of a request that the hash strategies hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    ClientIp,
    /// The first value of this field, its name in lower case.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The path, without the query.
    Path,
    /// The whole query, or one parameter of it.
    Query(Option<String>),
}

/// Active checks of backends.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthPlan {
    /// How a backend is probed.
    pub check: HealthCheck,
    /// From the beginning of a probe to that of the next.
    pub interval: Duration,
    /// Bound of one probe, connection included; a slower answer is a failure.
    pub timeout: Duration,
    /// Successes in a row until healthy; at least 1.
    pub healthy_threshold: u32,
    /// Failures in a row until unhealthy; at least 1.
    pub unhealthy_threshold: u32,
}

/// How a backend is probed.
#[derive(Clone, Debug, PartialEq)]
pub enum HealthCheck {
    /// Not at all.
    Off,
    /// A connection is made and closed.
    Tcp,
    /// A request is sent, and its answer looked at.
    Http(HttpCheck),
    /// `grpc.health.v1.Health/Check` is called, for this service; empty = the whole backend.
    Grpc(String),
}

/// A request, and the answer of a healthy backend. Redirects are answers like others.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpCheck {
    /// Path and query.
    pub path: String,
    /// Upper case.
    pub method: String,
    /// Value of `Host`; empty = the backend's own address.
    pub host: String,
    /// Status codes of a healthy backend.
    pub expect_status: Vec<RangeInclusive<u16>>,
    /// Text that the body must hold; empty = any.
    pub expect_body: String,
    /// True if the check is what an unconfigured pool gets: a backend whose very first answer is
    /// 404 has no such page, and 404 is then fine.
    pub by_default: bool,
}

/// When a failing backend is left alone, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerPlan {
    /// Whether it acts.
    pub enabled: bool,
    /// Failures in a row that open it; at least 1.
    pub failure_threshold: u32,
    /// Share of failures in `window` that opens it, 0 to 1; 0 = not looked at.
    pub failure_rate: f64,
    /// Requests in `window` before the share counts.
    pub min_requests: u32,
    /// Time that the share is taken over.
    pub window: Duration,
    /// First wait before a trial; doubles with every failed one.
    pub reset_timeout: Duration,
    /// Longest wait.
    pub max_reset_timeout: Duration,
}

/// Keeps a client on its backend.
#[derive(Clone, Debug, PartialEq)]
pub enum AffinityPlan {
    /// Not at all.
    Off,
    /// By a signed cookie of ours.
    Cookie(CookiePlan),
    /// By the client's address.
    ClientIp,
}

/// The cookie that keeps a client on its backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookiePlan {
    /// Its name.
    pub name: Arc<str>,
    /// Its life, and that of the tie.
    pub ttl: Duration,
    /// File with the keys that sign it, the newest first; `None` = one made at start.
    pub secret_file: Option<PathBuf>,
}

/// One address that is called.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendPlan {
    /// Unique in its pool; default `host:port`.
    pub name: Arc<str>,
    /// Where it is.
    pub address: BackendAddress,
    /// Share of new traffic; 0 = none.
    pub weight: u32,
    /// The operator's wish.
    pub admin: AdminState,
}

impl BackendPlan {
    /// Enabled, with weight 1, named by its address.
    pub fn bare(address: BackendAddress) -> BackendPlan {
        let name = address.default_name().into();
        BackendPlan { name, address, weight: 1, admin: AdminState::Enabled }
    }
}

/// The operator's wish for a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminState {
    /// Takes traffic.
    Enabled,
    /// Finishes what runs, takes nothing new.
    Draining,
    /// Out.
    Disabled,
}

/// What is tried again, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPlan {
    /// Tries in total, the first included; at least 1.
    pub attempts: u32,
    /// Retries as a share of requests, 0 to 1.
    pub budget: f64,
    /// Retries per second that are allowed whatever the share says.
    pub budget_floor: u32,
    /// What is worth another try.
    pub on: RetryOn,
    /// What may be sent again once a backend may have seen it.
    pub methods: RetryMethods,
    /// Wait before another try.
    pub backoff: BackoffPlan,
    /// Bytes of a request body kept for another try.
    pub buffer_bytes: usize,
    /// Bound of one try, up to the response head; zero = none.
    pub per_try_timeout: Duration,
}

/// What is worth another try.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryOn {
    /// The connection could not be made.
    pub connect_failure: bool,
    /// The connection broke before the response began.
    pub reset: bool,
    /// `per_try_timeout` passed.
    pub per_try_timeout: bool,
    /// UNAVAILABLE without headers.
    pub grpc_unavailable: bool,
    /// Status codes, sorted.
    pub statuses: Vec<u16>,
}

/// What may be sent again once a backend may have seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryMethods {
    /// Requests with an idempotent method (RFC 9110 section 9.2.2).
    Idempotent,
    /// Every request.
    All,
}

/// Wait before another try, drawn between zero and a bound that grows.
#[derive(Clone, Debug, PartialEq)]
pub struct BackoffPlan {
    /// Bound before the second try.
    pub base: Duration,
    /// Growth of the bound per try; at least 1.
    pub multiplier: f64,
    /// Largest bound.
    pub max: Duration,
}

/// Connections to backends.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionsPlan {
    /// Exchanges that one backend has at a time; 0 = unlimited.
    pub max: u32,
    /// Idle connections kept per backend and worker.
    pub max_idle: usize,
    /// How long one is kept.
    pub idle_timeout: Duration,
    /// Connections being made to one backend at a time; 0 = unlimited.
    pub max_connecting: u32,
    /// Requests that may wait because every backend has its `max`.
    pub queue_max: usize,
    /// How long one waits.
    pub queue_timeout: Duration,
}

/// Deadlines towards backends.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeoutsPlan {
    /// To make a connection.
    pub connect: Duration,
    /// From the request sent to the response head.
    pub response_head: Duration,
    /// Without a byte moving in a body or tunnel.
    pub idle: Duration,
}
