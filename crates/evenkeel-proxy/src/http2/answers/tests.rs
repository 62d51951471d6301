use super::super::frames::{CONTINUATION_BYTE, END_STREAM, HEADERS_BYTE, frame_of};
use super::*;

const FIRST: Nanos = Nanos(1_000);

/// `:status: 200`, `:status: 103`, a field, and a trailer.
const OK: &[u8] = &[0x88];
const EARLY: &[u8] = &[0x08, 0x03, b'1', b'0', b'3'];
const FIELD: &[u8] = &[0x00, 0x01, b'a', 0x01, b'b'];

fn headers(flags: u8, block: &[u8]) -> Vec<u8> {
    frame_of(HEADERS_BYTE, END_HEADERS | flags, 1, block)
}

/// What comes of it, in whatever pieces.
fn is_malformed(bytes: &[u8]) -> bool {
    let in_pieces = |size: usize| {
        let mut answers = Answers::new(FIRST);
        answers.expect(1);
        bytes.chunks(size).for_each(|piece| answers.observe(piece, FIRST));
        assert_eq!(answers.heard(), bytes.len() as u64);
        let malformed = answers.is_malformed(1);
        answers.forget(1);
        assert!(!answers.is_malformed(1) && answers.malformed == 0);
        malformed
    };
    let whole = in_pieces(100_000);
    assert_eq!(in_pieces(1), whole);
    assert_eq!(in_pieces(7), whole);
    whole
}

#[test]
fn responses_are_told_from_what_is_none() {
    let path: &[u8] = &[0x84];
    let cases = [
        ("a response", [headers(0, OK), headers(END_STREAM, FIELD)].concat(), false),
        (
            "interim ones before",
            [headers(0, EARLY), headers(0, EARLY), headers(0, OK)].concat(),
            false,
        ),
        ("no status", headers(0, FIELD), true),
        ("two of them", headers(0, &[OK, OK].concat()), true),
        ("two that differ", headers(0, &[EARLY, OK].concat()), true),
        ("one behind a field", headers(0, &[FIELD, OK].concat()), true),
        ("a request's", headers(0, &[OK, path].concat()), true),
        ("one in trailers", [headers(0, OK), headers(END_STREAM, OK)].concat(), true),
        ("a request's in trailers", [headers(0, OK), headers(END_STREAM, path)].concat(), true),
        ("an interim one behind the last", [headers(0, OK), headers(0, EARLY)].concat(), true),
        ("another stream's", frame_of(HEADERS_BYTE, END_HEADERS, 3, path), false),
    ];
    for (what, bytes, expected) in cases {
        assert_eq!(is_malformed(&bytes), expected, "{what}");
    }
}

#[test]
fn the_bound_on_heads_is_heard_in_whatever_pieces() {
    const SETTINGS_BYTE: u8 = 4;
    let entry = |id: u16, value: u32| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    let settings = |flags, entries: &[u8]| frame_of(SETTINGS_BYTE, flags, 0, entries);
    let said = [
        settings(0, &[entry(3, 100), entry(6, 8192), entry(4, 65_535)].concat()),
        settings(ACK, &[]),
        headers(0, OK),
    ]
    .concat();
    let again = [&said[..], &settings(0, &entry(6, 16_384)), &headers(0, EARLY)].concat();
    for (bytes, bound) in [(said, Some(8192)), (again, Some(16_384)), (headers(0, OK), None)] {
        for size in [1, 7, 100_000] {
            let mut answers = Answers::new(FIRST);
            bytes.chunks(size).for_each(|piece| answers.observe(piece, FIRST));
            assert_eq!(answers.max_head_bytes(), bound, "{size}");
        }
    }
    // Its first frame is whole before a request leaves.
    for first in [settings(0, &[]), settings(0, &entry(6, 8192))] {
        let mut answers = Answers::new(FIRST);
        for byte in &first {
            assert!(!answers.is_settled(), "{first:x?}");
            answers.observe(std::slice::from_ref(byte), FIRST);
        }
        assert!(answers.is_settled(), "{first:x?}");
    }
}

#[test]
fn a_block_in_several_frames_is_one() {
    let block = [OK, FIELD, OK].concat();
    for at in 0..=block.len() {
        let first = frame_of(HEADERS_BYTE, 0, 1, &block[..at]);
        let second = frame_of(CONTINUATION_BYTE, END_HEADERS, 1, &block[at..]);
        assert!(is_malformed(&[first, second].concat()), "{at}");
        let good = &block[..6];
        let first = frame_of(HEADERS_BYTE, 0, 1, &good[..at.min(6)]);
        let second = frame_of(CONTINUATION_BYTE, END_HEADERS, 1, &good[at.min(6)..]);
        assert!(!is_malformed(&[first, second].concat()), "{at}");
    }
}

#[test]
fn a_table_of_the_backend_hides_nothing() {
    // `:path` enters the table on another stream; the trailers name its place.
    let insert = frame_of(HEADERS_BYTE, END_HEADERS, 3, &[0x44, 0x01, b'x']);
    assert!(is_malformed(&[insert, headers(0, OK), headers(END_STREAM, &[0xbe])].concat()));
}

#[test]
fn a_frame_that_stops_is_stuck_and_one_that_goes_on_is_not() {
    let second = |seconds: u64| Nanos(FIRST.0 + seconds * 1_000_000_000);
    let half = &frame_of(0, 0, 1, &[0; 100])[..50];
    let mut answers = Answers::new(FIRST);
    assert!(!answers.is_stuck(FIRST, second(10)), "nothing is half there");
    answers.observe(half, second(4));
    assert!(answers.is_stuck(FIRST, second(10)));
    assert!(answers.is_stuck(second(9), second(10)), "nor for who came later");
    answers.observe(&[0; 10], second(8));
    assert!(!answers.is_stuck(FIRST, second(10)), "a slow one");
    answers.observe(&[0; 49], second(9));
    assert!(!answers.is_stuck(FIRST, second(100)), "it is whole");
    answers.observe(&frame_of(HEADERS_BYTE, 0, 1, OK), second(100));
    assert!(answers.is_stuck(FIRST, second(300)), "a block without its end");
}
