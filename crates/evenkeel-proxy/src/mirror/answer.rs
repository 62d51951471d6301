//! The answer to a copy, free of I/O: bytes in, thrown away as they come; what is left is its
//! status, whether it was whole, and what is compared of it.

use crate::final_head::{FinalHead, HeadReader};
use evenkeel_core::chunked::{ChunkDecoder, ChunkStep};
use evenkeel_core::framing::BodyLength;
use evenkeel_core::grpc;
use evenkeel_core::mirror::{BodyWitness, DiffPlan, Heard, HeardHead};
use evenkeel_core::request::Verb;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of an answer that are read.
const MAX_ANSWER_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes that are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoAnswer;

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More must be read.
    More,
    /// It is whole.
    Whole,
    /// It is longer than anybody wants to read.
    Enough,
}

/// An answer as it comes in.
pub(super) struct Answer {
    verb: Verb,
    /// Bytes taken so far.
    pub(super) taken: u64,
    /// Once its final head has come.
    pub(super) status: Option<u16>,
    /// How a gRPC call ended, if it says so.
    pub(super) grpc_status: Option<u8>,
    /// The connection can carry another request.
    pub(super) reusable: bool,
    /// What is kept of it, if it is compared.
    heard: Option<Listening>,
    part: Part,
}

/// What of an answer is compared.
struct Listening {
    plan: Arc<DiffPlan>,
    head: Option<HeardHead>,
    body: BodyWitness,
}

enum Part {
    Head(HeadReader),
    Body(Body),
}

impl Answer {
    /// Of which nothing has come; to a request of this verb. `plan`: what is compared of it.
    pub(super) fn new(verb: Verb, plan: Option<&Arc<DiffPlan>>) -> Answer {
        let part = Part::Head(HeadReader::default());
        let heard = plan.map(|plan| Listening {
            plan: Arc::clone(plan),
            head: None,
            body: BodyWitness::new(plan.body),
        });
        Answer { verb, taken: 0, status: None, grpc_status: None, reusable: false, heard, part }
    }

    /// What is to be compared of it, now that it is whole.
    pub(super) fn heard(&mut self, took: Duration) -> Option<Heard> {
        let listening = self.heard.as_mut()?;
        Some(Heard { head: listening.head.take()?, body: listening.body.end(), took })
    }

    /// Takes the next bytes.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Progress, NoAnswer> {
        self.taken += bytes.len() as u64;
        let progress = match &mut self.part {
            Part::Head(head) => match head.read(bytes, self.verb).map_err(|_| NoAnswer)? {
                Some(last) => self.begin_body(&last)?,
                None => Progress::More,
            },
            Part::Body(body) => {
                let progress = body.read(bytes, &mut self.heard)?;
                self.hear_trailers();
                progress
            }
        };
        if progress == Progress::More && self.taken > MAX_ANSWER_BYTES {
            self.reusable = false;
            return Ok(Progress::Enough);
        }
        Ok(progress)
    }

    /// The backend ended the connection.
    pub(super) fn end(&self) -> Result<Progress, NoAnswer> {
        match &self.part {
            Part::Body(Body { left: BodyLength::UntilClose, .. }) => Ok(Progress::Whole),
            Part::Head(_) | Part::Body(_) => Err(NoAnswer),
        }
    }

    fn begin_body(&mut self, last: &FinalHead) -> Result<Progress, NoAnswer> {
        let (head, bytes) = (&last.head, last.bytes.as_slice());
        self.status = Some(head.status);
        let is_it = |name: &[u8]| name.eq_ignore_ascii_case(b"grpc-status");
        let field = head.fields.iter().find(|field| is_it(field.name.of_buf(bytes)));
        self.grpc_status = field.and_then(|it| grpc::parse_status(it.value.of_buf(bytes)));
        if let Some(heard) = &mut self.heard {
            heard.head = Some(HeardHead::of(&heard.plan, head, bytes));
        }
        self.reusable = head.reusable && head.body != BodyLength::UntilClose;
        let mut body = Body {
            left: head.body,
            chunks: ChunkDecoder::default(),
            trailers: Vec::new(),
            excess: false,
        };
        let progress = body.read(&last.rest, &mut self.heard)?;
        self.part = Part::Body(body);
        self.hear_trailers();
        Ok(progress)
    }

    fn hear_trailers(&mut self) {
        let Part::Body(body) = &self.part else { return };
        self.reusable &= !body.excess;
        if !body.trailers.is_empty() {
            self.grpc_status = grpc::status_of_trailers(&body.trailers).or(self.grpc_status);
        }
    }
}

struct Body {
    left: BodyLength,
    chunks: ChunkDecoder,
    trailers: Vec<u8>,
    /// Bytes came after its end.
    excess: bool,
}

impl Body {
    fn read(&mut self, news: &[u8], heard: &mut Option<Listening>) -> Result<Progress, NoAnswer> {
        let mut listen = |bytes: &[u8]| {
            if let Some(heard) = heard {
                heard.body.take(bytes);
            }
        };
        match &mut self.left {
            BodyLength::UntilClose => {
                listen(news);
                Ok(Progress::More)
            }
            BodyLength::None => {
                self.excess = !news.is_empty();
                Ok(Progress::Whole)
            }
            BodyLength::Fixed(left) => {
                self.excess = news.len() as u64 > *left;
                listen(&news[..usize::try_from(*left).unwrap_or(usize::MAX).min(news.len())]);
                *left = left.saturating_sub(news.len() as u64);
                Ok(if *left == 0 { Progress::Whole } else { Progress::More })
            }
            BodyLength::Chunked => self.read_chunks(news, listen),
        }
    }

    fn read_chunks(
        &mut self,
        news: &[u8],
        mut listen: impl FnMut(&[u8]),
    ) -> Result<Progress, NoAnswer> {
        let mut pos = 0;
        loop {
            match self.chunks.step(news, &mut pos, &mut self.trailers).map_err(|_| NoAnswer)? {
                ChunkStep::Data(range) => listen(&news[range]),
                ChunkStep::NeedMore => return Ok(Progress::More),
                ChunkStep::End => {
                    self.excess = pos < news.len();
                    return Ok(Progress::Whole);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Result<Progress, NoAnswer> = Err(NoAnswer);
    const WHOLE: Result<Progress, NoAnswer> = Ok(Progress::Whole);

    /// What becomes of bytes that come in pieces of this size, and then of the end.
    fn read(bytes: &[u8], verb: Verb, piece: usize) -> (Result<Progress, NoAnswer>, Answer) {
        let mut answer = Answer::new(verb, None);
        for piece in bytes.chunks(piece) {
            match answer.read(piece) {
                Ok(Progress::More) => {}
                ended => return (ended, answer),
            }
        }
        (answer.end(), answer)
    }

    #[test]
    fn answers() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let cases = [
            ("HTTP/1.1 204 No Content\r\n\r\n", Verb::Safe, WHOLE, Some(204), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Verb::Safe, WHOLE, Some(200), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", Verb::Head, WHOLE, Some(200), true),
            ("HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nok", Verb::Safe, BAD, Some(500), true),
            ("HTTP/1.1 200 OK\r\n\r\nto the end", Verb::Safe, WHOLE, Some(200), false),
            (
                "HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
                Verb::Once,
                WHOLE,
                Some(404),
                true,
            ),
            (&format!("{chunked}2\r\nok\r\n0\r\n\r\n"), Verb::Safe, WHOLE, Some(200), true),
            (&format!("{chunked}2\r\nok\r\n"), Verb::Safe, BAD, Some(200), true),
            (&format!("{chunked}no\r\n"), Verb::Safe, BAD, Some(200), true),
            ("garbage\r\n\r\n", Verb::Safe, BAD, None, false),
            ("", Verb::Safe, BAD, None, false),
        ];
        for (text, verb, ended, status, reusable) in cases {
            for piece in [1, 3, text.len().max(1)] {
                let (found, answer) = read(text.as_bytes(), verb, piece);
                assert_eq!((found, answer.status), (ended, status), "{text:?} by {piece}");
                if found.is_ok() {
                    assert_eq!(answer.reusable, reusable, "{text:?} by {piece}");
                }
            }
        }
    }

    #[test]
    fn what_follows_an_answer_spoils_its_connection() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!";
        assert!(!read(text.as_bytes(), Verb::Safe, text.len()).1.reusable);
    }

    #[test]
    fn an_endless_body_is_left() {
        let mut answer = Answer::new(Verb::Safe, None);
        assert_eq!(answer.read(b"HTTP/1.1 200 OK\r\n\r\n"), Ok(Progress::More));
        let piece = vec![b'x'; 1024 * 1024];
        let pieces = (0..).take_while(|_| answer.read(&piece) == Ok(Progress::More)).count() as u64;
        assert_eq!(pieces, MAX_ANSWER_BYTES / piece.len() as u64 - 1);
        assert!(!answer.reusable);
    }

    #[test]
    fn what_is_compared_is_the_decoded_body() {
        use evenkeel_core::mirror::{BodyDiff, BodySeen};
        let plan = Arc::new(DiffPlan {
            status: true,
            headers: vec!["x".to_owned()],
            body: BodyDiff::Json,
            ignore: Vec::new(),
            samples: 1,
        });
        let answers = [
            "HTTP/1.1 200 OK\r\nX: 1\r\nTransfer-Encoding: chunked\r\n\r\n\
             1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 2\r\n\r\nok excess",
            "HTTP/1.1 200 OK\r\nX: 1\r\n\r\nok",
        ];
        for text in answers {
            for piece in [1, 4, text.len()] {
                let mut answer = Answer::new(Verb::Safe, Some(&plan));
                let mut pieces = text.as_bytes().chunks(piece);
                while pieces.next().is_some_and(|it| answer.read(it) == Ok(Progress::More)) {}
                let heard = answer.heard(Duration::ZERO).expect("a head");
                assert_eq!((heard.head.status, &heard.head.headers[0]), (200, &Some("1".into())));
                assert_eq!(heard.body, BodySeen::Kept(b"ok".to_vec()), "{text:?} by {piece}");
            }
        }
    }

    #[test]
    fn the_end_of_a_call_is_heard() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (text, status) in [
            (format!("{head}2\r\nok\r\n0\r\ngrpc-status:14\r\n\r\n"), Some(14)),
            (format!("{head}2\r\nok\r\n0\r\n\r\n"), None),
            ("HTTP/1.1 200 OK\r\ngrpc-status: 5\r\nContent-Length: 0\r\n\r\n".to_owned(), Some(5)),
        ] {
            assert_eq!(read(text.as_bytes(), Verb::Once, 7).1.grpc_status, status, "{text:?}");
        }
    }
}
