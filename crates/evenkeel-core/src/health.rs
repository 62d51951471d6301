//! The verdict of active checks on one backend, and when the next probe is due.
//!
//! ```text
//!  +---------+  first success   +---------+  unhealthy_threshold failures   +-----------+
//!  | Unknown |----------------->| Healthy |-------------------------------->| Unhealthy |
//!  +---------+                  |         |<--------------------------------|           |
//!       |                       +---------+   healthy_threshold successes   +-----------+
//!       |            unhealthy_threshold failures                                 ^
//!       +-------------------------------------------------------------------------+
//! ```
//!
//! Thresholds are met by results in a row.

mod memory;
mod schedule;

pub use memory::HealthMemory;
pub use schedule::ProbeSchedule;

use crate::plan::{HealthPlan, HttpCheck};
use crate::time::Nanos;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Results that are kept of one backend.
pub const MAX_RESULTS: usize = 10;

/// Share of a delay that chance may take away or add, so that probes of many backends part.
const JITTER: f64 = 0.05;
/// A hurried probe follows after this part of the interval.
const HURRY: u32 = 5;
/// But not sooner than this, unless the interval itself is shorter.
const MIN_HURRIED_DELAY: Duration = Duration::from_millis(50);
/// No two probes of a backend begin within this time, whatever the interval.
const MIN_DELAY: Duration = Duration::from_millis(1);

/// No answer has come yet.
const NO_STATUS: u16 = 0;
const NOT_FOUND: u16 = 404;

/// What active checks say of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// No verdict yet.
    Unknown,
    /// It answers as it should.
    Healthy,
    /// It does not.
    Unhealthy,
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeFault {
    /// No connection; the operating system's words.
    Connect(String),
    /// The answer was not complete in time.
    Timeout,
    /// An answer with a status that a healthy backend does not give.
    Status(u16),
    /// An answer without the text that a healthy backend sends.
    Body,
    /// A gRPC call that ended with this status.
    Call(u8),
    /// A gRPC server that says that it does not serve.
    NotServing,
    /// An answer in HTTP/2, where HTTP/1.1 was spoken.
    Http2,
    /// No HTTP/2, where that was spoken.
    NoHttp2,
    /// An answer that is not a valid HTTP response, or a connection that broke before it ended.
    BadResponse,
}

impl fmt::Display for ProbeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeFault::Connect(reason) => write!(f, "no connection: {reason}"),
            ProbeFault::Timeout => write!(f, "no answer in time"),
            ProbeFault::Status(status) => write!(f, "status {status}"),
            ProbeFault::Body => write!(f, "the body lacks the expected text"),
            ProbeFault::Call(status) => write!(f, "grpc-status {status}"),
            ProbeFault::NotServing => write!(f, "the server says that it does not serve"),
            ProbeFault::Http2 => {
                write!(f, "it answers in HTTP/2: `protocol: h2` in its pool, or `h2c://`")
            }
            ProbeFault::NoHttp2 => {
                write!(f, "no HTTP/2, which `protocol: h2`, `h2c://` and `type: grpc` ask for")
            }
            ProbeFault::BadResponse => write!(f, "no valid HTTP response"),
        }
    }
}

/// One probe that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// When it ended.
    pub at: Nanos,
    /// How long it took, connection included.
    pub took: Duration,
    /// Why it failed; `None` = success.
    pub fault: Option<ProbeFault>,
}

/// A change that a result brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthChange {
    /// From `Unknown` or `Unhealthy`.
    BecameHealthy,
    /// From `Unknown` or `Healthy`.
    BecameUnhealthy,
}

/// Equal results in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streak {
    /// At least 1, or 0 before the first result.
    Successes(u32),
    /// At least 1.
    Failures(u32),
}

impl Streak {
    fn extended(self, succeeded: bool) -> Streak {
        match (self, succeeded) {
            (Streak::Successes(count), true) => Streak::Successes(count.saturating_add(1)),
            (Streak::Failures(count), false) => Streak::Failures(count.saturating_add(1)),
            (Streak::Failures(_), true) => Streak::Successes(1),
            (Streak::Successes(_), false) => Streak::Failures(1),
        }
    }
}

/// The state that a streak leads to, if it is long enough.
fn verdict(state: HealthState, streak: Streak, plan: &HealthPlan) -> HealthState {
    let missing = results_missing(state, streak, plan);
    match (missing, streak) {
        (Some(0), Streak::Successes(_)) => HealthState::Healthy,
        (Some(0), Streak::Failures(_)) => HealthState::Unhealthy,
        (Some(_) | None, Streak::Successes(_) | Streak::Failures(_)) => state,
    }
}

/// How many more results like the last one change the state; `None` if they agree with it.
fn results_missing(state: HealthState, streak: Streak, plan: &HealthPlan) -> Option<u32> {
    let (count, threshold) = match (state, streak) {
        (HealthState::Unknown, Streak::Successes(count)) => (count, 1),
        (HealthState::Unhealthy, Streak::Successes(count)) => (count, plan.healthy_threshold),
        (HealthState::Unknown | HealthState::Healthy, Streak::Failures(count)) => {
            (count, plan.unhealthy_threshold)
        }
        (HealthState::Healthy, Streak::Successes(_))
        | (HealthState::Unhealthy, Streak::Failures(_)) => return None,
    };
    Some(threshold.max(1).saturating_sub(count))
}

/// What is known of a backend's health, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthReport {
    /// The verdict.
    pub state: HealthState,
    /// When it was reached; zero before the first.
    pub since: Nanos,
    /// The last results, as far as they are alike.
    pub streak: Streak,
    /// The last `MAX_RESULTS`, the newest last.
    pub results: Vec<ProbeResult>,
    /// Why the last probe that failed did so, however long ago.
    pub last_fault: Option<ProbeFault>,
}

impl HealthReport {
    /// How many more results like the last one change the state; `None` if they agree with it.
    pub fn results_missing(&self, plan: &HealthPlan) -> Option<u32> {
        results_missing(self.state, self.streak, plan)
    }
}

/// The health of one backend. Reading its state is one atomic load.
#[derive(Debug)]
pub struct Health {
    /// Changes only under the lock.
    state: AtomicU8,
    /// Of the backend's very first HTTP answer; `NO_STATUS` before.
    first_status: AtomicU16,
    history: Mutex<History>,
}

#[derive(Debug)]
struct History {
    since: Nanos,
    streak: Streak,
    results: VecDeque<ProbeResult>,
    last_fault: Option<ProbeFault>,
}

impl Default for Health {
    fn default() -> Health {
        Health {
            state: AtomicU8::new(HealthState::Unknown as u8),
            first_status: AtomicU16::new(NO_STATUS),
            history: Mutex::new(History {
                since: Nanos::default(),
                streak: Streak::Successes(0),
                results: VecDeque::with_capacity(MAX_RESULTS),
                last_fault: None,
            }),
        }
    }
}

impl Health {
    /// What active checks say: one atomic load.
    #[inline]
    pub fn state(&self) -> HealthState {
        const HEALTHY: u8 = HealthState::Healthy as u8;
        const UNHEALTHY: u8 = HealthState::Unhealthy as u8;
        match self.state.load(Ordering::Acquire) {
            HEALTHY => HealthState::Healthy,
            UNHEALTHY => HealthState::Unhealthy,
            _ => HealthState::Unknown,
        }
    }

    /// Takes a result into account. Results of one backend are recorded in the order in which the
    /// probes ended.
    pub fn record(&self, plan: &HealthPlan, result: ProbeResult) -> Option<HealthChange> {
        let mut history = self.history();
        let at = result.at;
        history.streak = history.streak.extended(result.fault.is_none());
        if result.fault.is_some() {
            history.last_fault.clone_from(&result.fault);
        }
        if history.results.len() == MAX_RESULTS {
            history.results.pop_front();
        }
        history.results.push_back(result);

        let before = self.state();
        let after = verdict(before, history.streak, plan);
        if after == before {
            return None;
        }
        history.since = at;
        self.state.store(after as u8, Ordering::Release);
        match after {
            HealthState::Healthy => Some(HealthChange::BecameHealthy),
            HealthState::Unhealthy => Some(HealthChange::BecameUnhealthy),
            HealthState::Unknown => None, // no streak leads there
        }
    }

    /// Back to `Unknown`: nothing is probed any more.
    pub(crate) fn forget(&self) {
        let mut history = self.history();
        history.since = Nanos::default();
        history.streak = Streak::Successes(0);
        history.results.clear();
        history.last_fault = None;
        self.state.store(HealthState::Unknown as u8, Ordering::Release);
    }

    /// All that is known.
    pub fn report(&self) -> HealthReport {
        let history = self.history();
        HealthReport {
            state: self.state(),
            since: history.since,
            streak: history.streak,
            results: history.results.iter().cloned().collect(),
            last_fault: history.last_fault.clone(),
        }
    }

    /// Whether a streak against the state has begun, so that it may be about to change.
    pub fn is_wavering(&self) -> bool {
        let streak = self.history().streak;
        match (self.state(), streak) {
            (HealthState::Unknown | HealthState::Healthy, Streak::Failures(_))
            | (HealthState::Unhealthy, Streak::Successes(_)) => true,
            (HealthState::Unknown | HealthState::Healthy, Streak::Successes(_))
            | (HealthState::Unhealthy, Streak::Failures(_)) => false,
        }
    }

    /// Probes are hurried while it wavers.
    pub fn pace(&self) -> Pace {
        if self.is_wavering() { Pace::Hurried } else { Pace::Steady }
    }

    /// Keeps the status of the backend's very first HTTP answer; later ones change nothing.
    pub fn note_first_status(&self, status: u16) {
        let order = Ordering::Relaxed;
        // Not the first one: nothing to keep.
        let _ = self.first_status.compare_exchange(NO_STATUS, status, order, order);
    }

    /// Whether the very first HTTP answer was 404: there is no such page, so 404 says nothing
    /// against the backend if nobody asked for the check.
    pub fn accepts_missing_page(&self) -> bool {
        self.first_status.load(Ordering::Relaxed) == NOT_FOUND
    }

    /// Whether a healthy backend answers this check with this status. Keeps the first one.
    ///
    /// # Errors
    /// `ProbeFault::Status` if not.
    pub fn judge_status(&self, check: &HttpCheck, status: u16) -> Result<(), ProbeFault> {
        self.note_first_status(status);
        let is_expected = check.expect_status.iter().any(|range| range.contains(&status));
        let is_missing_page =
            check.by_default && status == NOT_FOUND && self.accepts_missing_page();
        if is_expected || is_missing_page { Ok(()) } else { Err(ProbeFault::Status(status)) }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How soon a backend is probed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// After an interval.
    Steady,
    /// After a part of it: the state may be about to change.
    Hurried,
}

/// From the beginning of a probe to that of the next: 5 % more or less than the interval, and a
/// fifth of that when hurried, if that is not too soon. `chance` is drawn from [0, 1).
pub fn next_probe_delay(plan: &HealthPlan, pace: Pace, chance: f64) -> Duration {
    let factor = 1.0 - JITTER + 2.0 * JITTER * chance.clamp(0.0, 1.0);
    let jittered = |delay: Duration| {
        Duration::try_from_secs_f64(delay.as_secs_f64() * factor).unwrap_or(delay)
    };
    let delay = match pace {
        Pace::Steady => jittered(plan.interval),
        Pace::Hurried => jittered(plan.interval / HURRY).max(MIN_HURRIED_DELAY).min(plan.interval),
    };
    delay.max(MIN_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::HealthCheck;

    fn plan() -> HealthPlan {
        HealthPlan {
            check: HealthCheck::Tcp,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy_threshold: 2,
            unhealthy_threshold: 3,
        }
    }

    fn result(at: u64, succeeded: bool) -> ProbeResult {
        let fault = (!succeeded).then_some(ProbeFault::Timeout);
        ProbeResult { at: Nanos(at), took: Duration::from_millis(1), fault }
    }

    /// Plays results (`+` success, `-` failure) and draws what followed each: `H` or `U` for a
    /// change, else `~` while wavering and `.` while not.
    fn play(plan: &HealthPlan, results: &str) -> String {
        let health = Health::default();
        let step = |(at, sign): (usize, char)| {
            let at = u64::try_from(at).expect("short");
            match health.record(plan, result(at, sign == '+')) {
                Some(HealthChange::BecameHealthy) => 'H',
                Some(HealthChange::BecameUnhealthy) => 'U',
                None if health.is_wavering() => '~',
                None => '.',
            }
        };
        results.chars().enumerate().map(step).collect()
    }

    #[test]
    fn results_in_a_row_change_the_state() {
        let cases = [
            ("+", "H"),
            ("--+", "~~H"),
            ("---", "~~U"),
            ("----+-++", "~~U.~.~H"),
            ("++--+---", "H.~~.~~U"),
            ("---++---+++", "~~U~H~~U~H."),
        ];
        for (results, expected) in cases {
            assert_eq!(play(&plan(), results), expected, "{results}");
        }
        let zero = HealthPlan { healthy_threshold: 0, unhealthy_threshold: 0, ..plan() };
        assert_eq!(play(&zero, "+-+--"), "HUHU.", "a threshold of 0 is one of 1");
    }

    #[test]
    fn a_report_tells_what_is_missing() {
        let health = Health::default();
        let fresh = health.report();
        assert_eq!((fresh.state, fresh.since), (HealthState::Unknown, Nanos(0)));
        assert_eq!((fresh.streak, fresh.results_missing(&plan())), (Streak::Successes(0), Some(1)));
        assert!(!health.is_wavering() && fresh.results.is_empty());

        for at in 1..=12 {
            health.record(&plan(), result(at, true));
        }
        assert_eq!(health.report().results_missing(&plan()), None);
        health.record(&plan(), result(13, false));
        let report = health.report();
        assert_eq!((report.state, report.since), (HealthState::Healthy, Nanos(1)));
        assert_eq!(report.streak, Streak::Failures(1));
        assert_eq!(report.results_missing(&plan()), Some(2));
        assert_eq!(report.last_fault, Some(ProbeFault::Timeout));
        let kept: Vec<u64> = report.results.iter().map(|result| result.at.0).collect();
        assert_eq!(kept, (4..=13).collect::<Vec<u64>>());
    }

    #[test]
    fn only_a_missing_page_that_nobody_configured_passes() {
        let check = |by_default| HttpCheck {
            path: "/health".into(),
            method: "GET".into(),
            host: String::new(),
            expect_status: vec![200..=399],
            expect_body: String::new(),
            by_default,
        };
        let cases: [(bool, &[u16], &[bool]); 5] = [
            (true, &[404, 404, 200, 404, 503], &[true, true, true, true, false]),
            (true, &[200, 404], &[true, false]),
            (true, &[503, 404], &[false, false]),
            (false, &[404, 404], &[false, false]),
            (true, &[199, 200, 399, 400], &[false, true, true, false]),
        ];
        for (by_default, statuses, expected) in cases {
            let health = Health::default();
            let judge = |status: &u16| health.judge_status(&check(by_default), *status);
            let passed: Vec<bool> = statuses.iter().map(|status| judge(status).is_ok()).collect();
            assert_eq!(passed, expected, "{by_default} {statuses:?}");
        }
        let fault = Health::default().judge_status(&check(true), 503);
        assert_eq!(fault, Err(ProbeFault::Status(503)));
    }

    #[test]
    fn faults_speak() {
        let cases = [
            (ProbeFault::Connect("Connection refused".into()), "no connection: Connection refused"),
            (ProbeFault::Timeout, "no answer in time"),
            (ProbeFault::Status(503), "status 503"),
            (ProbeFault::Body, "the body lacks the expected text"),
            (ProbeFault::BadResponse, "no valid HTTP response"),
        ];
        for (fault, expected) in cases {
            assert_eq!(fault.to_string(), expected);
        }
    }

    #[test]
    fn delays_are_within_bounds() {
        let cases: [(u64, Pace, f64, u64); 9] = [
            (5000, Pace::Steady, 0.0, 4750),
            (5000, Pace::Steady, 0.5, 5000),
            (5000, Pace::Steady, 1.0, 5250),
            (5000, Pace::Hurried, 0.0, 950),
            (5000, Pace::Hurried, 1.0, 1050),
            (100, Pace::Hurried, 0.5, 50),
            (20, Pace::Hurried, 0.5, 20),
            (0, Pace::Steady, 0.5, 1),
            (0, Pace::Hurried, 0.5, 1),
        ];
        for (interval_ms, pace, chance, expected) in cases {
            let interval = Duration::from_millis(interval_ms);
            let delay = next_probe_delay(&HealthPlan { interval, ..plan() }, pace, chance);
            let error = delay.abs_diff(Duration::from_millis(expected));
            assert!(error < Duration::from_micros(1), "{interval_ms} {pace:?}: {delay:?}");
        }
        let endless = HealthPlan { interval: Duration::MAX, ..plan() };
        assert_eq!(next_probe_delay(&endless, Pace::Steady, 1.0), Duration::MAX);
    }
}
