//! Migrations that meet what happens: crashes, pools that hang, pools that were left before.

use crate::program::{Program, Shell, get, send_get};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything here should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// No probes.
const UNASKED: &str = "{ type: none }";
/// Between two looks.
const POLL: Duration = Duration::from_millis(50);

struct World {
    balancer: Program,
    shell: Shell,
    address: String,
}

impl World {
    fn new(stable: &str, (canary, health): (&str, &str)) -> World {
        let shell = Shell::new();
        let text = format!(
            "listeners: [{{ name: web, bind: \"127.0.0.1:0\" }}]\n\
             routes: [{{ name: web, pool: stable }}]\n\
             pools:\n  \
             - {{ name: stable, backends: [\"{stable}\"], health: {{ type: none }} }}\n  \
             - {{ name: canary, backends: [\"{canary}\"], health: {health}, \
             circuit_breaker: {{ reset_timeout: 1s }} }}\n\
             state_dir: state\nadmin: {{ bind: \"127.0.0.1:0\" }}\n"
        );
        shell.write("config.yaml", &text);
        World::again(shell)
    }

    fn again(shell: Shell) -> World {
        let mut balancer = shell.start(&["run", "--no-watch"]);
        balancer.may_take(2 * PATIENCE);
        let event = balancer.event("started");
        let text = |key: &str| event[key].as_str().expect("a text").to_owned();
        let address = text("listeners").split_once('=').expect("NAME=ADDRESS").1.to_owned();
        let shell = shell.set("EVENKEEL_ADMIN", &format!("http://{}", text("admin")));
        World { balancer, shell, address }
    }

    fn begin(&self, plan: &str) {
        self.shell.write("plan.yaml", plan);
        let begun = self.shell.run(&["migrate", "start", "plan.yaml"]);
        assert_eq!(begun.code, 0, "{begun:?}");
    }

    /// Asks with `ask` until this holds of the migration.
    fn until(&self, id: &str, ask: impl Fn(), holds: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.shell.run(&["migrate", "status", id, "--json"]).json();
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < until, "{status:#}");
            ask();
            thread::park_timeout(POLL);
        }
    }

    /// Waits until this holds of what is written down of the last migration: the disk has its own
    /// time, and decisions do not wait for it.
    fn until_kept(&self, holds: impl Fn(&Value) -> bool) {
        let until = Instant::now() + PATIENCE;
        let file = self.shell.folder().join("state/migrations.json");
        loop {
            let kept = std::fs::read(&file).unwrap_or_default();
            let kept: Value = serde_json::from_slice(&kept).unwrap_or_default();
            let last = kept["migrations"].as_array().and_then(|all| all.last());
            if last.is_some_and(&holds) {
                return;
            }
            assert!(Instant::now() < until, "{kept:#}");
            thread::park_timeout(POLL);
        }
    }

    fn load(&self) {
        (0..20).for_each(|_| drop(get(&self.address, "/")));
    }
}

/// A backend, and this share of failures.
fn backend(failures: &str) -> (Program, String) {
    let words = ["testserver", "--listen", "127.0.0.1:0", "--fail-rate", failures];
    let mut server = Shell::new().start(&words);
    let line = server.line_with("listens on");
    let address = line.split("http://").nth(1).expect("an address").trim_end_matches('/');
    (server, address.to_owned())
}

/// A backend that answers probes, and nobody else.
fn healthy_and_hanging() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            let mut reader = BufReader::new(&stream);
            // Who sends nothing gets nothing either.
            let asked = reader.read_line(&mut line).is_ok() && line.starts_with("GET /hc ");
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            if !asked || stream.write_all(answer).is_err() {
                held.push(stream);
            }
        }
    });
    address
}

fn plan(name: &str, stages: &str) -> String {
    format!(
        "name: {name}\nroute: web\nfrom: stable\nto: canary\ncohort: request\ninterval: 1s\n\
         gates: {{ success_rate: 80%, max_p99_ratio: 0, max_success_drop: 20% }}\n\
         stages: [{stages}]\nwatch: 1s\n"
    )
}

#[test]
fn a_crash_with_everything_moved_loses_no_evidence() {
    let ((_s, stable), (_c, canary)) = (backend("0"), backend("0"));
    let world = World::new(&stable, (&canary, UNASKED));
    let stages = "{ weight: 50, min_duration: 1s }, { weight: 100, min_duration: 5s }";
    world.begin(&plan("all", stages));
    let load = || world.load();
    let before = world.until("all", load, |it| it["stage"] == 1 && it["state"] == "running");
    world.until_kept(|it| it["stage"] == 1);
    let World { balancer, shell, .. } = world;
    balancer.signal(Signal::KILL);
    drop(balancer);
    let world = World::again(shell);
    let after = world.until("all", || {}, |it| it["state"] != "preflight");
    assert_eq!((&after["stage"], &after["weight"]), (&before["stage"], &before["weight"]));
    let checks = |it: &Value| it["checks"].as_array().cloned().unwrap_or_default();
    // One more may have been made before the crash.
    assert!(checks(&after).starts_with(&checks(&before)), "{after:#}");
    assert!(!checks(&before).is_empty(), "{before:#}");
    // The old pool has nothing to do any more, and is known all the same.
    let done = world.until("all", || world.load(), |it| it["ended"].is_string());
    assert_eq!(done["state"], "done", "{done:#}");
}

#[test]
fn a_pool_whose_breaker_nobody_has_closed_can_be_tried_again() {
    let ((_s, stable), (_c, canary)) = (backend("0"), backend("1"));
    let world = World::new(&stable, (&canary, UNASKED));
    for name in ["one", "two"] {
        world.begin(&plan(name, "{ weight: 50, min_duration: 1s }"));
        let ended = world.until(name, || world.load(), |it| it["ended"].is_string());
        assert_eq!((&ended["state"], &ended["verdict"]), (&"aborted".into(), &"NO-GO".into()));
        let reason = ended["reason"].as_str().expect("a text");
        assert!(!reason.starts_with("preflight"), "{name}: {reason}");
        assert!(ended["checks"].as_array().is_some_and(|checks| !checks.is_empty()), "{ended:#}");
    }
}

#[test]
fn a_pool_that_takes_requests_and_answers_none_is_left() {
    let (_s, stable) = backend("0");
    let hanging = healthy_and_hanging();
    let world = World::new(&stable, (&hanging, "{ path: /hc, interval: 1s }"));
    world.begin(&plan("hung", "{ weight: 50, min_duration: 1h }"));
    let waiting = RefCell::new(Vec::new());
    let ask = || waiting.borrow_mut().extend((0..4).map(|_| send_get(&world.address, "/")));
    let ended = world.until("hung", ask, |it| it["ended"].is_string());
    assert_eq!((&ended["state"], &ended["weight"]), (&"aborted".into(), &0.0.into()));
    let reason = ended["reason"].as_str().expect("a text");
    assert!(reason.contains("requests wait, none was answered for"), "{reason}");
    let spent = ended["checks"].as_array().map_or(0, Vec::len);
    assert!(spent < 15, "{ended:#}");
}

#[test]
fn a_mistake_in_a_plan_is_shown_in_its_place_before_anybody_is_asked() {
    let shell = Shell::new();
    shell.write("plan.yaml", "route: web\nfrom: stable\nto: stable\n");
    let words = ["migrate", "start", "plan.yaml", "--admin", "http://127.0.0.1:9"];
    let told = shell.run(&words);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.stderr.contains("plan.yaml:3:1: to: `from` and `to` are the same"), "{told:?}");
}

#[test]
fn who_was_asked_for_an_ended_one_says_nothing_of_the_next_one_of_its_name() {
    let ((_s, stable), (_c, canary)) = (backend("0"), backend("0"));
    let world = World::new(&stable, (&canary, UNASKED));
    let begin = |timeout: &str| {
        let plan = plan("asked", "{ weight: 50, min_duration: 1h }");
        let url = format!("http://{stable}/status/503");
        world.begin(&format!("{plan}webhooks: [{{ url: \"{url}\", timeout: {timeout} }}]\n"));
        world.until("asked", || {}, |it| it["state"] == "waiting");
    };
    begin("3s");
    assert_eq!(world.shell.run(&["migrate", "abort", "asked"]).code, 0);
    begin("1h");
    // The time of the first one is over.
    let until = Instant::now() + Duration::from_secs(4);
    let is_over = |it: &Value| it["ended"].is_string() || Instant::now() >= until;
    let later = world.until("asked", || {}, is_over);
    assert_eq!(later["state"], "waiting", "{later:#}");
}

#[test]
fn one_that_cannot_be_read_any_more_is_told_and_the_others_go_on() {
    let ((_s, stable), (_c, canary)) = (backend("0"), backend("0"));
    let world = World::new(&stable, (&canary, UNASKED));
    for name in ["first", "second"] {
        world.begin(&plan(name, "{ weight: 50, min_duration: 60s }"));
        world.until(name, || {}, |it| it["state"] == "running");
        if name == "first" {
            assert_eq!(world.shell.run(&["migrate", "abort", name]).code, 0);
        }
    }
    world.until_kept(|it| it["name"] == "second" && it["state"] == "running");
    let World { balancer, shell, .. } = world;
    balancer.signal(Signal::KILL);
    drop(balancer);
    let kept = shell.folder().join("state/migrations.json");
    let text = std::fs::read_to_string(&kept).expect("written down");
    let spoiled = text.replacen("cohort: request", "cohort: nothing", 1);
    assert_ne!(spoiled, text);
    shell.write("state/migrations.json", &spoiled);
    let mut balancer = shell.start(&["run", "--no-watch"]);
    let told = balancer.event("state_unreadable");
    let error = told["error"].as_str().expect("a text");
    assert!(error.contains("the migration \"first\"") && error.contains("cohort"), "{error}");
    let admin = balancer.event("started")["admin"].as_str().expect("a text").to_owned();
    let shell = shell.set("EVENKEEL_ADMIN", &format!("http://{admin}"));
    let list = shell.run(&["migrate", "status", "second", "--json"]).json();
    assert_eq!(list["stage"], 0, "{list:#}");
    let aside = shell.folder().join("state/migrations.json.unreadable");
    assert_eq!(std::fs::read_to_string(aside).expect("kept aside"), spoiled);
}

#[test]
fn of_very_many_checks_the_oldest_migrations_go() {
    let ((_s, stable), (_c, canary)) = (backend("0"), backend("0"));
    let world = World::new(&stable, (&canary, UNASKED));
    let time = "2026-11-29T00:00:00.000Z";
    let arm = json!({ "requests": 1, "errors": 0, "success_rate": 1.0 });
    let check = json!({
        "time": time, "stage": 0, "weight": 50.0, "verdict": "GO", "reason": "", "from": arm,
        "to": arm, "gates": [],
    });
    let over = |number: u64| {
        let name = format!("old-{number}");
        json!({
            "file": "plan.yaml", "text": plan(&name, "{ weight: 50 }"), "is_toml": false,
            "name": name, "state": "aborted", "stage": 0, "elapsed_ms": 0,
            "started_unix_ms": number, "ended_unix_ms": number, "reason": "",
            "checks": vec![check.clone(); 5_000],
        })
    };
    let kept = json!({ "version": 1, "migrations": (1..=5).map(over).collect::<Vec<_>>() });
    let World { balancer, shell, .. } = world;
    assert_eq!(balancer.terminate().code, 0);
    shell.write("state/migrations.json", &kept.to_string());
    let world = World::again(shell);
    world.begin(&plan("new", "{ weight: 50 }"));
    let kept = std::fs::read(world.shell.folder().join("state/migrations.json")).expect("kept");
    let kept: Value = serde_json::from_slice(&kept).expect("JSON");
    let ids: Vec<&str> = kept["migrations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| it["name"].as_str().expect("a text"))
        .collect();
    assert_eq!(ids, ["old-2", "old-3", "old-4", "old-5", "new"]);
}

#[test]
fn one_that_a_crash_has_kept_from_saying_that_it_is_done_is_done() {
    let ((_s, stable), (_c, canary)) = (backend("0"), backend("0"));
    let world = World::new(&stable, (&canary, UNASKED));
    let none = world.shell.run(&["migrate", "status"]);
    assert_eq!(
        (none.code, none.stdout.starts_with("there is no migration")),
        (0, true),
        "{none:?}"
    );
    world.begin(&plan("kept", "{ weight: 100, min_duration: 1s, min_requests: 1 }"));
    let done = world.until("kept", || world.load(), |it| it["ended"].is_string());
    assert_eq!(done["state"], "done", "{done:#}");
    world.until_kept(|it| it["state"] == "done");
    let World { balancer, shell, .. } = world;
    balancer.signal(Signal::KILL);
    drop(balancer);
    // The route's pool was written down, the end of the migration was not.
    let kept = std::fs::read(shell.folder().join("state/migrations.json")).expect("kept");
    let mut kept: Value = serde_json::from_slice(&kept).expect("JSON");
    let entry = &mut kept["migrations"][0];
    (entry["state"], entry["leg"], entry["ended_unix_ms"]) =
        ("watching".into(), "watch".into(), Value::Null);
    shell.write("state/migrations.json", &kept.to_string());
    let world = World::again(shell);
    let again = world.until("kept", || {}, |it| it["ended"].is_string());
    assert_eq!((&again["state"], &again["weight"]), (&"done".into(), &100.0.into()), "{again:#}");
    assert_eq!(again["checks"], done["checks"]);
    let revisions = world.shell.run(&["revisions", "--json"]).json();
    let of = |it: &&Value| it["author"] == "migration";
    let all = revisions["revisions"].as_array().expect("a list");
    assert_eq!(all.iter().filter(of).count(), 1, "{revisions:#}");
}
