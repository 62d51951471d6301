//! Streams of a backend connection whose response is whole, and whose end has not come: many
//! servers announce a length and end the stream by an empty frame of its own. Reset before, it
//! looks like that of a client who gives up, and over many of those a server may end the
//! connection.

use crate::clock::Nanos;
use h2::RecvStream;
use std::cell::RefCell;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// So long a stream may take to end; then it is reset.
const PATIENCE: Duration = Duration::from_secs(1);

/// Those of one connection, and since when.
#[derive(Debug, Default)]
pub(crate) struct Late(RefCell<Vec<(RecvStream, Nanos)>>);

impl Late {
    /// True if the stream lacks its end, and is waited for.
    pub(crate) fn take(&self, mut frames: RecvStream, now: impl FnOnce() -> Nanos) -> bool {
        let lacks = lacks_end(&mut frames);
        if lacks {
            self.0.borrow_mut().push((frames, now()));
        }
        lacks
    }

    /// Lets go of those that have ended; says how many.
    pub(crate) fn see_ends(&self) -> usize {
        self.keep(|(frames, _)| lacks_end(frames))
    }

    /// Gives up those that do not end; says how many.
    pub(crate) fn give_up(&self, now: impl FnOnce() -> Nanos) -> usize {
        if self.0.borrow().is_empty() {
            return 0;
        }
        let now = now();
        self.keep(|(_, since)| now < since.after(PATIENCE))
    }

    fn keep(&self, stays: impl FnMut(&mut (RecvStream, Nanos)) -> bool) -> usize {
        let mut streams = self.0.borrow_mut();
        let before = streams.len();
        streams.retain_mut(stays);
        before - streams.len()
    }
}

/// True if nothing but the end of a stream may come, and has not. Who takes frames off the
/// connection asks again.
fn lacks_end(frames: &mut RecvStream) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match frames.poll_data(&mut cx) {
            Poll::Pending => return true,
            Poll::Ready(Some(Ok(data))) if data.is_empty() => {}
            Poll::Ready(_) => return false,
        }
    }
}
