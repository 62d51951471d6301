//! The form in which revisions are written down and handed over. Each text and each edit is there
//! once, and a revision says how far it is as the one before: with thousands of edits, what is
//! written for one more stays short.

use super::Written;
use super::overlay::Overlay;
use super::revision::{History, Kept};
use evenkeel_api::Revision;
use evenkeel_config::{Edit, Format, Overrides, Source};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::sync::Arc;

/// Of the file's form.
const VERSION: u64 = 2;
/// In which each revision has all of its edits, and there is no table of them. Later ones are not
/// read.
const FIRST_VERSION: u64 = 1;
/// The highest number of a revision that is believed: a number of JSON is exact up to there, and no
/// process comes so far.
const MAX_ID: u64 = 1 << 53;

#[derive(Serialize, Deserialize)]
pub(super) struct OnDisk {
    version: u64,
    /// Each text once.
    texts: Vec<KeptText>,
    /// Each edit once.
    #[serde(default)]
    edits: Vec<Json>,
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
    /// How many of the edits of the revision before it begins with.
    #[serde(default)]
    as_before: usize,
    /// What follows them: places in the table, or in the first form an edit.
    edits: Vec<Json>,
}

/// So many of them at most, the newest.
pub(super) fn to_disk(history: &History, most: usize) -> OnDisk {
    let mut texts: Vec<&Source> = Vec::new();
    let (mut table, mut revisions) = (Table::default(), Vec::new());
    let mut before: &[Arc<Edit>] = &[];
    for kept in history.newest(most) {
        let text = kept.written.source.as_ref().map(|source| {
            texts.iter().position(|known| *known == source).unwrap_or_else(|| {
                texts.push(source);
                texts.len() - 1
            })
        });
        let pairs = kept.overlay.iter().zip(before);
        let as_before = pairs.take_while(|(edit, before)| Arc::ptr_eq(edit, before)).count();
        let edits = kept.overlay[as_before..].iter().map(|edit| table.place(edit).into()).collect();
        revisions.push(KeptRevision { revision: kept.shown.clone(), text, as_before, edits });
        before = &kept.overlay;
    }
    let text = |source: &Source| KeptText {
        name: source.name.clone(),
        text: source.text.clone(),
        is_toml: source.format == Format::Toml,
    };
    let texts = texts.into_iter().map(text).collect();
    OnDisk { version: VERSION, texts, edits: table.edits, revisions }
}

/// Edits that revisions share, each once.
#[derive(Default)]
struct Table {
    edits: Vec<Json>,
    places: HashMap<*const Edit, usize>,
}

impl Table {
    fn place(&mut self, edit: &Arc<Edit>) -> usize {
        *self.places.entry(Arc::as_ptr(edit)).or_insert_with(|| {
            self.edits.push(edit.to_json());
            self.edits.len() - 1
        })
    }
}

pub(super) fn parse(text: &[u8], overrides: &Overrides) -> Result<History, String> {
    let json = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    from_json(json, overrides)
}

pub(super) fn from_json(json: Json, overrides: &Overrides) -> Result<History, String> {
    match json["version"].as_u64() {
        Some(FIRST_VERSION..=VERSION) => {}
        Some(other) => return Err(format!("written in form {other}, not {VERSION}")),
        None => return Err("it has no `version`".to_owned()),
    }
    let OnDisk { texts, edits, revisions, .. } =
        serde_json::from_value(json).map_err(|error| error.to_string())?;
    let written = |source| Arc::new(Written { source, overrides: overrides.clone() });
    let source = |KeptText { name, text, is_toml }| {
        let format = if is_toml { Format::Toml } else { Format::Yaml };
        written(Some(Source { name, text, format }))
    };
    let texts: Vec<Arc<Written>> = texts.into_iter().map(source).collect();
    let table = edits.iter().map(read_edit).collect::<Option<Overlay>>();
    let table = table.ok_or("the table of edits has an unknown one")?;
    let mut history = History::default();
    for KeptRevision { revision: shown, text, as_before, edits } in revisions {
        let id = shown.id;
        if id <= history.last() || id > MAX_ID {
            return Err(format!("revision {id} is out of order"));
        }
        let written = match text {
            Some(at) => texts.get(at).cloned().ok_or(format!("revision {id} has no text"))?,
            None => written(None),
        };
        let before = history.overlay();
        let shared = before.get(..as_before);
        let shared = shared.ok_or(format!("revision {id} shares more edits than there are"))?;
        let mut overlay = shared.to_vec();
        for edit in &edits {
            let place = edit.as_u64().and_then(|place| usize::try_from(place).ok());
            let edit = match place {
                Some(place) => table.get(place).cloned(),
                None => read_edit(edit),
            };
            let edit = edit.ok_or(format!("revision {id} has an unknown edit"))?;
            // The first form has again what the revision before has.
            let same = before.get(overlay.len()).filter(|before| **before == edit);
            overlay.push(same.cloned().unwrap_or(edit));
        }
        history.take(Kept { shown, written, overlay });
    }
    Ok(history)
}

fn read_edit(edit: &Json) -> Option<Arc<Edit>> {
    Edit::from_json(edit).map(Arc::new)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::steering::{Author, State};

    const MOST: usize = 100;

    pub(in crate::steering) fn state(text: &str, edits: Vec<Edit>) -> State {
        let source =
            Source { name: "c.toml".to_owned(), text: text.to_owned(), format: Format::Toml };
        let written = Written { source: Some(source), overrides: Overrides::default() };
        let overlay = edits.into_iter().map(Arc::new).collect();
        State { written, overlay, ..State::default() }
    }

    fn weight(weight: u32) -> Edit {
        Edit::Weight { pool: "a".into(), backend: "b".into(), weight }
    }

    pub(in crate::steering) fn history(texts: &[&str]) -> History {
        let mut history = History::default();
        for (text, at) in texts.iter().zip(1..) {
            history.push(&state(text, vec![weight(at)]), &Author::named("ana"), Vec::new(), 7);
        }
        history
    }

    #[test]
    fn what_is_written_is_read_again_and_each_text_is_there_once() {
        let mut history = History::default();
        assert!(history.begin(&state("one", Vec::new()), 1));
        let by = Author::named("ana");
        history.push(&state("two", vec![weight(2)]), &by, vec!["a line".into()], 2);
        history.push(&state("one", vec![weight(3)]), &by, Vec::new(), 3);
        let disk = to_disk(&history, MOST);
        assert_eq!(disk.texts.len(), 2);
        let text = serde_json::to_vec(&disk).unwrap();
        let mut again = parse(&text, &Overrides::default()).unwrap();
        assert_eq!(again.list(), history.list());
        for id in 1..=3 {
            assert_eq!(again.state_of(id), history.state_of(id));
        }
        assert_eq!(again.overlay(), [Arc::new(weight(3))]);
        assert!(!again.begin(&state("one", vec![weight(3)]), 4), "the same is nothing new");
        assert!(again.begin(&state("other", vec![weight(3)]), 5));
        assert_eq!(again.last(), 4);
    }

    #[test]
    fn many_edits_are_written_once() {
        const EDITS: u32 = 1_000;
        let mut history = History::default();
        let mut next = state("one", Vec::new());
        for edit in 0..EDITS {
            next.overlay.push(Arc::new(weight(edit)));
            history.push(&next, &Author::named("ana"), Vec::new(), 1);
        }
        next.overlay.remove(500);
        history.push(&next, &Author::named("ana"), Vec::new(), 1);
        let disk = to_disk(&history, MOST);
        let places = disk.revisions.iter().map(|it| it.edits.len());
        // All of the oldest that is written, one more in each, and what follows the one removed.
        assert_eq!(places.sum::<usize>(), 902 + 98 + 499);
        let again = parse(&serde_json::to_vec(&disk).unwrap(), &Overrides::default()).unwrap();
        for id in 902..=1_001 {
            assert_eq!(again.state_of(id), history.state_of(id), "{id}");
        }
    }

    #[test]
    fn the_first_form_is_read() {
        let mut history = History::default();
        history.begin(&state("one", vec![weight(1), weight(2)]), 1);
        let mut json = serde_json::to_value(to_disk(&history, MOST)).unwrap();
        json["version"] = FIRST_VERSION.into();
        json["revisions"][0]["edits"] = json["edits"].take();
        json.as_object_mut().unwrap().remove("edits");
        json["revisions"][0].as_object_mut().unwrap().remove("as_before");
        let mut second = json["revisions"][0].clone();
        second["revision"]["id"] = 2.into();
        json["revisions"].as_array_mut().unwrap().push(second);
        let again = from_json(json, &Overrides::default()).unwrap();
        assert_eq!(again.state_of(1), history.state_of(1));
        assert_eq!(again.state_of(2), history.state_of(1));
        let places = to_disk(&again, MOST).revisions.into_iter().map(|it| it.edits.len());
        assert_eq!(places.collect::<Vec<_>>(), [2, 0], "and written in the second");
    }

    #[test]
    fn no_more_than_the_newest_are_written() {
        let mut history = History::default();
        for round in 0..=MOST {
            let edits = vec![weight(u32::try_from(round).unwrap())];
            history.push(&state("one", edits), &Author::named("ana"), Vec::new(), 1);
        }
        let disk = to_disk(&history, MOST);
        assert_eq!(disk.revisions.len(), MOST);
        assert_eq!(disk.revisions[0].revision.id, 2);
    }

    #[test]
    fn what_makes_no_sense_is_refused_whole() {
        let mut history = History::default();
        history.begin(&state("one", vec![weight(1)]), 1);
        let good = serde_json::to_value(to_disk(&history, MOST)).unwrap();
        let refused = |change: &dyn Fn(&mut Json)| {
            let mut json = good.clone();
            change(&mut json);
            parse(json.to_string().as_bytes(), &Overrides::default()).err().unwrap_or_default()
        };
        assert_eq!(refused(&|_| {}), "");
        assert_eq!(refused(&|json| json["version"] = 3.into()), "written in form 3, not 2");
        assert_eq!(refused(&|json| json["version"] = Json::Null), "it has no `version`");
        let edit = |json: &mut Json| json["edits"][0]["edit"] = "dance".into();
        assert_eq!(refused(&edit), "the table of edits has an unknown one");
        let place = |json: &mut Json| json["revisions"][0]["edits"][0] = 1.into();
        assert_eq!(refused(&place), "revision 1 has an unknown edit");
        let shared = |json: &mut Json| json["revisions"][0]["as_before"] = 1.into();
        assert_eq!(refused(&shared), "revision 1 shares more edits than there are");
        let text = |json: &mut Json| json["revisions"][0]["text"] = 7.into();
        assert_eq!(refused(&text), "revision 1 has no text");
        for id in [0, MAX_ID + 1, u64::MAX - 1] {
            let order = |json: &mut Json| json["revisions"][0]["revision"]["id"] = id.into();
            assert_eq!(refused(&order), format!("revision {id} is out of order"));
        }
    }
}
