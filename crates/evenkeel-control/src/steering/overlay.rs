//! What lies over the file, in the order in which it came.

use super::{Conflict, ConflictKind, Edit, EditError, Leaving, State};
use crate::autoscalers::is_numbered;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Edits that an overlay holds; those that say the same thing again take the place of older ones,
/// and what was added and removed again leaves nothing.
const MAX_EDITS: usize = 10_000;

/// Edits in their order. Those of one revision are those of the one before, as a rule, and are
/// there once.
pub(super) type Overlay = Vec<Arc<Edit>>;

/// Adds edits to an overlay; those that say the same thing again take the place of older ones.
pub(super) fn lay_over(overlay: &mut Overlay, edits: &[Edit]) -> Result<(), EditError> {
    for edit in edits {
        overlay.retain(|before| !edit.replaces(before));
        overlay.push(Arc::new(edit.clone()));
    }
    if overlay.len() > MAX_EDITS {
        let message = format!("more than {MAX_EDITS} edits lie over the file; write them into it");
        return Err(EditError::Refused(message));
    }
    Ok(())
}

/// Forgets backends that were added and removed again, with all that was said of them meanwhile:
/// the overlay does not grow as they come and go, and the file may have the name next. One that is
/// leaving is kept until it has left. So is an addition that found its name taken: what was removed
/// is the file's own. Answers with pool and name of each that it forgot.
fn forget_taken_back(
    overlay: &mut Overlay,
    leaving: &[Leaving],
    conflicts: &[Conflict],
) -> Vec<(String, String)> {
    let is_taken = |it: &&Conflict| it.kind != ConflictKind::Missing;
    let taken: HashSet<&str> = conflicts.iter().filter(is_taken).map(|it| &*it.edit).collect();
    // What was said of a backend since it was added.
    let mut said: HashMap<(String, String), Vec<usize>> = HashMap::new();
    let (mut gone, mut forgotten) = (vec![false; overlay.len()], Vec::new());
    for (at, edit) in overlay.iter().enumerate() {
        match &**edit {
            Edit::AddBackend { pool, backend } => {
                if !taken.contains(&*edit.to_string()) {
                    said.insert((pool.clone(), backend.name()), vec![at]);
                }
            }
            Edit::Weight { pool, backend, .. } | Edit::Admin { pool, backend, .. } => {
                said.entry((pool.clone(), backend.clone())).and_modify(|places| places.push(at));
            }
            Edit::RemoveBackend { pool, backend, .. } => {
                let leaves = leaving.iter().any(|it| it.is(pool, backend));
                let added = said.remove(&(pool.clone(), backend.clone()));
                if let Some(places) = added.filter(|_| !leaves) {
                    places.into_iter().chain([at]).for_each(|place| gone[place] = true);
                    forgotten.push((pool.clone(), backend.clone()));
                }
            }
            Edit::Strategy { .. } | Edit::Split { .. } | Edit::RoutePool { .. } => {}
        }
    }
    let mut gone = gone.into_iter();
    overlay.retain(|_| !gone.next().unwrap_or(false));
    forgotten
}

impl State {
    /// Forgets in both overlays what was added and removed again. What an operator said of a
    /// backend that a loop had added ends with it.
    pub(super) fn forget_taken_back(&mut self, leaving: &[Leaving], conflicts: &[Conflict]) {
        forget_taken_back(&mut self.overlay, leaving, conflicts);
        for (of, gone) in forget_taken_back(&mut self.adjusted, leaving, conflicts) {
            self.overlay.retain(|edit| match &**edit {
                Edit::Weight { pool, backend, .. } | Edit::Admin { pool, backend, .. } => {
                    *pool != of || *backend != gone
                }
                Edit::Strategy { .. }
                | Edit::AddBackend { .. }
                | Edit::RemoveBackend { .. }
                | Edit::Split { .. }
                | Edit::RoutePool { .. } => true,
            });
        }
    }

    /// Forgets what was said of backends that autoscalers of earlier processes had started, and
    /// that have ended: others will have their names.
    pub(super) fn forget_ended(&mut self, conflicts: &[Conflict]) {
        let missing = |edit: &Edit| {
            let words = edit.to_string();
            conflicts.iter().any(|it| it.kind == ConflictKind::Missing && it.edit == words)
        };
        self.overlay.retain(|edit| match &**edit {
            Edit::Weight { pool, backend, .. } | Edit::Admin { pool, backend, .. } => {
                !is_numbered(pool, backend) || !missing(edit)
            }
            Edit::Strategy { .. }
            | Edit::AddBackend { .. }
            | Edit::RemoveBackend { .. }
            | Edit::Split { .. }
            | Edit::RoutePool { .. } => true,
        });
    }

    /// True of a backend that a loop has added.
    pub(super) fn has_grown(&self, in_pool: &str, name: &str) -> bool {
        self.adjusted.iter().any(|edit| {
            matches!(&**edit, Edit::AddBackend { pool, backend }
                if pool == in_pool && backend.name() == name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_config::NewBackend;
    use evenkeel_core::plan::AdminState;
    use std::time::{Duration, Instant};

    fn add(name: &str) -> Edit {
        let (name, address) = (Some(name.to_owned()), "127.0.0.1:9".to_owned());
        let backend = NewBackend { name, address, weight: None, admin: None };
        Edit::AddBackend { pool: "a".into(), backend }
    }

    fn remove(backend: &str) -> Edit {
        let (pool, backend) = ("a".into(), backend.into());
        Edit::RemoveBackend { pool, backend, drain: Duration::ZERO }
    }

    fn weight(backend: &str) -> Edit {
        Edit::Weight { pool: "a".into(), backend: backend.into(), weight: 3 }
    }

    fn disable(backend: &str) -> Edit {
        let (pool, backend) = ("a".into(), backend.into());
        Edit::Admin { pool, backend, admin: AdminState::Disabled }
    }

    #[test]
    fn what_was_added_and_removed_again_leaves_nothing() {
        let kept = |edits: &[Edit], leaving: &[Leaving], conflicts: &[Conflict]| {
            let mut overlay = edits.iter().cloned().map(Arc::new).collect();
            forget_taken_back(&mut overlay, leaving, conflicts);
            overlay.iter().map(|edit| Edit::clone(edit)).collect::<Vec<_>>()
        };
        let all = [weight("x"), add("x"), add("y"), weight("x"), disable("x"), remove("x")];
        assert_eq!(kept(&all, &[], &[]), [weight("x"), add("y")], "x is the file's again");
        let rounds = [add("x"), remove("x"), add("x"), remove("x"), add("x")];
        assert_eq!(kept(&rounds, &[], &[]), [add("x")]);
        let of_the_file = [remove("x"), add("x"), remove("x")];
        assert_eq!(kept(&of_the_file, &[], &[]), [remove("x")], "it stays away");

        let all = [add("x"), weight("x"), remove("x")];
        let (pool, backend) = ("a".to_owned(), "x".to_owned());
        let leaves = Leaving { pool, backend, until: Instant::now(), found: None };
        assert_eq!(kept(&all, &[leaves], &[]), all, "it is there until it has left");
        let conflict = |kind| Conflict { edit: all[0].to_string(), message: String::new(), kind };
        let taken = [conflict(ConflictKind::Present)];
        assert_eq!(kept(&all, &[], &taken), all, "another one was removed");
        assert!(kept(&all, &[], &[conflict(ConflictKind::Missing)]).is_empty());
    }
}
