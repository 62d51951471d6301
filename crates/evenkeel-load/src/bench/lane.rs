//! One request after another on one connection: the loop that every protocol shares.

use super::alarm::Alarm;
use super::course::{Course, Ticket};
use super::fault::Fault;
use super::tally::{Ended, Tally};
use super::turn::Turns;
use crate::LoadError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long a closed loop rests after it found no connection, so that it does not spin.
const CONNECT_PAUSE: Duration = Duration::from_millis(10);

/// A complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Of the answer.
    pub(crate) status: u16,
    /// Of its body.
    pub(crate) bytes: u64,
}

/// Speaks one protocol to the target, one exchange at a time.
pub(crate) trait Client: Send + 'static {
    /// Sends the request of this number and reads the whole answer, before the deadline.
    fn exchange(
        &mut self,
        seq: u64,
        deadline: tokio::time::Instant,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Who gave the last answer; empty if it did not say so.
    fn backend(&self) -> &str;
}

/// What one connection of a run needs.
pub(crate) struct Lane {
    /// What is to be sent, and when.
    pub(crate) course: Arc<Course>,
    /// Where its thread counts.
    pub(crate) tally: Arc<Mutex<Tally>>,
    /// Of one request, from when it began or was due.
    pub(crate) timeout: Duration,
    /// When it joins in, from the start of the run.
    pub(crate) joins: Duration,
    /// With whom it takes turns, if not everybody takes the next request as soon as it can.
    pub(crate) turns: Option<Arc<Turns>>,
}

impl Lane {
    /// Sends until there is nothing left to send.
    pub(crate) async fn run<C: Client>(self, mut client: C) {
        // Not before it is needed: most of many lanes may never have a turn.
        let mut alarm = None;
        let call = Arc::new(Notify::new());
        if !self.joins.is_zero() {
            ring(&mut alarm, self.course.start() + self.joins).await;
        }
        while let Some(ticket) = self.next(&call, &mut alarm).await {
            let flight = Flight::begin(&self, ticket);
            let deadline = flight.begun + self.timeout;
            let outcome = if ticket.due.is_some() && Instant::now() >= deadline {
                Err(Fault::new(LoadError::Timeout, "no connection was free in time"))
            } else {
                client.exchange(ticket.seq, deadline.into()).await
            };
            let rests = outcome.as_ref().is_err_and(|fault| fault.kind == LoadError::Connect);
            flight.end(outcome, client.backend());
            if rests && ticket.due.is_none() {
                tokio::time::sleep(CONNECT_PAUSE).await;
            }
        }
    }

    /// The next request of this connection, once it is due.
    async fn next(&self, call: &Arc<Notify>, alarm: &mut Option<Alarm>) -> Option<Ticket> {
        if let Some(turns) = &self.turns {
            turns.lead(call).await;
        }
        let ticket = self.course.take();
        let due = ticket.and_then(|ticket| ticket.due);
        if let Some(due) = due {
            ring(alarm, self.course.start() + due).await;
        }
        if let Some(turns) = &self.turns {
            turns.pass_on();
        }
        ticket.filter(|_| due.is_none_or(|due| !self.course.ended_before(due)))
    }

    fn count(&self, ended: Ended<'_>) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).count(ended);
    }
}

async fn ring(alarm: &mut Option<Alarm>, then: Instant) {
    alarm.get_or_insert_with(Alarm::new).until(then).await;
}

/// A request that has begun. It is counted however it ends, even if nobody waits for it any more.
struct Flight<'a> {
    lane: &'a Lane,
    seq: u64,
    begun: Instant,
    counted: bool,
}

impl<'a> Flight<'a> {
    fn begin(lane: &'a Lane, ticket: Ticket) -> Flight<'a> {
        let now = Instant::now();
        let due = ticket.due.map(|due| lane.course.start() + due);
        if let Some(due) = due {
            let mut tally = lane.tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.began_late(now.saturating_duration_since(due));
        }
        Flight { lane, seq: ticket.seq, begun: due.unwrap_or(now), counted: false }
    }

    fn end(mut self, outcome: Result<Answer, Fault>, backend: &str) {
        self.counted = true;
        self.count(outcome, backend);
    }

    fn count(&self, outcome: Result<Answer, Fault>, backend: &str) {
        let start = self.lane.course.start();
        let begun = self.begun.saturating_duration_since(start);
        let latency = self.begun.elapsed();
        self.lane.count(Ended { seq: self.seq, begun, latency, outcome, backend });
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.counted {
            let fault = Fault::new(LoadError::Interrupted, "the run was interrupted");
            self.count(Err(fault), "");
        }
    }
}
