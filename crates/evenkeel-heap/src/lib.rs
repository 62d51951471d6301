//! KNOWS WHO HOLDS MEMORY: the system's allocator, which notes the call stack of about one in so
//! many bytes once it is told to.
//!
//! Reading order: `allocator` (what every allocation passes through), `sampler` (which of them are
//! noted, and how their frees are found), `table` (what is kept of them).
//!
//! Each byte is as likely as any other to be the one that is noted (a Poisson process over bytes,
//! as in Go's `runtime.MemProfileRate` and in tcmalloc), so a block of `size` bytes is noted with
//! probability `1 - exp(-size / rate)`, and stands for the reciprocal of that many blocks: sums are
//! unbiased whatever the sizes are.
//!
//! *Architecture invariant:* until `start`, an allocation and a free cost one relaxed load more
//! than the system's. After it, only a block that is noted, or that looks like one when it is
//! freed, takes the lock.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod allocator;
mod sampler;
mod table;

pub use allocator::{SamplingAllocator, give_back};
pub use sampler::{rate, sites, start};
pub use table::{Site, Tally};

use std::num::NonZeroUsize;

/// Bytes between two samples on average, as in Go.
pub const RATE: NonZeroUsize = NonZeroUsize::new(512 * 1024).unwrap();
/// Calls kept of a stack, the innermost first.
pub const MAX_DEPTH: usize = 64;
/// Call stacks told apart; those that come later are counted together, as the one without calls.
pub const MAX_SITES: usize = 8_192;
/// Noted blocks that are in use at a time: at `RATE`, a heap of 32 GiB. Those beyond are counted as
/// allocated, not as in use.
pub const MAX_LIVE: usize = u16::MAX as usize;
