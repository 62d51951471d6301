//! Seeded worlds: the proxy between scripted clients and backends, in virtual time.
//!
//! `EVENKEEL_SEEDS=10000` plays more worlds, `EVENKEEL_SEED=42` plays one and prints its story.
#![expect(clippy::panic, reason = "a test ends where it fails")]

use evenkeel_core::plan::{AdminState, AffinityPlan};
use evenkeel_testkit::simulation::{
    self, Body, Client, Cookie, Errand, Forged, Manners, Method, Mood, Outcome, Promise, Report,
    Request, World, backend_address, cookie_plan, health_page,
};
use std::collections::BTreeMap;
use std::env;
use std::io::Write;
use std::time::Duration;

/// Worlds played without further notice.
const SEEDS: u64 = 300;
/// Seeds of a hand-made world in which the order of things matters.
const HARD_SEEDS: u64 = 20;
/// Failing seeds that are told in one run.
const MAX_TOLD: usize = 20;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn tell(text: &str) {
    // Nobody reads it if stdout is closed.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// What happened over all worlds: shows that the worlds are worth playing.
#[derive(Default)]
struct Tally(BTreeMap<String, usize>);

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        let name = match outcome {
            Outcome::Answered { local: false, .. } => "answered".to_owned(),
            Outcome::Answered { status, local: true, .. } => format!("local {status}"),
            Outcome::Broken(_) => "broken".to_owned(),
            Outcome::Left => "left".to_owned(),
            Outcome::Unsent(_) => "unsent".to_owned(),
        };
        *self.0.entry(name).or_default() += 1;
    }

    fn of(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or(0)
    }
}

#[test]
fn invariants_hold_in_every_world() {
    let (first, count) = match number("EVENKEEL_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("EVENKEEL_SEEDS").unwrap_or(SEEDS)),
    };
    let mut failing = Vec::new();
    let mut tally = Tally::default();
    for seed in first..first.saturating_add(count) {
        let report = simulation::play_seed(seed);
        report.outcomes.values().flatten().for_each(|outcome| tally.add(outcome));
        if count == 1 {
            tell(&report.story());
        }
        if !report.breaches.is_empty() {
            failing.push(report);
        }
    }
    tell(&format!("{count} worlds: {:?}", tally.0));
    if let Some(worst) = failing.iter().min_by_key(|report| report.trace.len()) {
        let lines = failing.iter().take(MAX_TOLD).map(|report| {
            let (seed, first) = (report.seed, &report.breaches[0]);
            format!("EVENKEEL_SEED={seed}: {first}")
        });
        let lines = lines.collect::<Vec<_>>().join("\n");
        let story = worst.story();
        panic!(
            "{story}\n\n{} of {count} worlds fail; replay one with \
             EVENKEEL_SEED=N cargo test -p evenkeel-proxy --test simulation invariants\n{lines}",
            failing.len(),
        );
    }
    if count >= SEEDS {
        for name in [
            "answered",
            "local 404",
            "local 408",
            "local 429",
            "local 502",
            "local 503",
            "local 504",
            "broken",
        ] {
            assert!(tally.of(name) > 0, "no world came to {name:?}: {:?}", tally.0);
        }
    }
}

#[test]
fn tunnels_carry_every_byte_in_order_and_end_in_order() {
    let (first, count) = match number("EVENKEEL_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("EVENKEEL_SEEDS").unwrap_or(SEEDS)),
    };
    let (mut failing, mut whole, mut cut) = (Vec::new(), 0, 0);
    for seed in first..first.saturating_add(count) {
        let played = simulation::play_tunnels(seed);
        whole += played.whole_and_cut.0;
        cut += played.whole_and_cut.1;
        if count == 1 {
            tell(&played.trace.join("\n"));
        }
        if let Some(breach) = played.breaches.first() {
            failing.push(format!("EVENKEEL_SEED={seed}: {breach}"));
        }
    }
    tell(&format!("{count} worlds of tunnels: {whole} whole, {cut} cut"));
    let told = failing.iter().take(MAX_TOLD).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(failing.is_empty(), "{} of {count} worlds fail:\n{told}", failing.len());
    assert!(count < SEEDS || whole > 500 && cut > 100, "{whole} whole, {cut} cut");
    let again = simulation::play_tunnels(first);
    assert_eq!(again.trace, simulation::play_tunnels(first).trace, "the same seed, the same world");
}

#[test]
fn streams_and_callers_behind_a_proxy_are_played() {
    let reports = (0..40).map(simulation::play_seed);
    let (mut streams, mut behind) = (0, 0);
    for report in reports {
        streams += report.trace.iter().filter(|line| line.ends_with(" on a stream")).count();
        behind += report.world.clients.iter().filter(|client| client.behind.is_some()).count();
    }
    assert!(streams > 50 && behind > 20, "{streams} streams, {behind} behind a proxy");
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in [1, 2, 3, 4, 5] {
        let (once, again) = (simulation::play_seed(seed), simulation::play_seed(seed));
        assert_eq!(once.trace, again.trace, "seed {seed}");
        assert!(!once.trace.is_empty());
    }
}

fn gets(count: usize) -> Vec<Request> {
    (0..count).map(|number| Request::get(&format!("r{number}"))).collect()
}

/// Plays a world made by hand; no invariant may break.
fn play(world: &World) -> Report {
    let report = simulation::play(world, 1);
    assert!(report.breaches.is_empty(), "{}", report.story());
    report
}

/// Status of the only outcome of a request, whether it is the proxy's own, and when it came.
fn answer_to(report: &Report, id: &str) -> (u16, bool, Duration) {
    let outcomes = report.outcomes.get(id).map(Vec::as_slice);
    let Some([Outcome::Answered { status, local, at }]) = outcomes else {
        panic!("{id} ended as {outcomes:?}\n{}", report.story());
    };
    (*status, *local, *at)
}

#[test]
fn one_of_three_backends_refuses_and_nothing_is_lost() {
    let mut world = World::quiet(3);
    world.backends[1].dial.refuse_percent = 100;
    world.clients = vec![Client::sequential(gets(12))];
    let report = play(&world);
    let order: Vec<_> = report.sightings.iter().map(|sighting| sighting.backend).collect();
    let (first, third) = (backend_address(0, 0), backend_address(0, 2));
    // Once the second is known to refuse, the others take turns.
    let turns = [first, third];
    let alternate = order[3..].windows(2).all(|pair| pair[0] != pair[1]);
    assert!(alternate && order.iter().all(|at| turns.contains(at)), "{}", report.story());
    for number in 0..12 {
        let (_, local, _) = answer_to(&report, &format!("r{number}"));
        assert!(!local, "{}", report.story());
    }
}

#[test]
fn all_backends_hang_and_every_client_is_told_in_time() {
    let limit = Duration::from_secs(2);
    let mut world = wild(3);
    world.plan.pools[0].timeouts.response_head = limit;
    for backend in &mut world.backends {
        backend.manners = Manners { silent: true, ..Manners::good() };
    }
    let client = |request| Client::sequential(vec![request]);
    world.clients = gets(9).into_iter().map(client).collect();
    let report = play(&world);
    let in_time = limit..limit + Duration::from_millis(200);
    for number in 0..9 {
        let (status, local, at) = answer_to(&report, &format!("r{number}"));
        assert_eq!((status, local), (504, true), "{}", report.story());
        assert!(in_time.contains(&at), "{at:?}\n{}", report.story());
    }
}

/// Plays a world with many seeds: no invariant may break in any.
fn play_often(world: &World) {
    for seed in 0..HARD_SEEDS {
        let report = simulation::play(world, seed);
        assert!(report.breaches.is_empty(), "{}", report.story());
    }
}

/// A world without promises.
fn wild(backends: usize) -> World {
    World { promise: Promise::Nothing, ..World::quiet(backends) }
}

/// Clients that upload, each one thing after the other.
fn uploads(change: impl Fn(Request) -> Request) -> Vec<Client> {
    let put = |client: usize, index: usize| Request {
        method: Method::Put,
        body: Body::Length(100 * index),
        ..Request::get(&format!("c{client}r{index}"))
    };
    let requests = |client| (0..5).map(|index| change(put(client, index))).collect();
    (0..4).map(|client| Client::sequential(requests(client))).collect()
}

#[test]
fn a_connection_that_still_takes_a_request_gets_no_other() {
    let mut world = wild(1);
    world.shape.capacity = 64..=1_024;
    world.backends[0].manners = Manners { early: 100, late_ms: 1..=20, ..Manners::good() };
    world.clients = uploads(|request| request);
    play_often(&world);
}

#[test]
fn nothing_is_put_into_a_response_that_has_begun() {
    let mut world = wild(1);
    world.shape.capacity = 64..=256;
    let hasty = Manners { hasty: 100, size: 0..=2_000, pause_ms: 0..=2, ..Manners::good() };
    world.backends[0].manners = Manners { piece: 50..=500, ..hasty };
    world.clients =
        uploads(|request| Request { expects: true, piece: 200, pause_ms: 1, ..request });
    play_often(&world);
}

#[test]
fn half_an_interim_response_is_not_followed_by_another() {
    let mut world = wild(2);
    world.shape.short_write_percent = 80;
    world.shape.piece = 8..=16;
    for backend in &mut world.backends {
        backend.manners = Manners { faulty: 80, interim: 100, ..Manners::good() };
    }
    world.clients = vec![Client::sequential(gets(20))];
    world.plan.pools[0].timeouts.response_head = Duration::from_millis(500);
    play_often(&world);
}

#[test]
fn an_upload_is_repeated_whole_or_not_at_all() {
    let mut world = World::quiet(2);
    world.shape.capacity = 64..=1_024;
    world.backends[0].manners.breaks = true;
    world.clients = uploads(|request| Request { piece: 150, pause_ms: 1, ..request });
    world.promise = Promise::Safe;
    play_often(&world);
}

#[test]
fn a_cut_response_does_not_end_well_for_http10() {
    let mut world = wild(1);
    world.backends[0].manners = Manners { faulty: 50, size: 2_000..=2_000, ..Manners::good() };
    let old = |request| Request { http10: true, ..request };
    world.clients = vec![Client::sequential(gets(20).into_iter().map(old).collect())];
    world.plan.pools[0].timeouts.response_head = Duration::from_millis(500);
    play_often(&world);
}

#[test]
fn an_empty_answer_is_passed_on_at_once() {
    let mut world = World::quiet(1);
    world.backends[0].manners.size = 0..=0;
    world.clients = vec![Client::sequential(gets(20))];
    let report = play(&world);
    for number in 0..20 {
        let (_, local, at) = answer_to(&report, &format!("r{number}"));
        assert!(!local && at < Duration::from_millis(1), "{at:?}\n{}", report.story());
    }
}

#[test]
fn an_upload_below_the_minimum_rate_is_cut_off() {
    let mut world = wild(1);
    let drips = Request {
        method: Method::Post,
        body: Body::Length(100_000),
        piece: 100,
        pause_ms: 1_000,
        ..Request::get("slow")
    };
    let walks = Request {
        id: "fine".to_owned(),
        body: Body::Length(10_000),
        pause_ms: 300,
        ..drips.clone()
    };
    world.clients = vec![Client::sequential(vec![drips]), Client::sequential(vec![walks])];
    let report = play(&world);
    let (status, local, at) = answer_to(&report, "slow");
    assert_eq!((status, local), (408, true), "{}", report.story());
    let in_time = Duration::from_secs(10)..Duration::from_secs(15);
    assert!(in_time.contains(&at), "{at:?}\n{}", report.story());
    assert!(!answer_to(&report, "fine").1, "{}", report.story());
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Clients with one GET each, which begin so many milliseconds after each other.
fn arrivals(count: u64, first_ms: u64, apart_ms: u64) -> Vec<Client> {
    let client = |number| Client {
        start_ms: first_ms + number * apart_ms,
        ..Client::sequential(vec![Request::get(&format!("a{number}"))])
    };
    (0..count).map(client).collect()
}

/// How long each of those clients waited.
fn waits(report: &Report) -> Vec<(u16, bool, Duration, Duration)> {
    let wait = |client: &Client| {
        let (status, local, at) = answer_to(report, &client.requests[0].id);
        let start = ms(client.start_ms);
        (status, local, start, at - start)
    };
    report.world.clients.iter().map(wait).collect()
}

/// Probes its health page often.
fn probed(world: &mut World) {
    let health = &mut world.plan.pools[0].health;
    health.check = health_page();
    health.interval = ms(500);
    health.timeout = ms(400);
}

/// Every answer comes after so many milliseconds, in one piece.
fn paced(world: &mut World, late_ms: u64) {
    for backend in &mut world.backends {
        let prompt = Manners { chunked: 0, ..Manners::good() };
        backend.manners = Manners { late_ms: late_ms..=late_ms, ..prompt };
    }
}

/// How often a backend was asked in a stretch of time.
fn asked(report: &Report, index: usize, from: Duration, to: Duration) -> usize {
    let address = backend_address(0, index);
    let own = report.sightings.iter().filter(|seen| seen.backend == address);
    own.filter(|seen| (from..to).contains(&seen.at)).count()
}

#[test]
fn one_of_three_is_killed_and_nothing_is_lost_or_doubled() {
    let mut world = World::quiet(3);
    paced(&mut world, 10);
    probed(&mut world);
    world.backends[1].moods = vec![(200, Mood::Dead), (500, Mood::Well)];
    // Each GET is answered by a backend, each POST is seen once at most: I3 and the promise.
    world.promise = Promise::Safe;
    let request = |client: usize, index: usize| Request {
        method: if index.is_multiple_of(2) { Method::Get } else { Method::Post },
        body: if index.is_multiple_of(2) { Body::Nothing } else { Body::Length(100) },
        ..Request::get(&format!("c{client}r{index}"))
    };
    let client = |client| Client::sequential((0..150).map(|at| request(client, at)).collect());
    world.clients = (0..6).map(client).collect();
    let report = play(&world);
    assert!(asked(&report, 1, ms(0), ms(200)) > 0 && asked(&report, 1, ms(500), ms(9_000)) > 0);
    assert_eq!(asked(&report, 1, ms(200), ms(500)), 0);
}

#[test]
fn a_backend_whose_connects_hang_is_passed_over_once() {
    let mut world = World::quiet(3);
    probed(&mut world);
    world.backends[1].dial.hang_percent = 100;
    world.clients = vec![Client::sequential(gets(12))];
    let report = play(&world);
    let (_, local, last) = answer_to(&report, "r11");
    assert!(!local && last < ms(300), "{last:?}\n{}", report.story());
}

#[test]
fn backends_that_all_fail_see_little_more_than_was_asked() {
    let mut world = wild(3);
    for backend in &mut world.backends {
        backend.moods = vec![(0, Mood::Unavailable)];
    }
    let retry = &mut world.plan.pools[0].retry;
    (retry.budget, retry.budget_floor) = (0.2, 10);
    world.clients = arrivals(1_000, 10, 2);
    let report = play(&world);
    // Two seconds, each with its floor, and a floor to begin with; the share of 20 % is more.
    let most = 1_200 + 10 * 3;
    let seen = report.sightings.len();
    assert!((1_000..=most).contains(&seen), "{seen} of {most}");
}

#[test]
fn a_half_open_breaker_lets_one_of_a_hundred_through() {
    let mut world = World::quiet(2);
    paced(&mut world, 150);
    world.backends[0].moods = vec![(0, Mood::Unavailable), (500, Mood::Well)];
    let pool = &mut world.plan.pools[0];
    (pool.breaker.failure_threshold, pool.breaker.reset_timeout) = (1, ms(1_000));
    pool.fail_open = false;
    world.clients = arrivals(4, 1, 1);
    let burst = arrivals(100, 1_500, 1).into_iter().enumerate().map(|(number, mut client)| {
        client.requests[0].id = format!("b{number}");
        client
    });
    world.clients.extend(burst);
    let report = play(&world);
    assert_eq!(asked(&report, 0, ms(300), ms(2_000)), 1, "{}", report.story());
    let closed = report.told.iter().filter(|told| told.event == "breaker_closed").count();
    assert_eq!(closed, 1, "{}", report.story());
}

#[test]
fn a_full_queue_answers_at_once() {
    let mut world = wild(1);
    paced(&mut world, 500);
    let connections = &mut world.plan.pools[0].connections;
    (connections.max, connections.queue_max) = (1, 2);
    world.clients = arrivals(5, 0, 1);
    let report = play(&world);
    let waits = waits(&report);
    let refused =
        waits.iter().filter(|(status, local, _, wait)| *local && *status == 503 && *wait < ms(10));
    assert_eq!(refused.count(), 2, "{}", report.story());
    assert_eq!(report.sightings.len(), 3, "{}", report.story());
}

#[test]
fn a_standing_queue_sheds_who_waited_long() {
    let mut world = wild(1);
    paced(&mut world, 100);
    let connections = &mut world.plan.pools[0].connections;
    (connections.max, connections.queue_timeout) = (1, ms(1_000));
    world.clients = arrivals(200, 0, 20);
    let report = play(&world);
    let later = waits(&report).into_iter().filter(|(_, _, start, _)| *start > ms(2_000));
    // A tenth of the timeout, a tick, and the answer itself.
    let longest = later.map(|(_, _, _, wait)| wait).max();
    assert!(longest.is_some_and(|wait| wait <= ms(100 + 50 + 100)), "{longest:?}");
    assert!(report.sightings.len() >= 35, "the backend is kept busy: {}", report.sightings.len());
}

#[test]
fn a_backend_that_falls_silent_loses_its_traffic_and_its_waiting_requests() {
    let mut world = World::quiet(3);
    paced(&mut world, 5);
    probed(&mut world);
    world.backends[1].moods = vec![(500, Mood::Frozen)];
    world.clients = arrivals(600, 0, 2);
    let report = play(&world);
    let late = asked(&report, 1, ms(600), ms(5_000));
    assert_eq!(late, 0, "{}", report.story());
    for (_, local, start, wait) in waits(&report) {
        assert!(!local && wait < ms(1_000), "{start:?} {wait:?}\n{}", report.story());
    }
}

#[test]
fn a_short_pause_changes_no_state() {
    let mut world = World::quiet(3);
    paced(&mut world, 5);
    probed(&mut world);
    world.backends[1].moods = vec![(500, Mood::Frozen), (600, Mood::Well)];
    world.clients = arrivals(600, 0, 2);
    let report = play(&world);
    let states = ["breaker_opened", "backend_unhealthy", "probe_failed"];
    let changed = report.told.iter().find(|told| states.contains(&told.event.as_str()));
    assert_eq!(changed, None, "{}", report.story());
    assert!(asked(&report, 1, ms(700), ms(1_200)) > 50, "{}", report.story());
}

#[test]
fn a_backend_that_comes_back_starts_slowly() {
    let mut world = World::quiet(2);
    paced(&mut world, 1);
    probed(&mut world);
    world.backends[0].moods = vec![(0, Mood::Dead), (1_000, Mood::Well)];
    world.plan.pools[0].slow_start = Duration::from_secs(4);
    world.clients = arrivals(1_200, 1_000, 5);
    let report = play(&world);
    let back = report.told.iter().find(|told| told.event == "backend_healthy");
    let back = back.unwrap_or_else(|| panic!("{}", report.story())).at;
    let share = |from: u64, to: u64| {
        let (from, to) = (back + ms(from), back + ms(to));
        let (own, other) = (asked(&report, 0, from, to), asked(&report, 1, from, to));
        100 * own / (own + other).max(1)
    };
    let (first, last) = (share(0, 800), share(4_000, 4_700));
    assert!((1..=25).contains(&first) && (45..=55).contains(&last), "{first} %, {last} %");
}

/// A world of two backends with sessions, the first of which drains.
fn sessions(requests: usize) -> World {
    let mut world = World::quiet(2);
    let pool = &mut world.plan.pools[0];
    pool.affinity = AffinityPlan::Cookie(cookie_plan());
    pool.backends[0].admin = AdminState::Draining;
    let apart = |request| Request { think_ms: 100, ..request };
    let requests = gets(requests).into_iter().map(apart).collect();
    world.clients = vec![Client { ties: vec![(0, 0)], ..Client::sequential(requests) }];
    world
}

#[test]
fn a_session_survives_draining_and_moves_when_its_backend_dies() {
    let mut world = sessions(10);
    world.backends[0].moods = vec![(550, Mood::Dead)];
    let report = play(&world);
    let (first, second) = (backend_address(0, 0), backend_address(0, 1));
    let order: Vec<_> = report.sightings.iter().map(|seen| seen.backend).collect();
    let moved = order.iter().position(|at| *at == second);
    assert_eq!(moved, Some(5), "{}", report.story());
    assert!(order[5..].iter().all(|at| *at != first), "{}", report.story());
}

#[test]
fn a_forged_cookie_ties_nobody() {
    for forged in [Forged::Noise, Forged::WrongKey, Forged::WrongPool, Forged::Expired] {
        let mut world = sessions(5);
        for request in &mut world.clients[0].requests {
            request.cookie = Cookie::Forged(forged);
        }
        let report = play(&world);
        assert_eq!(asked(&report, 0, ms(0), ms(9_000)), 0, "{forged:?}\n{}", report.story());
    }
}

#[test]
fn who_is_tied_to_a_busy_backend_waits_for_it() {
    let mut world = sessions(1);
    paced(&mut world, 300);
    world.plan.pools[0].connections.max = 1;
    let second = Client { start_ms: 10, ..world.clients[0].clone() };
    world.clients.push(second);
    world.clients[1].requests[0].id = "second".to_owned();
    let report = play(&world);
    assert_eq!(asked(&report, 0, ms(0), ms(9_000)), 2, "{}", report.story());
    assert!(answer_to(&report, "second").2 < ms(750), "{}", report.story());
}

#[test]
fn a_second_try_waits_for_a_busy_backend() {
    let mut world = World::quiet(2);
    paced(&mut world, 300);
    world.plan.pools[0].connections.max = 1;
    world.backends[0].moods = vec![(200, Mood::Unavailable)];
    world.backends[0].manners.late_ms = 0..=0;
    // The first goes to a backend that fails later, the second keeps the other one busy.
    world.clients = arrivals(2, 0, 100);
    world.clients.push(Client { start_ms: 250, ..Client::sequential(gets(1)) });
    let report = play(&world);
    let (status, local, at) = answer_to(&report, "r0");
    assert!(status != 503 && !local && at < ms(800), "{at:?}\n{}", report.story());
}

#[test]
fn nobody_overtakes_who_waits() {
    let mut world = wild(1);
    paced(&mut world, 100);
    let connections = &mut world.plan.pools[0].connections;
    (connections.max, connections.queue_timeout) = (1, ms(450));
    // One sends its requests ahead: each is there when the one before it is answered.
    world.clients = vec![Client { window: 20, ..Client::sequential(gets(20)) }];
    world.clients.extend(arrivals(3, 50, 1));
    let report = play(&world);
    for (number, (status, local, _, wait)) in waits(&report)[1..].iter().enumerate() {
        let turn = ms(100 * (number as u64 + 2));
        assert!(!local && *status != 503 && *wait <= turn, "{wait:?}\n{}", report.story());
    }
}

#[test]
fn a_pool_with_affinity_by_address_tries_its_backends_again() {
    let mut world = wild(2);
    world.backends[0].moods = vec![(0, Mood::Unavailable), (500, Mood::Well)];
    let pool = &mut world.plan.pools[0];
    pool.affinity = AffinityPlan::ClientIp;
    (pool.breaker.failure_threshold, pool.breaker.reset_timeout) = (1, ms(500));
    world.clients = arrivals(20, 1, 1);
    world.calm_ms = Some(2_000);
    let report = play(&world);
    let opened = report.told.iter().filter(|told| told.event == "breaker_opened").count();
    assert!(opened > 0, "{}", report.story());
}

#[test]
fn a_slow_answer_is_no_reason_to_refuse_a_second_try() {
    let mut world = World::quiet(2);
    world.promise = Promise::Safe;
    world.backends[0].manners.breaks = true;
    world.backends[1].manners.late_ms = 150..=150;
    let pool = &mut world.plan.pools[0];
    pool.health.check = evenkeel_core::plan::HealthCheck::Tcp;
    pool.fail_open = false;
    pool.breaker.enabled = false;
    world.clients = arrivals(6, 10, 40);
    play_often(&world);
}

#[test]
fn a_backend_has_one_probe_at_a_time_while_everybody_doubts_it() {
    let mut world = wild(2);
    probed(&mut world);
    world.backends[0].manners.breaks = true;
    world.backends[0].moods = vec![(300, Mood::Frozen), (900, Mood::Well)];
    world.clients = arrivals(300, 0, 5);
    let report = play(&world);
    let probes = report.visits.iter().filter(|visit| visit.errand == Errand::Probe).count();
    assert!(probes > 4, "{}", report.story());
}
