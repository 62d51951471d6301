//! One exchange of a connection.

use super::frame::broken;
use crate::bench::fault::Fault;
use crate::bench::lane::Answer;
use std::task::{Context, Poll, Waker};

/// How much of one answer may be on its way.
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;

/// Why an exchange got no answer.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The server has not seen the request, or says that it did nothing about it.
    Unprocessed(Fault),
    /// Nobody knows what the server did.
    Failed(Fault),
}

/// Where an exchange is: `Idle → Queued → Open → Ended → Idle`.
#[derive(Default)]
pub(crate) enum Stage {
    /// Nobody waits.
    #[default]
    Idle,
    /// To be sent.
    Queued,
    /// It has a stream.
    Open,
    /// Nobody has asked what came of it.
    Ended(Result<Answer, End>),
}

/// One client's place on a connection: one exchange after another.
#[derive(Default)]
pub(crate) struct Slot {
    /// Where the exchange is.
    pub(crate) stage: Stage,
    /// Its stream; of an earlier exchange if it has none.
    pub(crate) stream: u32,
    /// Bytes of the request's body.
    pub(crate) sent: usize,
    /// How much more of it the server takes.
    pub(crate) send_window: i64,
    /// How much more of an answer we take.
    pub(crate) window: Window,
    /// 0 = no head so far.
    pub(crate) status: u16,
    /// What the head says of the body.
    pub(crate) length: Option<u64>,
    /// Bytes of the body so far.
    pub(crate) bytes: u64,
    /// Value of X-Backend; empty if there was none.
    pub(crate) backend: String,
    /// Whoever waits.
    pub(crate) waker: Option<Waker>,
}

impl Slot {
    /// Begins an exchange.
    pub(crate) fn open(&mut self, stream: u32, send_window: u32) {
        self.backend.clear();
        *self = Slot {
            stage: Stage::Open,
            stream,
            send_window: send_window.into(),
            window: Window::new(STREAM_WINDOW),
            backend: std::mem::take(&mut self.backend),
            waker: self.waker.take(),
            ..Slot::default()
        };
    }

    /// Ends it.
    pub(crate) fn end(&mut self, outcome: Result<Answer, End>) {
        self.stage = Stage::Ended(outcome);
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// What came of it.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Answer, End>> {
        match std::mem::take(&mut self.stage) {
            Stage::Ended(outcome) => return Poll::Ready(outcome),
            stage @ (Stage::Idle | Stage::Queued | Stage::Open) => self.stage = stage,
        }
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// What the server may still send.
#[derive(Default)]
pub(crate) struct Window {
    left: u32,
    full: u32,
}

impl Window {
    /// All of it is free.
    pub(crate) fn new(full: u32) -> Window {
        Window { left: full, full }
    }

    /// So many bytes came, and are gone; gives what is to be allowed anew.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<u32, Fault> {
        let left = u32::try_from(bytes).ok().and_then(|bytes| self.left.checked_sub(bytes));
        self.left = left.ok_or_else(|| broken("more data than was allowed"))?;
        if self.left > self.full / 2 {
            return Ok(0);
        }
        Ok(self.full - std::mem::replace(&mut self.left, self.full))
    }
}
