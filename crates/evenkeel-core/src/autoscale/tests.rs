use super::*;

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
