//! Watches the configuration file, and the files that it names, and reloads when what is in them
//! has changed: whatever an editor, a rename, a mounted map or a copy did to bring that about.
//!
//! ```text
//!   something happened in the folder, or a second is over
//!        v
//!   other bytes than those last read? ── no ──> wait
//!        v yes
//!   the same for 200 ms? ── no ──> look again, five seconds at most
//!        v yes
//!   reload
//! ```

use super::{Author, Steering};
use evenkeel_core::plan::{AffinityPlan, CookiePlan, LogLevel, Plan};
use evenkeel_core::record::EventValue;
use evenkeel_core::strategy::hash::hash;
use notify::{RecursiveMode, Watcher};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
#[cfg(windows)]
use std::os::windows::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often is looked even if nothing was told: some file systems tell nothing.
const POLL: Duration = Duration::from_secs(1);
/// A file that is being written is left alone until it has been the same for so long.
const SETTLE: Duration = Duration::from_millis(200);
/// Looks at a file that does not settle.
const MAX_LOOKS: usize = 25;
/// A longer file is no configuration, and is not read.
const MAX_BYTES: u64 = 64 << 20;
/// Looks at a file that is not there, before that is said.
const MAX_ABSENT: usize = 3;

/// Watches until dropped.
pub struct FileWatch {
    /// Ends the thread when it goes.
    _end: SyncSender<()>,
}

/// What a file was like from outside: if this is the same, so is what is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outside {
    /// Device and number of the file.
    place: (u64, u64),
    /// When it was written to, as it says itself.
    written: (i64, i64),
    /// When anything about it changed, which nobody can set: one that is written over may be given
    /// the time that it had.
    changed: (i64, i64),
    bytes: u64,
}

/// One file when it was last looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Look {
    /// `None` = it is not there.
    outside: Option<Outside>,
    /// Of what is in it.
    inside: u64,
}

/// The files when they were last looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Looks(BTreeMap<PathBuf, Look>);

impl Looks {
    fn now(&self, files: &[PathBuf]) -> Looks {
        let look = |file: &PathBuf| (file.clone(), look(file, self.0.get(file)));
        Looks(files.iter().map(look).collect())
    }

    /// The same looks at these files; only those that were not looked at before are, now.
    fn with(self, files: &[PathBuf]) -> Looks {
        let Looks(mut known) = self;
        let look = |file: &PathBuf| {
            let before = known.remove(file);
            (file.clone(), before.unwrap_or_else(|| look(file, None)))
        };
        Looks(files.iter().map(look).collect())
    }

    /// True if the same bytes are there.
    fn same(&self, other: &Looks) -> bool {
        let inside = |looks: &Looks, file: &PathBuf| {
            looks.0.get(file).map(|look| (look.outside.is_some(), look.inside))
        };
        self.0.keys().all(|file| inside(self, file) == inside(other, file))
    }
}

fn look(file: &Path, before: Option<&Look>) -> Look {
    // A pipe in its place would keep us waiting, and is no configuration.
    let regular = std::fs::metadata(file).ok().filter(Metadata::is_file);
    let outside = regular.as_ref().map(outside);
    match (before, outside) {
        (Some(before), Some(_)) if before.outside == outside => before.clone(),
        (_, Some(found)) => {
            let inside = inside(file, found);
            Look { outside: inside.and(outside), inside: inside.unwrap_or_default() }
        }
        (_, None) => Look::default(),
    }
}

/// Stands for what is in a file; `None` if it cannot be read.
fn inside(file: &Path, outside: Outside) -> Option<u64> {
    if outside.bytes > MAX_BYTES {
        // It is refused whatever is in it; another one may be shorter.
        return Some(outside.bytes);
    }
    std::fs::read(file).ok().as_deref().map(hash)
}

#[cfg(unix)]
fn outside(it: &Metadata) -> Outside {
    Outside {
        place: (it.dev(), it.ino()),
        written: (it.mtime(), it.mtime_nsec()),
        changed: (it.ctime(), it.ctime_nsec()),
        bytes: it.size(),
    }
}

#[cfg(windows)]
fn outside(it: &Metadata) -> Outside {
    let written = i64::try_from(it.last_write_time()).unwrap_or_default();
    Outside {
        place: (it.creation_time(), 0),
        written: (written, 0),
        changed: (0, 0),
        bytes: it.file_size(),
    }
}

impl Steering {
    /// Reloads when the file, or one that the configuration names, has changed.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn watch(self: &Arc<Self>, file: PathBuf) -> io::Result<FileWatch> {
        let (end, ended) = sync_channel(1);
        let (wake, woken) = sync_channel(1);
        let steering = Arc::clone(self);
        thread::Builder::new().name("ek-watch".to_owned()).spawn(move || {
            let watcher = folder_watcher(&file, wake);
            if let Err(error) = &watcher {
                let text = error.to_string();
                let message = "the folder cannot be watched; the file is looked at every second";
                let fields = [("error", EventValue::Text(&text))];
                steering.tell((LogLevel::Warn, "watch_polls"), message, &fields);
            }
            watch(&steering, &file, (&woken, &ended));
            drop(watcher);
        })?;
        Ok(FileWatch { _end: end })
    }
}

/// Wakes whoever waits when something happens beside the file, or beside what it is a link to.
fn folder_watcher(file: &Path, wake: SyncSender<()>) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |_| {
        // One wake-up that waits is as good as many.
        let _ = wake.try_send(());
    })?;
    let folder = |file: &Path| match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    watcher.watch(&folder(file), RecursiveMode::NonRecursive)?;
    if let Ok(target) = file.canonicalize() {
        watcher.watch(&folder(&target), RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

fn watch(steering: &Steering, file: &Path, (woken, ended): (&Receiver<()>, &Receiver<()>)) {
    let mut files = files_of(file, &steering.configuration().plan);
    let mut known = Looks::default().now(&files);
    if let Some(served) = steering.text_hash() {
        let look = known.0.entry(file.to_owned()).or_default();
        if look.inside != served {
            // It has changed since it was read; from outside it is no file that is known.
            *look = Look { outside: Some(Outside::default()), inside: served };
        }
    }
    let mut absent = 0;
    while wait(woken, POLL) && !is_over(ended) {
        if steering.is_held() {
            // A program that is being started reads the file by itself; if it fails, it is this
            // one's turn again.
            continue;
        }
        let mut now = known.now(&files);
        if now.same(&known) {
            known = now;
            continue;
        }
        for _ in 0..MAX_LOOKS {
            rest(woken, SETTLE);
            let again = now.now(&files);
            if std::mem::replace(&mut now, again.clone()).same(&again) {
                break;
            }
        }
        let there = now.0.get(file).is_some_and(|look| look.outside.is_some_and(|it| it.bytes > 0));
        absent = if there { 0 } else { absent + 1 };
        if absent > 0 && absent < MAX_ABSENT {
            // Somebody is replacing it.
            continue;
        }
        // What became of it is in the log.
        let _ = steering.reload(&Author::named("file"), None);
        files = files_of(file, &steering.configuration().plan);
        // As it was before the reload: what has changed since may not have been read.
        known = now.with(&files);
    }
}

/// True if it was woken or the time is over; false if nobody can wake it any more.
fn wait(woken: &Receiver<()>, limit: Duration) -> bool {
    match woken.recv_timeout(limit) {
        Ok(()) | Err(RecvTimeoutError::Timeout) => true,
        // Without a watcher there is only the clock.
        Err(RecvTimeoutError::Disconnected) => {
            thread::park_timeout(limit);
            true
        }
    }
}

/// Waits for the whole time, whatever happens meanwhile.
fn rest(woken: &Receiver<()>, limit: Duration) {
    let until = Instant::now() + limit;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|it| !it.is_zero()) {
        wait(woken, left);
    }
}

fn is_over(ended: &Receiver<()>) -> bool {
    matches!(ended.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected))
}

/// The file, and those that it names and that are read with it.
fn files_of(file: &Path, plan: &Plan) -> Vec<PathBuf> {
    let mut files = vec![file.to_owned()];
    for pool in &plan.pools {
        if let AffinityPlan::Cookie(CookiePlan { secret_file: Some(keys), .. }) = &pool.affinity {
            files.push(keys.clone());
        }
    }
    for tls in plan.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        for certificate in &tls.certificates {
            files.extend([certificate.cert.clone(), certificate.key.clone()]);
            files.extend(certificate.ocsp.clone());
        }
        files.extend(tls.client_auth.as_ref().map(|auth| auth.ca.clone()));
    }
    for tls in plan.pools.iter().map(|pool| &pool.tls) {
        files.extend(tls.ca_file.clone());
        files.extend(tls.client.iter().flat_map(|(cert, key)| [cert.clone(), key.clone()]));
    }
    files.extend(plan.admin.tokens_file.clone());
    files.sort();
    files.dedup();
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::SystemTime;

    /// Whether a second look finds something else after this was done to a file.
    fn is_noticed(act: impl FnOnce(&Path)) -> bool {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("c.yaml");
        fs::write(&file, "weight: 1").expect("written");
        let files = [file.clone()];
        let before = Looks::default().now(&files);
        act(&file);
        !before.now(&files).same(&before)
    }

    #[test]
    fn other_bytes_are_noticed_however_they_came() {
        assert!(is_noticed(|file| fs::write(file, "weight: 2").expect("written")));
        assert!(!is_noticed(|file| fs::write(file, "weight: 1").expect("written")));
        assert!(is_noticed(|file| fs::remove_file(file).expect("removed")));
        let set_back = |file: &Path, text: &str| {
            let before = fs::metadata(file).and_then(|it| it.modified()).expect("there");
            // The clock of the file system may be coarse.
            let began = SystemTime::now();
            while fs::metadata(file).and_then(|it| it.modified()).expect("there") < began {
                fs::write(file, text).expect("written");
            }
            let open = fs::OpenOptions::new().write(true).open(file).expect("open");
            open.set_modified(before).expect("set");
        };
        assert!(is_noticed(|file| set_back(file, "weight: 2")), "as long, and as old as it was");
        assert!(!is_noticed(|file| set_back(file, "weight: 1")));
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_not_waited_for() {
        use rustix::fs::{CWD, Mode, mkfifoat};
        assert!(is_noticed(|file| {
            fs::remove_file(file).expect("removed");
            mkfifoat(CWD, file, Mode::RUSR).expect("made");
        }));
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let longer = |file: &Path, bytes| {
            let open = fs::OpenOptions::new().write(true).open(file).expect("open");
            open.set_len(bytes).expect("a hole");
        };
        assert!(is_noticed(|file| longer(file, 1 << 40)));
    }

    #[test]
    fn files_of_tls_on_either_side_are_watched() {
        let text = "listeners: [{ name: w, bind: ':443', tls: { certificates: [{ cert: a.pem, key: \
                    a.key }], client_ca: ca.pem } }]\nroutes: [{ pool: p }]\npools: [{ name: p, \
                    backends: ['https://a:1'], tls: { ca_file: b.pem, client_cert: c.pem, \
                    client_key: c.key } }]\n";
        let (name, format) = ("c.yaml".to_owned(), evenkeel_config::Format::Yaml);
        let source = evenkeel_config::Source { name, text: text.to_owned(), format };
        let read = evenkeel_config::read(Some(&source), &Default::default()).expect("valid");
        let files = files_of(Path::new("c.yaml"), &read.plan().0);
        let wanted = ["a.key", "a.pem", "b.pem", "c.key", "c.pem", "c.yaml", "ca.pem"];
        assert_eq!(files, wanted.map(PathBuf::from));
    }
}
