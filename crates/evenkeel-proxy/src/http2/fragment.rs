//! A fragment in a target. The library cuts it off, as if the client had not sent it, while a
//! target of HTTP/2 has none (RFC 9113 8.3.1). Pure: bytes of the packed value come in as they
//! arrive.

/// A number sign's code (RFC 7541 appendix B).
const NUMBER_SIGN: (u32, u32) = (0xffa, 12);
/// Codes by their lengths: all shorter ones, and those of this length below the bound, are symbols.
/// Longer codes stand for no byte that a target may have.
const CODES: [(u32, u32); 12] = [
    (5, 0xa),
    (6, 0x2e),
    (7, 0x7c),
    (8, 0xfe),
    (10, 0x3fd),
    (11, 0x7fd),
    (12, 0xffc),
    (13, 0x1ffe),
    (14, 0x3ffe),
    (15, 0x7fff),
    (19, 0x7_fff3),
    (20, 0xf_ffee),
];
const LONGEST: u32 = 20;

/// One value on its way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scan {
    coded: bool,
    /// Bits that are no symbol yet, the first one highest, and how many.
    bits: u64,
    count: u32,
    /// What follows is not understood, and not a target.
    lost: bool,
    found: bool,
}

impl Scan {
    /// A value in Huffman's code, or as it is.
    pub(crate) fn new(coded: bool) -> Scan {
        Scan { coded, ..Scan::default() }
    }

    /// True if a number sign came.
    pub(crate) fn has_found(&self) -> bool {
        self.found
    }

    /// More of it.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if !self.coded {
            self.found |= memchr::memchr(b'#', bytes).is_some();
            return;
        }
        for byte in bytes {
            if self.lost || self.found {
                return;
            }
            self.bits = self.bits << 8 | u64::from(*byte);
            self.count += 8;
            while let Some((length, code)) = self.symbol() {
                self.found |= (code, length) == NUMBER_SIGN;
                self.count -= length;
            }
            self.lost = self.count >= LONGEST;
        }
    }

    /// The next symbol, if all of its bits are here.
    fn symbol(&self) -> Option<(u32, u32)> {
        CODES.iter().take_while(|(length, _)| *length <= self.count).find_map(|(length, bound)| {
            let code = self.bits >> (self.count - length) & ((1 << length) - 1);
            let code = u32::try_from(code).ok()?;
            (code < *bound).then_some((*length, code))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_found(coded: bool, value: &[u8]) -> bool {
        let mut whole = Scan::new(coded);
        whole.push(value);
        let mut pieces = Scan::new(coded);
        value.iter().for_each(|byte| pieces.push(&[*byte]));
        assert_eq!(whole.has_found(), pieces.has_found(), "{value:x?}");
        whole.has_found()
    }

    #[test]
    fn a_number_sign_is_found_in_either_form() {
        let plain: [(&[u8], bool); 3] = [(b"/#x", true), (b"/a?b=c", false), (b"", false)];
        for (value, expected) in plain {
            assert_eq!(is_found(false, value), expected, "{value:?}");
        }
        // As another encoder packs them.
        let coded: [(&str, &[u8], bool); 8] = [
            ("/#x", &[0x63, 0xfe, 0xbc, 0xff], true),
            ("/a?b=c#", &[0x60, 0x7f, 0xe4, 0x70, 0x13, 0xfe, 0xbf], true),
            (
                "/index.html?q=1+2(3)!'*~|&^>`{}",
                &[
                    0x60, 0xd5, 0x48, 0x5f, 0x2b, 0xce, 0x9a, 0x68, 0xff, 0x3b, 0x40, 0x1f, 0xf6,
                    0x2f, 0xe9, 0x9f, 0xef, 0xf8, 0xff, 0x5f, 0x3f, 0xfd, 0xff, 0x9f, 0x1f, 0xfe,
                    0x7f, 0xdf, 0xff, 0xdf, 0xff, 0xdf, 0xfe, 0xff,
                ],
                false,
            ),
            ("/\\#", &[0x63, 0xff, 0xf8, 0x7f, 0xd7], true),
            ("/%23", &[0x61, 0x51, 0x33], false),
            (
                "/9X9XzXz@ABCXYZ",
                &[
                    0x61, 0xff, 0xc7, 0xff, 0x3d, 0xfe, 0x7b, 0xff, 0xd4, 0x37, 0x6f, 0x7e, 0x73,
                    0xfd,
                ],
                false,
            ),
            ("/AAAA#AAAA", &[0x62, 0x18, 0x61, 0x87, 0xfe, 0xa1, 0x86, 0x18, 0x7f], true),
            ("/x<y>#", &[0x63, 0xcf, 0xff, 0xcf, 0x5f, 0xf7, 0xff, 0x5f], true),
        ];
        for (text, value, expected) in coded {
            assert_eq!(is_found(true, value), expected, "{text}");
        }
        assert!(!is_found(true, &[0xff; 30]), "no symbol at all");
    }
}
