//! One run: warm up, break, heal; then what was measured.

use super::backend::{self, Backend};
use super::capture::Capture;
use super::fault::{Fault, WELL};
use super::load::{Load, Offered, Sample};
use super::network::{self, BACKENDS, BAD};
use super::options::Options;
use super::peer::{Choice, Told};
use crate::peer::Peer;
use anyhow::{Result, bail};
use evenkeel_load::LatencyHistogram;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

/// The start of the warm-up is not counted as quiet: connections are being opened.
const OPENING: Duration = Duration::from_millis(500);
/// The share of answered requests that must have been seen on the wire.
const SEEN_SHARE: f64 = 0.99;

/// What every run needs.
pub(super) struct Setup {
    /// For configurations and logs.
    pub(super) folder: PathBuf,
    /// What was asked for.
    pub(super) options: Options,
}

/// What one run has shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Measured {
    /// Requests sent.
    pub(super) sent: usize,
    /// Those without an answer, or with one of 500 and above.
    pub(super) failed: usize,
    /// The longest latency of all.
    pub(super) worst: Duration,
    /// Of the requests due before the fault.
    pub(super) quiet_p99: Duration,
    /// Of the requests due while the fault lasted.
    pub(super) fault_p99: Duration,
    /// From the fault to when the last request was due that was tried at the broken backend first,
    /// while the fault lasted; zero if there was none.
    pub(super) last_first_try: Duration,
    /// From the healing to the first good answer of the healed backend to a request due after it;
    /// `None` if there was none.
    pub(super) back: Option<Duration>,
    /// How often the balancer took a backend out.
    pub(super) removals: usize,
}

/// Runs one fault against one balancer.
pub(super) async fn run(setup: &Setup, peer: Peer, fault: Fault) -> Result<Measured> {
    let Setup { folder, options } = setup;
    network::restore()?;
    let mut backends = Vec::with_capacity(BACKENDS);
    for number in 0..BACKENDS {
        backends.push(Backend::start(number, WELL, folder).await?);
    }
    let choice = if fault == Fault::Slow { Choice::Quickest } else { Choice::InTurn };
    let balancer = peer.start(choice, folder, &options.bin).await?;
    let capture = Capture::start(folder).await?;
    let duration = options.warm_up + options.fault_for + options.after;
    let load = Load { rate: options.rate, duration, timeout: options.timeout };
    let load = load.start(folder)?;

    let begin = load.start + options.warm_up;
    tokio::time::sleep_until(begin).await;
    let struck = load.start.elapsed();
    fault.strike(&mut backends)?;
    fault.last(&mut backends, begin + options.fault_for).await?;
    let healing = load.start.elapsed();
    fault.heal(&mut backends, folder).await?;
    let healed = load.start.elapsed();

    let Offered { samples, .. } = load.end().await?;
    drop(balancer);
    let first = capture.stop().await?;
    let told = peer.read_log(folder)?;
    measure(&samples, Times { struck, healing, healed }, &Seen { first, told })
}

/// From the start of the load.
#[derive(Clone, Copy)]
struct Times {
    /// Just before the backend was broken.
    struck: Duration,
    /// Just before it was made whole again: from then on it may answer.
    healing: Duration,
    /// When it was whole again.
    healed: Duration,
}

/// What others saw of the requests.
struct Seen {
    /// The backend that a request was sent to first.
    first: HashMap<u64, usize>,
    /// What the balancer says.
    told: Told,
}

fn measure(samples: &[Sample], times: Times, seen: &Seen) -> Result<Measured> {
    let Times { struck, healing, healed } = times;
    check_seen(samples, seen)?;
    let during = |s: &&Sample| (struck..healing).contains(&s.intended);
    let quiet = |s: &&Sample| (OPENING..struck).contains(&s.intended);
    // Of a request with several tries, the first was at the broken backend: the others answer.
    let at_bad = |s: &&Sample| match seen.first.get(&s.seq) {
        Some(backend) if *backend == BAD => true,
        Some(_) | None => seen.told.tries.get(&s.seq).is_some_and(|tries| *tries > 1),
    };
    let last = samples.iter().filter(during).filter(at_bad).map(|s| s.intended).max();
    let bad = backend::name(BAD);
    let back = samples.iter().filter(|s| s.intended >= healed && s.status == 200);
    let back = back.filter(|s| s.backend == bad);
    Ok(Measured {
        sent: samples.len(),
        failed: samples.iter().filter(|s| !s.succeeded()).count(),
        worst: samples.iter().map(|s| s.latency).max().unwrap_or_default(),
        quiet_p99: p99(samples.iter().filter(quiet)),
        fault_p99: p99(samples.iter().filter(during)),
        last_first_try: last.map_or(Duration::ZERO, |last| last - struck),
        back: back.map(|s| s.intended + s.latency - healed).min(),
        removals: seen.told.removals,
    })
}

/// A capture that missed requests would flatter.
#[expect(clippy::cast_precision_loss, reason = "numbers of requests are far below 2^52")]
fn check_seen(samples: &[Sample], seen: &Seen) -> Result<()> {
    let answered = samples.iter().filter(|s| s.status == 200);
    let (mut all, mut missed) = (0_usize, 0_usize);
    for sample in answered {
        all += 1;
        let known =
            seen.first.contains_key(&sample.seq) && seen.told.tries.contains_key(&sample.seq);
        missed += usize::from(!known);
    }
    if missed as f64 > all as f64 * (1.0 - SEEN_SHARE) {
        bail!("{missed} of {all} answered requests were not seen on the wire or in the log");
    }
    Ok(())
}

fn p99<'a>(samples: impl Iterator<Item = &'a Sample>) -> Duration {
    let mut histogram = LatencyHistogram::default();
    samples.for_each(|sample| histogram.record(sample.latency));
    histogram.percentile(0.99)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
        struck: Duration::from_millis(1000),
        healing: Duration::from_millis(2000),
        healed: Duration::from_millis(2020),
    };

    /// 100 requests per second for three seconds, each answered in 2 ms by the backends in turn.
    fn samples() -> Vec<Sample> {
        let sample = |seq: u64| Sample {
            seq,
            intended: Duration::from_millis(seq * 10),
            latency: Duration::from_millis(2),
            status: 200,
            backend: backend::name(usize::try_from(seq % 3).unwrap()),
        };
        (0..300).map(sample).collect()
    }

    fn seen(first_at_bad: &[u64], retried: &[u64]) -> Seen {
        let first = |seq| (seq, if first_at_bad.contains(&seq) { BAD } else { 0 });
        let tries = |seq| (seq, if retried.contains(&seq) { 2 } else { 1 });
        let told = Told { tries: (0..300).map(tries).collect(), removals: 1 };
        Seen { first: (0..300).map(first).collect(), told }
    }

    #[test]
    fn the_last_first_try_is_on_the_wire_or_in_the_log() {
        let cases: [(&[u64], &[u64], u64); 5] = [
            (&[], &[], 0),
            (&[99, 105, 200, 201], &[], 50),
            (&[105], &[108], 80),
            (&[], &[99, 200], 0),
            (&[100], &[], 0),
        ];
        for (first_at_bad, retried, millis) in cases {
            let measured = measure(&samples(), TIMES, &seen(first_at_bad, retried)).unwrap();
            let wanted = Duration::from_millis(millis);
            assert_eq!(measured.last_first_try, wanted, "{first_at_bad:?} {retried:?}");
        }
    }

    #[test]
    fn errors_latencies_and_the_return_are_counted() {
        let mut samples = samples();
        samples[120].status = 503;
        samples[121].latency = Duration::from_millis(700);
        for late in &mut samples[200..230] {
            late.backend = backend::name(0);
        }
        let measured = measure(&samples, TIMES, &seen(&[], &[])).unwrap();
        // A histogram keeps three digits.
        let p99 = measured.fault_p99;
        assert!(p99.abs_diff(Duration::from_millis(2)) < Duration::from_micros(2), "{p99:?}");
        let wanted = Measured {
            sent: 300,
            failed: 1,
            worst: Duration::from_millis(700),
            quiet_p99: Duration::from_millis(2),
            fault_p99: p99,
            last_first_try: Duration::ZERO,
            back: Some(Duration::from_millis(282)),
            removals: 1,
        };
        assert_eq!(measured, wanted);
    }

    #[test]
    fn a_capture_with_gaps_is_refused() {
        let mut gaps = seen(&[], &[]);
        gaps.first.retain(|seq, _| *seq > 10);
        assert!(measure(&samples(), TIMES, &gaps).is_err());
    }
}
