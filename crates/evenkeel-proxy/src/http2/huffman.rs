//! Strings in Huffman's code, symbol by symbol as their bytes arrive (RFC 7541 5.2). Pure.

/// Codes by their length: the first of them, and the bound behind the last. The code is canonical:
/// codes of one length follow one another, and begin where the shorter ones ended (RFC 7541
/// appendix B).
const CODES: [(u32, u64, u64); 20] = [
    (5, 0, 0xa),
    (6, 0x14, 0x2e),
    (7, 0x5c, 0x7c),
    (8, 0xf8, 0xfe),
    (10, 0x3f8, 0x3fd),
    (11, 0x7fa, 0x7fd),
    (12, 0xffa, 0xffc),
    (13, 0x1ff8, 0x1ffe),
    (14, 0x3ffc, 0x3ffe),
    (15, 0x7ffc, 0x7fff),
    (19, 0x7_fff0, 0x7_fff3),
    (20, 0xf_ffe6, 0xf_ffee),
    (21, 0x1f_ffdc, 0x1f_ffe9),
    (22, 0x3f_ffd2, 0x3f_ffec),
    (23, 0x7f_ffd8, 0x7f_fff5),
    (24, 0xff_ffea, 0xff_fff6),
    (25, 0x1ff_ffec, 0x1ff_fff0),
    (26, 0x3ff_ffe0, 0x3ff_ffef),
    (27, 0x7ff_ffde, 0x7ff_fff1),
    (28, 0xfff_ffe2, 0xfff_ffff),
];
/// Codes of so many bits are a few control characters, and the end, which may not be coded.
const LONGEST: u32 = 30;
/// The end.
const END: u64 = 0x3fff_ffff;
/// Symbols whose codes have at most eight bits, in the order of their codes.
const SHORT: &[u8; 74] =
    b"012aceiost %-./3456789=A_bdfghlmnpru:BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz&*,;XZ";
/// The code of a number sign.
const NUMBER_SIGN: (u32, u64) = (12, 0xffa);
/// Stands for every symbol that nobody asks about.
pub(crate) const OTHER: u8 = 0xff;

/// One string on its way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Symbols {
    /// Bits that are no symbol yet, the first one highest, and how many.
    bits: u64,
    count: u32,
}

impl Symbols {
    /// One more byte, and what becomes whole with it.
    pub(crate) fn push(&mut self, byte: u8, mut take: impl FnMut(u8)) {
        self.bits = self.bits << 8 | u64::from(byte);
        self.count += 8;
        while let Some((length, code)) = self.next() {
            self.count -= length;
            take(byte_of(length, code));
        }
    }

    fn next(&mut self) -> Option<(u32, u64)> {
        let first = |length: u32| self.bits >> (self.count - length) & ((1 << length) - 1);
        let codes = CODES.iter().take_while(|(length, ..)| *length <= self.count);
        let found = codes.map(|(length, _, bound)| (*length, first(*length), *bound));
        if let Some((length, code, _)) = found.clone().find(|(_, code, bound)| code < bound) {
            return Some((length, code));
        }
        if self.count < LONGEST {
            return None;
        }
        let code = first(LONGEST);
        if code == END {
            // The library ends the connection.
            self.count = 0;
            return None;
        }
        Some((LONGEST, code))
    }
}

fn byte_of(length: u32, code: u64) -> u8 {
    if (length, code) == NUMBER_SIGN {
        return b'#';
    }
    let mut before = 0;
    for (of_length, first, bound) in &CODES[..4] {
        if *of_length == length {
            let at = usize::try_from(before + code - first).unwrap_or(usize::MAX);
            return SHORT.get(at).copied().unwrap_or(OTHER);
        }
        before += bound - first;
    }
    OTHER
}

/// Packs a text of symbols with short codes.
#[cfg(test)]
pub(crate) fn pack(text: &[u8]) -> Vec<u8> {
    let (mut bits, mut count, mut out) = (0u64, 0, Vec::new());
    for byte in text {
        let at = SHORT.iter().position(|short| short == byte).expect("a short code") as u64;
        let mut before = 0;
        for (length, first, bound) in &CODES[..4] {
            if at < before + bound - first {
                (bits, count) = (bits << length | (first + at - before), count + length);
                break;
            }
            before += bound - first;
        }
        while count >= 8 {
            count -= 8;
            out.push((bits >> count & 0xff) as u8);
        }
    }
    if count > 0 {
        out.push(((bits << (8 - count) | 0xff >> count) & 0xff) as u8);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols(bytes: &[u8]) -> Vec<u8> {
        let (mut symbols, mut text) = (Symbols::default(), Vec::new());
        bytes.iter().for_each(|byte| symbols.push(*byte, |symbol| text.push(symbol)));
        text
    }

    #[test]
    fn codes_are_the_whole_of_a_canonical_code() {
        let (mut next, mut bits) = (0, 5);
        for (length, first, bound) in CODES {
            assert_eq!(first, next << (length - bits), "of {length} bits");
            (next, bits) = (bound, length);
        }
        assert_eq!((next << 2) + 3, END, "four of thirty bits are left");
    }

    #[test]
    fn strings_are_read_as_another_encoder_packs_them() {
        let coded: [(&str, &[u8]); 6] = [
            ("/#x", &[0x63, 0xfe, 0xbc, 0xff]),
            ("/a?b=c#", &[0x60, 0x7f, 0xe4, 0x70, 0x13, 0xfe, 0xbf]),
            ("/%23", &[0x61, 0x51, 0x33]),
            (
                "www.example.com",
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff],
            ),
            ("no-cache", &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
            (":path", &[0xb9, 0x58, 0xd3, 0x3f]),
        ];
        for (text, bytes) in coded {
            let known = |byte: u8| if byte == b'?' { OTHER } else { byte };
            let expected: Vec<u8> = text.bytes().map(known).collect();
            assert_eq!(symbols(bytes), expected, "{text}");
        }
        // Each of them is one symbol: a backslash, then a number sign; and what targets may have.
        assert_eq!(symbols(&[0x63, 0xff, 0xf8, 0x7f, 0xd7]), [b'/', OTHER, b'#']);
        let target = [
            0x60, 0xd5, 0x48, 0x5f, 0x2b, 0xce, 0x9a, 0x68, 0xff, 0x3b, 0x40, 0x1f, 0xf6, 0x2f,
            0xe9, 0x9f, 0xef, 0xf8, 0xff, 0x5f, 0x3f, 0xfd, 0xff, 0x9f, 0x1f, 0xfe, 0x7f, 0xdf,
            0xff, 0xdf, 0xff, 0xdf, 0xfe, 0xff,
        ];
        let symbols = symbols(&target);
        assert_eq!(symbols.len(), "/index.html?q=1+2(3)!'*~|&^>`{}".len());
        assert!(!symbols.contains(&b'#'));
    }

    #[test]
    fn what_is_no_symbol_ends_nothing() {
        assert_eq!(symbols(&[0xff; 3]), b"", "padding");
        assert_eq!(symbols(&[0xff; 4]), b"", "the end, and then padding");
        let longest = symbols(&[0xff, 0xff, 0xff, 0xf0, 0x00]);
        assert_eq!(longest, [OTHER, b'0', b'0'], "thirty bits, then twice five");
    }
}
