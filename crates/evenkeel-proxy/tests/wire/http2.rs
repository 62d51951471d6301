//! HTTP/2 from clients: how a request must be spoken, and what a peer may ask for. Frame by frame.

use crate::arena::{Arena, Verdict, each, ensure};
use evenkeel_testkit::backend::Backend;
use evenkeel_testkit::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frames, GOAWAY, HEADERS,
    Outcome, PING, PREFACE, PRIORITY, PROTOCOL_ERROR, RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
    frame, get, request,
};
use std::time::Duration;

type Fields = Vec<(&'static str, &'static str)>;

impl Arena {
    pub(crate) fn frames(&self) -> Frames {
        Frames::connect(self.proxy.address())
    }

    /// A connection like any other: a good request gets its answer.
    fn serves_http2(&self) -> Verdict {
        let mut frames = self.frames();
        frames.headers(1, END_STREAM, &get(&[]));
        let outcome = frames.outcome(1);
        self.count_answers(1);
        ensure!(outcome == Outcome::Status(200), "a good request after: {outcome:?}");
        Ok(())
    }

    /// The stream is refused, the connection lives, and nothing reaches the backend.
    fn refuses_stream(&self, send: &dyn Fn(&mut Frames)) -> Verdict {
        let mark = self.backend.mark();
        let mut frames = self.frames();
        send(&mut frames);
        let outcome = frames.outcome(1);
        let refused = matches!(
            outcome,
            Outcome::Reset(PROTOCOL_ERROR)
                | Outcome::Status(400 | 405)
                | Outcome::GoAway(PROTOCOL_ERROR)
        );
        ensure!(refused, "came to {outcome:?}");
        let seen = self.after(&mark)?;
        let heard = seen.iter().any(|bytes| !whole(bytes).is_empty());
        ensure!(!heard, "the backend saw a request");
        if !matches!(outcome, Outcome::GoAway(_)) {
            frames.headers(3, END_STREAM, &get(&[]));
            let outcome = frames.outcome(3);
            self.count_answers(1);
            ensure!(matches!(outcome, Outcome::Status(_)), "the next stream: {outcome:?}");
        }
        Ok(())
    }
}

fn whole(bytes: &[u8]) -> Vec<evenkeel_testkit::message::Message> {
    evenkeel_testkit::backend::whole_requests(bytes)
}

#[test]
fn a_request_is_an_exchange_like_any_other() {
    let arena = Arena::new();
    let mut frames = arena.frames();
    for stream in [1, 3, 5] {
        frames.headers(stream, END_STREAM, &get(&[("x-a", "b")]));
        assert_ne!(frames.outcome(stream), Outcome::Closed);
        arena.count_answers(1);
    }
    let (_, request) = &arena.backend.requests()[0];
    assert_eq!(request.start_line, "GET /h2 HTTP/1.1");
    assert_eq!(request.value("host"), Some("x"));
    assert_eq!(request.value("x-a"), Some("b"));
    assert!(request.value("via").is_some_and(|via| via.starts_with("2.0 evenkeel-")));
    assert_eq!(request.value("x-forwarded-for"), Some("127.0.0.1"));
    let records = arena.proxy.wait_for_records(3);
    assert_eq!((&records[0]["status"], &records[0]["path"]), (&200.into(), &"/h2".into()));
}

#[test]
fn bytes_of_the_preface_may_trickle() {
    let arena = Arena::new();
    let mut frames = Frames::silent(arena.proxy.address());
    for byte in PREFACE {
        frames.send(&[*byte]);
        std::thread::yield_now();
    }
    frames.send(&frame(SETTINGS, 0, 0, &[]));
    frames.headers(1, END_STREAM, &get(&[]));
    assert_eq!(frames.outcome(1), Outcome::Status(200));
}

#[test]
fn bodies_and_their_lengths() {
    let arena = Arena::new();
    let mut frames = arena.frames();
    frames.headers(1, 0, &request("POST", &[("content-length", "6")]));
    frames.send(&frame(DATA, 0, 1, b"abc"));
    frames.send(&frame(DATA, END_STREAM, 1, b"def"));
    assert_eq!(frames.outcome(1), Outcome::Status(200));
    arena.count_answers(1);
    // Without a length it is chunked, or known because all of it had come.
    frames.headers(3, 0, &request("POST", &[]));
    frames.send(&frame(DATA, 0, 3, b"abc"));
    frames.send(&frame(DATA, END_STREAM, 3, b"def"));
    while frames.next().is_some_and(|frame| frame.stream != 3 || frame.kind != HEADERS) {}
    arena.count_answers(1);
    let bodies: Vec<_> = arena.backend.requests().iter().map(|(_, r)| r.text()).collect();
    assert_eq!(bodies, ["abcdef", "abcdef"]);
    arena.settles();
}

#[test]
fn d_requests_that_are_malformed() {
    let arena = Arena::new();
    let with = |more: &[(&'static str, &'static str)]| -> Fields { get(more) };
    let raw = |fields: &[(&'static str, &'static str)]| -> Fields { fields.to_vec() };
    let base = [(":method", "GET"), (":scheme", "http"), (":path", "/h2"), (":authority", "x")];
    let path = |path: &'static str| {
        raw(&[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "x")])
    };
    let cases: Vec<(&str, Fields)> = vec![
        ("D2 RFC 9113 8.1.1 length and END_STREAM", with(&[("content-length", "30")])),
        ("D3 RFC 9113 8.2.2", with(&[("transfer-encoding", "chunked")])),
        ("D4 RFC 9113 8.2.1 CRLF in a value", with(&[("x", "a\r\nb: c")])),
        ("D4 LF", with(&[("x", "a\nb")])),
        ("D4 NUL", with(&[("x", "a\0b")])),
        ("D4 CRLF in a name", with(&[("x\r\ny", "a")])),
        ("D4 CRLF in :path", path("/a\r\nb")),
        ("D4 CRLF in :method", raw(&[(":method", "GET\r\n"), base[1], base[2], base[3]])),
        ("D4 CRLF in :authority", raw(&[base[0], base[1], base[2], (":authority", "x\r\n")])),
        ("D5 RFC 9113 8.2.1 upper case", with(&[("X-A", "b")])),
        ("D5 space in a name", with(&[("x a", "b")])),
        ("D5 colon in a name", with(&[("x:a", "b")])),
        ("D6 RFC 9113 8.2.1 leading space", with(&[("x", " a")])),
        ("D6 trailing tab", with(&[("x", "a\t")])),
        ("D7 RFC 9113 8.3.1 empty :path", path("")),
        ("D7 no slash", path("a/b")),
        ("D7 asterisk", path("*")),
        ("D7 absolute", path("http://x/")),
        ("D7 a fragment", path("/#x")),
        ("D7 a fragment of a query", path("/a?b#c")),
        (
            "D8 RFC 9113 8.3.1 :scheme",
            raw(&[base[0], (":scheme", "http://evil/?"), base[2], base[3]]),
        ),
        ("D8 another :scheme", raw(&[base[0], (":scheme", "ftp"), base[2], base[3]])),
        ("D9 RFC 9113 8.3.1 host", with(&[("host", "y")])),
        ("D9 two hosts", raw(&[base[0], base[1], base[2], ("host", "x"), ("host", "x")])),
        ("D9 no host", raw(&base[..3])),
        ("D10 RFC 9113 8.2.2 connection", with(&[("connection", "close")])),
        ("D10 upgrade", with(&[("upgrade", "h2c")])),
        ("D10 keep-alive", with(&[("keep-alive", "1")])),
        ("D10 proxy-connection", with(&[("proxy-connection", "close")])),
        ("D10 te", with(&[("te", "gzip")])),
        ("D13 CONNECT", raw(&[(":method", "CONNECT"), (":authority", "x:1")])),
        ("RFC 9113 8.3 no :method", raw(&base[1..])),
        ("RFC 9113 8.3 no :scheme", raw(&[base[0], base[2], base[3]])),
        ("RFC 9113 8.3 no :path", raw(&[base[0], base[1], base[3]])),
        ("RFC 9113 8.3 two :path", raw(&[base[0], base[1], base[2], base[2], base[3]])),
        ("RFC 9113 8.3 after a field", raw(&[base[0], base[1], ("x", "a"), base[2], base[3]])),
        ("RFC 9113 8.3 unknown", raw(&[base[0], base[1], base[2], base[3], (":x", "a")])),
        (
            "RFC 9113 8.3 of a response",
            raw(&[base[0], base[1], base[2], base[3], (":status", "200")]),
        ),
        (
            "RFC 8441 4 :protocol without CONNECT",
            with(&[]).into_iter().chain([(":protocol", "websocket")]).collect(),
        ),
    ];
    each(cases, |fields| arena.refuses_stream(&|frames| frames.headers(1, END_STREAM, fields)));
}

#[test]
fn d1_d2_bodies_that_contradict_their_length() {
    let arena = Arena::new();
    let post = |length: &'static str| block(&request("POST", &[("content-length", length)]));
    let data = |flags, bytes: &[u8]| frame(DATA, flags, 1, bytes);
    let open = |length| frame(HEADERS, END_HEADERS, 1, &post(length));
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x", "a")]));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("D1 RFC 9113 8.1.1 zero", [open("0"), data(END_STREAM, b"abc")].concat()),
        ("D1 more than said", [open("2"), data(END_STREAM, b"abc")].concat()),
        ("D1 less than said", [open("4"), data(END_STREAM, b"abc")].concat()),
        ("D2 less, then trailers", [open("30"), data(0, b"abc"), trailers].concat()),
        ("D2 nothing", [open("30"), data(END_STREAM, b"")].concat()),
        ("RFC 9110 8.6", [open("3x"), data(END_STREAM, b"abc")].concat()),
    ];
    each(cases, |bytes| arena.refuses_stream(&|frames| frames.send(bytes)));
}

#[test]
fn d11_trailers_that_are_no_trailers() {
    let arena = Arena::new();
    let cases = [
        ("RFC 9113 8.1 pseudo", (":path", "/a")),
        ("RFC 9113 8.1 length", ("content-length", "3")),
        ("RFC 9113 8.2.2 coding", ("transfer-encoding", "chunked")),
        ("upper case", ("X-A", "b")),
    ];
    each(cases, |field| {
        arena.refuses_stream(&|frames| {
            frames.headers(1, 0, &request("POST", &[("te", "trailers")]));
            frames.send(&frame(DATA, 0, 1, b"abc"));
            frames.headers(1, END_STREAM, &[*field]);
        })
    });
}

#[test]
fn d12_crumbs_are_one_cookie_and_count() {
    let arena = Arena::new();
    let mut frames = arena.frames();
    frames.headers(1, END_STREAM, &get(&[("cookie", "a=1"), ("cookie", "b=2")]));
    assert_eq!(frames.outcome(1), Outcome::Status(200));
    arena.count_answers(1);
    assert_eq!(arena.backend.requests()[0].1.value("cookie"), Some("a=1; b=2"));
    let crumbs = vec![("cookie", "a=1"); 101];
    let mut frames = arena.frames();
    frames.headers(1, END_STREAM, &get(&crumbs));
    assert_eq!(frames.outcome(1), Outcome::Status(431));
    arena.settles();
}

#[test]
fn heads_over_their_bounds() {
    let arena = Arena::new();
    let long = "a".repeat(16_000);
    let mut frames = arena.frames();
    let fields = block(&get(&[("x", &long), ("y", &long), ("z", &long)]));
    let (first, rest) = fields.split_at(16_000);
    let (second, third) = rest.split_at(16_000);
    frames.send(&frame(HEADERS, END_STREAM, 1, first));
    frames.send(&frame(CONTINUATION, 0, 1, second));
    frames.send(&frame(CONTINUATION, END_HEADERS, 1, third));
    assert_eq!(frames.outcome(1), Outcome::Status(431));
    assert_eq!(arena.proxy.wait_for_records(1)[0]["failure"], "head_too_large");
    arena.settles();
}

/// What one connection may do to us, and that it then ends while others go on.
fn calms(arena: &Arena, what: &str, flood: &dyn Fn(&mut Frames)) {
    let mut frames = arena.frames();
    flood(&mut frames);
    let code = frames.farewell();
    // A connection that is closed while it floods may lose its GOAWAY to a reset.
    assert!(matches!(code, Some(ENHANCE_YOUR_CALM) | None), "{what}: {code:?}");
    arena.serves_http2().unwrap_or_else(|why| panic!("{what}: {why}"));
}

#[test]
fn f1_rapid_reset() {
    // CVE-2023-44487: most of it never reaches the backend.
    let arena = Arena::new();
    calms(&arena, "F1", &|frames| {
        let fields = block(&get(&[]));
        let pair = |stream: u32| {
            let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields);
            [open, frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())].concat()
        };
        let flood: Vec<u8> = (0..4000).flat_map(|count| pair(count * 2 + 1)).collect();
        frames.send(&flood);
    });
    let begun = arena.backend.requests().len();
    assert!(begun <= 40, "{begun} of 4000 reached the backend");
}

#[test]
fn f2_made_you_reset() {
    // CVE-2025-8671: the peer errs so that we reset.
    let slow = Backend::start(|conversation| {
        while conversation.request().is_some() {
            conversation.stall();
        }
    });
    let arena = Arena::before(slow, |plan| plan);
    type Fault = fn(u32) -> Vec<u8>;
    let faults: [(&str, Fault); 3] = [
        ("WINDOW_UPDATE 0", |stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4])),
        ("WINDOW_UPDATE overflow", |stream| {
            frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())
        }),
        ("PRIORITY on itself", |stream| {
            let mut payload = stream.to_be_bytes().to_vec();
            payload.push(16);
            frame(PRIORITY, 0, stream, &payload)
        }),
    ];
    for (what, fault) in faults {
        let mut frames = arena.frames();
        let fields = block(&get(&[]));
        for count in 0..400 {
            let stream = count * 2 + 1;
            frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields));
            frames.send(&fault(stream));
        }
        let mut resets = 0;
        let ended = loop {
            match frames.next() {
                Some(frame) if frame.kind == RST_STREAM => resets += 1,
                Some(frame) if frame.kind == GOAWAY => break true,
                Some(_) => {}
                None => break true,
            }
        };
        assert!(ended && resets <= 40, "{what}: {resets} resets");
    }
}

#[test]
fn f3_f4_continuations() {
    // CVE-2024-27919, CVE-2019-9518.
    let arena = Arena::new();
    for (what, piece) in [("F3", vec![0u8; 1000]), ("F4 empty", Vec::new())] {
        calms(&arena, what, &|frames| {
            frames.send(&frame(HEADERS, END_STREAM, 1, &block(&get(&[]))));
            let flood = frame(CONTINUATION, 0, 1, &piece)
                .repeat(60_000.min(60_000_000 / (piece.len() + 9)));
            for part in flood.chunks(64 * 1024).take(200) {
                frames.send(part);
            }
        });
    }
}

#[test]
fn f5_f6_f7_f11_frames_that_ask_for_nothing() {
    let arena = Arena::new();
    let floods: [(&str, Vec<u8>); 5] = [
        ("F5 SETTINGS, CVE-2019-9515", frame(SETTINGS, 0, 0, &[])),
        ("F5 PING, CVE-2019-9512", frame(PING, 0, 0, &[1; 8])),
        ("F7 PRIORITY, CVE-2019-9513", frame(PRIORITY, 0, 9, &[0, 0, 0, 3, 1])),
        ("F9 WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes())),
        ("F11 unknown", frame(0x42, 0, 0, b"what")),
    ];
    for (what, flood) in floods {
        calms(&arena, what, &|frames| {
            let flood = flood.repeat(60_000);
            for part in flood.chunks(64 * 1024) {
                frames.send(part);
            }
        });
    }
    calms(&arena, "F6 empty DATA, CVE-2019-9518", &|frames| {
        frames.headers(1, 0, &request("POST", &[]));
        let flood = frame(DATA, 0, 1, b"").repeat(60_000);
        for part in flood.chunks(64 * 1024) {
            frames.send(part);
        }
    });
}

#[test]
fn f8_a_head_that_unpacks_to_much() {
    // CVE-2026-49975: one entry of the table, named thousands of times, and a window of zero.
    let arena = Arena::new();
    let mut frames = Frames::silent(arena.proxy.address());
    frames.send(PREFACE);
    frames.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    frames.send(&frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        b"\x82\x86\x84\x01\x01x\x40\x01a\x00",
    ));
    for stream in (3..103).step_by(2) {
        let bomb = [&b"\x82\x86\x84\x01\x01x"[..], &[0xbe; 3000]].concat();
        frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &bomb));
    }
    let mut refused = 0;
    while refused < 50 {
        match frames.next() {
            Some(frame) if frame.kind == HEADERS && frame.stream > 1 => refused += 1,
            Some(frame) if frame.kind == RST_STREAM => refused += 1,
            Some(frame) if frame.kind == GOAWAY => break,
            Some(_) => {}
            None => break,
        }
    }
    assert!(arena.backend.requests().len() <= 1, "no bomb reaches the backend");
    arena.serves_http2().expect("others are served");
}

#[test]
fn f10_f12_what_breaks_a_connection() {
    let arena = Arena::new();
    let open = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get(&[])));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("F10 RFC 7541 6.1 index 0", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80])),
        (
            "F10 RFC 7541 2.3.3 index beyond",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0x7f]),
        ),
        (
            "F10 RFC 7541 6.3 table size",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\xff\xff\xff\x7f"),
        ),
        ("F10 RFC 7541 5.1 integer", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 12])),
        ("F12 RFC 9113 5.1.1 an id used twice", [open(3), open(1)].concat()),
        ("F12 RFC 9113 5.1.1 an even id", open(2)),
        ("RFC 9113 6.1 DATA on stream 0", frame(DATA, 0, 0, b"x")),
        ("RFC 9113 6.5 SETTINGS on a stream", frame(SETTINGS, 0, 1, &[])),
        ("RFC 9113 6.5 SETTINGS of five bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("RFC 9113 6.5 ACK with a payload", frame(SETTINGS, ACK, 0, &[0; 6])),
        ("RFC 9113 6.7 PING of seven bytes", frame(PING, 0, 0, &[0; 7])),
        ("RFC 9113 6.9 WINDOW_UPDATE 0", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("RFC 9113 6.10 CONTINUATION alone", frame(CONTINUATION, END_HEADERS, 1, &[])),
        ("RFC 9113 4.2 frame too large", frame(DATA, 0, 1, &[0; 16_385])),
        ("RFC 9113 8.4 PUSH_PROMISE", frame(5, END_HEADERS, 1, &[0, 0, 0, 2])),
    ];
    each(cases, |bytes| {
        let mut frames = arena.frames();
        frames.send(bytes);
        let code = frames.farewell();
        ensure!(code.is_some_and(|code| code > 0), "ended with {code:?}");
        Ok(())
    });
    arena.serves_http2().expect("others are served");
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let arena = Arena::before(Backend::stalling(), |plan| plan);
    let mut frames = arena.frames();
    for count in 0..101 {
        frames.headers(count * 2 + 1, END_STREAM, &get(&[]));
    }
    assert_eq!(frames.outcome(201), Outcome::Reset(7), "RFC 9113 5.1.2: REFUSED_STREAM");
}

#[test]
fn a_head_that_never_ends_is_not_awaited() {
    let arena = Arena::with(|plan| {
        plan.limits(|limits| limits.request_head_timeout = Duration::from_millis(200))
    });
    let mut frames = arena.frames();
    frames.send(&frame(HEADERS, END_STREAM, 1, &block(&get(&[]))));
    assert_eq!(frames.farewell(), Some(ENHANCE_YOUR_CALM));
    let mut silent = Frames::silent(arena.proxy.address());
    silent.send(&PREFACE[..20]);
    assert_eq!(silent.farewell(), None, "half a preface");
    assert!(arena.proxy.wait_for_no_clients());
}

#[test]
fn an_idle_connection_ends_in_order() {
    let arena =
        Arena::with(|plan| plan.limits(|limits| limits.idle_timeout = Duration::from_millis(200)));
    let mut frames = arena.frames();
    frames.headers(1, END_STREAM, &get(&[]));
    assert_eq!(frames.outcome(1), Outcome::Status(200));
    assert_eq!(frames.farewell(), Some(0));
    assert!(arena.proxy.wait_for_no_clients());
}

#[test]
fn a_drain_says_goodbye_twice() {
    // RFC 9113 6.8: first that no stream should follow, then which was the last; what runs ends.
    let backend = Backend::start(|conversation| {
        while conversation.request().is_some() {
            conversation.bound_waits(Duration::from_millis(400));
            conversation.take_bytes();
            conversation.send(evenkeel_testkit::backend::OK);
        }
    });
    let arena = Arena::before(backend, |plan| plan);
    let mut frames = arena.frames();
    frames.headers(1, END_STREAM, &get(&[]));
    assert!(arena.backend.wait_for_connections(1));
    std::thread::scope(|scope| {
        let server = arena.proxy.server();
        let drained = scope.spawn(|| server.drain(Duration::from_secs(5)));
        let (mut farewells, mut status) = (Vec::new(), 0);
        while let Some(one) = frames.next() {
            match one.kind {
                GOAWAY => farewells.push(one.payload[..4].to_vec()),
                PING if one.flags & ACK == 0 => frames.send(&frame(PING, ACK, 0, &one.payload)),
                HEADERS => status = one.status(),
                _ => {}
            }
        }
        assert_eq!(status, 200, "what ran has ended");
        assert_eq!(farewells, [vec![0x7f, 0xff, 0xff, 0xff], vec![0, 0, 0, 1]]);
        assert!(drained.join().expect("drained"));
    });
}

#[test]
fn a_client_that_gives_up_a_stream_ends_its_exchange() {
    let backend = Backend::start(|conversation| {
        conversation.request();
        conversation.read_to_end();
    });
    let arena = Arena::before(backend, |plan| plan);
    let mut frames = arena.frames();
    frames.headers(1, END_STREAM, &get(&[]));
    assert!(arena.backend.wait_for_connections(1));
    frames.send(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()));
    let record = &arena.proxy.wait_for_records(1)[0];
    assert_eq!(record["failure"], "client_gone", "{record}");
    assert!(arena.backend.wait_for_end(0), "the backend is told");
}

#[test]
fn a_truncated_response_is_an_error() {
    // RFC 9113 8.1: never a clean end.
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nsome";
    let arena = Arena::before(
        Backend::start(move |conversation| {
            conversation.request();
            conversation.send(cut);
            conversation.half_close();
        }),
        |plan| plan,
    );
    let mut frames = arena.frames();
    frames.headers(1, END_STREAM, &get(&[]));
    loop {
        let frame = frames.next().expect("the stream's end");
        assert!(frame.kind != DATA || frame.flags & END_STREAM == 0, "a clean end");
        if frame.kind == RST_STREAM {
            assert_eq!(frame.code(), 2, "INTERNAL_ERROR");
            return;
        }
    }
}

#[test]
fn an_answer_that_is_no_tunnel_does_not_look_like_one() {
    // RFC 8441 5: to CONNECT a success is a tunnel; this backend has none, and answers the GET.
    let arena = Arena::new();
    for protocol in ["websocket", "foo"] {
        let mut frames = arena.frames();
        let mut fields = request("CONNECT", &[]);
        fields.insert(1, (":protocol", protocol));
        frames.headers(1, 0, &fields);
        assert_eq!(frames.outcome(1), Outcome::Status(501), "{protocol}");
        frames.headers(3, END_STREAM, &get(&[]));
        assert_eq!(frames.outcome(3), Outcome::Status(200));
        arena.count_answers(2);
    }
    let records = arena.proxy.wait_for_records(4);
    let status = |at: usize| records[at]["status"].clone();
    assert_eq!((status(0), status(2)), (501.into(), 501.into()), "{records:?}");
    arena.settles();
}

#[test]
fn a_websocket_over_http2_is_a_tunnel() {
    // RFC 8441 5: extended CONNECT, 200, and bytes both ways; the key of the handshake is ours.
    let arena = Arena::before(crate::upgrade::switching(b""), |plan| plan);
    let mut frames = arena.frames();
    frames.headers(1, 0, &crate::upgrade::EXTENDED_CONNECT);
    assert_eq!(frames.outcome(1), Outcome::Status(200));
    arena.count_answers(1);
    frames.send(&frame(DATA, 0, 1, b"\x81\x85\x01\x02\x03\x04masks"));
    frames.send(&frame(DATA, END_STREAM, 1, b""));
    let mut all = Vec::new();
    loop {
        let one = frames.next().expect("an end");
        if one.kind == DATA {
            all.extend_from_slice(&one.payload);
            if one.flags & END_STREAM != 0 {
                break;
            }
        }
    }
    assert_eq!(all, b"\x81\x85\x01\x02\x03\x04masksbye", "the other half still works");
    let (_, request) = &arena.backend.requests()[0];
    assert_eq!(request.start_line, "GET /ws HTTP/1.1");
    assert_eq!(request.value("upgrade"), Some("websocket"));
    assert_eq!(request.value("sec-websocket-key").map(str::len), Some(24));
}
