//! Header blocks as they arrive: how many fields there are, whether one is a pseudo-header, and
//! whether a target has a fragment. The library unpacks a block only when all of it is there, and
//! tells none of it. Pure, and nothing is unpacked: strings are skipped by their lengths (RFC 7541
//! 6).

use super::fragment::Scan;
use std::ops::RangeInclusive;

/// Pseudo-headers of the static table (RFC 7541 appendix A).
const PSEUDO: RangeInclusive<usize> = 1..=14;
/// `:path` among them.
const PATH: RangeInclusive<usize> = 4..=5;
/// A colon's code, and how many bits it has (RFC 7541 appendix B).
const COLON: (u8, u32) = (0b101_1100, 7);

/// What a number that is being read is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    /// A field that a table holds.
    Indexed,
    /// A name that a table holds; its value follows.
    Named,
    /// A new size of the table.
    Size,
    /// Of a name.
    NameLength { coded: bool },
    /// Of a value.
    ValueLength,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The first of a field.
    Field,
    /// One more of a number.
    More(Number, usize, u32),
    /// The first of a length.
    Length { of_name: bool },
    /// The first of a name.
    Name { coded: bool, left: usize },
    /// One of a string that nobody looks at.
    Skip { then_value: bool, left: usize },
}

/// One block on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    step: Step,
    fields: usize,
    has_pseudo: bool,
    /// The field at hand says what is asked for.
    is_target: bool,
    scan: Scan,
}

impl Block {
    pub(crate) fn new() -> Block {
        let scan = Scan::default();
        Block { step: Step::Field, fields: 0, has_pseudo: false, is_target: false, scan }
    }

    /// Fields that have begun.
    pub(crate) fn fields(&self) -> usize {
        self.fields
    }

    /// One of them is a pseudo-header, for all that can be seen: what the table of the connection
    /// holds by itself cannot.
    pub(crate) fn has_pseudo(&self) -> bool {
        self.has_pseudo
    }

    /// What is asked for has a fragment, for all that can be seen.
    pub(crate) fn has_fragment(&self) -> bool {
        self.scan.has_found()
    }

    /// More of it.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        while let [byte, rest @ ..] = bytes {
            if let Step::Skip { then_value, left } = self.step {
                let skipped = left.min(bytes.len());
                if self.is_target && !then_value {
                    self.scan.push(&bytes[..skipped]);
                }
                self.step = skipping(left - skipped, then_value);
                bytes = &bytes[skipped..];
                continue;
            }
            self.step = self.next(*byte);
            bytes = rest;
        }
    }

    fn next(&mut self, byte: u8) -> Step {
        match self.step {
            Step::Field => self.begin_field(byte),
            Step::More(number, value, shift) => {
                // A number that does not fit ends the connection where it is unpacked.
                let part = usize::from(byte & 0x7f).checked_shl(shift).unwrap_or(usize::MAX);
                let value = value.saturating_add(part);
                match byte & 0x80 {
                    0 => self.end_number(number, value),
                    _ => Step::More(number, value, shift.saturating_add(7)),
                }
            }
            Step::Length { of_name: true } => {
                self.number(Number::NameLength { coded: byte & 0x80 != 0 }, byte, 7)
            }
            Step::Length { of_name: false } => {
                if self.is_target && !self.scan.has_found() {
                    self.scan = Scan::new(byte & 0x80 != 0);
                }
                self.number(Number::ValueLength, byte, 7)
            }
            Step::Name { coded, left } => {
                let (code, bits) = COLON;
                let colon = if coded { byte >> (8 - bits) == code } else { byte == b':' };
                self.has_pseudo |= colon;
                self.is_target = colon;
                skipping(left - 1, true)
            }
            Step::Skip { then_value, left } => skipping(left.saturating_sub(1), then_value),
        }
    }

    fn begin_field(&mut self, byte: u8) -> Step {
        match byte {
            0x80.. => self.number(Number::Indexed, byte, 7),
            0x40.. => self.number(Number::Named, byte, 6),
            0x20.. => self.number(Number::Size, byte, 5),
            _ => self.number(Number::Named, byte, 4),
        }
    }

    /// A number begins in the low bits of a byte (RFC 7541 5.1).
    fn number(&mut self, number: Number, byte: u8, bits: u32) -> Step {
        let most = (1usize << bits) - 1;
        match usize::from(byte) & most {
            value if value == most => Step::More(number, most, 0),
            value => self.end_number(number, value),
        }
    }

    fn end_number(&mut self, number: Number, value: usize) -> Step {
        match number {
            Number::Size => Step::Field,
            Number::Indexed => {
                self.fields += 1;
                self.has_pseudo |= PSEUDO.contains(&value);
                Step::Field
            }
            Number::Named => {
                self.fields += 1;
                self.has_pseudo |= PSEUDO.contains(&value);
                self.is_target = PATH.contains(&value);
                Step::Length { of_name: value == 0 }
            }
            Number::NameLength { coded } if value > 0 => Step::Name { coded, left: value },
            Number::NameLength { .. } => Step::Length { of_name: false },
            Number::ValueLength => skipping(value, false),
        }
    }
}

fn skipping(left: usize, then_value: bool) -> Step {
    match (left, then_value) {
        (0, true) => Step::Length { of_name: false },
        (0, false) => Step::Field,
        _ => Step::Skip { then_value, left },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields and whether one is a pseudo-header, in whatever pieces the block comes.
    fn of(block: &[u8]) -> (usize, bool) {
        let seen = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let mut seen = Block::new();
            pieces.for_each(|piece| seen.push(piece));
            assert_eq!(seen.step, Step::Field, "{block:x?} is whole");
            (seen.fields(), seen.has_pseudo())
        };
        let whole = seen(&mut std::iter::once(block));
        assert_eq!(seen(&mut block.chunks(1)), whole);
        assert_eq!(seen(&mut block.chunks(3)), whole);
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
        for (block, fields) in cases {
            assert_eq!(of(block), (fields, false), "{block:x?}");
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
            &[0x20, 0x10, 0x02, b':', b'x', 0x00],
        ];
        for block in blocks {
            assert!(of(block).1, "{block:x?}");
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
        for (bytes, expected) in blocks {
            for size in [1, 2, 100] {
                let mut block = Block::new();
                bytes.chunks(size).for_each(|piece| block.push(piece));
                assert_eq!(block.has_fragment(), expected, "{bytes:x?}");
            }
        }
    }

    #[test]
    fn numbers_without_end_do_no_harm() {
        for first in [0xff, 0x7f, 0x3f, 0x0f, 0x00] {
            let mut block = Block::new();
            block.push(&[first, 0x7f]);
            block.push(&[0xff; 100]);
            block.push(&[0x7f; 100]);
        }
    }
}
