//! Request lines and fields: one reading or none (RFC 9112 2, 3 and 5, RFC 9110 5 and 7.2).

use crate::arena::{
    Arena, BAD_REQUEST, EXPECTATION_FAILED, GOOD, HEAD_TOO_LARGE, Refusal, URI_TOO_LONG, each,
    forwarded, forwarded_for, is_refusal,
};
use evenkeel_core::address::BackendAddress;
use evenkeel_core::plan::{AdminState, RouteMatch};
use evenkeel_testkit::backend::RefusingAddress;
use evenkeel_testkit::plan::route;
use evenkeel_testkit::wire::Ending;

fn get(fields: &str) -> Vec<u8> {
    latin1(&format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n"))
}

/// Characters up to U+00FF as one byte each.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect()
}

#[test]
fn s12_bare_line_feeds() {
    let arena = Arena::new();
    let cases = [
        ("RFC 9112 2.2 everywhere", "GET / HTTP/1.1\nHost: x\n\n"),
        ("RFC 9112 2.2 after the request line", "GET / HTTP/1.1\nHost: x\r\n\r\n"),
        (
            "RFC 9112 2.2 hides a coding",
            "POST / HTTP/1.1\r\nHost: x\nTransfer-Encoding: chunked\n\n0\r\n\r\n",
        ),
        ("RFC 9112 2.2 between fields", "GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n"),
        ("RFC 9112 2.2 before the empty line", "GET / HTTP/1.1\r\nHost: x\n\r\n"),
        ("RFC 9112 2.2 as the empty line", "GET / HTTP/1.1\r\nHost: x\r\n\n"),
        ("RFC 9112 2.2 bare CR between fields", "GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n"),
        ("RFC 9112 2.2 CR CR LF", "GET / HTTP/1.1\r\nHost: x\r\r\n\r\n"),
    ];
    each(cases, |bytes| arena.refuses(bytes.as_bytes(), BAD_REQUEST));
}

#[test]
fn s17_s18_s19_s20_field_lines() {
    let arena = Arena::new();
    let cases = [
        ("RFC 9112 5.2 S17 folded with a space", "X: a\r\n b"),
        ("RFC 9112 5.2 S17 folded with a tab", "X: a\r\n\tContent-Length: 1"),
        ("RFC 9112 5.2 S17 folded length", "Content-Length:\r\n 5"),
        ("RFC 9112 5.1 S18 space before colon", "Content-Length : 5"),
        ("RFC 9112 5.1 S18 tab before colon", "X\t: 5"),
        ("RFC 9110 5.1 S18 empty name", ": x"),
        ("RFC 9110 5.1 S18 space in name", "Foo bar: x"),
        ("RFC 9112 5 S18 no colon", "Foo"),
        ("RFC 9110 5.1 S18 a bracket in a name", "Foo(x): y"),
        ("RFC 9110 5.1 S18 a slash in a name", "Foo/x: y"),
        ("RFC 9110 5.5 S19 NUL", "X: a\0b"),
        ("RFC 9110 5.5 S19 NUL alone", "X: \0"),
        ("RFC 9110 5.5 S19 CR", "X: a\rContent-Length: 5"),
        ("RFC 9110 5.5 S19 escape", "X: a\x1bb"),
        ("RFC 9110 5.5 S19 backspace", "X: a\x08b"),
        ("RFC 9110 5.5 S19 DEL", "X: a\x7fb"),
        ("RFC 9110 5.5 S19 vertical tab", "X: a\x0bb"),
        ("RFC 9110 5.6.2 S20 name beyond ASCII", "X\u{e9}: a"),
        ("RFC 9110 5.6.2 S20 NUL in a name", "X\0: a"),
        ("RFC 9110 5.6.2 S20 0xff in a name", "Content-Length\u{ff}: 5"),
    ];
    each(cases, |fields| arena.refuses(&get(fields), BAD_REQUEST));
    let first = [("RFC 9112 2.2 S17 the first line is folded", " Host: x\r\n\r\n")];
    each(first, |rest| arena.refuses(format!("GET / HTTP/1.1\r\n{rest}").as_bytes(), BAD_REQUEST));
}

#[test]
fn s19_s20_values_that_pass_unchanged() {
    let arena = Arena::new();
    let cases = [
        ("RFC 9110 5.5 beyond ASCII", ("X: \u{80}\u{e9}\u{ff}", "x: \u{80}\u{e9}\u{ff}")),
        ("RFC 9110 5.5 tab inside", ("X: a\tb", "x: a\tb")),
        ("RFC 9110 5.5 space around", ("X: \t a \t ", "x: a")),
        ("RFC 9110 5.5 empty", ("X:", "x: ")),
        ("RFC 9110 5.5 empty with space", ("X: \t", "x: ")),
        ("RFC 9110 5.6.2 every tchar", ("!#$%&'*+-.^`|~: y", "!#$%&'*+-.^`|~: y")),
        ("RFC 9110 5.3 twice, in order", ("X: 2\r\nX: 1", "x: 2")),
    ];
    each(cases, |(fields, seen)| {
        let mut expected = vec![*seen];
        if fields.contains('\n') {
            expected.push("x: 1");
        }
        arena.forwards(&get(fields), &forwarded("GET / HTTP/1.1", &expected), b"")
    });
}

#[test]
fn s21_request_lines() {
    let arena = Arena::new();
    const VERSION: Refusal = (505, "version_refused");
    let cases = [
        ("RFC 9112 3 two spaces", ("GET  / HTTP/1.1", BAD_REQUEST)),
        ("RFC 9112 3 two spaces before the version", ("GET /  HTTP/1.1", BAD_REQUEST)),
        ("RFC 9112 3 tab", ("GET\t/\tHTTP/1.1", BAD_REQUEST)),
        ("RFC 9112 3 leading space", (" GET / HTTP/1.1", BAD_REQUEST)),
        ("RFC 9112 3 trailing space", ("GET / HTTP/1.1 ", BAD_REQUEST)),
        ("RFC 9112 3.2 space in the target", ("GET /a b HTTP/1.1", BAD_REQUEST)),
        ("RFC 9112 2.3 minor 2", ("GET / HTTP/1.2", BAD_REQUEST)),
        ("RFC 9112 2.3 two digits", ("GET / HTTP/01.1", BAD_REQUEST)),
        ("RFC 9112 2.3 two minor digits", ("GET / HTTP/1.10", BAD_REQUEST)),
        ("RFC 9112 2.3 lower case", ("GET / http/1.1", BAD_REQUEST)),
        ("RFC 9112 2.3 other protocol", ("GET / FOO/1.1", BAD_REQUEST)),
        ("RFC 9112 2.3 no minor", ("GET / HTTP/1", BAD_REQUEST)),
        ("RFC 9112 2.3 major 2", ("GET / HTTP/2.0", VERSION)),
        ("RFC 9112 2.3 major 0", ("GET / HTTP/0.9", VERSION)),
        ("RFC 9112 2.3 HTTP/0.9 has no version", ("GET /", BAD_REQUEST)),
        ("RFC 9112 3.2 fragment", ("GET /#x HTTP/1.1", BAD_REQUEST)),
        ("RFC 9112 3.2 fragment after the query", ("GET /?a#x HTTP/1.1", BAD_REQUEST)),
        ("RFC 9112 3.2 no slash", ("GET a HTTP/1.1", BAD_REQUEST)),
        ("RFC 9112 3.2.4 asterisk of GET", ("GET * HTTP/1.1", BAD_REQUEST)),
        ("RFC 3986 2 NUL in the path", ("GET /\0 HTTP/1.1", BAD_REQUEST)),
        ("RFC 3986 2 CTL in the path", ("GET /\x01 HTTP/1.1", BAD_REQUEST)),
        ("RFC 3986 2 DEL in the path", ("GET /\x7f HTTP/1.1", BAD_REQUEST)),
        ("RFC 3986 2 beyond ASCII in the path", ("GET /\u{e9} HTTP/1.1", BAD_REQUEST)),
        ("RFC 3986 2 beyond ASCII in the query", ("GET /?\u{e9} HTTP/1.1", BAD_REQUEST)),
        ("RFC 3986 2 backslash in the path", ("GET /a\\b HTTP/1.1", BAD_REQUEST)),
        ("RFC 3986 2.1 half an escape", ("GET /%4 HTTP/1.1", BAD_REQUEST)),
        ("RFC 3986 2.1 no hex digits", ("GET /%zz HTTP/1.1", BAD_REQUEST)),
        ("RFC 9110 9.1 no method", ("/ HTTP/1.1", BAD_REQUEST)),
        ("RFC 9110 9.1 method beyond ASCII", ("G\u{c9}T / HTTP/1.1", BAD_REQUEST)),
        ("RFC 9110 9.1 method with a bracket", ("G(T / HTTP/1.1", BAD_REQUEST)),
    ];
    each(cases, |(line, refusal)| {
        arena.refuses(&latin1(&format!("{line}\r\nHost: x\r\n\r\n")), *refusal)
    });
}

#[test]
fn what_is_refused_before_it_is_a_request_is_answered_as_it_asked() {
    // RFC 9110 9.3.2 and 12.5.1, as far as the bytes can be told apart.
    let arena = Arena::new();
    for (bytes, media_type, has_body) in [
        ("HEAD / HTTP/1.1\r\nHost: x\r\nExpect: y\r\n\r\n", "application/json", false),
        ("TRACE / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n", "text/html", true),
        ("GET / HTTP/2.0\r\nHost: x\r\naccept: text/plain\r\n\r\n", "text/plain", true),
    ] {
        let mut client = arena.connect();
        client.send(bytes);
        let (told, ending) = client.read_to_close();
        arena.count_answers(1);
        let told = String::from_utf8(told).expect("text");
        assert!(told.contains(&format!("\r\nContent-Type: {media_type}")), "{told}");
        assert_eq!((ending, !told.ends_with("\r\n\r\n")), (Ending::Fin, has_body), "{told}");
    }
    let records = arena.proxy.wait_for_records(3);
    assert!(records.iter().all(|record| record["host"] == "x"), "{records:#?}");
    arena.settles();
}

const CALL: &str = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/grpc\r\n\
                    Content-Length: 0\r\n\r\n";

/// A call to a pool of HTTP/1.1 ends with this status, trailers only.
fn is_told(arena: &Arena, status: &str) {
    let mut client = arena.connect();
    client.send(CALL);
    let answer = arena.answer(&mut client).expect("trailers only");
    assert_eq!((answer.status(), answer.value("grpc-status")), (200, Some(status)));
}

#[test]
fn a_call_that_nobody_may_take_is_told_that_first() {
    for (admin, status) in [(AdminState::Disabled, "14"), (AdminState::Enabled, "12")] {
        is_told(&Arena::with(|plan| plan.pool(|pool| pool.backends[0].admin = admin)), status);
    }
    let refusing = RefusingAddress::new();
    let address = BackendAddress::parse(refusing.address()).expect("an address");
    let arena = Arena::with(|plan| plan.pool(|pool| pool.backends[0].address = address));
    is_told(&arena, "14");
    assert_eq!(arena.proxy.wait_for_records(1)[0]["failure"], "connect_failure");
}

#[test]
fn a_call_that_is_not_carried_costs_no_connection() {
    let arena = Arena::new();
    (0..3).for_each(|_| is_told(&arena, "12"));
    let mut client = arena.connect();
    client.send(GOOD);
    assert_eq!(arena.answer(&mut client).expect("200").status(), 200);
    assert_eq!((arena.backend.connections(), arena.backend.requests().len()), (1, 1));
    let records = arena.proxy.wait_for_records(4);
    assert!(records[..3].iter().all(|record| record["failure"] == "grpc_unsupported"));
    let health = &arena.proxy.pool().backends[0].breaker;
    assert_eq!(health.consecutive_failures(), 0, "nothing is wrong with the backend");
}

#[test]
fn a_refused_path_is_recorded_as_it_was_given() {
    let arena = Arena::new();
    let mut client = arena.connect();
    client.send("GET /a%00b?c HTTP/1.1\r\nHost: x\r\n\r\n");
    is_refusal(&arena.answer(&mut client).expect("400"), BAD_REQUEST).expect("400");
    assert_eq!(arena.proxy.wait_for_records(1)[0]["path"], "/a%00b");
    arena.settles();
}

#[test]
fn s21_targets_and_methods_that_pass() {
    let arena = Arena::new();
    let cases = [
        ("RFC 9112 3.2.1 query", "GET /a?b=c&d=%20?/ HTTP/1.1"),
        ("RFC 9112 3.2.4 asterisk of OPTIONS", "OPTIONS * HTTP/1.1"),
        ("RFC 9110 9.1 unknown method", "PROPFIND /a HTTP/1.1"),
        ("RFC 9110 9.1 methods have case", "get / HTTP/1.1"),
    ];
    each(cases, |line| {
        let bytes = format!("{line}\r\nHost: x\r\n\r\n");
        arena.forwards(bytes.as_bytes(), &forwarded(line, &[]), b"")
    });
    let of_server = [
        ("RFC 9112 3.2.4 no path", "OPTIONS http://x HTTP/1.1", "OPTIONS * HTTP/1.1"),
        ("RFC 9112 3.2.4 a path", "OPTIONS http://x/ HTTP/1.1", "OPTIONS / HTTP/1.1"),
        ("RFC 9112 3.2.4 a query", "OPTIONS http://x?y HTTP/1.1", "OPTIONS /?y HTTP/1.1"),
    ];
    let of_server = of_server.map(|(name, line, seen)| (name, (line, seen)));
    each(of_server, |(line, seen)| {
        let bytes = format!("{line}\r\nHost: x\r\n\r\n");
        arena.forwards(bytes.as_bytes(), &forwarded(seen, &[]), b"")
    });
    let empty_line = [("RFC 9112 2.2 one empty line before", "\r\nGET / HTTP/1.1")];
    each(empty_line, |line| {
        let bytes = format!("{line}\r\nHost: x\r\n\r\n");
        arena.forwards(bytes.as_bytes(), &forwarded("GET / HTTP/1.1", &[]), b"")
    });
}

#[test]
fn s22_absolute_form_decides_the_host() {
    let arena = Arena::new();
    let cases = [
        ("RFC 9112 3.2.2 another host", ("http://a/p?q", "b", "a", "/p?q")),
        ("RFC 9112 3.2.2 same host", ("http://a:80/p", "a:80", "a:80", "/p")),
        ("RFC 9112 3.2.2 no path", ("http://a", "a", "a", "/")),
        ("RFC 9112 3.2.2 only a query", ("http://a?q", "a", "a", "/?q")),
        ("RFC 9110 4.2.3 scheme in capitals", ("HTTP://a/", "a", "a", "/")),
    ];
    each(cases, |(target, host, seen_host, seen_target)| {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let line = format!("GET {seen_target} HTTP/1.1");
        arena.forwards(bytes.as_bytes(), &forwarded_for(seen_host, &line, &[]), b"")
    });
    let refused = [
        ("RFC 9110 4.2.4 userinfo", "http://u@a/"),
        ("RFC 9110 4.2.1 empty host", "http:///"),
        ("RFC 9112 3.2.2 other scheme", "ftp://a/"),
        ("RFC 9112 3.2.2 list", "http://a,b/"),
        ("RFC 9112 3.2 fragment", "http://a/#x"),
        ("RFC 9110 4.2.1 port over 65535", "http://a:65536/"),
    ];
    each(refused, |target| {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        arena.refuses(bytes.as_bytes(), BAD_REQUEST)
    });
}

#[test]
fn s23_hosts_that_are_not_one_host() {
    let arena = Arena::new();
    let cases = [
        ("RFC 9112 3.2 missing", ""),
        ("RFC 9112 3.2 two", "Host: x\r\nHost: x\r\n"),
        ("RFC 9112 3.2 two that differ", "Host: x\r\nHost: y\r\n"),
        ("RFC 9112 3.2 empty", "Host:\r\n"),
        ("RFC 9110 7.2 comma", "Host: a,b\r\n"),
        ("RFC 9110 7.2 list", "Host: a, b\r\n"),
        ("RFC 9110 7.2 space", "Host: a b\r\n"),
        ("RFC 9110 7.2 userinfo", "Host: u@a\r\n"),
        ("RFC 9110 7.2 path", "Host: a/b\r\n"),
        ("RFC 9110 7.2 query", "Host: a?b\r\n"),
        ("RFC 9110 7.2 fragment", "Host: a#b\r\n"),
        ("RFC 9110 7.2 scheme", "Host: http://a\r\n"),
        ("RFC 9110 7.2 escape", "Host: a%2eb\r\n"),
        ("RFC 9110 7.2 port over 65535", "Host: a:65536\r\n"),
        ("RFC 9110 7.2 port with a letter", "Host: a:8o\r\n"),
        ("RFC 9110 7.2 two ports", "Host: a:1:2\r\n"),
        ("RFC 3986 3.2.2 IPv6 without brackets", "Host: ::1\r\n"),
        ("RFC 3986 3.2.2 open bracket", "Host: [::1\r\n"),
    ];
    each(cases, |host| {
        arena.refuses(format!("GET / HTTP/1.1\r\n{host}\r\n").as_bytes(), BAD_REQUEST)
    });
}

#[test]
fn s24_every_spelling_of_a_host_takes_one_route() {
    // RFC 9110 4.2.3: hosts have no case; the trailing dot names the same host.
    for hosts in [1, 100, 101, 10_000] {
        let arena = Arena::with(|plan| {
            plan.plan(|plan| {
                let hosts = (0..hosts).map(|n| format!("h{n:05}.test")).collect();
                let matches = RouteMatch { hosts, ..RouteMatch::default() };
                let good = RouteMatch { hosts: vec!["x".to_owned()], ..RouteMatch::default() };
                plan.routes = vec![route("hosts", matches, 0), route("good", good, 0)];
            })
        });
        let last = hosts - 1;
        let spellings = [
            format!("h{last:05}.test"),
            format!("H{last:05}.TEST"),
            format!("h{last:05}.test."),
            format!("H{last:05}.Test.:80"),
        ];
        for host in &spellings {
            let mut client = arena.connect();
            client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            let response = arena.answer(&mut client).expect("an answer");
            assert_eq!(response.status(), 200, "{host} of {hosts}");
        }
        for other in [format!("h{hosts:05}.test"), format!("h{last:05}.test..")] {
            let mut client = arena.connect();
            client.send(format!("GET / HTTP/1.1\r\nHost: {other}\r\n\r\n"));
            let response = arena.answer(&mut client).expect("an answer");
            assert!(matches!(response.status(), 400 | 404), "{other} of {hosts}");
        }
        arena.settles();
    }
}

#[test]
fn s25_expectations_that_nobody_knows() {
    let arena = Arena::new();
    let cases = [
        ("RFC 9110 10.1.1 unknown", "Expect: y"),
        ("RFC 9110 10.1.1 with 100-continue", "Expect: y 100-continue"),
        ("RFC 9110 10.1.1 list", "Expect: 100-continue, y"),
        ("RFC 9110 10.1.1 twice", "Expect: 100-continue\r\nExpect: 100-continue"),
        ("RFC 9110 10.1.1 with a value", "Expect: 100-continue=1"),
    ];
    each(cases, |expect| {
        let bytes = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n{expect}\r\n\r\n");
        arena.refuses(bytes.as_bytes(), EXPECTATION_FAILED)
    });
}

#[test]
fn s26_heads_beyond_the_limits() {
    let arena = Arena::new();
    let cases = [
        ("RFC 6585 5 101 fields", (get(&["A: b"; 100].join("\r\n")), HEAD_TOO_LARGE)),
        ("RFC 6585 5 10,000 fields", (get(&["A: b"; 10_000].join("\r\n")), HEAD_TOO_LARGE)),
        ("RFC 6585 5 one of 64 KiB", (get(&format!("A: {}", "b".repeat(65_536))), HEAD_TOO_LARGE)),
        (
            "RFC 6585 5 a name of 40 KiB",
            (get(&format!("{}: b", "a".repeat(40_960))), HEAD_TOO_LARGE),
        ),
        (
            "RFC 6585 5 40 of 1 KiB",
            (get(&[format!("A: {}", "b".repeat(1024)).as_str(); 40].join("\r\n")), HEAD_TOO_LARGE),
        ),
        ("RFC 9110 15.5.15 target of 9,000", (long_target(9_000), URI_TOO_LONG)),
        ("RFC 9110 15.5.15 target of 64 KiB", (long_target(65_536), URI_TOO_LONG)),
    ];
    each(cases, |(bytes, refusal)| {
        let mark = arena.backend.mark();
        let mut client = arena.connect();
        let _ = client.try_send(bytes);
        arena.is_refused_for_good(&mut client, *refusal)?;
        assert!(arena.after(&mark)?.is_empty(), "nothing at the backend");
        Ok(())
    });
}

fn long_target(length: usize) -> Vec<u8> {
    format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(length)).into_bytes()
}

#[test]
fn s26_slow_growth_is_refused_all_the_same() {
    // RFC 6585 5: fields that trickle in without end are cut off at the limit.
    let arena = Arena::new();
    let mut client = arena.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n");
    let line = format!("A: {}\r\n", "b".repeat(500));
    let sent = (0..200).take_while(|_| client.try_send(&line).is_ok()).count();
    let response = arena.answer(&mut client).expect("an answer");
    is_refusal(&response, HEAD_TOO_LARGE).expect("431");
    assert!(sent >= 60, "{sent}");
    arena.settles();
}

#[test]
fn s26_heads_at_the_limits() {
    let arena = Arena::new();
    let fields: Vec<_> = (0..99).map(|n| format!("a{n:02}: b")).collect();
    let names: Vec<_> = fields.iter().map(String::as_str).collect();
    let long = format!("a: {}", "b".repeat(30_000));
    let cases = [
        ("RFC 6585 5 100 fields", (get(&fields.join("\r\n")), names)),
        ("RFC 6585 5 30,000 bytes", (get(&long), vec![long.as_str()])),
    ];
    each(cases, |(bytes, seen)| arena.forwards(bytes, &forwarded("GET / HTTP/1.1", seen), b""));
}
