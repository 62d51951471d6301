//! A world from a seed.

mod pools;

use super::world::{
    Backend, Body, Client, Leave, Manners, Method, Promise, Request, World, backend_address,
    plan_of,
};
use crate::memory::{DialShape, WireShape, chance};
use evenkeel_core::plan::{AcceptProxy, Plan};
use fastrand::Rng;
use std::net::SocketAddr;
use std::time::Duration;

/// Most clients of one world.
const MAX_CLIENTS: usize = 20;
/// Most requests of one client.
const MAX_REQUESTS: usize = 5;
/// Largest body.
const MAX_BODY_BYTES: usize = 100_000;
/// Longest way of a piece.
const MAX_DELAY_MS: u64 = 5;
/// A body goes through a connection in at most so many fillings, so that a world ends.
const MAX_FILLINGS: usize = 60;

fn one_of<T: Clone>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.usize(0..all.len())].clone()
}

/// Draws a whole world.
pub(super) fn world(seed: u64) -> World {
    let mut rng = Rng::with_seed(seed ^ 0x5eed);
    let promise = match rng.u8(0..10) {
        0..3 => Promise::All,
        3..5 => Promise::Safe,
        _ => Promise::Nothing,
    };
    let pools: Vec<usize> = (0..rng.usize(1..=3)).map(|_| rng.usize(1..=4)).collect();
    let listeners = rng.usize(1..=2);
    let shape = shape(&mut rng, promise);
    let most = MAX_BODY_BYTES.min(shape.capacity.start().min(shape.piece.start()) * MAX_FILLINGS);
    let mut plan = plan_of(listeners, &pools);
    limits(&mut rng, &mut plan, promise);
    let backends = backends(&mut rng, &pools, (promise, most));
    let count = rng.usize(1..=MAX_CLIENTS);
    let clients = (0..count).map(|number| {
        let mut client = client(&mut rng, number, (promise, most));
        client.listener = rng.usize(0..listeners);
        for request in &mut client.requests {
            request.pool = rng.usize(0..pools.len());
            if promise == Promise::Nothing && chance(&mut rng, 3) {
                request.pool = pools.len();
            }
        }
        client
    });
    let clients = clients.collect();
    let drains = promise == Promise::Nothing && chance(&mut rng, 10);
    let drain_ms = drains.then(|| rng.u64(0..500));
    let mut world = World { plan, shape, backends, clients, drain_ms, calm_ms: None, promise };
    pools::draw(&mut rng, &mut world);
    speak(&mut Rng::with_seed(seed ^ 0x0002), &mut world);
    world
}

/// Some clients speak HTTP/2, some call through a proxy that tells who they are.
fn speak(rng: &mut Rng, world: &mut World) {
    let tells: Vec<bool> = world.plan.listeners.iter().map(|_| chance(rng, 25)).collect();
    for (listener, tells) in world.plan.listeners.iter_mut().zip(&tells) {
        if *tells {
            listener.proxy_protocol = AcceptProxy::Required;
            listener.trusted_proxies = vec!["10.2.0.0/16".parse().expect("a network")];
        }
    }
    for (number, client) in world.clients.iter_mut().enumerate() {
        let last = u8::try_from(number + 1).unwrap_or(u8::MAX);
        let behind = tells.get(client.listener) == Some(&true);
        client.behind = behind.then(|| SocketAddr::from(([203, 0, 113, last], 4_000)));
        let plain = client.requests.iter().any(|request| request.http10);
        client.http2 = !plain && chance(rng, 25);
        if client.http2 {
            client.requests.iter_mut().for_each(|request| request.expects = false);
        }
    }
}

fn shape(rng: &mut Rng, promise: Promise) -> WireShape {
    let capacity = one_of(rng, &[64, 512, 4_096, 65_536]);
    let piece = one_of(rng, &[16, 200, 1_460, 65_536]);
    let delay = one_of(rng, &[0, 0, 1, MAX_DELAY_MS]);
    let breaks = promise == Promise::Nothing && chance(rng, 30);
    WireShape {
        capacity: capacity..=capacity * 8,
        piece: piece..=piece * 2,
        delay_ms: 0..=delay,
        short_write_percent: one_of(rng, &[0, 20, 60]),
        break_percent: if breaks { 10 } else { 0 },
        break_at: 1..=5_000,
    }
}

fn limits(rng: &mut Rng, plan: &mut Plan, promise: Promise) {
    let calm = promise != Promise::Nothing;
    let mut between = |least: u64, most: u64| Duration::from_millis(rng.u64(least..=most));
    for listener in &mut plan.listeners {
        if !calm {
            listener.limits.request_head_timeout = between(300, 2_000);
            listener.limits.idle_timeout = between(300, 3_000);
        }
    }
    for pool in &mut plan.pools {
        pool.timeouts.connect = between(100, 300);
        if !calm {
            pool.timeouts.response_head = between(300, 2_000);
            pool.timeouts.idle = between(300, 2_000);
        }
        pool.connections.idle_timeout = between(50, 3_000);
    }
    for listener in &mut plan.listeners {
        if !calm && chance(rng, 20) {
            listener.limits.max_request_body_bytes = 2_000;
        }
        if !calm && chance(rng, 10) {
            listener.limits.max_connections = 3;
        }
    }
    for pool in &mut plan.pools {
        pool.connections.max_idle = one_of(rng, &[0, 1, 64]);
        if !calm {
            pool.retry.attempts = rng.u32(1..=4);
            pool.retry.on.connect_failure = chance(rng, 80);
            pool.retry.on.reset = chance(rng, 80);
        }
    }
}

fn backends(rng: &mut Rng, pools: &[usize], (promise, most): (Promise, usize)) -> Vec<Backend> {
    let mut all = Vec::new();
    for (pool, count) in pools.iter().enumerate() {
        for index in 0..*count {
            let mut manners = manners(rng, promise, most);
            let mut dial = DialShape { delay_ms: 0..=5, ..DialShape::smooth() };
            match promise {
                Promise::All => {}
                // The others of its pool must make up for it.
                Promise::Safe if index == 0 && *count > 1 => match rng.u8(0..4) {
                    0 => dial.refuse_percent = 100,
                    1 => dial.hang_percent = 100,
                    2 => manners.breaks = true,
                    _ => {}
                },
                Promise::Safe => {}
                Promise::Nothing => {
                    dial.refuse_percent = one_of(rng, &[0, 0, 0, 30, 100]);
                    dial.hang_percent = one_of(rng, &[0, 0, 0, 0, 20]);
                    manners.silent = chance(rng, 5);
                    manners.breaks = chance(rng, 10);
                }
            }
            let address = backend_address(pool, index);
            all.push(Backend { address, dial, manners, moods: Vec::new() });
        }
    }
    all
}

fn manners(rng: &mut Rng, promise: Promise, most: usize) -> Manners {
    let late = one_of(rng, &[0, 10, 200]);
    let idle_close = promise != Promise::All && chance(rng, 60);
    let slow = one_of(rng, &[0, 0, 1, 20]);
    let wild = promise == Promise::Nothing;
    Manners {
        faulty: if wild { one_of(rng, &[0, 10, 40]) } else { 0 },
        late_ms: 0..=if wild && chance(rng, 10) { 5_000 } else { late },
        size: 0..=one_of(rng, &[100, 2_000, most]).min(most),
        piece: 1.max(most / 40)..=most.max(100),
        pause_ms: 0..=slow,
        early: if wild { 10 } else { 0 },
        hasty: if wild { 5 } else { 0 },
        interim: one_of(rng, &[0, 0, 20]),
        closes: one_of(rng, &[0, 0, 30]),
        until_close: one_of(rng, &[0, 0, 20]),
        idle_close_ms: idle_close.then(|| {
            // Later than what was written last has arrived.
            let least = rng.u64(MAX_DELAY_MS + 1..=40);
            least..=least * 4
        }),
        ..Manners::good()
    }
}

fn client(rng: &mut Rng, number: usize, (promise, most): (Promise, usize)) -> Client {
    let count = rng.usize(1..=MAX_REQUESTS);
    let fresh = chance(rng, 30);
    let http10 = chance(rng, 10);
    // Behind an upload that fails, requests sent ahead go unanswered: then nothing is promised.
    let pipelines = promise != Promise::Safe && !fresh && !http10 && chance(rng, 20);
    let window = if pipelines { rng.usize(2..=4) } else { 1 };
    let wild = promise == Promise::Nothing;
    let slow = if wild && chance(rng, 10) { 400 } else { one_of(rng, &[0, 0, 0, 3]) };
    let requests = (0..count).map(|index| {
        let mut request = request(rng, format!("c{number}r{index}"), most);
        request.http10 = http10;
        if http10 && let Body::Chunked(length, _) = request.body {
            request.body = Body::Length(length);
        }
        request.expects &= !http10;
        request.pause_ms = rng.u64(0..=slow);
        request.closes = if window > 1 { false } else { chance(rng, 10) };
        if wild && chance(rng, 8) {
            let how = one_of(rng, &[Leave::Reset, Leave::Close, Leave::HalfClose]);
            request.leaves = Some((how, one_of(rng, &[0, 20, 60, 90, 100])));
        }
        request
    });
    let requests = requests.collect();
    let half_closes = chance(rng, 10);
    let start_ms = rng.u64(0..300);
    let client = Client::sequential(requests);
    Client { start_ms, window, fresh, half_closes, ..client }
}

fn request(rng: &mut Rng, id: String, most: usize) -> Request {
    let method = one_of(rng, &[Method::Get, Method::Get, Method::Head, Method::Post, Method::Put]);
    let longest = one_of(rng, &[10, 1_000, most]).min(most);
    let length = rng.usize(0..=longest);
    let longest_pause = one_of(rng, &[0, 20, 100]);
    let body = match method {
        Method::Get | Method::Head => Body::Nothing,
        Method::Post | Method::Put if rng.bool() => Body::Length(length),
        Method::Post | Method::Put => Body::Chunked(length, rng.usize(1..=length.max(1))),
    };
    Request {
        method,
        body,
        expects: body != Body::Nothing && chance(rng, 15),
        think_ms: rng.u64(0..=longest_pause),
        piece: one_of(rng, &[usize::MAX, 1_000.max(most / 10), 1.max(most / 40)]),
        ..Request::get(&id)
    }
}
