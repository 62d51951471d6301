//! The flags.

use super::fault::{self, Fault};
use crate::flags::{self, Flags, list, number, seconds};
use crate::peer::{self, Peer};
use anyhow::Result;
use std::path::PathBuf;
use std::time::Duration;

/// What `--help` prints.
pub(super) const USAGE: &str = "\
cargo xtask failover [FLAGS]        breaks one of three backends, measures what clients notice
  --faults a,b,...    a killed, b address vanished, c packets dropped, d stopped, e answers 503,
                      f 100 x slower; noise: g 1 % loss, h 100 ms pauses (default: all)
  --peers LIST        evenkeel,haproxy,nginx (default: all)
  --bin PATH          the evenkeel to test (default target/release/evenkeel)
  --repeats N         of every fault and peer (30)
  --rate N            requests per second (1000)
  --warm-up S, --fault-for S, --after S   seconds of a repeat (2, 3, 4)
  --timeout S         of one request, seconds (10)
  --json FILE         every repeat's figures
cargo xtask failover --quiet-latency [FLAGS]   no fault, only latency
  --rates LIST        requests per second (1000,5000,10000)
  --secs S            of one round (10)
  --rounds N          of every rate, peers in turn (3)
  --slow-clients N    beside clients that never finish a request head (0)
  --bin, --peers, --timeout, --json as above
Needs root (for a network namespace of its own). Exit code 3: a target does not hold.";

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Faults, and how they are borne.
    Faults,
    /// Latency without a fault.
    QuietLatency,
}

/// What to run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    /// Which of the two runs.
    pub(super) purpose: Purpose,
    /// The evenkeel under test.
    pub(super) bin: PathBuf,
    /// Who is tested, in this order.
    pub(super) peers: Vec<Peer>,
    /// What breaks, in this order.
    pub(super) faults: Vec<Fault>,
    /// Of each fault and peer.
    pub(super) repeats: usize,
    /// Requests per second.
    pub(super) rate: f64,
    /// Before the fault.
    pub(super) warm_up: Duration,
    /// From the fault to its healing.
    pub(super) fault_for: Duration,
    /// After the healing.
    pub(super) after: Duration,
    /// Of one request.
    pub(super) timeout: Duration,
    /// Requests per second of the quiet runs.
    pub(super) rates: Vec<f64>,
    /// Of one quiet round.
    pub(super) round: Duration,
    /// Of each rate and peer.
    pub(super) rounds: usize,
    /// Connections of clients that never finish a request head, beside the load.
    pub(super) slow_clients: usize,
    /// Where every figure goes.
    pub(super) json: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            purpose: Purpose::Faults,
            bin: PathBuf::from("target/release/evenkeel"),
            peers: peer::ALL.to_vec(),
            faults: fault::ALL.to_vec(),
            repeats: 30,
            rate: 1000.0,
            warm_up: Duration::from_secs(2),
            fault_for: Duration::from_secs(3),
            after: Duration::from_secs(4),
            timeout: Duration::from_secs(10),
            rates: vec![1000.0, 5000.0, 10_000.0],
            round: Duration::from_secs(10),
            rounds: 3,
            slow_clients: 0,
            json: None,
        }
    }
}

impl Options {
    /// Reads the flags; each but `--quiet-latency` takes a value.
    pub(super) fn parse(arguments: &[String]) -> Result<Options> {
        let mut options = Options::default();
        let flags = Flags { usage: USAGE, alone: &["--quiet-latency"] };
        flags.read(arguments, |flag, value| options.set(flag, value))?;
        if options.peers.contains(&Peer::Evenkeel) {
            flags::program(&options.bin)?;
        }
        Ok(options)
    }

    fn set(&mut self, flag: &str, value: &str) -> Result<bool> {
        match flag {
            "--quiet-latency" => self.purpose = Purpose::QuietLatency,
            "--bin" => self.bin = PathBuf::from(value),
            "--json" => self.json = Some(PathBuf::from(value)),
            "--peers" => self.peers = list(value, Peer::find)?,
            "--faults" => self.faults = list(value, Fault::find)?,
            "--repeats" => self.repeats = number(value)?,
            "--rounds" => self.rounds = number(value)?,
            "--slow-clients" => self.slow_clients = number(value)?,
            "--rate" => self.rate = number(value)?,
            "--rates" => self.rates = list(value, |one| one.parse().ok())?,
            "--warm-up" => self.warm_up = seconds(value)?,
            "--fault-for" => self.fault_for = seconds(value)?,
            "--after" => self.after = seconds(value)?,
            "--timeout" => self.timeout = seconds(value)?,
            "--secs" => self.round = seconds(value)?,
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
        let line = "--peers nginx --faults a,e --repeats 2 --rate 500 --fault-for 1.5 --json x";
        let wanted = Options {
            peers: vec![Peer::Nginx],
            faults: vec![Fault::Killed, Fault::Failing],
            repeats: 2,
            rate: 500.0,
            fault_for: Duration::from_millis(1500),
            json: Some(PathBuf::from("x")),
            ..Options::default()
        };
        assert_eq!(Options::parse(&flags::words(line)).unwrap(), wanted);
    }

    #[test]
    fn mistakes_are_told() {
        let cases = [("--warm-up -1", "not a number of seconds"), ("--faults z", "what is \"z\"?")];
        flags::assert_refused(Options::parse, &cases);
    }
}
