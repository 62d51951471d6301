//! Changing protocols (RFC 9110 7.8, RFC 6455): a connection becomes a tunnel when the backend says
//! 101 to a client that asked, and not a byte earlier.

use crate::arena::{Arena, BAD_RESPONSE, each, ensure, forwarded, is_refusal};
use evenkeel_testkit::backend::{Backend, OK};
use evenkeel_testkit::frames::{DATA, END_STREAM, Outcome, RST_STREAM, frame};
use evenkeel_testkit::message::Message;
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use evenkeel_testkit::wire::Ending;
use std::time::Duration;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// Ends what a client sends: found nowhere before, so that to read it is to have read everything.
const LAST: &[u8] = b"\xff\xff the last bytes";
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A WebSocket as HTTP/2 asks for it (RFC 8441, 5).
pub(crate) const EXTENDED_CONNECT: [(&str, &str); 6] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":path", "/ws"),
    (":authority", "x"),
    ("sec-websocket-version", "13"),
];

/// What a server answers to this request (RFC 6455 4.2.2).
fn switch_for(request: &Message) -> Vec<u8> {
    let accept = derive_accept_key(request.value("sec-websocket-key").expect("a key").as_bytes());
    let accept = format!("Sec-WebSocket-Accept: {accept}\r\n\r\n");
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
        accept.as_bytes(),
    ]
    .concat()
}

/// Switches for `/ws` and then echoes bytes; answers 200 to everything else.
pub(crate) fn switching(first: &'static [u8]) -> Backend {
    Backend::start(move |conversation| {
        while let Some(request) = conversation.request() {
            if request.target() != "/ws" {
                conversation.send(OK);
                continue;
            }
            conversation.send(&[&switch_for(&request), first].concat());
            loop {
                let bytes = conversation.take_bytes();
                if bytes.is_empty() {
                    conversation.send(b"bye");
                    return;
                }
                if !conversation.send(&bytes) {
                    return;
                }
            }
        }
    })
}

#[test]
fn s9_bytes_before_a_101_are_http() {
    // RFC 9110 7.8: the backend stays with HTTP, so what follows is a request of its own,
    // routed and judged as such.
    let arena = Arena::with(|plan| {
        plan.plan(|plan| {
            let mut admin = plan.routes[0].clone();
            admin.name = "admin".into();
            admin.matches.path = evenkeel_core::plan::PathMatch::Prefix("/admin".to_owned());
            admin.deny = vec!["127.0.0.0/8".parse().expect("a network")];
            plan.routes.insert(0, admin);
        })
    });
    let mut client = arena.connect();
    client.send(
        "GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n\
         GET /admin HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    assert_eq!(arena.answer(&mut client).expect("the first").status(), 200);
    let second = arena.answer(&mut client).expect("the second");
    is_refusal(&second, crate::arena::DENIED).expect("403");
    assert_eq!(arena.backend.targets(), ["/a"]);
    arena.settles();
}

#[test]
fn s9_bytes_sent_ahead_wait_for_the_verdict() {
    // RFC 9110 7.8: while the backend has not decided, not a byte after the request goes to it.
    let backend = Backend::start(|conversation| {
        if conversation.request().is_some() {
            conversation.send(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n");
        }
        while conversation.request().is_some() && conversation.send(OK) {}
    });
    let arena = Arena::before(backend, |plan| plan);
    let mut client = arena.connect();
    client.send([ASK.as_bytes(), b"\x81\x85garbage, no request at all"].concat());
    assert_eq!(arena.answer(&mut client).expect("426").status(), 426);
    let refused = arena.answer(&mut client).ok().map(|response| response.status());
    assert!(matches!(refused, Some(400) | None), "{refused:?}");
    assert_eq!(arena.backend.targets(), ["/ws"]);
    arena.settles();
}

#[test]
fn s10_no_tunnel_without_101() {
    // RFC 6455 4.2: a handshake that failed leaves an HTTP connection.
    let backend = Backend::by_request(|request| match request.target() {
        "/ws" => b"HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\n\
            Content-Length: 0\r\n\r\n"
            .to_vec(),
        _ => OK.to_vec(),
    });
    let arena = Arena::before(backend, |plan| plan);
    let mut client = arena.connect();
    client.send(ASK.replace("Version: 13", "Version: 1"));
    assert_eq!(arena.answer(&mut client).expect("426").status(), 426);
    client.send("GET /second HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(arena.answer(&mut client).expect("200").status(), 200);
    let targets = arena.backend.targets();
    assert_eq!(targets, ["/ws", "/second"]);
    arena.settles();
}

#[test]
fn s10_r8_101_that_nobody_asked_for() {
    let backend = Backend::by_request(|request| match request.target() {
        "/ws" => [SWITCH, b"evil"].concat(),
        _ => OK.to_vec(),
    });
    let arena = Arena::before(backend, |plan| plan);
    let cases = [
        ("RFC 9110 15.2.2 no Upgrade", ""),
        ("RFC 9110 7.8 Upgrade without Connection", "Upgrade: websocket\r\n"),
        ("RFC 9110 7.8 Connection without Upgrade", "Connection: upgrade\r\n"),
        ("RFC 9113 3.1 S11 h2c", "Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        ("RFC 9110 7.8 another protocol", "Connection: Upgrade\r\nUpgrade: foo\r\n"),
    ];
    each(cases, |fields| {
        let mut client = arena.connect();
        client.send(format!("GET /ws HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        is_refusal(&arena.answer(&mut client)?, BAD_RESPONSE)?;
        let (rest, _) = client.read_to_close();
        ensure!(rest.is_empty(), "after the answer: {}", rest.escape_ascii());
        let mark = arena.backend.mark();
        arena.after(&mark).map(|_| ())
    });
}

#[test]
fn s11_questions_that_are_not_passed_on() {
    let arena = Arena::new();
    let body = "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0";
    let cases = [
        (
            "RFC 9113 3.1 h2c",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
            HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        ),
        (
            "RFC 9113 3.1 H2C",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: H2C\r\n\
            HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        ),
        ("RFC 9113 3.1 h2c in a list", "Connection: Upgrade\r\nUpgrade: websocket, h2c"),
        ("RFC 9110 7.8 not named by Connection", "Upgrade: websocket"),
        ("RFC 9110 7.8 empty", "Connection: Upgrade\r\nUpgrade:"),
    ];
    each(cases, |fields| {
        let bytes = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
        arena.forwards(bytes.as_bytes(), &forwarded("GET / HTTP/1.1", &[]), b"")
    });
    let two_lines = [(
        "RFC 9113 3.1 h2c in a second line",
        "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket",
    )];
    each(two_lines, |fields| {
        let bytes = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
        arena.forwards(bytes.as_bytes(), &forwarded("GET / HTTP/1.1", &[]), b"")
    });
    let others = ["POST", "PUT", "OPTIONS", "PATCH", "WEBSOCKET", "get"];
    each(others.map(|method| ("RFC 6455 4.1 GET alone", method)), |method| {
        let line = format!("{method} / HTTP/1.1");
        let length = if matches!(*method, "POST" | "PUT") { "Content-Length: 0\r\n" } else { "" };
        let bytes = format!(
            "{line}\r\nHost: x\r\n{length}Connection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"
        );
        let fields: &[&str] = if length.is_empty() { &[] } else { &["content-length: 0"] };
        arena.forwards(bytes.as_bytes(), &forwarded(&line, fields), b"")
    });
    let http10 = [("RFC 9110 7.8 HTTP/1.0", body)];
    each(http10, |fields| {
        let bytes = format!("GET / HTTP/1.0\r\nHost: x\r\n{fields}\r\n\r\n");
        let shape = forwarded("GET / HTTP/1.1", &["content-length: 0"]);
        arena.forwards(bytes.as_bytes(), &shape, b"")
    });
}

#[test]
fn nothing_is_upgraded_by_head() {
    // RFC 9110 9.3.2: nothing follows the answer, so a tunnel does not.
    let backend = Backend::answering(OK);
    let proxy = Proxy::start(&PlanBuilder::to(&[backend.address()]).build());
    let mut client = proxy.connect();
    for protocol in ["websocket", "other/1"] {
        client.send(format!(
            "HEAD /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        ));
        assert!(client.read_until(b"\r\n\r\n").starts_with(b"HTTP/1.1 200 "), "{protocol}");
        let (_, request) = backend.requests().pop().expect("a request");
        assert_eq!((request.value("upgrade"), request.value("connection")), (None, None));
    }
}

#[test]
fn h14_a_websocket_is_a_transparent_tunnel() {
    // RFC 6455 5: frames are bytes to us, masked or not, legal or not, in whatever pieces.
    let arena = Arena::before(switching(b"\x81\x05hello"), |plan| plan);
    let mut client = arena.connect();
    client.send(ASK);
    let switched = client.response().expect("101");
    assert_eq!(switched.status(), 101, "{}", switched.start_line);
    assert_eq!(switched.value("upgrade"), Some("websocket"));
    assert_eq!(switched.value("connection"), Some("Upgrade"));
    assert_eq!(switched.value("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    arena.count_answers(1);
    client.read_until(b"\x81\x05hello");
    let mut frames: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    frames.extend_from_slice(LAST);
    client.send_in_slices(b"\x81\x85\x01\x02\x03\x04masked", 1);
    client.read_until(b"masked");
    client.send(&frames);
    client.read_until(LAST);
    let (_, request) = &arena.backend.requests()[0];
    assert_eq!(request.value("connection"), Some("Upgrade"));
    assert_eq!(request.value("upgrade"), Some("websocket"));
    assert_eq!(request.value("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    let received = arena.backend.received().remove(0);
    assert!(received.ends_with(&frames), "byte for byte");
    client.half_close();
    let (rest, ending) = client.read_to_close();
    assert!(rest.ends_with(b"bye"), "the other half still works");
    assert_eq!(ending, Ending::Fin);
    assert!(arena.proxy.wait_for_no_clients());
    let record = &arena.proxy.wait_for_records(1)[0];
    assert_eq!(record["status"], 101, "{record}");
}

#[test]
fn h14_a_quiet_tunnel_ends_in_order_when_the_server_drains() {
    let arena = Arena::before(switching(b""), |plan| plan);
    let mut client = arena.connect();
    client.send(ASK);
    assert_eq!(client.response().expect("101").status(), 101);
    client.send("last words");
    client.read_until(b"last words");
    let server = arena.proxy.server();
    assert!(server.drain(Duration::from_secs(5)), "the tunnel does not hold the drain");
    assert_eq!(client.read_to_close(), (Vec::new(), Ending::Fin));
}

#[test]
fn h14_bytes_sent_with_the_question_reach_the_tunnel() {
    let arena = Arena::before(switching(b""), |plan| plan);
    let mut client = arena.connect();
    client.send(format!("{ASK}early"));
    assert_eq!(client.response().expect("101").status(), 101);
    client.read_until(b"early");
    client.send("later");
    client.read_until(b"later");
}

#[test]
fn h14_an_idle_tunnel_ends() {
    let arena = Arena::before(switching(b""), |plan| {
        plan.pool(|pool| pool.timeouts.idle = Duration::from_millis(200))
    });
    let mut client = arena.connect();
    client.send(ASK);
    assert_eq!(client.response().expect("101").status(), 101);
    let (_, ending) = client.read_to_close();
    assert_ne!(ending, Ending::StillOpen);
    assert!(arena.backend.wait_for_end(0));
    assert!(arena.proxy.wait_for_no_clients());
}

#[test]
fn h14_a_stalled_reader_holds_the_sender() {
    // No buffering: what the client does not read, the backend cannot send.
    let backend = Backend::start(|conversation| {
        conversation.request();
        conversation.send(SWITCH);
        conversation.bound_waits(Duration::from_millis(300));
        let all = vec![0; 32 * 1024 * 1024];
        let taken = conversation.send(&all);
        conversation.reset();
        assert!(!taken, "32 MiB were buffered for a client that does not read");
    });
    let arena = Arena::before(backend, |plan| plan);
    let mut client = arena.connect();
    client.send(ASK);
    assert_eq!(client.response().expect("101").status(), 101);
    assert!(arena.backend.wait_for_end(0), "the backend gave up sending");
}

#[test]
fn a_switch_that_answers_another_handshake_is_none() {
    // RFC 6455 4.1: over HTTP/2 the key is ours, and the client cannot find out.
    let arena = Arena::before(
        Backend::by_request(|request| match request.target() {
            "/ws" => SWITCH.to_vec(),
            _ => OK.to_vec(),
        }),
        |plan| plan,
    );
    let mut frames = arena.frames();
    frames.headers(1, 0, &EXTENDED_CONNECT);
    assert_eq!(frames.outcome(1), Outcome::Status(502));
    let record = &arena.proxy.wait_for_records(1)[0];
    assert_eq!(record["failure"], "bad_response", "{record}");
    // Over HTTP/1.1 it is the client's own, who finds out.
    let mut client = arena.connect();
    assert_eq!(client.send(ASK).response().expect("101").status(), 101);
}

#[test]
fn a_drain_closes_a_websocket_between_two_frames() {
    // RFC 6455 7.4.1: 1001, to both sides; what clients send is masked.
    let arena = Arena::before(switching(b""), |plan| plan);
    let mut client = arena.connect();
    client.send(ASK);
    assert_eq!(client.response().expect("101").status(), 101);
    client.send(b"\x81\x85\x01\x02\x03\x04masks");
    client.read_until(b"masks");
    assert!(arena.proxy.server().drain(Duration::from_secs(5)), "the tunnel does not hold it");
    assert_eq!(client.read_to_close(), (vec![0x88, 2, 0x03, 0xe9], Ending::Fin));
    let received = arena.backend.received().remove(0);
    let [.., 0x88, 0x82, a, b, _, _, high, low] = received[..] else {
        panic!("{}", received.escape_ascii())
    };
    assert_eq!([high ^ a, low ^ b], [0x03, 0xe9]);
}

#[test]
fn what_breaks_on_one_side_of_a_tunnel_breaks_on_the_other() {
    // A clean end would say that all has come.
    let backend = || {
        Backend::start(|conversation| {
            let request = conversation.request().expect("one");
            conversation.send(&[&switch_for(&request), &b"the first half"[..]].concat());
            conversation.receive();
            conversation.reset();
        })
    };
    let arena = Arena::before(backend(), |plan| plan);
    let mut client = arena.connect();
    client.send(ASK);
    assert_eq!(client.response().expect("101").status(), 101);
    client.read_until(b"the first half");
    client.send("x");
    assert_eq!(client.read_to_close(), (Vec::new(), Ending::Reset));
    assert!(arena.proxy.wait_for_no_clients());
    // The stream of an HTTP/2 connection is reset, and nothing else of it.
    let arena = Arena::before(backend(), |plan| plan);
    let mut frames = arena.frames();
    frames.headers(1, 0, &EXTENDED_CONNECT);
    assert_eq!(frames.outcome(1), Outcome::Status(200));
    frames.send(&frame(DATA, 0, 1, b"x"));
    let last = frames.find(|one| one.kind == RST_STREAM || one.flags & END_STREAM != 0);
    let last = last.expect("an end of the stream");
    assert_eq!((last.kind, last.stream), (RST_STREAM, 1), "{last:?}");
}

#[test]
fn a_tunnel_ends_with_its_routes_timeout() {
    let arena = Arena::before(switching(b""), |plan| {
        plan.route(|route| route.timeout = Duration::from_millis(300))
    });
    let mut client = arena.connect();
    client.send(ASK);
    assert_eq!(client.response().expect("101").status(), 101);
    let (_, ending) = client.read_to_close();
    assert_ne!(ending, Ending::StillOpen);
}
