//! Traffic over time: a migration that is taken back, one that goes through, a pool that grows.

use crate::program::{Program, Shell, get};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long a test waits for what takes a few of the loops' seconds.
const PATIENCE: Duration = Duration::from_secs(60);

fn backend(words: &[&str]) -> (Program, String) {
    let all = [&["testserver", "--listen", "127.0.0.1:0"], words].concat();
    let mut server = Shell::new().start(&all);
    let line = server.line_with("listens on");
    let address = line.split("http://").nth(1).expect("an address").trim_end_matches('/');
    (server, address.to_owned())
}

struct World {
    balancer: Program,
    shell: Shell,
    address: String,
}

impl World {
    fn new(file: &str) -> World {
        let shell = Shell::new();
        shell.write("config.yaml", file);
        let mut balancer = shell.start(&["run", "--no-watch"]);
        let event = balancer.event("started");
        let text = |key: &str| event[key].as_str().expect("a text");
        let address = text("listeners").trim_start_matches("web=").to_owned();
        let shell = shell.set("EVENKEEL_ADMIN", &format!("http://{}", text("admin")));
        World { balancer, shell, address }
    }

    fn json(&self, words: &[&str]) -> Value {
        let answer = self.shell.run(words);
        assert_eq!(answer.code, 0, "{words:?}: {answer:?}");
        serde_json::from_str(&answer.stdout).expect("JSON")
    }

    /// Sends requests until a document says so.
    fn load_until(&self, words: &[&str], holds: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            (0..100).for_each(|_| drop(get(&self.address, "/")));
            let document = self.json(words);
            if holds(&document) {
                return document;
            }
            assert!(Instant::now() < until, "{document:#}");
        }
    }
}

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
    let (_s, stable) = backend(&["--name", "stable"]);
    let (_c, canary) = backend(&["--name", "canary", "--status", "500"]);
    let world = World::new(&pools(&stable, &canary));
    world.shell.write("plan.yaml", PLAN);
    let outline = world.shell.run(&["migrate", "plan", "plan.yaml"]);
    assert!(outline.stdout.contains("299 requests"), "{outline:?}");
    assert_eq!(world.shell.run(&["migrate", "start", "plan.yaml"]).stdout, "v2\n");
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
    let (_s, stable) = backend(&["--name", "stable"]);
    let (_c, canary) = backend(&["--name", "canary"]);
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
    let (_b, first) = backend(&["--name", "first"]);
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
