//! Lines of ours in a response, besides framing.

use evenkeel_core::limit::Allowance;
use std::io::Write;

/// Whole header lines, each with its CRLF; usually none.
#[derive(Debug, Default)]
pub(crate) struct OwnLines(pub(crate) Vec<u8>);

impl OwnLines {
    /// What is left of a rate limit (draft-ietf-httpapi-ratelimit-headers-06): times in whole
    /// seconds, rounded up.
    pub(crate) fn rate(&mut self, allowance: &Allowance) {
        let Allowance { limit, remaining, reset } = allowance;
        let reset = reset.as_nanos().div_ceil(1_000_000_000);
        // Writing to a Vec cannot fail.
        let _ = write!(
            self.0,
            "RateLimit-Limit: {limit}\r\nRateLimit-Remaining: {remaining}\r\n\
             RateLimit-Reset: {reset}\r\n"
        );
    }
}
