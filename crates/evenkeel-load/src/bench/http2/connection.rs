//! One connection of HTTP/2, seen from the client, without I/O. It sends the same request again and
//! again, so the request is rendered once (`hpack::Block`); of an answer only what is counted is
//! kept.

mod terms;

use self::terms::{ENABLE_PUSH, INITIAL_WINDOW_SIZE};
use super::frame::{self, Frame, MAX_31_BITS, MAX_PAYLOAD_BYTES, broken, push_head, push_number};
use super::hpack::{Block, Decoder, TABLE_BYTES};
use super::slot::{End, STREAM_WINDOW, Slot, Stage, Window};
use super::template::Template;
use crate::LoadError;
use crate::bench::fault::Fault;
use crate::bench::lane::Answer;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

/// How much of all answers of a connection may be on its way.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// A window that nobody said anything of.
const FIRST_WINDOW: u32 = 65_535;
/// Bytes that wait to be written; above this no request is begun, and nothing is read.
const MAX_WAITING_BYTES: usize = 64 * 1024;
/// Bytes of a header block that comes in several frames.
const MAX_BLOCK_BYTES: usize = 64 * 1024;

/// A header block that is not complete.
struct Partial {
    stream: u32,
    ends: bool,
    block: Vec<u8>,
}

/// Many exchanges at the same time.
pub(crate) struct Connection {
    template: Arc<Template>,
    block: Block,
    /// Of the server's table of fields, as we use it: it never grows.
    table: usize,
    out: Vec<u8>,
    written: usize,
    slots: Vec<Slot>,
    /// Streams and their slots, by the number of the stream.
    open: VecDeque<(u32, usize)>,
    /// Slots that have something to send: bodies before requests that have not begun.
    queue: VecDeque<usize>,
    /// Slots that the server lets send no more of their bodies.
    stalled: Vec<usize>,
    next_stream: u32,
    /// Streams at the same time; `None` until the server has said how it wants it.
    limit: Option<usize>,
    stream_window: u32,
    send_window: i64,
    window: Window,
    decoder: Decoder,
    partial: Option<Partial>,
    /// Why no further request is taken.
    closing: Option<Fault>,
}

impl Connection {
    /// A connection for so many exchanges at the same time.
    pub(crate) fn new(template: Arc<Template>, slots: usize) -> Connection {
        let mut out = frame::PREFACE.to_vec();
        push_head(&mut out, 12, [frame::SETTINGS, 0], 0);
        for (setting, value) in [(ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, STREAM_WINDOW)] {
            out.extend_from_slice(&setting.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
        push_number(&mut out, frame::WINDOW_UPDATE, 0, CONNECTION_WINDOW - FIRST_WINDOW);
        Connection {
            block: Block::new(&template.fields, TABLE_BYTES, false),
            template,
            table: TABLE_BYTES,
            out,
            written: 0,
            slots: std::iter::repeat_with(Slot::default).take(slots).collect(),
            open: VecDeque::new(),
            queue: VecDeque::new(),
            stalled: Vec::new(),
            next_stream: 1,
            limit: None,
            stream_window: FIRST_WINDOW,
            send_window: FIRST_WINDOW.into(),
            window: Window::new(CONNECTION_WINDOW),
            decoder: Decoder::default(),
            partial: None,
            closing: None,
        }
    }

    /// A request is to be sent.
    pub(crate) fn begin(&mut self, slot: usize) -> Result<(), End> {
        if let Some(fault) = &self.closing {
            return Err(End::Unprocessed(fault.clone()));
        }
        self.slots[slot].stage = Stage::Queued;
        self.queue.push_back(slot);
        Ok(())
    }

    /// What came of it. Its backend is left in `backend`.
    pub(crate) fn poll(
        &mut self,
        slot: usize,
        backend: &mut String,
        cx: &Context<'_>,
    ) -> Poll<Result<Answer, End>> {
        let slot = &mut self.slots[slot];
        let polled = slot.poll(cx);
        if polled.is_ready() {
            std::mem::swap(&mut slot.backend, backend);
        }
        polled
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn cancel(&mut self, slot: usize) {
        if matches!(self.slots[slot].stage, Stage::Open) {
            push_number(&mut self.out, frame::RST_STREAM, self.slots[slot].stream, frame::CANCEL);
        }
        self.forget(slot);
        self.slots[slot].stage = Stage::Idle;
    }

    /// True as long as requests are taken.
    pub(crate) fn is_open(&self) -> bool {
        self.closing.is_none()
    }

    /// What is to be written.
    pub(crate) fn waiting(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// True if too much of that waits.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting().len() >= MAX_WAITING_BYTES
    }

    /// So many bytes were written.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.out.len() || self.written >= MAX_WAITING_BYTES {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// Renders what may be sent now.
    pub(crate) fn render(&mut self) {
        while !self.is_full()
            && let Some(&slot) = self.queue.front()
        {
            if matches!(self.slots[slot].stage, Stage::Queued) && !self.open_stream(slot) {
                return;
            }
            self.queue.pop_front();
            self.send_body(slot);
        }
    }

    /// The connection is at its end.
    pub(crate) fn fail(&mut self, fault: &Fault) {
        for (_, slot) in std::mem::take(&mut self.open) {
            self.slots[slot].end(Err(End::Failed(fault.clone())));
        }
        self.close(fault.clone());
    }

    /// Reads the frames that are complete; gives how many bytes they had.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut read = 0;
        while let Some(frame) = Frame::first(&bytes[read..]).map_err(|f| self.not_ours(f))? {
            self.take(&frame)?;
            read += frame::HEAD_BYTES + frame.payload.len();
        }
        Ok(read)
    }

    /// Before its settings, whatever a server sends is most probably another protocol.
    fn not_ours(&self, fault: Fault) -> Fault {
        match self.limit {
            Some(_) => fault,
            None => Fault::bad("the server does not speak HTTP/2"),
        }
    }

    fn take(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let is_settings = frame.kind == frame::SETTINGS && !frame.has(frame::ACK);
        if self.limit.is_none() && !is_settings {
            return Err(self.not_ours(broken("no settings")));
        }
        if let Some(partial) = &self.partial
            && (frame.kind != frame::CONTINUATION || frame.stream != partial.stream)
        {
            return Err(broken("a header block is interrupted"));
        }
        let of_connection = [frame::SETTINGS, frame::PING, frame::GOAWAY].contains(&frame.kind);
        let of_both = frame.kind == frame::WINDOW_UPDATE || frame.kind > frame::CONTINUATION;
        if !of_both && of_connection != (frame.stream == 0) {
            return Err(broken("a frame belongs to another stream"));
        }
        let is_ours = frame.stream % 2 == 1 && frame.stream < self.next_stream;
        // A priority may be said of any stream, also of one that nobody will open.
        let of_any = frame.kind == frame::PRIORITY || frame.kind > frame::CONTINUATION;
        if frame.stream != 0 && !is_ours && !of_any {
            return Err(broken("a stream that nobody opened"));
        }
        match frame.kind {
            frame::DATA => self.body(frame),
            frame::HEADERS => self.headers(frame),
            frame::CONTINUATION => self.continuation(frame),
            frame::RST_STREAM => self.reset(frame),
            frame::SETTINGS => self.settings(frame),
            frame::PING => self.ping(frame),
            frame::GOAWAY => self.go_away(frame),
            frame::WINDOW_UPDATE => self.window_update(frame),
            frame::PUSH_PROMISE => Err(broken("a push that nobody wanted")),
            frame::PRIORITY => Ok(()),
            _ => Ok(()),
        }
    }

    fn find(&self, stream: u32) -> Option<usize> {
        let place = self.open.binary_search_by_key(&stream, |(stream, _)| *stream).ok()?;
        Some(self.open[place].1)
    }

    fn body(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let content = frame.content()?;
        let grant = self.window.take(frame.payload.len())?;
        if grant > 0 {
            push_number(&mut self.out, frame::WINDOW_UPDATE, 0, grant);
        }
        let Some(index) = self.find(frame.stream) else { return Ok(()) };
        let slot = &mut self.slots[index];
        if slot.status == 0 {
            return Err(broken("a body without a head"));
        }
        slot.bytes += content.len() as u64;
        let grant = slot.window.take(frame.payload.len())?;
        if frame.has(frame::END_STREAM) {
            self.answered(index);
        } else if grant > 0 {
            push_number(&mut self.out, frame::WINDOW_UPDATE, frame.stream, grant);
        }
        Ok(())
    }

    fn headers(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let (stream, ends) = (frame.stream, frame.has(frame::END_STREAM));
        let content = frame.content()?;
        if frame.has(frame::END_HEADERS) {
            return self.head(stream, ends, content);
        }
        self.partial = Some(Partial { stream, ends, block: content.to_vec() });
        Ok(())
    }

    fn continuation(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let mut partial = self.partial.take().ok_or_else(|| broken("nothing to continue"))?;
        if partial.block.len() + frame.payload.len() > MAX_BLOCK_BYTES {
            return Err(broken("the head of the answer is longer than 64 KiB"));
        }
        partial.block.extend_from_slice(frame.payload);
        if frame.has(frame::END_HEADERS) {
            return self.head(partial.stream, partial.ends, &partial.block);
        }
        self.partial = Some(partial);
        Ok(())
    }

    /// A header block is complete: that of an answer, of an interim answer, or trailers. It is read
    /// even if nobody wants it, because later ones build on it.
    fn head(&mut self, stream: u32, ends: bool, block: &[u8]) -> Result<(), Fault> {
        let found = self.find(stream);
        let mut ignored = Slot::default();
        let slot = found.map_or(&mut ignored, |index| &mut self.slots[index]);
        let is_trailer = slot.status != 0;
        let mut status = None;
        let read = self.decoder.read(block, |name, value| match name {
            b":status" => status = parse(value),
            b"x-backend" if !is_trailer && slot.backend.is_empty() => {
                slot.backend.push_str(&String::from_utf8_lossy(value));
            }
            // What is no length is one that no body has.
            b"content-length" if !is_trailer => {
                slot.length = Some(parse(value).unwrap_or(u64::MAX));
            }
            _ => {}
        });
        read.map_err(|_| broken("a header block cannot be read"))?;
        let Some(index) = found else { return Ok(()) };
        match status {
            None if is_trailer && ends => self.answered(index),
            Some(100..200) if !is_trailer && !ends => {
                self.slots[index].backend.clear();
                self.slots[index].length = None;
            }
            Some(status @ 200..1000) if !is_trailer => {
                self.slots[index].status = u16::try_from(status).unwrap_or_default();
                if ends {
                    self.answered(index);
                }
            }
            _ => return Err(broken("a head breaks the rules")),
        }
        Ok(())
    }

    fn reset(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let code = frame.number(true)?;
        if let Some(slot) = self.find(frame.stream) {
            let text = format!("HTTP/2: the server reset the stream: {}", frame::name_of(code));
            self.forget(slot);
            self.slots[slot].end(Err(End::Failed(Fault::new(LoadError::Reset, text))));
        }
        Ok(())
    }

    fn ping(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        if frame.payload.len() != 8 {
            return Err(broken("a frame has a wrong length"));
        }
        if !frame.has(frame::ACK) {
            push_head(&mut self.out, 8, [frame::PING, frame::ACK], 0);
            self.out.extend_from_slice(frame.payload);
        }
        Ok(())
    }

    fn go_away(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let last = frame.number(false)? & MAX_31_BITS;
        let code = frame.payload.get(4..).and_then(<[u8]>::first_chunk);
        let code = u32::from_be_bytes(*code.ok_or_else(|| broken("a frame has a wrong length"))?);
        let text = format!("HTTP/2: the server closes the connection: {}", frame::name_of(code));
        let fault = Fault::new(LoadError::Reset, text);
        while let Some((_, slot)) = self.open.pop_back_if(|(stream, _)| *stream > last) {
            self.forget(slot);
            let end = if code == 0 { End::Unprocessed } else { End::Failed };
            self.slots[slot].end(Err(end(fault.clone())));
        }
        self.close(fault);
        Ok(())
    }

    /// Takes no further request, and gives those back that have not begun.
    fn close(&mut self, fault: Fault) {
        for slot in std::mem::take(&mut self.queue) {
            match self.slots[slot].stage {
                Stage::Queued => self.slots[slot].end(Err(End::Unprocessed(fault.clone()))),
                Stage::Open => self.queue.push_back(slot),
                Stage::Idle | Stage::Ended(_) => {}
            }
        }
        self.closing.get_or_insert(fault);
    }

    /// False if there cannot be another stream now.
    fn open_stream(&mut self, index: usize) -> bool {
        if self.open.len() >= self.limit.unwrap_or(0) {
            return false;
        }
        let stream = self.next_stream;
        if stream > MAX_31_BITS {
            self.close(Fault::new(LoadError::Reset, "HTTP/2: all streams have been used"));
            return false;
        }
        self.next_stream += 2;
        self.open.push_back((stream, index));
        self.slots[index].open(stream, self.stream_window);
        let ends = if self.template.body.is_empty() { frame::END_STREAM } else { 0 };
        let mut rest = self.block.next();
        let mut kind_flags = [frame::HEADERS, ends];
        loop {
            let part;
            (part, rest) = rest.split_at(rest.len().min(MAX_PAYLOAD_BYTES));
            kind_flags[1] |= if rest.is_empty() { frame::END_HEADERS } else { 0 };
            push_head(&mut self.out, part.len(), kind_flags, stream);
            self.out.extend_from_slice(part);
            if rest.is_empty() {
                return true;
            }
            kind_flags = [frame::CONTINUATION, 0];
        }
    }

    fn send_body(&mut self, index: usize) {
        let body = self.template.body.clone();
        while self.slots[index].sent < body.len() {
            if self.is_full() {
                return self.queue.push_front(index);
            }
            let slot = &mut self.slots[index];
            let left = &body[slot.sent..];
            let allowed = usize::try_from(slot.send_window.min(self.send_window)).unwrap_or(0);
            let length = left.len().min(MAX_PAYLOAD_BYTES).min(allowed);
            if length == 0 {
                return self.stalled.push(index);
            }
            let ends = if length == left.len() { frame::END_STREAM } else { 0 };
            push_head(&mut self.out, length, [frame::DATA, ends], slot.stream);
            self.out.extend_from_slice(&left[..length]);
            slot.sent += length;
            slot.send_window -= length as i64;
            self.send_window -= length as i64;
        }
    }

    /// An answer is complete. What the server has not read of the request it does not want.
    fn answered(&mut self, index: usize) {
        let slot = &self.slots[index];
        let bodiless = self.template.head_only || slot.status == 304;
        let is_whole = bodiless || slot.length.is_none_or(|length| length == slot.bytes);
        let outcome = if is_whole {
            Ok(Answer { status: slot.status, bytes: slot.bytes })
        } else {
            Err(End::Failed(broken("the body has another length than was said")))
        };
        if slot.sent < self.template.body.len() {
            push_number(&mut self.out, frame::RST_STREAM, slot.stream, frame::CANCEL);
        }
        self.forget(index);
        self.slots[index].end(outcome);
    }

    /// The stream of this slot is over, whatever becomes of the exchange.
    fn forget(&mut self, index: usize) {
        let stream = self.slots[index].stream;
        if let Ok(place) = self.open.binary_search_by_key(&stream, |(stream, _)| *stream) {
            self.open.remove(place);
        }
        let slot = &self.slots[index];
        if matches!(slot.stage, Stage::Queued) || slot.sent < self.template.body.len() {
            self.queue.retain(|slot| *slot != index);
            self.stalled.retain(|slot| *slot != index);
        }
    }
}

fn parse(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests;
