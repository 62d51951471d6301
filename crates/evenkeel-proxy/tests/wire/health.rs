//! Active checks: when a backend leaves and comes back, what is asked, and how often.

use crate::arena::{NO_BACKEND, each, is_refusal};
use crate::stage::{Act, Cues, HEALTH, Player, Stage, answer, eventually, get, pause, status};
use evenkeel_core::health::{HealthState, Streak};
use evenkeel_core::plan::{HealthCheck, HttpCheck, PoolPlan};
use evenkeel_testkit::backend::{RefusingAddress, ok_with};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(20);

fn http() -> HttpCheck {
    HttpCheck {
        path: HEALTH.to_owned(),
        method: "GET".to_owned(),
        host: String::new(),
        expect_status: vec![200..=399],
        expect_body: String::new(),
        by_default: false,
    }
}

/// Probes often, with this check.
fn probed(check: HealthCheck) -> impl FnOnce(PlanBuilder) -> PlanBuilder {
    |plan| {
        plan.pool(|pool| {
            pool.health.check = check;
            pool.health.interval = INTERVAL;
        })
    }
}

fn state(stage: &Stage, index: usize) -> HealthState {
    stage.pool().backends[index].health.state()
}

fn wait_for_state(stage: &Stage, index: usize, wanted: HealthState) {
    eventually("a state of health", || state(stage, index) == wanted);
}

#[test]
fn thresholds_are_exact() {
    let cues = Cues::default();
    let players = vec![Player::new("a"), Player::new("b")];
    players[1].to_probes(Act::Cued(cues.clone()));
    let stage = Stage::with(players, |plan| {
        probed(HealthCheck::Http(http()))(plan).pool(|pool| {
            pool.health.timeout = Duration::from_secs(5);
            pool.health.unhealthy_threshold = 3;
            pool.health.healthy_threshold = 2;
        })
    });
    let (up, down) = (200, 500);
    // What the next probe is told, the streak after it, and whether traffic goes there then.
    let steps = [
        (up, Streak::Successes(1), true),
        (down, Streak::Failures(1), true),
        (down, Streak::Failures(2), true),
        (up, Streak::Successes(1), true),
        (down, Streak::Failures(1), true),
        (down, Streak::Failures(2), true),
        (down, Streak::Failures(3), false),
        (up, Streak::Successes(1), false),
        (down, Streak::Failures(1), false),
        (up, Streak::Successes(1), false),
        (up, Streak::Successes(2), true),
    ];
    for (number, (code, streak, takes_traffic)) in steps.into_iter().enumerate() {
        cues.give(status(code));
        let health = &stage.pool().backends[1].health;
        eventually("the probe's result", || health.report().streak == streak);
        let who = stage.who(4);
        assert_eq!(who.contains(&"b".to_owned()), takes_traffic, "step {number}: {who:?}");
    }
    let [failed, left, back] = ["probe_failed", "backend_unhealthy", "backend_healthy"]
        .map(|name| stage.proxy.wait_for_events(name, 1));
    assert_eq!((failed.len(), left.len(), back.len()), (5, 1, 1), "{failed:?}");
    assert_eq!(failed[1]["failures"], "2/3");
    assert_eq!(left[0]["backend"], stage.players[1].backend.address());
    assert_eq!(left[0]["reason"], "status 500");
}

#[test]
fn what_counts_as_healthy() {
    use HealthState::{Healthy, Unhealthy};
    type Adjust = fn(&mut HttpCheck);
    let plain: Adjust = |_| {};
    let strict: Adjust = |check| check.expect_status = vec![200..=200, 204..=204];
    let wordy: Adjust = |check| check.expect_body = "all is well".to_owned();
    let default: Adjust = |check| check.by_default = true;
    let redirect = answer(302, "Location: /elsewhere\r\n", "");
    let cases = [
        ("200", (status(200), plain, Healthy)),
        ("a redirect is an answer", (redirect.clone(), plain, Healthy)),
        ("and not followed", (redirect, strict, Unhealthy)),
        ("404", (status(404), plain, Unhealthy)),
        ("500", (status(500), plain, Unhealthy)),
        ("204 of 200 and 204", (b"HTTP/1.1 204 Empty\r\n\r\n".to_vec(), strict, Healthy)),
        ("201 of 200 and 204", (status(201), strict, Unhealthy)),
        ("the text", (ok_with("so: all is well."), wordy, Healthy)),
        ("another text", (ok_with("all is not well"), wordy, Unhealthy)),
        ("the text with a 500", (answer(500, "", "all is well"), wordy, Unhealthy)),
        ("404 where nobody asked for the page", (status(404), default, Healthy)),
        ("500 where nobody asked for the page", (status(500), default, Unhealthy)),
        ("no HTTP", (b"SSH-2.0-x\r\n\r\n".to_vec(), plain, Unhealthy)),
    ];
    each(cases, |(answer, adjust, expected)| {
        let mut check = http();
        adjust(&mut check);
        let player = Player::new("a");
        player.to_probes(Act::Say(answer.clone()));
        let stage = Stage::with(vec![player], probed(HealthCheck::Http(check)));
        wait_for_state(&stage, 0, *expected);
        let targets = stage.players[0].backend.targets();
        assert!(targets.iter().all(|target| target == HEALTH), "{targets:?}");
        Ok(())
    });
}

#[test]
fn what_a_probe_asks() {
    let check = HttpCheck {
        path: "/ready?deep=1".to_owned(),
        method: "HEAD".to_owned(),
        host: "shop.test".to_owned(),
        ..http()
    };
    let stage = Stage::of(1, probed(HealthCheck::Http(check)));
    wait_for_state(&stage, 0, HealthState::Healthy);
    let (_, request) = stage.players[0].backend.requests().remove(0);
    assert_eq!(request.start_line, "HEAD /ready?deep=1 HTTP/1.1");
    assert_eq!(request.value("host"), Some("shop.test"));
    assert_eq!(request.value("connection"), Some("close"));
}

#[test]
fn a_tcp_check_asks_for_a_connection_only() {
    let sick = Player::new("a");
    sick.to_probes(Act::Say(status(500)));
    let dead = RefusingAddress::new();
    let plan = PlanBuilder::to(&[sick.backend.address(), dead.address()]);
    let proxy = Proxy::start(&probed(HealthCheck::Tcp)(plan).build());
    let pool = proxy.pool();
    eventually("verdicts", || {
        let states = [0, 1].map(|index: usize| pool.backends[index].health.state());
        states == [HealthState::Healthy, HealthState::Unhealthy]
    });
    assert_eq!(sick.tally().probes, 0, "nothing was asked");
    let failed = &proxy.wait_for_events("backend_unhealthy", 1)[0];
    assert!(failed["reason"].as_str().is_some_and(|why| why.contains("no connection")), "{failed}");
}

#[test]
fn a_probe_without_an_answer_fails_at_its_timeout() {
    let player = Player::new("a");
    player.to_probes(Act::Stall);
    let stage = Stage::with(vec![player], |plan| {
        probed(HealthCheck::Http(http()))(plan)
            .pool(|pool| pool.health.timeout = Duration::from_millis(100))
    });
    wait_for_state(&stage, 0, HealthState::Unhealthy);
    for failed in stage.proxy.wait_for_events("probe_failed", 3) {
        assert_eq!(failed["reason"], "no answer in time");
        let elapsed = failed["elapsed_ms"].as_f64().expect("a number");
        assert!((100.0..1000.0).contains(&elapsed), "{failed}");
    }
}

#[test]
fn probes_of_a_backend_do_not_meet() {
    let player = Player::new("a");
    player.to_probes(Act::After(3 * INTERVAL, ok_with("slow")));
    let stage = Stage::with(vec![player], probed(HealthCheck::Http(http())));
    let player = &stage.players[0];
    eventually("several probes", || player.tally().probes >= 5);
    assert_eq!(player.tally().most_probing, 1);
    assert_eq!(state(&stage, 0), HealthState::Healthy);
}

#[test]
fn a_backend_without_the_default_page_serves() {
    let default = HttpCheck { by_default: true, ..http() };
    let players = vec![Player::new("a"), Player::new("b")];
    players[1].to_probes(Act::Say(status(404)));
    let stage = Stage::with(players, probed(HealthCheck::Http(default)));
    eventually("several probes", || stage.players[1].tally().probes >= 5);
    stage.who(4);
    assert_eq!(stage.counts(), [2, 2]);
    // The page of `a` was there, so its loss says something.
    stage.players[0].to_probes(Act::Say(status(404)));
    wait_for_state(&stage, 0, HealthState::Unhealthy);
    assert_eq!(stage.who(4), ["b"; 4]);
}

#[test]
fn nobody_healthy_is_nobody_to_ask() {
    for fail_open in [true, false] {
        let players = vec![Player::new("a"), Player::new("b")];
        players.iter().for_each(|player| player.to_probes(Act::Say(status(500))));
        let stage = Stage::with(players, |plan| {
            probed(HealthCheck::Http(http()))(plan).pool(|pool| pool.fail_open = fail_open)
        });
        (0..2).for_each(|index| wait_for_state(&stage, index, HealthState::Unhealthy));
        is_refusal(&stage.ask(&get("/")), NO_BACKEND).expect("503");
        assert_eq!(stage.counts(), [0, 0]);
        stage.proxy.wait_for_events("pool_down", 1);
        stage.players[0].to_probes(Act::Say(status(200)));
        wait_for_state(&stage, 0, HealthState::Healthy);
        assert_eq!(stage.who(2), ["a"; 2]);
        stage.proxy.wait_for_events("pool_recovered", 1);
    }
}

#[test]
fn who_waits_at_a_dead_backend_is_served_elsewhere() {
    let stage = Stage::of(2, |plan| {
        plan.pool(|pool| {
            pool.health.check = HealthCheck::Http(http());
            pool.health.interval = Duration::from_secs(60);
        })
    });
    (0..2).for_each(|index| wait_for_state(&stage, index, HealthState::Healthy));
    stage.who(10);
    // It takes connections and requests, and says nothing any more: a machine that hangs.
    stage.players[0].does(Act::Stall);
    stage.players[0].to_probes(Act::Stall);
    let began = Instant::now();
    let mut clients: Vec<_> = (0..6)
        .map(|_| {
            let mut client = stage.connect();
            client.send(get("/"));
            client
        })
        .collect();
    eventually("requests that hang", || stage.players[0].tally().open >= 2);
    // Traffic goes on, and notices the silence.
    eventually("no more traffic to it", || {
        let mut client = stage.connect();
        client.send(get("/"));
        clients.push(client);
        pause(Duration::from_millis(10));
        stage.players[0].tally().probes >= 2
    });
    for client in &mut clients {
        assert_eq!(client.final_response().expect("an answer").text(), "b");
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "not the 60 s of `response_head`: {took:?}");
}

#[test]
fn health_none_never_probes() {
    let stage = Stage::of(2, |plan| plan.pool(|pool: &mut PoolPlan| pool.breaker.enabled = false));
    // Even a backend in doubt is not asked.
    stage.players[0].does(Act::Break);
    let until = Instant::now() + Duration::from_millis(400);
    while Instant::now() < until {
        assert_eq!(stage.who(1), ["b"]);
    }
    let unasked = |player: &Player| {
        player.tally().probes == 0 && player.backend.connections() <= player.count()
    };
    assert!(stage.players.iter().all(unasked));
}
