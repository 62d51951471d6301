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
/// Looks at a file that is not there, before that is said.
const MAX_ABSENT: usize = 3;

/// Watches until dropped.
pub struct FileWatch {
    /// Ends the thread when it goes.
    _end: SyncSender<()>,
}

/// What a file was like: if this is the same, so is what is in it.
type Outside = (u64, u64, i64, i64, u64);

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
    let outside = std::fs::metadata(file).ok().as_ref().map(outside);
    match before {
        Some(before) if outside.is_some() && before.outside == outside => before.clone(),
        Some(_) | None => {
            let bytes = std::fs::read(file);
            let inside = bytes.as_deref().map(hash).unwrap_or_default();
            Look { outside: outside.filter(|_| bytes.is_ok()), inside }
        }
    }
}

#[cfg(unix)]
fn outside(it: &Metadata) -> Outside {
    (it.dev(), it.ino(), it.mtime(), it.mtime_nsec(), it.size())
}

#[cfg(windows)]
fn outside(it: &Metadata) -> Outside {
    let written = i64::try_from(it.last_write_time()).unwrap_or_default();
    (it.creation_time(), 0, written, 0, it.file_size())
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
        let there = now.0.get(file).is_some_and(|look| look.outside.is_some_and(|it| it.4 > 0));
        absent = if there { 0 } else { absent + 1 };
        if absent > 0 && absent < MAX_ABSENT {
            // Somebody is replacing it.
            continue;
        }
        // What became of it is in the log.
        let _ = steering.reload(&Author::named("file"));
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
    files.extend(plan.admin.tokens_file.clone());
    files.sort();
    files.dedup();
    files
}
