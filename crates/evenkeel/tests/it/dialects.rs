//! Files of other products, served as they are.

use crate::program::{Shell, backend, backend_of, get};

const GOBALANCE: &str =
    include_str!("../../../evenkeel-config/tests/fixtures/dialects/gobalance.yaml");
const PRESET: &str =
    include_str!("../../../evenkeel-config/tests/fixtures/dialects/go-loadbalancer.yaml");

fn shell() -> Shell {
    let shell = Shell::new().set("EVENKEEL__ADMIN__BIND", "127.0.0.1:0");
    shell.set("EVENKEEL__DEBUG__PPROF", "").set("EVENKEEL__LOGGING__FORMAT", "json")
}

/// A sample whose backends are these, in turn.
fn with_backends(sample: &str, backends: &[&str]) -> String {
    let mut text = sample.to_owned();
    let ports =
        ["localhost:8081", "localhost:8082", "localhost:8083", "localhost:9081", "localhost:9082"];
    for (index, port) in ports.iter().chain(&["backend1:8081", "backend2:8082"]).enumerate() {
        text = text.replace(port, backends[index % backends.len()]);
    }
    text
}

#[test]
fn two_old_instances_start_beside_each_other() {
    let (_a, a) = backend("a");
    let shell = shell();
    shell.write("old.yaml", &with_backends(GOBALANCE, &[&a]).replace("0.0.0.0", "127.0.0.1"));
    let mut first = shell.start(&["run", "-c", "old.yaml", "--listen", "127.0.0.1:0"]);
    let started = first.event("started");
    let said = |key: &str| started[key].as_str().expect("a text");
    assert_eq!((said("dialect"), said("dialect_by")), ("gobalance", "`listen_port` on line 1"));
    assert_eq!(said("backends"), format!("default/{a} default/{a}#2"));
    assert_eq!(said("mounts"), "default=/health default=/metrics");
    let admin = said("admin").to_owned();
    let second = Shell::new().set("EVENKEEL__ADMIN__BIND", &admin);
    second.write("old.yaml", &with_backends(GOBALANCE, &[&a]));
    let mut second = second.start(&["run", "-c", "old.yaml", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.event("admin_unavailable")["address"], admin.as_str());
    assert_eq!(backend_of(&get(&second.address(), "/")), "a");
}

#[test]
fn the_preset_greets_and_plays_backends() {
    let free: Vec<_> =
        (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let ports: Vec<String> =
        free.iter().map(|it| it.local_addr().expect("bound").to_string()).collect();
    drop(free);
    let (_a, a) = backend("real");
    let backends = [ports[0].as_str(), ports[1].as_str(), a.as_str()];
    let text = with_backends(PRESET, &backends);
    let shell = Shell::new().set("EVENKEEL__ADMIN__BIND", "127.0.0.1:0");
    shell.write("config.yaml", &text);
    let mut balancer = shell.start(&["--listen", "127.0.0.1:0"]);
    let weighted = backends.iter().zip([3, 2, 1]);
    let added: Vec<String> = weighted
        .map(|(at, weight)| format!("[INFO] Added backend: http://{at} (weight: {weight})"))
        .collect();
    let mut lines = vec![
        "[INFO] Starting Go Load Balancer Application".to_owned(),
        "[INFO] Initializing backend servers...".to_owned(),
    ];
    lines.extend(added);
    lines.push("[INFO] Load balancer starting on 127.0.0.1:0".to_owned());
    for line in lines {
        assert_eq!(balancer.line_with(&line), line);
    }
    assert!(balancer.line_with("mock_started").starts_with("[WARN] "));
    assert!(balancer.line_with("mock_not_needed").contains(&a));
    let started = balancer.line_with("started: ");
    let listener = started.split("listeners=\"").nth(1).or(started.split("listeners=").nth(1));
    let address = listener.and_then(|text| text.split(['"', ' ']).next()).expect("listeners");
    let address = address.split_once('=').expect("NAME=ADDRESS").1.to_owned();
    assert_eq!(
        balancer.line_with("ready to accept"),
        "[INFO] Load balancer is ready to accept connections"
    );
    let answers: Vec<String> = (0..60).map(|_| get(&address, "/lb")).collect();
    let demo = answers.iter().filter(|answer| answer.to_lowercase().contains("x-demo: 1")).count();
    assert!((1..60).contains(&demo), "two of three backends are mocks: {demo}");
    assert!(
        get(&address, "/health").contains("\"demo\": true")
            || get(&address, "/health").contains("\"demo\":true")
    );
}

#[test]
fn names_that_nobody_knows_are_down_and_do_not_hold_up_the_start() {
    let shell = shell();
    let text = GOBALANCE.replace("backend1:", "one.invalid:").replace("backend2:", "two.invalid:");
    shell.write("old.yaml", &text.replace("0.0.0.0", "127.0.0.1"));
    let mut balancer = shell.start(&["run", "-c", "old.yaml", "--listen", "127.0.0.1:0"]);
    let address = balancer.address();
    let health = get(&address, "/health");
    assert!(health.starts_with("HTTP/1.1 503 "), "{health}");
    assert_eq!(health.matches("\"status\":\"unhealthy\"").count(), 3, "{health}");
}

#[test]
fn a_host_without_a_route_is_named_and_no_other() {
    let (_a, a) = backend("a");
    let shell = shell();
    shell.write(
        "config.yaml",
        &format!("apps:\n  - host: api.example.com\n    instances:\n      - url: http://{a}\n"),
    );
    let mut balancer = shell.start(&["run", "--listen", "127.0.0.1:0"]);
    let answer = get(&balancer.address(), "/");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.contains("No route for host ") && !answer.contains("example"), "{answer}");
}

#[test]
fn values_of_the_environment_are_converted_only_if_asked_for() {
    let shell = Shell::new().set("STRATEGY_TYPE", "least-conn").set("SERVER_ADDRESS", ":9000");
    let text = "server: { address: ':8080' }\nbackends:\n  - url: http://127.0.0.1:1\n";
    shell.write("old.yaml", text);
    let convert = |words: &[&str]| {
        let converted = shell.run(&[&["convert", "old.yaml"], words].concat());
        assert_eq!(converted.code, 0, "{converted:?}");
        let has = |word: &str| converted.stdout.contains(word);
        (has("bind: \":8080\""), has("bind: \":9000\""), has("least-conn"))
    };
    assert_eq!(convert(&[]), (true, false, false));
    assert_eq!(convert(&["--with-env"]), (false, true, true));
    let refused = shell.run(&["convert", "old.yaml", "--from", "nginx", "--with-env"]);
    assert_eq!(refused.code, 1, "{refused:?}");
}

#[test]
fn nginx_and_haproxy_files_come_with_a_report() {
    let shell = Shell::new();
    shell.write(
        "nginx.conf",
        "events {}\nhttp {\n  upstream app { server 127.0.0.1:1; }\n  server {\n    listen 8080;\n\
         image_filter test;\n    location / { proxy_pass http://app; }\n  }\n}\n",
    );
    let converted = shell.run(&["convert", "nginx.conf", "--from", "nginx"]);
    assert_eq!(converted.code, 0, "{converted:?}");
    assert!(converted.stderr.contains("nginx.conf:6: unsupported: image_filter test\n"));
    assert!(converted.stderr.contains("nginx.conf:5: exact: listen 8080"), "{converted:?}");
    shell.write("native.yaml", &converted.stdout);
    assert_eq!(shell.run(&["check", "-c", "native.yaml"]).code, 0);
    shell.write("bad.cfg", "frontend\n");
    let refused = shell.run(&["convert", "bad.cfg", "--from", "haproxy"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.starts_with("bad.cfg:1:1: "), "{refused:?}");
}
