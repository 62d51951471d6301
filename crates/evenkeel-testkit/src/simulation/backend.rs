//! A connection to a scripted backend: reads requests strictly, and answers as the backend's
//! manners and mood have it.

use super::inbox::{self, Fault, Framing, Head, Inbox};
use super::jar::FOREIGN;
use super::journal::{Errand, Stage};
use super::mood::Temper;
use super::response::Response;
use super::world::{Backend, COOKIE, HEALTH_PATH, Manners, Mood};
use crate::memory::{ScriptStream, chance};
use evenkeel_proxy::net::Peek;
use fastrand::Rng;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long a backend that closes waits for the other side to do so too.
const LINGER: Duration = Duration::from_secs(1);
/// What is no response.
const GARBAGE: &[&[u8]] = &[
    b"SSH-2.0-OpenSSH_9.9\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\n bait: 1\r\n\r\n",
    b"\0\0\0\0\0\0\0\0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nbait",
];

/// What is done about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Answer,
    AnswerEarly,
    Silence,
    Break,
    CutHead,
    CutBody,
    BadChunk,
    Garbage,
}

/// What goes wrong in some way.
const WRONG: &[Turn] =
    &[Turn::Silence, Turn::Break, Turn::CutHead, Turn::CutBody, Turn::BadChunk, Turn::Garbage];
/// What follows the first lines of a response whose body breaks its own framing.
const BAD_CHUNK: &str = "Transfer-Encoding: chunked\r\n\r\n4\r\nbait\r\nzz\r\n";

/// One connection to a backend.
pub(super) struct Connection {
    stage: Rc<Stage>,
    plan: Rc<Backend>,
    temper: Rc<Temper>,
    inbox: Inbox,
    stream: ScriptStream,
    rng: Rng,
    /// Ids of its requests, in order.
    seen: Vec<String>,
}

impl Connection {
    pub(super) fn new(
        stage: &Rc<Stage>,
        plan: &Rc<Backend>,
        temper: &Rc<Temper>,
        (stream, rng): (ScriptStream, Rng),
    ) -> Connection {
        Connection {
            stage: Rc::clone(stage),
            plan: Rc::clone(plan),
            temper: Rc::clone(temper),
            inbox: Inbox::new(stream.clone()),
            stream,
            rng,
            seen: Vec::new(),
        }
    }

    pub(super) async fn serve(mut self) {
        let hasty = self.plan.manners.hasty;
        if chance(&mut self.rng, hasty) {
            return self.answer_line().await;
        }
        let mut served = 0;
        while let Some(head) = self.next_head(served).await {
            served += 1;
            if !self.exchange(&head).await {
                return;
            }
        }
    }

    fn manners(&self) -> &Manners {
        &self.plan.manners
    }

    fn note(&self, text: &str) {
        self.stage.note(&format!("backend {}: {text}", self.plan.address));
    }

    /// Answers as soon as the request line is there, then closes.
    async fn answer_line(&mut self) {
        let line = loop {
            if let Some(end) = self.inbox.rest().windows(2).position(|window| window == b"\r\n") {
                break String::from_utf8_lossy(&self.inbox.rest()[..end]).into_owned();
            }
            if self.inbox.fill().await.is_err() {
                return;
            }
        };
        let target = line.split(' ').nth(1).unwrap_or_default();
        let id = target.rsplit('/').next().unwrap_or_default().to_owned();
        self.note(&format!("{id}: hasty answer"));
        if target == HEALTH_PATH {
            return;
        }
        self.stage.sight(&id, self.plan.address);
        let response = self.respond(&id, line.starts_with("HEAD "));
        if self.answer(&response, &id).await {
            let _ = timeout(LINGER, async { while self.inbox.fill().await.is_ok() {} }).await;
        }
    }

    /// The next request's head, unless either side closes first.
    async fn next_head(&mut self, served: u32) -> Option<Head> {
        let idle = self.manners().idle_close_ms.clone().filter(|_| served > 0);
        let head = match idle.map(|range| Duration::from_millis(self.rng.u64(range))) {
            None => self.inbox.head().await,
            Some(limit) => match timeout(limit, self.inbox.head()).await {
                Ok(head) => head,
                Err(_) if self.inbox.rest().is_empty() => {
                    self.temper.motion().await;
                    self.note("closes an idle connection");
                    if self.rng.bool() {
                        self.stream.reset()
                    } else {
                        self.stream.close()
                    }
                    return None;
                }
                Err(_) => self.inbox.head().await,
            },
        };
        head.map_err(|fault| self.judge(&fault)).ok()
    }

    fn judge(&self, fault: &Fault) {
        match fault {
            Fault::Ended => {}
            Fault::Cut | Fault::Reset => self.note(&format!("request {fault:?}")),
            Fault::Malformed(what) => {
                let address = self.plan.address;
                let seen = self.seen.join(", ");
                let breach = format!("{address} saw {seen}, then what is no request: {what}");
                self.stage.breach(&breach);
            }
        }
    }

    /// One request and what is done about it. True if the connection stays.
    async fn exchange(&mut self, head: &Head) -> bool {
        if head.method_and_target().is_ok_and(|(_, target)| target == HEALTH_PATH) {
            self.show_health().await;
            return false;
        }
        let (id, is_head, framing) = match self.sight(head) {
            Ok(seen) => seen,
            Err(fault) => {
                self.judge(&fault);
                return false;
            }
        };
        self.seen.push(id.clone());
        let seen = self.stage.net.elapsed();
        if !self.stand_still(framing).await {
            return false;
        }
        let turn = self.decide();
        if turn != Turn::Answer {
            self.note(&format!("{id}: {turn:?}"));
        }
        let reads_first = match turn {
            Turn::Answer => true,
            Turn::AnswerEarly => false,
            Turn::Silence | Turn::Break | Turn::CutHead => self.rng.bool(),
            Turn::CutBody | Turn::BadChunk | Turn::Garbage => self.rng.bool(),
        };
        if reads_first {
            if !self.read_body(head, &id, framing).await {
                return false;
            }
            if !self.inbox.rest().is_empty() {
                self.stage.breach(&format!("bytes behind {id} before its answer"));
            }
        }
        let _busy =
            reads_first.then(|| self.stage.visit(self.plan.address, (Errand::Request, seen)));
        let late = self.late();
        if reads_first {
            let temper = Rc::clone(&self.temper);
            let wait = async { (sleep(late).await, temper.motion().await) };
            if !self.dwell(wait).await {
                self.note(&format!("{id}: nobody waits any more"));
                return false;
            }
        } else {
            sleep(late).await;
        }
        let response = self.respond(&id, is_head);
        match turn {
            Turn::Answer => self.answer(&response, &id).await,
            Turn::AnswerEarly => {
                self.answer(&response, &id).await && self.read_body(head, &id, framing).await
            }
            Turn::Silence
            | Turn::Break
            | Turn::CutHead
            | Turn::CutBody
            | Turn::BadChunk
            | Turn::Garbage => {
                self.go_wrong(turn, &response).await;
                false
            }
        }
    }

    /// Ends the connection with less than a response, or with something else.
    async fn go_wrong(&mut self, turn: Turn, response: &Response) {
        match turn {
            Turn::Answer | Turn::AnswerEarly => {}
            Turn::Silence => while self.inbox.fill().await.is_ok() {},
            Turn::Break => self.depart(),
            Turn::CutHead => {
                let cut = self.rng.usize(1..response.head_bytes);
                self.cut(&response.bytes[..cut], Cut::Any).await;
            }
            Turn::CutBody => {
                let (from, to) = (response.head_bytes, response.bytes.len());
                let cut = if from < to { self.rng.usize(from..to) } else { from / 2 };
                let how = if response.ends_by_close { Cut::Reset } else { Cut::Any };
                self.cut(&response.bytes[..cut], how).await;
            }
            Turn::BadChunk => {
                let response = format!("{}{BAD_CHUNK}", response.start);
                self.cut(response.as_bytes(), Cut::Any).await;
            }
            Turn::Garbage => {
                let garbage = GARBAGE[self.rng.usize(0..GARBAGE.len())];
                self.cut(garbage, Cut::Any).await;
            }
        }
    }

    /// Pause before an answer.
    fn late(&mut self) -> Duration {
        let late = self.rng.u64(self.manners().late_ms.clone());
        self.temper.pause(Duration::from_millis(late))
    }

    /// Waits; false if the other side ends the connection meanwhile.
    async fn dwell<T>(&mut self, wait: impl Future<Output = T>) -> bool {
        tokio::select! {
            biased;
            () = async { while self.inbox.fill().await.is_ok() {} } => false,
            _ = wait => true,
        }
    }

    /// While nothing moves; false if the other side ends the connection meanwhile. With a body on
    /// its way, that is found out later.
    async fn stand_still(&mut self, framing: Framing) -> bool {
        let temper = Rc::clone(&self.temper);
        if !temper.stands_still() {
            return true;
        }
        if framing != Framing::Nothing {
            temper.motion().await;
            return true;
        }
        let seen = self.stage.net.elapsed();
        let _busy = self.stage.visit(self.plan.address, (Errand::Request, seen));
        self.dwell(temper.motion()).await
    }

    /// Answers a probe as it fares.
    async fn show_health(&mut self) {
        let _busy = self.stage.visit(self.plan.address, (Errand::Probe, self.stage.net.elapsed()));
        let temper = Rc::clone(&self.temper);
        if !self.dwell(temper.motion()).await {
            return;
        }
        let turn = self.decide();
        let late = self.late();
        if turn == Turn::Silence || !self.dwell(sleep(late)).await {
            while self.inbox.fill().await.is_ok() {}
            return;
        }
        if turn == Turn::Break {
            self.depart();
            return;
        }
        let status = match self.temper.mood() {
            Mood::Unavailable | Mood::Sick => 503,
            Mood::Well | Mood::Dead | Mood::Gone | Mood::Frozen | Mood::Slow => 200,
        };
        self.note(&format!("health {status}"));
        let answer =
            format!("HTTP/1.1 {status} Health\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        if self.stream.write_all(answer.as_bytes()).await.is_ok() {
            self.stream.shutdown().await;
        }
    }

    /// Notes a request: id, whether it is HEAD, framing.
    fn sight(&self, head: &Head) -> Result<(String, bool, Framing), Fault> {
        let (method, target) = head.method_and_target()?;
        let id = head.value("x-sim-id").unwrap_or_default();
        let path = target.rsplit('/').next().unwrap_or_default();
        self.note(&format!("{id}: {method}"));
        if path != id || head.value("host").as_deref() != Some("sim.test") {
            self.stage.breach(&format!("backend got a request of its own: {target} {id}"));
        }
        self.stage.sight(&id, self.plan.address);
        let cookies = head.value("cookie").unwrap_or_default();
        if cookies != FOREIGN {
            let names = cookies.split(COOKIE).count();
            self.stage.breach(&format!("{id}: its cookies came changed, {names} parts"));
        }
        Ok((id, method == "HEAD", head.framing()?.unwrap_or(Framing::Nothing)))
    }

    fn decide(&mut self) -> Turn {
        let (faulty, early) = (self.manners().faulty, self.manners().early);
        if self.manners().silent {
            return Turn::Silence;
        }
        if self.manners().breaks {
            return Turn::Break;
        }
        if chance(&mut self.rng, faulty) {
            return WRONG[self.rng.usize(0..WRONG.len())];
        }
        if chance(&mut self.rng, early) { Turn::AnswerEarly } else { Turn::Answer }
    }

    /// Reads the request's body and compares it. False if the request did not come whole.
    async fn read_body(&mut self, head: &Head, id: &str, framing: Framing) -> bool {
        match self.inbox.body(framing).await {
            Ok(body) => {
                if head.number("x-sim-hash") != Some(inbox::hash(&body)) {
                    let length = body.len();
                    self.stage.breach(&format!("I5: {id}: {length} bytes are not its body"));
                }
                true
            }
            Err(fault) => {
                self.judge(&fault);
                self.stage.journal.borrow_mut().cut.push(id.to_owned());
                false
            }
        }
    }

    fn respond(&mut self, id: &str, is_head: bool) -> Response {
        let (address, manners) = (self.plan.address, &self.plan.manners);
        let mood = self.temper.mood();
        let response = Response::draw(&mut self.rng, (address, manners, mood), (id, is_head));
        if response.is_complaint {
            let complaint = (address, self.stage.net.elapsed());
            self.stage.journal.borrow_mut().complaints.push(complaint);
        }
        response
    }

    /// Writes a whole response. True if the connection stays.
    async fn answer(&mut self, response: &Response, id: &str) -> bool {
        let ahead = self.stream.peek() == Peek::Bytes && self.inbox.rest().is_empty();
        let (last, before) = response.bytes.split_last().map_or((&0, &[][..]), |split| split);
        let written = self.write(before).await && self.write(&[*last]).await;
        if !written {
            self.note(&format!("{id}: could not answer"));
            return false;
        }
        self.note(&format!("{id}: answered{}", if ahead { ", body unread" } else { "" }));
        if response.closes {
            self.stream.shutdown().await;
            let _ = timeout(LINGER, async { while self.inbox.fill().await.is_ok() {} }).await;
            return false;
        }
        true
    }

    async fn write(&mut self, bytes: &[u8]) -> bool {
        let piece = self.rng.usize(self.plan.manners.piece.clone()).max(1);
        let temper = Rc::clone(&self.temper);
        for piece in bytes.chunks(piece) {
            if temper.stands_still() && !self.dwell(temper.motion()).await {
                return false;
            }
            if self.stream.write_all(piece).await.is_err() {
                return false;
            }
            let pause = self.rng.u64(self.plan.manners.pause_ms.clone());
            let pause = temper.pause(Duration::from_millis(pause));
            if temper.mood() == Mood::Slow {
                if !self.dwell(sleep(pause)).await {
                    return false;
                }
            } else if !pause.is_zero() {
                sleep(pause).await;
            }
        }
        true
    }

    /// Writes a part of a response, and leaves.
    async fn cut(&mut self, bytes: &[u8], how: Cut) {
        let _ = self.write(bytes).await;
        match how {
            Cut::Reset => self.stream.reset(),
            Cut::Any => self.depart(),
        }
    }

    fn depart(&mut self) {
        if self.rng.bool() { self.stream.reset() } else { self.stream.close() }
    }
}

/// How a response is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Where the end of the connection would look like the end of the body.
    Reset,
    Any,
}
