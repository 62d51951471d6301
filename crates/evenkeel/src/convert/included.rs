//! The files that an `include` of nginx stands for.

use crate::load;
use evenkeel_config::Source;
use std::path::{Path, PathBuf};

/// Every file of a pattern, by name; beside the file that was named, unless it is a whole path.
/// `None` if one cannot be read, or if one that is named without a wildcard is not there.
pub(super) fn find(beside: &Path, pattern: &str) -> Option<Vec<Source>> {
    let folder = beside.parent().filter(|folder| !folder.as_os_str().is_empty());
    let whole = folder.unwrap_or(Path::new(".")).join(pattern);
    let mut found = vec![PathBuf::new()];
    for component in whole.components() {
        let name = component.as_os_str().to_str()?;
        found = match is_pattern(name) {
            true => found.iter().flat_map(|folder| entries(folder, name)).collect(),
            false => found.iter().map(|path| path.join(component)).collect(),
        };
    }
    if is_pattern(pattern) {
        found.retain(|path| path.is_file());
    }
    found.iter().map(|path| load::read(path).ok()).collect()
}

fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// What of a folder has such a name, sorted.
fn entries(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let Ok(read) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = read.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| fits(name, pattern)).collect();
    names.sort();
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// True of a name that a pattern of `*` and `?` stands for; a dot at the start has to be written.
fn fits(name: &str, pattern: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (name, pattern): (Vec<char>, Vec<char>) =
        (name.chars().collect(), pattern.chars().collect());
    // Where the last `*` stood, and how much of the name it has taken.
    let (mut at, mut of, mut star) = (0, 0, None);
    while at < name.len() {
        match (pattern.get(of), star) {
            (Some('*'), _) => {
                star = Some((of, at));
                of += 1;
            }
            (Some(c), _) if *c == '?' || *c == name[at] => (at, of) = (at + 1, of + 1),
            (_, Some((before, taken))) => {
                star = Some((before, taken + 1));
                (at, of) = (taken + 1, before + 1);
            }
            (_, None) => return false,
        }
    }
    pattern[of..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns() {
        for (name, pattern, wanted) in [
            ("a.conf", "*.conf", true),
            ("a.conf.off", "*.conf", false),
            ("a", "*", true),
            (".hidden", "*", false),
            (".hidden", ".*", true),
            ("site-1", "site-?", true),
            ("site-12", "site-?", false),
            ("aXbXc", "a*b*c", true),
            ("aXbX", "a*b*c", false),
            ("", "*", true),
        ] {
            assert_eq!(fits(name, pattern), wanted, "{name} {pattern}");
        }
    }
}
