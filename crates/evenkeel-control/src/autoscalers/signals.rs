//! What is seen of a pool.

use super::Ground;
use super::crew::Size;
use evenkeel_core::autoscale::{AutoscalePlan, RECENT, Signals};
use evenkeel_core::pool::Pool;
use evenkeel_core::stats::{CellTotals, HistogramSnapshot};
use std::collections::VecDeque;
use std::time::Duration;

/// The first status that is a failure.
const FIRST_FAILURE_STATUS: u16 = 500;
/// Looks back that percentiles are taken over: one a second.
const LOOKS: u64 = RECENT.as_secs();

/// Durations as they were, second by second.
#[derive(Default)]
pub(super) struct Seen {
    past: VecDeque<(HistogramSnapshot, HistogramSnapshot)>,
}

impl Seen {
    pub(super) fn signals(
        &mut self,
        ground: &Ground,
        (pool, size): (&str, Size),
        plan: &AutoscalePlan,
    ) -> Signals {
        let snapshot = ground.numbers.snapshot();
        let found = snapshot.pools.iter().find(|it| *it.plan.name == *pool);
        let totals = ground.numbers.totals().merged(|series| *series.pool == *pool);
        let (p95, queue_wait) = self.recent(&totals);
        let backends = found.map_or(&[][..], |pool| &pool.backends);
        let in_flight = backends.iter().map(|backend| backend.in_flight()).sum();
        let waiting = found.map_or(0, |pool| pool.waiting.starts());
        let (requests, errors) = counted(&totals, found.map(|pool| &**pool));
        let moving = ground.migrations.as_ref().is_some_and(|it| it.concerns(pool));
        Signals {
            requests,
            errors,
            in_flight,
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            queue_wait,
            p95,
            ready: size.ready,
            starting: size.starting,
            fixed: size.fixed,
            keeps: (moving && plan.max > 0).then(|| "traffic is moving: a migration".to_owned()),
        }
    }

    fn recent(&mut self, totals: &CellTotals) -> (Duration, Duration) {
        let of = |now: &HistogramSnapshot, older: Option<&HistogramSnapshot>| {
            let mut window = now.clone();
            if let Some(older) = older {
                window.subtract(older);
            }
            Duration::from_nanos(window.percentile(0.95).unwrap_or(0))
        };
        let older = self.past.front();
        let p95 = of(&totals.durations, older.map(|it| &it.0));
        let queue_wait = of(&totals.queue, older.map(|it| &it.1));
        self.past.push_back((totals.durations.clone(), totals.queue.clone()));
        while self.past.len() as u64 > LOOKS {
            self.past.pop_front();
        }
        (p95, queue_wait)
    }
}

/// Requests of a pool, and those of them that failed.
pub(super) fn counted(totals: &CellTotals, pool: Option<&Pool>) -> (u64, u64) {
    let failed = |(code, _): &(u16, _)| *code >= FIRST_FAILURE_STATUS;
    let errors: u64 = totals.requests.iter().filter(|(key, _)| failed(key)).map(|(_, n)| n).sum();
    // Where bytes are carried, tunnels and flows are what requests are elsewhere.
    let (begun, unreached) = pool.map_or((0, 0), |pool| pool.begun.read());
    (totals.durations.count() + begun, errors + unreached)
}
