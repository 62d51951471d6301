//! Files of other products: detected, translated, told where they are wrong.

use super::*;
use evenkeel_config::Dialect;
use serde_json::{Value as Json, json};

pub(crate) const GOBALANCE: &str = include_str!("../fixtures/dialects/gobalance.yaml");
pub(crate) const GOBALANCER: &str = include_str!("../fixtures/dialects/gobalancer.toml");
pub(crate) const PRESET: &str = include_str!("../fixtures/dialects/go-loadbalancer.yaml");
pub(crate) const LOAD_BALANCER: &str = include_str!("../fixtures/dialects/load-balancer.yaml");
pub(crate) const APPS: &str = include_str!("../fixtures/dialects/apps.yaml");

fn valid(text: &str) -> Configuration {
    yaml(text).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// Each wanted value stands at its pointer.
fn holds(shown: &Json, wanted: &[(&str, Json)]) {
    for (pointer, value) in wanted {
        assert_eq!(shown.pointer(pointer), Some(value), "{pointer}");
    }
}

#[test]
fn each_sample_is_known_by_its_keys() {
    for (text, dialect, reason) in [
        (GOBALANCE, Dialect::Gobalance, "`listen_port` on line 1"),
        (PRESET, Dialect::GoLoadbalancer, "`preset` on line 2"),
        (LOAD_BALANCER, Dialect::LoadBalancer, "`server` on line 1"),
        (APPS, Dialect::Apps, "`apps` on line 1"),
    ] {
        let configuration = valid(text);
        assert_eq!(configuration.detected().dialect, dialect);
        assert_eq!(configuration.detected().reason, reason);
    }
    assert_eq!(toml(GOBALANCER).expect("valid").detected().dialect, Dialect::Native);
}

#[test]
fn gobalance_means_what_its_document_says() {
    let shown = valid(GOBALANCE).to_json();
    holds(
        &shown,
        &[
            ("/listeners/0/bind", json!("0.0.0.0:8080")),
            ("/listeners/0/mounts/0/path", json!("/health")),
            ("/listeners/0/mounts/0/down_status", json!(503)),
            ("/listeners/0/mounts/1/path", json!("/metrics")),
            ("/listeners/0/mounts/1/default_format", json!("prometheus")),
            ("/pools/0/strategy", json!("round_robin")),
            ("/pools/0/backends/1/address", json!("backend2:8082")),
            ("/pools/0/health/interval", json!("10s")),
            ("/pools/0/health/timeout", json!("5s")),
            ("/pools/0/health/unhealthy_threshold", json!(3)),
            ("/pools/0/retry/attempts", json!(3)),
            ("/pools/0/retry/backoff/multiplier", json!(1.5)),
            ("/pools/0/retry/backoff/max", json!("5s")),
            ("/pools/0/connections/idle_timeout", json!("1m30s")),
            ("/pools/0/connections/max_idle", json!(10)),
            ("/pools/0/connections/max_connecting", json!(3)),
            ("/pools/0/fail_open", json!(true)),
            ("/admin/required", json!(false)),
            ("/metrics/families", json!(["native", "gobalance"])),
        ],
    );
    let quick = "listen_port: 9000\nbackends:\n  - address: \"a:1\"\n    weight: 5\n\
                 metrics: { enabled: false }\nbalancing_strategy: weighted\n";
    holds(
        &valid(quick).to_json(),
        &[
            ("/listeners/0/bind", json!(":9000")),
            ("/listeners/0/mounts/1", Json::Null),
            ("/pools/0/health/interval", json!("10s")),
            ("/pools/0/strategy", json!("weighted")),
            ("/pools/0/backends/0/weight", json!(5)),
        ]
        .map(|(pointer, value)| {
            if value.is_null() { ("/logging/format", json!("json")) } else { (pointer, value) }
        }),
    );
    let mounts = valid(quick).to_json()["listeners"][0]["mounts"].clone();
    assert_eq!(mounts.as_array().map(Vec::len), Some(1), "metrics are turned off");
}

#[test]
fn load_balancer_means_what_its_document_says() {
    let shown = valid(LOAD_BALANCER).to_json();
    holds(
        &shown,
        &[
            ("/listeners/0/bind", json!(":8080")),
            ("/listeners/0/mounts/0/path", json!("/metrics")),
            ("/listeners/0/mounts/0/default_format", json!("json")),
            ("/pools/0/strategy", json!("round-robin")),
            ("/pools/0/hash/virtual_nodes", json!(100)),
            ("/pools/0/backends/1/address", json!("http://localhost:8082")),
            ("/pools/0/backends/1/weight", json!(2)),
            ("/pools/0/health/interval", json!("2s")),
            ("/pools/0/health/unhealthy_threshold", json!(1)),
            ("/pools/0/circuit_breaker/failure_threshold", json!(5)),
            ("/pools/0/circuit_breaker/reset_timeout", json!("30s")),
            ("/pools/0/circuit_breaker/max_reset_timeout", json!("30s")),
            ("/pools/0/retry/attempts", json!(3)),
            ("/pools/0/fail_open", json!(false)),
            ("/debug/pprof", json!("127.0.0.1:6060")),
        ],
    );
}

#[test]
fn apps_mean_what_their_document_says() {
    let shown = valid(APPS).to_json();
    holds(
        &shown,
        &[
            ("/listeners/0/bind", json!(":8080")),
            ("/listeners/0/mounts/0/path", json!("/api/v1/loadBalancers/report")),
            ("/listeners/0/mounts/0/serve", json!("report")),
            ("/routes/1/match/hosts", json!(["payments.example.com"])),
            ("/routes/1/pool", json!("payments.example.com")),
            ("/pools/1/strategy", json!("least_connections")),
            ("/pools/1/health/path", json!("/api/health")),
            ("/pools/1/health/interval", json!("15s")),
            ("/pools/1/health/timeout", json!("5s")),
            ("/pools/1/timeouts/response_head", json!("5s")),
            ("/pools/0/backends/2/address", json!("http://localhost:8083")),
            ("/pools/1/fail_open", json!(false)),
        ],
    );
}

#[test]
fn the_preset_fills_in_what_is_not_written() {
    let shown = valid(PRESET).to_json();
    holds(
        &shown,
        &[
            ("/listeners/0/bind", json!(":8080")),
            ("/listeners/0/mounts/0/accept", json!("html")),
            ("/listeners/0/mounts/1/down_status", json!(200)),
            ("/listeners/0/mounts/3/path", json!("/prometheus")),
            ("/routes/0/match/path_prefix", json!("/lb")),
            ("/routes/0/strip_prefix", json!(true)),
            ("/routes/1/pool", json!("default")),
            ("/pools/0/strategy", json!("weighted_random")),
            ("/pools/0/affinity/type", json!("cookie")),
            ("/pools/0/affinity/ttl", json!("1h")),
            ("/pools/0/backends/0/weight", json!(3)),
            ("/pools/0/autoscale/driver/address", json!("http://localhost:{port}")),
            ("/pools/0/autoscale/driver/ports", json!("8084-8099")),
            ("/logging/format", json!("bracket")),
            ("/mocks", json!(true)),
        ],
    );
    let bare = valid("preset: go-loadbalancer\n").to_json();
    assert_eq!(bare["pools"], shown["pools"], "the built-in pool is that of the sample");
    let moved = valid("preset: go-loadbalancer\nlisten: \":9000\"\n").to_json();
    assert_eq!(moved["listeners"][0]["bind"], ":9000");
    assert_eq!((&moved["pools"], &moved["routes"]), (&bare["pools"], &bare["routes"]));
    let own = "preset: go-loadbalancer\nmocks: false\nlisten: \":9000\"\nbackends: [\"a:1\"]\n";
    holds(
        &valid(own).to_json(),
        &[
            ("/listeners/0/bind", json!(":9000")),
            ("/listeners/0/mounts/2/path", json!("/metrics")),
            ("/routes/0/match/path_prefix", json!("/lb")),
            ("/pools/0/backends/0/address", json!("a:1")),
            ("/pools/0/health/interval", json!("10s")),
            ("/mocks", json!(false)),
        ],
    );
}

/// What is wrong with a file is told at its place, under the key that the user wrote.
#[test]
fn mistakes_name_the_key_of_the_file() {
    let swap = |text: &str, old: &str, new: &str| {
        assert!(text.contains(old), "{old}");
        text.replacen(old, new, 1)
    };
    let second = "http://localhost:8082";
    for (text, line, path, words) in [
        (swap(GOBALANCE, "interval: 10s", "interval: 10"), 10, "health_check.interval", "unit"),
        (
            swap(GOBALANCE, "\"round_robin\"", "\"fastest\""),
            8,
            "balancing_strategy",
            "round_robin, weighted_round_robin",
        ),
        (swap(GOBALANCE, "weight: 1", "weight: -1"), 5, "backends[0].weight", "out of range"),
        (swap(GOBALANCE, "8080", "x"), 1, "listen_port", "a port"),
        (swap(GOBALANCE, "0.0.0.0", "here"), 2, "bind_address", "IP address"),
        (swap(GOBALANCE, "enabled: true", "enabled: 1"), 27, "metrics.enabled", "true or false"),
        (swap(GOBALANCE, "max_attempts: 3", "max_attempts: 0"), 16, "retry.max_attempts", "from 1"),
        (
            swap(GOBALANCE, "listen_port: 8080", "listen_port: 1\nlisten_port: 2"),
            2,
            "listen_port",
            "twice",
        ),
        ("listen_port: 1\n".to_owned(), 1, "backends", "at least one"),
        ("listen_port: 1\nbackends: []\n".to_owned(), 2, "backends", "at least one"),
        ("listen_port: 1\nbackends: x\n".to_owned(), 2, "backends", "expected a list"),
        (
            "listen_port: 1\nbackends: [{ weight: 1 }]\n".to_owned(),
            2,
            "backends[0].address",
            "missing",
        ),
        (swap(APPS, second, "localhost:8082"), 9, "apps[0].instances[1].url", "invalid scheme"),
        (swap(APPS, second, "ftp://x"), 9, "apps[0].instances[1].url", "invalid scheme"),
        (swap(APPS, "host: payments", "hots: payments"), 12, "apps[1].host", "missing"),
        (swap(APPS, "host: payments", "host: api"), 12, "apps[1].host", "a second"),
        ("apps: []\n".to_owned(), 1, "apps", "at least one"),
        (swap(LOAD_BALANCER, "\"2s\"", "2"), 6, "health_check.interval", "unit"),
        (
            swap(LOAD_BALANCER, "max_retries: 2", "max_retries: many"),
            27,
            "retry.max_retries",
            "whole",
        ),
        (swap(LOAD_BALANCER, "\":8080\"", "8080"), 2, "server.address", "port"),
        (swap(PRESET, "go-loadbalancer", "other"), 2, "preset", "go-loadbalancer"),
        (swap(PRESET, "interval: 10s", "interval: 10"), 10, "pools[0].health.interval", "unit"),
        (format!("{APPS}listen_port: 8080\n"), 20, "listen_port", "`apps` on line 1"),
        ("foo: 1\nbar: 2\n".to_owned(), 1, "foo", "`bar`"),
    ] {
        let Err(errors) = yaml(&text) else { panic!("accepted:\n{text}") };
        let found = errors.0.iter().find(|error| error.path == path);
        let found = found.unwrap_or_else(|| panic!("{path} is not in:\n{errors}"));
        assert_eq!(found.line, line, "{found}");
        assert!(found.to_string().contains(words), "{words} is not in:\n{found}");
    }
}

#[test]
fn schemes_of_addresses_have_no_case() {
    let apps = valid(&APPS.replacen("http://localhost:8081", "HTTP://localhost:8081", 1));
    holds(&apps.to_json(), &[("/pools/0/backends/0/address", json!("HTTP://localhost:8081"))]);
    let servers = LOAD_BALANCER.replacen("http://localhost:8081", "Https://localhost:8081", 1);
    let address = json!("Https://localhost:8081");
    holds(&valid(&servers).to_json(), &[("/pools/0/backends/0/address", address)]);
}

#[test]
fn a_second_app_for_a_host_is_told_once_and_where() {
    let text = APPS.replace("host: payments", "host: api");
    let errors = yaml(&text).expect_err("a second app");
    let told: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains(":12:11: apps[1].host: a second app for "), "{}", told[0]);
    assert!(told[0].contains("the first is on line 2"), "{}", told[0]);
    // Requests are matched without regard to case and port.
    for other in ["API.example.com", "api.example.com:8080"] {
        let text = APPS.replace("host: payments.example.com", &format!("host: {other}"));
        let errors = yaml(&text).expect_err(other).to_string();
        assert!(errors.contains("a second app for "), "{errors}");
    }
}

/// Told, not refused.
#[test]
fn notes_say_how_odd_keys_are_read() {
    let twice = GOBALANCE.replace("backend2:8082", "backend1:8081");
    for (text, line, path, words) in [
        (GOBALANCE, 22, "connections.max_attempts_per_host", "max_connecting"),
        (GOBALANCE, 16, "retry.max_attempts", "all tries"),
        (LOAD_BALANCER, 27, "retry.max_retries", "one more"),
        (twice.as_str(), 6, "backends[1].address", "a second backend at backend1:8081"),
        ("listen_port: 1\nbackends: [{ address: \"a:1\" }]\nlistn: 2\n", 3, "listn", "ignored"),
    ] {
        let notes = evenkeel_config::convert(&source(text, Format::Yaml), None, Format::Yaml);
        let notes = notes.unwrap_or_else(|errors| panic!("{errors}")).notes;
        let found = notes.iter().find(|note| note.path == path);
        let found = found.unwrap_or_else(|| panic!("{path} is not in {notes:?}"));
        assert_eq!(found.line, line, "{found}");
        assert!(found.message.contains(words), "{found}");
    }
}

#[test]
fn windows_files_and_anchors_are_fine() {
    let plain = valid(GOBALANCE).to_json();
    let windows = format!("\u{feff}{}", GOBALANCE.replace('\n', "\r\n"));
    assert_eq!(valid(&windows).to_json(), plain);
    let first = GOBALANCE.replacen("weight: 1", "weight: &w 1", 1);
    let anchors = first.replacen("    weight: 1\n", "    weight: *w\n", 1);
    assert_eq!(valid(&anchors).to_json(), plain);
    let zero = GOBALANCE.replacen("weight: 1", "weight: 0", 1);
    assert_eq!(valid(&zero).to_json()["pools"][0]["backends"][0]["weight"], 0);
}

#[test]
fn variables_of_other_products_lie_over_their_files() {
    let with = |text: &str, pairs: &[(&str, &str)]| {
        let read = read(Some(&source(text, Format::Yaml)), &environment_of(pairs));
        read.unwrap_or_else(|errors| panic!("{errors}")).to_json()
    };
    let both = [("STRATEGY_TYPE", "least-conn"), ("SERVER_ADDRESS", ":9000"), ("PORT", "1")];
    let shown = with(LOAD_BALANCER, &both);
    assert_eq!(shown["listeners"][0]["bind"], ":9000", "the more specific one");
    assert_eq!(shown["pools"][0]["strategy"], "least-conn");
    assert_eq!(with(LOAD_BALANCER, &[("PORT", "9001")])["listeners"][0]["bind"], ":9001");
    assert_eq!(with(GOBALANCE, &[("PORT", "9001")])["listeners"][0]["bind"], "0.0.0.0:9001");
    assert_eq!(with(APPS, &[("PORT", "9001")])["listeners"][0]["bind"], ":9001");
    let ours = [("PORT", "9001"), ("EVENKEEL__LISTENERS__0__BIND", ":9002")];
    assert_eq!(with(APPS, &ours)["listeners"][0]["bind"], ":9002", "ours wins");
    assert_eq!(
        with(LOAD_BALANCER, &[("PORT", "tcp://10.0.0.1:80")])["listeners"][0]["bind"],
        ":8080"
    );
    assert_eq!(
        with(LOAD_BALANCER, &[("RETRY_MAX_RETRIES", "4")])["pools"][0]["retry"]["attempts"],
        5
    );
    assert_eq!(with(GOBALANCE, &[("RETRY_MAX_RETRIES", "4")])["pools"][0]["retry"]["attempts"], 3);
    assert_eq!(with(LOAD_BALANCER, &[("LOGGING_LEVEL", "debug")])["logging"]["level"], "debug");
    let wrong = environment_of(&[("STRATEGY_TYPE", "fastest")]);
    let errors = read(Some(&source(LOAD_BALANCER, Format::Yaml)), &wrong).expect_err("unknown");
    assert_eq!((errors.0[0].file.as_str(), errors.0[0].line), ("STRATEGY_TYPE", 0));
}

#[test]
fn they_lie_over_native_files_too_and_that_is_told() {
    let told = |text: &str, pairs: &[(&str, &str)]| {
        let read = read(Some(&source(text, Format::Yaml)), &environment_of(pairs));
        let read = read.unwrap_or_else(|errors| panic!("{errors}"));
        let warnings: Vec<String> = read.plan().1.iter().map(|it| it.to_string()).collect();
        (read.to_json(), warnings.join("\n"))
    };
    let (shown, warnings) = told(GOOD, &[("PORT", "9001")]);
    assert_eq!(shown["listeners"][0]["bind"], "127.0.0.1:9001");
    assert!(warnings.contains("the variable PORT counts, not what the file says"), "{warnings}");
    let short = "listen: \":80\"\nbackends: [\"a:1\"]\n";
    let all = [("SERVER_ADDRESS", ":9000"), ("PORT", "1"), ("STRATEGY_TYPE", "p2c")];
    let (shown, warnings) = told(short, &all);
    assert_eq!(shown["listeners"][0]["bind"], ":9000");
    assert_eq!(shown["pools"][0]["strategy"], "p2c");
    assert!(!warnings.contains("STRATEGY_TYPE"), "the file says nothing of it: {warnings}");
    for name in ["EVENKEEL__LISTEN", "EVENKEEL__LISTENERS__0__BIND"] {
        let ours = [("PORT", "9001"), (name, ":9002")];
        assert_eq!(told(short, &ours).0["listeners"][0]["bind"], ":9002", "{name} wins");
    }
    let (shown, warnings) = told(short, &[("PORT", "tcp://10.0.0.1:80")]);
    assert_eq!(shown["listeners"][0]["bind"], ":80");
    assert!(warnings.contains("is ignored: not a port"), "{warnings}");
    let unix = "listen: \"unix:/run/x.sock\"\nbackends: [\"a:1\"]\n";
    assert_eq!(told(unix, &[("PORT", "9001")]).0["listeners"][0]["bind"], "unix:/run/x.sock");
    let nowhere = source("pools: [{ name: a, backends: [\"a:1\"] }]\n", Format::Yaml);
    let missing = read(Some(&nowhere), &environment_of(&[("PORT", "9001")]));
    assert!(missing.expect_err("no listener").to_string().contains("`listeners` is missing"));
    let (moved, _) = read(None, &Overrides { to: vec!["a:1".to_owned()], ..environment_of(&all) })
        .unwrap_or_else(|errors| panic!("{errors}"))
        .plan();
    assert_eq!(moved.listeners[0].bind.to_string(), ":9000");
}

#[test]
fn a_port_moves_the_first_listener() {
    let on = |text: &str| {
        let overrides = Overrides { port: Some(9001), ..environment_of(&[("PORT", "9002")]) };
        read(Some(&source(text, Format::Yaml)), &overrides)
    };
    for (text, bind) in [
        (GOOD, "127.0.0.1:9001"),
        (APPS, ":9001"),
        (GOBALANCE, "0.0.0.0:9001"),
        ("backends: [\"a:1\"]\n", ":9001"),
    ] {
        let read = on(text).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(read.to_json()["listeners"][0]["bind"], bind);
    }
    let unix = on("listen: \"unix:/run/x.sock\"\nbackends: [\"a:1\"]\n");
    let told = unix.expect_err("no port").to_string();
    assert!(told.starts_with("--port: listeners[0].bind: the first listener binds to"), "{told}");
}
