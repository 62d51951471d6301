//! Long flags with one dash, for fingers that come from Go.

use super::command_tree;
use std::collections::BTreeSet;
use std::ffi::OsString;

/// Turns `-flag` and `-flag=value` into `--flag…` where `flag` is the long name of one; what
/// follows a `--` stays as it is.
pub(crate) fn with_two_dashes(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut known = BTreeSet::new();
    collect_long_flags(&command_tree(), &mut known);
    let mut flags_ended = false;
    words
        .map(|word| {
            flags_ended |= word == "--";
            match word.to_str() {
                Some(text) if !flags_ended && is_long_flag(text, &known) => {
                    format!("-{text}").into()
                }
                Some(_) | None => word,
            }
        })
        .collect()
}

fn collect_long_flags(command: &clap::Command, known: &mut BTreeSet<String>) {
    known.extend(command.get_arguments().filter_map(|flag| Some(flag.get_long()?.to_owned())));
    for child in command.get_subcommands() {
        collect_long_flags(child, known);
    }
}

fn is_long_flag(word: &str, known: &BTreeSet<String>) -> bool {
    let Some(flag) = word.strip_prefix('-') else { return false };
    let name = flag.split_once('=').map_or(flag, |(name, _)| name);
    name.len() >= 2 && known.contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_flags_take_one_dash() {
        let cases: &[(&[&str], &[&str])] = &[
            (&["run", "-listen", ":80", "-to=a:1"], &["run", "--listen", ":80", "--to=a:1"]),
            (&["run", "--listen", ":80"], &["run", "--listen", ":80"]),
            (&["-to", "-c", "x"], &["--to", "-c", "x"]),
            (&["-cfile.yaml", "-config", "x"], &["-cfile.yaml", "--config", "x"]),
            (&["testserver", "-fail-rate", "1"], &["testserver", "--fail-rate", "1"]),
            (&["-help", "-version", "-V"], &["--help", "--version", "-V"]),
            (&["-nonsense", "-", "-t"], &["-nonsense", "-", "-t"]),
            (&["--", "-to"], &["--", "-to"]),
        ];
        for (typed, wanted) in cases {
            let words = with_two_dashes(typed.iter().map(OsString::from));
            assert_eq!(words, *wanted, "{typed:?}");
        }
    }
}
