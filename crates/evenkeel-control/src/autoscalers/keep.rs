//! What was started and what was decided, written down, so that the next process finds it again.

use super::ties::Course;
use crate::numbers::unix_nanos;
use crate::scribe::Scribe;
use crate::state_file;
use evenkeel_core::plan::LogLevel;
use evenkeel_core::record::{Event, EventValue};
use evenkeel_proxy::log::EventLog;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A process that was started for a pool, or a container: that one is of no process of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptProcess {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) port: u16,
    /// Where it is reached; earlier versions did not write it.
    #[serde(default)]
    pub(super) address: Option<String>,
    pub(super) began: u64,
    /// It took traffic.
    #[serde(default)]
    pub(super) serving: bool,
}

impl KeptProcess {
    /// A container; nothing that runs began at 0.
    pub(super) fn of_container(name: &str, address: &str, serving: bool) -> KeptProcess {
        let (name, address) = (name.to_owned(), Some(address.to_owned()));
        KeptProcess { name, pid: 0, port: 0, address, began: 0, serving }
    }

    /// Where it is reached.
    pub(super) fn address(&self) -> String {
        self.address.clone().unwrap_or_else(|| format!("127.0.0.1:{}", self.port))
    }
}

/// What is known of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) processes: Vec<KeptProcess>,
    pub(super) course: Course,
}

/// As it is written; earlier versions wrote processes alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Whole(Kept),
    Processes(Vec<KeptProcess>),
}

/// What is written down of one pool, and by whom; two know parts of it.
pub(super) struct Page {
    known: Mutex<Kept>,
    scribe: Option<Arc<Scribe>>,
}

impl Page {
    /// Of a pool; without a place for it nothing is written.
    pub(super) fn of(
        pool: &Arc<str>,
        state_dir: Option<&Path>,
        events: Option<EventLog>,
    ) -> Arc<Page> {
        let file = state_dir.map(|folder| file(folder, pool));
        let pool = Arc::clone(pool);
        let complain = move |event, file: &Path, error: &str| {
            events.iter().for_each(|events| tell(events, &pool, event, (file, error)));
        };
        let known = file.as_deref().map_or_else(Kept::default, |file| {
            read(file).unwrap_or_else(|why| {
                complain(UNREADABLE, file, &state_file::fate(file, &why));
                Kept::default()
            })
        });
        let complain =
            move |file: &Path, error: &io::Error| complain(NOT_KEPT, file, &error.to_string());
        let scribe = file.map(|file| Scribe::of(file, complain));
        Arc::new(Page { known: Mutex::new(known), scribe })
    }

    /// What was written by a former process, or since.
    pub(super) fn known(&self) -> Kept {
        self.lock().clone()
    }

    pub(super) fn set_processes(&self, processes: Vec<KeptProcess>) {
        self.change(|known| known.processes = processes);
    }

    pub(super) fn set_course(&self, course: Course) {
        self.change(|known| known.course = course);
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) {
        let mut known = self.lock();
        change(&mut known);
        if let Some(scribe) = &self.scribe {
            // Strings and numbers only: it cannot fail.
            scribe.write(serde_json::to_vec(&*known).unwrap_or_default());
        }
    }

    /// Waits until it is written, for the process after this one.
    pub(super) fn finish(&self) {
        if let Some(scribe) = &self.scribe {
            scribe.finish();
        }
    }

    /// The same, for who must not block.
    pub(super) async fn finished(&self) {
        if let Some(scribe) = &self.scribe {
            scribe.finished().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A kind of event, with what it means.
type Trouble = (&'static str, &'static str);

const NOT_KEPT: Trouble =
    ("state_not_kept", "what an autoscaler has started and decided could not be written down");
const UNREADABLE: Trouble = (
    "state_unreadable",
    "what an autoscaler had started and decided is not known; its processes may run still",
);

fn tell(events: &EventLog, pool: &str, (name, message): Trouble, (file, error): (&Path, &str)) {
    let file = file.display().to_string();
    events.emit(&Event {
        unix_nanos: unix_nanos(),
        level: LogLevel::Warn,
        name,
        message,
        fields: &[
            ("pool", EventValue::Text(pool)),
            ("file", EventValue::Text(&file)),
            ("error", EventValue::Text(error)),
        ],
    });
}

/// Where the processes of a pool are written down; no two pools share a file.
pub(super) fn file(state_dir: &Path, pool: &str) -> PathBuf {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let spelt = |byte: u8| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    let name: String = pool.bytes().map(spelt).collect();
    state_dir.join(format!("autoscale-{name}.json"))
}

/// What is written down, which may be nothing.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(file: &Path) -> Result<Kept, String> {
    let text = state_file::read(file).map_err(|error| error.to_string())?;
    let Some(text) = text else { return Ok(Kept::default()) };
    match serde_json::from_slice(&text) {
        Ok(Form::Whole(kept)) => Ok(kept),
        Ok(Form::Processes(processes)) => Ok(Kept { processes, ..Kept::default() }),
        Err(error) => Err(error.to_string()),
    }
}

/// Files of pools that are none of these.
pub(super) fn strays(state_dir: &Path, pools: &[&str]) -> Vec<PathBuf> {
    let known: Vec<PathBuf> = pools.iter().map(|pool| file(state_dir, pool)).collect();
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("autoscale-") && name.ends_with(".json") && !known.contains(path)
    };
    let entries = fs::read_dir(state_dir).into_iter().flatten();
    entries.filter_map(|entry| entry.ok().map(|it| it.path())).filter(is_ours).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path(), "we/b");
        assert_eq!(read(&file), Ok(Kept::default()));
        let name = "web-auto-1".to_owned();
        let address = Some("http://localhost:20001".to_owned());
        let process = KeptProcess { name, pid: 7, port: 20_001, address, began: 9, serving: true };
        assert_eq!(process.address(), "http://localhost:20001");
        let processes = vec![process];
        let course = Course { paused: true, counts: [2, 1], ..Course::default() };
        let page = Page::of(&"we/b".into(), Some(folder.path()), None);
        page.set_processes(processes.clone());
        page.set_course(course.clone());
        let kept = Kept { processes: processes.clone(), course };
        assert_eq!((read(&file), page.known()), (Ok(kept.clone()), kept));
        assert!(strays(folder.path(), &["we/b"]).is_empty());
        assert_eq!(strays(folder.path(), &["other"]), std::slice::from_ref(&file));
        fs::write(&file, serde_json::to_vec(&processes).unwrap()).unwrap();
        let known = Kept { processes, ..Kept::default() };
        assert_eq!(read(&file), Ok(known), "by an earlier version");
        let older = br#"[{"name":"web-auto-1","pid":7,"port":20001,"began":9}]"#;
        fs::write(&file, older).unwrap();
        assert_eq!(read(&file).unwrap().processes[0].address(), "127.0.0.1:20001");
    }

    #[test]
    fn every_pool_has_a_file_of_its_own() {
        let pools = ["web", "a_b", "a.b", "a/b", "a b", "a%2Eb", "../a", "\u{e9}", "A_b"];
        let folder = Path::new("state");
        let files: HashSet<PathBuf> = pools.iter().map(|pool| file(folder, pool)).collect();
        assert_eq!(files.len(), pools.len(), "{files:?}");
        assert!(files.iter().all(|file| file.parent() == Some(folder)), "{files:?}");
        assert!(files.contains(&folder.join("autoscale-a_b.json")));
        assert!(files.contains(&folder.join("autoscale-a%2Eb.json")));
    }

    #[test]
    fn what_cannot_be_read_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path(), "web");
        fs::write(&file, "{").unwrap();
        assert!(read(&file).is_err());
        let page = Page::of(&"web".into(), Some(folder.path()), None);
        assert_eq!(page.known(), Kept::default());
        assert!(!file.exists());
        let aside = folder.path().join("autoscale-web.json.unreadable");
        assert_eq!(fs::read_to_string(aside).unwrap(), "{");
    }
}
