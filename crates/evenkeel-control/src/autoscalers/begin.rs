//! Pools of which it is not known yet what a former process has left.

use super::Autoscalers;

impl Autoscalers {
    /// True while there is one.
    pub(super) fn awaits_crews(&self) -> bool {
        !self.is_resting() && self.lock().values().any(|entry| entry.machine.desired().is_none())
    }

    /// Those of which it is known by now: a request that waits is not to wait for the next tick.
    pub(super) fn begin_late(&self) {
        let snapshot = self.ground.numbers.snapshot();
        let mut entries = self.lock();
        for pool in &snapshot.plan.pools {
            let entry = entries.get_mut(&pool.name);
            let (Some(plan), Some(entry)) = (&pool.autoscale, entry) else { continue };
            if entry.machine.desired().is_none() && entry.machine.plan() == plan {
                self.look(&snapshot, (pool, plan), entry);
            }
        }
    }
}
