//! A file of another product and its converted twin, driven by the same requests: everything that a
//! client, a backend, a scraper, a reader of the log and an operator see is the same.

use crate::program::{Program, Shell, get};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A sample of the fixtures: its name, and where its backends are.
macro_rules! sample {
    ($name:literal, $places:expr) => {
        Sample {
            name: $name,
            text: include_str!(concat!("../../../evenkeel-config/tests/fixtures/dialects/", $name)),
            places: $places,
            changes: &[],
            hosts: &[("site.test", true)],
        }
    };
}

/// A sample, and what it needs to be served here.
struct Sample {
    name: &'static str,
    text: &'static str,
    /// Addresses in it, each with the number of the backend that takes its place.
    places: &'static [(&'static str, usize)],
    /// More to replace.
    changes: &'static [(&'static str, &'static str)],
    /// Hosts that are asked, and whether the same requests go to the same backends each time there.
    hosts: &'static [(&'static str, bool)],
}

impl Sample {
    fn has_order(&self) -> bool {
        self.hosts.iter().all(|(_, has_order)| *has_order)
    }
}

const SAMPLES: [Sample; 5] = [
    sample!("gobalance.yaml", &[("backend1:8081", 0), ("backend2:8082", 1)]),
    Sample {
        changes: &[("0.0.0.0:9000", "127.0.0.1:0")],
        ..sample!(
            "gobalancer.toml",
            &[
                ("10.0.0.11:8081", 0),
                ("10.0.0.12:8081", 1),
                ("10.0.0.21:5432", 2),
                ("10.0.0.22:5432", 3),
            ]
        )
    },
    Sample {
        // Nothing is scaled in the time that this takes.
        changes: &[("requests_per_interval: 20", "requests_per_interval: 100000")],
        hosts: &[("site.test", false)],
        ..sample!(
            "go-loadbalancer.yaml",
            &[("localhost:8081", 0), ("localhost:8082", 1), ("localhost:8083", 2)]
        )
    },
    sample!("load-balancer.yaml", &[("localhost:8081", 0), ("localhost:8082", 1)]),
    Sample {
        hosts: &[("api.example.com", true), ("payments.example.com", false), ("nobody.test", true)],
        ..sample!(
            "apps.yaml",
            &[
                ("localhost:8081", 0),
                ("localhost:8082", 1),
                ("localhost:8083", 2),
                ("localhost:9081", 3),
                ("localhost:9082", 4),
            ]
        )
    },
];

/// Requests: first line, more lines, body. Backend 0 answers 503 to `/fail`.
const REQUESTS: [(&str, &str, &str); 16] = [
    ("GET /", "", ""),
    ("GET /", "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n", ""),
    ("GET /a/../b?x=1&y=%20", "X-Forwarded-For: 10.9.8.7\r\nForwarded: for=1.2.3.4\r\n", ""),
    ("HEAD /head", "", ""),
    ("POST /create", "Content-Type: text/plain\r\n", "some words"),
    ("DELETE /thing//7", "", ""),
    ("GET /lb", "Cookie: a=b\r\n", ""),
    ("GET /health", "", ""),
    ("GET /health", "Accept: text/html\r\n", ""),
    ("GET /metrics", "", ""),
    ("GET /metrics?format=json", "", ""),
    ("GET /metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n", ""),
    ("GET /prometheus", "", ""),
    ("GET /api/v1/loadBalancers/report", "", ""),
    ("POST /api/v1/loadBalancers/report", "", ""),
    ("TRACE /", "", ""),
];

/// How often a failing page is asked for: more than any breaker of the samples bears.
const FAILURES: usize = 14;

/// A backend that tells what it was asked, and speaks first where nothing is asked at once.
fn backend(number: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || drop(answer(stream, number)));
        }
    });
    address
}

fn answer(stream: TcpStream, number: usize) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let (mut head, mut line, mut length) = (Vec::new(), String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        head.push(still(line.trim_end()));
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let asked = head.first().cloned().unwrap_or_default();
    let fails = number == 0 && asked.contains(" /fail ");
    let status = if fails { "503 Not Now" } else { "200 Fine" };
    let echo = format!("{}\n{}", head.join("\n"), String::from_utf8_lossy(&body));
    let echo = if asked.starts_with("HEAD ") { String::new() } else { echo };
    let answer = format!(
        "HTTP/1.1 {status}\r\nX-Backend: b{number}\r\nContent-Type: text/x-echo\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{echo}",
        echo.len()
    );
    reader.into_inner().write_all(answer.as_bytes())
}

/// A line without what is another one each time.
fn still(line: &str) -> String {
    let Some((name, value)) = line.split_once(':') else { return line.to_owned() };
    let name = name.to_ascii_lowercase();
    let value = value.trim();
    let value = match name.as_str() {
        "date" | "x-request-id" | "last-modified" | "content-length" => "",
        "via" => value.split_once("evenkeel-").map_or(value, |(before, _)| before),
        "set-cookie" => {
            let (cookie, attributes) = value.split_once(';').unwrap_or((value, ""));
            let name = cookie.split('=').next().unwrap_or_default();
            return format!("set-cookie: {name};{attributes}");
        }
        _ => value,
    };
    format!("{name}: {value}")
}

/// Numbers that only what was asked decides.
const COUNTS: [&str; 8] =
    ["requests", "selections", "total_requests", "weight", "200", "503", "404", "status"];

/// A document without times, identities and measures.
fn still_json(key: &str, value: &Value) -> Value {
    match value {
        Value::Number(_) if COUNTS.contains(&key) => value.clone(),
        Value::Number(_) => Value::from(0),
        Value::String(text) => {
            let is_time = text.len() >= 20 && text.ends_with('Z') && text.contains('T');
            let is_id = text.len() == 32 && text.chars().all(|it| it.is_ascii_hexdigit());
            Value::from(if is_time || is_id { "" } else { text.as_str() })
        }
        Value::Array(all) => all.iter().map(|one| still_json(key, one)).collect(),
        Value::Object(all) => {
            // What happens to be measured by then is there or not.
            let gone = |key: &str| key.ends_with("_ms") || key == "results" || key == "pid";
            let keep = all.iter().filter(|(key, _)| !gone(key));
            Value::Object(Map::from_iter(
                keep.map(|(key, one)| (key.clone(), still_json(key, one))),
            ))
        }
        Value::Null | Value::Bool(_) => value.clone(),
    }
}

/// Metrics: their names and labels, and the value of what requests alone decide.
fn still_metrics(text: &str) -> String {
    let line = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or((line, ""));
        let counted = name.contains("requests_total{") || line.starts_with('#');
        if counted { format!("{name} {value}") } else { name.to_owned() }
    };
    text.lines().map(line).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("\n")
}

/// A whole answer without what is another one each time.
fn still_answer(answer: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let head: Vec<String> = head.lines().map(still).collect();
    let body = match serde_json::from_str::<Value>(body) {
        Ok(value) => still_json("", &value).to_string(),
        Err(_) if body.starts_with('#') => still_metrics(body),
        Err(_) if body.starts_with("<!") => "a page".to_owned(),
        Err(_) => body.to_owned(),
    };
    format!("{}\n\n{body}", head.join("\n"))
}

fn ask(address: &str, host: &str, (line, more, body): (&str, &str, &str)) -> String {
    let mut stream = TcpStream::connect(address).expect(address);
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let length =
        if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let request =
        format!("{line} HTTP/1.1\r\nHost: {host}\r\n{more}{length}Connection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{line}: {error}: {answer}"));
    answer
}

/// Everything that is seen of a balancer.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    answers: Vec<String>,
    /// Of access records, what requests decide.
    records: Vec<String>,
    /// By the admin listener.
    operator: Vec<String>,
}

/// Somebody answered, where chance decides who; counts of backends say nothing then.
fn without_order(text: &str) -> String {
    let line = |line: &str| match line {
        line if line.starts_with("x-backend: ") => "x-backend: b".to_owned(),
        line if line.starts_with('{') => serde_json::from_str::<Value>(line)
            .map_or_else(|_| line.to_owned(), |value| without_counts(&value).to_string()),
        line if line.starts_with('#') => line.to_owned(),
        line => line.split('{').next().unwrap_or_default().to_owned(),
    };
    let lines: Vec<String> = text.lines().map(line).collect();
    let is_metrics = lines.iter().any(|line| line.starts_with("# TYPE "));
    if is_metrics {
        lines.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("\n")
    } else {
        lines.join("\n")
    }
}

fn without_counts(value: &Value) -> Value {
    match value {
        Value::Number(_) => Value::from(0),
        Value::Array(all) => all.iter().map(without_counts).collect(),
        Value::Object(all) => {
            let keep = all.iter().filter(|(key, _)| *key != "status_codes");
            Value::Object(keep.map(|(key, one)| (key.clone(), without_counts(one))).collect())
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

/// Starts it, and asks it everything.
fn drive(shell: &Shell, sample: &Sample, file: &str) -> Seen {
    let mut balancer = shell.start(&["run", "--no-watch", "-c", file, "--listen", "127.0.0.1:0"]);
    balancer.may_take(3 * PATIENCE);
    let started = balancer.event("started");
    let listeners = started["listeners"].as_str().expect("a text").to_owned();
    let mut addresses = listeners.split(' ').map(|it| it.split_once('=').expect("NAME=ADDRESS").1);
    let address = addresses.next().expect("a listener");
    let admin = started["admin"].as_str().expect("a text").to_owned();
    let mut seen = Seen::default();
    let mut see = |answer: &str, has_order: bool| {
        let answer = still_answer(answer);
        seen.answers.push(if has_order { answer } else { without_order(&answer) });
    };
    for (host, has_order) in sample.hosts {
        let ask = |request| ask(address, host, request);
        REQUESTS.iter().for_each(|request| see(&ask(*request), *has_order));
        // Where chance decides who is asked, it would decide who fails.
        let failures = if *has_order { FAILURES } else { 0 };
        // Of several that are left chance decides who is tried next.
        let two = sample.has_order();
        (0..failures).for_each(|_| see(&ask(("GET /fail", "", "")), two));
        (0..4).for_each(|_| see(&ask(("GET /after", "", "")), two));
        for path in ["GET /metrics", "GET /health"] {
            see(&ask((path, "", "")), sample.has_order());
        }
    }
    for tunnel in addresses {
        // Who has fewer connections depends on how soon the last one is seen to have ended.
        (0..4).for_each(|_| see(&ask(tunnel, "tunnel.test", ("GET /through", "", "")), false));
    }
    let still = |path| {
        // Ports are free ones.
        let own = listeners.split(' ').filter_map(|it| Some(it.split_once('=')?.1));
        let answer = own.fold(get(&admin, path), |answer, at| answer.replace(at, "here"));
        let answer = still_answer(&answer);
        if sample.has_order() { answer } else { without_order(&answer) }
    };
    let paths = ["/api/v1/listeners", "/api/v1/routes", "/metrics", "/metrics?format=json"];
    seen.operator = paths.map(still).to_vec();
    seen.records = records(balancer, sample.has_order());
    seen
}

/// Access records, in the order of the requests.
fn records(balancer: Program, has_order: bool) -> Vec<String> {
    let ended = balancer.terminate();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let lines = ended.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let routed = lines.filter(|line| line["event"] == "request_routed");
    let keys = ["method", "host", "path", "status", "pool", "route", "failure", "level"];
    let told = |line: Value| {
        let mut words: Vec<String> = keys.iter().map(|key| line[*key].to_string()).collect();
        if has_order {
            words.extend([line["backend"].to_string(), line["tries"].to_string()]);
        }
        words.join(" ")
    };
    routed.map(told).collect()
}

#[test]
fn a_file_and_its_twin_behave_the_same() {
    let backends: Vec<String> = (0..5).map(backend).collect();
    for sample in SAMPLES {
        let shell = Shell::new()
            .set("EVENKEEL__ADMIN__BIND", "127.0.0.1:0")
            .set("EVENKEEL__DEBUG__PPROF", "")
            .set("EVENKEEL__LOGGING__FORMAT", "json")
            .set("EVENKEEL__WORKERS", "1");
        let mut text = sample.text.to_owned();
        let places = sample.places.iter().map(|(place, at)| (*place, backends[*at].as_str()));
        for (from, to) in places.chain(sample.changes.iter().copied()) {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        shell.write(sample.name, &text);
        let converted = shell.run(&["convert", sample.name]);
        assert_eq!(converted.code, 0, "{converted:?}");
        shell.write("twin.yaml", &converted.stdout);
        let old = drive(&shell, &sample, sample.name);
        let twin = drive(&shell, &sample, "twin.yaml");
        let both = old.answers.iter().zip(&twin.answers);
        for (number, (old, twin)) in both.enumerate() {
            assert_eq!(old, twin, "{}: answer {number}", sample.name);
        }
        assert_eq!(old, twin, "{}", sample.name);
        assert!(old.records.len() > REQUESTS.len(), "{}: {:?}", sample.name, old.records);
        let first = old.answers.iter().any(|answer| answer.contains("x-backend: b0"));
        assert!(first || !sample.hosts[0].1, "{}: nobody asked the one that fails", sample.name);
    }
}
