//! A checked pool as a domain type.

use super::{bound, discovery, scale, wire};
use crate::scalar::{HashKey, RetryOn};
use crate::sections::{
    Admission, Affinity, AffinityType, BackendEntry, CircuitBreaker, Connections, Hash, Health,
    HealthType, ListenerProtocol, Pool, PoolProtocol, Retry, RetryMethods,
};
use evenkeel_core::plan::{
    self, AdminState, AffinityPlan, BackendPlan, BackoffPlan, BreakerPlan, ConnectionsPlan,
    CookiePlan, HashPlan, HealthCheck, HealthPlan, HttpCheck, PoolPlan, RetryPlan, TimeoutsPlan,
};

/// `user`: the protocol of a tcp or udp listener that uses it.
pub(super) fn pool(pool: &Pool, user: Option<ListenerProtocol>) -> PoolPlan {
    PoolPlan {
        name: pool.name.0.as_str().into(),
        strategy: pool.strategy.name,
        strategy_text: pool.strategy.text.clone(),
        hash: hash(&pool.hash),
        protocol: match pool.protocol {
            PoolProtocol::Http1 => plan::PoolProtocol::Http1,
            PoolProtocol::H2 => plan::PoolProtocol::Http2,
            PoolProtocol::Auto => plan::PoolProtocol::Auto,
        },
        backends: pool.backends.iter().map(backend).collect(),
        discovery: pool.discovery.0.as_ref().map(discovery::discovery),
        health: health(&pool.health, user),
        breaker: breaker(&pool.circuit_breaker),
        retry: retry(&pool.retry),
        affinity: affinity(&pool.affinity),
        connections: connections(&pool.connections),
        timeouts: TimeoutsPlan {
            connect: bound(pool.timeouts.connect.0),
            response_head: bound(pool.timeouts.response_head.0),
            idle: bound(pool.timeouts.idle.0),
        },
        slow_start: pool.slow_start.0,
        autoscale: pool.autoscale.0.as_ref().map(scale::autoscale),
        fail_open: pool.fail_open,
        tls: wire::pool_tls(pool),
        proxy_protocol: wire::send_proxy(pool),
    }
}

fn hash(hash: &Hash) -> HashPlan {
    HashPlan {
        key: match &hash.key {
            HashKey::ClientIp => plan::HashKey::ClientIp,
            HashKey::Header(name) => plan::HashKey::Header(name.0.clone()),
            HashKey::Cookie(name) => plan::HashKey::Cookie(name.0.clone()),
            HashKey::Path => plan::HashKey::Path,
            HashKey::Query(name) => plan::HashKey::Query(name.clone()),
        },
        virtual_nodes: hash.virtual_nodes.as_u32(),
        load_factor: hash.load_factor.map_or(0.0, |factor| factor.0),
    }
}

fn backend(BackendEntry(backend): &BackendEntry) -> BackendPlan {
    BackendPlan {
        name: backend.name.0.as_str().into(),
        address: backend.address.0.clone(),
        weight: backend.weight.as_u32(),
        admin: match backend.admin {
            Admission::Enabled => AdminState::Enabled,
            Admission::Draining => AdminState::Draining,
            Admission::Disabled => AdminState::Disabled,
        },
    }
}

fn health(health: &Health, user: Option<ListenerProtocol>) -> HealthPlan {
    HealthPlan {
        check: match health.r#type {
            HealthType::None => HealthCheck::Off,
            HealthType::Grpc => HealthCheck::Grpc(health.service.0.clone()),
            HealthType::Tcp => HealthCheck::Tcp,
            HealthType::Http => match (user, http_check(health)) {
                // Nobody has said that its backends speak HTTP.
                (Some(ListenerProtocol::Tcp), HttpCheck { by_default: true, .. }) => {
                    HealthCheck::Tcp
                }
                (Some(ListenerProtocol::Udp), HttpCheck { by_default: true, .. }) => {
                    HealthCheck::Off
                }
                (_, check) => HealthCheck::Http(check),
            },
        },
        interval: health.interval.0,
        timeout: bound(health.timeout.0),
        healthy_threshold: health.healthy_threshold.as_u32(),
        unhealthy_threshold: health.unhealthy_threshold.as_u32(),
    }
}

fn http_check(health: &Health) -> HttpCheck {
    let unset = Health::default();
    HttpCheck {
        path: health.path.0.clone(),
        method: health.method.0.clone(),
        host: health.host.0.clone(),
        expect_status: health.expect_status.0.clone(),
        expect_body: health.expect_body.0.clone(),
        by_default: health.path == unset.path
            && health.method == unset.method
            && health.host == unset.host
            && health.expect_status == unset.expect_status
            && health.expect_body == unset.expect_body,
    }
}

fn breaker(breaker: &CircuitBreaker) -> BreakerPlan {
    BreakerPlan {
        enabled: breaker.enabled,
        failure_threshold: breaker.failure_threshold.as_u32(),
        failure_rate: breaker.failure_rate.0,
        min_requests: breaker.min_requests.as_u32(),
        window: breaker.window.0,
        reset_timeout: breaker.reset_timeout.0,
        max_reset_timeout: breaker.max_reset_timeout.0.max(breaker.reset_timeout.0),
    }
}

fn retry(retry: &Retry) -> RetryPlan {
    let mut on = plan::RetryOn::default();
    for reason in &retry.on {
        match reason {
            RetryOn::ConnectFailure => on.connect_failure = true,
            RetryOn::Reset => on.reset = true,
            RetryOn::PerTryTimeout => on.per_try_timeout = true,
            RetryOn::GrpcUnavailable => on.grpc_unavailable = true,
            RetryOn::Status(status) => on.statuses.push(*status),
        }
    }
    on.statuses.sort_unstable();
    on.statuses.dedup();
    RetryPlan {
        attempts: retry.attempts.as_u32(),
        budget: retry.budget.0,
        budget_floor: retry.budget_floor.as_u32(),
        on,
        methods: match retry.methods {
            RetryMethods::Idempotent => plan::RetryMethods::Idempotent,
            RetryMethods::All => plan::RetryMethods::All,
        },
        backoff: BackoffPlan {
            base: retry.backoff.base.0,
            multiplier: retry.backoff.multiplier.0,
            max: retry.backoff.max.0,
        },
        buffer_bytes: retry.buffer.as_len(),
        per_try_timeout: retry.per_try_timeout.0,
    }
}

fn affinity(affinity: &Affinity) -> AffinityPlan {
    match affinity.r#type {
        AffinityType::None => AffinityPlan::Off,
        AffinityType::ClientIp | AffinityType::Ip => AffinityPlan::ClientIp,
        AffinityType::Cookie => AffinityPlan::Cookie(CookiePlan {
            name: affinity.cookie_name.0.as_str().into(),
            ttl: affinity.ttl.0,
            secret_file: (!affinity.secret_file.0.is_empty())
                .then(|| affinity.secret_file.0.clone().into()),
        }),
    }
}

fn connections(connections: &Connections) -> ConnectionsPlan {
    ConnectionsPlan {
        max: connections.max.as_u32(),
        max_idle: connections.max_idle.as_count(),
        idle_timeout: connections.idle_timeout.0,
        max_connecting: connections.max_connecting.as_u32(),
        queue_max: connections.queue.max.as_count(),
        queue_timeout: connections.queue.timeout.0,
    }
}
