use super::super::frames::{FRAME_HEAD_BYTES, PADDED, PRIORITISED};
use super::*;

fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
    let size = u32::try_from(length).expect("small").to_be_bytes();
    let mut frame = vec![size[1], size[2], size[3], kind, flags, 0, 0, 0, 1];
    frame.resize(FRAME_HEAD_BYTES + length, 0);
    frame
}

fn meter() -> Meter {
    let mut meter = Meter::new(100);
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
    let mut meter = Meter::new(100);
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
        ("tiny data", frame(0, 0, 1), MAX_TINY_DATA),
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
fn what_the_library_forgets_is_a_fault() {
    let headers = |flags: u8, kind: u8, block: &[u8]| {
        let mut bytes = frame(kind, flags, block.len());
        bytes[FRAME_HEAD_BYTES..].copy_from_slice(block);
        bytes
    };
    let fault = |frames: &[Vec<u8>]| {
        let mut meter = meter();
        frames.iter().for_each(|bytes| _ = meter.observe(bytes, Nanos(1)));
        meter.fault()
    };
    // `:method` twice; the library tells, unless a frame ends within a later field.
    let twice = [0x82, 0x82, 0x84, 0x86];
    assert_eq!(fault(&[headers(END_HEADERS, 1, &twice)]), None, "the library refuses the stream");
    let (first, second) = ([&twice[..], &[0x00, 0x02, b'a']].concat(), [b'b', 0x00]);
    let pieces = [headers(0, 1, &first), headers(END_HEADERS, 9, &second)];
    assert_eq!(fault(&pieces), Some(Fault::Protocol));
    let (first, second) = ([0x82, 0x84, 0x86, 0x00, 0x02, b'a'], [b'b', 0x00]);
    assert_eq!(fault(&[headers(0, 1, &first), headers(END_HEADERS, 9, &second)]), None);
    // A pseudo-header of the table in trailers: entered by the request itself.
    let request = headers(END_HEADERS, 1, &[0x82, 0x86, 0x44, 0x02, b'/', b'a']);
    assert_eq!(fault(&[request.clone(), headers(END_HEADERS, 1, &[0xbe])]), Some(Fault::Protocol));
    assert_eq!(fault(&[request, headers(END_HEADERS, 1, &[0xbf])]), None, "no such entry");
    // Whose block the library does not unpack: tables would differ from then on.
    let itself = headers(END_HEADERS | PRIORITISED, 1, &[0, 0, 0, 1, 16, 0x82, 0x84, 0x86]);
    assert_eq!(fault(&[itself]), Some(Fault::Protocol));
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

#[test]
fn a_block_of_too_many_fields_is_not_read_on() {
    // References to one field of the table, a byte each.
    let bomb = |stream: u8, references: usize| {
        let mut bytes = frame(1, END_HEADERS | END_STREAM, references);
        bytes[FRAME_HEAD_BYTES..].fill(0xbe);
        bytes[FRAME_HEAD_BYTES - 1] = stream;
        bytes
    };
    let mut fine = meter();
    (1..=200).for_each(|stream| assert_eq!(fine.observe(&bomb(stream, 105), Nanos(1)), 114));
    assert!(!fine.is_exceeded(), "a hundred fields, and what makes the request");
    let mut many = meter();
    let blocks = (1..=200).find(|stream| {
        many.observe(&bomb(*stream, 1000), Nanos(1));
        many.is_exceeded()
    });
    assert_eq!(blocks, Some(20), "each is refused by itself, but not for ever");
    let mut huge = meter();
    assert_eq!(huge.observe(&bomb(1, 16_000), Nanos(1)), FRAME_HEAD_BYTES, "none of it is used");
    assert!(huge.is_exceeded());
    // Padding is no field, whatever is in it.
    let mut padded = meter();
    for stream in 1..=200 {
        let mut bytes = bomb(stream, 201);
        bytes[4] |= PADDED;
        bytes[FRAME_HEAD_BYTES] = 200;
        assert_eq!(padded.observe(&bytes, Nanos(1)), bytes.len());
    }
    assert!(!padded.is_exceeded());
}

#[test]
fn trailer_sections_are_as_few_as_their_requests() {
    let mut meter = meter();
    for stream in 0..100u8 {
        for flags in [END_HEADERS, END_HEADERS | END_STREAM] {
            let mut head = frame(1, flags, 0);
            head[8] = stream + 1;
            meter.observe(&head, Nanos(1));
        }
    }
    assert!(!meter.is_exceeded(), "a request and its trailers");
    let again = (1..).find(|_| {
        meter.observe(&frame(1, END_HEADERS, 0), Nanos(1));
        meter.is_exceeded()
    });
    assert_eq!(again, Some(MAX_GLITCHES));
}

#[test]
fn small_frames_cost_more_than_requests() {
    let cost = |frames: &[Vec<u8>]| {
        let mut meter = meter();
        meter.take_cost();
        for frame in frames {
            meter.observe(frame, Nanos(1));
        }
        meter.take_cost()
    };
    let request = cost(&[frame(1, END_HEADERS | END_STREAM, 40)]);
    assert_eq!(cost(&[frame(0, END_STREAM, 5)]), request, "a short body that ends");
    assert_eq!(cost(&[frame(0, 0, 1000)]), request);
    assert!(cost(&[frame(0, 0, 5)]) > 4 * request);
    assert!(cost(&[frame(0x42, 0, 5)]) > 4 * request);
    let (short, long) = (frame(1, END_HEADERS, 1024), frame(1, END_HEADERS, 4096));
    assert_eq!(cost(&[short]), request);
    assert_eq!(cost(&[long]), request + 3 * 3072, "bytes that may be fields");
}
