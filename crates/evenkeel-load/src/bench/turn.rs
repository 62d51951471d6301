//! Which connection of a thread takes the next request: whichever comes first, or, so that no more
//! are opened than are needed, the one that was used last. Then one of those that are free leads:
//! it waits for the next request, and before it sends that, passes the lead on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How requests are shared out over the connections that a bench may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// All of them take part.
    All,
    /// The one used last is used next, and a further one is opened only if none is free.
    Fewest,
}

/// The free connections of one thread.
#[derive(Default)]
pub(crate) struct Turns {
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    /// One of them waits for the next request.
    is_led: bool,
    /// The others, the one used last at the end.
    others: Vec<Arc<Notify>>,
}

impl Turns {
    /// Returns when whoever calls is to take the next request. It passes the lead on afterwards.
    pub(crate) async fn lead(&self, call: &Arc<Notify>) {
        {
            let mut free = self.lock();
            if !std::mem::replace(&mut free.is_led, true) {
                return;
            }
            free.others.push(Arc::clone(call));
        }
        call.notified().await;
    }

    /// Somebody else takes the next request.
    pub(crate) fn pass_on(&self) {
        let mut free = self.lock();
        match free.others.pop() {
            Some(next) => next.notify_one(),
            None => free.is_led = false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    #[tokio::test]
    async fn one_leads_and_the_one_that_came_last_is_next() {
        let turns = Turns::default();
        let calls: Vec<Arc<Notify>> = (0..3).map(|_| Arc::default()).collect();
        turns.lead(&calls[0]).await;
        let (mut second, mut third) = (pin!(turns.lead(&calls[1])), pin!(turns.lead(&calls[2])));
        poll_fn(|cx| {
            assert!(second.as_mut().poll(cx).is_pending() && third.as_mut().poll(cx).is_pending());
            turns.pass_on();
            assert!(second.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        third.await;
        turns.pass_on();
        second.await;
        turns.pass_on();
        turns.lead(&calls[0]).await;
    }
}
