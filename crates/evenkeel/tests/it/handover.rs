//! A new program on the same sockets.

use crate::program::{Program, Shell, backend_of, get, send_get};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn backend(name: &str) -> (Program, String) {
    let words = ["testserver", "--listen", "127.0.0.1:0", "--name", name];
    let mut server = Shell::new().start(&words);
    let line = server.line_with("listens on");
    let address = line.split("http://").nth(1).expect("an address").trim_end_matches('/');
    (server, address.to_owned())
}

/// A balancer that is started by a link, so that another program can take its place.
struct Stage {
    shell: Shell,
    link: PathBuf,
}

impl Stage {
    fn new(backend: &str) -> Stage {
        let shell = Shell::new().set("EVENKEEL__ADMIN__BIND", "127.0.0.1:0");
        let text = format!("listen: \"127.0.0.1:0\"\nbackends: [\"{backend}\"]\n");
        shell.write("config.yaml", &text);
        let link = shell.folder().join("program");
        symlink(env!("CARGO_BIN_EXE_evenkeel"), &link).expect("a link");
        Stage { shell, link }
    }

    fn replace(&self, program: &str) {
        let new = self.shell.folder().join("new");
        symlink(program, &new).expect("a link");
        std::fs::rename(new, &self.link).expect("replaced");
    }

    fn start(&self) -> Program {
        self.shell.start_at(&self.link, &["run", "--no-watch"])
    }
}

/// Ends what the old program has started; the test's own child ends with its handle.
pub(crate) struct Successor(pub(crate) i32);

impl Successor {
    pub(crate) fn of(balancer: &mut Program) -> Successor {
        let pid = balancer.event("handed_over")["pid"].as_i64().expect("a number");
        Successor(i32::try_from(pid).expect("a process"))
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0).expect("not zero");
        // It may have ended already.
        let _ = kill_process(pid, signal);
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
    }
}

#[test]
fn what_runs_ends_in_the_old_program_and_the_new_one_serves() {
    let (_a, a) = backend("a");
    let stage = Stage::new(&a);
    let mut balancer = stage.start();
    let address = balancer.address();
    let mut running = send_get(&address, "/delay/1500ms");
    let mut idle = TcpStream::connect(&address).expect("it listens");
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let mut buffer = [0; 4096];
    assert!(idle.read(&mut buffer).expect("an answer") > 0);

    balancer.signal(Signal::USR2);
    let successor = Successor::of(&mut balancer);
    for _ in 0..20 {
        assert_eq!(backend_of(&get(&address, "/")), "a");
    }
    let mut text = String::new();
    running.read_to_string(&mut text).expect("a whole response");
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    // The old program answers once more on a connection that was idle.
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let length = idle.read(&mut buffer).expect("an answer");
    let head = String::from_utf8_lossy(&buffer[..length]).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 ") && head.contains("connection: close"), "{head}");
    drop(idle);
    let stopped = balancer.event("stopped");
    assert_eq!(stopped["message"], "every exchange has ended");
    assert_eq!(backend_of(&get(&address, "/")), "a", "the new one is alone now");
    drop(successor);
    assert_eq!(balancer.end().code, 0);
}

#[test]
fn a_new_program_that_fails_leaves_the_old_one_serving() {
    let (_a, a) = backend("a");
    let stage = Stage::new(&a);
    let mut balancer = stage.start();
    let address = balancer.address();
    for program in ["/bin/false", "/nowhere/at/all"] {
        stage.replace(program);
        balancer.signal(Signal::USR2);
        let failed = balancer.event("handover_failed");
        assert!(failed["error"].as_str().is_some_and(|it| it.contains("new program")), "{failed}");
        assert_eq!(backend_of(&get(&address, "/")), "a");
    }
    stage.replace(env!("CARGO_BIN_EXE_evenkeel"));
    stage.shell.write("config.yaml", "backends: nonsense\n");
    balancer.signal(Signal::USR2);
    balancer.event("handover_failed");
    assert_eq!(backend_of(&get(&address, "/")), "a");
    assert_eq!(balancer.terminate().code, 0);
}

/// Requests that were counted, as a scraper sees it.
fn requests(admin: &str) -> u64 {
    let page = get(admin, "/metrics");
    let lines = page.lines().filter(|line| line.starts_with("evenkeel_requests_total{"));
    lines.map(|it| it.rsplit(' ').next().expect("a value").parse::<u64>().expect(it)).sum()
}

#[test]
fn counters_never_go_backwards_and_what_the_old_program_finishes_counts() {
    let (_a, a) = backend("a");
    let stage = Stage::new(&a);
    let mut balancer = stage.start();
    let started = balancer.event("started");
    let word = |name: &str| started[name].as_str().expect("a text");
    let address = word("listeners").split_once('=').expect("NAME=ADDRESS").1;
    let admin = word("admin");
    (0..10).for_each(|_| assert_eq!(backend_of(&get(address, "/")), "a"));
    let mut running = send_get(address, "/delay/1500ms");

    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let scraping = scope.spawn(|| {
            let mut seen = 0;
            while !over.load(Ordering::Relaxed) {
                let now = requests(admin);
                assert!(now >= seen, "{now} after {seen}");
                seen = now;
            }
            seen
        });
        balancer.signal(Signal::USR2);
        let successor = Successor::of(&mut balancer);
        (0..5).for_each(|_| assert_eq!(backend_of(&get(address, "/")), "a"));
        balancer.signal(Signal::HUP);
        balancer.event("reload_refused");
        let mut text = String::new();
        running.read_to_string(&mut text).expect("a whole response");
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
        balancer.event("stopped");
        let deadline = Instant::now() + Duration::from_secs(10);
        while requests(admin) < 16 && Instant::now() < deadline {}
        over.store(true, Ordering::Relaxed);
        assert_eq!(scraping.join().expect("it never went back"), 16);
        drop(successor);
    });
}
