//! Pools that have backends only while somebody asks for them.

use crate::handover::Successor;
use crate::program::{backend_of, get};
use crate::world::{PATIENCE, POLL, World};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

/// The value of a metric; `None` if there is no such line.
fn metric(world: &World, line: &str) -> Option<f64> {
    let text = get(&world.admin, "/metrics");
    let found = text.lines().find_map(|it| it.strip_prefix(line))?;
    Some(found.trim().parse().expect("a number"))
}

/// The process that serves an address of ours.
fn process_at(address: &str) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").expect("Linux");
    let pids = processes.filter_map(|it| it.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let serves = |pid: &u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        // Its guard has the same words, and more before them.
        words.get(1) == Some(&&b"testserver"[..]) && words.contains(&address.as_bytes())
    };
    pids.into_iter().find(serves)
}

fn wait_for_end(address: &str) {
    let until = Instant::now() + PATIENCE;
    while process_at(address).is_some() {
        assert!(Instant::now() < until, "an orphan serves {address}");
        thread::park_timeout(POLL);
    }
}

/// A pool that may have no backend, behind a listener of this kind.
fn sleepy(listener: &str, health: &str, ports: &str) -> String {
    let program = env!("CARGO_BIN_EXE_evenkeel");
    format!(
        "listeners: [{{ name: web, bind: \"127.0.0.1:0\"{listener} }}]\n\
         pools:\n  - name: app\n    backends: []\n    \
         health: {health}\n    \
         autoscale:\n      min: 0\n      max: 1\n      interval: 1s\n      \
         scale_down: {{ step: 1, after: 2s, every: 1s, drain_timeout: 5s }}\n      \
         buffer: {{ requests: 100, timeout: 60s }}\n      \
         driver: {{ type: process, ports: \"{ports}\", command: [\"{program}\", testserver, \
         --listen, \"127.0.0.1:{{port}}\", --name, \"{{name}}\"] }}\n\
         admin: {{ bind: \"127.0.0.1:0\" }}\n"
    )
}

fn is_asleep(list: &Value) -> bool {
    list["backends"].as_array().is_some_and(Vec::is_empty)
}

const BACKENDS: [&str; 3] = ["backend", "list", "--json"];

#[test]
fn a_pool_at_zero_wakes_with_a_request_and_falls_asleep_again() {
    let world = World::new(&sleepy("", "{ interval: 200ms }", "22000-22499"));
    assert!(is_asleep(&world.json(&BACKENDS)));
    assert!(get(&world.admin, "/readyz").starts_with("HTTP/1.1 200 "), "it can serve");
    assert_eq!(world.json(&["status", "--json"])["pools"][0]["mode"], "normal");
    let metrics = get(&world.admin, "/metrics");
    assert!(metrics.contains("evenkeel_pool_mode{pool=\"app\"} 0\n"), "{metrics}");
    // Many at once, and each is served.
    thread::scope(|scope| {
        let asks = (0..20).map(|_| scope.spawn(|| get(&world.address, "/")));
        for ask in asks.collect::<Vec<_>>() {
            assert_eq!(backend_of(&ask.join().expect("an answer")), "app-auto-1");
        }
    });
    let list = world.json(&BACKENDS);
    assert_eq!(list["backends"][0]["source"], "autoscale", "{list:#}");
    world.wait_for(&BACKENDS, is_asleep);
    // Streams of HTTP/2 wait as well.
    let url = format!("http://{}/", world.address);
    let bench = world.shell.run(&["bench", "-http2", "-n", "50", "-c", "10", "-quiet", &url]);
    assert_eq!(bench.code, 0, "{bench:?}");
    world.wait_for(&BACKENDS, is_asleep);
    let status = world.json(&["autoscale", "status", "--json"]);
    let told: Vec<(u64, u64)> = status["autoscalers"][0]["decisions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| (it["from"].as_u64().expect("n"), it["to"].as_u64().expect("n")))
        .collect();
    assert_eq!(told, [(0, 1), (1, 0), (0, 1), (1, 0)], "{status:#}");
    let buffered = metric(&world, "evenkeel_autoscale_buffered_total{pool=\"app\"}");
    assert!(buffered.is_some_and(|count| count >= 21.0), "{buffered:?}");
    assert_eq!(metric(&world, "evenkeel_autoscale_buffer_waiting{pool=\"app\"}"), Some(0.0));
    let metrics = get(&world.admin, "/metrics");
    let failed =
        |line: &&str| line.starts_with("evenkeel_requests_total") && line.contains("code=\"5");
    assert_eq!(metrics.lines().find(failed), None);
}

#[test]
fn processes_are_listed_at_the_address_of_their_driver() {
    let address = "type: process, address: \"http://localhost:{port}\"";
    let file = sleepy("", "{ interval: 200ms }", "21750-21999");
    let world = World::new(&file.replace("type: process", address).replace("min: 0", "min: 1"));
    world.wait_for(&BACKENDS, |it| it["backends"][0]["eligible"] == true);
    let list = world.json(&BACKENDS);
    let told = list["backends"][0]["url"].as_str().expect("a text").to_owned();
    let port = told.strip_prefix("http://localhost:").expect("as it is written");
    assert!((21_750..22_000).contains(&port.parse::<u16>().expect("a port")), "{told}");
    for _ in 0..10 {
        assert_eq!(backend_of(&get(&world.address, "/")), "app-auto-1");
    }
    let metrics: Value = serde_json::from_str(
        get(&world.admin, "/metrics?format=json").split("\r\n\r\n").nth(1).expect("a body"),
    )
    .expect("JSON");
    assert_eq!(metrics["backends"][&told]["requests"], 10, "{metrics:#}");
}

#[test]
fn a_connection_waits_for_a_first_backend_too() {
    let listener = ", protocol: tcp, pool: app";
    let world = World::new(&sleepy(listener, "{ type: tcp, interval: 200ms }", "22500-22999"));
    let mut stream = TcpStream::connect(&world.address).expect("it listens");
    stream.write_all(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    assert!(text.contains("app-auto-1"), "{text}");
    drop(stream);
    world.wait_for(&BACKENDS, is_asleep);
}

#[test]
fn connections_are_what_a_pool_of_a_tcp_listener_counts() {
    let listener = ", protocol: tcp, pool: app";
    let file = sleepy(listener, "{ type: tcp, interval: 200ms }", "23500-23749")
        .replace("min: 0", "min: 1")
        .replace("max: 1\n", "max: 2\n      requests_per_interval: 5\n")
        .replace("interval: 1s\n", "interval: 3s\n");
    let world = World::new(&file);
    world.wait_for(&BACKENDS, |it| it["backends"][0]["eligible"] == true);
    // Short ones, none of which is open when somebody looks.
    let until = Instant::now() + PATIENCE;
    while !decisions(&world).iter().any(|why| why.contains("requests")) {
        assert!(Instant::now() < until, "{:#}", world.json(&["autoscale", "status", "--json"]));
        for _ in 0..6 {
            let mut stream = TcpStream::connect(&world.address).expect("it listens");
            stream.write_all(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n").expect("sent");
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("an answer");
            assert!(text.contains("app-auto-"), "{text}");
        }
        thread::park_timeout(POLL);
    }
    world.wait_for(&BACKENDS, |it| it["backends"][1]["eligible"] == true);
}

/// Processes that have this word among theirs.
fn processes_with(word: &str) -> usize {
    let processes = std::fs::read_dir("/proc").expect("Linux");
    let words = |it: std::fs::DirEntry| std::fs::read(it.path().join("cmdline")).ok();
    let all = processes.filter_map(|it| words(it.ok()?));
    all.filter(|it| it.split(|byte| *byte == 0).any(|it| it == word.as_bytes())).count()
}

#[test]
fn a_command_that_hangs_does_not_outlive_us() {
    // A time that nobody else sleeps.
    let time = format!("86400.{}", std::process::id());
    let file = sleepy("", "{ interval: 200ms }", "23750-23999");
    let (before, _) = file.split_once("driver:").expect("a driver");
    let file = format!(
        "{}driver: {{ type: exec, command: [/bin/sh, -c, \"sleep $0 & wait\", \"{time}\"] }}\n\
         admin: {{ bind: \"127.0.0.1:0\" }}\n",
        before
            .replace("backends: []", "backends: [\"127.0.0.1:1\"]")
            .replace("min: 0", "min: 2")
            .replace("max: 1", "max: 3")
    );
    let world = World::new(&file);
    let until = Instant::now() + PATIENCE;
    while processes_with(&time) < 2 {
        assert!(Instant::now() < until, "{:#}", world.json(&["autoscale", "status", "--json"]));
        thread::park_timeout(POLL);
    }
    let status = world.json(&["autoscale", "status", "--json"]);
    let telling = &status["autoscalers"][0]["telling"];
    assert_eq!((&telling["count"], &telling["driver"]), (&2.into(), &"exec".into()), "{status:#}");
    let shown = world.shell.run(&["autoscale", "status"]).stdout;
    assert!(shown.contains("exec: told to have 2, under way since 2"), "{shown}");
    assert_eq!(world.balancer.terminate().code, 0);
    let until = Instant::now() + PATIENCE;
    while processes_with(&time) > 0 {
        assert!(Instant::now() < until, "an orphan sleeps {time}");
        thread::park_timeout(POLL);
    }
}

#[test]
fn a_backend_that_cannot_start_is_tried_ever_more_rarely_and_who_waits_is_told() {
    let file = sleepy("", "{ interval: 200ms }", "22000-22499")
        .replace("timeout: 60s", "timeout: 2s")
        .replace(env!("CARGO_BIN_EXE_evenkeel"), "/no/such/program");
    let mut world = World::new(&file);
    let answer = get(&world.address, "/");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("queue_timeout") && answer.contains("Retry-After"), "{answer}");
    let status = world.wait_for(&["autoscale", "status", "--json"], |it| {
        it["autoscalers"][0]["held"].as_str().is_some_and(|why| why.contains("/no/such/program"))
    });
    let decisions = status["autoscalers"][0]["decisions"].as_array().expect("a list").len();
    assert_eq!(decisions, 1, "it is wanted once, however often it fails: {status:#}");
    assert_eq!(pauses(&mut world, 3), [1.0, 2.0, 4.0]);
}

#[test]
fn no_backend_waits_for_one_that_will_not_end() {
    // A name that nobody else has.
    let mark = format!("deaf-{}-", std::process::id());
    let program = env!("CARGO_BIN_EXE_evenkeel");
    // The shell heeds no SIGTERM, and stays when what it has started has ended.
    let script = format!(
        "trap '' TERM; {program} testserver --listen 127.0.0.1:$PORT --name $0; sleep 86400"
    );
    let driver = serde_json::json!({
        "type": "process", "ports": "24000-24249",
        "command": ["/bin/sh", "-c", script, format!("{mark}{{name}}")],
    });
    let file = sleepy("", "{ interval: 200ms }", "24000-24249");
    let (before, _) = file.split_once("driver:").expect("a driver");
    let of = |count: u32| {
        let sized = before.replace("min: 0", &format!("min: {count}"));
        let sized = sized.replace("max: 1", &format!("max: {count}"));
        format!("{sized}driver: {driver}\nadmin: {{ bind: \"127.0.0.1:0\" }}\n")
    };
    let status = ["autoscale", "status", "--json"];
    let has = |count: u32| move |it: &Value| it["autoscalers"][0]["current"] == count;
    let world = World::new(&of(3));
    world.wait_for(&status, has(3));
    let change = |count: u32| {
        world.shell.write("config.yaml", &of(count));
        assert_eq!(world.shell.run(&["reload"]).code, 0);
    };
    let asked = Instant::now();
    change(1);
    world.wait_for(&status, has(1));
    change(2);
    let until = Instant::now() + PATIENCE;
    while processes_with(&format!("{mark}app-auto-4")) == 0 {
        assert!(Instant::now() < until, "{:#}", world.json(&status));
        thread::park_timeout(POLL);
    }
    let leaving = [2, 3].map(|number| processes_with(&format!("{mark}app-auto-{number}")));
    // Where the machine is too busy for that, their five seconds are over.
    let is_late = asked.elapsed() >= std::time::Duration::from_secs(5);
    assert!(is_late || !leaving.contains(&0), "nobody waits for them: {leaving:?}");
    assert_eq!(world.balancer.terminate().code, 0);
    let all = [1, 2, 3, 4].map(|number| processes_with(&format!("{mark}app-auto-{number}")));
    assert_eq!(all, [0; 4]);
}

/// A pool with one backend at all times.
fn steady(ports: &str, state_dir: &str) -> String {
    let file = sleepy("", "{ interval: 200ms }", ports).replace("min: 0", "min: 1");
    format!("{file}{state_dir}")
}

/// Waits for the one backend of the pool: its address, and its process.
fn grown(world: &World) -> (String, u32) {
    let list = world.wait_for(&BACKENDS, |it| it["backends"][0]["eligible"] == true);
    let address = list["backends"][0]["address"].as_str().expect("a text").to_owned();
    let process = process_at(&address).expect("its process");
    (address, process)
}

fn decisions(world: &World) -> Vec<String> {
    let status = world.json(&["autoscale", "status", "--json"]);
    let decisions = status["autoscalers"][0]["decisions"].as_array().cloned().unwrap_or_default();
    decisions.iter().map(|it| it["reason"].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn requests_count_from_the_first_one_on() {
    let interval = "interval: 5s\n      requests_per_interval: 20\n";
    let file = steady("22750-22999", "").replace("interval: 1s\n", interval);
    let (_fixed, address) = crate::program::backend("fixed");
    let file = file.replace("backends: []", &format!("backends: [\"{address}\"]"));
    let world = World::new(&file.replace("max: 1", "max: 2"));
    (0..25).for_each(|_| drop(get(&world.address, "/")));
    let grown = world.wait_for(&["autoscale", "status", "--json"], |it| {
        it["autoscalers"][0]["decisions"].as_array().is_some_and(|it| !it.is_empty())
    });
    let first = &grown["autoscalers"][0]["decisions"][0];
    assert_eq!(first["reason"], "25 requests in the interval, more than 20", "{grown:#}");
}

#[test]
fn a_handover_hands_over_what_was_started() {
    for (ports, state_dir) in [("23000-23249", ""), ("23250-23499", "state_dir: state\n")] {
        let mut world = World::new(&steady(ports, state_dir));
        let (address, process) = grown(&world);
        let before = decisions(&world);
        assert_eq!(world.shell.run(&["autoscale", "pause"]).code, 0);
        let ups = "evenkeel_autoscale_decisions_total{pool=\"app\",direction=\"up\"}";
        let counted = metric(&world, ups);
        assert_eq!((before.len(), counted), (1, Some(1.0)), "{before:?}");
        world.balancer.signal(Signal::USR2);
        let successor = Successor::of(&mut world.balancer);
        for _ in 0..50 {
            assert_eq!(backend_of(&get(&world.address, "/")), "app-auto-1", "{state_dir}");
        }
        world.balancer.event("stopped");
        for _ in 0..50 {
            assert_eq!(backend_of(&get(&world.address, "/")), "app-auto-1", "{state_dir}");
        }
        let own = world.wait_for(&["autoscale", "status", "--json"], |it| {
            it["autoscalers"][0]["current"] == 1
        });
        assert_eq!(own["autoscalers"][0]["desired"], 1, "{own:#}");
        assert_eq!(own["autoscalers"][0]["paused"], true, "{own:#}");
        assert_eq!(decisions(&world), before, "there was nothing more to decide");
        assert_eq!(metric(&world, ups), counted);
        assert_eq!(process_at(&address), Some(process), "the very same");
        let list = world.json(&BACKENDS);
        assert_eq!(list["backends"][0]["source"], "autoscale", "{list:#}");
        assert_eq!(list["backends"].as_array().map(Vec::len), Some(1), "{list:#}");
        drop(successor);
        wait_for_end(&address);
    }
}

#[test]
fn without_a_place_to_write_it_down_nothing_outlives_a_crash() {
    let world = World::new(&steady("23500-23749", ""));
    let (address, _) = grown(&world);
    world.balancer.signal(Signal::KILL);
    wait_for_end(&address);
}

#[test]
fn what_a_crash_has_left_is_taken_over_or_ended() {
    let file = steady("23750-23999", "state_dir: state\n");
    let world = World::new(&file);
    grown(&world);
    let before = decisions(&world);
    assert_eq!(before.len(), 1, "{before:?}");
    assert_eq!(world.shell.run(&["autoscale", "pause"]).code, 0);
    let World { balancer, shell, .. } = world;
    balancer.signal(Signal::KILL);
    drop(balancer);
    let world = World::again(shell, &file);
    let (address, process) = grown(&world);
    assert_eq!(backend_of(&get(&world.address, "/")), "app-auto-1", "there was no second start");
    assert_eq!(decisions(&world), before, "there was nothing more to decide");
    let status = world.json(&["autoscale", "status", "--json"]);
    assert_eq!(status["autoscalers"][0]["paused"], true, "{status:#}");
    world.balancer.signal(Signal::KILL);
    let World { balancer, shell, .. } = world;
    drop(balancer);
    assert_eq!(process_at(&address), Some(process));
    // The pool scales no more.
    let listener = "listeners: [{ name: web, bind: \"127.0.0.1:0\" }]";
    let other = "pools: [{ name: app, backends: [\"127.0.0.1:1\"] }]";
    let admin = "admin: { bind: \"127.0.0.1:0\" }";
    let _world = World::again(shell, &format!("{listener}\n{other}\n{admin}\nstate_dir: state\n"));
    wait_for_end(&address);
}

/// So many pauses after failures, in seconds.
fn pauses(world: &mut World, count: usize) -> Vec<f64> {
    let pause = |event: Value| event["pause_seconds"].as_f64().expect("a number");
    (0..count).map(|_| pause(world.balancer.event("autoscale_failed"))).collect()
}

#[test]
fn a_backend_that_is_healthy_and_ends_over_and_over_is_tried_ever_more_rarely() {
    let program = env!("CARGO_BIN_EXE_evenkeel");
    let served = format!(
        "command: [\"{program}\", testserver, --listen, \"127.0.0.1:{{port}}\", --name, \
         \"{{name}}\"]"
    );
    let script = format!("{program} testserver --listen 127.0.0.1:{{port}} & sleep 1; kill $!");
    let ends = format!("command: [sh, \"-c\", \"{script}\"]");
    let file = steady("24000-24249", "").replace(&served, &ends);
    assert!(file.contains("sleep 1"), "{file}");
    let mut world = World::new(&file);
    assert_eq!(pauses(&mut world, 3), [1.0, 2.0, 4.0]);
}

#[test]
fn who_waits_for_a_first_backend_is_served_before_a_handover() {
    let slow = "command: [sh, \"-c\", 'sleep 1; exec \"$0\" \"$@\"', ";
    let file = sleepy("", "{ interval: 200ms }", "24500-24749").replace("command: [", slow);
    let mut world = World::new(&file);
    let address = world.address.clone();
    let asked = thread::spawn(move || get(&address, "/"));
    let waiting = "evenkeel_autoscale_buffer_waiting{pool=\"app\"}";
    let until = Instant::now() + PATIENCE;
    while metric(&world, waiting) != Some(1.0) {
        assert!(Instant::now() < until, "nobody waits");
    }
    world.balancer.signal(Signal::USR2);
    assert_eq!(backend_of(&asked.join().expect("an answer")), "app-auto-1");
    let _next = Successor::of(&mut world.balancer);
    assert_eq!(backend_of(&get(&world.address, "/")), "app-auto-1");
}

#[test]
fn what_another_process_has_started_stays_its_own() {
    let file = sleepy("", "{ interval: 200ms }", "24250-24499").replace("min: 0", "min: 1");
    let world = World::new(&format!("{file}state_dir: state\n"));
    let serves = |list: &Value| list["backends"][0]["eligible"] == true;
    let first = world.wait_for(&BACKENDS, serves)["backends"][0]["address"].clone();
    let mut second = world.shell.start(&["run", "--no-watch"]);
    second.event("state_shared");
    let started = second.event("started");
    let admin = format!("http://{}", started["admin"].as_str().expect("a text"));
    let asks = ["backend", "list", "--json", "--admin", &admin];
    let other = world.wait_for(&asks, serves)["backends"][0]["address"].clone();
    assert_ne!(first, other, "each has one of its own");
    assert_eq!(second.terminate().code, 0);
    wait_for_end(other.as_str().expect("a text"));
    assert!(process_at(first.as_str().expect("a text")).is_some());
    assert_eq!(backend_of(&get(&world.address, "/")), "app-auto-1");
    assert_eq!(world.balancer.terminate().code, 0);
}

#[test]
fn a_request_right_after_the_start_wakes_a_pool_at_once() {
    let file = sleepy("", "{ interval: 200ms }", "24750-24799");
    // The tick before it was known what there is has nothing to decide, the next is a second later.
    let soon = std::time::Duration::from_millis(600);
    let took = || {
        let mut world = World::new(&file);
        let began = Instant::now();
        let address = world.address.clone();
        let asked = thread::spawn(move || get(&address, "/"));
        world.balancer.event("autoscaled");
        let took = began.elapsed();
        assert_eq!(backend_of(&asked.join().expect("an answer")), "app-auto-1");
        took
    };
    // A machine may be busy, but not each time.
    assert!((0..5).any(|_| took() < soon));
}

#[test]
fn a_process_whose_server_is_gone_is_replaced() {
    let program = env!("CARGO_BIN_EXE_evenkeel");
    let served = format!(
        "command: [\"{program}\", testserver, --listen, \"127.0.0.1:{{port}}\", --name, \
         \"{{name}}\"]"
    );
    let script = format!(
        "{program} testserver --listen 127.0.0.1:{{port}} --name {{name}} & sleep 86400; exit"
    );
    let stays = format!("start_timeout: 1s, command: [sh, \"-c\", \"{script}\"]");
    let file = steady("24800-24999", "").replace(&served, &stays);
    assert!(file.contains("sleep 86400"), "{file}");
    let mut world = World::new(&file);
    let (_, server) = grown(&world);
    let server = i32::try_from(server).ok().and_then(Pid::from_raw).expect("a number");
    kill_process(server, Signal::KILL).expect("it runs");
    world.wait_for(&BACKENDS, |it| {
        it["backends"][0]["name"] == "app-auto-2" && it["backends"][0]["eligible"] == true
    });
    let told = world.balancer.event("autoscale_failed");
    assert_eq!(told["message"], "app-auto-1 has been unhealthy for 1s", "{told:#}");
    assert_eq!(backend_of(&get(&world.address, "/")), "app-auto-2");
    assert_eq!(decisions(&world), ["fewer than min"], "nothing else was to decide");
}
