//! What is sent again and what never is (RFC 9110 9.2.2, RFC 9112 9.3.1): nothing that a backend
//! may have begun to work on, unless it may be repeated.

use crate::arena::{
    Arena, BAD_RESPONSE, CONNECT_FAILURE, GOOD, RESET, RESPONSE_TIMEOUT, Refusal, each, is_refusal,
};
use crate::stage::{Act, Stage, answer, eventually, get, status};
use evenkeel_core::plan::RetryMethods;
use evenkeel_testkit::backend::{Backend, OK, RefusingAddress};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use std::time::{Duration, Instant};

const POST: &str = "POST /once HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn an_idle_connection_that_closed_is_not_used() {
    // RFC 9112 9.5: the backend lets idle connections go; neither method notices.
    let arena = Arena::before(Backend::scripted(vec![vec![OK.to_vec()]; 3]), |plan| plan);
    let mut client = arena.connect();
    for (number, request) in [GOOD, GOOD, POST].into_iter().enumerate() {
        client.send(request);
        assert_eq!(arena.answer(&mut client).expect("200").status(), 200, "{request}");
        assert!(arena.backend.wait_for_end(number));
    }
    assert_eq!(arena.backend.connections(), 3);
    let records = arena.proxy.wait_for_records(3);
    assert!(records.iter().all(|record| record["tries"] == 1), "{records:?}");
}

/// Answers the first request of its first connection, and ends it at the second one: the moment at
/// which an idle connection is closed from the other side.
fn ending_at_the_second() -> Backend {
    Backend::start(|conversation| {
        if conversation.index() == 0 {
            conversation.request();
            conversation.send(OK);
            conversation.request();
            return;
        }
        while conversation.request().is_some() && conversation.send(OK) {}
    })
}

#[test]
fn a_get_on_a_stale_connection_is_repeated() {
    // RFC 9110 9.2.2 and RFC 9112 9.3.1.
    for request in [GOOD, "PUT /p HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok"] {
        let arena = Arena::before(ending_at_the_second(), |plan| plan);
        let mut client = arena.connect();
        client.send(GOOD);
        assert_eq!(arena.answer(&mut client).expect("200").status(), 200);
        client.send(request);
        assert_eq!(arena.answer(&mut client).expect("200").status(), 200);
        let requests = arena.backend.requests();
        let connections: Vec<_> = requests.iter().map(|(connection, _)| *connection).collect();
        assert_eq!(connections, [0, 0, 1]);
        assert_eq!(requests[1].1.shape(), requests[2].1.shape());
        assert_eq!(requests[1].1.body, requests[2].1.body);
        let records = arena.proxy.wait_for_records(2);
        assert_eq!(records[1]["tries"], 1, "the repeat is no try: {}", records[1]);
    }
}

#[test]
fn a_post_on_a_stale_connection_is_not_repeated() {
    // RFC 9110 9.2.2: "MUST NOT automatically retry".
    let arena = Arena::before(ending_at_the_second(), |plan| plan);
    let mut client = arena.connect();
    client.send(GOOD);
    assert_eq!(arena.answer(&mut client).expect("200").status(), 200);
    client.send(POST);
    let response = arena.answer(&mut client).expect("502");
    is_refusal(&response, RESET).expect("502");
    let posts = arena.backend.targets().into_iter().filter(|target| target == "/once").count();
    assert_eq!(posts, 1, "written once, wherever it ended");
    arena.settles();
}

#[test]
fn a_dead_backend_is_passed_over() {
    // Refused before a byte was sent: any method may go elsewhere.
    let dead = RefusingAddress::new();
    let live = Backend::named("live");
    let proxy = Proxy::start(&PlanBuilder::to(&[dead.address(), live.address()]).build());
    let mut client = proxy.connect();
    for request in [GOOD, POST, GOOD, POST] {
        assert_eq!(client.ask(request).text(), "live");
    }
    let before = live.received().concat().len();
    client.send("POST /later HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n");
    assert!(live.wait_for_bytes(before + 1), "the head is there");
    assert_eq!(client.ask("ok").text(), "live", "a body that comes later");
    assert_eq!(live.requests().len(), 5);
    let records = proxy.wait_for_records(5);
    let tries: Vec<_> = records.iter().filter_map(|record| record["tries"].as_u64()).collect();
    assert!(tries.contains(&2), "{tries:?}");
    assert!(records.iter().all(|record| record["backend"] == live.address()));
}

#[test]
fn every_backend_refuses() {
    let dead = [RefusingAddress::new(), RefusingAddress::new()];
    let addresses: Vec<_> = dead.iter().map(RefusingAddress::address).collect();
    let proxy = Proxy::start(&PlanBuilder::to(&addresses).build());
    let mut client = proxy.connect();
    for request in [GOOD, POST] {
        let response = client.ask(request);
        is_refusal(&response, CONNECT_FAILURE).expect("502");
    }
    let records = proxy.wait_for_records(2);
    assert!(records.iter().all(|record| record["tries"] == 2), "{records:?}");
    assert!(records.iter().all(|record| record["failure"] == "connect_failure"));
}

/// Takes a request and breaks the connection.
fn breaking() -> Backend {
    Backend::start(|conversation| {
        conversation.request();
        conversation.reset();
    })
}

#[test]
fn a_reset_before_the_answer_is_tried_elsewhere_if_it_may() {
    let cases = [
        ("RFC 9110 9.2.2 GET", ("GET /", true)),
        ("RFC 9110 9.2.2 OPTIONS", ("OPTIONS /", true)),
        ("RFC 9110 9.2.2 PUT", ("PUT /", true)),
        ("RFC 9110 9.2.2 DELETE", ("DELETE /", true)),
        ("RFC 9110 9.2.2 POST", ("POST /", false)),
        ("RFC 9110 9.2.2 PATCH", ("PATCH /", false)),
        ("RFC 9110 9.2.2 unknown", ("MAKE /", false)),
    ];
    each(cases, |(start, repeated)| {
        let bad = breaking();
        let good = Backend::named("good");
        let proxy = Proxy::start(&PlanBuilder::to(&[bad.address(), good.address()]).build());
        let request = format!("{start} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok");
        for _ in 0..2 {
            // In turn: one of the two begins with the bad one.
            let response = proxy.connect().ask(&request);
            if *repeated || response.status() == 200 {
                assert_eq!(response.text(), "good");
            } else {
                is_refusal(&response, RESET)?;
            }
        }
        let (at_bad, at_good) = (bad.requests().len(), good.requests().len());
        if *repeated {
            assert!(at_good == 2 && at_bad >= 1, "{at_good} and {at_bad}");
        } else {
            assert_eq!(at_good + at_bad, 2, "each sent once");
        }
        Ok(())
    });
}

#[test]
fn a_body_on_its_way_is_not_repeated() {
    // RFC 9110 9.2.2: once body bytes went that we do not keep, there is nothing to repeat.
    let bad = Backend::start(|conversation| {
        conversation.head();
        let mut taken = 0;
        while taken < 10_000 && conversation.receive() {
            taken += conversation.take_bytes().len();
        }
        conversation.reset();
    });
    let good = Backend::named("good");
    let proxy = Proxy::start(&PlanBuilder::to(&[bad.address(), good.address()]).build());
    for _ in 0..2 {
        let mut client = proxy.connect();
        client.send("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n");
        for _ in 0..8 {
            let _ = client.try_send(vec![b'x'; 50_000]);
        }
        let response = client.final_response().expect("an answer");
        assert!(matches!(response.status(), 200 | 502), "{response:?}");
    }
    assert!(good.requests().iter().all(|(_, request)| request.body.len() == 400_000));
    assert_eq!(good.connections() + bad.connections(), 2);
}

#[test]
fn the_number_of_tries_is_bounded() {
    let bad: Vec<_> = (0..5).map(|_| breaking()).collect();
    let addresses: Vec<_> = bad.iter().map(Backend::address).collect();
    let plan = PlanBuilder::to(&addresses).pool(|pool| pool.retry.attempts = 3);
    let proxy = Proxy::start(&plan.build());
    is_refusal(&proxy.connect().ask(GOOD), RESET).expect("502");
    assert_eq!(bad.iter().map(Backend::connections).sum::<usize>(), 3);
    let record = &proxy.wait_for_records(1)[0];
    assert_eq!(record["tries"], 3);
}

#[test]
fn a_silent_backend_costs_its_deadline_once() {
    let silent = Backend::start(|conversation| {
        conversation.request();
        conversation.stall();
    });
    let plan = PlanBuilder::to(&[silent.address()])
        .pool(|pool| pool.timeouts.response_head = Duration::from_millis(200));
    let proxy = Proxy::start(&plan.build());
    for request in [GOOD, POST] {
        is_refusal(&proxy.connect().ask(request), RESPONSE_TIMEOUT).expect("504");
    }
    assert_eq!(silent.requests().len(), 2, "each sent once");
}

#[test]
fn backends_that_answer_nothing_sensible() {
    let closing = Backend::start(|_| {});
    let resetting = Backend::start(evenkeel_testkit::backend::Conversation::reset);
    let garbage = Backend::start(|conversation| {
        conversation.send(b"\0\x01\x02 what is this\r\n\r\n");
        conversation.read_to_end();
    });
    // A connection that ends while it is made failed as such; one that ends just after, broke.
    let broken: &[Refusal] = &[RESET, CONNECT_FAILURE];
    let cases = [
        ("closes at once", (&closing, broken)),
        ("resets at once", (&resetting, broken)),
        ("speaks first, garbage", (&garbage, &[BAD_RESPONSE])),
    ];
    each(cases, |(backend, refusals)| {
        let proxy = Proxy::start(&PlanBuilder::to(&[backend.address()]).build());
        for request in [GOOD, POST] {
            let response = proxy.connect().ask(request);
            let verdicts = refusals.iter().map(|refusal| is_refusal(&response, *refusal));
            verdicts.reduce(|one, other| one.or(other)).unwrap_or(Ok(()))?;
        }
        Ok(())
    });
}

/// The answers to two requests in a row, one of which begins with the first of two players.
fn two(stage: &Stage, request: &str) -> Vec<(u16, String)> {
    let answers = [(); 2].map(|()| stage.ask(request));
    let mut answers = answers.map(|response| (response.status(), response.text())).to_vec();
    answers.sort();
    answers
}

#[test]
fn statuses_that_are_worth_another_try() {
    let cases = [
        ("502", (502, vec![502, 503, 504], true)),
        ("503", (503, vec![502, 503, 504], true)),
        ("504", (504, vec![502, 503, 504], true)),
        ("500", (500, vec![502, 503, 504], false)),
        ("404", (404, vec![502, 503, 504], false)),
        ("500, listed", (500, vec![500], true)),
        ("503, not listed", (503, vec![500], false)),
        ("429, listed", (429, vec![429], true)),
    ];
    each(cases, |(code, listed, again)| {
        let stage = Stage::of(2, |plan| plan.pool(|p| p.retry.on.statuses.clone_from(listed)));
        stage.players[0].says(answer(*code, "X-From: a\r\n", "no"));
        let answers = two(&stage, &get("/"));
        let records = stage.proxy.wait_for_records(2);
        let tries: Vec<_> = records.iter().filter_map(|r| r["tries"].as_u64()).collect();
        let plain = (200, "b".to_owned());
        if *again {
            assert_eq!(answers, [plain.clone(), plain]);
            assert!(tries.contains(&2) && stage.players[1].count() == 2, "{tries:?}");
        } else {
            assert_eq!(answers, [plain, (*code, "no".to_owned())]);
            assert_eq!((tries, stage.counts()), (vec![1, 1], vec![1, 1]));
        }
        Ok(())
    });
}

#[test]
fn what_may_be_sent_again_after_a_503() {
    let send = |start: &str, framing: &str, body: &str| {
        format!("{start} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n{body}")
    };
    let sized = |start: &str, length: usize| {
        send(start, &format!("Content-Length: {length}"), &"x".repeat(length))
    };
    let chunked = send("PUT /", "Transfer-Encoding: chunked", "2\r\nok\r\n0\r\n\r\n");
    let (safe, all) = (RetryMethods::Idempotent, RetryMethods::All);
    let cases = [
        ("GET", (get("/"), safe, true)),
        ("DELETE", (sized("DELETE /", 0), safe, true)),
        ("PUT with a body", (sized("PUT /", 1000), safe, true)),
        ("POST", (sized("POST /", 2), safe, false)),
        ("PATCH", (sized("PATCH /", 2), safe, false)),
        ("POST, methods: all", (sized("POST /", 2), all, true)),
        ("a body beyond the buffer", (sized("PUT /", 1001), all, false)),
        ("a chunked body", (chunked, all, false)),
    ];
    each(cases, |(request, methods, again)| {
        let stage = Stage::of(2, |plan| {
            plan.pool(|pool| {
                pool.retry.methods = *methods;
                pool.retry.buffer_bytes = 1000;
            })
        });
        stage.players[0].says(status(503));
        let codes: Vec<_> = two(&stage, request).into_iter().map(|(code, _)| code).collect();
        assert_eq!(codes, if *again { [200, 200] } else { [200, 503] });
        let seen = [0, 1].map(|at: usize| stage.players[at].tally().requests).concat();
        let repeated = seen.len() > 2;
        assert_eq!(repeated, *again, "{:?}", stage.counts());
        assert!(
            seen.iter().all(|request| request.body == seen[0].body),
            "the whole body each time"
        );
        Ok(())
    });
}

#[test]
fn the_last_answer_is_passed_on_as_it_is() {
    let stage = Stage::of(2, |plan| plan);
    for player in &stage.players {
        player.says(answer(503, "X-Why: tired\r\nRetry-After: 7\r\n", "come back later"));
    }
    let response = stage.ask(&get("/"));
    assert_eq!(response.start_line, "HTTP/1.1 503 Said So");
    assert_eq!(response.value("x-why"), Some("tired"));
    assert_eq!(response.value("retry-after"), Some("7"));
    assert_eq!(response.text(), "come back later");
    assert_eq!(stage.counts(), [1, 1]);
    let record = &stage.proxy.wait_for_records(1)[0];
    assert_eq!((&record["tries"], &record["status"]), (&2.into(), &503.into()), "{record}");
}

#[test]
fn attempts_bound_tries_by_status_too() {
    for attempts in 1..=4 {
        let stage = Stage::of(4, |plan| plan.pool(|pool| pool.retry.attempts = attempts));
        stage.players.iter().for_each(|player| player.says(status(503)));
        assert_eq!(stage.ask(&get("/")).status(), 503);
        let tries = stage.counts().iter().sum::<usize>();
        assert_eq!(tries, attempts as usize, "{:?}", stage.counts());
        assert!(stage.counts().iter().all(|count| *count <= 1), "never twice the same");
    }
}

#[test]
fn retries_stay_within_their_budget() {
    const REQUESTS: usize = 300;
    // Share in per cent, and retries per second whatever the share.
    for (share, floor) in [(20_u8, 10), (0, 0), (20, 0)] {
        let stage = Stage::of(3, |plan| {
            plan.pool(|pool| {
                pool.retry.budget = f64::from(share) / 100.0;
                pool.retry.budget_floor = floor;
                pool.retry.backoff.max = Duration::from_millis(1);
            })
        });
        stage.players.iter().for_each(|player| player.says(status(503)));
        let (mut client, began) = (stage.connect(), Instant::now());
        for _ in 0..REQUESTS {
            assert_eq!(client.ask(get("/")).status(), 503);
        }
        let seconds = usize::try_from(began.elapsed().as_secs()).expect("few") + 2;
        let retries = stage.counts().iter().sum::<usize>() - REQUESTS;
        let (share, floor) = (REQUESTS * usize::from(share) / 100, floor as usize);
        assert!(retries <= share + floor * seconds, "{retries} of {share} and {floor}");
        assert!(retries >= share, "{retries} of {share}: the share may be used");
    }
}

#[test]
fn a_try_has_its_own_time() {
    let per_try = Duration::from_millis(100);
    for listed in [true, false] {
        let stage = Stage::of(2, |plan| {
            plan.pool(|pool| {
                pool.retry.per_try_timeout = per_try;
                pool.retry.on.per_try_timeout = listed;
            })
        });
        stage.players[0].does(Act::Stall);
        let began = Instant::now();
        let codes: Vec<_> = two(&stage, &get("/")).into_iter().map(|(code, _)| code).collect();
        assert_eq!(codes, if listed { [200, 200] } else { [200, 504] });
        let took = began.elapsed();
        assert!((per_try..per_try * 10).contains(&took), "{took:?}");
        let records = stage.proxy.wait_for_records(2);
        let most = records.iter().filter_map(|record| record["tries"].as_u64()).max();
        assert_eq!(most, Some(if listed { 2 } else { 1 }));
    }
}

#[test]
fn retry_after_is_respected() {
    let pause = Duration::from_millis(400);
    let stage = Stage::of(2, |plan| {
        plan.pool(|pool| {
            pool.retry.on.statuses = Vec::new();
            pool.breaker.max_reset_timeout = pause; // bounds what a backend may ask for
        })
    });
    stage.players[0].says(answer(503, "Retry-After: 60\r\n", "busy"));
    let began = Instant::now();
    assert_eq!(two(&stage, &get("/")), [(200, "b".to_owned()), (503, "busy".to_owned())]);
    stage.players[0].says(OK.to_vec());
    while began.elapsed() < pause / 2 {
        assert_eq!(stage.ask(&get("/")).text(), "b");
    }
    eventually("the end of the pause", || stage.ask(&get("/")).text() == "ok");
    // Nobody else there: better one that asked for a pause than none.
    let alone = Stage::of(1, |plan| plan);
    alone.players[0].says(answer(503, "Retry-After: 60\r\n", "busy"));
    assert_eq!(two(&alone, &get("/")), [(503, "busy".to_owned()), (503, "busy".to_owned())]);
}

#[test]
fn who_leaves_stops_the_work_for_him() {
    let backend = Backend::start(|conversation| {
        conversation.request();
        conversation.read_to_end();
    });
    let proxy = Proxy::start(&PlanBuilder::to(&[backend.address()]).build());
    for (number, request) in [GOOD, POST].into_iter().enumerate() {
        let mut client = proxy.connect();
        client.send(request);
        eventually("the request", || backend.requests().len() == number + 1);
        client.reset();
        assert!(backend.wait_for_end(number), "the backend sees its connection end");
    }
    let records = proxy.wait_for_records(2);
    assert!(records.iter().all(|record| record["failure"] == "client_gone"), "{records:?}");
    let silent = &proxy.pool().backends[0];
    eventually("nothing in flight", || silent.in_flight() == 0);
}

#[test]
fn who_takes_no_connections_costs_a_moment_only() {
    // A full backlog: the kernel neither takes nor refuses what comes.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let listener = listener.expect("a socket");
    let any: std::net::SocketAddr = (std::net::Ipv4Addr::LOCALHOST, 0).into();
    listener.bind(&any.into()).expect("a free port");
    listener.listen(0).expect("listening");
    let address = listener.local_addr().expect("bound").as_socket().expect("an IP socket");
    let fill = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50));
    let _fillers: Vec<_> = std::iter::from_fn(|| fill().ok()).take(10).collect();

    let live = Backend::named("live");
    let proxy = Proxy::start(&PlanBuilder::to(&[&address.to_string(), live.address()]).build());
    let began = Instant::now();
    for request in [GOOD, POST, GOOD, POST] {
        assert_eq!(proxy.connect().ask(request).text(), "live");
    }
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1500), "not the 3 s of `connect`: {took:?}");
    let records = proxy.wait_for_records(4);
    assert!(records.iter().any(|record| record["tries"] == 2), "{records:?}");
}
