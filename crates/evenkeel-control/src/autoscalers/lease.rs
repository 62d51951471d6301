//! Which of several balancers scales: the one that has locked a file.

use evenkeel_core::autoscale::LeasePlan;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// Whether this process scales.
#[derive(Default)]
pub(super) struct Lease {
    of: Option<PathBuf>,
    locked: Option<File>,
    needed: bool,
}

impl Lease {
    /// Tries to get what the plan asks for; what is held stays held until the process ends.
    pub(super) fn renew(&mut self, plan: &LeasePlan) {
        let wanted = match plan {
            LeasePlan::Alone => None,
            LeasePlan::File(file) => Some(file),
            // `check` refuses it.
            LeasePlan::Redis(_) => {
                self.needed = true;
                return;
            }
        };
        self.needed = wanted.is_some();
        if self.of.as_ref() != wanted {
            self.locked = None;
            self.of = wanted.cloned();
        }
        if let (Some(file), None) = (wanted, &self.locked) {
            self.locked = lock(file);
        }
    }

    pub(super) fn is_held(&self) -> bool {
        !self.needed || self.locked.is_some()
    }
}

/// The lock goes with the file's descriptor, so a process that dies gives it up.
fn lock(file: &Path) -> Option<File> {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(file).ok()?;
    flock(&opened, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_two_holds_it_and_the_other_takes_over() {
        let folder = tempfile::tempdir().unwrap();
        let plan = LeasePlan::File(folder.path().join("lease"));
        let (mut one, mut other) = (Lease::default(), Lease::default());
        one.renew(&plan);
        other.renew(&plan);
        assert_eq!((one.is_held(), other.is_held()), (true, false));
        drop(one);
        other.renew(&plan);
        assert!(other.is_held());
    }

    #[test]
    fn who_needs_none_has_it() {
        let mut lease = Lease::default();
        lease.renew(&LeasePlan::Alone);
        assert!(lease.is_held());
    }
}
