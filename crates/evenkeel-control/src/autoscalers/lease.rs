//! Which of several balancers scales: the one that has locked a file, or has a key in Redis.

mod redis;
mod resp;

use evenkeel_core::autoscale::LeasePlan;
use redis::{RedisLease, Times};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
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
    /// A file.
    File(FileLease),
    /// The key of this pool.
    Redis(RedisLease),
}

impl Lease {
    /// Of a pool; tried for from the first `renew` on.
    pub(super) fn of(plan: &LeasePlan, pool: &str) -> Lease {
        let kind = match plan {
            LeasePlan::Alone => Kind::Alone,
            LeasePlan::File(_) => Kind::File(FileLease::default()),
            LeasePlan::Redis(redis) => {
                Kind::Redis(RedisLease::seek(redis.clone(), pool, Times::default()))
            }
        };
        Lease { of: plan.clone(), kind }
    }

    /// Tries to get what the plan asks for.
    pub(super) fn renew(&mut self, plan: &LeasePlan, pool: &str) {
        if self.of != *plan {
            *self = Lease::of(plan, pool);
        }
        if let (LeasePlan::File(file), Kind::File(lease)) = (plan, &mut self.kind) {
            lease.renew(file);
        }
    }

    pub(super) fn is_held(&self) -> bool {
        match &self.kind {
            Kind::Alone => true,
            Kind::File(lease) => lease.locked.is_some(),
            Kind::Redis(lease) => lease.is_held(),
        }
    }

    /// Why it is not known whose it is, if that is so.
    pub(super) fn trouble(&self) -> Option<String> {
        match &self.kind {
            Kind::Redis(lease) => lease.trouble(),
            Kind::File(lease) => lease.trouble.clone(),
            Kind::Alone => None,
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

/// A file that who scales has locked.
#[derive(Default)]
struct FileLease {
    /// While it is ours.
    locked: Option<File>,
    /// Why nobody can lock it, if that is so.
    trouble: Option<String>,
}

impl FileLease {
    /// It stays ours until the process ends, or somebody takes the file away: whoever comes next
    /// would make, and lock, another one.
    fn renew(&mut self, file: &Path) {
        if self.locked.as_ref().is_some_and(|locked| is_at(locked, file)) {
            return;
        }
        *self = match lock(file) {
            Ok(locked) => FileLease { locked, trouble: None },
            Err(error) => {
                let trouble = Some(format!("the lease {}: {error}", file.display()));
                FileLease { locked: None, trouble }
            }
        };
    }
}

/// The lock goes with the file's descriptor, so a process that dies gives it up. `None` if another
/// one has it.
fn lock(file: &Path) -> io::Result<Option<File>> {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(file)?;
    match opened.try_lock() {
        Ok(()) => Ok(Some(opened)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// True unless another file, or none, is there now.
#[cfg(unix)]
fn is_at(locked: &File, file: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (locked.metadata(), std::fs::metadata(file)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        (_, Err(error)) => error.kind() != io::ErrorKind::NotFound,
        (Err(_), Ok(_)) => true,
    }
}

/// A file that is open is not taken away there.
#[cfg(windows)]
fn is_at(_: &File, _: &Path) -> bool {
    true
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

    #[cfg(unix)]
    #[test]
    fn a_file_that_was_taken_away_makes_no_two_holders() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lease");
        let plan = LeasePlan::File(file.clone());
        let (mut one, mut other) = (Lease::of(&plan, "web"), Lease::of(&plan, "web"));
        one.renew(&plan, "web");
        std::fs::remove_file(&file).unwrap();
        other.renew(&plan, "web");
        one.renew(&plan, "web");
        assert_eq!((one.is_held(), other.is_held()), (false, true));
    }

    #[test]
    fn a_file_that_nobody_can_lock_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let plan = LeasePlan::File(folder.path().join("none").join("lease"));
        let mut lease = Lease::of(&plan, "web");
        lease.renew(&plan, "web");
        let trouble = lease.trouble().unwrap();
        assert!(!lease.is_held() && trouble.starts_with("the lease "), "{trouble}");
        std::fs::create_dir(folder.path().join("none")).unwrap();
        lease.renew(&plan, "web");
        assert_eq!((lease.is_held(), lease.trouble()), (true, None));
    }

    #[test]
    fn who_needs_none_has_it() {
        let mut lease = Lease::of(&LeasePlan::Alone, "web");
        lease.renew(&LeasePlan::Alone, "web");
        assert!(lease.is_held());
    }
}
