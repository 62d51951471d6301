//! The effective configuration: defaults, canonical forms, fixed point.

use super::*;

pub(crate) const TWIN_YAML: &str = r#"version: 1
listeners:
  - { name: web, bind: "127.0.0.1:8080", limits: { max_request_body: 30MiB } }
routes:
  - match: { hosts: [API.test], headers: { x-b: 1, x-a: "2" } }
    pool: web
    request_headers: { set: { x-z: "1", x-a: "2" } }
  - pool: web
pools:
  - name: web
    strategy: rr
    backends: ["127.0.0.1:8081", { name: b2, address: "http://127.0.0.1:8082", weight: 3 }]
    health: { interval: 7s, type: http }
    retry: { budget: 0.25 }
    discovery: { type: file, path: t.yaml, interval: 9s }
    autoscale: { driver: { type: process, command: ["./app"], env: { KEY: hunter2 } } }
"#;

pub(crate) const TWIN_TOML: &str = r#"version = 1
[[listeners]]
name = "web"
bind = "127.0.0.1:8080"
limits.max_request_body = "30m"
[[routes]]
pool = "web"
match = { hosts = ["api.test"], headers = { x-b = "1", x-a = "2" } }
request_headers.set = { x-z = "1", x-a = "2" }
[[routes]]
pool = "web"
[[pools]]
name = "web"
strategy = "rr"
backends = ["127.0.0.1:8081", { name = "b2", address = "http://127.0.0.1:8082", weight = 3 }]
health = { interval = "7s", type = "http" }
retry = { budget = "25%" }
discovery = { interval = "9s", path = "t.yaml", type = "file" }
[pools.autoscale.driver]
type = "process"
command = ["./app"]
env.KEY = "hunter2"
"#;

#[test]
fn toml_and_yaml_mean_the_same_and_output_is_a_fixed_point() {
    let (one, two) = (yaml(TWIN_YAML).expect("YAML"), toml(TWIN_TOML).expect("TOML"));
    assert_eq!(one.to_yaml(), two.to_yaml());
    assert_eq!(one.to_toml(), two.to_toml());
    let again = yaml(&one.to_yaml()).expect("its own YAML");
    assert_eq!(again.to_yaml(), one.to_yaml());
    let again = toml(&one.to_toml()).expect("its own TOML");
    assert_eq!(again.to_yaml(), one.to_yaml());
    assert!(!one.to_yaml().contains("hunter2"), "secrets are hidden");
    assert_eq!(one.to_json()["pools"][0]["strategy"], "rr", "the user's spelling");
}

#[test]
fn the_whole_of_every_section_reads_back() {
    let text = r#"
listeners:
  - bind: ":443"
    tls: { certificates: [{ cert: c.pem, key: k.pem }], client_ca: ca.pem, min_version: 1.2 }
    proxy_protocol: off
    mounts: [{ path: /health, serve: health, down_status: 503 }]
    redirect: { scheme: https, port: 443, status: 308 }
  - { bind: ":53", protocol: udp, pool: c, proxy_protocol: false }
  - { bind: ":54", protocol: tcp, sni_routes: [{ hosts: ["*.a.test"], pool: a }] }
routes:
  - match: { path: "/x", methods: [get], headers: { x-n: 1 } }
    split: [{ pool: a, weight: 95 }, { pool: b, weight: 5 }]
    rate_limit: { requests: 100, per: 1s, burst: 100, key: "header:X-Key" }
    mirror: { pool: d, percent: 10, diff: { headers: [content-type], body: hash } }
    allow: ["10.0.0.1"]
pools:
  - { name: a, backends: [], proxy_protocol: v2, hash: { key: ip },
      discovery: { type: dns, name: n, port: 1 } }
  - name: b
    backends: ["unix:/run/a b.sock", "https://e.test"]
    affinity: { type: cookie }
    autoscale:
      { max: 3, lease: { redis: "redis://:pw@h" }, driver: { type: docker, image: i, port: 80 } }
  - { name: c, backends: ["10.0.0.1:53"] }
  - { name: d, backends: ["10.0.0.1:80"] }
admin: { bind: "" }
debug: { pprof: "127.0.0.1:6060" }
"#;
    let first = yaml(text).unwrap_or_else(|errors| panic!("{errors}"));
    let shown = first.to_yaml();
    assert_eq!(yaml(&shown).unwrap_or_else(|e| panic!("{e}\n{shown}")).to_yaml(), shown);
    assert_eq!(toml(&first.to_toml()).unwrap_or_else(|e| panic!("{e}")).to_yaml(), shown);
    assert_eq!(first.to_json()["admin"]["bind"], "");
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let shown = yaml("backends: [\"127.0.0.1:8081\"]\n").expect("short form").to_json();
    let expected: serde_json::Value =
        serde_json::from_str(include_str!("defaults.json")).expect("JSON");
    assert_eq!(shown, expected);
}

#[test]
fn credentials_are_hidden() {
    let header = "- { pool: web, request_headers: { set: { Authorization: hunter2, x-a: b } } }";
    let shown = yaml(&GOOD.replace("- pool: web", header)).expect("valid").to_json();
    let set = &shown["routes"][0]["request_headers"]["set"];
    assert_eq!(set, &serde_json::json!({ "authorization": "<redacted>", "x-a": "b" }));
    let header = "- { pool: web, match: { headers: { X-Api-Key: hunter2, x-a: b } } }";
    let shown = yaml(&GOOD.replace("- pool: web", header)).expect("valid").to_json();
    let asked = &shown["routes"][0]["match"]["headers"];
    assert_eq!(asked, &serde_json::json!({ "x-a": "b", "x-api-key": "<redacted>" }));
}
