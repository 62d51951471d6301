//! HTTP/2 over TLS: whom a client says it is, and for which hosts one connection may be used.

use crate::stage::{Authority, Client, Files, Manner, demands, tls};
use evenkeel_core::plan::{ListenerTlsPlan, Plan};
use evenkeel_testkit::backend::{Backend, OK};
use evenkeel_testkit::frames::{
    DATA, END_HEADERS, END_STREAM, Frames, HEADERS, Outcome, PREFACE, PROTOCOL_ERROR, SETTINGS,
    block, frame,
};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use rustls::{ClientConfig, HandshakeKind};
use std::io::ErrorKind;
use std::sync::Arc;

fn plan(backend: &Backend, tls: ListenerTlsPlan) -> Plan {
    PlanBuilder::to(&[backend.address()]).listener(|listener| listener.tls = Some(tls)).build()
}

fn offering(manner: Manner) -> Arc<ClientConfig> {
    Arc::new(manner.offering(&["h2"]).config)
}

/// A connection that speaks HTTP/2, and how it began.
fn connect(address: &str, name: &str, config: &Arc<ClientConfig>) -> (Frames, HandshakeKind) {
    let client = Client::connect(address, name, config).expect("let in");
    assert_eq!(client.session().alpn_protocol(), Some(&b"h2"[..]));
    let kind = client.session().handshake_kind().expect("done");
    let mut frames = client.into_frames();
    // No table: a status that comes again is read as the first one was.
    let no_table = [&1u16.to_be_bytes()[..], &0u32.to_be_bytes()].concat();
    frames.send(&[PREFACE, &frame(SETTINGS, 0, 0, &no_table)].concat());
    (frames, kind)
}

fn get<'a>(authority: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields =
        vec![(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", authority)];
    fields.extend_from_slice(more);
    fields
}

fn ask(frames: &mut Frames, stream: u32, fields: &[(&str, &str)]) -> Outcome {
    frames.headers(stream, END_STREAM, fields);
    frames.outcome(stream)
}

/// All that backends were told of a certificate since `before`, in fields and in trailers.
fn told(backend: &Backend, before: usize) -> Vec<String> {
    let requests = backend.requests();
    let fields = requests[before..].iter().flat_map(|(_, request)| {
        let all = request.fields.iter().chain(&request.trailers);
        all.filter(|(name, _)| name.to_ascii_lowercase().replace('_', "-").contains("client-cert"))
    });
    fields.map(|(name, value)| format!("{}: {value}", name.to_ascii_lowercase())).collect()
}

/// What a client may try in order to be taken for another.
const SPOOFS: &[(&str, &str)] = &[
    ("client-cert", ":c3Bvb2Y=:"),
    ("client-cert-chain", ":c3Bvb2Y=:"),
    ("client_cert", ":c3Bvb2Y=:"),
    ("client_cert_chain", ":c3Bvb2Y=:"),
];

#[test]
fn an_identity_is_told_and_cannot_be_stated() {
    let (backend, ours, theirs) = (Backend::answering(OK), Authority::new(), Authority::new());
    let (server, alice) = (ours.sign(&["a.test"]), ours.sign(&["alice"]));
    let mallory = theirs.sign(&["mallory"]);
    for required in [true, false] {
        let tls = ListenerTlsPlan { client_auth: demands(&ours.file, required), ..tls(&[&server]) };
        let proxy = Proxy::start(&plan(&backend, tls));
        let talk = |who: &Files| {
            let config = offering(Manner::with_certificate(who));
            connect(proxy.address(), "a.test", &config).0
        };
        let before = backend.requests().len();
        let mut client = talk(&alice);
        assert_eq!(ask(&mut client, 1, &get("a.test", SPOOFS)), Outcome::Status(200));
        let shown = told(&backend, before);
        assert!(shown.len() == 1 && shown[0].starts_with("client-cert: :MII"), "{shown:?}");
        // In trailers.
        let before = backend.requests().len();
        let post: Vec<_> = get("a.test", &[("te", "trailers")])
            .into_iter()
            .map(|(name, value)| (name, if name == ":method" { "POST" } else { value }))
            .collect();
        client.headers(3, 0, &post);
        let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 3, &block(SPOOFS));
        client.send(&[frame(DATA, 0, 3, b"body"), trailers].concat());
        assert_eq!(client.outcome(3), Outcome::Status(200));
        assert_eq!(told(&backend, before), shown, "trailers state nothing");
        // Names in capitals are none in HTTP/2; the whole request is refused.
        let before = backend.requests().len();
        let capitals = get("a.test", &[("Client-Cert", ":c3Bvb2Y=:")]);
        let refused = ask(&mut client, 5, &capitals);
        let refusals = [Outcome::Reset(PROTOCOL_ERROR), Outcome::GoAway(PROTOCOL_ERROR)];
        assert!(refusals.contains(&refused), "{refused:?}");
        assert_eq!(backend.requests().len(), before);
        // Whom nobody knows is not let in, whatever is optional.
        let config = offering(Manner::with_certificate(&mallory));
        assert!(is_refused(proxy.address(), &config), "nobody we know signed it");
        let config = offering(Manner::plain());
        if required {
            assert!(is_refused(proxy.address(), &config), "it shows none");
            assert_eq!(backend.requests().len(), before);
        } else {
            let mut nobody = connect(proxy.address(), "a.test", &config).0;
            assert_eq!(ask(&mut nobody, 1, &get("a.test", SPOOFS)), Outcome::Status(200));
            assert_eq!(told(&backend, before), Vec::<String>::new(), "an identity from nowhere");
        }
    }
}

/// True if the handshake comes to nothing: in TLS 1.3 a client hears of it with its first read.
fn is_refused(address: &str, config: &Arc<ClientConfig>) -> bool {
    let waits = |kind| matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut);
    match Client::connect(address, "a.test", config) {
        Err(_) => true,
        Ok(mut client) => client.response().is_err_and(|error| !waits(error.kind())),
    }
}

#[test]
fn an_identity_outlives_neither_its_session_nor_its_authority() {
    let (backend, ours, next) = (Backend::answering(OK), Authority::new(), Authority::new());
    let (server, alice) = (ours.sign(&["a.test"]), ours.sign(&["alice"]));
    let with = |ca: &Authority| ListenerTlsPlan {
        client_auth: demands(&ca.file, false),
        ..tls(&[&server])
    };
    let proxy = Proxy::start(&plan(&backend, with(&ours)));
    let config = offering(Manner::with_certificate(&alice));
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let (mut client, kind) = connect(proxy.address(), "a.test", &config);
        assert_eq!(ask(&mut client, 1, &get("a.test", SPOOFS)), Outcome::Status(200));
        kinds.push(kind);
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
    let shown = told(&backend, 0);
    assert!(shown.len() == 2 && shown[0] == shown[1], "a resumed session is the same: {shown:?}");
    // Another authority: what the old one let in is not let in by a ticket.
    proxy.server().apply(plan(&backend, with(&next))).expect("files that can be read");
    assert!(
        is_refused(proxy.address(), &config),
        "a ticket of before, and a certificate of nobody"
    );
    assert_eq!(backend.requests().len(), 2);
}

#[test]
fn a_connection_serves_the_hosts_of_its_certificate_only() {
    let (backend, authority) = (Backend::answering(OK), Authority::new());
    let shared = authority.sign(&["a.test", "c.test", "*.w.test"]);
    let other = authority.sign(&["b.test", "x.w.test"]);
    let proxy = Proxy::start(&plan(&backend, tls(&[&shared, &other])));
    let config = offering(Manner::plain());
    // Each connection in one go: what is remembered of a host must not help another.
    let cases: [(&str, &[(&str, u16)]); 3] = [
        (
            "a.test",
            &[
                ("a.test", 200),
                ("c.test", 200),
                ("b.test", 421),
                ("c.test", 200),
                ("b.test", 421),
                ("A.TEST:8443", 200),
                ("a.test.", 200),
                ("y.w.test", 200),
                ("x.w.test", 200),
                ("nobody.test", 421),
                ("[::1]", 421),
                ("a.test", 200),
            ],
        ),
        ("b.test", &[("b.test", 200), ("a.test", 421), ("x.w.test", 200), ("y.w.test", 421)]),
        ("x.w.test", &[("x.w.test", 200), ("y.w.test", 421), ("b.test", 200), ("c.test", 421)]),
    ];
    for (name, hosts) in cases {
        for round in ["a full handshake", "a resumed one"] {
            let (mut client, _) = connect(proxy.address(), name, &config);
            let mut stream = 1;
            for (host, status) in hosts {
                let outcome = ask(&mut client, stream, &get(host, &[]));
                assert_eq!(outcome, Outcome::Status(*status), "{name}, {round}: {host}");
                stream += 2;
            }
        }
    }
    // A host that is named twice, differently, is nobody's.
    let (mut client, _) = connect(proxy.address(), "a.test", &config);
    let twice = get("a.test", &[("host", "b.test")]);
    assert_eq!(ask(&mut client, 1, &twice), Outcome::Reset(PROTOCOL_ERROR));
    assert_eq!(ask(&mut client, 3, &get("a.test", &[])), Outcome::Status(200));
}
