//! What a pool promises, from a file on disk to the answers: shares, ties, limits, and that a
//! backend may die without anybody noticing.

use crate::program::{Answer, Program, Shell, backend, backend_of, get};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A file with one pool, and more keys of the pool, each a line.
fn file(addresses: &[String], pool: &[&str]) -> String {
    let weights = [3, 2, 1];
    let mut text = "listeners: [{ name: web, bind: \"127.0.0.1:0\", \
        trusted_proxies: [\"127.0.0.0/8\"] }]\nroutes: [{ pool: web }]\n\
        admin: { bind: \"127.0.0.1:0\" }\npools:\n  - name: web\n    backends:\n"
        .to_owned();
    for (address, weight) in addresses.iter().zip(weights) {
        text += &format!("      - {{ address: \"{address}\", weight: {weight} }}\n");
    }
    pool.iter().for_each(|line| text += &format!("    {line}\n"));
    text
}

/// Sends a GET with more header lines, each with its CRLF, and reads the whole answer.
fn get_with(address: &str, path: &str, lines: &str) -> String {
    let mut stream = TcpStream::connect(address).expect(address);
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{lines}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a whole response");
    response
}

fn field<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = response.lines().filter_map(|line| line.split_once(": "));
    Some(fields.find(|(own, _)| own.eq_ignore_ascii_case(name))?.1)
}

/// How often each backend answers.
fn shares(address: &str, requests: usize) -> [usize; 3] {
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        *counts.entry(backend_of(&get(address, "/")).to_owned()).or_insert(0) += 1;
    }
    NAMES.map(|name| counts.get(name).copied().unwrap_or(0))
}

#[test]
fn every_spelling_of_a_strategy_chooses() {
    let backends = NAMES.map(backend);
    let addresses = backends.each_ref().map(|(_, address)| address.clone());
    let (equal, weighted) = (Some([10, 10, 10]), Some([15, 10, 5]));
    // What 30 requests in a row come to; `None` where chance or the key decides.
    let spellings = [
        ("rr", equal),
        ("round-robin", equal),
        ("weighted", weighted),
        ("wrr", weighted),
        ("weighted-round-robin", weighted),
        ("weighted_random", None),
        ("random", None),
        ("least_conn", None),
        ("least-conn", None),
        ("leastconn", None),
        ("least_response", None),
        ("least-response", None),
        ("ewma", None),
        ("p2c", None),
        ("ring", Some([30, 0, 0])),
        ("ip_hash", Some([30, 0, 0])),
        ("maglev", Some([30, 0, 0])),
    ];
    for (spelling, expected) in spellings {
        let shell = Shell::new();
        shell.write("config.yaml", &file(&addresses, &[&format!("strategy: {spelling}")]));
        let shown = shell.run(&["config", "--json"]).json();
        assert_eq!(shown["pools"][0]["strategy"], spelling, "as the user spelt it");
        let mut balancer = shell.start(&["run"]);
        let mut got = shares(&balancer.address(), 30);
        if expected == Some([30, 0, 0]) {
            // One client, one backend: whichever it is.
            got.sort_unstable_by(|one, other| other.cmp(one));
        }
        assert!(expected.is_none_or(|expected| got == expected), "{spelling}: {got:?}");
        assert_eq!(got.iter().sum::<usize>(), 30);
        assert_eq!(balancer.terminate().code, 0);
    }
}

#[test]
fn weights_3_2_1_are_kept_exactly() {
    let backends = NAMES.map(backend);
    let addresses = backends.each_ref().map(|(_, address)| address.clone());
    let shell = Shell::new();
    shell.write("config.yaml", &file(&addresses, &["strategy: weighted_round_robin"]));
    let mut balancer = shell.start(&["run"]);
    assert_eq!(shares(&balancer.address(), 600), [300, 200, 100]);
}

#[test]
fn a_key_from_the_file_decides() {
    let backends = NAMES.map(backend);
    let addresses = backends.each_ref().map(|(_, address)| address.clone());
    let lines = ["strategy: consistent_hash", "hash: { key: \"header:X-User\" }"];
    let shell = Shell::new();
    shell.write("config.yaml", &file(&addresses, &lines));
    let mut balancer = shell.start(&["run"]);
    let address = balancer.address();
    let who = |user: usize| {
        backend_of(&get_with(&address, "/", &format!("X-User: {user}\r\n"))).to_owned()
    };
    // The ring is another one each time, for the ports are: few users might miss a backend.
    let homes: Vec<_> = (0..200).map(who).collect();
    assert_eq!((0..200).map(who).collect::<Vec<_>>(), homes);
    assert!(NAMES.iter().all(|name| homes.iter().any(|home| home == name)), "{homes:?}");
}

#[test]
fn a_backend_may_die_without_anybody_noticing() {
    let backends = NAMES.map(backend);
    let addresses = backends.each_ref().map(|(_, address)| address.clone());
    for (server, _) in backends.into_iter().take(2) {
        let mut victim = Some(server);
        let shell = Shell::new();
        shell.write("config.yaml", &file(&addresses, &[]));
        let mut balancer = shell.start(&["run"]);
        let address = balancer.address();
        for number in 0..60 {
            if number == 25 {
                // Killed, not asked.
                drop(victim.take());
            }
            let response = get(&address, "/");
            assert!(response.starts_with("HTTP/1.1 200 "), "{number}: {response}");
        }
        assert_eq!(balancer.terminate().code, 0);
    }
}

#[test]
fn keys_for_cookies_that_cannot_be_used_stop_the_start() {
    let (_a, a) = backend("a");
    let cases = [
        ("missing", None, "cannot read"),
        ("empty", Some("# nothing\n"), "no key"),
        ("short", Some("0123456789abcde\n"), "line 1: a key has at least 16 characters"),
    ];
    for (name, keys, expected) in cases {
        let shell = Shell::new();
        keys.iter().for_each(|text| shell.write("cookie.keys", text));
        let lines = ["affinity: { type: cookie, secret_file: cookie.keys }"];
        shell.write("config.yaml", &file(std::slice::from_ref(&a), &lines));
        for command in ["run", "check"] {
            let Answer { code, stderr, .. } = shell.run(&[command]);
            assert_eq!(code, 1, "{name}: {stderr}");
            let place = "config.yaml:8:44: pools[0].affinity.secret_file: ";
            assert!(stderr.contains(place) && stderr.contains(expected), "{name}: {stderr}");
            assert!(!stderr.contains("0123456789abcde"), "{name}: {stderr}");
        }
    }
}

#[test]
fn balancers_with_the_same_keys_agree() {
    let backends = NAMES.map(backend);
    let addresses = backends.each_ref().map(|(_, address)| address.clone());
    let shell = Shell::new();
    shell.write("keys", "a secret that is long enough\n");
    let lines = ["affinity: { type: cookie, cookie_name: sticky, ttl: 90s, secret_file: keys }"];
    shell.write("config.yaml", &file(&addresses, &lines));
    let mut balancers = [shell.start(&["run"]), shell.start(&["run"])];
    let [one, other] = balancers.each_mut().map(Program::address);
    for _ in 0..3 {
        let first = get(&one, "/");
        let set = field(&first, "set-cookie").expect("a cookie");
        let (cookie, attributes) = set.split_once("; ").expect("attributes");
        assert!(cookie.starts_with("sticky="), "{set}");
        assert_eq!(attributes, "Path=/; Max-Age=90; HttpOnly; SameSite=Lax");
        for address in [&other, &one, &other] {
            let next = get_with(address, "/", &format!("Cookie: {cookie}\r\n"));
            assert_eq!(backend_of(&next), backend_of(&first));
            assert_eq!(field(&next, "set-cookie"), None);
        }
    }
}

#[test]
fn a_rate_limit_from_the_file() {
    let (_a, a) = backend("a");
    let limit = "{ pool: web, rate_limit: { requests: 2, per: 1h, key: client_ip } }";
    let shell = Shell::new();
    shell.write("config.yaml", &file(&[a], &[]).replace("{ pool: web }", limit));
    let mut balancer = shell.start(&["run"]);
    let address = balancer.address();
    let ask = |ip: &str| get_with(&address, "/", &format!("X-Forwarded-For: {ip}\r\n"));
    let first = ask("10.0.0.1");
    assert_eq!(field(&first, "ratelimit-limit"), Some("2"), "the burst is `requests`: {first}");
    assert!(ask("10.0.0.1").starts_with("HTTP/1.1 200 "));
    let refused = ask("10.0.0.1");
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains("\"rate_limited\""), "{refused}");
    let retry_after = field(&refused, "retry-after").expect("when to come back");
    assert!((1700..=1800).contains(&retry_after.parse().expect("seconds")), "{refused}");
    assert!(ask("10.0.0.2").starts_with("HTTP/1.1 200 "), "somebody else");
}

#[test]
fn a_backend_that_dies_is_told_and_comes_back() {
    let ((server, a), (_b, b)) = (backend("a"), backend("b"));
    let check = "health: { interval: 50ms, timeout: 1s }";
    let shell = Shell::new();
    shell.write("config.yaml", &file(&[a.clone(), b], &[check]));
    let mut balancer = shell.start(&["run"]);
    let address = balancer.address();
    drop(server);
    let left = balancer.event("backend_unhealthy");
    assert_eq!((&left["pool"], &left["backend"]), (&"web".into(), &a.as_str().into()));
    assert_eq!(shares(&address, 6), [0, 6, 0]);
    let again = Shell::new().start(&["testserver", "--listen", &a, "--name", "a"]);
    balancer.event("backend_healthy");
    assert_eq!(shares(&address, 6), [3, 3, 0]);
    drop(again);
}
