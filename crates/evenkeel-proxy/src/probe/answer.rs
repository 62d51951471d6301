//! The answer to a probe, free of I/O: bytes in, and as soon as they decide, the verdict out.
//!
//! ```text
//!  Head --interim--> Head --final, no text asked for or another status than wanted--> decided
//!                     |
//!                     +--final--> Body --text found, or the end--> decided
//! ```

use crate::final_head::{FinalHead, HeadReader, NoHead};
use evenkeel_core::chunked::{ChunkDecoder, ChunkStep};
use evenkeel_core::framing::BodyLength;
use evenkeel_core::health::ProbeFault;
use evenkeel_core::plan::HttpCheck;
use evenkeel_core::request::Verb;
use memchr::memmem;

/// Bytes of an answer that are read: interim responses, head, framing and body together.
const MAX_PROBE_RESPONSE: usize = 64 * 1024;

/// An answer as it comes in.
pub(super) struct Answer<'a> {
    check: &'a HttpCheck,
    /// Bytes taken so far.
    taken: usize,
    part: Part,
}

enum Part {
    Head(HeadReader),
    Body(Body),
}

impl<'a> Answer<'a> {
    /// Of which nothing has come.
    pub(super) fn new(check: &'a HttpCheck) -> Answer<'a> {
        Answer { check, taken: 0, part: Part::Head(HeadReader::default()) }
    }

    /// Bytes that may still come; not 0 while nothing is decided.
    pub(super) fn room(&self) -> usize {
        MAX_PROBE_RESPONSE - self.taken
    }

    /// Takes the next bytes, no more than there is room for: the status, once nothing else matters.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<u16>, ProbeFault> {
        if self.taken == 0 && begins_http2(bytes) {
            return Err(ProbeFault::Http2);
        }
        self.taken += bytes.len();
        let decided = match &mut self.part {
            Part::Head(head) => match head.read(bytes, verb(self.check)).map_err(bad)? {
                None => None,
                Some(parsed) => self.begin_body(&parsed)?,
            },
            Part::Body(body) => body.read(bytes, &self.check.expect_body)?,
        };
        if decided.is_none() && self.room() == 0 {
            return Err(self.too_long());
        }
        Ok(decided)
    }

    /// The backend ended the connection, and nothing was decided.
    pub(super) fn cut(&self) -> ProbeFault {
        match &self.part {
            Part::Body(Body { length: BodyLength::UntilClose, .. }) => ProbeFault::Body,
            Part::Head(_) | Part::Body(_) => ProbeFault::BadResponse,
        }
    }

    fn too_long(&self) -> ProbeFault {
        match &self.part {
            Part::Head(_) => ProbeFault::BadResponse,
            Part::Body(_) => ProbeFault::Body,
        }
    }

    /// The final head is there. The body of a status that is not wanted tells nothing more.
    fn begin_body(&mut self, last: &FinalHead) -> Result<Option<u16>, ProbeFault> {
        let status = last.head.status;
        let wanted = self.check.expect_status.iter().any(|range| range.contains(&status));
        if !wanted || self.check.expect_body.is_empty() {
            return Ok(Some(status));
        }
        let mut body = Body {
            status,
            length: last.head.body,
            chunks: ChunkDecoder::default(),
            trailers: Vec::new(),
            text: Vec::new(),
        };
        let decided = body.read(&last.rest, &self.check.expect_body);
        self.part = Part::Body(body);
        decided
    }
}

/// True for the head of SETTINGS, which a server of HTTP/2 says first (RFC 9113 3.4).
fn begins_http2(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, _, 4, 0, 0, 0, 0, 0, ..])
}

fn bad(NoHead: NoHead) -> ProbeFault {
    ProbeFault::BadResponse
}

fn verb(check: &HttpCheck) -> Verb {
    if check.method == "HEAD" { Verb::Head } else { Verb::Safe }
}

/// A body that must hold a text.
struct Body {
    status: u16,
    length: BodyLength,
    chunks: ChunkDecoder,
    trailers: Vec<u8>,
    /// What has come of it, decoded.
    text: Vec<u8>,
}

impl Body {
    fn read(&mut self, news: &[u8], wanted: &str) -> Result<Option<u16>, ProbeFault> {
        // The text may begin in what came before.
        let seam = (self.text.len() + 1).saturating_sub(wanted.len());
        let ended = self.decode(news)?;
        if memmem::find(&self.text[seam..], wanted.as_bytes()).is_some() {
            return Ok(Some(self.status));
        }
        if ended { Err(ProbeFault::Body) } else { Ok(None) }
    }

    /// Appends what is body. True if that was its end.
    fn decode(&mut self, news: &[u8]) -> Result<bool, ProbeFault> {
        match self.length {
            BodyLength::None => Ok(true),
            BodyLength::UntilClose => {
                self.text.extend_from_slice(news);
                Ok(false)
            }
            BodyLength::Fixed(length) => {
                let missing = length.saturating_sub(self.text.len() as u64);
                let most = usize::try_from(missing).unwrap_or(usize::MAX).min(news.len());
                self.text.extend_from_slice(&news[..most]);
                Ok(self.text.len() as u64 >= length)
            }
            BodyLength::Chunked => self.decode_chunks(news),
        }
    }

    fn decode_chunks(&mut self, news: &[u8]) -> Result<bool, ProbeFault> {
        let mut pos = 0;
        loop {
            let step = self.chunks.step(news, &mut pos, &mut self.trailers);
            match step.map_err(|_| ProbeFault::BadResponse)? {
                ChunkStep::Data(range) => self.text.extend_from_slice(&news[range]),
                ChunkStep::NeedMore => return Ok(false),
                ChunkStep::End => return Ok(true),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, expect_body: &str) -> HttpCheck {
        HttpCheck {
            path: "/".to_owned(),
            method: method.to_owned(),
            host: String::new(),
            expect_status: vec![200..=299],
            expect_body: expect_body.to_owned(),
            by_default: false,
        }
    }

    /// What a probe makes of bytes that come in pieces of this size, and then of the end.
    fn judge(check: &HttpCheck, bytes: &[u8], piece: usize) -> Result<u16, ProbeFault> {
        let mut answer = Answer::new(check);
        for piece in bytes.chunks(piece) {
            let fits = &piece[..piece.len().min(answer.room())];
            if let Some(status) = answer.read(fits)? {
                return Ok(status);
            }
            assert_ne!(answer.room(), 0, "a full answer is decided");
        }
        Err(answer.cut())
    }

    fn judge_in_any_pieces(check: &HttpCheck, bytes: &[u8]) -> Result<u16, ProbeFault> {
        let whole = judge(check, bytes, bytes.len());
        for piece in [1, 2, 3, 7] {
            let (shown, verdict) = (bytes.escape_ascii(), judge(check, bytes, piece));
            assert_eq!(verdict, whole, "in pieces of {piece}: {shown}");
        }
        whole
    }

    #[test]
    fn a_status_is_the_first_final_one() {
        let cases = [
            ("HTTP/1.1 200 OK\r\n\r\n", 200),
            ("HTTP/1.0 204 No Content\r\n\r\n", 204),
            ("HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", 302),
            ("HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\n", 503),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 404 No\r\n\r\n", 404),
        ];
        for (text, status) in cases {
            let verdict = judge_in_any_pieces(&check("GET", ""), text.as_bytes());
            assert_eq!(verdict, Ok(status), "{text:?}");
        }
    }

    #[test]
    fn bodies() {
        const FOUND: Result<u16, ProbeFault> = Ok(200);
        const MISSING: Result<u16, ProbeFault> = Err(ProbeFault::Body);
        let chunked = "Transfer-Encoding: chunked\r\n\r\n";
        let cases = [
            ("\r\nall is ready.", "", FOUND),
            ("Content-Length: 13\r\n\r\nall is ready.", "", FOUND),
            (chunked, "6\r\nall is\r\n4;x=y\r\n rea\r\n3\r\ndy.\r\n0\r\n\r\n", FOUND),
            // No need to wait for an end.
            ("Content-Length: 9000\r\n\r\nall is ready.", "", FOUND),
            (chunked, "d\r\nall is ready.", FOUND),
            ("Content-Length: 4\r\n\r\nrea.", "", MISSING),
            ("Content-Length: 0\r\n\r\n", "", MISSING),
            ("\r\nrea.", "", MISSING),
            (chunked, "4\r\nrea.\r\n0\r\n\r\n", MISSING),
            // Neither in the framing, nor in fields, nor behind the end.
            (chunked, "1;ready\r\nx\r\n0\r\nready: ready\r\n\r\n", MISSING),
            ("X: ready\r\nContent-Length: 1\r\n\r\nxready", "", MISSING),
            ("Content-Length: 4\r\n\r\nready", "", MISSING),
        ];
        for (head, body, expected) in cases {
            let text = format!("HTTP/1.1 200 OK\r\n{head}{body}");
            let verdict = judge_in_any_pieces(&check("GET", "ready"), text.as_bytes());
            assert_eq!(verdict, expected, "{text:?}");
        }
        let absent = ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nready"];
        for (text, method) in absent.into_iter().zip(["GET", "HEAD"]) {
            let verdict = judge_in_any_pieces(&check(method, "ready"), text.as_bytes());
            assert_eq!(verdict, MISSING, "{method} {text:?}");
        }
    }

    #[test]
    fn the_body_of_another_status_does_not_matter() {
        let text = b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\n";
        assert_eq!(judge_in_any_pieces(&check("GET", "ready"), text), Ok(503));
    }

    #[test]
    fn what_is_no_answer() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let interim = "HTTP/1.1 103 Hints\r\n\r\n";
        let cases = [
            "SSH-2.0-OpenSSH_9.9\r\n".to_owned(),
            "\0\0\0\0".to_owned(),
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n".to_owned(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".to_owned(),
            format!("{}HTTP/1.1 200 OK\r\n\r\nready", interim.repeat(11)),
            format!("{chunked}zz\r\n"),
            format!("{chunked}3\r\nreally\r\n"),
        ];
        for text in cases {
            let verdict = judge_in_any_pieces(&check("GET", "ready"), text.as_bytes());
            assert_eq!(verdict, Err(ProbeFault::BadResponse), "{text:?}");
        }
        let most = format!("{}HTTP/1.1 200 OK\r\n\r\n", interim.repeat(10));
        assert_eq!(judge_in_any_pieces(&check("GET", ""), most.as_bytes()), Ok(200));
    }

    #[test]
    fn no_more_is_read_than_the_bound() {
        let long = "x".repeat(100 * 1024);
        let head = |value: &str| format!("HTTP/1.1 200 OK\r\nX: {value}\r\n\r\n");
        let cases = [
            (head(&long), Err(ProbeFault::BadResponse)),
            (long.clone(), Err(ProbeFault::BadResponse)),
            (format!("HTTP/1.1 200 OK\r\n\r\n{long}ready"), Err(ProbeFault::Body)),
            (format!("{}ready", head(&long[..MAX_PROBE_RESPONSE - 30])), Ok(200)),
        ];
        for (text, expected) in cases {
            for piece in [1, 1000, 8 * 1024] {
                let verdict = judge(&check("GET", "ready"), text.as_bytes(), piece);
                assert_eq!(verdict, expected, "{:?}", &text[..30]);
            }
        }
    }
}
