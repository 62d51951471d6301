//! A stop that loses nothing: what is in flight is finished, what is idle ends, and nobody new
//! comes in.

use crate::arena::gated;
use evenkeel_testkit::backend::{Backend, Gate, OK};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use evenkeel_testkit::wire::{Ending, Wire};
use std::time::Duration;

#[test]
fn a_drain_finishes_what_is_in_flight() {
    let gate = Gate::default();
    let backend = gated(&gate);
    let proxy = Proxy::start(&PlanBuilder::to(&[backend.address()]).build());
    let mut idle = proxy.connect();
    assert_eq!(idle.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").status(), 200);
    let mut working = proxy.connect();
    working.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut ahead = proxy.connect();
    ahead.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET /ahead HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(backend.wait_for_connections(2));
    let server = proxy.server();
    std::thread::scope(|scope| {
        let drain = scope.spawn(move || server.drain(Duration::from_secs(5)));
        assert_eq!(idle.read_to_close(), (Vec::new(), Ending::Fin), "idle ones end at once");
        assert!(!drain.is_finished(), "two are in flight");
        gate.open();
        for client in [&mut working, &mut ahead] {
            let response = client.final_response().expect("finished");
            assert_eq!((response.status(), response.text().as_str()), (200, "ok"));
            assert_eq!(response.value("connection"), Some("close"), "RFC 9112 9.6");
            assert_eq!(client.read_to_close(), (Vec::new(), Ending::Fin));
        }
        assert!(drain.join().expect("no panic"), "all done in time");
    });
    assert!(!backend.targets().contains(&"/ahead".to_owned()), "nothing after the last");
    assert!(Wire::connect(proxy.address()).is_err(), "nobody listens any more");
}

#[test]
fn a_drain_finishes_bodies_both_ways() {
    let gate = Gate::default();
    let open = gate.clone();
    let backend = Backend::start(move |conversation| {
        let Some(request) = conversation.request() else { return };
        if request.target() == "/idle" {
            conversation.send(OK);
            return;
        }
        conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        gate.wait();
        let length = request.body.len();
        conversation
            .send(format!("{:x}\r\n{length}\r\n0\r\n\r\n", length.to_string().len()).as_bytes());
    });
    let proxy = Proxy::start(&PlanBuilder::to(&[backend.address()]).build());
    let mut idle = proxy.connect();
    assert_eq!(idle.ask("GET /idle HTTP/1.1\r\nHost: x\r\n\r\n").status(), 200);
    let mut streaming = proxy.connect();
    streaming.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    streaming.read_until(b"first\r\n");
    let mut uploading = proxy.connect();
    uploading.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello");
    assert!(backend.wait_for_connections(3));
    let server = proxy.server();
    std::thread::scope(|scope| {
        let drain = scope.spawn(move || server.drain(Duration::from_secs(5)));
        assert_eq!(idle.read_to_close(), (Vec::new(), Ending::Fin), "the drain has begun");
        open.open();
        uploading.send("world");
        let response = uploading.final_response().expect("finished");
        assert_eq!(response.text(), "first10");
        assert_eq!(response.value("connection"), Some("close"));
        streaming.read_until(b"0\r\n\r\n");
        assert_eq!(streaming.read_to_close(), (Vec::new(), Ending::Fin));
        assert!(drain.join().expect("no panic"), "all done in time");
    });
}

#[test]
fn a_drain_has_a_deadline() {
    let backend = Backend::start(|conversation| {
        conversation.request();
        conversation.stall();
    });
    let proxy = Proxy::start(&PlanBuilder::to(&[backend.address()]).build());
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(backend.wait_for_bytes(1));
    assert!(!proxy.server().drain(Duration::from_millis(200)), "one was not done");
}

#[test]
fn a_request_that_was_on_its_way_is_served() {
    // Sent before the drain began: it gets an answer, and is told that it is the last.
    let backend = Backend::answering(OK);
    let proxy = Proxy::start(&PlanBuilder::to(&[backend.address()]).build());
    for _ in 0..20 {
        let proxy = Proxy::start(&PlanBuilder::to(&[backend.address()]).build());
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(proxy.server().drain(Duration::from_secs(5)));
        assert_eq!(client.final_response().expect("served").status(), 200);
    }
    assert_eq!(proxy.connect().ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").status(), 200);
}
