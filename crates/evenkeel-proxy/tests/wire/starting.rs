//! A pool that was scaled to zero: requests wait in a bounded buffer until it has a backend, and go
//! there in turn.

use crate::arena::{Refusal, is_refusal};
use crate::frames::{END_STREAM, Frames, Outcome, get as get_fields};
use crate::stage::{Act, Player, eventually, get, get_with};
use evenkeel_core::autoscale::{AutoscalePlan, DriverPlan, LeasePlan, ScaleDownPlan, ScaleUpPlan};
use evenkeel_core::plan::{AdminState, Plan};
use evenkeel_testkit::backend::{Gate, ok_with};
use evenkeel_testkit::client::Client;
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use std::time::{Duration, Instant};

const QUEUE_FULL: Refusal = (503, "queue_full");
const QUEUE_TIMEOUT: Refusal = (503, "queue_timeout");
const NO_BACKEND: Refusal = (503, "no_backend");
const LONG: Duration = Duration::from_secs(60);

fn scaled(requests: usize, timeout: Duration) -> AutoscalePlan {
    let second = Duration::from_secs(1);
    AutoscalePlan {
        min: 0,
        max: 1,
        interval: second,
        requests_per_interval: 0,
        in_flight: 0,
        queue_wait: Duration::ZERO,
        rps: 0,
        p95: Duration::ZERO,
        up: ScaleUpPlan { step: 1, window: second },
        down: ScaleDownPlan { step: 1, after: second, every: second, drain_timeout: second },
        max_error_rate: 1.0,
        dry_run: false,
        buffer_requests: requests,
        buffer_timeout: timeout,
        lease: LeasePlan::Alone,
        driver: DriverPlan::Exec(Vec::new()),
    }
}

/// A pool that may sleep, with these backends; one exchange at a time each.
fn plan(backends: &[&str], (requests, timeout): (usize, Duration)) -> Plan {
    let plan = PlanBuilder::to(backends).pool(|pool| {
        pool.connections.max = 1;
        pool.connections.queue_max = 3;
        pool.connections.queue_timeout = LONG;
        pool.autoscale = Some(scaled(requests, timeout));
    });
    plan.build()
}

fn send(proxy: &Proxy, target: &str, place: usize) -> Client {
    let mut client = proxy.connect();
    client.send(get(target));
    eventually("a place in the buffer", || proxy.pool().waiting.starts() == place);
    client
}

#[test]
fn requests_wait_for_a_first_backend_and_go_there_in_turn_at_its_limit() {
    let bounds = (20, LONG);
    let proxy = Proxy::start(&plan(&[], bounds));
    let mut clients: Vec<_> = (1..=8).map(|at| send(&proxy, &format!("/{at}"), at)).collect();
    let player = Player::new("a");
    let gate = Gate::default();
    player.does(Act::Held(gate.clone(), ok_with("a")));
    proxy.server().apply(plan(&[player.backend.address()], bounds)).expect("applied");
    eventually("the first request", || player.tally().open == 1);
    // Whoever comes now is behind them, in the queue.
    let mut late = proxy.connect();
    late.send(get("/9"));
    eventually("a place in the queue", || proxy.pool().waiting.len() == 8);
    assert_eq!(proxy.pool().waiting.starts(), 7);
    gate.open();
    clients.push(late);
    for client in &mut clients {
        assert_eq!(client.final_response().expect("an answer").text(), "a");
    }
    let tally = player.tally();
    let targets: Vec<_> = tally.requests.iter().map(|it| it.target().to_owned()).collect();
    assert_eq!(targets, ["/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9"]);
    assert_eq!(tally.most_open, 1, "the backend's limit holds from the start");
    let records = proxy.wait_for_records(9);
    assert!(records.iter().all(|it| it["pool"] == "web" && it["status"] == 200), "{records:?}");
    assert!(records.iter().all(|it| it["backend"] == player.backend.address()), "{records:?}");
    assert_eq!((proxy.pool().waiting.starts(), proxy.pool().waiting.started()), (0, 8));
}

#[test]
fn a_full_buffer_refuses_at_once_and_a_start_that_does_not_come_in_time() {
    let timeout = Duration::from_millis(400);
    let proxy = Proxy::start(&plan(&[], (2, timeout)));
    let began = Instant::now();
    let mut waiting: Vec<_> = (1..=2).map(|at| send(&proxy, "/", at)).collect();
    let full = proxy.connect().ask(get("/"));
    assert!(began.elapsed() < timeout, "at once");
    is_refusal(&full, QUEUE_FULL).expect("503");
    assert!(full.value("retry-after").is_some(), "{full:?}");
    for client in &mut waiting {
        let late = client.final_response().expect("an answer");
        is_refusal(&late, QUEUE_TIMEOUT).expect("503");
        assert!(late.value("retry-after").is_some(), "{late:?}");
    }
    assert!(began.elapsed() >= timeout);
    assert!(proxy.pool().waiting.is_empty());
    send(&proxy, "/", 1).reset();
    eventually("its place is free", || proxy.pool().waiting.is_empty());
}

#[test]
fn whoever_still_drains_is_no_backend_and_a_pool_that_must_have_one_never_sleeps() {
    let bounds = (1, LONG);
    let player = Player::new("a");
    let mut drained = plan(&[player.backend.address()], bounds);
    drained.pools[0].backends[0].admin = AdminState::Draining;
    let proxy = Proxy::start(&drained);
    let mut client = send(&proxy, "/", 1);
    proxy.server().apply(plan(&[player.backend.address()], bounds)).expect("applied");
    assert_eq!(client.final_response().expect("an answer").text(), "a");
    for (min, dry_run) in [(1, false), (0, true)] {
        let mut awake = plan(&[], bounds);
        let scale = scaled(bounds.0, bounds.1);
        awake.pools[0].autoscale = Some(AutoscalePlan { min, dry_run, ..scale });
        let proxy = Proxy::start(&awake);
        is_refusal(&proxy.connect().ask(get("/")), NO_BACKEND).expect("503");
    }
}

#[test]
fn a_body_is_read_when_there_is_somebody_to_send_it_to() {
    let bounds = (1, LONG);
    let proxy = Proxy::start(&plan(&[], bounds));
    let mut client = proxy.connect();
    let lines = "Content-Length: 5\r\nExpect: 100-continue\r\n";
    client.send(get_with("/", lines).replacen("GET", "POST", 1));
    eventually("a place in the buffer", || proxy.pool().waiting.starts() == 1);
    assert!(client.stays_quiet(Duration::from_millis(100)), "nobody asks for the body yet");
    let player = Player::new("a");
    proxy.server().apply(plan(&[player.backend.address()], bounds)).expect("applied");
    assert_eq!(client.response_to_head().expect("an interim response").status(), 100);
    client.send("hello");
    assert_eq!(client.final_response().expect("an answer").text(), "a");
    assert_eq!(player.tally().requests[0].text(), "hello");
}

#[test]
fn streams_of_one_connection_wait_like_requests_of_several() {
    let bounds = (2, LONG);
    let proxy = Proxy::start(&plan(&[], bounds));
    let mut frames = Frames::connect(proxy.address());
    for stream in [1, 3, 5] {
        frames.headers(stream, END_STREAM, &get_fields(&[]));
    }
    assert_eq!(frames.outcome(5), Outcome::Status(503), "there are places for two");
    let player = Player::new("a");
    proxy.server().apply(plan(&[player.backend.address()], bounds)).expect("applied");
    assert_eq!(frames.outcome(1), Outcome::Status(200));
    assert_eq!(frames.outcome(3), Outcome::Status(200));
    assert_eq!(player.tally().most_open, 1);
}

#[test]
fn a_backend_that_comes_takes_part_of_what_waits_for_another() {
    let proxy = {
        let busy = Player::new("busy");
        let gate = Gate::default();
        busy.does(Act::Held(gate.clone(), ok_with("busy")));
        let bounds = (1, LONG);
        let proxy = Proxy::start(&plan(&[busy.backend.address()], bounds));
        let mut first = proxy.connect();
        first.send(get("/"));
        eventually("a request at hand", || busy.tally().open == 1);
        let mut waiting = proxy.connect();
        waiting.send(get("/"));
        eventually("a place in the queue", || proxy.pool().waiting.len() == 1);
        let new = Player::new("new");
        let both = [busy.backend.address(), new.backend.address()];
        proxy.server().apply(plan(&both, bounds)).expect("applied");
        assert_eq!(waiting.final_response().expect("an answer").text(), "new");
        gate.open();
        assert_eq!(first.final_response().expect("an answer").text(), "busy");
        proxy
    };
    let records = proxy.wait_for_records(2);
    assert_eq!(records.iter().filter(|it| it["status"] == 200).count(), 2, "{records:?}");
}
