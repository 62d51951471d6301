//! What breaks, and how it heals.

use super::backend::{Backend, Manner};
use super::network::{self, BAD};
use anyhow::{Context as _, Result};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// How backends answer when nothing is wrong.
pub(super) const WELL: Manner = Manner { status: 200, delay: Duration::from_millis(1) };
const FAILING: Manner = Manner { status: 503, delay: Duration::from_millis(1) };
const SLOW: Manner = Manner { status: 200, delay: Duration::from_millis(100) };
/// A pause of `Pauses`, and from one to the next.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_INTERVAL: Duration = Duration::from_secs(1);

/// A way in which the last backend breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its process is killed: connections end, connects are refused.
    Killed,
    /// Its address is gone: connects hang.
    Vanished,
    /// Its packets are dropped: all of it hangs.
    Cut,
    /// Its process stands still: connects succeed, nothing answers.
    Stopped,
    /// Every answer is 503, that to the probe included.
    Failing,
    /// Every answer takes a hundred times as long.
    Slow,
    /// Noise: one packet in a hundred is lost, to and from all backends.
    Loss,
    /// Noise: it stands still for 100 ms each second.
    Pauses,
}

/// All of them, in their order.
pub(super) const ALL: [Fault; 8] = [
    Fault::Killed,
    Fault::Vanished,
    Fault::Cut,
    Fault::Stopped,
    Fault::Failing,
    Fault::Slow,
    Fault::Loss,
    Fault::Pauses,
];

impl Fault {
    /// Its letter on the command line and in the table.
    pub(super) fn letter(self) -> char {
        match self {
            Fault::Killed => 'a',
            Fault::Vanished => 'b',
            Fault::Cut => 'c',
            Fault::Stopped => 'd',
            Fault::Failing => 'e',
            Fault::Slow => 'f',
            Fault::Loss => 'g',
            Fault::Pauses => 'h',
        }
    }

    /// The fault of a letter.
    pub(super) fn find(letter: &str) -> Option<Fault> {
        ALL.into_iter().find(|fault| letter == fault.letter().to_string())
    }

    /// In a few words.
    pub(super) fn what(self) -> &'static str {
        match self {
            Fault::Killed => "killed",
            Fault::Vanished => "address vanished",
            Fault::Cut => "packets dropped",
            Fault::Stopped => "stopped",
            Fault::Failing => "answers 503",
            Fault::Slow => "100 x slower",
            Fault::Loss => "noise: 1 % loss",
            Fault::Pauses => "noise: 100 ms pauses",
        }
    }

    /// Breaks the backend.
    pub(super) fn strike(self, backends: &mut [Backend]) -> Result<()> {
        let bad = bad_of(backends)?;
        match self {
            Fault::Killed => bad.kill(),
            Fault::Vanished => network::vanish(bad.number()),
            Fault::Cut => network::cut(bad.number()),
            Fault::Stopped => bad.pause(),
            Fault::Failing => bad.behave(FAILING),
            Fault::Slow => bad.behave(SLOW),
            Fault::Loss => network::lose(),
            // Each of its pauses is one of `last`.
            Fault::Pauses => Ok(()),
        }
    }

    /// The time until it heals.
    pub(super) async fn last(self, backends: &mut [Backend], until: Instant) -> Result<()> {
        if self == Fault::Pauses {
            let bad = bad_of(backends)?;
            while Instant::now() + PAUSE_INTERVAL <= until {
                let next = Instant::now() + PAUSE_INTERVAL;
                bad.pause()?;
                sleep(PAUSE).await;
                bad.resume()?;
                sleep_until(next).await;
            }
        }
        sleep_until(until).await;
        Ok(())
    }

    /// Makes the backend whole again.
    pub(super) async fn heal(self, backends: &mut [Backend], folder: &Path) -> Result<()> {
        let bad = bad_of(backends)?;
        match self {
            Fault::Killed => *bad = Backend::start(BAD, WELL, folder).await?,
            Fault::Vanished => network::appear(BAD)?,
            Fault::Cut | Fault::Loss => network::pass_all()?,
            Fault::Stopped => bad.resume()?,
            Fault::Failing | Fault::Slow => bad.behave(WELL)?,
            Fault::Pauses => {}
        }
        Ok(())
    }
}

fn bad_of(backends: &mut [Backend]) -> Result<&mut Backend> {
    backends.get_mut(BAD).context("the backend that breaks is there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_found_again() {
        for (fault, letter) in ALL.into_iter().zip('a'..) {
            assert_eq!(fault.letter(), letter);
            assert_eq!(Fault::find(&letter.to_string()), Some(fault));
        }
        assert_eq!(Fault::find("i"), None);
        assert_eq!(Fault::find("ab"), None);
    }
}
