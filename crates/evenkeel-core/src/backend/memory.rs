//! What is known of a backend, from one process to the next.

use super::{Backend, Live};
use crate::breaker::BreakerMemory;
use crate::health::HealthMemory;
use crate::plan::AdminState;
use crate::time::Nanos;
use std::time::Duration;

/// What a process knows of a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// What probes found.
    pub health: HealthMemory,
    /// What traffic found.
    pub breaker: BreakerMemory,
    /// Until when it asked to be left alone, if that is to come.
    pub paused_until: Option<Nanos>,
    /// When it joined, or took part again.
    pub joined_at: Option<Nanos>,
    /// What the operator wants, and since when if it was otherwise before.
    pub admin: (AdminState, Option<Nanos>),
}

impl Backend {
    /// All that another process needs to go on; the window is that of the breaker's plan.
    pub fn memory(&self, window: Duration, now: Nanos) -> Memory {
        Memory {
            health: self.health.memory(),
            breaker: self.breaker.memory(window, now),
            paused_until: self.paused_until(now),
            joined_at: self.joined_at(),
            admin: (self.plan.admin, self.wished_at()),
        }
    }

    /// Takes up what an earlier process knew besides verdicts.
    pub(crate) fn recall(&self, earlier: &Memory) {
        if let Some(until) = earlier.paused_until {
            self.pause(until);
        }
        if let Some(at) = earlier.joined_at {
            self.rejoin(at);
        }
        if let (admin, Some(at)) = earlier.admin
            && admin == self.plan.admin
        {
            self.note_wish(at);
        }
    }
}

impl Live {
    /// True if nothing but its being there is known: no verdict against it, no pause.
    pub fn is_unremarkable(&self, now: Nanos) -> bool {
        self.breaker.is_unremarkable() && self.failing().is_none() && !self.is_paused(now)
    }
}
