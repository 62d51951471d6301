//! What a backend's connection says, as it arrives: which responses are malformed where the library
//! lets it pass, how large a head it takes, and whether a frame is half there. The library drops
//! pseudo-headers that a response does not have, and all of a trailer section's; such a response
//! must not be taken for a good one (RFC 9113 8.1.1, 8.3). Pure: the time comes in.

use super::fields::Fields;
use super::frames::{ACK, END_HEADERS, Frames, Head, Kind, Part};
use super::settings::Settings;
use super::table::Name;
use crate::clock::Nanos;
use std::collections::BTreeMap;

/// How far the response on a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its head is to come, or more of them.
    Head,
    /// A trailer section may come.
    Body,
    /// It is no response.
    Malformed,
}

/// All of one connection.
#[derive(Debug)]
pub(crate) struct Answers {
    frames: Frames,
    fields: Fields,
    settings: Settings,
    /// The frame at hand is one of them.
    in_settings: bool,
    /// The first have come.
    settled: bool,
    /// Of the block at hand.
    stream: u32,
    /// It ends with the frame at hand.
    ends: bool,
    /// A block has begun and not ended.
    in_block: bool,
    /// Streams that are ours.
    stages: BTreeMap<u32, Stage>,
    malformed: usize,
    heard: u64,
    heard_at: Nanos,
}

impl Answers {
    pub(crate) fn new(now: Nanos) -> Answers {
        Answers {
            frames: Frames::new(),
            fields: Fields::new(),
            settings: Settings::default(),
            in_settings: false,
            settled: false,
            stream: 0,
            ends: false,
            in_block: false,
            stages: BTreeMap::new(),
            malformed: 0,
            heard: 0,
            heard_at: now,
        }
    }

    /// The most that the fields of a request may come to; `None` if the backend has not said.
    pub(crate) fn max_head_bytes(&self) -> Option<u32> {
        self.settings.max_head_bytes()
    }

    /// True once the backend has said what it takes: its first frame (RFC 9113 3.4).
    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Bytes that came.
    pub(crate) fn heard(&self) -> u64 {
        self.heard
    }

    /// True if a frame or a header block has begun, and nothing of it came for as long as `since`
    /// is from the middle to now: the backend stopped within it.
    pub(crate) fn is_stuck(&self, since: Nanos, now: Nanos) -> bool {
        let half = self.frames.is_half() || self.in_block;
        let quiet = now.since(self.heard_at.max(since));
        half && quiet >= now.since(since) / 2
    }

    /// A request leaves on this stream.
    pub(crate) fn expect(&mut self, stream: u32) {
        self.stages.insert(stream, Stage::Head);
    }

    /// Nobody waits for it any more.
    pub(crate) fn forget(&mut self, stream: u32) {
        if self.stages.remove(&stream) == Some(Stage::Malformed) {
            self.malformed -= 1;
        }
    }

    /// True if what came on this stream is no response.
    pub(crate) fn is_malformed(&self, stream: u32) -> bool {
        self.malformed > 0 && self.stages.get(&stream) == Some(&Stage::Malformed)
    }

    /// Takes received bytes into account.
    pub(crate) fn observe(&mut self, mut bytes: &[u8], now: Nanos) {
        self.heard += bytes.len() as u64;
        self.heard_at = now;
        while !bytes.is_empty() {
            let before = bytes;
            match self.frames.next(&mut bytes) {
                Part::HalfHead => {}
                Part::Head(head) => self.begin_frame(head),
                Part::Payload(_) if self.in_settings => {
                    self.settings.push(&before[..before.len() - bytes.len()]);
                }
                Part::Payload(of_block) => self.fields.push(of_block),
            }
            self.settled |= self.in_settings && self.frames.is_payload_whole();
            if self.ends && self.frames.is_payload_whole() {
                self.end_block();
            }
        }
    }

    fn begin_frame(&mut self, head: Head) {
        self.in_settings = head.kind == Kind::Settings && head.flags & ACK == 0;
        match head.kind {
            Kind::Headers => {
                self.fields.begin();
                self.stream = head.stream;
            }
            Kind::Continuation => {}
            Kind::Settings => return self.settings.begin(),
            Kind::Data
            | Kind::Priority
            | Kind::Reset
            | Kind::Ping
            | Kind::GoAway
            | Kind::WindowUpdate
            | Kind::Unknown => return,
        }
        self.ends = head.flags & END_HEADERS != 0;
        self.in_block = !self.ends;
    }

    fn end_block(&mut self) {
        self.ends = false;
        let Some(stage) = self.stages.get_mut(&self.stream) else { return };
        let fields = &self.fields;
        let (interim, last) = (fields.are_pseudo(Name::Interim), fields.are_pseudo(Name::Status));
        let next = match *stage {
            _ if fields.is_disordered() => Stage::Malformed,
            Stage::Head if interim => Stage::Head,
            Stage::Head if last => Stage::Body,
            Stage::Body if !fields.has_pseudo() => Stage::Body,
            Stage::Head | Stage::Body | Stage::Malformed => Stage::Malformed,
        };
        if next == Stage::Malformed && *stage != Stage::Malformed {
            self.malformed += 1;
        }
        *stage = next;
    }
}

#[cfg(test)]
mod tests;
