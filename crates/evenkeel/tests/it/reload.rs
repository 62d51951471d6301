//! Another configuration in the same process.

use crate::program::{Shell, backend, backend_of, get};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn shell() -> Shell {
    Shell::new().set("EVENKEEL__ADMIN__BIND", "127.0.0.1:0")
}

fn file(backends: &[&str]) -> String {
    let backends: Vec<String> = backends.iter().map(|at| format!("\"{at}\"")).collect();
    format!("listen: \"127.0.0.1:0\"\nbackends: [{}]\n", backends.join(", "))
}

/// One request on a connection that stays; who answered.
fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let mut response = Vec::new();
    let mut byte = [0];
    while !response.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("the connection stays");
        response.push(byte[0]);
    }
    let head = String::from_utf8(response).expect("ASCII");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())?.ok()
    });
    let mut body = vec![0; length.expect("a length")];
    stream.read_exact(&mut body).expect("whole");
    backend_of(&head).to_owned()
}

#[test]
fn a_signal_reads_the_file_again_and_connections_stay() {
    let ((_a, a), (_b, b)) = (backend("a"), backend("b"));
    let shell = shell();
    shell.write("config.yaml", &file(&[&a]));
    let mut balancer = shell.start(&["run", "--no-watch"]);
    let address = balancer.address();
    let mut client = TcpStream::connect(&address).expect("it listens");
    assert_eq!(ask(&mut client), "a");
    shell.write("config.yaml", &file(&[&b]));
    balancer.signal(Signal::HUP);
    let reloaded = balancer.event("config_reloaded");
    assert_eq!((&reloaded["by"], &reloaded["generation"]), (&"SIGHUP".into(), &2.into()));
    assert_eq!(ask(&mut client), "b", "on the same connection");

    shell.write("config.yaml", "backends: [\"127.0.0.1\"");
    balancer.signal(Signal::HUP);
    let rejected = balancer.event("config_rejected");
    let error = rejected["error"].as_str().expect("a text");
    assert!(error.starts_with("config.yaml:"), "{error}");
    assert_eq!(ask(&mut client), "b", "a bad file changes nothing");
    assert_eq!(balancer.terminate().code, 0);
}

#[test]
fn listeners_come_and_go() {
    let (_a, a) = backend("a");
    let shell = shell();
    let with = |listeners: &str| {
        format!(
            "listeners: [{listeners}]\nroutes: [{{ pool: p }}]\n\
             pools: [{{ name: p, backends: [\"{a}\"] }}]\n"
        )
    };
    let one = "{ name: one, bind: \"127.0.0.1:0\" }";
    let two = "{ name: two, bind: \"127.0.0.1:0\", limits: { max_connections: 9 } }";
    shell.write("config.yaml", &with(one));
    let mut balancer = shell.start(&["run", "--no-watch"]);
    let first = balancer.address();
    shell.write("config.yaml", &with(&format!("{two}, {one}")));
    balancer.signal(Signal::HUP);
    let reloaded = balancer.event("config_reloaded");
    let listeners = reloaded["listeners"].as_str().expect("a text");
    let named = |name: &str| {
        let found = listeners.split(' ').find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
        found.expect(name).to_owned()
    };
    assert_eq!(named("one"), first, "its socket stays");
    let second = named("two");
    let mut client = TcpStream::connect(&second).expect("it listens");
    assert_eq!(ask(&mut client), "a");
    let mut other = TcpStream::connect(&first).expect("it listens");
    assert_eq!(ask(&mut other), "a");

    shell.write("config.yaml", &with(one));
    balancer.signal(Signal::HUP);
    balancer.event("config_reloaded");
    assert_eq!(client.read(&mut [0]).expect("an orderly end"), 0, "its listener has gone");
    let until = Instant::now() + Duration::from_secs(20);
    // Each worker closes its own socket.
    while TcpStream::connect(&second).is_ok() {
        assert!(Instant::now() < until, "nobody listens there");
    }
    assert_eq!(ask(&mut other), "a", "the other one's connections stay");
    assert_eq!(backend_of(&get(&first, "/")), "a");
    assert_eq!(balancer.terminate().code, 0);
}

/// Each way in which files come to be others.
#[test]
fn a_changed_file_is_seen_however_it_changed() {
    let ((_a, a), (_b, b)) = (backend("a"), backend("b"));
    let shell = shell();
    shell.write("..one/config.yaml", &file(&[&a]));
    let link = |target: &str, name: &str| {
        let name = shell.folder().join(name);
        std::os::unix::fs::symlink(target, name).expect("a link");
    };
    link("..one", "..data");
    link("..data/config.yaml", "config.yaml");
    let mut balancer = shell.start(&["run"]);
    let address = balancer.address();
    let mut client = TcpStream::connect(&address).expect("it listens");
    assert_eq!(ask(&mut client), "a");

    // As Kubernetes swaps mounted maps.
    shell.write("..two/config.yaml", &file(&[&b]));
    link("..two", "..new");
    let at = |name: &str| shell.folder().join(name);
    std::fs::rename(at("..new"), at("..data")).expect("swapped");
    let reloaded = balancer.event("config_reloaded");
    assert_eq!(reloaded["by"], "file");
    assert_eq!(ask(&mut client), "b");

    // As editors save: another file takes its place.
    shell.write("config.yaml.new", &file(&[&a]));
    std::fs::rename(at("config.yaml.new"), at("config.yaml")).expect("replaced");
    balancer.event("config_reloaded");
    assert_eq!(ask(&mut client), "a");

    // Written in place, in two halves: the first half alone is never served.
    let text = file(&[&a, &b]);
    let (first, second) = text.split_at(text.len() - 12);
    let path = at("config.yaml");
    let mut open = std::fs::File::create(path).expect("truncated");
    open.write_all(first.as_bytes()).expect("written");
    open.write_all(second.as_bytes()).expect("written");
    drop(open);
    balancer.event("config_reloaded");
    let names = [ask(&mut client), ask(&mut client)];
    assert!(names.contains(&"a".to_owned()) && names.contains(&"b".to_owned()), "{names:?}");

    shell.write("config.yaml", "backends: nonsense\n");
    let rejected = balancer.event("config_rejected");
    assert!(rejected["error"].as_str().expect("a text").starts_with("config.yaml:1:"));
    ask(&mut client);
    assert_eq!(balancer.terminate().code, 0);
}

#[test]
fn status_says_what_was_rejected_and_what_lies_over_the_file() {
    let (_a, a) = backend("a");
    let shell = shell();
    shell.write("config.yaml", &file(&[&a]));
    let mut balancer = shell.start(&["run"]);
    let admin = balancer.event("started")["admin"].as_str().expect("a text").to_owned();
    let shell = shell.set("EVENKEEL_ADMIN", &format!("http://{admin}"));
    let status = || shell.run(&["status"]).stdout;
    let name = format!("default/{a}");
    assert_eq!(shell.run(&["backend", "weight", &name, "7"]).code, 0);
    shell.write("config.yaml", &file(&[&a, "127.0.0.1:9"]));
    while balancer.event("config_reloaded")["by"] != "file" {}
    assert!(status().contains("edits: 1 over the file"), "{}", status());

    shell.write("config.yaml", "backends: nonsense\n");
    balancer.event("config_rejected");
    assert!(status().contains("rejected: config.yaml:1:"), "{}", status());
    let json = shell.run(&["status", "--json"]).json();
    assert_eq!(json["edits"], 1, "{json}");
    assert!(json["rejected"].as_str().expect("why").starts_with("config.yaml:1:"), "{json}");

    shell.write("config.yaml", &file(&[&a]));
    assert_eq!(balancer.event("config_reloaded")["edits_over_file"], 1);
    assert!(!status().contains("rejected"), "{}", status());
    assert_eq!(balancer.terminate().code, 0);
}

#[test]
fn the_admin_listener_moves() {
    let (_a, a) = backend("a");
    let free = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound").to_string()
    };
    let with = |admin: &str| format!("{}admin: {{ bind: \"{admin}\" }}\n", file(&[&a]));
    let shell = Shell::new();
    shell.write("config.yaml", &with("127.0.0.1:0"));
    let mut balancer = shell.start(&["run", "--no-watch"]);
    let first = balancer.event("started")["admin"].as_str().expect("a text").to_owned();
    assert!(get(&first, "/readyz").starts_with("HTTP/1.1 200 "));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    shell.write("config.yaml", &with(&taken.local_addr().expect("bound").to_string()));
    balancer.signal(Signal::HUP);
    let rejected = balancer.event("config_rejected");
    let error = rejected["error"].as_str().expect("a text");
    assert!(error.starts_with("admin.bind: cannot listen on 127.0.0.1:"), "{error}");
    assert!(get(&first, "/readyz").starts_with("HTTP/1.1 200 "), "nothing has changed");

    let second = free();
    shell.write("config.yaml", &with(&second));
    let foreseen =
        shell.run(&["reload", "--plan", "--json", "--admin", &format!("http://{first}")]);
    assert_eq!(foreseen.json()["notes"], serde_json::json!([]), "it needs no restart");
    balancer.signal(Signal::HUP);
    assert_eq!(balancer.event("config_reloaded")["admin"], second.as_str());
    assert!(get(&second, "/readyz").starts_with("HTTP/1.1 200 "));
    assert!(TcpStream::connect(&first).is_err(), "nobody listens there any more");
    assert_eq!(balancer.terminate().code, 0);
}

/// Keys that a running process cannot take up, with other values than `file` has.
const FIXED: [(&str, &str); 6] = [
    ("workers", "workers: 1"),
    ("state_dir", "state_dir: state"),
    ("debug.pprof", "debug: { pprof: \"127.0.0.1:0\" }"),
    ("logging.greeting", "logging: { greeting: Keel }"),
    ("mocks", "mocks: true"),
    ("admin.tokens_file", "admin: { tokens_file: tokens }"),
];

#[test]
fn what_a_reload_cannot_change_is_named_until_an_upgrade() {
    let (_a, a) = backend("a");
    let shell = shell();
    let base = file(&[&a]);
    let tokens = "tokens: [{ name: ana, role: admin, sha256: \
                  2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae }]\n";
    shell.write("tokens", tokens);
    shell.write("config.yaml", &format!("{base}workers: 2\n"));
    let mut balancer = shell.start(&["run", "--no-watch"]);
    let started = balancer.event("started");
    let admin = format!("http://{}", started["admin"].as_str().expect("a text"));
    let notes = |words: &[&str]| -> Vec<String> {
        let said = shell.run(&[words, &["--json", "--admin", &admin]].concat()).json();
        let notes = said["notes"].as_array().unwrap_or_else(|| panic!("{said}"));
        notes.iter().map(|it| it.as_str().expect("a text").to_owned()).collect()
    };
    for (key, line) in FIXED {
        shell.write("config.yaml", &format!("{base}{line}\n"));
        let named = |notes: &[String]| {
            let found = notes.iter().find(|note| note.starts_with(&format!("{key}: ")));
            found.is_some_and(|note| note.contains("until a restart or `evenkeel upgrade`"))
        };
        let foreseen = notes(&["reload", "--plan"]);
        assert!(named(&foreseen), "{key}: {foreseen:?}");
        balancer.signal(Signal::HUP);
        let reloaded = balancer.event("config_reloaded");
        let note = reloaded["note"].as_str().unwrap_or_default().to_owned();
        assert!(named(&note.split("; ").map(str::to_owned).collect::<Vec<_>>()), "{note}");
        let again = notes(&["reload"]);
        assert!(named(&again), "{key} is still not in force: {again:?}");
        assert_eq!(notes(&["reload", "--plan"]), again);
    }
    let all: Vec<&str> = FIXED[..4].iter().map(|(_, line)| *line).collect();
    shell.write("config.yaml", &format!("{base}{}\n", all.join("\n")));
    balancer.signal(Signal::HUP);
    balancer.event("config_reloaded");
    balancer.signal(Signal::USR2);
    let successor = crate::handover::Successor::of(&mut balancer);
    assert_eq!(notes(&["reload", "--plan"]), Vec::<String>::new());
    balancer.event("stopped");
    drop(successor);
    assert_eq!(balancer.end().code, 0);
}

#[test]
fn what_a_reload_needs_and_does_not_find_is_named() {
    let (_a, a) = backend("a");
    let shell = shell();
    shell.write("config.yaml", &file(&[&a]));
    let mut balancer = shell.start(&["run", "--no-watch"]);
    let address = balancer.address();
    shell.write("config.yaml", &(file(&[&a]) + "logging: { file: nowhere/at/all.log }\n"));
    balancer.signal(Signal::HUP);
    balancer.event("log_unchanged");
    let note = balancer.event("config_reloaded")["note"].clone();
    let note = note.as_str().unwrap_or_default();
    assert!(note.starts_with("logging: the log stays where it is: "), "{note}");
    assert_eq!(backend_of(&get(&address, "/")), "a");
    assert_eq!(balancer.terminate().code, 0);
}

/// Memory that is the process's own, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("of Linux");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

/// Reloads again and again while clients go on, and what that does to memory.
fn storm(reloads: u32, pace: Duration, backends: usize) {
    let (_a, a) = backend("a");
    let shell = shell();
    // Those of weight 0 take no traffic; they only have to be there.
    let idle: Vec<String> = (0..backends)
        .map(|at| format!("{{ address: \"127.1.{}.{}:9\", weight: 0 }}", at / 250, at % 250 + 1))
        .collect();
    let text = |round: u32| {
        format!(
            "listeners: [{{ name: web, bind: \"127.0.0.1:0\" }}]\nroutes: [{{ pool: p }}]\n\
             pools: [{{ name: p, health: {{ type: none }}, timeouts: {{ response_head: {}s }}, \
             backends: [\"{a}\", {}] }}]\nlogging: {{ access: {{ enabled: false }} }}\n",
            60 + round % 7,
            idle.join(", ")
        )
    };
    shell.write("config.yaml", &text(0));
    let mut balancer = shell.start(&["run", "--no-watch"]);
    balancer.may_take(Duration::from_secs(120));
    let address = balancer.address();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = || {
            // One connection from the beginning to the end.
            let mut stream = TcpStream::connect(&address).expect("it listens");
            let mut asked = 0_u64;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(ask(&mut stream), "a");
                asked += 1;
                // It shares the machine with what it tests.
                std::thread::park_timeout(Duration::from_millis(5));
            }
            asked
        };
        let clients = [scope.spawn(client), scope.spawn(client)];
        let mut settled = 0;
        for round in 1..=reloads {
            let next = Instant::now() + pace;
            shell.write("config.yaml", &text(round));
            balancer.signal(Signal::HUP);
            balancer.event("config_reloaded");
            if round == reloads / 2 {
                settled = resident(balancer.pid());
            }
            while let Some(left) = next.checked_duration_since(Instant::now()) {
                std::thread::park_timeout(left);
            }
        }
        let grown = resident(balancer.pid()).saturating_sub(settled);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        for client in clients {
            assert!(client.join().expect("no answer is missing") > 0);
        }
        assert!(grown < MAX_GROWTH, "{grown} KiB more after {reloads} reloads");
    });
    assert_eq!(balancer.terminate().code, 0);
}

/// What memory may grow by in the second half of a storm, in KiB: a configuration that is kept for
/// each of its reloads would be several times that.
const MAX_GROWTH: u64 = 8 * 1024;

#[test]
fn a_storm_of_reloads_costs_no_connection_and_no_memory() {
    storm(60, Duration::ZERO, 300);
}

#[test]
#[ignore = "needs a minute: ten reloads a second, for that long"]
fn ten_reloads_a_second_for_a_minute() {
    storm(600, Duration::from_millis(100), 100);
}

/// Bound on applying 10,000 backends. A program that is not optimised is given longer.
const MAX_APPLY_MILLIS: f64 = if cfg!(debug_assertions) { 2_000.0 } else { 100.0 };

#[test]
#[ignore = "needs a quiet machine: it measures"]
fn ten_thousand_backends_are_applied_in_no_time() {
    let (_a, a) = backend("a");
    let shell = shell();
    let idle: Vec<String> = (0..9_999)
        .map(|at| {
            format!("  - {{ address: \"127.1.{}.{}:9\", weight: 0 }}", at / 250, at % 250 + 1)
        })
        .collect();
    let text = |timeout: u32| {
        format!(
            "listeners: [{{ name: web, bind: \"127.0.0.1:0\" }}]\nroutes: [{{ pool: p }}]\n\
             pools:\n- name: p\n  health: {{ type: none }}\n\
             \x20 timeouts: {{ response_head: {timeout}s }}\n  backends:\n  - \"{a}\"\n{}\n",
            idle.join("\n")
        )
    };
    shell.write("config.yaml", &text(60));
    let mut balancer = shell.start(&["run", "--no-watch"]);
    let mut client = TcpStream::connect(balancer.address()).expect("it listens");
    let mut took = Vec::new();
    for timeout in 61..=65 {
        shell.write("config.yaml", &text(timeout));
        balancer.signal(Signal::HUP);
        took.push(balancer.event("config_reloaded")["took_ms"].as_f64().expect("a number"));
        assert_eq!(ask(&mut client), "a");
    }
    assert!(took.iter().all(|millis| *millis < MAX_APPLY_MILLIS), "{took:?}");
}

#[test]
fn a_demand_for_client_certificates_outlives_its_file() {
    let own = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).expect("signed");
    let shell = shell();
    shell.write("own.pem", &own.cert.pem());
    shell.write("own.key", &own.signing_key.serialize_pem());
    let file = "listeners:\n  - bind: \"127.0.0.1:0\"\n    tls:\n      certificates: \
                [{ cert: own.pem, key: own.key }]\n      client_ca: ca.pem\n\
                routes: [{ pool: p }]\npools: [{ name: p, backends: [\"127.0.0.1:1\"] }]\n";
    shell.write("config.yaml", file);
    // Missing, empty, something else, cut in two.
    let (whole, broken) = (own.cert.pem(), "config.yaml:5:");
    let texts = [None, Some(""), Some("what is this?"), Some(&whole[..whole.len() / 2])];
    for text in texts {
        if let Some(text) = text {
            shell.write("ca.pem", text);
        }
        for words in [&["check"][..], &["run", "--no-watch"]] {
            let answer = shell.run(words);
            assert_ne!(answer.code, 0, "{text:?}: {answer:?}");
            let told = answer.stdout + &answer.stderr;
            assert!(told.contains(broken) && told.contains("client_ca"), "{text:?}: {told}");
        }
    }
    shell.write("ca.pem", &whole);
    let mut balancer = shell.start(&["run", "--no-watch"]);
    balancer.address();
    for text in texts {
        match text {
            Some(text) => shell.write("ca.pem", text),
            None => std::fs::remove_file(shell.folder().join("ca.pem")).expect("it was there"),
        }
        balancer.signal(Signal::HUP);
        let rejected = balancer.event("config_rejected");
        let error = rejected["error"].as_str().expect("a text");
        assert!(error.contains(broken) && error.contains("ca.pem"), "{text:?}: {error}");
    }
    assert_eq!(balancer.terminate().code, 0);
}
