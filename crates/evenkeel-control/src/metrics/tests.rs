use super::fixture::{Fixture, TWO_POOLS};
use super::*;
use evenkeel_core::failure::Failure;
use evenkeel_core::stats::RetryReason;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A text as a scraper reads it; making one checks what every text must be.
struct Scrape {
    /// Kind by family name.
    kinds: BTreeMap<String, String>,
    /// Name, labels as text, value.
    samples: Vec<(String, String, f64)>,
}

impl Scrape {
    fn of(text: &str) -> Scrape {
        let mut scrape = Scrape { kinds: BTreeMap::new(), samples: Vec::new() };
        let (mut helps, mut seen) = (BTreeSet::new(), HashSet::new());
        let mut family = String::new();
        assert!(text.is_empty() || text.ends_with('\n'));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help text");
                assert!(!help.is_empty() && !help.contains(['\\', '"']), "{line}");
                assert!(helps.insert(name.to_owned()), "twice: {line}");
                family = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert_eq!(name, family, "its help comes right before");
                assert!(scrape.kinds.insert(name.to_owned(), kind.to_owned()).is_none());
            } else if line != "# EOF" {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                assert!(seen.insert(series.to_owned()), "twice: {line}");
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let labels = labels.strip_suffix('}').expect("a closing brace");
                let suffix = name.strip_prefix(family.as_str()).expect("its own family");
                let kind = scrape.kinds[&family].as_str();
                assert!(suffixes(kind, &family).contains(&suffix), "{line} in a {kind}");
                let value = value.parse().expect("a number");
                scrape.samples.push((name.to_owned(), labels.to_owned(), value));
            }
        }
        scrape.check_histograms();
        scrape
    }

    /// Cumulative, with equal bounds, and `+Inf` is the count.
    fn check_histograms(&self) {
        let mut last: BTreeMap<(String, String), f64> = BTreeMap::new();
        for (name, labels, value) in &self.samples {
            if let Some(family) = name.strip_suffix("_bucket") {
                let at = labels.find("le=\"").expect("a bound");
                let own = labels[..at].trim_end_matches(',').to_owned();
                let before = last.insert((family.to_owned(), own), *value);
                assert!(before.is_none_or(|before| before <= *value), "{name} {labels}");
            }
        }
        for ((family, labels), largest) in last {
            assert_eq!(self.value(&format!("{family}_count"), &labels), Some(largest));
            assert!(self.value(&format!("{family}_sum"), &labels).is_some());
        }
    }

    fn value(&self, name: &str, labels: &str) -> Option<f64> {
        let mut found = self.samples.iter().filter(|it| it.0 == name && it.1 == labels);
        found.next().map(|(_, _, value)| *value)
    }

    fn sum(&self, name: &str) -> f64 {
        self.samples.iter().filter(|sample| sample.0 == name).map(|sample| sample.2).sum()
    }
}

fn suffixes(kind: &str, family: &str) -> &'static [&'static str] {
    match kind {
        "histogram" => &["_bucket", "_sum", "_count"],
        "counter" if family.ends_with("_total") => &[""],
        "counter" => &["_total"],
        "info" => &["_info"],
        "gauge" => &[""],
        other => panic!("{other} is no kind"),
    }
}

/// Something of everything.
fn busy() -> Fixture {
    let mut fixture = Fixture::of(TWO_POOLS);
    for (backend, code) in [("b1", 200), ("b1", 200), ("b1", 503), ("b2", 200), ("b2", 0)] {
        fixture.exchange("web", backend, code);
    }
    fixture.exchange_taking(("web", "b2"), 120_000_000);
    fixture.local_reply(404);
    fixture.count(|worker| {
        worker.failed(Failure::NoRoute);
        worker.failed(Failure::QueueFull);
        worker.retried(RetryReason::Status(503));
        worker.retried(RetryReason::Stale);
        worker.retry_refused();
        let web = worker.listener(&"web".into());
        web.opened.add(5);
        web.closed.add(2);
    });
    fixture.probe("web", "b1", 0);
    fixture.probe("web", "b2", 3);
    fixture
}

#[test]
fn every_family_is_described_with_its_labels() {
    let described: BTreeMap<&str, Vec<&str>> =
        reference::all().map(|(metric, labels)| (metric.name, labels.to_vec())).collect();
    let scrape = Scrape::of(&prometheus(&busy().view()));
    for family in scrape.kinds.keys() {
        assert!(described.contains_key(family.as_str()), "{family}");
    }
    for (name, labels, _) in &scrape.samples {
        let whole = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let family = whole.filter(|name| described.contains_key(name)).unwrap_or(name);
        let written = labels.split(',').filter_map(|label| label.split_once('='));
        let written: Vec<&str> = written.map(|(name, _)| name).filter(|it| *it != "le").collect();
        assert_eq!(written, described[family], "{name}{{{labels}}}");
    }
    let page = metrics_markdown();
    assert!(described.keys().all(|name| page.contains(&format!("| `{name}` | "))));
}

#[test]
fn values_are_those_of_the_counters() {
    let scrape = Scrape::of(&prometheus(&busy().view()));
    let b1 = r#"listener="web",route="r-web",pool="web",backend="b1""#;
    let cases = [
        ("evenkeel_requests_total", format!(r#"{b1},code="200",method="GET""#), 2.0),
        ("evenkeel_requests_total", format!(r#"{b1},code="503",method="GET""#), 1.0),
        ("evenkeel_tries_total", b1.to_owned(), 3.0),
        ("evenkeel_request_bytes_total", b1.to_owned(), 30.0),
        ("evenkeel_response_bytes_total", b1.to_owned(), 300.0),
        ("evenkeel_request_duration_seconds_sum", b1.to_owned(), 0.006),
        ("evenkeel_request_duration_seconds_count", b1.to_owned(), 3.0),
        ("evenkeel_request_duration_seconds_bucket", format!(r#"{b1},le="0.001""#), 0.0),
        ("evenkeel_request_duration_seconds_bucket", format!(r#"{b1},le="0.05""#), 3.0),
        ("evenkeel_first_byte_duration_seconds_count", r#"pool="web""#.into(), 6.0),
        ("evenkeel_connect_duration_seconds_count", r#"pool="web""#.into(), 0.0),
        ("evenkeel_queue_wait_duration_seconds_count", r#"pool="web""#.into(), 0.0),
        ("evenkeel_failures_total", r#"failure="no_route",side="proxy""#.into(), 1.0),
        ("evenkeel_failures_total", r#"failure="reset",side="backend""#.into(), 0.0),
        ("evenkeel_queue_rejected_total", r#"failure="queue_full""#.into(), 1.0),
        ("evenkeel_retries_total", r#"reason="503""#.into(), 1.0),
        ("evenkeel_retries_total", r#"reason="stale""#.into(), 1.0),
        ("evenkeel_retries_total", r#"reason="reset""#.into(), 0.0),
        ("evenkeel_retry_budget_exhausted_total", String::new(), 1.0),
        ("evenkeel_client_connections", r#"listener="web""#.into(), 3.0),
        ("evenkeel_client_connections_accepted_total", r#"listener="web""#.into(), 5.0),
        ("evenkeel_queue_waiting", r#"pool="web""#.into(), 0.0),
        ("evenkeel_pool_mode", r#"pool="web""#.into(), 0.0),
        ("evenkeel_fail_open", r#"pool="gone""#.into(), 0.0),
        ("evenkeel_backend_up", r#"pool="web",backend="b1""#.into(), 1.0),
        ("evenkeel_backend_up", r#"pool="web",backend="b2""#.into(), 0.0),
        ("evenkeel_backend_eligible", r#"pool="web",backend="b2""#.into(), 0.0),
        ("evenkeel_backend_weight", r#"pool="web",backend="b1""#.into(), 3.0),
        ("evenkeel_backend_in_flight", r#"pool="web",backend="b1""#.into(), 0.0),
        ("evenkeel_breaker_state", r#"pool="gone",backend="g1""#.into(), 0.0),
        ("evenkeel_backend_connections", r#"pool="web",backend="b1",state="idle""#.into(), 5.0),
        ("evenkeel_reloads_total", r#"result="applied""#.into(), 6.0),
        ("evenkeel_reloads_total", r#"result="unchanged""#.into(), 0.0),
        ("evenkeel_reloads_total", r#"result="rejected""#.into(), 0.0),
        ("evenkeel_config_generation", String::new(), 7.0),
        ("evenkeel_probes_total", r#"result="timeout""#.into(), 2.0),
        ("evenkeel_build_info", r#"version="1.2.3""#.into(), 1.0),
    ];
    for (name, labels, expected) in cases {
        assert_eq!(scrape.value(name, &labels), Some(expected), "{name}{{{labels}}}");
    }
    assert_eq!(scrape.sum("evenkeel_requests_total"), 7.0);
    assert!(scrape.sum("process_resident_memory_bytes") > 0.0);
    assert!(scrape.kinds.contains_key("process_cpu_seconds_total"));
}

#[test]
fn older_families_are_renderings_of_the_same_counters() {
    let scrape = Scrape::of(&prometheus(&busy().view()));
    for family in ["gobalance", "loadbalancer"] {
        let requests = format!("{family}_requests_total");
        assert_eq!(scrape.value(&requests, r#"backend="b1",status="200""#), Some(2.0));
        assert_eq!(scrape.sum(&requests), 6.0, "without an answer that no route gave");
    }
    let (in_ms, in_seconds) =
        ("gobalance_request_duration_ms", "loadbalancer_request_duration_seconds");
    for backend in ["b1", "b2"] {
        let value = |name: &str, part: &str| {
            scrape.value(&format!("{name}{part}"), &format!("backend=\"{backend}\"")).unwrap()
        };
        let ratio = value(in_ms, "_sum") / value(in_seconds, "_sum");
        assert!((ratio - 1_000.0).abs() < 1e-9, "{ratio}");
        assert_eq!(value(in_ms, "_count"), value(in_seconds, "_count"));
    }
    let fast = scrape.value(&format!("{in_ms}_bucket"), r#"backend="b2",le="50""#);
    assert_eq!(fast, Some(2.0), "the third took 120 ms");
    assert_eq!(scrape.value("gobalance_backend_up", r#"backend="b2""#), Some(0.0));
    assert_eq!(scrape.value("gobalance_connections_active", r#"backend="b1""#), Some(0.0));
    assert_eq!(scrape.value("loadbalancer_backend_connections", r#"backend="b1""#), Some(0.0));
}

#[test]
fn open_metrics_says_the_same_by_its_own_rules() {
    let fixture = busy();
    let (classic, open) = (prometheus(&fixture.view()), openmetrics(&fixture.view()));
    assert!(open.ends_with("\n# EOF\n") && !open.contains("\n\n"));
    assert!(!classic.contains("EOF"));
    let (classic, open) = (Scrape::of(&classic), Scrape::of(&open));
    assert_eq!(open.kinds["evenkeel_requests"], "counter");
    assert_eq!(open.kinds["evenkeel_build"], "info");
    assert_eq!(open.kinds.len(), classic.kinds.len());
    assert_eq!(open.samples.len(), classic.samples.len());
    let own = |sample: &&(String, String, f64)| !sample.0.starts_with("process_");
    let pairs = open.samples.iter().filter(own).zip(classic.samples.iter().filter(own));
    for (open, classic) in pairs {
        assert_eq!((&open.0, open.2), (&classic.0, classic.2), "{} {}", open.1, classic.1);
    }
}

#[test]
fn only_the_families_asked_for_are_there() {
    let mut fixture = busy();
    for (families, present, absent) in [
        (vec![MetricFamily::Native], "evenkeel_", ["gobalance_", "loadbalancer_"]),
        (vec![MetricFamily::Gobalance], "gobalance_", ["evenkeel_", "loadbalancer_"]),
        (vec![MetricFamily::Loadbalancer], "loadbalancer_", ["evenkeel_", "gobalance_"]),
    ] {
        fixture.families = families;
        let text = prometheus(&fixture.view());
        assert!(text.contains(present) && absent.iter().all(|name| !text.contains(name)));
    }
    fixture.families = Vec::new();
    assert_eq!(prometheus(&fixture.view()), "");
    assert_eq!(openmetrics(&fixture.view()), "# EOF\n");
}

#[test]
fn without_any_traffic_every_family_is_there() {
    let scrape = Scrape::of(&prometheus(&Fixture::of(TWO_POOLS).view()));
    for family in "evenkeel_requests_total evenkeel_request_duration_seconds evenkeel_backend_up \
        evenkeel_backend_in_flight evenkeel_backend_connections evenkeel_breaker_state \
        evenkeel_retries_total evenkeel_retry_budget_exhausted_total evenkeel_failures_total \
        evenkeel_client_connections evenkeel_queue_waiting evenkeel_reloads_total \
        evenkeel_config_generation evenkeel_probes_total process_resident_memory_bytes \
        evenkeel_build_info gobalance_requests_total loadbalancer_requests_total"
        .split_ascii_whitespace()
    {
        assert!(scrape.kinds.contains_key(family), "{family}");
    }
    assert_eq!(scrape.value("evenkeel_client_connections", r#"listener="web""#), Some(0.0));
}

#[test]
fn hostile_names_stay_inside_their_labels() {
    let text = TWO_POOLS
        .replace("name: b1", r#"name: "b\"} 1 fake{x=\"\\""#)
        .replace("pool: web", r#"pool: "w\\n,\u00e9""#)
        .replace("- name: web", r#"- name: "w\\n,\u00e9""#);
    let mut fixture = Fixture::of(&text);
    fixture.exchange("w\\n,é", r#"b"} 1 fake{x="\"#, 200);
    fixture.exchange("w\\n,é", "\nfake{} 1\n", 200);
    let pool = r#"pool="w\\n,é""#;
    let backend = r#"backend="b\"} 1 fake{x=\"\\""#;
    let series = r#"listener="web",route="r-w\\n,é""#;
    for text in [prometheus(&fixture.view()), openmetrics(&fixture.view())] {
        let scrape = Scrape::of(&text);
        assert_eq!(scrape.value("evenkeel_backend_up", &format!("{pool},{backend}")), Some(1.0));
        for backend in [backend, r#"backend="\nfake{} 1\n""#] {
            let labels = format!("{series},{pool},{backend}");
            assert_eq!(scrape.value("evenkeel_tries_total", &labels), Some(1.0), "{labels}");
        }
        assert!(!text.lines().any(|line| line.starts_with("fake")));
    }
}

/// The tool that Prometheus ships has the last word, where it is installed.
#[test]
fn promtool_has_no_complaints() {
    let mut fixture = busy();
    // The names of the older families are not ours to choose.
    fixture.families = vec![MetricFamily::Native];
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut tool = match command.stderr(Stdio::piped()).spawn() {
        Ok(tool) => tool,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let _ = writeln!(std::io::stdout().lock(), "promtool is not installed: not asked");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    // It reads to the end before it says anything.
    let text = prometheus(&fixture.view());
    tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = tool.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && complaints.is_empty(), "{complaints}");
}

#[test]
fn a_thousand_backends_with_ten_codes_are_quick() {
    let mut text = "listeners: [{bind: \"127.0.0.1:0\"}]\nroutes: [{pool: web}]\npools:\n  \
                    - name: web\n    backends:\n"
        .to_owned();
    for backend in 0..1_000 {
        let _ =
            writeln!(text, "      - {{name: b{backend}, address: \"127.0.0.1:{}\"}}", backend + 1);
    }
    let mut fixture = Fixture::of(&text);
    let codes = [200, 201, 204, 301, 304, 400, 404, 500, 502, 503];
    fixture.count(|worker| {
        for backend in 0..1_000 {
            let name = |text: &str| text.into();
            let backend = format!("b{backend}").into();
            let (listener, route, pool) = (name("listener-0"), name("route-0"), name("web"));
            let cell =
                worker.cell(&evenkeel_core::stats::Series { listener, route, pool, backend });
            codes.iter().for_each(|code| cell.exchange(&fixture::end(*code, 1_000_000)));
        }
    });
    fixture.families = vec![MetricFamily::Native];
    let started = Instant::now();
    let text = prometheus(&fixture.view());
    let took = started.elapsed();
    let requests = text.lines().filter(|line| line.starts_with("evenkeel_requests_total{"));
    assert_eq!(requests.count(), 10_000);
    let _ = writeln!(std::io::stdout().lock(), "{} bytes in {took:?}", text.len());
    // 50 ms with optimisation; without it, and beside other tests, ten times that.
    let bound = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });
    assert!(took < bound, "{took:?}");
}

#[test]
fn grpc_calls_are_told_by_route_pool_and_status() {
    const CALLS: &str = "evenkeel_grpc_calls_total";
    let mut fixture = Fixture::of(TWO_POOLS);
    fixture.count(|worker| {
        for (backend, status) in [("b1", 0), ("b2", 0), ("b2", 14)] {
            let name = |name: &str| name.into();
            let (listener, route) = (name("web"), name("r-web"));
            let (pool, backend) = (name("web"), name(backend));
            let series = evenkeel_core::stats::Series { listener, route, pool, backend };
            worker.cell(&series).call(status);
        }
    });
    let scrape = Scrape::of(&prometheus(&fixture.view()));
    assert_eq!(scrape.value(CALLS, r#"route="r-web",pool="web",code="0""#), Some(2.0));
    assert_eq!(scrape.value(CALLS, r#"route="r-web",pool="web",code="14""#), Some(1.0));
    assert_eq!(scrape.value(CALLS, r#"route="r-web",pool="web",code="1""#), None);
}

#[test]
fn of_those_that_are_gone_totals_alone_are_told() {
    let mut fixture = Fixture::of(TWO_POOLS);
    for backend in ["b1", "pod-1", "pod-2"] {
        fixture.exchange("web", backend, 200);
    }
    fixture.retire("web", &["pod-1", "pod-2"]);
    let text = prometheus(&fixture.view());
    assert!(!text.contains("pod-1") && !text.contains('\0'), "{text}");
    let scrape = Scrape::of(&text);
    assert_eq!(scrape.sum("evenkeel_requests_total"), 1.0);
    let first_byte = "evenkeel_first_byte_duration_seconds_count";
    assert_eq!(scrape.value(first_byte, r#"pool="web""#), Some(3.0));
    let document = crate::documents::metrics_json(&fixture.view());
    assert_eq!(document["total_requests"], 3);
}

#[test]
fn dropped_flows_are_told_of_udp_listeners_only() {
    const DROPPED: &str = "evenkeel_udp_flows_dropped_total";
    let dns = ", { name: dns, bind: \"127.0.0.1:0\", protocol: udp, pool: dns }]";
    let text = TWO_POOLS.replacen(']', dns, 1);
    let text = text + "  - { name: dns, backends: [\"127.0.0.1:53\"] }\n";
    let mut fixture = Fixture::of(&text);
    fixture.count(|worker| worker.listener(&"dns".into()).flows_dropped.add(3));
    let scrape = Scrape::of(&prometheus(&fixture.view()));
    assert_eq!(scrape.value(DROPPED, r#"listener="dns""#), Some(3.0));
    assert_eq!(scrape.value(DROPPED, r#"listener="web""#), None);
}
