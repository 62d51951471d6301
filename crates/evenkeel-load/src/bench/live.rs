//! A look at a run from outside, and a way to end it.

use super::course::Course;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;

/// Threads that count apart from one another; further ones share.
const CELLS: usize = 64;
/// How long what has begun may go on after a stop.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Counts of one thread on a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Cell {
    ended: AtomicU64,
    failed: AtomicU64,
}

struct Shared {
    cells: [Cell; CELLS],
    course: OnceLock<Arc<Course>>,
    stop: watch::Sender<bool>,
}

/// A running bench, for whoever watches it.
#[derive(Clone)]
pub struct LiveBench(Arc<Shared>);

/// The counts of one thread.
pub(crate) struct Counter {
    live: LiveBench,
    cell: usize,
}

impl Default for LiveBench {
    fn default() -> LiveBench {
        let cells = std::array::from_fn(|_| Cell::default());
        let (course, stop) = (OnceLock::new(), watch::channel(false).0);
        LiveBench(Arc::new(Shared { cells, course, stop }))
    }
}

impl LiveBench {
    /// Requests that have ended so far.
    pub fn ended(&self) -> u64 {
        self.0.cells.iter().map(|cell| cell.ended.load(Ordering::Relaxed)).sum()
    }

    /// Those of them that failed.
    pub fn failed(&self) -> u64 {
        self.0.cells.iter().map(|cell| cell.failed.load(Ordering::Relaxed)).sum()
    }

    /// Share of the run that is over, 0 to 1; 0 before it begins.
    pub fn share_done(&self) -> f64 {
        self.0.course.get().map_or(0.0, |course| course.share_done(self.ended()))
    }

    /// Starts no further request, and gives those under way a second to end.
    pub fn stop(&self) {
        if let Some(course) = self.0.course.get() {
            course.stop();
        }
        self.0.stop.send_replace(true);
    }

    /// The run has begun.
    pub(crate) fn begin(&self, course: &Arc<Course>) {
        // A second run of the same handle would keep showing the first.
        let _ = self.0.course.set(Arc::clone(course));
        if *self.0.stop.borrow() {
            course.stop();
        }
    }

    /// Where thread number `index` counts.
    pub(crate) fn counter(&self, index: usize) -> Counter {
        Counter { live: self.clone(), cell: index % CELLS }
    }

    /// Returns when a stop was asked for and its patience is over.
    pub(crate) async fn cut(&self) {
        let mut stop = self.0.stop.subscribe();
        // The sender lives as long as we do.
        let _ = stop.wait_for(|stopped| *stopped).await;
        tokio::time::sleep(STOP_PATIENCE).await;
    }
}

impl Counter {
    /// Counts one request.
    pub(crate) fn count(&self, failed: bool) {
        let cell = &self.live.0.cells[self.cell];
        cell.ended.fetch_add(1, Ordering::Relaxed);
        if failed {
            cell.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
