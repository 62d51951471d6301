//! What a run came to, for people. Sections and wording follow `hey`, which many know.

use super::report::{Report, millis};
use crate::LatencyHistogram;
use serde_json::Value;
use std::fmt::Write;

/// Lines of the histogram.
const HISTOGRAM_LINES: u32 = 10;
/// Characters of its longest bar.
const BAR_WIDTH: u64 = 40;
/// Percentiles that are printed: what people call them, and their share.
const PERCENTILES: [(&str, f64); 9] = [
    ("10", 0.1),
    ("25", 0.25),
    ("50", 0.5),
    ("75", 0.75),
    ("90", 0.9),
    ("95", 0.95),
    ("99", 0.99),
    ("99.9", 0.999),
    ("99.99", 0.9999),
];
/// What two runs are compared by: the key below `latency_ms`, and its share.
const COMPARED: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)];

impl Report {
    /// The summary, for people.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(2048);
        // Writing to a string cannot fail.
        let _ = self.write_numbers(&mut text);
        let _ = write_latency(&self.latency, &mut text);
        let _ = self.write_counts(&mut text);
        text
    }

    fn write_numbers(&self, text: &mut String) -> std::fmt::Result {
        let (requests, failed) = (self.requests(), self.failed());
        let note = if self.stopped { " (stopped before its end)" } else { "" };
        writeln!(text, "Summary:{note}")?;
        writeln!(text, "  URL:           {}", self.url)?;
        writeln!(text, "  Requests:      {requests} ({failed} failed)")?;
        writeln!(text, "  Total:         {:.4} s", self.elapsed.as_secs_f64())?;
        writeln!(text, "  Requests/sec:  {:.1}", self.rate())?;
        writeln!(text, "  Slowest:       {}", ms(millis(self.latency.max())))?;
        writeln!(text, "  Fastest:       {}", ms(millis(self.latency.min())))?;
        writeln!(text, "  Average:       {}", ms(millis(self.latency.mean())))?;
        writeln!(text, "  Total data:    {} bytes", self.bytes)?;
        writeln!(text, "  Size/request:  {} bytes", self.bytes / requests.max(1))?;
        writeln!(text, "  Connections:   {}", self.connections)
    }

    fn write_counts(&self, text: &mut String) -> std::fmt::Result {
        if !self.statuses.is_empty() {
            writeln!(text, "\nStatus code distribution:")?;
        }
        for (status, count) in &self.statuses {
            writeln!(text, "  [{status}] {count} responses")?;
        }
        if !self.backends.is_empty() {
            writeln!(text, "\nBackends:")?;
        }
        let answers: u64 = self.backends.values().sum();
        let width = self.backends.keys().map(|name| name.chars().count()).max().unwrap_or(0);
        for (name, count) in &self.backends {
            let name = printable(name);
            writeln!(text, "  {name:width$}  {count} ({:.1}%)", percent(*count, answers))?;
        }
        if !self.errors.is_empty() {
            writeln!(text, "\nError distribution:")?;
        }
        for (kind, error) in &self.errors {
            let said = printable(error.text.as_deref().unwrap_or_default());
            writeln!(text, "  [{}] {}: {said}", error.count, kind.code())?;
        }
        Ok(())
    }

    /// A table of this run beside an earlier one, from its summary.
    ///
    /// # Errors
    /// What the earlier summary lacks.
    pub fn against_baseline(&self, baseline: &Value) -> Result<String, String> {
        let number = |pointer: &str| {
            let value = baseline.pointer(pointer).and_then(Value::as_f64);
            value.ok_or_else(|| format!("it has no number at {pointer}; was it written by -out?"))
        };
        let mut rows = vec![("Requests/sec".to_owned(), number("/rps")?, self.rate())];
        let mean = number("/latency_ms/mean")?;
        rows.push(("mean (ms)".to_owned(), mean, millis(self.latency.mean())));
        for (key, share) in COMPARED {
            let before = number(&format!("/latency_ms/{key}"))?;
            rows.push((format!("{key} (ms)"), before, millis(self.latency.percentile(share))));
        }
        let requests = number("/requests")?.max(1.0);
        let failed = number("/failed")? / requests * 100.0;
        rows.push(("failed (%)".to_owned(), failed, percent(self.failed(), self.requests())));
        let mut text =
            format!("{:16}{:>12}{:>12}{:>10}\n", "Comparison:", "before", "now", "change");
        for (name, before, now) in rows {
            let change = match before {
                0.0 => "-".to_owned(),
                _ => format!("{:+.1}%", (now / before - 1.0) * 100.0),
            };
            let _ = writeln!(text, "  {name:14}{before:>12.3}{now:>12.3}{change:>10}");
        }
        Ok(text)
    }

    /// A table of what this run's target adds to the one behind it.
    pub fn overhead_over(&self, direct: &Report) -> String {
        let head = ["direct", "through", "overhead"];
        let [a, b, c] = head;
        let mut text = format!("{:16}{a:>12}{b:>12}{c:>12}\n", "Overhead (ms):");
        let mean = (millis(direct.latency.mean()), millis(self.latency.mean()));
        let percentiles = COMPARED.map(|(key, share)| {
            let of = |report: &Report| millis(report.latency.percentile(share));
            (key, (of(direct), of(self)))
        });
        for (name, (direct, through)) in [("mean", mean)].into_iter().chain(percentiles) {
            let added = through - direct;
            let _ = writeln!(text, "  {name:14}{direct:>12.3}{through:>12.3}{added:>12.3}");
        }
        let (a, b) = (direct.rate(), self.rate());
        let _ = writeln!(text, "  {:14}{a:>12.1}{b:>12.1}{:>12.1}", "Requests/sec", b - a);
        text
    }
}

fn write_latency(latency: &LatencyHistogram, text: &mut String) -> std::fmt::Result {
    if latency.count() == 0 {
        return Ok(());
    }
    writeln!(text, "\nResponse time histogram:")?;
    let spread = latency.spread(HISTOGRAM_LINES);
    let most = spread.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    let width = spread.iter().map(|(_, count)| count.to_string().len()).max().unwrap_or(1);
    for (bound, count) in spread {
        // The product is far below 2^64, the quotient at most `BAR_WIDTH`.
        let bar = usize::try_from(u128::from(count) * u128::from(BAR_WIDTH) / u128::from(most));
        let bar = "■".repeat(bar.unwrap_or_default());
        let line = format!(
            "  {:>12} [{count}]{:pad$} |{bar}",
            ms(millis(bound)),
            "",
            pad = width - count.to_string().len()
        );
        writeln!(text, "{line}")?;
    }
    writeln!(text, "\nLatency distribution:")?;
    for (name, share) in PERCENTILES {
        writeln!(text, "  {name:>5}% in {}", ms(millis(latency.percentile(share))))?;
    }
    Ok(())
}

fn ms(millis: f64) -> String {
    format!("{millis:.3} ms")
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

/// Text of somebody else without anything that a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LoadError;
    use crate::bench::report::ErrorCount;
    use std::time::Duration;

    fn report(millis: impl Iterator<Item = u64>) -> Report {
        let mut report = Report { url: "http://a/".to_owned(), ..Report::default() };
        report.elapsed = Duration::from_secs(1);
        millis.for_each(|ms| report.latency.record(Duration::from_millis(ms)));
        report.statuses.insert(200, report.latency.count());
        report.backends.insert("b1".to_owned(), report.latency.count());
        report
    }

    #[test]
    fn the_summary_has_its_parts() {
        let mut report = report(1..=100);
        let text = Some("closed\x1b[2J".to_owned());
        report.errors.insert(LoadError::Reset, ErrorCount { count: 1, text });
        let text = report.to_text();
        let parts = [
            "  Requests:      100 (1 failed)",
            "  Requests/sec:  100.0",
            "     99% in 99.",
            "  [200] 100 responses",
            "  b1  100 (100.0%)",
            "  [1] reset: closed?[2J",
        ];
        for part in parts {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(Report::default().to_text().contains("0 (0 failed)"));
    }

    #[test]
    fn runs_are_compared() {
        let (before, now) = (report(1..=100), report((1..=100).map(|ms| ms * 2)));
        let table = now.against_baseline(&before.to_json()).expect("a summary");
        assert!(table.contains("+100.0%"), "{table}");
        assert!(now.against_baseline(&serde_json::json!({"rps": 1})).is_err());
        let table = now.overhead_over(&before);
        assert!(
            table.contains("  mean                50.500     101.000      50.500\n"),
            "{table}"
        );
    }
}
