//! The server as its owner sees it: start, where it listens, drain, stop.

use crate::listen;
use crate::log::{AccessSink, Log};
use crate::prober::Prober;
use crate::secrets::{self, SecretError};
use crate::shared::{Bounds, Shared};
use crate::socket::{self, BoundSocket, Listening, SystemNet};
use crate::worker::{Worker, pin_to_core};
use evenkeel_core::address::Endpoint;
use evenkeel_core::backend::Backend;
use evenkeel_core::plan::Plan;
use std::io;
use std::rc::Rc;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Descriptors kept for the log, the admin listener, configuration and the like.
const RESERVED_DESCRIPTORS: u64 = 64;
/// How often a drain looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// Why a server did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// As configured.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file with cookie keys could not be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A thread or runtime could not be made.
    #[error("cannot start workers: {0}")]
    Other(#[from] io::Error),
}

/// A running server.
pub struct Server {
    shared: Arc<Shared>,
    addresses: Vec<(Arc<str>, String)>,
    workers: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Server {
    /// Binds every listener, then starts the workers. On error nothing stays bound.
    pub fn start(plan: &Plan, log: &Log) -> Result<Server, StartError> {
        let workers = match plan.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let mut per_worker: Vec<Vec<(usize, BoundSocket)>> =
            (0..workers).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        for (index, listener) in plan.listeners.iter().enumerate() {
            let failed = |source| StartError::Bind { address: listener.bind.to_string(), source };
            let sockets = socket::bind(&listener.bind, workers).map_err(failed)?;
            for socket in sockets.first().into_iter().flatten() {
                addresses.push((Arc::clone(&listener.name), socket.address().map_err(failed)?));
            }
            for (own, sockets) in per_worker.iter_mut().zip(sockets) {
                own.extend(sockets.into_iter().map(|socket| (index, socket)));
            }
        }
        let tag = fastrand::u32(..);
        let bounds = Bounds { max_clients: max_clients(), workers };
        let snapshot = secrets::compile(plan.clone())?;
        let shared = Arc::new(Shared::new(snapshot, bounds, tag, log.events()));
        let pin = plan.workers == 0 || workers > 1;
        let threads = Mutex::new(Vec::with_capacity(workers));
        let server = Server { shared, addresses, workers, threads };
        let (report, reports) = std::sync::mpsc::sync_channel(workers);
        for (index, sockets) in per_worker.into_iter().enumerate() {
            let (shared, sink) = (Arc::clone(&server.shared), log.sink());
            let report = report.clone();
            let thread = std::thread::Builder::new().name(format!("ek-worker-{index}"));
            let spawned = thread.spawn(move || {
                if pin {
                    pin_to_core(index);
                }
                run_worker(&shared, sink, sockets, &report);
            });
            match spawned {
                Ok(thread) => server.lock_threads().push(thread),
                Err(error) => {
                    server.stop();
                    return Err(error.into());
                }
            }
        }
        drop(report);
        let own = Arc::clone(&server.shared);
        let prober = std::thread::Builder::new().name("ek-prober".to_owned());
        match prober.spawn(move || run_prober(own)) {
            Ok(thread) => server.lock_threads().push(thread),
            Err(error) => {
                server.stop();
                return Err(error.into());
            }
        }
        // Every worker says once whether it serves.
        for started in reports.iter().take(workers) {
            if let Err(error) = started {
                server.stop();
                return Err(error.into());
            }
        }
        Ok(server)
    }

    /// Listener names and the addresses that they are really bound to.
    pub fn addresses(&self) -> &[(Arc<str>, String)] {
        &self.addresses
    }

    /// Readiness, drain and counts, for whoever watches.
    pub fn state(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Waits until every backend has been probed once, at most so long. True if they have.
    pub fn await_first_probes(&self, limit: Duration) -> bool {
        self.shared.await_first_probes(limit)
    }

    /// Threads that serve.
    pub fn worker_count(&self) -> usize {
        self.workers
    }

    /// Backends that are given by name, for a resolver to feed.
    pub fn named_backends(&self) -> Vec<Arc<Backend>> {
        let snapshot = self.shared.snapshot();
        let all = snapshot.pools.iter().flat_map(|pool| &pool.backends);
        let named = all.filter(|b| matches!(b.plan.address.endpoint, Endpoint::Name(..)));
        named.cloned().collect()
    }

    fn lock_threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops accepting, finishes what is in flight, closes idle connections. True if all clients
    /// were done before the deadline.
    pub fn drain(&self, deadline: Duration) -> bool {
        self.shared.drain();
        let until = Instant::now() + deadline;
        while !self.shared.is_drained() {
            if Instant::now() >= until {
                return false;
            }
            std::thread::park_timeout(DRAIN_POLL);
        }
        true
    }

    /// Ends the workers, whatever runs, and waits for their threads.
    pub fn stop(&self) {
        self.shared.stop();
        let threads = std::mem::take(&mut *self.lock_threads());
        for thread in threads {
            // A worker that panicked has ended too.
            let _ = thread.join();
        }
    }
}

/// Half of the descriptors that we may have: every client can need a backend connection too.
fn max_clients() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let descriptors = limit.current.unwrap_or(u64::from(u32::MAX));
    usize::try_from(descriptors.saturating_sub(RESERVED_DESCRIPTORS) / 2).unwrap_or(usize::MAX)
}

/// Without a runtime of its own there are no probes; traffic goes on, and `await_first_probes` says
/// that nothing came.
fn run_prober(shared: Arc<Shared>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(tokio::runtime::LocalOptions::default());
    if let Ok(runtime) = runtime {
        runtime.block_on(async { Prober::new(SystemNet::new(), shared).run().await });
    }
}

fn run_worker(
    shared: &Arc<Shared>,
    sink: AccessSink,
    own: Vec<(usize, BoundSocket)>,
    report: &SyncSender<io::Result<()>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(tokio::runtime::LocalOptions::default());
    // Whoever started us may have given up; then the stop flag is set already.
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return drop(report.send(Err(error))),
    };
    runtime.block_on(async {
        let worker = Worker::new(SystemNet::new(), Arc::clone(shared), Some(sink));
        for (listener, socket) in own {
            match Listening::register(socket) {
                Ok(listening) => {
                    let accepting = listen::accept_loop(Rc::clone(&worker), listening, listener);
                    tokio::task::spawn_local(accepting);
                }
                Err(error) => return drop(report.send(Err(error))),
            }
        }
        let _ = report.send(Ok(()));
        worker.run_ticks().await;
    });
}
