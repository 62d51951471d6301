//! Writes the two text formats: Prometheus text 0.0.4 (prometheus.io/docs/instrumenting/
//! exposition_formats) and OpenMetrics 1.0 (prometheus.io/docs/specs/om/open_metrics_spec).
//!
//! They differ in the names of counters and constants in `HELP` and `TYPE`, in the type
//! `info`, in bounds (`le="1"` and `le="1.0"`) and in the closing `# EOF`.

use evenkeel_core::stats::{BOUNDS, HistogramSnapshot};
use std::fmt::{Display, Write};

/// Room for the text of a small configuration.
const FIRST_CAPACITY: usize = 64 * 1024;

/// Which of the formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Classic,
    OpenMetrics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its name ends in `_total`.
    Counter,
    Gauge,
    /// Always 1, there to carry labels; its name ends in `_info`.
    Constant,
    Histogram(Unit),
}

/// What a histogram's bounds and sum are shown in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
}

impl Unit {
    fn of_nanos(self, nanos: u64) -> f64 {
        match self {
            Unit::Seconds => nanos as f64 / 1e9,
            Unit::Milliseconds => nanos as f64 / 1e6,
        }
    }

    /// A bound is a whole number of microseconds, and shown as such: 50, not 50.00000000000001.
    fn of_bound(self, seconds: f64) -> f64 {
        match self {
            Unit::Seconds => seconds,
            Unit::Milliseconds => (seconds * 1e6).round() / 1e3,
        }
    }
}

/// A metric family: its name as samples have it, and what stands above them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Without line breaks, quotes and backslashes.
    pub(super) help: &'static str,
}

/// A family with the names of its labels, in their order; those of a histogram without `le`.
pub(super) type Described = (&'static Metric, &'static [&'static str]);

/// The number of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Count(u64),
    Real(f64),
}

impl From<bool> for Value {
    fn from(holds: bool) -> Value {
        Value::Count(holds.into())
    }
}

/// Labels as text, without braces: written once, used for many samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(String);

impl Labels {
    /// Of names, which are identifiers, and values, which may be any text.
    pub(super) fn of<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
        let mut labels = Labels::default();
        for (name, value) in pairs {
            push_label(&mut labels.0, name, value);
        }
        labels
    }
}

fn push_label(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() && !text.ends_with('{') {
        text.push(',');
    }
    text.push_str(name);
    text.push_str("=\"");
    push_escaped(text, value);
    text.push('"');
}

/// Backslash, quote and line feed are the three that must be escaped; all else stands for itself.
fn push_escaped(text: &mut String, value: &str) {
    let mut rest = value;
    while let Some(at) = rest.find(['\\', '"', '\n']) {
        text.push_str(&rest[..at]);
        text.push_str(match rest.as_bytes()[at] {
            b'\n' => "\\n",
            b'"' => "\\\"",
            _ => "\\\\",
        });
        rest = &rest[at + 1..];
    }
    text.push_str(rest);
}

/// The text in the making.
#[derive(Debug)]
pub(super) struct Exposition {
    syntax: Syntax,
    text: String,
}

impl Exposition {
    pub(super) fn new(syntax: Syntax) -> Exposition {
        Exposition { syntax, text: String::with_capacity(FIRST_CAPACITY) }
    }

    /// Begins a family; its samples follow.
    pub(super) fn family(&mut self, metric: &Metric) -> Samples<'_> {
        let (name, kind) = match (self.syntax, metric.kind) {
            (_, Kind::Gauge) => (metric.name, "gauge"),
            (_, Kind::Histogram(_)) => (metric.name, "histogram"),
            (Syntax::Classic, Kind::Counter) => (metric.name, "counter"),
            (Syntax::Classic, Kind::Constant) => (metric.name, "gauge"),
            (Syntax::OpenMetrics, Kind::Counter) => (before(metric.name, "_total"), "counter"),
            (Syntax::OpenMetrics, Kind::Constant) => (before(metric.name, "_info"), "info"),
        };
        for line in ["# HELP ", name, " ", metric.help, "\n# TYPE ", name, " ", kind, "\n"] {
            self.text.push_str(line);
        }
        let bounds = match metric.kind {
            Kind::Histogram(unit) => self.bounds(unit),
            Kind::Counter | Kind::Gauge | Kind::Constant => Vec::new(),
        };
        Samples { metric: *metric, bounds, out: self }
    }

    /// The bounds of histograms as they are shown.
    fn bounds(&self, unit: Unit) -> Vec<String> {
        let shown = BOUNDS.into_iter().map(|bound| unit.of_bound(bound));
        match self.syntax {
            Syntax::Classic => shown.map(|bound| bound.to_string()).collect(),
            Syntax::OpenMetrics => shown.map(|bound| format!("{bound:?}")).collect(),
        }
    }

    /// A family with one sample that needs no labels.
    pub(super) fn single(&mut self, metric: &Metric, value: Value) {
        self.family(metric).sample(&Labels::default(), value);
    }

    pub(super) fn finish(mut self) -> String {
        if self.syntax == Syntax::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn push(&mut self, shown: impl Display) {
        // Writing to a string does not fail.
        let _ = write!(self.text, "{shown}");
    }

    fn push_count(&mut self, count: u64) {
        self.text.push_str(itoa::Buffer::new().format(count));
    }

    /// A bucket of the histogram with this name, up to this bound.
    fn bucket(&mut self, (name, bound): (&str, &str), labels: &Labels, count: u64) {
        let comma = if labels.0.is_empty() { "" } else { "," };
        for part in [name, "_bucket{", &labels.0, comma, "le=\"", bound, "\"} "] {
            self.text.push_str(part);
        }
        self.push_count(count);
        self.text.push('\n');
    }
}

fn before(name: &'static str, suffix: &str) -> &'static str {
    name.strip_suffix(suffix).unwrap_or(name)
}

/// The samples of one family.
pub(super) struct Samples<'a> {
    metric: Metric,
    /// Of its histograms, written once for all of them.
    bounds: Vec<String>,
    out: &'a mut Exposition,
}

impl Samples<'_> {
    pub(super) fn sample(&mut self, labels: &Labels, value: Value) {
        self.sample_with(labels, &[], value);
    }

    /// With labels of its own after those that it shares with others.
    pub(super) fn sample_with(
        &mut self,
        shared: &Labels,
        own: &[(&'static str, &str)],
        value: Value,
    ) {
        self.line("", shared, own);
        match value {
            Value::Count(count) => self.out.push_count(count),
            Value::Real(number) => self.out.push(number),
        }
        self.out.text.push('\n');
    }

    /// All samples of one histogram; the family must be one.
    pub(super) fn histogram(&mut self, labels: &Labels, durations: &HistogramSnapshot) {
        let unit = match self.metric.kind {
            Kind::Histogram(unit) => unit,
            Kind::Counter | Kind::Gauge | Kind::Constant => return,
        };
        let total = durations.count();
        for (bound, (_, count)) in self.bounds.iter().zip(durations.cumulative()) {
            self.out.bucket((self.metric.name, bound), labels, count);
        }
        self.out.bucket((self.metric.name, "+Inf"), labels, total);
        self.line("_sum", labels, &[]);
        self.out.push(unit.of_nanos(durations.sum_nanos()));
        self.out.text.push('\n');
        self.line("_count", labels, &[]);
        self.out.push_count(total);
        self.out.text.push('\n');
    }

    /// Everything up to the value.
    fn line(&mut self, suffix: &'static str, shared: &Labels, own: &[(&'static str, &str)]) {
        let text = &mut self.out.text;
        text.push_str(self.metric.name);
        text.push_str(suffix);
        if !shared.0.is_empty() || !own.is_empty() {
            text.push('{');
            text.push_str(&shared.0);
            for (name, value) in own {
                push_label(text, name, value);
            }
            text.push('}');
        }
        text.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_core::stats::Histogram;

    #[test]
    fn values_of_labels_are_escaped() {
        let cases = [
            ("", ""),
            ("plain ü \u{1b} {},=", "plain ü \u{1b} {},="),
            ("\"", "\\\""),
            ("a\\nb", "a\\\\nb"),
            ("\n\"\\", "\\n\\\"\\\\"),
            ("x\"} 1\nfake 2", "x\\\"} 1\\nfake 2"),
        ];
        for (value, expected) in cases {
            assert_eq!(Labels::of([("l", value)]).0, format!("l=\"{expected}\""));
        }
        assert_eq!(Labels::of([("a", "{"), ("b", "2")]).0, "a=\"{\",b=\"2\"");
    }

    fn render(syntax: Syntax, kind: Kind, name: &'static str) -> String {
        let mut out = Exposition::new(syntax);
        out.family(&Metric { name, kind, help: "Text." }).sample_with(
            &Labels::default(),
            &[("a", "x"), ("b", "y")],
            Value::Count(7),
        );
        out.finish()
    }

    #[test]
    fn heads_differ_by_format() {
        let cases = [
            (Syntax::Classic, Kind::Counter, "n_total", "n_total", "counter"),
            (Syntax::Classic, Kind::Constant, "n_info", "n_info", "gauge"),
            (Syntax::Classic, Kind::Gauge, "n", "n", "gauge"),
            (Syntax::OpenMetrics, Kind::Counter, "n_total", "n", "counter"),
            (Syntax::OpenMetrics, Kind::Constant, "n_info", "n", "info"),
            (Syntax::OpenMetrics, Kind::Gauge, "n", "n", "gauge"),
        ];
        for (syntax, kind, name, head, word) in cases {
            let end = if syntax == Syntax::OpenMetrics { "# EOF\n" } else { "" };
            let expected = format!(
                "# HELP {head} Text.\n# TYPE {head} {word}\n{name}{{a=\"x\",b=\"y\"}} 7\n{end}"
            );
            assert_eq!(render(syntax, kind, name), expected);
        }
    }

    #[test]
    fn a_histogram_in_both_formats_and_units() {
        let histogram = Histogram::default();
        let durations = [40_000_000, 120_000_000, 90_000_000_000];
        durations.into_iter().for_each(|nanos| histogram.record(nanos));
        let cases = [
            (Syntax::Classic, Unit::Seconds, ["0.05", "1", "60"], "90.16"),
            (Syntax::OpenMetrics, Unit::Seconds, ["0.05", "1.0", "60.0"], "90.16"),
            (Syntax::Classic, Unit::Milliseconds, ["50", "1000", "60000"], "90160"),
            (Syntax::OpenMetrics, Unit::Milliseconds, ["50.0", "1000.0", "60000.0"], "90160"),
        ];
        for (syntax, unit, bounds, sum) in cases {
            let mut out = Exposition::new(syntax);
            let metric = Metric { name: "d", kind: Kind::Histogram(unit), help: "Text." };
            out.family(&metric).histogram(&Labels::of([("b", "x")]), &histogram.snapshot());
            let text = out.finish();
            for (bound, count) in bounds.into_iter().zip([1, 2, 2]).chain([("+Inf", 3)]) {
                let line = format!("d_bucket{{b=\"x\",le=\"{bound}\"}} {count}\n");
                assert!(text.contains(&line), "{line} is not in\n{text}");
            }
            assert!(text.contains(&format!("d_sum{{b=\"x\"}} {sum}\nd_count{{b=\"x\"}} 3\n")));
        }
    }

    #[test]
    fn every_bound_in_milliseconds_is_a_short_number() {
        for bound in BOUNDS {
            let shown = Unit::Milliseconds.of_bound(bound).to_string();
            assert!(shown.len() <= 5, "{bound} is shown as {shown}");
        }
    }
}
