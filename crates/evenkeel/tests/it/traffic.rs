//! Traffic over time: copies that are compared, a migration that is taken back, some that go
//! through, a pool that grows.

use crate::program::{get, testserver};
use crate::world::{PATIENCE, World};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn pools(stable: &str, canary: &str) -> String {
    format!(
        "listeners: [{{ name: web, bind: \"127.0.0.1:0\" }}]\n\
         routes: [{{ name: web, pool: stable }}]\n\
         pools:\n  \
           - {{ name: stable, backends: [\"{stable}\"] }}\n  \
           - {{ name: canary, backends: [\"{canary}\"], circuit_breaker: {{ enabled: false }} }}\n\
         admin: {{ bind: \"127.0.0.1:0\" }}\n"
    )
}

const PLAN: &str = "
name: v2
route: web
from: stable
to: canary
cohort: request
interval: 1s
stages: [{ weight: 50, min_duration: 1s }]
watch: 1s
";

#[test]
fn a_failing_pool_is_left_and_gets_nothing_more() {
    let (_s, stable) = testserver(&["--name", "stable"]);
    let (_c, canary) = testserver(&["--name", "canary", "--status", "500"]);
    let mut world = World::new(&pools(&stable, &canary));
    world.shell.write("plan.yaml", PLAN);
    let outline = world.shell.run(&["migrate", "plan", "plan.yaml"]);
    assert!(outline.stdout.contains("299 requests"), "{outline:?}");
    // Nobody has changed anything so far; who starts it does.
    let dry = world.shell.run(&["migrate", "plan", "plan.yaml", "--json"]);
    assert_eq!(dry.code, 0, "{dry:?}");
    assert_eq!(world.shell.run(&["migrate", "start", "plan.yaml"]).stdout, "v2\n");
    let change = world.balancer.event("admin_change");
    assert_eq!((&change["path"], &change["status"]), (&"/api/v1/migrations".into(), &201.into()));
    let ended =
        world.load_until(&["migrate", "status", "v2", "--json"], |it| it["state"] == "aborted");
    assert_eq!((ended["weight"].as_f64(), ended["verdict"].as_str()), (Some(0.0), Some("NO-GO")));
    assert!((0..50).all(|_| get(&world.address, "/").contains("X-Backend: stable")));
    assert_eq!(world.shell.run(&["migrate", "wait", "v2"]).code, 3);
    let report = world.shell.run(&["migrate", "report", "v2"]).stdout;
    assert!(report.contains("| NO-GO |") && report.contains("errors"), "{report}");
}

#[test]
fn an_equal_pool_becomes_the_routes_pool() {
    let (_s, stable) = testserver(&["--name", "stable"]);
    let (_c, canary) = testserver(&["--name", "canary"]);
    let world = World::new(&pools(&stable, &canary));
    let plan = format!("{PLAN}gates: {{ max_p99_ratio: 0, max_success_drop: 10% }}\n");
    world.shell.write("plan.yaml", &plan);
    assert_eq!(world.shell.run(&["migrate", "start", "plan.yaml"]).code, 0);
    let twice = world.shell.run(&["migrate", "start", "plan.yaml"]);
    assert!(twice.code == 1 && twice.stderr.contains("under way"), "{twice:?}");
    world.load_until(&["migrate", "status", "v2", "--json"], |it| it["state"] == "done");
    assert_eq!(world.shell.run(&["migrate", "wait"]).code, 0);
    assert!((0..50).all(|_| get(&world.address, "/").contains("X-Backend: canary")));
    let revisions = world.shell.run(&["revisions"]).stdout;
    assert!(revisions.contains("migration v2 is done"), "{revisions}");
}

#[test]
fn a_pool_grows_with_its_requests_and_takes_its_processes_with_it() {
    let (_b, first) = testserver(&["--name", "first"]);
    let program = env!("CARGO_BIN_EXE_evenkeel");
    let file = format!(
        "listeners: [{{ name: web, bind: \"127.0.0.1:0\" }}]\n\
         pools:\n  - name: app\n    backends: [\"{first}\"]\n    \
         health: {{ interval: 200ms }}\n    \
         autoscale:\n      max: 2\n      interval: 2s\n      requests_per_interval: 20\n      \
         driver: {{ type: process, ports: \"21500-21999\", command: [\"{program}\", testserver, \
         --listen, \"127.0.0.1:{{port}}\", --name, \"{{name}}\"] }}\n\
         admin: {{ bind: \"127.0.0.1:0\" }}\n"
    );
    let world = World::new(&file);
    let grown = world.load_until(&["backend", "list", "--json"], |it| {
        it["backends"].as_array().is_some_and(|all| all.len() == 2 && all[1]["eligible"] == true)
    });
    let started = &grown["backends"][1];
    assert_eq!((&started["name"], &started["source"]), (&"app-auto-1".into(), &"autoscale".into()));
    let status = world.json(&["autoscale", "status", "--json"]);
    assert!(
        status["autoscalers"][0]["decisions"][0]["reason"]
            .as_str()
            .is_some_and(|why| why.contains("more than 20"))
    );
    let address = started["address"].as_str().expect("a text").to_owned();
    assert!(get(&address, "/").contains("app-auto-1"));
    assert_eq!(world.balancer.terminate().code, 0);
    assert!(std::net::TcpStream::connect(&address).is_err(), "it has ended too");
}

/// Answers every webhook with the status that it says now, and remembers what it was told.
struct Hooks {
    url: String,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Hooks {
    fn answering(status: u16) -> Hooks {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
        let told: Arc<Mutex<Vec<Value>>> = Arc::default();
        let own = Arc::clone(&told);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                let (mut line, mut length) = (String::new(), 0);
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    let lower = line.to_ascii_lowercase();
                    if let Some(value) = lower.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap_or(0);
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                if reader.read_exact(&mut body).is_err() {
                    continue;
                }
                own.lock().expect("a list").push(serde_json::from_slice(&body).expect("JSON"));
                let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n");
                let _ = reader.into_inner().write_all(answer.as_bytes());
            }
        });
        Hooks { url, told }
    }

    fn phases(&self) -> Vec<String> {
        let told = self.told.lock().expect("a list");
        told.iter().map(|it| it["phase"].as_str().expect("a text").to_owned()).collect()
    }

    fn plan(&self) -> String {
        let on = "[before_stage, after_stage, done, aborted]";
        format!("webhooks: [{{ url: \"{}\", on: {on}, timeout: 2s }}]\n", self.url)
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn copies_are_counted_compared_and_felt_by_nobody() {
    let (_r, real) = testserver(&["--name", "real"]);
    let (_s, shadow) = testserver(&["--name", "shadow", "--status", "500"]);
    let file = format!(
        "listeners: [{{ name: web, bind: \"127.0.0.1:0\" }}]\n\
         routes:\n  - name: web\n    pool: stable\n    \
         mirror: {{ pool: shadow, diff: {{ headers: [content-type], body: hash }} }}\n\
         pools:\n  \
           - {{ name: stable, backends: [\"{real}\"] }}\n  \
           - {{ name: shadow, backends: [\"{shadow}\"], circuit_breaker: {{ enabled: false }} }}\n\
         admin: {{ bind: \"127.0.0.1:0\" }}\n"
    );
    let world = World::new(&file);
    for _ in 0..20 {
        assert!(get(&world.address, "/").contains("X-Backend: real"));
    }
    let wanted = [
        "evenkeel_mirror_requests_total{route=\"web\",result=\"sent\"} 20",
        "evenkeel_mirror_requests_total{route=\"web\",result=\"skipped\"} 0",
        "evenkeel_mirror_requests_total{route=\"web\",result=\"failed\"} 0",
        "evenkeel_mirror_compared_total{route=\"web\"} 20",
        "evenkeel_mirror_differences_total{route=\"web\",kind=\"status\"} 20",
        "evenkeel_mirror_differences_total{route=\"web\",kind=\"header\"} 0",
        "evenkeel_mirror_differences_total{route=\"web\",kind=\"body\"} 20",
    ];
    eventually("all copies", || {
        let metrics = get(&world.admin, "/metrics");
        wanted.iter().all(|line| metrics.contains(line))
    });
    let differences = get(&world.admin, "/api/v1/routes/web/differences");
    let (_, body) = differences.split_once("\r\n\r\n").expect("a body");
    let list: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&list["compared"], &list["differing"]), (&20.into(), &20.into()));
    let first = &list["differences"][0];
    assert_eq!(first["status"], serde_json::json!({ "real": 200, "mirror": 500 }));
    assert!(first["request_id"].as_str().is_some_and(|id| id.len() == 32), "{first}");
    assert!(get(&world.admin, "/api/v1/routes/nope/differences").contains(" 404 "));
    let metrics = get(&world.admin, "/metrics");
    assert!(!metrics.contains("pool=\"shadow\",backend=\"\""), "copies are no exchanges");
    let explained = world.shell.run(&["explain", &format!("http://{}/", world.address)]);
    assert!(explained.stdout.contains("mirror: 100 %"), "{explained:?}");
}

#[test]
fn copies_come_before_clients_hooks_are_called_and_the_end_outlives_a_restart() {
    let (_s, stable) = testserver(&["--name", "stable"]);
    let (_c, canary) = testserver(&["--name", "canary"]);
    let world = World::new(&(pools(&stable, &canary) + "state_dir: state\n"));
    let hooks = Hooks::answering(200);
    let gates = "{ max_p99_ratio: 0, max_success_drop: 10%, max_differences: 1% }";
    let stages = "[{ mirror: 100, min_duration: 1s }, { weight: 150, min_duration: 1s }]";
    let plan = format!(
        "name: v3\nroute: web\nfrom: stable\nto: canary\ninterval: 1s\nwatch: 1s\n\
         gates: {gates}\nstages: {stages}\n{}",
        hooks.plan()
    );
    world.shell.write("plan.yaml", &plan);
    let outline = world.shell.run(&["migrate", "plan", "plan.yaml"]);
    assert!(outline.stdout.contains("copies of 100%"), "{outline:?}");
    assert_eq!(world.shell.run(&["migrate", "start", "plan.yaml"]).code, 0);
    let status = ["migrate", "status", "v3", "--json"];
    let passed = |it: &Value| {
        let checks = it["checks"].as_array().expect("a list");
        checks.iter().find(|it| it["stage"] == 0 && it["verdict"] == "GO").cloned()
    };
    let copied = world.load_until(&status, |it| passed(it).is_some());
    let check = passed(&copied).expect("found just now");
    assert!(check["to"]["requests"].as_u64() >= Some(100), "copies count: {check:#}");
    let gates = check["gates"].as_array().expect("a list");
    assert!(gates.iter().any(|it| it["gate"] == "max_differences" && it["holds"] == true));
    let done = world.load_until(&status, |it| it["state"] == "done");
    let loaded = done["checks"].as_array().expect("a list").iter().rfind(|it| it["stage"] == 1);
    assert!(loaded.is_some_and(|it| it["weight"] == 150.0 || it["weight"] == 100.0), "{done:#}");
    let phases = ["before_stage", "after_stage", "before_stage", "after_stage", "done"];
    eventually("the last hook", || hooks.phases().len() == phases.len());
    assert_eq!(hooks.phases(), phases);
    assert!(get(&world.admin, "/metrics").contains("evenkeel_mirror_requests_total{route=\"web\""));
    let world = world.restarted();
    assert!((0..20).all(|_| get(&world.address, "/").contains("X-Backend: canary")));
    assert_eq!(world.json(&status)["state"], "done");
    assert!(world.shell.run(&["revisions"]).stdout.contains("migration v3 is done"));
}

#[test]
fn answers_that_differ_and_hooks_that_refuse_end_a_migration() {
    let (_s, stable) = testserver(&["--name", "stable"]);
    let (_c, canary) = testserver(&["--name", "canary", "--status", "404"]);
    let world = World::new(&pools(&stable, &canary));
    let plan = |name: &str, more: &str| {
        format!(
            "name: {name}\nroute: web\nfrom: stable\nto: canary\ninterval: 1s\n\
             gates: {{ max_p99_ratio: 0, max_differences: 1% }}\n\
             stages: [{{ mirror: 100, min_duration: 1s }}]\n{more}"
        )
    };
    let accepting = Hooks::answering(204);
    world.shell.write("differs.yaml", &plan("differs", &accepting.plan()));
    assert_eq!(world.shell.run(&["migrate", "start", "differs.yaml"]).code, 0);
    let status = ["migrate", "status", "differs", "--json"];
    let ended = world.load_until(&status, |it| it["state"] == "aborted");
    let reason = ended["reason"].as_str().expect("a text");
    assert!(reason.contains("max_differences"), "{ended:#}");
    eventually("the last hook", || accepting.phases() == ["before_stage", "aborted"]);
    assert!((0..20).all(|_| get(&world.address, "/").contains("X-Backend: stable")));

    let refusing = Hooks::answering(503);
    world.shell.write("refused.yaml", &plan("refused", &refusing.plan()));
    assert_eq!(world.shell.run(&["migrate", "start", "refused.yaml"]).code, 0);
    let status = ["migrate", "status", "refused", "--json"];
    let ended = world.load_until(&status, |it| it["state"] == "aborted");
    assert!(ended["reason"].as_str().is_some_and(|it| it.contains("answers 503")), "{ended:#}");
    eventually("the last hook", || refusing.phases().last().is_some_and(|it| it == "aborted"));
    assert!(refusing.phases().iter().filter(|it| *it == "before_stage").count() >= 1);
}
