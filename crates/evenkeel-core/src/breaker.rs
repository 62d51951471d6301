//! The circuit breaker of one backend: after enough failures it is left alone for a while, then one
//! trial decides. Michael Nygard, "Release It!", 2nd edition, chapter 5; the rules of opening are
//! those of Envoy's outlier detection (failures in a row, failure share, success rate outliers).
//!
//! ```text
//!             failures in a row, failure share, outlier
//!         +-----------------------------------------------+
//!         |                                               v
//!     +--------+   success of a request sent anyway   +------+
//!     | Closed |<-------------------------------------| Open |<--+
//!     +--------+                                      +------+   | trial failed: wait doubled
//!         ^                       the wait is over:      |       | trial cancelled: wait over
//!         |                       one trial begins       v       |
//!         |          trial succeeded              +----------+   |
//!         +---------------------------------------| HalfOpen |---+
//!                                                 +----------+
//! ```

mod memory;
mod outlier;
mod window;
mod word;

pub use memory::BreakerMemory;
pub use outlier::{HostWindow, MIN_HOSTS, MIN_REQUESTS, Outlier, ejectable, outliers};
pub use window::WindowPart;

use crate::plan::BreakerPlan;
use crate::time::Nanos;
use crossbeam_utils::CachePadded;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use window::RollingWindow;
use word::{failures_of, pack, state_of};

/// Share of the wait that chance may add, so that breakers that opened together part.
const MAX_JITTER: f64 = 0.1;
/// Shortest time after which a trial without a verdict is given up.
const MIN_TRIAL_LIFE: Duration = Duration::from_secs(1);
/// Doublings after which every wait has reached its longest or cannot grow.
const MAX_DOUBLINGS: u32 = 31;

/// Whether traffic flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It flows.
    Closed,
    /// The backend is left alone.
    Open,
    /// One trial is on its way.
    HalfOpen,
}

/// How a request ended, as far as the backend is to be blamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not the backend's failure.
    Success,
    /// The backend's failure.
    Failure,
}

/// Why a breaker opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trip {
    /// So many failures in a row.
    Consecutive(u32),
    /// The failures' share of the requests in the window.
    Rate {
        /// Failed requests.
        failures: u32,
        /// All requests.
        requests: u32,
    },
    /// Worse than the rest of the pool.
    Outlier {
        /// The backend's share of successes, 0 to 1.
        success_rate: f64,
        /// The pool's mean of it.
        mean: f64,
    },
    /// The trial of a backend that was out already failed.
    TrialFailed,
}

impl fmt::Display for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trip::Consecutive(1) => write!(f, "1 failure"),
            Trip::Consecutive(failures) => write!(f, "{failures} failures in a row"),
            Trip::Rate { failures, requests } => {
                write!(f, "{failures} of {requests} requests failed")
            }
            Trip::Outlier { success_rate, mean } => {
                let (rate, mean) = (100.0 * success_rate, 100.0 * mean);
                write!(f, "{rate:.1}% succeeded, {mean:.1}% in its pool")
            }
            Trip::TrialFailed => write!(f, "the trial failed"),
        }
    }
}

/// A change that a call brought about. The caller that gets it is the only one that does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Transition {
    /// Traffic stops.
    Opened {
        /// Why.
        trip: Trip,
        /// When a trial may begin.
        until: Nanos,
    },
    /// Traffic flows again.
    Closed,
}

/// The right to try a backend whose breaker is open. Give it back with `Breaker::end_trial`; one
/// that is lost expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Trial {
    serial: u64,
}

/// The circuit breaker of one backend. While it is closed, a success costs one load and one atomic
/// addition, and a second one if a failure came before; only transitions take the lock.
#[derive(Debug)]
pub struct Breaker {
    /// State and failures in a row, see `pack`. The state changes only under the lock.
    word: AtomicU64,
    /// `Nanos`; changes only under the lock.
    trial_at: AtomicU64,
    /// `Nanos` of the last opening; changes only under the lock.
    opened_at: AtomicU64,
    /// `Nanos` of the last change of the state, 0 before the first; changes only under the lock.
    changed_at: AtomicU64,
    window: CachePadded<RollingWindow>,
    course: Mutex<Course>,
}

/// What transitions depend on.
#[derive(Debug)]
struct Course {
    until: Nanos,
    /// The last wait, chance included.
    wait: Duration,
    closed_at: Nanos,
    trips_in_a_row: u32,
    trips: u32,
    last_trip: Option<Trip>,
    last_serial: u64,
    live: Option<Trial>,
    /// The last one that did not come back in time.
    expired: Option<Trial>,
    /// That it opened again because of that, until somebody asks.
    untold: Option<Transition>,
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker::new()
    }
}

impl Breaker {
    /// Closed, nothing counted.
    pub fn new() -> Breaker {
        Breaker {
            word: AtomicU64::new(pack(BreakerState::Closed, 0)),
            trial_at: AtomicU64::new(Nanos::NEVER.0),
            opened_at: AtomicU64::new(0),
            changed_at: AtomicU64::new(0),
            window: CachePadded::new(RollingWindow::new()),
            course: Mutex::new(Course {
                until: Nanos::default(),
                wait: Duration::ZERO,
                closed_at: Nanos::default(),
                trips_in_a_row: 0,
                trips: 0,
                last_trip: None,
                last_serial: 0,
                live: None,
                expired: None,
                untold: None,
            }),
        }
    }

    /// Whether traffic flows: one atomic load.
    #[inline]
    pub fn state(&self) -> BreakerState {
        state_of(self.word.load(Ordering::Acquire))
    }

    /// Counts the end of a request that was not a trial. Closed: a failure may open it, by failures
    /// in a row or by their share of the window. Otherwise a success closes it, for the backend
    /// answers, and a failure changes nothing; so a request that was sent before it opened must not
    /// be recorded then, see `predates_opening`. `chance` is drawn from [0, 1).
    pub fn record(
        &self,
        plan: &BreakerPlan,
        now: Nanos,
        verdict: Verdict,
        chance: f64,
    ) -> Option<Transition> {
        let word = self.word.load(Ordering::Acquire);
        match (state_of(word), verdict) {
            (BreakerState::Closed, Verdict::Success) => {
                self.window.record(plan.window, now, verdict);
                if failures_of(word) != 0 {
                    self.set_failures(|_| 0);
                }
                None
            }
            (BreakerState::Closed, Verdict::Failure) => {
                self.window.record(plan.window, now, verdict);
                self.set_failures(|failures| failures.saturating_add(1));
                self.due(plan, now)?;
                // Judged again under the lock: another thread may have been faster.
                self.open(plan, now, || self.due(plan, now), chance)
            }
            (BreakerState::Open | BreakerState::HalfOpen, Verdict::Success) => {
                self.close(&mut self.course(), now)
            }
            (BreakerState::Open | BreakerState::HalfOpen, Verdict::Failure) => None,
        }
    }

    /// Whether a request sent at this time was sent before it last opened: its end says nothing
    /// about the backend now.
    #[inline]
    pub fn predates_opening(&self, sent: Nanos) -> bool {
        sent.0 < self.opened_at.load(Ordering::Relaxed)
    }

    /// When a trial may begin: `NEVER` while closed, and while a trial runs, when that expires.
    #[inline]
    pub fn trial_at(&self) -> Nanos {
        Nanos(self.trial_at.load(Ordering::Acquire))
    }

    /// Claims the one trial if the wait is over. However many threads ask, one gets it, and no
    /// other until it ends. One that expires has failed. `chance` is drawn from [0, 1).
    pub fn try_trial(&self, plan: &BreakerPlan, now: Nanos, chance: f64) -> Option<Trial> {
        if now < self.trial_at() {
            return None;
        }
        let mut course = self.course();
        if self.state() == BreakerState::Closed || now < self.trial_at() {
            return None;
        }
        if let Some(lost) = course.live.take() {
            // The last one never came back: that is an answer too, and the wait grows.
            let opened = self.expire(&mut course, (plan, lost), now, chance);
            course.untold = Some(opened);
            return None;
        }
        course.last_serial += 1;
        let trial = Trial { serial: course.last_serial };
        course.live = Some(trial);
        let expires = now.after(plan.reset_timeout.max(MIN_TRIAL_LIFE));
        self.show(BreakerState::HalfOpen, expires, now);
        Some(trial)
    }

    /// That a trial did not come back in time, told once: to be asked now and then.
    pub fn overdue(&self, plan: &BreakerPlan, now: Nanos, chance: f64) -> Option<Transition> {
        if self.state() == BreakerState::Closed {
            return None;
        }
        let mut course = self.course();
        if let Some(lost) = course.live.filter(|_| now >= self.trial_at()) {
            course.untold = None;
            return Some(self.expire(&mut course, (plan, lost), now, chance));
        }
        course.untold.take()
    }

    fn expire(
        &self,
        course: &mut Course,
        (plan, lost): (&BreakerPlan, Trial),
        now: Nanos,
        chance: f64,
    ) -> Transition {
        course.live = None;
        course.expired = Some(lost);
        let opened = course.trip(plan, now, Trip::TrialFailed, chance);
        self.show_open(course, now);
        opened
    }

    /// Ends a trial. `None`: cancelled (nothing was sent, or the client left), and another may
    /// begin at once. Of one that had expired, a success still closes; anything else is ignored.
    // tidy: allow(parameters) because a verdict on a trial may open a breaker like any other
    pub fn end_trial(
        &self,
        plan: &BreakerPlan,
        now: Nanos,
        trial: Trial,
        verdict: Option<Verdict>,
        chance: f64,
    ) -> Option<Transition> {
        let mut course = self.course();
        if course.live != Some(trial) {
            // Late, but an answer: the backend works.
            let late = verdict == Some(Verdict::Success)
                && course.expired == Some(trial)
                && self.state() == BreakerState::Open;
            return if late { self.close(&mut course, now) } else { None };
        }
        match verdict {
            Some(Verdict::Success) => self.close(&mut course, now),
            Some(Verdict::Failure) => {
                let opened = course.trip(plan, now, Trip::TrialFailed, chance);
                self.show_open(&course, now);
                Some(opened)
            }
            None => {
                course.live = None;
                self.show(BreakerState::Open, course.until, now);
                None
            }
        }
    }

    /// Closes it whatever was found: nothing acts on it any more.
    pub(crate) fn restore(&self, now: Nanos) {
        // Whoever turned it off knows; there is no transition to tell.
        let _ = self.close(&mut self.course(), now);
    }

    /// Opens a closed breaker for a reason that lies in the rest of the pool.
    pub fn eject(
        &self,
        plan: &BreakerPlan,
        now: Nanos,
        trip: Trip,
        chance: f64,
    ) -> Option<Transition> {
        self.open(plan, now, || plan.enabled.then_some(trip), chance)
    }

    /// When the wait is over, if it is open.
    pub fn open_until(&self) -> Option<Nanos> {
        let course = self.course();
        (self.state() == BreakerState::Open).then_some(course.until)
    }

    /// Since when it is as it is; `None` if it never was otherwise.
    pub fn since(&self) -> Option<Nanos> {
        let changed = Nanos(self.changed_at.load(Ordering::Relaxed));
        (changed > Nanos::default()).then_some(changed)
    }

    /// Failures in a row while closed; while open, those that were counted before.
    pub fn consecutive_failures(&self) -> u32 {
        failures_of(self.word.load(Ordering::Relaxed))
    }

    /// Times that it opened, failed trials included.
    pub fn trips(&self) -> u32 {
        self.course().trips
    }

    /// Why it opened the last time.
    pub fn last_trip(&self) -> Option<Trip> {
        self.course().last_trip
    }

    /// What ended while it was closed, in the last `plan.window`.
    pub fn window(&self, plan: &BreakerPlan, now: Nanos) -> HostWindow {
        self.window.sum(plan.window, now)
    }

    /// The reason to open that has been counted by now, if any.
    fn due(&self, plan: &BreakerPlan, now: Nanos) -> Option<Trip> {
        if !plan.enabled {
            return None;
        }
        let in_a_row = self.consecutive_failures();
        if in_a_row >= plan.failure_threshold.max(1) {
            return Some(Trip::Consecutive(in_a_row));
        }
        if plan.failure_rate > 0.0 {
            let sum = self.window.sum(plan.window, now);
            let requests = u32::try_from(sum.requests).unwrap_or(u32::MAX);
            let failures = u32::try_from(sum.failures()).unwrap_or(u32::MAX);
            let share_reached = f64::from(failures) >= plan.failure_rate * f64::from(requests);
            if share_reached && requests >= plan.min_requests.max(1) {
                return Some(Trip::Rate { failures, requests });
            }
        }
        None
    }

    /// Opens it if it is closed and `judge` gives a reason.
    fn open(
        &self,
        plan: &BreakerPlan,
        now: Nanos,
        judge: impl FnOnce() -> Option<Trip>,
        chance: f64,
    ) -> Option<Transition> {
        let mut course = self.course();
        if self.state() != BreakerState::Closed {
            return None;
        }
        let trip = judge()?;
        course.forgive(now);
        let opened = course.trip(plan, now, trip, chance);
        self.show_open(&course, now);
        Some(opened)
    }

    fn close(&self, course: &mut Course, now: Nanos) -> Option<Transition> {
        if self.state() == BreakerState::Closed {
            return None;
        }
        course.live = None;
        course.untold = None;
        course.closed_at = now;
        self.window.clear();
        self.show(BreakerState::Closed, Nanos::NEVER, now);
        Some(Transition::Closed)
    }

    fn show_open(&self, course: &Course, now: Nanos) {
        self.opened_at.store(now.0, Ordering::Relaxed);
        self.show(BreakerState::Open, course.until, now);
    }

    /// Makes a transition visible to those who do not take the lock. Called under it.
    fn show(&self, state: BreakerState, trial_at: Nanos, now: Nanos) {
        self.changed_at.store(now.0, Ordering::Relaxed);
        self.trial_at.store(trial_at.0, Ordering::Release);
        let next = |word| match state {
            BreakerState::Closed => pack(state, 0),
            BreakerState::Open | BreakerState::HalfOpen => pack(state, failures_of(word)),
        };
        // The closure never declines.
        let _ =
            self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| Some(next(word)));
    }

    /// Changes the failures in a row; declines once it is no longer closed.
    fn set_failures(&self, next: impl Fn(u32) -> u32) {
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let closed = state_of(word) == BreakerState::Closed;
            closed.then(|| pack(BreakerState::Closed, next(failures_of(word))))
        });
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Course {
    /// Forgets earlier trips of a breaker that has been closed for longer than its last wait, so
    /// that only one that flaps waits longer each time.
    fn forgive(&mut self, now: Nanos) {
        if now.duration_since(self.closed_at) > self.wait {
            self.trips_in_a_row = 0;
        }
    }

    /// Counts a trip and begins its wait.
    fn trip(&mut self, plan: &BreakerPlan, now: Nanos, trip: Trip, chance: f64) -> Transition {
        self.trips_in_a_row = self.trips_in_a_row.saturating_add(1);
        self.trips = self.trips.saturating_add(1);
        self.last_trip = Some(trip);
        self.live = None;
        self.wait = wait(plan, self.trips_in_a_row, chance);
        self.until = now.after(self.wait);
        Transition::Opened { trip, until: self.until }
    }
}

/// The wait of the n-th trip in a row: doubled each time up to the longest, and a little more by
/// chance; so never less than `reset_timeout`, never more than 1.1 times the longest.
fn wait(plan: &BreakerPlan, trips_in_a_row: u32, chance: f64) -> Duration {
    let longest = plan.max_reset_timeout.max(plan.reset_timeout);
    let doublings = trips_in_a_row.saturating_sub(1).min(MAX_DOUBLINGS);
    let wait = plan.reset_timeout.saturating_mul(1 << doublings).min(longest);
    let jitter = wait.as_secs_f64() * MAX_JITTER * chance.clamp(0.0, 1.0);
    wait.saturating_add(Duration::try_from_secs_f64(jitter).unwrap_or_default())
}

#[cfg(test)]
mod tests;
