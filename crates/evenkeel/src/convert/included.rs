//! The files that an `include` of nginx stands for.

use crate::load;
use evenkeel_config::Source;
use glob::{MatchOptions, Pattern, glob_with};
use std::path::Path;

/// Every file of a pattern, by name; beside the file that was named, unless it is a whole path.
/// `None` if one cannot be read, or if one that is named without a wildcard is not there.
pub(super) fn find(beside: &Path, pattern: &str) -> Option<Vec<Source>> {
    let folder = beside.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if !pattern.contains(['*', '?', '[']) {
        return Some(vec![load::read(&folder.join(pattern)).ok()?]);
    }
    let whole = Path::new(&Pattern::escape(folder.to_str()?)).join(pattern);
    // A dot at the start of a name has to be written; the library takes none even then.
    let name = Path::new(pattern).file_name()?.to_str()?;
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: !name.starts_with('.'),
    };
    let found = glob_with(whole.to_str()?, options).ok()?;
    let files = found.flatten().filter(|path| path.is_file());
    files.map(|path| load::read(&path).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn patterns_stand_for_files() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("with [brackets]*");
        fs::create_dir_all(root.join("sites/deep.conf")).unwrap();
        for name in
            ["b.conf", "a.conf", "a.conf.off", ".hidden.conf", "sites/site-1", "sites/site-12"]
        {
            fs::write(root.join(name), "").unwrap();
        }
        let whole = root.join("sites/*");
        for (pattern, wanted) in [
            ("*.conf", Some(vec!["a.conf", "b.conf"])),
            (".*.conf", Some(vec![".hidden.conf"])),
            ("s*/site-?", Some(vec!["sites/site-1"])),
            ("sites/*", Some(vec!["sites/site-1", "sites/site-12"])),
            ("a*c*nf", Some(vec!["a.conf"])),
            ("a.conf", Some(vec!["a.conf"])),
            ("none/*.conf", Some(vec![])),
            ("none.conf", None),
            ("sites", None),
        ] {
            let found = find(&root.join("nginx.conf"), pattern);
            let names = found.map(|found| found.into_iter().map(|it| it.name).collect::<Vec<_>>());
            let wanted = wanted.map(|all| {
                all.iter().map(|name| root.join(name).display().to_string()).collect::<Vec<_>>()
            });
            assert_eq!(names, wanted, "{pattern}");
        }
        let pattern = whole.to_str().unwrap().replace("[brackets]*", "?brackets?*");
        let found = find(Path::new("nginx.conf"), &pattern).unwrap();
        assert_eq!(found.len(), 2, "{pattern}");
    }
}
