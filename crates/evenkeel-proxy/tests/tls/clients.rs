//! TLS towards clients (reliability 1G).

use crate::stage::{Authority, Client, Manner, demands, tls};
use evenkeel_core::plan::{AffinityPlan, CookiePlan, ListenerTlsPlan, Plan, TlsVersion};
use evenkeel_core::stats::Handshake;
use evenkeel_testkit::backend::{Backend, OK};
use evenkeel_testkit::client::Client as PlainClient;
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use rustls::HandshakeKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

fn plan(backend: &Backend, tls: ListenerTlsPlan) -> Plan {
    PlanBuilder::to(&[backend.address()]).listener(|listener| listener.tls = Some(tls)).build()
}

/// How often handshakes of the first listener came to this.
fn counted(proxy: &Proxy, result: Handshake) -> u64 {
    let totals = proxy.server().state().stats().read();
    totals.listeners[0].1.handshakes[result as usize]
}

fn wait_for(proxy: &Proxy, result: Handshake) {
    let until = Instant::now() + Duration::from_secs(5);
    while counted(proxy, result) == 0 {
        assert!(Instant::now() < until, "no {}", result.as_str());
        std::thread::yield_now();
    }
}

#[test]
fn a_request_over_tls_is_served_and_says_so() {
    let (backend, authority) = (Backend::answering(OK), Authority::new());
    let mut plan = plan(&backend, tls(&[&authority.sign(&["a.test"])]));
    plan.pools[0].affinity = AffinityPlan::Cookie(CookiePlan {
        name: "tie".into(),
        ttl: Duration::from_secs(60),
        secret_file: None,
    });
    let proxy = Proxy::start(&plan);
    let config = Arc::new(Manner::plain().config);
    let mut client = Client::connect(proxy.address(), "a.test", &config).expect("let in");
    assert_eq!(client.session().alpn_protocol(), Some(&b"http/1.1"[..]));
    for _ in 0..3 {
        let response = client.ask(GET);
        assert_eq!((response.status(), response.text()), (200, "ok".to_owned()));
        assert!(response.value("set-cookie").expect("a tie").contains("; Secure"));
    }
    let request = &backend.requests()[0].1;
    assert_eq!(request.value("x-forwarded-proto"), Some("https"));
    assert_eq!(request.value("client-cert"), None);
    client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response().expect("a response").status(), 200);
    assert!(client.ends_in_order(), "close_notify, RFC 8446 6.1");
    assert_eq!(counted(&proxy, Handshake::Success), 1);
}

#[test]
fn bodies_arrive_whole_whatever_their_size() {
    let backend = Backend::by_request(|request| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
        [head.as_bytes(), &request.body].concat()
    });
    let authority = Authority::new();
    let proxy = Proxy::start(&plan(&backend, tls(&[&authority.sign(&["a.test"])])));
    let config = Arc::new(Manner::plain().config);
    let mut client = Client::connect(proxy.address(), "a.test", &config).expect("let in");
    for size in [0, 1, 4095, 16_384, 16_385, 65_536, 200_001, 3_000_000] {
        let body: Vec<u8> =
            (0..size).map(|at: usize| u8::try_from(at * 7 % 251).unwrap()).collect();
        let head = format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {size}\r\n\r\n");
        client.send(head.as_bytes()).send(&body);
        let response = client.response().expect("a response");
        assert!(response.body == body, "{size}");
    }
}

#[test]
fn server_name_picks_the_certificate() {
    let (backend, authority) = (Backend::answering(OK), Authority::new());
    let files = [
        authority.sign(&["first.test"]),
        authority.sign(&["*.b.test", "b.test"]),
        authority.sign(&["x.b.test"]),
    ];
    let proxy = Proxy::start(&plan(&backend, tls(&[&files[0], &files[1], &files[2]])));
    for (name, wanted) in [
        (Some("first.test"), 0),
        (Some("b.test"), 1),
        (Some("y.b.test"), 1),
        (Some("x.b.test"), 2),
        (Some("X.B.test"), 2),
        (Some("other.test"), 0),
        (None, 0),
    ] {
        let manner = Manner::plain();
        let manner = if name.is_none() { manner.without_name() } else { manner };
        let config = Arc::new(manner.config);
        let asked = name.unwrap_or("none.test");
        Client::connect(proxy.address(), asked, &config).expect("let in");
        let seen = manner.seen.certificates.lock().unwrap();
        assert_eq!(seen.last(), files[wanted].chain().first(), "{name:?}");
    }
}

#[test]
fn a_host_of_another_certificate_is_misdirected() {
    let (backend, authority) = (Backend::answering(OK), Authority::new());
    let (a, b) = (authority.sign(&["a.test"]), authority.sign(&["b.test"]));
    let proxy = Proxy::start(&plan(&backend, tls(&[&a, &b])));
    let config = Arc::new(Manner::plain().config);
    for (name, host, status) in [
        ("a.test", "a.test", 200),
        ("a.test", "A.test:8443", 200),
        ("a.test", "b.test", 421),
        ("b.test", "a.test", 421),
        ("b.test", "b.test", 200),
        ("a.test", "nobody.test", 421),
        ("b.test", "nobody.test", 421),
    ] {
        let mut client = Client::connect(proxy.address(), name, &config).expect("let in");
        let response = client.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(response.status(), status, "{name} {host}");
        if status == 421 {
            assert!(response.text().contains("misdirected"));
        }
    }
}

#[test]
fn no_protocol_of_ours_is_refused() {
    let (backend, authority) = (Backend::answering(OK), Authority::new());
    let proxy = Proxy::start(&plan(&backend, tls(&[&authority.sign(&["a.test"])])));
    let config = Arc::new(Manner::plain().offering(&["spdy/3"]).config);
    let error = Client::connect(proxy.address(), "a.test", &config).err().expect("refused");
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    wait_for(&proxy, Handshake::NoProtocol);
    let config = Arc::new(Manner::plain().offering(&[]).config);
    let mut client = Client::connect(proxy.address(), "a.test", &config).expect("let in");
    assert_eq!(client.ask(GET).status(), 200, "without ALPN, HTTP/1.1");
}

#[test]
fn versions_below_the_minimum_are_refused() {
    let (backend, authority) = (Backend::answering(OK), Authority::new());
    let files = authority.sign(&["a.test"]);
    for (min_version, let_in) in [(TlsVersion::V12, true), (TlsVersion::V13, false)] {
        let tls = ListenerTlsPlan { min_version, ..tls(&[&files]) };
        let proxy = Proxy::start(&plan(&backend, tls));
        let config = Arc::new(Manner::with(None, &[&rustls::version::TLS12]).config);
        let client = Client::connect(proxy.address(), "a.test", &config);
        assert_eq!(client.is_ok(), let_in, "{min_version:?}");
        if let Ok(mut client) = client {
            assert_eq!(client.ask(GET).status(), 200);
        }
    }
}

#[test]
fn client_certificates_are_demanded_and_told() {
    let (backend, ours, theirs) = (Backend::answering(OK), Authority::new(), Authority::new());
    let server = ours.sign(&["a.test"]);
    let (good, bad) = (ours.sign(&["alice"]), theirs.sign(&["mallory"]));
    for required in [true, false] {
        let tls = ListenerTlsPlan { client_auth: demands(&ours.file, required), ..tls(&[&server]) };
        let proxy = Proxy::start(&plan(&backend, tls));
        let talk = |manner: Manner| {
            let config = Arc::new(manner.config);
            let mut client = Client::connect(proxy.address(), "a.test", &config)?;
            let spoof = "GET / HTTP/1.1\r\nHost: a.test\r\nClient-Cert: :c3Bvb2Y=:\r\n\
                         Client-Cert-Chain: :c3Bvb2Y=:\r\n\r\n";
            client.send(spoof.as_bytes()).response()
        };
        let before = backend.requests().len();
        assert_eq!(talk(Manner::with_certificate(&good)).expect("let in").status(), 200);
        let (_, request) = &backend.requests()[before];
        let shown = request.value("client-cert").expect("told");
        assert!(shown.starts_with(":MII") && shown.ends_with(':'), "{shown}");
        assert_eq!(request.value("client-cert-chain"), None);
        assert!(talk(Manner::with_certificate(&bad)).is_err(), "nobody we know signed it");
        wait_for(&proxy, Handshake::BadCertificate);
        let without = talk(Manner::plain());
        assert_eq!(without.is_ok(), !required);
        if required {
            wait_for(&proxy, Handshake::NoCertificate);
        } else {
            let (_, request) = &backend.requests()[before + 1];
            assert_eq!(request.value("client-cert"), None, "a client cannot state it");
        }
    }
}

#[test]
fn without_an_authority_nobody_is_let_in() {
    let (backend, ours) = (Backend::answering(OK), Authority::new());
    let (server, alice) = (ours.sign(&["a.test"]), ours.sign(&["alice"]));
    let good = std::fs::read(&ours.file).expect("written");
    let with = |ca: &std::path::Path| {
        plan(&backend, ListenerTlsPlan { client_auth: demands(ca, true), ..tls(&[&server]) })
    };
    let broken: [(&str, Option<&[u8]>, &str); 5] = [
        ("missing.pem", None, "cannot read"),
        ("empty.pem", Some(b""), "holds no certificate"),
        ("garbage.pem", Some(b"what is this?"), "holds no certificate"),
        ("cut.pem", Some(&good[..good.len() / 2]), "is no certificate file"),
        (
            "zeros.pem",
            Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "cannot be used",
        ),
    ];
    let proxy = Proxy::start(&with(&ours.file));
    let (known, unknown) = (Manner::with_certificate(&alice), Manner::plain());
    let (known, unknown) = (Arc::new(known.config), Arc::new(unknown.config));
    let asks = |config| {
        let mut client = Client::connect(proxy.address(), "a.test", config)?;
        client.send(GET.as_bytes()).response()
    };
    for (name, text, complaint) in broken {
        let ca = ours.path(name);
        if let Some(text) = text {
            std::fs::write(&ca, text).expect("written");
        }
        let at_start = Proxy::refused(&with(&ca));
        let at_reload = proxy.server().apply(with(&ca)).expect_err(name).to_string();
        for told in [at_start, at_reload] {
            let place = format!("listeners[0].tls.client_ca: {}", ca.display());
            let place = if text.is_none() { "listeners[0].tls.client_ca: " } else { &place };
            assert!(told.contains(place) && told.contains(complaint), "{name}: {told}");
        }
        assert_eq!(asks(&known).expect("as before").status(), 200, "{name}");
        assert!(asks(&unknown).is_err(), "{name}: nobody is let in without a certificate");
    }
    // The file of the configuration in force breaks: what was read from it goes on.
    std::fs::write(&ours.file, "").expect("written");
    proxy.server().apply(with(&ours.file)).expect_err("nothing to read");
    assert_eq!(asks(&known).expect("as before").status(), 200);
    assert!(asks(&unknown).is_err(), "the demand stands");
}

#[test]
fn without_tls_a_client_certificate_is_not_believed_either() {
    let backend = Backend::answering(OK);
    let proxy = Proxy::start(&PlanBuilder::to(&[backend.address()]).build());
    let spoof = "GET / HTTP/1.1\r\nHost: a\r\nClient-Cert: :c3Bvb2Y=:\r\n\r\n";
    assert_eq!(proxy.connect().ask(spoof).status(), 200);
    assert_eq!(backend.requests()[0].1.value("client-cert"), None);
}

#[test]
fn sessions_do_not_cross_names_or_listeners() {
    let (backend, authority) = (Backend::answering(OK), Authority::new());
    let (a, b) = (authority.sign(&["a.test"]), authority.sign(&["b.test"]));
    let mut plan = plan(&backend, tls(&[&a, &b]));
    let mut strict = plan.listeners[0].clone();
    strict.name = "strict".into();
    strict.tls.as_mut().unwrap().client_auth = demands(&authority.file, false);
    plan.listeners.push(strict);
    let proxy = Proxy::start(&plan);
    let second = proxy.server().addresses()[1].1.clone();
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        let config = Arc::new(Manner::with(None, versions).config);
        let kind = |address: &str, name: &str| {
            let mut client = Client::connect(address, name, &config).expect("let in");
            let host = name.to_owned();
            assert_eq!(
                client.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).status(),
                200
            );
            client.session().handshake_kind().expect("done")
        };
        assert_eq!(kind(proxy.address(), "a.test"), HandshakeKind::Full);
        assert_eq!(kind(proxy.address(), "a.test"), HandshakeKind::Resumed);
        assert_eq!(kind(&second, "a.test"), HandshakeKind::Full, "another client_auth");
        assert_eq!(kind(proxy.address(), "b.test"), HandshakeKind::Full, "another name");
    }
}

#[test]
fn plain_http_on_a_tls_port_is_told_so() {
    let (backend, authority) = (Backend::answering(OK), Authority::new());
    let proxy = Proxy::start(&plan(&backend, tls(&[&authority.sign(&["a.test"])])));
    let mut client = PlainClient::connect(proxy.address());
    let response = client.ask(GET);
    assert_eq!((response.status(), backend.connections()), (400, 0));
    assert!(response.text().contains("\"tls_required\""), "{}", response.text());
    assert!(response.text().contains("https://"), "{}", response.text());
    wait_for(&proxy, Handshake::Plaintext);
}

#[test]
fn one_deadline_covers_the_handshake() {
    // Reliability E3: a partial hello, PostgreSQL's request for TLS, a byte now and then.
    let (backend, authority) = (Backend::answering(OK), Authority::new());
    let handshake_timeout = Duration::from_millis(300);
    let tls = ListenerTlsPlan { handshake_timeout, ..tls(&[&authority.sign(&["a.test"])]) };
    let proxy = Proxy::start(&plan(&backend, tls));
    for opening in [&b"\x16\x03\x01\x02\x00"[..], b"\0\0\0\x08\x04\xd2\x16\x2f", b"\x16"] {
        let begin = Instant::now();
        let mut client = PlainClient::connect(proxy.address());
        client.send(opening);
        client.read_to_close();
        assert!(begin.elapsed() < Duration::from_secs(2), "{opening:?}");
    }
    assert!(counted(&proxy, Handshake::Timeout) > 0);
    assert!(proxy.wait_for_no_clients());
}

#[test]
fn a_stapled_response_is_sent() {
    let (backend, authority) = (Backend::answering(OK), Authority::new());
    let mut tls = tls(&[&authority.sign(&["a.test"])]);
    let file = authority.path("ocsp.der");
    let response = [0x30, 3, 0x0a, 1, 0];
    std::fs::write(&file, response).expect("written");
    tls.certificates[0].ocsp = Some(file);
    let proxy = Proxy::start(&plan(&backend, tls));
    let manner = Manner::plain();
    Client::connect(proxy.address(), "a.test", &Arc::new(manner.config)).expect("let in");
    assert_eq!(*manner.seen.ocsp.lock().unwrap(), response);
}

#[test]
fn garbage_is_refused_and_the_next_client_served() {
    let (backend, authority) = (Backend::answering(OK), Authority::new());
    let proxy = Proxy::start(&plan(&backend, tls(&[&authority.sign(&["a.test"])])));
    let long = [&b"\x16\x03\x01\xff\xff"[..], &[0; 70_000]].concat();
    for bytes in [&b"\x16\x03\x01\x00\x02\x01\x00"[..], b"\x80\x2e\x01\x00\x02", &long] {
        let mut client = PlainClient::connect(proxy.address());
        let _ = client.try_send(bytes);
        client.read_to_close();
    }
    let config = Arc::new(Manner::plain().config);
    let mut client = Client::connect(proxy.address(), "a.test", &config).expect("let in");
    assert_eq!(client.ask(GET).status(), 200);
}
