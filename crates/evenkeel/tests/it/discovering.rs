//! Backends that are found elsewhere, while clients send requests.

use crate::program::{Shell, backend, backend_of, get};
use crate::world::World;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

fn config(more: &str) -> String {
    format!(
        "listeners: [{{ name: web, bind: \"127.0.0.1:0\" }}]\n\
         pools:\n  - name: app\n    \
         discovery: {{ type: file, path: targets.json, interval: 1s }}\n\
         admin: {{ bind: \"127.0.0.1:0\" }}\n{more}"
    )
}

/// Requests until whoever can answer has answered, though others ask in between.
const ASKED: usize = 40;

/// A balancer that reads its backends from a file.
fn world(file: &str, targets: &str) -> World {
    let shell = Shell::new();
    shell.write("targets.json", targets);
    World::again(shell, file)
}

/// Who answers a few requests in a row.
fn answer(world: &World) -> Vec<String> {
    let mut all: Vec<String> =
        (0..ASKED).map(|_| backend_of(&get(&world.address, "/")).to_owned()).collect();
    all.sort();
    all.dedup();
    all
}

/// Clients that send requests one after the other until it goes; counts those that failed.
struct Load {
    goes_on: Arc<AtomicBool>,
    clients: Vec<thread::JoinHandle<()>>,
    sent: Arc<AtomicU32>,
    failed: Arc<AtomicU32>,
}

impl Load {
    fn begin(address: &str) -> Load {
        let goes_on = Arc::new(AtomicBool::new(true));
        let (sent, failed) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
        let client = || {
            let address = address.to_owned();
            let (goes_on, sent, failed) = (goes_on.clone(), sent.clone(), failed.clone());
            thread::spawn(move || {
                while goes_on.load(Ordering::Relaxed) {
                    let response = get(&address, "/");
                    sent.fetch_add(1, Ordering::Relaxed);
                    let fine = response.starts_with("HTTP/1.1 200 ");
                    failed.fetch_add(u32::from(!fine), Ordering::Relaxed);
                }
            })
        };
        let clients = (0..4).map(|_| client()).collect();
        Load { goes_on, clients, sent, failed }
    }

    /// Requests sent, and those that failed.
    fn end(self) -> (u32, u32) {
        self.goes_on.store(false, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().expect("no panic"));
        (self.sent.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

fn targets(addresses: &[&str]) -> String {
    serde_json::json!([{ "targets": addresses, "labels": { "job": "app" } }]).to_string()
}

const BACKENDS: &[&str] = &["backend", "list", "--json"];

fn names(document: &Value) -> Vec<&str> {
    let backends = document["backends"].as_array().expect("a list");
    backends.iter().map(|it| it["name"].as_str().expect("a name")).collect()
}

#[test]
fn a_file_adds_and_removes_backends_under_load_without_an_error() {
    let ((_a, a), (_b, b)) = (backend("a"), backend("b"));
    let world = world(&config(""), &targets(&[&a]));
    let load = Load::begin(&world.address);
    world.shell.write("targets.json", &targets(&[&a, &b]));
    let both = world.wait_for(BACKENDS, |it| names(it).len() == 2);
    assert_eq!(both["backends"][1]["source"], "discovery");
    world.wait_for(BACKENDS, |it| it["backends"][1]["eligible"] == true);
    assert_eq!(answer(&world), ["a", "b"]);
    world.shell.write("targets.json", &targets(&[&b]));
    world.wait_for(BACKENDS, |it| names(it) == [b.as_str()]);
    assert_eq!(answer(&world), ["b"]);
    world.shell.write("targets.json", "[{\"targets\": [\"127.0.0.1:1\"");
    world.wait_for(&["pool", "list", "--json"], |it| it["pools"][0]["discovery"]["up"] == false);
    assert_eq!(answer(&world), ["b"], "half a file changes nothing");
    world.shell.write("targets.json", "[]");
    let trouble = |it: &Value| it["pools"][0]["discovery"]["trouble"].to_string();
    world.wait_for(&["pool", "list", "--json"], |it| trouble(it).contains("names no backends"));
    assert_eq!(answer(&world), ["b"], "an empty one neither");
    let (sent, failed) = load.end();
    assert!(sent > 0 && failed == 0, "{failed} of {sent}");
    assert_eq!(world.balancer.terminate().code, 0);
}

#[test]
fn what_was_found_can_be_edited_but_not_removed_and_outlives_a_restart() {
    let ((_a, a), (_b, b)) = (backend("a"), backend("b"));
    let world = world(&config("state_dir: state\n"), &targets(&[&a, &b]));
    let removed = world.shell.run(&["backend", "remove", &format!("app/{a}")]);
    assert!(removed.code == 1 && removed.stderr.contains("disable it instead"), "{removed:?}");
    let disabled = world.shell.run(&["backend", "disable", &format!("app/{a}")]);
    assert_eq!(disabled.code, 0, "{disabled:?}");
    assert_eq!(answer(&world), ["b"]);
    let metrics = get(&world.admin, "/metrics");
    assert!(metrics.contains("evenkeel_discovery_up{pool=\"app\"} 1"), "{metrics}");
    assert!(metrics.contains("evenkeel_discovery_backends{pool=\"app\"} 2"), "{metrics}");
    let World { balancer, shell, .. } = world;
    assert_eq!(balancer.terminate().code, 0);
    std::fs::remove_file(shell.folder().join("targets.json")).expect("it is there");
    let world = World::start(shell);
    let known = world.json(BACKENDS);
    assert_eq!(names(&known), [a.as_str(), b.as_str()], "nobody tells, and all is known");
    assert_eq!(known["backends"][0]["admin"], "disabled");
    assert_eq!(answer(&world), ["b"]);
    assert_eq!(world.balancer.terminate().code, 0);
}

#[test]
fn a_check_needs_nobody_who_is_asked() {
    let shell = Shell::new();
    let file = |keys: &str| {
        format!(
            "listeners: [{{ bind: \":8080\" }}]\n\
             pools: [{{ name: p, discovery: {{ type: dns, name: a.invalid, {keys} }} }}]\n"
        )
    };
    shell.write("config.yaml", &file("port: 80"));
    let checked = shell.run(&["check"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    shell.write("config.yaml", &file("prot: 80"));
    let checked = shell.run(&["check"]);
    assert!(checked.code == 1 && checked.stderr.contains("did you mean `port`"), "{checked:?}");
}
