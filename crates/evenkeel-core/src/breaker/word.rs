//! State and failures in a row as one word, so that one atomic operation changes both.

use super::BreakerState;

/// One word: the failures in a row in the upper half, the state in the lower.
pub(super) fn pack(state: BreakerState, failures: u32) -> u64 {
    let state = match state {
        BreakerState::Closed => 0,
        BreakerState::Open => 1,
        BreakerState::HalfOpen => 2,
    };
    u64::from(failures) << 32 | state
}

pub(super) fn state_of(word: u64) -> BreakerState {
    match word & u64::from(u32::MAX) {
        0 => BreakerState::Closed,
        1 => BreakerState::Open,
        _ => BreakerState::HalfOpen,
    }
}

pub(super) fn failures_of(word: u64) -> u32 {
    (word >> 32) as u32
}
