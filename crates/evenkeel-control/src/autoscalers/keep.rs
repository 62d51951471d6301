//! What was started, written down, so that the next process finds it again.

use crate::state_file;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A process that was started for a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptProcess {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) port: u16,
    pub(super) began: u64,
    /// It took traffic.
    #[serde(default)]
    pub(super) serving: bool,
}

/// Where the processes of a pool are written down.
pub(super) fn file(state_dir: &Path, pool: &str) -> PathBuf {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = pool.chars().map(safe).collect();
    state_dir.join(format!("autoscale-{name}.json"))
}

/// What is written down; nothing if there is nothing that can be read.
pub(super) fn read(file: &Path) -> Vec<KeptProcess> {
    let text = fs::read(file).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
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

/// All or nothing.
pub(super) fn write(file: &Path, processes: &[KeptProcess]) -> io::Result<()> {
    state_file::write(file, &serde_json::to_vec(processes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path(), "we/b");
        assert_eq!(read(&file), []);
        let name = "web-auto-1".to_owned();
        let kept = [KeptProcess { name, pid: 7, port: 20_001, began: 9, serving: true }];
        write(&file, &kept).unwrap();
        assert_eq!(read(&file), kept);
        assert!(strays(folder.path(), &["we/b"]).is_empty());
        assert_eq!(strays(folder.path(), &["other"]), std::slice::from_ref(&file));
        fs::write(&file, "{").unwrap();
        assert_eq!(read(&file), []);
    }
}
