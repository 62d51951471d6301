//! Files in `state_dir`: small, whole or not there, for the eyes of their owner alone.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Unreadable files of one name that are kept aside; further ones stay where they are.
const MAX_ASIDE: usize = 100;

/// What is there; `None` if nothing is.
pub(crate) fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// All or nothing: a new file takes the place of the old one, after it has reached the disk.
pub(crate) fn write(file: &Path, text: &[u8]) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        builder.mode(0o700);
        builder.recursive(true).create(folder)?;
    }
    let next = file.with_extension("next");
    // One that a crash left behind; nothing that somebody else put there is written through.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    options.mode(0o600);
    let mut out = options.write(true).create_new(true).open(&next)?;
    out.write_all(text)?;
    out.sync_all()?;
    // What is open cannot be renamed everywhere.
    drop(out);
    fs::rename(&next, file)?;
    reach_disk(folder.unwrap_or(Path::new(".")))
}

/// Says that what is there still holds.
pub(crate) fn touch(file: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.set_modified(SystemTime::now())
}

/// The rename itself.
#[cfg(unix)]
fn reach_disk(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
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
        fs::write(file.with_extension("next"), "half of").unwrap();
        write(&file, b"two").unwrap();
        assert_eq!(read(&file).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
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
