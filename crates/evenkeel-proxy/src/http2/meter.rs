//! What a client may ask of us per second besides requests, frame by frame: resets, settings, pings
//! and the like cost the peer nothing and us something. Sees the bytes of a connection as they
//! arrive, and only the heads of frames and fields of them. Pure: the time comes in.
//!
//! Sources: RFC 9113 10.5; CVE-2019-9511 to 9518, CVE-2023-44487 (rapid reset), CVE-2025-8671
//! (MadeYouReset), CVE-2024-27919 (CONTINUATION).

use super::fields::Block;
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
const FRAME_HEAD_BYTES: usize = 9;
const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITISED: u8 = 0x20;

/// Frame types (RFC 9113 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    Unknown,
}

impl Kind {
    fn of(byte: u8) -> Kind {
        match byte {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::Reset,
            4 => Kind::Settings,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            _ => Kind::Unknown,
        }
    }
}

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
    head: [u8; FRAME_HEAD_BYTES],
    head_len: usize,
    payload_left: usize,
    /// Of the frame whose payload is arriving.
    kind: Kind,
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
    block: Block,
    is_trailer: bool,
    /// Bytes of the running frame that come before its part of the block, and those behind it.
    before_block: usize,
    padding: usize,
    padded: bool,
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
            head: [0; FRAME_HEAD_BYTES],
            head_len: 0,
            payload_left: 0,
            kind: Kind::Unknown,
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
            block: Block::new(),
            is_trailer: false,
            before_block: 0,
            padding: 0,
            padded: false,
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
            if self.payload_left > 0 {
                let (payload, behind) = rest.split_at(self.payload_left.min(rest.len()));
                self.observe_payload(payload);
                if self.fault.is_some() || self.exceeded {
                    return begins;
                }
                rest = behind;
                continue;
            }
            let taken = (FRAME_HEAD_BYTES - self.head_len).min(rest.len());
            self.head[self.head_len..self.head_len + taken].copy_from_slice(&rest[..taken]);
            self.head_len += taken;
            rest = &rest[taken..];
            if self.head_len == FRAME_HEAD_BYTES {
                self.head_len = 0;
                self.begin_frame();
                if self.fault.is_some() || self.exceeded {
                    return begins;
                }
            }
        }
        let in_frame = self.payload_left > 0 && self.kind != Kind::Data;
        let half = self.preface > 0 || self.head_len > 0 || in_frame || self.in_block;
        self.half_since = half.then(|| self.half_since.unwrap_or(now));
        bytes.len()
    }

    fn observe_payload(&mut self, mut payload: &[u8]) {
        let left = self.payload_left;
        self.payload_left -= payload.len();
        if !matches!(self.kind, Kind::Headers | Kind::Continuation) {
            return;
        }
        if std::mem::take(&mut self.padded) {
            self.padding = payload.first().map_or(0, |byte| usize::from(*byte));
        }
        let skipped = self.before_block.min(payload.len());
        self.before_block -= skipped;
        payload = &payload[skipped..];
        let in_block = (left - skipped).saturating_sub(self.padding);
        self.observe_block(&payload[..in_block.min(payload.len())]);
    }

    /// More of a header block.
    fn observe_block(&mut self, bytes: &[u8]) {
        let cheap = CHEAP_BLOCK_BYTES.saturating_sub(self.block_bytes);
        let length = bytes.len() as u64;
        self.block_bytes = self.block_bytes.saturating_add(length);
        self.cost += length.saturating_sub(cheap) * BLOCK_BYTE_COST;
        let most = self.max_fields + PSEUDO_HEADERS;
        let before = self.block.fields();
        self.block.push(bytes);
        if before <= most && self.block.fields() > most {
            self.glitch(MALFORMED_GLITCHES);
        }
        self.exceeded |= self.block.fields() > most * MAX_TIMES_TOO_MANY;
        if self.block.has_fragment() || (self.is_trailer && self.block.has_pseudo()) {
            self.fault = Some(Fault::Protocol);
        }
    }

    /// HEADERS open a stream, or are its trailers.
    fn begin_headers(&mut self, flags: u8, stream: u32) {
        self.in_block = flags & END_HEADERS == 0;
        self.continuations = 0;
        self.block_bytes = 0;
        self.block = Block::new();
        self.padded = flags & PADDED != 0;
        let priority = if flags & PRIORITISED != 0 { 5 } else { 0 };
        self.before_block = usize::from(self.padded) + priority;
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

    fn begin_frame(&mut self) {
        let [l0, l1, l2, kind, flags, id @ ..] = self.head;
        let length = usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2);
        self.payload_left = length;
        self.kind = Kind::of(kind);
        (self.before_block, self.padding, self.padded) = (0, 0, false);
        if !std::mem::replace(&mut self.introduced, true) && self.kind != Kind::Settings {
            self.fault = Some(Fault::Protocol);
            return;
        }
        if !is_length_of(self.kind, flags, length) {
            self.fault = Some(Fault::FrameSize);
            return;
        }
        self.cost += match self.kind {
            Kind::Headers | Kind::WindowUpdate => FRAME_COST,
            Kind::Data if length >= SMALL_DATA_BYTES || flags & END_STREAM != 0 => FRAME_COST,
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
        let (count, most) = match self.kind {
            Kind::Data if length == 0 && flags & END_STREAM == 0 => {
                (&mut counts.empty_data, MAX_EMPTY_DATA)
            }
            Kind::Data if length < TINY_DATA_BYTES && flags & END_STREAM == 0 => {
                (&mut counts.tiny_data, MAX_TINY_DATA)
            }
            Kind::Data => return,
            Kind::Headers => {
                return self.begin_headers(flags, u32::from_be_bytes(id) & 0x7fff_ffff);
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
