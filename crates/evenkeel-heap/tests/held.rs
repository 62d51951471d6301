//! The allocator under a program of its own: this one.
#![expect(clippy::expect_used, reason = "a test ends where it fails")]

use evenkeel_heap::{SamplingAllocator, Site, sites, start};
use std::num::NonZeroUsize;
use std::sync::mpsc;

#[global_allocator]
static ALLOCATOR: SamplingAllocator = SamplingAllocator;

/// Small under Miri, which walks each stack by itself.
const RATE: usize = if cfg!(miri) { 16 } else { 4 * 1024 };
const BLOCKS: usize = if cfg!(miri) { 64 } else { 64 * 1024 };
const BLOCK_SIZE: usize = if cfg!(miri) { 64 } else { 1_000 };

#[inline(never)]
fn holds_many(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|_| std::hint::black_box(Vec::with_capacity(BLOCK_SIZE))).collect()
}

/// What stacks with this function hold, and have allocated.
fn bytes_of(function: &str) -> (f64, f64) {
    let through = |site: &Site| {
        let mut found = false;
        for call in site.calls.iter() {
            let address = std::ptr::without_provenance_mut(*call);
            backtrace::resolve(address, |symbol| {
                found |= symbol.name().is_some_and(|name| name.to_string().contains(function));
            });
        }
        found
    };
    let sites: Vec<Site> = sites().into_iter().filter(through).collect();
    let sum = |part: fn(&Site) -> f64| sites.iter().map(part).sum();
    (sum(|site| site.in_use.bytes), sum(|site| site.allocated.bytes))
}

// One test: both halves are about all that this process allocates.
#[test]
fn what_is_held_is_told_by_who_holds_it_and_forgotten_by_whoever_frees_it() {
    let before = holds_many(BLOCKS);
    assert!(sites().is_empty(), "nothing is noted before start");
    start(NonZeroUsize::new(RATE).expect("not 0"));
    drop(before);
    let held = holds_many(BLOCKS);
    let amount = (BLOCKS * (BLOCK_SIZE + size_of::<Vec<u8>>())) as f64;
    let near = if cfg!(miri) { 0.5 } else { 0.05 };
    let (in_use, _) = bytes_of("holds_many");
    // Standard deviation: a sample stands for RATE bytes, and there are about 16,000 of them.
    assert!((in_use / amount - 1.0).abs() < near, "{in_use} of {amount}");
    let (other_thread, from_here) = mpsc::sync_channel(1);
    let freeing = std::thread::spawn(move || from_here.iter().for_each(drop::<Vec<Vec<u8>>>));
    other_thread.send(held).expect("alive");
    drop(other_thread);
    freeing.join().expect("no panic");
    let (in_use, allocated) = bytes_of("holds_many");
    assert!(in_use.abs() < 1.0, "{in_use} left");
    assert!((allocated / amount - 1.0).abs() < near, "{allocated} of {amount}");
    churn();
}

/// Threads that allocate, grow, shrink and free what others allocated, while somebody reads.
fn churn() {
    let (threads, rounds) = if cfg!(miri) { (2, 20) } else { (4, 20_000) };
    let (give, take) = mpsc::sync_channel::<Vec<u8>>(64);
    let freeing = std::thread::spawn(move || take.iter().map(|block| block.len()).sum::<usize>());
    let work = move |give: mpsc::SyncSender<Vec<u8>>| {
        for round in 0..rounds {
            let mut grows = grown(round % 300);
            grows.shrink_to_fit();
            give.send(grows).expect("somebody takes it");
            if round % 5_000 == 0 {
                sites();
            }
        }
    };
    let spawn = |give: mpsc::SyncSender<Vec<u8>>| std::thread::spawn(move || work(give));
    let all: Vec<_> = (0..threads).map(|_| spawn(give.clone())).collect();
    drop(give);
    all.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let wanted: usize = (0..rounds).map(|round| round % 300).sum::<usize>() * threads;
    assert_eq!(freeing.join().expect("no panic"), wanted);
    let (in_use, allocated) = bytes_of("grown");
    assert!(in_use.abs() < 1.0 && allocated > 0.0, "{in_use} of {allocated} left");
}

#[inline(never)]
fn grown(size: usize) -> Vec<u8> {
    let mut grows = Vec::new();
    (0..size).for_each(|_| grows.push(7));
    grows
}
