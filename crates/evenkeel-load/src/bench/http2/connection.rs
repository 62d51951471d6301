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
            && let Some(slot) = self.queue.pop_front()
        {
            if matches!(self.slots[slot].stage, Stage::Queued) && !self.open_stream(slot) {
                self.queue.push_front(slot);
                return;
            }
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
        if frame.stream != 0 && !is_ours && frame.kind <= frame::CONTINUATION {
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
mod tests {
    use super::terms::MAX_CONCURRENT_STREAMS;
    use super::*;
    use bytes::Bytes;
    use http::Request;
    use std::task::Waker;

    fn connection(body: &[u8]) -> Connection {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let head = Request::builder().method(method).uri("http://a/p").body(()).expect("a head");
        let template = Template::new(&head, Bytes::copy_from_slice(body));
        Connection::new(Arc::new(template), 4)
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        push_head(&mut frame, payload.len(), [kind, flags], stream);
        frame.extend_from_slice(payload);
        frame
    }

    fn settings(values: &[(u16, u32)]) -> Vec<u8> {
        let bytes =
            |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        frame(frame::SETTINGS, 0, 0, &values.iter().flat_map(bytes).collect::<Vec<u8>>())
    }

    fn head(stream: u32, ends: bool) -> Vec<u8> {
        let flags = frame::END_HEADERS | if ends { frame::END_STREAM } else { 0 };
        frame(frame::HEADERS, flags, stream, &[0x88])
    }

    fn number(kind: u8, stream: u32, number: u32) -> Vec<u8> {
        frame(kind, 0, stream, &number.to_be_bytes())
    }

    /// What a connection has written since it was asked last: kind, flags, stream, length.
    fn written(connection: &mut Connection) -> Vec<(u8, u8, u32, usize)> {
        connection.render();
        let out = connection.waiting().to_vec();
        connection.wrote(out.len());
        let mut out = out.strip_prefix(frame::PREFACE).unwrap_or(&out);
        let mut frames = Vec::new();
        while let Some(frame) = Frame::first(out).expect("well written") {
            frames.push((frame.kind, frame.flags, frame.stream, frame.payload.len()));
            out = &out[frame::HEAD_BYTES + frame.payload.len()..];
        }
        assert!(out.is_empty());
        frames
    }

    fn outcome(connection: &mut Connection, slot: usize) -> Option<Result<Answer, End>> {
        let cx = Context::from_waker(Waker::noop());
        match connection.poll(slot, &mut String::new(), &cx) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }

    /// A connection with so many requests under way.
    fn asked(requests: usize, body: &[u8], with: &[(u16, u32)]) -> Connection {
        let mut connection = connection(body);
        for slot in 0..requests {
            connection.begin(slot).expect("open");
        }
        let first: Vec<u8> = written(&mut connection).iter().map(|frame| frame.0).collect();
        assert_eq!(first, [frame::SETTINGS, frame::WINDOW_UPDATE], "nothing before the settings");
        connection.receive(&settings(with)).expect("well written");
        connection
    }

    #[test]
    fn answers_are_told_apart_however_they_come() {
        let interim = frame(frame::HEADERS, frame::END_HEADERS, 3, b"\x08\x03103");
        let padded = frame(frame::DATA, 0x9, 3, b"\x02hello\0\0");
        let cut = frame(frame::HEADERS, 0, 1, &[0x88, 0x0f]);
        let rest = frame(frame::CONTINUATION, frame::END_HEADERS, 1, b"\x0d\x015");
        let five = frame(frame::DATA, 0, 1, b"12345");
        let trailer = frame(frame::HEADERS, 0x5, 1, b"\0\x01a\x01b");
        let all = [interim, cut, rest, five, head(3, false), padded, trailer].concat();
        for size in [1, 2, 7, all.len()] {
            let mut connection = asked(2, b"", &[]);
            let sent = written(&mut connection);
            let heads: Vec<_> = sent.iter().filter(|f| f.0 == frame::HEADERS).collect();
            assert!(heads[0].3 > heads[1].3, "the second is shorter: {sent:?}");
            let mut held: Vec<u8> = Vec::new();
            for part in all.chunks(size) {
                held.extend_from_slice(part);
                let read = connection.receive(&held).expect("well written");
                held.drain(..read);
            }
            for slot in 0..2 {
                let answer = outcome(&mut connection, slot).expect("over").expect("an answer");
                assert_eq!(answer, Answer { status: 200, bytes: 5 }, "{size}");
            }
        }
    }

    #[test]
    fn no_more_streams_are_opened_than_are_allowed() {
        let mut connection = asked(4, b"", &[(MAX_CONCURRENT_STREAMS, 2)]);
        let opened = |frames: &[(u8, u8, u32, usize)]| {
            frames.iter().filter(|f| f.0 == frame::HEADERS).map(|f| f.2).collect::<Vec<u32>>()
        };
        assert_eq!(opened(&written(&mut connection)), [1, 3]);
        connection.receive(&head(3, true)).expect("well written");
        assert_eq!(opened(&written(&mut connection)), [5]);
        // Whoever gives up makes room, and says so.
        connection.cancel(0);
        let frames = written(&mut connection);
        assert_eq!((frames[0], opened(&frames)), ((frame::RST_STREAM, 0, 1, 4), vec![7]));
        connection.receive(&head(1, true)).expect("late, but no mistake");
        assert!(outcome(&mut connection, 0).is_none());
    }

    #[test]
    fn bodies_go_out_as_the_server_takes_them() {
        let mut connection = asked(2, &[b'x'; 100_000], &[(INITIAL_WINDOW_SIZE, 20_000)]);
        let sent = |connection: &mut Connection| {
            let data = written(connection);
            let mut sent = [0; 2];
            for (_, _, stream, length) in data.iter().filter(|f| f.0 == frame::DATA) {
                sent[usize::from(*stream == 3)] += length;
            }
            (sent, data.iter().any(|f| f.0 == frame::DATA && f.1 == frame::END_STREAM))
        };
        assert_eq!(sent(&mut connection), ([20_000, 20_000], false));
        let more = number(frame::WINDOW_UPDATE, 3, 30_000);
        connection.receive(&more).expect("well written");
        // The window of the connection is 65,535.
        assert_eq!(sent(&mut connection), ([0, 25_535], false));
        let less = settings(&[(INITIAL_WINDOW_SIZE, 0)]);
        connection.receive(&less).expect("well written");
        connection.receive(&number(frame::WINDOW_UPDATE, 0, 1_000_000)).expect("well written");
        assert_eq!(sent(&mut connection), ([0, 0], false));
        let large = settings(&[(INITIAL_WINDOW_SIZE, 200_000)]);
        connection.receive(&large).expect("well written");
        let mut total = [20_000, 45_535];
        let mut ended = 0;
        for _ in 0..10 {
            let (more, end) = sent(&mut connection);
            total = [total[0] + more[0], total[1] + more[1]];
            ended += u32::from(end);
        }
        assert_eq!(total, [100_000, 100_000]);
        assert!(ended > 0);
    }

    #[test]
    fn what_comes_is_allowed_anew_and_no_more() {
        let mut connection = asked(1, b"", &[]);
        written(&mut connection);
        connection.receive(&head(1, false)).expect("well written");
        let data = frame(frame::DATA, 0, 1, &[0; MAX_PAYLOAD_BYTES]);
        for _ in 0..32 {
            connection.receive(&data).expect("within the window");
        }
        let grants = [(frame::WINDOW_UPDATE, 0, 1, 4)];
        assert_eq!(written(&mut connection), grants);
        for _ in 0..1000 {
            connection.receive(&data).expect("within the windows");
        }
        let mut window = Window::new(10);
        assert_eq!(window.take(4).expect("room"), 0);
        assert_eq!(window.take(2).expect("room"), 6);
        assert!(window.take(11).is_err());
    }

    #[test]
    fn a_server_that_leaves_says_what_it_has_not_done() {
        let mut connection = asked(3, b"", &[(MAX_CONCURRENT_STREAMS, 2)]);
        written(&mut connection);
        let bye = [1_u32.to_be_bytes(), [0; 4]].concat();
        connection.receive(&frame(frame::GOAWAY, 0, 0, &bye)).expect("well written");
        for slot in [1, 2] {
            let ended = outcome(&mut connection, slot).expect("over");
            assert!(matches!(ended, Err(End::Unprocessed(_))), "{slot}: {ended:?}");
        }
        connection.receive(&head(1, true)).expect("the first is answered still");
        assert!(matches!(outcome(&mut connection, 0), Some(Ok(_))));
        assert!(matches!(connection.begin(0), Err(End::Unprocessed(_))));
        let mut connection = asked(1, b"", &[]);
        written(&mut connection);
        connection.fail(&Fault::closed());
        assert!(matches!(outcome(&mut connection, 0), Some(Err(End::Failed(_)))));
    }

    #[test]
    fn an_answer_may_come_before_all_is_sent() {
        let mut connection = asked(1, &[b'x'; 100_000], &[]);
        written(&mut connection);
        connection.receive(&head(1, true)).expect("well written");
        assert!(matches!(outcome(&mut connection, 0), Some(Ok(_))));
        assert_eq!(written(&mut connection), [(frame::RST_STREAM, 0, 1, 4)]);
        connection.receive(&number(frame::WINDOW_UPDATE, 0, 100_000)).expect("well written");
        assert_eq!(written(&mut connection), []);
    }

    #[test]
    fn a_body_of_another_length_is_no_answer() {
        for (length, right) in [("5", true), ("4", false), ("+5", false), ("", false)] {
            let mut connection = asked(1, b"", &[]);
            written(&mut connection);
            let mut block = vec![0x88, 0x0f, 0x0d, u8::try_from(length.len()).expect("short")];
            block.extend_from_slice(length.as_bytes());
            let head = frame(frame::HEADERS, frame::END_HEADERS, 1, &block);
            connection.receive(&head).expect("well written");
            connection.receive(&frame(frame::DATA, 1, 1, b"12345")).expect("well written");
            let outcome = outcome(&mut connection, 0).expect("over");
            assert_eq!(outcome.is_ok(), right, "{length}: {outcome:?}");
        }
    }

    #[test]
    fn what_breaks_the_rules_ends_the_connection() {
        let long_block = {
            let part = frame(frame::CONTINUATION, 0, 1, &[0; MAX_PAYLOAD_BYTES]);
            [frame(frame::HEADERS, 0, 1, &[0x88]), part.repeat(5)].concat()
        };
        let broken: [(&str, Vec<u8>); 27] = [
            ("longer than 16 KiB", frame(frame::DATA, 0, 1, &[0; MAX_PAYLOAD_BYTES + 1])),
            ("a body without a head", frame(frame::DATA, 0, 1, b"x")),
            ("nobody opened", frame(frame::DATA, 0, 5, b"x")),
            ("nobody opened", head(2, true)),
            ("nobody opened", number(frame::WINDOW_UPDATE, 9, 1)),
            ("another stream", frame(frame::DATA, 0, 0, b"x")),
            ("another stream", frame(frame::SETTINGS, 0, 1, &[])),
            ("another stream", frame(frame::PING, 0, 1, &[0; 8])),
            ("a wrong length", frame(frame::PING, 0, 0, &[0; 7])),
            ("a wrong length", frame(frame::SETTINGS, 0, 0, &[0; 5])),
            ("a wrong length", frame(frame::SETTINGS, frame::ACK, 0, &[0; 6])),
            ("a wrong length", frame(frame::RST_STREAM, 0, 1, &[0; 5])),
            ("a wrong length", frame(frame::WINDOW_UPDATE, 0, 0, &[0; 3])),
            ("a wrong length", frame(frame::GOAWAY, 0, 0, &[0; 7])),
            ("by nothing", number(frame::WINDOW_UPDATE, 0, 0)),
            ("too large", number(frame::WINDOW_UPDATE, 0, MAX_31_BITS)),
            ("too large", number(frame::WINDOW_UPDATE, 1, MAX_31_BITS)),
            ("too large", settings(&[(INITIAL_WINDOW_SIZE, MAX_31_BITS + 1)])),
            ("nobody wanted", frame(frame::PUSH_PROMISE, 4, 1, &[0; 5])),
            ("nothing to continue", frame(frame::CONTINUATION, 4, 1, &[])),
            ("interrupted", [frame(frame::HEADERS, 0, 1, &[0x88]), settings(&[])].concat()),
            ("longer than 64 KiB", long_block),
            ("cannot be read", frame(frame::HEADERS, 4, 1, &[0xff])),
            ("breaks the rules", frame(frame::HEADERS, 4, 1, &[0x84])),
            ("breaks the rules", [head(1, false), head(1, false)].concat()),
            ("padding", frame(frame::DATA, 8, 1, &[9, 0])),
            ("too short", frame(frame::HEADERS, 0x24, 1, &[0; 4])),
        ];
        for (why, bytes) in broken {
            let mut connection = asked(2, b"", &[]);
            written(&mut connection);
            let fault = connection.receive(&bytes).expect_err(why);
            assert!(fault.text.contains(why), "{why}: {}", fault.text);
            assert_eq!(fault.kind, LoadError::BadResponse);
        }
        for other in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"220 hello\r\n", &head(1, true)] {
            let fault = connection(b"").receive(other).expect_err("no HTTP/2");
            assert!(fault.text.contains("does not speak HTTP/2"), "{}", fault.text);
        }
    }

    #[test]
    fn whatever_comes_is_survived() {
        let seed = std::env::var("EVENKEEL_SEED").ok().and_then(|seed| seed.parse().ok());
        let seeds = seed.map_or(0..2000, |seed: u64| seed..seed + 1);
        for seed in seeds {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut connection = asked(4, &[b'x'; 40_000], &[]);
            for _ in 0..60 {
                let payload: Vec<u8> = (0..random.usize(..20)).map(|_| random.u8(..)).collect();
                let stream = if random.bool() { 0 } else { random.u32(..12) };
                let bytes = match random.u8(..6) {
                    0 => head(stream | 1, random.bool()),
                    1 => number(frame::WINDOW_UPDATE, stream, random.u32(1..100_000)),
                    2 => settings(&[(random.u16(..6), random.u32(..200_000))]),
                    3 => frame(frame::PING, 0, 0, &[0; 8]),
                    4 => {
                        let slot = random.usize(..4);
                        connection.cancel(slot);
                        let _ = connection.begin(slot);
                        continue;
                    }
                    _ => frame(random.u8(..11), random.u8(..), stream, &payload),
                };
                connection.render();
                let ended = connection.receive(&bytes).map_err(|fault| connection.fail(&fault));
                assert!(ended.is_err() || ended == Ok(bytes.len()), "seed {seed}");
                let most = 2 * MAX_WAITING_BYTES;
                assert!(connection.waiting().len() < most, "seed {seed}");
                let open = connection.open.iter().map(|(_, slot)| *slot);
                let all =
                    open.clone().filter(|s| matches!(connection.slots[*s].stage, Stage::Open));
                assert_eq!(open.count(), all.count(), "seed {seed}");
                if ended.is_err() {
                    break;
                }
            }
        }
    }
}
