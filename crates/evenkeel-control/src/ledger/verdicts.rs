//! What is known of backends, on its way to the next process: verdicts of probes and of traffic,
//! with their reasons and since when they hold. JSON with a version.

mod form;

use crate::numbers::unix_nanos;
use crate::portrait::url;
use evenkeel_core::backend::{Backend, Memory};
use evenkeel_core::breaker::BreakerState;
use evenkeel_core::health::{HealthState, Streak};
use evenkeel_core::plan::PoolPlan;
use evenkeel_core::time::Nanos;
use evenkeel_proxy::shared::Shared;
use form::BackendForm;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;

/// Of the form; another one is not read.
const VERSION: u64 = 1;

/// What a process knows of its backends.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Verdicts {
    version: u64,
    backends: Vec<BackendForm>,
}

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

/// What of it is taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Everything.
    All,
    /// It is old: breakers whose wait is not over yet.
    OpenBreakers,
}

/// How many backends something was known of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TakenUp {
    pub(super) backends: u64,
    /// Of these, those that probes found dead.
    pub(super) unhealthy: u64,
    /// Of these, those whose breaker is open.
    pub(super) open: u64,
}

/// One moment, on the clock of this process and on that of the world.
#[derive(Clone, Copy, Debug)]
struct Moment {
    now: Nanos,
    /// Nanoseconds since 1970.
    unix: u64,
}

impl Moment {
    fn of(server: &Shared) -> Moment {
        Moment { now: server.now(), unix: unix_nanos() }
    }

    fn unix_of(self, at: Nanos) -> u64 {
        self.unix.saturating_sub(self.now.since(at)).saturating_add(at.since(self.now))
    }

    /// Never zero, which would say that it has not been.
    fn nanos_at(self, unix: u64) -> Nanos {
        let past = self.now.0.saturating_sub(self.unix.saturating_sub(unix));
        Nanos(past.saturating_add(unix.saturating_sub(self.unix)).max(1))
    }
}

impl Verdicts {
    /// Everything that is known now.
    pub(super) fn all(server: &Shared) -> Verdicts {
        let moment = Moment::of(server);
        let mut backends = Vec::new();
        each(server, |pool, backend| {
            let memory = backend.memory(pool.breaker.window, moment.now);
            backends.push(BackendForm::of((&pool.name, backend), &memory, moment));
        });
        Verdicts { version: VERSION, backends }
    }

    /// What speaks against a backend now, for a process that starts soon, and a mark that tells two
    /// such states apart.
    pub(super) fn standing(server: &Shared) -> (Verdicts, String) {
        let moment = Moment::of(server);
        let (mut backends, mut marks) = (Vec::new(), Vec::new());
        each(server, |pool, backend| {
            if backend.is_unremarkable(moment.now) {
                return;
            }
            let mut memory = backend.memory(pool.breaker.window, moment.now);
            // What changes with every probe and every request is not worth a write.
            let report = &mut memory.health.report;
            report.results.clear();
            report.streak = match report.streak {
                Streak::Successes(_) => Streak::Successes(0),
                Streak::Failures(_) => Streak::Failures(1),
            };
            memory.breaker.consecutive_failures = 0;
            memory.breaker.window.clear();
            marks.push(format!("{} {} {memory:?}", pool.name, backend.plan.name));
            backends.push(BackendForm::of((&pool.name, backend), &memory, moment));
        });
        (Verdicts { version: VERSION, backends }, marks.join("\n"))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.backends.is_empty()
    }

    pub(super) fn to_json(&self) -> Value {
        // Strings and numbers only: it cannot fail.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Reads it again.
    pub(super) fn parse(value: &Value) -> Result<Verdicts, String> {
        let words = |error: serde_json::Error| error.to_string();
        let Versioned { version } = Versioned::deserialize(value).map_err(words)?;
        if version != VERSION {
            return Err(format!("written in form {version}, not {VERSION}"));
        }
        Verdicts::deserialize(value).map_err(words)
    }

    /// Tells the backends of this server, as far as they are the same ones.
    pub(super) fn take_up(self, server: &Shared, what: Use) -> TakenUp {
        let moment = Moment::of(server);
        let mut known: HashMap<(String, String), Vec<BackendForm>> = HashMap::new();
        for form in self.backends {
            known.entry((form.pool.clone(), form.url.clone())).or_default().push(form);
        }
        let mut taken = TakenUp::default();
        for (number, pool) in server.snapshot().pools.iter().enumerate() {
            let mut memories: Vec<(usize, Memory)> = Vec::new();
            for (index, backend) in pool.backends.iter().enumerate() {
                let key = (pool.plan.name.to_string(), url(&backend.plan.address));
                let found = known.get_mut(&key).and_then(|alike| take_one(alike, backend));
                let memory = found.and_then(|form| form.memory(moment, what));
                memories.extend(memory.map(|memory| (index, memory)));
            }
            if memories.is_empty() {
                continue;
            }
            server.recall(number, &memories, moment.unix);
            memories.iter().for_each(|(index, _)| taken.count(&pool.backends[*index]));
        }
        taken
    }
}

impl TakenUp {
    fn count(&mut self, backend: &Backend) {
        self.backends += 1;
        self.unhealthy += u64::from(backend.health.state() == HealthState::Unhealthy);
        self.open += u64::from(backend.breaker.state() != BreakerState::Closed);
    }
}

/// Of those with this address the one with this name, or any.
fn take_one(alike: &mut Vec<BackendForm>, backend: &Backend) -> Option<BackendForm> {
    let named = alike.iter().position(|form| *form.name == *backend.plan.name);
    Some(alike.swap_remove(named.or_else(|| alike.len().checked_sub(1))?))
}

fn each(server: &Shared, mut act: impl FnMut(&PoolPlan, &Backend)) {
    for pool in &server.snapshot().pools {
        pool.backends.iter().for_each(|backend| act(&pool.plan, backend));
    }
}

#[cfg(test)]
mod tests;
