//! Which behaviour a request target asks for.

use crate::limits::{MAX_ANSWER_BYTES, MAX_DELAY};
use std::time::Duration;

/// What a path asks the test backend to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The configured status, delay and body.
    Plain,
    /// `/echo`: the request as JSON.
    Echo,
    /// `/events`: server-sent events.
    Events,
    /// `/ws`: a WebSocket that sends back what it is sent.
    WebSocket,
    /// `/health`: always well.
    Health,
    /// `/status/NNN`.
    Status(u16),
    /// `/delay/250ms`.
    Delay(Duration),
    /// `/bytes/N`.
    Bytes(u64),
    /// One of the above with an argument that makes no sense; the text says what would.
    Wrong(&'static str),
}

impl Target {
    /// Finds the behaviour of a request target in origin or absolute form; the query is ignored.
    pub(crate) fn find(target: &str) -> Target {
        let path = path_of(target);
        let mut segments = path.splitn(3, '/').skip(1);
        match (segments.next().unwrap_or(""), segments.next()) {
            ("echo", None) => Target::Echo,
            ("events", None) => Target::Events,
            ("ws", None) => Target::WebSocket,
            ("health", None) => Target::Health,
            ("status", Some(text)) => match text.parse() {
                Ok(status) if is_final_status(status) => Target::Status(status),
                Ok(_) | Err(_) => Target::Wrong("/status/N takes 200 to 599\n"),
            },
            ("delay", Some(text)) => match parse_delay(text) {
                Some(delay) => Target::Delay(delay),
                None => Target::Wrong("/delay/D takes 250ms, 1.5s or 1m, up to 60m\n"),
            },
            ("bytes", Some(text)) => match text.parse() {
                Ok(size) if size <= MAX_ANSWER_BYTES => Target::Bytes(size),
                Ok(_) | Err(_) => Target::Wrong("/bytes/N takes 0 to 1073741824\n"),
            },
            _ => Target::Plain,
        }
    }
}

/// True for a status that ends an exchange.
pub(crate) fn is_final_status(status: u16) -> bool {
    (200..=599).contains(&status)
}

fn path_of(target: &str) -> &str {
    let target = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    };
    target.split('?').next().unwrap_or(target)
}

/// A number with its unit, at most `MAX_DELAY`.
fn parse_delay(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    let delay = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()?;
    (delay <= MAX_DELAY).then_some(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_behaviour_of_a_path() {
        let delay = |ms| Target::Delay(Duration::from_millis(ms));
        let cases = [
            ("/", Target::Plain),
            ("*", Target::Plain),
            ("/nothing/here", Target::Plain),
            ("/echo", Target::Echo),
            ("/echo?x=1", Target::Echo),
            ("/echo/deeper", Target::Plain),
            ("http://host:80/echo?x=1", Target::Echo),
            ("http://host", Target::Plain),
            ("/x?u=http://host/echo", Target::Plain),
            ("/events", Target::Events),
            ("/ws", Target::WebSocket),
            ("/health", Target::Health),
            ("/status/503", Target::Status(503)),
            ("/delay/250ms", delay(250)),
            ("/delay/1.5s", delay(1500)),
            ("/delay/1m?x", delay(60_000)),
            ("/bytes/0", Target::Bytes(0)),
            ("/bytes/1073741824", Target::Bytes(1 << 30)),
        ];
        for (target, wanted) in cases {
            assert_eq!(Target::find(target), wanted, "{target}");
        }
    }

    #[test]
    fn refuses_senseless_arguments() {
        let wrong = [
            "/status/101",
            "/status/600",
            "/status/x",
            "/status/",
            "/delay/250",
            "/delay/-1s",
            "/delay/infs",
            "/delay/61m",
            "/delay/1y",
            "/bytes/1073741825",
            "/bytes/-1",
            "/bytes/",
        ];
        for target in wrong {
            assert!(matches!(Target::find(target), Target::Wrong(_)), "{target}");
        }
    }
}
