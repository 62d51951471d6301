//! Another configuration in the same process.

use crate::program::{Program, Shell, backend_of, get};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A backend of its own process, and its address.
fn backend(name: &str) -> (Program, String) {
    let words = ["testserver", "--listen", "127.0.0.1:0", "--name", name];
    let mut server = Shell::new().start(&words);
    let line = server.line_with("listens on");
    let address = line.split("http://").nth(1).expect("an address").trim_end_matches('/');
    (server, address.to_owned())
}

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
