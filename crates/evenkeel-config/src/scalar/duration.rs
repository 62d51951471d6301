//! Durations in the syntax of Go's `time.ParseDuration` (<https://pkg.go.dev/time#ParseDuration>).

use crate::diagnostic::Fault;
use crate::key::{Atom, Scalar};
use serde_json::{Value as Json, json};
use std::time::Duration;

/// `1h2m3.5s`, `250ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

/// Nanoseconds of each unit, longest first; `us` has three spellings.
const UNITS: &[(&str, u64)] = &[
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ns", 1),
];

/// The longest duration Go has: 2^63 - 1 nanoseconds, about 292 years.
const MAX_NANOS: u64 = i64::MAX as u64;

impl Time {
    pub(crate) const fn secs(seconds: u64) -> Time {
        Time(Duration::from_secs(seconds))
    }

    pub(crate) const fn millis(milliseconds: u64) -> Time {
        Time(Duration::from_millis(milliseconds))
    }
}

impl Scalar for Time {
    const WORD: &'static str = "a duration";

    fn parse(atom: Atom<'_>) -> Result<Time, Fault> {
        let text = atom.text().trim();
        if text.starts_with('-') {
            return Err(Fault::new(format!("{text} is negative")).hint("a duration such as 3s"));
        }
        let text = text.strip_prefix('+').unwrap_or(text);
        let numeric = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if numeric && text.bytes().any(|b| b.is_ascii_digit()) {
            let hint = format!("write {text}s for seconds, or {text}ms");
            return Err(Fault::new(format!("unit missing in the duration {text}")).hint(hint));
        }
        let wrong = || {
            Fault::new(format!("{text:?} is not a duration"))
                .hint("units are h, m, s, ms, us and ns, such as 1m30s or 250ms")
        };
        let mut rest = text;
        let mut total = 0_u64;
        while !rest.is_empty() {
            let (nanos, after) = one_term(rest).ok_or_else(wrong)?;
            let sum = nanos.and_then(|nanos| total.checked_add(nanos));
            total = sum.filter(|sum| *sum <= MAX_NANOS).ok_or_else(|| {
                Fault::new(format!("{text} is too long")).hint("at most about 292 years")
            })?;
            rest = after;
        }
        if text.is_empty() { Err(wrong()) } else { Ok(Time(Duration::from_nanos(total))) }
    }

    fn json(&self) -> Json {
        Json::String(shown(self.0))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^\\+?([0-9]*\\.?[0-9]*(h|m|s|ms|us|µs|μs|ns))+$" })
    }
}

/// One number with its unit and what follows; the nanoseconds are `None` if they overflow.
fn one_term(text: &str) -> Option<(Option<u64>, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(end);
    let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, after) = rest.split_at(unit_end);
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: Option<u64> = if whole.is_empty() { Some(0) } else { whole.parse().ok() };
    let mut nanos = whole.and_then(|whole| whole.checked_mul(*scale));
    let mut part = *scale;
    for digit in fraction.bytes() {
        // 10^-n of an hour is below a nanosecond after 13 digits: the rest adds nothing.
        let tenth = part / 10;
        nanos = nanos.and_then(|sum| sum.checked_add(u64::from(digit - b'0') * part / 10));
        part = tenth;
    }
    Some((nanos, after))
}

/// Canonical form: no zero parts, `75s` as `1m15s`, below a second in one unit.
fn shown(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if let Some((unit, scale)) = sub_second_unit(nanos) {
        return decimal(nanos, scale) + unit;
    }
    let (hours, minutes) = (duration.as_secs() / 3600, duration.as_secs() / 60 % 60);
    let below_minute = nanos % 60_000_000_000;
    let mut text = String::new();
    for (amount, unit) in [(hours, "h"), (minutes, "m")] {
        if amount > 0 {
            text += &format!("{amount}{unit}");
        }
    }
    if below_minute > 0 {
        text += &(decimal(below_minute, 1_000_000_000) + "s");
    }
    text
}

fn sub_second_unit(nanos: u128) -> Option<(&'static str, u128)> {
    match nanos {
        1_000_000_000.. => None,
        1_000_000.. => Some(("ms", 1_000_000)),
        1_000.. => Some(("us", 1_000)),
        _ => Some(("ns", 1)),
    }
}

fn decimal(nanos: u128, scale: u128) -> String {
    let (whole, rest) = (nanos / scale, nanos % scale);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = scale.ilog10() as usize;
    let fraction = format!("{rest:0digits$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::testing::{refused, shown};

    #[test]
    fn durations() {
        shown::<Time>(&[
            ("1h2m3.5s", "1h2m3.5s"),
            ("250ms", "250ms"),
            ("75s", "1m15s"),
            ("5m", "5m"),
            ("+5s", "5s"),
            ("0s", "0s"),
            ("1.5ms", "1.5ms"),
            (".5s", "500ms"),
            ("1500us", "1.5ms"),
            ("90m", "1h30m"),
            ("0.000000001s", "1ns"),
            ("2us", "2us"),
            ("1h0.5ms", "1h0.0005s"),
        ]);
        refused::<Time>(&[
            ("3", "unit missing"),
            ("3", "3s"),
            ("3 parsecs", "units are"),
            ("-3s", "negative"),
            ("+-3s", "not a duration"),
            ("+", "not a duration"),
            ("", "not a duration"),
            (".", "not a duration"),
            (".s", "not a duration"),
            ("1.2.3s", "not a duration"),
            ("s", "not a duration"),
            ("9999999h", "too long"),
            ("99999999999999999999s", "too long"),
        ]);
    }
}
