//! RFC 9113 section 6.9: flow control.

use crate::stage::{
    BODY, Door, Expected::*, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR, Stage, case,
    hold, open, post, settings,
};
use evenkeel_testkit::backend::Backend;
use evenkeel_testkit::frames::{DATA, Frames, GOAWAY, HEADERS, RST_STREAM, WINDOW_UPDATE, frame};

const WINDOW: u16 = 4;

fn update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

#[test]
fn updates_that_are_illegal() {
    let most = 0x7fff_ffff;
    hold(&[
        case("6.9 by nothing", &[&update(0, 0)], Ends(&[PROTOCOL_ERROR])),
        case(
            "6.9 by nothing, of a stream",
            &[&post(1), &update(1, 0)],
            Resets(1, &[PROTOCOL_ERROR]),
        ),
        case(
            "6.9 of three bytes",
            &[&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])],
            Ends(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "6.9.1 beyond 2^31 - 1",
            &[&update(0, most), &update(0, most)],
            Ends(&[FLOW_CONTROL_ERROR]),
        ),
        case(
            "6.9.1 beyond 2^31 - 1, of a stream",
            &[&post(1), &update(1, most), &update(1, most)],
            Resets(1, &[FLOW_CONTROL_ERROR]),
        ),
        case(
            "6.9.2 beyond 2^31 - 1, by SETTINGS",
            &[&post(1), &update(1, most - 65_535), &settings(&[(WINDOW, 65_536)])],
            Ends(&[FLOW_CONTROL_ERROR]),
        ),
    ]);
}

/// The bytes of the next DATA that has any.
fn next_bytes(frames: &mut Frames) -> Vec<u8> {
    let with_bytes = frames.find(|one| one.kind == DATA && !one.payload.is_empty());
    with_bytes.expect("DATA").payload
}

#[test]
fn windows_are_kept() {
    let stage = Stage::new();
    let body = BODY.as_bytes();
    for door in [Door::Plain, Door::Tls] {
        let mut frames = stage.connect(door);
        frames.send(&[settings(&[(WINDOW, 1)]), open(1)].concat());
        assert_eq!(next_bytes(&mut frames), &body[..1], "6.9.1 {door:?}");
        frames.send(&update(1, 3));
        assert_eq!(next_bytes(&mut frames), &body[1..4], "6.9.1 {door:?}");

        let mut frames = stage.connect(door);
        frames.send(&[settings(&[(WINDOW, 100), (WINDOW, 1)]), open(1)].concat());
        assert_eq!(next_bytes(&mut frames), &body[..1], "6.5.3 the last value holds, {door:?}");

        let mut frames = stage.connect(door);
        frames.send(&[settings(&[(WINDOW, 0)]), open(1)].concat());
        frames.find(|one| one.kind == HEADERS).expect("a response");
        frames.send(&settings(&[(WINDOW, 1)]));
        assert_eq!(next_bytes(&mut frames), &body[..1], "6.9.2 SETTINGS open it, {door:?}");

        let mut frames = stage.connect(door);
        frames.send(&[settings(&[(WINDOW, 3)]), open(1)].concat());
        assert_eq!(next_bytes(&mut frames), &body[..3], "{door:?}");
        frames.send(&[settings(&[(WINDOW, 2)]), update(1, 2)].concat());
        assert_eq!(next_bytes(&mut frames), &body[3..4], "6.9.2 a window below zero, {door:?}");
    }
}

#[test]
fn more_than_the_window_is_an_error() {
    // Nobody reads the body, so that no window is opened again.
    let stage = Stage::before(Backend::stalling());
    for door in [Door::Plain, Door::Tls] {
        let mut frames = stage.connect(door);
        frames.send(&post(1));
        // 256 KiB are allowed.
        let piece = frame(DATA, 0, 1, &[0; 16_384]);
        (0..17).for_each(|_| frames.send(&piece));
        let code =
            frames.find(|one| one.kind == RST_STREAM || one.kind == GOAWAY).map(|one| one.code());
        assert_eq!(code, Some(FLOW_CONTROL_ERROR), "{door:?}");
    }
}
