//! The states that the configuration had, so that one can go back.

use super::overlay::Overlay;
use super::{Author, State, Written};
use evenkeel_api::Revision;
use evenkeel_config::Edit;
use evenkeel_core::record::TimeStamp;
use std::collections::VecDeque;
use std::sync::Arc;

/// Revisions that are kept; older ones are forgotten.
const MAX_REVISIONS: usize = 500;

/// One state of file and overlay.
pub(super) struct Kept {
    pub(super) shown: Revision,
    /// The same text is kept once.
    pub(super) written: Arc<Written>,
    pub(super) overlay: Overlay,
}

/// All states that are kept, the newest last; there is at least one once it has begun.
#[derive(Default)]
pub(super) struct History(VecDeque<Kept>);

impl History {
    /// With what is in force at the start; true if that is not the newest state already.
    pub(super) fn begin(&mut self, state: &State, unix_nanos: u64) -> bool {
        let is_same = |kept: &Kept| *kept.written == state.written && kept.overlay == state.overlay;
        if self.0.back().is_some_and(is_same) {
            return false;
        }
        let by = Author { name: "start".to_owned(), reason: "as found".to_owned() };
        self.push(state, &by, Vec::new(), unix_nanos);
        true
    }

    /// The edits that lay over the file last.
    pub(super) fn overlay(&self) -> Overlay {
        self.0.back().map_or_else(Vec::new, |kept| kept.overlay.clone())
    }

    /// So many at most, the newest last.
    pub(super) fn newest(&self, most: usize) -> impl Iterator<Item = &Kept> {
        self.0.iter().skip(self.0.len().saturating_sub(most))
    }

    /// One that an earlier process made, newer than all before.
    pub(super) fn take(&mut self, kept: Kept) {
        self.0.push_back(kept);
        if self.0.len() > MAX_REVISIONS {
            self.0.pop_front();
        }
    }

    pub(super) fn push(&mut self, state: &State, by: &Author, diff: Vec<String>, unix_nanos: u64) {
        let time = TimeStamp::default().at(unix_nanos).to_vec();
        let shown = Revision {
            id: self.last() + 1,
            author: by.name.clone(),
            // A time stamp is ASCII.
            time: String::from_utf8(time).unwrap_or_default(),
            reason: by.reason.clone(),
            diff: diff.join("\n"),
        };
        let newest = self.0.back().map(|kept| &kept.written);
        let written = match newest.filter(|written| ***written == state.written) {
            Some(same) => Arc::clone(same),
            None => Arc::new(state.written.clone()),
        };
        self.take(Kept { shown, written, overlay: state.overlay.clone() });
    }

    /// The newest state is the same, said with less.
    pub(super) fn settle(&mut self, overlay: &Overlay) {
        if let Some(kept) = self.0.back_mut() {
            kept.overlay.clone_from(overlay);
        }
    }

    /// The number of the newest; 0 before the first.
    pub(super) fn last(&self) -> u64 {
        self.0.back().map_or(0, |kept| kept.shown.id)
    }

    pub(super) fn newest_shown(&self) -> Option<Revision> {
        self.0.back().map(|kept| kept.shown.clone())
    }

    pub(super) fn list(&self) -> Vec<Revision> {
        self.0.iter().map(|kept| kept.shown.clone()).collect()
    }

    pub(super) fn state_of(&self, id: u64) -> Option<(Written, Overlay)> {
        let kept = self.0.iter().find(|kept| kept.shown.id == id)?;
        Some((Written::clone(&kept.written), kept.overlay.clone()))
    }
}

impl State {
    /// With a file and an overlay of before. What a loop had set ends; which backends there are
    /// beside those of the configuration, it alone says.
    pub(super) fn gone_back(&self, written: Written, overlay: Overlay) -> State {
        let mut next = State { written, overlay, ..self.clone() };
        next.adjusted.retain(|edit| match &**edit {
            Edit::AddBackend { .. } | Edit::RemoveBackend { .. } => true,
            Edit::Strategy { .. }
            | Edit::Weight { .. }
            | Edit::Admin { .. }
            | Edit::Split { .. }
            | Edit::RoutePool { .. } => false,
        });
        next
    }

    /// True if an edit removes this backend.
    pub(super) fn removes(&self, in_pool: &str, name: &str) -> bool {
        self.overlay.iter().chain(&self.adjusted).any(|edit| {
            matches!(&**edit, Edit::RemoveBackend { pool, backend, .. }
                if pool == in_pool && backend == name)
        })
    }
}
