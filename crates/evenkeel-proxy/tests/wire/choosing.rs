//! Who gets a request: weights, keys, load; and that nobody stays counted who has left.

use crate::arena::each;
use crate::stage::{Act, Stage, eventually, get, get_with};
use evenkeel_core::plan::HashKey;
use evenkeel_core::strategy::{STRATEGY_NAMES, StrategyName};
use evenkeel_testkit::backend::{Gate, ok_with};
use evenkeel_testkit::plan::PlanBuilder;
use std::time::Duration;

/// Everybody may say who the client is.
fn trusting(plan: PlanBuilder) -> PlanBuilder {
    plan.listener(|listener| {
        listener.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
}

fn weighted(plan: PlanBuilder, strategy: StrategyName, weights: &[u32]) -> PlanBuilder {
    plan.pool(|pool| {
        pool.strategy = strategy;
        pool.backends.iter_mut().zip(weights).for_each(|(b, weight)| b.weight = *weight);
    })
}

#[test]
fn weight_0_gets_nothing_and_all_others_something() {
    let cases = STRATEGY_NAMES.iter().map(|(strategy, names)| (names[0], *strategy));
    each(cases, |strategy| {
        let stage = Stage::of(3, |plan| trusting(weighted(plan, *strategy, &[2, 0, 1])));
        let mut client = stage.connect();
        for number in 0..60 {
            let from = format!("X-Forwarded-For: 10.0.{number}.1\r\n");
            let text = client.ask(get_with("/", &from)).text();
            assert_ne!(text, "b");
        }
        let counts = stage.counts();
        assert!(counts[0] > 0 && counts[1] == 0 && counts[2] > 0, "{counts:?}");
        Ok(())
    });
}

#[test]
fn weights_are_kept_exactly_by_all_workers_together() {
    let stage = Stage::of(3, |plan| {
        let plan = weighted(plan, StrategyName::WeightedRoundRobin, &[3, 2, 1]);
        plan.plan(|plan| plan.workers = 2)
    });
    for _ in 0..20 {
        stage.who(30);
    }
    assert_eq!(stage.counts(), [300, 200, 100]);
}

#[test]
fn a_key_has_one_backend() {
    let header = |value: &str| get_with("/any", &format!("X-User: {value}\r\n"));
    let cookie = |value: &str| get_with("/any", &format!("Cookie: z=1; sid={value}; y=2\r\n"));
    let path = |value: &str| get(&format!("/{value}?any"));
    let query = |value: &str| get(&format!("/any?{value}"));
    let parameter = |value: &str| get(&format!("/any?z=1&id={value}&y=2"));
    let client = |value: &str| get_with("/any", &format!("X-Forwarded-For: 10.0.0.{value}\r\n"));
    type Make<'a> = &'a dyn Fn(&str) -> String;
    let keys: [(&str, (HashKey, Make<'_>)); 6] = [
        ("header", (HashKey::Header("x-user".into()), &header)),
        ("cookie", (HashKey::Cookie("sid".into()), &cookie)),
        ("path", (HashKey::Path, &path)),
        ("query", (HashKey::Query(None), &query)),
        ("query:id", (HashKey::Query(Some("id".into())), &parameter)),
        ("client_ip", (HashKey::ClientIp, &client)),
    ];
    for strategy in [StrategyName::ConsistentHash, StrategyName::Maglev] {
        each(keys.clone(), |(key, make)| {
            let stage = Stage::of(3, |plan| {
                trusting(plan).pool(|pool| {
                    pool.strategy = strategy;
                    pool.hash.key = key.clone();
                })
            });
            let mut client = stage.connect();
            for number in 0..20 {
                let request = make(&number.to_string());
                let first = client.ask(&request).text();
                for _ in 0..3 {
                    assert_eq!(client.ask(&request).text(), first, "{strategy:?}: {request}");
                }
            }
            let counts = stage.counts();
            assert!(counts.iter().all(|count| *count > 0), "{strategy:?} spreads: {counts:?}");
            Ok(())
        });
    }
}

#[test]
fn without_its_key_a_request_goes_by_its_client() {
    let stage = Stage::of(3, |plan| {
        trusting(plan).pool(|pool| {
            pool.strategy = StrategyName::ConsistentHash;
            pool.hash.key = HashKey::Header("x-user".into());
        })
    });
    let ask =
        |ip: usize| stage.ask(&get_with("/", &format!("X-Forwarded-For: 10.0.0.{ip}\r\n"))).text();
    let homes: Vec<_> = (1..20).map(ask).collect();
    assert_eq!((1..20).map(ask).collect::<Vec<_>>(), homes);
    assert!(stage.counts().iter().all(|count| *count > 0), "{:?}", stage.counts());
}

#[test]
fn keys_of_the_living_stay_when_one_dies() {
    for strategy in [StrategyName::ConsistentHash, StrategyName::Maglev] {
        let stage = Stage::of(3, |plan| {
            plan.pool(|pool| {
                pool.strategy = strategy;
                pool.hash.key = HashKey::Path;
            })
        });
        let ask = |number: usize| stage.ask(&get(&format!("/{number}"))).text();
        let homes: Vec<_> = (0..30).map(ask).collect();
        stage.players[2].does(Act::Break);
        for (number, home) in homes.iter().enumerate() {
            let now = ask(number);
            let stays = if home == "c" { now != "c" } else { now == *home };
            assert!(stays, "{strategy:?}: /{number} from {home} to {now}");
        }
    }
}

#[test]
fn the_busy_one_is_spared() {
    let cases = [StrategyName::LeastConnections, StrategyName::PowerOfTwo];
    each(cases.map(|strategy| (strategy.as_str(), strategy)), |strategy| {
        let stage = Stage::of(2, |plan| plan.pool(|pool| pool.strategy = *strategy));
        let gate = Gate::default();
        for (player, name) in stage.players.iter().zip(["a", "b"]) {
            player.does(Act::Held(gate.clone(), ok_with(name)));
        }
        let mut held = stage.connect();
        held.send(get("/"));
        stage.wait_for_open(1);
        let busy = usize::from(stage.players[1].count() == 1);
        let idle = 1 - busy;
        for (player, name) in stage.players.iter().zip(["a", "b"]) {
            player.says(ok_with(name));
        }
        stage.who(10);
        assert_eq!(stage.players[idle].count(), 10);
        gate.open();
        assert_eq!(held.final_response().expect("200").status(), 200);
        Ok(())
    });
}

#[test]
fn least_connections_goes_by_weight() {
    let gate = Gate::default();
    let stage = Stage::of(2, |plan| weighted(plan, StrategyName::LeastConnections, &[3, 1]));
    for player in &stage.players {
        player.does(Act::Held(gate.clone(), ok_with("late")));
    }
    let mut clients: Vec<_> = (1..=8)
        .map(|count| {
            let mut client = stage.connect();
            client.send(get("/"));
            stage.wait_for_open(count);
            client
        })
        .collect();
    assert_eq!(stage.counts(), [6, 2]);
    gate.open();
    assert!(clients.iter_mut().all(|client| client.final_response().is_ok()));
}

/// A number that looks like chance and is the same in every run (Knuth's MMIX).
fn scatter(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn requests_that_are_aborted_anywhere_leave_nothing_behind() {
    let request = "PUT /abort HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789";
    let stage = Stage::of(3, |plan| {
        plan.pool(|pool| {
            pool.strategy = StrategyName::LeastConnections;
            pool.connections.max = 2;
            pool.connections.queue_max = 4;
            pool.breaker.enabled = false;
        })
        .plan(|plan| plan.workers = 2)
    });
    stage.players[0].does(Act::After(Duration::from_millis(3), ok_with("a")));
    stage.players[1].does(Act::After(Duration::from_millis(20), ok_with("b")));
    let mut chance = 7;
    for _ in 0..1000 {
        let length = usize::try_from(scatter(&mut chance)).expect("31 bits");
        let mut client = stage.connect();
        // Half of them come to their end, to be aborted while they are worked on or answered.
        let end = (length % (2 * request.len())).min(request.len());
        client.send(&request[..end]);
        match scatter(&mut chance) % 4 {
            0 => drop(client),
            1 => client.reset(),
            2 => {
                std::thread::yield_now();
                client.reset();
            }
            _ => drop(client.half_close().bound_waits(Duration::from_millis(1)).response()),
        }
    }
    let pool = stage.pool();
    eventually("no request in flight", || {
        pool.backends.iter().all(|backend| backend.in_flight() == 0) && pool.waiting.is_empty()
    });
    assert!(stage.counts().iter().all(|count| *count > 0), "{:?}", stage.counts());
    assert_eq!(stage.ask(&get("/")).status(), 200);
}
