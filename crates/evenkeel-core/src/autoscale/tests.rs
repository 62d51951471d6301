use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn plan() -> AutoscalePlan {
    AutoscalePlan {
        min: 1,
        max: 5,
        interval: Duration::from_secs(15),
        requests_per_interval: 0,
        in_flight: 0,
        queue_wait: Duration::ZERO,
        rps: 0,
        p95: Duration::ZERO,
        up: ScaleUpPlan { step: 1, window: Duration::from_secs(15) },
        down: ScaleDownPlan {
            step: 1,
            after: Duration::from_secs(300),
            every: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
        },
        max_error_rate: 0.1,
        dry_run: false,
        buffer_requests: 1_000,
        buffer_timeout: Duration::from_secs(30),
        lease: LeasePlan::Alone,
        driver: DriverPlan::Exec(Vec::new()),
    }
}

/// A pool that gets what is asked for, at once.
struct World {
    autoscaler: Autoscaler,
    signals: Signals,
    second: u64,
    told: Vec<(u64, Decision)>,
}

fn at(second: u64) -> Nanos {
    Nanos::default().after(Duration::from_secs(second))
}

impl World {
    fn new(plan: AutoscalePlan) -> World {
        let signals = Signals { ready: 1, ..Signals::default() };
        World { autoscaler: Autoscaler::new(plan, at(0)), signals, second: 0, told: Vec::new() }
    }

    fn seconds(&mut self, count: u64, mut load: impl FnMut(u64, &mut Signals)) {
        for _ in 0..count {
            self.second += 1;
            load(self.second, &mut self.signals);
            if let Some(decision) = self.autoscaler.tick(at(self.second), &self.signals) {
                self.signals.ready = decision.to;
                self.told.push((self.second, decision));
            }
        }
    }

    fn steps(&self) -> Vec<(u64, u32)> {
        self.told.iter().map(|(second, decision)| (*second, decision.to)).collect()
    }
}

#[test]
fn more_than_twenty_requests_in_an_interval_ask_for_one_more() {
    for (requests, expected) in [(19, 1), (20, 1), (25, 2)] {
        let mut world = World::new(AutoscalePlan { requests_per_interval: 20, ..plan() });
        world.seconds(15, |second, signals| {
            signals.requests += if second == 5 { requests } else { 0 };
        });
        assert_eq!(world.signals.ready, expected, "{requests} requests");
    }
}

#[test]
fn what_came_before_the_first_look_counts() {
    let mut world = World::new(AutoscalePlan { requests_per_interval: 20, ..plan() });
    world.autoscaler.count_from(at(0), (1_000, 0));
    world.signals.requests = 1_025;
    world.seconds(15, |_, _| {});
    assert_eq!(world.steps(), [(15, 2)]);
    world.seconds(15, |_, _| {});
    assert_eq!(world.steps(), [(15, 2)], "once");
}

#[test]
fn load_per_backend_is_tracked_step_by_step_up_to_max() {
    let mut world = World::new(AutoscalePlan { in_flight: 10, ..plan() });
    world.seconds(60, |_, signals| signals.in_flight = 15);
    assert_eq!(world.steps(), [(15, 2)]);
    world.seconds(120, |_, signals| signals.in_flight = 100);
    assert_eq!(world.signals.ready, 5);
}

#[test]
fn twice_the_target_doubles_without_waiting() {
    let mut world = World::new(AutoscalePlan { in_flight: 10, max: 8, ..plan() });
    world.signals.ready = 2;
    world.seconds(10, |_, signals| signals.in_flight = 45);
    assert_eq!(world.steps(), [(6, 4)]);
}

#[test]
fn what_is_starting_counts() {
    let mut world = World::new(AutoscalePlan { in_flight: 10, ..plan() });
    (world.signals.starting, world.signals.in_flight) = (1, 15);
    world.seconds(60, |_, _| {});
    assert_eq!(world.steps(), []);
    let mut world = World::new(AutoscalePlan { requests_per_interval: 20, ..plan() });
    world.signals.starting = 1;
    world.seconds(30, |_, signals| signals.requests += 100);
    assert_eq!(world.steps(), []);
}

#[test]
fn it_shrinks_slowly_and_to_min_only() {
    let mut world =
        World::new(AutoscalePlan { in_flight: 10, requests_per_interval: 20, ..plan() });
    world.signals.ready = 3;
    world.seconds(600, |_, _| {});
    assert_eq!(world.steps(), [(315, 2), (375, 1)]);
}

#[test]
fn a_busy_interval_begins_the_wait_anew() {
    let mut world = World::new(AutoscalePlan { requests_per_interval: 20, ..plan() });
    world.signals.ready = 2;
    world.seconds(400, |second, signals| {
        signals.requests += if second == 200 { 15 } else { 0 };
    });
    assert_eq!(world.steps(), []);
}

#[test]
fn errors_are_not_load() {
    let mut world = World::new(AutoscalePlan { in_flight: 10, ..plan() });
    world.seconds(60, |_, signals| {
        signals.in_flight = 90;
        signals.requests += 10;
        signals.errors += 5;
    });
    assert_eq!(world.steps(), []);
    assert!(world.autoscaler.held().is_some_and(|why| why.contains("errors are not load")));
}

#[test]
fn nothing_goes_while_something_speaks_against_it() {
    let mut world = World::new(plan());
    world.signals.ready = 2;
    world.signals.keeps = Some("a migration is under way".to_owned());
    world.seconds(600, |_, _| {});
    assert_eq!(world.steps(), []);
    world.signals.keeps = None;
    world.autoscaler.settle();
    world.seconds(320, |_, _| {});
    assert_eq!(world.signals.ready, 1);
}

#[test]
fn zero_wakes_up_with_the_first_request_and_falls_asleep_again() {
    let mut world = World::new(AutoscalePlan { min: 0, in_flight: 10, ..plan() });
    world.seconds(400, |_, _| {});
    assert_eq!(world.signals.ready, 0);
    world.seconds(1, |_, signals| signals.waiting = 1);
    assert_eq!(world.signals.ready, 1);
    assert_eq!(
        world.told.last().map(|told| told.1.reason.as_str()),
        Some("a request waits for a backend")
    );
}

#[test]
fn bounds_are_kept_at_once_and_a_pause_stops_it_all() {
    let mut world = World::new(AutoscalePlan { min: 3, ..plan() });
    world.seconds(1, |_, _| {});
    assert_eq!(world.steps(), [(1, 3)]);
    let mut paused = World::new(AutoscalePlan { min: 3, ..plan() });
    paused.autoscaler.set_paused(Paused::Yes);
    paused.seconds(60, |_, _| {});
    assert_eq!(paused.steps(), []);
}

#[test]
fn the_reason_names_signal_value_and_target() {
    let mut world = World::new(AutoscalePlan { queue_wait: Duration::from_millis(100), ..plan() });
    world.seconds(15, |_, signals| signals.queue_wait = Duration::from_millis(250));
    let (_, decision) = &world.told[0];
    assert_eq!(decision.reason, "250.0ms in the queue, more than 100ms");
    assert!(decision.signals.contains(&("queue_wait_ms", 250.0)));
}

#[test]
fn what_is_wanted_is_decided_once() {
    // Nothing that is asked for ever comes.
    let mut world = World::new(AutoscalePlan { min: 0, requests_per_interval: 20, ..plan() });
    world.signals.ready = 0;
    let mut told = 0;
    for second in 1..=60 {
        let signals = Signals { waiting: 3, requests: second * 10, ..world.signals.clone() };
        told += usize::from(world.autoscaler.tick(at(second), &signals).is_some());
    }
    assert_eq!((told, world.autoscaler.desired()), (1, Some(1)));
    assert!(world.autoscaler.held().is_some_and(|why| why.ends_with("1 are wanted already")));
}

#[test]
fn a_backend_that_ended_by_itself_is_wanted_as_before() {
    let mut world = World::new(AutoscalePlan { min: 2, ..plan() });
    world.signals.ready = 2;
    world.seconds(1, |_, _| {});
    world.signals.ready = 1;
    world.seconds(30, |_, _| {});
    assert_eq!((world.steps(), world.autoscaler.desired()), (vec![], Some(2)));
}

#[test]
fn what_somebody_else_wants_is_wanted() {
    let mut world = World::new(plan());
    world.seconds(200, |_, _| {});
    world.signals.ready = 3;
    world.autoscaler.adopt(3);
    world.seconds(200, |_, _| {});
    assert_eq!((world.steps(), world.autoscaler.desired()), (vec![], Some(3)));
    world.seconds(115, |_, _| {});
    assert_eq!(world.signals.ready, 2, "and looked at from then on");
    world.autoscaler.adopt(9);
    world.seconds(1, |_, _| {});
    assert_eq!(world.signals.ready, 5, "within the bounds");
}

#[test]
fn what_the_configuration_names_stays_and_counts_as_wanted() {
    let mut world = World::new(plan());
    (world.signals.ready, world.signals.fixed) = (3, 3);
    world.seconds(600, |_, _| {});
    assert_eq!((world.steps(), world.autoscaler.desired()), (vec![], Some(3)));
}

#[test]
fn a_decision_shows_the_counts_that_its_reason_names() {
    let mut panic = World::new(AutoscalePlan { in_flight: 10, max: 8, ..plan() });
    panic.seconds(10, |second, signals| {
        signals.in_flight = 45;
        signals.requests = second * 100;
    });
    let (_, decision) = &panic.told[0];
    let reason = "panic: twice the target over 6 s: 45.0 in flight, 10 per backend";
    assert_eq!(decision.reason, reason);
    assert!(decision.signals.contains(&("in_flight", 45.0)), "{decision:?}");
    // Its window is shorter than the interval: it has what the reason says, not the interval's.
    let up = ScaleUpPlan { step: 1, window: Duration::from_secs(5) };
    let mut window = World::new(AutoscalePlan { rps: 10, up, ..plan() });
    window.seconds(15, |second, signals| signals.requests += if second > 10 { 15 } else { 1 });
    let (_, decision) = &window.told[0];
    assert_eq!(decision.reason, "15.0 requests per second, 10 per backend");
    assert!(decision.signals.contains(&("rps", 15.0)), "{decision:?}");
    let mut interval = World::new(AutoscalePlan { requests_per_interval: 20, ..plan() });
    interval.seconds(30, |_, signals| signals.requests += 2);
    let (_, decision) = &interval.told[0];
    assert!(decision.reason.starts_with("28 requests in the interval"), "{decision:?}");
    assert!(decision.signals.contains(&("requests", 28.0)), "{decision:?}");
    assert!(decision.signals.contains(&("rps", 2.0)), "{decision:?}");
}

#[test]
fn the_wait_for_a_start_does_not_ask_for_more() {
    let queue_wait = Duration::from_millis(100);
    let mut world = World::new(AutoscalePlan { min: 0, queue_wait, ..plan() });
    world.signals.ready = 0;
    world.seconds(1, |_, signals| signals.waiting = 1);
    // It took two seconds, which is in the percentiles for as long as they look back.
    world.signals.waiting = 0;
    world.seconds(15, |_, signals| signals.queue_wait = Duration::from_secs(2));
    world.seconds(30, |_, signals| signals.queue_wait = Duration::ZERO);
    assert_eq!(world.steps(), [(1, 1)]);
    world.seconds(15, |_, signals| signals.queue_wait = Duration::from_millis(250));
    assert_eq!(world.signals.ready, 2);
}

/// A pool in one second of a random run.
#[derive(Clone, Debug)]
struct Moment {
    arrivals: u32,
    /// Whether what is started now fails.
    fails: bool,
}

fn moment() -> impl Strategy<Value = Moment> {
    let arrivals = prop_oneof![3 => Just(0u32), 1 => 1u32..5];
    (arrivals, prop::bool::weighted(0.3)).prop_map(|(arrivals, fails)| Moment { arrivals, fails })
}

proptest! {
    /// A pool that may have no backend: whoever waits gets one, what is idle goes, and no decision
    /// says what is so already.
    #[test]
    fn a_pool_that_sleeps_wakes_for_everybody_and_falls_asleep_again(
        moments in vec(moment(), 1..200),
        start_time in 1u32..10,
    ) {
        let down = ScaleDownPlan { after: Duration::from_secs(30), ..plan().down };
        let plan = AutoscalePlan { min: 0, max: 3, in_flight: 5, down, ..plan() };
        let mut autoscaler = Autoscaler::new(plan, at(0));
        let mut signals = Signals::default();
        let mut left = 0;
        let quiet = std::iter::repeat_n(Moment { arrivals: 0, fails: false }, 600);
        for (second, moment) in moments.into_iter().chain(quiet).enumerate() {
            let now = at(second as u64 + 1);
            signals.in_flight = 0;
            if signals.ready == 0 {
                signals.waiting += moment.arrivals;
            } else {
                signals.in_flight = std::mem::take(&mut signals.waiting) + moment.arrivals;
                signals.requests += u64::from(signals.in_flight);
            }
            if let Some(decision) = autoscaler.tick(now, &signals) {
                prop_assert_ne!(decision.from, decision.to);
                prop_assert!(decision.to <= 3);
                prop_assert!(decision.to > 0 || signals.waiting + signals.in_flight == 0);
            }
            let desired = autoscaler.desired().unwrap_or_default();
            prop_assert!(signals.waiting == 0 || desired > 0, "somebody waits for nothing");
            // The driver: one at a time, which may fail and is then tried again.
            if signals.ready > desired {
                signals.ready = desired;
            }
            if signals.starting > 0 {
                left -= 1;
                if left == 0 {
                    signals.starting = 0;
                    signals.ready += u32::from(!moment.fails);
                }
            } else if signals.ready < desired {
                (signals.starting, left) = (1, start_time);
            }
        }
        prop_assert_eq!((signals.ready, signals.waiting, autoscaler.desired()), (0, 0, Some(0)));
    }
}

#[test]
fn another_interval_and_window_hold_from_the_change_on() {
    let slow =
        AutoscalePlan { interval: Duration::from_secs(600), requests_per_interval: 50, ..plan() };
    let mut world = World::new(slow.clone());
    let ten = |_, signals: &mut Signals| signals.requests += 10;
    world.seconds(100, ten);
    let interval = Duration::from_secs(4);
    world.autoscaler.replan(AutoscalePlan { interval, ..slow.clone() }, at(100));
    world.seconds(20, ten);
    assert!(world.told.is_empty(), "40 requests in 4 s are no more than 50: {:?}", world.told);
    let interval = Duration::from_secs(8);
    world.autoscaler.replan(AutoscalePlan { interval, ..slow.clone() }, at(120));
    world.seconds(8, ten);
    assert_eq!(world.steps(), [(128, 2)]);
    // What came before the first look is told by nobody.
    let (reason, wanted) = (&world.told[0].1.reason, "70 requests in the interval, more than 50");
    assert_eq!(reason, wanted);
    // A window that is longer now.
    let short = AutoscalePlan { in_flight: 10, ..plan() };
    let mut world = World::new(short.clone());
    let up = ScaleUpPlan { step: 1, window: Duration::from_secs(60) };
    world.autoscaler.replan(AutoscalePlan { up, ..short }, at(0));
    world.seconds(60, |_, signals| signals.in_flight = 0);
    world.seconds(15, |_, signals| signals.in_flight = 18);
    assert!(world.told.is_empty(), "15 s of 60 are no load: {:?}", world.told);
}
