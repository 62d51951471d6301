//! Flags of the rigs: names, each with a value, in any order.

use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// What a rig takes.
pub(crate) struct Flags<'a> {
    /// What `--help` prints.
    pub(crate) usage: &'a str,
    /// Flags without a value.
    pub(crate) alone: &'a [&'a str],
}

impl Flags<'_> {
    /// Gives each flag to `set` with its value; false = there is no such flag.
    pub(crate) fn read(
        &self,
        arguments: &[String],
        mut set: impl FnMut(&str, &str) -> Result<bool>,
    ) -> Result<()> {
        let usage = self.usage;
        let mut rest = arguments.iter();
        while let Some(flag) = rest.next() {
            let value = if self.alone.contains(&flag.as_str()) {
                ""
            } else {
                rest.next().with_context(|| format!("{flag} needs a value\n{usage}"))?
            };
            if !set(flag, value).with_context(|| format!("{flag} {value:?}"))? {
                bail!("{flag}: there is no such flag\n{usage}");
            }
        }
        Ok(())
    }
}

/// The program must be there.
pub(crate) fn program(path: &Path) -> Result<()> {
    if !path.is_file() {
        bail!("no program at {}; build it or give --bin PATH", path.display());
    }
    Ok(())
}

/// Words between commas.
pub(crate) fn list<T>(value: &str, find: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
    value.split(',').map(|one| find(one).with_context(|| format!("what is {one:?}?"))).collect()
}

/// Any number.
pub(crate) fn number<T: FromStr>(value: &str) -> Result<T> {
    value.parse().ok().context("is not a number")
}

/// Seconds, with a fraction if need be.
pub(crate) fn seconds(value: &str) -> Result<Duration> {
    Duration::try_from_secs_f64(number(value)?).context("is not a number of seconds")
}

/// A command line in words.
#[cfg(test)]
pub(crate) fn words(line: &str) -> Vec<String> {
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Each of these lines is refused, in words that tell why.
#[cfg(test)]
pub(crate) fn assert_refused<T: std::fmt::Debug>(
    parse: impl Fn(&[String]) -> Result<T>,
    cases: &[(&str, &str)],
) {
    let common = [
        ("--rate", "needs a value"),
        ("--rate x", "not a number"),
        ("--speed 1", "no such flag"),
        ("--peers z", "what is \"z\"?"),
        ("--bin /nonexistent/evenkeel", "no program at"),
    ];
    for (line, wanted) in common.iter().chain(cases) {
        let told = format!("{:#}", parse(&words(line)).unwrap_err());
        assert!(told.contains(wanted), "{line}: {told}");
    }
}
