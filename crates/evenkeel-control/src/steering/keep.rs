//! Overlay and revisions outlive the process, in `state_dir`. The overlay is that of the newest
//! revision. Environment and flags are not kept: those of the process count.

use super::revision::{History, Kept};
use super::{Steering, Written};
use crate::state_file;
use evenkeel_api::Revision;
use evenkeel_config::{Configuration, Edit, Format, Overrides, Source};
use evenkeel_core::plan::LogLevel;
use evenkeel_core::record::EventValue;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const FILE: &str = "overlay.json";
/// Of the file's form; another one is not read.
const VERSION: u64 = 1;
/// The newest revisions, which are written down; older ones end with the process.
const MAX_WRITTEN: usize = 100;

#[derive(Serialize, Deserialize)]
struct OnDisk {
    version: u64,
    /// Each text once.
    texts: Vec<KeptText>,
    /// The newest last.
    revisions: Vec<KeptRevision>,
}

#[derive(Serialize, Deserialize)]
struct KeptText {
    name: String,
    text: String,
    is_toml: bool,
}

#[derive(Serialize, Deserialize)]
struct KeptRevision {
    revision: Revision,
    /// Its place in `texts`; none without a file.
    text: Option<usize>,
    edits: Vec<Json>,
}

/// Something about what is kept that an operator should know.
pub(super) struct Worry {
    pub(super) event: &'static str,
    pub(super) file: String,
    pub(super) error: String,
}

/// Where revisions are kept.
pub(super) struct Keep {
    /// `None` without `state_dir`, or if what is there must not be overwritten.
    file: Option<PathBuf>,
    /// Another process writes now.
    relieved: AtomicBool,
    /// Another process reads what this one has written, and may write soon.
    held: AtomicBool,
}

impl Keep {
    pub(super) fn of(configuration: &Configuration) -> Keep {
        let json = configuration.to_json();
        let folder = json["state_dir"].as_str().filter(|folder| !folder.is_empty());
        let file = folder.map(|folder| PathBuf::from(folder).join(FILE));
        Keep { file, relieved: AtomicBool::new(false), held: AtomicBool::new(false) }
    }

    fn worry(&self, event: &'static str, error: String) -> Worry {
        let file = self.file.as_ref().map_or_else(String::new, |file| file.display().to_string());
        Worry { event, file, error }
    }

    /// True once another process has taken over.
    pub(super) fn is_relieved(&self) -> bool {
        self.relieved.load(Ordering::Relaxed)
    }

    /// That edits are kept, but cannot be laid over the file.
    pub(super) fn cannot_lay_over(&self, why: &str) -> Worry {
        let error = format!("serving without the edits of the newest revision: {why}");
        self.worry("state_not_applied", error)
    }

    /// What was kept, which may be nothing. What cannot be read is set aside.
    pub(super) fn take_up(&mut self, overrides: &Overrides) -> (History, Option<Worry>) {
        let Some(file) = &self.file else { return (History::default(), None) };
        let text = state_file::read(file).map_err(|error| error.to_string());
        let error = match text.map(|text| text.map(|text| parse(&text, overrides))) {
            Ok(None) => return (History::default(), None),
            Ok(Some(Ok(history))) => return (history, None),
            Ok(Some(Err(error))) | Err(error) => error,
        };
        let aside = state_file::set_aside(file);
        let fate = match &aside {
            Ok(aside) => format!("kept as {}", aside.display()),
            Err(problem) => format!("left alone, and no edits are kept from now on: {problem}"),
        };
        let worry = self.worry("state_unreadable", format!("{error}; {fate}"));
        if aside.is_err() {
            self.file = None;
        }
        (History::default(), Some(worry))
    }

    /// Writes everything down.
    pub(super) fn write(&self, history: &History) -> Result<(), Worry> {
        let Some(file) = &self.file else { return Ok(()) };
        if self.is_relieved() {
            return Ok(());
        }
        let written = serde_json::to_vec(&to_disk(history)).map_err(std::io::Error::from);
        let written = written.and_then(|text| state_file::write(file, &text));
        written.map_err(|error| self.worry("state_not_kept", error.to_string()))
    }
}

fn to_disk(history: &History) -> OnDisk {
    let mut texts: Vec<&Source> = Vec::new();
    let mut revisions = Vec::new();
    for kept in history.newest_first().take(MAX_WRITTEN) {
        let text = kept.written.source.as_ref().map(|source| {
            texts.iter().position(|known| *known == source).unwrap_or_else(|| {
                texts.push(source);
                texts.len() - 1
            })
        });
        let edits = kept.overlay.iter().map(Edit::to_json).collect();
        revisions.push(KeptRevision { revision: kept.shown.clone(), text, edits });
    }
    revisions.reverse();
    let text = |source: &Source| KeptText {
        name: source.name.clone(),
        text: source.text.clone(),
        is_toml: source.format == Format::Toml,
    };
    OnDisk { version: VERSION, texts: texts.into_iter().map(text).collect(), revisions }
}

fn parse(text: &[u8], overrides: &Overrides) -> Result<History, String> {
    let json: Json = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    match json["version"].as_u64() {
        Some(VERSION) => {}
        Some(other) => return Err(format!("written in form {other}, not {VERSION}")),
        None => return Err("it has no `version`".to_owned()),
    }
    let OnDisk { texts, revisions, .. } =
        serde_json::from_value(json).map_err(|error| error.to_string())?;
    let written = |source| Arc::new(Written { source, overrides: overrides.clone() });
    let source = |KeptText { name, text, is_toml }| {
        let format = if is_toml { Format::Toml } else { Format::Yaml };
        written(Some(Source { name, text, format }))
    };
    let texts: Vec<Arc<Written>> = texts.into_iter().map(source).collect();
    let mut history = History::default();
    for KeptRevision { revision: shown, text, edits } in revisions {
        let id = shown.id;
        if id <= history.last() || id == u64::MAX {
            return Err(format!("revision {id} is out of order"));
        }
        let written = match text {
            Some(at) => texts.get(at).cloned().ok_or(format!("revision {id} has no text"))?,
            None => written(None),
        };
        let edits = edits.iter().map(Edit::from_json).collect::<Option<_>>();
        let overlay = edits.ok_or(format!("revision {id} has an unknown edit"))?;
        history.take(Kept { shown, written, overlay });
    }
    Ok(history)
}

impl Steering {
    /// Takes no change that another process, which is being started, might not see; or does again.
    /// What was begun before is written when this returns.
    pub fn hold(&self, hold: bool) {
        let _course = self.lock_course();
        self.keep.held.store(hold, Ordering::Relaxed);
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
    use crate::steering::{Author, State};

    fn state(text: &str, overlay: Vec<Edit>) -> State {
        let source =
            Source { name: "c.toml".to_owned(), text: text.to_owned(), format: Format::Toml };
        let written = Written { source: Some(source), overrides: Overrides::default() };
        State { written, overlay, ..State::default() }
    }

    fn weight(weight: u32) -> Edit {
        Edit::Weight { pool: "a".into(), backend: "b".into(), weight }
    }

    #[test]
    fn what_is_written_is_read_again_and_each_text_is_there_once() {
        let mut history = History::default();
        assert!(history.begin(&state("one", Vec::new()), 1));
        let by = Author::named("ana");
        history.push(&state("two", vec![weight(2)]), &by, vec!["a line".into()], 2);
        history.push(&state("one", vec![weight(3)]), &by, Vec::new(), 3);
        let disk = to_disk(&history);
        assert_eq!(disk.texts.len(), 2);
        let text = serde_json::to_vec(&disk).unwrap();
        let mut again = parse(&text, &Overrides::default()).unwrap();
        assert_eq!(again.list(), history.list());
        for id in 1..=3 {
            assert_eq!(again.state_of(id), history.state_of(id));
        }
        assert_eq!(again.overlay(), [weight(3)]);
        assert!(!again.begin(&state("one", vec![weight(3)]), 4), "the same is nothing new");
        assert!(again.begin(&state("other", vec![weight(3)]), 5));
        assert_eq!(again.last(), 4);
    }

    #[test]
    fn no_more_than_the_newest_are_written() {
        let mut history = History::default();
        for round in 0..=MAX_WRITTEN {
            let edits = vec![weight(u32::try_from(round).unwrap())];
            history.push(&state("one", edits), &Author::named("ana"), Vec::new(), 1);
        }
        let disk = to_disk(&history);
        assert_eq!(disk.revisions.len(), MAX_WRITTEN);
        assert_eq!(disk.revisions[0].revision.id, 2);
    }

    #[test]
    fn what_makes_no_sense_is_refused_whole() {
        let mut history = History::default();
        history.begin(&state("one", vec![weight(1)]), 1);
        let good = serde_json::to_value(to_disk(&history)).unwrap();
        let refused = |change: &dyn Fn(&mut Json)| {
            let mut json = good.clone();
            change(&mut json);
            parse(json.to_string().as_bytes(), &Overrides::default()).err().unwrap_or_default()
        };
        assert_eq!(refused(&|_| {}), "");
        assert_eq!(refused(&|json| json["version"] = 2.into()), "written in form 2, not 1");
        assert_eq!(refused(&|json| json["version"] = Json::Null), "it has no `version`");
        let edit = |json: &mut Json| json["revisions"][0]["edits"][0]["edit"] = "dance".into();
        assert_eq!(refused(&edit), "revision 1 has an unknown edit");
        let text = |json: &mut Json| json["revisions"][0]["text"] = 7.into();
        assert_eq!(refused(&text), "revision 1 has no text");
        let order = |json: &mut Json| json["revisions"][0]["revision"]["id"] = 0.into();
        assert_eq!(refused(&order), "revision 0 is out of order");
    }
}
