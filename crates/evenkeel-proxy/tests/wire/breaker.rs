//! Circuit breakers: what opens them, the one trial that closes them, and who serves meanwhile.

use crate::arena::{NO_BACKEND, each, is_refusal};
use crate::stage::{Act, Cues, Player, Stage, answer, eventually, get, pause, status};
use evenkeel_core::breaker::BreakerState;
use evenkeel_testkit::backend::{Gate, ok_with};
use evenkeel_testkit::client::Client;
use std::sync::Barrier;
use std::time::{Duration, Instant};

const RESET: Duration = Duration::from_millis(200);

fn state(stage: &Stage, index: usize) -> BreakerState {
    stage.pool().backends[index].breaker.state()
}

/// Two players, of whom the first has just failed often enough.
fn with_one_open() -> Stage {
    let stage = Stage::of(2, |plan| {
        plan.pool(|pool| {
            pool.breaker.reset_timeout = RESET;
            pool.breaker.max_reset_timeout = 2 * RESET;
        })
    });
    stage.players[0].says(status(500));
    eventually("an open breaker", || {
        stage.ask(&get("/"));
        state(&stage, 0) == BreakerState::Open
    });
    assert_eq!(stage.players[0].count(), 5);
    stage
}

/// Waits until a trial may begin.
fn wait_for_trial_time(stage: &Stage) {
    pause(RESET + RESET / 5);
    assert_eq!(state(stage, 0), BreakerState::Open);
}

#[test]
fn what_opens_it() {
    let failures = |count: usize| vec![500; count];
    let mixed = |count: usize| [500, 200].into_iter().cycle().take(count).collect::<Vec<_>>();
    let cases = [
        ("4 in a row", (failures(4), false)),
        ("5 in a row", (failures(5), true)),
        ("a success between", ([failures(4), vec![200], failures(4)].concat(), false)),
        ("a 404 between", ([failures(4), vec![404], failures(4)].concat(), false)),
        ("501 and 505", (vec![501, 505, 501, 505, 501], true)),
        ("4xx", ([400, 401, 403, 404, 409, 429].repeat(4), false)),
        ("half of 19", (mixed(19), false)),
        ("half of 21", (mixed(21), true)),
    ];
    each(cases, |(codes, opens)| {
        let stage = Stage::of(1, |plan| plan);
        let cues = Cues::default();
        stage.players[0].does(Act::Cued(cues.clone()));
        let mut client = stage.connect();
        for code in codes {
            cues.give(status(*code));
            assert_eq!(client.ask(get("/")).status(), *code);
        }
        assert_eq!(state(&stage, 0) == BreakerState::Open, *opens);
        Ok(())
    });
}

#[test]
fn broken_and_missing_answers_open_it_too() {
    let garbage = Act::Say(b"what is this\r\n\r\n".to_vec());
    let cases = [("reset", Act::Break), ("timeout", Act::Stall), ("garbage", garbage)];
    each(cases, |act| {
        let stage = Stage::of(1, |plan| {
            plan.pool(|pool| pool.timeouts.response_head = Duration::from_millis(30))
        });
        stage.players[0].does(act.clone());
        for failures in 0..5 {
            assert_eq!(state(&stage, 0), BreakerState::Closed, "after {failures}");
            assert!(stage.ask(&get("/")).status() >= 502);
        }
        assert_eq!(state(&stage, 0), BreakerState::Open);
        let opened = &stage.proxy.wait_for_events("breaker_opened", 1)[0];
        assert_eq!(opened["reason"], "5 failures in a row");
        Ok(())
    });
}

#[test]
fn a_client_that_leaves_is_no_failure() {
    let stage = Stage::of(1, |plan| plan);
    stage.players[0].does(Act::Stall);
    for number in 1..=6 {
        let mut client = stage.connect();
        client.send(get("/"));
        eventually("the request", || stage.players[0].count() == number);
        client.reset();
    }
    eventually("nothing in flight", || stage.pool().backends[0].in_flight() == 0);
    assert_eq!(stage.pool().backends[0].breaker.consecutive_failures(), 0);
}

#[test]
fn turned_off_it_never_opens() {
    let stage = Stage::of(1, |plan| plan.pool(|pool| pool.breaker.enabled = false));
    stage.players[0].says(status(500));
    let mut client = stage.connect();
    for _ in 0..40 {
        assert_eq!(client.ask(get("/")).status(), 500);
    }
    assert_eq!(state(&stage, 0), BreakerState::Closed);
}

#[test]
fn one_trial_whatever_the_crowd() {
    const CROWD: usize = 50;
    let stage = with_one_open();
    let gate = Gate::default();
    stage.players[0].does(Act::Held(gate.clone(), ok_with("a")));
    wait_for_trial_time(&stage);
    let before = stage.counts();
    let (start, address) = (Barrier::new(CROWD), stage.proxy.address());
    let texts: Vec<_> = std::thread::scope(|scope| {
        let ask = || {
            let mut client = Client::connect(address);
            start.wait();
            client.ask(get("/")).text()
        };
        let asking: Vec<_> = (0..CROWD).map(|_| scope.spawn(ask)).collect();
        eventually("everybody else's answer", || stage.players[1].count() - before[1] == CROWD - 1);
        assert_eq!(state(&stage, 0), BreakerState::HalfOpen);
        assert_eq!(stage.players[0].count() - before[0], 1);
        gate.open();
        asking.into_iter().map(|asked| asked.join().expect("an answer")).collect()
    });
    assert_eq!(texts.iter().filter(|text| *text == "a").count(), 1);
    assert_eq!(texts.iter().filter(|text| *text == "b").count(), CROWD - 1);
    assert_eq!(state(&stage, 0), BreakerState::Closed);
    stage.proxy.wait_for_events("breaker_closed", 1);
    assert!(stage.who(2).contains(&"a".to_owned()), "it takes part again");
}

#[test]
fn each_failed_trial_doubles_the_wait_up_to_a_bound() {
    let stage = with_one_open();
    let mut client = stage.connect();
    let mut waits = Vec::new();
    for _ in 0..3 {
        let (began, before) = (Instant::now(), stage.players[0].count());
        eventually("a trial", || {
            stage.ask(&get("/"));
            stage.players[0].count() > before
        });
        waits.push(began.elapsed());
    }
    assert_eq!(client.ask(get("/")).text(), "b");
    // The first wait began a moment before it was measured.
    let slack = Duration::from_millis(60);
    let at_least = [RESET - slack, 2 * RESET - slack, 2 * RESET - slack];
    let long_enough = waits.iter().zip(at_least).all(|(wait, least)| *wait >= least);
    assert!(long_enough && waits[2] < 4 * RESET - slack, "{waits:?}");
}

#[test]
fn a_trial_whose_client_left_frees_its_place() {
    let stage = with_one_open();
    stage.players[0].does(Act::Stall);
    wait_for_trial_time(&stage);
    let before = stage.players[0].count();
    let mut client = stage.connect();
    client.send(get("/"));
    eventually("the trial", || state(&stage, 0) == BreakerState::HalfOpen);
    eventually("its request", || stage.players[0].count() == before + 1);
    client.reset();
    eventually("no trial", || state(&stage, 0) == BreakerState::Open);
    stage.players[0].says(ok_with("a"));
    assert_eq!(stage.ask(&get("/")).text(), "a", "the next trial, at once");
    assert_eq!(state(&stage, 0), BreakerState::Closed);
}

#[test]
fn a_trial_that_hangs_does_not_keep_its_place() {
    let stage = with_one_open();
    stage.players[0].does(Act::Stall);
    wait_for_trial_time(&stage);
    let mut hanging = stage.connect();
    hanging.send(get("/"));
    eventually("the trial", || state(&stage, 0) == BreakerState::HalfOpen);
    stage.players[0].says(ok_with("a"));
    // A trial lives for a second at least.
    eventually("another trial", || {
        stage.ask(&get("/"));
        state(&stage, 0) == BreakerState::Closed
    });
}

#[test]
fn a_trial_that_fails_costs_its_client_nothing() {
    let stage = with_one_open();
    for failing in [Act::Break, Act::Say(status(503))] {
        stage.players[0].does(failing);
        let before = stage.players[0].count();
        eventually("a trial", || {
            assert_eq!(stage.ask(&get("/")).text(), "b");
            stage.players[0].count() > before
        });
    }
}

#[test]
fn when_all_are_open() {
    for fail_open in [true, false] {
        let stage = Stage::of(2, |plan| plan.pool(|pool| pool.fail_open = fail_open));
        stage.players.iter().for_each(|player: &Player| player.says(answer(500, "", "mine")));
        eventually("open breakers", || {
            stage.ask(&get("/"));
            (0..2).all(|index| state(&stage, index) == BreakerState::Open)
        });
        let before = stage.counts();
        let response = stage.ask(&get("/"));
        if !fail_open {
            is_refusal(&response, NO_BACKEND).expect("503");
            assert_eq!(stage.counts(), before);
            stage.proxy.wait_for_events("pool_down", 1);
            continue;
        }
        assert_eq!((response.status(), response.text().as_str()), (500, "mine"));
        stage.proxy.wait_for_events("pool_failing_open", 1);
        stage.players.iter().for_each(|player| player.says(ok_with("well again")));
        assert_eq!(stage.ask(&get("/")).status(), 200);
        let closed = (0..2).filter(|index| state(&stage, *index) == BreakerState::Closed);
        assert_eq!(closed.count(), 1, "the answer of one says nothing about the other");
    }
}
