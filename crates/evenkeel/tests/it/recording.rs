//! The flight recorder and the stream of events, of a balancer that runs.

use crate::program::{Program, Shell, get, send_get};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;

/// A balancer before a port where nobody listens, its address and the one of its admin listener.
fn without_backend(more: &str) -> (Program, String, String) {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let shell = Shell::new();
    let admin = "admin: { bind: \"127.0.0.1:0\" }";
    let text = format!("listen: \"127.0.0.1:0\"\nbackends: [\"{gone}\"]\n{admin}\n{more}");
    shell.write("config.yaml", &text);
    let mut balancer = shell.start(&["run"]);
    let started = balancer.event("started");
    let listeners = started["listeners"].as_str().expect("a text").to_owned();
    let address = listeners.split_once('=').expect("NAME=ADDRESS").1.to_owned();
    let admin = started["admin"].as_str().expect("a text").to_owned();
    (balancer, address, admin)
}

fn json_of(response: &str) -> Value {
    let body = response.split_once("\r\n\r\n").expect("a body").1;
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {response}"))
}

/// Asks until there are so many; the journal reads on a thread of its own.
fn recorded(admin: &str, count: usize) -> Vec<Value> {
    loop {
        let list = json_of(&get(admin, "/api/v1/requests"));
        let requests = list["requests"].as_array().expect("a list").clone();
        if requests.len() >= count {
            return requests;
        }
    }
}

#[test]
fn failures_are_kept_and_shown_everywhere() {
    let (balancer, address, admin) = without_backend("recorder: { size: 3 }\n");
    for number in 0..5 {
        let response = get(&address, &format!("/order/{number}?card=4111"));
        assert!(response.starts_with("HTTP/1.1 50"), "{response}");
    }
    let requests = loop {
        let requests = recorded(&admin, 3);
        if requests[0]["path"] == "/order/4" {
            break requests;
        }
    };
    let paths: Vec<_> = requests.iter().map(|one| one["path"].as_str().expect("text")).collect();
    assert_eq!(paths, ["/order/4", "/order/3", "/order/2"], "the newest three");
    let first = &requests[2];
    assert_eq!(first["kept"], "failed");
    assert!(first["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{first}");
    assert!(!first.to_string().contains("4111"), "no query");
    let har = json_of(&get(&admin, "/api/v1/requests?format=har"));
    let entries = har["log"]["entries"].as_array().expect("entries");
    assert_eq!((&har["log"]["version"], entries.len()), (&Value::from("1.2"), 3));
    assert!(entries[0]["request"]["url"].as_str().is_some_and(|url| url.ends_with("/order/2")));
    for entry in entries {
        let phase = |name: &str| entry["timings"][name].as_f64().expect("a number").max(0.0);
        let sum: f64 =
            ["blocked", "dns", "connect", "send", "wait", "receive"].map(phase).iter().sum();
        assert!((sum - entry["time"].as_f64().expect("a number")).abs() < 0.01, "{entry}");
    }
    let url = format!("http://{admin}");
    let shell = Shell::new();
    let answer = shell.run(&["requests", "--admin", &url]);
    assert!(answer.stdout.contains("/order/4 ") && answer.stdout.contains("hint: "), "{answer:?}");
    let slow = shell.run(&["requests", "--admin", &url, "--slow", "--json"]).json();
    assert_eq!(slow["requests"], serde_json::json!([]));
    let har = shell.run(&["requests", "--admin", &url, "--har"]).json();
    assert_eq!(har["log"]["entries"].as_array().map(Vec::len), Some(3));
    assert_eq!(balancer.terminate().code, 0);
}

#[test]
fn events_come_as_they_happen_and_again_to_those_who_come_back() {
    let (balancer, address, admin) = without_backend("");
    let mut stream = BufReader::new(send_get(&admin, "/api/v1/events"));
    let mut line = String::new();
    while !line.starts_with(": listening") {
        line.clear();
        assert!(stream.read_line(&mut line).expect("the stream") > 0);
    }
    get(&address, "/");
    let (mut id, mut event) = (String::new(), Value::Null);
    while event["event"].is_null() {
        line.clear();
        assert!(stream.read_line(&mut line).expect("the stream") > 0);
        if let Some(text) = line.strip_prefix("id: ") {
            text.trim().clone_into(&mut id);
        }
        if let Some(text) = line.strip_prefix("data: ") {
            event = serde_json::from_str(text).expect("JSON");
        }
    }
    assert!(event["timestamp"].is_string() && event["level"].is_string(), "{event}");
    assert!(id.parse::<u64>().is_ok(), "{id:?}");
    // The end of the process is told to who listens, and then the stream ends by itself.
    balancer.signal(rustix::process::Signal::TERM);
    let mut rest = String::new();
    while stream.read_line(&mut rest).expect("an orderly end") > 0 {}
    assert!(
        rest.contains("\"event\":\"draining\"") && rest.contains("\"event\":\"stopped\""),
        "{rest}"
    );
    assert_eq!(balancer.end().code, 0);
}
