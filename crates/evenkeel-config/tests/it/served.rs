//! From values to a plan, and what a plan refuses or warns about.

use super::*;
use evenkeel_core::address::Scheme;
use evenkeel_core::plan::{ConsulPlan, ContainersPlan, DiscoverySource, DnsRecord, KubernetesPlan};

#[test]
fn a_plan_has_what_the_text_says() {
    let (plan, warnings) = yaml(
        r#"
listeners: [{ bind: ":80", paths: strict }, { bind: "unix:/run/x.sock" }]
routes:
  - match: { hosts: [A.test], path_prefix: /%76//1%2f, methods: [get], headers: { X-B: "1" } }
    split: [{ pool: b, weight: 3 }, { pool: a }]
    strip_prefix: true
    response_headers: { add: { X-Add: "2" }, remove: [X-Gone] }
    deny: ["10.0.0.0/8"]
    timeout: 1m
    mirror:
      pool: c
      percent: 5
      max_body: 1k
      diff: { headers: [X-A], body: json, ignore: ["$.a[*].b"], samples: 7 }
  - { name: rest, pool: a, match: { path: /a/../é } }
pools:
  - { name: a, backends: ["127.0.0.1:1"] }
  - name: b
    backends: [{ address: "b.test:1", weight: 0, admin: draining }]
    retry: { attempts: 1, on: [connect_failure] }
    timeouts: { connect: 250ms }
  - { name: c, backends: ["127.0.0.1:2"] }
workers: 2
logging: { level: warn, format: text, file: x.log, access: { enabled: false, sample: 50% } }
shutdown: { grace: 1s }
"#,
    )
    .unwrap_or_else(|e| panic!("{e}"))
    .plan();
    assert_eq!(warnings, []);
    let route = &plan.routes[0];
    assert_eq!(&*route.name, "route-0");
    assert_eq!(route.split, [(1, 3), (0, 1)]);
    assert_eq!(route.matches.path, evenkeel_core::plan::PathMatch::Prefix("/v/1".to_owned()));
    let exact = evenkeel_core::plan::PathMatch::Exact("/%C3%A9".to_owned());
    assert_eq!(plan.routes[1].matches.path, exact);
    assert_eq!(route.matches.headers, [("x-b".to_owned(), "1".to_owned())]);
    assert_eq!(route.response_headers.add, [("x-add".to_owned(), "2".to_owned())]);
    assert_eq!(route.timeout.as_secs(), 60);
    let [mirror] = route.mirrors.as_slice() else { panic!("{:?}", route.mirrors) };
    assert_eq!((mirror.pool, mirror.percent, mirror.max_body_bytes), (2, 5.0, 1024));
    let diff = mirror.diff.as_ref().expect("a comparison");
    assert_eq!((diff.status, diff.samples, &diff.headers[0]), (true, 7, &"x-a".to_owned()));
    assert_eq!(diff.body, evenkeel_core::mirror::BodyDiff::Json);
    assert_eq!(diff.ignore[0].0.len(), 3);
    assert!(plan.routes[1].mirrors.is_empty());
    assert_eq!(&*plan.listeners[1].name, "listener-1");
    assert_eq!(plan.pools[1].backends[0].admin, evenkeel_core::plan::AdminState::Draining);
    assert_eq!((plan.pools[1].retry.attempts, plan.pools[1].retry.on.reset), (1, false));
    assert_eq!(plan.pools[1].timeouts.connect.as_millis(), 250);
    assert_eq!((plan.workers, plan.logging.access_sample), (2, 0.5));
}

#[test]
fn what_does_nothing_is_warned_about_only_if_written() {
    let pool = |key: &str| GOOD.to_owned() + "    " + key + "\n";
    let second = "listeners[0].mounts[1].path";
    let listener = |key: &str| GOOD.replace("routes:", &format!("    {key}\nroutes:"));
    let mounts = |all: &str| listener(&format!("mounts: [{all}]"));
    let route = |keys: &str| GOOD.replace("- pool: web", &format!("- {{ pool: web, {keys} }}"));
    for (text, line, path) in [
        (GOOD.replace("- pool: web", "- pool: web\n  - pool: web"), 6, "routes[0]"),
        (route("strip_prefix: true"), 6, "routes[0].strip_prefix"),
        (route("request_headers: { set: { Via: x } }"), 6, "routes[0].request_headers.set"),
        (route("request_headers: { remove: [via] }"), 6, "routes[0].request_headers.remove"),
        (pool("tls: { server_name: a.test }"), 11, "pools[0].tls"),
        (mounts("{ path: /a, serve: health }, { path: /a, serve: metrics }"), 5, second),
        (
            mounts("{ path: /a, serve: health }, { path: /a, serve: health, accept: html }"),
            5,
            second,
        ),
        (listener("proxy_protocol: optional"), 5, "listeners[0].proxy_protocol"),
        (
            mounts("{ path: /a, serve: metrics, down_status: 200 }"),
            5,
            "listeners[0].mounts[0].down_status",
        ),
        (
            mounts("{ path: /a, serve: health, default_format: json }"),
            5,
            "listeners[0].mounts[0].default_format",
        ),
        (pool("retry: { buffer: 1MiB }"), 11, "pools[0].retry.buffer"),
        (pool("affinity: { cookie_name: sid }"), 11, "pools[0].affinity.cookie_name"),
        (
            pool("autoscale: { driver: { type: exec, command: [a], image: b } }"),
            11,
            "pools[0].autoscale.driver.image",
        ),
        (GOOD.to_owned() + "logging: { file: / }\n", 11, "logging.file"),
        (GOOD.to_owned() + "logging: { file: /nowhere/a.log }\n", 11, "logging.file"),
        (GOOD.to_owned() + "state_dir: /dev/null\n", 11, "state_dir"),
    ] {
        let (_, warnings) = yaml(&text).unwrap_or_else(|e| panic!("{e}")).plan();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!((warnings[0].line, warnings[0].path.as_str()), (line, path));
    }
    let secure = pool("tls: { server_name: a.test }").replace("127.0.0.1:", "https://127.0.0.1:");
    let secure = secure.replace("bind: \"https://", "bind: \"");
    for text in [
        pool("health: { type: none }"),
        pool("circuit_breaker: { enabled: false }"),
        pool("affinity: { type: cookie, cookie_name: sid }"),
        pool("autoscale: { driver: { type: process, command: [a], env: { A: b } } }"),
        listener("proxy_protocol: optional\n    trusted_proxies: [\"10.0.0.0/8\"]"),
        GOOD.to_owned() + "logging: { file: a.log }\nstate_dir: /nowhere/at/all\n",
        secure,
        mounts("{ path: /a, serve: dashboard, accept: html }, { path: /a, serve: health }"),
        mounts("{ path: /a, serve: health, hosts: [a.test] }, { path: /a, serve: metrics }"),
    ] {
        assert_eq!(yaml(&text).expect("valid").plan().1, []);
    }
}

#[test]
fn a_driver_that_is_none_needs_nothing() {
    let text =
        format!("{GOOD}    autoscale: {{ driver: {{ type: dokcer, image: i, port: 80 }} }}\n");
    let Diagnostics(found) = yaml(&text).expect_err("no driver");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].path, "pools[0].autoscale.driver.type");
    assert!(found[0].hint.as_ref().is_some_and(|hint| hint.contains("docker")), "{}", found[0]);
}

#[test]
fn the_address_of_a_process_tells_its_port() {
    let with = |address: &str| {
        let driver = format!("{{ type: process, command: [c], address: \"{address}\" }}");
        format!("{GOOD}    autoscale: {{ driver: {driver} }}\n")
    };
    let plan = |text: &str| {
        let (plan, warnings) = yaml(text).expect("valid").plan();
        assert_eq!(warnings, []);
        format!("{:?}", plan.pools[0].autoscale.as_ref().expect("a plan").driver)
    };
    assert!(plan(&with("http://localhost:{port}")).contains("\"http://localhost:{port}\""));
    let unsaid = with("").replace(", address: \"\"", "");
    assert!(plan(&unsaid).contains("\"127.0.0.1:{port}\""));
    for (wrong, why) in [
        ("http://localhost:8080", "is the same for every port"),
        ("ftp://localhost:{port}", "invalid scheme"),
        ("", "is the same for every port"),
    ] {
        let Diagnostics(found) = yaml(&with(wrong)).expect_err("no address");
        assert_eq!((found.len(), &*found[0].path), (1, "pools[0].autoscale.driver.address"));
        assert!(found[0].message.contains(why), "{}", found[0]);
    }
}

#[test]
fn an_autoscaler_without_a_target_goes_by_twenty_requests() {
    let cases = [
        ("min: 1", 20),
        ("interval: 30s", 20),
        ("requests_per_interval: 7", 7),
        ("requests_per_interval: 0", 0),
        ("in_flight: 5", 0),
        ("rps: 5", 0),
        ("queue_wait: 1s", 0),
        ("p95: 1s", 0),
        ("p95: 1s, requests_per_interval: 9", 9),
    ];
    for (keys, wanted) in cases {
        let driver = "driver: { type: exec, command: [c] }";
        let config = yaml(&format!("{GOOD}    autoscale: {{ {keys}, {driver} }}\n"));
        let (plan, _) = config.expect("valid").plan();
        let scale = plan.pools[0].autoscale.as_ref().expect("a plan");
        assert_eq!(scale.requests_per_interval, wanted, "{keys}");
    }
}

#[test]
fn autoscalers_are_served_whole() {
    let lease = "lease: { redis: \"redis://:pw@r/1\" }";
    let driver = "driver: { type: kubernetes, deployment: d }";
    let text = format!("{GOOD}    autoscale: {{ min: 0, {lease}, {driver} }}\n");
    let (plan, warnings) = yaml(&text).expect("valid").plan();
    assert_eq!(warnings, []);
    let scale = plan.pools[0].autoscale.as_ref().expect("a plan");
    let shown = format!("{:?} {:?} {}", scale.lease, scale.driver, scale.min);
    let kubernetes = "Kubernetes { namespace: \"default\", deployment: \"d\" }";
    assert_eq!(shown, format!("Redis(redis://r:6379/1) {kubernetes} 0"));
    let Diagnostics(found) =
        yaml(&text.replace("redis://:pw@r/1", "rediss://:pw@r")).expect_err("no address");
    assert_eq!(found[0].path, "pools[0].autoscale.lease.redis");
    assert!(!found[0].message.contains("pw"), "{}", found[0]);
}

#[test]
fn the_effective_configuration_means_the_same() {
    let first = yaml(GOOD).expect("valid");
    for again in [yaml(&first.to_yaml()), toml(&first.to_toml())] {
        let again = again.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(again.plan().0, first.plan().0);
    }
}

#[test]
fn a_route_that_names_the_path_of_a_mount_is_warned_about() {
    let text = |mount: &str, test: &str| {
        let listener = format!("    mounts: [{{ serve: health, {mount} }}]\nroutes:");
        let text = GOOD.replace("routes:", &listener);
        text.replace(
            "- pool: web",
            &format!("- {{ match: {{ {test} }}, pool: web }}\n  - pool: web"),
        )
    };
    for (mount, test, warned) in [
        ("path: /s", "path: /s", true),
        ("path: /s/t", "path_prefix: /s", true),
        ("path: /s, hosts: [a.test]", "path: /s", true),
        ("path: /s, hosts: [a.test]", "path: /s, hosts: [b.test]", false),
        ("path: /s", "path: /s, methods: [POST]", false),
        ("path: /st", "path_prefix: /s", false),
        ("path: /s", "path_prefix: /", false),
    ] {
        let text = text(mount, test);
        let (_, warnings) = yaml(&text).unwrap_or_else(|e| panic!("{e}")).plan();
        let found = warnings.iter().find(|it| it.path == "listeners[0].mounts[0].path");
        assert_eq!(found.is_some(), warned, "{mount} {test}: {warnings:?}");
        assert!(found.is_none_or(|it| it.message.contains("/s") && it.line == 5), "{found:?}");
    }
}

#[test]
fn a_discovery_says_what_its_kind_needs() {
    let pool = |keys: &str| GOOD.to_owned() + "    discovery: { " + keys + " }\n";
    for (keys, path, message) in [
        ("type: dns, port: 80", "name", "needs `name`"),
        ("type: dns, name: a.test", "port", "needs `port`"),
        ("type: dns, name: a.test, port: web", "port", "is not a port"),
        ("type: dns, name: a.test, record: srv, port: 80", "port", "ports of their own"),
        ("type: dns, name: a, port: 80, resolver: ns1", "resolver", "not an address"),
        ("type: dns, name: a, port: 80, path: x", "path", "of type file"),
        ("type: file", "path", "needs `path`"),
        ("type: file, path: x, record: srv", "record", "of type dns"),
        ("type: file, path: x, port: 80", "port", "of type dns or docker"),
        ("type: file, path: x, interval: 0s", "interval", "without end"),
        ("type: docker", "label", "needs `label`"),
        ("type: docker, label: l, port: http", "port", "is not a port"),
        ("type: docker, label: l, tag: t", "tag", "of type consul"),
        ("type: consul", "service", "needs `service`"),
        ("type: consul, service: a, port: 80", "port", "of type dns or docker or kubernetes"),
        ("type: file, path: x, passing: false", "passing", "of type consul"),
        ("type: kubernetes", "service", "needs `service`"),
        ("type: kubernetes, service: App", "service", "not a name in Kubernetes"),
        ("type: kubernetes, service: a, namespace: a/b", "namespace", "not a name in Kubernetes"),
        ("type: kubernetes, service: a, ca_file: x", "ca_file", "goes with `address`"),
        ("type: kubernetes, service: a, address: k8s", "address", "not of the form"),
        ("type: kubernetes, service: a, address: \"http://a/b\"", "address", "not of the form"),
        ("type: fil, path: x", "type", "did you mean `file`"),
    ] {
        let Diagnostics(found) = yaml(&pool(keys)).expect_err(keys);
        let wanted = format!("pools[0].discovery.{path}");
        let problem = found.iter().find(|it| it.path == wanted);
        let problem = problem.unwrap_or_else(|| panic!("{keys}: {found:?}"));
        assert!(
            problem.line == 11 && problem.message.contains(message)
                || problem.hint.as_deref().is_some_and(|hint| hint.contains(message)),
            "{keys}: {problem:?}"
        );
    }
}

#[test]
fn a_discovery_becomes_a_plan() {
    let pool = |keys: &str| GOOD.to_owned() + "    discovery: { " + keys + " }\n";
    let plan = |keys: &str| {
        let plan = yaml(&pool(keys)).expect(keys).plan().0;
        plan.pools[0].discovery.clone().expect("it discovers")
    };
    let dns = plan("type: dns, name: a.test, port: 8080, resolver: 127.0.0.1, scheme: https");
    assert_eq!(dns.scheme, Scheme::Https);
    let resolver = Some(([127, 0, 0, 1], 53).into());
    let record = DnsRecord::Address(8080);
    assert_eq!(dns.source, DiscoverySource::Dns { name: "a.test".into(), record, resolver });
    let file = plan("type: file, path: t.yaml, allow_empty: true, max: 7");
    assert!(file.allow_empty && file.max == 7);
    assert_eq!(file.source, DiscoverySource::File { path: "t.yaml".into() });
    let containers = plan("type: docker, label: a=b");
    let wanted = ContainersPlan {
        label: "a=b".into(),
        port: None,
        network: String::new(),
        socket: "/var/run/docker.sock".into(),
    };
    assert_eq!(containers.source, DiscoverySource::Docker(wanted));
    let instances = plan("type: consul, service: App, passing: false, tag: blue");
    let wanted = ConsulPlan {
        server: "http://127.0.0.1:8500".into(),
        service: "App".into(),
        tag: "blue".into(),
        datacenter: String::new(),
        token_file: None,
        ca_file: None,
        passing: false,
    };
    assert_eq!(instances.source, DiscoverySource::Consul(wanted));
    let endpoints = plan("type: kubernetes, service: app, port: http");
    let wanted = KubernetesPlan {
        namespace: "default".into(),
        service: "app".into(),
        port: "http".into(),
        server: None,
        token_file: None,
        ca_file: None,
    };
    assert_eq!(endpoints.source, DiscoverySource::Kubernetes(wanted));
}
