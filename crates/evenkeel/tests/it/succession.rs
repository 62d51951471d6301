//! What a new program knows of what the one before it knew: who is dead, who is left alone, and how
//! far traffic has moved.

use crate::handover::{Stage, Successor};
use crate::program::{Program, Shell, backend, backend_of, get, send_get};
use rustix::process::Signal;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything here should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A backend whose probes get what a test says, and everybody else this status.
struct Scripted {
    address: String,
    health: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
}

impl Scripted {
    fn new(status: u16, health: u16) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (health, asked) = (Arc::new(AtomicU16::new(health)), Arc::<AtomicUsize>::default());
        let (own_health, counted) = (Arc::clone(&health), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                let mut head = Vec::new();
                while reader.read_until(b'\n', &mut head).is_ok_and(|read| read > 2) {}
                let status = if head.starts_with(b"GET /health ") {
                    own_health.load(Ordering::Relaxed)
                } else {
                    counted.fetch_add(1, Ordering::Relaxed);
                    status
                };
                let answer = format!(
                    "HTTP/1.1 {status} Said\r\nX-Backend: scripted\r\nContent-Length: 0\r\n\
                     Connection: close\r\n\r\n"
                );
                // Whoever asked may have gone.
                let _ = reader.into_inner().write_all(answer.as_bytes());
            }
        });
        Scripted { address, health, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Where it serves, and the URL of its admin listener.
fn started(balancer: &mut Program) -> (String, String) {
    let started = balancer.event("started");
    let word = |name: &str| started[name].as_str().expect("a text").to_owned();
    let address = word("listeners").split_once('=').expect("NAME=ADDRESS").1.to_owned();
    (address, format!("http://{}", word("admin")))
}

/// What a command of a client says.
fn said(shell: &Shell, admin: &str, words: &[&str]) -> Value {
    shell.run(&[words, &["--json", "--admin", admin]].concat()).json()
}

/// Acts until what a command says is as it should be.
fn until(what: impl Fn() -> Value, act: impl Fn(), holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        act();
        let document = what();
        if holds(&document) {
            return document;
        }
        assert!(Instant::now() < deadline, "{document:#}");
    }
}

/// With one pool of these backends, and more keys of it.
fn file(backends: &[&str], pool: &str) -> String {
    let backends = backends.iter().map(|at| format!("\"{at}\"")).collect::<Vec<_>>().join(", ");
    format!(
        "listeners: [{{ name: web, bind: \"127.0.0.1:0\" }}]\nroutes: [{{ pool: p }}]\n\
         pools:\n  - name: p\n    backends: [{backends}]\n    {pool}\nstate_dir: state\n"
    )
}

/// Seconds of the day.
fn seconds(time: &Value) -> i64 {
    let text = time.as_str().and_then(|time| time.get(11..19));
    let text = text.unwrap_or_else(|| panic!("{time} is no time"));
    text.split(':').fold(0, |all, part| all * 60 + part.parse::<i64>().expect("a number"))
}

/// Two processes tell the same time, each by its own clock.
fn same_time(one: &Value, other: &Value) -> bool {
    let apart = (seconds(one) - seconds(other)).abs();
    apart.min(24 * 3600 - apart) <= 1
}

#[test]
fn who_was_dead_is_dead_to_the_next_program_and_to_the_next_start() {
    let ((_a, a), scripted) = (backend("a"), Scripted::new(200, 500));
    let stage = Stage::new(&a);
    // One failed probe is enough, and no number of successes that occur here makes up for it.
    let health = "health: { path: /health, interval: 200ms, unhealthy_threshold: 1, \
                  healthy_threshold: 1000 }";
    stage.shell.write("config.yaml", &file(&[&a, &scripted.address], health));
    let mut balancer = stage.start();
    balancer.may_take(2 * PATIENCE);
    let (address, admin) = started(&mut balancer);
    let of_scripted = || said(&stage.shell, &admin, &["backend", "list"])["backends"][1].clone();
    let before = until(of_scripted, || {}, |it| it["health"] == "unhealthy");
    scripted.health.store(200, Ordering::Relaxed);
    let only_a = |address: &str| {
        let asked = scripted.asked();
        assert!((0..20).all(|_| backend_of(&get(address, "/")) == "a"));
        assert_eq!(scripted.asked(), asked);
    };

    balancer.signal(Signal::USR2);
    let successor = Successor::of(&mut balancer);
    only_a(&address);
    let after = of_scripted();
    assert_eq!((&after["health"], &after["reason"]), (&before["health"], &before["reason"]));
    assert_eq!(after["health_reason"], "status 500");
    assert!(same_time(&after["health_since"], &before["health_since"]), "{after:#}");
    let results = after["results"].as_array().expect("a list");
    assert!(results.iter().any(|it| it["fault"] == "status 500"), "{after:#}");
    balancer.event("stopped");
    drop(successor);
    assert_eq!(balancer.end().code, 0);

    let mut again = stage.start();
    assert_eq!(again.event("verdicts_taken_up")["unhealthy"], 1);
    let (address, _) = started(&mut again);
    only_a(&address);
    assert_eq!(again.terminate().code, 0);
}

#[test]
fn an_open_breaker_is_open_in_the_next_program_and_in_the_next_start() {
    let ((_a, a), scripted) = (backend("a"), Scripted::new(503, 200));
    let stage = Stage::new(&a);
    let breaker = "circuit_breaker: { failure_threshold: 3, reset_timeout: 10m, \
                   max_reset_timeout: 10m }\n    health: { type: none }";
    stage.shell.write("config.yaml", &file(&[&a, &scripted.address], breaker));
    let mut balancer = stage.start();
    balancer.may_take(2 * PATIENCE);
    let (address, admin) = started(&mut balancer);
    let ask = |address: &str| {
        (0..10).for_each(|_| assert!(get(address, "/").starts_with("HTTP/1.1 200 ")));
    };
    let list = |admin: &str| said(&stage.shell, admin, &["backend", "list"])["backends"][1].clone();
    let before = until(|| list(&admin), || ask(&address), |it| it["breaker"] == "open");
    let asked = scripted.asked();

    balancer.signal(Signal::USR2);
    let successor = Successor::of(&mut balancer);
    ask(&address);
    let after = list(&admin);
    for key in ["breaker", "breaker_reason", "reason"] {
        assert_eq!(after[key], before[key], "{after:#}");
    }
    for key in ["breaker_since", "breaker_until"] {
        assert!(same_time(&after[key], &before[key]), "{after:#}");
    }
    balancer.event("stopped");
    drop(successor);
    assert_eq!(balancer.end().code, 0);

    let mut again = stage.start();
    let (address, admin) = started(&mut again);
    ask(&address);
    assert!(same_time(&list(&admin)["breaker_until"], &before["breaker_until"]));
    assert_eq!(scripted.asked(), asked, "nobody has asked it since");
    assert_eq!(again.terminate().code, 0);
}

#[test]
fn failures_before_a_handover_count_with_those_after_it() {
    let cases = [
        ("failure_threshold: 5, failure_rate: 0%", 4, "5 failures in a row"),
        ("failure_threshold: 1000, min_requests: 10, window: 5m", 9, "10 of 10 requests failed"),
    ];
    for (breaker, before, reason) in cases {
        let scripted = Scripted::new(503, 200);
        let stage = Stage::new(&scripted.address);
        let pool = format!(
            "circuit_breaker: {{ {breaker} }}\n    health: {{ type: none }}\n    \
             retry: {{ attempts: 1 }}\n    fail_open: false"
        );
        let text = file(&[&scripted.address], &pool).replace("state_dir: state\n", "");
        stage.shell.write("config.yaml", &text);
        let mut balancer = stage.start();
        balancer.may_take(2 * PATIENCE);
        let (address, admin) = started(&mut balancer);
        let ask = || {
            let answer = get(&address, "/");
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        };
        let breaker = || said(&stage.shell, &admin, &["backend", "list"])["backends"][0].clone();
        (0..before).for_each(|_| ask());
        assert_eq!(breaker()["breaker"], "closed");

        balancer.signal(Signal::USR2);
        let _successor = Successor::of(&mut balancer);
        // What the old program is asked still, it judges by itself.
        balancer.event("stopped");
        assert_eq!(breaker()["breaker"], "closed");
        ask();
        assert_eq!(scripted.asked(), before + 1);
        let after = breaker();
        assert_eq!((&after["breaker"], &after["breaker_reason"]), (&"open".into(), &reason.into()));
        ask();
        assert_eq!(scripted.asked(), before + 1, "nobody asks it now");
    }
}

const PLAN: &str = "
name: v2
route: web
from: stable
to: canary
cohort: request
interval: 1s
gates: { success_rate: 80%, max_p99_ratio: 0, max_success_drop: 20% }
stages: [{ weight: 30, min_duration: 1s }, { weight: 50, min_duration: 1h, max_duration: 2h }]
";

#[test]
fn a_migration_goes_on_in_the_next_program_and_there_alone() {
    for state in ["state_dir: state\n", ""] {
        let ((_s, stable), (_c, canary)) = (backend("stable"), backend("canary"));
        let stage = Stage::new(&stable);
        let text = format!(
            "listeners: [{{ name: web, bind: \"127.0.0.1:0\" }}]\n\
             routes: [{{ name: web, pool: stable }}]\npools:\n  \
             - {{ name: stable, backends: [\"{stable}\"] }}\n  \
             - {{ name: canary, backends: [\"{canary}\"] }}\n{state}"
        );
        stage.shell.write("config.yaml", &text);
        stage.shell.write("plan.yaml", PLAN);
        let mut balancer = stage.start();
        balancer.may_take(2 * PATIENCE);
        let (address, admin) = started(&mut balancer);
        let begun = stage.shell.run(&["migrate", "start", "plan.yaml", "--admin", &admin]);
        assert_eq!(begun.code, 0, "{begun:?}");
        let status = || said(&stage.shell, &admin, &["migrate", "status", "v2"]);
        let load = || (0..50).for_each(|_| drop(get(&address, "/")));
        let before = until(status, load, |it| it["stage"] == 1 && it["state"] == "running");

        // What the old program is at keeps it there.
        let mut running = send_get(&address, "/delay/2s");
        balancer.signal(Signal::USR2);
        let _successor = Successor::of(&mut balancer);
        let after = status();
        for key in ["state", "stage", "weight", "started"] {
            assert_eq!(after[key], before[key], "{state}{after:#}");
        }
        let checks = |it: &Value| it["checks"].as_array().map_or(0, Vec::len);
        assert!(checks(&after) >= checks(&before), "{after:#}");
        let answers: Vec<String> = (0..60).map(|_| get(&address, "/")).collect();
        for name in ["stable", "canary"] {
            assert!(answers.iter().any(|answer| backend_of(answer) == name), "{name} has gone");
        }
        until(status, load, |it| checks(it) > checks(&after));
        let ended = stage.shell.run(&["migrate", "abort", "v2", "--admin", &admin]);
        assert_eq!(ended.code, 0, "{ended:?}");
        let mut answer = String::new();
        running.read_to_string(&mut answer).expect("a whole response");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        balancer.event("stopped");
        let ended = status();
        assert_eq!((&ended["state"], &ended["stage"]), (&"aborted".into(), &1.into()));
        assert!((0..20).all(|_| backend_of(&get(&address, "/")) == "stable"));
    }
}
