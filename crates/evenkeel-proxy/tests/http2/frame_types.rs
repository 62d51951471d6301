//! RFC 9113 section 6: each type of frame.

use crate::stage::{
    Door, Expected::*, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR, Stage, case, hold,
    last, open, post, settings,
};
use evenkeel_testkit::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITISED,
    PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, get,
};

#[test]
fn section_6_1_bodies() {
    hold(&[
        case("on stream 0", &[&frame(DATA, END_STREAM, 0, b"test")], Ends(&[PROTOCOL_ERROR])),
        case(
            "padding longer than the frame",
            &[&post(1), &frame(DATA, END_STREAM | PADDED, 1, b"\x05test")],
            Ends(&[PROTOCOL_ERROR]),
        ),
        case(
            "padding",
            &[&post(1), &frame(DATA, END_STREAM | PADDED, 1, b"\x05test\0\0\0\0\0")],
            Answered(1),
        ),
        case(
            "nothing but padding",
            &[&post(1), &frame(DATA, END_STREAM | PADDED, 1, b"\x03\0\0\0")],
            Answered(1),
        ),
        case("several", &[&post(1), &frame(DATA, 0, 1, b"test"), &last(1)], Answered(1)),
    ]);
}

#[test]
fn section_6_2_headers() {
    let fields = block(&get(&[]));
    let whole = END_STREAM | END_HEADERS;
    let padded = [&[4][..], &fields, &[0; 4]].concat();
    let overlong = [&[u8::try_from(fields.len()).expect("short") + 1][..], &fields].concat();
    let weighed = [&[0, 0, 0, 0, 255][..], &fields].concat();
    let both = [&[4, 0x80, 0, 0, 0, 16][..], &fields, &[0; 4]].concat();
    hold(&[
        case("on stream 0", &[&frame(HEADERS, whole, 0, &fields)], Ends(&[PROTOCOL_ERROR])),
        case(
            "padding longer than the frame",
            &[&frame(HEADERS, whole | PADDED, 1, &overlong)],
            Ends(&[PROTOCOL_ERROR]),
        ),
        case("padding", &[&frame(HEADERS, whole | PADDED, 1, &padded)], Answered(1)),
        case("priority", &[&frame(HEADERS, whole | PRIORITISED, 1, &weighed)], Answered(1)),
        case("both", &[&frame(HEADERS, whole | PRIORITISED | PADDED, 1, &both)], Answered(1)),
        case(
            "then PRIORITY inside its block",
            &[&frame(HEADERS, END_STREAM, 1, &fields), &frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        case(
            "then HEADERS of another stream inside its block",
            &[&frame(HEADERS, END_STREAM, 1, &fields), &open(3)],
            Ends(&[PROTOCOL_ERROR]),
        ),
    ]);
}

#[test]
fn section_6_3_priority() {
    hold(&[
        case("on stream 0", &[&frame(PRIORITY, 0, 0, &[0, 0, 0, 0, 9])], Ends(&[PROTOCOL_ERROR])),
        case(
            "of four bytes",
            &[&open(1), &frame(PRIORITY, 0, 1, &[0x80, 0, 0, 1])],
            Resets(1, &[FRAME_SIZE_ERROR]),
        ),
        case("weight 1", &[&frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 0]), &open(1)], Answered(1)),
        case("weight 256", &[&frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 255]), &open(1)], Answered(1)),
        case("exclusive", &[&frame(PRIORITY, 0, 3, &[0x80, 0, 0, 1, 9]), &open(3)], Answered(3)),
    ]);
}

#[test]
fn section_6_4_rst_stream() {
    let code = [0, 0, 0, 8];
    hold(&[
        case("on stream 0", &[&frame(RST_STREAM, 0, 0, &code)], Ends(&[PROTOCOL_ERROR])),
        case("on an idle stream", &[&frame(RST_STREAM, 0, 1, &code)], Ends(&[PROTOCOL_ERROR])),
        case(
            "of three bytes",
            &[&post(1), &frame(RST_STREAM, 0, 1, &code[1..])],
            Ends(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "then others are served",
            &[&post(1), &frame(RST_STREAM, 0, 1, &code), &open(3)],
            Answered(3),
        ),
        case(
            "7 with an unknown code",
            &[&post(1), &frame(RST_STREAM, 0, 1, &[0, 0, 0, 255])],
            Lives,
        ),
    ]);
}

#[test]
fn section_6_5_settings() {
    let one = |id, value| settings(&[(id, value)]);
    hold(&[
        case("ACK with a payload", &[&frame(SETTINGS, ACK, 0, &[0])], Ends(&[FRAME_SIZE_ERROR])),
        case(
            "on a stream",
            &[&frame(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 9])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        case("of three bytes", &[&frame(SETTINGS, 0, 0, &[0, 3, 0])], Ends(&[FRAME_SIZE_ERROR])),
        case("6.5.2 ENABLE_PUSH of 2", &[&one(2, 2)], Ends(&[PROTOCOL_ERROR])),
        case(
            "6.5.2 INITIAL_WINDOW_SIZE of 2^31",
            &[&one(4, 0x8000_0000)],
            Ends(&[FLOW_CONTROL_ERROR, PROTOCOL_ERROR]),
        ),
        case("6.5.2 MAX_FRAME_SIZE of 2^14 - 1", &[&one(5, 16_383)], Ends(&[PROTOCOL_ERROR])),
        case("6.5.2 MAX_FRAME_SIZE of 2^24", &[&one(5, 16_777_216)], Ends(&[PROTOCOL_ERROR])),
        case("RFC 8441 3 ENABLE_CONNECT_PROTOCOL of 2", &[&one(8, 2)], Ends(&[PROTOCOL_ERROR])),
        case("6.5.2 an unknown one", &[&one(0xff, 1)], Lives),
        case("a table of no size", &[&one(1, 0), &open(1)], Answered(1)),
    ]);
    let stage = Stage::new();
    for door in [Door::Plain, Door::Tls] {
        let mut frames = stage.connect(door);
        frames.send(&one(3, 100));
        let acknowledged = |frame: &evenkeel_testkit::frames::Frame| {
            frame.kind == SETTINGS && frame.flags == ACK && frame.payload.is_empty()
        };
        assert_eq!(frames.by_ref().filter(acknowledged).take(2).count(), 2, "6.5.3 {door:?}");
    }
}

#[test]
fn section_6_7_ping() {
    hold(&[
        case("on a stream", &[&frame(PING, 0, 1, &[0; 8])], Ends(&[PROTOCOL_ERROR])),
        case("of six bytes", &[&frame(PING, 0, 0, &[0; 6])], Ends(&[FRAME_SIZE_ERROR])),
        case("answered", &[], Lives),
    ]);
    let stage = Stage::new();
    for door in [Door::Plain, Door::Tls] {
        let mut frames = stage.connect(door);
        frames.send(&frame(PING, ACK, 0, b"unasked!"));
        frames.send(&frame(PING, 0, 0, b"question"));
        let answer = frames.find(|one| one.kind == PING).expect("an answer");
        assert_eq!(answer.payload, b"question", "an ACK is not answered, {door:?}");
    }
}

#[test]
fn section_6_8_goaway() {
    let unknown = [0, 0, 0, 0, 0, 0, 0, 255];
    hold(&[
        case("on a stream", &[&frame(GOAWAY, 0, 1, &[0; 8])], Ends(&[PROTOCOL_ERROR])),
        case("of three bytes", &[&frame(GOAWAY, 0, 0, &[0; 3])], Ends(&[FRAME_SIZE_ERROR])),
    ]);
    let stage = Stage::new();
    for door in [Door::Plain, Door::Tls] {
        // 7: no special behaviour; what runs goes on, and then the connection may end.
        let mut frames = stage.connect(door);
        frames.send(&[open(1), frame(GOAWAY, 0, 0, &unknown)].concat());
        let answered = frames.find(|one| one.stream == 1 && one.kind == HEADERS);
        assert!(answered.is_some(), "{door:?}");
    }
}

#[test]
fn section_6_10_continuation() {
    let fields = block(&get(&[]));
    let first = frame(HEADERS, END_STREAM, 1, &fields);
    let more = |flags| frame(CONTINUATION, flags, 1, &block(&[("x-a", "b")]));
    hold(&[
        case("one", &[&first, &more(END_HEADERS)], Answered(1)),
        case("several", &[&first, &more(0), &more(0), &more(END_HEADERS)], Answered(1)),
        case("then DATA", &[&first, &more(0), &last(1)], Ends(&[PROTOCOL_ERROR])),
        case(
            "on stream 0",
            &[&first, &frame(CONTINUATION, END_HEADERS, 0, &[])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        case("after a whole HEADERS", &[&open(1), &more(END_HEADERS)], Ends(&[PROTOCOL_ERROR])),
        case(
            "after a whole CONTINUATION",
            &[&first, &more(END_HEADERS), &more(END_HEADERS)],
            Ends(&[PROTOCOL_ERROR]),
        ),
        case(
            "after DATA",
            &[&post(1), &frame(DATA, 0, 1, b"test"), &more(END_HEADERS)],
            Ends(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.9 WINDOW_UPDATE inside",
            &[&first, &frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])],
            Ends(&[PROTOCOL_ERROR]),
        ),
    ]);
}
