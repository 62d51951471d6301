//! An open-loop load generator: requests start when they are due, whatever became of the others.
//!
//! A closed loop sends the next request when the last one is answered: while a server stalls, it
//! asks nothing, and the stall is counted once. That is *coordinated omission* (Gil Tene, "How NOT
//! to Measure Latency", 2013; his `wrk2` measures as this does). Here the time of each request is
//! fixed beforehand, and its latency counts from then, the wait for a connection included.
//!
//! Reading order: `OpenLoop::run` (starts what is due, collects what is done), `Pacer` (says when),
//! `Client` (sends one request).

mod client;

use crate::latency::LatencyHistogram;
use client::{Answer, Client};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Requests per second that can be asked for.
const MAX_RATE: f64 = 1_000_000.0;
/// Due requests that the generator has not started yet. More wait in the schedule: they start late,
/// and their latency says so.
const DUE_REQUESTS: usize = 4096;

/// A load to offer: GET requests at a fixed rate.
#[derive(Clone, Debug)]
pub struct OpenLoop {
    /// Where to connect.
    pub address: SocketAddr,
    /// Value of the Host field.
    pub host: String,
    /// The request target, beginning with `/`; `{seq}` in it becomes the number of the request.
    pub path: String,
    /// Requests per second, above 0 up to 1,000,000.
    pub rate: f64,
    /// How long requests are started.
    pub duration: Duration,
    /// Of one request, from when it is due to the end of its answer.
    pub timeout: Duration,
    /// Connections open at the same time, at least 1. A request that finds all of them busy and
    /// this bound reached waits; its latency goes on counting.
    pub max_connections: usize,
}

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its number, from 0.
    pub seq: u64,
    /// When it was due, from the start of the run.
    pub intended: Duration,
    /// From when it was due to the end of its answer, or to its error.
    pub latency: Duration,
    /// Of the answer; 0 = no complete answer came.
    pub status: u16,
    /// Why no complete answer came.
    pub error: Option<LoadError>,
    /// Value of X-Backend, if the answer had one.
    pub backend: Option<String>,
}

impl Sample {
    /// True if a complete answer below 500 came.
    pub fn succeeded(&self) -> bool {
        self.error.is_none() && self.status < 500
    }
}

/// Why a request got no complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoadError {
    /// No connection could be opened.
    Connect,
    /// The connection ended before the answer did.
    Reset,
    /// The answer was not HTTP.
    BadResponse,
    /// Time was over before the answer was complete, the wait for a connection included.
    Timeout,
    /// No TLS connection came to be.
    Tls,
    /// The run was ended while the request was under way.
    Interrupted,
}

impl LoadError {
    /// Every kind, in the order of [`LoadError::index`].
    pub(crate) const ALL: [LoadError; 6] = [
        LoadError::Connect,
        LoadError::Reset,
        LoadError::BadResponse,
        LoadError::Timeout,
        LoadError::Tls,
        LoadError::Interrupted,
    ];

    /// Its place in [`LoadError::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// Its code in files.
    pub fn code(self) -> &'static str {
        match self {
            LoadError::Connect => "connect_failure",
            LoadError::Reset => "reset",
            LoadError::BadResponse => "bad_response",
            LoadError::Timeout => "timeout",
            LoadError::Tls => "tls_failure",
            LoadError::Interrupted => "interrupted",
        }
    }
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Requests started.
    pub sent: u64,
    /// Those without a complete answer, or with a status of 500 and above.
    pub failed: u64,
    /// Connections opened.
    pub connections: u64,
    /// From when each request was due, the failed ones included.
    pub latency: LatencyHistogram,
    /// How late the generator itself was: from when each request was due to when it was started.
    /// If this is not far below `latency`, the generator was what was measured.
    pub lateness: LatencyHistogram,
}

impl OpenLoop {
    /// Offers the load and gives each sample to `on_sample`, in the order in which they end.
    ///
    /// Ends at most `timeout` after the last request was due.
    ///
    /// # Errors
    /// `InvalidInput` if a value is out of its range; otherwise what the system says if no thread
    /// can be started.
    pub async fn run(&self, mut on_sample: impl FnMut(Sample)) -> io::Result<Summary> {
        let due = self.check()?;
        let client = Client::new(self)?;
        let start = Instant::now();
        let mut pacer = Pacer::start(start, due)?;
        let mut running: JoinSet<Sample> = JoinSet::new();
        let mut summary = Summary::default();
        let mut more = true;
        while more || !running.is_empty() {
            tokio::select! {
                biased;
                next = pacer.due.recv(), if more => match next {
                    Some((seq, intended)) => {
                        summary.sent += 1;
                        summary.lateness.record(start.elapsed().saturating_sub(intended));
                        running.spawn(exchange(Arc::clone(&client), seq, start, intended));
                    }
                    None => more = false,
                },
                Some(ended) = running.join_next() => {
                    let sample = ended.map_err(io::Error::other)?;
                    summary.failed += u64::from(!sample.succeeded());
                    summary.latency.record(sample.latency);
                    on_sample(sample);
                }
            }
        }
        summary.connections = client.opened();
        Ok(summary)
    }

    fn check(&self) -> io::Result<Schedule> {
        let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        if !(self.rate > 0.0 && self.rate <= MAX_RATE) {
            return refuse("the rate must be above 0 and at most 1,000,000 per second");
        }
        if self.max_connections == 0 {
            return refuse("at least one connection is needed");
        }
        Ok(Schedule { rate: self.rate, duration: self.duration })
    }
}

async fn exchange(client: Arc<Client>, seq: u64, start: Instant, intended: Duration) -> Sample {
    let due = start + intended;
    match client.get(seq, due).await {
        Ok(Answer { status, backend, ended }) => {
            Sample { seq, intended, latency: ended - due, status, error: None, backend }
        }
        Err(error) => {
            let error = Some(error);
            Sample { seq, intended, latency: due.elapsed(), status: 0, error, backend: None }
        }
    }
}

/// When each request is due.
struct Schedule {
    rate: f64,
    duration: Duration,
}

impl Schedule {
    /// From the start of the run; `None` after the last one.
    #[expect(clippy::cast_precision_loss, reason = "numbers of requests are far below 2^52")]
    fn due(&self, seq: u64) -> Option<Duration> {
        let due = Duration::from_secs_f64(seq as f64 / self.rate);
        (due < self.duration).then_some(due)
    }
}

/// A thread that tells when requests are due. The runtime's timers tick in milliseconds, which is
/// more than many an answer takes.
struct Pacer {
    due: mpsc::Receiver<(u64, Duration)>,
}

impl Pacer {
    /// Ends with its schedule, or when the receiver is gone.
    fn start(start: Instant, schedule: Schedule) -> io::Result<Pacer> {
        let (sender, due) = mpsc::channel(DUE_REQUESTS);
        let pace = move || {
            let mut seq = 0;
            while let Some(intended) = schedule.due(seq) {
                wait_until(start + intended);
                if sender.blocking_send((seq, intended)).is_err() {
                    return;
                }
                seq += 1;
            }
        };
        thread::Builder::new().name("pacer".to_owned()).spawn(pace)?;
        Ok(Pacer { due })
    }
}

fn wait_until(time: Instant) {
    loop {
        let left = time.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        // Nobody unparks this thread; should it wake early, it waits again.
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TestServer, TestServerOptions};
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use tokio::sync::oneshot;

    const STALL: Duration = Duration::from_millis(300);

    /// A test backend on a thread of its own, so that it can stall.
    struct Backend {
        address: SocketAddr,
        stall: SyncSender<()>,
        _stop: oneshot::Sender<()>,
    }

    impl Backend {
        fn start() -> Backend {
            let (told, address) = sync_channel(1);
            let (stall, stalls) = sync_channel(1);
            let (_stop, stopped) = oneshot::channel();
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async move {
                    let options = TestServerOptions {
                        name: "b1".to_owned(),
                        delay: Duration::ZERO,
                        fail_rate: 0.0,
                        status: 200,
                        body_size: 0,
                    };
                    let any = SocketAddr::from(([127, 0, 0, 1], 0));
                    let server = TestServer::bind(any, options).await.expect("a free port");
                    told.send(server.local_addr()).expect("the test waits");
                    tokio::select! {
                        served = server.serve(async { drop(stopped.await) }) => {
                            served.expect("it serves");
                        }
                        () = stall_when_told(stalls) => {}
                    }
                });
            });
            Backend { address: address.recv().expect("it listens"), stall, _stop }
        }
    }

    /// Blocks the thread, and with it the server, each time it is told to.
    async fn stall_when_told(stalls: Receiver<()>) {
        let (_never, held) = sync_channel::<()>(1);
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if stalls.try_recv().is_ok() {
                let _ = held.recv_timeout(STALL);
            }
        }
    }

    fn load(address: SocketAddr) -> OpenLoop {
        OpenLoop {
            address,
            host: "load.test".to_owned(),
            path: "/r/{seq}".to_owned(),
            rate: 500.0,
            duration: Duration::from_millis(400),
            timeout: Duration::from_secs(5),
            max_connections: 1000,
        }
    }

    async fn samples(load: &OpenLoop) -> (Vec<Sample>, Summary) {
        let mut samples = Vec::new();
        let summary = load.run(|sample| samples.push(sample)).await.expect("a run");
        samples.sort_by_key(|sample| sample.seq);
        (samples, summary)
    }

    #[tokio::test]
    async fn every_request_of_the_schedule_is_sent_and_counted() {
        let backend = Backend::start();
        let (samples, summary) = samples(&load(backend.address)).await;
        assert_eq!((summary.sent, summary.failed, summary.latency.count()), (200, 0, 200));
        assert!(summary.connections < 200, "connections are used again");
        for (seq, sample) in (0..).zip(&samples) {
            assert_eq!(sample.seq, seq);
            assert_eq!(sample.intended, Duration::from_secs_f64(seq as f64 / 500.0));
            assert_eq!((sample.status, sample.error), (200, None));
            assert_eq!(sample.backend.as_deref(), Some("b1"));
        }
    }

    #[tokio::test]
    async fn a_stall_counts_in_every_request_that_was_due_meanwhile() {
        let backend = Backend::start();
        let load = OpenLoop { duration: STALL * 3, ..load(backend.address) };
        let mut samples = Vec::new();
        let mut stall = Some(backend.stall.clone());
        let run = load.run(|sample: Sample| {
            // Warm, and well before the end.
            if sample.seq >= 50
                && let Some(stall) = stall.take()
            {
                stall.send(()).expect("the backend listens");
            }
            samples.push(sample);
        });
        run.await.expect("a run");
        let slow: Vec<&Sample> = samples.iter().filter(|s| s.latency >= STALL / 6).collect();
        let longest = samples.iter().map(|s| s.latency).max().expect("samples");
        assert!(longest >= STALL * 2 / 3, "{longest:?}");
        // 500 per second over five sixths of 300 ms are 125; a closed loop would have seen one.
        assert!(slow.len() >= 100, "{} slow of {}", slow.len(), samples.len());
        let over = slow.iter().map(|s| s.intended + s.latency).min().expect("slow ones");
        for sample in slow.iter().filter(|s| s.intended + STALL / 6 < over) {
            assert!(sample.intended + sample.latency >= over, "{sample:?}");
        }
    }

    #[tokio::test]
    async fn errors_are_told_apart() {
        let backend = Backend::start();
        let closed = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr();
        let slow = OpenLoop {
            path: "/delay/10s".to_owned(),
            timeout: Duration::from_millis(50),
            rate: 50.0,
            duration: Duration::from_millis(100),
            ..load(backend.address)
        };
        let refused = OpenLoop { address: closed.expect("an address"), ..slow.clone() };
        let failing = OpenLoop { path: "/status/503".to_owned(), ..slow.clone() };
        let cases = [
            (slow.clone(), 0, vec![LoadError::Timeout]),
            (OpenLoop { max_connections: 1, ..slow }, 0, vec![LoadError::Timeout]),
            (refused, 0, vec![LoadError::Connect]),
            (failing, 503, vec![]),
        ];
        for (load, status, wanted) in cases {
            let (samples, summary) = samples(&load).await;
            assert_eq!((summary.sent, summary.failed), (5, 5), "{load:?}");
            for error in &wanted {
                assert!(samples.iter().any(|s| s.error == Some(*error)), "{load:?} {samples:?}");
            }
            for sample in samples {
                assert_eq!(sample.status, status, "{load:?}");
                assert!(sample.error.is_none_or(|error| wanted.contains(&error)), "{sample:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_request_without_a_free_connection_waits_and_its_latency_counts() {
        let backend = Backend::start();
        let load = OpenLoop {
            path: "/delay/20ms".to_owned(),
            rate: 200.0,
            duration: Duration::from_millis(200),
            max_connections: 2,
            ..load(backend.address)
        };
        let (samples, summary) = samples(&load).await;
        assert_eq!((summary.sent, summary.failed, summary.connections), (40, 0, 2));
        // Two at a time, 20 ms each: the last of 40 ends after 400 ms; it was due at 195 ms.
        assert!(samples[39].latency >= Duration::from_millis(200), "{:?}", samples[39]);
    }

    #[tokio::test]
    async fn values_out_of_range_are_refused() {
        let good = load(SocketAddr::from(([127, 0, 0, 1], 1)));
        let bad = [
            OpenLoop { rate: 0.0, ..good.clone() },
            OpenLoop { rate: f64::NAN, ..good.clone() },
            OpenLoop { rate: 2e6, ..good.clone() },
            OpenLoop { max_connections: 0, ..good.clone() },
            OpenLoop { host: "a\r\nb".to_owned(), ..good },
        ];
        for load in bad {
            let refused = load.run(|_| ()).await.expect_err("out of range");
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{load:?}");
        }
    }
}
