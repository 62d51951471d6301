//! Overlay and revisions outlive the process: over a restart in `state_dir`, over a handover as a
//! text from one process to the next. The overlay is that of the newest revision. Environment and
//! flags are not kept: those of the process count.

use super::on_disk::{from_json, parse, to_disk};
use super::revision::History;
use super::{Steering, find};
use crate::state_file::{self, Claim};
use evenkeel_config::{Configuration, Overrides, Source};
use evenkeel_core::plan::LogLevel;
use evenkeel_core::record::EventValue;
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

const FILE: &str = "overlay.json";
/// The newest revisions, which are written down; older ones end with a restart.
const MAX_WRITTEN: usize = 100;

/// In what one process tells the next.
const OVERLAY: &str = "overlay";
/// As above.
const DISCOVERY: &str = "discovery";

/// What the process before this one has handed over; nothing, if there was none.
#[derive(Default)]
pub(super) struct Handed {
    pub(super) overlay: Option<Json>,
    pub(super) found: Option<Json>,
}

impl Handed {
    /// Reads what `Steering::bequeath` gave.
    pub(super) fn parse(text: &[u8]) -> Result<Handed, String> {
        let mut json: Json = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let mut take = |name| json.get_mut(name).map(Json::take);
        Ok(Handed { overlay: take(OVERLAY), found: take(DISCOVERY) })
    }
}

/// The text that the process before this one served last, out of what it has handed over; `None` if
/// there is none.
pub fn handed_text(handed: &[u8]) -> Option<Source> {
    let overlay = Handed::parse(handed).ok()?.overlay?;
    let history = from_json(overlay, &Overrides::default()).ok()?;
    let newest = history.newest(1).next()?;
    newest.written.source.clone()
}

/// Something about what is kept that an operator should know.
pub(super) struct Worry {
    pub(super) event: &'static str,
    pub(super) file: String,
    pub(super) error: String,
}

/// What was kept for this process.
pub(super) struct TakenUp {
    pub(super) history: History,
    /// The file has all of it.
    pub(super) is_written: bool,
    pub(super) worries: Vec<Worry>,
}

/// Where revisions are kept.
pub(super) struct Keep {
    /// `None` without `state_dir`, or if what is there must not be overwritten.
    file: Option<PathBuf>,
    /// Another process writes now.
    relieved: AtomicBool,
    /// Another process reads what this one has written, and may write soon.
    held: AtomicBool,
    /// Says so to other processes.
    claim: Option<Claim>,
    /// Another process has said so before.
    shared: bool,
}

impl Keep {
    pub(super) fn of(configuration: &Configuration) -> Keep {
        let json = configuration.to_json();
        let folder = json["state_dir"].as_str().filter(|folder| !folder.is_empty());
        let file = folder.map(|folder| PathBuf::from(folder).join(FILE));
        Keep::at(file)
    }

    fn at(file: Option<PathBuf>) -> Keep {
        let (relieved, held) = (AtomicBool::new(false), AtomicBool::new(false));
        Keep { file, relieved, held, claim: None, shared: false }
    }

    /// Tells other processes that this one keeps its state there, and if one of them does. What the
    /// process before this one has claimed is claimed when that ends.
    pub(super) fn claim(&mut self, comes_after: bool) -> Option<Worry> {
        let folder = self.file.as_ref()?.parent()?;
        if comes_after {
            // If it cannot be, others are not warned.
            let _ = Claim::after_another(folder);
            return None;
        }
        // What cannot be written there is told when it is to be written.
        self.claim = Claim::on(folder).ok()?;
        self.shared = self.claim.is_none();
        let why = "another process keeps its state there too, and each overwrites what the other \
                   one writes; give each a state_dir of its own";
        self.shared.then(|| self.worry("state_shared", why.to_owned()))
    }

    /// True if another process keeps its state there.
    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    fn worry(&self, event: &'static str, error: String) -> Worry {
        let file = self.file.as_ref().map_or_else(String::new, |file| file.display().to_string());
        Worry { event, file, error }
    }

    /// True once another process has taken over.
    pub(super) fn is_relieved(&self) -> bool {
        self.relieved.load(Ordering::Relaxed)
    }

    /// That what the process before this one has handed over makes no sense.
    pub(super) fn cannot_take_up(&self, why: &str) -> Worry {
        let error = format!("what was handed over is not taken up: {why}");
        self.worry("state_unreadable", error)
    }

    /// That edits are kept, but cannot be laid over the file.
    pub(super) fn cannot_lay_over(&self, why: &str) -> Worry {
        let error = format!("serving without the edits of the newest revision: {why}");
        self.worry("state_not_applied", error)
    }

    /// What was kept, which may be nothing: what the process before this one has handed over, or
    /// else what is in the file. A file that cannot be read, or tells of other revisions than those
    /// that were handed over, is set aside.
    pub(super) fn take_up(&mut self, overrides: &Overrides, handed: Option<Json>) -> TakenUp {
        let (on_disk, worry) = self.read(overrides);
        let mut worries = Vec::from_iter(worry);
        let history = match handed.map(|json| from_json(json, overrides)) {
            None => return TakenUp { history: on_disk, is_written: true, worries },
            Some(Err(error)) => {
                worries.push(self.cannot_take_up(&error));
                return TakenUp { history: on_disk, is_written: true, worries };
            }
            Some(Ok(history)) => history,
        };
        if on_disk.newest_shown().is_some_and(|newest| !history.list().contains(&newest)) {
            let why = "it tells of other revisions than the process before this one";
            worries.extend(self.set_aside(why));
        }
        let is_written = on_disk.newest_shown() == history.newest_shown();
        TakenUp { history, is_written, worries }
    }

    fn read(&mut self, overrides: &Overrides) -> (History, Option<Worry>) {
        let Some(file) = &self.file else { return (History::default(), None) };
        let text = state_file::read(file).map_err(|error| error.to_string());
        let error = match text.map(|text| text.map(|text| parse(&text, overrides))) {
            Ok(None) => return (History::default(), None),
            Ok(Some(Ok(history))) => return (history, None),
            Ok(Some(Err(error))) | Err(error) => error,
        };
        (History::default(), self.set_aside(&error))
    }

    /// Nothing overwrites what is there, for this reason.
    fn set_aside(&mut self, why: &str) -> Option<Worry> {
        let aside = state_file::set_aside(self.file.as_ref()?);
        let fate = match &aside {
            Ok(aside) => format!("kept as {}", aside.display()),
            Err(problem) => format!("left alone, and no edits are kept from now on: {problem}"),
        };
        let worry = self.worry("state_unreadable", format!("{why}; {fate}"));
        if aside.is_err() {
            self.file = None;
        }
        Some(worry)
    }

    /// Writes everything down.
    pub(super) fn write(&self, history: &History) -> Result<(), Worry> {
        let Some(file) = &self.file else { return Ok(()) };
        if self.is_relieved() {
            return Ok(());
        }
        let written =
            serde_json::to_vec(&to_disk(history, MAX_WRITTEN)).map_err(std::io::Error::from);
        let written = written.and_then(|text| state_file::write(file, &text));
        written.map_err(|error| self.worry("state_not_kept", error.to_string()))
    }
}

impl Steering {
    /// Takes no change that another process, which is being started, might not see; or does again.
    /// What was begun before is written when this returns.
    pub fn hold(&self, hold: bool) {
        let course = self.lock_course();
        self.keep.held.store(hold, Ordering::Relaxed);
        if !hold {
            // The other process may have written what is not so.
            self.keep_revisions(&course.history);
        }
    }

    /// Edits, revisions and what discovery has found, for the next process. Best asked for while
    /// no change is taken.
    pub fn bequeath(&self) -> Vec<u8> {
        let course = self.lock_course();
        let (overlay, found) = (to_disk(&course.history, usize::MAX), &course.state.found);
        json!({ OVERLAY: overlay, DISCOVERY: find::to_json(found) }).to_string().into_bytes()
    }

    /// True while no change is taken.
    pub(super) fn is_held(&self) -> bool {
        self.keep.held.load(Ordering::Relaxed)
    }

    pub(super) fn refuse_while_held(&self) -> Result<(), String> {
        let why = "a new program is being started, which would not see the change; ask again when \
                   it serves, or has failed";
        if self.is_held() { Err(why.to_owned()) } else { Ok(()) }
    }

    /// Changes nothing and writes no state any more: another process has taken over, and writes
    /// its own.
    pub fn retire(&self) {
        self.keep.relieved.store(true, Ordering::Relaxed);
    }

    pub(super) fn keep_revisions(&self, history: &History) {
        if let Err(worry) = self.keep.write(history) {
            self.tell_worry(&worry);
        }
    }

    pub(super) fn tell_worry(&self, worry: &Worry) {
        let Worry { event, file, error } = worry;
        let fields = [("file", EventValue::Text(file)), ("error", EventValue::Text(error))];
        let message = "what was to outlive the process could not be kept or taken up";
        self.tell((LogLevel::Warn, event), message, &fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::Author;
    use crate::steering::on_disk::tests::{history, state};

    fn keep(folder: &std::path::Path) -> Keep {
        Keep::at(Some(folder.join(FILE)))
    }

    fn told(worries: &[Worry]) -> Vec<(&str, &str)> {
        worries.iter().map(|worry| (worry.event, &*worry.error)).collect()
    }

    #[test]
    fn what_is_handed_over_counts_more_than_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let overrides = Overrides::default();
        let take = |handed: &History| {
            let handed = serde_json::to_value(to_disk(handed, usize::MAX)).unwrap();
            keep(folder.path()).take_up(&overrides, Some(handed))
        };
        let ours = history(&["one", "two"]);
        let taken = take(&ours);
        assert_eq!((taken.history.list(), taken.is_written), (ours.list(), false));
        assert!(taken.worries.is_empty(), "{:?}", told(&taken.worries));
        assert!(keep(folder.path()).write(&history(&["one"])).is_ok());
        let taken = take(&ours);
        assert_eq!((taken.history.last(), taken.is_written), (2, false), "the file is behind");
        assert!(taken.worries.is_empty(), "{:?}", told(&taken.worries));
        assert!(keep(folder.path()).write(&ours).is_ok());
        assert!(take(&ours).is_written);

        // It tells of what another process did.
        let mut theirs = history(&["one"]);
        theirs.push(&state("two", Vec::new()), &Author::named("ben"), Vec::new(), 7);
        assert!(keep(folder.path()).write(&theirs).is_ok());
        let taken = take(&ours);
        assert_eq!((taken.history.list(), taken.is_written), (ours.list(), false));
        let [(event, error)] = told(&taken.worries)[..] else { panic!("one worry") };
        assert_eq!(event, "state_unreadable");
        assert!(error.contains("overlay.json.unreadable"), "{error}");
        assert!(folder.path().join("overlay.json.unreadable").exists());
    }

    #[test]
    fn a_second_process_in_the_same_directory_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (mut first, mut second) = (keep(folder.path()), keep(folder.path()));
        assert!(first.claim(false).is_none());
        let worry = second.claim(false).unwrap();
        assert_eq!((worry.event, second.is_shared()), ("state_shared", true));
        drop(first);
        assert!(second.claim(false).is_none() && !second.is_shared());
    }

    #[test]
    fn the_file_counts_if_what_is_handed_over_makes_no_sense() {
        let folder = tempfile::tempdir().unwrap();
        assert!(keep(folder.path()).write(&history(&["one"])).is_ok());
        let handed = Some(json!({ "version": 3 }));
        let taken = keep(folder.path()).take_up(&Overrides::default(), handed);
        assert_eq!((taken.history.last(), taken.is_written), (1, true));
        let why = "what was handed over is not taken up: written in form 3, not 2";
        assert_eq!(told(&taken.worries), [("state_unreadable", why)]);
    }
}
