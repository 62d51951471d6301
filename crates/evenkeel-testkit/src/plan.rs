//! Plans for tests: a listener on a free port, one route for everything, one pool.

use evenkeel_core::address::{BackendAddress, BindAddress};
use evenkeel_core::plan::{
    AcceptProxy, AdminPlan, BackendPlan, HeaderRules, Limits, ListenerPlan, ListenerProtocol,
    LogFormat, LogLevel, LoggingPlan, MetricFamily, PathPolicy, Plan, PoolPlan, RetryOn,
    RouteMatch, RoutePlan, ShutdownPlan,
};
use std::time::Duration;

/// A plan under construction; every closure gets the first of its kind.
#[derive(Clone, Debug)]
pub struct PlanBuilder {
    plan: Plan,
}

impl PlanBuilder {
    /// One listener, one route for everything, one pool of these backends.
    pub fn to(addresses: &[&str]) -> PlanBuilder {
        let plan = Plan {
            listeners: vec![listener("127.0.0.1:0")],
            routes: vec![route("all", RouteMatch::default(), 0)],
            pools: vec![pool("web", addresses)],
            admin: AdminPlan { bind: None, required: true, tokens_file: None },
            metrics: vec![MetricFamily::Native],
            logging: LoggingPlan {
                level: LogLevel::Info,
                format: LogFormat::Json,
                file: None,
                access: true,
                access_sample: 1.0,
                greeting: None,
            },
            workers: 1,
            shutdown: ShutdownPlan { grace: Duration::ZERO, drain_timeout: Duration::from_secs(5) },
            state_dir: None,
            recorder: recorder(),
            pprof: None,
            tracing: None,
            mocks: false,
        };
        PlanBuilder { plan }
    }

    /// Adjusts anything.
    pub fn plan(mut self, adjust: impl FnOnce(&mut Plan)) -> PlanBuilder {
        adjust(&mut self.plan);
        self
    }

    /// Adjusts the listener.
    pub fn listener(self, adjust: impl FnOnce(&mut ListenerPlan)) -> PlanBuilder {
        self.plan(|plan| adjust(&mut plan.listeners[0]))
    }

    /// Adjusts the listener's limits.
    pub fn limits(self, adjust: impl FnOnce(&mut Limits)) -> PlanBuilder {
        self.listener(|listener| adjust(&mut listener.limits))
    }

    /// Adjusts the route.
    pub fn route(self, adjust: impl FnOnce(&mut RoutePlan)) -> PlanBuilder {
        self.plan(|plan| adjust(&mut plan.routes[0]))
    }

    /// Adjusts the pool.
    pub fn pool(self, adjust: impl FnOnce(&mut PoolPlan)) -> PlanBuilder {
        self.plan(|plan| adjust(&mut plan.pools[0]))
    }

    /// The plan.
    pub fn build(self) -> Plan {
        self.plan
    }
}

/// The flight recorder with the defaults of the configuration.
pub fn recorder() -> evenkeel_core::plan::RecorderPlan {
    let off = evenkeel_core::plan::RecorderPlan::off();
    evenkeel_core::plan::RecorderPlan { size: 1_000, slow: Duration::from_secs(1), ..off }
}

/// A listener with the defaults of the configuration.
///
/// # Panics
/// If the address cannot be parsed.
pub fn listener(bind: &str) -> ListenerPlan {
    ListenerPlan {
        name: "main".into(),
        bind: BindAddress::parse(bind).expect("an address"),
        trusted_proxies: Vec::new(),
        limits: Limits {
            max_connections: 10_000,
            max_connections_per_ip: 0,
            request_head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            max_request_head_bytes: 32 * 1024,
            max_request_fields: 100,
            max_request_body_bytes: 0,
        },
        paths: PathPolicy::Lenient,
        mounts: Vec::new(),
        protocol: ListenerProtocol::Http,
        tls: None,
        proxy_protocol: AcceptProxy::Off,
        redirect: None,
    }
}

/// A route to one pool.
pub fn route(name: &str, matches: RouteMatch, pool: usize) -> RoutePlan {
    RoutePlan {
        name: name.into(),
        matches,
        split: vec![(pool, 1)],
        strip_prefix: false,
        request_headers: HeaderRules::default(),
        response_headers: HeaderRules::default(),
        allow: Vec::new(),
        deny: Vec::new(),
        timeout: Duration::ZERO,
        rate_limit: None,
        arms: None,
        mirrors: Vec::new(),
    }
}

/// A round-robin pool with the defaults of the configuration, but without active checks.
///
/// # Panics
/// If an address cannot be parsed.
pub fn pool(name: &str, addresses: &[&str]) -> PoolPlan {
    let backend = |text: &&str| BackendPlan::bare(BackendAddress::parse(text).expect("an address"));
    let mut pool = PoolPlan::bare(name, addresses.iter().map(backend).collect());
    pool.breaker.enabled = true;
    pool.retry.attempts = 3;
    pool.retry.on = RetryOn {
        connect_failure: true,
        reset: true,
        per_try_timeout: true,
        grpc_unavailable: true,
        statuses: vec![502, 503, 504],
    };
    pool
}
