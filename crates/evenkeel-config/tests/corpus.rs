//! The corpora of the fuzz targets `config`, `dialect`, `import` and `companion`, and mutations of
//! them.
#![expect(clippy::panic, reason = "a test ends where it fails")]

use evenkeel_config::{
    Dialect, Format, Overrides, Product, Source, convert, import, migration_names, read,
    read_migration, read_targets, tokens,
};
use evenkeel_core::address::{BackendAddress, Scheme};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

/// Mutations that are tried, if `EVENKEEL_SEEDS` does not say how many.
const CASES: u32 = 2_000;
/// Longest piece that a mutation moves, in bytes.
const MAX_PIECE: usize = 40;
/// What a mutation puts in.
const WORDS: &[&str] = &[
    "\n",
    "\r\n",
    "\t",
    " ",
    "  ",
    ":",
    ": ",
    "- ",
    "-",
    ",",
    "#",
    "\"",
    "'",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "&a",
    "*a",
    "!",
    "!!",
    "|",
    ">",
    "<<",
    "---\n",
    "${",
    "=",
    ".",
    "\0",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "0",
    "-1",
    "1e999",
    "99999999999999999999",
    "5s",
    "null",
    "~",
    "true",
    "version",
    "listeners",
    "routes",
    "pools",
    "name: web\n",
    "preset: go-loadbalancer\n",
    "# a comment\n",
    " # beside",
    "server",
    "location / { proxy_pass http://a; }",
    "listen 80;",
    ";",
    "backend b\n",
    "use_backend b if { path /x }\n",
];

fn cases() -> u32 {
    let said = std::env::var("EVENKEEL_SEEDS").ok();
    said.map_or(CASES, |text| text.parse().unwrap_or_else(|_| panic!("EVENKEEL_SEEDS={text}")))
}

/// Names and bytes of all seeds of a target.
type Seeds = BTreeMap<String, Vec<u8>>;

static CONFIG: LazyLock<Seeds> = LazyLock::new(|| seeds("config"));
static DIALECT: LazyLock<Seeds> = LazyLock::new(|| seeds("dialect"));
static IMPORT: LazyLock<Seeds> = LazyLock::new(|| seeds("import"));
static COMPANION: LazyLock<Seeds> = LazyLock::new(|| seeds("companion"));

fn seeds(target: &str) -> Seeds {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap_or_else(|error| panic!("{error}"));
        let bytes = fs::read(entry.path()).unwrap_or_else(|error| panic!("{error}"));
        (entry.file_name().to_string_lossy().into_owned(), bytes)
    };
    entries.map(read).collect()
}

/// No text panics, and what is valid is shown in a way that reads back to the same.
fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for format in [Format::Yaml, Format::Toml] {
        let read_text = |text: &str, format| {
            let source = Source { name: "seed".to_owned(), text: text.to_owned(), format };
            read(Some(&source), &Overrides::default())
        };
        let Ok(configuration) = read_text(&text, format) else { continue };
        let _ = configuration.plan();
        let shown = configuration.to_yaml();
        let again = read_text(&shown, Format::Yaml).map(|again| again.to_yaml());
        assert_eq!(again.map_err(|errors| errors.to_string()), Ok(shown));
    }
}

/// No text panics, and what is converted converts to itself.
fn check_dialect(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let source =
        |text: &str, format| Source { name: "seed".to_owned(), text: text.to_owned(), format };
    let named = Dialect::names().filter_map(Dialect::parse).map(Some);
    for dialect in named.chain([None]) {
        for from in [Format::Yaml, Format::Toml] {
            let Ok(once) = convert(&source(&text, from), dialect, Format::Yaml) else { continue };
            let again = convert(&source(&once.text, Format::Yaml), None, Format::Yaml);
            let again = again.map(|again| again.text).map_err(|errors| errors.to_string());
            assert_eq!(again, Ok(once.text));
        }
    }
}

/// No text panics, and what is imported is valid.
fn check_import(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let source = Source { name: "seed".to_owned(), text, format: Format::Yaml };
    for product in [Product::Nginx, Product::Haproxy] {
        for format in [Format::Yaml, Format::Toml] {
            let Ok(imported) = import(&source, product, format) else { continue };
            let native = Source { name: "native".to_owned(), text: imported.text, format };
            let read = read(Some(&native), &Overrides::default());
            assert!(read.is_ok(), "{}\n{}", native.text, read.err().unwrap_or_default());
        }
    }
}

/// No text panics; names of tokens are unique, addresses read back, and a plan tells its names
/// without the rest.
fn check_companion(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for format in [Format::Yaml, Format::Toml] {
        let source = Source { name: "seed".to_owned(), text: text.to_string(), format };
        let Ok(plan) = read_migration(&source, 0) else { continue };
        let named = [&plan.route, &plan.from, &plan.to].map(|name| name.to_string());
        assert_eq!(migration_names(&source), Some(named));
    }
    if let Ok(entries) = tokens("seed", &text) {
        let names: HashSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names.len(), entries.len(), "{entries:?}");
    }
    for backend in read_targets("seed", &text, Scheme::Http).into_iter().flatten() {
        let again = BackendAddress::parse(&backend.address.text);
        assert_eq!(again, Ok(backend.address), "{}", backend.name);
    }
}

/// One change of a text.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Insert(Index, &'static str),
    Delete(Index, usize),
    Duplicate(Index, usize),
    Splice(Index, Index, Index, usize),
    SwapLineEnd(Index),
}

impl Change {
    fn any() -> impl Strategy<Value = Change> {
        let at = any::<Index>;
        let length = || 1..=MAX_PIECE;
        prop_oneof![
            (at(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
            (at(), prop::sample::select(WORDS)).prop_map(|(at, word)| Change::Insert(at, word)),
            (at(), length()).prop_map(|(at, length)| Change::Delete(at, length)),
            (at(), length()).prop_map(|(at, length)| Change::Duplicate(at, length)),
            (at(), at(), at(), length())
                .prop_map(|(at, seed, from, length)| Change::Splice(at, seed, from, length)),
            at().prop_map(Change::SwapLineEnd),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>, corpus: &'static Seeds) {
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        let piece = |at: usize, length: &usize, bytes: &[u8]| at..bytes.len().min(at + length);
        match self {
            Change::Flip(at, bit) => {
                let at = place(at, bytes);
                bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << bit);
            }
            Change::Insert(at, word) => {
                let at = place(at, bytes);
                bytes.splice(at..at, word.bytes());
            }
            Change::Delete(at, length) => drop(bytes.drain(piece(place(at, bytes), length, bytes))),
            Change::Duplicate(at, length) => {
                let at = place(at, bytes);
                let copy = bytes[piece(at, length, bytes)].to_vec();
                bytes.splice(at..at, copy);
            }
            Change::Splice(at, seed, from, length) => {
                let at = place(at, bytes);
                let other = nth(seed, corpus);
                let from = place(from, other);
                bytes.splice(at..at, other[piece(from, length, other)].to_vec());
            }
            Change::SwapLineEnd(at) => {
                let at = place(at, bytes);
                let found = bytes[at..].iter().position(|byte| *byte == b'\n');
                found.into_iter().for_each(|found| bytes[at + found] = b'\r');
            }
        }
    }
}

fn nth(seed: &Index, corpus: &'static Seeds) -> &'static [u8] {
    corpus.values().nth(seed.index(corpus.len())).map_or(&[], Vec::as_slice)
}

fn every_seed(corpus: &Seeds, least: usize, check: fn(&[u8])) {
    assert!(corpus.len() >= least, "{:?}", corpus.keys());
    for (name, bytes) in corpus {
        let result = std::panic::catch_unwind(|| check(bytes));
        assert!(result.is_ok(), "{name}");
    }
}

fn mutated(seed: &Index, changes: &[Change], corpus: &'static Seeds) -> Vec<u8> {
    let mut bytes = nth(seed, corpus).to_vec();
    changes.iter().for_each(|change| change.apply(&mut bytes, corpus));
    bytes
}

#[test]
fn every_seed_of_config() {
    every_seed(&CONFIG, 10, check);
}

#[test]
fn every_seed_of_dialect() {
    every_seed(&DIALECT, 5, check_dialect);
}

#[test]
fn every_seed_of_import() {
    every_seed(&IMPORT, 2, check_import);
}

#[test]
fn every_seed_of_companion() {
    every_seed(&COMPANION, 6, check_companion);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn mutated_config(seed in any::<Index>(), changes in vec(Change::any(), 1..=4)) {
        check(&mutated(&seed, &changes, &CONFIG));
    }

    #[test]
    fn mutated_companion(seed in any::<Index>(), changes in vec(Change::any(), 1..=4)) {
        check_companion(&mutated(&seed, &changes, &COMPANION));
    }
}

proptest! {
    // Each one is converted as every dialect.
    #![proptest_config(ProptestConfig::with_cases(cases() / 5))]

    #[test]
    fn mutated_dialect(seed in any::<Index>(), changes in vec(Change::any(), 1..=4)) {
        check_dialect(&mutated(&seed, &changes, &DIALECT));
    }

    #[test]
    fn mutated_import(seed in any::<Index>(), changes in vec(Change::any(), 1..=4)) {
        check_import(&mutated(&seed, &changes, &IMPORT));
    }
}
