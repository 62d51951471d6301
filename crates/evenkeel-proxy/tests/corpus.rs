//! The corpus of the fuzz targets, and seeded mutations of it, through the same functions.
//!
//! `EVENKEEL_SEEDS=100000` tries more mutations, `EVENKEEL_SEED=42` one of each corpus.
#![expect(clippy::panic, reason = "a test ends where it fails")]

use evenkeel_testkit::fuzz::{TARGETS, Target, mutate};
use fastrand::Rng;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Mutations of each corpus without further notice.
const SEEDS: u64 = 2_000;
/// Larger files are replayed, but not mutated.
const MAX_MUTATED_BYTES: usize = 8 * 1024;
/// The target whose function is not in this crate's reach; its own crate replays it.
const ELSEWHERE: [&str; 4] = ["companion", "config", "dialect", "import"];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Names and bytes of a corpus, in the order of names.
fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let paths = entries.map(|entry| entry.unwrap_or_else(|error| panic!("{error}")).path());
    let paths: BTreeSet<_> = paths.collect();
    let read = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (name, fs::read(path).unwrap_or_else(|error| panic!("{path:?}: {error}")))
    };
    paths.iter().map(read).collect()
}

fn run(function: Target, bytes: &[u8], origin: &str) {
    if catch_unwind(AssertUnwindSafe(|| function(bytes))).is_err() {
        panic!("{origin}:\n\"{}\"", bytes.escape_ascii());
    }
}

/// Every file as it is, then mutations of small ones.
fn replay(target: &str) {
    let Some((_, function)) = TARGETS.iter().find(|(name, _)| *name == target) else {
        panic!("no target {target}");
    };
    let files = files(target);
    for (name, bytes) in &files {
        run(*function, bytes, &format!("{target}/{name}"));
    }
    let small: Vec<_> = files.iter().filter(|(_, b)| b.len() <= MAX_MUTATED_BYTES).collect();
    let (first, count) = match number("EVENKEEL_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("EVENKEEL_SEEDS").unwrap_or(SEEDS)),
    };
    for seed in first..first.saturating_add(count) {
        let mut rng = Rng::with_seed(seed);
        let (name, bytes) = small[rng.usize(0..small.len())];
        let (_, other) = small[rng.usize(0..small.len())];
        let mutant = mutate(&mut rng, bytes, other);
        run(*function, &mutant, &format!("{target}/{name} mutated, EVENKEEL_SEED={seed}"));
    }
}

#[test]
fn access_record() {
    replay("access_record");
}

#[test]
fn chunked() {
    replay("chunked");
}

#[test]
fn client_hello() {
    replay("client_hello");
}

#[test]
fn exchange() {
    replay("exchange");
}

#[test]
fn frames() {
    replay("frames");
}

#[test]
fn path() {
    replay("path");
}

#[test]
fn proxy_header() {
    replay("proxy_header");
}

#[test]
fn request_head() {
    replay("request_head");
}

#[test]
fn response_head() {
    replay("response_head");
}

#[test]
fn every_corpus_has_its_target() {
    let entries = fs::read_dir(corpus()).unwrap_or_else(|error| panic!("{error}"));
    let names = entries.map(|entry| entry.unwrap_or_else(|error| panic!("{error}")).file_name());
    let found: BTreeSet<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    let known = TARGETS.iter().map(|(name, _)| *name).chain(ELSEWHERE);
    assert_eq!(found, known.map(str::to_owned).collect());
}

#[test]
fn a_breach_is_told_with_its_bytes() {
    let breach = catch_unwind(|| run(|bytes| assert!(bytes.is_empty()), b"\r\n", "a file"));
    let told = breach.err().and_then(|panic| panic.downcast::<String>().ok());
    assert_eq!(told.as_deref().map(String::as_str), Some("a file:\n\"\\r\\n\""));
}
