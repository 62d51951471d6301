//! The flags.

use crate::flags::{self, Flags, list, number};
use crate::peer::{self, Peer};
use anyhow::Result;
use std::path::PathBuf;
use std::time::Duration;

/// What `--help` prints.
pub(super) const USAGE: &str = "\
cargo xtask loss [FLAGS]        changes balancers under load, counts what clients lose
  --changes LIST   reload,upgrade,drain (default: all)
  --peers LIST     evenkeel,haproxy,nginx (default: all)
  --bin PATH       the evenkeel to test, and its test server (default target/release/evenkeel)
  --times N        reloads, and upgrades (20)
  --pause MS       between two, and before and after (2000)
  --rate N         requests per second, of fresh and of kept connections together (1000)
  --websockets N   open all the time (20)
  --downloads N    at a time, five seconds each (4)
  --in-flight N    requests of two seconds, for the drain (200)
Exit code 3: evenkeel lost something.";

/// How a balancer is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Another configuration in the same process.
    Reload,
    /// The program is started anew on the same sockets.
    Upgrade,
    /// It is asked to end.
    Drain,
}

/// All of them, in their order.
const ALL: [Change; 3] = [Change::Reload, Change::Upgrade, Change::Drain];

impl Change {
    /// Its name on the command line and in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Change::Reload => "reload",
            Change::Upgrade => "upgrade",
            Change::Drain => "drain",
        }
    }
}

/// What to run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    pub(super) bin: PathBuf,
    pub(super) peers: Vec<Peer>,
    pub(super) changes: Vec<Change>,
    pub(super) times: u32,
    pub(super) pause: Duration,
    pub(super) rate: u32,
    pub(super) websockets: usize,
    pub(super) downloads: usize,
    pub(super) in_flight: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            bin: PathBuf::from("target/release/evenkeel"),
            peers: peer::ALL.to_vec(),
            changes: ALL.to_vec(),
            times: 20,
            pause: Duration::from_secs(2),
            rate: 1000,
            websockets: 20,
            downloads: 4,
            in_flight: 200,
        }
    }
}

impl Options {
    /// Reads the flags; each takes a value.
    pub(super) fn parse(arguments: &[String]) -> Result<Options> {
        let mut options = Options::default();
        let flags = Flags { usage: USAGE, alone: &[] };
        flags.read(arguments, |flag, value| options.set(flag, value))?;
        flags::program(&options.bin)?;
        Ok(options)
    }

    fn set(&mut self, flag: &str, value: &str) -> Result<bool> {
        let change = |word: &str| ALL.into_iter().find(|it| it.name() == word);
        match flag {
            "--bin" => self.bin = PathBuf::from(value),
            "--peers" => self.peers = list(value, Peer::find)?,
            "--changes" => self.changes = list(value, change)?,
            "--times" => self.times = number(value)?,
            "--pause" => self.pause = Duration::from_millis(number(value)?),
            "--rate" => self.rate = number(value)?,
            "--websockets" => self.websockets = number(value)?,
            "--downloads" => self.downloads = number(value)?,
            "--in-flight" => self.in_flight = number(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_change_the_defaults() {
        let line = "--bin /bin/sh --peers nginx --changes drain,reload --times 2 --pause 50";
        let wanted = Options {
            bin: PathBuf::from("/bin/sh"),
            peers: vec![Peer::Nginx],
            changes: vec![Change::Drain, Change::Reload],
            times: 2,
            pause: Duration::from_millis(50),
            ..Options::default()
        };
        assert_eq!(Options::parse(&flags::words(line)).unwrap(), wanted);
    }

    #[test]
    fn mistakes_are_told() {
        flags::assert_refused(Options::parse, &[("--changes z", "what is \"z\"?")]);
    }
}
