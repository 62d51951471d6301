//! `--quiet-latency`: latency at fixed rates, with nothing broken.

use super::backend::{Backend, Manner};
use super::load::{Load, Summary};
use super::network::{self, BACKENDS};
use super::peer::Choice;
use super::repeat::Setup;
use super::report::millis;
use super::slow::Crowd;
use crate::peer::Peer;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// Backends answer at once, so that the balancer is what is measured.
const AT_ONCE: Manner = Manner { status: 200, delay: Duration::ZERO };
/// Offered before a round and not counted.
const WARM_UP: Duration = Duration::from_secs(1);
/// How often, and how many times, the slow clients are counted before a round.
const CROWD_POLL: Duration = Duration::from_millis(100);
const CROWD_WAITS: u32 = 400;
/// The columns: how they are called, and the share of requests they speak of.
const SHARES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// One balancer at one rate.
struct Line {
    rate: f64,
    peer: Peer,
    rounds: Vec<Summary>,
}

/// Rounds of all balancers in turn, each rate by itself; who begins changes from round to round.
pub(super) async fn run(setup: &Setup) -> Result<ExitCode> {
    let options = &setup.options;
    let mut lines = Vec::new();
    for rate in &options.rates {
        let line = |peer: &Peer| Line { rate: *rate, peer: *peer, rounds: Vec::new() };
        let mut of_rate: Vec<Line> = options.peers.iter().map(line).collect();
        for number in 0..options.rounds {
            let first = number % of_rate.len().max(1);
            let (before, after) = of_rate.split_at_mut(first);
            for line in after.iter_mut().chain(before) {
                let told = format!("{} at {rate}/s, round {}", line.peer.name(), number + 1);
                let summary = round(setup, line).await.with_context(|| told.clone())?;
                let p99 = millis(summary.latency.percentile(0.99));
                writeln!(std::io::stderr().lock(), "{told}: p99 {p99} ms")?;
                line.rounds.push(summary);
            }
        }
        lines.append(&mut of_rate);
    }
    write!(std::io::stdout().lock(), "{}", table(&lines))?;
    if let Some(path) = &options.json {
        let report: Vec<Value> = lines.iter().map(Line::json).collect();
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn round(setup: &Setup, line: &Line) -> Result<Summary> {
    let Setup { folder, options } = setup;
    network::restore()?;
    let mut backends = Vec::with_capacity(BACKENDS);
    for number in 0..BACKENDS {
        backends.push(Backend::start(number, AT_ONCE, folder).await?);
    }
    let _balancer = line.peer.start(Choice::InTurn, folder, &options.bin).await?;
    let crowd = Crowd::start(options.slow_clients)?;
    await_crowd(&crowd, options.slow_clients).await?;
    let load = |duration| Load { rate: line.rate, duration, timeout: options.timeout };
    load(WARM_UP).start(folder)?.end().await?;
    let offered = load(options.round).start(folder)?.end().await?;
    let (left, all) = (crowd.connected(), options.slow_clients);
    if all > 0 {
        writeln!(std::io::stderr().lock(), "slow clients at the end: {left} of {all}")?;
    }
    Ok(offered.summary)
}

/// Most of the slow clients must be connected before the round begins.
async fn await_crowd(crowd: &Crowd, size: usize) -> Result<()> {
    let mut waits = 0;
    while crowd.connected() * 100 < size * 95 {
        waits += 1;
        if waits > CROWD_WAITS {
            bail!("only {} of {size} slow clients are connected", crowd.connected());
        }
        tokio::time::sleep(CROWD_POLL).await;
    }
    Ok(())
}

impl Line {
    /// The median over the rounds, and the worst round.
    fn spread(&self, share: f64) -> (Duration, Duration) {
        let of_round = |round: &Summary| round.latency.percentile(share);
        let mut all: Vec<Duration> = self.rounds.iter().map(of_round).collect();
        all.sort_unstable();
        let median = all.get(all.len() / 2).copied();
        (median.unwrap_or_default(), all.last().copied().unwrap_or_default())
    }

    /// How late the generator itself was, in the worst round.
    fn lateness(&self) -> Duration {
        let of_round = |round: &Summary| round.lateness.percentile(0.99);
        self.rounds.iter().map(of_round).max().unwrap_or_default()
    }

    fn json(&self) -> Value {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let round = |round: &Summary| {
            let of = |(name, share): (&str, f64)| {
                (format!("{name}_ms"), json!(ms(round.latency.percentile(share))))
            };
            let mut figures: serde_json::Map<String, Value> = SHARES.into_iter().map(of).collect();
            figures.insert("sent".to_owned(), json!(round.sent));
            figures.insert("failed".to_owned(), json!(round.failed));
            let late = ms(round.lateness.percentile(0.99));
            figures.insert("generator_late_p99_ms".to_owned(), json!(late));
            figures
        };
        let rounds: Vec<_> = self.rounds.iter().map(round).collect();
        json!({ "rate": self.rate, "peer": self.peer.name(), "rounds": rounds })
    }
}

fn table(lines: &[Line]) -> String {
    let mut table = "| rate | balancer | errors |".to_owned();
    for (name, _) in SHARES {
        // Writing to a string cannot fail, here and below.
        let _ = write!(table, " {name} ms |");
    }
    table += " generator late p99 ms |\n|--:|---|--:|--:|--:|--:|--:|--:|\n";
    for line in lines {
        let sent: usize = line.rounds.iter().map(|round| round.sent).sum();
        let failed: usize = line.rounds.iter().map(|round| round.failed).sum();
        let _ = write!(table, "| {} | {} | {failed}/{sent} |", line.rate, line.peer.name());
        for (_, share) in SHARES {
            let (median, worst) = line.spread(share);
            let _ = write!(table, " {} / {} |", fine(median), fine(worst));
        }
        let _ = writeln!(table, " {} |", fine(line.lateness()));
    }
    table
}

/// Milliseconds with two decimals.
fn fine(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_median_and_worst_of_the_rounds() {
        let round = |millis| {
            let mut summary = Summary { sent: 10, failed: 1, ..Summary::default() };
            (0..10).for_each(|_| summary.latency.record(Duration::from_millis(millis)));
            summary
        };
        let rounds = vec![round(3), round(1), round(2)];
        let lines = [Line { rate: 1000.0, peer: Peer::Nginx, rounds }];
        let figures = " 2.00 / 3.00 |".repeat(4);
        let wanted = format!("| 1000 | nginx | 3/30 |{figures} 0.00 |");
        assert_eq!(table(&lines).lines().last(), Some(wanted.as_str()));
    }
}
