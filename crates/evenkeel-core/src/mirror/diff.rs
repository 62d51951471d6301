//! What is compared of two answers to one request, and what is kept of them for that.

use crate::response::ResponseHead;
use std::time::Duration;
use xxhash_rust::xxh3::Xxh3;

/// Longest body that is hashed; of a longer one nothing is said.
pub const MAX_HASHED_BYTES: u64 = 16 * 1024 * 1024;
/// Longest body that is kept, to be compared as JSON.
pub const MAX_KEPT_BYTES: usize = 64 * 1024;

/// What is compared.
#[derive(Clone, Debug, PartialEq)]
pub struct DiffPlan {
    /// Status codes.
    pub status: bool,
    /// The values of these fields; names in lower case.
    pub headers: Vec<String>,
    /// Bodies.
    pub body: BodyDiff,
    /// Places of a JSON body that may differ.
    pub ignore: Vec<JsonPath>,
    /// Differences that are kept to be looked at.
    pub samples: usize,
}

/// How bodies are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyDiff {
    /// Not.
    None,
    /// Byte for byte, by hash.
    Hash,
    /// As JSON, member by member; byte for byte if one of them is none.
    Json,
}

/// A set of places in a JSON document, from its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath(pub Vec<JsonStep>);

/// One step into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonStep {
    /// The member of this name.
    Member(String),
    /// The element at this place, from 0.
    Index(usize),
    /// Every member or element.
    Every,
}

/// What of two answers is not the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// The status.
    Status,
    /// A field.
    Header,
    /// The body.
    Body,
}

impl DifferenceKind {
    /// Every one.
    pub const ALL: [DifferenceKind; 3] =
        [DifferenceKind::Status, DifferenceKind::Header, DifferenceKind::Body];

    /// As users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            DifferenceKind::Status => "status",
            DifferenceKind::Header => "header",
            DifferenceKind::Body => "body",
        }
    }
}

/// One answer, as far as it is compared.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Status and fields.
    pub head: HeardHead,
    /// The body.
    pub body: BodySeen,
    /// From the pick of a backend to the end of its answer.
    pub took: Duration,
}

/// The head of an answer, as far as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardHead {
    /// Its status.
    pub status: u16,
    /// For each field of the plan its values, in one line; `None`: it has none.
    pub headers: Vec<Option<String>>,
}

impl HeardHead {
    /// Of a head that was parsed from `bytes`.
    pub fn of(plan: &DiffPlan, head: &ResponseHead, bytes: &[u8]) -> HeardHead {
        let values = |name: &String| {
            let is_it = |found: &[u8]| found.eq_ignore_ascii_case(name.as_bytes());
            let lines = head.fields.iter().filter(|field| is_it(field.name.of_buf(bytes)));
            let texts: Vec<_> = lines
                .map(|field| String::from_utf8_lossy(field.value.of_buf(bytes)).into_owned())
                .collect();
            (!texts.is_empty()).then(|| texts.join(", "))
        };
        HeardHead { status: head.status, headers: plan.headers.iter().map(values).collect() }
    }
}

/// What is known of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodySeen {
    /// Nobody asked, or it was too long.
    Unknown,
    /// Its length and hash.
    Hashed(u64, u128),
    /// All of it.
    Kept(Vec<u8>),
}

/// Watches a body go by.
pub struct BodyWitness {
    by: BodyDiff,
    length: u64,
    hash: Option<Box<Xxh3>>,
    kept: Vec<u8>,
}

impl std::fmt::Debug for BodyWitness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyWitness").field("by", &self.by).field("length", &self.length).finish()
    }
}

impl BodyWitness {
    /// Of which nothing has come.
    pub fn new(by: BodyDiff) -> BodyWitness {
        let hash = (by == BodyDiff::Hash).then(|| Box::new(Xxh3::new()));
        BodyWitness { by, length: 0, hash, kept: Vec::new() }
    }

    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        match self.by {
            BodyDiff::None => {}
            BodyDiff::Hash if self.length > MAX_HASHED_BYTES => self.hash = None,
            BodyDiff::Hash => self.hash.iter_mut().for_each(|hash| hash.update(bytes)),
            BodyDiff::Json if self.length > MAX_KEPT_BYTES as u64 => self.kept = Vec::new(),
            BodyDiff::Json => self.kept.extend_from_slice(bytes),
        }
    }

    /// What is known of it, now that it is whole.
    pub fn end(&mut self) -> BodySeen {
        match (self.by, &self.hash) {
            (BodyDiff::Hash, Some(hash)) => BodySeen::Hashed(self.length, hash.digest128()),
            (BodyDiff::Json, _) if self.length <= MAX_KEPT_BYTES as u64 => {
                BodySeen::Kept(std::mem::take(&mut self.kept))
            }
            (BodyDiff::None | BodyDiff::Hash | BodyDiff::Json, _) => BodySeen::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Upgrade, Verb};

    fn seen(by: BodyDiff, pieces: &[&[u8]]) -> BodySeen {
        let mut witness = BodyWitness::new(by);
        pieces.iter().for_each(|piece| witness.take(piece));
        witness.end()
    }

    #[test]
    fn a_hash_knows_no_pieces() {
        let whole = seen(BodyDiff::Hash, &[b"hello world"]);
        for pieces in [&[&b"hello"[..], b" ", b"world"][..], &[b"", b"hello worl", b"d"]] {
            assert_eq!(seen(BodyDiff::Hash, pieces), whole);
        }
        for other in [&b"hello worlD"[..], b"hello worl", b"hello world ", b""] {
            assert_ne!(seen(BodyDiff::Hash, &[other]), whole, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn long_bodies_are_unknown() {
        let piece = vec![b'x'; MAX_KEPT_BYTES];
        assert_eq!(seen(BodyDiff::Json, &[&piece]), BodySeen::Kept(piece.clone()));
        assert_eq!(seen(BodyDiff::Json, &[&piece, b"y"]), BodySeen::Unknown);
        assert_eq!(seen(BodyDiff::Json, &[&piece, b"y", b"z"]), BodySeen::Unknown);
        let mut long = BodyWitness::new(BodyDiff::Hash);
        let pieces = MAX_HASHED_BYTES / piece.len() as u64;
        (0..pieces).for_each(|_| long.take(&piece));
        assert!(matches!(long.end(), BodySeen::Hashed(MAX_HASHED_BYTES, _)));
        long.take(b"y");
        assert_eq!(long.end(), BodySeen::Unknown);
        assert_eq!(seen(BodyDiff::None, &[b"abc"]), BodySeen::Unknown);
    }

    #[test]
    fn fields_are_found_whatever_their_case() {
        let text = "HTTP/1.1 201 Made\r\nCONTENT-TYPE: a/b\r\nX: 1\r\nx: 2\r\n\r\n";
        let mut head = ResponseHead::default();
        head.parse(text.as_bytes(), Verb::Safe, Upgrade::NotAsked).expect("a head");
        let plan = DiffPlan {
            status: true,
            headers: vec!["content-type".to_owned(), "x".to_owned(), "y".to_owned()],
            body: BodyDiff::None,
            ignore: Vec::new(),
            samples: 0,
        };
        let heard = HeardHead::of(&plan, &head, text.as_bytes());
        assert_eq!(heard.status, 201);
        assert_eq!(heard.headers, [Some("a/b".to_owned()), Some("1, 2".to_owned()), None]);
    }
}
