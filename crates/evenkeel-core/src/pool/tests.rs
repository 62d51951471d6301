//! Who is picked, and what outcomes change.

use super::*;
use crate::address::BackendAddress;
use crate::plan::{AdminState, BackendPlan};

const NOW: Nanos = Nanos(1_000_000_000);

fn at(ms: u64) -> Nanos {
    NOW.after(Duration::from_millis(ms))
}

fn plan(names: &[(&str, u32)]) -> PoolPlan {
    let backend = |(name, weight): &(&str, u32)| BackendPlan {
        name: (*name).into(),
        address: BackendAddress::parse("127.0.0.1:1").expect("valid"),
        weight: *weight,
        admin: AdminState::Enabled,
    };
    let mut plan = PoolPlan::bare("p", names.iter().map(backend).collect());
    plan.breaker.enabled = true;
    plan
}

fn pool(names: &[(&str, u32)]) -> Pool {
    Pool::new(plan(names), None)
}

fn query(tried: &Tried, now: Nanos) -> Query<'_> {
    let draw = crate::strategy::hash::hash(&now.0.to_le_bytes());
    Query { tried, now, draw, hash: draw, tied: None, repeatable: true, has_idle: &|_| false }
}

fn pick(pool: &Pool, tried: &Tried, now: Nanos) -> Option<Pick> {
    pool.pick(&query(tried, now)).ok()
}

fn name(pick: Option<Pick>) -> String {
    pick.map_or_else(String::new, |pick| pick.plan.name.to_string())
}

fn order(pool: &Pool, count: usize) -> Vec<String> {
    (0..count).map(|_| name(pick(pool, &Tried::default(), NOW))).collect()
}

fn fail(pool: &Pool, index: usize, times: usize, now: Nanos) -> Option<Change> {
    let mut last = None;
    for _ in 0..times {
        let tried = Tried::default();
        let mut pick = pool.occupy_for_test(index, &query(&tried, now));
        last = pool.report(&mut pick, Outcome::Failed, now, 0.0);
    }
    last
}

#[test]
fn turns_skip_weight_zero_and_tried() {
    let pool = pool(&[("a", 1), ("b", 0), ("c", 1)]);
    assert_eq!(order(&pool, 4), ["a", "c", "a", "c"]);
    let mut tried = Tried::default();
    tried.push(pool.backends[0].slot);
    assert_eq!(name(pick(&pool, &tried, NOW)), "c");
    tried.push(pool.backends[2].slot);
    assert!(pick(&pool, &tried, NOW).is_none());
}

#[test]
fn second_tries_are_spread_and_take_nobodys_turn() {
    let pool = pool(&[("a", 1), ("b", 1), ("c", 1)]);
    let (mut first_tries, mut served) = ([0; 3], [0_i32; 3]);
    for ms in 0..600 {
        let mut tried = Tried::default();
        loop {
            let pick = pick(&pool, &tried, at(ms)).expect("two left");
            first_tries[pick.index] += usize::from(tried.is_empty());
            if &*pick.plan.name != "b" {
                served[pick.index] += 1;
                break;
            }
            tried.push(pick.slot);
        }
    }
    assert_eq!(first_tries, [200, 200, 200]);
    assert!(served[0].abs_diff(served[2]) < 60, "{served:?}");
}

#[test]
fn in_flight_is_counted_by_guards() {
    let pool = pool(&[("a", 1)]);
    let picks: Vec<_> = (0..3).filter_map(|_| pick(&pool, &Tried::default(), NOW)).collect();
    assert_eq!(pool.backends[0].in_flight(), 3);
    drop(picks);
    assert_eq!(pool.backends[0].in_flight(), 0);
}

#[test]
fn every_strategy_serves_only_the_eligible_and_counts_to_zero() {
    for (strategy, _) in crate::strategy::STRATEGY_NAMES {
        let mut plan = plan(&[("a", 3), ("b", 2), ("c", 1), ("d", 0)]);
        plan.strategy = *strategy;
        let pool = Pool::new(plan, None);
        fail(&pool, 1, 5, NOW);
        let mut seen = std::collections::BTreeSet::new();
        for ms in 0..1000 {
            let mut pick = pick(&pool, &Tried::default(), at(ms)).expect("a or c");
            seen.insert(pick.plan.name.to_string());
            let _ = pool.report(&mut pick, Outcome::Answered(200), at(ms + 1), 0.0);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["a", "c"], "{strategy:?}");
        assert!(pool.backends.iter().all(|backend| backend.in_flight() == 0), "{strategy:?}");
    }
}

#[test]
fn smooth_weights_are_exact() {
    let mut plan = plan(&[("a", 3), ("b", 2), ("c", 1)]);
    plan.strategy = StrategyName::WeightedRoundRobin;
    let order = order(&Pool::new(plan, None), 600);
    let count = |name: &str| order.iter().filter(|picked| *picked == name).count();
    assert_eq!((count("a"), count("b"), count("c")), (300, 200, 100));
}

#[test]
fn a_breaker_opens_waits_tries_once_and_closes() {
    let pool = pool(&[("a", 1), ("b", 1)]);
    assert!(fail(&pool, 0, 4, NOW).is_none());
    let change = fail(&pool, 0, 1, NOW).expect("opens");
    assert!(matches!(change.breaker, Some(Transition::Opened { .. })));
    assert_eq!(order(&pool, 3), ["b", "b", "b"]);
    let later = at(10_000);
    let trial = pick(&pool, &Tried::default(), later).expect("the trial");
    assert!(trial.is_trial() && &*trial.plan.name == "a");
    let second = pick(&pool, &Tried::default(), later).expect("b");
    assert!(!second.is_trial() && &*second.plan.name == "b", "one at a time");
    drop(trial);
    let mut again = pick(&pool, &Tried::default(), later).expect("freed by the drop");
    assert!(again.is_trial());
    let change = pool.report(&mut again, Outcome::Answered(200), later, 0.0).expect("closes");
    assert!(matches!(change.breaker, Some(Transition::Closed)));
    drop(again);
    assert_eq!(pool.mode(), Mode::Normal);
}

#[test]
fn a_request_that_cannot_be_repeated_tries_out_only_if_nobody_else_does() {
    let pool = pool(&[("a", 1), ("b", 1)]);
    fail(&pool, 0, 5, NOW);
    let until = pool.backends[0].breaker.open_until().expect("open");
    let tried = Tried::default();
    let once = |now| pool.pick(&Query { repeatable: false, ..query(&tried, now) }).expect("b");
    assert!(!once(until).is_trial());
    assert!(once(until.after(Duration::from_secs(1))).is_trial());
}

#[test]
fn with_every_breaker_open_fail_open_decides() {
    for fail_open in [true, false] {
        let mut plan = plan(&[("a", 1), ("b", 1)]);
        plan.fail_open = fail_open;
        let pool = Pool::new(plan, None);
        fail(&pool, 0, 5, NOW);
        let change = fail(&pool, 1, 5, NOW).expect("opens");
        let expected = if fail_open { Mode::FailOpen } else { Mode::Empty };
        assert_eq!(change.mode, Some(expected));
        assert_eq!(pick(&pool, &Tried::default(), NOW).is_some(), fail_open);
    }
}

#[test]
fn fail_open_never_overrides_probes_or_the_operator() {
    let pool = pool(&[("a", 1), ("b", 0)]);
    for _ in 0..3 {
        let fault = Some(crate::health::ProbeFault::Timeout);
        let _ = pool.record_probe(0, ProbeResult { at: NOW, took: Duration::ZERO, fault });
    }
    assert_eq!(pool.mode(), Mode::Empty);
    assert_eq!(pool.pick(&query(&Tried::default(), NOW)).err(), Some(NoPick::Nobody));
}

#[test]
fn when_all_eligible_were_tried_an_open_breaker_is_better_than_an_error() {
    let pool = pool(&[("a", 1), ("b", 1)]);
    fail(&pool, 0, 5, NOW);
    let mut tried = Tried::default();
    tried.push(pool.backends[1].slot);
    assert!(pool.has_another(&tried, NOW));
    assert_eq!(name(pick(&pool, &tried, NOW)), "a");
}

#[test]
fn as_the_last_resort_an_open_breaker_gets_one_request_at_a_time() {
    let pool = pool(&[("a", 1), ("b", 1)]);
    fail(&pool, 0, 5, NOW);
    let mut tried = Tried::default();
    tried.push(pool.backends[1].slot);
    let first = pick(&pool, &tried, NOW).expect("a");
    assert!(!first.is_trial());
    assert!(!pool.has_another(&tried, NOW));
    assert_eq!(pool.pick(&query(&tried, NOW)).err(), Some(NoPick::Nobody));
    drop(first);
    assert_eq!(name(pick(&pool, &tried, NOW)), "a");
    fail(&pool, 1, 5, NOW);
    let none = Tried::default();
    let all: Vec<_> = (0..8).filter_map(|_| pick(&pool, &none, NOW)).collect();
    assert_eq!((pool.mode(), all.len()), (Mode::FailOpen, 8), "then breakers are ignored");
}

#[test]
fn a_trial_that_never_comes_back_is_told_once() {
    let pool = pool(&[("a", 1), ("b", 1)]);
    fail(&pool, 0, 5, NOW);
    let due = pool.backends[0].breaker.open_until().expect("open");
    let trial = pick(&pool, &Tried::default(), due).expect("the trial");
    assert!(trial.is_trial());
    let told = |now| {
        let opened = |(at, change): &(usize, Change)| {
            *at == 0 && matches!(change.breaker, Some(Transition::Opened { .. }))
        };
        pool.review(now, 0.0).iter().filter(|it| opened(it)).count()
    };
    assert_eq!(told(due.after(Duration::from_secs(1))), 0, "it may yet come back");
    let expired = pool.backends[0].breaker.trial_at();
    assert_eq!(told(expired), 1);
    assert_eq!(told(expired.after(Duration::from_secs(1))), 0);
    assert_eq!(pool.backends[0].breaker.state(), BreakerState::Open);
    // Another request may find out first; it is told all the same.
    let due = pool.backends[0].breaker.open_until().expect("open");
    let second = pick(&pool, &Tried::default(), due).expect("another trial");
    assert!(second.is_trial());
    let expired = pool.backends[0].breaker.trial_at();
    assert_eq!(name(pick(&pool, &Tried::default(), expired)), "b");
    assert_eq!(told(expired.after(Duration::from_secs(1))), 1);
}

#[test]
fn with_a_load_factor_the_whole_pool_is_counted_by_guards() {
    let mut plan = plan(&[("a", 1), ("b", 1)]);
    plan.strategy = StrategyName::ConsistentHash;
    plan.hash.load_factor = 1.25;
    let pool = Arc::new(Pool::new(plan.clone(), None));
    let total = |pool: &Pool| pool.in_flight.load(Ordering::Relaxed);
    let tried = Tried::default();
    let one_key = Query { hash: 7, ..query(&tried, NOW) };
    let picks: Vec<_> = (0..8).filter_map(|_| pool.pick(&one_key).ok()).collect();
    let busy: Vec<u32> = pool.backends.iter().map(|it| it.in_flight()).collect();
    assert_eq!((total(&pool), busy.iter().sum::<u32>()), (8, 8));
    assert!(busy.iter().all(|it| *it <= 6), "a popular key is spread: {busy:?}");
    plan.hash.virtual_nodes = 50;
    let next = pool.replanned(&plan, None, NOW);
    assert_eq!(total(&next), 8, "another configuration counts on");
    drop(picks);
    assert_eq!((total(&pool), total(&next)), (0, 0));
}

#[test]
fn doubt_diverts_new_traffic_while_others_exist() {
    let pool = pool(&[("a", 1), ("b", 1)]);
    assert!(pool.doubt(0, Doubt::Reset, NOW).is_some());
    assert!(pool.doubt(0, Doubt::Reset, NOW).is_none(), "known");
    assert_eq!(order(&pool, 2), ["b", "b"]);
    let change = pool.doubt(1, Doubt::Reset, NOW).expect("new");
    assert_eq!(change.mode, Some(Mode::Doubtful));
    assert!(pick(&pool, &Tried::default(), NOW).is_some(), "better than nobody");
    assert!(pool.trust(0, NOW).is_some());
    assert_eq!(order(&pool, 2), ["a", "a"]);
    let changes = pool.review(NOW.after(UNPROBED_DOUBT_LIFE), 0.0);
    assert_eq!(changes.len(), 1, "no doubt lasts without a probe");
    assert_eq!(pool.mode(), Mode::Normal);
}

#[test]
fn weak_doubts_count_only_where_a_probe_can_settle_them() {
    let mut plan = plan(&[("a", 1), ("b", 1)]);
    assert!(Pool::new(plan.clone(), None).doubt(0, Doubt::Silence, NOW).is_none());
    plan.health.check = HealthCheck::Tcp;
    let pool = Pool::new(plan, None);
    assert!(pool.doubt(0, Doubt::Silence, NOW).is_some());
    assert!(pool.review(NOW.after(UNPROBED_DOUBT_LIFE), 0.0).is_empty(), "the probe decides");
}

#[test]
fn a_pause_ends_by_itself() {
    let pool = pool(&[("a", 1), ("b", 1)]);
    assert_eq!(pool.pause(0, NOW, Duration::from_secs(2)), None);
    assert_eq!(order(&pool, 2), ["b", "b"]);
    assert!(pool.review(at(1000), 0.0).is_empty());
    assert_eq!(order(&pool, 2), ["b", "b"]);
    let _ = pool.review(at(2500), 0.0);
    assert!(order(&pool, 2).contains(&"a".to_owned()));
}

#[test]
fn a_full_backend_leaves_its_turns_to_others_and_calls_those_who_wait() {
    let mut plan = plan(&[("a", 1), ("b", 1)]);
    plan.connections.max = 1;
    let pool = Pool::new(plan, None);
    let tried = Tried::default();
    let first = pick(&pool, &tried, NOW).expect("room");
    let _second = pick(&pool, &tried, NOW).expect("room");
    assert_ne!(first.slot, _second.slot);
    assert_eq!(pool.pick(&query(&tried, NOW)).err(), Some(NoPick::Busy));
    let waker = std::task::Waker::noop();
    let ticket = pool.waiting.join(NOW, Nanos::NEVER, waker).expect("room in the queue");
    assert_eq!(pool.waiting.poll(ticket, NOW, waker), crate::queue::Place::Waiting);
    drop(first);
    assert_eq!(pool.waiting.poll(ticket, NOW, waker), crate::queue::Place::Called);
    assert!(pick(&pool, &tried, NOW).is_some());
}

#[test]
fn a_slow_start_takes_a_growing_share_and_a_new_pool_has_none() {
    let mut plan = plan(&[("a", 1), ("b", 1)]);
    plan.slow_start = Duration::from_secs(10);
    let pool = Pool::new(plan, None);
    let tried = Tried::default();
    let share = |from_ms: u64| {
        let draws = (0..1000u64).map(|draw| crate::strategy::hash::hash(&draw.to_le_bytes()));
        let picks = draws.map(|draw| pool.pick(&Query { draw, ..query(&tried, at(from_ms)) }));
        picks.filter(|pick| pick.as_ref().is_ok_and(|pick| pick.index == 0)).count()
    };
    assert!((495..=505).contains(&share(0)), "all are new");
    fail(&pool, 0, 5, NOW);
    let mut trial = pick(&pool, &Tried::default(), at(20_000)).expect("trial");
    let _ = pool.report(&mut trial, Outcome::Answered(200), at(20_000), 0.0);
    drop(trial);
    let shares = [share(21_000), share(25_000), share(29_000)];
    assert!(shares[0] < 150 && shares[0] > 20, "{shares:?}");
    assert!(shares[0] < shares[1] && shares[1] < shares[2], "{shares:?}");
    let _ = pool.review(at(31_000), 0.0);
    assert!((495..=505).contains(&share(31_000)));
}

#[test]
fn ties_hold_through_draining_and_end_with_failure() {
    let keys = Arc::new(CookieKeys::random([7; 32]));
    let mut plan = plan(&[("a", 1), ("b", 1)]);
    plan.affinity = AffinityPlan::Cookie(crate::plan::CookiePlan {
        name: "k".into(),
        ttl: Duration::from_secs(60),
        secret_file: None,
    });
    plan.backends[0].admin = AdminState::Draining;
    let pool = Pool::new(plan, Some(keys));
    let tried = Tried::default();
    let tied = |tied| pool.pick(&Query { tied, ..query(&tried, NOW) }).expect("somebody");
    assert_eq!(&*tied(None).plan.name, "b");
    assert_eq!(&*tied(Some(0)).plan.name, "a", "a draining backend keeps its sessions");
    let _ = pool.doubt(0, Doubt::Reset, NOW);
    assert_eq!(&*tied(Some(0)).plan.name, "b", "a dead one does not");
}

#[test]
fn client_ip_affinity_moves_only_those_of_a_lost_backend() {
    let mut plan = plan(&[("a", 1), ("b", 1), ("c", 1)]);
    plan.affinity = AffinityPlan::ClientIp;
    let pool = Pool::new(plan, None);
    let tried = Tried::default();
    let map = |pool: &Pool| -> Vec<usize> {
        let hashes = (0..1000u64).map(|key| crate::strategy::hash::hash(&key.to_le_bytes()));
        let pick = |hash| pool.pick(&Query { hash, ..query(&tried, NOW) }).expect("somebody").index;
        hashes.map(pick).collect()
    };
    let before = map(&pool);
    assert!((0..3).all(|index| before.iter().filter(|at| **at == index).count() > 200));
    let _ = pool.doubt(1, Doubt::Reset, NOW);
    let moved = map(&pool).iter().zip(&before).all(|(now, was)| now == was || *was == 1);
    assert!(moved, "the others keep their clients");
    let _ = pool.trust(1, NOW);
    assert_eq!(map(&pool), before, "and they return");
}
