//! The head of an answer that nobody is waiting for as a client: interim heads are passed over,
//! free of I/O. Probes and copies read theirs here.

use crate::http1::head_may_end;
use evenkeel_core::request::{Parsed, Upgrade, Verb};
use evenkeel_core::response::{MAX_INTERIM_RESPONSES, ResponseHead};

/// Bytes that are no head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoHead;

/// Heads, up to the final one.
#[derive(Default)]
pub(crate) struct HeadReader {
    bytes: Vec<u8>,
    /// A head that trickles in is parsed when its end may have come, or when it has doubled.
    parse_again_at: usize,
    interim: u32,
}

/// The final head.
pub(crate) struct FinalHead {
    pub(crate) head: ResponseHead,
    /// What it was parsed from.
    pub(crate) bytes: Vec<u8>,
    /// What came behind it.
    pub(crate) rest: Vec<u8>,
}

impl HeadReader {
    /// Takes the next bytes: the final head, once it is whole.
    pub(crate) fn read(&mut self, news: &[u8], verb: Verb) -> Result<Option<FinalHead>, NoHead> {
        let seam = self.bytes.len().saturating_sub(3);
        self.bytes.extend_from_slice(news);
        if !head_may_end(&self.bytes[seam..]) && self.bytes.len() < self.parse_again_at {
            return Ok(None);
        }
        let mut head = ResponseHead::default();
        let mut start = 0;
        loop {
            let parsed = head.parse(&self.bytes[start..], verb, Upgrade::NotAsked);
            match parsed.map_err(|_| NoHead)? {
                Parsed::Partial => break,
                Parsed::Complete if !head.is_interim() => {
                    let rest = self.bytes.split_off(start + head.bytes);
                    let bytes = self.bytes.split_off(start);
                    return Ok(Some(FinalHead { head, bytes, rest }));
                }
                Parsed::Complete => {
                    self.interim += 1;
                    if self.interim > MAX_INTERIM_RESPONSES {
                        return Err(NoHead);
                    }
                    start += head.bytes;
                }
            }
        }
        self.bytes.drain(..start);
        self.parse_again_at = self.bytes.len() * 2;
        Ok(None)
    }
}
