//! `bench`: load for a target, counted and told.
//!
//! One thread per core, each with its own runtime and connections. All take their requests from one
//! `Course`, which says what is next and when it is due: at once (closed loop) or at a rate (open
//! loop, where latency counts from when a request was due, so that a stall of the target is seen by
//! every request that it delayed).
//!
//! Reading order: `Bench::run`, `course` (what is due), `lane` (sends it), `http1`, `http2`,
//! `websocket`, `tcp` (how), `tally` and `journal` (what came of it), `report` and `summary`;
//! `check` reads a journal again.

mod alarm;
mod check;
mod chunks;
mod course;
mod fault;
mod http1;
mod http2;
mod incoming;
mod journal;
mod lane;
mod link;
mod live;
mod numbered;
mod outgoing;
mod patience;
mod report;
mod summary;
mod tally;
mod tcp;
mod trust;
mod turn;
mod url;
mod websocket;

pub use check::{CsvCheck, Finding, Flaw, Verdict};
pub use live::LiveBench;
pub use report::{ErrorCount, Report};
pub use trust::Trust;
pub use turn::Connections;
pub use url::{BenchUrl, Scheme};

use bytes::Bytes;
use course::{Course, Pace};
use http::{HeaderMap, Method};
use http1::Http1;
use http2::{Http2, STREAMS_PER_CONNECTION, Template, Trunk};
use journal::Journal;
use lane::Lane;
use link::Dialer;
use numbered::{Numbered, PLACEHOLDER};
use outgoing::Outgoing;
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tally::Tally;
use tcp::Tcp;
use tokio::task::JoinSet;
use tokio::time::interval;
use turn::Turns;
use websocket::WebSocket;

/// Connections, or streams of HTTP/2, at the same time.
const MAX_CONCURRENCY: usize = 100_000;
/// Requests per second that can be asked for.
const MAX_RATE: f64 = 10_000_000.0;
/// How often rows are handed over, however few they are.
const FLUSH_INTERVAL: Duration = Duration::from_millis(50);

/// How long one request may take unless somebody says otherwise.
const PATIENCE: Duration = Duration::from_secs(20);

/// A load to offer.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The target.
    pub url: BenchUrl,
    /// How many requests; `None` = until `duration` is over.
    pub requests: Option<u64>,
    /// How long requests are started; `None` = until all are sent.
    pub duration: Option<Duration>,
    /// How many at the same time.
    pub concurrency: usize,
    /// How they share connections.
    pub connections: Connections,
    /// Requests per second (open loop); `None` = as fast as answers come (closed loop).
    pub rate: Option<f64>,
    /// How long it takes until the whole load is offered.
    pub ramp: Duration,
    /// The method; `None` = GET, or POST if there is a body.
    pub method: Option<String>,
    /// Header lines, `name: value`.
    pub headers: Vec<String>,
    /// The body; for `tcp` and WebSockets what is sent and must come back.
    pub body: Vec<u8>,
    /// HTTP/2 by ALPN, or by prior knowledge for `http`.
    pub http2: bool,
    /// Whose certificates are accepted.
    pub trust: Trust,
    /// Of one request, from when it began or was due to the end of its answer.
    pub timeout: Duration,
    /// False = a new connection for each request.
    pub keep_alive: bool,
    /// Where a row for each request goes.
    pub csv: Option<PathBuf>,
}

/// Why there was no run. The text is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BenchError {
    /// What was asked for cannot be.
    Invalid(String),
    /// Nobody listens.
    Refused(String),
    /// The machine refused what we need, e.g. room for the CSV.
    Machine(String),
}

impl Bench {
    /// One GET request, with nothing else asked for.
    pub fn to(url: BenchUrl) -> Bench {
        Bench {
            url,
            requests: Some(1),
            duration: None,
            concurrency: 1,
            connections: Connections::All,
            rate: None,
            ramp: Duration::ZERO,
            method: None,
            headers: Vec::new(),
            body: Vec::new(),
            http2: false,
            trust: Trust::Public,
            timeout: PATIENCE,
            keep_alive: true,
            csv: None,
        }
    }

    /// Offers the load and waits for its end. Blocks; `live` shows how far it is, and ends it.
    ///
    /// # Errors
    /// There was no run.
    pub fn run(&self, live: &LiveBench) -> Result<Report, BenchError> {
        let protocol = self.protocol().map_err(BenchError::Invalid)?;
        let tls = self.url.scheme.is_secure().then(|| self.trust.client(protocol.alpn()));
        let tls = tls.transpose().map_err(BenchError::Invalid)?;
        let dialer = Dialer::new(&self.url, tls, self.timeout).map_err(BenchError::Refused)?;
        if matches!(&protocol, Protocol::Tcp { payload } if payload.is_empty()) {
            dialer.forget_first();
        }
        let lanes = self.lanes();
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = cores.min(lanes);
        let journal = self.csv.as_ref().map(|file| {
            let created = Journal::create(file, threads);
            created
                .map_err(|e| BenchError::Machine(format!("cannot write {}: {e}", file.display())))
        });
        let journal = journal.transpose()?;
        let run = Run {
            protocol,
            dialer: Arc::new(dialer),
            course: Arc::new(self.course()),
            bench: self,
            lanes,
            threads,
        };
        let mut report = run.all(live, journal.as_ref())?;
        // What was measured is worth telling without its rows, too.
        let closed = journal.map_or(Ok(()), Journal::close);
        report.csv_fault = closed.err().map(|error| error.to_string());
        Ok(report)
    }

    fn lanes(&self) -> usize {
        let requests = self.requests.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        self.concurrency.min(requests)
    }

    fn course(&self) -> Course {
        let pace = match self.rate {
            Some(rate) => Pace::Open { rate, ramp: self.ramp },
            None => Pace::Closed,
        };
        Course::new(pace, self.requests, self.duration)
    }

    /// Checks everything that was asked for.
    fn protocol(&self) -> Result<Protocol, String> {
        if !(1..=MAX_CONCURRENCY).contains(&self.concurrency) {
            return Err("the concurrency must be 1 to 100000".to_owned());
        }
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate <= MAX_RATE)) {
            return Err("the rate must be above 0 and at most 10000000 per second".to_owned());
        }
        let is_no_time = self.duration.is_some_and(|duration| duration.is_zero());
        let is_open_ended = self.requests.is_none() && self.duration.is_none();
        if self.requests == Some(0) || is_no_time || is_open_ended {
            return Err("at least one request is needed: -n N or -z DURATION".to_owned());
        }
        if self.timeout.is_zero() {
            return Err("the timeout must be above 0".to_owned());
        }
        let outgoing = Outgoing::new(self.method.as_deref(), &self.headers, self.body.clone())?;
        match self.url.scheme {
            Scheme::Http | Scheme::Https if self.http2 && self.url.path.contains(PLACEHOLDER) => {
                Err(format!("{PLACEHOLDER} in a path needs HTTP/1.1"))
            }
            Scheme::Http | Scheme::Https if self.http2 => {
                let template = Template::new(&outgoing.http2(&self.url)?, outgoing.body);
                Ok(Protocol::Http2(Arc::new(template)))
            }
            Scheme::Http | Scheme::Https => {
                let request = outgoing.http1(&self.url, self.keep_alive);
                let line = request.iter().position(|byte| *byte == b'\r').unwrap_or(0);
                let request = Numbered::new(request, line);
                Ok(Protocol::Http1 { request, head_only: outgoing.method == Method::HEAD })
            }
            Scheme::Ws | Scheme::Wss | Scheme::Tcp if self.http2 => {
                Err("-http2 needs a URL with http:// or https://".to_owned())
            }
            Scheme::Ws | Scheme::Wss | Scheme::Tcp if self.method.is_some() => {
                Err("a method needs a URL with http:// or https://".to_owned())
            }
            Scheme::Ws | Scheme::Wss => Ok(Protocol::WebSocket {
                opening: outgoing.opening(&self.url),
                body: outgoing.body,
            }),
            Scheme::Tcp if !self.headers.is_empty() => {
                Err("tcp:// has no headers; leave -H out".to_owned())
            }
            Scheme::Tcp => Ok(Protocol::Tcp { payload: outgoing.body }),
        }
    }
}

/// What is sent, ready for the wire.
enum Protocol {
    Http1 { request: Numbered, head_only: bool },
    Http2(Arc<Template>),
    WebSocket { opening: (String, HeaderMap), body: Bytes },
    Tcp { payload: Bytes },
}

impl Protocol {
    fn alpn(&self) -> &'static [u8] {
        match self {
            Protocol::Http2(_) => b"h2",
            Protocol::Http1 { .. } | Protocol::WebSocket { .. } | Protocol::Tcp { .. } => {
                b"http/1.1"
            }
        }
    }
}

/// A run that has been checked.
struct Run<'a> {
    bench: &'a Bench,
    protocol: Protocol,
    dialer: Arc<Dialer>,
    course: Arc<Course>,
    /// How many requests are under way at the same time.
    lanes: usize,
    threads: usize,
}

impl Run<'_> {
    /// Runs every thread, and adds up what they counted.
    fn all(&self, live: &LiveBench, journal: Option<&Journal>) -> Result<Report, BenchError> {
        live.begin(&self.course);
        let cannot = |error: io::Error| BenchError::Machine(format!("cannot run: {error}"));
        let mut report = Report { url: self.bench.url.to_string(), ..Report::default() };
        let tallies = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|index| {
                    let start = self.course.start();
                    let rows = journal.map(|journal| journal.rows(index, start));
                    let tally = Tally::new(live.counter(index), rows);
                    let name = format!("bench-{index}");
                    let work = move || self.one(index, tally, live);
                    thread::Builder::new().name(name).spawn_scoped(scope, work)
                })
                .collect();
            let join = |thread: io::Result<thread::ScopedJoinHandle<'_, io::Result<Tally>>>| {
                thread?.join().unwrap_or_else(|_| Err(io::Error::other("a thread broke down")))
            };
            threads.into_iter().map(join).collect::<io::Result<Vec<Tally>>>()
        });
        for tally in tallies.map_err(cannot)? {
            tally.add_to(&mut report);
        }
        report.connections = self.dialer.opened();
        report.stopped = self.course.was_stopped();
        Ok(report)
    }

    /// Runs one thread with its share of the connections.
    fn one(&self, index: usize, tally: Tally, live: &LiveBench) -> io::Result<Tally> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tally = Arc::new(Mutex::new(tally));
        runtime
            .block_on(async {
                let mut lanes = JoinSet::new();
                self.spawn_lanes(index, &tally, &mut lanes);
                let mut flush = interval(FLUSH_INTERVAL);
                let cut = live.cut();
                tokio::pin!(cut);
                loop {
                    tokio::select! {
                        ended = lanes.join_next() => match ended {
                            Some(ended) => ended.map_err(io::Error::other)?,
                            None => return Ok(()),
                        },
                        _ = flush.tick() => {
                            tally.lock().unwrap_or_else(PoisonError::into_inner).flush_rows();
                        }
                        () = &mut cut => {
                            lanes.shutdown().await;
                            return Ok(());
                        }
                    }
                }
            })
            .map_err(|error: io::Error| error)?;
        // What the runtime still holds must not count any more.
        drop(runtime);
        let tally = Arc::into_inner(tally).ok_or_else(|| io::Error::other("a count is in use"))?;
        Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn spawn_lanes(&self, thread: usize, tally: &Arc<Mutex<Tally>>, lanes: &mut JoinSet<()>) {
        let mut trunks: Vec<Arc<Trunk>> = Vec::new();
        let turns = match self.bench.connections {
            Connections::All => None,
            Connections::Fewest => Some(Arc::<Turns>::default()),
        };
        for (nth, index) in (thread..self.lanes).step_by(self.threads).enumerate() {
            let lane = Lane { turns: turns.clone(), ..self.lane(index, tally) };
            let (dialer, keep_alive) = (Arc::clone(&self.dialer), self.bench.keep_alive);
            match &self.protocol {
                Protocol::Http1 { request, head_only } => {
                    lanes.spawn(lane.run(Http1::new(dialer, request.clone(), *head_only)));
                }
                Protocol::Http2(template) => {
                    let streams = if keep_alive { STREAMS_PER_CONNECTION } else { 1 };
                    if nth % streams == 0 {
                        trunks.push(Trunk::new(dialer, Arc::clone(template), streams));
                    }
                    let trunk = Arc::clone(&trunks[nth / streams]);
                    lanes.spawn(lane.run(Http2::new(trunk, nth % streams, keep_alive)));
                }
                Protocol::WebSocket { opening, body } => {
                    let client = WebSocket::new(dialer, opening.clone(), body.clone(), keep_alive);
                    lanes.spawn(lane.run(client));
                }
                Protocol::Tcp { payload } => {
                    lanes.spawn(lane.run(Tcp::new(dialer, payload.clone(), keep_alive)));
                }
            }
        }
    }

    fn lane(&self, index: usize, tally: &Arc<Mutex<Tally>>) -> Lane {
        // A rate has its own ramp; without one, connections join one after another.
        let joins = match self.bench.rate {
            Some(_) => Duration::ZERO,
            None => self.bench.ramp.mul_f64(share(index, self.lanes)),
        };
        Lane {
            course: Arc::clone(&self.course),
            tally: Arc::clone(tally),
            timeout: self.bench.timeout,
            joins,
            turns: None,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most MAX_CONCURRENCY")]
fn share(index: usize, of: usize) -> f64 {
    index as f64 / of.max(1) as f64
}
