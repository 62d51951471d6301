//! What a backend is like right now: its listener sets it, its connections look at it.

use super::world::Mood;
use std::cell::Cell;
use std::future::{Future, pending};
use std::time::Duration;
use tokio::sync::Notify;

/// By how much a slow backend's pauses grow.
const SLOWNESS: u32 = 100;
/// Least pause of a slow backend.
const LEAST_SLOW_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause of a slow backend.
const LONGEST_SLOW_PAUSE: Duration = Duration::from_secs(4);

/// The mood of one backend.
#[derive(Default)]
pub(super) struct Temper {
    mood: Cell<Mood>,
    changed: Notify,
}

impl Temper {
    pub(super) fn mood(&self) -> Mood {
        self.mood.get()
    }

    pub(super) fn set(&self, mood: Mood) {
        self.mood.set(mood);
        self.changed.notify_waiters();
    }

    /// Waits until the backend dies.
    pub(super) async fn death(&self) {
        self.until(|mood| mood == Mood::Dead).await;
    }

    /// True while nothing moves.
    pub(super) fn stands_still(&self) -> bool {
        matches!(self.mood(), Mood::Frozen | Mood::Gone)
    }

    /// Waits while nothing moves.
    pub(super) async fn motion(&self) {
        self.until(|mood| !matches!(mood, Mood::Frozen | Mood::Gone)).await;
    }

    /// A pause, as long as it seems in this mood.
    pub(super) fn pause(&self, pause: Duration) -> Duration {
        match self.mood() {
            Mood::Slow => (pause * SLOWNESS).clamp(LEAST_SLOW_PAUSE, LONGEST_SLOW_PAUSE),
            Mood::Well
            | Mood::Dead
            | Mood::Gone
            | Mood::Frozen
            | Mood::Unavailable
            | Mood::Sick => pause,
        }
    }

    async fn until(&self, wanted: impl Fn(Mood) -> bool) {
        loop {
            let changed = self.changed.notified();
            if wanted(self.mood()) {
                return;
            }
            changed.await;
        }
    }
}

/// Ends when the thing does, or never.
pub(super) async fn maybe<T>(thing: Option<impl Future<Output = T>>) -> T {
    match thing {
        Some(thing) => thing.await,
        None => pending().await,
    }
}
