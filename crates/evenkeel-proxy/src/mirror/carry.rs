//! One copy on its way: a backend of the other pool, a connection, the request, the answer. Its
//! outcome teaches that pool what an exchange's would, and nobody else.

use super::answer::{Answer, Progress};
use super::meeting::{Meeting, Side};
use super::{Held, UnderWay};
use crate::buffer::Outbox;
use crate::connect::{self, Beginning};
use crate::idle::BackendConnection;
use crate::net::{Net, Stream};
use crate::worker::{LocalSnapshot, Worker};
use evenkeel_core::failure::Failure;
use evenkeel_core::grpc;
use evenkeel_core::path::put_prefix;
use evenkeel_core::plan::SendProxy;
use evenkeel_core::pool::{NoPick, Outcome, Pick, Pool, Query, Tried};
use evenkeel_core::request::Verb;
use evenkeel_core::stats::{CopyCounts, CopyResult, ExchangeEnd, MethodLabel};
use evenkeel_core::suspicion::Doubt;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;

/// Longest time that a copy may take, whatever its pool allows a request.
const MAX_COPY_TIME: Duration = Duration::from_secs(60);
/// Reads of one poll, so that one fast answer does not starve the other connections.
const READS_PER_POLL: u32 = 8;
/// Statuses from here on are failures.
const FIRST_FAILED_STATUS: u16 = 500;
/// Largest single read.
const READ_BYTES: usize = 64 * 1024;

/// A copy to be sent.
pub(super) struct Copy {
    /// Head and body, as they are written.
    pub(super) request: Vec<u8>,
    pub(super) snapshot: LocalSnapshot,
    /// Index of the pool.
    pub(super) pool: usize,
    pub(super) counts: Arc<CopyCounts>,
    pub(super) hash: u64,
    pub(super) verb: Verb,
    pub(super) method: MethodLabel,
    /// It is a gRPC call.
    pub(super) is_call: bool,
    /// Where its answer is compared with the request's own.
    pub(super) meeting: Option<Rc<Meeting>>,
    /// What it uses, for as long as it lives.
    pub(super) guards: (Rc<Held>, UnderWay),
}

impl Copy {
    fn new_answer(&self) -> Answer {
        Answer::new(self.verb, self.meeting.as_ref().map(|meeting| &meeting.plan))
    }
}

/// Why there is no whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// No connection.
    Connect,
    /// This machine has no descriptor or port left.
    Starved,
    /// The connection broke, or something came that is no answer.
    Broken {
        /// Nothing came back over a connection that had been used before.
        stale: bool,
    },
    /// It took too long.
    Late,
}

/// Carries a copy to its end, and counts what became of it.
pub(super) async fn carry<N: Net>(worker: Rc<Worker<N>>, copy: Copy) {
    let snapshot = copy.snapshot.clone();
    let Some(pool) = snapshot.pools.get(copy.pool) else { return };
    let mut pick = match pick(&worker, pool, copy.hash) {
        Ok(pick) => pick,
        Err(NoPick::Busy) => return copy.counts.ended(CopyResult::Skipped, 1),
        Err(NoPick::Nobody) => {
            answered(&copy, Failure::NoBackend.status(), Duration::ZERO);
            return copy.counts.ended(CopyResult::Failed, 1);
        }
    };
    let timeouts = &pool.plan.timeouts;
    let patience = timeouts.connect.saturating_add(timeouts.response_head).min(MAX_COPY_TIME);
    let mut answer = copy.new_answer();
    let asked = ask(&worker, &copy, (pool, &pick), &mut answer);
    let ended = timeout(patience, asked).await.unwrap_or(Err(Lost::Late));
    let took = worker.now().duration_since(pick.at);
    judge(&worker, (pool, &mut pick), (&copy, &answer, ended));
    let (result, code) = match ended {
        Ok(()) => (CopyResult::Sent, code_of(&copy, &answer)),
        Err(Lost::Starved) => (CopyResult::Skipped, None),
        Err(Lost::Late) => (CopyResult::Failed, Some(Failure::ResponseTimeout.status())),
        Err(Lost::Connect) => (CopyResult::Failed, Some(Failure::ConnectFailure.status())),
        Err(Lost::Broken { .. }) => (CopyResult::Failed, Some(Failure::Reset.status())),
    };
    if let Some(code) = code {
        answered(&copy, code, took);
    }
    if let Some(meeting) = copy.meeting.as_ref().filter(|_| ended.is_ok())
        && let Some(heard) = answer.heard(took)
    {
        meeting.arrive(&worker, Side::Shadow, heard);
    }
    copy.counts.ended(result, 1);
    // Not before: a copy that is counted has given back what it used.
    drop(copy.guards);
}

/// The code by which an answer counts: a call that failed is no success, whatever HTTP says.
fn code_of(copy: &Copy, answer: &Answer) -> Option<u16> {
    let failed = |status: u8| grpc::is_failure(status);
    match answer.grpc_status {
        Some(status) if copy.is_call && failed(status) => Some(Failure::NoBackend.status()),
        Some(_) | None => answer.status,
    }
}

fn answered(copy: &Copy, code: u16, took: Duration) {
    copy.counts.answered(&ExchangeEnd {
        code,
        method: copy.method,
        total: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        first_byte: None,
        connect: None,
        queue: None,
        bytes_in: 0,
        bytes_out: 0,
        failed: code >= FIRST_FAILED_STATUS,
    });
}

fn pick<N: Net>(worker: &Worker<N>, pool: &Pool, hash: u64) -> Result<Pick, NoPick> {
    if !pool.waiting.is_empty() {
        // Requests wait for this pool; a copy takes nobody's place.
        return Err(NoPick::Busy);
    }
    pool.pick(&Query {
        tried: &Tried::default(),
        now: worker.now(),
        draw: worker.net.random(),
        hash,
        tied: None,
        repeatable: true,
        has_idle: &|backend| worker.idle.borrow().has(backend) || worker.links.has(backend),
    })
}

/// What the pool learns: the same as from a request.
fn judge<N: Net>(
    worker: &Worker<N>,
    (pool, pick): (&Arc<Pool>, &mut Pick),
    (copy, answer, ended): (&Copy, &Answer, Result<(), Lost>),
) {
    match (ended, code_of(copy, answer)) {
        (Ok(()), Some(code)) => worker.report(pool, pick, Outcome::Answered(code)),
        (Err(Lost::Starved), _) => {}
        (Ok(()), None) | (Err(_), _) => worker.report(pool, pick, Outcome::Failed),
    }
    match ended {
        Err(Lost::Connect) => drop(worker.doubt(pool, pick.index, Doubt::ConnectFailure)),
        Err(Lost::Broken { .. }) if answer.taken == 0 => {
            worker.doubt(pool, pick.index, Doubt::Reset);
        }
        Ok(()) | Err(Lost::Starved | Lost::Broken { .. } | Lost::Late) => {}
    }
}

/// Sends the copy and reads its answer, over an idle connection or a new one.
async fn ask<N: Net>(
    worker: &Rc<Worker<N>>,
    copy: &Copy,
    (pool, pick): (&Arc<Pool>, &Pick),
    answer: &mut Answer,
) -> Result<(), Lost> {
    let beginning = Beginning::own(&copy.snapshot, (pool, pick));
    if let Some(connection) = worker.ready_connection(pick, &beginning) {
        match talk(worker, copy, (pool, pick, connection), answer).await {
            // It had died while it lay there: that says nothing about the backend.
            Err(Lost::Broken { stale: true }) => *answer = copy.new_answer(),
            ended => return ended,
        }
    }
    let (connect, idle) = (pool.plan.timeouts.connect, pool.plan.connections.idle_timeout);
    let began = worker.now();
    let _counted = pick.connecting(pool.plan.connections.max_connecting);
    let connected = connect::connect(worker, (pick, &beginning), (connect, idle)).await;
    pool.waiting.call_next();
    let connection = connected.map_err(|error| match connect::is_ours(&error) {
        true => Lost::Starved,
        false => Lost::Connect,
    })?;
    pick.connect_times.observe(worker.now().duration_since(began));
    talk(worker, copy, (pool, pick, connection), answer).await
}

async fn talk<N: Net>(
    worker: &Rc<Worker<N>>,
    copy: &Copy,
    (pool, pick, mut connection): (&Arc<Pool>, &Pick, BackendConnection<N::Stream>),
    answer: &mut Answer,
) -> Result<(), Lost> {
    let mut request = Outbox { bytes: copy.request.clone(), written: 0 };
    put_prefix(&mut request.bytes, 0, &pick.plan.address.prefix);
    let read = poll_fn(|cx| {
        // A write that fails is no verdict: the answer may be on its way all the same.
        let _ = request.poll_write(cx, &mut connection.stream);
        poll_answer(cx, worker, &mut connection.stream, answer)
    });
    let read = read.await;
    let stale = connection.reused && answer.taken == 0;
    let progress = read.map_err(|()| Lost::Broken { stale })?;
    let whole = progress == Progress::Whole && answer.reusable && request.is_empty();
    let shared = pool.plan.proxy_protocol == SendProxy::Off;
    if whole && shared && !worker.is_draining() {
        let bounds = &pool.plan.connections;
        worker.idle.borrow_mut().give(pick, bounds, connection, worker.recent());
    } else {
        connection.stream.farewell();
    }
    Ok(())
}

fn poll_answer<N: Net>(
    cx: &mut Context<'_>,
    worker: &Worker<N>,
    stream: &mut impl Stream,
    answer: &mut Answer,
) -> Poll<Result<Progress, ()>> {
    for _ in 0..READS_PER_POLL {
        let mut scratch = worker.scratch.borrow_mut();
        let read = match stream.poll_read(cx, &mut scratch.bytes[..READ_BYTES]) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
            Poll::Ready(Ok(0)) => answer.end(),
            Poll::Ready(Ok(length)) => answer.read(&scratch.bytes[..length]),
        };
        match read {
            Ok(Progress::More) => {}
            Ok(ended) => return Poll::Ready(Ok(ended)),
            Err(_) => return Poll::Ready(Err(())),
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}
