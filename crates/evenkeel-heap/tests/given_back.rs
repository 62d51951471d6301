//! What was freed is the system's again, also where blocks that live on lie between.
#![cfg(all(target_os = "linux", target_env = "gnu", not(miri)))]
#![expect(clippy::expect_used, reason = "a test ends where it fails")]

use evenkeel_heap::give_back;

const BLOCKS: usize = 4_000;
const BLOCK_BYTES: usize = 16 * 1024;
/// One of so many lives on.
const KEPT: usize = 50;

/// Bytes of this process that are in memory and in no file.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a kernel that tells");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("RssAnon");
    let kib: usize = line.split_whitespace().nth(1).expect("NAME N kB").parse().expect("a number");
    kib * 1024
}

#[test]
fn free_memory_is_given_back() {
    let blocks: Vec<Vec<u8>> = (0..BLOCKS).map(|_| vec![1; BLOCK_BYTES]).collect();
    let kept: Vec<Vec<u8>> = blocks.into_iter().step_by(KEPT).collect();
    let before = resident();
    give_back();
    let given = before.saturating_sub(resident());
    assert!(given > BLOCKS * BLOCK_BYTES / 2, "{given} bytes of {}", BLOCKS * BLOCK_BYTES);
    assert_eq!(kept.len(), BLOCKS / KEPT);
}
