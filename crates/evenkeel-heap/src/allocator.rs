//! What every allocation of the program passes through.
//!
//! One of the rooms with `unsafe`: an allocator is an `unsafe` trait by definition, whose calls go
//! on to the system's as they came. What is noted of a block is its address as a number: no pointer
//! is followed here.

use crate::{MAX_DEPTH, sampler};
use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, with `start` to note who calls it. For `#[global_allocator]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SamplingAllocator;

// SAFETY: blocks come from `System` and go back to it with the layouts that the caller gave, whose
// promises are those that `System` asks for. Nothing between unwinds: the sampler neither panics
// nor allocates through itself.
#[expect(unsafe_code, reason = "an allocator is an unsafe trait")]
unsafe impl GlobalAlloc for SamplingAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let block = unsafe { System.alloc(layout) };
        sampler::allocated(block.addr(), layout.size());
        block
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let block = unsafe { System.alloc_zeroed(layout) };
        sampler::allocated(block.addr(), layout.size());
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // Before it is free: another thread may get the same address at once.
        sampler::freed(block.addr());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let noted = sampler::freed(block.addr());
        // SAFETY: the caller's promises are passed on.
        let moved = unsafe { System.realloc(block, layout, size) };
        if moved.is_null() {
            sampler::kept(block.addr(), noted);
        } else {
            sampler::allocated(moved.addr(), size);
        }
        moved
    }
}

/// Gives memory that is free back to the system, as far as whole pages of it are. The system's
/// allocator keeps it otherwise, for each thread apart: after much was freed at once, ask for it.
/// Does nothing where there is no such call.
pub fn give_back() {
    // SAFETY: takes a number and touches nothing but what is free, under the allocator's own locks.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "a call of the C library")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The calls that lead here, the innermost first, and how many.
pub(crate) fn call_stack() -> ([usize; MAX_DEPTH], usize) {
    let (mut calls, mut depth) = ([0; MAX_DEPTH], 0);
    let note = |frame: &backtrace::Frame| {
        // The outermost frame may return to nowhere.
        let call = frame.ip().addr();
        calls[depth] = call;
        depth += usize::from(call != 0);
        depth < MAX_DEPTH
    };
    // SAFETY: what must not run twice at a time is a library of Windows, where nothing is noted
    // (`sampler::start`). The lock that `backtrace::trace` takes is held while names are looked up,
    // for longer than a serving thread may wait.
    #[expect(unsafe_code, reason = "a stack is walked without a lock")]
    unsafe {
        backtrace::trace_unsynchronized(note);
    }
    (calls, depth)
}
