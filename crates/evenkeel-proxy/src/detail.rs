//! Details of what happens, on their way from whoever sees them to the one who keeps them: events,
//! exchanges that failed, were slow or were drawn, and answers to be compared.
//!
//! ```text
//! workers, prober, control ── offer ── queue, 1,000 ── the one reader (recorder, event stream)
//! ```
//!
//! *Architecture invariant:* who offers never waits, and nothing is counted by what arrives here:
//! totals come from the cells of `count`. If the reader falls behind, details are dropped whole and
//! counted by their kind.

use crate::trace::Traced;
use crate::try_failure::TryError;
use evenkeel_core::failure::{Failure, TryCode};
use evenkeel_core::mirror::{DiffPlan, Heard};
use evenkeel_core::plan::LogLevel;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc::{self, Receiver, Sender};

/// Details that wait.
pub const MAX_WAITING: usize = 1_000;

/// Something that happened.
#[derive(Debug)]
pub enum Detail {
    /// An event of the log.
    Event(ToldEvent),
    /// An exchange that has ended.
    Exchange(Box<Finished>),
    /// A request and its copy have been answered.
    Compared(Box<Compared>),
}

/// Two answers to one request, to be compared.
#[derive(Debug)]
pub struct Compared {
    /// Whose request it was.
    pub route: Arc<str>,
    /// Where the copy went.
    pub pool: Arc<str>,
    /// What is compared.
    pub plan: Arc<DiffPlan>,
    /// When the later answer had come, since 1970.
    pub ended_unix: u64,
    /// The id that both have.
    pub id: String,
    /// As sent.
    pub method: String,
    /// As forwarded, without the query.
    pub path: String,
    /// What the client got.
    pub real: Heard,
    /// What the copy was answered.
    pub shadow: Heard,
}

/// An event as the log tells it.
#[derive(Clone, Debug)]
pub struct ToldEvent {
    /// Its stable name.
    pub name: &'static str,
    /// How bad it is.
    pub level: LogLevel,
    /// Its line in the log, as JSON.
    pub json: String,
}

/// Why an exchange is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remark {
    /// It ended in a failure, or in a 5xx of the backend.
    Failed,
    /// It took longer than `recorder.slow`.
    Slow,
    /// It was drawn to be captured.
    Drawn,
    /// It is part of a recorded trace, and nothing else.
    Traced,
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryOutcome {
    /// With the head of a response.
    Status(u16),
    /// Without one; the code of what went wrong.
    Code(&'static str),
}

/// One try. Times are in nanoseconds.
#[derive(Clone, Debug)]
pub struct FinishedTry {
    /// Name of the backend.
    pub backend: Arc<str>,
    /// How it ended.
    pub outcome: TryOutcome,
    /// When it began, from the end of the request's head.
    pub start: u64,
    /// When it ended, or its response began, from the end of the request's head.
    pub end: u64,
    /// To choose the backend; known if a connection was made.
    pub pick: Option<u64>,
    /// To make a connection.
    pub connect: Option<u64>,
    /// From its start to the head of the response.
    pub first_byte: Option<u64>,
}

/// One exchange that has ended. Times are in nanoseconds.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Why it is told.
    pub remark: Remark,
    /// When it ended, since 1970.
    pub ended_unix: u64,
    /// The id that backend, log and client have seen.
    pub id: String,
    /// The client, after trusted forwarding fields.
    pub client_ip: String,
    /// As sent.
    pub method: String,
    /// The host asked for.
    pub host: String,
    /// As forwarded, without the query.
    pub path: String,
    /// Where the client came in.
    pub listener: Arc<str>,
    /// The route that matched.
    pub route: Option<Arc<str>>,
    /// Its pool.
    pub pool: Option<Arc<str>>,
    /// What the client got; 0 if nothing.
    pub status: u16,
    /// Why the backend's own complete answer did not arrive.
    pub failure: Option<Failure>,
    /// In order.
    pub tries: Vec<FinishedTry>,
    /// From accept to the end of the head, of the connection's first request.
    pub accept: Option<u64>,
    /// Waiting for a backend with room.
    pub queue: Option<u64>,
    /// From the head of the response to its end.
    pub body: Option<u64>,
    /// From the end of the request's head to the end of the exchange.
    pub total: u64,
    /// Received from the client.
    pub bytes_in: u64,
    /// Sent to the client.
    pub bytes_out: u64,
    /// Its spans, if it is part of a recorded trace.
    pub traced: Option<Box<Traced>>,
    /// Head and beginning of the body as they went to the backend, if it was drawn. Not redacted.
    pub captured: Option<Vec<u8>>,
}

/// Where details are offered.
#[derive(Clone, Debug)]
pub struct Details {
    queue: Sender<Detail>,
    dropped: Arc<Dropped>,
}

#[derive(Debug, Default)]
struct Dropped {
    events: AtomicU64,
    exchanges: AtomicU64,
    comparisons: AtomicU64,
}

/// A queue of details, and its one reader.
pub(crate) fn details() -> (Details, Receiver<Detail>) {
    let (queue, reader) = mpsc::channel(MAX_WAITING);
    (Details { queue, dropped: Arc::default() }, reader)
}

impl Details {
    /// Passes it on, or drops and counts it.
    pub(crate) fn offer(&self, detail: Detail) {
        if let Err(refused) = self.queue.try_send(detail) {
            let counter = match refused.into_inner() {
                Detail::Event(_) => &self.dropped.events,
                Detail::Exchange(_) => &self.dropped.exchanges,
                Detail::Compared(_) => &self.dropped.comparisons,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Details that were lost because nobody took them in time, by kind.
    pub fn dropped(&self) -> [(&'static str, u64); 3] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Dropped { events, exchanges, comparisons } = &*self.dropped;
        [
            ("event", count(events)),
            ("exchange", count(exchanges)),
            ("comparison", count(comparisons)),
        ]
    }
}

impl From<TryError> for TryOutcome {
    fn from(error: TryError) -> TryOutcome {
        TryOutcome::Code(match error {
            TryError::Status(status) => return TryOutcome::Status(status),
            TryError::SlowConnect => TryCode::SlowConnect.code(),
            TryError::Starved => TryCode::NoDescriptors.code(),
            TryError::Forsaken => TryCode::Forsaken.code(),
            TryError::PerTryTimeout => TryCode::PerTryTimeout.code(),
            TryError::Unavailable => TryCode::GrpcUnavailable.code(),
            TryError::Connect
            | TryError::Reset
            | TryError::BadResponse
            | TryError::NoTrailers
            | TryError::HeadTooLarge
            | TryError::Timeout
            | TryError::ClientGone
            | TryError::BadRequestBody
            | TryError::BodyTooLarge
            | TryError::BodyTimeout => Failure::from(error).code(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_takes_is_counted_by_kind() {
        let (details, mut reader) = details();
        let event = || {
            let json = "{}".to_owned();
            Detail::Event(ToldEvent { name: "x", level: LogLevel::Info, json })
        };
        (0..MAX_WAITING + 7).for_each(|_| details.offer(event()));
        assert_eq!(details.dropped(), [("event", 7), ("exchange", 0), ("comparison", 0)]);
        assert!(reader.try_recv().is_ok());
        details.offer(event());
        assert_eq!(details.dropped()[0].1, 7, "there was room");
        drop(reader);
        details.offer(event());
        assert_eq!(details.dropped()[0].1, 8, "nobody is there");
    }
}
