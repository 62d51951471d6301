//! An HTTP/1 answer as it comes in: head parsed in place, body counted and dropped. No I/O.

use super::chunks::Chunks;
use super::fault::Fault;
use std::mem::MaybeUninit;

/// First size of the buffer.
const FIRST_BYTES: usize = 8 * 1024;
/// Size of the buffer once a longer body has been seen.
const LARGE_BYTES: usize = 64 * 1024;
/// Bytes of a head.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Fields of a head.
const MAX_FIELDS: usize = 96;

/// Where in an answer we are.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Head,
    Fixed { left: u64 },
    Chunked(Chunks),
    UntilClose,
    Done,
}

/// Reads one answer after another.
pub(crate) struct Incoming {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    stage: Stage,
    /// True if answers have no body, whatever they say of it (HEAD).
    head_only: bool,
    /// The status of the last head.
    pub(crate) status: u16,
    /// Bytes of the body so far.
    pub(crate) bytes: u64,
    /// Value of X-Backend; empty if there was none.
    pub(crate) backend: String,
    keep_alive: bool,
}

impl Incoming {
    /// Before the first answer.
    pub(crate) fn new(head_only: bool) -> Incoming {
        Incoming {
            buffer: vec![0; FIRST_BYTES],
            start: 0,
            end: 0,
            stage: Stage::Head,
            head_only,
            status: 0,
            bytes: 0,
            backend: String::new(),
            keep_alive: false,
        }
    }

    /// Forgets everything: the next byte begins an answer.
    pub(crate) fn begin(&mut self) {
        (self.start, self.end) = (0, 0);
        (self.status, self.bytes) = (0, 0);
        self.stage = Stage::Head;
        self.backend.clear();
    }

    /// Where further bytes are to be put.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.end..]
    }

    /// So many bytes were put there. True if the answer is complete.
    pub(crate) fn received(&mut self, bytes: usize) -> Result<bool, Fault> {
        self.end += bytes;
        loop {
            let before = (self.start, self.end);
            self.advance()?;
            if let Stage::Done = self.stage {
                return Ok(true);
            }
            if self.start == self.end {
                (self.start, self.end) = (0, 0);
                return Ok(false);
            }
            if (self.start, self.end) == before {
                return self.make_room().map(|()| false);
            }
        }
    }

    /// No further bytes will come. True if that ends the answer as it should.
    pub(crate) fn closed(&self) -> bool {
        matches!(self.stage, Stage::UntilClose)
    }

    /// True if the connection can carry another exchange.
    pub(crate) fn can_go_on(&self) -> bool {
        self.keep_alive && self.start == self.end && matches!(self.stage, Stage::Done)
    }

    fn advance(&mut self) -> Result<(), Fault> {
        let here = (self.end - self.start) as u64;
        match &mut self.stage {
            Stage::Head => self.read_head()?,
            Stage::Fixed { left } => {
                let taken = here.min(*left);
                *left -= taken;
                if *left == 0 {
                    self.stage = Stage::Done;
                }
                self.take(taken);
            }
            Stage::Chunked(chunks) => {
                let broken = |_| Fault::bad("the chunked body is broken");
                let (taken, data) =
                    chunks.read(&self.buffer[self.start..self.end]).map_err(broken)?;
                if chunks.is_done() {
                    self.stage = Stage::Done;
                }
                self.start += taken;
                self.bytes += data;
            }
            Stage::UntilClose => self.take(here),
            Stage::Done => {}
        }
        Ok(())
    }

    fn take(&mut self, bytes: u64) {
        // At most what is in the buffer.
        self.start += usize::try_from(bytes).unwrap_or(usize::MAX);
        self.bytes += bytes;
    }

    /// Bytes that make no sense yet stay; the buffer grows for them, up to the bound of a head.
    fn make_room(&mut self) -> Result<(), Fault> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end >= MAX_HEAD_BYTES {
            return Err(Fault::bad("the head of the answer is longer than 64 KiB"));
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(MAX_HEAD_BYTES.min(self.buffer.len() * 2), 0);
        }
        Ok(())
    }

    fn read_head(&mut self) -> Result<(), Fault> {
        // Nothing is written before it is needed: this is done for every answer.
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut head = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut head,
            &self.buffer[self.start..self.end],
            &mut fields,
        );
        let length = match parsed.map_err(|error| Fault::bad(format!("not HTTP/1: {error}")))? {
            httparse::Status::Partial => return Ok(()),
            httparse::Status::Complete(length) => length,
        };
        let status = head.code.unwrap_or_default();
        if let 100 | 102..=199 = status {
            self.start += length;
            return Ok(());
        }
        let found = Fields::read(head.headers)?;
        self.status = status;
        self.keep_alive =
            if head.version == Some(1) { !found.close } else { found.keep_alive && !found.close };
        self.backend.clear();
        self.backend.push_str(&String::from_utf8_lossy(found.backend));
        self.start += length;
        self.stage = if self.head_only || matches!(status, 204 | 304) {
            Stage::Done
        } else if status == 101 {
            return Err(Fault::bad("the server switched protocols, which nobody asked for"));
        } else if found.chunked {
            Stage::Chunked(Chunks::new())
        } else {
            match found.length {
                Some(0) => Stage::Done,
                Some(left) => Stage::Fixed { left },
                None => Stage::UntilClose,
            }
        };
        self.grow_for(found.length);
        Ok(())
    }

    fn grow_for(&mut self, body: Option<u64>) {
        let long = body.is_some_and(|length| length > FIRST_BYTES as u64);
        if long && self.buffer.len() < LARGE_BYTES {
            self.buffer.resize(LARGE_BYTES, 0);
        }
    }
}

/// What of the fields matters here.
#[derive(Default)]
struct Fields<'a> {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    backend: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(fields: &[httparse::Header<'a>]) -> Result<Fields<'a>, Fault> {
        let mut found = Fields::default();
        for field in fields {
            let name = field.name;
            if name.eq_ignore_ascii_case("content-length") {
                let length = parse_length(field.value);
                let length = length.ok_or_else(|| Fault::bad("Content-Length is no number"))?;
                if found.length.is_some_and(|other| other != length) {
                    return Err(Fault::bad("two different Content-Length fields"));
                }
                found.length = Some(length);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                found.chunked = lists(field.value, "chunked");
                if !found.chunked {
                    return Err(Fault::bad("a transfer coding other than chunked"));
                }
            } else if name.eq_ignore_ascii_case("connection") {
                found.close |= lists(field.value, "close");
                found.keep_alive |= lists(field.value, "keep-alive");
            } else if name.eq_ignore_ascii_case("x-backend") {
                found.backend = field.value;
            }
        }
        Ok(found)
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn lists(value: &[u8], word: &str) -> bool {
    value
        .split(|byte| *byte == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds an answer in pieces; gives whether it is complete.
    fn feed(incoming: &mut Incoming, answer: &[u8], size: usize) -> Result<bool, Fault> {
        let mut complete = false;
        let mut left = answer;
        while !left.is_empty() {
            assert!(!complete, "complete before its end");
            let here = size.min(left.len()).min(incoming.room().len());
            incoming.room()[..here].copy_from_slice(&left[..here]);
            complete = incoming.received(here)?;
            left = &left[here..];
        }
        Ok(complete)
    }

    #[test]
    fn answers_end_where_they_should() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nX-Backend: b1\r\nContent-Length: 2\r\n\r\nhi", 200, 2, true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 200, 0, false),
            ("HTTP/1.0 404 Not Found\r\nContent-Length: 1\r\n\r\nx", 404, 1, false),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, 0, true),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 A\r\nContent-Length: 0\r\n\r\n",
                201,
                0,
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
                200,
                2,
                true,
            ),
        ];
        for (answer, status, bytes, keep_alive) in cases {
            for size in 1..=answer.len() {
                let mut incoming = Incoming::new(false);
                let complete = feed(&mut incoming, answer.as_bytes(), size).expect(answer);
                assert!(complete, "{answer} {size}");
                assert_eq!((incoming.status, incoming.bytes), (status, bytes), "{answer} {size}");
                assert_eq!(incoming.can_go_on(), keep_alive, "{answer} {size}");
                assert_eq!(incoming.backend == "b1", answer.contains("b1"));
            }
        }
    }

    #[test]
    fn only_an_open_end_may_be_closed() {
        let mut incoming = Incoming::new(false);
        assert!(!incoming.closed());
        assert!(!feed(&mut incoming, b"HTTP/1.1 200 OK\r\n\r\nabc", 5).expect("an answer"));
        assert!(incoming.closed());
        assert_eq!(incoming.bytes, 3);
        let mut cut = Incoming::new(false);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc";
        assert!(!feed(&mut cut, answer, 50).expect("a part"));
        assert!(!cut.closed());
    }

    #[test]
    fn heads_alone() {
        let mut incoming = Incoming::new(true);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert!(feed(&mut incoming, answer, 50).expect("an answer"));
        assert!(incoming.can_go_on());
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(70_000));
        let cases = [
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz",
            &long,
        ];
        for answer in cases {
            let fed = feed(&mut Incoming::new(false), answer.as_bytes(), 1000);
            assert!(fed.is_err(), "{}", &answer[..40.min(answer.len())]);
        }
    }

    #[test]
    fn more_than_was_asked_for_ends_the_connection() {
        let mut incoming = Incoming::new(false);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK";
        assert!(feed(&mut incoming, answer, 100).expect("an answer"));
        assert!(!incoming.can_go_on());
    }

    #[test]
    fn a_long_body_is_dropped_as_it_comes() {
        let mut incoming = Incoming::new(false);
        let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_vec();
        answer.resize(answer.len() + 1_000_000, b'x');
        assert!(feed(&mut incoming, &answer, 5000).expect("an answer"));
        assert_eq!(incoming.bytes, 1_000_000);
        assert!(incoming.buffer.len() <= LARGE_BYTES);
    }
}
