//! Spans reach a collector, and a collector that is gone costs nothing.

use crate::program::{Program, Shell, get};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// A balancer before a port where nobody listens, which sends its spans there.
fn traced(collector: &str) -> (Program, String) {
    let shell = Shell::new();
    shell.write(
        "config.yaml",
        &format!(
            "listen: \"127.0.0.1:0\"\nbackends: [\"127.0.0.1:1\"]\nadmin: {{ bind: \"\" }}\n\
             tracing: {{ otlp: {{ endpoint: \"http://{collector}\", sample: 100% }} }}\n"
        ),
    );
    let mut balancer = shell.start(&["run"]);
    let address = balancer.address();
    (balancer, address)
}

/// One POST: its target and its body.
fn read_post(stream: &mut TcpStream) -> (String, Value) {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let length = stream.read(&mut piece).expect("a request");
        bytes.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(json) = serde_json::from_str(body)
        {
            return (head.lines().next().unwrap_or_default().to_owned(), json);
        }
        assert!(length > 0, "ended early: {text}");
    }
}

#[test]
fn a_collector_gets_a_span_for_the_exchange_and_one_for_each_try() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let collector = listener.local_addr().expect("bound").to_string();
    let (balancer, address) = traced(&collector);
    assert!(get(&address, "/seen").starts_with("HTTP/1.1 50"));
    let (mut stream, _) = listener.accept().expect("the balancer");
    let (line, message) = read_post(&mut stream);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").expect("sent");
    assert_eq!(line, "POST /v1/traces HTTP/1.1");
    let resource = &message["resourceSpans"][0];
    assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "evenkeel");
    let spans = resource["scopeSpans"][0]["spans"].as_array().expect("spans");
    let exchange = &spans[0];
    assert_eq!((&exchange["kind"], &exchange["status"]["code"]), (&2.into(), &2.into()));
    assert!(exchange["attributes"].to_string().contains("/seen"));
    assert!(spans.len() > 1, "{spans:?}");
    for tried in &spans[1..] {
        assert_eq!(tried["traceId"], exchange["traceId"]);
        assert_eq!(tried["parentSpanId"], exchange["spanId"]);
        assert_eq!(tried["kind"], 3);
        let time = |key: &str| tried[key].as_str().and_then(|time| time.parse::<u64>().ok());
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"), "{tried}");
    }
    assert_eq!(balancer.terminate().code, 0);
}

#[test]
fn a_collector_that_is_gone_is_told_once_and_costs_nothing() {
    let (mut balancer, address) = traced("127.0.0.1:1");
    for _ in 0..20 {
        assert!(get(&address, "/").starts_with("HTTP/1.1 50"));
    }
    let lost = balancer.event("traces_lost");
    assert!(lost["lost"].as_u64().is_some_and(|lost| lost > 0), "{lost}");
    assert!(get(&address, "/").starts_with("HTTP/1.1 50"));
    assert_eq!(balancer.terminate().code, 0);
}
