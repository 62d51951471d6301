//! How a pool grows and shrinks: a checked plan, every default filled in.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// How a pool grows and shrinks. A target of 0 is not used.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoscalePlan {
    /// Fewest backends, those of the configuration included; 0 = scale to zero.
    pub min: u32,
    /// Most backends.
    pub max: u32,
    /// Between evaluations.
    pub interval: Duration,
    /// The pool's requests in one interval: more ask for one step more.
    pub requests_per_interval: u32,
    /// Requests in flight per backend.
    pub in_flight: u32,
    /// Longest wait in the queue.
    pub queue_wait: Duration,
    /// Requests per second and backend.
    pub rps: u32,
    /// Longest 95th percentile of response times.
    pub p95: Duration,
    /// Growth.
    pub up: ScaleUpPlan,
    /// Shrinkage.
    pub down: ScaleDownPlan,
    /// Share of errors above which nothing changes, 0 to 1.
    pub max_error_rate: f64,
    /// Decide and say, but do nothing.
    pub dry_run: bool,
    /// Requests that wait while there is no backend.
    pub buffer_requests: usize,
    /// How long one waits.
    pub buffer_timeout: Duration,
    /// Which of several balancers scales.
    pub lease: LeasePlan,
    /// What starts and stops backends.
    pub driver: DriverPlan,
}

/// Growth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleUpPlan {
    /// Backends at a time.
    pub step: u32,
    /// Time that load is taken over.
    pub window: Duration,
}

/// Shrinkage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleDownPlan {
    /// Backends at a time.
    pub step: u32,
    /// Time that every signal must be low.
    pub after: Duration,
    /// Least time between two steps.
    pub every: Duration,
    /// Bound on finishing what runs on a backend that goes.
    pub drain_timeout: Duration,
}

/// Which of several balancers scales.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeasePlan {
    /// This one.
    Alone,
    /// Whoever has locked this file.
    File(PathBuf),
    /// Whoever has the key in this Redis.
    Redis(RedisPlan),
}

/// Where a Redis is, and how it lets us in.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisPlan {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who logs in; `None` = the default user.
    pub user: Option<String>,
    /// Whether and with what.
    pub password: Option<String>,
    /// Number of its database.
    pub database: u32,
}

/// Without what nobody else should know.
impl fmt::Display for RedisPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "redis://{open}{}{close}:{}/{}", self.host, self.port, self.database)
    }
}

impl fmt::Debug for RedisPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What starts and stops backends. `{port}`, `{name}`, `{pool}` and `{count}` are filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriverPlan {
    /// Child processes.
    Process(ProcessPlan),
    /// Containers.
    Docker(DockerPlan),
    /// A command that is told the count.
    Exec(Vec<String>),
    /// A URL that is told the count.
    Webhook {
        /// Where.
        url: String,
        /// Bound of one call.
        timeout: Duration,
    },
    /// A deployment of Kubernetes.
    Kubernetes {
        /// Its namespace.
        namespace: String,
        /// Its name.
        deployment: String,
    },
}

impl DriverPlan {
    /// Its kind, as users write it.
    pub fn kind(&self) -> &'static str {
        match self {
            DriverPlan::Process(_) => "process",
            DriverPlan::Docker(_) => "docker",
            DriverPlan::Exec(_) => "exec",
            DriverPlan::Webhook { .. } => "webhook",
            DriverPlan::Kubernetes { .. } => "kubernetes",
        }
    }
}

/// How a process is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessPlan {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Ports that it may get.
    pub ports: RangeInclusive<u16>,
    /// Where it is reached, with `{port}` for the port that it got.
    pub address: String,
    /// Its environment, besides ours.
    pub env: Vec<(String, String)>,
    /// Bound until it is healthy.
    pub start_timeout: Duration,
}

/// How a container is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerPlan {
    /// Its image.
    pub image: String,
    /// Port inside it.
    pub port: u16,
    /// Command; empty = the image's own.
    pub command: Vec<String>,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Its network; empty = the engine's default.
    pub network: String,
    /// Its labels, besides ours.
    pub labels: Vec<(String, String)>,
    /// Socket of the engine.
    pub socket: PathBuf,
    /// Bound until it is healthy.
    pub start_timeout: Duration,
}
