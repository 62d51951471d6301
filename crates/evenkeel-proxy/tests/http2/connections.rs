//! RFC 9113 sections 3 to 5: beginnings, frames of any type, streams' numbers.

use crate::stage::{
    COMPRESSION_ERROR, Door, Expected::*, FRAME_SIZE_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, Stage,
    case, hold, last, open, post, settings,
};
use evenkeel_testkit::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Outcome, PING, PREFACE, PRIORITISED,
    PRIORITY, SETTINGS, block, frame, get,
};

#[test]
fn section_3_4_the_preface() {
    let stage = Stage::new();
    for door in [Door::Plain, Door::Tls] {
        let mut frames = stage.silent(door);
        frames.send(PREFACE);
        frames.send(&frame(SETTINGS, 0, 0, &[]));
        let first = frames.next().expect("a preface of ours");
        assert_eq!((first.kind, first.flags, first.stream), (SETTINGS, 0, 0), "{door:?}");
        let acknowledged = frames.find(|one| one.kind == SETTINGS && one.flags & ACK != 0);
        assert!(acknowledged.is_some(), "{door:?}");
    }
    // What begins in another way is no HTTP/2: over TLS the protocol is agreed already, so the
    // connection ends; over a plain one it is bad HTTP/1.1.
    for door in [Door::Plain, Door::Tls] {
        let mut frames = stage.silent(door);
        frames.send(b"INVALID CONNECTION PREFACE\r\n\r\n");
        assert!(!frames.any(|one| one.kind == HEADERS), "{door:?}");
        let mut frames = stage.silent(door);
        frames.send(&[PREFACE, &frame(PING, 0, 0, &[0; 8])].concat());
        assert_eq!(frames.farewell(), Some(PROTOCOL_ERROR), "SETTINGS come first, {door:?}");
    }
}

#[test]
fn section_4_frames() {
    let large = vec![b'a'; 16_384];
    let larger = vec![b'a'; 16_385];
    let mut long = block(&get(&[]));
    long.extend(block(&[("x", &"a".repeat(16_384))]));
    hold(&[
        case("4.1 an unknown type", &[&frame(0x16, 0, 0, &[0; 8])], Lives),
        case("4.1 an undefined flag", &[&frame(PING, 0x16 & !ACK, 0, &[0; 8])], Lives),
        case("4.1 the reserved bit", &[&frame(PING, 0, 0x8000_0000, &[0; 8])], Lives),
        case(
            "4.2 a DATA frame as large as allowed",
            &[&post(1), &frame(DATA, END_STREAM, 1, &large)],
            Answered(1),
        ),
        case(
            "4.2 a DATA frame larger than allowed",
            &[&post(1), &frame(DATA, END_STREAM, 1, &larger)],
            Resets(1, &[FRAME_SIZE_ERROR]),
        ),
        case(
            "4.2 a HEADERS frame larger than allowed",
            &[&frame(HEADERS, END_STREAM | END_HEADERS, 1, &long)],
            Ends(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "4.3 a header block that cannot be decoded",
            &[&frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x40\x05abc")],
            Ends(&[COMPRESSION_ERROR, PROTOCOL_ERROR]),
        ),
        case(
            "4.3 PRIORITY inside a header block",
            &[
                &frame(HEADERS, END_STREAM, 1, &block(&get(&[]))),
                &frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 255]),
            ],
            Ends(&[PROTOCOL_ERROR]),
        ),
        case(
            "4.3 HEADERS of another stream inside a header block",
            &[&frame(HEADERS, END_STREAM, 1, &block(&get(&[]))), &open(3)],
            Ends(&[PROTOCOL_ERROR]),
        ),
    ]);
}

#[test]
fn section_5_numbers_of_streams_and_dependencies() {
    let first = frame(HEADERS, END_STREAM, 1, &block(&get(&[])));
    let itself = [&1u32.to_be_bytes()[..], &[255]].concat();
    let dependent = [&itself[..], &block(&get(&[]))].concat();
    let flags = END_STREAM | END_HEADERS | PRIORITISED;
    hold(&[
        case("5.1.1 an even number", &[&open(2)], Ends(&[PROTOCOL_ERROR])),
        case("5.1.1 a number below others", &[&open(5), &open(3)], Ends(&[PROTOCOL_ERROR])),
        case(
            "5.3.1 HEADERS that depend on themselves",
            &[&frame(HEADERS, flags, 1, &dependent)],
            Resets(1, &[PROTOCOL_ERROR]),
        ),
        case(
            "5.3.1 PRIORITY that depends on itself",
            &[&open(1), &frame(PRIORITY, 0, 1, &itself)],
            Resets(1, &[PROTOCOL_ERROR]),
        ),
        case(
            "5.4.1 a PING of six bytes",
            &[&frame(PING, 0, 0, &[0; 6])],
            Ends(&[FRAME_SIZE_ERROR]),
        ),
        case("5.5 an unknown type", &[&frame(0xff, 0, 0, b"unknown"), &open(1)], Answered(1)),
        case(
            "5.5 an unknown type inside a header block",
            &[&first, &frame(0xff, 0, 0, b"unknown"), &frame(CONTINUATION, END_HEADERS, 1, &[])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        case("a request like any other", &[&post(1), &last(1)], Answered(1)),
    ]);
}

#[test]
fn section_5_1_2_more_streams_than_allowed() {
    let stage = Stage::new();
    for door in [Door::Plain, Door::Tls] {
        let mut frames = stage.connect(door);
        // No response can end, so that no stream does.
        frames.send(&settings(&[(4, 0)]));
        let flood: Vec<u8> = (0..101).flat_map(|count| open(count * 2 + 1)).collect();
        frames.send(&flood);
        assert_eq!(frames.outcome(201), Outcome::Reset(REFUSED_STREAM), "{door:?}");
    }
}
