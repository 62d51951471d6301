//! How long a request's body is: whatever two programs could read in two ways is refused
//! (RFC 9112 6 and 11.2, RFC 9110 8.6).

use crate::arena::{Arena, BAD_REQUEST, DENIED, GOOD, NO_ROUTE, each, forwarded, is_refusal};
use evenkeel_core::plan::{PathMatch, RouteMatch};
use evenkeel_testkit::plan::route;
use evenkeel_testkit::wire::Ending;

/// A POST with these field lines, then these bytes.
fn post(fields: &str, rest: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n{rest}").into_bytes()
}

#[test]
fn s1_length_and_coding_together() {
    let arena = Arena::new();
    let cases = [
        ("RFC 9112 6.3(3) CL.TE", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n"),
        ("RFC 9112 6.3(3) TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n"),
        ("RFC 9112 6.1 CL: 0 and TE", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
        (
            "RFC 9112 11.2 CL between TEs",
            "Transfer-Encoding: chunked\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        ),
    ];
    each(cases, |fields| arena.refuses(&post(fields, "0\r\n\r\nG"), BAD_REQUEST));
}

#[test]
fn s2_s3_codings_other_than_one_chunked() {
    let arena = Arena::new();
    let cases = [
        ("RFC 9112 6.1 chunked twice", "chunked, chunked"),
        ("RFC 9112 7 identity first", "identity, chunked"),
        ("RFC 9112 7 identity", "identity"),
        ("RFC 9112 7 xchunked", "xchunked"),
        ("RFC 9112 7 chunkedx", "chunkedx"),
        ("RFC 9112 7 a parameter", "chunked;a=b"),
        ("RFC 9110 5.5 vertical tab", "Chunked\x0b"),
        ("RFC 9110 5.5 form feed", "\x0cchunked"),
        ("RFC 9112 7 quoted", "\"chunked\""),
        ("RFC 9112 7 a comma after", "chunked,"),
        ("RFC 9112 7 a comma before", ",chunked"),
        ("RFC 9112 7 empty", ""),
        ("RFC 9112 6.1 gzip first", "gzip, chunked"),
        ("RFC 9112 6.3(4) S3 not last", "chunked, gzip"),
        ("RFC 9112 6.3(4) S3 gzip alone", "gzip"),
        ("RFC 9112 6.1 two lines", "chunked\r\nTransfer-Encoding: chunked"),
        ("RFC 9112 6.1 identity in a second line", "chunked\r\nTransfer-Encoding: identity"),
        ("RFC 9112 6.1 identity in a first line", "identity\r\nTransfer-Encoding: chunked"),
        ("RFC 9112 6.1 an empty second line", "chunked\r\nTransfer-Encoding:"),
    ];
    each(cases, |coding| {
        let fields = format!("Transfer-Encoding: {coding}\r\n");
        arena.refuses(&post(&fields, "0\r\n\r\nGET /smug HTTP/1.1\r\nHost: x\r\n\r\n"), BAD_REQUEST)
    });
}

#[test]
fn s2_chunked_in_any_case() {
    let arena = Arena::new();
    let cases = [
        ("RFC 9112 7 case", "Transfer-Encoding: Chunked\r\n"),
        ("RFC 9110 5.5 space around", "transfer-ENCODING: \t chunked \t \r\n"),
    ];
    each(cases, |fields| {
        let shape = forwarded("POST / HTTP/1.1", &["transfer-encoding: chunked"]);
        arena.forwards(&post(fields, "2\r\nok\r\n0\r\n\r\n"), &shape, b"ok")
    });
}

#[test]
fn s4_http10_has_no_chunked() {
    let arena = Arena::new();
    let bytes = b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
        0\r\n\r\nGET /smug HTTP/1.1\r\n\r\n";
    each([("RFC 9112 6.1 HTTP/1.0 with TE", bytes)], |b| arena.refuses(*b, BAD_REQUEST));
}

#[test]
fn s4_a_request_is_never_close_delimited() {
    // RFC 9112 6.3(7): without a length there is no body, so what follows is not part of it; and an
    // HTTP/1.0 connection that was not asked to stay carries no second request.
    let arena = Arena::new();
    let mark = arena.backend.mark();
    let mut client = arena.connect();
    client.send("POST / HTTP/1.0\r\nHost: x\r\n\r\nGET /smug HTTP/1.1\r\nHost: x\r\n\r\n");
    let response = arena.answer(&mut client).expect("one response");
    assert!(matches!(response.status(), 200 | 400), "{}", response.start_line);
    assert_eq!(client.read_to_close(), (Vec::new(), Ending::Fin));
    for bytes in arena.after(&mark).expect("settles") {
        let text = bytes.escape_ascii().to_string();
        assert!(text.starts_with("POST / ") && !text.contains("smug"), "{text}");
    }
}

#[test]
fn s5_s6_lengths_that_are_not_one_number() {
    let arena = Arena::new();
    let cases = [
        ("RFC 9112 6.3(5) two that differ", "5\r\nContent-Length: 10"),
        ("RFC 9112 6.3(5) two that agree", "5\r\nContent-Length: 5"),
        ("RFC 9110 8.6 list that agrees", "5, 5"),
        ("RFC 9110 8.6 list that differs", "5, 6"),
        ("RFC 9110 8.6 plus", "+5"),
        ("RFC 9110 8.6 minus", "-1"),
        ("RFC 9110 8.6 minus zero", "-0"),
        ("RFC 9110 8.6 hexadecimal", "0x5"),
        ("RFC 9110 8.6 hexadecimal digit", "a"),
        ("RFC 9110 8.6 space within", "5 0"),
        ("RFC 9110 8.6 empty", ""),
        ("RFC 9110 8.6 underscore", "5_0"),
        ("RFC 9110 8.6 fraction", "5.0"),
        ("RFC 9110 8.6 exponent", "5e0"),
        ("RFC 9110 8.6 comma after", "5,"),
        ("RFC 9110 8.6 quoted", "\"5\""),
        ("RFC 9110 8.6 2^63", "9223372036854775808"),
        ("RFC 9110 8.6 2^64", "18446744073709551616"),
        ("RFC 9110 8.6 2^64 + 5", "18446744073709551621"),
        ("RFC 9110 8.6 30 digits", "000000000000000000000000000005"),
        ("RFC 9110 5.5 a digit beyond ASCII", "\u{0665}"),
    ];
    each(cases, |length| {
        arena.refuses(&post(&format!("Content-Length: {length}\r\n"), "hello"), BAD_REQUEST)
    });
}

#[test]
fn s6_leading_zeros_are_written_out_anew() {
    let arena = Arena::new();
    let cases = [("RFC 9110 8.6 005", "005"), ("RFC 9110 8.6 plain", "5")];
    each(cases, |length| {
        let shape = forwarded("POST / HTTP/1.1", &["content-length: 5"]);
        arena.forwards(&post(&format!("Content-Length: {length}\r\n"), "hello"), &shape, b"hello")
    });
}

const INNER: &str = "GET /smug HTTP/1.1\r\nHost: x\r\nX: y\r\n\r\n";

#[test]
fn s7_a_body_is_a_body_whatever_the_method() {
    let arena = Arena::new();
    let length = format!("content-length: {}", INNER.len());
    let cases = ["GET", "OPTIONS", "DELETE", "POST"].map(|method| ("RFC 9112 9.3", method));
    each(cases, |method| {
        let line = format!("{method} / HTTP/1.1");
        let bytes = format!("{line}\r\nHost: x\r\n{length}\r\n\r\n{INNER}");
        arena.forwards(bytes.as_bytes(), &forwarded(&line, &[&length]), INNER.as_bytes())
    });
}

/// An arena where `/local` gets 404 and `/denied` gets 403.
fn with_local_replies() -> Arena {
    Arena::with(|plan| {
        plan.plan(|plan| {
            let prefix = |path: &str| RouteMatch {
                path: PathMatch::Prefix(path.to_owned()),
                ..RouteMatch::default()
            };
            let mut denied = route("denied", prefix("/denied"), 0);
            denied.deny = vec!["127.0.0.0/8".parse().expect("a network")];
            plan.routes = vec![denied, route("good", prefix("/good"), 0)];
        })
    })
}

#[test]
fn s7_s8_a_local_reply_drains_the_body() {
    let arena = with_local_replies();
    let cases = [
        ("RFC 9112 9.3 404, whole body", ("POST /local", INNER.len(), NO_ROUTE)),
        ("RFC 9112 9.3 404, body of GET", ("GET /local", INNER.len(), NO_ROUTE)),
        ("RFC 9112 9.3 403, whole body", ("POST /denied", INNER.len(), DENIED)),
    ];
    each(cases, |(start, length, refusal)| {
        let mark = arena.backend.mark();
        let head = format!("{start} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        let mut client = arena.connect();
        client.send(format!("{head}{INNER}{GOOD}"));
        is_refusal(&arena.answer(&mut client)?, *refusal)?;
        let good = arena.answer(&mut client)?;
        assert_eq!((good.status(), good.text().as_str()), (200, "ok"));
        let seen = arena.after(&mark)?;
        assert!(seen.is_empty(), "only good requests: {seen:?}");
        Ok(())
    });
}

#[test]
fn s7_s8_a_body_cut_short_hides_no_request() {
    // RFC 9112 9.3: 41 bytes are owed, the inner request is part of them; the rest of it comes
    // later and is no request either.
    let arena = with_local_replies();
    let mut client = arena.connect();
    let (first, rest) = INNER.split_at(20);
    let head = "POST /local HTTP/1.1\r\nHost: x\r\nContent-Length: 37\r\n\r\n";
    assert_eq!(INNER.len(), 37);
    client.send(format!("{head}{first}"));
    let response = arena.answer(&mut client).expect("404 at once");
    is_refusal(&response, NO_ROUTE).expect("404");
    client.send(format!("{rest}{GOOD}"));
    assert_eq!(arena.answer(&mut client).expect("200").status(), 200);
    assert_eq!(arena.backend.targets(), ["/good"]);
    arena.settles();
}

#[test]
fn s8_a_long_body_after_a_local_reply_ends_the_connection() {
    // RFC 9112 9.3: a body over 64 KiB, or one without known length, is not worth reading.
    let arena = with_local_replies();
    let cases = [
        ("Content-Length: 70000", "Content-Length: 70000\r\n"),
        ("chunked", "Transfer-Encoding: chunked\r\n"),
        ("Expect", "Content-Length: 5\r\nExpect: 100-continue\r\n"),
    ];
    each(cases, |fields| {
        let bytes = format!("POST /local HTTP/1.1\r\nHost: x\r\n{fields}\r\n{INNER}");
        arena.refuses(bytes.as_bytes(), NO_ROUTE)
    });
}
