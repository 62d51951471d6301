//! Checked values as domain types.

pub(crate) mod discovery;
mod pool;
pub(crate) mod scale;
mod watching;
mod wire;

use crate::scalar::{Cidr, PathPrefix, RateKey, Whole};
use crate::sections::{
    self, Admin, Family, HeaderChanges, Level, LineFormat, Listener, Logging, Match, MetricsFormat,
    Mirror, MirrorDiff, Mount, MountAccept, MountKind, Paths, RateLimit, Root, Route,
};
use evenkeel_core::mirror::{BodyDiff, DiffPlan, MirrorPlan};
use evenkeel_core::plan::{
    self, AdminPlan, HeaderRules, Limits, ListenerPlan, LogFormat, LogLevel, LoggingPlan,
    MetricFamily, MountPlan, Mounted, PathMatch, PathPolicy, Plan, RateLimitPlan, RouteMatch,
    RoutePlan, ShutdownPlan,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The plan of a configuration without problems.
pub(crate) fn plan(root: &Root) -> Plan {
    let pools = root.pools.iter().enumerate();
    let index: HashMap<&str, usize> = pools.map(|(at, pool)| (pool.name.0.as_str(), at)).collect();
    Plan {
        listeners: root.listeners.iter().map(|one| listener(one, &index)).collect(),
        routes: root.routes.iter().map(|one| route(one, &index)).collect(),
        pools: root.pools.iter().map(|one| pool::pool(one, wire::user(root, one))).collect(),
        admin: admin(&root.admin),
        logging: logging(&root.logging),
        metrics: root.metrics.families.iter().copied().map(family).collect(),
        workers: root.workers.as_count(),
        shutdown: ShutdownPlan {
            grace: root.shutdown.grace.0,
            drain_timeout: root.shutdown.drain_timeout.0,
        },
        state_dir: (!root.state_dir.0.is_empty()).then(|| root.state_dir.0.clone().into()),
        recorder: watching::recorder(&root.recorder),
        tracing: watching::tracing(&root.tracing),
        pprof: root.debug.pprof.0.clone(),
        mocks: root.mocks,
    }
}

/// What `0s` stands for where it turns a bound off: longer than any process lives.
const UNBOUNDED: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

fn bound(configured: Duration) -> Duration {
    if configured.is_zero() { UNBOUNDED } else { configured }
}

fn listener(listener: &Listener, index: &HashMap<&str, usize>) -> ListenerPlan {
    let limits = &listener.limits;
    ListenerPlan {
        name: listener.name.0.as_str().into(),
        bind: listener.bind.0.clone(),
        trusted_proxies: networks(&listener.trusted_proxies),
        limits: Limits {
            max_connections: limits.max_connections.as_count(),
            max_connections_per_ip: limits.max_connections_per_ip.as_count(),
            request_head_timeout: bound(limits.request_head_timeout.0),
            idle_timeout: bound(limits.idle_timeout.0),
            max_request_head_bytes: limits.max_request_head.as_len(),
            max_request_fields: limits.max_request_fields.as_count(),
            max_request_body_bytes: limits.max_request_body.0,
        },
        paths: match listener.paths {
            Paths::Lenient => PathPolicy::Lenient,
            Paths::Strict => PathPolicy::Strict,
        },
        mounts: listener.mounts.iter().map(mount).collect(),
        protocol: wire::protocol(listener, index),
        tls: wire::tls(listener),
        proxy_protocol: wire::accept_proxy(listener),
        redirect: wire::redirect(listener),
    }
}

/// Of a mount that names none; the checked range leaves no other use for it.
const DOWN_STATUS: u16 = 503;

fn mount(mount: &Mount) -> MountPlan {
    MountPlan {
        path: mount.path.0.clone(),
        hosts: mount.hosts.iter().map(|host| host.0.clone()).collect(),
        accept: match mount.accept {
            MountAccept::Any => plan::MountAccept::Any,
            MountAccept::Html => plan::MountAccept::Html,
        },
        serve: match mount.serve {
            MountKind::Health => Mounted::Health {
                down_status: u16::try_from(mount.down_status.0).unwrap_or(DOWN_STATUS),
            },
            MountKind::Metrics => Mounted::Metrics {
                default_format: match mount.default_format {
                    MetricsFormat::Prometheus => plan::MetricsFormat::Prometheus,
                    MetricsFormat::Openmetrics => plan::MetricsFormat::Openmetrics,
                    MetricsFormat::Json => plan::MetricsFormat::Json,
                },
            },
            MountKind::Report => Mounted::Report,
            MountKind::Dashboard => Mounted::Dashboard,
        },
    }
}

fn admin(admin: &Admin) -> AdminPlan {
    let file = &admin.tokens_file.0;
    AdminPlan {
        bind: admin.bind.0.clone(),
        required: admin.required,
        tokens_file: (!file.is_empty()).then(|| file.clone().into()),
    }
}

fn family(family: Family) -> MetricFamily {
    match family {
        Family::Native => MetricFamily::Native,
        Family::Gobalance => MetricFamily::Gobalance,
        Family::Loadbalancer => MetricFamily::Loadbalancer,
    }
}

fn networks(networks: &[Cidr]) -> Vec<ipnet::IpNet> {
    networks.iter().map(|network| network.0).collect()
}

/// `index`: every pool's place by name. The check has found every name in it.
fn route(route: &Route, index: &HashMap<&str, usize>) -> RoutePlan {
    let plain = route.pool.iter().map(|pool| (pool, 1));
    let split = route.split.iter().map(|arm| (&arm.pool, arm.weight.as_u32()));
    let arms = plain.chain(split);
    RoutePlan {
        name: route.name.0.as_str().into(),
        matches: route_match(&route.r#match),
        split: arms.filter_map(|(pool, n)| Some((*index.get(pool.0.as_str())?, n))).collect(),
        strip_prefix: route.strip_prefix,
        request_headers: header_rules(&route.request_headers),
        response_headers: header_rules(&route.response_headers),
        allow: networks(&route.allow),
        deny: networks(&route.deny),
        timeout: route.timeout.0,
        rate_limit: route.rate_limit.as_ref().map(rate_limit),
        arms: None,
        mirrors: route.mirror.iter().filter_map(|one| mirror(one, index)).collect(),
    }
}

fn mirror(mirror: &Mirror, index: &HashMap<&str, usize>) -> Option<MirrorPlan> {
    Some(MirrorPlan {
        pool: *index.get(mirror.pool.0.as_str())?,
        percent: f64::from(mirror.percent.as_u32()),
        max_body_bytes: mirror.max_body.0,
        diff: mirror.diff.as_ref().map(diff).map(Arc::new),
    })
}

fn diff(diff: &MirrorDiff) -> DiffPlan {
    DiffPlan {
        status: diff.status,
        headers: diff.headers.iter().map(|name| name.0.clone()).collect(),
        body: match diff.body {
            sections::BodyDiff::None => BodyDiff::None,
            sections::BodyDiff::Hash => BodyDiff::Hash,
            sections::BodyDiff::Json => BodyDiff::Json,
        },
        ignore: diff.ignore.iter().map(|it| it.path.clone()).collect(),
        samples: diff.samples.as_count(),
    }
}

fn rate_limit(limit: &RateLimit) -> RateLimitPlan {
    let requests = limit.requests.as_u32();
    RateLimitPlan {
        requests,
        per: limit.per.0,
        burst: limit.burst.map_or(requests, Whole::as_u32),
        key: match &limit.key {
            RateKey::ClientIp => plan::RateKey::ClientIp,
            RateKey::Header(name) => plan::RateKey::Header(name.0.clone()),
            RateKey::Route => plan::RateKey::Route,
        },
    }
}

fn route_match(matches: &Match) -> RouteMatch {
    let path = match (&matches.path, &matches.path_prefix) {
        (Some(path), _) => PathMatch::Exact(path.0.clone()),
        (None, Some(PathPrefix(prefix))) if prefix != "/" => PathMatch::Prefix(prefix.clone()),
        (None, Some(_) | None) => PathMatch::Any,
    };
    let headers = matches.headers.0.iter();
    RouteMatch {
        listeners: matches.listeners.iter().map(|name| name.0.clone()).collect(),
        hosts: matches.hosts.iter().map(|host| host.0.clone()).collect(),
        path,
        methods: matches.methods.iter().map(|method| method.0.clone()).collect(),
        headers: headers.map(|(name, value)| (name.0.clone(), value.0.clone())).collect(),
    }
}

fn header_rules(changes: &HeaderChanges) -> HeaderRules {
    let set = changes.set.0.iter().map(|(name, value)| (name.0.clone(), value.0.clone()));
    let add = changes.add.0.iter().map(|(name, value)| (name.0.clone(), value.0.clone()));
    HeaderRules {
        set: set.collect(),
        add: add.collect(),
        remove: changes.remove.iter().map(|name| name.0.clone()).collect(),
    }
}

fn logging(logging: &Logging) -> LoggingPlan {
    LoggingPlan {
        level: match logging.level {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        },
        format: match logging.format {
            LineFormat::Json => LogFormat::Json,
            LineFormat::Text => LogFormat::Text,
            LineFormat::Bracket => LogFormat::Bracket,
            LineFormat::Logfmt => LogFormat::Logfmt,
        },
        file: (!logging.file.0.is_empty()).then(|| logging.file.0.clone().into()),
        access: logging.access.enabled,
        access_sample: logging.access.sample.0,
        greeting: (!logging.greeting.0.is_empty()).then(|| logging.greeting.0.as_str().into()),
    }
}
