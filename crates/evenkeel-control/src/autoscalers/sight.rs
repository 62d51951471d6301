//! Whether a backend that was started would pass the probes of its pool.

use crate::lookup::{Lookup, SystemLookup};
use evenkeel_core::address::{BackendAddress, Endpoint};
use evenkeel_core::plan::HealthPlan;
use evenkeel_core::snapshot::Snapshot;
use evenkeel_proxy::sounding::Sounding;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};
use tokio::time::Instant;

/// Between two questions to one backend.
const PAUSE: Duration = Duration::from_millis(250);

/// Asks one backend over and over, one question at a time. Nobody waits for an answer: who has
/// many to ask goes from one to the next.
#[derive(Default)]
pub(super) struct Probe {
    asked_at: Option<Instant>,
    answer: Option<Receiver<bool>>,
}

impl Probe {
    /// An answer that has come, once.
    pub(super) fn heard(&mut self) -> Option<bool> {
        let heard = match self.answer.as_mut()?.try_recv() {
            Ok(healthy) => healthy,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Closed) => false,
        };
        self.answer = None;
        Some(heard)
    }

    /// Asks, if it is time for that; `news` hears when there is an answer.
    pub(super) fn ask(
        &mut self,
        question: impl Future<Output = bool> + Send + 'static,
        news: &Arc<Notify>,
    ) {
        let is_early = self.asked_at.is_some_and(|at| at.elapsed() < PAUSE);
        if self.answer.is_some() || is_early {
            return;
        }
        let (tell, answer) = oneshot::channel();
        let news = Arc::clone(news);
        tokio::spawn(async move {
            // Nobody asks any more after a backend that has gone meanwhile.
            let _ = tell.send(question.await);
            news.notify_one();
        });
        (self.asked_at, self.answer) = (Some(Instant::now()), Some(answer));
    }
}

/// What the pool's own health check would say, spoken as the pool speaks.
pub(super) async fn is_healthy(
    snapshot: Arc<Snapshot>,
    (pool, health): (&Arc<str>, &HealthPlan),
    (address, lookup): (&str, &SystemLookup),
) -> bool {
    let Ok(address) = BackendAddress::parse(address) else { return false };
    let hosts = match &address.endpoint {
        Endpoint::Name(name, _) => match lookup.look_up(name).await {
            Ok(answer) => answer.addresses,
            Err(_) => return false,
        },
        Endpoint::Ip(_) | Endpoint::Unix(_) => Vec::new(),
    };
    let (check, timeout) = (health.check.clone(), health.timeout);
    let sounding = Sounding { snapshot, pool: Arc::clone(pool), check, timeout };
    sounding.ask_at(address, &hosts).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_answer_keeps_nobody_waiting() {
        let news = Arc::<Notify>::default();
        let (mut silent, mut well) = (Probe::default(), Probe::default());
        silent.ask(pending(), &news);
        well.ask(ready(true), &news);
        news.notified().await;
        assert_eq!((silent.heard(), well.heard()), (None, Some(true)));
        assert_eq!(well.heard(), None, "once");
        // It is too early to ask again, and the other one is being asked still.
        well.ask(ready(true), &news);
        assert!(well.answer.is_none());
        tokio::time::advance(PAUSE).await;
        well.ask(ready(false), &news);
        silent.ask(ready(true), &news);
        news.notified().await;
        assert_eq!((silent.heard(), well.heard()), (None, Some(false)));
    }
}
