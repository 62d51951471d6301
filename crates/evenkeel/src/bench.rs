//! `bench`: load for a target, a check of what was written, and what breaker and retry are worth
//! and do.

mod arguments;
mod breaker;
mod compare;
mod process;
mod progress;

pub(crate) use arguments::{BenchArguments, full_names};

use crate::output::{print, someone_reads};
use crate::signals::Signals;
use crate::system::{raise_file_limit, runtime};
use crate::trouble::Trouble;
use arguments::{BenchCommand, CheckArguments, LoadArguments};
use evenkeel_load::bench::{Bench, BenchError, BenchUrl, CsvCheck, LiveBench, Report};
use progress::Progress;
use serde_json::Value;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// A check or a comparison did not hold.
const DOES_NOT_HOLD: u8 = 3;
/// Between two drawings of the progress bar.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes of a body, and of a summary.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Does what was asked for; tells in the exit code whether it held.
pub(crate) fn run(arguments: BenchArguments) -> Result<ExitCode, Trouble> {
    let holds = match arguments.command.unwrap_or(BenchCommand::Run(Box::new(arguments.run))) {
        BenchCommand::Run(arguments) => load(&arguments)?,
        BenchCommand::Check(arguments) => check(&arguments)?,
        BenchCommand::Compare(arguments) => compare::compare(&arguments)?,
        BenchCommand::Breaker(arguments) => breaker::walk(&arguments)?,
    };
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(DOES_NOT_HOLD) })
}

fn load(arguments: &LoadArguments) -> Result<bool, Trouble> {
    let bench = arguments.bench()?;
    let baseline = arguments.baseline.as_deref().map(read_summary).transpose()?;
    // Not only when all that is to be written has been measured.
    arguments.out.as_deref().map(open_to_write).transpose()?;
    raise_file_limit();
    let direct = match &arguments.direct {
        Some(url) => {
            let url = BenchUrl::parse(url).map_err(Trouble::Mistake)?;
            let bench = Bench { url, csv: None, ..bench.clone() };
            Some(watched(bench, arguments.quiet, "direct")?)
        }
        None => None,
    };
    if let Some(direct) = direct.as_ref().filter(|direct| direct.stopped) {
        print(direct.to_text())?;
        return Ok(false);
    }
    let report = watched(bench, arguments.quiet, "")?;
    if let Some(file) = &arguments.out {
        write(file, &format!("{:#}\n", report.to_json()))?;
    }
    let comparison = baseline.map(|baseline| report.against_baseline(&baseline)).transpose();
    let comparison = comparison.map_err(|why| Trouble::Mistake(format!("-baseline: {why}")))?;
    if !arguments.quiet {
        let overhead = direct.map(|direct| report.overhead_over(&direct));
        let tables = comparison.into_iter().chain(overhead);
        let tables: String = tables.map(|table| format!("\n{table}")).collect();
        print(format_args!("{}{tables}", report.to_text()))?;
    }
    if let Some(why) = &report.csv_fault {
        return Err(Trouble::CannotStart(format!("the CSV is not complete: {why}")));
    }
    Ok(report.failed() == 0)
}

/// Runs a bench while somebody can watch it, and end it.
fn watched(bench: Bench, quiet: bool, what: &'static str) -> Result<Report, Trouble> {
    runtime()?.block_on(async {
        let mut signals = Signals::install()?;
        let live = LiveBench::default();
        let watched = live.clone();
        let mut run = tokio::task::spawn_blocking(move || bench.run(&watched));
        let mut progress = Progress::new(what);
        let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
        let ended = loop {
            tokio::select! {
                ended = &mut run => break ended,
                () = signals.stop() => live.stop(),
                _ = ticks.tick(), if !quiet && someone_reads() => progress.draw(&live),
            }
        };
        progress.erase();
        let broke = |error| Trouble::CannotStart(format!("the run broke down: {error}"));
        ended.map_err(broke)?.map_err(trouble)
    })
}

fn trouble(error: BenchError) -> Trouble {
    match error {
        BenchError::Invalid(text) => Trouble::Mistake(text),
        BenchError::Refused(text) | BenchError::Machine(text) => Trouble::CannotStart(text),
    }
}

fn check(arguments: &CheckArguments) -> Result<bool, Trouble> {
    let name = arguments.csv.display();
    let cannot = |error| Trouble::Mistake(format!("cannot read {name}: {error}"));
    let file = File::open(&arguments.csv).map_err(cannot)?;
    let check = CsvCheck { expected: arguments.expected, tolerance: arguments.tolerance };
    let verdict = check.read(BufReader::new(file)).map_err(cannot)?;
    if arguments.json {
        print(format_args!("{:#}\n", verdict.to_json()))?;
    } else {
        print(&verdict)?;
    }
    Ok(verdict.holds())
}

fn read_summary(file: &Path) -> Result<Value, Trouble> {
    let mistake = |why: String| Trouble::Mistake(format!("-baseline {}: {why}", file.display()));
    let bytes = read_file(file).map_err(mistake)?;
    let summary: Value = serde_json::from_slice(&bytes).map_err(|e| mistake(e.to_string()))?;
    Report::default().against_baseline(&summary).map_err(mistake)?;
    Ok(summary)
}

/// A whole file, up to a bound.
fn read_file(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(file).map_err(|error| error.to_string())?;
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    let read = read.map_err(|error| error.to_string())?;
    if read as u64 > MAX_FILE_BYTES {
        return Err("it is larger than 256 MiB".to_owned());
    }
    Ok(bytes)
}

fn write(file: &Path, text: &str) -> Result<(), Trouble> {
    std::fs::write(file, text).map_err(|error| cannot_write(file, &error))
}

/// Says whether a file can be written, and leaves what it holds.
fn open_to_write(file: &Path) -> Result<(), Trouble> {
    let opened = File::options().create(true).append(true).open(file);
    opened.map(drop).map_err(|error| cannot_write(file, &error))
}

fn cannot_write(file: &Path, error: &std::io::Error) -> Trouble {
    Trouble::CannotStart(format!("cannot write {}: {error}", file.display()))
}
