//! The test backend as a client sees it: bytes through real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use evenkeel_load::{TestServer, TestServerOptions};
use serde_json::Value;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

fn options() -> TestServerOptions {
    TestServerOptions {
        name: "tb".to_owned(),
        delay: Duration::ZERO,
        fail_rate: 0.0,
        status: 200,
        body_size: 0,
    }
}

async fn start(options: TestServerOptions) -> SocketAddr {
    let server = TestServer::bind((Ipv4Addr::LOCALHOST, 0).into(), options).await.expect("bind");
    let address = server.local_addr();
    tokio::spawn(server.serve(pending()));
    address
}

/// A client that reads exactly what it asks for.
struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

impl Client {
    async fn new(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).await.expect("connect");
        Client { stream, received: Vec::new() }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("write");
    }

    async fn more(&mut self) -> usize {
        let read = self.stream.read_buf(&mut self.received);
        timeout(PATIENCE, read).await.expect("an answer in time").expect("read")
    }

    async fn take(&mut self, bytes: usize) -> Vec<u8> {
        while self.received.len() < bytes {
            assert!(self.more().await > 0, "closed early: {:?}", self.received);
        }
        self.received.drain(..bytes).collect()
    }

    async fn take_until(&mut self, end: &[u8]) -> String {
        loop {
            let found = self.received.windows(end.len()).position(|window| window == end);
            if let Some(at) = found {
                return String::from_utf8(self.take(at + end.len()).await).expect("text");
            }
            assert!(self.more().await > 0, "closed early: {:?}", self.received);
        }
    }

    async fn head(&mut self) -> (u16, String) {
        let head = self.take_until(b"\r\n\r\n").await;
        (head[9..12].parse().expect("status"), head.to_ascii_lowercase())
    }

    async fn answer(&mut self) -> Answer {
        let (status, head) = self.head().await;
        let length = head.split("content-length: ").nth(1).map(|rest| rest.lines().next());
        let length = length.flatten().map_or(0, |text| text.parse().expect("length"));
        Answer { status, head, body: self.take(length).await }
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        self.answer().await
    }

    async fn is_closed(&mut self) -> bool {
        self.received.is_empty() && self.more().await == 0
    }
}

#[tokio::test]
async fn plain_answers_on_one_connection() {
    let mut client = Client::new(start(options()).await).await;
    for path in ["/", "/any/thing?x=1", "*"] {
        let answer = client.get(path).await;
        assert_eq!((answer.status, answer.text()), (200, "Hello from tb\n"));
        assert!(answer.head.contains("x-backend: tb\r\n"));
        assert!(!answer.head.contains("connection:"));
    }
}

#[tokio::test]
async fn options_shape_the_plain_answer_only() {
    let shaped = TestServerOptions {
        delay: Duration::from_millis(60),
        status: 418,
        body_size: 100_000,
        ..options()
    };
    let mut client = Client::new(start(shaped).await).await;
    let before = Instant::now();
    let answer = client.get("/").await;
    assert!(before.elapsed() >= Duration::from_millis(60));
    assert_eq!((answer.status, answer.body.len()), (418, 100_000));
    let health = client.get("/health").await;
    assert_eq!((health.status, health.text()), (200, "ok"));
}

#[tokio::test]
async fn fail_rate_fails_that_share() {
    for (rate, range) in [(1.0, 200..=200), (0.5, 60..=140), (0.0, 0..=0)] {
        let address = start(TestServerOptions { fail_rate: rate, ..options() }).await;
        let mut client = Client::new(address).await;
        let mut failed = 0;
        for _ in 0..200 {
            failed += u32::from(client.get("/").await.status == 500);
            assert_eq!(client.get("/health").await.status, 200);
        }
        assert!(range.contains(&failed), "{failed} of 200 at {rate}");
    }
}

#[tokio::test]
async fn paths_with_their_own_behaviour() {
    let mut client = Client::new(start(options()).await).await;
    assert_eq!(client.get("/status/503").await.status, 503);
    let none = client.get("/status/204").await;
    assert!(none.status == 204 && !none.head.contains("content-length"));
    let before = Instant::now();
    assert_eq!(client.get("/delay/50ms").await.status, 200);
    assert!(before.elapsed() >= Duration::from_millis(50));
    for size in [0, 1, 65_536, 300_001] {
        assert_eq!(client.get(&format!("/bytes/{size}")).await.body.len(), size);
    }
    let wrong = client.get("/delay/soon").await;
    assert!(wrong.status == 400 && wrong.text().contains("250ms"));
}

#[tokio::test]
async fn echo_reports_the_request() {
    let mut client = Client::new(start(options()).await).await;
    client
        .send("POST /echo?x=1 HTTP/1.1\r\nHost: x\r\nX-Probe: Yes\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    let json = client.answer().await.json();
    let wanted = serde_json::json!({
        "method": "POST", "path": "/echo?x=1", "version": "HTTP/1.1",
        "headers": [["Host", "x"], ["X-Probe", "Yes"], ["Content-Length", "2"]],
        "body": "hi", "body_bytes": 2, "backend": "tb",
    });
    assert_eq!(json, wanted);
}

#[tokio::test]
async fn chunked_bodies_are_read_to_their_end() {
    let mut client = Client::new(start(options()).await).await;
    let head = "PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(head).await;
    let body = "3\r\nabc\r\n0a;x=y\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n";
    for byte in body.bytes() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    let json = client.answer().await.json();
    assert_eq!((&json["body"], &json["body_bytes"]), (&"abc0123456789".into(), &13.into()));
    client.send(format!("{head}3\r\nabcd\r\n0\r\n\r\n")).await;
    assert_eq!(client.answer().await.status, 400);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn long_bodies_are_counted_not_kept() {
    let mut client = Client::new(start(options()).await).await;
    let size = 3 * 1024 * 1024;
    client.send(format!("POST /echo HTTP/1.1\r\nContent-Length: {size}\r\n\r\n")).await;
    client.send(vec![b'y'; size]).await;
    let json = client.answer().await.json();
    assert_eq!(json["body_bytes"], size);
    assert_eq!(json["body"].as_str().expect("text").len(), 1024 * 1024);
    client.send(format!("POST / HTTP/1.1\r\nContent-Length: {size}\r\n\r\n")).await;
    client.send(vec![b'y'; size]).await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn expect_continue_gets_leave_first() {
    let mut client = Client::new(start(options()).await).await;
    let head = "POST /echo HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    client.send(head).await;
    assert_eq!(client.head().await.0, 100);
    client.send("hi").await;
    assert_eq!(client.answer().await.json()["body"], "hi");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let mut client = Client::new(start(options()).await).await;
    let requests: String =
        (200..260).map(|n| format!("GET /status/{n} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    client.send(requests).await;
    for n in 200..260 {
        assert_eq!(client.answer().await.status, n);
    }
}

#[tokio::test]
async fn connections_end_when_asked_to() {
    let address = start(options()).await;
    let cases = [
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "connection: close\r\n", true),
        ("GET / HTTP/1.0\r\n\r\n", "connection: close\r\n", true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "connection: keep-alive\r\n", false),
    ];
    for (request, field, closes) in cases {
        let mut client = Client::new(address).await;
        client.send(request).await;
        assert!(client.answer().await.head.contains(field), "{request}");
        if closes {
            assert!(client.is_closed().await, "{request}");
        } else {
            assert_eq!(client.get("/").await.status, 200, "{request}");
        }
    }
}

#[tokio::test]
async fn head_requests_have_the_head_only() {
    let mut client = Client::new(start(options()).await).await;
    for (path, length) in [("/", 14), ("/bytes/70000", 70_000), ("/health", 2)] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let (status, head) = client.head().await;
        assert_eq!(status, 200);
        assert!(head.contains(&format!("content-length: {length}\r\n")), "{head}");
    }
    assert_eq!(client.get("/").await.text(), "Hello from tb\n");
}

#[tokio::test]
async fn broken_requests_are_refused() {
    let address = start(options()).await;
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(70_000));
    let cases = [
        ("NONSENSE\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("CONNECT x:80 HTTP/1.1\r\n\r\n", 405),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (&long, 431),
    ];
    for (request, status) in cases {
        let mut client = Client::new(address).await;
        client.send(request).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status);
        assert!(answer.head.contains("connection: close\r\n"));
        assert!(client.is_closed().await);
    }
}

#[tokio::test]
async fn events_come_in_chunks() {
    let mut client = Client::new(start(options()).await).await;
    client.send("GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (status, head) = client.head().await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/event-stream\r\n"));
    for n in 1..=2 {
        let event = format!("id: {n}\ndata: {{\"n\":{n},\"backend\":\"tb\"}}\n\n");
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        assert_eq!(client.take(chunk.len()).await, chunk.as_bytes());
    }
}

#[tokio::test]
async fn stopping_closes_everything() {
    let server = TestServer::bind((Ipv4Addr::LOCALHOST, 0).into(), options()).await.expect("bind");
    let address = server.local_addr();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async {
        let _ = stopped.await;
    }));
    let mut client = Client::new(address).await;
    assert_eq!(client.get("/").await.status, 200);
    stop.send(()).expect("still serving");
    timeout(PATIENCE, serving).await.expect("in time").expect("no panic").expect("no error");
    assert!(client.is_closed().await);
    assert!(TcpStream::connect(address).await.is_err());
}

mod websocket {
    use super::{Client, options, start};

    const OPENING: &str = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    /// A frame masked with zeros, payload up to 65,535 bytes.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match u8::try_from(payload.len()) {
            Ok(length @ 0..126) => frame.push(0x80 | length),
            _ => {
                frame.push(0x80 | 126);
                let length = u16::try_from(payload.len()).expect("short");
                frame.extend_from_slice(&length.to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        frame
    }

    async fn open() -> Client {
        let mut client = Client::new(start(options()).await).await;
        client.send(OPENING).await;
        let (status, head) = client.head().await;
        assert_eq!(status, 101);
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
        assert!(head.contains("x-backend: tb\r\n"));
        client
    }

    #[tokio::test]
    async fn echoes_text_binary_and_fragments() {
        let mut client = open().await;
        client.send(masked(0x81, b"hello")).await;
        assert_eq!(client.take(7).await, b"\x81\x05hello");
        client.send(masked(0x82, &[7; 300])).await;
        assert_eq!(client.take(304).await[..4], [0x82, 126, 1, 44]);
        client.send(masked(0x01, b"he")).await;
        client.send(masked(0x89, b"ping")).await;
        client.send(masked(0x80, b"llo")).await;
        assert_eq!(client.take(6).await, b"\x8a\x04ping");
        assert_eq!(client.take(7).await, b"\x81\x05hello");
    }

    #[tokio::test]
    async fn frames_sent_with_the_opening_are_not_lost() {
        let mut client = Client::new(start(options()).await).await;
        let mut bytes = OPENING.as_bytes().to_vec();
        bytes.extend(masked(0x81, b"early"));
        client.send(bytes).await;
        assert_eq!(client.head().await.0, 101);
        assert_eq!(client.take(7).await, b"\x81\x05early");
    }

    #[tokio::test]
    async fn closes_with_the_reason() {
        let too_long = [&[0x82, 0xff][..], &(2u64 << 20).to_be_bytes(), &[0; 4]].concat();
        let cases = [
            ("asked to", masked(0x88, &[0x03, 0xe8]), 1000u16),
            ("unmasked frame", b"\x81\x05hello".to_vec(), 1002),
            ("not UTF-8", masked(0x81, b"\xff\xfe"), 1007),
            ("too long", too_long, 1009),
        ];
        for (what, bytes, code) in cases {
            let mut client = open().await;
            client.send(bytes).await;
            let [high, low] = code.to_be_bytes();
            assert_eq!(client.take(4).await, [0x88, 2, high, low], "{what}");
            assert!(client.is_closed().await, "{what}");
        }
    }

    #[tokio::test]
    async fn other_requests_are_told_to_upgrade() {
        let mut client = Client::new(start(options()).await).await;
        let answer = client.get("/ws").await;
        assert_eq!(answer.status, 426);
        assert!(answer.head.contains("sec-websocket-version: 13\r\n"));
    }
}
