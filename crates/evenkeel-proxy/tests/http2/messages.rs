//! RFC 9113 section 8: what a request is.

use crate::stage::{Case, Door, Expected::*, PROTOCOL_ERROR, Stage, Step, hold, last, open, post};
use evenkeel_testkit::frames::{
    DATA, END_HEADERS, END_STREAM, Frames, HEADERS, Outcome, block, frame, request,
};

type Fields = [(&'static str, &'static str)];

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/");
const AUTHORITY: (&str, &str) = (":authority", "x");

/// This request is refused.
fn refused(rule: &'static str, fields: &Fields) -> Case {
    let bytes = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields));
    (rule, vec![Step::Send(bytes)], Resets(1, &[PROTOCOL_ERROR]))
}

/// These frames are.
fn broken(rule: &'static str, frames: &[&[u8]]) -> Case {
    (rule, vec![Step::Send(frames.concat())], Resets(1, &[PROTOCOL_ERROR]))
}

#[test]
fn section_8_2_fields() {
    hold(&[
        refused("8.2 upper case", &[METHOD, SCHEME, PATH, AUTHORITY, ("X-TEST", "ok")]),
        refused(
            "8.2.2 connection",
            &[METHOD, SCHEME, PATH, AUTHORITY, ("connection", "keep-alive")],
        ),
        refused("8.2.2 te", &[METHOD, SCHEME, PATH, AUTHORITY, ("te", "trailers, deflate")]),
        refused(
            "8.2.2 transfer-encoding",
            &[METHOD, SCHEME, PATH, AUTHORITY, ("transfer-encoding", "chunked")],
        ),
    ]);
}

#[test]
fn section_8_3_pseudo_headers() {
    let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[(":method", "200")]));
    hold(&[
        refused("8.3 unknown", &[METHOD, SCHEME, PATH, AUTHORITY, (":test", "ok")]),
        refused("8.3 of a response", &[METHOD, SCHEME, PATH, AUTHORITY, (":status", "200")]),
        refused("8.3 after a field", &[METHOD, SCHEME, PATH, ("x-test", "ok"), AUTHORITY]),
        broken("8.3 in trailers", &[&post(1), &frame(DATA, 0, 1, b"test"), &trailers]),
        refused("8.3.1 an empty :path", &[METHOD, SCHEME, (":path", ""), AUTHORITY]),
        refused("8.3.1 no :method", &[SCHEME, PATH, AUTHORITY]),
        refused("8.3.1 no :scheme", &[METHOD, PATH, AUTHORITY]),
        refused("8.3.1 no :path", &[METHOD, SCHEME, AUTHORITY]),
        refused("8.3.1 two :method", &[METHOD, METHOD, SCHEME, PATH, AUTHORITY]),
        refused("8.3.1 two :scheme", &[METHOD, SCHEME, SCHEME, PATH, AUTHORITY]),
        refused("8.3.1 two :path", &[METHOD, SCHEME, PATH, PATH, AUTHORITY]),
        refused("8.3.1 two :authority", &[METHOD, SCHEME, PATH, AUTHORITY, AUTHORITY]),
    ]);
}

#[test]
fn section_8_1_messages() {
    let length = |length| {
        frame(HEADERS, END_HEADERS, 1, &block(&request("POST", &[("content-length", length)])))
    };
    let some = frame(DATA, 0, 1, b"test");
    hold(&[
        broken("8.1 HEADERS that do not end the stream", &[&post(1), &some, &post(1)]),
        broken("8.1.1 one frame longer than its length", &[&length("1"), &last(1)]),
        broken("8.1.1 frames longer than their length", &[&length("1"), &some, &last(1)]),
        broken("8.4 PUSH_PROMISE", &[&frame(5, END_HEADERS, 1, &[0, 0, 0, 2])]),
    ]);
}

/// The frames of one response: its status, its body, and whether its head ended it.
fn response(frames: &mut Frames, stream: u32) -> (u16, Vec<u8>, bool) {
    let head = frames.find(|one| one.kind == HEADERS && one.stream == stream).expect("a head");
    let mut body = Vec::new();
    let alone = head.flags & END_STREAM != 0;
    let mut ended = alone;
    while !ended {
        let one = frames.find(|one| one.stream == stream).expect("a whole response");
        assert!(one.kind <= HEADERS, "{one:?}");
        ended = one.flags & END_STREAM != 0;
        body.extend_from_slice(&one.payload);
    }
    (head.status(), body, alone)
}

#[test]
fn messages_that_are_legal() {
    let stage = Stage::new();
    let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 5, &block(&[("x-test", "ok")]));
    for door in [Door::Plain, Door::Tls] {
        let mut frames = stage.connect(door);
        frames.send(&open(1));
        assert_eq!(response(&mut frames, 1), (200, crate::stage::BODY.into(), false), "{door:?}");
        frames.headers(3, END_STREAM, &request("OPTIONS", &[]));
        assert_eq!(response(&mut frames, 3).0, 200, "{door:?}");
        frames.send(&[post(5), frame(DATA, 0, 5, b"test"), trailers.clone()].concat());
        assert_eq!(response(&mut frames, 5).0, 200, "{door:?}");
    }
}

#[test]
fn a_head_alone_ends_its_stream() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    let stage = Stage::before(evenkeel_testkit::backend::Backend::answering(&head[..]));
    for door in [Door::Plain, Door::Tls] {
        let mut frames = stage.connect(door);
        frames.headers(1, END_STREAM, &request("HEAD", &[]));
        assert_eq!(response(&mut frames, 1), (200, Vec::new(), true), "{door:?}");
        frames.headers(3, END_STREAM, &request("HEAD", &[]));
        assert_eq!(frames.outcome(3), Outcome::Status(200), "{door:?}");
    }
}
