//! `connections.max` and the queue before it: nobody gets more than it bears, nobody waits for
//! ever, and the first to come is the first to go.

use crate::arena::{Refusal, is_refusal};
use crate::stage::{Act, Stage, eventually, get, get_with, status};
use evenkeel_core::plan::{AffinityPlan, CookiePlan};
use evenkeel_testkit::backend::{Gate, ok_with};
use evenkeel_testkit::client::Client;
use evenkeel_testkit::message::Message;
use evenkeel_testkit::plan::PlanBuilder;
use std::time::{Duration, Instant};

const QUEUE_FULL: Refusal = (503, "queue_full");
const QUEUE_TIMEOUT: Refusal = (503, "queue_timeout");

/// One exchange per backend at a time.
fn narrow(plan: PlanBuilder, queue_max: usize) -> PlanBuilder {
    plan.pool(|pool| {
        pool.connections.max = 1;
        pool.connections.queue_max = queue_max;
    })
}

/// Holds back the answers of everybody.
fn hold(stage: &Stage) -> Gate {
    let gate = Gate::default();
    for player in &stage.players {
        player.does(Act::Held(gate.clone(), ok_with("late")));
    }
    gate
}

/// Sends, and waits until it is in the queue as number `place`, counted from 1.
fn queue_up(stage: &Stage, target: &str, place: usize) -> Client {
    let mut client = stage.connect();
    client.send(get(target));
    eventually("a place in the queue", || stage.pool().waiting.len() == place);
    client
}

#[test]
fn no_backend_gets_more_than_its_maximum() {
    let stage = Stage::of(2, |plan| {
        plan.pool(|pool| pool.connections.max = 2).plan(|plan| plan.workers = 2)
    });
    for player in &stage.players {
        player.does(Act::After(Duration::from_millis(10), ok_with("ok")));
    }
    let address = stage.proxy.address();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                for _ in 0..3 {
                    assert_eq!(client.ask(get("/")).status(), 200);
                }
            });
        }
    });
    assert_eq!(stage.counts().iter().sum::<usize>(), 60);
    for player in &stage.players {
        assert_eq!(player.tally().most_open, 2);
        assert!(player.backend.connections() <= 2 + 2, "two, and those idle on another worker");
    }
    assert!(stage.pool().waiting.is_empty());
}

#[test]
fn first_come_first_served() {
    let stage = Stage::of(1, |plan| narrow(plan, 10));
    let gate = hold(&stage);
    let mut clients = vec![stage.connect()];
    clients[0].send(get("/0"));
    stage.wait_for_open(1);
    clients.extend((1..=6).map(|number| queue_up(&stage, &format!("/{number}"), number)));
    assert_eq!(stage.counts(), [1]);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.final_response().expect("200").status(), 200);
    }
    let seen = stage.players[0].tally().requests;
    let targets: Vec<_> = seen.iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets, ["/0", "/1", "/2", "/3", "/4", "/5", "/6"]);
}

#[test]
fn nobody_overtakes_those_who_wait() {
    let stage = Stage::of(1, |plan| narrow(plan, 10));
    let gate = hold(&stage);
    let mut many = stage.connect();
    many.send(get("/many").repeat(5));
    stage.wait_for_open(1);
    let mut one = queue_up(&stage, "/one", 1);
    stage.players[0].says(ok_with("at once"));
    gate.open();
    assert!((0..5).all(|_| many.final_response().is_ok()));
    assert_eq!(one.final_response().expect("200").status(), 200);
    let seen = stage.players[0].tally().requests;
    let turn = seen.iter().position(|request| request.target() == "/one");
    assert_eq!(turn, Some(1), "right after what was there before");
}

#[test]
fn a_call_that_no_backend_can_carry_is_refused_after_its_wait_too() {
    let stage = Stage::of(1, |plan| narrow(plan, 10));
    let gate = hold(&stage);
    let mut first = stage.connect();
    first.send(get("/"));
    stage.wait_for_open(1);
    let mut call = stage.connect();
    call.send(get_with("/test.S/Unary", "Content-Type: application/grpc\r\n"));
    eventually("a place in the queue", || stage.pool().waiting.len() == 1);
    gate.open();
    assert_eq!(first.final_response().expect("200").status(), 200);
    let told = call.final_response().expect("trailers only");
    assert_eq!((told.status(), told.value("grpc-status")), (200, Some("12")));
    assert_eq!(stage.counts(), [1], "nothing of it reached the backend");
}

#[test]
fn a_full_queue_refuses_at_once() {
    for queue_max in [0, 2] {
        let stage = Stage::of(1, |plan| narrow(plan, queue_max));
        let gate = hold(&stage);
        let mut first = stage.connect();
        first.send(get("/"));
        stage.wait_for_open(1);
        let mut waiting: Vec<_> = (1..=queue_max).map(|at| queue_up(&stage, "/", at)).collect();
        let began = Instant::now();
        is_refusal(&stage.ask(&get("/")), QUEUE_FULL).expect("503");
        assert!(began.elapsed() < Duration::from_secs(1));
        gate.open();
        waiting.push(first);
        assert!(waiting.iter_mut().all(|client| client.final_response().is_ok()));
        assert_eq!(stage.counts(), [1 + queue_max]);
    }
}

#[test]
fn nobody_waits_longer_than_the_timeout() {
    let timeout = Duration::from_millis(150);
    let stage =
        Stage::of(1, |plan| narrow(plan, 10).pool(|pool| pool.connections.queue_timeout = timeout));
    let gate = hold(&stage);
    let mut first = stage.connect();
    first.send(get("/"));
    stage.wait_for_open(1);
    let began = Instant::now();
    is_refusal(&stage.ask(&get("/")), QUEUE_TIMEOUT).expect("503");
    let waited = began.elapsed();
    assert!((timeout..timeout * 10).contains(&waited), "{waited:?}");
    assert!(stage.pool().waiting.is_empty());
    gate.open();
    assert_eq!(first.final_response().expect("200").status(), 200);
    assert_eq!(stage.counts(), [1]);
}

#[test]
fn who_leaves_the_queue_frees_a_place() {
    let stage = Stage::of(1, |plan| {
        narrow(plan, 1).pool(|pool| pool.connections.queue_timeout = Duration::from_secs(60))
    });
    let gate = hold(&stage);
    let mut first = stage.connect();
    first.send(get("/first"));
    stage.wait_for_open(1);
    queue_up(&stage, "/leaves", 1).reset();
    eventually("an empty queue", || stage.pool().waiting.is_empty());
    let mut stays = queue_up(&stage, "/stays", 1);
    gate.open();
    assert_eq!(first.final_response().expect("200").status(), 200);
    assert_eq!(stays.final_response().expect("200").status(), 200);
    let seen = stage.players[0].tally().requests;
    assert_eq!(seen.iter().filter(|request| request.target() == "/leaves").count(), 0);
}

#[test]
fn who_is_served_elsewhere_does_not_wait() {
    let stage = Stage::of(2, |plan| narrow(plan, 0));
    let gate = hold(&stage);
    let mut first = stage.connect();
    first.send(get("/"));
    stage.wait_for_open(1);
    let busy = usize::from(stage.players[1].count() == 1);
    stage.players[1 - busy].says(ok_with("free"));
    assert_eq!(stage.who(5), ["free"; 5]);
    gate.open();
    assert_eq!(first.final_response().expect("200").text(), "late");
}

/// The answer of one who waits for a backend that is full while another has room must come within
/// the queue's own time.
fn bounded(stage: &Stage, client: &mut Client, timeout: Duration) -> u16 {
    let began = Instant::now();
    let response = client.bound_waits(timeout * 10).final_response().expect("an answer in time");
    assert!(stage.pool().waiting.is_empty());
    assert!(began.elapsed() < timeout * 10);
    response.status()
}

/// Two players with a cookie each that ties to them; a request waits for so long.
fn with_ties(timeout: Duration) -> (Stage, [String; 2]) {
    let stage = Stage::of(2, |plan| {
        narrow(plan, 10).pool(|pool| {
            pool.connections.queue_timeout = timeout;
            let ttl = Duration::from_secs(60);
            pool.affinity =
                AffinityPlan::Cookie(CookiePlan { name: "ek".into(), ttl, secret_file: None });
        })
    });
    let mut answers = [(); 2].map(|()| stage.ask(&get("/")));
    answers.sort_by_key(Message::text);
    let ties = answers.map(|answer| {
        let cookie = answer.value("set-cookie").and_then(|line| line.split(';').next());
        get_with("/tied", &format!("Cookie: {}\r\n", cookie.expect("a cookie")))
    });
    (stage, ties)
}

/// Holds back one player's answer to this request.
fn occupy(stage: &Stage, player: usize, request: &str) -> (Client, Gate) {
    let gate = Gate::default();
    stage.players[player].does(Act::Held(gate.clone(), ok_with("late")));
    let mut client = stage.connect();
    client.send(request);
    eventually("a busy backend", || stage.players[player].tally().open == 1);
    (client, gate)
}

#[test]
fn a_session_waits_for_its_own_backend_but_not_for_ever() {
    let timeout = Duration::from_millis(200);
    let (stage, [tied, _]) = with_ties(timeout);
    let (mut busy, gate) = occupy(&stage, 0, &tied);
    let mut waiting = stage.connect();
    waiting.send(&tied);
    let status = bounded(&stage, &mut waiting, timeout);
    assert!(matches!(status, 200 | 503), "another backend, or none in time: {status}");
    gate.open();
    assert_eq!(busy.final_response().expect("200").text(), "late");
}

#[test]
fn who_waits_for_one_backend_leaves_the_others_to_others() {
    let (stage, [to_a, to_b]) = with_ties(Duration::from_secs(4));
    let (mut at_a, gate_a) = occupy(&stage, 0, &to_a);
    let (mut at_b, gate_b) = occupy(&stage, 1, &to_b);
    let mut tied: Vec<_> = (1..=2)
        .map(|place| {
            let mut client = stage.connect();
            client.send(&to_a);
            eventually("a place in the queue", || stage.pool().waiting.len() == place);
            client
        })
        .collect();
    let mut free = queue_up(&stage, "/any", 3);
    stage.players.iter().zip(["a", "b"]).for_each(|(player, name)| player.says(ok_with(name)));
    let began = Instant::now();
    gate_b.open();
    assert_eq!(free.final_response().expect("200").text(), "b");
    assert!(began.elapsed() < Duration::from_secs(1), "at once: {:?}", began.elapsed());
    gate_a.open();
    for client in &mut tied {
        assert_eq!(client.final_response().expect("200").text(), "a", "their own");
    }
    assert!(at_a.final_response().is_ok() && at_b.final_response().is_ok());
}

#[test]
fn a_second_try_waits_for_another_backend_but_not_for_ever() {
    let timeout = Duration::from_millis(200);
    let stage =
        Stage::of(2, |plan| narrow(plan, 10).pool(|pool| pool.connections.queue_timeout = timeout));
    let gate = hold(&stage);
    let mut busy = stage.connect();
    busy.send(get("/"));
    stage.wait_for_open(1);
    let free = usize::from(stage.players[0].count() == 1);
    stage.players[free].says(status(503));
    let mut waiting = stage.connect();
    waiting.send(get("/"));
    assert_eq!(bounded(&stage, &mut waiting, timeout), 503);
    assert_eq!(stage.counts(), [1, 1]);
    gate.open();
    assert_eq!(busy.final_response().expect("200").text(), "late");
}
