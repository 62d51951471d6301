//! Which configuration file is read: the one named, or the first one found.

use std::path::{Path, PathBuf};

const FOLDERS: [&str; 3] = ["", "config", "configs"];
const SYSTEM_FOLDER: &str = "/etc/evenkeel";
const STEMS: [&str; 2] = ["config", "evenkeel"];
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "toml"];

/// What the lookup found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The file to read.
    pub(crate) file: PathBuf,
    /// Files that would have been read, had the first one not been there.
    pub(crate) passed_over: Vec<PathBuf>,
}

/// Looks in the working directory, in `/etc/evenkeel` and beside the executable.
pub(crate) fn find() -> Option<Found> {
    let executable = std::env::current_exe().ok();
    let beside = executable.as_deref().and_then(Path::parent);
    let same = beside.is_some() && std::env::current_dir().ok().as_deref() == beside;
    let beside = beside.filter(|_| !same);
    first_of(candidates(beside).into_iter().filter(|file| file.is_file()))
}

/// Every place, in order of preference; those of the working directory are relative to it.
fn candidates(beside_executable: Option<&Path>) -> Vec<PathBuf> {
    let working = FOLDERS.iter().map(PathBuf::from);
    let system = std::iter::once(PathBuf::from(SYSTEM_FOLDER));
    let beside = beside_executable.into_iter();
    let beside = beside.flat_map(|base| FOLDERS.iter().map(|folder| base.join(folder)));
    working.chain(system).chain(beside).flat_map(|folder| names_in(&folder)).collect()
}

fn names_in(folder: &Path) -> Vec<PathBuf> {
    let names = STEMS.iter().flat_map(|stem| EXTENSIONS.map(|end| format!("{stem}.{end}")));
    names.map(|name| folder.join(name)).collect()
}

fn first_of(mut files: impl Iterator<Item = PathBuf>) -> Option<Found> {
    let file = files.next()?;
    Some(Found { file, passed_over: files.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_ordered() {
        let places = candidates(Some(Path::new("/opt/bin")));
        let place = |name: &str| places.iter().position(|p| p == Path::new(name)).expect(name);
        let order = [
            "config.yaml",
            "config.yml",
            "config.toml",
            "evenkeel.yaml",
            "evenkeel.toml",
            "config/config.yaml",
            "config/evenkeel.yml",
            "configs/config.yaml",
            "/etc/evenkeel/config.yaml",
            "/etc/evenkeel/evenkeel.toml",
            "/opt/bin/config.yaml",
            "/opt/bin/configs/evenkeel.toml",
        ];
        let positions = order.map(place);
        assert!(positions.is_sorted(), "{positions:?}");
        assert_eq!(places.len(), 7 * 6);
        assert_eq!(candidates(None).len(), 4 * 6);
    }

    #[test]
    fn the_first_wins_and_the_rest_is_named() {
        let files = ["a", "b", "c"].map(PathBuf::from);
        let found = first_of(files.clone().into_iter()).expect("three files");
        assert_eq!(found.file, files[0]);
        assert_eq!(found.passed_over, files[1..]);
        assert_eq!(first_of(std::iter::empty()), None);
    }
}
