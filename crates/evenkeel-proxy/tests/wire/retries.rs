//! What is sent again and what never is (RFC 9110 9.2.2, RFC 9112 9.3.1): nothing that a backend
//! may have begun to work on, unless it may be repeated.

use crate::arena::{
    Arena, BAD_RESPONSE, CONNECT_FAILURE, GOOD, RESET, RESPONSE_TIMEOUT, Refusal, each, is_refusal,
};
use evenkeel_testkit::backend::{Backend, OK, RefusingAddress};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use std::time::Duration;

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
    client.send("POST /later HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n");
    assert!(live.wait_for_bytes(live.received().concat().len() + 1), "the head is there");
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
