//! The Huffman code of header fields (RFC 7541, appendix B), decoded.

use std::sync::LazyLock;

/// Symbols: every byte, and the end of a string, which must not be sent.
const SYMBOLS: usize = 257;
const END: usize = 256;
/// Bits of the longest code.
const LONGEST: u32 = 30;
/// Bits that are looked up at once: most of what stands in a field is no longer.
const SHORT: u32 = 8;

/// Bits of the code of each symbol. The code is canonical, so they say everything.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28,
    30, 28, 28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8,
    6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6,
    5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23,
    23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24,
    21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26,
    20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24,
    26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

static CODE: LazyLock<Code> = LazyLock::new(Code::new);

struct Code {
    /// Symbol and length of the code that stands at the beginning of these bits; length 0 = longer.
    short: [(u8, u8); 1 << SHORT],
    /// All symbols in the order of their codes.
    symbols: Vec<usize>,
    /// For each length: its first code, and the range of its symbols.
    lengths: [(u64, usize, usize); LONGEST as usize + 1],
}

impl Code {
    fn new() -> Code {
        let mut code = Code {
            short: [(0, 0); 1 << SHORT],
            symbols: Vec::with_capacity(SYMBOLS),
            lengths: [(0, 0, 0); LONGEST as usize + 1],
        };
        let mut next = 0_u64;
        for length in 1..=LONGEST as usize {
            next <<= 1;
            let from = code.symbols.len();
            code.lengths[length] = (next, from, from);
            let of_length = (0..SYMBOLS).filter(|s| usize::from(LENGTHS[*s]) == length);
            for symbol in of_length {
                code.add(next, length, symbol);
                next += 1;
            }
            code.lengths[length].2 = code.symbols.len();
        }
        code
    }

    fn add(&mut self, bits: u64, length: usize, symbol: usize) {
        self.symbols.push(symbol);
        let Some(free) = (SHORT as usize).checked_sub(length) else { return };
        if let (Ok(from), Ok(symbol), Ok(length)) =
            (usize::try_from(bits << free), u8::try_from(symbol), u8::try_from(length))
        {
            self.short[from..from + (1 << free)].fill((symbol, length));
        }
    }

    /// The symbol at the top of `bits`, of which so many are held, and the bits of its code.
    fn longer(&self, bits: u64, held: u32) -> Option<(usize, u32)> {
        (SHORT + 1..=held.min(LONGEST)).find_map(|length| {
            let (first, from, to) = self.lengths[length as usize];
            let index = usize::try_from((bits >> (64 - length)).checked_sub(first)?).ok()?;
            self.symbols[from..to].get(index).map(|symbol| (*symbol, length))
        })
    }
}

/// Appends what was coded; `None` if it was not coded as it must be.
pub(crate) fn decode(coded: &[u8], text: &mut Vec<u8>) -> Option<()> {
    let code = &*CODE;
    let mut coded = coded.iter();
    // Bits not yet decoded, from the top; below them zeros.
    let (mut bits, mut held) = (0_u64, 0_u32);
    loop {
        while held <= 64 - u8::BITS {
            let Some(byte) = coded.next() else { break };
            held += u8::BITS;
            bits |= u64::from(*byte) << (64 - held);
        }
        let (symbol, length) = code.short[(bits >> (64 - SHORT)) as usize];
        let (symbol, length) = match u32::from(length) {
            length @ 1.. if length <= held => (symbol, length),
            _ => match code.longer(bits, held) {
                Some((END, _)) => return None,
                Some((symbol, length)) => (u8::try_from(symbol).ok()?, length),
                // What is left is padding: the beginning of the end, shorter than a byte.
                None => return (held < u8::BITS && bits.count_ones() == held).then_some(()),
            },
        };
        text.push(symbol);
        (bits, held) = (bits << length, held - length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(symbol: usize) -> (u64, u32) {
        let length = usize::from(LENGTHS[symbol]);
        let (first, from, to) = CODE.lengths[length];
        let index = CODE.symbols[from..to].iter().position(|s| *s == symbol).expect("it is there");
        (first + index as u64, u32::from(LENGTHS[symbol]))
    }

    fn encode(text: &[usize]) -> Vec<u8> {
        let mut bits = String::new();
        for symbol in text {
            let (code, length) = code_of(*symbol);
            bits.push_str(&format!("{code:0width$b}", width = length as usize));
        }
        bits.push_str(&"1".repeat((8 - bits.len() % 8) % 8));
        let bytes = bits.as_bytes().chunks(8);
        bytes
            .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
            .collect()
    }

    #[test]
    fn the_code_is_that_of_the_standard() {
        // RFC 7541, appendix B and C.4.
        let known = [
            (48, 0x0, 5),
            (97, 0x3, 5),
            (0, 0x1ff8, 13),
            (92, 0x7fff0, 19),
            (END, 0x3fff_ffff, 30),
        ];
        for (symbol, code, length) in known {
            assert_eq!(code_of(symbol), (code, length), "{symbol}");
        }
        let coded = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        let mut text = Vec::new();
        decode(&coded, &mut text).expect("well coded");
        assert_eq!(text, b"www.example.com");
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<usize> = (0..256).chain((0..256).rev()).collect();
        let mut text = Vec::new();
        decode(&encode(&all), &mut text).expect("well coded");
        assert!(text.iter().map(|byte| usize::from(*byte)).eq(all));
    }

    #[test]
    fn what_is_not_coded_as_it_must_be_is_refused() {
        // A whole byte of padding, padding that is not ones, the end, half a code.
        for coded in [&[0xff_u8][..], &[0x00], &encode(&[END]), &[0x07, 0xff], &[0xff, 0xff, 0xfe]]
        {
            assert_eq!(decode(coded, &mut Vec::new()), None, "{coded:x?}");
        }
    }
}
