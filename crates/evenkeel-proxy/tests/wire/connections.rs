//! Connections over several exchanges: kept where both sides allow it, ended where one does not
//! (RFC 9112 9), in all mixtures of HTTP/1.0 and 1.1.

use crate::arena::{Arena, GOOD, METHOD_REFUSED, each};
use evenkeel_testkit::backend::{Backend, Gate, OK, ok_with};
use evenkeel_testkit::wire::Ending;
use std::time::Duration;

#[test]
fn one_connection_on_either_side_carries_many() {
    let arena = Arena::new();
    let mut client = arena.connect();
    for _ in 0..50 {
        client.send(GOOD);
        assert_eq!(arena.answer(&mut client).expect("200").status(), 200);
    }
    assert_eq!(arena.backend.connections(), 1);
    let records = arena.proxy.wait_for_records(50);
    assert!(records.iter().all(|record| record["status"] == 200 && record["tries"] == 1));
    arena.settles();
}

#[test]
fn what_a_client_says_after_its_last_request_costs_it_no_answer() {
    // RFC 9112 2.2 and 9.6: some end a body with an empty line, and closing over it is a reset.
    let (gate, body) = (Gate::default(), "x".repeat(200_000));
    let (held, answer) = (gate.clone(), ok_with(&body));
    let backend = Backend::start(move |conversation| {
        conversation.request();
        held.wait();
        conversation.send(&answer);
    });
    let arena = Arena::before(backend, |plan| plan);
    let mut client = arena.connect();
    let asked = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
    client.send(asked);
    assert!(arena.backend.wait_for_connections(1));
    client.send("\r\n");
    gate.open();
    arena.proxy.wait_for_records(1);
    let (told, ending) = client.read_to_close();
    assert_eq!((told.ends_with(body.as_bytes()), ending), (true, Ending::Fin), "{}", told.len());
}

#[test]
fn two_workers_serve_alike() {
    let arena = Arena::with(|plan| plan.plan(|plan| plan.workers = 2));
    for _ in 0..40 {
        arena.settles();
    }
    assert!(arena.backend.connections() <= 2, "one idle connection per worker");
}

#[test]
fn bodiless_responses_keep_the_connection() {
    // RFC 9112 6.3(1).
    let backend = Backend::by_request(|request| match request.target() {
        "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "/304" => {
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: \"a\"\r\n\r\n".to_vec()
        }
        "/head" => b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec(),
        "/head-chunked" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
        _ => OK.to_vec(),
    });
    let arena = Arena::before(backend, |plan| plan);
    let mut client = arena.connect();
    let cases = [
        ("RFC 9110 15.3.5 204", ("GET /204", None)),
        ("RFC 9110 15.4.5 304", ("GET /304", Some("1000"))),
        ("RFC 9110 9.3.2 HEAD", ("HEAD /head", Some("1000"))),
        ("RFC 9110 9.3.2 HEAD, chunked", ("HEAD /head-chunked", None)),
    ];
    for (name, (start, length)) in cases {
        client.send(format!("{start} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let response = client.response_to_head().expect(name);
        arena.count_answers(1);
        assert_eq!(response.value("content-length"), length, "{name}");
        client.send(GOOD);
        assert_eq!(arena.answer(&mut client).expect(name).text(), "ok", "{name}");
    }
    assert_eq!(arena.backend.connections(), 1);
    arena.settles();
}

#[test]
fn http10_clients() {
    // RFC 9112 9.3: without keep-alive the connection ends; with it, it stays, and we say so.
    let arena = Arena::new();
    let cases = [
        ("RFC 9112 9.3 plain", ("", Some("close"))),
        ("RFC 9112 9.3 keep-alive", ("Connection: Keep-Alive\r\n", Some("keep-alive"))),
        ("RFC 9112 9.3 close", ("Connection: close\r\n", Some("close"))),
    ];
    each(cases, |(fields, expected)| {
        let mut client = arena.connect();
        client.send(format!("GET / HTTP/1.0\r\nHost: x\r\n{fields}\r\n"));
        let response = arena.answer(&mut client)?;
        assert_eq!((response.text().as_str(), response.value("connection")), ("ok", *expected));
        if *expected == Some("close") {
            assert_eq!(client.read_to_close(), (Vec::new(), Ending::Fin));
        } else {
            client.send(GOOD);
            assert_eq!(arena.answer(&mut client)?.status(), 200);
        }
        Ok(())
    });
    let mut client = arena.connect();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(arena.answer(&mut client).expect("no Host in 1.0").status(), 200);
    let (_, request) = arena.backend.requests().pop().expect("seen");
    assert_eq!(request.value("host"), Some(arena.backend.address()), "RFC 9112 3.2: always one");
    arena.settles();
}

#[test]
fn a_chunked_response_for_an_http10_client() {
    // RFC 9112 6.1: it gets the bare body, up to the end of the connection.
    let backend = Backend::answering(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    let arena = Arena::before(backend, |plan| plan);
    let mut client = arena.connect();
    client.send("GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n");
    let response = arena.answer(&mut client).expect("200");
    assert_eq!((response.text().as_str(), response.chunked), ("ok", false));
    assert_eq!(response.value("connection"), Some("close"));
    arena.settles();
}

#[test]
fn http10_backends() {
    // RFC 9112 6.3(8) and 9.3.
    let answers: [(&str, (&[u8], bool)); 4] = [
        ("RFC 9112 9.3 length", (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false)),
        (
            "RFC 9112 9.3 keep-alive",
            (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", true),
        ),
        ("RFC 9112 6.3(8) until close", (b"HTTP/1.0 200 OK\r\n\r\nok", false)),
        ("RFC 9112 6.3(8) until close in 1.1", (b"HTTP/1.1 200 OK\r\n\r\nok", false)),
    ];
    each(answers, |(answer, stays)| {
        let (answer, stays) = (*answer, *stays);
        let backend = Backend::start(move |conversation| {
            while conversation.request().is_some() && conversation.send(answer) && stays {}
        });
        let arena = Arena::before(backend, |plan| plan);
        let mut client = arena.connect();
        for _ in 0..2 {
            client.send(GOOD);
            let response = arena.answer(&mut client)?;
            assert_eq!((response.status(), response.text().as_str()), (200, "ok"));
        }
        assert_eq!(arena.backend.connections(), if stays { 1 } else { 2 });
        arena.settles();
        Ok(())
    });
}

#[test]
fn a_backend_that_says_close_is_believed() {
    // RFC 9112 9.6: also if it does not close; the client's connection is not concerned.
    let backend =
        Backend::answering(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    let arena = Arena::before(backend, |plan| plan);
    let mut client = arena.connect();
    for _ in 0..3 {
        client.send(GOOD);
        assert_eq!(arena.answer(&mut client).expect("200").values("connection").len(), 0);
    }
    assert_eq!(arena.backend.connections(), 3);
    arena.settles();
}

#[test]
fn early_hints_are_passed_on() {
    // RFC 8297 and RFC 9110 15.2: to 1.1 clients only.
    let backend = Backend::by_request(|_| {
        let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\
            Connection: X-Hop\r\nX-Hop: 1\r\n\r\n";
        [hints, OK].concat()
    });
    let arena = Arena::before(backend, |plan| plan);
    let mut client = arena.connect();
    client.send(GOOD);
    let hints = client.response().expect("103");
    assert_eq!(hints.shape(), ["HTTP/1.1 103 Early Hints", "link: </a.css>; rel=preload"]);
    assert_eq!(arena.answer(&mut client).expect("200").text(), "ok");
    let mut client = arena.connect();
    client.send(GOOD.replace("1.1", "1.0"));
    assert_eq!(client.response().expect("200 at once").status(), 200);
    arena.count_answers(1);
    arena.settles();
}

#[test]
fn h8_h11_connect_and_trace_are_refused() {
    // RFC 9110 9.3.6 and 9.3.8: a reverse proxy opens no tunnels and echoes no cookies.
    let arena = Arena::new();
    let cases = [
        ("RFC 9110 9.3.6", "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n"),
        ("RFC 9110 9.3.6 no port", "CONNECT x HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("RFC 9110 9.3.6 origin form", "CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n"),
        (
            "RFC 9110 9.3.6 with a body",
            "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "RFC 9110 9.3.6 bytes ahead",
            "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\nGET /smug HTTP/1.1\r\nHost: x\r\n\r\n",
        ),
        ("RFC 9110 9.3.8 TRACE", "TRACE / HTTP/1.1\r\nHost: x\r\nCookie: secret\r\n\r\n"),
        ("RFC 9110 7.6.2 Max-Forwards", "TRACE / HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n"),
    ];
    each(cases, |bytes| {
        arena.refuses(bytes.as_bytes(), METHOD_REFUSED)?;
        let mut client = arena.connect();
        client.send(bytes);
        let response = arena.answer(&mut client)?;
        let allowed = response.value("allow").unwrap_or("");
        assert!(allowed.contains("GET") && !allowed.contains("TRACE"), "{allowed}");
        assert!(!response.text().contains("secret"));
        Ok(())
    });
}

#[test]
fn an_idle_client_is_let_go() {
    let arena =
        Arena::with(|plan| plan.limits(|limits| limits.idle_timeout = Duration::from_millis(200)));
    let mut client = arena.connect();
    client.send(GOOD);
    assert_eq!(arena.answer(&mut client).expect("200").status(), 200);
    assert_eq!(client.read_to_close(), (Vec::new(), Ending::Fin), "without a word");
    arena.settles();
}

#[test]
fn unix_sockets_on_both_sides() {
    let directory = tempfile::tempdir().expect("a directory");
    let backend = Backend::start_unix(&directory.path().join("backend.sock"), |conversation| {
        while conversation.request().is_some() && conversation.send(OK) {}
    });
    let bind = format!("unix:{}", directory.path().join("front.sock").display());
    let arena = Arena::before(backend, |plan| {
        plan.plan(|plan| plan.listeners = vec![evenkeel_testkit::plan::listener(&bind)])
    });
    assert_eq!(arena.proxy.address(), bind);
    let mut client = arena.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n");
    assert_eq!(arena.answer(&mut client).expect("200").text(), "ok");
    let (_, request) = arena.backend.requests().remove(0);
    assert_eq!(request.values("x-forwarded-for").len(), 0, "nobody knows, nobody claims");
    arena.settles();
}
