//! Hostile and broken backends: what they say reaches a client as a legal response or not at all
//! (RFC 9112 4 to 7, RFC 9110 15).

use crate::arena::{Arena, BAD_RESPONSE, GOOD, RESET, RESPONSE_TIMEOUT, Refusal, Verdict, each};
use crate::arena::{ensure, is_refusal};
use evenkeel_testkit::backend::{Backend, Gate, Mark, OK};
use evenkeel_testkit::client::NoResponse;
use evenkeel_testkit::wire::Ending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What the backend does after its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Stays,
    Closes,
    Breaks,
}

/// An arena whose backend says to `/evil` whatever the case at hand wants.
struct Evil {
    arena: Arena,
    says: Arc<Mutex<(Vec<u8>, Then)>>,
}

impl Evil {
    fn new() -> Evil {
        let says = Arc::new(Mutex::new((Vec::new(), Then::Stays)));
        let own = Arc::clone(&says);
        let backend = Backend::start(move |conversation| {
            while let Some(request) = conversation.request() {
                if request.target() != "/evil" {
                    conversation.send(OK);
                    continue;
                }
                let (bytes, then) = own.lock().unwrap_or_else(PoisonError::into_inner).clone();
                conversation.send(&bytes);
                match then {
                    Then::Stays => {}
                    Then::Closes => return,
                    Then::Breaks => return conversation.reset(),
                }
            }
        });
        let arena = Arena::before(backend, |plan| {
            plan.pool(|pool| pool.timeouts.response_head = Duration::from_millis(300))
        });
        Evil { arena, says }
    }

    fn says(&self, bytes: &[u8], then: Then) {
        *self.says.lock().unwrap_or_else(PoisonError::into_inner) = (bytes.to_vec(), then);
    }

    /// The client gets a local reply, nothing of the backend's bytes, and the backend's connection
    /// is not used again.
    fn gives(&self, bytes: &[u8], then: Then, refusal: Refusal) -> Verdict {
        self.says(bytes, then);
        let mark = self.arena.backend.mark();
        let mut client = self.arena.connect();
        // Never repeated, so that requests and responses can be counted against each other.
        client.send("POST /evil HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        is_refusal(&self.arena.answer(&mut client)?, refusal)?;
        client.send(GOOD);
        let good = self.arena.answer(&mut client)?;
        ensure!(good.text() == "ok", "then {good:?}");
        self.evil_connection_is_retired(&mark)
    }

    /// The client sees that the response is not whole.
    fn is_cut(&self, request: &str, bytes: &[u8], then: Then) -> Verdict {
        self.says(bytes, then);
        let mark = self.arena.backend.mark();
        let mut client = self.arena.connect();
        client.send(request);
        let came = client.final_response();
        self.arena.count_answers(1);
        match came {
            Err(NoResponse::Cut(Ending::StillOpen, _) | NoResponse::Malformed(_)) => {
                return Err("neither whole nor cut".to_owned());
            }
            Err(NoResponse::Cut(..) | NoResponse::Nothing(_)) => {}
            Ok(response) if response.status() == 502 => {}
            Ok(response) => return Err(format!("a clean end: {response:?}")),
        }
        self.evil_connection_is_retired(&mark)
    }

    /// Nothing follows `/evil` on its connection.
    fn evil_connection_is_retired(&self, mark: &Mark) -> Verdict {
        self.arena.after(mark)?;
        let requests = self.arena.backend.requests();
        let last = requests.iter().rposition(|(_, request)| request.target() == "/evil");
        let last = last.ok_or("the backend never saw it")?;
        let connection = requests[last].0;
        let next = requests.get(last + 1).map(|(connection, _)| *connection);
        ensure!(next != Some(connection), "connection {connection} was used again");
        Ok(())
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\n";

#[test]
fn r2_r5_r6_responses_that_are_not_http() {
    let evil = Evil::new();
    let cases = [
        (
            "RFC 9112 6.3(5) R2 two lengths",
            format!("{HEAD}Content-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
        ),
        ("RFC 9110 8.6 R2 minus", format!("{HEAD}Content-Length: -1\r\n\r\nok")),
        ("RFC 9110 8.6 R2 plus", format!("{HEAD}Content-Length: +2\r\n\r\nok")),
        ("RFC 9110 8.6 R2 list", format!("{HEAD}Content-Length:  2, 3\r\n\r\nok")),
        ("RFC 9110 8.6 R2 empty", format!("{HEAD}Content-Length:\r\n\r\nok")),
        (
            "RFC 9110 8.6 R2 2^64 + 2",
            format!("{HEAD}Content-Length: 18446744073709551618\r\n\r\nok"),
        ),
        ("RFC 9112 6.1 R1 unknown coding", format!("{HEAD}Transfer-Encoding: gzip\r\n\r\nok")),
        (
            "RFC 9112 6.1 R1 chunked twice",
            format!("{HEAD}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("RFC 9110 5.5 R5 NUL", format!("{HEAD}A: b\0c\r\nContent-Length: 2\r\n\r\nok")),
        ("RFC 9110 5.5 R5 CR", format!("{HEAD}A: b\rC: d\r\nContent-Length: 2\r\n\r\nok")),
        ("RFC 9112 5.2 R5 folded", format!("{HEAD}A: b\r\n c\r\nContent-Length: 2\r\n\r\nok")),
        ("RFC 9112 5.1 R5 space before colon", format!("{HEAD}Content-Length : 2\r\n\r\nok")),
        ("RFC 9112 5 R5 no colon", format!("{HEAD}Foo\r\nContent-Length: 2\r\n\r\nok")),
        ("RFC 9110 5.1 R5 empty name", format!("{HEAD}: x\r\nContent-Length: 2\r\n\r\nok")),
        ("RFC 9112 2.2 R5 bare LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok".to_owned()),
        ("RFC 9112 2.3 R6 HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned()),
        ("RFC 9112 2.3 R6 http/1.1", "http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned()),
        ("RFC 9110 15 R6 99", "HTTP/1.1 99 x\r\nContent-Length: 2\r\n\r\nok".to_owned()),
        ("RFC 9110 15 R6 2000", "HTTP/1.1 2000 x\r\nContent-Length: 2\r\n\r\nok".to_owned()),
        ("RFC 9110 15 R6 600", "HTTP/1.1 600 x\r\nContent-Length: 2\r\n\r\nok".to_owned()),
        ("RFC 9110 15 R6 000", "HTTP/1.1 000 x\r\nContent-Length: 2\r\n\r\nok".to_owned()),
        ("RFC 9112 4 R6 no code", "HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nok".to_owned()),
        ("RFC 9112 4 R6 SSH", "SSH-2.0-OpenSSH_9.2\r\n".to_owned()),
        ("RFC 9112 4 R6 bytes of TLS", "\x15\x03\x01\0\x02\x02\x50".to_owned()),
        ("RFC 9112 4 R6 HTML", "<html>hello</html>\r\n\r\n".to_owned()),
        ("RFC 9112 4 leading empty line", format!("\r\n{HEAD}Content-Length: 2\r\n\r\nok")),
        (
            "RFC 9110 5.5 NUL in the reason",
            "HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok".to_owned(),
        ),
        ("RFC 9110 5.4 R10 100 KiB", format!("{HEAD}A: {}\r\n\r\n", "b".repeat(100 * 1024))),
        ("RFC 9110 5.4 R10 10,000 fields", format!("{HEAD}{}\r\n", "A: b\r\n".repeat(10_000))),
    ];
    each(cases, |bytes| evil.gives(bytes.as_bytes(), Then::Stays, BAD_RESPONSE));
}

#[test]
fn r1_length_and_coding_together() {
    // RFC 9112 6.3(3): the coding wins, the length goes, and so does the connection.
    let evil = Evil::new();
    for fields in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
    ] {
        evil.says(format!("{HEAD}{fields}\r\n\r\n2\r\nok\r\n0\r\n\r\n").as_bytes(), Then::Stays);
        let mark = evil.arena.backend.mark();
        let mut client = evil.arena.connect();
        client.send("GET /evil HTTP/1.1\r\nHost: x\r\n\r\n");
        let response = evil.arena.answer(&mut client).expect("200");
        assert_eq!((response.status(), response.text().as_str()), (200, "ok"));
        assert_eq!(response.values("content-length").len(), 0);
        evil.evil_connection_is_retired(&mark).expect("retired");
    }
}

#[test]
fn r3_bytes_after_the_body_reach_nobody() {
    // RFC 9112 9.3 and 11.1: a second response waits for a victim; its connection is thrown away.
    let second = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nEVIL!";
    let evil = Evil::new();
    let cases = [
        ("RFC 9112 6.3(6) length", format!("{HEAD}Content-Length: 2\r\n\r\nok{second}")),
        (
            "RFC 9112 7.1 chunked",
            format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{second}"),
        ),
        ("RFC 9112 6.3 one byte", format!("{HEAD}Content-Length: 2\r\n\r\nok\n")),
    ];
    each(cases, |bytes| {
        evil.says(bytes.as_bytes(), Then::Stays);
        let mark = evil.arena.backend.mark();
        let mut client = evil.arena.connect();
        client.send("GET /evil HTTP/1.1\r\nHost: x\r\n\r\n");
        let response = evil.arena.answer(&mut client)?;
        ensure!(response.text() == "ok", "got {response:?}");
        for _ in 0..3 {
            client.send(GOOD);
            let victim = evil.arena.answer(&mut client)?;
            ensure!(victim.text() == "ok", "the victim got {victim:?}");
        }
        evil.evil_connection_is_retired(&mark)
    });
}

#[test]
fn r4_responses_that_have_no_body() {
    // RFC 9112 6.3(1): 204, 304 and the answer to HEAD end with their head, whatever they announce;
    // bytes that come all the same are no body, and their connection is not used again.
    let evil = Evil::new();
    let with_length = "Content-Length: 4\r\n\r\nEVIL";
    let with_chunks = "Transfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n";
    let cases = [
        ("RFC 9110 15.3.5 204", ("GET", "204 No Content", with_length)),
        ("RFC 9110 15.3.5 204 chunked", ("GET", "204 No Content", with_chunks)),
        ("RFC 9110 15.4.5 304", ("GET", "304 Not Modified", with_length)),
        ("RFC 9110 15.4.5 304 chunked", ("GET", "304 Not Modified", with_chunks)),
        ("RFC 9110 9.3.2 HEAD", ("HEAD", "200 OK", with_length)),
        ("RFC 9110 9.3.2 HEAD chunked", ("HEAD", "200 OK", with_chunks)),
    ];
    each(cases, |(method, status, rest)| {
        evil.says(format!("HTTP/1.1 {status}\r\n{rest}").as_bytes(), Then::Stays);
        let mark = evil.arena.backend.mark();
        let mut client = evil.arena.connect();
        client.send(format!("{method} /evil HTTP/1.1\r\nHost: x\r\n\r\n{GOOD}"));
        let response = client.response_to_head().map_err(|none| format!("{none:?}"))?;
        evil.arena.count_answers(1);
        ensure!(response.start_line.ends_with(status), "got {}", response.start_line);
        let next = evil.arena.answer(&mut client)?;
        ensure!(next.text() == "ok", "then {next:?}");
        evil.evil_connection_is_retired(&mark)
    });
}

#[test]
fn r7_interim_responses_are_few() {
    // RFC 9110 15.2: 11 are too many, 500 are an attack.
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    let evil = Evil::new();
    let cases = [("RFC 9110 15.2 11", 11), ("RFC 9110 15.2 500", 500)];
    each(cases, |count| {
        let bytes = format!("{}{HEAD}Content-Length: 2\r\n\r\nok", interim.repeat(*count));
        evil.gives(bytes.as_bytes(), Then::Stays, BAD_RESPONSE)
    });
}

#[test]
fn r9_r13_a_cut_response_never_ends_cleanly() {
    // RFC 9112 8: the client must be able to tell. R13: RFC 9112 7.1.
    let evil = Evil::new();
    let chunked = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n");
    let length = format!("{HEAD}Content-Length: 100\r\n\r\nsome");
    let bodies = [
        ("R9 length, close", (length.clone(), Then::Closes)),
        ("R9 length, reset", (length.clone(), Then::Breaks)),
        ("R9 length, no body byte", (format!("{HEAD}Content-Length: 100\r\n\r\n"), Then::Closes)),
        ("R9 chunked, no last chunk", (format!("{chunked}4\r\nsome\r\n"), Then::Closes)),
        ("R9 chunked, within a chunk", (format!("{chunked}9\r\nsome"), Then::Closes)),
        ("R9 chunked, within a size", (format!("{chunked}4\r\nsome\r\n1"), Then::Closes)),
        (
            "R9 chunked, before the last CRLF",
            (format!("{chunked}4\r\nsome\r\n0\r\n"), Then::Closes),
        ),
        ("R9 chunked, reset", (format!("{chunked}4\r\nsome\r\n"), Then::Breaks)),
        ("R9 until close, reset", (format!("{HEAD}\r\nsome"), Then::Breaks)),
        ("R13 overflow", (format!("{chunked}ffffffffffffffff1\r\nsome"), Then::Stays)),
        ("R13 no hex", (format!("{chunked}4\r\nsome\r\nxyz\r\nsome\r\n0\r\n\r\n"), Then::Stays)),
        ("R13 minus", (format!("{chunked}-1\r\nsome\r\n0\r\n\r\n"), Then::Stays)),
        ("R13 no CRLF", (format!("{chunked}4\r\nsomeX0\r\n\r\n"), Then::Stays)),
        ("R13 bare LF", (format!("{chunked}4\nsome\n0\n\n"), Then::Stays)),
    ];
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let request = format!("GET /evil {version}\r\nHost: x\r\n\r\n");
        each(bodies.iter().map(|(name, case)| (*name, case)), |(bytes, then)| {
            evil.is_cut(&request, bytes.as_bytes(), *then).map_err(|why| format!("{version} {why}"))
        });
    }
}

#[test]
fn r9_no_response_at_all() {
    let evil = Evil::new();
    let cases = [
        ("RFC 9112 8 closes", ("", Then::Closes)),
        ("RFC 9112 8 breaks", ("", Then::Breaks)),
        ("RFC 9112 8 closes within the status line", ("HTTP/1.", Then::Closes)),
        ("RFC 9112 8 closes within a field", ("HTTP/1.1 200 OK\r\nContent-Le", Then::Closes)),
        ("RFC 9112 8 closes after an interim one", ("HTTP/1.1 100 Continue\r\n\r\n", Then::Closes)),
    ];
    each(cases, |(bytes, then)| evil.gives(bytes.as_bytes(), *then, RESET));
}

#[test]
fn r10_a_head_that_trickles_without_end() {
    // RFC 9110 15.6.5: the deadline is that of the whole head, not of a byte; also after an upload.
    let backend = Backend::start(|conversation| {
        while let Some(request) = conversation.request() {
            if request.target() != "/evil" {
                conversation.send(OK);
                continue;
            }
            conversation.send(HEAD.as_bytes());
            let never = Gate::default();
            while conversation.send(b"A: b\r\n") {
                never.wait_at_most(Duration::from_millis(20));
            }
        }
    });
    let arena = Arena::before(backend, |plan| {
        plan.pool(|pool| pool.timeouts.response_head = Duration::from_millis(300))
    });
    let cases = [
        ("RFC 9110 15.6.5 no body", ("GET", "Content-Length: 0\r\n", "")),
        ("RFC 9110 15.6.5 upload", ("POST", "Content-Length: 2\r\n", "ok")),
        (
            "RFC 9110 15.6.5 upload with 100",
            ("POST", "Content-Length: 2\r\nExpect: 100-continue\r\n", "ok"),
        ),
    ];
    each(cases, |(method, fields, body)| {
        let before = arena.backend.received().concat().len();
        let mut client = arena.connect();
        client.send(format!("{method} /evil HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        if fields.contains("100-continue") {
            client.read_until(b"100 Continue\r\n\r\n");
        } else {
            assert!(arena.backend.wait_for_bytes(before + 1), "the head is there");
        }
        client.send(body);
        is_refusal(&arena.answer(&mut client)?, RESPONSE_TIMEOUT)
    });
    arena.settles();
}

#[test]
fn r10_heads_that_are_large_but_legal() {
    // RFC 9110 5.4: 60 KiB and 200 fields pass.
    let evil = Evil::new();
    let long = format!("{HEAD}A: {}\r\nContent-Length: 2\r\n\r\nok", "b".repeat(60 * 1024));
    let many = format!("{HEAD}{}Content-Length: 2\r\n\r\nok", "A: b\r\n".repeat(200));
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n".repeat(10);
    let ten = format!("{interim}{HEAD}Content-Length: 2\r\n\r\nok");
    for bytes in [long, many, ten] {
        evil.says(bytes.as_bytes(), Then::Stays);
        let mut client = evil.arena.connect();
        client.send("GET /evil HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(evil.arena.answer(&mut client).expect("200").text(), "ok");
    }
    evil.arena.settles();
    assert_eq!(evil.arena.backend.connections(), 1);
}

#[test]
fn r11_fields_that_connection_names_end_here() {
    // RFC 9110 7.6.1.
    let evil = Evil::new();
    evil.says(
        b"HTTP/1.1 200 OK\r\nConnection: X-Secret, x-other\r\nX-Secret: 1\r\nX-OTHER: 2\r\n\
        Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Kept: 3\r\n\
        Date: now\r\nContent-Length: 2\r\n\r\nok",
        Then::Stays,
    );
    let mut client = evil.arena.connect();
    client.send("GET /evil HTTP/1.1\r\nHost: x\r\n\r\n");
    let response = evil.arena.answer(&mut client).expect("200");
    assert_eq!(
        response.shape(),
        ["HTTP/1.1 200 OK", "content-length: 2", "date: now", "x-kept: 3"]
    );
    evil.arena.settles();
}

#[test]
fn r14_a_path_cannot_split_a_head() {
    // RFC 9112 11.1: encoded line ends stay encoded.
    let arena = Arena::new();
    let mut client = arena.connect();
    client.send("GET /a%0d%0aX:%20y?b%0d%0aZ:%20z HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(arena.answer(&mut client).expect("an answer").status(), 200);
    assert_eq!(arena.backend.targets(), ["/a%0d%0aX:%20y?b%0d%0aZ:%20z"]);
    arena.settles();
}

#[test]
fn h13_a_backend_does_not_steer_the_proxy() {
    let evil = Evil::new();
    evil.says(
        b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /secret\r\nX-Sendfile: /etc/passwd\r\n\
        X-Accel-Limit-Rate: 1\r\nContent-Length: 2\r\n\r\nok",
        Then::Stays,
    );
    let mut client = evil.arena.connect();
    client.send("GET /evil HTTP/1.1\r\nHost: x\r\n\r\n");
    let response = evil.arena.answer(&mut client).expect("200");
    assert_eq!(response.text(), "ok");
    assert_eq!(response.value("x-accel-redirect"), Some("/secret"));
    assert_eq!(evil.arena.backend.targets(), ["/evil"]);
    evil.arena.settles();
}

#[test]
fn what_went_wrong_counts_whatever_its_status_says() {
    let long = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\ncut";
    let cases = [("fine", OK.to_vec(), 0), ("cut short", long.into(), 1)];
    for (what, answer, failed) in cases {
        let backend = Backend::start(move |conversation| {
            if conversation.request().is_some() {
                conversation.send(&answer);
            }
        });
        let arena = Arena::before(backend, |plan| plan);
        let mut client = arena.connect();
        client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let (bytes, _) = client.read_to_close();
        assert!(bytes.starts_with(b"HTTP/1.1 200 "), "{what}");
        arena.proxy.wait_for_records(1);
        let totals = arena.proxy.server().state().stats().read().merged(|_| true);
        assert_eq!((totals.exchanges(), totals.failed), (1, failed), "{what}");
    }
}
