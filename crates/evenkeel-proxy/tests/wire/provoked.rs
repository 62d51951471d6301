//! What clients do to their own requests says nothing about a backend: whoever could open its
//! breaker by that could take it from everybody else.

use crate::http2_backends::{Respond, body_of, server};
use crate::stage::eventually;
use evenkeel_core::breaker::BreakerState;
use evenkeel_core::plan::PoolProtocol;
use evenkeel_testkit::backend::Backend;
use evenkeel_testkit::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, RST_STREAM, SETTINGS, block, frame, request,
};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use h2::RecvStream;
use http::{Request, Response};

/// More than enough failures in a row to open a breaker.
const TIMES: usize = 8;

/// What a client does once its request is on its way.
enum Then {
    /// It sends this.
    Sends(Vec<u8>),
    /// It breaks the connection.
    Breaks,
}

fn frames(more: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[]), &more.concat()].concat()
}

fn head(method: &str, flags: u8, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, 1, &block(&request(method, more)))
}

fn piece(flags: u8, text: &str) -> Vec<u8> {
    frame(DATA, flags, 1, text.as_bytes())
}

/// The request, and what becomes of it.
fn cases() -> Vec<(&'static str, Vec<u8>, Then)> {
    let reset = || Then::Sends(frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()));
    let post = |more| frames(&[head("POST", 0, more), piece(0, "abc")]);
    let trailers = block(&[(":path", "/other")]);
    let http1 = |fields: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}").into_bytes();
    let chunked = http1("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    vec![
        ("a reset", frames(&[head("GET", END_STREAM, &[])]), reset()),
        ("a reset amid a body", post(&[]), reset()),
        ("too short", post(&[("content-length", "10")]), Then::Sends(piece(END_STREAM, "d"))),
        ("too long", post(&[("content-length", "4")]), Then::Sends(piece(0, "defg"))),
        (
            "bad trailers",
            post(&[]),
            Then::Sends(frame(HEADERS, END_STREAM | END_HEADERS, 1, &trailers)),
        ),
        ("broken amid a body", post(&[]), Then::Breaks),
        ("a bad chunk", chunked.clone(), Then::Sends(b"zz\r\n".to_vec())),
        ("broken amid chunks", chunked, Then::Breaks),
        ("broken before the end", http1("Content-Length: 10\r\n\r\nabc"), Then::Breaks),
    ]
}

/// Waits with a request in hand, whatever comes of it.
async fn wait(request: Request<RecvStream>, _respond: Respond, _: usize) -> Option<()> {
    body_of(request).await;
    std::future::pending().await
}

/// Answers at once, and never to the end.
async fn begin(request: Request<RecvStream>, mut respond: Respond, _: usize) -> Option<()> {
    let mut stream = respond.send_response(Response::new(()), false).ok()?;
    stream.send_data("begun".into(), false).ok()?;
    body_of(request).await;
    std::future::pending().await
}

/// Proxies before backends that wait and that have begun to answer, in both versions.
fn proxies() -> Vec<(&'static str, Proxy, Option<Backend>)> {
    let http1 = |answer: &'static [u8]| {
        let backend = Backend::start(move |conversation| {
            if conversation.head() {
                conversation.send(answer);
                conversation.read_to_end();
            }
        });
        (Proxy::start(&PlanBuilder::to(&[backend.address()]).build()), Some(backend))
    };
    let http2 = |address: std::net::SocketAddr| {
        let plan = PlanBuilder::to(&[&address.to_string()]);
        (Proxy::start(&plan.pool(|pool| pool.protocol = PoolProtocol::Http2).build()), None)
    };
    let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nbegun";
    [
        ("HTTP/1.1, waits", http1(b"")),
        ("HTTP/1.1, has begun", http1(begun)),
        ("HTTP/2, waits", http2(server(wait).0)),
        ("HTTP/2, has begun", http2(server(begin).0)),
    ]
    .map(|(name, (proxy, backend))| (name, proxy, backend))
    .into()
}

#[test]
fn what_a_client_does_to_its_own_request_opens_no_breaker() {
    for (manner, proxy, _backend) in proxies() {
        let pool = proxy.pool();
        let backend = &pool.backends[0];
        for (what, request, then) in cases() {
            for _ in 0..TIMES {
                let mut client = proxy.connect();
                client.send(&request);
                eventually("the request at the backend", || backend.in_flight() == 1);
                match &then {
                    Then::Sends(bytes) => {
                        client.send(bytes);
                    }
                    Then::Breaks => client.reset(),
                }
                eventually("its end", || backend.in_flight() == 0);
            }
            let failures = backend.breaker.consecutive_failures();
            assert_eq!(failures, 0, "{manner}: {what}");
            assert_eq!(backend.breaker.state(), BreakerState::Closed, "{manner}: {what}");
        }
    }
}

#[test]
fn a_backend_that_tires_of_waiting_for_a_body_has_not_failed() {
    let tired = Backend::start(|conversation| {
        conversation.head();
        conversation.reset();
    });
    let proxy = Proxy::start(&PlanBuilder::to(&[tired.address()]).build());
    let pool = proxy.pool();
    let breaker = &pool.backends[0].breaker;
    let post =
        |body: &str| format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n{body}");
    for _ in 0..TIMES {
        assert_eq!(proxy.connect().ask(post("abc")).status(), 502);
    }
    assert_eq!((breaker.consecutive_failures(), breaker.state()), (0, BreakerState::Closed));
    // With all of the request in hand it has no excuse.
    for failures in 1..=5 {
        assert_eq!(proxy.connect().ask(post("abcd")).status(), 502, "{failures}");
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}
