//! The flags.

use super::fault::{self, Fault};
use super::peer::{self, Peer};
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;
use std::str::FromStr;
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
        let mut rest = arguments.iter();
        while let Some(flag) = rest.next() {
            if flag == "--quiet-latency" {
                options.purpose = Purpose::QuietLatency;
                continue;
            }
            let value = rest.next().with_context(|| format!("{flag} needs a value\n{USAGE}"))?;
            options.set(flag, value).with_context(|| format!("{flag} {value:?}"))?;
        }
        if options.peers.contains(&Peer::Evenkeel) && !options.bin.is_file() {
            bail!("no program at {}; build it or give --bin PATH", options.bin.display());
        }
        Ok(options)
    }

    fn set(&mut self, flag: &str, value: &str) -> Result<()> {
        match flag {
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
            _ => bail!("there is no such flag\n{USAGE}"),
        }
        Ok(())
    }
}

fn list<T>(value: &str, find: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
    value.split(',').map(|one| find(one).with_context(|| format!("what is {one:?}?"))).collect()
}

fn number<T: FromStr>(value: &str) -> Result<T> {
    value.parse().ok().context("is not a number")
}

fn seconds(value: &str) -> Result<Duration> {
    Duration::try_from_secs_f64(number(value)?).context("is not a number of seconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(&line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

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
        assert_eq!(parse(line).unwrap(), wanted);
    }

    #[test]
    fn mistakes_are_told() {
        let cases = [
            ("--rate", "needs a value"),
            ("--rate x", "not a number"),
            ("--warm-up -1", "not a number of seconds"),
            ("--faults z", "what is \"z\"?"),
            ("--speed 1", "no such flag"),
            ("--bin /nonexistent/evenkeel", "no program at"),
        ];
        for (line, wanted) in cases {
            let told = format!("{:#}", parse(line).unwrap_err());
            assert!(told.contains(wanted), "{line}: {told}");
        }
    }
}
