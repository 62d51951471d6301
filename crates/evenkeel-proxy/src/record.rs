//! The access record of one exchange: filled in as it goes, written exactly once, at the latest
//! when dropped.

mod remarkable;

use crate::clock::Nanos;
use crate::count::Place;
use crate::detail::TryOutcome;
use crate::log::AccessSink;
use crate::net::Net;
use crate::trace::Traced;
use crate::worker::{LocalSnapshot, Worker};
use evenkeel_core::failure::Failure;
use evenkeel_core::grpc;
use evenkeel_core::migration::Awaiting;
use evenkeel_core::plan::{LogFormat, LoggingPlan};
use evenkeel_core::record::{AccessRecord, TimeStamp, write_access};
use evenkeel_core::stats::MethodLabel;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The worker's end of the log.
pub(crate) struct RecordWriter {
    pen: Option<RefCell<Pen>>,
    format: Cell<LogFormat>,
    /// Records are written if a draw is at most this; none if it is 0.
    sample_to: Cell<u64>,
}

struct Pen {
    sink: AccessSink,
    line: Vec<u8>,
    stamp: TimeStamp,
}

impl RecordWriter {
    pub(crate) fn new(sink: Option<AccessSink>, plan: &LoggingPlan) -> RecordWriter {
        let pen = sink.map(|sink| {
            RefCell::new(Pen { sink, line: Vec::with_capacity(1024), stamp: TimeStamp::default() })
        });
        let writer = RecordWriter { pen, format: Cell::new(plan.format), sample_to: Cell::new(0) };
        writer.adopt(plan);
        writer
    }

    /// What is written, and how, from now on.
    pub(crate) fn adopt(&self, plan: &LoggingPlan) {
        let share = if plan.access { plan.access_sample } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        self.sample_to.set((share * u64::MAX as f64) as u64);
        self.format.set(plan.format);
    }

    /// Has the writer thread look, if there is something.
    pub(crate) fn nudge(&self) {
        self.pen.iter().for_each(|pen| pen.borrow().sink.nudge());
    }

    fn draws<N: Net>(&self, net: &N) -> bool {
        let sample_to = self.sample_to.get();
        self.pen.is_some() && sample_to > 0 && (sample_to == u64::MAX || net.random() <= sample_to)
    }

    fn write(&self, record: &AccessRecord<'_>) {
        if let Some(pen) = &self.pen {
            let Pen { sink, line, stamp } = &mut *pen.borrow_mut();
            line.clear();
            write_access(self.format.get(), record, stamp, line);
            sink.push(line);
        }
    }
}

/// Texts of a record, kept one behind the other in a pooled buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// `X-Request-Id`.
    RequestId,
    /// The client's address.
    ClientIp,
    /// The method.
    Method,
    /// The host asked for.
    Host,
    /// The path as forwarded, without the query.
    Path,
}

const PARTS: usize = 5;

/// How long the steps of an exchange took, in nanoseconds, as far as it came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    /// Waiting for a backend to have room.
    pub(crate) queue: Option<u64>,
    /// To choose the last try's backend, if a connection was made.
    pub(crate) pick: Option<u64>,
    /// To make the last try's new connection.
    pub(crate) connect: Option<u64>,
    /// From the last try's start to the head of its response.
    pub(crate) first_byte: Option<u64>,
}

/// A try whose response the client does not get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LostTry {
    /// Index in the pool.
    pub(crate) backend: usize,
    pub(crate) outcome: TryOutcome,
    pub(crate) times: LostTimes,
}

/// When such a try began and ended, and how long its steps took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LostTimes {
    pub(crate) start: Nanos,
    pub(crate) end: Nanos,
    pub(crate) pick: Option<u64>,
    pub(crate) connect: Option<u64>,
    pub(crate) first_byte: Option<u64>,
}

/// One exchange, as its access record will tell it.
pub(crate) struct Record<N: Net> {
    worker: Rc<Worker<N>>,
    open: bool,
    snapshot: LocalSnapshot,
    started: Nanos,
    /// The access record will be written.
    logged: bool,
    /// Texts are worth keeping.
    wanted: bool,
    text: Vec<u8>,
    ends: [u32; PARTS],
    /// The number of the listener.
    pub(crate) listener: usize,
    pub(crate) route: Option<usize>,
    pub(crate) pool: Option<usize>,
    /// A migration has given it to that pool, and no answer has come.
    pub(crate) awaiting: Option<Awaiting>,
    /// Index in the pool of the backend that was tried last.
    pub(crate) backend: Option<usize>,
    /// Index in the pool of the backend whose response the client gets.
    pub(crate) answered_by: Option<usize>,
    pub(crate) method: MethodLabel,
    pub(crate) times: Times,
    /// From accept to the end of the head, of the connection's first request.
    pub(crate) accept: Option<u64>,
    /// When the last try began.
    pub(crate) try_at: Nanos,
    /// Its spans, if it is recorded for a trace.
    pub(crate) traced: Option<Box<Traced>>,
    /// Tries whose response the client does not get; empty as long as all goes well.
    pub(crate) lost: Vec<LostTry>,
    pub(crate) status: u16,
    /// How a gRPC call ended, once that is known.
    pub(crate) grpc_status: Option<u8>,
    /// It is a gRPC call whose end we can see.
    pub(crate) is_call: bool,
    pub(crate) failure: Option<Failure>,
    pub(crate) tries: u32,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

impl<N: Net> Record<N> {
    pub(crate) fn start(worker: &Rc<Worker<N>>, listener: usize) -> Record<N> {
        let snapshot = worker.snapshot();
        let logged = worker.records.draws(&worker.net);
        Record {
            open: true,
            started: worker.now(),
            logged,
            wanted: logged || snapshot.plan.watches(),
            snapshot,
            text: worker.buffers.take(0),
            ends: [0; PARTS],
            listener,
            route: None,
            pool: None,
            backend: None,
            answered_by: None,
            method: MethodLabel::Other,
            times: Times::default(),
            awaiting: None,
            accept: None,
            try_at: Nanos::default(),
            traced: None,
            lost: Vec::new(),
            status: 0,
            grpc_status: None,
            is_call: false,
            failure: None,
            tries: 0,
            bytes_in: 0,
            bytes_out: 0,
            worker: Rc::clone(worker),
        }
    }

    /// The configuration of the whole exchange.
    pub(crate) fn snapshot(&self) -> &LocalSnapshot {
        &self.snapshot
    }

    /// Belongs to another configuration from now on, in which these are its route and pool. Only
    /// before the first try, for what was tried is known by its place.
    pub(crate) fn move_to(&mut self, snapshot: LocalSnapshot, route: Option<usize>, pool: usize) {
        (self.snapshot, self.route, self.pool) = (snapshot, route, Some(pool));
    }

    /// When the request's head was complete.
    pub(crate) fn started(&self) -> Nanos {
        self.started
    }

    /// The worker that serves the exchange.
    pub(crate) fn worker(&self) -> &Worker<N> {
        &self.worker
    }

    /// The same worker, for what outlives the exchange.
    pub(crate) fn worker_to_keep(&self) -> Rc<Worker<N>> {
        Rc::clone(&self.worker)
    }

    /// True if the record may be read: its texts are worth keeping.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Adds a text; parts are set in their order, each once.
    pub(crate) fn set(&mut self, part: Part, text: &[u8]) {
        self.text.extend_from_slice(text);
        let end = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        self.ends[part as usize..].fill(end);
    }

    /// A text set before; empty if it was not.
    pub(crate) fn get(&self, part: Part) -> &[u8] {
        let index = part as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        self.text.get(start..self.ends[index] as usize).unwrap_or_default()
    }

    /// Where the exchange counts.
    pub(crate) fn place(&self) -> Place {
        let (listener, route, pool) = (self.listener, self.route, self.pool);
        Place { listener, route, pool, backend: self.answered_by }
    }

    /// How it counts as a gRPC call: one that was cut off ended in no other way.
    pub(crate) fn call_status(&self) -> Option<u8> {
        let cut = match self.failure {
            Some(Failure::ClientGone) => grpc::CANCELLED,
            _ => grpc::UNKNOWN,
        };
        self.grpc_status.or(self.is_call.then_some(cut))
    }

    fn write(&self, latency_nanos: u64) {
        let plan = &self.snapshot.plan;
        let route = self.route.and_then(|index| plan.routes.get(index));
        let pool = self.pool.and_then(|index| plan.pools.get(index));
        let live = self.pool.and_then(|index| self.snapshot.pools.get(index));
        let backend = self.backend.and_then(|index| live?.backends.get(index));
        let listener = self.snapshot.listener(self.listener);
        self.worker.records.write(&AccessRecord {
            unix_nanos: self.worker.net.unix_nanos(),
            client_ip: std::str::from_utf8(self.get(Part::ClientIp)).unwrap_or_default(),
            method: self.get(Part::Method),
            host: self.get(Part::Host),
            path: self.get(Part::Path),
            status: self.status,
            backend: backend.map_or("", |backend| &backend.label),
            pool: pool.map_or("", |pool| &pool.name),
            route: route.map_or("", |route| &route.name),
            latency_nanos,
            tries: self.tries,
            failure: self.failure,
            grpc_status: self.grpc_status,
            request_id: self.get(Part::RequestId),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            listener: listener.map_or("", |listener| &listener.name),
        });
    }
}

impl<N: Net> Record<N> {
    /// Ends the record: it is written now, if it is wanted, and never again. `sent` is the request
    /// as far as it is still here.
    pub(crate) fn finish(&mut self, sent: &[u8]) {
        if std::mem::take(&mut self.open) {
            self.awaiting = None;
            let total = self.worker.recent().since(self.started);
            self.worker.counts.exchange(self, total);
            if self.logged {
                self.write(total);
            }
            if let Some(remark) = remarkable::remark(self, total) {
                remarkable::tell(self, (remark, total), sent);
            }
            self.worker.buffers.give(std::mem::take(&mut self.text));
        }
    }

    /// The head of the client's answer has come, so long after the try began.
    pub(crate) fn note_answer(&mut self, waited: u64) {
        self.times.first_byte = Some(waited);
        if let Some(awaiting) = self.awaiting.take() {
            awaiting.answer();
        }
    }

    /// Notes a try whose response the client does not get.
    pub(crate) fn lose_try(&mut self, outcome: TryOutcome) {
        let Some(backend) = self.backend else { return };
        let Times { pick, connect, first_byte, .. } = self.times;
        let (start, end) = (self.try_at, self.worker.recent());
        let times = LostTimes { start, end, pick, connect, first_byte };
        self.lost.push(LostTry { backend, outcome, times });
    }
}

impl<N: Net> Drop for Record<N> {
    fn drop(&mut self) {
        self.finish(&[]);
    }
}
