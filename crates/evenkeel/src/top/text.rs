//! Numbers and states as people read them. Every state has a sign besides its colour.

use evenkeel_api::{AdminState, Backend, BreakerState, HealthState, Level, PoolMode};

/// How a thing is: chooses sign and colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    Odd,
    Bad,
    Off,
}

impl Mood {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Mood::Good => "✔",
            Mood::Odd => "▲",
            Mood::Bad => "✖",
            Mood::Off => "■",
        }
    }
}

/// About three digits: `950`, `12.3k`, `4.56M`.
pub(super) fn short(number: f64) -> String {
    match number {
        _ if number >= 1e9 => format!("{:.2}G", number / 1e9),
        _ if number >= 1e6 => format!("{:.2}M", number / 1e6),
        _ if number >= 1e4 => format!("{:.1}k", number / 1e3),
        _ if number >= 10.0 || number.fract() == 0.0 => format!("{number:.0}"),
        _ => format!("{number:.1}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn count(number: u64) -> String {
    short(number as f64)
}

pub(super) fn rate(per_second: Option<f64>) -> String {
    per_second.map_or_else(|| "-".to_owned(), |rate| format!("{}/s", short(rate)))
}

pub(super) fn millis(ms: Option<f64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms >= 60_000.0 => format!("{:.1}min", ms / 60_000.0),
        Some(ms) if ms >= 1_000.0 => format!("{:.2}s", ms / 1_000.0),
        Some(ms) if ms >= 100.0 => format!("{ms:.0}ms"),
        Some(ms) if ms >= 1.0 => format!("{ms:.1}ms"),
        Some(ms) => format!("{:.0}us", ms * 1_000.0),
    }
}

pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        _ if percent == 0.0 => "0%".to_owned(),
        _ if percent < 1.0 => format!("{percent:.2}%"),
        _ => format!("{percent:.1}%"),
    }
}

/// The share of recent requests that failed; `None` if it gets none, so that none can fail.
pub(super) fn errors(backend: &Backend) -> Option<String> {
    let is_idle = backend.breaker != BreakerState::Closed && backend.error_rate == 0.0;
    (!is_idle).then(|| percent(backend.error_rate))
}

/// Its two largest units.
pub(crate) fn span(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let mut rest = seconds;
    let mut words = Vec::new();
    for (unit, size) in units {
        if rest >= size && words.len() < 2 {
            words.push(format!("{} {unit}", rest / size));
        }
        rest %= size;
    }
    if words.is_empty() { "0 s".to_owned() } else { words.join(" ") }
}

/// The time of day in an RFC 3339 text.
pub(super) fn clock(time: &str) -> &str {
    time.get(11..19).unwrap_or(time)
}

pub(super) fn admin(state: AdminState) -> &'static str {
    match state {
        AdminState::Enabled => "enabled",
        AdminState::Draining => "draining",
        AdminState::Disabled => "disabled",
    }
}

pub(super) fn health(state: HealthState) -> &'static str {
    match state {
        HealthState::Unknown => "unknown",
        HealthState::Healthy => "healthy",
        HealthState::Unhealthy => "unhealthy",
        HealthState::Unchecked => "not checked",
    }
}

pub(super) fn breaker(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
        BreakerState::HalfOpen => "half open",
    }
}

pub(super) fn mode(mode: PoolMode) -> (Mood, &'static str) {
    match mode {
        PoolMode::Normal => (Mood::Good, "normal"),
        PoolMode::Doubtful => (Mood::Odd, "in doubt"),
        PoolMode::FailingOpen => (Mood::Bad, "failing open"),
        PoolMode::Down => (Mood::Bad, "down"),
    }
}

pub(super) fn level(level: Level) -> Mood {
    match level {
        Level::Debug => Mood::Off,
        Level::Info => Mood::Good,
        Level::Warn => Mood::Odd,
        Level::Error => Mood::Bad,
    }
}

/// Whether it takes traffic, in a word: bad only if nobody wanted it so.
pub(super) fn traffic(backend: &Backend) -> (Mood, String) {
    if backend.eligible {
        return (Mood::Good, "serving".to_owned());
    }
    let wanted = backend.admin != AdminState::Enabled || backend.weight == 0;
    let reason = backend.reason.as_deref().unwrap_or("not eligible").replace('_', " ");
    (if wanted { Mood::Off } else { Mood::Bad }, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [(0.0, "0"), (0.25, "0.2"), (9.0, "9"), (950.4, "950"), (12_340.0, "12.3k")];
        for (number, expected) in cases.into_iter().chain([(4.56e6, "4.56M"), (2e9, "2.00G")]) {
            assert_eq!(short(number), expected);
        }
        let cases = [(0.25, "250us"), (1.5, "1.5ms"), (250.0, "250ms"), (1_500.0, "1.50s")];
        for (ms, expected) in cases.into_iter().chain([(90_000.0, "1.5min")]) {
            assert_eq!(millis(Some(ms)), expected);
        }
        for (share, expected) in [(0.0, "0%"), (0.001, "0.10%"), (0.5, "50.0%"), (1.0, "100.0%")] {
            assert_eq!(percent(share), expected);
        }
        for (seconds, expected) in [(0, "0 s"), (61, "1 min 1 s"), (93_784, "1 d 2 h")] {
            assert_eq!(span(seconds), expected);
        }
        assert_eq!(clock("2030-01-01T12:34:56.789Z"), "12:34:56");
        assert_eq!(clock(""), "");
    }
}
