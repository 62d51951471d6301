//! Which of several balancers scales: the one that has locked a file, or has a key in Redis.

mod redis;
mod resp;

use evenkeel_core::autoscale::LeasePlan;
use redis::{RedisLease, Times};
use std::fs::{File, OpenOptions};
use std::path::Path;
use tokio::task::JoinHandle;

/// Whether this process scales.
pub(super) struct Lease {
    of: LeasePlan,
    kind: Kind,
}

enum Kind {
    /// Nobody else scales.
    Alone,
    /// The file, while it is locked by us.
    File(Option<File>),
    /// The key of this pool.
    Redis(RedisLease),
}

impl Lease {
    /// Of a pool; tried for from the first `renew` on.
    pub(super) fn of(plan: &LeasePlan, pool: &str) -> Lease {
        let kind = match plan {
            LeasePlan::Alone => Kind::Alone,
            LeasePlan::File(_) => Kind::File(None),
            LeasePlan::Redis(redis) => {
                Kind::Redis(RedisLease::seek(redis.clone(), pool, Times::default()))
            }
        };
        Lease { of: plan.clone(), kind }
    }

    /// Tries to get what the plan asks for; a file that is held stays held until the process ends.
    pub(super) fn renew(&mut self, plan: &LeasePlan, pool: &str) {
        if self.of != *plan {
            *self = Lease::of(plan, pool);
        }
        if let (LeasePlan::File(file), Kind::File(locked @ None)) = (plan, &mut self.kind) {
            *locked = lock(file);
        }
    }

    pub(super) fn is_held(&self) -> bool {
        match &self.kind {
            Kind::Alone => true,
            Kind::File(locked) => locked.is_some(),
            Kind::Redis(lease) => lease.is_held(),
        }
    }

    /// Why it is not known whose it is, if that is so.
    pub(super) fn trouble(&self) -> Option<String> {
        match &self.kind {
            Kind::Redis(lease) => lease.trouble(),
            Kind::Alone | Kind::File(_) => None,
        }
    }

    /// Gives it up, so that another one need not wait: at the end of the task, if there is one.
    pub(super) fn give_up(self) -> Option<JoinHandle<()>> {
        match self.kind {
            Kind::Redis(lease) => Some(lease.give_up()),
            Kind::Alone | Kind::File(_) => None,
        }
    }
}

/// The lock goes with the file's descriptor, so a process that dies gives it up.
fn lock(file: &Path) -> Option<File> {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(file).ok()?;
    opened.try_lock().ok()?;
    Some(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_two_holds_it_and_the_other_takes_over() {
        let folder = tempfile::tempdir().unwrap();
        let plan = LeasePlan::File(folder.path().join("lease"));
        let (mut one, mut other) = (Lease::of(&plan, "web"), Lease::of(&plan, "web"));
        one.renew(&plan, "web");
        other.renew(&plan, "web");
        assert_eq!((one.is_held(), other.is_held()), (true, false));
        drop(one);
        other.renew(&plan, "web");
        assert!(other.is_held());
    }

    #[test]
    fn who_needs_none_has_it() {
        let mut lease = Lease::of(&LeasePlan::Alone, "web");
        lease.renew(&LeasePlan::Alone, "web");
        assert!(lease.is_held());
    }
}
