//! What clients, backends and the proxy say about one world, in virtual time.

use crate::memory::MemoryNet;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Time of day at which every simulated world begins.
const WORLD_BEGIN_OF_DAY: Duration = Duration::from_secs(22 * 3_600 + 13 * 60 + 20);

/// How a request ended for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A whole response.
    Answered {
        /// Its status.
        status: u16,
        /// The proxy's own.
        local: bool,
        /// Virtual time from the start of the world.
        at: Duration,
    },
    /// The connection ended before a whole response; how.
    Broken(String),
    /// The client left by its own plan.
    Left,
    /// Never sent; why.
    Unsent(String),
}

/// One request head that a backend saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The request's id.
    pub id: String,
    /// Who saw it.
    pub backend: SocketAddr,
    /// Virtual time from the start of the world.
    pub at: Duration,
}

/// What keeps a backend busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// A request: from when all of it was there until its response was written, the connection
    /// ended or the backend died.
    Request,
    /// A probe, from its head on.
    Probe,
}

/// A stretch of time in which a backend was busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Whose.
    pub backend: SocketAddr,
    /// With what.
    pub errand: Errand,
    /// When the head was there: virtual time from the start of the world.
    pub seen: Duration,
    /// The same clock.
    pub from: Duration,
    /// The same clock.
    pub to: Duration,
}

/// A session cookie that was sent, and what the response said of it.
#[derive(Clone, Debug)]
pub(super) struct SessionUse {
    pub(super) id: String,
    /// The backend that a genuine cookie named.
    pub(super) tied: Option<SocketAddr>,
    /// Who answered.
    pub(super) backend: SocketAddr,
    /// The response set a cookie.
    pub(super) renewed: bool,
    pub(super) at: Duration,
}

/// One access record.
#[derive(Clone, Debug)]
pub(super) struct AccessLine {
    pub(super) id: String,
    pub(super) status: u16,
    pub(super) failure: Option<String>,
    pub(super) tries: u32,
    pub(super) client_ip: String,
    pub(super) pool: String,
    /// When the exchange ended, to the millisecond.
    pub(super) at: Duration,
    pub(super) latency: Duration,
}

/// Something that the proxy told about a backend or pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its name, as `breaker_opened`.
    pub event: String,
    /// The pool's name.
    pub pool: String,
    /// The backend's address; empty for the pool as a whole.
    pub backend: String,
    /// Why, if it said so.
    pub reason: String,
    /// Virtual time from the start of the world, to the millisecond.
    pub at: Duration,
}

/// The proxy's own log.
#[derive(Debug, Default)]
pub(super) struct ProxyLog {
    pub(super) records: Vec<AccessLine>,
    pub(super) told: Vec<Told>,
}

/// Everything that happened.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) trace: Vec<String>,
    pub(super) breaches: Vec<String>,
    pub(super) outcomes: BTreeMap<String, Vec<Outcome>>,
    pub(super) sightings: Vec<Sighting>,
    pub(super) visits: Vec<Visit>,
    pub(super) sessions: Vec<SessionUse>,
    /// The backend that the genuine cookie of a request names.
    pub(super) ties: BTreeMap<String, SocketAddr>,
    /// When backends asked to be left alone, or said that they are in trouble.
    pub(super) complaints: Vec<(SocketAddr, Duration)>,
    /// Requests whose body came to a backend in part.
    pub(super) cut: Vec<String>,
}

/// Where scripts act and tell what they do.
pub(super) struct Stage {
    pub(super) net: MemoryNet,
    pub(super) journal: RefCell<Journal>,
}

impl Stage {
    /// Adds a line to the trace.
    pub(super) fn note(&self, text: &str) {
        let at = self.net.elapsed().as_millis();
        self.journal.borrow_mut().trace.push(format!("{at:>7} ms  {text}"));
    }

    /// Something that must never happen has happened.
    pub(super) fn breach(&self, text: &str) {
        self.note(&format!("BREACH {text}"));
        self.journal.borrow_mut().breaches.push(text.to_owned());
    }

    /// One request has come to its end.
    pub(super) fn settle(&self, id: &str, outcome: Outcome) {
        self.note(&format!("client: {id} ended: {outcome:?}"));
        let mut journal = self.journal.borrow_mut();
        journal.outcomes.entry(id.to_owned()).or_default().push(outcome);
    }

    /// A backend saw a request's head.
    pub(super) fn sight(&self, id: &str, backend: SocketAddr) {
        let at = self.net.elapsed();
        let sighting = Sighting { id: id.to_owned(), backend, at };
        self.journal.borrow_mut().sightings.push(sighting);
    }

    /// A backend is busy for as long as the guard lives.
    pub(super) fn visit(
        self: &Rc<Self>,
        backend: SocketAddr,
        (errand, seen): (Errand, Duration),
    ) -> Busy {
        let from = self.net.elapsed();
        Busy { stage: Rc::clone(self), visit: Visit { backend, errand, seen, from, to: from } }
    }
}

/// Ends its visit when dropped.
pub(super) struct Busy {
    stage: Rc<Stage>,
    visit: Visit,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.visit.to = self.stage.net.elapsed();
        self.stage.journal.borrow_mut().visits.push(self.visit.clone());
    }
}

impl ProxyLog {
    /// Reads a log file.
    pub(super) fn read(file: &Path) -> ProxyLog {
        let text = std::fs::read_to_string(file).expect("a log file");
        let mut log = ProxyLog::default();
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let at = time_of(&text("timestamp"));
            if text("event") == "request_routed" {
                log.records.extend(access_line(&line, at));
            } else {
                let (event, pool) = (text("event"), text("pool"));
                let (backend, reason) = (text("backend"), text("reason"));
                log.told.push(Told { event, pool, backend, reason, at });
            }
        }
        log
    }
}

fn access_line(line: &serde_json::Value, at: Duration) -> Option<AccessLine> {
    let id = line["path"].as_str()?.rsplit('/').next()?.to_owned();
    let status = line["status"].as_u64().and_then(|status| u16::try_from(status).ok())?;
    let tries = line["tries"].as_u64().and_then(|tries| u32::try_from(tries).ok())?;
    let failure = line["failure"].as_str().map(str::to_owned);
    let own = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let (client_ip, pool) = (own("client_ip"), own("pool"));
    let latency = Duration::from_secs_f64(line["latency_ms"].as_f64()? / 1_000.0);
    Some(AccessLine { id, status, failure, tries, client_ip, pool, at, latency })
}

/// Virtual time of `2023-11-14T22:13:20.000Z` and later that day.
fn time_of(stamp: &str) -> Duration {
    let part = |at: usize, length: usize| {
        stamp.get(at..at + length).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default()
    };
    let seconds = part(11, 2) * 3_600 + part(14, 2) * 60 + part(17, 2);
    let of_day = Duration::from_secs(seconds) + Duration::from_millis(part(20, 3));
    of_day.saturating_sub(WORLD_BEGIN_OF_DAY)
}
