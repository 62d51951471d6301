//! A pool takes up what an earlier process knew of its backends.

use super::{Mode, Pool};
use crate::backend::Memory;
use crate::time::Nanos;

impl Pool {
    /// Takes up what was known of these backends, by index; what nothing here could take back is
    /// left out. The new mode, if it is another one with that.
    pub fn recall(&self, memories: &[(usize, Memory)], now: Nanos) -> Option<Mode> {
        for (index, memory) in memories {
            let Some(backend) = self.backends.get(*index) else { continue };
            if self.is_probed() {
                backend.health.recall(&self.plan.health, &memory.health);
            }
            backend.breaker.recall(&self.plan.breaker, now, &memory.breaker);
            backend.recall(memory);
        }
        self.news.tell();
        self.select(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::BackendAddress;
    use crate::backend::Bar;
    use crate::breaker::Trip;
    use crate::health::{ProbeFault, ProbeResult};
    use crate::plan::{BackendPlan, HealthCheck, PoolPlan};
    use std::time::Duration;

    const NOW: Nanos = Nanos(1_000_000_000_000);

    fn pool(plan: impl FnOnce(&mut PoolPlan)) -> Pool {
        let backend = |port: u16| {
            let text = format!("127.0.0.1:{port}");
            BackendPlan::bare(BackendAddress::parse(&text).expect("valid"))
        };
        let mut pool = PoolPlan::bare("p", (1..=3).map(backend).collect());
        pool.breaker.enabled = true;
        pool.health.check = HealthCheck::Tcp;
        plan(&mut pool);
        Pool::new(pool, None)
    }

    /// The first is dead, the second's breaker is open, the third asked for a pause.
    fn memories() -> Vec<(usize, Memory)> {
        let pool = pool(|_| {});
        for _ in 0..pool.plan.health.unhealthy_threshold {
            let fault = Some(ProbeFault::Timeout);
            let _ = pool.record_probe(0, ProbeResult { at: NOW, took: Duration::ZERO, fault });
        }
        let trip = Trip::Consecutive(5);
        assert!(pool.backends[1].breaker.eject(&pool.plan.breaker, NOW, trip, 0.0).is_some());
        pool.backends[2].pause(NOW.after(Duration::from_secs(1)));
        pool.backends[2].rejoin(NOW);
        let all = pool.backends.iter().map(|backend| backend.memory(pool.plan.breaker.window, NOW));
        all.enumerate().collect()
    }

    fn bars(pool: &Pool) -> Vec<Option<Bar>> {
        pool.backends.iter().map(|backend| backend.barred(NOW)).collect()
    }

    #[test]
    fn who_was_barred_is_barred_and_not_chosen() {
        let next = pool(|_| {});
        let mode = next.recall(&memories(), NOW);
        let expected = [Some(Bar::Unhealthy), Some(Bar::BreakerOpen), Some(Bar::Paused)];
        assert_eq!(bars(&next), expected);
        assert_eq!(next.backends[2].joined_at(), Some(NOW));
        assert_eq!((mode, next.mode()), (Some(Mode::Doubtful), Mode::Doubtful));
        assert!(next.backends.iter().all(|backend| !backend.is_unremarkable(NOW)));
        let only_first = pool(|_| {});
        assert_eq!(only_first.recall(&memories()[..1], NOW), None);
        assert_eq!(bars(&only_first), [Some(Bar::Unhealthy), None, None]);
        assert!(only_first.backends[1].is_unremarkable(NOW));
    }

    #[test]
    fn a_verdict_that_nothing_could_take_back_is_none() {
        let next = pool(|plan| {
            plan.health.check = HealthCheck::Off;
            plan.breaker.enabled = false;
        });
        next.recall(&memories(), NOW);
        assert_eq!(bars(&next), [None, None, Some(Bar::Paused)]);
    }

    #[test]
    fn indices_of_others_are_ignored() {
        let next = pool(|_| {});
        let (_, memory) = memories().remove(0);
        assert_eq!(next.recall(&[(9, memory)], NOW), None);
    }
}
