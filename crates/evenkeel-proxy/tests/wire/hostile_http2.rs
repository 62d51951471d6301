//! Backends that speak HTTP/2 badly, frame by frame: what a client gets, and what the next one.

use crate::frames::{
    DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PREFACE, RST_STREAM, SETTINGS, block, frame,
};
use crate::stage::get;
use evenkeel_core::plan::{PoolPlan, PoolProtocol};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// What a backend sends when a stream is opened, by the number of its connection.
type Act = dyn Fn(usize, u32) -> Vec<u8> + Send + Sync;

fn serve(mut socket: TcpStream, number: usize, act: &Act) {
    if socket.read_exact(&mut [0; PREFACE.len()]).is_err() {
        return;
    }
    let mut frames = Frames::over(socket);
    frames.send(&frame(SETTINGS, 0, 0, &[]));
    while let Some(next) = frames.next() {
        if next.kind == HEADERS {
            frames.send(&act(number, next.stream));
        }
    }
}

/// A proxy before such a backend.
fn before(
    act: impl Fn(usize, u32) -> Vec<u8> + Send + Sync + 'static,
    adjust: impl FnOnce(&mut PoolPlan),
) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let act: Arc<Act> = Arc::new(act);
    std::thread::spawn(move || {
        for (number, socket) in listener.incoming().flatten().enumerate() {
            let act = Arc::clone(&act);
            std::thread::spawn(move || serve(socket, number, &*act));
        }
    });
    let plan = PlanBuilder::to(&[&address]).pool(|pool| {
        pool.protocol = PoolProtocol::Http2;
        pool.retry.attempts = 1;
        adjust(pool);
    });
    Proxy::start(&plan.build())
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
