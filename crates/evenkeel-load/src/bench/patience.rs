//! How long an answer is waited for.

use super::fault::Fault;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that moves with every exchange, without a timer of its own for each: the timer of an
/// earlier exchange is only set anew once it has run out.
pub(crate) struct Patience(Pin<Box<Sleep>>);

impl Patience {
    /// Needs a running runtime.
    pub(crate) fn new() -> Patience {
        Patience(Box::pin(sleep_until(Instant::now())))
    }

    /// Ready when the deadline, never earlier than the last one, has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        loop {
            ready!(self.0.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(deadline);
        }
    }

    /// What comes of an exchange before the deadline, never earlier than the last one.
    pub(crate) async fn within<T>(
        &mut self,
        deadline: Instant,
        exchange: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let mut exchange = pin!(exchange);
        poll_fn(|cx| match exchange.as_mut().poll(cx) {
            Poll::Pending => self.poll(cx, deadline).map(|()| Err(Fault::timeout())),
            ended => ended,
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LoadError;
    use std::time::Duration;

    #[tokio::test]
    async fn it_ends_with_its_own_deadline_and_not_with_an_earlier_one() {
        let mut patience = Patience::new();
        let start = Instant::now();
        for millis in [20, 40, 80] {
            let deadline = start + Duration::from_millis(millis);
            let answer = async {
                sleep_until(deadline - Duration::from_millis(10)).await;
                Ok(millis)
            };
            // However late it is looked at, an answer that is there is one.
            assert_eq!(patience.within(deadline, answer).await.expect("in time"), millis);
            let never = patience.within(deadline, std::future::pending::<Result<(), _>>()).await;
            assert_eq!(never.expect_err("nothing came").kind, LoadError::Timeout);
            assert!(Instant::now() >= deadline, "{millis}");
        }
    }
}
