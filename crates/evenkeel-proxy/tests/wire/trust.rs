//! What a client may say about itself and about its path, and who believes it (RFC 7239 8.1,
//! RFC 9110 7.6, RFC 3986 6.2.2).

use crate::arena::{Arena, BAD_REQUEST, DENIED, NO_ROUTE, each, forwarded, is_refusal};
use evenkeel_core::plan::{PathMatch, PathPolicy, Plan, RouteMatch};
use evenkeel_testkit::backend::{Backend, OK};
use evenkeel_testkit::plan::{PlanBuilder, route};
use evenkeel_testkit::wire::Wire;
use std::io::{Read, Write};
use std::sync::OnceLock;

fn get(fields: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n").into_bytes()
}

/// Trusts the clients of these tests.
fn trusting(plan: PlanBuilder) -> PlanBuilder {
    plan.listener(|listener| {
        listener.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
}

#[test]
fn h1_hop_by_hop_fields_end_here() {
    // RFC 9110 7.6.1: the client's own are removed first, then ours are added.
    let arena = Arena::new();
    let cases = [
        (
            "RFC 9110 7.6.1 names ours",
            "Connection: close, X-Forwarded-For, x-real-ip, AUTHORIZATION\r\n\
            X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nAuthorization: Bearer a",
        ),
        (
            "RFC 9110 7.6.1 any case",
            "Connection: X-FORWARDED-PROTO, x-forwarded-host, X-Request-ID, VIA",
        ),
        ("RFC 9110 7.6.1 names Host", "Connection: Host, Content-Length"),
        ("RFC 9110 7.6.1 two lines", "Connection: X-A\r\nConnection: X-B\r\nX-A: 1\r\nx-b: 2"),
        (
            "RFC 9110 7.6.1 hop-by-hop set",
            "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
            TE: gzip\r\nTrailer: X\r\nUpgrade: foo",
        ),
        ("RFC 9110 11.7.2 proxy credentials", "Proxy-Authorization: Basic a"),
    ];
    each(cases, |fields| arena.forwards(&get(fields), &forwarded("GET / HTTP/1.1", &[]), b""));
}

#[test]
fn h2_h3_h4_claims_of_an_untrusted_client_are_dropped() {
    let arena = Arena::new();
    let cases = [
        ("RFC 7239 8.1 X-Forwarded-For", "X-Forwarded-For: 10.0.0.1"),
        ("RFC 7239 8.1 X-Forwarded-Proto", "X-Forwarded-Proto: https"),
        ("RFC 7239 8.1 X-Forwarded-Host", "X-Forwarded-Host: evil"),
        ("RFC 7239 8.1 X-Forwarded-Port", "X-Forwarded-Port: 1"),
        ("RFC 7239 8.1 X-Forwarded-anything", "X-FORWARDED-User: root"),
        ("RFC 7239 8.1 Forwarded", "Forwarded: for=10.0.0.1;proto=https"),
        ("RFC 7239 8.1 X-Real-IP", "X-Real-IP: 10.0.0.1"),
        ("RFC 7239 8.1 X-Request-Id", "X-Request-Id: chosen"),
        ("RFC 9440 2.4 Client-Cert", "Client-Cert: :AAAA:\r\nClient-Cert-Chain: :AAAA:"),
        (
            "H3 underscore",
            "X_Forwarded_For: 10.0.0.1\r\nRemote_User: root\r\nTransfer_Encoding: chunked",
        ),
        ("RFC 7239 8.1 twice", "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2"),
    ];
    each(cases, |fields| arena.forwards(&get(fields), &forwarded("GET / HTTP/1.1", &[]), b""));
    let (_, request) = arena.backend.requests().remove(0);
    assert_ne!(request.value("x-request-id"), Some("chosen"));
}

#[test]
fn h2_claims_of_a_trusted_proxy_are_kept() {
    let arena = Arena::with(trusting);
    let mut client = arena.connect();
    client.send(
        "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 10.0.0.1\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop\r\nX-Request-Id: given-1\r\n\
         Forwarded: for=192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\nVia: 1.1 edge\r\n\r\n",
    );
    assert_eq!(arena.answer(&mut client).expect("200").status(), 200);
    let (_, request) = arena.backend.requests().remove(0);
    assert_eq!(request.value("x-forwarded-for"), Some("192.0.2.1, 10.0.0.1, 127.0.0.1"));
    assert_eq!(request.value("x-forwarded-proto"), Some("https"));
    assert_eq!(request.value("x-forwarded-host"), Some("shop"));
    assert_eq!(request.value("x-request-id"), Some("given-1"));
    assert_eq!(request.value("forwarded"), Some("for=192.0.2.1"));
    assert_eq!(request.value("x-real-ip"), Some("192.0.2.1"));
    let via = request.values("via");
    assert_eq!((via.len(), via[0]), (2, "1.1 edge"), "RFC 9110 7.6.3: appended");
    let record = &arena.proxy.wait_for_records(1)[0];
    assert_eq!(record["client_ip"], "10.0.0.1", "the last that is not trusted");
    assert_eq!(record["request_id"], "given-1");
    arena.settles();
}

#[test]
fn h2_connection_cannot_delete_what_a_trusted_proxy_said() {
    // RFC 9110 7.6.1: an attacker behind a trusted proxy names its fields in `Connection`; ours are
    // added all the same.
    let arena = Arena::with(trusting);
    let mut client = arena.connect();
    client.send(
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: X-Forwarded-Proto, X-Forwarded-Host\r\n\
         Connection: X-Request-Id\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop\r\n\r\n",
    );
    assert_eq!(arena.answer(&mut client).expect("200").status(), 200);
    let (_, request) = arena.backend.requests().remove(0);
    assert_eq!(request.value("x-forwarded-proto"), Some("http"));
    assert_eq!(request.value("x-forwarded-host"), Some("x"));
    assert_eq!(request.values("x-request-id").len(), 1);
    arena.settles();
}

#[test]
fn h2_access_rules_see_the_client_behind_a_trusted_proxy() {
    let restrict = |plan: PlanBuilder| {
        plan.plan(|plan| {
            let mut open = plan.routes[0].clone();
            open.name = "open".into();
            open.matches.path = PathMatch::Exact("/good".to_owned());
            plan.routes[0].allow = vec!["192.0.2.0/24".parse().expect("a network")];
            plan.routes[0].deny = vec!["192.0.2.66/32".parse().expect("a network")];
            plan.routes.insert(0, open);
        })
    };
    let trusted = Arena::with(|plan| trusting(restrict(plan)));
    let cases = [
        ("RFC 7239 7.4 allowed", ("192.0.2.1", 200)),
        ("RFC 7239 7.4 denied wins", ("192.0.2.66", 403)),
        ("RFC 7239 7.4 not listed", ("198.51.100.1", 403)),
        ("RFC 7239 7.4 the last counts", ("192.0.2.1, 198.51.100.1", 403)),
        ("RFC 7239 7.4 spoofed before it", ("198.51.100.1, 192.0.2.1", 200)),
        ("RFC 7239 7.4 trusted hops are skipped", ("192.0.2.1, 127.0.0.9", 200)),
        ("RFC 7239 7.4 garbage ends it", ("192.0.2.1, what", 403)),
        ("RFC 9110 5.6.1 empty elements are none", ("192.0.2.1, , ,127.0.0.9,", 200)),
        ("RFC 9110 5.6.1 an empty list is none", (" ", 403)),
    ];
    each(cases, |(value, status)| {
        let mut client = trusted.connect();
        client.send(get(&format!("X-Forwarded-For: {value}")));
        let response = trusted.answer(&mut client)?;
        assert_eq!(response.status(), *status);
        Ok(())
    });
    trusted.settles();
    let untrusted = Arena::with(restrict);
    let mut client = untrusted.connect();
    client.send(get("X-Forwarded-For: 192.0.2.1"));
    let response = untrusted.answer(&mut client).expect("403");
    is_refusal(&response, DENIED).expect("an untrusted claim opens nothing");
    untrusted.settles();
}

#[test]
fn h5_proxy_protocol_is_bad_http_when_nobody_asked_for_it() {
    let arena = Arena::new();
    let v2 = [
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\x04\xd2\0\x50".as_slice(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    .concat();
    let v1 = b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let unknown = b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let cases = [("PROXY 2.1 v1", v1), ("PROXY 2.1 UNKNOWN", unknown), ("PROXY 2.2 v2", v2)];
    each(cases, |bytes| arena.refuses(bytes, BAD_REQUEST));
}

/// `/admin` is denied, `/v1` is stripped and goes on, the rest passes.
fn with_admin(plan: PlanBuilder) -> PlanBuilder {
    plan.plan(|plan: &mut Plan| {
        let prefix = |path: &str| RouteMatch {
            path: PathMatch::Prefix(path.to_owned()),
            ..RouteMatch::default()
        };
        let mut admin = route("admin", prefix("/admin"), 0);
        admin.deny = vec!["127.0.0.0/8".parse().expect("a network")];
        let mut stripped = route("v1", prefix("/v1"), 0);
        stripped.strip_prefix = true;
        plan.routes.splice(0..0, [admin, stripped]);
    })
}

#[test]
fn h6_one_path_for_matcher_log_and_backend() {
    let arena = Arena::with(with_admin);
    // (as sent, as forwarded), or the refusal
    let cases = [
        ("RFC 3986 5.2.4 dots", ("/public/../admin", Err(DENIED))),
        ("RFC 3986 6.2.2.2 encoded dots", ("/public/%2e%2e/admin", Err(DENIED))),
        ("RFC 3986 6.2.2.2 mixed", ("/public/.%2E/admin/x", Err(DENIED))),
        ("RFC 3986 6.2.2.2 letters", ("/%61dmin", Err(DENIED))),
        ("RFC 3986 3.3 double slash", ("//admin", Err(DENIED))),
        ("RFC 3986 2.2 encoded slash", ("/%2fadmin", Err(DENIED))),
        ("RFC 3986 2.2 encoded slash after", ("/admin%2fx", Err(DENIED))),
        ("RFC 3986 5.2.4 dots behind %2f", ("/public/..%2fadmin", Err(BAD_REQUEST))),
        ("RFC 3986 5.2.4 dots behind %5c", ("/public/..%5cadmin", Err(BAD_REQUEST))),
        ("RFC 3986 5.2.4 %2f before dots", ("/public%2f../admin", Err(BAD_REQUEST))),
        ("RFC 3986 5.2.4 all encoded", ("/public%2f%2e%2e%2fadmin", Err(BAD_REQUEST))),
        ("RFC 3986 7.3 NUL", ("/a%00b", Err(BAD_REQUEST))),
        ("RFC 3986 5.2.4 above the root", ("/../../x", Ok("/x"))),
        ("RFC 3986 2.4 decoded once", ("/%252e%252e/admin", Ok("/%252e%252e/admin"))),
        ("RFC 3986 6.2.2.1 case", ("/ADMIN", Ok("/ADMIN"))),
        ("RFC 3986 3.3 parameter", ("/admin;x", Ok("/admin;x"))),
        ("RFC 3986 3.3 whole segments", ("/administrator", Ok("/administrator"))),
        ("RFC 3986 2.2 spelling kept", ("/a%2Fb//c%5Cd", Ok("/a%2Fb//c%5Cd"))),
        ("RFC 3986 6.2.2.2 unreserved decoded", ("/%7Ea/%41", Ok("/~a/A"))),
        (
            "RFC 3986 5.2.4 the query is left alone",
            ("/a?../admin/%2e%2e", Ok("/a?../admin/%2e%2e")),
        ),
        ("strip_prefix", ("/v1/x/y", Ok("/x/y"))),
        ("strip_prefix, nothing left", ("/v1", Ok("/"))),
        ("strip_prefix, query", ("/v1?q", Ok("/?q"))),
        ("strip_prefix, whole segments", ("/v10/x", Ok("/v10/x"))),
        ("strip_prefix cannot reach above", ("/v1/../admin", Err(DENIED))),
        ("strip_prefix, encoded separator", ("/v1%2Fx%2Fy", Ok("/x%2Fy"))),
    ];
    each(cases, |(sent, expected)| {
        let bytes = format!("GET {sent} HTTP/1.1\r\nHost: x\r\n\r\n");
        match expected {
            Ok(seen) => {
                let line = format!("GET {seen} HTTP/1.1");
                arena.forwards(bytes.as_bytes(), &forwarded(&line, &[]), b"")
            }
            Err(refusal) => {
                let mark = arena.backend.mark();
                let mut client = arena.connect();
                client.send(&bytes);
                is_refusal(&arena.answer(&mut client)?, *refusal)?;
                let seen = arena.after(&mark)?;
                assert!(seen.is_empty(), "the backend saw {seen:?}");
                Ok(())
            }
        }
    });
}

#[test]
fn h6_a_stripped_path_never_gains_a_second_meaning() {
    // After `/v1` is gone, the rest is forwarded as it is spelt: it never becomes a target of
    // another form, and its route was chosen by the whole path.
    let arena = Arena::with(with_admin);
    for (sent, seen) in [("/v1//evil.test/x", "//evil.test/x"), ("/v1/admin", "/admin")] {
        let mut client = arena.connect();
        client.send(format!("GET {sent} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let status = arena.answer(&mut client).expect("an answer").status();
        let targets = arena.backend.targets();
        assert!(
            status == 200 && targets.last().is_some_and(|target| target == seen),
            "{sent}: {status}, {targets:?}"
        );
    }
    arena.settles();
}

#[test]
fn h6_strict_listeners_refuse_every_encoded_separator() {
    let arena = Arena::with(|plan| plan.listener(|listener| listener.paths = PathPolicy::Strict));
    let cases = [
        ("RFC 3986 2.2 %2F", ("/a%2Fb", 400)),
        ("RFC 3986 2.2 %5c", ("/a%5cb", 400)),
        ("RFC 3986 2.2 others pass", ("/a%20b", 200)),
    ];
    each(cases, |(path, status)| {
        let mut client = arena.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(arena.answer(&mut client)?.status(), *status);
        Ok(())
    });
    arena.settles();
}

#[test]
fn h7_each_line_of_a_field_is_matched() {
    // RFC 9110 5.3: a second line does not hide behind the first.
    let arena = Arena::with(|plan| {
        plan.plan(|plan| {
            let matches = RouteMatch {
                headers: vec![("x-role".to_owned(), "admin".to_owned())],
                ..RouteMatch::default()
            };
            let mut admin = route("admin", matches, 0);
            admin.deny = vec!["127.0.0.0/8".parse().expect("a network")];
            plan.routes.insert(0, admin);
        })
    });
    let cases = [
        ("RFC 9110 5.3 second line", ("X-Role: user\r\nX-Role: admin", 403)),
        ("RFC 9110 5.3 first line", ("X-ROLE: admin\r\nX-Role: user", 403)),
        ("RFC 9110 5.3 another value", ("X-Role: user", 200)),
    ];
    each(cases, |(fields, status)| {
        let mut client = arena.connect();
        client.send(get(fields));
        assert_eq!(arena.answer(&mut client)?.status(), *status);
        Ok(())
    });
    arena.settles();
}

#[test]
fn h8_a_target_is_never_an_address_to_call() {
    // RFC 9112 3.2.2: the authority names a route; where it goes is configured.
    let arena = Arena::with(|plan| plan.route(|route| route.matches.hosts = vec!["x".to_owned()]));
    let cases = [
        ("RFC 9112 3.2.2 metadata", "http://169.254.169.254/latest"),
        ("RFC 9112 3.2.2 loopback", "http://127.0.0.1:22/"),
    ];
    each(cases, |target| {
        let mut client = arena.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        is_refusal(&arena.answer(&mut client)?, NO_ROUTE)
    });
    arena.settles();
}

#[test]
fn h10_a_loop_is_seen_the_second_time() {
    // RFC 9110 7.6.3: the backend is a plain relay that leads back to us.
    let proxy_address: &'static OnceLock<String> = Box::leak(Box::default());
    let backend = Backend::start(move |conversation| {
        let request = conversation.take_bytes();
        let own = proxy_address.get().expect("set before the first request");
        let mut wire = Wire::connect(own).expect("connected");
        wire.write_all(&request).expect("sent");
        let mut answer = [0; 4096];
        let length = wire.read(&mut answer).expect("answered");
        conversation.send(&answer[..length]);
    });
    let arena = Arena::before(backend, |plan| plan);
    proxy_address.set(arena.proxy.address().to_owned()).expect("set once");
    let mut client = arena.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let response = arena.answer(&mut client).expect("508");
    is_refusal(&response, (508, "loop")).expect("508");
    assert_eq!(arena.backend.connections(), 1, "once around, not twice");
}

#[test]
fn h13_a_client_does_not_steer_the_proxy() {
    let arena = Arena::new();
    let fields = "X-Accel-Redirect: /secret\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n\
        X-HTTP-Method-Override: DELETE";
    let seen = [
        "x-accel-redirect: /secret",
        "x-original-url: /admin",
        "x-rewrite-url: /admin",
        "x-http-method-override: DELETE",
    ];
    arena.forwards(&get(fields), &forwarded("GET / HTTP/1.1", &seen), b"").expect("plain fields");
}

#[test]
fn log_lines_are_lines_whatever_clients_send() {
    let arena = Arena::before(Backend::answering(OK), |plan| plan);
    let requests: [&[u8]; 4] = [
        b"GET /%22%0a%1b[31m\"{} HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\x1b[31m\" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff\xfe\"\\\x00 \x01 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \"\\\r\n\r\n",
    ];
    for bytes in requests {
        let mut client = arena.connect();
        client.send(bytes);
        arena.answer(&mut client).expect("an answer");
    }
    // Reading them back fails unless each is one JSON object on one line.
    let records = arena.proxy.wait_for_records(4);
    assert_eq!(records.len(), 4);
    assert!(records.iter().all(|record| record["client_ip"] == "127.0.0.1"), "{records:?}");
    arena.settles();
}
