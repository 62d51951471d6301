//! How far a run is, on a terminal.

use evenkeel_load::bench::LiveBench;
use std::io::{self, Write};
use std::time::Instant;

/// Characters of the bar.
const WIDTH: usize = 30;
/// Goes to the start of the line and clears it (ECMA-48).
const CLEAR: &str = "\r\x1b[K";

/// A line that is drawn over and over.
pub(crate) struct Progress {
    what: &'static str,
    last: Option<(Instant, u64)>,
    drawn: bool,
}

impl Progress {
    /// `what` is put before the bar.
    pub(crate) fn new(what: &'static str) -> Progress {
        Progress { what, last: None, drawn: false }
    }

    /// Draws the line anew.
    pub(crate) fn draw(&mut self, live: &LiveBench) {
        let (now, ended) = (Instant::now(), live.ended());
        let rate = self.last.map_or(0.0, |(then, before)| rate(ended - before, now - then));
        self.last = Some((now, ended));
        let line = line(live.share_done(), ended, (live.failed(), rate));
        let mut stderr = io::stderr().lock();
        // A terminal that has gone needs no progress.
        let _ = write!(stderr, "{CLEAR}{} {line}", self.what);
        let _ = stderr.flush();
        self.drawn = true;
    }

    /// Leaves the terminal as it was.
    pub(crate) fn erase(&self) {
        if self.drawn {
            let _ = io::stderr().lock().write_all(CLEAR.as_bytes());
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(requests: u64, time: std::time::Duration) -> f64 {
    requests as f64 / time.as_secs_f64().max(1e-3)
}

/// The bar, then the numbers: of those that ended, how many failed, and how many a second.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of 30 characters"
)]
fn line(share: f64, ended: u64, (failed, rate): (u64, f64)) -> String {
    let share = share.clamp(0.0, 1.0);
    let full = (share * WIDTH as f64) as usize;
    let bar = format!("{:<WIDTH$}", "=".repeat(full));
    format!("[{bar}] {:3.0}%  {ended} requests, {failed} failed, {rate:.0}/s", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows() {
        let empty = line(0.0, 0, (0, 0.0));
        assert!(empty.starts_with(&format!("[{}]   0%", " ".repeat(WIDTH))), "{empty}");
        let full = line(1.0, 5, (1, 2.0));
        let bar = "=".repeat(WIDTH);
        assert_eq!(full, format!("[{bar}] 100%  5 requests, 1 failed, 2/s"));
    }
}
