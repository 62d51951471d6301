//! Header blocks as they arrive: how many fields there are, which are pseudo-headers and whether
//! they stand where they may, and whether a target has a fragment. The library unpacks a block only
//! when all of it is there, and tells little of it. Pure; strings are skipped by their lengths,
//! except for those that say something (RFC 7541 6).

use super::huffman::Symbols;
use super::table::{Entry, LONGEST_NAME, Name, Table};

/// What a number that is being read is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    /// A field that a table holds.
    Indexed,
    /// A name that a table holds; its value follows.
    Named { kept: bool },
    /// A new size of the table.
    Size,
    /// Of a name.
    NameLength,
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
    /// One of a name.
    Name { left: usize },
    /// One of a value.
    Value { left: usize },
}

/// The field at hand.
#[derive(Clone, Copy, Debug, Default)]
struct Field {
    entry: Entry,
    /// The table keeps it.
    kept: bool,
    /// The string at hand is in Huffman's code.
    coded: bool,
    symbols: Symbols,
    /// The beginning of the name, as far as it may say something, and its first byte behind.
    text: [u8; LONGEST_NAME + 1],
    text_length: usize,
}

/// The blocks of a connection, one at a time.
#[derive(Debug)]
pub(crate) struct Fields {
    table: Table,
    step: Step,
    field: Field,
    // Of the block:
    count: usize,
    /// A bit for each pseudo-header.
    seen: u16,
    /// A name has begun like one.
    begins_like_one: bool,
    has_others: bool,
    is_disordered: bool,
    has_fragment: bool,
}

impl Fields {
    pub(crate) fn new() -> Fields {
        Fields {
            table: Table::new(),
            step: Step::Field,
            field: Field::default(),
            count: 0,
            seen: 0,
            begins_like_one: false,
            has_others: false,
            is_disordered: false,
            has_fragment: false,
        }
    }

    /// A new block begins.
    pub(crate) fn begin(&mut self) {
        self.step = Step::Field;
        (self.count, self.seen, self.begins_like_one) = (0, 0, false);
        (self.has_others, self.is_disordered, self.has_fragment) = (false, false, false);
    }

    /// Fields that have begun.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// One of them is a pseudo-header.
    pub(crate) fn has_pseudo(&self) -> bool {
        self.seen != 0 || self.begins_like_one
    }

    /// True if the pseudo-headers are exactly these.
    pub(crate) fn are_pseudo(&self, name: Name) -> bool {
        self.seen == bit(name)
    }

    /// A pseudo-header came twice or behind a field, or a field is of the connection (RFC 9113
    /// 8.2.2, 8.3).
    pub(crate) fn is_disordered(&self) -> bool {
        self.is_disordered
    }

    /// What is asked for has a fragment. The library cuts it off, as if the client had not sent it,
    /// while a target of HTTP/2 has none (RFC 9113 8.3.1).
    pub(crate) fn has_fragment(&self) -> bool {
        self.has_fragment
    }

    /// More of the block.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        while let [byte, rest @ ..] = bytes {
            match self.step {
                Step::Name { left } => bytes = self.take_name(bytes, left),
                Step::Value { left } => bytes = self.take_value(bytes, left),
                Step::Field | Step::More(..) | Step::Length { .. } => {
                    self.take_byte(*byte);
                    bytes = rest;
                }
            }
        }
    }

    fn take_byte(&mut self, byte: u8) {
        match self.step {
            Step::More(number, value, shift) => {
                // A number that does not fit ends the connection where it is unpacked.
                let part = usize::from(byte & 0x7f);
                let part = if shift < 32 { part << shift } else { usize::MAX };
                let value = value.saturating_add(part);
                match byte & 0x80 {
                    0 => self.end_number(number, value),
                    _ => self.step = Step::More(number, value, shift.saturating_add(7)),
                }
            }
            Step::Length { of_name } => {
                self.field.coded = byte & 0x80 != 0;
                self.field.symbols = Symbols::default();
                let number = if of_name { Number::NameLength } else { Number::ValueLength };
                self.begin_number(number, byte, 7);
            }
            Step::Field | Step::Name { .. } | Step::Value { .. } => match byte {
                0x80.. => self.begin_number(Number::Indexed, byte, 7),
                0x40.. => self.begin_number(Number::Named { kept: true }, byte, 6),
                0x20.. => self.begin_number(Number::Size, byte, 5),
                _ => self.begin_number(Number::Named { kept: false }, byte, 4),
            },
        }
    }

    /// A number begins in the low bits of a byte (RFC 7541 5.1).
    fn begin_number(&mut self, number: Number, byte: u8, bits: u32) {
        let most = (1usize << bits) - 1;
        match usize::from(byte) & most {
            value if value == most => self.step = Step::More(number, most, 0),
            value => self.end_number(number, value),
        }
    }

    fn end_number(&mut self, number: Number, value: usize) {
        self.step = Step::Field;
        match number {
            Number::Size => self.table.resize(value),
            Number::Indexed => {
                self.count += 1;
                self.note(self.table.get(value).name);
            }
            Number::Named { kept } => {
                self.count += 1;
                let Entry { name, name_length, .. } = self.table.get(value);
                let name = if name == Name::Interim { Name::Status } else { name };
                let entry = Entry { name, name_length, value_length: 0 };
                self.field = Field { entry, kept, ..Field::default() };
                self.step = Step::Length { of_name: value == 0 };
            }
            Number::NameLength if value > 0 => self.step = Step::Name { left: value },
            Number::NameLength => self.step = Step::Length { of_name: false },
            Number::ValueLength if value > 0 => self.step = Step::Value { left: value },
            Number::ValueLength => self.end_field(),
        }
    }

    /// Takes bytes of a name; those behind are returned.
    fn take_name<'a>(&mut self, bytes: &'a [u8], left: usize) -> &'a [u8] {
        let (name, rest) = bytes.split_at(left.min(bytes.len()));
        let field = &mut self.field;
        for byte in name {
            if !field.kept && field.text_length > LONGEST_NAME {
                // What is not kept needs no length, and this name says nothing.
                break;
            }
            let mut symbols = field.symbols;
            if field.coded {
                symbols.push(*byte, |symbol| field.take_symbol(symbol));
            } else {
                field.take_symbol(*byte);
            }
            field.symbols = symbols;
        }
        self.begins_like_one |= field.text_length > 0 && field.text[0] == b':';
        if name.len() < left {
            self.step = Step::Name { left: left - name.len() };
        } else {
            field.entry.name = Name::of(&field.text[..field.text_length]);
            self.step = Step::Length { of_name: false };
        }
        rest
    }

    /// Takes bytes of a value; those behind are returned.
    fn take_value<'a>(&mut self, bytes: &'a [u8], left: usize) -> &'a [u8] {
        let (value, rest) = bytes.split_at(left.min(bytes.len()));
        let field = &mut self.field;
        let is_target = field.entry.name == Name::Path;
        let is_status = field.entry.name == Name::Status;
        if field.coded && (field.kept || is_target || is_status) {
            let (length, entry) = (&mut field.entry.value_length, &mut field.entry.name);
            for byte in value {
                field.symbols.push(*byte, |symbol| {
                    if is_status && *length == 0 && symbol == b'1' {
                        *entry = Name::Interim;
                    }
                    self.has_fragment |= is_target && symbol == b'#';
                    *length += 1;
                });
            }
        } else {
            if is_status && field.entry.value_length == 0 && value.first() == Some(&b'1') {
                field.entry.name = Name::Interim;
            }
            self.has_fragment |= is_target && memchr::memchr(b'#', value).is_some();
            field.entry.value_length = field.entry.value_length.saturating_add(value.len());
        }
        match left - value.len() {
            0 => self.end_field(),
            left => self.step = Step::Value { left },
        }
        rest
    }

    fn end_field(&mut self) {
        self.step = Step::Field;
        if self.field.kept {
            self.table.insert(self.field.entry);
        }
        self.note(self.field.entry.name);
    }

    fn note(&mut self, name: Name) {
        if name.is_pseudo() {
            let status = bit(Name::Status) | bit(Name::Interim);
            let same = if bit(name) & status != 0 { status } else { bit(name) };
            self.is_disordered |= self.has_others || self.seen & same != 0;
            self.seen |= bit(name);
        } else {
            self.has_others = true;
            self.is_disordered |= name == Name::OfConnection;
        }
    }
}

impl Field {
    /// One more of the name.
    fn take_symbol(&mut self, symbol: u8) {
        self.entry.name_length += 1;
        if let Some(place) = self.text.get_mut(self.text_length) {
            *place = symbol;
            self.text_length += 1;
        }
    }
}

fn bit(name: Name) -> u16 {
    1 << name as u16
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod tests;
