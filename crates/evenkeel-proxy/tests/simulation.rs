//! Seeded worlds: the proxy between scripted clients and backends, in virtual time.
//!
//! `EVENKEEL_SEEDS=10000` plays more worlds, `EVENKEEL_SEED=42` plays one and prints its story.
#![expect(clippy::panic, reason = "a test ends where it fails")]

use evenkeel_testkit::simulation::{
    self, Body, Client, Manners, Method, Outcome, Promise, Request, World, backend_address,
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
        for name in ["answered", "local 404", "local 408", "local 502", "local 504", "broken"] {
            assert!(tally.of(name) > 0, "no world came to {name:?}: {:?}", tally.0);
        }
    }
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
fn play(world: &World) -> simulation::Report {
    let report = simulation::play(world, 1);
    assert!(report.breaches.is_empty(), "{}", report.story());
    report
}

/// Status of the only outcome of a request, whether it is the proxy's own, and when it came.
fn answer_to(report: &simulation::Report, id: &str) -> (u16, bool, Duration) {
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
