//! A new program on the same sockets.

use crate::program::{Program, Shell, backend, backend_of, get, send_get};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A balancer that is started by a link, so that another program can take its place.
pub(crate) struct Stage {
    pub(crate) shell: Shell,
    link: PathBuf,
}

impl Stage {
    pub(crate) fn new(backend: &str) -> Stage {
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

    pub(crate) fn start(&self) -> Program {
        self.shell.start_at(&self.link, &["run", "--no-watch", "--pid-file", "run.pid"])
    }

    /// The program, where its clients find it, and its admin listener.
    fn serve(&self) -> (Program, String, String) {
        let mut balancer = self.start();
        let started = balancer.event("started");
        let word = |name: &str| started[name].as_str().expect("a text").to_owned();
        let listener = word("listeners");
        let address = listener.split_once('=').expect("NAME=ADDRESS").1.to_owned();
        (balancer, address, word("admin"))
    }

    /// A new program that does this and nothing else.
    fn replace_by_script(&self, name: &str, text: &str) {
        self.shell.write(name, &format!("#!/bin/sh\n{text}\n"));
        let script = self.shell.folder().join(name);
        let may_run = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&script, may_run).expect("its own file");
        self.replace(script.to_str().expect("UTF-8"));
    }

    /// The process that the pid file names; it is written when the process has said that it serves.
    fn pid(&self) -> i64 {
        let file = self.shell.folder().join("run.pid");
        let deadline = Instant::now() + Duration::from_secs(15);
        while !file.exists() && Instant::now() < deadline {
            thread::yield_now();
        }
        let text = std::fs::read_to_string(file).expect("written");
        text.trim().parse().expect("a number")
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

/// Status line of `GET /livez` or of a proxied request over a unix socket.
fn ask_unix(path: &Path, target: &str) -> String {
    let mut stream = UnixStream::connect(path).expect("somebody listens");
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("a whole answer");
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn unix_sockets_are_handed_over_and_their_files_end_with_the_last_program() {
    let (_a, a) = backend("a");
    let stage = Stage::new(&a);
    let at = |name: &str| stage.shell.folder().join(name);
    let (web, admin) = (at("web.sock"), at("admin.sock"));
    let text = format!(
        "listeners: [{{ bind: \"unix:{}\" }}]\npools: [{{ name: p, backends: [\"{a}\"] }}]\n",
        web.display()
    );
    stage.shell.write("config.yaml", &text);
    let Stage { shell, link } = stage;
    let shell = shell.set("EVENKEEL__ADMIN__BIND", &format!("unix:{}", admin.display()));
    let stage = Stage { shell, link };
    let mut balancer = stage.start();
    let told = format!("unix:{}", admin.display());
    assert_eq!(balancer.event("started")["admin"], told);
    balancer.signal(Signal::USR2);
    let successor = Successor::of(&mut balancer);
    balancer.event("stopped");
    assert_eq!(ask_unix(&web, "/"), "HTTP/1.1 200 OK");
    assert_eq!(ask_unix(&admin, "/livez"), "HTTP/1.1 200 OK");
    successor.signal(Signal::TERM);
    // Both write to one pipe: it ends with the last of them.
    assert_eq!(balancer.end().code, 0);
    assert!(!web.exists() && !admin.exists(), "the files of a clean stop are gone");
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
    let mut fails = |why: &str| {
        balancer.signal(Signal::USR2);
        let failed = balancer.event("handover_failed");
        let error = failed["error"].as_str().expect("a text");
        assert!(error.contains("new program") && error.contains(why), "{why}: {error}");
        assert_eq!(backend_of(&get(&address, "/")), "a");
    };
    for (program, why) in [("/bin/false", "exit status: 1"), ("/nowhere/at/all", "cannot start")] {
        stage.replace(program);
        fails(why);
    }
    stage.replace_by_script("crash", "kill -SEGV $$");
    fails("signal: 11");
    stage.replace(env!("CARGO_BIN_EXE_evenkeel"));
    stage.shell.write("config.yaml", "backends: nonsense\n");
    fails("exit status: 1");
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
    let (mut balancer, address, admin) = stage.serve();
    let (address, admin) = (&*address, &*admin);
    (0..10).for_each(|_| assert_eq!(backend_of(&get(address, "/")), "a"));
    let mut running = send_get(address, "/delay/1500ms");

    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let ends = Ends(&over);
        let scraping = scope.spawn(|| {
            let mut seen = 0;
            while !over.load(Ordering::Relaxed) {
                let now = requests(admin);
                assert!(now >= seen, "{now} after {seen}");
                seen = now;
                thread::park_timeout(PACE);
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
        assert_eq!(requests(admin), 16);
        drop(ends);
        assert!(scraping.join().expect("it never went back") <= 16);
        drop(successor);
    });
}

#[test]
fn what_was_slow_before_a_handover_is_remembered_after_it() {
    let (_a, a) = backend("a");
    let stage = Stage::new(&a);
    let (mut balancer, address, admin) = stage.serve();
    let (address, admin) = (&*address, &*admin);
    let json = |path: &str| -> serde_json::Value {
        let page = get(admin, path);
        let body = page.split_once("\r\n\r\n").expect("a body").1;
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {page}"))
    };
    let paths = || -> Vec<String> {
        let list = json("/api/v1/requests");
        let list = list["requests"].as_array().expect("a list").iter();
        list.map(|one| one["path"].as_str().expect("a path").to_owned()).collect()
    };
    assert_eq!(backend_of(&get(address, "/delay/1100ms")), "a");
    let deadline = Instant::now() + Duration::from_secs(20);
    let steps = || json("/api/v1/history")["steps"].as_array().expect("a list").len();
    while (paths().is_empty() || steps() == 0) && Instant::now() < deadline {
        thread::park_timeout(PACE);
    }
    let before = steps();
    // This one ends in the old program, when the new one serves.
    let mut running = send_get(address, "/delay/2100ms");
    balancer.signal(Signal::USR2);
    let successor = Successor::of(&mut balancer);
    assert_eq!(paths(), ["/delay/1100ms"]);
    assert!(steps() >= before, "{} after {before}", steps());
    let mut text = String::new();
    running.read_to_string(&mut text).expect("a whole response");
    balancer.event("stopped");
    while paths().len() < 2 && Instant::now() < deadline {
        thread::park_timeout(PACE);
    }
    assert_eq!(paths(), ["/delay/2100ms", "/delay/1100ms"]);
    drop(successor);
}

#[test]
fn systemd_is_told_who_the_main_process_is() {
    let (_a, a) = backend("a");
    let Stage { shell, link } = Stage::new(&a);
    let path = shell.folder().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
    let shell = shell.set("NOTIFY_SOCKET", path.to_str().expect("UTF-8"));
    let told = |word: &str| {
        let mut message = [0; 1024];
        loop {
            let length = socket.recv(&mut message).expect(word);
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            if text.contains(word) {
                return text;
            }
        }
    };
    let stage = Stage { shell, link };
    let mut balancer = stage.start();
    told("READY=1");
    balancer.signal(Signal::USR2);
    let main = told("MAINPID=");
    let successor = Successor::of(&mut balancer);
    assert!(main.contains(&format!("MAINPID={}", successor.0)), "{main}");
    // A main process that is no child of systemd's own is killed by it without a drain.
    let status = std::fs::read_to_string(format!("/proc/{}/stat", successor.0)).expect("it lives");
    let parent = status.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
    assert_ne!(parent.expect("a parent"), balancer.pid().to_string(), "{status}");
    balancer.event("stopped");
    successor.signal(Signal::TERM);
    told("STOPPING=1");
    drop(successor);
    assert_eq!(balancer.end().code, 0);
}

/// What `upgrade` says, and its exit code.
fn upgrade(shell: &Shell, words: &[&str]) -> (i32, serde_json::Value) {
    let answer = shell.run(&[&["upgrade", "--json"], words].concat());
    let said = if answer.stdout.is_empty() { answer.stderr.clone().into() } else { answer.json() };
    (answer.code, said)
}

#[test]
fn upgrade_says_what_became_of_it() {
    let (_a, a) = backend("a");
    let stage = Stage::new(&a);
    let mut balancer = stage.start();
    let started = balancer.event("started");
    let admin = format!("http://{}", started["admin"].as_str().expect("a text"));
    let first = i64::from(balancer.pid());
    assert_eq!(stage.pid(), first);

    let (code, said) = upgrade(&stage.shell, &["--admin", &admin]);
    let _second = Successor::of(&mut balancer);
    assert_eq!((code, &said["from"]), (0, &first.into()), "{said}");
    let second = said["to"].as_i64().expect("a process");
    assert_eq!((stage.pid(), second == first), (second, false));
    balancer.event("stopped");
    assert_eq!(stage.pid(), second, "the end of the old one leaves it alone");

    stage.replace("/bin/false");
    let (code, said) = upgrade(&stage.shell, &["--admin", &admin]);
    let error = said["error"].as_str().expect("why");
    assert!(code == 3 && error.contains("it ended before it was ready"), "{code}: {said}");
    let (code, said) = upgrade(&stage.shell, &["--pid-file", "run.pid", "--timeout", "300ms"]);
    assert_eq!((code, &said["upgraded"], stage.pid()), (3, &false.into(), second), "{said}");

    stage.replace(env!("CARGO_BIN_EXE_evenkeel"));
    let (code, said) = upgrade(&stage.shell, &["--pid-file", "run.pid"]);
    assert_eq!((code, &said["from"]), (0, &second.into()), "{said}");
    let third = said["to"].as_i64().expect("a process");
    let _third = Successor(i32::try_from(third).expect("a process"));
    assert_eq!(stage.pid(), third);
    for nobody in [&["--admin", "http://127.0.0.1:1"], &["--pid-file", "nowhere"]] {
        assert_eq!(upgrade(&stage.shell, nobody).0, 2);
    }
}

/// Its number may have become another process's, which SIGUSR2 would end.
#[test]
fn upgrade_leaves_the_process_of_an_old_pid_file_alone() {
    let shell = Shell::new();
    let mut other = Command::new("sleep").arg("60").spawn().expect("a process");
    shell.write("old.pid", &format!("{}\n", other.id()));
    let (code, said) = upgrade(&shell, &["--pid-file", "old.pid"]);
    let lives = other.try_wait().expect("a child").is_none();
    other.kill().and_then(|()| other.wait()).expect("ended");
    assert!(code == 2 && said.to_string().contains("the pid file is an old one"), "{said}");
    assert!(lives, "it got no signal");
}

#[test]
fn one_handover_at_a_time_and_a_stop_ends_it() {
    let (_a, a) = backend("a");
    let stage = Stage::new(&a);
    let mut balancer = stage.start();
    let address = balancer.address();
    stage.replace_by_script("crashes", "kill -SEGV $$");
    balancer.signal(Signal::USR2);
    let failed = balancer.event("handover_failed");
    assert!(failed["error"].as_str().is_some_and(|it| it.contains("signal: 11")), "{failed}");
    assert_eq!(backend_of(&get(&address, "/")), "a");

    // One that never says anything.
    stage.replace_by_script("hangs", "exec sleep 100");
    balancer.signal(Signal::USR2);
    balancer.event("handover_begun");
    balancer.signal(Signal::USR2);
    let refused = balancer.event("handover_refused");
    assert_eq!(refused["message"], "a handover goes on already");
    assert_eq!(backend_of(&get(&address, "/")), "a");
    balancer.signal(Signal::TERM);
    let failed = balancer.event("handover_failed");
    assert!(failed["error"].as_str().is_some_and(|it| it.contains("a stop")), "{failed}");
    balancer.event("stopped");
    assert_eq!(balancer.end().code, 0);
    assert!(!stage.shell.folder().join("run.pid").exists(), "it goes with its process");
}

#[test]
fn a_handover_takes_edits_and_revisions_along_whether_or_not_they_are_written_down() {
    for state_dir in ["state_dir: state\n", ""] {
        let ((_a, a), (_b, b)) = (backend("a"), backend("b"));
        let stage = Stage::new(&a);
        let text = format!("listen: \"127.0.0.1:0\"\nbackends: [\"{a}\"]\n{state_dir}");
        stage.shell.write("config.yaml", &text);
        let mut balancer = stage.start();
        balancer.may_take(Duration::from_secs(60));
        let started = balancer.event("started");
        let admin = format!("http://{}", started["admin"].as_str().expect("a text"));
        let ask = |words: &[&str]| {
            let answer = stage.shell.run(&[words, &["--json", "--admin", &admin]].concat());
            assert_eq!(answer.code, 0, "{state_dir}{words:?}: {answer:?}");
            answer.json()
        };
        let backends = || -> Vec<(String, serde_json::Value, serde_json::Value)> {
            let list = ask(&["backend", "list"]);
            let all = list["backends"].as_array().expect("a list");
            let one = |it: &serde_json::Value| {
                let name = it["name"].as_str().expect("a text").to_owned();
                (name, it["weight"].clone(), it["admin"].clone())
            };
            all.iter().map(one).collect()
        };
        let act = |words: &[&str]| {
            let answer = stage.shell.run(&[words, &["--admin", &admin]].concat());
            assert_eq!(answer.code, 0, "{state_dir}{words:?}: {answer:?}");
        };
        act(&["backend", "weight", &a, "7"]);
        act(&["backend", "add", "b", &b]);
        act(&["backend", "drain", "b"]);
        act(&["pool", "strategy", "default", "random"]);
        let (before, revisions) = (backends(), ask(&["revisions"]));
        assert_eq!(before.len(), 2, "{before:?}");

        balancer.signal(Signal::USR2);
        let first = Successor::of(&mut balancer);
        balancer.event("stopped");
        assert_eq!(backends(), before, "{state_dir}");
        assert_eq!(ask(&["revisions"]), revisions, "{state_dir}");
        // What was handed over is handed on, with what was done since, and can be taken back.
        act(&["backend", "weight", &a, "9"]);
        first.signal(Signal::USR2);
        let second = Successor::of(&mut balancer);
        balancer.event("stopped");
        assert_eq!(backends()[0].1, 9, "{state_dir}");
        act(&["rollback", "1"]);
        assert_eq!(backends().len(), 1, "{state_dir}");
        drop(second);
        drop(first);
        assert_eq!(balancer.end().code, 0);
        if state_dir.is_empty() {
            assert!(!stage.shell.folder().join("state").exists());
            continue;
        }
        let mut again = stage.start();
        let started = again.event("started");
        let admin = format!("http://{}", started["admin"].as_str().expect("a text"));
        let list = stage.shell.run(&["revisions", "--json", "--admin", &admin]).json();
        let known = revisions["revisions"].as_array().map_or(0, Vec::len);
        assert_eq!(list["revisions"].as_array().map(Vec::len), Some(known + 2));
    }
}

#[test]
fn a_file_that_came_from_stdin_is_handed_over() {
    let (_a, a) = backend("a");
    let text = format!("listen: \"127.0.0.1:0\"\nbackends: [\"{a}\"]\n");
    let shell = Shell::new().set("EVENKEEL__ADMIN__BIND", "127.0.0.1:0").typing(&text);
    let mut balancer = shell.start(&["run", "-c", "-"]);
    let address = balancer.address();
    balancer.signal(Signal::USR2);
    let first = Successor::of(&mut balancer);
    balancer.event("stopped");
    assert_eq!(backend_of(&get(&address, "/")), "a");
    first.signal(Signal::USR2);
    let _second = Successor::of(&mut balancer);
    balancer.event("stopped");
    assert_eq!(backend_of(&get(&address, "/")), "a");
}

#[test]
fn mocks_are_played_on_by_the_next_program() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = free.local_addr().expect("bound").to_string();
    drop(free);
    let stage = Stage::new(&at);
    let text = format!("listen: \"127.0.0.1:0\"\nbackends: [\"http://{at}\"]\nmocks: true\n");
    stage.shell.write("config.yaml", &text);
    let mut balancer = stage.start();
    let address = balancer.address();
    balancer.signal(Signal::USR2);
    let _successor = Successor::of(&mut balancer);
    // What it played ends with it.
    assert_eq!(balancer.wait(), Some(0));
    for _ in 0..10 {
        let answer = get(&address, "/");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("x-demo: 1"), "{answer}");
    }
}

/// Between two requests of a client: it shares the machine with what it tests.
const PACE: Duration = Duration::from_millis(5);

/// Asks on connections of its own, or on one that is kept until an answer says that it ends.
fn ask_until(over: &AtomicBool, address: &str, keeps: bool) -> u32 {
    let mut asked = 0;
    let mut kept: Option<TcpStream> = None;
    while !over.load(Ordering::Relaxed) {
        let mut stream = kept.take().unwrap_or_else(|| TcpStream::connect(address).expect("open"));
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
        let close = if keeps { "" } else { "Connection: close\r\n" };
        let request = format!("GET /bytes/5 HTTP/1.1\r\nHost: a\r\n{close}\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
        let whole = |answer: &[u8]| {
            let head = answer.windows(4).position(|window| window == b"\r\n\r\n");
            head.is_some_and(|at| answer.len() >= at + 4 + 5)
        };
        while !whole(&answer) {
            let length = stream.read(&mut chunk).expect("an answer");
            assert!(length > 0, "cut off after {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&chunk[..length]);
        }
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        assert!(text.starts_with("http/1.1 200 "), "{text}");
        if !text.contains("connection: close") {
            kept = Some(stream);
        }
        asked += 1;
        thread::park_timeout(PACE);
    }
    asked
}

/// Echoes on a WebSocket until the end.
fn talk_until(over: &AtomicBool, address: &str) -> u32 {
    let mut stream = TcpStream::connect(address).expect("open");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
    let opening = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(opening.as_bytes()).expect("sent");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    let mut said = 0;
    while !over.load(Ordering::Relaxed) {
        stream.write_all(b"\x81\x84\0\0\0\0ping").expect("sent");
        let mut echo = [0; 6];
        stream.read_exact(&mut echo).expect("an echo");
        assert_eq!(&echo, b"\x81\x04ping");
        said += 1;
        thread::park_timeout(PACE);
    }
    said
}

#[test]
fn upgrades_under_load_lose_nothing() {
    let (_a, a) = backend("a");
    let stage = Stage::new(&a);
    let text = format!(
        "listen: \"127.0.0.1:0\"\nbackends: [\"{a}\"]\n\
         logging: {{ access: {{ enabled: false }} }}\n"
    );
    stage.shell.write("config.yaml", &text);
    let mut balancer = stage.start();
    let address = balancer.address();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (over, address) = (&over, address.as_str());
        let ends = Ends(over);
        let asking =
            [true, true, false].map(|keeps| scope.spawn(move || ask_until(over, address, keeps)));
        let talking = scope.spawn(move || talk_until(over, address));
        let mut successors = Vec::new();
        for program in [env!("CARGO_BIN_EXE_evenkeel"), "/bin/false"].iter().cycle().take(6) {
            stage.replace(program);
            let before = stage.pid();
            let mut running = send_get(address, "/delay/100ms");
            let is_new = *program != "/bin/false";
            let timeout = if is_new { "15s" } else { "300ms" };
            let code = upgrade(&stage.shell, &["--pid-file", "run.pid", "--timeout", timeout]).0;
            let is_same = stage.pid() == before;
            assert_eq!((code, is_same), if is_new { (0, false) } else { (3, true) });
            if is_new {
                successors.push(Successor(i32::try_from(stage.pid()).expect("a process")));
            }
            let mut answer = String::new();
            running.read_to_string(&mut answer).expect("whole");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        drop(ends);
        for asking in asking {
            assert!(asking.join().expect("nothing is lost") > 0);
        }
        assert!(talking.join().expect("it was left alone") > 0);
    });
}

/// Ends the clients, also where a test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
