//! What can be typed after `bench`, and the names under which older tools know its parts.

use super::read_file;
use crate::arguments::whole;
use crate::trouble::Trouble;
use clap::{Args, Subcommand};
use evenkeel_config::{parse_duration, parse_ratio};
use evenkeel_load::bench::{Bench, BenchUrl, Connections, Trust};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Requests of a run that says neither how many nor how long.
const DEFAULT_REQUESTS: u64 = 200;
/// As many failures as a person can watch.
const MAX_FAILURES: u64 = 1_000;
/// Where `compare` writes its table.
const DEFAULT_TABLE: &str = "scripts/circuit_breaker_results.md";
/// Other names of the commands, as a command and as the name of the program.
const OTHER_NAMES: [(&str, &str); 4] = [
    ("loadtest", "run"),
    ("check_results", "check"),
    ("cbcompare", "compare"),
    ("cbtest", "breaker"),
];

const AFTER_HELP: &str = "\
http, https, ws, wss and tcp are spoken. For ws and wss each request is a message that must come \
back; the body is the message. For tcp the body must come back too; without a body, connecting is \
the request. Such requests count as status 200.

Exit codes: 0 every request succeeded, 1 the arguments are wrong, 2 the first connection was \
refused, 3 a request got an error or a status of 400 and above.

Also: `loadtest` = `bench run`, `check_results` = `bench check`, `cbcompare` = `bench compare`, \
`cbtest` = `bench breaker`, as commands and as names of the program.";

/// What to measure.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub(crate) struct BenchArguments {
    /// What to do; nothing = `run`.
    #[command(subcommand)]
    pub(crate) command: Option<BenchCommand>,
    /// The flags of `run` when no command is named.
    #[command(flatten)]
    pub(crate) run: LoadArguments,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Send requests, count and time the answers.
    Run(Box<LoadArguments>),
    /// Check the CSV of a run: every request there, once, and answered well.
    Check(CheckArguments),
    /// Kill a backend under load, with circuit breaker and retry and without; write both results.
    Compare(CompareArguments),
    /// Walk a circuit breaker through all its states, printing each step; exit 3 if one is not as
    /// it should be.
    Breaker(BreakerArguments),
}

/// What load to offer.
#[derive(Args, Debug)]
pub(crate) struct LoadArguments {
    /// The target, e.g. http://127.0.0.1:8080/.
    #[arg(value_name = "URL", conflicts_with = "url")]
    pub(crate) target: Option<String>,
    /// The target, as a flag.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// How many requests; 200 if -z does not say how long either.
    #[arg(short = 'n', long, value_name = "N")]
    #[arg(value_parser = whole::<u64>(0..=u64::MAX), allow_negative_numbers = true)]
    pub(crate) requests: Option<u64>,
    /// How many at the same time.
    #[arg(short, long, value_name = "N", default_value_t = 50)]
    #[arg(value_parser = whole::<usize>(0..=u64::MAX), allow_negative_numbers = true)]
    pub(crate) concurrency: usize,
    /// How long requests are started, e.g. 10s.
    #[arg(short = 'z', long, value_name = "D", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// Requests per second, sent when they are due (open loop); their latency counts from then.
    #[arg(long, value_name = "R", value_parser = requests_per_second)]
    #[arg(allow_negative_numbers = true)]
    pub(crate) rate: Option<f64>,
    /// How long it takes until the whole load is offered.
    #[arg(long, value_name = "D", default_value = "0s", value_parser = parse_duration)]
    pub(crate) ramp: Duration,
    /// The method; GET, or POST if there is a body.
    #[arg(short, long)]
    pub(crate) method: Option<String>,
    /// A header, e.g. 'Accept: text/html'; repeat it for more.
    #[arg(short = 'H', long = "header", value_name = "K: V", allow_hyphen_values = true)]
    pub(crate) headers: Vec<String>,
    /// The body; @FILE = what is in the file.
    #[arg(short = 'd', long, value_name = "TEXT|@FILE", allow_hyphen_values = true)]
    pub(crate) body: Option<String>,
    /// Speak HTTP/2 (prior knowledge with http://, ALPN with https://).
    #[arg(long)]
    pub(crate) http2: bool,
    /// Accept the certificates in this PEM file and those that they have signed.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub(crate) ca: Option<PathBuf>,
    /// Accept any certificate.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Of one request, from when it began (-rate: was due) to the end of its answer.
    #[arg(long, value_name = "D", default_value = "20s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    /// A new connection for each request.
    #[arg(long)]
    pub(crate) disable_keepalive: bool,
    /// Write a row for each request, in the order in which they end.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Write the summary as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Compare with the summary of an earlier run (-out).
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Offer this target the same load first, and print what the other one adds to it.
    #[arg(long, value_name = "URL")]
    pub(crate) direct: Option<String>,
    /// Print errors only.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What a CSV should hold.
#[derive(Args, Debug)]
pub(crate) struct CheckArguments {
    /// The file.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: PathBuf,
    /// How many rows it should have.
    #[arg(long, value_name = "N")]
    #[arg(value_parser = whole::<u64>(0..=u64::MAX), allow_negative_numbers = true)]
    pub(crate) expected: u64,
    /// How far the share of a backend may be off an even one, e.g. 10%.
    #[arg(long, value_name = "P", value_parser = parse_ratio)]
    pub(crate) tolerance: Option<f64>,
    /// Answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How to compare.
#[derive(Args, Debug)]
pub(crate) struct CompareArguments {
    /// Requests of each run, one after another.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 60)]
    #[arg(value_parser = whole::<u64>(0..=u64::MAX), allow_negative_numbers = true)]
    pub(crate) requests: u64,
    /// After how many of them a backend is killed.
    #[arg(long, value_name = "N", default_value_t = 25)]
    #[arg(value_parser = whole::<u64>(0..=u64::MAX), allow_negative_numbers = true)]
    pub(crate) kill_after: u64,
    /// Where the table goes.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_TABLE)]
    pub(crate) out: PathBuf,
}

/// Which breaker to walk through.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct BreakerArguments {
    /// Failures in a row that open it.
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = whole::<u32>(1..=MAX_FAILURES), allow_negative_numbers = true)]
    pub(crate) failures: u32,
    /// How long it waits before the first trial.
    #[arg(long, value_name = "D", default_value = "1s", value_parser = wait)]
    pub(crate) wait: Duration,
}

/// A wait that a person can live through.
fn wait(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_millis(100)..=Duration::from_secs(60);
    let wait = parse_duration(text)?;
    if bounds.contains(&wait) { Ok(wait) } else { Err("from 100ms to 1m".to_owned()) }
}

fn requests_per_second(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "expected requests per second above 0, such as 100 or 0.5".to_owned())
}

impl LoadArguments {
    /// The load that was asked for.
    pub(crate) fn bench(&self) -> Result<Bench, Trouble> {
        let Some(url) = self.url.as_ref().or(self.target.as_ref()) else {
            let text = "no target; name one: evenkeel bench http://127.0.0.1:8080/ -n 1000 -c 50";
            return Err(Trouble::Mistake(text.to_owned()));
        };
        let requests = match (self.requests, self.duration) {
            (None, None) => Some(DEFAULT_REQUESTS),
            (requests, _) => requests,
        };
        let trust = match &self.ca {
            Some(file) => Trust::File(file.clone()),
            None if self.insecure => Trust::Anyone,
            None => Trust::Public,
        };
        Ok(Bench {
            url: BenchUrl::parse(url).map_err(Trouble::Mistake)?,
            requests,
            duration: self.duration,
            concurrency: self.concurrency,
            connections: Connections::All,
            rate: self.rate,
            ramp: self.ramp,
            method: self.method.clone(),
            headers: self.headers.clone(),
            body: self.body()?,
            http2: self.http2,
            trust,
            timeout: self.timeout,
            keep_alive: !self.disable_keepalive,
            csv: self.csv.clone(),
        })
    }

    fn body(&self) -> Result<Vec<u8>, Trouble> {
        let text = self.body.as_deref().unwrap_or_default();
        match text.strip_prefix('@') {
            Some(file) => read_file(Path::new(file))
                .map_err(|why| Trouble::Mistake(format!("-body @{file}: {why}"))),
            None => Ok(text.as_bytes().to_vec()),
        }
    }
}

/// The words of a command line with `bench` and its command in place of their other names.
pub(crate) fn full_names(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.collect();
    let command = |word: Option<&OsStr>| {
        let name = word?.to_str()?;
        let name = name.strip_suffix(".exe").unwrap_or(name);
        OTHER_NAMES.iter().find(|(other, _)| *other == name).map(|(_, command)| *command)
    };
    let program = words.first().and_then(|word| Path::new(word).file_name());
    if let Some(name) = command(program) {
        words.splice(1..1, ["bench".into(), name.into()]);
    } else if let Some(name) = command(words.get(1).map(OsString::as_os_str)) {
        words.splice(1..2, ["bench".into(), name.into()]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{Arguments, Command, with_two_dashes};
    use clap::Parser;

    fn parse(words: &[&str]) -> Option<BenchArguments> {
        let words = with_two_dashes(full_names(words.iter().map(OsString::from)).into_iter());
        let command = Arguments::try_parse_from(words).ok()?.command?;
        let Command::Bench(arguments) = command else { panic!("{command:?}") };
        Some(*arguments)
    }

    #[test]
    fn other_names_stand_for_the_commands() {
        let cases: &[(&[&str], &[&str])] = &[
            (&["loadtest", "-url", "x"], &["loadtest", "bench", "run", "-url", "x"]),
            (&["/opt/check_results", "-csv"], &["/opt/check_results", "bench", "check", "-csv"]),
            (&["evenkeel", "cbcompare"], &["evenkeel", "bench", "compare"]),
            (&["evenkeel", "cbtest"], &["evenkeel", "bench", "breaker"]),
            (&["evenkeel", "run", "loadtest"], &["evenkeel", "run", "loadtest"]),
            (&["evenkeel"], &["evenkeel"]),
        ];
        for (typed, wanted) in cases {
            assert_eq!(full_names(typed.iter().map(OsString::from)), *wanted, "{typed:?}");
        }
    }

    #[test]
    fn a_load_can_be_typed_in_many_ways() {
        let cases: &[&[&str]] = &[
            &["evenkeel", "bench", "http://a/", "-n", "7", "-c", "3"],
            &["evenkeel", "bench", "run", "http://a/", "--requests=7", "--concurrency=3"],
            &["evenkeel", "bench", "-url", "http://a/", "-requests", "7", "-concurrency", "3"],
            &["loadtest", "-url", "a", "-concurrency", "3", "-requests", "7"],
        ];
        for words in cases {
            let arguments = parse(words).unwrap_or_else(|| panic!("{words:?}"));
            let load = match arguments.command {
                Some(BenchCommand::Run(load)) => *load,
                None => arguments.run,
                Some(
                    BenchCommand::Check(_) | BenchCommand::Compare(_) | BenchCommand::Breaker(_),
                ) => panic!("{words:?}"),
            };
            let bench = load.bench().expect("a load");
            assert_eq!((bench.requests, bench.concurrency), (Some(7), 3), "{words:?}");
            assert_eq!(bench.url.to_string(), "http://a/", "{words:?}");
        }
    }

    #[test]
    fn mistakes_are_refused() {
        let wrong: &[&[&str]] = &[
            &["evenkeel", "bench", "a", "-n", "x"],
            &["evenkeel", "bench", "a", "-url", "b"],
            &["evenkeel", "bench", "a", "-ca", "x", "-insecure"],
            &["evenkeel", "bench", "check", "-csv", "x"],
            &["evenkeel", "bench", "a", "-timeout", "5"],
            &["evenkeel", "cbtest", "-wait", "1h"],
            &["evenkeel", "cbtest", "-failures", "0"],
        ];
        for words in wrong {
            assert!(parse(words).is_none(), "{words:?}");
        }
        let none = parse(&["evenkeel", "bench"]).expect("no flags");
        assert!(none.run.bench().is_err());
    }
}
