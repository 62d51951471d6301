//! One worker: a pinned thread with its own single-threaded runtime and its own sockets. What its
//! connections share lives here, and nothing of it is shared with other workers per request.

use crate::buffer::BufferPool;
use crate::clock::Nanos;
use crate::count::Counts;
use crate::deadline::{Deadlines, TICK, TURNS_PER_SWEEP};
use crate::exchange::ExchangePool;
use crate::http2::lanes::Lanes;
use crate::http2::links::Links;
use crate::idle::{BackendConnection, IdleConnections};
use crate::log::AccessSink;
use crate::mirror::Room;
use crate::net::Net;
use crate::record::RecordWriter;
use crate::shared::Shared;
use crate::socket::pipes::Pipes;
use crate::turns::Turns;
use crate::welcome::Handshakes;
use evenkeel_core::path::PathScratch;
use evenkeel_core::request::RequestHead;
use evenkeel_core::response::ResponseHead;
use evenkeel_core::snapshot::Snapshot;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// The shared read buffer; also the largest single read.
pub(crate) const SCRATCH_BYTES: usize = 512 * 1024;
/// The `Date` of responses is made anew every so many ticks.
const TICKS_PER_DATE: u32 = 10;
/// Waiting connections ended per tick when descriptors run out.
const SHED_PER_TICK: usize = 64;
/// Idle connections that are closed at a time.
const CLOSED_AT_A_TIME: usize = 8;
/// How long others have the core after that, backends on this very machine among them.
const CLOSE_PAUSE: Duration = Duration::from_millis(2);
/// A connection is shed only after it has waited so long for its request.
const SHED_AFTER: Duration = Duration::from_millis(200);

/// Parsers and buffers that are valid within one poll only.
pub(crate) struct Scratch {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) out: Vec<u8>,
    pub(crate) tail: Vec<u8>,
    pub(crate) request: RequestHead,
    pub(crate) response: ResponseHead,
    pub(crate) path: PathScratch,
    pub(crate) host: Vec<u8>,
}

/// A snapshot as one worker holds it: cloned per exchange without touching a counter that other
/// workers touch too.
#[derive(Clone, Debug)]
#[expect(clippy::redundant_allocation, reason = "the outer count is this thread's own")]
pub(crate) struct LocalSnapshot(Rc<Arc<Snapshot>>);

impl std::ops::Deref for LocalSnapshot {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

/// A client waits to be let in, and there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// None waits.
    None,
    /// This listener has its `max_connections`.
    Listener(usize),
    /// The process has all the descriptors it may have.
    Process,
}

/// What the connections of one thread share.
pub struct Worker<N: Net> {
    pub(crate) net: N,
    pub(crate) shared: Arc<Shared>,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) buffers: BufferPool,
    /// For tunnels in which much moves.
    pub(crate) pipes: Pipes,
    pub(crate) exchanges: ExchangePool<N>,
    /// Who may begin a request.
    pub(crate) turns: Rc<Turns>,
    pub(crate) idle: RefCell<IdleConnections<N::Stream>>,
    /// HTTP/2 connections to backends.
    pub(crate) links: Links,
    /// Tasks that wait for a client's HTTP/2 stream.
    pub(crate) lanes: Lanes,
    pub(crate) deadlines: Rc<Deadlines>,
    pub(crate) records: RecordWriter,
    pub(crate) counts: Counts,
    pub(crate) handshakes: Handshakes,
    /// What copies of requests may use.
    pub(crate) mirrors: Rc<Room>,
    /// Who was held back for want of room since the last tick.
    pressure: Cell<Pressure>,
    shedding: Cell<bool>,
    /// Bytes that stalled transfers hold in memory.
    pub(crate) held_bytes: Cell<usize>,
    /// `Date` for responses that lack one; a tick old at most.
    pub(crate) date: RefCell<String>,
    tick: Cell<Nanos>,
    /// The last alarm that was heeded.
    alarm: Cell<u64>,
    recent: Cell<Nanos>,
    draining: Cell<bool>,
    snapshot: RefCell<LocalSnapshot>,
    generation: Cell<u64>,
    /// A snapshot was adopted since the last tick.
    is_adopted: Cell<bool>,
}

impl<N: Net> Worker<N> {
    /// Must be called on the worker's own runtime.
    pub fn new(net: N, shared: Arc<Shared>, access: Option<AccessSink>) -> Rc<Worker<N>> {
        let snapshot = shared.snapshot();
        let generation = snapshot.generation;
        let records = RecordWriter::new(access, &snapshot.plan.logging);
        let counts = Counts::new(shared.worker_stats());
        counts.adopt(&snapshot);
        let now = shared.clock.now();
        Rc::new(Worker {
            date: RefCell::new(http_date(net.unix_nanos())),
            net,
            scratch: RefCell::new(Scratch {
                bytes: new_scratch(),
                out: Vec::with_capacity(8 * 1024),
                tail: Vec::new(),
                request: RequestHead::default(),
                response: ResponseHead::default(),
                path: PathScratch::default(),
                host: Vec::new(),
            }),
            buffers: BufferPool::default(),
            pipes: Pipes::default(),
            exchanges: ExchangePool::new(),
            turns: Rc::default(),
            idle: RefCell::new(IdleConnections::new(shared.workers)),
            links: Links::default(),
            lanes: Lanes::default(),
            deadlines: Rc::default(),
            records,
            counts,
            handshakes: Handshakes::default(),
            mirrors: Rc::default(),
            pressure: Cell::new(Pressure::None),
            shedding: Cell::new(false),
            held_bytes: Cell::new(0),
            alarm: Cell::new(0),
            tick: Cell::new(now),
            recent: Cell::new(now),
            draining: Cell::new(false),
            snapshot: RefCell::new(LocalSnapshot(Rc::new(snapshot))),
            generation: Cell::new(generation),
            is_adopted: Cell::new(false),
            shared,
        })
    }

    /// The time now.
    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        let now = self.shared.clock.now();
        self.recent.set(now);
        now
    }

    /// The time when anyone here last asked for it: good enough where that was in this same poll.
    #[inline]
    pub(crate) fn recent(&self) -> Nanos {
        self.recent.get()
    }

    /// The time of the last tick: free to ask, at most one tick old.
    #[inline]
    pub(crate) fn tick(&self) -> Nanos {
        self.tick.get()
    }

    /// True while connections end early to make room for others.
    pub(crate) fn is_shedding(&self) -> bool {
        self.shedding.get()
    }

    /// True once the server drains.
    #[inline]
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// The configuration for one whole exchange.
    #[inline]
    pub(crate) fn snapshot(&self) -> LocalSnapshot {
        if self.generation.get() != self.shared.generation() {
            self.adopt();
        }
        self.snapshot.borrow().clone()
    }

    /// Serves by the snapshot in force from now on.
    #[cold]
    fn adopt(&self) {
        let next = self.shared.snapshot();
        self.generation.set(next.generation);
        self.counts.adopt(&next);
        self.records.adopt(&next.plan.logging);
        *self.snapshot.borrow_mut() = LocalSnapshot(Rc::new(next));
        self.is_adopted.set(true);
    }

    /// After a new snapshot: lets go of what only older ones had.
    fn tidy_up(&self) {
        let snapshot = self.snapshot();
        if !self.is_adopted.replace(false) {
            return;
        }
        // What is kept for the next exchange still holds the last one's snapshot.
        self.exchanges.clear();
        self.idle.borrow_mut().forget_gone();
        self.links.forget_gone();
        self.deadlines.wake_clients_of(|listener| snapshot.listener_index(listener).is_none());
    }

    /// As `is_leaving`, unless another process serves already and there is time.
    #[inline]
    pub(crate) fn is_hurried(&self, listener: usize) -> bool {
        self.is_leaving(listener) && !self.shared.is_patient()
    }

    /// True once this listener has gone, or the server drains: its connections end as they can.
    #[inline]
    pub(crate) fn is_leaving(&self, listener: usize) -> bool {
        self.is_draining() || self.snapshot().listener_index(listener).is_none()
    }

    /// Says that a client waits for room; others that merely wait will have to go.
    pub(crate) fn press(&self, pressure: Pressure) {
        if self.pressure.get() != Pressure::Process {
            self.pressure.set(pressure);
        }
    }

    /// Gives back descriptors that nobody uses right now.
    pub(crate) fn make_room(&self) {
        self.idle.borrow_mut().clear();
        self.links.clear();
        self.press(Pressure::Process);
    }

    /// The read buffer, for the time of one poll. A panic of another task may have kept it.
    pub(crate) fn take_scratch(&self) -> Box<[u8]> {
        let scratch = std::mem::take(&mut self.scratch.borrow_mut().bytes);
        if scratch.is_empty() { new_scratch() } else { scratch }
    }

    fn shed(&self, now: Nanos) {
        let only = match self.pressure.replace(Pressure::None) {
            Pressure::None => return self.shedding.set(false),
            Pressure::Listener(listener) => Some(listener),
            Pressure::Process => {
                self.idle.borrow_mut().clear();
                self.links.clear();
                None
            }
        };
        self.shedding.set(true);
        let before = Nanos(now.since(Nanos::default().after(SHED_AFTER)));
        self.deadlines.expire_waiting(SHED_PER_TICK, before, only);
    }

    fn sweep_idle(&self, now: Nanos) {
        let mut idle = self.idle.borrow_mut();
        idle.sweep(now);
        self.links.sweep(now);
        let unexplained = idle.take_unexplained();
        drop(idle);
        if !unexplained.is_empty() {
            self.doubt_slots(&unexplained);
        }
    }

    /// Closes what nobody uses any more, a few at a time: whoever has something to say comes
    /// between.
    fn close_going(&self) {
        let mut going = self.idle.borrow_mut().take_going();
        if going.is_empty() {
            return;
        }
        // Should the worker end meanwhile, they close with it.
        tokio::task::spawn_local(async move {
            while !going.is_empty() {
                let stay = going.len().saturating_sub(CLOSED_AT_A_TIME);
                going.drain(stay..).for_each(BackendConnection::close);
                tokio::time::sleep(CLOSE_PAUSE).await;
            }
        });
    }

    async fn sweep_deadlines(&self, now: Nanos) {
        for _ in 0..TURNS_PER_SWEEP {
            if !self.deadlines.sweep(now) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Runs the worker's clockwork until the server stops: deadlines, idle connections, log.
    pub async fn run_ticks(self: Rc<Self>) {
        let turns = tokio::task::spawn_local(Rc::clone(&self.turns).keep());
        let mut ticks = 0u32;
        while !self.shared.is_stopping() {
            tokio::time::sleep(TICK).await;
            let now = self.now();
            self.tick.set(now);
            if self.shared.is_draining() {
                if !self.draining.replace(true) {
                    self.idle.borrow_mut().clear();
                    self.links.clear();
                }
                self.deadlines.wake_all();
            }
            self.tidy_up();
            self.shed(now);
            self.sweep_deadlines(now).await;
            ticks = ticks.wrapping_add(1);
            self.sweep_idle(now);
            self.close_going();
            self.review_pools(now);
            let alarm = self.shared.alarm();
            if self.alarm.replace(alarm) != alarm {
                // A backend is gone: who waits for it should look.
                self.deadlines.wake_busy();
            }
            if ticks.is_multiple_of(TICKS_PER_DATE) {
                *self.date.borrow_mut() = http_date(self.net.unix_nanos());
            }
            self.records.nudge();
        }
        self.exchanges.clear();
        turns.abort();
    }
}

/// IMF-fixdate (RFC 9110 5.6.7).
fn http_date(unix_nanos: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_nanos(unix_nanos))
}

fn new_scratch() -> Box<[u8]> {
    vec![0; SCRATCH_BYTES].into_boxed_slice()
}

/// Keeps the calling thread on one core, so that its caches stay warm. Best effort.
#[cfg(target_os = "linux")]
pub(crate) fn pin_to_core(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    let allowed = rustix::thread::sched_getaffinity(None).unwrap_or(set);
    let cores: Vec<usize> =
        (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    if let Some(core) = core.checked_rem(cores.len()).and_then(|index| cores.get(index)) {
        set.set(*core);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
}

/// The system places threads itself.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin_to_core(_core: usize) {}

/// How much nicer a thread is that gives way: where every core is busy it has a quarter of what a
/// worker has, so that it ends all the same.
#[cfg(target_os = "linux")]
const NICER: i32 = 6;
/// As nice as can be.
#[cfg(target_os = "linux")]
const NICEST: i32 = 19;
/// How long it asks to run at a time: the longest that the kernel knows. Whoever asks for less, as
/// who asks for nothing does, gets his turn at once when he has something to do (since Linux 6.12).
#[cfg(target_os = "linux")]
const SLICE: Duration = Duration::from_millis(100);

/// From now on the calling thread runs where no worker has anything to do, and interrupts none.
/// Best effort.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no library wraps sched_setattr(2)")]
pub(crate) fn give_way() {
    let size = size_of::<libc::sched_attr>();
    let (own_thread, no_flags) = (0, 0);
    // SAFETY: a plain structure of numbers, for which nothing is a value.
    let mut rank: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes no more than `size` bytes, which is what the structure has.
    let read = unsafe {
        libc::syscall(libc::SYS_sched_getattr, own_thread, &raw mut rank, size, no_flags)
    };
    if read != 0 || i32::try_from(rank.sched_policy) == Ok(libc::SCHED_IDLE) {
        // It ranks below everybody already.
        return;
    }
    rank.sched_policy = libc::SCHED_BATCH.unsigned_abs();
    rank.sched_priority = 0;
    rank.sched_nice = (rank.sched_nice + NICER).min(NICEST);
    rank.sched_runtime = u64::try_from(SLICE.as_nanos()).unwrap_or_default();
    // SAFETY: the kernel reads as many bytes as `rank.size` says, which it has set itself.
    unsafe {
        libc::syscall(libc::SYS_sched_setattr, own_thread, &raw const rank, no_flags);
    }
}

/// The system knows which threads are busy.
#[cfg(not(target_os = "linux"))]
pub(crate) fn give_way() {}
