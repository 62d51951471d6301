//! Backends that speak HTTP/2 badly, frame by frame: what a client gets, and what the next one.

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PREFACE, PROTOCOL_ERROR,
    RST_STREAM, SETTINGS, block, frame,
};
use crate::stage::{eventually, get};
use evenkeel_core::plan::{PoolPlan, PoolProtocol};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a backend sends when a stream is opened, by the number of its connection.
type Act = dyn Fn(usize, u32) -> Vec<u8> + Send + Sync;

/// RFC 9113 7.
const CANCEL: u32 = 8;

/// Streams that the proxy reset, and their codes.
type Resets = Mutex<Vec<(u32, u32)>>;

fn serve(mut socket: TcpStream, number: usize, act: &Act, resets: &Resets) {
    if socket.read_exact(&mut [0; PREFACE.len()]).is_err() {
        return;
    }
    let mut frames = Frames::over(socket);
    frames.send(&frame(SETTINGS, 0, 0, &[]));
    while let Some(next) = frames.next() {
        if next.kind == HEADERS {
            frames.send(&act(number, next.stream));
        } else if next.kind == RST_STREAM {
            resets.lock().expect("no panic").push((next.stream, next.code()));
        }
    }
}

/// A proxy before such a backend.
fn before(
    act: impl Fn(usize, u32) -> Vec<u8> + Send + Sync + 'static,
    adjust: impl FnOnce(&mut PoolPlan),
) -> Proxy {
    noting(act, adjust).0
}

/// The same, and what the backend is told of its streams.
fn noting(
    act: impl Fn(usize, u32) -> Vec<u8> + Send + Sync + 'static,
    adjust: impl FnOnce(&mut PoolPlan),
) -> (Proxy, Arc<Resets>) {
    let resets = Arc::new(Resets::default());
    let noted = Arc::clone(&resets);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let act: Arc<Act> = Arc::new(act);
    std::thread::spawn(move || {
        for (number, socket) in listener.incoming().flatten().enumerate() {
            let (act, noted) = (Arc::clone(&act), Arc::clone(&noted));
            std::thread::spawn(move || serve(socket, number, &*act, &noted));
        }
    });
    let plan = PlanBuilder::to(&[&address]).pool(|pool| {
        pool.protocol = PoolProtocol::Http2;
        pool.retry.attempts = 1;
        adjust(pool);
    });
    (Proxy::start(&plan.build()), resets)
}

fn head(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(&[(":status", "200")]))
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

#[test]
fn r9_a_reset_is_no_end_whatever_it_says() {
    // RFC 9113 8.1: NO_ERROR asks to stop sending, behind an answer that has ended.
    for code in [0, 2, 8] {
        let act = move |_, stream| {
            [head(stream), frame(DATA, 0, stream, b"half"), reset(stream, code)].concat()
        };
        let proxy = before(act, |_| {});
        let (answer, _) = proxy.connect().send(get("/")).read_to_close();
        assert!(!answer.ends_with(b"0\r\n\r\n"), "{code}: {}", answer.escape_ascii());
    }
    let whole = |_, stream| {
        [head(stream), frame(DATA, END_STREAM, stream, b"all"), reset(stream, 0)].concat()
    };
    let proxy = before(whole, |_| {});
    for _ in 0..3 {
        assert_eq!(proxy.connect().ask(get("/")).text(), "all");
    }
}

#[test]
fn an_end_in_a_frame_of_its_own_is_waited_for() {
    // A server that is told of many cancelled streams ends the connection (CVE-2023-44487).
    const REQUESTS: u32 = 5;
    let act = |_, stream: u32| {
        let before = stream.checked_sub(2).map(|it| frame(DATA, END_STREAM, it, b""));
        let fields = block(&[(":status", "200"), ("content-length", "5")]);
        let head = frame(HEADERS, END_HEADERS, stream, &fields);
        [before.unwrap_or_default(), head, frame(DATA, 0, stream, b"hello")].concat()
    };
    let (proxy, resets) = noting(act, |_| {});
    let mut client = proxy.connect();
    for _ in 0..REQUESTS {
        assert_eq!(client.ask(get("/")).text(), "hello");
    }
    // The last one never ends.
    eventually("a reset", || !resets.lock().expect("no panic").is_empty());
    assert_eq!(*resets.lock().expect("no panic"), [(REQUESTS * 2 - 1, CANCEL)]);
}

#[test]
fn clients_that_go_away_use_up_no_connection_of_others() {
    // One client goes after the other, in the middle of the answer.
    const BORNE: usize = 100;
    let act = |number: usize, stream| {
        [head(stream), frame(DATA, 0, stream, format!("from {number}.").as_bytes())].concat()
    };
    let (proxy, resets) = noting(act, |_| {});
    for client in 0..BORNE {
        let mut leaving = proxy.connect();
        leaving.send(get("/")).read_until(b"from 0.");
        leaving.reset();
        eventually("a reset", || resets.lock().expect("no panic").len() > client);
    }
    proxy.connect().send(get("/")).read_until(b"from 1.");
}

#[test]
fn small_pieces_that_come_at_once_end_no_connection() {
    const PIECES: usize = 20_000;
    let act = |_, stream| {
        let pieces = frame(DATA, 0, stream, b"x").repeat(PIECES);
        [head(stream), pieces, frame(DATA, END_STREAM, stream, b"")].concat()
    };
    let proxy = before(act, |_| {});
    let mut client = proxy.connect();
    for _ in 0..2 {
        assert_eq!(client.ask(get("/")).text().len(), PIECES);
    }
}

#[test]
fn a_connection_that_says_nothing_gets_no_more_requests() {
    // The first one goes silent: half-open, or behind a device that has forgotten it.
    let act = |number, stream| match number {
        0 => Vec::new(),
        _ => [head(stream), frame(DATA, END_STREAM, stream, b"ok")].concat(),
    };
    let proxy = before(act, |pool| pool.timeouts.response_head = Duration::from_millis(100));
    let mut client = proxy.connect();
    assert_eq!(client.ask(get("/")).status(), 504);
    assert_eq!(client.ask(get("/")).status(), 200);
    assert_eq!(client.ask(get("/")).status(), 200);
}

/// Header blocks in the library's blind spots: whole, and cut within a field.
fn in_two(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    let (first, second) = block.split_at(block.len() - 1);
    let first = frame(HEADERS, flags, stream, first);
    [first, frame(CONTINUATION, END_HEADERS, stream, second)].concat()
}

#[test]
fn responses_with_misplaced_pseudo_headers_are_none() {
    // RFC 9113 8.1.1, 8.3, 8.3.2.
    let fields = |fields: &[(&str, &str)]| block(fields);
    let (ok, a) = ((":status", "200"), ("a", "b"));
    let heads = [
        ("a status behind a field", fields(&[a, ok])),
        ("two", fields(&[ok, ok])),
        ("two behind each other that differ", fields(&[ok, (":status", "404")])),
        ("one behind the fields, too", fields(&[ok, a, ok])),
        ("none", fields(&[a])),
        ("a request's", fields(&[ok, (":path", "/")])),
        ("a request's, behind a field", fields(&[ok, a, (":method", "GET")])),
        ("a field of connections", fields(&[ok, ("connection", "close")])),
        ("a coding", fields(&[ok, ("transfer-encoding", "chunked"), a])),
    ];
    for (what, block) in heads {
        let whole = frame(HEADERS, END_HEADERS, 1, &block);
        for bytes in [whole, in_two(1, 0, &block)] {
            let (proxy, resets) = noting(move |_, _| bytes.clone(), |_| {});
            let response = proxy.connect().ask(get("/"));
            assert_eq!(response.status(), 502, "{what}");
            assert!(response.text().contains("bad_response"), "{what}: {}", response.text());
            let told = || resets.lock().expect("no panic").first().copied();
            eventually("a reset", || told() == Some((1, PROTOCOL_ERROR)));
        }
    }
}

#[test]
fn trailers_with_pseudo_headers_are_no_end() {
    let once = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for hidden in [block(&[(":status", "200")]), block(&[(":path", "/")]), vec![0x88], vec![0x84]] {
        let end = frame(HEADERS, END_HEADERS | END_STREAM, 1, &hidden);
        let act = move |_, stream| match stream {
            1 => [head(1), frame(DATA, 0, 1, b"body")].concat(),
            // The first one's trailers, and a whole answer.
            _ => [&end, &head(stream), &frame(DATA, END_STREAM, stream, b"ok")[..]].concat(),
        };
        let proxy = before(act, |_| {});
        let mut first = proxy.connect();
        first.send(once).read_until(b"body");
        assert_eq!(proxy.connect().ask(get("/")).text(), "ok", "another stream is not harmed");
        let (rest, _) = first.read_to_close();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", rest.escape_ascii());
        let records = proxy.wait_for_records(2);
        let failed = records.iter().filter(|record| record["failure"] == "bad_response").count();
        assert_eq!(failed, 1, "{records:?}");
    }
}

#[test]
fn good_responses_in_pieces_stay_good() {
    let act = |_, stream| {
        let early = block(&[(":status", "103"), ("link", "</a>")]);
        let interim = in_two(stream, 0, &early);
        let last = in_two(stream, 0, &block(&[(":status", "200"), ("a", "b")]));
        let trailers = in_two(stream, END_STREAM, &block(&[("x", "y")]));
        [interim, last, frame(DATA, 0, stream, b"ok"), trailers].concat()
    };
    let proxy = before(act, |_| {});
    let mut client = proxy.connect();
    for _ in 0..3 {
        let mut answer = client.ask(get("/"));
        while answer.status() == 103 {
            answer = client.response().expect("the last one");
        }
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    }
}

#[test]
fn a_connection_that_stops_within_a_frame_gets_no_more_requests() {
    // It has said something since the request left: the beginning of a frame.
    for half in [frame(DATA, 0, 99, &[0; 100])[..30].to_vec(), frame(HEADERS, 0, 1, &[0x88])] {
        let act = move |number, stream| match number {
            0 => half.clone(),
            _ => [head(stream), frame(DATA, END_STREAM, stream, b"ok")].concat(),
        };
        let proxy = before(act, |pool| pool.timeouts.response_head = Duration::from_millis(100));
        let mut client = proxy.connect();
        assert_eq!(client.ask(get("/")).status(), 504);
        assert_eq!(client.ask(get("/")).status(), 200);
    }
}
