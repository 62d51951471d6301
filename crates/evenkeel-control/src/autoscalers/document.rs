//! What can be seen of autoscalers from outside.

use super::{Autoscalers, Entry};
use evenkeel_api::{Autoscaler as Document, AutoscalerList};

impl Autoscalers {
    /// One for each pool that scales.
    pub fn list(&self) -> AutoscalerList {
        let entries = self.lock();
        let mut autoscalers: Vec<Document> =
            entries.iter().map(|(pool, entry)| entry.document(pool)).collect();
        autoscalers.sort_by(|a, b| a.pool.cmp(&b.pool));
        AutoscalerList { autoscalers }
    }
}

impl Entry {
    pub(super) fn document(&self, pool: &str) -> Document {
        let plan = self.machine.plan();
        let trouble = self.crew.trouble().or_else(|| self.lease.trouble());
        Document {
            pool: pool.to_owned(),
            current: self.crew.size().unwrap_or_default().all(),
            desired: self.machine.desired().unwrap_or(plan.min),
            min: plan.min,
            max: plan.max,
            paused: self.machine.is_paused(),
            acts: self.acts(),
            telling: self.crew.telling(),
            held: trouble.or_else(|| self.machine.held().map(str::to_owned)),
            decisions: self.course.decisions.iter().cloned().collect(),
        }
    }
}
