//! Writes a file of `state_dir` from a thread that may wait for the disk. Whoever hands a text over
//! goes on at once: a disk that hangs holds up no decision. Of several texts the latest is written.

use crate::state_file;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

/// How long anybody waits for the disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is told of a text that could not be written.
type Complaint = Box<dyn Fn(&Path, &io::Error) + Send + Sync>;

#[derive(Default)]
struct Tray {
    next: Option<Vec<u8>>,
    /// Somebody is writing, and takes what comes meanwhile.
    busy: bool,
}

/// Writes one file.
pub(crate) struct Scribe {
    file: PathBuf,
    tray: Mutex<Tray>,
    done: Condvar,
    complain: Complaint,
}

impl Scribe {
    /// Of this file; `complain` hears of each text that could not be written.
    pub(crate) fn of(
        file: PathBuf,
        complain: impl Fn(&Path, &io::Error) + Send + Sync + 'static,
    ) -> Arc<Scribe> {
        let (tray, done) = (Mutex::default(), Condvar::new());
        Arc::new(Scribe { file, tray, done, complain: Box::new(complain) })
    }

    /// The file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Has this text written; what waits to be is out of date.
    pub(crate) fn write(self: &Arc<Self>, text: Vec<u8>) {
        let mut tray = self.lock();
        tray.next = Some(text);
        if std::mem::replace(&mut tray.busy, true) {
            return;
        }
        drop(tray);
        let own = Arc::clone(self);
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || own.work())),
            Err(_) => self.work(),
        }
    }

    fn work(&self) {
        loop {
            let mut tray = self.lock();
            let Some(text) = tray.next.take() else {
                tray.busy = false;
                self.done.notify_all();
                return;
            };
            drop(tray);
            if let Err(error) = state_file::write(&self.file, &text) {
                (self.complain)(&self.file, &error);
            }
        }
    }

    /// Waits until everything is written, within reason.
    pub(crate) fn finish(&self) {
        let tray = self.lock();
        // A disk that hangs is waited for no longer; what is left is written when it goes on.
        drop(self.done.wait_timeout_while(tray, PATIENCE, |tray| tray.busy));
    }

    /// The same, for who must not block.
    pub(crate) async fn finished(self: &Arc<Self>) {
        let own = Arc::clone(self);
        // A panic has been reported on its own thread.
        let _ = spawn_blocking(move || own.finish()).await;
    }

    fn lock(&self) -> MutexGuard<'_, Tray> {
        self.tray.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn the_latest_text_is_there_once_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let scribe = Scribe::of(folder.path().join("deep/a.json"), |_, _| {});
        for number in 0..50 {
            scribe.write(format!("{number}").into_bytes());
        }
        scribe.finished().await;
        assert_eq!(fs::read_to_string(scribe.file()).unwrap(), "49");
    }

    #[test]
    fn without_a_runtime_it_is_written_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let scribe = Scribe::of(folder.path().join("a.json"), |_, _| {});
        scribe.write(b"one".to_vec());
        assert_eq!(fs::read_to_string(scribe.file()).unwrap(), "one");
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let (hung, hangs) = std::sync::mpsc::sync_channel(2);
        let (go_on, told) = std::sync::mpsc::sync_channel(2);
        let told = Mutex::new(told);
        let scribe = Scribe::of(folder.path().join("no/folder\0"), move |_, _| {
            hung.send(()).unwrap();
            told.lock().unwrap().recv().unwrap();
        });
        scribe.write(b"one".to_vec());
        hangs.recv().unwrap();
        scribe.write(b"two".to_vec());
        assert_eq!(scribe.lock().next.as_deref(), Some(&b"two"[..]), "it waits, we do not");
        go_on.send(()).unwrap();
        hangs.recv().unwrap();
        go_on.send(()).unwrap();
        scribe.finished().await;
    }
}
