//! The chunked coding of request bodies (RFC 9112 7.1): read strictly, written anew.

use crate::arena::{Arena, BAD_REQUEST, each, forwarded};

const HEAD: &str = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunked(body: &str) -> Vec<u8> {
    format!("{HEAD}{body}").into_bytes()
}

#[test]
fn s13_s14_s15_chunks_that_are_refused() {
    let arena = Arena::new();
    let zeros = format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(40));
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(64 * 1024));
    let over = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(256));
    let many = format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "a".repeat(4096)).repeat(8));
    let sum = format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "a".repeat(200)).repeat(100));
    let trailers = format!("0\r\nA: {}\r\n\r\n", "b".repeat(17 * 1024));
    let cases = [
        ("RFC 9112 2.2 S13 bare LF after a size", "5\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1.1 S13 bare LF after a semicolon", "5;\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 2.2 S13 bare CR after a size", "5\rXhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1 S13 bare LF after data", "5\r\nhello\n0\r\n\r\n"),
        ("RFC 9112 7.1 S13 bare CR after data", "5\r\nhello\r0\r\n\r\n"),
        ("RFC 9112 7.1 S13 bare LF at the end", "5\r\nhello\r\n0\n\n"),
        ("RFC 9112 7.1 S13 bare LF after the last chunk", "5\r\nhello\r\n0\r\n\n"),
        ("RFC 9112 7.1.1 S14 LF in a value", "5;a=\nb\r\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1.1 S14 NUL", "5;\0\r\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1.1 S14 no name", "5;\r\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1.1 S14 CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1.1 S14 64 KiB", &long),
        ("RFC 9112 7.1.1 S14 257 bytes", &over),
        ("RFC 9112 7.1.1 S14 4 KiB on each byte", &many),
        ("RFC 9112 7.1.1 S14 20 KiB in all", &sum),
        ("RFC 9112 7.1 S15 prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1 S15 plus", "+5\r\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1 S15 minus", "-5\r\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1 S15 space before", " 5\r\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1 S15 space after", "5 \r\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1 S15 underscore", "5_0\r\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1 S15 empty", "\r\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1 S15 no digit", "g\r\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1 S15 beyond 64 bits", "ffffffffffffffff1\r\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1 S15 2^64 - 1", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1 S15 2^63", "8000000000000000\r\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1 S15 40 leading zeros", &zeros),
        ("RFC 9112 7.1 S15 no CRLF after data", "5\r\nhello0\r\n\r\n"),
        ("RFC 9112 7.1 S15 data longer than its size", "4\r\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1 S15 data shorter than its size", "6\r\nhello\r\n0\r\n\r\n"),
        ("RFC 9112 7.1.2 S16 trailers over 16 KiB", &trailers),
        ("RFC 9112 7.1.2 S16 trailer without colon", "0\r\nA\r\n\r\n"),
        ("RFC 9112 5.1 S16 trailer with space before colon", "0\r\nA : b\r\n\r\n"),
        ("RFC 9112 5.2 S16 folded trailer", "0\r\nA: b\r\n c\r\n\r\n"),
        ("RFC 9110 5.5 S16 NUL in a trailer", "0\r\nA: b\0\r\n\r\n"),
        ("RFC 9112 2.2 S16 bare LF in trailers", "0\r\nA: b\nB: c\r\n\r\n"),
    ];
    each(cases, |body| arena.aborts(&chunked(body), BAD_REQUEST));
}

#[test]
fn s14_s15_chunks_that_are_legal() {
    let arena = Arena::new();
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(255));
    let cases = [
        ("RFC 9112 7.1 plain", ("5\r\nhello\r\n0\r\n\r\n", "hello")),
        ("RFC 9112 7.1 empty", ("0\r\n\r\n", "")),
        ("RFC 9112 7.1 case and zeros", ("00A\r\n0123456789\r\n00\r\n\r\n", "0123456789")),
        ("RFC 9112 7.1.1 extension", ("5;a=b\r\nhello\r\n0;c\r\n\r\n", "hello")),
        ("RFC 9112 7.1.1 quoted", ("5;a=\"x;\\\"y\"\r\nhello\r\n0\r\n\r\n", "hello")),
        ("RFC 9112 7.1.1 256 bytes", (extension.as_str(), "hello")),
        ("RFC 9112 7.1 two chunks", ("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello")),
        ("RFC 9112 7.1 CRLF in data", ("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n")),
    ];
    each(cases, |(body, decoded)| {
        let shape = forwarded("POST / HTTP/1.1", &["transfer-encoding: chunked"]);
        arena.forwards(&chunked(body), &shape, decoded.as_bytes())
    });
}

#[test]
fn s16_request_trailers_are_never_merged() {
    let arena = Arena::new();
    let cases = [
        ("RFC 9110 6.5.1 Host", "Host: evil"),
        ("RFC 9110 6.5.1 Content-Length", "Content-Length: 100"),
        ("RFC 9110 6.5.1 Transfer-Encoding", "Transfer-Encoding: chunked"),
        ("RFC 9110 6.5.1 Authorization", "Authorization: Bearer evil"),
        ("RFC 9110 6.5.1 X-Forwarded-For", "X-Forwarded-For: 10.0.0.1"),
        ("RFC 9110 6.5.1 any other", "X-Checksum: 1"),
    ];
    each(cases, |trailer| {
        let mark = arena.backend.mark();
        let mut client = arena.connect();
        client.send(chunked(&format!("2\r\nok\r\n0\r\n{trailer}\r\n\r\n")));
        let response = arena.answer(&mut client)?;
        assert_eq!(response.status(), 200);
        let seen = arena.after(&mark)?.concat();
        let request = evenkeel_testkit::backend::whole_requests(&seen).remove(0);
        assert_eq!(request.shape(), forwarded("POST / HTTP/1.1", &["transfer-encoding: chunked"]));
        assert!(request.trailers.is_empty(), "{:?}", request.trailers);
        Ok(())
    });
}

#[test]
fn s16_with_te_trailers_only_harmless_ones_pass() {
    // RFC 9110 6.5.1: framing, routing and authentication have no place in trailers.
    let arena = Arena::new();
    let mut client = arena.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: TE\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
         Grpc-Status: 0\r\nContent-Length: 100\r\nHost: evil\r\nAuthorization: evil\r\n\
         X-Forwarded-For: 10.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    assert_eq!(arena.answer(&mut client).expect("an answer").status(), 200);
    let (_, request) = arena.backend.requests().remove(0);
    assert_eq!(request.value("te"), Some("trailers"));
    let names: Vec<_> = request.trailers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Grpc-Status"]);
    arena.settles();
}
