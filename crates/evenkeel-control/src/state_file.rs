//! Files in `state_dir`: small, whole or not there, for the eyes of their owner alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Unreadable files of one name that are kept aside; further ones stay where they are.
const MAX_ASIDE: usize = 100;

/// A half that is older than this is nobody's any more.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// Ends the name of a file that is being written.
const HALF: &str = "next";
/// Locked by the process that keeps its state in a folder.
const CLAIM: &str = "in-use";

/// What is there; `None` if nothing is. Halves of it that a crash left behind go.
pub(crate) fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    clear_halves(file);
    match fs::read(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// All or nothing: a new file takes the place of the old one, after it has reached the disk.
pub(crate) fn write(file: &Path, text: &[u8]) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), make_folder)?;
    // A name of its own: another process that writes here, though it should not, writes another.
    let next = file.with_extension(format!("{:016x}.{HALF}", fastrand::u64(..)));
    let written = write_new(&next, text).and_then(|()| fs::rename(&next, file));
    if written.is_err() {
        // Whatever is there of it is of no use; a disk that is full needs the room.
        let _ = fs::remove_file(&next);
    }
    written?;
    reach_disk(folder.unwrap_or(Path::new(".")))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    builder.mode(0o700);
    builder.recursive(true).create(folder)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    options.mode(0o600);
    options.write(true);
    options
}

/// What is open cannot be renamed everywhere: it is closed when this returns.
fn write_new(file: &Path, text: &[u8]) -> io::Result<()> {
    // Nothing that somebody else put there is written through.
    let mut out = private().create_new(true).open(file)?;
    out.write_all(text)?;
    out.sync_all()
}

/// Removes what a write that never ended has left.
fn clear_halves(file: &Path) {
    let (Some(folder), Some(stem)) = (file.parent(), file.file_stem()) else { return };
    let stem = format!("{}.", stem.to_string_lossy());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let age = entry.metadata().and_then(|it| it.modified()).map(|it| it.elapsed());
        let is_old = matches!(age, Ok(Ok(age)) if age > HALF_LIFE);
        let is_half = name.starts_with(&stem) && name.ends_with(&format!(".{HALF}"));
        if is_half && is_old {
            // If it stays, it takes some room and nothing else.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The sign that a process keeps its state in a folder; it goes with the process, however it ends.
#[derive(Debug)]
pub(crate) struct Claim(File);

impl Claim {
    /// Claims a folder, unless another process has; `None`: it has. An error says nothing of
    /// others: the folder cannot be written to, or the file system knows no locks.
    pub(crate) fn on(folder: &Path) -> io::Result<Option<Claim>> {
        let claim = Claim::open(folder)?;
        match claim.0.try_lock() {
            Ok(()) => Ok(Some(claim)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Claims a folder as soon as the process before this one, which has claimed it, ends.
    pub(crate) fn after_another(folder: &Path) -> io::Result<()> {
        let claim = Claim::open(folder)?;
        let wait = move || {
            if claim.0.lock().is_ok() {
                // For the life of the process.
                std::mem::forget(claim);
            }
        };
        std::thread::Builder::new().name("ek-claim".to_owned()).spawn(wait).map(drop)
    }

    fn open(folder: &Path) -> io::Result<Claim> {
        make_folder(folder)?;
        private().create(true).truncate(false).open(folder.join(CLAIM)).map(Claim)
    }
}

/// Says that what is there still holds.
pub(crate) fn touch(file: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.set_modified(SystemTime::now())
}

/// The rename itself.
#[cfg(unix)]
fn reach_disk(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The file system sees to it by itself; a folder cannot be opened here.
#[cfg(not(unix))]
fn reach_disk(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Gives a file that cannot be read another name, so that nothing overwrites it; tells which.
pub(crate) fn set_aside(file: &Path) -> io::Result<PathBuf> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let names = (1..=MAX_ASIDE).map(|number| match number {
        1 => file.with_file_name(format!("{name}.unreadable")),
        number => file.with_file_name(format!("{name}.{number}.unreadable")),
    });
    let free = names.into_iter().find(|aside| !aside.exists());
    let full = || io::Error::other(format!("{MAX_ASIDE} unreadable ones lie beside it already"));
    let aside = free.ok_or_else(full)?;
    fs::rename(file, &aside)?;
    Ok(aside)
}

/// Sets a file aside that cannot be read, for this reason; tells both, and what became of it.
pub(crate) fn fate(file: &Path, why: &str) -> String {
    match set_aside(file) {
        Ok(aside) => format!("{why}; kept as {}", aside.display()),
        Err(error) => format!("{why}; it could not be kept aside: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_written_is_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/state.json");
        assert_eq!(read(&file).unwrap(), None);
        write(&file, b"one").unwrap();
        write(&file, b"two").unwrap();
        assert_eq!(read(&file).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn halves_that_nobody_writes_any_more_go() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        let old = SystemTime::now() - 2 * HALF_LIFE;
        for (name, age) in [("state.next", old), ("state.0a.next", old), ("other.0a.next", old)] {
            let half = folder.path().join(name);
            fs::write(&half, "half of").unwrap();
            OpenOptions::new().write(true).open(&half).unwrap().set_modified(age).unwrap();
        }
        fs::write(folder.path().join("state.0b.next"), "being written").unwrap();
        assert_eq!(read(&file).unwrap(), None);
        let mut left: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        assert_eq!(left, ["other.0a.next", "state.0b.next"]);
    }

    #[test]
    fn two_who_write_the_same_file_write_whole_ones() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        std::thread::scope(|scope| {
            for letter in [b'a', b'b'] {
                let file = &file;
                scope.spawn(move || {
                    for _ in 0..100 {
                        write(file, &vec![letter; 100_000]).unwrap();
                    }
                });
            }
        });
        let text = read(&file).unwrap().unwrap();
        assert_eq!(text.len(), 100_000);
        assert!(text.iter().all(|letter| *letter == text[0]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        fs::create_dir(&file).unwrap();
        assert!(write(&file, b"one").is_err(), "a folder cannot be replaced");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_claimed_by_one_until_he_goes() {
        let folder = tempfile::tempdir().unwrap();
        let first = Claim::on(folder.path()).unwrap();
        assert!(first.is_some());
        assert!(Claim::on(folder.path()).unwrap().is_none());
        drop(first);
        assert!(Claim::on(folder.path()).unwrap().is_some());
    }

    #[test]
    fn what_is_set_aside_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        for (text, name) in [("one", "state.json.unreadable"), ("two", "state.json.2.unreadable")] {
            fs::write(&file, text).unwrap();
            assert_eq!(set_aside(&file).unwrap(), folder.path().join(name));
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), text);
        }
        assert!(set_aside(&file).is_err());
    }
}
