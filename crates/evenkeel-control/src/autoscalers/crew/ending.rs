//! Backends on their way out. Each is asked to end, and made to, while the crew goes on: one that
//! takes long over it keeps no other from being started.

use super::super::driver::Started;
use super::super::keep::KeptProcess;
use tokio::task::{JoinHandle, JoinSet};

/// Those that are being ended.
#[derive(Default)]
pub(super) struct Endings(Vec<Ending>);

struct Ending {
    name: String,
    kept: KeptProcess,
    task: JoinHandle<()>,
}

impl Endings {
    /// Ends a backend of this name from now on.
    pub(super) fn begin(&mut self, name: String, started: Started) {
        let kept = started.kept(&name, false);
        let task = tokio::spawn(started.stop());
        self.0.push(Ending { name, kept, task });
    }

    /// True while one of this name is being ended.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|ending| ending.name == name)
    }

    /// What a crash would leave of them.
    pub(super) fn kept(&self) -> impl Iterator<Item = KeptProcess> {
        self.0.iter().map(|ending| ending.kept.clone())
    }

    /// Forgets those that have ended; true if there were any.
    pub(super) fn sweep(&mut self) -> bool {
        self.0.extract_if(.., |ending| ending.task.is_finished()).count() > 0
    }

    /// Returns once all of them have ended.
    pub(super) async fn finish(&mut self) {
        for ending in self.0.drain(..) {
            // A panic has been reported on its own task.
            let _ = ending.task.await;
        }
    }
}

/// All at a time.
pub(super) async fn end_all(started: impl Iterator<Item = Started>) {
    let mut ending = JoinSet::new();
    started.for_each(|one| drop(ending.spawn(one.stop())));
    while ending.join_next().await.is_some() {}
}
