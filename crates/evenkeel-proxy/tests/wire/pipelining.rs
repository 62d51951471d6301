//! Requests sent ahead (RFC 9112 9.3.2): answered in order, read with bounds.

use crate::arena::{Arena, GOOD, gated};
use evenkeel_testkit::backend::{Backend, Gate, ok_with};
use evenkeel_testkit::message::Message;
use evenkeel_testkit::wire::Ending;

/// Echoes target and body.
fn echo(request: &Message) -> Vec<u8> {
    ok_with(&format!("{} {}", request.target(), request.text()))
}

#[test]
fn s27_a_hundred_in_order_with_a_post_in_the_middle() {
    let arena = Arena::before(Backend::by_request(echo), |plan| plan);
    let requests: Vec<_> = (0..100)
        .map(|n| match n {
            50 => "POST /50 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody".to_owned(),
            51 => "POST /51 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                   4\r\nmore\r\n0\r\n\r\n"
                .to_owned(),
            n => format!("GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n"),
        })
        .collect();
    for size in [usize::MAX, 7, 1] {
        let bytes = requests.concat();
        let mut client = arena.connect();
        client.send_in_slices(bytes.as_bytes(), size.min(bytes.len()));
        for n in 0..100 {
            let body = match n {
                50 => "body",
                51 => "more",
                _ => "",
            };
            let response = arena.answer(&mut client).expect("an answer");
            assert_eq!(response.text(), format!("/{n} {body}"));
        }
    }
    assert_eq!(arena.backend.requests().len(), 300);
    arena.settles();
}

#[test]
fn s27_a_thousand_behind_a_slow_one_are_not_read_ahead() {
    // RFC 9112 9.3.2: while one is answered, the others wait in the kernel, so a client that sends
    // without reading is held back.
    let gate = Gate::default();
    let arena = Arena::before(gated(&gate), |plan| plan);
    let mut client = arena.connect();
    client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    let ahead = GOOD.repeat(1_000);
    client.send(&ahead);
    assert!(arena.backend.wait_for_bytes(1));
    gate.open();
    for _ in 0..1_001 {
        assert_eq!(arena.answer(&mut client).expect("an answer").status(), 200);
    }
    assert_eq!(arena.backend.connections(), 1, "one after the other");
    arena.settles();
}

#[test]
fn s27_reading_ahead_is_bounded() {
    let gate = Gate::default();
    let arena = Arena::before(gated(&gate), |plan| plan);
    let mut client = arena.connect();
    client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(arena.backend.wait_for_bytes(1));
    // Far more than both kernels hold: were it read ahead, all of it would be taken.
    let flood = GOOD.repeat(32 * 1024 * 1024 / GOOD.len());
    client.bound_waits(std::time::Duration::from_millis(300));
    assert!(client.try_send(&flood).is_err(), "32 MiB of requests were read ahead");
    gate.open();
    client.reset();
    assert!(arena.proxy.wait_for_no_clients());
    let mark = arena.backend.mark();
    arena.count_answers(arena.backend.requests().len());
    arena.after(&mark).expect("settles");
}

#[test]
fn nothing_is_answered_after_a_refusal() {
    // RFC 9112 9.3.2 and 9.6: what follows a malformed request cannot be told apart from it.
    let arena = Arena::new();
    let mut client = arena.connect();
    client.send(format!("{GOOD}GET / HTTP/1.1\r\nBad Name: x\r\n\r\n{GOOD}"));
    assert_eq!(arena.answer(&mut client).expect("the first").status(), 200);
    let refused = arena.answer(&mut client).expect("the second");
    assert_eq!(refused.status(), 400);
    assert_eq!(client.read_to_close(), (Vec::new(), Ending::Fin));
    assert_eq!(arena.backend.requests().len(), 1);
    arena.settles();
}

#[test]
fn a_last_request_is_the_last() {
    // RFC 9112 9.6: nothing after `Connection: close` is processed.
    let arena = Arena::new();
    let mut client = arena.connect();
    let last = "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    client.send(format!("{GOOD}{last}{GOOD}"));
    assert_eq!(arena.answer(&mut client).expect("the first").values("connection").len(), 0);
    let last = arena.answer(&mut client).expect("the last");
    assert_eq!(last.value("connection"), Some("close"));
    assert_eq!(client.read_to_close(), (Vec::new(), Ending::Fin));
    assert_eq!(arena.backend.targets(), ["/good", "/last"]);
    arena.settles();
}
