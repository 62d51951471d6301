use super::*;
use crate::migration::cohort::Traffic;
use crate::migration::plan::*;
use crate::migration::{Pending, Share};
use crate::stats::Histogram;
use std::sync::Arc;

/// Both pools as they answer, second by second.
struct World {
    from: (u64, u64, Histogram),
    to: (u64, u64, Histogram),
    differences: Share,
    capacity: Capacity,
    stable: usize,
    second: u64,
    migration: Migration,
    told: Vec<Command>,
}

fn stage(weight: f64, seconds: u64) -> Stage {
    Stage {
        traffic: StageTraffic::Weight(weight),
        min_duration: Duration::from_secs(seconds),
        min_requests: 100,
        max_duration: Duration::from_secs(seconds * 2),
        on_max_duration: OnMaxDuration::Hold,
        approval: Approval::Auto,
        gates: Gates::default(),
    }
}

fn plan(stages: Vec<Stage>) -> MigrationPlan {
    MigrationPlan {
        name: Arc::from("m"),
        route: Arc::from("web"),
        from: Arc::from("stable"),
        to: Arc::from("canary"),
        cohort: CohortKey::ClientIp,
        interval: Duration::from_secs(10),
        abort: AbortRule::default(),
        preflight: Preflight::default(),
        stages,
        watch: Duration::from_secs(10),
        webhooks: Vec::new(),
    }
}

fn hooks(on: &[HookPoint]) -> Vec<Webhook> {
    let timeout = Duration::from_secs(10);
    vec![Webhook { url: "http://ci/".to_owned(), on: on.to_vec(), timeout }]
}

fn at(second: u64) -> Nanos {
    Nanos::default().after(Duration::from_secs(second))
}

impl World {
    fn new(plan: MigrationPlan) -> World {
        World {
            from: Default::default(),
            to: Default::default(),
            differences: Share::default(),
            capacity: Capacity { eligible: 2, total: 2, ramping: 0 },
            stable: 2,
            second: 0,
            migration: Migration::start(plan, at(0), 0),
            told: Vec::new(),
        }
    }

    /// One second of 1,000 requests; of every `one_in` of the new pool one fails, and all of its
    /// answers take `slow` times as long.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
    fn second(&mut self, one_in: u64, slow: u64) {
        let share = self.migration.weight() / 100.0;
        self.answer(
            ((1_000.0 * (1.0 - share)) as u64, 5_000),
            ((1_000.0 * share) as u64, one_in),
            slow,
        );
    }

    fn answer(&mut self, (old, old_one_in): (u64, u64), (new, new_one_in): (u64, u64), slow: u64) {
        for (arm, (count, one_in), slow) in
            [(&mut self.from, (old, old_one_in), 1), (&mut self.to, (new, new_one_in), slow)]
        {
            for _ in 0..count {
                arm.0 += 1;
                arm.1 += u64::from(one_in > 0 && arm.0.is_multiple_of(one_in));
                arm.2.record(slow * (1_000_000 + arm.0 % 100 * 20_000));
            }
        }
        self.second += 1;
        let commands = self.migration.tick(at(self.second), &self.seen());
        self.told.extend(commands);
    }

    fn seen(&self) -> Observation {
        let arm = |arm: &(u64, u64, Histogram)| Arm {
            requests: arm.0,
            errors: arm.1,
            durations: arm.2.snapshot(),
        };
        let unix_ms = self.second * 1_000;
        Observation {
            from: arm(&self.from),
            to: arm(&self.to),
            differences: self.differences,
            capacity: self.capacity,
            stable: self.stable,
            pending: [Pending::default(); 2],
            unix_ms,
        }
    }

    /// A pool's counters, as they are read from a file.
    fn again(of: &(u64, u64, Histogram)) -> (u64, u64, Histogram) {
        let durations = Histogram::default();
        (0..of.0).for_each(|at| durations.record(1_000_000 + at % 100 * 20_000));
        (of.0, of.1, durations)
    }

    fn run(&mut self, seconds: u64) -> State {
        (0..seconds).for_each(|_| self.second(0, 1));
        self.migration.state()
    }

    fn moved(&self) -> Vec<u32> {
        let moved = self.told.iter().filter_map(|command| match command {
            Command::Divide(traffic) => Some(traffic.moved),
            Command::Preflight | Command::Call(_) | Command::Promote => None,
        });
        moved.collect()
    }

    fn wish(&mut self, wish: Wish) -> Result<(), String> {
        self.migration.wish(wish, at(self.second), self.second * 1_000)
    }
}

#[test]
fn an_equal_pool_goes_through_every_stage() {
    let mut world = World::new(plan(vec![stage(25.0, 20), stage(50.0, 20), stage(100.0, 20)]));
    assert_eq!(world.run(75), State::Done);
    assert_eq!(world.moved(), [2_500, 5_000, 10_000, 10_000]);
    assert_eq!(world.told.last(), Some(&Command::Promote));
    assert!(world.migration.checks().all(|check| check.verdict == Verdict::Go));
    assert_eq!(world.migration.weight(), 100.0);
}

#[test]
fn one_per_cent_of_errors_ends_it_within_one_check() {
    let mut plan = plan(vec![stage(25.0, 20), stage(50.0, 20)]);
    for stage in &mut plan.stages {
        stage.gates.success_rate = Some(0.999);
    }
    plan.abort.error_ratio = 0.0;
    let mut world = World::new(plan);
    world.run(22);
    assert_eq!(world.migration.stage(), 1);
    (0..11).for_each(|_| world.second(100, 1));
    assert_eq!(world.migration.state(), State::Aborted);
    assert_eq!(world.migration.verdict(), Some(Verdict::NoGo));
    assert_eq!((world.moved().last(), world.migration.weight()), (Some(&0), 0.0));
    assert!(world.migration.reason().contains("success_rate does not hold"));
}

#[test]
fn a_dead_pool_is_left_within_two_seconds() {
    let mut world = World::new(plan(vec![stage(25.0, 60), stage(50.0, 60)]));
    world.run(5);
    world.second(1, 1);
    assert_eq!(world.migration.state(), State::Aborted);
    assert!(world.migration.reason().contains("errors"), "{}", world.migration.reason());
    assert_eq!(world.migration.checks().last().map(|check| check.verdict), Some(Verdict::NoGo));
}

#[test]
fn a_pool_without_backends_is_left_at_once() {
    let mut world = World::new(plan(vec![stage(25.0, 60)]));
    world.run(3);
    world.capacity.eligible = 0;
    world.second(0, 1);
    assert_eq!(world.migration.state(), State::Aborted);
}

#[test]
fn a_slower_pool_is_not_promoted() {
    let mut world = World::new(plan(vec![stage(25.0, 20), stage(50.0, 20)]));
    (0..40).for_each(|_| world.second(0, 3));
    assert_eq!(world.migration.state(), State::Aborted);
    assert!(world.migration.reason().contains("max_p99_ratio does not hold"));
}

#[test]
fn too_little_traffic_holds_and_never_passes() {
    let mut world = World::new(plan(vec![stage(25.0, 20), stage(50.0, 20)]));
    (0..200).for_each(|_| world.answer((3, 0), (1, 0), 1));
    assert_eq!((world.migration.state(), world.migration.stage()), (State::Running, 0));
    assert_eq!(world.migration.verdict(), Some(Verdict::NotEnoughData));
    let mut plan = plan(vec![stage(25.0, 20)]);
    plan.stages[0].on_max_duration = OnMaxDuration::Abort;
    let mut world = World::new(plan);
    (0..60).for_each(|_| world.answer((3, 0), (1, 0), 1));
    assert_eq!(world.migration.state(), State::Aborted);
}

#[test]
fn errors_of_both_pools_freeze_and_do_not_abort() {
    let mut world = World::new(plan(vec![stage(50.0, 30), stage(100.0, 10)]));
    world.run(5);
    (0..20).for_each(|_| world.answer((500, 4), (500, 4), 1));
    assert_eq!(world.migration.state(), State::Frozen);
    assert_eq!(world.migration.weight(), 50.0);
    assert_eq!(world.run(90), State::Done);
}

#[test]
fn a_person_pauses_resumes_approves_and_aborts() {
    let mut plan = plan(vec![stage(25.0, 10), stage(50.0, 10)]);
    plan.stages[0].approval = Approval::Manual;
    let mut world = World::new(plan);
    world.run(5);
    assert_eq!(world.wish(Wish::Pause), Ok(()));
    assert_eq!(world.run(30), State::Paused);
    assert!(world.wish(Wish::Approve("ann".to_owned())).is_err());
    assert_eq!(world.wish(Wish::Resume), Ok(()));
    assert_eq!(world.run(25), State::Waiting);
    assert_eq!(world.migration.reason(), "every gate holds; waits for approval");
    assert_eq!(world.wish(Wish::Approve("ann".to_owned())), Ok(()));
    world.run(1);
    assert_eq!((world.migration.state(), world.migration.stage()), (State::Running, 1));
    let approved: Vec<_> =
        world.migration.checks().filter_map(|check| check.approved_by.as_deref()).collect();
    assert_eq!(approved, ["ann"]);
    assert_eq!(world.wish(Wish::Abort("bob".to_owned())), Ok(()));
    assert_eq!(world.migration.reason(), "aborted by bob");
    assert!(world.wish(Wish::Pause).is_err());
}

#[test]
fn wishes_make_no_seconds_pass() {
    let mut plan = plan(vec![stage(50.0, 60)]);
    plan.stages[0].approval = Approval::Manual;
    let mut world = World::new(plan);
    world.run(5);
    // Many wait in both pools, as they do where answers take long; the old one has answered since.
    let waiting = |answered| Pending { requests: 30, answered };
    for (millis, answered) in (0..200).step_by(5).zip(100..) {
        let wish = Wish::Approve(format!("person {millis}"));
        assert_eq!(world.wish(wish), Ok(()), "{}", world.migration.reason());
        let pending = [waiting(answered), waiting(100)];
        let mut seen = Observation { pending, ..world.seen() };
        seen.from.requests += answered;
        world.migration.tick(at(5).after(Duration::from_millis(millis)), &seen);
    }
    assert_eq!(world.migration.state(), State::Running, "{}", world.migration.reason());
}

#[test]
fn a_stage_and_the_watch_count_from_their_first_second_on() {
    let mut short = plan(vec![stage(50.0, 1)]);
    (short.interval, short.watch) = (Duration::from_secs(1), Duration::from_secs(1));
    let mut world = World::new(short);
    world.run(1);
    let refused = world.wish(Wish::Approve("ann".to_owned())).unwrap_err();
    let why = "the migration is running: stage 1 needs no approval (`approval: auto`)";
    assert_eq!(refused, why);
    assert_eq!(world.run(2), State::Done);
    let counts: Vec<u64> = world.migration.checks().map(|check| check.to.requests).collect();
    assert_eq!(counts, [500, 1_000]);
}

#[test]
fn webhooks_are_waited_for_and_can_refuse() {
    let mut with = plan(vec![stage(25.0, 10)]);
    with.webhooks = hooks(&[HookPoint::BeforeStage, HookPoint::AfterStage, HookPoint::Done]);
    let mut world = World::new(with.clone());
    assert_eq!(world.run(5), State::Waiting);
    assert_eq!((world.moved().len(), world.migration.weight()), (0, 0.0));
    world.migration.hook_ended(Ok(()), at(5), 5_000);
    assert_eq!(world.run(15), State::Waiting);
    assert_eq!(world.told.last(), Some(&Command::Call(HookPoint::AfterStage)));
    world.migration.hook_ended(Ok(()), at(20), 20_000);
    assert_eq!(world.run(12), State::Done);
    assert_eq!(world.told.last(), Some(&Command::Call(HookPoint::Done)));
    let mut refused = World::new(with);
    refused.run(2);
    refused.migration.hook_ended(Err("http://ci/ answered 500".to_owned()), at(2), 2_000);
    assert_eq!(refused.migration.state(), State::Aborted);
    assert_eq!(refused.migration.verdict(), Some(Verdict::NoGo));
}

#[test]
fn a_restart_goes_on_in_the_same_stage_and_proves_it_again() {
    let mut world = World::new(plan(vec![stage(25.0, 10), stage(50.0, 60)]));
    world.run(40);
    let kept = world.migration.to_resume(at(40));
    assert_eq!((kept.state, kept.stage), (State::Running, 1));
    let mut again = World::new(plan(vec![stage(25.0, 10), stage(50.0, 60)]));
    again.migration = Migration::resume(again.migration.plan().clone(), kept, at(0));
    again.run(1);
    assert_eq!(again.moved(), [5_000]);
    assert!(again.migration.elapsed(at(1)) >= Duration::from_secs(25));
    assert_eq!(again.run(60), State::Done);
}

/// The world after a crash: nothing is known but what was written down, and counters go on.
fn after_a_crash(world: &World) -> World {
    let kept = world.migration.to_resume(at(world.second));
    let migration = Migration::resume(world.migration.plan().clone(), kept, at(world.second));
    let (from, to) = (World::again(&world.from), World::again(&world.to));
    World { from, to, migration, second: world.second, ..World::new(plan(Vec::new())) }
}

#[test]
fn a_restart_gives_a_stage_no_more_time_than_it_has() {
    for (on_max_duration, wanted) in
        [(OnMaxDuration::Abort, State::Aborted), (OnMaxDuration::Hold, State::Running)]
    {
        let mut slow = stage(50.0, 30);
        slow.on_max_duration = on_max_duration;
        slow.min_requests = u64::MAX;
        let mut world = World::new(plan(vec![slow]));
        world.run(40);
        let mut again = after_a_crash(&world);
        assert_eq!(again.run(15), State::Running, "{on_max_duration:?}");
        assert_eq!(again.run(15), wanted, "{on_max_duration:?}");
    }
}

#[test]
fn a_restart_with_everything_moved_compares_with_what_the_old_pool_was() {
    let mut world = World::new(plan(vec![stage(50.0, 10), stage(100.0, 30)]));
    world.run(25);
    assert_eq!((world.migration.state(), world.migration.weight()), (State::Running, 100.0));
    let looks = world.migration.to_resume(at(25)).looks;
    let mut again = after_a_crash(&world);
    assert_eq!(again.migration.to_resume(at(25)).looks, looks, "their risk is spent");
    assert_eq!(again.run(60), State::Done);
}

#[test]
fn a_plan_that_moves_everything_at_once_compares_with_what_was_before_it() {
    let mut world = World::new(plan(vec![stage(100.0, 10)]));
    world.answer((1_000, 0), (0, 0), 1);
    assert_eq!(world.run(40), State::Done);
}

#[test]
fn a_restart_before_a_stage_asks_whether_it_may_begin() {
    let mut with = plan(vec![stage(25.0, 10), stage(50.0, 10)]);
    with.webhooks = hooks(&[HookPoint::BeforeStage]);
    let mut world = World::new(with);
    world.run(2);
    world.migration.hook_ended(Ok(()), at(2), 2_000);
    assert_eq!(world.run(20), State::Waiting);
    assert_eq!((world.migration.stage(), world.migration.weight()), (1, 25.0));
    let mut again = after_a_crash(&world);
    assert_eq!(again.run(5), State::Waiting);
    assert_eq!((again.moved(), again.migration.weight()), (vec![2_500], 25.0));
    assert_eq!(again.told.last(), Some(&Command::Call(HookPoint::BeforeStage)));
    again.migration.hook_ended(Ok(()), at(again.second), 0);
    again.run(1);
    assert_eq!(again.moved(), [2_500, 5_000]);
}

#[test]
fn a_pause_of_the_watch_is_one_after_a_restart_too() {
    let mut world = World::new(plan(vec![stage(50.0, 10)]));
    while world.run(1) != State::Watching {}
    assert_eq!(world.wish(Wish::Pause), Ok(()));
    let mut again = after_a_crash(&world);
    assert_eq!(again.run(5), State::Paused);
    assert_eq!(again.moved(), [10_000]);
    assert_eq!(again.wish(Wish::Resume), Ok(()));
    assert_eq!(again.run(1), State::Watching);
}

#[test]
fn who_agreed_ahead_need_not_agree_again() {
    let mut manual = plan(vec![stage(50.0, 20)]);
    manual.stages[0].approval = Approval::Manual;
    let mut world = World::new(manual);
    world.run(5);
    assert_eq!(world.wish(Wish::Approve("ann".to_owned())), Ok(()));
    assert_eq!(after_a_crash(&world).run(60), State::Done);
}

#[test]
fn pools_that_are_gone_together_freeze() {
    let mut world = World::new(plan(vec![stage(50.0, 30), stage(100.0, 10)]));
    world.run(5);
    (world.capacity.eligible, world.stable) = (0, 0);
    (0..20).for_each(|_| world.answer((500, 1), (500, 1), 1));
    assert_eq!(world.migration.state(), State::Frozen);
    // The old one comes back first.
    world.stable = 2;
    world.answer((500, 0), (500, 1), 1);
    assert_eq!(world.migration.state(), State::Frozen);
    assert_eq!(world.wish(Wish::Pause), Ok(()), "it is not to go on by itself");
    assert_eq!(world.wish(Wish::Resume), Ok(()));
    world.capacity.eligible = 2;
    assert_eq!(world.run(90), State::Done);
}

#[test]
fn preflight_waits_for_healthy_backends_and_asks_them() {
    let mut asking = plan(vec![stage(25.0, 10)]);
    asking.preflight = Preflight { requests: 3, path: "/".to_owned() };
    let mut world = World::new(asking);
    world.capacity.eligible = 1;
    assert_eq!(world.run(5), State::Preflight);
    world.capacity.eligible = 2;
    world.run(1);
    assert_eq!(world.told, [Command::Preflight]);
    world.migration.preflight_ended(Err("2 of 3 requests failed".to_owned()), at(7), 7_000);
    assert_eq!(world.migration.state(), State::Aborted);
    let mut never = World::new(plan(vec![stage(25.0, 10)]));
    never.capacity.eligible = 0;
    assert_eq!(never.run(31), State::Aborted);
}

#[test]
fn load_above_all_of_it_is_copied_on_top() {
    let mut world = World::new(plan(vec![stage(120.0, 10)]));
    world.run(1);
    let divided = Traffic { moved: 10_000, copies: 20.0, ..Traffic::default() };
    assert_eq!(world.told, [Command::Divide(divided)]);
}

#[test]
fn checks_come_every_interval_though_nobody_is_punctual() {
    for jitter in [0, 1, 40, 90, 150] {
        let mut plan = plan(vec![stage(50.0, 1_000)]);
        plan.interval = Duration::from_secs(1);
        let mut migration = Migration::start(plan, at(0), 0);
        let mut draw = 7_u64;
        for second in 1..=101 {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let late = Duration::from_millis((draw >> 33) % (jitter + 1));
            let capacity = Capacity { eligible: 1, total: 1, ramping: 0 };
            let seen = Observation { capacity, ..Observation::default() };
            migration.tick(at(second).after(late), &seen);
        }
        let checks = migration.checks().len();
        assert!((99..=101).contains(&checks), "{checks} checks in 100 s, {jitter} ms late");
    }
}

fn mirror_world(most: f64, copies: f64) -> World {
    let gates = Gates { max_differences: Some(most), ..Gates::default() };
    let traffic = StageTraffic::Mirror(copies);
    World::new(plan(vec![
        Stage { traffic, gates: gates.clone(), ..stage(0.0, 20) },
        Stage { gates, ..stage(50.0, 20) },
    ]))
}

#[test]
fn a_stage_of_copies_moves_nobody_and_asks_whether_answers_differ() {
    for (one_in, state) in [(1_000, State::Running), (20, State::Aborted)] {
        let mut world = mirror_world(0.01, 100.0);
        for _ in 0..30 {
            world.differences.of += 500;
            world.differences.hits += 500 / one_in;
            world.answer((1_000, 0), (500, 0), 1);
        }
        let migration = &world.migration;
        assert_eq!(migration.state(), state, "{}", migration.reason());
        let divided = world.told.iter().find_map(|command| match command {
            Command::Divide(traffic) => Some((traffic.moved, traffic.copies)),
            Command::Preflight | Command::Call(_) | Command::Promote => None,
        });
        assert_eq!(divided, Some((0, 100.0)));
        let gate = migration.checks().next().and_then(|check| check.gates.last().cloned());
        assert_eq!(gate.map(|it| it.gate), Some("max_differences"));
    }
}

#[test]
fn copies_that_fail_end_a_stage_of_copies_within_two_seconds() {
    let last_divided = |world: &World| {
        let mut told = world.told.iter().rev();
        told.find_map(|command| match command {
            Command::Divide(traffic) => Some((traffic.moved, traffic.copies)),
            Command::Preflight | Command::Call(_) | Command::Promote => None,
        })
    };
    let mut world = mirror_world(0.5, 10.0);
    (0..5).for_each(|_| world.answer((1_000, 0), (100, 0), 1));
    assert_eq!(last_divided(&world), Some((0, 10.0)));
    // What both have is nothing that the new pool does.
    world.answer((1_000, 2), (100, 2), 1);
    assert_ne!(world.migration.state(), State::Aborted);
    let mut world = mirror_world(0.5, 10.0);
    (0..5).for_each(|_| world.answer((1_000, 0), (100, 0), 1));
    world.answer((1_000, 0), (100, 1), 1);
    assert_eq!(world.migration.state(), State::Aborted);
    assert!(world.migration.reason().contains("in a row"), "{}", world.migration.reason());
    assert_eq!(last_divided(&world), Some((0, 0.0)), "no more copies");
    let mut world = mirror_world(0.5, 10.0);
    (0..5).for_each(|_| world.answer((1_000, 0), (100, 0), 1));
    world.capacity.eligible = 0;
    world.answer((1_000, 0), (0, 0), 1);
    assert_eq!((world.migration.state(), last_divided(&world)), (State::Aborted, Some((0, 0.0))));
}

#[test]
fn differences_are_asked_for_in_stages_of_copies_only_and_hold_them_until_known() {
    let mut world = mirror_world(0.01, 10.0);
    (0..100).for_each(|_| world.answer((1_000, 0), (100, 0), 1));
    assert_eq!(world.migration.stage(), 0, "nothing was compared");
    assert_eq!(world.migration.verdict(), Some(Verdict::NotEnoughData));
    world.differences.of = 1_000;
    (0..30).for_each(|_| world.answer((1_000, 0), (100, 0), 1));
    assert_eq!(world.migration.stage(), 1, "{}", world.migration.reason());
    (0..30).for_each(|_| world.answer((500, 0), (500, 0), 1));
    let last = world.migration.checks().last().expect("a check");
    assert!(last.gates.iter().all(|gate| gate.gate != "max_differences"), "{last:?}");
}

#[test]
fn what_is_above_a_hundred_is_copied() {
    let mut world = World::new(plan(vec![stage(150.0, 20)]));
    world.run(3);
    let divided = world.told.iter().find_map(|command| match command {
        Command::Divide(traffic) => Some((traffic.moved, traffic.copies)),
        Command::Preflight | Command::Call(_) | Command::Promote => None,
    });
    assert_eq!(divided, Some((COHORTS, 50.0)));
}
