//! Header fields of HTTP/2 (RFC 7541): ours written once and then repeated, the server's read.

use super::huffman;
use std::collections::VecDeque;

/// Room of a table of fields, of either side, that nobody said anything else of.
pub(crate) const TABLE_BYTES: usize = 4096;
/// What a field in a table takes beyond its bytes.
const ENTRY_BYTES: usize = 32;
/// Bytes that a number goes on for at most.
const MAX_NUMBER_BYTES: u32 = 4;

/// Name and value.
pub(crate) type Field = (Vec<u8>, Vec<u8>);

/// The fields that everybody knows, from number 1.
#[rustfmt::skip]
const KNOWN: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"),
    (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"),
    (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""),
    ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""),
    ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
    ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""),
    ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""),
    ("vary", ""), ("via", ""), ("www-authenticate", ""),
];

/// A header block that a connection sends again and again.
pub(crate) struct Block {
    first: Vec<u8>,
    again: Vec<u8>,
    was_sent: bool,
}

impl Block {
    /// These fields for a server whose table has `table` bytes, which it has to be told if it
    /// `is_new`.
    pub(crate) fn new(fields: &[Field], table: usize, is_new: bool) -> Block {
        let (mut first, mut again) = (Vec::new(), Vec::new());
        if is_new {
            push_number(&mut first, 0x20, 5, table);
        }
        let entry = |field: &Field| field.0.len() + field.1.len() + ENTRY_BYTES;
        let is_known = |field: &Field| KNOWN.iter().position(|known| is(known, field));
        let mut left = table;
        let mut fits = |field: &Field| {
            let fits = is_known(field).is_none() && entry(field) <= left;
            left -= if fits { entry(field) } else { 0 };
            fits
        };
        let kept: Vec<bool> = fields.iter().map(&mut fits).collect();
        // The last field that is kept has the lowest number.
        let mut number = KNOWN.len() + kept.iter().filter(|kept| **kept).count();
        for (field, kept) in fields.iter().zip(kept) {
            if let Some(known) = is_known(field) {
                push_number(&mut first, 0x80, 7, known + 1);
                push_number(&mut again, 0x80, 7, known + 1);
            } else if kept {
                push_literal(&mut first, 0x40, 6, field);
                push_number(&mut again, 0x80, 7, number);
                number -= 1;
            } else {
                push_literal(&mut first, 0x00, 4, field);
                push_literal(&mut again, 0x00, 4, field);
            }
        }
        Block { first, again, was_sent: false }
    }

    /// What is to be sent next.
    pub(crate) fn next(&mut self) -> &[u8] {
        if std::mem::replace(&mut self.was_sent, true) { &self.again } else { &self.first }
    }
}

fn is(known: &(&str, &str), field: &Field) -> bool {
    known.0.as_bytes() == field.0 && known.1.as_bytes() == field.1
}

fn push_literal(block: &mut Vec<u8>, kind: u8, bits: u32, (name, value): &Field) {
    let known = KNOWN.iter().position(|known| known.0.as_bytes() == name);
    push_number(block, kind, bits, known.map_or(0, |known| known + 1));
    let texts = if known.is_some() { &[value][..] } else { &[name, value] };
    for text in texts {
        push_number(block, 0, 7, text.len());
        block.extend_from_slice(text);
    }
}

/// A number in the low `bits` of a byte that has `kind` above them, and further bytes if need be.
fn push_number(block: &mut Vec<u8>, kind: u8, bits: u32, number: usize) {
    let most = (1_usize << bits) - 1;
    let low = |number: usize| number.to_le_bytes()[0];
    if number < most {
        return block.push(kind | low(number));
    }
    block.push(kind | low(most));
    let mut left = number - most;
    while left >= 0x80 {
        block.push(low(left) | 0x80);
        left >>= 7;
    }
    block.push(low(left));
}

/// Header blocks break the rules, and nothing that follows can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// Reads the header blocks of one connection, in their order.
#[derive(Default)]
pub(crate) struct Decoder {
    table: Table,
    /// Name and value of the field that is being read.
    field: Vec<u8>,
}

impl Decoder {
    /// Shows name and value of every field of a block.
    pub(crate) fn read(
        &mut self,
        mut block: &[u8],
        mut see: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Broken> {
        let mut may_resize = true;
        while let Some(&first) = block.first() {
            may_resize &= first & 0xe0 == 0x20;
            match first {
                0x80.. => {
                    let (name, value) = self.table.get(number(&mut block, 7)?)?;
                    see(name, value);
                }
                0x40.. => {
                    let name = self.literal(&mut block, 6)?;
                    see(&self.field[..name], &self.field[name..]);
                    self.table.add(&self.field, name);
                }
                0x20.. if may_resize => self.table.resize(number(&mut block, 5)?)?,
                0x20.. => return Err(Broken),
                _ => {
                    let name = self.literal(&mut block, 4)?;
                    see(&self.field[..name], &self.field[name..]);
                }
            }
        }
        Ok(())
    }

    /// Reads a field; gives the length of its name.
    fn literal(&mut self, block: &mut &[u8], bits: u32) -> Result<usize, Broken> {
        self.field.clear();
        match number(block, bits)? {
            0 => text(block, &mut self.field)?,
            known => self.field.extend_from_slice(self.table.get(known)?.0),
        }
        let name = self.field.len();
        text(block, &mut self.field)?;
        Ok(name)
    }
}

fn number(block: &mut &[u8], bits: u32) -> Result<usize, Broken> {
    let most = (1_usize << bits) - 1;
    let (first, mut rest) = block.split_first().ok_or(Broken)?;
    let mut number = usize::from(*first) & most;
    if number == most {
        for place in 0.. {
            let (byte, after) = rest.split_first().ok_or(Broken)?;
            if place == MAX_NUMBER_BYTES {
                return Err(Broken);
            }
            number += usize::from(byte & 0x7f) << (7 * place);
            rest = after;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *block = rest;
    Ok(number)
}

fn text(block: &mut &[u8], into: &mut Vec<u8>) -> Result<(), Broken> {
    let is_coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = number(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Broken)?;
    *block = rest;
    if is_coded {
        return huffman::decode(text, into).ok_or(Broken);
    }
    into.extend_from_slice(text);
    Ok(())
}

/// Where a field of the table stands in its bytes.
struct Entry {
    from: usize,
    name: usize,
    end: usize,
}

/// The fields that a server has told us to keep, the newest first.
struct Table {
    entries: VecDeque<Entry>,
    /// At most twice the room of the table: what is dropped is at the beginning.
    bytes: Vec<u8>,
    size: usize,
    room: usize,
}

impl Default for Table {
    fn default() -> Table {
        Table { entries: VecDeque::new(), bytes: Vec::new(), size: 0, room: TABLE_BYTES }
    }
}

impl Table {
    fn get(&self, number: usize) -> Result<(&[u8], &[u8]), Broken> {
        if let Some((name, value)) = number.checked_sub(1).and_then(|index| KNOWN.get(index)) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let index = number.checked_sub(KNOWN.len() + 1).ok_or(Broken)?;
        let Entry { from, name, end } = self.entries.get(index).ok_or(Broken)?;
        Ok((&self.bytes[*from..*name], &self.bytes[*name..*end]))
    }

    /// A field that is larger than the table empties it.
    fn add(&mut self, field: &[u8], name: usize) {
        let size = field.len() + ENTRY_BYTES;
        self.make_room(size);
        if size > self.room {
            return;
        }
        if self.bytes.len() + field.len() > 2 * TABLE_BYTES {
            let dropped = self.entries.back().map_or(self.bytes.len(), |oldest| oldest.from);
            self.bytes.drain(..dropped);
            for entry in &mut self.entries {
                entry.from -= dropped;
                entry.name -= dropped;
                entry.end -= dropped;
            }
        }
        let from = self.bytes.len();
        self.bytes.extend_from_slice(field);
        self.entries.push_front(Entry { from, name: from + name, end: self.bytes.len() });
        self.size += size;
    }

    fn resize(&mut self, room: usize) -> Result<(), Broken> {
        if room > TABLE_BYTES {
            return Err(Broken);
        }
        self.room = room;
        self.make_room(0);
        Ok(())
    }

    fn make_room(&mut self, wanted: usize) {
        while self.size + wanted > self.room {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.end - oldest.from + ENTRY_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, Broken> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decoder.read(block, |name, value| fields.push((text(name), text(value))))?;
        Ok(fields)
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
        let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    fn own(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn the_answers_of_the_standard_are_read() {
        // RFC 7541, C.6, whose table has 256 bytes: fields are dropped in the second and third.
        let first = "3fe101 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81
                     66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3";
        let third = "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b
                     d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27
                     0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07";
        let hex = |text: &str| bytes(&text.split_whitespace().collect::<String>());
        let mut decoder = Decoder::default();
        let (date, private) = ("Mon, 21 Oct 2013 20:13:21 GMT", ("cache-control", "private"));
        let location = ("location", "https://www.example.com");
        let wanted = [(":status", "302"), private, ("date", date), location];
        assert_eq!(read(&mut decoder, &hex(first)), Ok(own(&wanted)));
        let wanted = [(":status", "307"), private, ("date", date), location];
        assert_eq!(read(&mut decoder, &hex("4883 640e ffc1 c0bf")), Ok(own(&wanted)));
        let cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
        let wanted = [
            (":status", "200"),
            private,
            ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
            location,
            ("content-encoding", "gzip"),
            ("set-cookie", cookie),
        ];
        assert_eq!(read(&mut decoder, &hex(third)), Ok(own(&wanted)));
        assert_eq!(decoder.table.size, 215);
    }

    #[test]
    fn our_own_fields_come_back_and_get_short() {
        let long = "x".repeat(5000);
        let fields =
            [(":method", "GET"), (":path", "/a"), ("x-a", "1"), ("x-long", &long), ("x-a", "2")];
        let given: Vec<Field> =
            fields.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        for table in [TABLE_BYTES, 80, 0] {
            let mut decoder = Decoder::default();
            // What was there before a table got smaller must not matter.
            let before = Block::new(&given[4..], TABLE_BYTES, false).next().to_vec();
            read(&mut decoder, &before).expect("well written");
            let mut block = Block::new(&given, table, table < TABLE_BYTES);
            let lengths: Vec<usize> = (0..3)
                .map(|_| {
                    let sent = block.next().to_vec();
                    assert_eq!(read(&mut decoder, &sent), Ok(own(&fields)), "{table}");
                    sent.len() - long.len()
                })
                .collect();
            assert_eq!(lengths[1], lengths[2]);
            // Without a table, only the word that there is none is left out later.
            let spared = lengths[0] - lengths[1];
            assert!(if table > 0 { spared > 1 } else { spared == 1 }, "{lengths:?}");
        }
    }

    #[test]
    fn a_table_never_grows_beyond_its_room() {
        let mut decoder = Decoder::default();
        for number in 0..10_000_u32 {
            let field = (number.to_string().into_bytes(), vec![b'x'; (number % 900) as usize]);
            let mut block = Vec::new();
            push_literal(&mut block, 0x40, 6, &field);
            block.push(0x80 | 62);
            let fields = read(&mut decoder, &block).expect("well written");
            assert_eq!(fields[0], fields[1]);
            assert!(
                decoder.table.size <= TABLE_BYTES && decoder.table.bytes.len() <= 2 * TABLE_BYTES
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        // Nothing at 0, nothing at 62, half a number, a number without end, half a text, a size
        // above ours, a size after a field, a text that is wrongly coded.
        let broken =
            ["80", "be", "ff", "ffffffffffff", "00", "0003 61", "3fe2 1f", "8820", "0081ff00"];
        for block in broken {
            assert!(read(&mut Decoder::default(), &bytes(block)).is_err(), "{block}");
        }
    }
}
