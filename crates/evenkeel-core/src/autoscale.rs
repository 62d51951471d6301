//! How many backends a pool should have, decided from what the balancer sees of it anyway. Without
//! I/O: it is told the signals every second and says when the number should change, and why.
//!
//! Growth is quick and shrinkage slow: every signal has a target per backend, the one that asks for
//! the most wins (target tracking, as in Knative's and Kubernetes' autoscalers); twice the target
//! over a few seconds is panic. Fewer are asked for only when every signal has been low for long.
//! Errors are not load: while they are frequent, nothing changes.
//!
//! A decision is a change of what is wanted, not of what there is: a backend that ended by itself,
//! or that takes long to start, is wanted as before, and nothing is decided about it again.

mod plan;
mod signal;

pub use plan::*;
pub use signal::{RECENT, Signals};

use crate::time::Nanos;
use signal::{Counted, Sample, Samples};
use std::time::Duration;

/// Over so long twice the target is panic.
const PANIC_WINDOW: Duration = Duration::from_secs(6);
/// How much of the target the rest must stay below after a step down.
const DEAD_BAND: f64 = 0.9;
/// Ticks come a little early or late; an evaluation does not wait for another one.
const EARLY: Duration = Duration::from_millis(500);
/// Requests before their errors mean anything.
const MIN_REQUESTS: u64 = 10;

/// A change of the number of backends.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Backends there are, those that are starting included.
    pub from: u32,
    /// Backends there should be.
    pub to: u32,
    /// Why.
    pub reason: String,
    /// What it was based on, by name.
    pub signals: Vec<(&'static str, f64)>,
}

/// Decides for one pool.
#[derive(Clone, Debug)]
pub struct Autoscaler {
    plan: AutoscalePlan,
    samples: Samples,
    evaluate_at: Nanos,
    /// Totals at the last evaluation: none is counted twice, and none is left out.
    evaluated: Option<Counted>,
    /// Backends there should be; `None` before the first look.
    desired: Option<u32>,
    /// When there was no backend last: waits and times since then tell of the start.
    asleep_at: Option<Nanos>,
    /// Since when every signal is low.
    low_since: Option<Nanos>,
    grown_at: Option<Nanos>,
    shrunk_at: Option<Nanos>,
    paused: bool,
    /// Why nothing is decided, if that is so.
    held: Option<String>,
}

impl Autoscaler {
    /// Its first evaluation comes an interval from now.
    pub fn new(plan: AutoscalePlan, now: Nanos) -> Autoscaler {
        Autoscaler {
            samples: Samples::keeping(memory(&plan)),
            evaluate_at: now.after(plan.interval),
            evaluated: None,
            desired: None,
            asleep_at: None,
            plan,
            low_since: None,
            grown_at: None,
            shrunk_at: None,
            paused: false,
            held: None,
        }
    }

    /// These totals are where it begins to count; otherwise those of its first look are.
    pub fn count_from(&mut self, now: Nanos, (requests, errors): (u64, u64)) {
        self.evaluated = Some(Counted { at: now, requests, errors });
    }

    /// The plan it follows.
    pub fn plan(&self) -> &AutoscalePlan {
        &self.plan
    }

    /// Follows another plan from now on; nothing goes until it has been looked at for long enough.
    pub fn replan(&mut self, plan: AutoscalePlan, now: Nanos) {
        if plan.interval != self.plan.interval {
            // What was counted over another time says nothing of this one.
            self.evaluated = None;
            self.evaluate_at = now.after(plan.interval);
        }
        self.samples.keep(memory(&plan));
        self.plan = plan;
        self.settle();
    }

    /// The configuration has changed: what was low before does not count.
    pub fn settle(&mut self) {
        self.low_since = None;
    }

    /// Somebody else has said how many there should be.
    pub fn adopt(&mut self, count: u32) {
        self.desired = Some(count);
        self.settle();
    }

    /// Stops or starts deciding.
    pub fn set_paused(&mut self, paused: Paused) {
        self.paused = paused == Paused::Yes;
    }

    /// True while a person has stopped it.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Why nothing is decided, if that is so.
    pub fn held(&self) -> Option<&str> {
        self.held.as_deref()
    }

    /// Backends there should be; `None` before the first look.
    pub fn desired(&self) -> Option<u32> {
        self.desired
    }

    /// Takes the signals, about once a second. `Some`: the number should change.
    pub fn tick(&mut self, now: Nanos, signals: &Signals) -> Option<Decision> {
        self.samples.push(now, signals);
        let Signals { requests, errors, .. } = *signals;
        self.evaluated.get_or_insert(Counted { at: now, requests, errors });
        let have = signals.ready + signals.starting;
        if signals.ready == 0 {
            self.asleep_at = Some(now);
        }
        // What the configuration names is there, whoever wants it.
        let least = signals.fixed.min(self.plan.max);
        let desired = self.desired.map_or(have, |desired| desired.max(least));
        self.desired = Some(desired);
        if self.paused {
            return None;
        }
        if desired < self.plan.min {
            return self.decide((have, self.plan.min), "fewer than min".to_owned(), Vec::new());
        }
        if desired > self.plan.max {
            return self.decide((have, self.plan.max), "more than max".to_owned(), Vec::new());
        }
        if let Some(decision) = self.called(signals.waiting) {
            return Some(decision);
        }
        if let Some(decision) = self.panic(now, have) {
            return Some(decision);
        }
        if now.after(EARLY) < self.evaluate_at {
            return None;
        }
        let next = self.evaluate_at.after(self.plan.interval);
        self.evaluate_at = if next > now { next } else { now.after(self.plan.interval) };
        self.evaluate(now, have, signals)
    }

    /// True if no backend is wanted, and the first request that waits for one would change that.
    pub fn would_wake(&self) -> bool {
        !self.paused && self.desired == Some(0) && self.plan.max > 0
    }

    /// So many requests wait for a first backend: one is wanted at once.
    pub fn called(&mut self, waiting: u32) -> Option<Decision> {
        if waiting == 0 || !self.would_wake() {
            return None;
        }
        let reason = "a request waits for a backend".to_owned();
        self.decide((0, 1), reason, vec![("waiting", f64::from(waiting))])
    }

    fn evaluate(&mut self, now: Nanos, have: u32, signals: &Signals) -> Option<Decision> {
        let counted = Counted { at: now, requests: signals.requests, errors: signals.errors };
        let before = self.evaluated.replace(counted).unwrap_or(counted);
        let interval = self.samples.over(self.plan.interval, now).counting(counted, before);
        if interval.requests >= MIN_REQUESTS && interval.error_rate() > self.plan.max_error_rate {
            let rate = interval.error_rate() * 100.0;
            self.held = Some(format!("{rate:.1} % errors: errors are not load"));
            self.low_since = None;
            return None;
        }
        self.held = None;
        let window = self.samples.over(self.plan.up.window, now);
        let (wanted, reason) = self.wanted(now, have, (&interval, &window));
        if wanted > have {
            self.low_since = None;
            let to = wanted.min(have.saturating_add(self.plan.up.step)).min(self.plan.max);
            if to == have {
                self.held = Some(format!("{reason}; max is reached"));
                return None;
            }
            // What was asked for last time has not had time to help.
            if signals.starting > 0 && reason.is_step() {
                return None;
            }
            if self.desired.is_some_and(|desired| desired >= to) {
                self.held = Some(format!("{reason}; {to} are wanted already"));
                return None;
            }
            self.grown_at = Some(now);
            let based_on = if reason.is_of_window() { &window } else { &interval };
            return self.decide((have, to), reason.to_string(), based_on.listed());
        }
        self.shrink(now, (have, signals), &interval)
    }

    /// Twice a target over a few seconds does not wait for the interval.
    fn panic(&mut self, now: Nanos, have: u32) -> Option<Decision> {
        let recent = self.samples.over(PANIC_WINDOW, now);
        let ready = f64::from(have.max(1));
        let over = |load: f64, target: u32| target > 0 && load / ready >= 2.0 * f64::from(target);
        let reason = if over(recent.in_flight, self.plan.in_flight) {
            Reason::InFlight(recent.in_flight, self.plan.in_flight)
        } else if over(recent.rps(), self.plan.rps) {
            Reason::Rps(recent.rps(), self.plan.rps)
        } else {
            return None;
        };
        let quiet = self.grown_at.is_none_or(|at| now.duration_since(at) >= PANIC_WINDOW);
        let to = have.saturating_mul(2).max(have + self.plan.up.step).min(self.plan.max);
        let wanted_already = self.desired.is_some_and(|desired| desired >= to);
        if !quiet || !recent.is_full() || have >= self.plan.max || wanted_already {
            return None;
        }
        if recent.requests >= MIN_REQUESTS && recent.error_rate() > self.plan.max_error_rate {
            return None;
        }
        self.grown_at = Some(now);
        self.low_since = None;
        let over = PANIC_WINDOW.as_secs();
        let text = format!("panic: twice the target over {over} s: {reason}");
        self.decide((have, to), text, recent.listed())
    }

    /// Backends that the signals ask for, and the signal that asks for the most.
    fn wanted(
        &self,
        now: Nanos,
        have: u32,
        (interval, window): (&Sample, &Sample),
    ) -> (u32, Reason) {
        let plan = &self.plan;
        let step = have.saturating_add(plan.up.step);
        let mut most = (0, Reason::None);
        let mut ask = |wanted: u32, reason: Reason| {
            if wanted > most.0 {
                most = (wanted, reason);
            }
        };
        if plan.in_flight > 0 {
            let wanted = backends(window.in_flight, f64::from(plan.in_flight));
            ask(wanted, Reason::InFlight(window.in_flight, plan.in_flight));
        }
        if plan.rps > 0 {
            ask(backends(window.rps(), f64::from(plan.rps)), Reason::Rps(window.rps(), plan.rps));
        }
        let limit = u64::from(plan.requests_per_interval);
        if limit > 0 && interval.requests > limit {
            ask(step, Reason::Requests(interval.requests, limit));
        }
        // Whoever waited for a first backend waited for its start, not for room.
        let memory = RECENT.saturating_add(plan.up.window);
        if self.asleep_at.is_some_and(|at| now.duration_since(at) < memory) {
            return most;
        }
        if !plan.queue_wait.is_zero() && window.queue_wait > plan.queue_wait {
            ask(step, Reason::QueueWait(window.queue_wait, plan.queue_wait));
        }
        if !plan.p95.is_zero() && window.p95 > plan.p95 {
            ask(step, Reason::P95(window.p95, plan.p95));
        }
        most
    }

    fn shrink(
        &mut self,
        now: Nanos,
        (have, signals): (u32, &Signals),
        interval: &Sample,
    ) -> Option<Decision> {
        let wanted = self.desired.unwrap_or(have);
        // Those that were let go before are still on their way out.
        let leaving = have > wanted;
        let least = self.plan.min.max(signals.fixed);
        let idle = signals.waiting == 0 && self.is_low((wanted, least), interval);
        if wanted <= least || leaving || !idle {
            self.low_since = None;
            return None;
        }
        let since = *self.low_since.get_or_insert(now);
        if now.duration_since(since) < self.plan.down.after {
            return None;
        }
        if let Some(why) = &signals.keeps {
            self.held = Some(why.clone());
            return None;
        }
        let lately = |at: Nanos| now.duration_since(at) < self.plan.down.every;
        if self.shrunk_at.is_some_and(lately) || signals.starting > 0 {
            return None;
        }
        self.shrunk_at = Some(now);
        let to = wanted.saturating_sub(self.plan.down.step).max(least);
        let low = now.duration_since(since).as_secs();
        self.decide((wanted, to), format!("every signal is low for {low} s"), interval.listed())
    }

    /// True if fewer backends would do: by a margin, so that it does not swing.
    fn is_low(&self, (wanted, least): (u32, u32), interval: &Sample) -> bool {
        let plan = &self.plan;
        let left = wanted.saturating_sub(plan.down.step).max(least);
        if left == 0 {
            return interval.requests == 0 && interval.in_flight == 0.0;
        }
        let fits = |load: f64, target: u32| {
            target == 0 || load <= f64::from(left) * f64::from(target) * DEAD_BAND
        };
        let half = |found: Duration, target: Duration| target.is_zero() || found * 2 <= target;
        fits(interval.in_flight, plan.in_flight)
            && fits(interval.rps(), plan.rps)
            && (plan.requests_per_interval == 0
                || interval.requests * 2 <= u64::from(plan.requests_per_interval))
            && half(interval.queue_wait, plan.queue_wait)
            && half(interval.p95, plan.p95)
    }

    #[expect(clippy::unnecessary_wraps, reason = "it ends a function that may decide nothing")]
    fn decide(
        &mut self,
        (from, to): (u32, u32),
        reason: String,
        signals: Vec<(&'static str, f64)>,
    ) -> Option<Decision> {
        self.held = None;
        self.desired = Some(to);
        Some(Decision { from, to, reason, signals })
    }
}

/// The longest time that a plan looks back.
fn memory(plan: &AutoscalePlan) -> Duration {
    plan.interval.max(plan.up.window).max(PANIC_WINDOW)
}

/// Whether a person has stopped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paused {
    /// It decides nothing.
    Yes,
    /// It decides.
    No,
}

/// Backends for a load at so much each.
fn backends(load: f64, target: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let backends = (load / target).ceil() as u32;
    backends
}

/// The signal that asks for the most.
#[derive(Clone, Copy, Debug)]
enum Reason {
    None,
    InFlight(f64, u32),
    Rps(f64, u32),
    Requests(u64, u64),
    QueueWait(Duration, Duration),
    P95(Duration, Duration),
}

impl Reason {
    /// True if it asks for one step more, whatever is on its way already.
    fn is_step(self) -> bool {
        matches!(self, Reason::Requests(..) | Reason::QueueWait(..) | Reason::P95(..))
    }

    /// True if it was seen in the window of `scale_up`, not in the interval.
    fn is_of_window(self) -> bool {
        !matches!(self, Reason::None | Reason::Requests(..))
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::None => f.write_str("nothing"),
            Reason::InFlight(found, target) => {
                write!(f, "{found:.1} in flight, {target} per backend")
            }
            Reason::Rps(found, target) => {
                write!(f, "{found:.1} requests per second, {target} per backend")
            }
            Reason::Requests(found, limit) => {
                write!(f, "{found} requests in the interval, more than {limit}")
            }
            Reason::QueueWait(found, target) => {
                write!(f, "{found:.1?} in the queue, more than {target:?}")
            }
            Reason::P95(found, target) => write!(f, "p95 is {found:.1?}, more than {target:?}"),
        }
    }
}

#[cfg(test)]
mod tests;
