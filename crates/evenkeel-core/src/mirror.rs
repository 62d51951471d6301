//! Copies of requests for another pool: how many of one request, and how they differ from it;
//! `diff`: what is compared of the answers.

mod diff;

pub use diff::{
    BodyDiff, BodySeen, BodyWitness, DiffPlan, DifferenceKind, Heard, HeardHead, JsonPath,
    JsonStep, MAX_HASHED_BYTES, MAX_KEPT_BYTES,
};

use std::borrow::Cow;
use std::sync::Arc;

/// Most copies of one request, whatever is asked for.
pub const MAX_COPIES_PER_REQUEST: u32 = 10;
/// The line by which a copy is told from a request.
pub const MARK: &[u8] = b"X-Evenkeel-Mirror: 1\r\n";

const HEAD_END: &[u8] = b"\r\n\r\n";

/// Copies of a route's requests.
#[derive(Clone, Debug, PartialEq)]
pub struct MirrorPlan {
    /// Where they go: index into the plan's pools.
    pub pool: usize,
    /// Copies per hundred requests; may be more than 100.
    pub percent: f64,
    /// Requests with a longer body are not copied.
    pub max_body_bytes: u64,
    /// What is compared of the answers; `None` = nothing.
    pub diff: Option<Arc<DiffPlan>>,
}

impl MirrorPlan {
    /// How many copies of one request are made; `draw` is uniform over u64.
    pub fn copies(&self, draw: u64) -> u32 {
        let per_request = (self.percent / 100.0).clamp(0.0, f64::from(MAX_COPIES_PER_REQUEST));
        let whole = per_request.floor();
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let drawn = (draw >> 11) as f64 / (1u64 << 53) as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10")]
        let whole_copies = whole as u32;
        whole_copies + u32::from(drawn < per_request - whole)
    }
}

/// The copy of a request that is written for a backend, body and all: the same with the mark.
pub fn marked(request: &[u8]) -> Cow<'_, [u8]> {
    let Some(end) = memchr::memmem::find(request, HEAD_END) else { return request.into() };
    let (head, rest) = request.split_at(end + 2);
    let mut copy = Vec::with_capacity(request.len() + MARK.len());
    copy.extend_from_slice(head);
    copy.extend_from_slice(MARK);
    copy.extend_from_slice(rest);
    copy.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sequence of draws (SplitMix64).
    fn draws(seed: u64) -> impl Iterator<Item = u64> {
        let mut state = seed;
        std::iter::repeat_with(move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        })
    }

    fn plan(percent: f64) -> MirrorPlan {
        MirrorPlan { pool: 0, percent, max_body_bytes: 0, diff: None }
    }

    #[test]
    fn the_share_is_what_was_asked_within_half_a_point() {
        const REQUESTS: usize = 100_000;
        for seed in 0..20 {
            for percent in [0.0, 0.5, 10.0, 50.0, 99.0, 100.0, 150.0, 250.0, 1_000.0] {
                let plan = plan(percent);
                let copies: u32 = draws(seed).take(REQUESTS).map(|draw| plan.copies(draw)).sum();
                let share = f64::from(copies) * 100.0 / REQUESTS as f64;
                assert!((share - percent).abs() < 0.5, "seed {seed}: {percent}: {share}");
            }
        }
    }

    #[test]
    fn the_ends_are_exact() {
        for (percent, least, most) in [
            (0.0, 0, 0),
            (100.0, 1, 1),
            (150.0, 1, 2),
            (1e9, MAX_COPIES_PER_REQUEST, MAX_COPIES_PER_REQUEST),
            (-1.0, 0, 0),
        ] {
            let ends = [0, u64::MAX].map(|draw| plan(percent).copies(draw));
            assert_eq!(ends, [most, least], "{percent}");
        }
    }

    #[test]
    fn a_copy_has_the_mark_behind_its_head_and_the_same_body() {
        for (request, copy) in [
            ("GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nX-Evenkeel-Mirror: 1\r\n\r\n"),
            (
                "POST / HTTP/1.1\r\nA: b\r\n\r\nc\r\n\r\nd",
                "POST / HTTP/1.1\r\nA: b\r\nX-Evenkeel-Mirror: 1\r\n\r\nc\r\n\r\nd",
            ),
            ("no head", "no head"),
        ] {
            assert_eq!(marked(request.as_bytes()), copy.as_bytes());
        }
    }
}
