use super::*;
use proptest::prelude::*;

/// What is seen of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    count: usize,
    pseudo: u16,
    disordered: bool,
    fragment: bool,
}

fn seen(fields: &Fields) -> Seen {
    assert_eq!(fields.step, Step::Field, "the block is whole");
    Seen {
        count: fields.count(),
        pseudo: fields.seen,
        disordered: fields.is_disordered(),
        fragment: fields.has_fragment(),
    }
}

/// Blocks of one connection, in whatever pieces they come.
fn of(blocks: &[&[u8]]) -> Vec<Seen> {
    let in_pieces = |size: usize| {
        let mut fields = Fields::new();
        let each = blocks.iter().map(|block| {
            fields.begin();
            block.chunks(size).for_each(|piece| fields.push(piece));
            seen(&fields)
        });
        each.collect::<Vec<_>>()
    };
    let whole = in_pieces(100_000);
    assert_eq!(in_pieces(1), whole);
    assert_eq!(in_pieces(3), whole);
    whole
}

#[test]
fn fields_are_counted_whatever_they_are_packed_as() {
    let long = [&[0x00, 0x7f, 0x80, 0x02][..], &[b'n'; 383], &[0x7f, 0x00], &[b'v'; 127]];
    let cases: [(&[u8], usize); 8] = [
        (&[], 0),
        (&[0xbe, 0xbe, 0xff, 0x80, 0x01], 3),
        (&[0x20, 0x3f, 0xe1, 0x1f, 0xbe], 1),
        (&[0x40, 0x01, b'a', 0x00, 0x7e, 0x01, b'b'], 2),
        (&[0x0f, 0x2f, 0x01, b'a', 0x1f, 0x00, 0x00], 2),
        (&[0x00, 0x00, 0x00, 0x10, 0x01, b'a', 0x02, 0xbe, 0xbe], 2),
        (&[0x7f, 0x00, 0x83, 0xbe, 0xbe, 0xbe], 1),
        (&long.concat(), 1),
    ];
    for (block, count) in cases {
        let expected = Seen { count, pseudo: 0, disordered: false, fragment: false };
        assert_eq!(of(&[block]), [expected], "{block:x?}");
    }
}

#[test]
fn pseudo_headers_are_seen_wherever_they_stand() {
    let blocks: [&[u8]; 6] = [
        &[0x84],
        &[0x42, 0x01, b'x'],
        &[0xbe, 0x01, 0x01, b'x'],
        &[0x00, 0x01, b'x', 0x00, 0x00, 0x05, b':', b'p', b'a', b't', b'h', 0x01, b'/'],
        &[0x10, 0x84, 0xb9, 0x58, 0xd3, 0x3f, 0x01, b'/'],
        &[0x20, 0x10, 0x07, b':', b's', b't', b'a', b't', b'u', b's', 0x00],
    ];
    for block in blocks {
        assert_ne!(of(&[block])[0].pseudo, 0, "{block:x?}");
    }
}

#[test]
fn what_the_table_keeps_is_known_again() {
    let insert: &[u8] =
        &[0x44, 0x02, b'/', b'a', 0x40, 0x01, b'n', 0x01, b'v', 0x48, 0x03, b'1', b'0', b'3'];
    let named =
        |name: Name| Seen { count: 1, pseudo: bit(name), disordered: false, fragment: false };
    let seen = of(&[insert, &[0xc0], &[0xbe], &[0x3f, 0x0f, 0xbe], &[0x7e, 0x01, b'2'], &[0xbe]]);
    assert_eq!(seen[1], named(Name::Path), "the oldest of three");
    assert_eq!(seen[2], named(Name::Interim));
    assert_eq!(seen[3], named(Name::Interim), "the last that fits in 46 bytes");
    assert_eq!(seen[4], named(Name::Status), "its name, with another value");
    assert_eq!(seen[5], named(Name::Status), "which took its place");
}

#[test]
fn order_is_seen() {
    let cases: [(&[u8], bool); 9] = [
        (&[0x82, 0x84, 0x86, 0xbe], false),
        (&[0x82, 0xbe, 0x84], true),
        (&[0x82, 0x82], true),
        (&[0x88, 0x89], true),
        (&[0x08, 0x03, b'1', b'0', b'3', 0x88], true),
        (&[0x88, 0x0f, 0x2a, 0x01, b'x'], true),
        (&[0x88, 0x00, 0x07, b'u', b'p', b'g', b'r', b'a', b'd', b'e', 0x00], true),
        (&[0x88, 0x00, 0x07, b'u', b'p', b'g', b'r', b'a', b'd', b'x', 0x00], false),
        (&[0x88, 0x00, 0x85, 0xb6, 0xb9, 0xac, 0x1c, 0x85, 0x00], true),
    ];
    for (block, expected) in cases {
        assert_eq!(of(&[block])[0].disordered, expected, "{block:x?}");
    }
}

#[test]
fn a_fragment_is_seen_in_a_target_alone() {
    let blocks: [(&[u8], bool); 7] = [
        (&[0x04, 0x03, b'/', b'#', b'x'], true),
        (&[0x44, 0x84, 0x63, 0xfe, 0xbc, 0xff], true),
        (&[0x00, 0x05, b':', b'p', b'a', b't', b'h', 0x02, b'/', b'#'], true),
        (&[0x05, 0x02, b'/', b'#', 0x04, 0x01, b'/'], true),
        (&[0x04, 0x02, b'/', b'a', 0x00, 0x01, b'x', 0x02, b'/', b'#'], false),
        (&[0x84, 0x7e, 0x02, b'/', b'#'], false),
        (&[0x04, 0x83, 0x63, 0xfc, 0xf3], false),
    ];
    for (block, expected) in blocks {
        assert_eq!(of(&[block])[0].fragment, expected, "{block:x?}");
    }
}

#[test]
fn numbers_without_end_do_no_harm() {
    for first in [0xff, 0x7f, 0x3f, 0x0f, 0x00] {
        let mut fields = Fields::new();
        fields.push(&[first, 0x7f]);
        fields.push(&[0xff; 100]);
        fields.push(&[0x7f; 100]);
    }
}

proptest! {
    /// Whatever comes: no panic, and pieces change nothing.
    #[test]
    fn pieces_change_nothing(
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..5),
        size in 1usize..20,
    ) {
        let (mut whole, mut pieces) = (Fields::new(), Fields::new());
        for block in &blocks {
            whole.begin();
            pieces.begin();
            whole.push(block);
            block.chunks(size).for_each(|piece| pieces.push(piece));
            prop_assert_eq!(whole.step, pieces.step);
            prop_assert_eq!(whole.count, pieces.count);
            prop_assert_eq!(whole.seen, pieces.seen);
            prop_assert_eq!(whole.is_disordered, pieces.is_disordered);
            prop_assert_eq!(whole.has_fragment, pieces.has_fragment);
        }
    }
}
