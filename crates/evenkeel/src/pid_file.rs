//! A file that says which process serves: the one that is ready, and no other.

use crate::trouble::Trouble;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

/// Removed at the end, unless another process has written it since.
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    /// Writes the id of this process, in the place of what is there.
    pub(crate) fn write(file: &Path) -> Result<PidFile, Trouble> {
        let cannot = |error: io::Error| {
            Trouble::CannotStart(format!("cannot write the pid file {}: {error}", file.display()))
        };
        let id = process::id();
        // Beside it, so that nobody ever reads half of it.
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{id}"));
        let next = file.with_file_name(name);
        fs::write(&next, format!("{id}\n")).map_err(cannot)?;
        fs::rename(&next, file).map_err(|error| {
            // What is left beside it harms nobody.
            let _ = fs::remove_file(&next);
            cannot(error)
        })?;
        Ok(PidFile(file.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if read(&self.0).is_ok_and(|id| id == process::id()) {
            // Nobody minds an old one: whoever reads it looks whether the process lives.
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// The process that the file names.
pub(crate) fn read(file: &Path) -> Result<u32, Trouble> {
    let unreadable = |why: &dyn std::fmt::Display| {
        Trouble::CannotStart(format!("the pid file {}: {why}", file.display()))
    };
    let text = fs::read_to_string(file).map_err(|error| unreadable(&error))?;
    let id = text.trim().parse().ok().filter(|id| *id > 0 && i32::try_from(*id).is_ok());
    id.ok_or_else(|| unreadable(&"there is no process id in it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_whole_and_goes_with_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.pid");
        fs::write(&file, "7\n").unwrap();
        let own = PidFile::write(&file).unwrap();
        assert_eq!(read(&file).unwrap(), process::id());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(own);
        assert!(!file.exists());
    }

    #[test]
    fn that_of_another_process_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.pid");
        let own = PidFile::write(&file).unwrap();
        fs::write(&file, "7\n").unwrap();
        drop(own);
        assert_eq!(read(&file).unwrap(), 7);
    }

    #[test]
    fn what_names_no_process_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.pid");
        assert!(read(&file).is_err());
        for text in ["", "x", "0", "-1", "4294967295"] {
            fs::write(&file, text).unwrap();
            assert!(read(&file).is_err(), "{text}");
        }
        assert!(PidFile::write(&folder.path().join("no/such/folder.pid")).is_err());
    }
}
