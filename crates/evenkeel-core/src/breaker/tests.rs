use super::*;
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

const RESET: Duration = Duration::from_secs(5);

fn plan() -> BreakerPlan {
    BreakerPlan {
        enabled: true,
        failure_threshold: 3,
        failure_rate: 0.0,
        min_requests: 20,
        window: Duration::from_secs(10),
        reset_timeout: RESET,
        max_reset_timeout: Duration::from_secs(60),
    }
}

fn at(millis: u64) -> Nanos {
    Nanos::default().after(Duration::from_millis(millis))
}

/// One step of a scenario. Trials are numbered in the order in which they were claimed.
#[derive(Clone, Copy, Debug)]
enum Step {
    Success,
    Failure,
    Eject,
    Claim,
    End(usize, Option<Verdict>),
}
use Step::{Claim, Eject, End, Failure, Success};

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Effect {
    Nothing,
    OpenedFor(Duration),
    ClosedAgain,
    Claimed,
}
use Effect::{Claimed, ClosedAgain, Nothing, OpenedFor};

/// A breaker and the trials claimed from it.
struct Scenario {
    breaker: Breaker,
    plan: BreakerPlan,
    trials: Vec<Trial>,
}

impl Scenario {
    fn new(plan: BreakerPlan) -> Scenario {
        Scenario { breaker: Breaker::new(), plan, trials: Vec::new() }
    }

    fn play(&mut self, now: Nanos, step: Step) -> Effect {
        let (breaker, plan) = (&self.breaker, &self.plan);
        let transition = match step {
            Success => breaker.record(plan, now, Verdict::Success, 0.0),
            Failure => breaker.record(plan, now, Verdict::Failure, 0.0),
            Eject => breaker.eject(plan, now, Trip::Outlier { success_rate: 0.1, mean: 0.9 }, 0.0),
            End(n, verdict) => match self.trials.get(n) {
                Some(trial) => breaker.end_trial(plan, now, *trial, verdict, 0.0),
                None => None,
            },
            Claim => {
                let claimed = breaker.try_trial(plan, now, 0.0);
                self.trials.extend(claimed);
                return if claimed.is_some() { Claimed } else { Nothing };
            }
        };
        match transition {
            None => Nothing,
            Some(Transition::Closed) => ClosedAgain,
            Some(Transition::Opened { until, .. }) => OpenedFor(until.duration_since(now)),
        }
    }
}

/// Plays steps at milliseconds, and compares effect and state after each.
fn check(name: &str, plan: BreakerPlan, steps: &[(u64, Step, Effect, BreakerState)]) {
    let mut scenario = Scenario::new(plan);
    for (n, (millis, step, effect, state)) in steps.iter().enumerate() {
        let did = scenario.play(at(*millis), *step);
        let breaker = &scenario.breaker;
        assert_eq!((did, breaker.state()), (*effect, *state), "{name}, step {n}: {step:?}");
        let trial_at = breaker.trial_at();
        assert_eq!(trial_at == Nanos::NEVER, *state == Closed, "{name}, step {n}");
    }
}

use BreakerState::{Closed, HalfOpen, Open};
const GOOD: Option<Verdict> = Some(Verdict::Success);
const BAD: Option<Verdict> = Some(Verdict::Failure);

#[test]
fn failures_in_a_row_open_it() {
    check(
        "a success between starts again",
        plan(),
        &[
            (0, Failure, Nothing, Closed),
            (1, Failure, Nothing, Closed),
            (2, Success, Nothing, Closed),
            (3, Failure, Nothing, Closed),
            (4, Failure, Nothing, Closed),
            (5, Failure, OpenedFor(RESET), Open),
            (6, Failure, Nothing, Open),
        ],
    );
    check(
        "turned off",
        BreakerPlan { enabled: false, failure_rate: 0.1, min_requests: 1, ..plan() },
        &[
            (0, Failure, Nothing, Closed),
            (0, Failure, Nothing, Closed),
            (0, Failure, Nothing, Closed),
            (0, Failure, Nothing, Closed),
            (0, Eject, Nothing, Closed),
        ],
    );
    let zeroes = BreakerPlan {
        failure_threshold: 0,
        reset_timeout: Duration::ZERO,
        max_reset_timeout: Duration::ZERO,
        window: Duration::ZERO,
        ..plan()
    };
    check(
        "zeroes",
        zeroes,
        &[
            (0, Success, Nothing, Closed),
            (0, Failure, OpenedFor(Duration::ZERO), Open),
            (0, Claim, Claimed, HalfOpen),
            (0, End(0, BAD), OpenedFor(Duration::ZERO), Open),
            (0, Claim, Claimed, HalfOpen),
            (0, End(1, GOOD), ClosedAgain, Closed),
        ],
    );
}

#[test]
fn trials_decide() {
    let once = BreakerPlan { failure_threshold: 1, ..plan() };
    check(
        "not before the wait is over",
        once.clone(),
        &[
            (0, Claim, Nothing, Closed),
            (0, Failure, OpenedFor(RESET), Open),
            (4_999, Claim, Nothing, Open),
            (5_000, Claim, Claimed, HalfOpen),
            (5_000, Claim, Nothing, HalfOpen),
            (5_100, End(0, GOOD), ClosedAgain, Closed),
            (5_100, End(0, BAD), Nothing, Closed),
        ],
    );
    check(
        "a failed one doubles the wait, up to the longest",
        BreakerPlan { max_reset_timeout: 3 * RESET, ..once.clone() },
        &[
            (0, Failure, OpenedFor(RESET), Open),
            (5_000, Claim, Claimed, HalfOpen),
            (5_000, End(0, BAD), OpenedFor(2 * RESET), Open),
            (5_001, End(0, GOOD), Nothing, Open),
            (14_999, Claim, Nothing, Open),
            (15_000, Claim, Claimed, HalfOpen),
            (15_000, End(1, BAD), OpenedFor(3 * RESET), Open),
            (30_000, Claim, Claimed, HalfOpen),
            (30_000, End(2, BAD), OpenedFor(3 * RESET), Open),
        ],
    );
    check(
        "a cancelled one makes room at once",
        once.clone(),
        &[
            (0, Failure, OpenedFor(RESET), Open),
            (5_000, Claim, Claimed, HalfOpen),
            (5_001, End(0, None), Nothing, Open),
            (5_001, End(0, GOOD), Nothing, Open),
            (5_001, Claim, Claimed, HalfOpen),
            (5_002, End(1, GOOD), ClosedAgain, Closed),
        ],
    );
}

#[test]
fn a_trial_that_hangs_has_failed() {
    let once = BreakerPlan { failure_threshold: 1, ..plan() };
    check(
        "another follows after a longer wait",
        once.clone(),
        &[
            (0, Failure, OpenedFor(RESET), Open),
            (5_000, Claim, Claimed, HalfOpen),
            (9_999, Claim, Nothing, HalfOpen),
            (10_000, Claim, Nothing, Open),
            (10_001, End(0, BAD), Nothing, Open),
            (10_001, End(0, None), Nothing, Open),
            (19_999, Claim, Nothing, Open),
            (20_000, Claim, Claimed, HalfOpen),
            (20_001, End(1, GOOD), ClosedAgain, Closed),
        ],
    );
    check(
        "its success counts, however late",
        once.clone(),
        &[
            (0, Failure, OpenedFor(RESET), Open),
            (5_000, Claim, Claimed, HalfOpen),
            (10_000, Claim, Nothing, Open),
            (11_000, End(0, GOOD), ClosedAgain, Closed),
        ],
    );
    check(
        "a late one counts if none replaced it",
        once,
        &[
            (0, Failure, OpenedFor(RESET), Open),
            (5_000, Claim, Claimed, HalfOpen),
            (60_000, End(0, GOOD), ClosedAgain, Closed),
        ],
    );
}

#[test]
fn traffic_sent_anyway_closes_it() {
    let once = BreakerPlan { failure_threshold: 1, ..plan() };
    check(
        "while open",
        once.clone(),
        &[
            (0, Failure, OpenedFor(RESET), Open),
            (10, Failure, Nothing, Open),
            (20, Success, ClosedAgain, Closed),
        ],
    );
    check(
        "while a trial runs, which then decides nothing",
        once,
        &[
            (0, Failure, OpenedFor(RESET), Open),
            (5_000, Claim, Claimed, HalfOpen),
            (5_001, Failure, Nothing, HalfOpen),
            (5_002, Success, ClosedAgain, Closed),
            (5_003, End(0, BAD), Nothing, Closed),
        ],
    );
}

#[test]
fn one_that_flaps_waits_longer() {
    let once = BreakerPlan { failure_threshold: 1, ..plan() };
    check(
        "until it stayed closed for longer than its last wait",
        once,
        &[
            (0, Failure, OpenedFor(RESET), Open),
            (5_000, Claim, Claimed, HalfOpen),
            (5_000, End(0, GOOD), ClosedAgain, Closed),
            (6_000, Failure, OpenedFor(2 * RESET), Open),
            (16_000, Claim, Claimed, HalfOpen),
            (16_000, End(1, GOOD), ClosedAgain, Closed),
            (26_000, Failure, OpenedFor(4 * RESET), Open),
            (46_000, Claim, Claimed, HalfOpen),
            (46_000, End(2, GOOD), ClosedAgain, Closed),
            (66_001, Failure, OpenedFor(RESET), Open),
        ],
    );
}

#[test]
fn outliers_are_ejected_once() {
    check(
        "from closed only",
        plan(),
        &[
            (0, Eject, OpenedFor(RESET), Open),
            (0, Eject, Nothing, Open),
            (5_000, Claim, Claimed, HalfOpen),
            (5_000, Eject, Nothing, HalfOpen),
            (5_000, End(0, BAD), OpenedFor(2 * RESET), Open),
        ],
    );
}

#[test]
fn a_share_of_failures_opens_it() {
    // Failures and successes alternate, so that no two failures are in a row.
    let share = BreakerPlan { failure_rate: 0.5, failure_threshold: 100, ..plan() };
    let run = |plan: &BreakerPlan, requests: u64, millis_apart: u64| {
        let breaker = Breaker::new();
        (0..requests).find_map(|n| {
            let verdict = if n % 2 == 0 { Verdict::Success } else { Verdict::Failure };
            match breaker.record(plan, at(n * millis_apart), verdict, 0.0) {
                Some(Transition::Opened { trip, .. }) => Some(trip),
                Some(Transition::Closed) | None => None,
            }
        })
    };
    let opened = Some(Trip::Rate { failures: 10, requests: 20 });
    assert_eq!(run(&share, 100, 10), opened, "as soon as there are enough requests");
    assert_eq!(run(&share, 19, 10), None, "too few requests");
    assert_eq!(run(&share, 100, 1000), None, "never enough of them in the window");
    assert_eq!(run(&BreakerPlan { failure_rate: 0.0, ..share.clone() }, 100, 10), None, "off");
    assert_eq!(run(&BreakerPlan { failure_rate: 0.6, ..share }, 100, 10), None, "below the share");
}

#[test]
fn closing_forgets_what_was_counted() {
    let plan = BreakerPlan { failure_rate: 0.5, min_requests: 4, failure_threshold: 4, ..plan() };
    let mut scenario = Scenario::new(plan.clone());
    for _ in 0..3 {
        assert_eq!(scenario.play(at(0), Failure), Nothing);
    }
    assert_eq!(scenario.breaker.window(&plan, at(0)), HostWindow { requests: 3, successes: 0 });
    assert_eq!(scenario.play(at(0), Failure), OpenedFor(RESET));
    assert_eq!(scenario.breaker.consecutive_failures(), 4);
    assert_eq!(scenario.breaker.open_until(), Some(at(5_000)));
    assert_eq!(scenario.play(at(5_000), Claim), Claimed);
    assert_eq!(scenario.breaker.open_until(), None);
    assert_eq!(scenario.play(at(5_000), End(0, GOOD)), ClosedAgain);
    let breaker = &scenario.breaker;
    assert_eq!(breaker.window(&plan, at(5_000)), HostWindow::default());
    assert_eq!((breaker.consecutive_failures(), breaker.trips()), (0, 1));
    assert_eq!(breaker.last_trip(), Some(Trip::Consecutive(4)));
    assert_eq!(scenario.play(at(5_001), Failure), Nothing);
}

#[test]
fn requests_from_before_the_opening_are_told_apart() {
    let once = BreakerPlan { failure_threshold: 1, ..plan() };
    let breaker = Breaker::new();
    assert!(!breaker.predates_opening(at(0)), "closed");
    assert!(breaker.record(&once, at(100), Verdict::Failure, 0.0).is_some());
    for (sent, expected) in [(0, true), (99, true), (100, false), (200, false)] {
        assert_eq!(breaker.predates_opening(at(sent)), expected, "{sent}");
    }
    assert!(breaker.record(&once, at(300), Verdict::Success, 0.0).is_some());
    assert!(breaker.predates_opening(at(0)), "closed again, and still old news");
}

#[test]
fn waits_are_within_bounds() {
    let huge = BreakerPlan {
        reset_timeout: Duration::MAX,
        max_reset_timeout: Duration::from_secs(1),
        ..plan()
    };
    assert_eq!(wait(&huge, u32::MAX, 0.999), Duration::MAX);
    assert_eq!(wait(&plan(), 1, f64::NAN), RESET);
    assert_eq!(wait(&plan(), 2, 0.5), Duration::from_millis(10_500));
    let opened = Breaker::new().eject(&huge, Nanos(7), Trip::TrialFailed, 0.0);
    let forever = Transition::Opened { trip: Trip::TrialFailed, until: Nanos::NEVER };
    assert_eq!(opened, Some(forever));
}

#[test]
fn trips_speak() {
    let cases = [
        (Trip::Consecutive(1), "1 failure"),
        (Trip::Consecutive(5), "5 failures in a row"),
        (Trip::Rate { failures: 12, requests: 20 }, "12 of 20 requests failed"),
        (Trip::Outlier { success_rate: 0.713, mean: 0.99 }, "71.3% succeeded, 99.0% in its pool"),
        (Trip::TrialFailed, "the trial failed"),
    ];
    for (trip, expected) in cases {
        assert_eq!(trip.to_string(), expected);
    }
}

/// The threads are held at the lock for a moment, so that all have seen that the wait is over.
#[test]
fn of_many_threads_one_gets_the_trial() {
    let once = BreakerPlan { failure_threshold: 1, ..plan() };
    for round in 0..20 {
        let breaker = Breaker::new();
        assert!(breaker.record(&once, at(0), Verdict::Failure, 0.0).is_some());
        let (arrived, claimed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            let held = breaker.course();
            for _ in 0..16 {
                scope.spawn(|| {
                    arrived.fetch_add(1, Ordering::Relaxed);
                    for _ in 0..100 {
                        let trial = breaker.try_trial(&once, at(5_000), 0.0);
                        claimed.fetch_add(usize::from(trial.is_some()), Ordering::Relaxed);
                    }
                });
            }
            while arrived.load(Ordering::Relaxed) < 16 {
                thread::yield_now();
            }
            (0..100).for_each(|_| thread::yield_now());
            drop(held);
        });
        assert_eq!(claimed.into_inner(), 1, "round {round}");
    }
}

#[test]
fn cancelled_trials_pass_from_thread_to_thread() {
    let once = BreakerPlan { failure_threshold: 1, ..plan() };
    let breaker = Breaker::new();
    assert!(breaker.record(&once, at(0), Verdict::Failure, 0.0).is_some());
    let (held, claimed) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let Some(trial) = breaker.try_trial(&once, at(5_000), 0.0) else { continue };
                    assert!(!held.swap(true, Ordering::SeqCst), "two live trials");
                    claimed.fetch_add(1, Ordering::Relaxed);
                    thread::yield_now();
                    held.store(false, Ordering::SeqCst);
                    assert_eq!(breaker.end_trial(&once, at(5_000), trial, None, 0.0), None);
                }
            });
        }
    });
    assert!(claimed.into_inner() > 0);
    assert_eq!(breaker.state(), Open);
}

#[test]
fn of_many_threads_one_sees_each_transition() {
    let opened = AtomicUsize::new(0);
    let closed = AtomicUsize::new(0);
    let breaker = Breaker::new();
    let count = |transition: Option<Transition>| match transition {
        Some(Transition::Opened { .. }) => opened.fetch_add(1, Ordering::Relaxed),
        Some(Transition::Closed) => closed.fetch_add(1, Ordering::Relaxed),
        None => 0,
    };
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (breaker, count) = (&breaker, &count);
            scope.spawn(move || {
                for n in 0..5_000 {
                    let failed = (n + thread) % 11 != 0;
                    let verdict = if failed { Verdict::Failure } else { Verdict::Success };
                    count(breaker.record(&plan(), at(n), verdict, 0.0));
                }
            });
        }
    });
    let (opened, closed) = (opened.into_inner(), closed.into_inner());
    let still_open = usize::from(breaker.state() == Open);
    assert_eq!(opened, closed + still_open);
    assert_eq!(usize::try_from(breaker.trips()), Ok(opened));
    assert!(opened > 0);
}

fn any_step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![Just(None), Just(GOOD), Just(BAD)];
    prop_oneof![
        1 => Just(Success),
        4 => Just(Failure),
        1 => Just(Eject),
        6 => Just(Claim),
        3 => (0..40_usize, verdict).prop_map(|(n, verdict)| End(n, verdict)),
    ]
}

proptest! {
    #[test]
    fn never_two_live_trials(
        steps in proptest::collection::vec((0..3_000_u64, any_step()), 1..120),
    ) {
        let mut scenario = Scenario::new(plan());
        let mut now = Nanos(0);
        // The number of the live trial, and when it expires.
        let mut live: Option<(usize, Nanos)> = None;
        for (millis, step) in steps {
            now = now.after(Duration::from_millis(millis));
            let effect = scenario.play(now, step);
            match (step, effect) {
                (_, Claimed) => {
                    prop_assert!(live.is_none_or(|(_, expires)| now >= expires), "{live:?}");
                    live = Some((scenario.trials.len() - 1, now.after(RESET)));
                }
                (_, ClosedAgain | OpenedFor(_)) => live = None,
                (Claim, Nothing) if live.is_some_and(|(_, expires)| now >= expires) => live = None,
                (End(n, None), Nothing) if live.is_some_and(|(number, _)| number == n) => {
                    live = None;
                }
                (_, Nothing) => {}
            }
            let half_open = scenario.breaker.state() == HalfOpen;
            prop_assert_eq!(half_open, live.is_some());
            let expected = live.map(|(_, expires)| expires);
            prop_assert_eq!(half_open.then(|| scenario.breaker.trial_at()), expected);
        }
    }

    #[test]
    fn after_any_storm_the_wait_is_within_bounds(
        requests in proptest::collection::vec((0..9_000_u64, any::<bool>(), 0.0..1.0_f64), 1..300),
        reset_millis in 0..20_000_u64,
        max_millis in 0..40_000_u64,
    ) {
        let reset_timeout = Duration::from_millis(reset_millis);
        let max_reset_timeout = Duration::from_millis(max_millis);
        let plan = BreakerPlan {
            failure_threshold: 2,
            failure_rate: 0.3,
            min_requests: 3,
            reset_timeout,
            max_reset_timeout,
            ..plan()
        };
        let longest = reset_timeout.max(max_reset_timeout).mul_f64(1.1) + Duration::from_nanos(1);
        let breaker = Breaker::new();
        let mut now = Nanos(0);
        for (millis, failed, chance) in requests {
            now = now.after(Duration::from_millis(millis));
            let verdict = if failed { Verdict::Failure } else { Verdict::Success };
            let transition = match (breaker.state(), breaker.try_trial(&plan, now, 0.5)) {
                (Closed, _) => breaker.record(&plan, now, verdict, chance),
                (Open | HalfOpen, Some(trial)) => {
                    breaker.end_trial(&plan, now, trial, Some(verdict), chance)
                }
                (Open | HalfOpen, None) => {
                    let wait = breaker.trial_at().duration_since(now);
                    prop_assert!(wait > Duration::ZERO && wait <= longest, "{wait:?}");
                    None
                }
            };
            if let Some(Transition::Opened { until, .. }) = transition {
                let wait = until.duration_since(now);
                prop_assert!(wait >= reset_timeout && wait <= longest, "{wait:?}");
            }
        }
    }
}
