//! Requests that were given to a pool of a migration and that it has yet to answer: counted by
//! those who carry them, read by who judges the pools. A pool that hangs makes no errors, for a
//! while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    answered: AtomicU64,
    ended: AtomicU64,
}

/// Counts the requests of one pool of a migration. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Unanswered(Arc<Counts>);

/// It is the same if it counts the same requests.
impl PartialEq for Unanswered {
    fn eq(&self, other: &Unanswered) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What is known of them at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Requests without an answer.
    pub requests: u64,
    /// Requests that ever got one.
    pub answered: u64,
}

/// A request without an answer. Dropped, it ends without one.
#[derive(Debug)]
pub struct Awaiting(Arc<Counts>);

impl Unanswered {
    /// A request is on its way.
    pub fn begin(&self) -> Awaiting {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Awaiting(Arc::clone(&self.0))
    }

    /// How they stand now.
    pub fn read(&self) -> Pending {
        // Read first, so that nothing ends that has not begun.
        let ended = self.0.ended.load(Ordering::Relaxed);
        let answered = self.0.answered.load(Ordering::Relaxed);
        let begun = self.0.begun.load(Ordering::Relaxed);
        Pending { requests: begun.saturating_sub(ended), answered }
    }
}

impl Awaiting {
    /// The head of its answer has come.
    pub fn answer(self) {
        self.0.answered.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_without_an_answer_does_not_wait_and_was_not_answered() {
        let unanswered = Unanswered::default();
        let [one, two, three] = [(); 3].map(|()| unanswered.clone().begin());
        assert_eq!(unanswered.read(), Pending { requests: 3, answered: 0 });
        one.answer();
        drop(two);
        assert_eq!(unanswered.read(), Pending { requests: 1, answered: 1 });
        drop(three);
        assert_eq!(unanswered.read(), Pending { requests: 0, answered: 1 });
    }
}
