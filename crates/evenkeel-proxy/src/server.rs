//! The server as its owner sees it: start, where it listens, drain, stop.

use crate::aside::drop_aside;
use crate::doors::{Added, Doors};
pub use crate::doors::{Inherited, InheritedSocket};
use crate::listen;
use crate::log::{AccessSink, Log};
use crate::prober::Prober;
pub use crate::secrets::SECRET_BYTES;
use crate::secrets::{SecretError, Vault};
use crate::shared::{Bounds, Shared};
use crate::socket::{BoundSocket, Listening, SystemNet};
use crate::udp;
use crate::worker::{Worker, pin_to_core};
use evenkeel_core::address::Endpoint;
use evenkeel_core::backend::Backend;
use evenkeel_core::plan::Plan;
use evenkeel_core::pool::Pool;
use evenkeel_core::snapshot::Snapshot;
use std::collections::HashSet;
use std::io;
use std::rc::Rc;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// Descriptors kept for the log, the admin listener, configuration and the like.
#[cfg(unix)]
const RESERVED_DESCRIPTORS: u64 = 64;
/// How often a drain looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// Orders that a worker has not taken yet.
const MAX_ORDERS: usize = 64;

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
    workers: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// To each worker.
    orders: Vec<mpsc::Sender<Order>>,
    /// Held while what is served changes: one change at a time.
    course: Mutex<Course>,
}

/// What changes of what is served need.
struct Course {
    doors: Doors,
    /// Sockets that nobody accepts from yet.
    closed: Added,
    vault: Vault,
    /// Snapshots that exchanges may still hold. The last to let go of one does that here, and not
    /// where traffic would wait for it.
    retired: Vec<Arc<Snapshot>>,
}

/// What a worker is to do.
enum Order {
    /// Let clients in for the listener of this number.
    Listen(usize, Vec<BoundSocket>),
}

/// What one process leaves to the next.
#[derive(Default)]
pub struct Legacy {
    /// Listening sockets.
    pub sockets: Inherited,
    /// What session cookies are signed with where no file says it, and a seed.
    pub secrets: Option<[u8; SECRET_BYTES]>,
}

/// What the files that a plan names are needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// They may be others now: without them there is nothing to serve with.
    Read,
    /// The plan names those of the one that is served. Where they cannot be read or used, what
    /// they held holds on: a change that has nothing to do with them need not wait for them.
    Known,
}

/// What became of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Whether anything is different; files that the plan names count too.
    pub changed: bool,
    /// The generation in force.
    pub generation: u64,
}

impl Server {
    /// Binds every listener, then starts the workers. On error nothing stays bound.
    pub fn start(plan: &Plan, log: &Log) -> Result<Server, StartError> {
        Server::start_on(plan, log, Legacy::default())
    }

    /// The same, on what a process before this one left: sockets are used where they fit, and those
    /// that fit nowhere are closed.
    pub fn start_on(plan: &Plan, log: &Log, mut legacy: Legacy) -> Result<Server, StartError> {
        let server = Server::start_closed(plan, log, &mut legacy)?;
        server.open();
        Ok(server)
    }

    /// The same, but clients wait in the kernel until `open`; the prober and the workers run.
    /// Sockets that fit nowhere stay with the legacy.
    pub fn start_closed(plan: &Plan, log: &Log, legacy: &mut Legacy) -> Result<Server, StartError> {
        let workers = worker_count(plan);
        let mut vault = match legacy.secrets {
            Some(secrets) => Vault::with(secrets),
            None => Vault::new()?,
        };
        vault.read_files(plan)?;
        let snapshot = Snapshot::new(plan.clone(), &mut vault);
        let mut doors = Doors::default();
        let (bound, added) =
            doors.bind_new((&plan.listeners, &snapshot.doors), workers, &mut legacy.sockets)?;
        doors.follow(bound, &snapshot);
        let tag = fastrand::u32(..);
        let bounds = Bounds { max_clients: max_clients(), workers };
        let shared = Arc::new(Shared::new(snapshot, bounds, tag, log.events()));
        let pin = plan.workers == 0 || workers > 1;
        let course = Mutex::new(Course { doors, closed: added, vault, retired: Vec::new() });
        let (orders, inboxes): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| mpsc::channel(MAX_ORDERS)).unzip();
        let threads = Mutex::new(Vec::with_capacity(workers));
        let server = Server { shared, workers, threads, orders, course };
        if let Err(error) = server.spawn(log, inboxes, pin) {
            server.stop();
            return Err(error.into());
        }
        Ok(server)
    }

    /// Lets clients in.
    pub fn open(&self) {
        let closed = {
            let mut course = self.lock_course();
            course.doors.take_files();
            std::mem::take(&mut course.closed)
        };
        self.listen(closed);
    }

    /// Starts the workers and the prober; every worker has said that it serves when this returns.
    fn spawn(&self, log: &Log, inboxes: Vec<mpsc::Receiver<Order>>, pin: bool) -> io::Result<()> {
        let (report, reports) = std::sync::mpsc::sync_channel(self.workers);
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let (shared, sink) = (Arc::clone(&self.shared), log.sink());
            let report = report.clone();
            let thread = std::thread::Builder::new().name(format!("ek-worker-{index}"));
            let thread = thread.spawn(move || {
                if pin {
                    pin_to_core(index);
                }
                run_worker(&shared, sink, inbox, &report);
            })?;
            self.lock_threads().push(thread);
        }
        drop(report);
        let own = Arc::clone(&self.shared);
        let prober = std::thread::Builder::new().name("ek-prober".to_owned());
        self.lock_threads().push(prober.spawn(move || run_prober(own))?);
        reports.iter().take(self.workers).collect()
    }

    /// Hands sockets to the workers that accept from them.
    fn listen(&self, added: Added) {
        for (number, sockets) in added {
            for (orders, sockets) in self.orders.iter().zip(sockets) {
                let mut order = Order::Listen(number, sockets);
                // A worker takes its orders within moments; one that has ended takes none.
                while let Err(mpsc::error::TrySendError::Full(back)) = orders.try_send(order) {
                    order = back;
                    std::thread::park_timeout(DRAIN_POLL);
                }
            }
        }
    }

    /// Serves by another plan from now on, all or nothing: exchanges that have begun end by the one
    /// that they began with, connections stay unless their listener goes. Blocks for a moment.
    ///
    /// # Errors
    /// A new listener cannot be bound, or a file of cookie keys not be read; nothing has changed
    /// then.
    pub fn apply(&self, plan: Plan) -> Result<Applied, StartError> {
        self.apply_with(plan, Files::Read)
    }

    /// The same; `files` says what becomes of a plan whose files cannot be read.
    ///
    /// # Errors
    /// As above.
    pub fn apply_with(&self, plan: Plan, files: Files) -> Result<Applied, StartError> {
        let mut course = self.lock_course();
        let old = self.shared.snapshot();
        let same_files = match course.vault.read_files(&plan) {
            Err(_) if files == Files::Known => true,
            read => !read?,
        };
        if same_files && plan == old.plan {
            return Ok(Applied { changed: false, generation: old.generation });
        }
        let numbers = old.doors_for(&plan.listeners);
        let listeners = (&*plan.listeners, &*numbers);
        let none = &mut Vec::new();
        let (bound, added) = course.doors.bind_new(listeners, self.workers, none)?;
        let next = old.next(plan, &mut course.vault, self.shared.now());
        let applied = Applied { changed: true, generation: next.generation };
        course.doors.follow(bound, &next);
        let before = self.shared.publish(next);
        // Whoever came has room for those who wait: now that it can be found.
        self.shared.snapshot().pools.iter().for_each(|pool| pool.welcome());
        mark_gone(&before, &self.shared.snapshot());
        self.listen(added);
        drop(old);
        course.retired.push(before);
        course.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        Ok(applied)
    }

    /// Threads that a plan asks for, if that is another number than serve.
    pub fn other_workers(&self, plan: &Plan) -> Option<usize> {
        Some(worker_count(plan)).filter(|wanted| *wanted != self.workers)
    }

    /// What a process after this one needs to go on: the very sockets, and the secrets.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn legacy(&self) -> io::Result<Legacy> {
        let course = self.lock_course();
        Ok(Legacy { sockets: course.doors.sockets()?, secrets: Some(course.vault.secrets()) })
    }

    /// Lets go of old snapshots that no exchange needs any more.
    pub fn tidy_up(&self) {
        let mut course = self.lock_course();
        let gone = course.retired.extract_if(.., |snapshot| Arc::strong_count(snapshot) == 1);
        let gone: Vec<Arc<Snapshot>> = gone.collect();
        if !gone.is_empty() {
            drop_aside(gone);
        }
    }

    /// Listener names and the addresses that they are really bound to.
    pub fn addresses(&self) -> Vec<(Arc<str>, String)> {
        self.lock_course().doors.addresses()
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

    fn lock_course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps no socket but those that workers accept from.
    fn let_go(&self) {
        let mut course = self.lock_course();
        course.doors.let_go();
        course.closed.clear();
    }

    /// As `drain`, for when another process serves already: nobody is hurried. Connections end with
    /// their next response, tunnels by themselves.
    pub fn drain_patiently(&self) {
        self.lock_course().doors.leave_files();
        self.let_go();
        self.shared.drain_patiently();
    }

    /// Stops accepting, finishes what is in flight, closes idle connections. True if all clients
    /// were done before the deadline.
    pub fn drain(&self, deadline: Duration) -> bool {
        self.let_go();
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
        self.let_go();
        self.shared.stop();
        let threads = std::mem::take(&mut *self.lock_threads());
        for thread in threads {
            // A worker that panicked has ended too.
            let _ = thread.join();
        }
    }
}

/// Threads that a plan asks for.
fn worker_count(plan: &Plan) -> usize {
    match plan.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}

/// Backends that only the older one has are told so.
fn mark_gone(before: &Snapshot, after: &Snapshot) {
    let ids = |snapshot: &Snapshot| -> HashSet<*const Pool> {
        snapshot.pools.iter().map(Arc::as_ptr).collect()
    };
    let (old, new) = (ids(before), ids(after));
    // A pool that is the same one has lost nobody.
    let differs = |pool: &&Arc<Pool>, ids: &HashSet<*const Pool>| !ids.contains(&Arc::as_ptr(pool));
    let after = after.pools.iter().filter(|pool| differs(pool, &old));
    let stay: HashSet<usize> =
        after.flat_map(|pool| &pool.backends).map(|backend| backend.slot).collect();
    let before = before.pools.iter().filter(|pool| differs(pool, &new));
    let gone = before.flat_map(|pool| &pool.backends).filter(|it| !stay.contains(&it.slot));
    gone.for_each(|backend| backend.leave());
}

/// Half of the descriptors that we may have: every client can need a backend connection too.
#[cfg(unix)]
fn max_clients() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let descriptors = limit.current.unwrap_or(u64::from(u32::MAX));
    usize::try_from(descriptors.saturating_sub(RESERVED_DESCRIPTORS) / 2).unwrap_or(usize::MAX)
}

/// There is no limit of a process to read; memory bounds it before this does.
#[cfg(not(unix))]
fn max_clients() -> usize {
    const MAX_CLIENTS: usize = 1 << 20;
    MAX_CLIENTS
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
    mut inbox: mpsc::Receiver<Order>,
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
        let accepting = Rc::clone(&worker);
        tokio::task::spawn_local(async move {
            while let Some(Order::Listen(number, sockets)) = inbox.recv().await {
                sockets.into_iter().for_each(|socket| accept_from(&accepting, number, socket));
            }
        });
        let _ = report.send(Ok(()));
        worker.run_ticks().await;
    });
}

fn accept_from(worker: &Rc<Worker<SystemNet>>, number: usize, socket: BoundSocket) {
    let registered = match socket {
        BoundSocket::Udp(socket) => match UdpSocket::from_std(socket) {
            Ok(socket) => {
                let serving = udp::serve(Rc::clone(worker), socket, number);
                drop(tokio::task::spawn_local(serving));
                return;
            }
            Err(error) => Err(error),
        },
        socket @ (BoundSocket::Tcp(_) | BoundSocket::Unix(_)) => Listening::register(socket),
    };
    match registered {
        Ok(listening) => {
            let accepting = listen::accept_loop(Rc::clone(worker), listening, number);
            tokio::task::spawn_local(accepting);
        }
        Err(error) => listen::tell(worker, number, &error),
    }
}
