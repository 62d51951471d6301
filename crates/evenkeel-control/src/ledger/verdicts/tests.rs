use super::*;
use evenkeel_config::{Format, Overrides, Source, read};
use evenkeel_core::breaker::{HostWindow, Trip, Verdict};
use evenkeel_core::health::{ProbeFault, ProbeResult};
use evenkeel_core::pool::Pool;
use evenkeel_proxy::log::{Log, LogOptions};
use evenkeel_proxy::secrets::compile;
use evenkeel_proxy::shared::Bounds;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const FILE: &str = r#"
listeners: [{ name: web, bind: "127.0.0.1:0" }]
routes: [{ pool: a }]
pools:
  - name: a
    health: { type: tcp }
    backends:
      - { name: b1, address: "127.0.0.1:1" }
      - { name: b2, address: "127.0.0.1:2" }
      - { name: b3, address: "127.0.0.1:3" }
"#;

/// Of a breaker.
const WINDOW: Duration = Duration::from_secs(10);

/// Nothing is probed by itself.
fn server(text: &str) -> Shared {
    let name = "c.yaml".to_owned();
    let source = Source { name, text: text.to_owned(), format: Format::Yaml };
    let configuration = read(Some(&source), &Overrides::default()).expect("it is valid");
    let (plan, _) = configuration.plan();
    let (format, level) = (plan.logging.format, plan.logging.level);
    let log = Log::start(LogOptions { format, level, file: Some("/dev/null".into()) });
    let events = log.expect("a log").events();
    let bounds = Bounds { max_clients: 10, workers: 1 };
    Shared::new(compile(plan).expect("no files to read"), bounds, 1, events)
}

fn pool(server: &Shared) -> Arc<Pool> {
    Arc::clone(&server.snapshot().pools[0])
}

/// The first is dead, the breaker of the second is open.
fn old() -> Shared {
    let server = server(FILE);
    let (pool, now) = (pool(&server), server.now());
    for _ in 0..pool.plan.health.unhealthy_threshold {
        let fault = Some(ProbeFault::Status(500));
        let took = Duration::from_millis(2);
        let _ = pool.record_probe(0, ProbeResult { at: now, took, fault });
    }
    let _ = pool.record_probe(2, ProbeResult { at: now, took: Duration::ZERO, fault: None });
    let trip = Trip::Rate { failures: 11, requests: 20 };
    assert!(pool.backends[1].breaker.eject(&pool.plan.breaker, now, trip, 0.0).is_some());
    server
}

#[test]
fn what_a_breaker_has_counted_goes_along_and_is_bounded() {
    let (old, new) = (server(FILE), server(FILE));
    let (before, after) = (pool(&old), pool(&new));
    let plan = &before.plan.breaker;
    for _ in 1..plan.failure_threshold {
        let opened = before.backends[2].breaker.record(plan, old.now(), Verdict::Failure, 0.0);
        assert_eq!(opened, None);
    }
    let mut verdicts = carried(&Verdicts::all(&old));
    verdicts.take_up(&new, Use::All);
    let failed = u64::from(plan.failure_threshold - 1);
    let window = |pool: &Pool, server: &Shared| {
        pool.backends[2].breaker.window(&pool.plan.breaker, server.now())
    };
    assert_eq!(window(&after, &new), HostWindow { requests: failed, successes: 0 });
    let opened = after.backends[2].breaker.record(plan, new.now(), Verdict::Failure, 0.0);
    assert!(opened.is_some(), "one more than {failed}");

    // It says that of itself which no process can have counted.
    let mut odd = Verdicts::all(&old).to_json();
    let now = unix_nanos();
    odd["backends"][2]["breaker"]["window"] = json!(vec![(now, u32::MAX, u32::MAX); 1000]);
    verdicts = carried(&Verdicts::parse(&odd).expect("numbers"));
    let next = server(FILE);
    verdicts.take_up(&next, Use::All);
    assert!(window(&pool(&next), &next).requests < 1 << 21);
    odd["backends"][2]["breaker"]["window"] = json!([[now, -1, 0]]);
    assert!(Verdicts::parse(&odd).is_err());
}

/// As it comes out of a pipe.
fn carried(verdicts: &Verdicts) -> Verdicts {
    let text = verdicts.to_json().to_string();
    Verdicts::parse(&serde_json::from_str(&text).expect("JSON")).expect("our own")
}

#[test]
fn the_next_process_knows_what_this_one_knew() {
    let (old, new) = (old(), server(FILE));
    let taken = carried(&Verdicts::all(&old)).take_up(&new, Use::All);
    assert_eq!(taken, TakenUp { backends: 3, unhealthy: 1, open: 1 });
    let (before, after) = (pool(&old), pool(&new));
    // Both clocks are read at other moments.
    let near = |one: Nanos, other: Nanos| one.0.abs_diff(other.0) < 1_000_000_000;
    for (before, after) in before.backends.iter().zip(&after.backends) {
        let (one, other) = (before.health.report(), after.health.report());
        assert_eq!((one.state, one.streak), (other.state, other.streak));
        assert_eq!((one.last_fault, one.results.len()), (other.last_fault, other.results.len()));
        assert!(near(one.since, other.since));
        let of = |it: &Backend| it.breaker.memory(WINDOW, old.now());
        let (one, other) = (of(before), of(after));
        assert_eq!(
            (one.last_trip, one.trips, one.wait),
            (other.last_trip, other.trips, other.wait)
        );
        assert!(near(one.open_until.unwrap_or_default(), other.open_until.unwrap_or_default()));
    }
    assert_eq!(after.backends[0].barred(new.now()).map(|bar| bar.as_str()), Some("unhealthy"));
    assert_eq!(after.backends[1].barred(new.now()).map(|bar| bar.as_str()), Some("breaker open"));
}

#[test]
fn a_backend_is_known_by_its_address_in_its_pool() {
    let other = FILE.replace("b1, address: \"127.0.0.1:1", "x, address: \"http://127.0.0.1:1");
    let other = other.replace("127.0.0.1:2", "127.0.0.1:9");
    let new = server(&other);
    let taken = carried(&Verdicts::all(&old())).take_up(&new, Use::All);
    assert_eq!(taken, TakenUp { backends: 2, unhealthy: 1, open: 0 });
    let new = server(&FILE.replace("pool: a", "pool: b").replace("name: a", "name: b"));
    assert_eq!(carried(&Verdicts::all(&old())).take_up(&new, Use::All), TakenUp::default());
}

#[test]
fn of_old_verdicts_only_open_breakers_count() {
    let new = server(FILE);
    let taken = carried(&Verdicts::all(&old())).take_up(&new, Use::OpenBreakers);
    assert_eq!(taken, TakenUp { backends: 1, unhealthy: 0, open: 1 });
    assert_eq!(pool(&new).backends[0].health.state(), HealthState::Unknown);
}

#[test]
fn what_stands_is_who_is_out_and_probes_do_not_change_it() {
    let old = old();
    let (standing, marks) = Verdicts::standing(&old);
    assert_eq!(standing.backends.len(), 2, "{marks}");
    let fault = Some(ProbeFault::Status(500));
    let result = ProbeResult { at: old.now(), took: Duration::ZERO, fault };
    assert!(pool(&old).record_probe(0, result).is_none());
    assert_eq!(Verdicts::standing(&old).1, marks);
    let new = server(FILE);
    let taken = carried(&standing).take_up(&new, Use::All);
    assert_eq!(taken, TakenUp { backends: 2, unhealthy: 1, open: 1 });
    assert!(Verdicts::standing(&server(FILE)).0.is_empty());
}

#[test]
fn other_values_are_refused_in_words() {
    let good = Verdicts::all(&old()).to_json();
    let mut other = good.clone();
    other["version"] = json!(2);
    let mut odd = good.clone();
    odd["backends"][0]["health"]["state"] = json!("fine");
    let cases = [(json!([]), "invalid"), (other, "form 2, not 1"), (odd, "unknown variant `fine`")];
    for (value, expected) in cases {
        let error = Verdicts::parse(&value).expect_err("it is not ours");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn times_go_there_and_back() {
    let moment = Moment { now: Nanos(5_000), unix: 1_000_000 };
    for at in [1, 4_999, 5_000, 70_000] {
        assert_eq!(moment.nanos_at(moment.unix_of(Nanos(at))), Nanos(at));
    }
    assert_eq!(moment.nanos_at(0), Nanos(1), "long ago is not never");
    assert_eq!(moment.nanos_at(u64::MAX), Nanos(u64::MAX - 995_000));
}
