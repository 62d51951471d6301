//! Profiles of a balancer that works.

use crate::program::{Program, Shell, get};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// Routes that limit rates, each with a table of this size: 8,192 sets of 8 keys behind a lock.
const LIMITED_ROUTES: usize = 64;
const TABLE_BYTES: usize = 8_192 * (8 * 16 + 8);

/// A balancer that serves profiles, where it listens, and where they are.
fn profiled() -> (Program, String, String) {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let shell = Shell::new();
    let route = |number| {
        format!(
            "  - name: r{number}\n    match: {{ path: /{number} }}\n    pool: web\n    \
             rate_limit: {{ requests: 9, per: 1s, key: client_ip }}\n"
        )
    };
    let routes: String = (0..LIMITED_ROUTES).map(route).collect();
    shell.write(
        "config.yaml",
        &format!(
            "version: 1\nlisteners: [{{ name: web, bind: \"127.0.0.1:0\" }}]\nroutes:\n{routes}\
             pools: [{{ name: web, backends: [\"127.0.0.1:1\"] }}]\n\
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

/// Keeps the balancer busy while `act` runs: requests that no route wants cost CPU time, too.
fn under_load<T>(address: &str, act: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let request = format!("GET /unknown HTTP/1.1\r\nHost: {address}\r\n\r\n");
            let mut buffer = vec![0; 64 * 1024];
            let mut stream = TcpStream::connect(address).expect(address);
            while !over.load(Ordering::Relaxed) {
                stream.write_all(request.as_bytes()).expect("a connection that stays");
                let read = stream.read(&mut buffer).expect("an answer");
                assert!(buffer[..read].starts_with(b"HTTP/1.1 404"), "{read} bytes");
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
    for name in ["profile", "heap", "allocs", "mappings", "cmdline", "threads", "symbol"] {
        assert!(index.contains(&format!("<a href=\"{name}")), "{name}: {index}");
    }
    for name in ["heap", "allocs", "mappings"] {
        let (status, body) = fetch(&profiles, &format!("/debug/pprof/{name}"));
        assert!(status.contains(" 200 ") && body.starts_with(&[0x1f, 0x8b]), "{name}: {status}");
    }
    let (_, words) = fetch(&profiles, "/debug/pprof/cmdline");
    assert!(words.ends_with(b"\0run"), "{words:?}");
    let (_, threads) = fetch(&profiles, "/debug/pprof/threads");
    assert!(String::from_utf8_lossy(&threads).contains("[ek-worker-0] state "));
    let (_, symbols) = fetch(&profiles, "/debug/pprof/symbol?0x1+zz");
    assert_eq!(String::from_utf8_lossy(&symbols), "num_symbols: 1\n");
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

/// What `go tool pprof -top` prints of a profile.
fn top(profile: &str, options: &[&str]) -> String {
    let mut go = Command::new("go");
    go.args(["tool", "pprof", "-top"]).args(options).arg(profile);
    let output = go.output().expect("go");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{profile}: {said}{why}");
    said
}

#[test]
#[ignore = "needs go (Debian golang-go)"]
fn go_reads_them_and_finds_names() {
    let (balancer, address, profiles) = profiled();
    let cases = [("profile?seconds=2", "evenkeel_"), ("mappings", "allocated")];
    for (name, wanted) in cases {
        let url = format!("http://{profiles}/debug/pprof/{name}");
        let said = under_load(&address, || top(&url, &["-cum"]));
        assert!(said.contains(wanted), "{name}: {said}");
        // Whole names, and no frame of the one who samples CPU time.
        for unwanted in [" ::", "pprof::", "perf_signal_handler"] {
            assert!(!said.contains(unwanted), "{unwanted}: {said}");
        }
    }
    drop(balancer);
}

#[test]
#[ignore = "needs go (Debian golang-go)"]
fn go_finds_who_holds_memory_and_how_much() {
    let (balancer, _, profiles) = profiled();
    let wanted = (LIMITED_ROUTES * TABLE_BYTES) as f64 / (1 << 20) as f64;
    let cases = [
        ("heap", "inuse_space", &[][..]),
        ("allocs", "alloc_space", &[]),
        ("heap", "alloc_space", &["-sample_index=alloc_space"]),
    ];
    for (name, value, options) in cases {
        let url = format!("http://{profiles}/debug/pprof/{name}");
        let said = top(&url, &[options, &["-unit=mb"]].concat());
        assert!(said.contains(&format!("Type: {value}")), "{name}: {said}");
        let line = said.lines().find(|line| line.ends_with("limit::RateLimiter::new"));
        let line = line.unwrap_or_else(|| panic!("{name}: {said}"));
        // FLAT FLAT% SUM% CUM CUM% NAME: what the function itself asked for comes first.
        let flat = line.split_whitespace().next().and_then(|flat| flat.strip_suffix("MB"));
        let flat: f64 = flat.and_then(|flat| flat.parse().ok()).expect(line);
        // A table is noted in 88 of 100 cases: of 64 of them 5 % are one standard deviation.
        assert!((0.75..1.25).contains(&(flat / wanted)), "{flat} of {wanted}: {said}");
    }
    drop(balancer);
}
