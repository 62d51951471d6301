//! Valid files of every dialect, made up: each converts, and its twin means the same.
#![expect(clippy::panic, reason = "a test ends where it fails")]

use evenkeel_config::{Configuration, Format, Overrides, Source, convert, read};
use proptest::prelude::*;
use proptest::sample::select;

/// Files that are tried, of each dialect.
const CASES: u32 = 300;

fn opened(text: &str, format: Format) -> Configuration {
    let source = Source { name: "made-up".to_owned(), text: text.to_owned(), format };
    read(Some(&source), &Overrides::default()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What is served.
fn plan(configuration: &Configuration) -> evenkeel_core::plan::Plan {
    configuration.plan().0
}

fn check(text: &str) {
    let old = opened(text, Format::Yaml);
    let to = |text: &str, from, to| {
        let source = Source { name: "made-up".to_owned(), text: text.to_owned(), format: from };
        let converted = convert(&source, None, to).unwrap_or_else(|error| panic!("{error}"));
        converted.text
    };
    for form in [Format::Yaml, Format::Toml] {
        let once = to(text, Format::Yaml, form);
        let new = opened(&once, form);
        assert_eq!(new.to_json(), old.to_json(), "{text}\n{once}");
        assert_eq!(plan(&new), plan(&old), "{text}\n{once}");
        assert_eq!(to(&once, form, form), once, "{text}");
    }
}

/// `key: value` lines below a section, each there or not; no section without any.
fn section(
    name: &'static str,
    keys: Vec<(&'static str, BoxedStrategy<String>)>,
) -> BoxedStrategy<String> {
    let lines: Vec<BoxedStrategy<String>> = keys
        .into_iter()
        .map(|(key, value)| {
            prop_oneof![
                Just(String::new()).boxed(),
                value.prop_map(move |value| format!("  {key}: {value}\n")).boxed(),
            ]
            .boxed()
        })
        .collect();
    lines
        .prop_map(move |lines| match lines.concat() {
            none if none.is_empty() => none,
            lines => format!("{name}:\n{lines}"),
        })
        .boxed()
}

fn time() -> BoxedStrategy<String> {
    let unit = select(vec!["ms", "s", "m", "h"]);
    let plain = (1..500_u32, unit).prop_map(|(count, unit)| format!("{count}{unit}"));
    prop_oneof![plain, Just("\"1m30s\"".to_owned()), Just("1.5s # a comment".to_owned())].boxed()
}

fn number(range: std::ops::RangeInclusive<u32>) -> BoxedStrategy<String> {
    range.prop_map(|number| number.to_string()).boxed()
}

fn one_of(words: &'static [&'static str]) -> BoxedStrategy<String> {
    select(words).prop_map(str::to_owned).boxed()
}

/// Backends with different addresses.
fn backends(key: &'static str, start: &'static str) -> BoxedStrategy<String> {
    let weights = proptest::collection::vec(proptest::option::of(0..=100_u32), 1..6);
    weights
        .prop_map(move |weights| {
            let one = |(index, weight): (usize, &Option<u32>)| {
                let weight = weight.map(|weight| format!("\n    weight: {weight}"));
                let weight = weight.unwrap_or_default();
                format!("  - {key}: \"{start}host{index}:80{index}\"{weight}\n")
            };
            weights.iter().enumerate().map(one).collect()
        })
        .boxed()
}

fn together(parts: Vec<BoxedStrategy<String>>) -> BoxedStrategy<String> {
    parts.prop_map(|parts| parts.concat()).boxed()
}

fn line(key: &'static str, value: BoxedStrategy<String>) -> BoxedStrategy<String> {
    value.prop_map(move |value| format!("# above {key}\n{key}: {value}\n")).boxed()
}

fn gobalance() -> BoxedStrategy<String> {
    together(vec![
        line("listen_port", number(1..=65_535)),
        prop_oneof![Just(String::new()), Just("bind_address: \"::\"\n".to_owned())].boxed(),
        backends("address", "").prop_map(|list| format!("backends:\n{list}")).boxed(),
        line("balancing_strategy", one_of(&["round_robin", "least_conn", "weighted", "p2c"])),
        section(
            "health_check",
            vec![
                ("interval", time()),
                ("timeout", time()),
                ("path", one_of(&["/health", "/a/b?c=d", "\"/a%20b\""])),
                ("unhealthy_threshold", number(1..=1000)),
                ("healthy_threshold", number(1..=1000)),
            ],
        ),
        section(
            "retry",
            vec![
                ("max_attempts", number(1..=16)),
                ("backoff_multiplier", one_of(&["1.5", "2", "100"])),
                ("max_backoff", time()),
            ],
        ),
        section(
            "connections",
            vec![
                ("idle_timeout", time()),
                ("max_idle_per_host", number(0..=1000)),
                ("max_attempts_per_host", number(0..=1000)),
                ("unknown", number(1..=2)),
            ],
        ),
        section("logging", vec![("level", one_of(&["info", "debug", "error", "warn"]))]),
        section(
            "metrics",
            vec![("enabled", one_of(&["true", "false"])), ("path", one_of(&["/m"]))],
        ),
    ])
}

fn load_balancer() -> BoxedStrategy<String> {
    together(vec![
        Just("server:\n  environment: prod\n".to_owned()).boxed(),
        section("health_check", vec![("interval", time())]),
        section(
            "strategy",
            vec![
                (
                    "type",
                    one_of(&["round-robin", "least-conn", "consistent_hash", "least-response"]),
                ),
                ("virtual_nodes", number(1..=500)),
            ],
        ),
        backends("url", "http://").prop_map(|list| format!("backends:\n{list}")).boxed(),
        section(
            "circuit_breaker",
            vec![
                ("enabled", one_of(&["true", "false"])),
                ("failure_threshold", number(1..=99)),
                ("reset_timeout", time()),
            ],
        ),
        section("retry", vec![("max_retries", number(0..=15))]),
    ])
}

fn apps() -> BoxedStrategy<String> {
    let app = (backends("url", "https://"), time(), time(), any::<bool>());
    let indent = |list: &str| list.lines().map(|line| format!("    {line}\n")).collect::<String>();
    proptest::collection::vec(app, 1..4)
        .prop_map(move |apps| {
            let one = |(index, app): (usize, &(String, String, String, bool))| {
                let (list, timeout, cooldown, least) = app;
                let strategy = if *least { "least_connections" } else { "round_robin" };
                format!(
                    "  - host: app{index}.example.com\n    timeout: {timeout}\n    \
                     health_check_cooldown: {cooldown}\n    strategy: {strategy}\n    \
                     instances:\n{}",
                    indent(list)
                )
            };
            let apps: String = apps.iter().enumerate().map(one).collect();
            format!("apps:\n{apps}")
        })
        .boxed()
}

fn preset() -> BoxedStrategy<String> {
    together(vec![
        Just("preset: go-loadbalancer\n".to_owned()).boxed(),
        prop_oneof![Just(String::new()), Just("mocks: false\n".to_owned())].boxed(),
        prop_oneof![
            Just(String::new()).boxed(),
            backends("address", "http://").prop_map(|list| format!("backends:\n{list}")).boxed(),
        ]
        .boxed(),
        section("logging", vec![("level", one_of(&["info", "debug"]))]),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn gobalance_files(text in gobalance()) {
        check(&text);
    }

    #[test]
    fn load_balancer_files(text in load_balancer()) {
        check(&text);
    }

    #[test]
    fn apps_files(text in apps()) {
        check(&text);
    }

    #[test]
    fn preset_files(text in preset()) {
        check(&text);
    }
}
