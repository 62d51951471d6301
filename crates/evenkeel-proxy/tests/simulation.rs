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
    assert_eq!(order, [first, third].repeat(6), "{}", report.story());
    for number in 0..12 {
        let (_, local, _) = answer_to(&report, &format!("r{number}"));
        assert!(!local, "{}", report.story());
    }
}

#[test]
fn all_backends_hang_and_every_client_is_told_in_time() {
    let limit = Duration::from_secs(2);
    let mut world = World::quiet(3);
    world.promise = Promise::Nothing;
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

#[test]
fn a_connection_that_still_takes_a_request_gets_no_other() {
    let mut world = World::quiet(1);
    world.promise = Promise::Nothing;
    world.shape.capacity = 64..=1_024;
    world.backends[0].manners = Manners { early: 100, late_ms: 1..=20, ..Manners::good() };
    for number in 0..4 {
        let put = |index: usize| Request {
            method: Method::Put,
            body: Body::Length(100 * index),
            ..Request::get(&format!("c{number}r{index}"))
        };
        world.clients.push(Client::sequential((0..5).map(put).collect()));
    }
    for seed in 0..20 {
        let report = simulation::play(&world, seed);
        assert!(report.breaches.is_empty(), "{}", report.story());
    }
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
    let mut world = World::quiet(1);
    world.promise = Promise::Nothing;
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
