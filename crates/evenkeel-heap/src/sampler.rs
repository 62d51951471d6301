//! Which blocks are noted, and how their frees are found.
//!
//! A thread counts down the bytes until its next sample. A free looks at one cell of `NOTED`, a
//! filter of addresses, and goes on if it is zero, as nearly all are.
//!
//! Nothing here ends in itself: while a thread is `Inside`, what it allocates and frees (the
//! tables' own memory, or that of a signal handler that interrupts it) is not looked at.

use crate::table::{Noted, Site, Table};
use crate::{MAX_LIVE, allocator};
use std::cell::Cell;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Cells of the filter: 128 KiB, of which the system gives none until they are used.
const CELLS: usize = 1 << CELL_BITS;
const CELL_BITS: u32 = 16;
/// 2^64 divided by the golden ratio: spreads neighbours (Knuth), and steps of a Weyl sequence.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Bytes between two samples on average; 0 = nothing is noted.
static PERIOD: AtomicUsize = AtomicUsize::new(0);
/// How many noted blocks have an address that falls into the cell. There are `MAX_LIVE` of them at
/// most, so that no cell overflows.
static NOTED: [AtomicU16; CELLS] = [const { AtomicU16::new(0) }; CELLS];
const _: () = assert!(MAX_LIVE <= u16::MAX as usize);
static TABLE: Mutex<Option<Table>> = Mutex::new(None);
/// State of the random numbers of all threads: one is drawn for each sample.
static DRAWN: AtomicU64 = AtomicU64::new(GOLDEN);

thread_local! {
    // Neither has a destructor, so that both are there for whatever a thread frees as it ends.
    /// Bytes until the next sample; 0 = not drawn yet.
    static LEFT: Cell<usize> = const { Cell::new(0) };
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// This thread works on the table, until dropped.
struct Inside;

impl Inside {
    fn enter() -> Option<Inside> {
        (!INSIDE.replace(true)).then(|| Inside)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(false);
    }
}

/// Notes the call stack of one in `rate` bytes that are allocated from now on. What was allocated
/// before is not seen. The first call counts; it cannot be undone. On Unix only: elsewhere stacks
/// cannot be walked without a lock.
pub fn start(rate: NonZeroUsize) {
    if !cfg!(unix) {
        return;
    }
    let begun = locked(|table| match table {
        None => {
            *table = Some(Table::new());
            true
        }
        Some(_) => false,
    });
    if begun == Some(true) {
        PERIOD.store(rate.get(), Ordering::Relaxed);
    }
}

/// Bytes between two samples on average; `None` until `start`.
pub fn rate() -> Option<NonZeroUsize> {
    NonZeroUsize::new(PERIOD.load(Ordering::Relaxed))
}

/// Who allocated what, estimated from the samples; empty until `start`.
pub fn sites() -> Vec<Site> {
    let copy = locked(|table| table.as_ref().map(Table::sites)).flatten();
    copy.unwrap_or_default()
}

/// A block was allocated; at address 0 none was.
#[inline]
pub(crate) fn allocated(address: usize, size: usize) {
    let period = PERIOD.load(Ordering::Relaxed);
    if period != 0 && address != 0 {
        count_down(address, size, period);
    }
}

#[inline]
fn count_down(address: usize, size: usize, period: usize) {
    let left = LEFT.get();
    if size < left {
        LEFT.set(left - size);
    } else {
        sample(address, size, period);
    }
}

#[cold]
#[inline(never)]
fn sample(address: usize, size: usize, period: usize) {
    let Some(inside) = Inside::enter() else { return };
    let mut left = LEFT.get();
    if left == 0 {
        left = draw(period);
    }
    if size < left {
        LEFT.set(left - size);
        return;
    }
    LEFT.set(draw(period));
    let (calls, depth) = allocator::call_stack();
    with_table(&inside, |table| {
        let Some(table) = table else { return };
        if table.note(address, &calls[..depth], Noted::of(size, period)) {
            cell(address).fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// A block is about to be freed; what was noted of it is forgotten.
#[inline]
pub(crate) fn freed(address: usize) -> Option<Noted> {
    if PERIOD.load(Ordering::Relaxed) == 0 || cell(address).load(Ordering::Relaxed) == 0 {
        return None;
    }
    forget(address)
}

#[cold]
#[inline(never)]
fn forget(address: usize) -> Option<Noted> {
    locked(|table| {
        let noted = table.as_mut()?.forget(address)?;
        cell(address).fetch_sub(1, Ordering::Relaxed);
        Some(noted)
    })
    .flatten()
}

/// A block was not freed after all.
pub(crate) fn kept(address: usize, noted: Option<Noted>) {
    let Some(noted) = noted else { return };
    locked(|table| {
        if table.as_mut().is_some_and(|table| table.keep(address, noted)) {
            cell(address).fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// `None` if this thread is inside already.
fn locked<T>(act: impl FnOnce(&mut Option<Table>) -> T) -> Option<T> {
    let inside = Inside::enter()?;
    Some(with_table(&inside, act))
}

fn with_table<T>(_: &Inside, act: impl FnOnce(&mut Option<Table>) -> T) -> T {
    act(&mut TABLE.lock().unwrap_or_else(PoisonError::into_inner))
}

fn cell(address: usize) -> &'static AtomicU16 {
    let spread = (address as u64).wrapping_mul(GOLDEN) >> (u64::BITS - CELL_BITS);
    &NOTED[usize::try_from(spread).unwrap_or_default() % CELLS]
}

/// Bytes until the next sample, one at least: exponentially distributed, with this mean.
fn draw(period: usize) -> usize {
    // splitmix64 (Steele, Lea, Flood 2014).
    let mut random = DRAWN.fetch_add(GOLDEN, Ordering::Relaxed);
    random = (random ^ random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    random = (random ^ random >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    random ^= random >> 31;
    // From the upper 53 bits, above 0 and up to 1.
    let part = ((random >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    let bytes = -part.ln() * period as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 37 periods")]
    let whole = bytes as usize;
    whole.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_mean_and_the_spread_of_an_exponential() {
        let (period, count) = (512 * 1024, 20_000);
        let draws: Vec<f64> = (0..count).map(|_| draw(period) as f64).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(count);
        assert!((mean / period as f64 - 1.0).abs() < 0.04, "{mean}");
        let beyond = draws.iter().filter(|draw| **draw > period as f64).count() as f64;
        assert!((beyond / f64::from(count) - (-1.0_f64).exp()).abs() < 0.02, "{beyond}");
        assert!(draws.iter().all(|draw| *draw >= 1.0));
    }

    #[test]
    fn a_thread_is_inside_once() {
        let inside = Inside::enter().unwrap();
        assert!(Inside::enter().is_none());
        assert!(locked(|_| ()).is_none());
        drop(inside);
        assert!(locked(|_| ()).is_some());
    }

    #[test]
    fn addresses_of_neighbours_fall_into_different_cells() {
        let place = |block: usize| std::ptr::from_ref(cell(0x7f00_0000_0000 + block * 16));
        let cells: std::collections::HashSet<_> = (0..1_000).map(place).collect();
        assert!(cells.len() > 950, "{}", cells.len());
    }
}
