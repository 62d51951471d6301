//! The place where cases are fought out: one proxy before one backend, and the rules that hold
//! after every case.

use evenkeel_testkit::backend::{Backend, Gate, Mark, OK, whole_requests};
use evenkeel_testkit::client::Client;
use evenkeel_testkit::message::{self, Kind, Message, Reading};
use evenkeel_testkit::plan::PlanBuilder;
use evenkeel_testkit::proxy::Proxy;
use evenkeel_testkit::wire::Ending;
use std::cell::Cell;

/// The request that must work after whatever came before.
pub(crate) const GOOD: &str = "GET /good HTTP/1.1\r\nHost: x\r\n\r\n";

/// Status and code of a local reply.
pub(crate) type Refusal = (u16, &'static str);
pub(crate) const BAD_REQUEST: Refusal = (400, "bad_request");
pub(crate) const DENIED: Refusal = (403, "denied");
pub(crate) const NO_ROUTE: Refusal = (404, "no_route");
pub(crate) const METHOD_REFUSED: Refusal = (405, "method_refused");
pub(crate) const BODY_TOO_LARGE: Refusal = (413, "body_too_large");
pub(crate) const URI_TOO_LONG: Refusal = (414, "uri_too_long");
pub(crate) const EXPECTATION_FAILED: Refusal = (417, "expectation_failed");
pub(crate) const HEAD_TOO_LARGE: Refusal = (431, "head_too_large");
pub(crate) const CONNECT_FAILURE: Refusal = (502, "connect_failure");
pub(crate) const RESET: Refusal = (502, "reset");
pub(crate) const BAD_RESPONSE: Refusal = (502, "bad_response");
pub(crate) const NO_BACKEND: Refusal = (503, "no_backend");
pub(crate) const RESPONSE_TIMEOUT: Refusal = (504, "response_timeout");

/// Pieces that something is sent in.
const MAX_PIECES: usize = 2_000;

/// What a check found.
pub(crate) type Verdict = Result<(), String>;

/// `Err` with the text unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err(format!($($text)*));
        }
    };
}
pub(crate) use ensure;

/// Runs every case and reports all that failed, by name.
pub(crate) fn each<'a, C>(
    cases: impl IntoIterator<Item = (&'a str, C)>,
    check: impl Fn(&C) -> Verdict,
) {
    let wrong: Vec<_> = cases
        .into_iter()
        .filter_map(|(name, case)| check(&case).err().map(|why| format!("  {name}: {why}")))
        .collect();
    assert!(wrong.is_empty(), "{} cases went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A proxy before a backend.
pub(crate) struct Arena {
    pub(crate) proxy: Proxy,
    pub(crate) backend: Backend,
    /// Final responses that clients got.
    answers: Cell<usize>,
}

impl Arena {
    /// Before a backend that answers 200 to everything.
    pub(crate) fn new() -> Arena {
        Arena::with(|plan| plan)
    }

    /// The same, with another plan.
    pub(crate) fn with(adjust: impl FnOnce(PlanBuilder) -> PlanBuilder) -> Arena {
        Arena::before(Backend::answering(OK), adjust)
    }

    /// Before a chosen backend.
    pub(crate) fn before(
        backend: Backend,
        adjust: impl FnOnce(PlanBuilder) -> PlanBuilder,
    ) -> Arena {
        let plan = adjust(PlanBuilder::to(&[backend.address()])).build();
        Arena { proxy: Proxy::start(&plan), backend, answers: Cell::new(0) }
    }

    pub(crate) fn connect(&self) -> Client {
        self.proxy.connect()
    }

    /// Counts a final response that a test got by itself.
    pub(crate) fn count_answers(&self, count: usize) {
        self.answers.set(self.answers.get() + count);
    }

    /// The next final response; counted.
    pub(crate) fn answer(&self, client: &mut Client) -> Result<Message, String> {
        let response = client.final_response().map_err(|none| format!("{none:?}"))?;
        self.count_answers(1);
        Ok(response)
    }

    /// The bytes get this local reply and then the end of the connection; no byte of them reaches
    /// the backend. Sent whole, and byte by byte.
    pub(crate) fn refuses(&self, bytes: &[u8], refusal: Refusal) -> Verdict {
        for size in [bytes.len(), small_piece(bytes)] {
            let mark = self.backend.mark();
            let mut client = self.connect();
            send_in_slices(&mut client, bytes, size);
            self.is_refused_for_good(&mut client, refusal)?;
            let seen = self.after(&mark)?;
            ensure!(seen.is_empty(), "the backend saw {}", shown(&seen));
        }
        Ok(())
    }

    /// As `refuses`, but for bodies that go wrong on the way: the head may have reached the
    /// backend, never a whole request.
    pub(crate) fn aborts(&self, bytes: &[u8], refusal: Refusal) -> Verdict {
        for size in [bytes.len(), small_piece(bytes)] {
            let mark = self.backend.mark();
            let mut client = self.connect();
            send_in_slices(&mut client, bytes, size);
            self.is_refused_for_good(&mut client, refusal)?;
            let seen = self.after(&mark)?;
            let whole: Vec<_> = seen.iter().flat_map(|bytes| whole_requests(bytes)).collect();
            ensure!(whole.is_empty(), "the backend saw {}", shown(&seen));
        }
        Ok(())
    }

    /// The bytes are one request that gets 200, and the backend sees exactly these lines and body.
    pub(crate) fn forwards(&self, bytes: &[u8], shape: &[String], body: &[u8]) -> Verdict {
        for size in [bytes.len(), small_piece(bytes)] {
            let mark = self.backend.mark();
            let mut client = self.connect();
            send_in_slices(&mut client, bytes, size);
            let response = self.answer(&mut client)?;
            ensure!(response.status() == 200, "got {}", response.start_line);
            let seen = self.after(&mark)?;
            let [only] = seen.as_slice() else { return Err(format!("saw {}", shown(&seen))) };
            let requests = whole_requests(only);
            let [request] = requests.as_slice() else { return Err(format!("saw {requests:?}")) };
            ensure!(request.shape() == shape, "saw {:#?}, not {shape:#?}", request.shape());
            ensure!(request.body == body, "saw body {:?}", request.text());
        }
        Ok(())
    }

    /// The client gets this refusal, once, and then an orderly end.
    pub(crate) fn is_refused_for_good(&self, client: &mut Client, refusal: Refusal) -> Verdict {
        let response = self.answer(client)?;
        is_refusal(&response, refusal)?;
        let close = response.value("connection");
        ensure!(close == Some("close"), "Connection: {close:?}");
        let (more, ending) = client.read_to_close();
        ensure!(more.is_empty(), "and then {}", more.escape_ascii());
        ensure!(ending == Ending::Fin, "ended by {ending:?}");
        Ok(())
    }

    /// What must hold after every case: the next good request on a fresh connection gets 200, and
    /// the backend saw at most as many requests as clients got responses. Gives what the backend
    /// saw since the mark, per connection, without that good request.
    pub(crate) fn after(&self, mark: &Mark) -> Result<Vec<Vec<u8>>, String> {
        let mut client = self.connect();
        client.send(GOOD);
        let good =
            self.answer(&mut client).map_err(|why| format!("a good request after: {why}"))?;
        ensure!(good.status() == 200, "a good request after: {}", good.start_line);
        let requests = self.backend.requests().len();
        let answers = self.answers.get();
        ensure!(requests <= answers, "{requests} requests for {answers} responses");
        let mut seen = self.backend.bytes_since(mark);
        seen.iter_mut().for_each(drop_good_requests);
        seen.retain(|bytes| !bytes.is_empty());
        Ok(seen)
    }

    /// `after`, for tests that look at the backend themselves.
    pub(crate) fn settles(&self) {
        let mark = self.backend.mark();
        if let Err(why) = self.after(&mark) {
            panic!("{why}");
        }
    }
}

/// Leaves what is not a whole good request.
fn drop_good_requests(bytes: &mut Vec<u8>) {
    let mut at = 0;
    while let Ok(Reading::Whole(request, used)) = message::read(&bytes[at..], Kind::Request) {
        if request.target() == "/good" {
            bytes.drain(at..at + used);
        } else {
            at += used;
        }
    }
}

/// Byte by byte; long ones in so many pieces that a head is whole before its deadline on a machine
/// that does ten other things.
fn small_piece(bytes: &[u8]) -> usize {
    bytes.len().div_ceil(MAX_PIECES)
}

/// Sends as much as the proxy takes: it may have heard enough.
fn send_in_slices(client: &mut Client, bytes: &[u8], size: usize) {
    for piece in bytes.chunks(size.max(1)) {
        if client.try_send(piece).is_err() {
            return;
        }
        std::thread::yield_now();
    }
}

/// The response is our own, with this status and code.
pub(crate) fn is_refusal(response: &Message, (status, code): Refusal) -> Verdict {
    let got = &response.start_line;
    ensure!(response.status() == status, "got {got} {:?}", response.text());
    let body: serde_json::Value =
        serde_json::from_slice(&response.body).map_err(|e| format!("{got}: body: {e}"))?;
    ensure!(body["error"] == code, "got {body}");
    let id = body["request_id"].as_str().unwrap_or("");
    ensure!(!id.is_empty() && body["message"].is_string(), "got {body}");
    let retry = response.value("retry-after").is_some();
    ensure!(retry == matches!(status, 429 | 503), "Retry-After: {retry}");
    Ok(())
}

fn shown(seen: &[Vec<u8>]) -> String {
    let texts: Vec<_> = seen.iter().map(|bytes| bytes.escape_ascii().to_string()).collect();
    texts.join(" | ")
}

/// What the backend sees of a request for `Host: x`: our own fields, and these.
pub(crate) fn forwarded(start_line: &str, fields: &[&str]) -> Vec<String> {
    forwarded_for("x", start_line, fields)
}

/// The same for another host.
pub(crate) fn forwarded_for(host: &str, start_line: &str, fields: &[&str]) -> Vec<String> {
    let mut lines: Vec<_> = fields.iter().map(|field| (*field).to_owned()).collect();
    lines.extend([
        format!("host: {host}"),
        "via: *".to_owned(),
        "x-forwarded-for: 127.0.0.1".to_owned(),
        format!("x-forwarded-host: {host}"),
        "x-forwarded-proto: http".to_owned(),
        "x-request-id: *".to_owned(),
    ]);
    lines.sort_unstable();
    lines.insert(0, start_line.to_owned());
    lines
}

/// Answers `/slow` when the gate opens, the rest at once.
pub(crate) fn gated(gate: &Gate) -> Backend {
    let gate = gate.clone();
    Backend::by_request(move |request| {
        if request.target() == "/slow" {
            gate.wait();
        }
        OK.to_vec()
    })
}
