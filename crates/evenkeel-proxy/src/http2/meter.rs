//! What a client may ask of us per second besides requests, frame by frame: resets, settings, pings
//! and the like cost the peer nothing and us something. Sees the bytes of a connection as they
//! arrive, and only the heads of frames and fields of them. Pure: the time comes in.
//!
//! Sources: RFC 9113 10.5; CVE-2019-9511 to 9518, CVE-2023-44487 (rapid reset), CVE-2025-8671
//! (MadeYouReset), CVE-2024-27919 (CONTINUATION).

use super::fields::Fields;
use super::frames::{ACK, END_HEADERS, END_STREAM, Frames, Head, Kind, Part};
use crate::clock::Nanos;
use std::time::Duration;

/// Time that counts are taken over.
const SECOND: Duration = Duration::from_secs(1);
/// Streams that a client may reset per second.
pub(crate) const MAX_RESETS: u32 = 100;
/// SETTINGS per second, acknowledgements included.
pub(crate) const MAX_SETTINGS: u32 = 50;
/// PINGs per second: clients that measure their bandwidth send one per round trip.
pub(crate) const MAX_PINGS: u32 = 1000;
/// PRIORITY per second; it means nothing (RFC 9113 5.3.2), but old clients send a few per stream.
pub(crate) const MAX_PRIORITIES: u32 = 500;
/// DATA without a byte and without an end, per second.
pub(crate) const MAX_EMPTY_DATA: u32 = 100;
/// DATA of a few bytes and without an end, per second: less than the head of a message of gRPC or a
/// WebSocket's frame, and more than anybody types.
pub(crate) const MAX_TINY_DATA: u32 = 1000;
/// DATA below this is such.
const TINY_DATA_BYTES: usize = 5;
/// Frames of a type that we do not know, per second.
pub(crate) const MAX_UNKNOWN: u32 = 100;
/// WINDOW_UPDATEs per second, besides those that what we send explains.
pub(crate) const MAX_WINDOW_UPDATES: u32 = 1000;
/// Bytes sent that explain one WINDOW_UPDATE: the stream's and the connection's windows may be
/// opened for every small frame.
const BYTES_PER_WINDOW_UPDATE: u64 = 256;
/// CONTINUATIONs of one header block.
pub(crate) const MAX_CONTINUATIONS: u32 = 10;
/// Glitches until a connection ends: what no well-behaved client does, and yet no error.
pub(crate) const MAX_GLITCHES: u32 = 100;
/// Glitches forgiven per second.
const FORGIVEN_GLITCHES: u32 = 5;
/// A request that is not legal counts so much: twenty in a moment are enough.
pub(crate) const MALFORMED_GLITCHES: u32 = 5;

/// What a frame costs besides its bytes, in bytes: the work of the library and of whom it is for.
const FRAME_COST: u64 = 100;
/// And a frame that carries little or nothing: a peer that floods with them has a short turn.
const SMALL_FRAME_COST: u64 = 512;
/// And DATA of a few bytes, for which the library and the exchange do as much as for many.
const TINY_DATA_COST: u64 = 8192;
/// DATA below this carries little, unless a stream ends with it.
const SMALL_DATA_BYTES: usize = 256;
/// Bytes of a header block that cost as much as others.
const CHEAP_BLOCK_BYTES: u64 = 1024;
/// What each byte beyond them costs more: it may be a whole field (RFC 7541 6.1).
const BLOCK_BYTE_COST: u64 = 3;

/// Pseudo-headers of a request, `:protocol` included.
const PSEUDO_HEADERS: usize = 5;
/// A block with so many times the fields that a request may have ends its connection unread; below,
/// it is refused as a request.
const MAX_TIMES_TOO_MANY: usize = 10;

const PREFACE_BYTES: usize = 24;

/// What is wrong with how a peer speaks, where nobody else looks, or names it wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Something that may not come here.
    Protocol,
    /// A frame of a length that its type does not have (RFC 9113 4.2, 6).
    FrameSize,
}

/// True if frames of this type have this length (RFC 9113 6.3 to 6.9).
fn is_length_of(kind: Kind, flags: u8, length: usize) -> bool {
    match kind {
        Kind::Priority => length == 5,
        Kind::Reset | Kind::WindowUpdate => length == 4,
        Kind::Settings if flags & ACK != 0 => length == 0,
        Kind::Settings => length.is_multiple_of(6),
        Kind::Ping => length == 8,
        Kind::GoAway => length >= 8,
        Kind::Data | Kind::Headers | Kind::Continuation | Kind::Unknown => true,
    }
}

/// Frames of the running second.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    resets: u32,
    settings: u32,
    pings: u32,
    priorities: u32,
    empty_data: u32,
    tiny_data: u32,
    unknown: u32,
    window_updates: u32,
}

/// The meter of one connection.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Bytes of the preface that are to come.
    preface: usize,
    frames: Frames,
    /// A header block has begun and not ended.
    in_block: bool,
    continuations: u32,
    second: Nanos,
    counts: Counts,
    glitches: u32,
    sent: u64,
    /// What came since somebody asked costs besides its bytes.
    cost: u64,
    /// Of the running header block.
    block_bytes: u64,
    /// Since when something other than a body is half there.
    half_since: Option<Nanos>,
    exceeded: bool,
    /// The highest stream that was opened.
    last_stream: u32,
    /// The block that is arriving, and that it is a trailer section: there the library lets a
    /// pseudo-header pass (and drops it), which RFC 9113 8.1 does not. A fragment it drops, too.
    fields: Fields,
    is_trailer: bool,
    /// Requests whose trailer section may come.
    bodies: u32,
    max_fields: usize,
    /// SETTINGS, which come first, have come.
    introduced: bool,
    fault: Option<Fault>,
}

impl Meter {
    /// For a connection whose preface is to come, and whose requests may have so many fields.
    pub(crate) fn new(max_fields: usize) -> Meter {
        Meter {
            preface: PREFACE_BYTES,
            frames: Frames::new(),
            in_block: false,
            continuations: 0,
            second: Nanos::default(),
            counts: Counts::default(),
            glitches: 0,
            sent: 0,
            cost: 0,
            block_bytes: 0,
            half_since: None,
            exceeded: false,
            last_stream: 0,
            fields: Fields::new(),
            is_trailer: false,
            bodies: 0,
            max_fields,
            introduced: false,
            fault: None,
        }
    }

    /// True once the peer has asked for more than it may.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.exceeded
    }

    /// The rule that the peer broke, if nobody else looks at it.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Since when a header block or a frame other than DATA is half there.
    pub(crate) fn half_since(&self) -> Option<Nanos> {
        self.half_since
    }

    /// What has come since the last call costs besides its bytes.
    pub(crate) fn take_cost(&mut self) -> u64 {
        std::mem::take(&mut self.cost)
    }

    /// We sent so many bytes.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
    }

    /// Something odd happened.
    pub(crate) fn glitch(&mut self, weight: u32) {
        self.glitches = self.glitches.saturating_add(weight);
        self.exceeded |= self.glitches >= MAX_GLITCHES;
    }

    /// Takes received bytes into account. How many of them may be used: none of a frame that ends
    /// the connection, as far as it has not been handed out yet, and none behind it.
    pub(crate) fn observe(&mut self, bytes: &[u8], now: Nanos) -> usize {
        if now >= self.second.after(SECOND) {
            self.second = now;
            self.counts = Counts::default();
            self.glitches = self.glitches.saturating_sub(FORGIVEN_GLITCHES);
        }
        let skipped = self.preface.min(bytes.len());
        self.preface -= skipped;
        let mut rest = &bytes[skipped..];
        while !rest.is_empty() {
            let begins = bytes.len() - rest.len();
            match self.frames.next(&mut rest) {
                Part::HalfHead => {}
                Part::Head(head) => self.begin_frame(head),
                Part::Payload(of_block) => self.observe_block(of_block),
            }
            if self.fault.is_some() || self.exceeded {
                return begins;
            }
        }
        let in_frame = self.frames.is_half() && !self.frames.is_in_body();
        let half = self.preface > 0 || in_frame || self.in_block;
        self.half_since = half.then(|| self.half_since.unwrap_or(now));
        bytes.len()
    }

    /// More of a header block.
    fn observe_block(&mut self, bytes: &[u8]) {
        let cheap = CHEAP_BLOCK_BYTES.saturating_sub(self.block_bytes);
        let length = bytes.len() as u64;
        self.block_bytes = self.block_bytes.saturating_add(length);
        self.cost += length.saturating_sub(cheap) * BLOCK_BYTE_COST;
        let most = self.max_fields + PSEUDO_HEADERS;
        let before = self.fields.count();
        self.fields.push(bytes);
        if before <= most && self.fields.count() > most {
            self.glitch(MALFORMED_GLITCHES);
        }
        self.exceeded |= self.fields.count() > most * MAX_TIMES_TOO_MANY;
        if self.fields.has_fragment() || self.is_overlooked() {
            self.fault = Some(Fault::Protocol);
        }
    }

    /// True if something is wrong that the library lets pass: in trailers, in a block that comes in
    /// several frames (if a frame ends within a field, it forgets what it found before), or where
    /// it skips a block, so that the table is another one from then on.
    fn is_overlooked(&self) -> bool {
        let in_pieces = self.in_block || self.continuations > 0;
        (self.is_trailer && self.fields.has_pseudo())
            || (in_pieces && self.fields.is_disordered())
            || self.frames.depends_on_itself()
    }

    /// HEADERS open a stream, or are its trailers.
    fn begin_headers(&mut self, flags: u8, stream: u32) {
        self.in_block = flags & END_HEADERS == 0;
        self.continuations = 0;
        self.block_bytes = 0;
        self.fields.begin();
        self.is_trailer = stream <= self.last_stream;
        self.last_stream = self.last_stream.max(stream);
        if !self.is_trailer {
            self.bodies = self.bodies.saturating_add(u32::from(flags & END_STREAM == 0));
        } else if self.bodies > 0 {
            self.bodies -= 1;
        } else {
            // One section more than there were requests that could have it.
            self.glitch(1);
        }
    }

    fn begin_frame(&mut self, head: Head) {
        let Head { kind, flags, length, stream } = head;
        if !std::mem::replace(&mut self.introduced, true) && kind != Kind::Settings {
            self.fault = Some(Fault::Protocol);
            return;
        }
        if !is_length_of(kind, flags, length) {
            self.fault = Some(Fault::FrameSize);
            return;
        }
        self.cost += match kind {
            Kind::Headers | Kind::WindowUpdate => FRAME_COST,
            Kind::Data if length >= SMALL_DATA_BYTES || flags & END_STREAM != 0 => FRAME_COST,
            Kind::Data if length < TINY_DATA_BYTES => TINY_DATA_COST,
            Kind::Data
            | Kind::Priority
            | Kind::Reset
            | Kind::Settings
            | Kind::Ping
            | Kind::GoAway
            | Kind::Continuation
            | Kind::Unknown => SMALL_FRAME_COST,
        };
        let counts = &mut self.counts;
        let (count, most) = match kind {
            Kind::Data if length == 0 && flags & END_STREAM == 0 => {
                (&mut counts.empty_data, MAX_EMPTY_DATA)
            }
            Kind::Data if length < TINY_DATA_BYTES && flags & END_STREAM == 0 => {
                (&mut counts.tiny_data, MAX_TINY_DATA)
            }
            Kind::Data => return,
            Kind::Headers => {
                return self.begin_headers(flags, stream);
            }
            Kind::Continuation => {
                self.in_block = flags & END_HEADERS == 0;
                (&mut self.continuations, MAX_CONTINUATIONS)
            }
            Kind::Priority => (&mut counts.priorities, MAX_PRIORITIES),
            Kind::Reset => (&mut counts.resets, MAX_RESETS),
            Kind::Settings => (&mut counts.settings, MAX_SETTINGS),
            Kind::Ping => (&mut counts.pings, MAX_PINGS),
            Kind::WindowUpdate if self.sent >= BYTES_PER_WINDOW_UPDATE => {
                self.sent -= BYTES_PER_WINDOW_UPDATE;
                return;
            }
            Kind::WindowUpdate => (&mut counts.window_updates, MAX_WINDOW_UPDATES),
            Kind::GoAway | Kind::Unknown => (&mut counts.unknown, MAX_UNKNOWN),
        };
        *count += 1;
        self.exceeded |= *count > most;
    }
}

#[cfg(test)]
mod tests;
