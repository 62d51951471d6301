use super::*;
use crate::address::{BackendAddress, BindAddress};
use crate::backend::Backend;
use crate::breaker::{BreakerState, Trip};
use crate::health::{HealthState, ProbeFault, ProbeResult};
use crate::limit::Admission;
use crate::plan::{
    AcceptProxy, AdminPlan, AdminState, BackendPlan, HeaderRules, HealthCheck, Limits,
    ListenerProtocol, LogFormat, LogLevel, LoggingPlan, PathPolicy, RateKey, RateLimitPlan,
    RouteMatch, ShutdownPlan,
};
use crate::pool::{Mode, Outcome, Pick, Query, Tried};
use crate::strategy::StrategyName;
use crate::suspicion::{Doubt, Trust};
use std::path::PathBuf;
use std::time::Duration;

/// Made anew for everybody who asks, as at a start, but the key of a file stays.
#[derive(Default)]
struct Keys(HashMap<Option<PathBuf>, Arc<CookieKeys>>);

impl Secrets for Keys {
    fn cookie_keys(&mut self, plan: &CookiePlan) -> Arc<CookieKeys> {
        let made = || Arc::new(CookieKeys::random([7; 32]));
        Arc::clone(self.0.entry(plan.secret_file.clone()).or_insert_with(made))
    }

    fn seed(&mut self) -> [u64; 2] {
        [1, 2]
    }
}

fn at(seconds: u64) -> Nanos {
    Nanos::default().after(Duration::from_secs(1000 + seconds))
}

fn backend(address: &str) -> BackendPlan {
    BackendPlan::bare(BackendAddress::parse(address).expect("valid"))
}

fn pool(name: &str, addresses: &[&str]) -> PoolPlan {
    let mut plan = PoolPlan::bare(name, addresses.iter().map(|text| backend(text)).collect());
    plan.breaker.enabled = true;
    plan.health.check = HealthCheck::Tcp;
    plan
}

fn listener(name: &str, bind: &str) -> ListenerPlan {
    ListenerPlan {
        name: name.into(),
        bind: BindAddress::parse(bind).expect("valid"),
        trusted_proxies: Vec::new(),
        limits: Limits {
            max_connections: 0,
            max_connections_per_ip: 0,
            request_head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            max_request_head_bytes: 32 * 1024,
            max_request_fields: 100,
            max_request_body_bytes: 0,
        },
        paths: PathPolicy::Lenient,
        mounts: Vec::new(),
        protocol: ListenerProtocol::Http,
        tls: None,
        proxy_protocol: AcceptProxy::Off,
        redirect: None,
    }
}

fn route(name: &str, requests: Option<u32>) -> RoutePlan {
    let limit = |requests| RateLimitPlan {
        requests,
        per: Duration::from_secs(3600),
        burst: requests,
        key: RateKey::Route,
    };
    RoutePlan {
        name: name.into(),
        matches: RouteMatch::default(),
        split: vec![(0, 1)],
        strip_prefix: false,
        request_headers: HeaderRules::default(),
        response_headers: HeaderRules::default(),
        allow: Vec::new(),
        deny: Vec::new(),
        timeout: Duration::ZERO,
        rate_limit: requests.map(limit),
        arms: None,
        mirrors: Vec::new(),
    }
}

fn plan(pools: Vec<PoolPlan>) -> Plan {
    Plan {
        recorder: crate::plan::RecorderPlan::off(),
        pprof: None,
        tracing: None,
        listeners: vec![listener("web", "127.0.0.1:80")],
        routes: vec![route("r", None)],
        pools,
        admin: AdminPlan { bind: None, required: true, tokens_file: None },
        logging: LoggingPlan {
            level: LogLevel::Info,
            format: LogFormat::Json,
            file: None,
            access: true,
            access_sample: 1.0,
            greeting: None,
        },
        workers: 1,
        metrics: Vec::new(),
        mocks: false,
        shutdown: ShutdownPlan { grace: Duration::ZERO, drain_timeout: Duration::from_secs(30) },
        state_dir: None,
    }
}

/// Two snapshots, one after the other, and what changes between their plans.
fn generations(old: Plan, change: impl FnOnce(&mut Plan)) -> (Snapshot, Snapshot) {
    let mut keys = Keys::default();
    let mut plan = old.clone();
    let old = Snapshot::new(old, &mut keys);
    change(&mut plan);
    let new = old.next(plan, &mut keys, at(0));
    (old, new)
}

fn pick(pool: &Pool) -> Pick {
    let (tried, now) = (Tried::default(), at(1));
    let query = Query {
        tried: &tried,
        now,
        draw: 0,
        hash: 0,
        tied: None,
        repeatable: true,
        has_idle: &|_| false,
    };
    pool.pick(&query).expect("somebody")
}

fn by_name<'a>(snapshot: &'a Snapshot, name: &str) -> &'a Backend {
    let mut all = snapshot.pools.iter().flat_map(|pool| &pool.backends);
    all.find(|backend| &*backend.plan.name == name).expect("it is there")
}

fn fail_probes(pool: &Pool, index: usize) {
    for _ in 0..pool.plan.health.unhealthy_threshold {
        let fault = Some(ProbeFault::Timeout);
        pool.record_probe(index, ProbeResult { at: at(0), took: Duration::ZERO, fault });
    }
}

#[test]
fn what_did_not_change_is_the_same_pool() {
    let (old, new) = generations(plan(vec![pool("a", &["127.0.0.1:1"])]), |plan| {
        plan.pools.insert(0, pool("b", &["127.0.0.1:1"]));
    });
    assert!(Arc::ptr_eq(&old.pools[0], &new.pools[1]), "known by its name, wherever it stands");
    assert_eq!((old.generation, new.generation), (1, 2));
    let slots = (by_name(&old, "127.0.0.1:1").slot, new.pools[0].backends[0].slot);
    assert_ne!(slots.0, slots.1, "the same address in another pool is another backend");
}

#[test]
fn a_backend_keeps_what_is_known_of_it_whatever_changes_around_it() {
    let first = plan(vec![pool("a", &["127.0.0.1:1", "127.0.0.1:2"])]);
    type Change = fn(&mut PoolPlan);
    let changes: &[(&str, Change)] = &[
        ("weight", |pool| pool.backends[0].weight = 7),
        ("admin", |pool| pool.backends[0].admin = AdminState::Draining),
        ("name", |pool| pool.backends[0].name = "renamed".into()),
        ("spelling", |pool| {
            let spelt = BackendAddress::parse("http://127.0.0.1:1").expect("valid");
            pool.backends[0].address = spelt;
        }),
        ("strategy", |pool| pool.strategy = StrategyName::Maglev),
        ("others", |pool| pool.backends.push(backend("127.0.0.1:3"))),
        ("timeouts", |pool| pool.timeouts.connect = Duration::from_secs(9)),
        ("threshold", |pool| pool.health.unhealthy_threshold = 9),
        ("retries", |pool| pool.retry.attempts = 9),
    ];
    for (what, change) in changes {
        let mut next = first.clone();
        let mut keys = Keys::default();
        let old = Snapshot::new(first.clone(), &mut keys);
        let known = &old.pools[0].backends[0];
        fail_probes(&old.pools[0], 0);
        let _ = known.breaker.eject(&first.pools[0].breaker, at(0), Trip::Consecutive(5), 0.5);
        known.suspicion.raise(Doubt::Reset, at(0));
        known.connect_times.observe(Duration::from_millis(900));
        known.publish(&["10.0.0.1:1".parse().expect("valid")]);
        known.note_idle(3);
        let running = pick_of(&old.pools[0], 0);
        change(&mut next.pools[0]);
        let new = old.next(next, &mut keys, at(1));
        let backend = &new.pools[0].backends[0];
        assert_eq!(backend.slot, known.slot, "{what}");
        assert_eq!(backend.health.state(), HealthState::Unhealthy, "{what}");
        assert_eq!(backend.breaker.state(), BreakerState::Open, "{what}");
        assert_ne!(backend.suspicion.trust(), Trust::Trusted, "{what}");
        assert!(backend.connect_times.patience() >= Duration::from_millis(900), "{what}");
        assert_eq!(backend.addresses().len(), 1, "{what}");
        assert_eq!((backend.idle_connections(), backend.in_flight()), (3, 1), "{what}");
        assert_eq!(backend.joined_at(), None, "{what}: it has been there all the time");
        drop(running);
        assert_eq!(backend.in_flight(), 0, "{what}: an exchange of the old one counts here");
    }
}

/// A pick of this very backend, which may be out.
fn pick_of(pool: &Pool, index: usize) -> Pick {
    let tried = Tried::default();
    let query = Query {
        tried: &tried,
        now: at(0),
        draw: 0,
        hash: 0,
        tied: None,
        repeatable: false,
        has_idle: &|_| false,
    };
    pool.occupy_for_test(index, &query)
}

#[test]
fn who_comes_joins_now_and_who_is_taken_back_too() {
    let mut first = plan(vec![pool("a", &["127.0.0.1:1", "127.0.0.1:2"])]);
    first.pools[0].backends[1].admin = AdminState::Disabled;
    let (_, new) = generations(first, |plan| {
        plan.pools[0].backends[1].admin = AdminState::Enabled;
        plan.pools[0].backends.push(backend("127.0.0.1:3"));
    });
    let joined = |index: usize| new.pools[0].backends[index].joined_at();
    assert_eq!([joined(0), joined(1), joined(2)], [None, Some(at(0)), Some(at(0))]);
}

#[test]
fn what_an_older_exchange_finds_out_reaches_the_newer_selection() {
    let (old, new) = generations(plan(vec![pool("a", &["127.0.0.1:1", "127.0.0.1:2"])]), |plan| {
        plan.pools[0].retry.attempts = 2;
    });
    let (before, after) = (&old.pools[0], &new.pools[0]);
    assert!(!Arc::ptr_eq(before, after));
    for _ in 0..5 {
        let mut running = pick_of(before, 0);
        before.report(&mut running, Outcome::Failed, at(1), 0.5);
    }
    assert_eq!(after.backends[0].breaker.state(), BreakerState::Open);
    after.review(at(2), 0.5);
    let picked: Vec<usize> = (0..4).map(|_| pick(after).index).collect();
    assert_eq!(picked, [1, 1, 1, 1]);
}

#[test]
fn a_bad_mode_is_told_once_whoever_finds_it() {
    let mut first = plan(vec![pool("a", &["127.0.0.1:1"])]);
    first.pools[0].fail_open = false;
    let (old, new) = generations(first, |plan| plan.pools[0].retry.attempts = 2);
    fail_probes(&old.pools[0], 0);
    assert_eq!(old.pools[0].mode(), Mode::Empty);
    let told = new.pools[0].review(at(2), 0.5);
    assert_eq!(new.pools[0].mode(), Mode::Empty);
    assert!(told.iter().all(|(_, change)| change.mode.is_none()), "{told:?}");
}

#[test]
fn turns_budget_and_queue_go_on() {
    let first = plan(vec![pool("a", &["127.0.0.1:1", "127.0.0.1:2"])]);
    let mut keys = Keys::default();
    let old = Snapshot::new(first.clone(), &mut keys);
    assert_eq!(pick(&old.pools[0]).index, 0);
    let mut next = first;
    next.pools[0].timeouts.idle = Duration::from_secs(1);
    let new = old.next(next, &mut keys, at(0));
    assert_eq!(pick(&new.pools[0]).index, 1, "the turn of the second");
    assert!(Arc::ptr_eq(&old.pools[0].budget, &new.pools[0].budget));
    assert!(Arc::ptr_eq(&old.pools[0].waiting, &new.pools[0].waiting));
}

#[test]
fn a_verdict_of_a_check_that_is_turned_off_is_forgotten() {
    let (old, _) = generations(plan(vec![pool("a", &["127.0.0.1:1"])]), |_| {});
    fail_probes(&old.pools[0], 0);
    let breaker = &old.pools[0].plan.breaker;
    let _ = old.pools[0].backends[0].breaker.eject(breaker, at(0), Trip::Consecutive(5), 0.5);
    let mut off = old.plan.clone();
    off.pools[0].health.check = HealthCheck::Off;
    off.pools[0].breaker.enabled = false;
    let new = old.next(off, &mut Keys::default(), at(1));
    assert_eq!(new.pools[0].backends[0].barred(at(1)), None);
    assert_eq!(new.pools[0].mode(), Mode::Normal);
}

#[test]
fn limits_that_did_not_change_remember_what_was_used() {
    let mut first = plan(vec![pool("a", &["127.0.0.1:1"])]);
    first.routes = vec![route("kept", Some(1)), route("raised", Some(1))];
    let mut keys = Keys::default();
    let old = Snapshot::new(first.clone(), &mut keys);
    let is_free = |limiter: &Option<Arc<RateLimiter>>| {
        let limiter = limiter.as_ref().expect("a limit");
        matches!(limiter.check(limiter.whole(), at(0)), Admission::Allowed(_))
    };
    assert!(old.limiters.iter().all(is_free));
    first.routes = vec![route("raised", Some(2)), route("kept", Some(1))];
    let new = old.next(first, &mut keys, at(0));
    assert!(is_free(&new.limiters[0]), "another limit begins anew");
    assert!(!is_free(&new.limiters[1]), "wherever the route stands");
}

#[test]
fn listeners_are_known_by_where_they_bind() {
    let mut first = plan(vec![pool("a", &["127.0.0.1:1"])]);
    first.listeners = vec![
        listener("web", "127.0.0.1:80"),
        listener("any", "127.0.0.1:0"),
        listener("other", "127.0.0.1:0"),
    ];
    let (old, new) = generations(first, |plan| {
        plan.listeners = vec![
            listener("other", "127.0.0.1:0"),
            listener("new", "127.0.0.1:81"),
            listener("any", "127.0.0.1:82"),
            listener("renamed", "127.0.0.1:80"),
            listener("third", "127.0.0.1:0"),
        ];
    });
    let numbers = |snapshot: &Snapshot| -> Vec<usize> {
        snapshot.doors.iter().map(|door| door.number).collect()
    };
    assert_eq!(numbers(&old), [0, 1, 2]);
    assert_eq!(numbers(&new), [2, 3, 4, 0, 5]);
    assert_eq!(new.listener(1), None, "it has gone, and its number with it");
    assert_eq!(new.listener(0).map(|listener| &*listener.name), Some("renamed"));
    assert!(Arc::ptr_eq(&old.doors[0].open, &new.doors[3].open));
}

#[test]
fn key_tables_are_kept_while_their_members_are_the_same() {
    let mut first = pool("a", &["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]);
    first.strategy = StrategyName::Maglev;
    let (old, new) = generations(plan(vec![first]), |plan| {
        plan.pools[0].backends[1].admin = AdminState::Disabled;
    });
    assert!(old.pools[0].shares_keys_with(&new.pools[0]));
    let (old, new) = generations(old.plan, |plan| plan.pools[0].backends[1].weight = 2);
    assert!(!old.pools[0].shares_keys_with(&new.pools[0]));
}
