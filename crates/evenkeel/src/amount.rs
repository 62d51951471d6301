//! Amounts as typed in flags: durations with a unit, shares, bytes of a body.

use std::time::Duration;

/// Units of a duration, longest spelling first among those that share a beginning.
const UNITS: [(&str, f64); 7] = [
    ("ms", 1e-3),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ns", 1e-9),
    ("h", 3600.0),
    ("m", 60.0),
    ("s", 1.0),
];

/// A duration as Go writes it, e.g. `1m30s`, `250ms`, `0.5s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: Option<f64> = rest[..digits].parse().ok();
        rest = &rest[digits..];
        let unit = UNITS.iter().find(|(unit, _)| rest.starts_with(unit));
        let (Some(number), Some((unit, factor))) = (number, unit) else {
            return Err("expected a number with a unit, e.g. 250ms or 1.5s".to_owned());
        };
        seconds += number * factor;
        rest = &rest[unit.len()..];
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| "the duration is too long".to_owned())
}

/// A share from 0 to 1, as `0.2` or `20%`.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.parse().map(|number: f64| number / 100.0),
        None => text.parse(),
    };
    let inside = number.ok().filter(|share| (0.0..=1.0).contains(share));
    inside.ok_or_else(|| "expected a share, e.g. 0.2 or 20%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ok = [
            ("0s", 0),
            ("250ms", 250_000),
            ("1m30s", 90_000_000),
            ("1h2m3.5s", 3_723_500_000),
            ("20us", 20),
            ("0.5s", 500_000),
        ];
        for (text, micros) in ok {
            assert_eq!(duration(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        for text in ["", "3", "ms", "3 parsecs", "-1s", "1.2.3s", "1s2", "99999999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares() {
        for (text, wanted) in [("0", 0.0), ("0.5", 0.5), ("50%", 0.5), ("100%", 1.0), ("1", 1.0)] {
            assert_eq!(share(text), Ok(wanted), "{text}");
        }
        for text in ["", "%", "2", "101%", "-0.1", "NaN", "half"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
