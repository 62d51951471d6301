//! Between exchanges and their pools: outcomes are reported here, and what they change is told in
//! the log and passed on to the prober.

use crate::clock::Nanos;
use crate::connect;
use crate::idle::BackendConnection;
use crate::net::Net;
use crate::shared::Shared;
use crate::worker::Worker;
use evenkeel_core::backend::Memory;
use evenkeel_core::breaker::Transition;
use evenkeel_core::plan::LogLevel;
use evenkeel_core::pool::{Change, Mode, Outcome, Pick, Pool};
use evenkeel_core::record::{Event, EventValue};
use evenkeel_core::suspicion::Doubt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A uniform number in [0, 1).
pub(crate) fn chance<N: Net>(net: &N) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let chance = (net.random() >> 11) as f64 / (1u64 << 53) as f64;
    chance
}

/// Tells what happened to a pool, and when (nanoseconds since 1970).
pub(crate) struct Teller<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) unix_nanos: u64,
    pub(crate) pool: &'a Pool,
    /// The backend concerned.
    pub(crate) index: usize,
}

impl Teller<'_> {
    /// One event about the backend concerned.
    pub(crate) fn tell(
        &self,
        (level, name): (LogLevel, &'static str),
        message: &str,
        more: &[(&'static str, EventValue<'_>)],
    ) {
        let backend = self.pool.backends.get(self.index);
        let label = backend.map_or("", |backend| &backend.label);
        let mut fields = vec![
            ("pool", EventValue::Text(&self.pool.plan.name)),
            ("backend", EventValue::Text(label)),
        ];
        fields.extend_from_slice(more);
        let unix_nanos = self.unix_nanos;
        self.shared.events.emit(&Event { unix_nanos, level, name, message, fields: &fields });
    }

    /// A change of who is eligible.
    pub(crate) fn change(&self, change: &Change) {
        match &change.breaker {
            Some(Transition::Opened { trip, .. }) => {
                let why = trip.to_string();
                let message = "the backend fails; it gets no traffic until a trial succeeds";
                let fields = [("reason", EventValue::Text(&why))];
                self.tell((LogLevel::Warn, "breaker_opened"), message, &fields);
            }
            Some(Transition::Closed) => {
                let message = "the backend answers again";
                self.tell((LogLevel::Info, "breaker_closed"), message, &[]);
            }
            None => {}
        }
        if let Some(mode) = change.mode {
            self.mode(mode);
        }
    }

    /// A change of how the pool chooses.
    pub(crate) fn mode(&self, mode: Mode) {
        let (level, name, message) = match mode {
            Mode::Normal => (LogLevel::Info, "pool_recovered", "a backend is eligible again"),
            Mode::Doubtful => {
                let message = "every backend is in doubt; they serve all the same";
                (LogLevel::Debug, "pool_in_doubt", message)
            }
            Mode::FailOpen => {
                let message = "no backend is eligible; open breakers are ignored (fail_open)";
                (LogLevel::Error, "pool_failing_open", message)
            }
            Mode::Empty => {
                (LogLevel::Error, "pool_down", "no backend may be tried; requests get 503")
            }
        };
        let pool = EventValue::Text(&self.pool.plan.name);
        let fields = [("pool", pool)];
        let unix_nanos = self.unix_nanos;
        self.shared.events.emit(&Event { unix_nanos, level, name, message, fields: &fields });
    }
}

impl Shared {
    /// Takes up what an earlier process knew of backends of the pool with this index.
    pub fn recall(&self, pool: usize, memories: &[(usize, Memory)], unix_nanos: u64) {
        let snapshot = self.snapshot();
        let Some(pool) = snapshot.pools.get(pool) else { return };
        if let Some(mode) = pool.recall(memories, self.now()) {
            Teller { shared: self, unix_nanos, pool, index: 0 }.mode(mode);
        }
    }
}

impl<N: Net> Worker<N> {
    /// A uniform number in [0, 1).
    pub(crate) fn chance(&self) -> f64 {
        chance(&self.net)
    }

    fn teller<'a>(&'a self, pool: &'a Pool, index: usize) -> Teller<'a> {
        Teller { shared: &self.shared, unix_nanos: self.net.unix_nanos(), pool, index }
    }

    /// Tells the pool how a try ended.
    #[inline]
    pub(crate) fn report(&self, pool: &Pool, pick: &mut Pick, outcome: Outcome) {
        let change = pool.report(pick, outcome, self.recent(), self.chance());
        if let Some(change) = change {
            self.teller(pool, pick.index).change(&change);
        }
    }

    /// Raises a doubt: a probe finds out, others take the traffic meanwhile. True if it is new.
    pub(crate) fn doubt(&self, pool: &Pool, index: usize, doubt: Doubt) -> bool {
        let Some(change) = pool.doubt(index, doubt, self.recent()) else { return false };
        let why = [("reason", EventValue::Text(doubt.as_str()))];
        let teller = self.teller(pool, index);
        let message = "the backend may be dead; a probe will tell";
        teller.tell((LogLevel::Debug, "backend_suspected"), message, &why);
        teller.change(&change);
        if let Some(backend) = pool.backends.get(index) {
            self.shared.probe_soon(backend.slot);
        }
        true
    }

    /// The backend asked to be left alone for so long.
    pub(crate) fn pause(&self, pool: &Pool, index: usize, wait: Duration) {
        if let Some(mode) = pool.pause(index, self.recent(), wait) {
            self.teller(pool, index).mode(mode);
        }
    }

    /// Idle connections of these backends were closed, and no idle timer explains it.
    pub(crate) fn doubt_slots(&self, slots: &[usize]) {
        let snapshot = self.snapshot();
        for pool in &snapshot.pools {
            for (index, backend) in pool.backends.iter().enumerate() {
                if slots.contains(&backend.slot) {
                    self.doubt(pool, index, Doubt::IdleClosed);
                }
            }
        }
    }

    /// Ends a dial that nobody waits for any more.
    pub(crate) fn keep_late(
        &self,
        pool: &Arc<Pool>,
        mut pick: Pick,
        began: Nanos,
        dialled: io::Result<BackendConnection<N::Stream>>,
    ) {
        let now = self.now();
        match dialled {
            Ok(connection) => {
                pick.connect_times.observe(now.duration_since(began));
                let bounds = &pool.plan.connections;
                self.idle.borrow_mut().give(&pick, bounds, connection, now);
            }
            // What is known already says nothing about the backend now.
            Err(_) if pool.is_in_doubt(pick.index) => {}
            Err(error) if connect::is_ours(&error) => {}
            Err(_) => {
                self.report(pool, &mut pick, Outcome::Failed);
                self.doubt(pool, pick.index, Doubt::ConnectFailure);
            }
        }
        pool.waiting.call_next();
    }

    /// What time alone changes in the pools.
    pub(crate) fn review_pools(&self, now: Nanos) {
        let snapshot = self.snapshot();
        for pool in &snapshot.pools {
            for (index, change) in pool.review(now, self.chance()) {
                self.teller(pool, index).change(&change);
            }
            for index in pool.silent(now) {
                self.doubt(pool, index, Doubt::Silence);
            }
            pool.waiting.expire(now);
        }
    }
}
