//! Copies of requests to another pool: what they look like, and that nothing about them can be felt
//! by who sent the request.

use crate::frames::{DATA, END_STREAM, Frames, Outcome, frame, request};
use crate::stage::{answer, eventually, get, status};
use evenkeel_core::mirror::{BodyDiff, BodySeen, DiffPlan, MirrorPlan};
use evenkeel_core::plan::PoolPlan;
use evenkeel_core::stats::Totals;
use evenkeel_proxy::detail::{Compared, Detail};
use evenkeel_testkit::backend::{Backend, Gate, OK, RefusingAddress};
use evenkeel_testkit::client::Client;
use evenkeel_testkit::message::Message;
use evenkeel_testkit::plan::{PlanBuilder, pool};
use evenkeel_testkit::proxy::Proxy;
use std::sync::Arc;
use std::time::Duration;

/// Longest body that is copied here.
const MAX_BODY: u64 = 100_000;
const MARK: &str = "x-evenkeel-mirror: 1";

/// A proxy that copies everything for the real backend to the shadow.
fn mirrored(real: &str, shadow: &str) -> Proxy {
    mirrored_with(real, shadow, |_| {})
}

/// The same, with another shadow pool.
fn mirrored_with(real: &str, shadow: &str, adjust: impl FnOnce(&mut PoolPlan)) -> Proxy {
    let mut shadows = pool("shadow", &[shadow]);
    adjust(&mut shadows);
    let plan = PlanBuilder::to(&[real]).plan(|plan| {
        plan.pools.push(shadows);
        let mirror = MirrorPlan { pool: 1, percent: 100.0, max_body_bytes: MAX_BODY, diff: None };
        plan.routes[0].mirrors = vec![mirror];
    });
    Proxy::start(&plan.build())
}

/// A proxy that compares all answers by these means, and what it tells of them.
fn comparing(real: &str, shadow: &str, body: BodyDiff) -> (Proxy, impl FnMut() -> Box<Compared>) {
    let plan = PlanBuilder::to(&[real]).plan(|plan| {
        plan.pools.push(pool("shadow", &[shadow]));
        let diff = DiffPlan {
            status: true,
            headers: vec!["x-kind".to_owned()],
            body,
            ignore: Vec::new(),
            samples: 10,
        };
        let diff = Some(Arc::new(diff));
        let mirror = MirrorPlan { pool: 1, percent: 100.0, max_body_bytes: MAX_BODY, diff };
        plan.routes[0].mirrors = vec![mirror];
    });
    let proxy = Proxy::start(&plan.build());
    let mut details = proxy.watch();
    let next = move || {
        let mut found = None;
        eventually("a comparison", || {
            while let Ok(detail) = details.try_recv() {
                if let Detail::Compared(compared) = detail {
                    found = Some(compared);
                    return true;
                }
            }
            false
        });
        found.expect("a comparison")
    };
    (proxy, next)
}

fn totals(proxy: &Proxy) -> Totals {
    proxy.server().state().stats().read()
}

/// Copies that were sent, skipped, failed.
fn results(proxy: &Proxy) -> [u64; 3] {
    let copies = totals(proxy).copies;
    copies.first().map_or([0; 3], |(_, totals)| totals.results)
}

fn results_become(proxy: &Proxy, wanted: [u64; 3]) {
    eventually(&format!("copies {wanted:?}"), || results(proxy) == wanted);
}

fn post(body: &str) -> String {
    let length = body.len();
    format!("POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// The copy is the request that the real backend saw, with the mark and the same id.
fn is_copy(copy: &Message, request: &Message) {
    let mut wanted = request.shape();
    wanted.push(MARK.to_owned());
    wanted[1..].sort_unstable();
    assert_eq!(copy.shape(), wanted);
    assert_eq!(copy.value("x-request-id"), request.value("x-request-id"));
    assert_eq!(copy.body, request.body);
}

#[test]
fn a_copy_is_the_request_with_a_mark() {
    let (real, shadow) = (Backend::named("real"), Backend::named("shadow"));
    let proxy = mirrored(real.address(), shadow.address());
    let long = "x".repeat(90_000);
    let requests = [
        get("/a?b=c"),
        post("exactly\r\n\r\nthis"),
        post(&long),
        "PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n"
            .to_owned(),
        "DELETE /d HTTP/1.1\r\nHost: x\r\nX-Evenkeel-Mirror: 1\r\n\r\n".to_owned(),
    ];
    let mut client = proxy.connect();
    for (number, request) in requests.iter().enumerate() {
        assert_eq!(client.ask(request).text(), "real");
        results_become(&proxy, [number as u64 + 1, 0, 0]);
        let (seen, copies) = (real.requests(), shadow.requests());
        is_copy(&copies[number].1, &seen[number].1);
    }
    assert_eq!(real.requests()[4].1.value("x-evenkeel-mirror"), None, "only we may say so");
    assert_eq!(shadow.connections(), 1, "connections are kept for the next copy");
    assert!(real.requests()[2].1.body == long.as_bytes());
}

#[test]
fn a_body_that_comes_in_pieces_is_copied_whole() {
    let (real, shadow) = (Backend::named("real"), Backend::named("shadow"));
    let proxy = mirrored(real.address(), shadow.address());
    let mut client = proxy.connect();
    client.send("POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.response().expect("100").status(), 100);
    assert_eq!(results(&proxy), [0; 3], "nothing is copied before all of it is here");
    client.send("12");
    client.send("34");
    assert_eq!(client.response().expect("200").text(), "real");
    results_become(&proxy, [1, 0, 0]);
    is_copy(&shadow.requests()[0].1, &real.requests()[0].1);
    assert_eq!(shadow.requests()[0].1.text(), "1234");
}

#[test]
fn longer_bodies_are_not_copied() {
    let (real, shadow) = (Backend::named("real"), Backend::named("shadow"));
    let proxy = mirrored(real.address(), shadow.address());
    let mut client = proxy.connect();
    let most = usize::try_from(MAX_BODY).expect("small");
    assert_eq!(client.ask(post(&"y".repeat(most + 1))).text(), "real");
    results_become(&proxy, [0, 1, 0]);
    let chunk = "z".repeat(most / 2 + 1);
    let size = chunk.len();
    let chunked = format!(
        "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
         {size:x}\r\n{chunk}\r\n{size:x}\r\n{chunk}\r\n0\r\n\r\n"
    );
    assert_eq!(client.ask(chunked).text(), "real");
    results_become(&proxy, [0, 2, 0]);
    assert_eq!(client.ask(post(&"y".repeat(most))).text(), "real");
    results_become(&proxy, [1, 2, 0]);
    assert_eq!(shadow.requests().len(), 1);
}

#[test]
fn heads_are_copied_and_upgrades_are_not() {
    let (real, shadow) = (Backend::start(answering_heads), Backend::start(answering_heads));
    let proxy = mirrored(real.address(), shadow.address());
    let mut client = proxy.connect();
    for copies in 1..=2 {
        client.send("HEAD /h HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.response_to_head().expect("200").status(), 200);
        results_become(&proxy, [copies, 0, 0]);
    }
    assert_eq!(shadow.connections(), 1, "an answer to HEAD has no body");
    client.send("GET /w HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.response_to_head().expect("200").status(), 200);
    results_become(&proxy, [2, 1, 0]);
    assert_eq!(shadow.requests().len(), 2);
}

fn answering_heads(conversation: &mut evenkeel_testkit::backend::Conversation) {
    while conversation.request().is_some() {
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
}

#[test]
fn a_slow_shadow_costs_copies_and_no_request() {
    let (real, shadow) = (Backend::named("real"), Backend::stalling());
    let proxy = mirrored_with(real.address(), shadow.address(), |pool| {
        pool.timeouts.connect = Duration::from_millis(100);
        pool.timeouts.response_head = Duration::from_millis(100);
    });
    let mut client = proxy.connect();
    for _ in 0..20 {
        assert_eq!(client.ask(post("abc")).text(), "real");
    }
    results_become(&proxy, [0, 0, 20]);
    let records = proxy.wait_for_records(20);
    assert!(records.iter().all(|it| it["status"] == 200 && it["tries"] == 1), "{records:?}");
    let pools: Vec<_> = totals(&proxy).series.iter().map(|it| it.0.pool.to_string()).collect();
    assert_eq!(pools, ["web"], "copies are no exchanges");
    assert!(totals(&proxy).failures.is_empty());
}

#[test]
fn copies_are_bounded_and_those_beyond_are_skipped() {
    let (real, shadow) = (Backend::named("real"), Backend::stalling());
    let proxy = mirrored_with(real.address(), shadow.address(), |pool| pool.connections.max = 3);
    let mut client = proxy.connect();
    for _ in 0..20 {
        assert_eq!(client.ask(get("/")).text(), "real");
    }
    results_become(&proxy, [0, 17, 0]);
}

#[test]
fn a_dead_or_broken_shadow_fails_alone() {
    let dead = RefusingAddress::new();
    let garbage = Backend::answering("no HTTP at all\r\n\r\n");
    let cut = Backend::start(|conversation| {
        conversation.request();
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut");
    });
    for shadow in [dead.address(), garbage.address(), cut.address()] {
        let real = Backend::named("real");
        let proxy = mirrored(real.address(), shadow);
        let mut client = proxy.connect();
        for _ in 0..10 {
            assert_eq!(client.ask(post("abc")).text(), "real");
        }
        results_become(&proxy, [0, 0, 10]);
        let records = proxy.wait_for_records(10);
        assert!(records.iter().all(|it| it["status"] == 200), "{records:?}");
        assert_eq!(proxy.pool().backends[0].in_flight(), 0);
    }
}

#[test]
fn failures_of_a_shadow_open_its_own_breaker() {
    let (real, shadow) = (Backend::named("real"), Backend::answering(status(500)));
    let proxy = mirrored(real.address(), shadow.address());
    let mut client = proxy.connect();
    for number in 0..10 {
        assert_eq!(client.ask(get("/")).text(), "real");
        eventually("one more", || results(&proxy).iter().sum::<u64>() == number + 1);
    }
    let opened = proxy.wait_for_events("breaker_opened", 1);
    assert_eq!((opened.len(), &opened[0]["pool"]), (1, &"shadow".into()));
}

#[test]
fn an_endless_answer_is_left() {
    let real = Backend::named("real");
    let shadow = Backend::start(|conversation| {
        conversation.request();
        conversation.send(b"HTTP/1.1 200 OK\r\n\r\n");
        let piece = vec![b'x'; 64 * 1024];
        while conversation.send(&piece) {}
    });
    let proxy = mirrored(real.address(), shadow.address());
    assert_eq!(proxy.connect().ask(get("/")).text(), "real");
    results_become(&proxy, [1, 0, 0]);
    assert!(shadow.wait_for_end(0), "its connection is closed");
}

#[test]
fn a_stale_connection_of_the_shadow_is_no_failure() {
    let real = Backend::named("real");
    let shadow = Backend::start(|conversation| {
        conversation.request();
        conversation.send(OK);
        if conversation.index() == 0 {
            conversation.request();
        }
    });
    let proxy = mirrored(real.address(), shadow.address());
    let mut client = proxy.connect();
    for number in 1..=2 {
        assert_eq!(client.ask(get("/")).text(), "real");
        results_become(&proxy, [number, 0, 0]);
    }
    assert_eq!(shadow.connections(), 2);
}

#[test]
fn a_request_that_fails_is_copied_all_the_same() {
    let (dead, shadow) = (RefusingAddress::new(), Backend::named("shadow"));
    let proxy = mirrored(dead.address(), shadow.address());
    let response = proxy.connect().ask(post("abc"));
    assert_eq!(response.status(), 502);
    results_become(&proxy, [1, 0, 0]);
    assert_eq!(shadow.requests()[0].1.text(), "abc");
}

#[test]
fn what_is_refused_is_not_copied() {
    let (real, shadow) = (Backend::named("real"), Backend::named("shadow"));
    let proxy = mirrored(real.address(), shadow.address());
    let mut client = proxy.connect();
    let refused = client.ask("GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(refused.status(), 400);
    let mut client: Client = proxy.connect();
    client.send("POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc");
    eventually("the head is there", || !real.received().concat().is_empty());
    client.reset();
    results_become(&proxy, [0, 1, 0]);
    assert!(shadow.received().is_empty(), "half a request is none");
}

#[test]
fn requests_over_http2_are_copied() {
    let (real, shadow) = (Backend::named("real"), Backend::named("shadow"));
    let proxy = mirrored(real.address(), shadow.address());
    let mut frames = Frames::connect(proxy.address());
    frames.headers(1, END_STREAM, &request("GET", &[]));
    assert_eq!(frames.outcome(1), Outcome::Status(200));
    results_become(&proxy, [1, 0, 0]);
    frames.headers(3, 0, &request("POST", &[]));
    frames.send(&frame(DATA, 0, 3, b"abc"));
    frames.send(&frame(DATA, END_STREAM, 3, b"def"));
    results_become(&proxy, [2, 0, 0]);
    let (seen, copies) = (real.requests(), shadow.requests());
    for (copy, request) in copies.iter().zip(&seen) {
        is_copy(&copy.1, &request.1);
    }
    assert_eq!(copies[1].1.text(), "abcdef");
}

#[test]
fn each_share_of_a_hundred_and_more_per_cent() {
    for (percent, least, most) in [(0.0, 0, 0), (50.0, 50, 150), (250.0, 450, 550)] {
        let (real, shadow) = (Backend::named("real"), Backend::answering(answer(200, "", "s")));
        let shadows = pool("shadow", &[shadow.address()]);
        let plan = PlanBuilder::to(&[real.address()]).plan(|plan| {
            plan.pools.push(shadows);
            let mirror = MirrorPlan { pool: 1, percent, max_body_bytes: MAX_BODY, diff: None };
            plan.routes[0].mirrors = vec![mirror];
        });
        let proxy = Proxy::start(&plan.build());
        let mut client = proxy.connect();
        for _ in 0..200 {
            assert_eq!(client.ask(get("/")).text(), "real");
        }
        eventually("all that were drawn", || {
            let [sent, skipped, failed] = results(&proxy);
            assert_eq!((skipped, failed), (0, 0));
            sent == shadow.requests().len() as u64 && (least..=most).contains(&sent)
        });
    }
}

#[test]
fn both_answers_meet_whoever_is_first() {
    let texts = [answer(200, "X-Kind: a\r\n", "hello"), answer(404, "X-Kind: b\r\n", "hell0")];
    for slow in [0, 1] {
        let gate = Gate::default();
        let held = gate.clone();
        let [quick, late] = [texts[1 - slow].clone(), texts[slow].clone()];
        let first = Backend::answering(quick);
        let second = Backend::start(move |conversation| {
            while conversation.request().is_some() && held.wait() && conversation.send(&late) {}
        });
        let (real, shadow) = if slow == 0 { (&second, &first) } else { (&first, &second) };
        let (proxy, mut next) = comparing(real.address(), shadow.address(), BodyDiff::Json);
        let mut client = proxy.connect();
        client.send(get("/seen?hidden=1"));
        if slow == 0 {
            results_become(&proxy, [1, 0, 0]);
            gate.open();
            assert_eq!(client.final_response().expect("200").text(), "hello");
        } else {
            assert_eq!(client.final_response().expect("200").text(), "hello");
            gate.open();
        }
        let compared = next();
        assert_eq!((&*compared.route, &*compared.pool), ("all", "shadow"));
        assert_eq!((compared.method.as_str(), compared.path.as_str()), ("GET", "/seen"));
        assert_eq!(Some(compared.id.as_str()), real.requests()[0].1.value("x-request-id"));
        for (heard, status, kind, body) in
            [(&compared.real, 200, "a", "hello"), (&compared.shadow, 404, "b", "hell0")]
        {
            assert_eq!(heard.head.status, status);
            assert_eq!(heard.head.headers, [Some(kind.to_owned())]);
            assert_eq!(heard.body, BodySeen::Kept(body.into()));
        }
    }
}

#[test]
fn streamed_bodies_are_hashed_as_they_go_by() {
    let long = "z".repeat(1_000_000);
    let whole = answer(200, "", &long);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    );
    let (real, shadow) = (Backend::answering(whole), Backend::answering(chunked));
    let (proxy, mut next) = comparing(real.address(), shadow.address(), BodyDiff::Hash);
    assert_eq!(proxy.connect().ask(get("/")).body.len(), long.len());
    let compared = next();
    assert_eq!(compared.real.body, compared.shadow.body);
    assert!(matches!(compared.real.body, BodySeen::Hashed(1_000_000, _)));
}

#[test]
fn a_request_whose_body_came_late_is_compared_too() {
    let (real, shadow) = (Backend::named("real"), Backend::named("shadow"));
    let (proxy, mut next) = comparing(real.address(), shadow.address(), BodyDiff::Json);
    let mut client = proxy.connect();
    client.send("POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.response().expect("100").status(), 100);
    client.send("1234");
    assert_eq!(client.response().expect("200").text(), "real");
    let compared = next();
    assert_eq!(compared.real.body, BodySeen::Kept(b"real".to_vec()));
    assert_eq!(compared.shadow.body, BodySeen::Kept(b"shadow".to_vec()));
}

#[test]
fn what_is_not_whole_is_not_compared() {
    /// Cuts its first answer short.
    fn cutting() -> Backend {
        Backend::start(|conversation| {
            while conversation.request().is_some() {
                if conversation.index() == 0 {
                    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ncut");
                    return;
                }
                conversation.send(OK);
            }
        })
    }
    for cut_is_real in [true, false] {
        let (cut, fine) = (cutting(), Backend::answering(OK));
        let (real, shadow) = if cut_is_real { (&cut, &fine) } else { (&fine, &cut) };
        let (proxy, mut next) = comparing(real.address(), shadow.address(), BodyDiff::Hash);
        let mut client = proxy.connect();
        client.send(get("/first"));
        let _ = client.final_response();
        eventually("the copy", || results(&proxy).iter().sum::<u64>() == 1);
        assert_eq!(proxy.connect().ask(get("/second")).status(), 200);
        assert_eq!(next().path, "/second", "the first pair is none");
    }
}
