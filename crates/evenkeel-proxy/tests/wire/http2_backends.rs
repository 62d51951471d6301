//! HTTP/2 towards backends: a real HTTP/2 server behind the proxy.

use crate::arena::{HEAD_TOO_LARGE, is_refusal};
use crate::stage::{eventually, get, get_with};
use evenkeel_core::plan::PoolProtocol;
use evenkeel_testkit::frames::{
    END_HEADERS, END_STREAM, Frames, HEADERS, Outcome, PREFACE, SETTINGS, frame, request,
};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Method, Request, Response};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) type Respond = SendResponse<bytes::Bytes>;

/// What has happened at the server.
#[derive(Default)]
pub(crate) struct Seen {
    connections: AtomicUsize,
    streams: AtomicUsize,
}

/// Serves until the test process ends; `act` gets each stream and its number.
pub(crate) fn server<F>(
    act: fn(Request<RecvStream>, Respond, usize) -> F,
) -> (SocketAddr, Arc<Seen>)
where
    F: Future<Output = Option<()>> + 'static,
{
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    server_of(builder, act)
}

/// The same, with settings of its own.
fn server_of<F>(
    builder: h2::server::Builder,
    act: fn(Request<RecvStream>, Respond, usize) -> F,
) -> (SocketAddr, Arc<Seen>)
where
    F: Future<Output = Option<()>> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("bound");
    let seen = Arc::new(Seen::default());
    let own = Arc::clone(&seen);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((socket, _)) = listener.accept().await {
                own.connections.fetch_add(1, Ordering::Relaxed);
                let (own, builder) = (Arc::clone(&own), builder.clone());
                tokio::task::spawn_local(async move {
                    let Ok(mut connection) = builder.handshake(socket).await else { return };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let number = own.streams.fetch_add(1, Ordering::Relaxed);
                        tokio::task::spawn_local(act(request, respond, number));
                    }
                });
            }
        });
    });
    (address, seen)
}

fn proxy_before(address: SocketAddr) -> Proxy {
    let address = address.to_string();
    let plan = PlanBuilder::to(&[&address]).pool(|pool| pool.protocol = PoolProtocol::Http2);
    Proxy::start(&plan.build())
}

pub(crate) async fn body_of(request: Request<RecvStream>) -> Option<Vec<u8>> {
    let mut frames = request.into_body();
    let mut body = Vec::new();
    while let Some(data) = frames.data().await {
        let data = data.ok()?;
        frames.flow_control().release_capacity(data.len()).ok()?;
        body.extend_from_slice(&data);
    }
    Some(body)
}

/// Says what it was asked, and the length of the body.
async fn echo(request: Request<RecvStream>, mut respond: Respond, _: usize) -> Option<()> {
    let asked = format!("{} {}", request.method(), request.uri());
    let via = request.headers().contains_key("via");
    let length = body_of(request).await?.len();
    let response = Response::builder().header("x-asked", asked).body(()).ok()?;
    let mut stream = respond.send_response(response, false).ok()?;
    stream.send_data(format!("{length} {via}").into(), true).ok()
}

#[test]
fn exchanges_share_a_connection() {
    let (address, seen) = server(echo);
    let proxy = proxy_before(address);
    let mut client = proxy.connect();
    for _ in 0..20 {
        let answer = client.ask(get("/a?b=c"));
        assert_eq!((answer.status(), answer.text().as_str()), (200, "0 true"));
        assert_eq!(answer.value("x-asked"), Some("GET http://x/a?b=c"));
    }
    let body = "x".repeat(300_000);
    let length = body.len();
    let post = format!("POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
    assert_eq!(client.ask(post).text(), "300000 true");
    let chunked = "PUT /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(client.ask(chunked).text(), "5 true");
    assert_eq!(seen.connections.load(Ordering::Relaxed), 1, "one connection for all");
}

#[test]
fn a_stream_that_is_refused_is_sent_again_whatever_its_method() {
    // RFC 9113 8.7: REFUSED_STREAM says that nothing was done.
    async fn refuse_first(
        request: Request<RecvStream>,
        mut respond: Respond,
        number: usize,
    ) -> Option<()> {
        if number == 1 {
            respond.send_reset(Reason::REFUSED_STREAM);
            return Some(());
        }
        echo(request, respond, number).await
    }
    let (address, seen) = server(refuse_first);
    let proxy = proxy_before(address);
    let mut client = proxy.connect();
    let post = "POST /once HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
    for _ in 0..3 {
        let answer = client.ask(post);
        assert_eq!((answer.status(), answer.text().as_str()), (200, "2 true"));
    }
    assert_eq!(seen.streams.load(Ordering::Relaxed), 4);
}

#[test]
fn a_stream_that_breaks_is_not_sent_again_if_it_may_have_done_something() {
    async fn break_it(request: Request<RecvStream>, mut respond: Respond, _: usize) -> Option<()> {
        body_of(request).await?;
        respond.send_reset(Reason::INTERNAL_ERROR);
        Some(())
    }
    let (address, seen) = server(break_it);
    let proxy = proxy_before(address);
    let post = "POST /once HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(proxy.connect().ask(post).status(), 502);
    assert_eq!(seen.streams.load(Ordering::Relaxed), 1);
}

#[test]
fn a_connection_that_breaks_one_stream_after_the_other_is_given_up() {
    // Not every stream's fault is its own: what one client sent may have spoilt the connection.
    async fn break_some(
        request: Request<RecvStream>,
        mut respond: Respond,
        number: usize,
    ) -> Option<()> {
        if matches!(number, 1 | 3 | 4 | 6..=8) {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return Some(());
        }
        echo(request, respond, number).await
    }
    let (address, seen) = server(break_some);
    let proxy = proxy_before(address);
    let mut client = proxy.connect();
    let post = "POST /once HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
    let mut statuses = || client.ask(post).status();
    let first: Vec<u16> = (0..9).map(|_| statuses()).collect();
    assert_eq!(first, [200, 502, 200, 502, 502, 200, 502, 502, 502]);
    assert_eq!(seen.connections.load(Ordering::Relaxed), 1, "two in a row may be chance");
    assert_eq!((statuses(), statuses()), (200, 200));
    assert_eq!(seen.connections.load(Ordering::Relaxed), 2);
}

#[test]
fn trailers_pass_to_those_that_take_them() {
    async fn trail(request: Request<RecvStream>, mut respond: Respond, _: usize) -> Option<()> {
        body_of(request).await?;
        let mut stream = respond.send_response(Response::new(()), false).ok()?;
        stream.send_data("body".into(), false).ok()?;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().ok()?);
        stream.send_trailers(trailers).ok()
    }
    let (address, _) = server(trail);
    let proxy = proxy_before(address);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    let bytes = client.read_until(b"grpc-status: 0\r\n\r\n");
    assert!(bytes.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", bytes.escape_ascii());
    assert_eq!(proxy.connect().ask(get("/")).text(), "body");
}

/// How many fields of a header block enter the table of the connection (RFC 7541 6.2.1).
fn entries(mut block: &[u8]) -> usize {
    let mut count = 0;
    while let Some(first) = block.first().copied() {
        let (prefix, has_text) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        count += usize::from((0x40..0x80).contains(&first));
        let name = integer(&mut block, prefix);
        let texts = usize::from(has_text) + usize::from(has_text && name == 0);
        for _ in 0..texts {
            let length = integer(&mut block, 7);
            block = &block[length..];
        }
    }
    count
}

/// A number of RFC 7541 5.1.
fn integer(block: &mut &[u8], prefix: u32) -> usize {
    let most = (1usize << prefix) - 1;
    let mut number = usize::from(block[0]) & most;
    *block = &block[1..];
    let mut shift = 0;
    while number >= most || shift > 0 {
        let byte = usize::from(block[0]);
        *block = &block[1..];
        number += (byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

#[test]
fn what_one_request_says_does_not_enter_the_table_of_all() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let proxy = proxy_before(listener.local_addr().expect("bound"));
    let asking = std::thread::spawn(move || {
        let mut client = proxy.connect();
        for number in 0..3 {
            let post = format!(
                "POST /{number} HTTP/1.1\r\nHost: x\r\nContent-Type: application/grpc\r\n\
                 TE: trailers\r\nConnection: TE\r\nUser-Agent: all/1\r\nCookie: a={number}\r\n\
                 Authorization: Bearer {number}\r\nX-Api-Key: {number}\r\nX-Pin-Bin: {number}\r\n\
                 Grpc-Timeout: 9S\r\nTransfer-Encoding: chunked\r\n\r\n\
                 5\r\nhello\r\n0\r\nX-Digest-Bin: {number}\r\nX-Word: {number}\r\n\r\n"
            );
            assert_eq!(client.ask(post).status(), 200);
        }
    });
    let (mut socket, _) = listener.accept().expect("the proxy");
    std::io::Read::read_exact(&mut socket, &mut [0; PREFACE.len()]).expect("a preface");
    let mut frames = Frames::over(socket);
    frames.send(&frame(SETTINGS, 0, 0, &[]));
    let mut blocks = Vec::new();
    while blocks.len() < 6 {
        let next = frames.next().expect("a frame");
        if next.kind == HEADERS {
            assert_ne!(next.flags & END_HEADERS, 0, "a block in one piece");
            blocks.push(entries(&next.payload));
            if next.flags & END_STREAM != 0 {
                // :status 200, and nothing else.
                frames.send(&frame(HEADERS, END_STREAM | END_HEADERS, next.stream, &[0x88]));
            }
        }
    }
    asking.join().expect("three answers");
    let [head, trailers, rest @ ..] = &blocks[..] else { panic!("{blocks:?}") };
    assert!(*head > 0, "what all requests say is told once: {blocks:?}");
    assert_eq!((*trailers, rest), (0, &[0; 4][..]), "nothing new: {blocks:?}");
}

#[test]
fn a_websocket_of_http1_becomes_an_extended_connect() {
    // RFC 8441 5.
    async fn switch(request: Request<RecvStream>, mut respond: Respond, _: usize) -> Option<()> {
        let protocol = request.extensions().get::<h2::ext::Protocol>()?;
        let asked = request.method() == Method::CONNECT && protocol.as_str() == "websocket";
        let key = request.headers().contains_key("sec-websocket-key");
        let mut frames = request.into_body();
        let status = if asked && !key { 200 } else { 400 };
        let response = Response::builder().status(status).body(()).ok()?;
        let mut stream = respond.send_response(response, false).ok()?;
        while let Some(Ok(data)) = frames.data().await {
            frames.flow_control().release_capacity(data.len()).ok()?;
            stream.send_data(data, false).ok()?;
        }
        stream.send_data("bye".into(), true).ok()
    }
    let (address, _) = server(switch);
    let proxy = proxy_before(address);
    let mut client = proxy.connect();
    client.send(
        "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let switched = client.response().expect("101");
    assert_eq!(switched.status(), 101, "{}", switched.start_line);
    assert_eq!(switched.value("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client.send(b"\x81\x85\x01\x02\x03\x04masks");
    client.read_until(b"masks");
    client.half_close();
    let (rest, _) = client.read_to_close();
    assert!(rest.ends_with(b"bye"), "{}", rest.escape_ascii());
}

#[test]
fn a_backend_that_takes_no_tunnels_is_asked_without() {
    // RFC 9110 7.8: an upgrade may be ignored; RFC 8441 3: without the setting there is none.
    let (address, seen) = server_of(h2::server::Builder::new(), echo);
    let proxy = proxy_before(address);
    let mut client = proxy.connect();
    for _ in 0..6 {
        client.send(
            "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        let answer = client.final_response().expect("the backend's own");
        assert_eq!((answer.status(), answer.value("x-asked")), (200, Some("GET http://x/ws")));
    }
    let mut frames = Frames::connect(proxy.address());
    frames.headers(1, 0, &crate::upgrade::EXTENDED_CONNECT);
    assert_eq!(frames.outcome(1), Outcome::Status(501), "its 200 is no tunnel");
    assert_eq!(seen.streams.load(Ordering::Relaxed), 7);
    assert_eq!(proxy.pool().backends[0].breaker.consecutive_failures(), 0);
}

#[test]
fn answers_that_nobody_takes_hold_up_nobody_else() {
    // RFC 9113 5.2.2 and 10.5: the window of a connection is one for all clients that share it.
    async fn answer(request: Request<RecvStream>, mut respond: Respond, _: usize) -> Option<()> {
        let length = if request.uri().path() == "/h2" { 1_000_000 } else { 3 };
        let mut stream = respond.send_response(Response::new(()), false).ok()?;
        stream.send_data(vec![b'x'; length].into(), true).ok()
    }
    const STALLED: usize = 40;
    let (address, seen) = server(answer);
    let proxy = proxy_before(address);
    let mut frames = Frames::connect(proxy.address());
    // Its windows are, and stay, of no size: INITIAL_WINDOW_SIZE is 0.
    frames.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    for stream in (1..).step_by(2).take(STALLED) {
        frames.headers(stream, END_STREAM, &request("GET", &[]));
    }
    let heads = frames.by_ref().filter(|one| one.kind == HEADERS && one.status() == 200);
    assert_eq!(heads.take(STALLED).count(), STALLED);
    let mut client = proxy.connect();
    for _ in 0..20 {
        assert_eq!(client.ask(get("/small")).text(), "xxx");
    }
    assert_eq!(seen.connections.load(Ordering::Relaxed), 1);
}

#[test]
fn a_head_that_a_backend_does_not_take_is_not_sent() {
    // RFC 9113 6.5.2 and 10.5.1: some end their connection over it, and others are on that.
    let mut builder = h2::server::Builder::new();
    builder.max_header_list_size(4096);
    let (address, seen) = server_of(builder, echo);
    let proxy = proxy_before(address);
    let mut client = proxy.connect();
    for length in [2_000, 5_000, 2_000] {
        let cookie = format!("Cookie: {}\r\n", "x".repeat(length));
        let answer = client.ask(get_with("/", &cookie));
        match length {
            5_000 => is_refusal(&answer, HEAD_TOO_LARGE).expect("our own"),
            _ => assert_eq!((answer.status(), answer.text().as_str()), (200, "0 true")),
        }
    }
    let counts = [&seen.connections, &seen.streams].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(counts, [1, 2]);
    assert_eq!(proxy.pool().backends[0].breaker.consecutive_failures(), 0);
}

#[test]
fn a_backend_that_speaks_http1_is_found_out() {
    let backend = evenkeel_testkit::backend::Backend::answering(evenkeel_testkit::backend::OK);
    let address = backend.address().parse().expect("an address");
    let proxy = proxy_before(address);
    assert_eq!(proxy.connect().ask(get("/")).status(), 502);
    eventually("an end", || proxy.wait_for_records(1).len() == 1);
}
