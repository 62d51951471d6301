//! The table, the targets, the file.

use super::fault::Fault;
use super::options::Options;
use super::repeat::Measured;
use crate::peer::Peer;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// The longest that requests may go to a dead backend first.
const LAST_FIRST_TRY: Duration = Duration::from_millis(50);
/// How much a slow backend may raise p99.
const SLOW_RATIO: f64 = 1.5;

/// All repeats of one fault against one balancer.
pub(super) struct Row {
    /// What broke.
    pub(super) fault: Fault,
    /// Behind whom.
    pub(super) peer: Peer,
    /// Those that were measured.
    pub(super) repeats: Vec<Measured>,
    /// How many could not be.
    pub(super) lost: usize,
}

impl Row {
    /// Takes the end of a repeat.
    pub(super) fn add(&mut self, one: Result<Measured>) {
        match one {
            Ok(one) => self.repeats.push(one),
            Err(_) => self.lost += 1,
        }
    }

    fn sum(&self, of: impl Fn(&Measured) -> usize) -> usize {
        self.repeats.iter().map(of).sum()
    }

    /// Median and worst.
    fn spread<T: Ord + Copy>(&self, of: impl Fn(&Measured) -> T) -> Option<(T, T)> {
        let mut all: Vec<T> = self.repeats.iter().map(of).collect();
        all.sort_unstable();
        Some((*all.get(all.len() / 2)?, *all.last()?))
    }

    fn failed(&self) -> usize {
        self.sum(|one| one.failed)
    }

    /// Median of p99 with the fault by p99 without it, of the same repeat.
    fn slow_ratio(&self) -> f64 {
        let ratio = |one: &Measured| one.fault_p99.div_duration_f64(one.quiet_p99);
        let mut all: Vec<f64> = self.repeats.iter().map(ratio).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// What does not hold; empty if all does. Only evenkeel has targets.
    fn misses(&self) -> Vec<String> {
        let mut misses = Vec::new();
        if self.lost > 0 {
            misses.push(format!("{} repeats not measured", self.lost));
        }
        let failed = self.failed();
        let (_, last) = self.spread(|one| one.last_first_try).unwrap_or_default();
        let (errors_count, last_counts) = match self.fault {
            Fault::Killed | Fault::Vanished | Fault::Failing => (true, true),
            Fault::Cut | Fault::Stopped => (true, false),
            Fault::Slow | Fault::Loss | Fault::Pauses => (false, false),
        };
        if errors_count && failed > 0 {
            misses.push(format!("{failed} client errors"));
        }
        if last_counts && last >= LAST_FIRST_TRY {
            misses.push(format!("last first try after {} ms", millis(last)));
        }
        let ratio = self.slow_ratio();
        // A ratio that is no number is a miss, too.
        if self.fault == Fault::Slow
            && !self.repeats.is_empty()
            && !matches!(ratio, 0.0..=SLOW_RATIO)
        {
            misses.push(format!("p99 {ratio:.2} x quiet"));
        }
        let removals = self.sum(|one| one.removals);
        if matches!(self.fault, Fault::Loss | Fault::Pauses) && removals > 0 {
            misses.push(format!("{removals} removals"));
        }
        misses
    }

    /// Of evenkeel: what does not hold.
    pub(super) fn short_of_target(&self) -> Option<String> {
        let misses = if self.peer == Peer::Evenkeel { self.misses() } else { Vec::new() };
        let told =
            || format!("{} {}: {}", self.fault.letter(), self.fault.what(), misses.join(", "));
        (!misses.is_empty()).then(told)
    }

    fn verdict(&self) -> &'static str {
        match (self.peer, self.misses().is_empty()) {
            (Peer::Evenkeel, true) => "PASS",
            (Peer::Evenkeel, false) => "FAIL",
            (Peer::Haproxy | Peer::Nginx, _) => "",
        }
    }

    /// A repeat in which the backend did not come back is the worst.
    fn back(&self) -> String {
        let told = |back: Option<Duration>| back.map_or("not".to_owned(), millis);
        let back = self.spread(|one| one.back.ok_or(()).map_or((1, Duration::ZERO), |b| (0, b)));
        let of = |(gone, time)| (gone == 0).then_some(time);
        back.map_or_else(String::new, |(median, worst)| {
            format!("{} / {}", told(of(median)), told(of(worst)))
        })
    }

    fn json(&self) -> Value {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let one = |one: &Measured| {
            json!({
                "sent": one.sent,
                "failed": one.failed,
                "worst_ms": ms(one.worst),
                "quiet_p99_ms": ms(one.quiet_p99),
                "fault_p99_ms": ms(one.fault_p99),
                "last_first_try_ms": ms(one.last_first_try),
                "back_ms": one.back.map(ms),
                "removals": one.removals,
            })
        };
        json!({
            "fault": self.fault.letter().to_string(),
            "what": self.fault.what(),
            "peer": self.peer.name(),
            "verdict": self.verdict(),
            "lost": self.lost,
            "repeats": self.repeats.iter().map(one).collect::<Vec<_>>(),
        })
    }
}

/// Milliseconds with one decimal.
pub(super) fn millis(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1000.0)
}

/// The Markdown table: median and worst of the repeats.
pub(super) fn table(rows: &[Row]) -> String {
    let mut table = "\
| fault | balancer | client errors | worst ms | p99 ms in the fault | quiet p99 ms \
| last first try ms | back after ms | removals | target |\n\
|---|---|--:|--:|--:|--:|--:|--:|--:|---|\n"
        .to_owned();
    for row in rows {
        let both = |of: fn(&Measured) -> Duration| {
            row.spread(of).map_or_else(String::new, |(median, worst)| {
                format!("{} / {}", millis(median), millis(worst))
            })
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| {} {} | {} | {}/{} | {} | {} | {} | {} | {} | {} | {} |",
            row.fault.letter(),
            row.fault.what(),
            row.peer.name(),
            row.failed(),
            row.sum(|one| one.sent),
            both(|one| one.worst),
            both(|one| one.fault_p99),
            both(|one| one.quiet_p99),
            both(|one| one.last_first_try),
            row.back(),
            row.sum(|one| one.removals),
            row.verdict(),
        );
    }
    table
}

/// Writes every repeat's figures.
pub(super) fn write_json(path: &Path, options: &Options, rows: &[Row]) -> Result<()> {
    let report = json!({
        "rate": options.rate,
        "repeats": options.repeats,
        "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
    });
    let text = serde_json::to_string_pretty(&report)?;
    std::fs::write(path, text + "\n").with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Measured = Measured {
        sent: 9000,
        failed: 0,
        worst: Duration::from_millis(30),
        quiet_p99: Duration::from_millis(4),
        fault_p99: Duration::from_millis(5),
        last_first_try: Duration::from_millis(9),
        back: Some(Duration::from_millis(400)),
        removals: 0,
    };

    fn row(fault: Fault, peer: Peer, repeats: Vec<Measured>) -> Row {
        Row { fault, peer, repeats, lost: 0 }
    }

    #[test]
    fn targets_are_those_of_the_fault() {
        let failed = Measured { failed: 1, ..GOOD };
        let late = Measured { last_first_try: LAST_FIRST_TRY, ..GOOD };
        let slow = Measured { fault_p99: Duration::from_millis(7), ..GOOD };
        let removed = Measured { removals: 1, ..GOOD };
        let cases =
            [(&failed, "abcde"), (&late, "abe"), (&slow, "f"), (&removed, "gh"), (&GOOD, "")];
        for (measured, letters) in cases {
            for fault in super::super::fault::ALL {
                let ours = row(fault, Peer::Evenkeel, vec![measured.clone()]);
                let missed = letters.contains(fault.letter());
                assert_eq!(ours.short_of_target().is_some(), missed, "{fault:?} {measured:?}");
                let theirs = row(fault, Peer::Nginx, vec![measured.clone()]);
                assert_eq!(theirs.short_of_target(), None);
            }
        }
    }

    #[test]
    fn a_repeat_that_was_not_measured_is_no_pass() {
        let mut row = row(Fault::Loss, Peer::Evenkeel, vec![]);
        row.add(Ok(GOOD));
        assert_eq!(row.verdict(), "PASS");
        row.add(Err(anyhow::anyhow!("a full disk")));
        assert_eq!((row.verdict(), row.repeats.len()), ("FAIL", 1));
    }

    #[test]
    fn a_row_has_median_and_worst() {
        let gone = Measured { back: None, worst: Duration::from_secs(1), ..GOOD };
        let rows = [row(Fault::Killed, Peer::Evenkeel, vec![gone, GOOD, GOOD])];
        let wanted = "| a killed | evenkeel | 0/27000 | 30.0 / 1000.0 | 5.0 / 5.0 | 4.0 / 4.0 \
                      | 9.0 / 9.0 | 400.0 / not | 0 | PASS |";
        assert_eq!(table(&rows).lines().last(), Some(wanted));
    }
}
