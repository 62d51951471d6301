//! How far the work of the control thread has come.

use tokio::sync::watch;

/// What the thread does, besides resolving names and listening to the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Nothing: clients wait in the kernel.
    Closed,
    /// Everything.
    Open,
    /// Another process does it.
    Released,
    /// It is done elsewhere: nobody listens here any more. Of single listeners alone.
    Left,
}

/// Tells the stage.
pub(crate) type Course = watch::Receiver<Stage>;

/// Waits for a stage, or for the end of the control plane.
pub(crate) async fn reaches(stage: Stage, mut course: Course) {
    // Whoever told it has gone: the thread ends.
    let _ = course.wait_for(|now| *now >= stage).await;
}
