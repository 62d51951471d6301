//! Escaping: any bytes become text that stays on its line and cannot speak to a terminal.
//!
//! | bytes                                      | JSON       | the other formats |
//! |--------------------------------------------|------------|-------------------|
//! | control bytes, DEL                         | `\u00XX`   | `\xNN`            |
//! | `"` and `\`                                | `\"` `\\`  | `\"` `\\`         |
//! | UTF-8 that hides or reorders (see `hides`) | `\uXXXX`   | `\xNN` per byte   |
//! | other UTF-8                                | as it is   | as it is          |
//! | not UTF-8                                  | `\ufffd` per bad sequence | `\xNN` per byte |
//! | space, in a word of a text line            | as it is   | `\x20`            |

/// Where the bytes are put.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Between the quotes of a JSON string.
    JsonString,
    /// Between the quotes of a `key="value"` pair; also a sentence of a text line.
    QuotedValue,
    /// A word of a text line, without quotes.
    Word,
}

impl Place {
    /// The classes that may not be copied here.
    const fn stops(self) -> u8 {
        match self {
            Place::JsonString | Place::QuotedValue => UNSAFE,
            Place::Word => UNSAFE | SPACE,
        }
    }
}

/// Control, DEL, quote, backslash, not ASCII.
const UNSAFE: u8 = 1;
const SPACE: u8 = 2;
const EQUALS: u8 = 4;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if byte < 0x20 || byte >= 0x7f {
            table[byte] = UNSAFE;
        }
        byte += 1;
    }
    table[b'"' as usize] = UNSAFE;
    table[b'\\' as usize] = UNSAFE;
    table[b' ' as usize] = SPACE;
    table[b'=' as usize] = EQUALS;
    table
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `bytes`, escaped for `place`. Plain runs are copied whole.
#[inline]
pub(super) fn write(place: Place, bytes: &[u8], out: &mut Vec<u8>) {
    let plain = plain_len(bytes, place.stops());
    let (run, rest) = bytes.split_at(plain);
    out.extend_from_slice(run);
    if !rest.is_empty() {
        write_special(place, rest, out);
    }
}

/// `value` of a `key=value` pair: bare if that is unambiguous, else in quotes.
#[inline]
pub(super) fn write_value(value: &[u8], out: &mut Vec<u8>) {
    let bare = plain_len(value, UNSAFE | SPACE | EQUALS) == value.len();
    if bare && !value.is_empty() && value != b"-" {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    write(Place::QuotedValue, value, out);
    out.push(b'"');
}

fn plain_len(bytes: &[u8], stops: u8) -> usize {
    let stop = bytes.iter().position(|byte| CLASS[usize::from(*byte)] & stops != 0);
    stop.unwrap_or(bytes.len())
}

/// `rest` begins with a byte that is not plain. Ends: each turn consumes at least one byte.
#[cold]
fn write_special(place: Place, mut rest: &[u8], out: &mut Vec<u8>) {
    while let Some(&first) = rest.first() {
        // No UTF-8 sequence holds an ASCII byte, so a wide run can be judged by itself.
        let wide = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
        let (special, after) = rest.split_at(wide.max(1));
        if first.is_ascii() {
            write_byte(place, first, out);
        } else {
            write_wide(place, special, out);
        }
        let (run, after) = after.split_at(plain_len(after, place.stops()));
        out.extend_from_slice(run);
        rest = after;
    }
}

fn write_byte(place: Place, byte: u8, out: &mut Vec<u8>) {
    let hex = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
    match (byte, place) {
        (b'"' | b'\\', _) => out.extend_from_slice(&[b'\\', byte]),
        (_, Place::JsonString) => out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex[0], hex[1]]),
        (_, Place::QuotedValue | Place::Word) => {
            out.extend_from_slice(&[b'\\', b'x', hex[0], hex[1]]);
        }
    }
}

fn write_wide(place: Place, bytes: &[u8], out: &mut Vec<u8>) {
    let mut encoded = [0; 4];
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            let utf8 = letter.encode_utf8(&mut encoded).as_bytes();
            match (hides(letter), place) {
                (false, _) => out.extend_from_slice(utf8),
                (true, Place::JsonString) => write_unicode_escape(letter, out),
                (true, Place::QuotedValue | Place::Word) => write_bytes(place, utf8, out),
            }
        }
        match place {
            Place::JsonString if chunk.invalid().is_empty() => {}
            Place::JsonString => out.extend_from_slice(b"\\ufffd"),
            Place::QuotedValue | Place::Word => write_bytes(place, chunk.invalid(), out),
        }
    }
}

fn write_bytes(place: Place, bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        write_byte(place, *byte, out);
    }
}

fn write_unicode_escape(letter: char, out: &mut Vec<u8>) {
    let mut units = [0; 2];
    for unit in letter.encode_utf16(&mut units) {
        out.extend_from_slice(b"\\u");
        for shift in [12, 8, 4, 0] {
            out.push(HEX[usize::from(*unit >> shift & 15)]);
        }
    }
}

/// C1 controls (U+009B starts a terminal escape), line separators, zero-width letters, and the
/// controls of writing direction: what a line with them shows is not what it says.
fn hides(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(place: Place, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write(place, bytes, &mut out);
        String::from_utf8(out).expect("escaped text is UTF-8")
    }

    #[test]
    fn each_place_has_its_escapes() {
        let cases: [(&[u8], &str, &str, &str); 11] = [
            (b"/plain?a=b", "/plain?a=b", "/plain?a=b", "/plain?a=b"),
            (b"", "", "", ""),
            (b"a b", "a b", "a b", "a\\x20b"),
            (b"\n", "\\u000a", "\\x0a", "\\x0a"),
            (b"\x1b[31m", "\\u001b[31m", "\\x1b[31m", "\\x1b[31m"),
            (b"\x7f\0", "\\u007f\\u0000", "\\x7f\\x00", "\\x7f\\x00"),
            (b"q\"b\\", "q\\\"b\\\\", "q\\\"b\\\\", "q\\\"b\\\\"),
            ("grüße 💥".as_bytes(), "grüße 💥", "grüße 💥", "grüße\\x20💥"),
            ("\u{9b}31m".as_bytes(), "\\u009b31m", "\\xc2\\x9b31m", "\\xc2\\x9b31m"),
            ("\u{2028}".as_bytes(), "\\u2028", "\\xe2\\x80\\xa8", "\\xe2\\x80\\xa8"),
            (
                b"a\xff\xfe\xc3(",
                "a\\ufffd\\ufffd\\ufffd(",
                "a\\xff\\xfe\\xc3(",
                "a\\xff\\xfe\\xc3(",
            ),
        ];
        for (bytes, json, quoted, word) in cases {
            assert_eq!(escaped(Place::JsonString, bytes), json, "{bytes:?}");
            assert_eq!(escaped(Place::QuotedValue, bytes), quoted, "{bytes:?}");
            assert_eq!(escaped(Place::Word, bytes), word, "{bytes:?}");
        }
    }

    #[test]
    fn a_value_is_bare_only_if_unambiguous() {
        let cases: [(&[u8], &str); 6] = [
            (b"10.0.0.1:80", "10.0.0.1:80"),
            (b"", "\"\""),
            (b"-", "\"-\""),
            (b"a=b", "\"a=b\""),
            (b"a b", "\"a b\""),
            (b"a\" x=\"", "\"a\\\" x=\\\"\""),
        ];
        for (value, expected) in cases {
            let mut out = Vec::new();
            write_value(value, &mut out);
            assert_eq!(out, expected.as_bytes());
        }
    }
}
