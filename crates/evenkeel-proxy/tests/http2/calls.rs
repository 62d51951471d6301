//! gRPC calls from a client with one connection: each is balanced by itself, all four kinds stream,
//! and how they end is counted. Client and servers are made of the h2 library; another client and
//! other servers are those of `interop` and `.ci/check-grpc.py`.

use bytes::Bytes;
use evenkeel_core::address::BackendAddress;
use evenkeel_core::breaker::BreakerState;
use evenkeel_core::grpc;
use evenkeel_core::plan::{HealthCheck, HttpCheck, PoolProtocol};
use evenkeel_proxy::sounding::Sounding;
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use evenkeel_testkit::wire::PATIENCE;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

fn runtime() -> LocalRuntime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build_local(LocalOptions::default()).expect("a runtime")
}

/// One message as gRPC frames it.
fn message(text: &[u8]) -> Bytes {
    let length = u32::try_from(text.len()).expect("short").to_be_bytes();
    [&[0][..], &length, text].concat().into()
}

/// A server that says its name; serves until the process ends.
fn server(name: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        runtime().block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((socket, _)) = listener.accept().await {
                tokio::task::spawn_local(async move {
                    let Ok(mut link) = h2::server::handshake(socket).await else { return };
                    while let Some(Ok((request, respond))) = link.accept().await {
                        tokio::task::spawn_local(answer(name, request, respond));
                    }
                });
            }
        });
    });
    address
}

async fn answer(
    name: &'static str,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Option<()> {
    let path = request.uri().path().to_owned();
    let head = Response::builder().header("content-type", "application/grpc");
    let head = head.header("x-backend", name).body(()).ok()?;
    if path == "/test.S/Hangs" {
        return std::future::pending().await;
    }
    let mut sent = respond.send_response(head, false).ok()?;
    let mut frames = request.into_body();
    let mut heard = 0;
    while let Some(data) = frames.data().await {
        let data = data.ok()?;
        frames.flow_control().release_capacity(data.len()).ok()?;
        heard += data.len();
        if path == "/test.S/Both" {
            sent.send_data(data, false).ok()?;
        }
    }
    let (messages, status) = match &*path {
        "/test.S/Server" => (5, "0"),
        "/test.S/Both" => (0, "0"),
        "/test.S/Fails" => (0, "13"),
        "/test.S/Stalls" => return std::future::pending().await,
        "/test.S/Breaks" => {
            sent.send_reset(h2::Reason::CANCEL);
            return None;
        }
        _ => (1, "0"),
    };
    for _ in 0..messages {
        sent.send_data(message(heard.to_string().as_bytes()), false).ok()?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().ok()?);
    sent.send_trailers(trailers).ok()
}

/// A client with one connection.
struct Caller(SendRequest<Bytes>);

impl Caller {
    async fn to(proxy: &Proxy) -> Caller {
        let socket = tokio::net::TcpStream::connect(proxy.address()).await.expect("connected");
        let (sender, link) = h2::client::handshake(socket).await.expect("HTTP/2");
        tokio::task::spawn_local(link);
        Caller(sender)
    }

    async fn begin(&mut self, name: &str) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        self.begin_within(name, "1H").await
    }

    async fn begin_within(
        &mut self,
        name: &str,
        timeout: &str,
    ) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let request = Request::post(format!("http://x/test.S/{name}"))
            .header("content-type", "application/grpc")
            .header("grpc-timeout", timeout)
            .header("te", "trailers");
        self.0 = self.0.clone().ready().await.expect("a live connection");
        self.0.send_request(request.body(()).expect("a request"), false).expect("sent")
    }

    /// A whole call with so many messages: who answered, what came, and how it ended.
    async fn call(&mut self, name: &str, messages: usize) -> (String, Vec<u8>, String) {
        let (response, mut body) = self.begin(name).await;
        for number in 0..messages {
            body.send_data(message(b"hello"), number + 1 == messages).expect("sent");
        }
        let response = response.await.expect("a response");
        let value = |fields: &HeaderMap, name| {
            fields.get(name).map(|value| value.to_str().expect("text").to_owned())
        };
        let backend = value(response.headers(), "x-backend").unwrap_or_default();
        let alone = value(response.headers(), "grpc-status");
        let mut frames = response.into_body();
        let mut heard = Vec::new();
        while let Some(data) = frames.data().await {
            let data = data.expect("a whole body");
            frames.flow_control().release_capacity(data.len()).expect("open");
            heard.extend_from_slice(&data);
        }
        let trailers = frames.trailers().await.expect("an end").unwrap_or_default();
        let status = value(&trailers, "grpc-status").or(alone).expect("a status");
        (backend, heard, status)
    }
}

fn proxy_before(names: &[&'static str]) -> Proxy {
    let addresses: Vec<String> = names.iter().map(|name| server(name)).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let plan = PlanBuilder::to(&addresses).pool(|pool| pool.protocol = PoolProtocol::Http2);
    Proxy::start(&plan.build())
}

/// Waits until so many calls were counted, and says how they ended.
fn counted(proxy: &Proxy, calls: u64) -> Vec<(usize, u64)> {
    let until = Instant::now() + PATIENCE;
    loop {
        let totals = proxy.server().state().stats().read().merged(|_| true).calls;
        if totals.iter().sum::<u64>() >= calls {
            return totals.into_iter().enumerate().filter(|(_, count)| *count > 0).collect();
        }
        assert!(Instant::now() < until, "{totals:?}");
        std::thread::yield_now();
    }
}

#[test]
fn three_hundred_calls_on_one_connection_are_a_hundred_each() {
    let proxy = proxy_before(&["a", "b", "c"]);
    let shares = runtime().block_on(async {
        let mut caller = Caller::to(&proxy).await;
        let mut shares = BTreeMap::new();
        for _ in 0..300 {
            let (backend, heard, status) = caller.call("Unary", 1).await;
            assert_eq!((&heard[..], &*status), (&message(b"10")[..], "0"));
            *shares.entry(backend).or_insert(0) += 1;
        }
        shares
    });
    let expected = ["a", "b", "c"].map(|name| (name.to_owned(), 100));
    assert_eq!(shares, BTreeMap::from(expected));
    assert_eq!(counted(&proxy, 300), [(usize::from(grpc::OK), 300)]);
}

#[test]
fn all_four_kinds_stream() {
    let proxy = proxy_before(&["a"]);
    runtime().block_on(async {
        let mut caller = Caller::to(&proxy).await;
        for (name, sent, expected) in [
            ("Unary", 1, message(b"10").to_vec()),
            ("Client", 3, message(b"30").to_vec()),
            ("Server", 1, message(b"10").repeat(5)),
            ("Both", 4, message(b"hello").repeat(4)),
        ] {
            let (_, heard, status) = caller.call(name, sent).await;
            assert_eq!((heard, &*status), (expected, "0"), "{name}");
        }
        // Word by word: each answer comes before the next question is asked.
        let (response, mut body) = caller.begin("Both").await;
        body.send_data(message(b"first"), false).expect("sent");
        let mut frames = response.await.expect("a response").into_body();
        for next in [&b"second"[..], b"third"] {
            let heard = frames.data().await.expect("more").expect("a live stream");
            frames.flow_control().release_capacity(heard.len()).expect("open");
            body.send_data(message(next), false).expect("sent");
        }
        assert_eq!(frames.data().await.expect("more").expect("a live stream"), message(b"third"));
    });
}

#[test]
fn how_calls_end_is_counted() {
    let proxy = proxy_before(&["a"]);
    runtime().block_on(async {
        let mut caller = Caller::to(&proxy).await;
        assert_eq!(caller.call("Unary", 1).await.2, "0");
        assert_eq!(caller.call("Fails", 1).await.2, "13");
        let (response, mut body) = caller.begin("Stalls").await;
        body.send_data(message(b"hello"), true).expect("sent");
        response.await.expect("a response");
        body.send_reset(h2::Reason::CANCEL);
        // The connection must live until the reset has left.
        assert_eq!(caller.call("Unary", 1).await.2, "0");
    });
    let codes = [grpc::OK, grpc::CANCELLED, 13].map(usize::from);
    assert_eq!(counted(&proxy, 4), [(codes[0], 2), (codes[1], 1), (codes[2], 1)]);
}

#[test]
fn a_head_that_is_refused_as_a_whole_ends_a_call_too() {
    let proxy = proxy_before(&["a"]);
    runtime().block_on(async {
        let mut requests = Caller::to(&proxy).await.0.ready().await.expect("a connection");
        let call =
            Request::post("http://x/test.S/Unary").header("content-type", "application/grpc");
        let many = (0..200).fold(call, |request, _| request.header("x", "y"));
        let sent = requests.send_request(many.body(()).expect("a request"), false);
        let response = sent.expect("sent").0.await.expect("a local reply");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers().get("grpc-status").expect("one"), "8");
        assert!(response.into_body().is_end_stream());
    });
}

/// Ends with the status DEADLINE_EXCEEDED, told alone.
async fn is_late(response: h2::client::ResponseFuture) {
    let response = response.await.expect("a local reply");
    assert_eq!(response.headers().get("grpc-status").expect("one"), "4");
    assert!(response.into_body().is_end_stream());
}

#[test]
fn a_time_that_the_client_sets_blames_nobody() {
    let proxy = proxy_before(&["a"]);
    runtime().block_on(async {
        let mut caller = Caller::to(&proxy).await;
        // At first there is not even a connection.
        for timeout in ["1n", "0S", "1u", "1m", "30m"].repeat(2) {
            let (response, mut body) = caller.begin_within("Hangs", timeout).await;
            body.send_data(message(b"hello"), true).expect("sent");
            is_late(response).await;
            // One whose answer has begun ends in trailers.
            let (response, mut body) = caller.begin_within("Stalls", timeout).await;
            body.send_data(message(b"hello"), true).expect("sent");
            let response = response.await.expect("a head");
            let alone = response.headers().get("grpc-status").cloned();
            let mut frames = response.into_body();
            assert!(frames.data().await.is_none(), "no message");
            let trailers = frames.trailers().await.expect("in order").unwrap_or_default();
            let status = trailers.get("grpc-status").or(alone.as_ref()).expect("a status");
            assert_eq!(status, "4", "{timeout}");
        }
    });
    let pool = proxy.pool();
    let breaker = &pool.backends[0].breaker;
    assert_eq!((breaker.consecutive_failures(), breaker.state()), (0, BreakerState::Closed));
}

#[test]
fn a_backend_that_breaks_off_ends_a_call_and_not_its_stream() {
    let proxy = proxy_before(&["a"]);
    runtime().block_on(async {
        let mut caller = Caller::to(&proxy).await;
        let (_, _, status) = caller.call("Breaks", 1).await;
        assert_eq!(status, grpc::UNAVAILABLE.to_string());
        assert_eq!(caller.call("Unary", 1).await.2, "0", "its connection lives");
    });
    assert_eq!(proxy.pool().backends[0].breaker.consecutive_failures(), 0, "one good call since");
    assert_eq!(counted(&proxy, 2), [(usize::from(grpc::OK), 1), (14, 1)]);
}

#[test]
fn a_backend_that_answers_nobody_is_found_out_whatever_time_its_clients_set() {
    let proxy = proxy_before(&["a"]);
    runtime().block_on(async {
        let mut caller = Caller::to(&proxy).await;
        let mut waiting = Vec::new();
        for _ in 0..8 {
            let (response, mut body) = caller.begin_within("Hangs", "300m").await;
            body.send_data(message(b"hello"), true).expect("sent");
            waiting.push(response);
        }
        for response in waiting {
            is_late(response).await;
        }
    });
    assert_eq!(proxy.pool().backends[0].breaker.state(), BreakerState::Open);
}

#[test]
fn questions_of_our_own_are_spoken_as_the_pool_speaks() {
    let proxy = proxy_before(&["a", "b"]);
    let asking = |check| Sounding {
        snapshot: proxy.server().state().snapshot(),
        pool: proxy.pool().plan.name.clone(),
        check,
        timeout: PATIENCE,
    };
    let page = |status: u16| {
        HealthCheck::Http(HttpCheck {
            path: "/page".to_owned(),
            method: "GET".to_owned(),
            host: String::new(),
            expect_status: vec![status..=status],
            expect_body: String::new(),
            by_default: false,
        })
    };
    runtime().block_on(async {
        // These servers know nothing but HTTP/2.
        assert_eq!(asking(page(200)).ask_in_turn(5).await, Ok(()));
        let elsewhere = server("c");
        let at = |text: &str| BackendAddress::parse(text).expect("an address");
        assert_eq!(asking(page(200)).ask_at(at(&elsewhere), &[]).await, Ok(()));
        let named = elsewhere.replace("127.0.0.1", "app.example");
        let here = [Ipv4Addr::LOCALHOST.into()];
        assert_eq!(asking(page(200)).ask_at(at(&named), &here).await, Ok(()));
        assert!(asking(page(200)).ask_at(at(&named), &[]).await.is_err(), "nobody knows it");
        let why = asking(page(204)).ask_in_turn(3).await.expect_err("not 204");
        assert!(why.starts_with("3 of 3 requests failed, first ") && why.ends_with("status 200"));
        let call = HealthCheck::Grpc(String::new());
        let why = asking(call).ask_in_turn(2).await.expect_err("it answers something else");
        assert!(why.starts_with("2 of 2 requests failed"), "{why}");
    });
}
