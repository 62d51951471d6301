//! A scripted client: writes by its plan while it reads what comes, and judges every response.

use super::inbox::{self, Fault, Framing, Head, Inbox};
use super::jar::Jar;
use super::journal::{Outcome, SessionUse, Stage};
use super::world::{Body, Client, Leave, Method, Request, listener_address};
use crate::memory::ScriptStream;
use evenkeel_core::failure::Failure;
use evenkeel_core::proxy_protocol::{self, TlsTold, Told};
use evenkeel_proxy::net::Peek;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// A client that waits longer for a response has found a hang.
pub(super) const PATIENCE: Duration = Duration::from_secs(240);
/// Longest wait for a connection.
pub(super) const DIAL_PATIENCE: Duration = Duration::from_secs(20);
/// How long a connection is watched for bytes that nobody asked for.
const AFTERMATH: Duration = Duration::from_secs(3);
/// Interim responses of one exchange.
const MAX_INTERIM: usize = 20;

/// Plays one client to its end.
pub(super) async fn play(stage: Rc<Stage>, plan: Client, number: usize) {
    sleep(Duration::from_millis(plan.start_ms)).await;
    let own = address_of(number);
    let jar = Jar::of(&plan);
    let mut next = 0;
    while next < plan.requests.len() {
        let end = if plan.fresh { next + 1 } else { plan.requests.len() };
        let requests = &plan.requests[next..end];
        let to = listener_address(plan.listener);
        let dialled = timeout(DIAL_PATIENCE, stage.net.dial(own, to)).await;
        let Ok(Ok(stream)) = dialled else {
            stage.settle(&requests[0].id, Outcome::Unsent("not connected".to_owned()));
            next += 1;
            continue;
        };
        let stream = ScriptStream::new(stream);
        if let Some(header) = opening(&plan, to)
            && stream.write_all(&header).await.is_err()
        {
            stage.settle(&requests[0].id, Outcome::Unsent("the connection broke".to_owned()));
            next += 1;
            continue;
        }
        let connection = Connection {
            stage: &stage,
            plan: &plan,
            jar: &jar,
            requests,
            stream,
            ties: RefCell::default(),
            started: Cell::default(),
            ended: Cell::default(),
            over: Cell::default(),
            written: Cell::default(),
            left: Cell::default(),
            reader: Notify::new(),
            writer: Notify::new(),
        };
        let ((), settled) = tokio::join!(connection.write(), connection.read());
        let started = connection.started.get();
        for request in &requests[settled..started] {
            let left = connection.left.get();
            let broken = Outcome::Broken("the connection ended before its turn".to_owned());
            stage.settle(&request.id, if left { Outcome::Left } else { broken });
        }
        if started == 0 {
            stage.settle(&requests[0].id, Outcome::Unsent("the connection ended".to_owned()));
        }
        next += started.max(1);
    }
}

/// Where a client calls from.
pub(super) fn address_of(number: usize) -> SocketAddr {
    let last = u8::try_from(number + 1).unwrap_or(u8::MAX);
    SocketAddr::from(([10, 2, 0, last], 0))
}

/// What stands before everything on a connection: a PROXY header, if a proxy is between.
pub(super) fn opening(plan: &Client, to: SocketAddr) -> Option<Vec<u8>> {
    let told = Told::Client { source: plan.behind?, destination: to };
    let mut header = Vec::new();
    if plan.fresh {
        proxy_protocol::write_v1(&told, &mut header);
    } else {
        proxy_protocol::write_v2(&told, &TlsTold::default(), &mut header);
    }
    Some(header)
}

struct Connection<'a> {
    stage: &'a Stage,
    plan: &'a Client,
    jar: &'a Jar,
    requests: &'a [Request],
    stream: ScriptStream,
    /// Whom the cookie of each request that was begun names.
    ties: RefCell<Vec<Option<SocketAddr>>>,
    /// Requests of which something was written.
    started: Cell<usize>,
    /// Requests that have their response.
    ended: Cell<usize>,
    /// Nothing more is to be written.
    over: Cell<bool>,
    /// Nothing more will be written.
    written: Cell<bool>,
    /// The client has left in the middle.
    left: Cell<bool>,
    reader: Notify,
    writer: Notify,
}

/// A whole response.
struct Answer {
    status: u16,
    local: bool,
    persistent: bool,
}

impl Connection<'_> {
    async fn write(&self) {
        for (index, request) in self.requests.iter().enumerate() {
            while !self.over.get() && index >= self.ended.get() + self.plan.window {
                self.writer.notified().await;
            }
            sleep(Duration::from_millis(request.think_ms)).await;
            if self.over.get() || (index == self.ended.get() && !self.is_quiet()) {
                break;
            }
            self.started.set(index + 1);
            let tie = self.jar.tie(request);
            self.ties.borrow_mut().push(tie);
            let named = tie.map(|backend| (request.id.clone(), backend));
            self.stage.journal.borrow_mut().ties.extend(named);
            self.reader.notify_one();
            let method = request.method.name();
            self.stage.note(&format!("client: {} {method} {:?}", request.id, request.body));
            if !self.send(request).await {
                break;
            }
        }
        let all = self.started.get() == self.requests.len();
        if self.plan.half_closes && all && !self.over.get() {
            self.stream.shutdown().await;
        }
        self.written.set(true);
        self.reader.notify_one();
    }

    /// Nothing is outstanding, so nothing may have come.
    fn is_quiet(&self) -> bool {
        let seen = self.stream.peek();
        if seen == Peek::Bytes {
            self.stage.breach("I2: bytes for a client that waits for nothing");
        }
        seen == Peek::Nothing
    }

    /// False if this was the last thing that is sent.
    async fn send(&self, request: &Request) -> bool {
        let bytes = encode(request, &self.jar.line(request));
        let share = request.leaves.map_or(100, |(_, percent)| usize::from(percent));
        for piece in bytes[..bytes.len() * share / 100].chunks(request.piece.max(1)) {
            if self.over.get() || self.stream.write_all(piece).await.is_err() {
                return false;
            }
            if request.pause_ms > 0 {
                sleep(Duration::from_millis(request.pause_ms)).await;
            }
        }
        let Some((how, _)) = request.leaves else { return true };
        self.stage.note(&format!("client: {} leaves at {share} %: {how:?}", request.id));
        match how {
            Leave::Reset | Leave::Close if self.over.get() => {}
            Leave::Reset => {
                self.left.set(true);
                self.stream.reset();
            }
            Leave::Close => {
                self.left.set(true);
                self.stream.close();
            }
            Leave::HalfClose => self.stream.shutdown().await,
        }
        false
    }

    /// Returns how many requests it has settled.
    async fn read(&self) -> usize {
        let mut inbox = Inbox::new(self.stream.clone());
        let mut settled = 0;
        for (index, request) in self.requests.iter().enumerate() {
            while self.started.get() <= index && !self.written.get() {
                self.reader.notified().await;
            }
            if self.started.get() <= index {
                break;
            }
            let outcome = timeout(PATIENCE, self.read_answer(&mut inbox, index)).await;
            settled = index + 1;
            if !self.judge(&inbox, request, outcome.ok()) {
                break;
            }
            self.ended.set(settled);
            self.writer.notify_one();
        }
        self.over.set(true);
        self.writer.notify_one();
        self.watch_aftermath(&mut inbox, settled).await;
        self.stream.close();
        settled
    }

    /// Settles a request; true if the connection stays.
    fn judge(
        &self,
        inbox: &Inbox,
        request: &Request,
        outcome: Option<Result<Answer, Fault>>,
    ) -> bool {
        let (outcome, stays) = match outcome {
            Some(Ok(answer)) => {
                let (status, local) = (answer.status, answer.local);
                let at = self.stage.net.elapsed();
                (Outcome::Answered { status, local, at }, answer.persistent)
            }
            Some(Err(_)) if self.left.get() => (Outcome::Left, false),
            Some(Err(fault)) => {
                if let Fault::Malformed(what) = &fault {
                    self.stage.breach(&format!("{}: response is not HTTP: {what}", request.id));
                }
                (Outcome::Broken(format!("{fault:?}")), false)
            }
            None => {
                self.stage.breach(&format!("I1: {} hangs", request.id));
                (Outcome::Broken("hangs".to_owned()), false)
            }
        };
        self.stage.settle(&request.id, outcome);
        let outstanding = self.started.get() > self.ended.get() + 1;
        if !inbox.rest().is_empty() && stays && !outstanding {
            self.stage.breach(&format!("I2: bytes behind the response to {}", request.id));
        }
        stays
    }

    /// Behind the last response nothing may come.
    async fn watch_aftermath(&self, inbox: &mut Inbox, settled: usize) {
        let fine = self.ended.get() == settled || inbox.rest().is_empty();
        let outstanding = self.started.get() > settled && self.ended.get() == settled;
        if self.left.get() || outstanding || !fine {
            return;
        }
        let more = timeout(AFTERMATH, inbox.fill()).await;
        if matches!(more, Ok(Ok(()))) {
            let shown: String = inbox.rest().iter().take(80).map(|b| char::from(*b)).collect();
            self.stage.breach(&format!("I2: bytes behind the last response: {shown:?}"));
        }
    }

    async fn read_answer(&self, inbox: &mut Inbox, index: usize) -> Result<Answer, Fault> {
        let request = &self.requests[index];
        let mut interim = 0;
        let (head, status) = loop {
            let head = inbox.head().await?;
            match head.status()? {
                status @ 100..=199 => {
                    interim += 1;
                    let wanted = status == 103 || (status == 100 && request.expects);
                    if !wanted || request.http10 || interim > MAX_INTERIM {
                        self.stage.breach(&format!("{}: interim {status}", request.id));
                    }
                }
                status => break (head, status),
            }
        };
        let stated = head.framing()?;
        let bodiless = request.method == Method::Head || matches!(status, 204 | 304);
        let framing =
            if bodiless { Framing::Nothing } else { stated.unwrap_or(Framing::UntilClose) };
        if stated == Some(Framing::Chunked) && request.http10 {
            self.stage.breach(&format!("{}: chunked for HTTP/1.0", request.id));
        }
        let body = inbox.body(framing).await?;
        let connection = head.value("connection").unwrap_or_default();
        let stays = connection == "keep-alive" || (connection != "close" && !request.http10);
        if stays && request.closes {
            self.stage.breach(&format!("{}: the response does not say close", request.id));
        }
        let local = check_origin(self.stage, request, &head, (status, &body));
        let tied = self.ties.borrow()[index];
        note_session((self.stage, self.jar), request, tied, &head);
        check_refusal(self.stage, request, &head, (status, local));
        Ok(Answer { status, local, persistent: stays && framing != Framing::UntilClose })
    }
}

/// What the response says of the session.
pub(super) fn note_session(
    (stage, jar): (&Stage, &Jar),
    request: &Request,
    tied: Option<SocketAddr>,
    head: &Head,
) {
    let backend = head.value("x-backend").and_then(|text| text.parse().ok());
    let set = head.value("set-cookie");
    let Some(backend) = backend else {
        if set.is_some() {
            stage.breach(&format!("{}: a local reply sets a cookie", request.id));
        }
        return;
    };
    let renewed = set.is_some_and(|set| jar.take(request.pool, &set, backend));
    let (id, at) = (request.id.clone(), stage.net.elapsed());
    stage.journal.borrow_mut().sessions.push(SessionUse { id, tied, backend, renewed, at });
}

/// A local reply that asks to wait says how long.
pub(super) fn check_refusal(
    stage: &Stage,
    request: &Request,
    head: &Head,
    (status, local): (u16, bool),
) {
    if local && matches!(status, 429 | 503) && head.number("retry-after").unwrap_or(0) == 0 {
        stage.breach(&format!("{}: a local {status} without Retry-After", request.id));
    }
}

/// Whose response it is, and whether all of it came. True if it is the proxy's own.
pub(super) fn check_origin(
    stage: &Stage,
    request: &Request,
    head: &Head,
    (status, body): (u16, &[u8]),
) -> bool {
    let id = &request.id;
    let Some(echo) = head.value("x-echo-id") else {
        if !Failure::ALL.iter().any(|failure| failure.status() == status) {
            stage.breach(&format!("{id}: {status} is nobody's status"));
        }
        return true;
    };
    if echo != *id {
        stage.breach(&format!("I2: {id} got the response to {echo}"));
    }
    let bodiless = request.method == Method::Head || matches!(status, 204 | 304);
    if !bodiless && head.number("x-body-hash") != Some(inbox::hash(body)) {
        let length = body.len();
        stage.breach(&format!("I5, I6: {id}: clean end of {length} bytes that are not the body"));
    }
    false
}

/// All bytes of a request; `cookies` is a whole line.
fn encode(request: &Request, cookies: &str) -> Vec<u8> {
    let length = match request.body {
        Body::Nothing => 0,
        Body::Length(length) | Body::Chunked(length, _) => length,
    };
    let body = inbox::body_of(&request.id, length);
    let version = if request.http10 { "1.0" } else { "1.1" };
    let (method, pool, id) = (request.method.name(), request.pool, &request.id);
    let hash = inbox::hash(&body);
    let mut head = format!(
        "{method} /p{pool}/{id} HTTP/{version}\r\nHost: sim.test\r\nX-Sim-Id: {id}\r\n\
         X-Sim-Hash: {hash}\r\n{cookies}"
    );
    match (request.closes, request.http10) {
        (true, _) => head.push_str("Connection: close\r\n"),
        (false, true) => head.push_str("Connection: keep-alive\r\n"),
        (false, false) => {}
    }
    if request.expects {
        head.push_str("Expect: 100-continue\r\n");
    }
    let (framing, body) = match request.body {
        Body::Nothing => (String::new(), Vec::new()),
        Body::Length(length) => (format!("Content-Length: {length}\r\n"), body),
        Body::Chunked(_, most) => {
            ("Transfer-Encoding: chunked\r\n".to_owned(), chunked(&body, most))
        }
    };
    let mut bytes = format!("{head}{framing}\r\n").into_bytes();
    bytes.extend(body);
    bytes
}

/// A body in chunks of at most so many bytes, its end included.
pub(super) fn chunked(body: &[u8], most: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(most.max(1)) {
        out.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}
