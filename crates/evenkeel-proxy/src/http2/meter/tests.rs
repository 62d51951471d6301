use super::*;

fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
    let size = u32::try_from(length).expect("small").to_be_bytes();
    let mut frame = vec![size[1], size[2], size[3], kind, flags, 0, 0, 0, 1];
    frame.resize(FRAME_HEAD_BYTES + length, 0);
    frame
}

fn meter() -> Meter {
    let mut meter = Meter::new();
    meter.observe(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Nanos(0));
    meter.observe(&frame(4, 0, 0), Nanos(0));
    assert_eq!(meter.half_since(), None);
    meter
}

#[test]
fn frames_of_a_wrong_length_stop_at_their_head() {
    let wrong = [(2, 0, 4), (3, 0, 3), (4, 0, 5), (4, ACK, 6), (6, 0, 7), (7, 0, 7), (8, 0, 3)];
    for (kind, flags, length) in wrong {
        let bytes = [frame(6, 0, 8), frame(kind, flags, length)].concat();
        let mut whole = meter();
        assert_eq!(whole.observe(&bytes, Nanos(1)), 17, "{kind}");
        assert_eq!(whole.fault(), Some(Fault::FrameSize), "{kind}");
        let mut pieces = meter();
        let used: usize = bytes.iter().map(|byte| pieces.observe(&[*byte], Nanos(1))).sum();
        assert!(used >= 17 && pieces.fault() == Some(Fault::FrameSize), "{kind}: {used}");
    }
    let right = [frame(0x42, 0, 3), frame(7, 0, 20), frame(4, 0, 12), frame(4, ACK, 0)].concat();
    let mut meter = meter();
    assert_eq!(meter.observe(&right, Nanos(1)), right.len());
    assert_eq!(meter.fault(), None);
}

#[test]
fn settings_come_first() {
    let mut meter = Meter::new();
    meter.observe(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Nanos(0));
    assert_eq!(meter.observe(&frame(6, 0, 8), Nanos(0)), 0);
    assert_eq!(meter.fault(), Some(Fault::Protocol));
}

#[test]
fn every_flood_has_its_bound() {
    let floods = [
        ("resets", frame(3, 0, 4), MAX_RESETS),
        ("settings", frame(4, 0, 6), MAX_SETTINGS - 1),
        ("pings", frame(6, 0, 8), MAX_PINGS),
        ("priorities", frame(2, 0, 5), MAX_PRIORITIES),
        ("empty data", frame(0, 0, 0), MAX_EMPTY_DATA),
        ("unknown", frame(0x42, 0, 3), MAX_UNKNOWN),
        ("window updates", frame(8, 0, 4), MAX_WINDOW_UPDATES),
        ("continuations", frame(9, 0, 0), MAX_CONTINUATIONS),
    ];
    for (what, frame, most) in floods {
        let mut meter = meter();
        for _ in 0..most {
            meter.observe(&frame, Nanos(5));
        }
        assert!(!meter.is_exceeded(), "{what}: {most} are fine");
        meter.observe(&frame, Nanos(6));
        assert!(meter.is_exceeded(), "{what}");
    }
}

#[test]
fn counts_are_per_second_and_for_every_piece() {
    let mut meter = meter();
    let frame = frame(3, 0, 4);
    for second in 0..10u64 {
        for _ in 0..MAX_RESETS {
            for byte in &frame {
                meter.observe(&[*byte], Nanos(second * 1_000_000_000 + 1));
            }
        }
    }
    assert!(!meter.is_exceeded());
}

#[test]
fn windows_may_be_opened_for_what_was_sent() {
    let mut meter = meter();
    let frame = frame(8, 0, 4);
    meter.sent(10_000 * 1024);
    for _ in 0..20_000 {
        meter.observe(&frame, Nanos(1));
    }
    assert!(!meter.is_exceeded());
}

#[test]
fn a_half_frame_is_seen_unless_it_is_a_body() {
    let mut meter = meter();
    let headers = frame(1, 0, 10);
    meter.observe(&headers, Nanos(7));
    assert_eq!(meter.half_since(), Some(Nanos(7)), "no END_HEADERS");
    meter.observe(&frame(9, END_HEADERS, 3), Nanos(8));
    assert_eq!(meter.half_since(), None);
    meter.observe(&frame(0, 0, 100)[..50], Nanos(9));
    assert_eq!(meter.half_since(), None, "DATA");
    meter.observe(&[0; 59], Nanos(9));
    meter.observe(&[0; 3], Nanos(10));
    assert_eq!(meter.half_since(), Some(Nanos(10)), "three bytes of a frame's head");
}

#[test]
fn pseudo_headers_in_trailers_are_seen() {
    let blocks: [(&[u8], bool); 9] = [
        (&[0x42, 0x01, b'x'], true),
        (&[0x84], true),
        (&[0x00, 0x05, b':', b'p', b'a', b't', b'h', 0x01, b'/'], true),
        (&[0x20, 0x00, 0x84, 0xb9, 0x58], true),
        (&[0x10, 0x05, b':', b'p', b'a', b't', b'h', 0x01, b'/'], true),
        (&[0x00, 0x01, b'x', 0x01, b':'], false),
        (&[0x8f], false),
        (&[0xbe], false),
        (&[0x7e, 0x01, b':'], false),
    ];
    for (block, expected) in blocks {
        for (flags, before) in [(END_HEADERS, 0), (END_HEADERS | PRIORITISED | PADDED, 6)] {
            let mut meter = meter();
            meter.observe(&frame(1, END_HEADERS, 0), Nanos(1));
            assert_eq!(meter.fault(), None, "a request begins with pseudo-headers");
            let mut trailers = frame(1, flags, before + block.len());
            trailers[FRAME_HEAD_BYTES + before..].copy_from_slice(block);
            for byte in &trailers {
                meter.observe(&[*byte], Nanos(1));
            }
            let wanted = expected.then_some(Fault::Protocol);
            assert_eq!(meter.fault(), wanted, "{block:x?} {flags}");
        }
    }
}

#[test]
fn glitches_are_forgiven_slowly() {
    let mut meter = meter();
    (0..MAX_GLITCHES - 1).for_each(|_| meter.glitch(1));
    meter.observe(b"", Nanos(2_000_000_000));
    meter.glitch(FORGIVEN_GLITCHES);
    assert!(!meter.is_exceeded());
    meter.glitch(1);
    assert!(meter.is_exceeded());
}
