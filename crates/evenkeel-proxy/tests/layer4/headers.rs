//! PROXY headers, in and out (INTERFACE: `proxy_protocol`).

use evenkeel_core::plan::{AcceptProxy, Plan, SendProxy};
use evenkeel_core::proxy_protocol::{self, Opening, TlsTold, Told, write_v1, write_v2};
use evenkeel_testkit::backend::{Backend, OK};
use evenkeel_testkit::client::Client;
use evenkeel_testkit::frames::{END_STREAM, Frames, Outcome, get};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use std::time::{Duration, Instant};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn told() -> Told {
    Told::Client {
        source: "203.0.113.9:4711".parse().unwrap(),
        destination: "198.51.100.1:80".parse().unwrap(),
    }
}

fn v1() -> Vec<u8> {
    let mut out = Vec::new();
    write_v1(&told(), &mut out);
    out
}

fn v2(told: &Told) -> Vec<u8> {
    let mut out = Vec::new();
    write_v2(told, &TlsTold::default(), &mut out);
    out
}

fn plan(backend: &Backend, accept: AcceptProxy, trusted: bool) -> Plan {
    let plan = PlanBuilder::to(&[backend.address()]).listener(|listener| {
        listener.proxy_protocol = accept;
        if trusted {
            listener.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        }
    });
    plan.build()
}

/// What the backend was told of the client, or the status of a refusal; `None` if it was closed.
fn ask(backend: &Backend, accept: AcceptProxy, trusted: bool, bytes: &[u8]) -> Option<String> {
    let proxy = Proxy::start(&plan(backend, accept, trusted));
    let mut client = proxy.connect();
    let before = backend.requests().len();
    let _ = client.try_send(bytes);
    let response = client.response().ok()?;
    if response.status() != 200 {
        return Some(response.status().to_string());
    }
    let (_, request) = &backend.requests()[before];
    request.value("x-forwarded-for").map(str::to_owned)
}

#[test]
fn a_header_is_believed_from_trusted_peers_only() {
    use AcceptProxy::{Off, Optional, Required};
    let backend = Backend::answering(OK);
    let unknown = [b"PROXY UNKNOWN\r\n", GET].concat();
    let local = [&v2(&Told::Nothing), GET].concat();
    let (one, two) = ([&v1(), GET].concat(), [&v2(&told()), GET].concat());
    let broken = [b"PROXY TCP4 1 2 3 4\r\n", GET].concat();
    let (own, other, bad) = (Some("127.0.0.1"), Some("203.0.113.9"), Some("400"));
    for (accept, trusted, bytes, wanted) in [
        (Required, true, &one[..], other),
        (Required, true, &two, other),
        (Required, true, &unknown, own),
        (Required, true, &local, own),
        (Required, true, GET, None),
        (Required, true, &broken, None),
        (Required, false, &one, None),
        (Required, false, GET, None),
        (Optional, true, &one, other),
        (Optional, true, &two, other),
        (Optional, true, GET, own),
        (Optional, true, &broken, None),
        (Optional, false, &one, bad),
        (Optional, false, GET, own),
        (Off, true, &one, bad),
        (Off, true, GET, own),
    ] {
        let seen = ask(&backend, accept, trusted, bytes);
        let shown = bytes.escape_ascii();
        assert_eq!(seen.as_deref(), wanted, "{accept:?} {trusted} {shown}");
    }
}

#[test]
fn a_header_may_come_byte_by_byte_but_not_for_ever() {
    let backend = Backend::answering(OK);
    let mut plan = plan(&backend, AcceptProxy::Required, true);
    // As patient as usual: on a busy machine a hundred slices take their time.
    let patient = Proxy::start(&plan);
    let mut client = patient.connect();
    client.send_in_slices(&[&v2(&told()), GET].concat(), 1);
    assert_eq!(client.response().expect("a response").status(), 200);
    drop(client);
    plan.listeners[0].limits.request_head_timeout = Duration::from_millis(400);
    let proxy = Proxy::start(&plan);
    for opening in [&b"PROXY TCP4 "[..], b"\r\n\r\n\0\r\nQUIT\n\x21"] {
        let begin = Instant::now();
        let mut client = proxy.connect();
        client.send(opening);
        client.read_to_close();
        assert!(begin.elapsed() < Duration::from_secs(3));
    }
    assert!(proxy.wait_for_no_clients());
}

#[test]
fn clients_behind_one_proxy_are_counted_each() {
    let backend = Backend::answering(OK);
    for (header, expected) in [(v1(), [200, 200, 0]), (b"PROXY UNKNOWN\r\n".to_vec(), [200; 3])] {
        let mut plan = plan(&backend, AcceptProxy::Required, true);
        plan.listeners[0].limits.max_connections_per_ip = 2;
        let proxy = Proxy::start(&plan);
        let mut kept = Vec::new();
        let mut ask = |header: &[u8]| {
            let mut client = proxy.connect();
            let _ = client.try_send([header, GET].concat());
            let status = client.response().map_or(0, |response| response.status());
            kept.push(client);
            status
        };
        assert_eq!([ask(&header), ask(&header), ask(&header)], expected);
        let another = b"PROXY TCP4 203.0.113.10 198.51.100.1 1 80\r\n";
        assert_eq!(ask(another), 200, "another client of the same proxy");
    }
}

/// A pool that sends headers of a version, and its backend, which reads them.
fn told_backend(version: SendProxy) -> (Backend, Proxy) {
    let backend = Backend::start(move |conversation| {
        // The second version begins with an empty line; a request ends with one.
        if version == SendProxy::V2 && !conversation.head() {
            return;
        }
        while conversation.head() {
            if !conversation.send(OK) {
                return;
            }
        }
    });
    let plan = PlanBuilder::to(&[backend.address()]).pool(|pool| pool.proxy_protocol = version);
    let proxy = Proxy::start(&plan.build());
    (backend, proxy)
}

/// Every connection of a backend began with the client's header.
fn assert_told(backend: &Backend, proxy: &Proxy) {
    for bytes in backend.received() {
        let Ok(Opening::Header(Told::Client { source, destination }, used)) =
            proxy_protocol::parse(&bytes)
        else {
            panic!("{}", bytes.escape_ascii());
        };
        assert_eq!(source.ip().to_string(), "127.0.0.1");
        assert_eq!(destination.to_string(), proxy.address());
        assert!(bytes[used..].starts_with(b"GET /"));
    }
}

#[test]
fn every_new_connection_begins_with_ours() {
    for version in [SendProxy::V1, SendProxy::V2] {
        let (backend, proxy) = told_backend(version);
        let port = |client: &mut Client| {
            client.send(GET);
            assert_eq!(client.response().expect("a response").status(), 200);
        };
        let (mut one, mut two) = (proxy.connect(), proxy.connect());
        port(&mut one);
        port(&mut two);
        port(&mut one);
        assert!(backend.connections() >= 2, "no client speaks for another");
        assert_told(&backend, &proxy);
    }
}

#[test]
fn streams_of_http2_have_a_client_too() {
    for version in [SendProxy::V1, SendProxy::V2] {
        let (backend, proxy) = told_backend(version);
        let mut frames = Frames::connect(proxy.address());
        for stream in [1, 3] {
            frames.headers(stream, END_STREAM, &get(&[]));
            assert_eq!(frames.outcome(stream), Outcome::Status(200), "{version:?}");
        }
        assert!(backend.connections() >= 1);
        assert_told(&backend, &proxy);
    }
}
