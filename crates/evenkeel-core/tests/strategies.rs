//! Strategies that map keys: what moves when a backend leaves or returns, how even the shares are,
//! and that the map is the same as ever. `EVENKEEL_BLESS=1` writes the golden maps anew.
#![expect(clippy::expect_used, reason = "what a test expects and does not find fails it")]

use evenkeel_core::strategy::hash::hash;
use evenkeel_core::strategy::maglev::Maglev;
use evenkeel_core::strategy::ring::Ring;
use evenkeel_core::strategy::weighted::{MAX_SCHEDULE_LEN, Schedule};
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::Path;

const KEYS: u32 = 100_000;
const NAMES: [&str; 10] =
    ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty"];
const VIRTUAL_NODES: u32 = 100;

/// A strategy that maps a hash to one of the members that are not skipped.
enum Map {
    Ring(Ring),
    Maglev(Maglev),
}

impl Map {
    fn choose(&self, key: u64, skip: impl Fn(usize) -> bool) -> usize {
        let chosen = match self {
            Map::Ring(ring) => ring.choose(key, skip),
            Map::Maglev(maglev) => maglev.choose(key, skip),
        };
        chosen.expect("one is left")
    }
}

fn ring(names: &[&str]) -> Map {
    Map::Ring(Ring::new(&equal(names), VIRTUAL_NODES))
}

fn maglev(names: &[&str]) -> Map {
    Map::Maglev(Maglev::new(&equal(names)))
}

fn equal<'a>(names: &[&'a str]) -> Vec<(&'a str, u32)> {
    names.iter().map(|&name| (name, 1)).collect()
}

fn key(number: u32) -> u64 {
    hash(format!("key-{number}").as_bytes())
}

fn shares(map: &Map, members: usize) -> Vec<f64> {
    let mut counts = vec![0_u32; members];
    (0..KEYS).for_each(|number| counts[map.choose(key(number), |_| false)] += 1);
    counts.into_iter().map(|count| f64::from(count) / f64::from(KEYS)).collect()
}

/// Skips each member in turn: its keys alone move, spread over all others, and are back at once
/// when it is no longer skipped. `inherits` bounds what each other one gets; 1 is an even part.
fn check_skipping(map: &Map, members: usize, inherits: &Range<f64>) {
    for gone in 0..members {
        let mut heirs = vec![0_u32; members];
        for number in 0..KEYS {
            let before = map.choose(key(number), |_| false);
            let during = map.choose(key(number), |at| at == gone);
            if before == gone {
                heirs[during] += 1;
            } else {
                assert_eq!(during, before, "key {number} moved though {gone} did not have it");
            }
        }
        let moved = f64::from(heirs.iter().sum::<u32>()) / f64::from(KEYS);
        let fair = 1.0 / members as f64;
        assert!((moved / fair - 1.0).abs() < 0.35, "{moved} moved, {fair} expected");
        let heirs_fair = moved * f64::from(KEYS) / (members - 1) as f64;
        for (heir, &count) in heirs.iter().enumerate().filter(|(heir, _)| *heir != gone) {
            let ratio = f64::from(count) / heirs_fair;
            assert!(inherits.contains(&ratio), "{heir} inherits {ratio} of its share of {gone}");
        }
    }
}

/// Share of the keys of members that stay which move when the member at `gone` is left out of a
/// map built anew.
fn moved_by_rebuild(build: impl Fn(&[&str]) -> Map, names: &[&str], gone: usize) -> f64 {
    let mut left = names.to_vec();
    left.remove(gone);
    let (before, after) = (build(names), build(&left));
    let (mut stayed, mut moved) = (0_u32, 0_u32);
    for number in 0..KEYS {
        let (old, new) =
            (before.choose(key(number), |_| false), after.choose(key(number), |_| false));
        if old != gone {
            stayed += 1;
            moved += u32::from(names[old] != left[new]);
        }
    }
    f64::from(moved) / f64::from(stayed)
}

#[test]
fn ring_moves_only_the_keys_of_the_one_skipped() {
    // 100 arcs go to four heirs: about 25 each, of very different lengths.
    check_skipping(&ring(&NAMES[..5]), 5, &(0.2..2.0));
}

#[test]
fn maglev_moves_only_the_keys_of_the_one_skipped() {
    check_skipping(&maglev(&NAMES[..5]), 5, &(0.9..1.1));
}

#[test]
fn ring_built_anew_moves_no_key_of_those_that_stay() {
    for (gone, name) in NAMES[..5].iter().enumerate() {
        let moved = moved_by_rebuild(ring, &NAMES[..5], gone);
        assert!(moved == 0.0, "{moved} of the others' keys moved without {name}");
    }
}

#[test]
fn maglev_built_anew_moves_few_keys_of_those_that_stay() {
    for (gone, name) in NAMES.iter().enumerate() {
        let moved = moved_by_rebuild(maglev, &NAMES, gone);
        assert!(moved < 0.03, "{moved} of the others' keys moved without {name}");
    }
}

#[test]
fn ring_of_100_points_each_is_even_to_about_a_tenth() {
    let names: Vec<String> = (0..50).map(|at| format!("10.0.0.{at}:8080")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let shares = shares(&ring(&names), names.len());
    let squares = shares.iter().map(|share| (share * names.len() as f64 - 1.0).powi(2));
    let deviation = (squares.sum::<f64>() / names.len() as f64).sqrt();
    // 1 / sqrt(100) in theory, plus the noise of 2,000 keys each.
    assert!((0.05..0.13).contains(&deviation), "standard deviation {deviation}");
}

#[test]
fn ring_shares_follow_weights() {
    let ring = Map::Ring(Ring::new(&[("amber", 3), ("birch", 1), ("cedar", 0)], 500));
    let shares = shares(&ring, 3);
    assert!((shares[0] - 0.75).abs() < 0.03 && shares[2] == 0.0, "{shares:?}");
}

#[test]
fn maglev_shares_are_even_to_two_hundredths_of_the_table() {
    // Every entry of the table once: the places that multiply-shift maps to it.
    let Map::Maglev(maglev) = maglev(&NAMES) else { unreachable!("built as one") };
    let mut counts = [0_u32; 10];
    for entry in 0..65_537_u64 {
        let first = (u128::from(entry) << 64).div_ceil(65_537);
        let place = u64::try_from(first).expect("below 2^64");
        counts[maglev.choose(place, |_| false).expect("none is skipped")] += 1;
    }
    let (most, least) = (counts.iter().max(), counts.iter().min());
    let ratio = f64::from(*most.expect("ten")) / f64::from(*least.expect("ten"));
    assert!(ratio <= 1.02, "{counts:?}");
}

#[test]
fn order_of_members_does_not_matter() {
    let back: Vec<&str> = NAMES.iter().rev().copied().collect();
    for build in [ring, maglev] {
        let (forth, back) = (build(&NAMES), build(&back));
        for number in 0..10_000 {
            let (one, other) =
                (forth.choose(key(number), |_| false), back.choose(key(number), |_| false));
            assert_eq!(one, 9 - other);
        }
    }
}

/// The map of 1,000 keys to five members is that in the golden file.
fn check_golden(file: &str, map: &Map) {
    let mut text = String::new();
    for number in 0..1_000 {
        let member = NAMES[map.choose(key(number), |_| false)];
        writeln!(text, "key-{number} {member}").expect("a string takes all");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("EVENKEEL_BLESS").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().expect("it has a folder"))
            .expect("folder of golden files");
        fs::write(&path, &text).expect("write the golden file");
    }
    let golden = fs::read_to_string(&path).expect("read the golden file");
    for (line, golden) in text.lines().zip(golden.lines()) {
        assert_eq!(line, golden, "{file}: every key of running pools would move");
    }
    assert_eq!(text.len(), golden.len(), "{file}");
}

#[test]
fn ring_is_as_ever() {
    check_golden("ring.txt", &ring(&NAMES[..5]));
}

#[test]
fn maglev_is_as_ever() {
    check_golden("maglev.txt", &maglev(&NAMES[..5]));
}

#[test]
fn the_longest_schedule_is_exact() {
    // As many distinct weights as fit, then ones: the most work there is for 1,000 backends.
    let weights: Vec<u32> = (1..=175).chain(std::iter::repeat_n(1, 825)).collect();
    let schedule = Schedule::new(&weights);
    assert!(schedule.len() > MAX_SCHEDULE_LEN - 1_000 && schedule.len() <= MAX_SCHEDULE_LEN);
    let mut counts = vec![0_u32; weights.len()];
    (0..schedule.len()).filter_map(|turn| schedule.at(turn)).for_each(|at| counts[at] += 1);
    assert_eq!(counts, weights);
}
