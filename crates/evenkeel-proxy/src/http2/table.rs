//! What the table of a connection says about names of fields: which are pseudo-headers, and when an
//! entry leaves (RFC 7541 2.3, 4). Pure; no text is kept.

use std::collections::VecDeque;

/// Bytes that entries may take, by our settings and the library's.
const TABLE_BYTES: usize = 4096;
/// What an entry counts besides its name and value (RFC 7541 4.1).
const ENTRY_BYTES: usize = 32;
/// Entries that are always there.
const STATIC_ENTRIES: usize = 61;
/// Their names' lengths (RFC 7541 appendix A).
const STATIC_LENGTHS: [u8; STATIC_ENTRIES] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14,
    16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10,
    25, 17, 10, 4, 3, 16,
];
/// The longest name that says something.
pub(crate) const LONGEST_NAME: usize = 17;

/// What a name says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Name {
    /// A field like any other.
    #[default]
    Field,
    /// A field of the connection, which HTTP/2 does not have (RFC 9113 8.2.2).
    OfConnection,
    Authority,
    Method,
    Path,
    Scheme,
    Protocol,
    /// The status of a response.
    Status,
    /// The same, of one that is not the last.
    Interim,
}

impl Name {
    /// Of the name's own text.
    pub(crate) fn of(text: &[u8]) -> Name {
        match text {
            b":authority" => Name::Authority,
            b":method" => Name::Method,
            b":path" => Name::Path,
            b":scheme" => Name::Scheme,
            b":protocol" => Name::Protocol,
            b":status" => Name::Status,
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding"
            | b"upgrade" => Name::OfConnection,
            _ => Name::Field,
        }
    }

    /// True unless it is a field's.
    pub(crate) fn is_pseudo(self) -> bool {
        match self {
            Name::Field | Name::OfConnection => false,
            Name::Authority
            | Name::Method
            | Name::Path
            | Name::Scheme
            | Name::Protocol
            | Name::Status
            | Name::Interim => true,
        }
    }

    fn of_static(index: usize) -> Name {
        match index {
            1 => Name::Authority,
            2 | 3 => Name::Method,
            4 | 5 => Name::Path,
            6 | 7 => Name::Scheme,
            8..=14 => Name::Status,
            57 => Name::OfConnection,
            _ => Name::Field,
        }
    }
}

/// One entry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) name: Name,
    pub(crate) name_length: usize,
    pub(crate) value_length: usize,
}

impl Entry {
    fn size(&self) -> usize {
        self.name_length.saturating_add(self.value_length).saturating_add(ENTRY_BYTES)
    }
}

/// What is remembered of one: none is larger than the table.
#[derive(Clone, Copy, Debug)]
struct Kept {
    name: Name,
    name_length: u16,
    size: u16,
}

/// The entries of a connection, the newest first.
#[derive(Debug)]
pub(crate) struct Table {
    entries: VecDeque<Kept>,
    size: usize,
    most: usize,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table { entries: VecDeque::new(), size: 0, most: TABLE_BYTES }
    }

    /// What an index stands for; nobody's is a mere field, with which the library ends the
    /// connection.
    pub(crate) fn get(&self, index: usize) -> Entry {
        match index.checked_sub(1 + STATIC_ENTRIES) {
            Some(at) => self.entries.get(at).map_or_else(Entry::default, |kept| Entry {
                name: kept.name,
                name_length: usize::from(kept.name_length),
                value_length: 0,
            }),
            None => {
                let length = index.checked_sub(1).and_then(|at| STATIC_LENGTHS.get(at));
                let name_length = length.map_or(0, |length| usize::from(*length));
                Entry { name: Name::of_static(index), name_length, value_length: 0 }
            }
        }
    }

    /// A new entry, which the oldest make room for.
    pub(crate) fn insert(&mut self, entry: Entry) {
        let size = entry.size();
        self.shrink(self.most.saturating_sub(size));
        let lengths = (u16::try_from(entry.name_length), u16::try_from(size));
        if size <= self.most
            && let (Ok(name_length), Ok(kept)) = lengths
        {
            self.size += size;
            self.entries.push_front(Kept { name: entry.name, name_length, size: kept });
        }
    }

    /// The peer says how much it uses; more than there is ends the connection.
    pub(crate) fn resize(&mut self, most: usize) {
        self.most = most.min(TABLE_BYTES);
        self.shrink(self.most);
    }

    fn shrink(&mut self, size: usize) {
        while self.size > size
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size -= usize::from(oldest.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: Name, value_length: usize) -> Entry {
        Entry { name, name_length: 5, value_length }
    }

    #[test]
    fn the_newest_is_first_and_the_oldest_leaves() {
        let mut table = Table::new();
        table.insert(entry(Name::Path, 3));
        // Each takes 4056 / 39 = 104 places of the first one's size.
        (0..103).for_each(|_| table.insert(entry(Name::Field, 2)));
        assert_eq!(table.get(62).name, Name::Field);
        assert_eq!(table.get(62 + 103).name, Name::Path);
        table.insert(entry(Name::Field, 2));
        assert_eq!(table.get(62 + 104).name, Name::Path, "4096 are 40 and 104 times 39");
        table.insert(entry(Name::Field, 2));
        assert_eq!(table.get(62 + 105).name, Name::Field, "it has left");
    }

    #[test]
    fn one_that_is_too_large_empties_the_table() {
        let mut table = Table::new();
        table.insert(entry(Name::Path, 3));
        table.insert(entry(Name::Path, 4096 - 32 - 5));
        assert_eq!((table.entries.len(), table.size), (1, 4096), "it fits, alone");
        table.insert(entry(Name::Path, 4096 - 32 - 4));
        assert_eq!((table.entries.len(), table.size), (0, 0));
        table.insert(entry(Name::Path, usize::MAX));
        assert_eq!((table.entries.len(), table.size), (0, 0));
    }

    #[test]
    fn a_smaller_size_lets_the_oldest_go() {
        let mut table = Table::new();
        table.insert(entry(Name::Path, 3));
        table.insert(entry(Name::Scheme, 3));
        table.resize(79);
        assert_eq!((table.entries.len(), table.get(62).name), (1, Name::Scheme));
        table.resize(0);
        assert_eq!(table.get(62).name, Name::Field);
        table.resize(4096);
        table.insert(entry(Name::Path, 3));
        assert_eq!(table.get(62).name, Name::Path);
    }

    #[test]
    fn names_that_are_always_there() {
        let names = [
            (1, Name::Authority, 10),
            (2, Name::Method, 7),
            (5, Name::Path, 5),
            (7, Name::Scheme, 7),
            (14, Name::Status, 7),
            (15, Name::Field, 14),
            (57, Name::OfConnection, 17),
            (61, Name::Field, 16),
            (62, Name::Field, 0),
            (0, Name::Field, 0),
        ];
        for (index, name, length) in names {
            let entry = Table::new().get(index);
            assert_eq!((entry.name, entry.name_length), (name, length), "{index}");
        }
    }
}
