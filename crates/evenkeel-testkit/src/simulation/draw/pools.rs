//! The policy of a pool, and the lives of its backends, from a seed.

use super::one_of;
use crate::memory::chance;
use crate::simulation::world::{
    Backend, Client, Cookie, Forged, Mood, Promise, World, cookie_plan, health_page,
};
use evenkeel_core::plan::{
    AdminState, AffinityPlan, HashKey, HealthCheck, PoolPlan, RateKey, RateLimitPlan, RetryMethods,
};
use evenkeel_core::strategy::StrategyName;
use fastrand::Rng;
use std::time::Duration;

const STRATEGIES: &[StrategyName] = &[
    StrategyName::RoundRobin,
    StrategyName::WeightedRoundRobin,
    StrategyName::WeightedRandom,
    StrategyName::Random,
    StrategyName::LeastConnections,
    StrategyName::LeastResponseTime,
    StrategyName::PowerOfTwo,
    StrategyName::ConsistentHash,
    StrategyName::Maglev,
];
/// Statuses that may be worth another try.
const STATUSES: &[u16] = &[429, 500, 502, 503, 504];
/// Points on a ring of a backend with weight 1: few, for the ring is made anew in every world.
const VIRTUAL_NODES: u32 = 20;
/// Moods that a backend may have for a while.
const MOODS: &[Mood] =
    &[Mood::Dead, Mood::Gone, Mood::Frozen, Mood::Unavailable, Mood::Sick, Mood::Slow];
/// Time after a calm until every breaker may be tried and every doubt has ended.
const CALM_MS: u64 = 12_000;

fn between(rng: &mut Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(rng.u64(least..=most))
}

/// Draws policies for all pools and lives for all backends, of which nothing breaks the promise.
pub(super) fn draw(rng: &mut Rng, world: &mut World) {
    let promise = world.promise;
    for pool in &mut world.plan.pools {
        policy(rng, pool, promise);
    }
    for route in &mut world.plan.routes {
        if promise == Promise::Nothing && chance(rng, 12) {
            route.rate_limit = Some(RateLimitPlan {
                requests: rng.u32(5..=20),
                per: Duration::from_secs(1),
                burst: rng.u32(1..=10),
                key: one_of(rng, &[RateKey::Route, RateKey::Route, RateKey::ClientIp]),
            });
        }
    }
    for backend in &mut world.backends {
        let octets = match backend.address.ip() {
            std::net::IpAddr::V4(ip) => ip.octets(),
            std::net::IpAddr::V6(_) => continue,
        };
        let (pool, index) = (usize::from(octets[2]), usize::from(octets[3]) - 1);
        life(rng, backend, (&world.plan.pools[pool], index, promise));
    }
    let long = chance(rng, 40);
    for client in &mut world.clients {
        if long {
            client.start_ms = rng.u64(0..=3_000);
        }
        sessions(rng, client, &world.plan.pools);
    }
    let calm = world.drain_ms.is_none() && chance(rng, 30);
    world.calm_ms = calm.then_some(CALM_MS);
}

fn policy(rng: &mut Rng, pool: &mut PoolPlan, promise: Promise) {
    let wild = promise == Promise::Nothing;
    pool.strategy = one_of(rng, STRATEGIES);
    let by_id = HashKey::Header("x-sim-id".to_owned());
    pool.hash.key = one_of(rng, &[HashKey::ClientIp, HashKey::Path, by_id]);
    pool.hash.virtual_nodes = VIRTUAL_NODES;
    pool.hash.load_factor = one_of(rng, &[0.0, 1.25]);
    let ramp = between(rng, 500, 3_000);
    pool.slow_start = one_of(rng, &[Duration::ZERO, ramp]);
    pool.fail_open = rng.bool();
    // In a calm world these must serve; see `faults` for who may fail there.
    let spared = if wild { 0 } else { 2 };
    for (index, backend) in pool.backends.iter_mut().enumerate() {
        backend.weight = rng.u32(1..=5);
        if index >= spared && chance(rng, 10) {
            backend.weight = 0;
        }
        if index >= spared && chance(rng, 15) {
            backend.admin = one_of(rng, &[AdminState::Draining, AdminState::Disabled]);
        }
    }
    pool.affinity = match rng.u8(0..10) {
        0..6 => AffinityPlan::Off,
        6..9 => AffinityPlan::Cookie(cookie_plan()),
        _ => AffinityPlan::ClientIp,
    };
    health(rng, pool, wild);
    breaker(rng, pool);
    if wild {
        retry(rng, pool);
    }
    limits(rng, pool, wild);
}

fn health(rng: &mut Rng, pool: &mut PoolPlan, wild: bool) {
    pool.health.check = match rng.u8(0..10) {
        0..4 => HealthCheck::Off,
        4..8 => health_page(),
        _ => HealthCheck::Tcp,
    };
    pool.health.interval = between(rng, 200, 1_000);
    pool.health.timeout = if wild { between(rng, 200, 600) } else { Duration::from_secs(1) };
    pool.health.healthy_threshold = rng.u32(1..=3);
    pool.health.unhealthy_threshold = rng.u32(1..=3);
}

fn breaker(rng: &mut Rng, pool: &mut PoolPlan) {
    pool.breaker.enabled = chance(rng, 85);
    pool.breaker.failure_threshold = rng.u32(1..=6);
    pool.breaker.failure_rate = one_of(rng, &[0.0, 0.3, 0.8]);
    pool.breaker.min_requests = rng.u32(3..=20);
    pool.breaker.window = between(rng, 1_000, 10_000);
    pool.breaker.reset_timeout = between(rng, 100, 1_000);
    pool.breaker.max_reset_timeout = Duration::from_secs(2);
}

fn retry(rng: &mut Rng, pool: &mut PoolPlan) {
    let retry = &mut pool.retry;
    retry.budget = one_of(rng, &[0.0, 0.1, 0.2, 1.0]);
    retry.budget_floor = one_of(rng, &[0, 1, 3, 10, 1_000]);
    retry.on.statuses = STATUSES.iter().copied().filter(|_| rng.bool()).collect();
    retry.on.per_try_timeout = rng.bool();
    if chance(rng, 30) {
        retry.per_try_timeout = between(rng, 100, 1_000);
    }
    if chance(rng, 20) {
        retry.methods = RetryMethods::All;
    }
    retry.backoff.base = between(rng, 0, 50);
}

fn limits(rng: &mut Rng, pool: &mut PoolPlan, wild: bool) {
    let connections = &mut pool.connections;
    if chance(rng, 35) {
        connections.max = rng.u32(1..=4);
    }
    if chance(rng, 15) {
        connections.max_connecting = rng.u32(1..=3);
    }
    connections.queue_max = if wild { rng.usize(0..=8) } else { 1_024 };
    connections.queue_timeout =
        if wild { between(rng, 100, 1_000) } else { Duration::from_secs(600) };
}

/// What a backend goes through. Where safe requests are promised an answer, only the first of
/// several may fail, and only from the beginning, so that it breaks nothing that it has begun.
fn life(rng: &mut Rng, backend: &mut Backend, (pool, index, promise): (&PoolPlan, usize, Promise)) {
    backend.manners.chunked = one_of(rng, &[0, 50, 100]);
    match promise {
        Promise::All => {}
        Promise::Safe if index == 0 && pool.backends.len() > 1 && chance(rng, 60) => {
            // Only a probe that wants an answer finds out that nothing moves.
            let moves = !matches!(pool.health.check, HealthCheck::Http(_));
            let fits = |mood: &Mood| !(moves && *mood == Mood::Frozen) && *mood != Mood::Slow;
            let moods: Vec<_> = MOODS.iter().copied().filter(fits).collect();
            backend.moods = vec![(0, one_of(rng, &moods)), (rng.u64(100..3_000), Mood::Well)];
        }
        Promise::Safe => {}
        Promise::Nothing => {
            backend.manners.failing = one_of(rng, &[0, 0, 10, 60]);
            backend.manners.retry_after = one_of(rng, &[None, Some(0), Some(1)]);
            if chance(rng, 40) {
                let mut at = rng.u64(0..1_500);
                for _ in 0..rng.usize(1..=2) {
                    backend.moods.push((at, one_of(rng, MOODS)));
                    at += rng.u64(100..2_500);
                }
                backend.moods.push((at, Mood::Well));
            }
            if chance(rng, 50) {
                (backend.manners.early, backend.manners.hasty) = (0, 0);
            }
        }
    }
}

/// Cookies that a client has from earlier, and those that it forges.
fn sessions(rng: &mut Rng, client: &mut Client, pools: &[PoolPlan]) {
    for (pool, plan) in pools.iter().enumerate() {
        if matches!(plan.affinity, AffinityPlan::Cookie(_)) && chance(rng, 30) {
            client.ties.push((pool, rng.usize(0..plan.backends.len())));
        }
    }
    let forged = [Forged::Noise, Forged::WrongKey, Forged::WrongPool, Forged::Expired];
    for request in &mut client.requests {
        let affinity = pools.get(request.pool).map(|plan| &plan.affinity);
        if matches!(affinity, Some(AffinityPlan::Cookie(_))) {
            request.cookie = match rng.u8(0..10) {
                0 => Cookie::Missing,
                1 => Cookie::Forged(one_of(rng, &forged)),
                _ => Cookie::Own,
            };
        }
    }
}
