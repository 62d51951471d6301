//! What is known of the running evenkeel, and how fast its counts grow.

use evenkeel_api::{Backend, Event, History, Pool, RecordedRequest, Status};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Events that are kept.
const MAX_EVENTS: usize = 500;

/// Everything that was read at one time.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) status: Status,
    pub(super) pools: Vec<Pool>,
    pub(super) requests: Vec<RecordedRequest>,
    pub(super) history: History,
}

/// What is known.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) status: Option<Status>,
    pub(super) pools: Vec<Pool>,
    pub(super) requests: Vec<RecordedRequest>,
    pub(super) history: History,
    /// The newest first.
    pub(super) events: VecDeque<Event>,
    /// Per second; absent before there are two readings.
    rates: HashMap<(String, String), f64>,
    pub(super) rate: Option<f64>,
}

impl World {
    /// Takes a reading that was made so long after the one before.
    pub(super) fn read(&mut self, reading: Reading, passed: Option<Duration>) {
        let seconds = passed.map(|passed| passed.as_secs_f64()).filter(|it| *it > 0.0);
        let mut rates = HashMap::new();
        if let Some(seconds) = seconds {
            for (pool, backend) in backends(&reading.pools) {
                let older = self.find(&pool.name, &backend.name).map(|older| older.requests);
                let grown = older.map_or(0, |older| backend.requests.saturating_sub(older));
                rates.insert((pool.name.clone(), backend.name.clone()), per(grown, seconds));
            }
            let grown = reading.history.requests.saturating_sub(self.history.requests);
            self.rate = Some(per(grown, seconds));
        }
        self.rates = rates;
        self.status = Some(reading.status);
        self.pools = reading.pools;
        self.requests = reading.requests;
        self.history = reading.history;
    }

    /// Notes an event.
    pub(super) fn happened(&mut self, event: Event) {
        self.events.push_front(event);
        self.events.truncate(MAX_EVENTS);
    }

    /// Every backend with its pool.
    pub(super) fn backends(&self) -> impl Iterator<Item = (&Pool, &Backend)> {
        backends(&self.pools)
    }

    /// Requests of a backend per second.
    pub(super) fn rate_of(&self, pool: &str, backend: &str) -> Option<f64> {
        self.rates.get(&(pool.to_owned(), backend.to_owned())).copied()
    }

    /// Requests of a pool per second.
    pub(super) fn rate_of_pool(&self, pool: &Pool) -> Option<f64> {
        pool.backends.iter().map(|backend| self.rate_of(&pool.name, &backend.name)).sum()
    }

    pub(super) fn find(&self, pool: &str, name: &str) -> Option<&Backend> {
        let found = self.backends().find(|(of, it)| of.name == pool && it.name == name);
        found.map(|(_, backend)| backend)
    }
}

fn backends(pools: &[Pool]) -> impl Iterator<Item = (&Pool, &Backend)> {
    pools.iter().flat_map(|pool| pool.backends.iter().map(move |backend| (pool, backend)))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds are small")]
fn per(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}
