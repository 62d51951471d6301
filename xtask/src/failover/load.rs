//! The clients: an open-loop load of `bench` on threads of its own, undisturbed by the rig.

use super::network::BALANCER;
use anyhow::{Context as _, Result, anyhow};
use evenkeel_load::LatencyHistogram;
use evenkeel_load::bench::{Bench, BenchError, BenchUrl, Connections, LiveBench, Report};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Connections of the clients: at 1000 requests per second, enough for every backend to hang for
/// the whole of a repeat.
const MAX_CONNECTIONS: usize = 5000;
/// A status from here on is a failure.
const FIRST_FAILURE: u16 = 500;

/// A load to offer to the balancer.
pub(super) struct Load {
    /// Requests per second.
    pub(super) rate: f64,
    /// How long requests are started.
    pub(super) duration: Duration,
    /// Of one request.
    pub(super) timeout: Duration,
}

/// A load that runs.
pub(super) struct Running {
    /// When it began.
    pub(super) start: Instant,
    offered: oneshot::Receiver<Result<Offered>>,
}

/// A load that was offered.
pub(super) struct Offered {
    /// One for each request, in the order in which they ended.
    pub(super) samples: Vec<Sample>,
    /// Of all of them.
    pub(super) summary: Summary,
}

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// Its number, which is in its path.
    pub(super) seq: u64,
    /// When it was due, from the start of the run.
    pub(super) intended: Duration,
    /// From when it was due to the end of its answer, or to its error.
    pub(super) latency: Duration,
    /// Of the answer; 0 = no complete answer came.
    pub(super) status: u16,
    /// Who answered.
    pub(super) backend: String,
}

impl Sample {
    /// True if a complete answer below 500 came.
    pub(super) fn succeeded(&self) -> bool {
        (1..FIRST_FAILURE).contains(&self.status)
    }

    /// Of a row of the CSV that a bench writes.
    fn of_row(row: &str) -> Option<Sample> {
        let mut cells = row.split(',');
        let mut number = || cells.next()?.parse::<u64>().ok();
        let (seq, intended, latency) = (number()?, number()?, number()?);
        let status = u16::try_from(number()?).ok()?;
        let (intended, latency) = (Duration::from_nanos(intended), Duration::from_nanos(latency));
        let backend = cells.next()?.to_owned();
        Some(Sample { seq, intended, latency, status, backend })
    }
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub(super) struct Summary {
    /// Requests started.
    pub(super) sent: usize,
    /// Those without a complete answer, or with a status of 500 and above.
    pub(super) failed: usize,
    /// From when each request was due, the failed ones included.
    pub(super) latency: LatencyHistogram,
    /// How late the generator itself was. If this is not far below `latency`, the generator was
    /// what was measured.
    pub(super) lateness: LatencyHistogram,
}

impl Load {
    /// Starts to offer it; rows are kept in this folder meanwhile.
    pub(super) fn start(self, folder: &Path) -> Result<Running> {
        let (tell, offered) = oneshot::channel();
        let rows = folder.join("rows.csv");
        let start = Instant::now();
        let offer = move || {
            // Nobody listens any more if the run was interrupted.
            let _ = tell.send(self.offer(rows));
        };
        std::thread::Builder::new().name("load".to_owned()).spawn(offer)?;
        Ok(Running { start, offered })
    }

    fn offer(&self, rows: PathBuf) -> Result<Offered> {
        let url = format!("http://{BALANCER}/r/{{seq}}");
        let url = BenchUrl::parse(&url).map_err(|why| anyhow!(why))?;
        let bench = Bench {
            requests: None,
            duration: Some(self.duration),
            concurrency: MAX_CONNECTIONS,
            connections: Connections::Fewest,
            rate: Some(self.rate),
            headers: vec!["Host: rig.test".to_owned()],
            timeout: self.timeout,
            csv: Some(rows.clone()),
            ..Bench::to(url)
        };
        let told = |error: BenchError| match error {
            BenchError::Invalid(why) | BenchError::Refused(why) | BenchError::Machine(why) => {
                anyhow!(why)
            }
        };
        let Report { latency, lateness, .. } = bench.run(&LiveBench::default()).map_err(told)?;
        let text = fs::read_to_string(&rows).with_context(|| rows.display().to_string())?;
        let samples = text.lines().skip(1).map(Sample::of_row).collect::<Option<Vec<_>>>();
        let samples = samples.context("a row is no row of a bench")?;
        let failed = samples.iter().filter(|sample| !sample.succeeded()).count();
        let summary = Summary { sent: samples.len(), failed, latency, lateness };
        Ok(Offered { samples, summary })
    }
}

impl Running {
    /// Waits for its end.
    pub(super) async fn end(self) -> Result<Offered> {
        self.offered.await.context("the load's thread has ended")?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_bench_are_samples() {
        let good = Sample::of_row("7,1000,2000,200,b1,17,").expect("a row");
        let wanted = Sample {
            seq: 7,
            intended: Duration::from_micros(1),
            latency: Duration::from_micros(2),
            status: 200,
            backend: "b1".to_owned(),
        };
        assert_eq!(good, wanted);
        assert!(good.succeeded());
        let lost = Sample::of_row("8,1000,2000,0,,0,timeout").expect("a row");
        assert!(!lost.succeeded() && lost.backend.is_empty());
        assert!(!Sample { status: 503, ..good }.succeeded());
        assert_eq!(Sample::of_row("seq,start_ns"), None);
    }
}
