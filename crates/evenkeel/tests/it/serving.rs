//! `run`: from start to drain.

use crate::program::{Answer, Shell, backend, backend_of, get, send_get};
use rustix::process::Signal;
use std::io::Read;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// Commands that do not meet on the admin port.
fn shell() -> Shell {
    Shell::new().set("EVENKEEL__ADMIN__BIND", "127.0.0.1:0")
}

fn file(backend: &str) -> String {
    format!("listen: \"127.0.0.1:0\"\nbackends: [\"{backend}\"]\n")
}

#[test]
fn balances_without_a_file() {
    let ((_a, a), (_b, b)) = (backend("a"), backend("b"));
    let to_b = format!("http://{b}");
    let words = ["-listen", "127.0.0.1:0", "-to", &a, "--to", &to_b, "--strategy", "rr"];
    let mut balancer = shell().start(&words);
    let address = balancer.address();
    let names: Vec<_> = (0..6).map(|_| backend_of(&get(&address, "/")).to_owned()).collect();
    assert!(names == ["a", "b", "a", "b", "a", "b"] || names == ["b", "a", "b", "a", "b", "a"]);
    balancer.signal(Signal::INT);
    assert_eq!(balancer.end().code, 0);
}

#[test]
fn listen_replaces_the_listener_of_a_file() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("bound");
    let (_a, a) = backend("a");
    let shell = shell();
    shell.write("config.yaml", &format!("listen: \"{taken}\"\nbackends: [\"{a}\"]\n"));
    let mut balancer = shell.start(&["run", "--listen", "127.0.0.1:0"]);
    let address = balancer.address();
    assert_ne!(address, taken.to_string());
    assert_eq!(backend_of(&get(&address, "/")), "a");
    assert_eq!(balancer.terminate().code, 0);
}

#[test]
fn a_taken_port_exits_2_and_names_its_holder() {
    let (_a, a) = backend("a");
    let mut first = shell().start(&["--listen", "127.0.0.1:0", "--to", &a]);
    let address = first.address();
    let Answer { code, stderr, .. } = shell().run(&["--listen", &address, "--to", &a]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains(&address), "{stderr}");
    assert!(stderr.contains(&format!("(pid {})", first.pid())), "{stderr}");
    assert!(stderr.contains("address already in use"), "{stderr}");
    assert_eq!(backend_of(&get(&address, "/")), "a");

    let admin = Shell::new().set("EVENKEEL__ADMIN__BIND", &address);
    let Answer { code, stderr, .. } = admin.run(&["--listen", "127.0.0.1:0", "--to", &a]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains(&address), "{stderr}");
    assert_eq!(first.terminate().code, 0);
}

#[test]
fn a_stop_lets_the_exchange_in_flight_end() {
    let (_a, a) = backend("a");
    let shell = shell();
    shell.write("config.yaml", &format!("{}shutdown: {{ grace: 200ms }}\n", file(&a)));
    let mut balancer = shell.start(&["run"]);
    let address = balancer.address();
    let mut response = send_get(&address, "/delay/700ms");
    balancer.signal(Signal::TERM);
    balancer.event("draining");
    assert_eq!(backend_of(&get(&address, "/")), "a", "still accepting during the grace");
    let mut text = String::new();
    response.read_to_string(&mut text).expect("a whole response");
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    let stopped = balancer.event("stopped");
    assert_eq!(stopped["message"], "every exchange has ended");
    assert_eq!(balancer.end().code, 0);
}

#[test]
fn a_second_signal_stops_at_once() {
    let (_a, a) = backend("a");
    let shell = shell();
    shell.write("config.yaml", &file(&a));
    let mut balancer = shell.start(&["run"]);
    let mut stream = send_get(&balancer.address(), "/events");
    stream.read_exact(&mut [0; 15]).expect("the response has begun");
    balancer.signal(Signal::TERM);
    balancer.event("draining");
    balancer.signal(Signal::TERM);
    let stopped = balancer.event("stopped");
    assert_eq!(stopped["message"], "asked again to stop; what was left is cut off");
    assert_eq!(balancer.end().code, 0);
}

#[test]
fn the_log_file_is_reopened() {
    let (_a, a) = backend("a");
    let shell = shell();
    shell.write("config.yaml", &format!("{}logging: {{ file: log }}\n", file(&a)));
    let balancer = shell.start(&["run"]);
    let (log, rotated) = (shell.folder().join("log"), shell.folder().join("log.1"));
    wait_for("started", &log);
    std::fs::rename(&log, &rotated).expect("renamed");
    balancer.signal(Signal::USR1);
    wait_for("", &log);
    assert_eq!(balancer.terminate().code, 0);
    let text = std::fs::read_to_string(&log).expect("reopened");
    assert!(text.contains("\"stopped\""), "{text}");
}

/// Waits until the file is there with `word` in it.
fn wait_for(word: &str, file: &std::path::Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !std::fs::read_to_string(file).is_ok_and(|text| text.contains(word)) {
        assert!(Instant::now() < deadline, "no {word:?} in {}", file.display());
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn a_name_that_does_not_resolve_is_no_reason_not_to_start() {
    let (_a, a) = backend("a");
    let words = ["--listen", "127.0.0.1:0", "--to", "no-such-name.invalid:80", "--to", &a];
    let mut balancer = shell().start(&words);
    let address = balancer.address();
    for _ in 0..4 {
        assert_eq!(backend_of(&get(&address, "/")), "a");
    }
    assert_eq!(balancer.terminate().code, 0);
}
