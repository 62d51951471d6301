//! `explain` and `explain-failure`.

use crate::program::Shell;
use serde_json::json;

const CONFIG: &str = r#"version: 1
listeners:
  - { name: web, bind: "127.0.0.1:8080", trusted_proxies: ["10.0.0.0/8"] }
routes:
  - name: beta
    match: { hosts: ["*.example.com"], headers: { x-beta: "1" } }
    pool: canary
  - name: inside
    match: { path_prefix: /inside }
    allow: ["192.0.2.0/24"]
    pool: web
  - name: api
    match: { hosts: ["api.example.com"], path_prefix: /v1, methods: [GET] }
    strip_prefix: true
    timeout: 9s
    request_headers: { set: { x-secret: hush } }
    rate_limit: { requests: 5, per: 1s, key: client_ip }
    pool: web
pools:
  - name: web
    strategy: least-conn
    backends:
      - { name: b1, address: "127.0.0.1:1", weight: 2 }
      - { name: b2, address: "127.0.0.1:2", admin: draining }
      - { name: b3, address: "127.0.0.1:3", weight: 0 }
  - name: canary
    backends: [{ name: c1, address: "127.0.0.1:4", admin: disabled }]
"#;

fn shell() -> Shell {
    let shell = Shell::new();
    shell.write("config.yaml", CONFIG);
    shell
}

fn explained(words: &[&str]) -> serde_json::Value {
    let words: Vec<&str> = ["explain", "--json"].iter().chain(words).copied().collect();
    let answer = shell().run(&words);
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{answer:?}");
    answer.json()
}

#[test]
fn every_route_says_why_it_was_passed_over() {
    let json = explained(&["http://api.example.com/v1/users"]);
    let routes = &json["routes"];
    let wanted = json!([
        { "route": "beta", "matched": false, "reason": "a header is missing or has another value" },
        { "route": "inside", "matched": false, "reason": "the path differs" },
        { "route": "api", "matched": true, "reason": "host, path, method match" },
    ]);
    assert_eq!(*routes, wanted);
    assert_eq!(
        (&json["route"], &json["pool"], &json["backend"]),
        (&json!("api"), &json!("web"), &json!("b1"))
    );
    assert_eq!(json["strategy"], "least-conn");
    assert_eq!(json["deadlines"]["timeout_ms"], 9000);
    assert_eq!(json["deadlines"]["connect_timeout_ms"], 3000);
    let candidates = json["candidates"].as_array().expect("a list");
    let seen: Vec<_> = candidates.iter().map(|one| (&one["name"], &one["eligible"])).collect();
    let (yes, no) = (json!(true), json!(false));
    let names = [json!("b1"), json!("b2"), json!("b3")];
    assert_eq!(seen, [(&names[0], &yes), (&names[1], &no), (&names[2], &no)]);
    assert_eq!(candidates[0]["score"], 0.0);
    assert!(candidates[1]["reason"].as_str().is_some_and(|why| why.starts_with("draining")));
    assert!(candidates[2]["reason"].as_str().is_some_and(|why| why.starts_with("weight 0")));
    let filters = json["filters"].to_string();
    for part in ["rate limit 5 per 1s by client_ip: 4 left", "asked for /users", "x-secret set"] {
        assert!(filters.contains(part), "{part}: {filters}");
    }
    assert!(!json.to_string().contains("hush"), "values stay secret");
}

#[test]
fn what_would_be_refused_says_so() {
    let cases: [(&[&str], &str); 6] = [
        (&["http://x.test/"], "no_route"),
        (&["http://api.example.com/v1", "-X", "POST"], "no_route"),
        (&["http://x.test/inside/a"], "denied"),
        (&["http://b.example.com/", "-H", "x-beta: 1"], "no_backend"),
        (&["http://x.test/a/..%2fb"], "bad_request"),
        (&["http://x.test/", "-H", "Content-Length: x"], "bad_request"),
    ];
    for (words, code) in cases {
        assert_eq!(explained(words)["failure"], code, "{words:?}");
    }
    let inside = explained(&["x.test/inside/a", "--client", "192.0.2.9"]);
    assert_eq!((&inside["failure"], &inside["backend"]), (&json!(null), &json!("b1")));
    let forwarded = ["x.test/inside/a", "--client", "10.1.1.1", "-H", "X-Forwarded-For: 192.0.2.9"];
    assert_eq!(explained(&forwarded)["backend"], "b1", "a trusted proxy names its client");
}

#[test]
fn what_stands_before_the_routes_is_told() {
    let shell = Shell::new();
    let text = r#"
listeners:
  - { name: web, bind: "127.0.0.1:8080", mounts: [{ path: /health, serve: health }] }
  - { name: plain, bind: "127.0.0.1:8081", redirect: { scheme: https, port: 8443, status: 308 } }
  - name: sql
    bind: "127.0.0.1:5432"
    protocol: tcp
    pool: other
    sni_routes: [{ hosts: ["*.a.test"], pool: first }]
routes: [{ name: all, pool: other }]
pools:
  - { name: first, backends: [{ name: f1, address: "127.0.0.1:1" }], health: { type: none } }
  - { name: other, backends: [{ name: o1, address: "127.0.0.1:2" }], health: { type: none } }
"#;
    shell.write("config.yaml", text);
    let ask = |url: &str| shell.run(&["explain", "--json", url]).json();
    let cases = [
        ("http://x.test:8080/health", "web", "its mount /health answers", json!(null)),
        ("http://x.test:8081/a?b=c", "plain", "(308): to https://x.test:8443/a?b=c", json!(null)),
        ("https://db.a.test:5432", "sql", "sni_routes[0]", json!("f1")),
        ("https://b.test:5432", "sql", "its own pool", json!("o1")),
    ];
    for (url, listener, words, backend) in cases {
        let json = ask(url);
        assert_eq!((&json["listener"], &json["backend"]), (&json!(listener), &backend), "{json}");
        assert!(json["instead"].as_str().is_some_and(|it| it.contains(words)), "{json}");
        assert_eq!(json["routes"], json!([]), "{json}");
    }
    let routed = ask("http://x.test:8080/other");
    assert_eq!((&routed["route"], &routed["instead"]), (&json!("all"), &json!(null)), "{routed}");
    let answer = shell.run(&["explain", "http://x.test:8080/health"]);
    assert!(answer.stdout.contains("=> evenkeel itself answers it"), "{answer:?}");
}

#[test]
fn in_words_and_mistakes() {
    let shell = shell();
    let answer = shell.run(&["explain", "http://api.example.com/v1/users"]);
    for part in ["- route beta: ", "* route api: ", "* b1: eligible", "=> it goes to b1"] {
        assert!(answer.stdout.contains(part), "{part}: {answer:?}");
    }
    let mistakes: [(&[&str], &str); 4] = [
        (&["ftp://x/"], "neither http nor https"),
        (&["http://x/", "--client", "nobody"], "is no IP address"),
        (&["http://x/", "-H", "nocolon"], "name: value"),
        (&["http://x/", "-H", "a: b\rc: d"], "control character"),
    ];
    for (words, part) in mistakes {
        let words: Vec<&str> = ["explain"].iter().chain(words).copied().collect();
        let answer = shell.run(&words);
        assert_eq!(answer.code, 1, "{words:?}: {answer:?}");
        assert!(answer.stderr.contains(part), "{words:?}: {answer:?}");
    }
    let nobody = shell.run(&["explain", "http://x/", "--admin", "http://127.0.0.1:1"]);
    assert_eq!(nobody.code, 1, "{nobody:?}");
    assert!(nobody.stderr.contains("cannot reach"), "{nobody:?}");
}

#[test]
fn a_failure_explains_itself() {
    let shell = Shell::new();
    let answer = shell.run(&["explain-failure", "no_backend"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    for part in ["no_backend: ", "503 Service Unavailable", "proxy", "evenkeel backend list"] {
        assert!(answer.stdout.contains(part), "{part}: {answer:?}");
    }
    let json = shell.run(&["explain-failure", "reset", "--json"]).json();
    assert_eq!((&json["side"], &json["status"]), (&json!("backend"), &json!(502)));
    let answer = shell.run(&["explain-failure", "nonsense"]);
    assert_eq!(answer.code, 1);
    assert!(answer.stderr.contains("queue_full"), "{answer:?}");
}
