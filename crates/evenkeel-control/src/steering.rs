//! The one road on which the configuration changes, whoever wants it:
//!
//! ```text
//! file  ─┐
//! finds ─┤
//! edits ─┴▶ tree ─▶ checked plan ─▶ next snapshot ─▶ published            all or nothing
//!           (evenkeel-config)      (evenkeel-proxy)   what was in force stays on any error
//! ```
//!
//! The file says what is wanted; edits, which came through the API, are an overlay on it, by name.
//! Each state of file and overlay is a revision that can be gone back to. Adjustments of loops that
//! act by themselves (migrations, autoscaling) lie over both, and what discovery finds lies between
//! file and overlay; neither is a revision.

mod divide;
mod draft;
mod find;
mod grow;
mod in_force;
mod keep;
mod leaving;
mod on_disk;
mod outcome;
mod overlay;
mod preview;
mod restart;
mod revision;
mod seen;
mod source;
mod tell;
mod watch;

pub use draft::Draft;
pub use evenkeel_config::{Conflict, ConflictKind, Edit, NewBackend};
pub use in_force::InForce;
pub use keep::handed_text;
pub use outcome::{Applied, Author, EditError, ReadFile, Rejected, Written};
pub use preview::{Preview, Touched};
pub(crate) use seen::is_seen;
pub(crate) use source::Sources;
pub use watch::FileWatch;

use crate::control::Seat;
use crate::metrics::Reloads;
use crate::migrations::Division;
use arc_swap::ArcSwap;
use evenkeel_api::Revision;
use evenkeel_config::{Configuration, Layers, Source, read_over};
use evenkeel_core::discovery::Finds;
use evenkeel_core::plan::Plan;
use evenkeel_core::strategy::hash::hash;
use evenkeel_proxy::aside::aside;
use evenkeel_proxy::log::EventLog;
use evenkeel_proxy::server::{self, Files, Server};
use keep::Keep;
use leaving::{Leaving, MAX_DRAIN, as_is};
use overlay::Overlay;
use revision::History;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// File and overlay, before they are in force.
#[derive(Clone, Debug, Default)]
struct State {
    written: Written,
    /// What discovery has found, by pool; cheap to copy.
    found: Arc<Finds>,
    /// Revisions are made of these.
    overlay: Overlay,
    /// Laid over everything by loops that act by themselves.
    adjusted: Overlay,
    /// How migrations divide routes, by the route's name.
    divisions: BTreeMap<String, Division>,
}

impl State {
    fn file(&self) -> Option<String> {
        self.written.source.as_ref().map(|source| source.name.clone())
    }

    /// All edits in the order in which they apply: what a loop has added is there to be edited.
    fn edits(&self) -> impl Iterator<Item = &Edit> {
        let grows =
            |edit: &&Edit| matches!(edit, Edit::AddBackend { .. } | Edit::RemoveBackend { .. });
        let adjusted = || self.adjusted.iter().map(Arc::as_ref);
        let (adds, rest) = (adjusted().filter(grows), adjusted());
        let overlay = self.overlay.iter().map(Arc::as_ref);
        adds.chain(overlay).chain(rest.filter(move |edit| !grows(edit)))
    }
}

/// What changes; held for the whole of a change.
struct Course {
    state: State,
    leaving: Vec<Leaving>,
    history: History,
}

/// Called after each change; says what of it does not take effect.
type Follower = Box<dyn Fn(&InForce) -> Vec<String> + Send + Sync>;

/// The one road on which the configuration changes.
pub struct Steering {
    read_file: Box<ReadFile>,
    server: Arc<Server>,
    events: EventLog,
    /// What the process began with.
    began: Plan,
    /// Of the admin listener.
    seat: OnceLock<Arc<Seat>>,
    keep: Keep,
    kept_finds: find::KeptFinds,
    course: Mutex<Course>,
    in_force: ArcSwap<InForce>,
    followers: Mutex<Vec<Follower>>,
    tally: Tally,
}

/// How reloads ended.
#[derive(Debug, Default)]
struct Tally {
    applied: AtomicU64,
    unchanged: AtomicU64,
    rejected: AtomicU64,
    /// Why the last one was rejected.
    trouble: Mutex<Option<String>>,
}

fn configuration_of(state: &State, leaving: &[Leaving]) -> Result<Configuration, Rejected> {
    let written = &state.written;
    let edits: Vec<Edit> = state.edits().map(|it| as_is(it, leaving)).collect();
    let found = find::with_leaving(&state.found, leaving);
    let layers = Layers { found: &found, edits: &edits };
    let read = read_over(written.source.as_ref(), &written.overrides, layers);
    read.map_err(Rejected::Invalid)
}

impl Steering {
    /// Reads the file again and serves what it says now. With `if_match`, only if that still is the
    /// ETag of the configuration.
    ///
    /// # Errors
    /// It cannot be read or does not hold, or `if_match` is not of now; nothing has changed then.
    pub fn reload(&self, by: &Author, if_match: Option<&str>) -> Result<Applied, Rejected> {
        self.steer(|course| {
            self.refuse_while_held().map_err(Rejected::Refused)?;
            self.expect_seen(&[], if_match)?;
            let outcome = (self.read_file)().and_then(|written| {
                let next = State { written, ..course.state.clone() };
                self.change(course, (next, Files::Read), by)
            });
            let counter = match &outcome {
                Ok(applied) if applied.changed => &self.tally.applied,
                Ok(_) => &self.tally.unchanged,
                Err(_) => &self.tally.rejected,
            };
            counter.fetch_add(1, Ordering::Relaxed);
            self.remember(&outcome, by);
            outcome
        })
    }

    /// What a reload of the file, or of a candidate for it, would change and touch.
    ///
    /// # Errors
    /// It cannot be read or does not hold.
    pub fn preview(&self, candidate: Option<Source>) -> Result<Preview, Rejected> {
        let written = (self.read_file)();
        let written = match candidate {
            Some(source) => {
                let overrides = written.map(|written| written.overrides);
                Written { source: Some(source), overrides: overrides.unwrap_or_default() }
            }
            None => written?,
        };
        self.steer(|course| {
            let next = State { written: written.clone(), ..course.state.clone() };
            let configuration = configuration_of(&next, &course.leaving)?;
            let (mut plan, warnings) = crate::vet(&configuration).map_err(Rejected::Invalid)?;
            divide::lay_over(&mut plan, &next.divisions);
            let snapshot = self.server.state().snapshot();
            let mut preview = preview::preview(&snapshot, &plan);
            preview.notes = self.needs_restart(&plan);
            let now = self.in_force.load();
            preview.changes = preview::changes(&now, &configuration.to_json(), &plan);
            preview.conflicts = configuration.conflicts;
            preview.warnings = warnings;
            Ok(preview)
        })
    }

    /// Lays edits over the file, all or none, as one revision. With `if_match`, only if that still
    /// is the ETag of the configuration or of a pool that is edited.
    ///
    /// # Errors
    /// See `EditError`; nothing has changed then.
    pub fn edit(
        &self,
        edits: &[Edit],
        by: &Author,
        if_match: Option<&str>,
    ) -> Result<Revision, EditError> {
        self.steer(|course| {
            self.refuse_while_held().map_err(EditError::Refused)?;
            self.expect_seen(edits, if_match)?;
            self.edit_in(course, edits, by)
        })
    }

    fn edit_in(
        &self,
        course: &mut Course,
        edits: &[Edit],
        by: &Author,
    ) -> Result<Revision, EditError> {
        self.refuse_removal(&course.state, edits)?;
        let mut next = course.state.clone();
        // Whoever edits by hand ends what a loop had set.
        next.adjusted.retain(|adjusted| !edits.iter().any(|edit| edit.replaces(adjusted)));
        let leaving_before = course.leaving.clone();
        let laid = self.lay_over(course, (&mut next, |state| &mut state.overlay), edits);
        let outcome = laid.and_then(|()| Ok(self.change(course, (next, Files::Known), by)?));
        match outcome {
            Ok(_) => course.history.newest_shown().ok_or_else(|| EditError::Refused(String::new())),
            Err(error) => {
                course.leaving = leaving_before;
                Err(error)
            }
        }
    }

    /// Lays edits over everything without a revision, in the place of those that they replace: for
    /// loops that act by themselves.
    ///
    /// # Errors
    /// See `EditError`; nothing has changed then.
    pub fn adjust(&self, edits: &[Edit]) -> Result<Applied, EditError> {
        self.steer(|course| {
            let (mut next, leaving_before) = (course.state.clone(), course.leaving.clone());
            let laid = self.lay_over(course, (&mut next, |state| &mut state.adjusted), edits);
            let said = course.state.overlay.len();
            let outcome = laid.and_then(|()| Ok(self.change_quietly(course, next)?));
            self.shorten_newest(course, said);
            outcome.inspect_err(|_| course.leaving = leaving_before)
        })
    }

    /// Goes back to the state as of a revision, as a new one. With `if_match`, only if that still
    /// is the ETag of the configuration.
    ///
    /// # Errors
    /// There is no such revision, or it does not hold any more, or `if_match` is not of now.
    pub fn rollback(
        &self,
        revision: u64,
        by: &Author,
        if_match: Option<&str>,
    ) -> Result<Revision, EditError> {
        self.steer(|course| {
            self.refuse_while_held().map_err(EditError::Refused)?;
            self.expect_seen(&[], if_match)?;
            self.go_back_in(course, revision, by)
        })
    }

    fn go_back_in(
        &self,
        course: &mut Course,
        revision: u64,
        by: &Author,
    ) -> Result<Revision, EditError> {
        let Some((written, overlay)) = course.history.state_of(revision) else {
            return Err(EditError::NotFound(format!("no revision {revision}")));
        };
        let next = course.state.gone_back(written, overlay);
        let leaving = course.leaving.clone();
        course.leaving.retain(|it| it.found.is_some() || next.removes(&it.pool, &it.backend));
        let reason = match by.reason.as_str() {
            "" => format!("back to revision {revision}"),
            reason => reason.to_owned(),
        };
        let by = Author { name: by.name.clone(), reason };
        let before = course.history.last();
        if let Err(rejected) = self.change(course, (next.clone(), Files::Read), &by) {
            course.leaving = leaving;
            return Err(rejected.into());
        }
        if course.history.last() == before {
            // It is what is in force already; that is a revision all the same.
            course.history.push(&next, &by, Vec::new(), unix_nanos());
            self.renumber(course);
        }
        course.history.newest_shown().ok_or_else(|| EditError::Refused(String::new()))
    }

    /// All revisions that are kept, the newest last.
    pub fn revisions(&self) -> Vec<Revision> {
        self.lock_course().history.list()
    }

    /// What is in force.
    pub fn configuration(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    /// Stands for the configuration of one pool; `None` if there is no such pool.
    pub fn etag_of_pool(&self, pool: &str) -> Option<String> {
        self.in_force.load().etag_of_pool(pool)
    }

    /// Of the text that was read last; `None` without a file.
    fn text_hash(&self) -> Option<u64> {
        let course = self.lock_course();
        Some(hash(course.state.written.source.as_ref()?.text.as_bytes()))
    }

    /// How reloads ended.
    pub fn reloads(&self) -> Reloads {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Reloads {
            applied: count(&self.tally.applied),
            unchanged: count(&self.tally.unchanged),
            rejected: count(&self.tally.rejected),
            failing: self.trouble().is_some(),
        }
    }

    /// Counts reloads of earlier processes too: applied, unchanged, rejected.
    pub(crate) fn count_reloads(&self, [applied, unchanged, rejected]: [u64; 3]) {
        self.tally.applied.fetch_add(applied, Ordering::Relaxed);
        self.tally.unchanged.fetch_add(unchanged, Ordering::Relaxed);
        self.tally.rejected.fetch_add(rejected, Ordering::Relaxed);
    }

    /// Calls this after each change, for the life of the process. It says what of it does not take
    /// effect, in words.
    pub fn follow(&self, follower: impl Fn(&InForce) -> Vec<String> + Send + Sync + 'static) {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        followers.push(Box::new(follower));
    }

    /// What time alone changes: removed backends that have drained go, and memory of old
    /// configurations is given back. To be called every moment.
    pub fn tick(&self, now: Instant) {
        self.server.tidy_up();
        if self.keep.is_relieved() || !self.has_left(&mut self.lock_course(), now) {
            return;
        }
        self.steer(|course| self.let_go(course));
    }

    /// Changes something while nobody else does. It may take long: the workers come first.
    fn steer<T: Send>(&self, mut change: impl FnMut(&mut Course) -> T + Send) -> T {
        aside(|| change(&mut self.lock_course()))
    }

    fn lock_course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a state in force, as a new revision if it differs.
    fn change(
        &self,
        course: &mut Course,
        (next, files): (State, Files),
        by: &Author,
    ) -> Result<Applied, Rejected> {
        let (begun, is_new) = (Instant::now(), next.overlay != course.state.overlay);
        if !course.leaving.is_empty() {
            // It must hold without those that are about to go, too: nobody is asked again then.
            configuration_of(&next, &[])?;
        }
        let applied = self.put_in_force(course, next, files)?;
        if applied.changed || is_new {
            let lines = applied.changes.clone();
            let state = course.state.clone();
            course.history.push(&state, by, lines, unix_nanos());
            self.renumber(course);
        }
        if applied.changed {
            self.tell_applied(&applied, by, begun.elapsed());
        }
        Ok(applied)
    }

    /// Puts a state in force whose text is the one in force.
    fn change_quietly(&self, course: &mut Course, next: State) -> Result<Applied, Rejected> {
        self.put_in_force(course, next, Files::Known)
    }

    fn put_in_force(
        &self,
        course: &mut Course,
        next: State,
        files: Files,
    ) -> Result<Applied, Rejected> {
        if self.keep.is_relieved() {
            let why = "another process has taken over; it is that one's to change";
            return Err(Rejected::Refused(why.to_owned()));
        }
        let configuration = configuration_of(&next, &course.leaving)?;
        let before = self.in_force.load_full();
        let (mut plan, warnings) = match crate::vet(&configuration) {
            Err(_) if files == Files::Known => (configuration.plan().0, before.warnings.clone()),
            vetted => vetted.map_err(Rejected::Invalid)?,
        };
        divide::lay_over(&mut plan, &next.divisions);
        let next_admin = self.next_admin(&plan)?;
        let served = self.server.apply_with(plan.clone(), files);
        let server::Applied { changed, generation } =
            served.map_err(|error| Rejected::Refused(error.to_string()))?;
        let mut notes: Vec<String> = self.move_admin(next_admin).into_iter().collect();
        notes.extend(self.misses_admin(&plan));
        notes.extend(self.needs_restart(&plan));
        let mut in_force = InForce::new(configuration, plan, generation);
        in_force.warnings = warnings;
        (in_force.file, in_force.edits) = (next.file(), next.overlay.len());
        in_force.revision = before.revision;
        let conflicts = in_force.conflicts.clone();
        let differs = || preview::changes(&before, in_force.json(), &in_force.plan);
        let changes = if changed { differs() } else { Vec::new() };
        self.in_force.store(Arc::new(in_force));
        course.state = next;
        notes.extend(self.tell_followers());
        let changes = changes.iter().map(ToString::to_string).collect();
        let edits = course.state.overlay.len();
        Ok(Applied { changed, generation, changes, notes, conflicts, edits })
    }

    fn tell_followers(&self) -> Vec<String> {
        let in_force = self.in_force.load_full();
        let followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        followers.iter().flat_map(|follower| follower(&in_force)).collect()
    }

    /// Writes down that the newest state is said with less than so many edits, if it is.
    fn shorten_newest(&self, course: &mut Course, before: usize) {
        if course.state.overlay.len() < before {
            course.history.settle(&course.state.overlay);
            self.keep_revisions(&course.history);
        }
    }

    /// What is in force has another revision now, which is written down.
    fn renumber(&self, course: &Course) {
        let mut in_force = InForce::clone(&self.in_force.load_full());
        in_force.revision = course.history.last();
        self.in_force.store(Arc::new(in_force));
        self.keep_revisions(&course.history);
    }

    /// Lays edits over one of the overlays of a state, if they fit.
    fn lay_over(
        &self,
        course: &mut Course,
        (next, overlay_of): (&mut State, fn(&mut State) -> &mut Overlay),
        edits: &[Edit],
    ) -> Result<(), EditError> {
        leaving::begin(&mut course.leaving, overlay_of(next), edits);
        overlay::lay_over(overlay_of(next), edits)?;
        let conflicts = self.check_edits(course, next, edits)?;
        next.forget_taken_back(&course.leaving, &conflicts);
        Ok(())
    }

    /// These edits must fit what they are laid over. Older ones that do not any more are told.
    fn check_edits(
        &self,
        course: &Course,
        next: &State,
        edits: &[Edit],
    ) -> Result<Vec<Conflict>, EditError> {
        let configuration = configuration_of(next, &course.leaving)?;
        let own: Vec<String> =
            edits.iter().map(|edit| as_is(edit, &course.leaving).to_string()).collect();
        let conflict = configuration.conflicts.iter().rev().find(|it| own.contains(&it.edit));
        match conflict {
            None => Ok(configuration.conflicts),
            Some(Conflict { kind: ConflictKind::Missing, message, .. }) => {
                Err(EditError::NotFound(message.clone()))
            }
            Some(Conflict {
                kind: ConflictKind::Present | ConflictKind::Agreed, message, ..
            }) => Err(EditError::Exists(message.clone())),
        }
    }
}

fn unix_nanos() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
