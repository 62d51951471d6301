//! Bodies on their way: both framings, both directions, and what happens when one side is done
//! before the other (RFC 9112 6 to 9, RFC 9110 10.1.1).

use crate::arena::{Arena, BODY_TOO_LARGE, GOOD, each, is_refusal};
use evenkeel_testkit::backend::{Backend, Gate, OK, ok_with};
use evenkeel_testkit::client::{Client, NoResponse};
use evenkeel_testkit::wire::Ending;
use std::time::Duration;

/// Answers with the body of the request, chunked if it came so.
fn echoing() -> Backend {
    Backend::by_request(|request| {
        if !request.chunked {
            return [
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len())
                    .as_bytes(),
                &request.body,
            ]
            .concat();
        }
        let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for piece in request.body.chunks(1_000) {
            answer.extend(format!("{:X};ext=1\r\n", piece.len()).bytes());
            answer.extend(piece);
            answer.extend(b"\r\n");
        }
        answer.extend(b"0\r\n\r\n");
        answer
    })
}

fn pattern(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

#[test]
fn every_byte_arrives_both_ways() {
    // RFC 9112 6 and 7: bodies of any length, in any pieces.
    let arena = Arena::before(echoing(), |plan| plan);
    let mut client = arena.connect();
    for length in [0, 1, 4_095, 4_096, 65_536, 300_000, 2_000_000] {
        let body = pattern(length);
        client.send(format!("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"));
        client.send(&body);
        let response = arena.answer(&mut client).expect("an answer");
        assert!(response.body == body && !response.chunked, "{length}");
    }
    for (length, piece) in [(0, 1), (1, 1), (3_000, 1), (300_000, 4_096), (1_000_000, 100_000)] {
        let body = pattern(length);
        client.send("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in body.chunks(piece) {
            client.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
        }
        client.send("0\r\n\r\n");
        let response = arena.answer(&mut client).expect("an answer");
        assert!(response.body == body && response.chunked, "{length}");
    }
    assert_eq!(arena.backend.connections(), 1);
    arena.settles();
}

#[test]
fn a_response_in_slices_of_one_byte() {
    let backend = Backend::start(|conversation| {
        while let Some(request) = conversation.request() {
            let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n";
            match request.target() {
                "/chunked" => conversation.send_in_slices(chunked, 1),
                _ => conversation.send_in_slices(OK, 1),
            };
        }
    });
    let arena = Arena::before(backend, |plan| plan);
    let mut client = arena.connect();
    client.send("GET /chunked HTTP/1.1\r\nHost: x\r\n\r\n");
    let response = arena.answer(&mut client).expect("an answer");
    assert_eq!((response.text().as_str(), response.chunked), ("abcde", true));
    assert!(response.trailers.is_empty(), "RFC 9110 6.5.1: not asked for");
    arena.settles();
}

#[test]
fn trailers_pass_to_clients_that_ask() {
    // RFC 9110 6.5.1 and 10.1.4.
    let backend = Backend::answering(
        b"HTTP/1.1 200 OK\r\nTrailer: Grpc-Status\r\nTransfer-Encoding: chunked\r\n\r\n\
        2\r\nok\r\n0\r\nGrpc-Status: 0\r\n\r\n",
    );
    let arena = Arena::before(backend, |plan| plan);
    let cases = [
        ("RFC 9110 10.1.4 asked", ("TE: trailers\r\nConnection: TE\r\n", 1)),
        ("RFC 9110 10.1.4 not asked", ("", 0)),
    ];
    each(cases, |(fields, count)| {
        let mut client = arena.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        let response = arena.answer(&mut client)?;
        assert_eq!(response.text(), "ok");
        assert_eq!(response.trailers.len(), *count, "{:?}", response.trailers);
        assert_eq!(response.values("trailer").len(), *count);
        Ok(())
    });
    arena.settles();
}

#[test]
fn an_event_stream_is_passed_on_at_once() {
    let gate = Gate::default();
    let open = gate.clone();
    let backend = Backend::start(move |conversation| {
        while let Some(request) = conversation.request() {
            if request.target() == "/good" {
                conversation.send(OK);
                continue;
            }
            conversation
                .send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
            gate.wait();
            conversation.send(b"data: 2\n\n");
            return;
        }
    });
    let arena = Arena::before(backend, |plan| plan);
    let mut client = arena.connect();
    client.send("GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
    client.read_until(b"data: 1\n\n\r\n");
    open.open();
    client.read_until(b"data: 2\n\n\r\n");
    client.read_until(b"0\r\n\r\n");
    arena.count_answers(1);
    arena.settles();
}

#[test]
fn s25_100_continue_is_between_the_client_and_us() {
    // RFC 9110 10.1.1: we say 100, the backend never sees the expectation.
    let arena = Arena::before(echoing(), |plan| plan);
    for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let mut client = arena.connect();
        client.send(format!(
            "PUT / HTTP/1.1\r\nHost: x\r\n{framing}\r\nExpect: 100-continue\r\n\r\n"
        ));
        let interim = client.response().expect("100");
        assert_eq!((interim.status(), interim.fields.len()), (100, 0));
        let chunked = framing.contains("chunked");
        client.send(if chunked { "5\r\nhello\r\n0\r\n\r\n" } else { "hello" });
        assert_eq!(arena.answer(&mut client).expect("200").text(), "hello");
        client.send(GOOD);
        assert_eq!(arena.answer(&mut client).expect("200").status(), 200);
    }
    let requests = arena.backend.requests();
    assert!(requests.iter().all(|(_, request)| request.values("expect").is_empty()));
    arena.settles();
}

#[test]
fn s25_a_body_that_came_along_needs_no_100() {
    // RFC 9110 10.1.1.
    let arena = Arena::before(echoing(), |plan| plan);
    let mut client = arena.connect();
    let head = "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n";
    client.send(format!("{head}hello"));
    assert_eq!(client.response().expect("200").text(), "hello");
    arena.count_answers(1);
    // HTTP/1.0 knows no 100.
    let mut client = arena.connect();
    client.send(head.replace("HTTP/1.1", "HTTP/1.0"));
    assert!(client.stays_quiet(Duration::from_millis(50)));
    client.send("hello");
    assert_eq!(client.response().expect("200").text(), "hello");
    arena.count_answers(1);
    arena.settles();
}

#[test]
fn s25_a_backends_100_goes_no_further() {
    let backend = Backend::by_request(|_| [b"HTTP/1.1 100 Continue\r\n\r\n", OK].concat());
    let arena = Arena::before(backend, |plan| plan);
    let mut client = arena.connect();
    client.send(GOOD);
    assert_eq!(client.response().expect("200").status(), 200);
    arena.count_answers(1);
    arena.settles();
}

/// Answers as soon as it has a head, and reads no body.
fn answering_early(answer: &'static [u8]) -> Backend {
    Backend::start(move |conversation| {
        while conversation.head() {
            if !conversation.send(answer) {
                return;
            }
        }
    })
}

#[test]
fn s8_s25_an_early_answer_ends_both_connections() {
    // RFC 9112 9.3 and 9.6: the rest of the body could be read as the next request.
    let cases: [(&str, (&str, &[u8])); 3] = [
        ("length", ("Content-Length: 1048576\r\n", OK)),
        ("chunked", ("Transfer-Encoding: chunked\r\n", OK)),
        (
            "417 instead of 100",
            (
                "Content-Length: 1048576\r\nExpect: 100-continue\r\n",
                b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n",
            ),
        ),
    ];
    for (name, (fields, answer)) in cases {
        let arena = Arena::before(answering_early(answer), |plan| plan);
        let mut client = arena.connect();
        client.send(format!("POST /early HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        let response = arena.answer(&mut client).expect("an early answer");
        assert_eq!(response.value("connection"), Some("close"), "{name}");
        let _ = client.try_send(b"GET /smug HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.read_to_close(), (Vec::new(), Ending::Fin), "{name}");
        let mut victim = arena.connect();
        victim.send(GOOD);
        arena.answer(&mut victim).expect("an answer");
        assert_eq!(arena.backend.connections(), 2, "{name}: a connection of its own");
        let own = arena.backend.received().remove(1);
        assert!(own.starts_with(b"GET /good "), "{name}");
    }
}

#[test]
fn an_early_413_reaches_a_client_that_keeps_sending() {
    // RFC 9112 9.6: the answer must not be lost to a reset.
    let early =
        b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig";
    let backend = Backend::start(move |conversation| {
        if conversation.head() {
            conversation.send(early);
            conversation.half_close();
            conversation.read_to_end();
        }
    });
    let arena = Arena::before(backend, |plan| plan);
    let mut client = arena.connect();
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n");
    for _ in 0..20 {
        if client.try_send(vec![b'x'; 5_000]).is_err() {
            break;
        }
    }
    let response = arena.answer(&mut client).expect("413");
    assert_eq!((response.status(), response.text().as_str()), (413, "big"));
}

#[test]
fn bodies_over_the_limit() {
    let arena = Arena::with(|plan| plan.limits(|limits| limits.max_request_body_bytes = 10));
    let eleven = "Content-Length: 11\r\n\r\nhello world";
    let chunks = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    let waits = "Content-Length: 11\r\nExpect: 100-continue\r\n\r\n";
    each([("RFC 9110 15.5.14 chunked", chunks)], |rest| {
        arena.aborts(format!("POST / HTTP/1.1\r\nHost: x\r\n{rest}").as_bytes(), BODY_TOO_LARGE)
    });
    // A backend of its own: the other one may still be reading what was broken off.
    let calm = Arena::with(|plan| plan.limits(|limits| limits.max_request_body_bytes = 10));
    each([("RFC 9110 10.1.1 before 100", waits)], |rest| {
        calm.refuses(format!("POST / HTTP/1.1\r\nHost: x\r\n{rest}").as_bytes(), BODY_TOO_LARGE)
    });
    let mark = arena.backend.mark();
    let mut client = arena.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{eleven}{GOOD}"));
    let refused = arena.answer(&mut client).expect("413");
    is_refusal(&refused, BODY_TOO_LARGE).expect("413");
    assert_eq!(arena.answer(&mut client).expect("drained: 200").status(), 200);
    assert!(arena.after(&mark).expect("settles").is_empty());
    let mut client = arena.connect();
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello worl");
    assert_eq!(arena.answer(&mut client).expect("200").status(), 200);
    arena.settles();
}

#[test]
fn s28_a_cut_request_body_cuts_the_request() {
    // RFC 9112 8: the backend must be able to tell that it has not got everything.
    let arena = Arena::new();
    let some = "x".repeat(50);
    let cases = [
        ("RFC 9112 8 length, FIN", (format!("Content-Length: 100\r\n\r\n{some}"), false)),
        ("RFC 9112 8 length, RST", (format!("Content-Length: 100\r\n\r\n{some}"), true)),
        ("RFC 9112 8 no body byte, FIN", ("Content-Length: 100\r\n\r\n".to_owned(), false)),
        (
            "RFC 9112 8 chunked, FIN",
            (format!("Transfer-Encoding: chunked\r\n\r\n32\r\n{some}\r\n"), false),
        ),
        (
            "RFC 9112 8 chunked, RST",
            (format!("Transfer-Encoding: chunked\r\n\r\n32\r\n{some}\r\n"), true),
        ),
    ];
    each(cases, |(rest, reset)| {
        let mark = arena.backend.mark();
        let connections = arena.backend.connections();
        let mut client = arena.connect();
        client.send(format!("POST /cut HTTP/1.1\r\nHost: x\r\n{rest}"));
        assert!(arena.backend.wait_for_connections(connections.max(1)));
        if *reset {
            client.reset();
        } else {
            let (answer, _) = client.half_close().read_to_close();
            assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", answer.escape_ascii());
        }
        assert!(arena.proxy.wait_for_no_clients());
        for bytes in arena.after(&mark)? {
            let whole = evenkeel_testkit::backend::whole_requests(&bytes);
            assert!(whole.is_empty(), "{whole:?}");
            assert!(!bytes.ends_with(b"\r\n0\r\n\r\n"), "{}", bytes.escape_ascii());
        }
        Ok(())
    });
    let records = arena.proxy.wait_for_records(10);
    let cut: Vec<_> = records.iter().filter(|record| record["path"] == "/cut").collect();
    assert_eq!(cut.len(), 5);
    assert!(cut.iter().all(|record| record["failure"] == "client_gone"), "{cut:?}");
}

#[test]
fn a_client_that_leaves_ends_the_backends_work() {
    let backend = Backend::start(|conversation| {
        while let Some(request) = conversation.request() {
            if request.target() != "/slow" {
                conversation.send(OK);
                continue;
            }
            conversation.read_to_end();
            return;
        }
    });
    let arena = Arena::before(backend, |plan| plan);
    // One that closes in order may have closed half, and is waited for a moment.
    let leaves: [fn(Client); 2] = [Client::reset, drop];
    for (index, leave) in leaves.into_iter().enumerate() {
        let mut client = arena.connect();
        client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(arena.backend.wait_for_connections(index + 1));
        leave(client);
        assert!(arena.backend.wait_for_end(index), "nobody waits for this answer");
        let record = &arena.proxy.wait_for_records(index + 1)[index];
        assert_eq!(record["failure"], "client_gone", "{record}");
    }
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    // RFC 9112 9.6: an end of the requests is not an end of the interest in answers.
    let arena = Arena::before(Backend::by_request(|request| ok_with(&request.text())), |plan| plan);
    for (head, body) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n", "ok"),
    ] {
        let mut client = arena.connect();
        client.send(format!("{head}{body}")).half_close();
        assert_eq!(arena.answer(&mut client).expect("an answer").text(), body);
        assert_eq!(client.read_to_close(), (Vec::new(), Ending::Fin));
    }
    arena.settles();
}

#[test]
fn a_client_that_reads_nothing_holds_the_backend() {
    // Back-pressure: 64 MiB do not fit into two kernels and our buffers.
    let backend = Backend::start(|conversation| {
        if conversation.request().is_none() {
            return;
        }
        conversation.bound_waits(Duration::from_millis(300));
        let all = vec![0; 64 * 1024 * 1024];
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", all.len());
        conversation.send(head.as_bytes());
        assert!(!conversation.send(&all), "64 MiB were read for a client that does not");
    });
    let arena = Arena::before(backend, |plan| plan);
    let mut client = arena.connect();
    client.send(GOOD);
    assert!(arena.backend.wait_for_end(0));
    let none = client.final_response();
    assert!(matches!(none, Err(NoResponse::Cut(..))), "a cut response, not a whole one");
}
