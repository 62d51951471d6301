//! Profiles of a balancer that works.

use crate::program::{Program, Shell, get};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// A balancer that serves profiles, where it listens, and where they are.
fn profiled() -> (Program, String, String) {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let shell = Shell::new();
    shell.write(
        "config.yaml",
        &format!(
            "listen: \"127.0.0.1:0\"\nbackends: [\"127.0.0.1:1\"]\n\
             admin: {{ bind: \"127.0.0.1:0\" }}\nlogging: {{ access: {{ enabled: false }} }}\n\
             debug: {{ pprof: \"{free}\" }}\n"
        ),
    );
    let mut balancer = shell.start(&["run"]);
    let started = balancer.event("started");
    let listeners = started["listeners"].as_str().expect("a text");
    let address = listeners.split_once('=').expect("NAME=ADDRESS").1.to_owned();
    let admin = started["admin"].as_str().expect("a text").to_owned();
    assert!(get(&admin, "/debug/pprof/").contains("profile"), "on the admin listener as well");
    (balancer, address, free.to_string())
}

/// Status and body.
fn fetch(address: &str, path: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect(address);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("a whole response");
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    (head.lines().next().unwrap_or_default().to_owned(), bytes.split_off(end))
}

/// Keeps the balancer busy while `act` runs: requests that are refused cost CPU time, too.
fn under_load<T>(address: &str, act: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = TcpStream::connect(address).expect(address);
            let request = format!("TRACE /x HTTP/1.1\r\nHost: {address}\r\n\r\n").repeat(64);
            let mut buffer = vec![0; 64 * 1024];
            while !over.load(Ordering::Relaxed) {
                if stream.write_all(request.as_bytes()).is_err() {
                    stream = TcpStream::connect(address).expect(address);
                }
                let _ = stream.read(&mut buffer);
            }
        });
        let done = act();
        over.store(true, Ordering::Relaxed);
        done
    })
}

#[test]
fn profiles_are_compressed_and_one_at_a_time() {
    let (balancer, address, profiles) = profiled();
    let (status, index) = fetch(&profiles, "/debug/pprof/");
    assert!(status.contains(" 200 "), "{status}");
    let index = String::from_utf8_lossy(&index).into_owned();
    for name in ["profile", "heap", "allocs", "cmdline", "threads"] {
        assert!(index.contains(&format!("<a href=\"{name}")), "{name}: {index}");
    }
    for name in ["heap", "allocs"] {
        let (status, body) = fetch(&profiles, &format!("/debug/pprof/{name}"));
        assert!(status.contains(" 200 ") && body.starts_with(&[0x1f, 0x8b]), "{name}: {status}");
    }
    let (_, words) = fetch(&profiles, "/debug/pprof/cmdline");
    assert!(words.ends_with(b"\0run"), "{words:?}");
    let (_, threads) = fetch(&profiles, "/debug/pprof/threads");
    assert!(String::from_utf8_lossy(&threads).contains("[ek-worker-0] state "));
    let (status, _) = fetch(&profiles, "/debug/pprof/profile?seconds=0");
    assert!(status.contains(" 400 "), "{status}");
    under_load(&address, || {
        std::thread::scope(|scope| {
            let ask = || fetch(&profiles, "/debug/pprof/profile?seconds=1");
            let both = [scope.spawn(ask), scope.spawn(ask)];
            let mut statuses = both.map(|asked| {
                let (status, body) = asked.join().expect("an answer");
                let taken = status.contains(" 200 ");
                assert_eq!(body.starts_with(&[0x1f, 0x8b]), taken, "{status}");
                status
            });
            statuses.sort();
            assert!(statuses[0].contains(" 200 ") && statuses[1].contains(" 409 "), "{statuses:?}");
        });
    });
    assert_eq!(balancer.terminate().code, 0);
}

#[test]
#[ignore = "needs go (Debian golang-go)"]
fn go_reads_them_and_finds_names() {
    let (balancer, address, profiles) = profiled();
    let cases =
        [("profile?seconds=2", "evenkeel_"), ("heap", "allocated"), ("allocs", "allocated")];
    for (name, wanted) in cases {
        let url = format!("http://{profiles}/debug/pprof/{name}");
        let go = || Command::new("go").args(["tool", "pprof", "-top", "-cum", &url]).output();
        let output = under_load(&address, go).expect("go");
        let said = String::from_utf8_lossy(&output.stdout);
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains(wanted), "{name}: {said}{why}");
        // Whole names, and no frame of the one who samples.
        assert!(!said.contains(" ::") && !said.contains("trace_unsynchronized"), "{said}");
    }
    drop(balancer);
}
