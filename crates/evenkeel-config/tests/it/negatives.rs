//! Odd and wrong files of every form, and what becomes of each.

use crate::yaml;
use std::fmt::Write;

enum Fate {
    /// Refused, once, at this line, for this.
    Error(usize, &'static str),
    /// Served, with a warning at this line.
    Warning(usize, &'static str),
    /// Served.
    Fine,
}
use Fate::{Error, Fine, Warning};

const DURATION: &str = "unit missing in the duration 5";
const STRATEGY: &str = "unknown strategy \"fastest\"";
const NEGATIVE: &str = "-1 is out of range";
const TAB: &str = "a tab cannot indent here";
const SECOND: &str = "a second backend";

const CASES: &[(&str, &str, Fate)] = &[
    (
        "a bare number as a duration, native",
        "listeners: [{ name: w, bind: ':80' }]\npools:\n  - name: p\n    backends: ['a:1']\n    \
         timeouts: { connect: 5 }\n",
        Error(5, DURATION),
    ),
    (
        "the same, gobalance",
        "listen_port: 80\nbackends:\n  - address: a:1\nhealth_check:\n  interval: 5\n",
        Error(5, DURATION),
    ),
    (
        "the same, load-balancer",
        "server: { port: 80 }\nbackends:\n  - url: http://a:1\nhealth_check:\n  interval: 5\n",
        Error(5, DURATION),
    ),
    (
        "the same, apps, where the value is used twice",
        "apps:\n  - host: a.example\n    timeout: 5\n    instances:\n      - url: http://a:1\n",
        Error(3, DURATION),
    ),
    (
        "the same, a breaker's wait, which is used twice",
        "circuit_breaker:\n  reset_timeout: 5\nbackends:\n  - url: http://a:1\n",
        Error(2, DURATION),
    ),
    (
        "an unknown strategy, native",
        "listen: ':80'\nbackends: ['a:1']\nstrategy: fastest\n",
        Error(3, STRATEGY),
    ),
    (
        "the same, gobalance",
        "listen_port: 80\nbalancing_strategy: fastest\nbackends:\n  - address: a:1\n",
        Error(2, STRATEGY),
    ),
    (
        "the same, load-balancer",
        "strategy:\n  type: fastest\nbackends:\n  - url: http://a:1\n",
        Error(2, STRATEGY),
    ),
    (
        "the same, apps",
        "apps:\n  - host: a\n    strategy: fastest\n    instances:\n      - url: http://a:1\n",
        Error(3, STRATEGY),
    ),
    (
        "the same, preset",
        "preset: go-loadbalancer\nstrategy: fastest\nbackends: ['http://a:1']\n",
        Error(2, STRATEGY),
    ),
    (
        "weight 0 is no new traffic",
        "listen: ':80'\nbackends: [{ address: 'a:1', weight: 0 }, 'b:1']\n",
        Fine,
    ),
    (
        "a negative weight, native",
        "listen: ':80'\nbackends:\n  - address: a:1\n    weight: -1\n",
        Error(4, NEGATIVE),
    ),
    (
        "the same, gobalance",
        "listen_port: 80\nbackends:\n  - address: a:1\n    weight: -1\n",
        Error(4, NEGATIVE),
    ),
    (
        "the same, load-balancer",
        "strategy: { type: weighted }\nbackends:\n  - url: http://a:1\n    weight: -1\n",
        Error(4, NEGATIVE),
    ),
    (
        "the same backend twice, native",
        "listen: ':80'\nbackends:\n  - a:1\n  - a:1\n",
        Error(4, SECOND),
    ),
    (
        "the same, gobalance",
        "listen_port: 80\nbackends:\n  - address: a:1\n  - address: a:1\n",
        Warning(4, SECOND),
    ),
    (
        "the same, load-balancer",
        "circuit_breaker: {}\nbackends:\n  - url: http://a:1\n  - url: http://a:1\n",
        Warning(4, SECOND),
    ),
    (
        "the same, apps",
        "apps:\n  - host: a\n    instances:\n      - url: http://a:1\n      - url: http://a:1\n",
        Warning(5, SECOND),
    ),
    (
        "the same, preset, long form",
        "preset: go-loadbalancer\nbackends:\n  - address: http://a:1\n  - address: http://a:1\n",
        Warning(4, SECOND),
    ),
    (
        "the same, preset, short form",
        "preset: go-loadbalancer\nbackends:\n  - http://a:1\n  - http://a:1\n",
        Warning(4, SECOND),
    ),
    (
        "two products in one file",
        "listen_port: 80\napps:\n  - host: a\n    instances: []\n",
        Error(2, "one file is of one product"),
    ),
    ("a tab in YAML", "listen: ':80'\nbackends:\n\t- a:1\n", Error(3, TAB)),
    ("a tab behind a value", "listen_port: 80\n\tbackends: []\n", Error(2, TAB)),
    ("a tab two lines on", "health_check:\n  interval: 5s\n  \ttimeout: 5s\n", Error(3, TAB)),
    (
        "tries and retries, gobalance",
        "listen_port: 80\nbackends:\n  - address: a:1\nretry:\n  max_attempts: 3\n  \
         max_retries: 2\n",
        Error(6, "`max_attempts` on line 5 says it too"),
    ),
    (
        "the same, load-balancer",
        "backends:\n  - url: http://a:1\nretry:\n  max_attempts: 3\n  max_retries: 2\n",
        Error(4, "`max_retries` on line 5 says it too"),
    ),
    ("as Windows writes it", "\u{feff}listen_port: 80\r\nbackends:\r\n  - address: a:1\r\n", Fine),
    (
        "anchors and aliases",
        "listen_port: 80\nbackends:\n  - address: a:1\n\
         health_check: { interval: &t 5s, timeout: *t }\n",
        Fine,
    ),
    (
        "a merge key",
        "listen: ':80'\nbackends:\n  - &one { address: 'a:1', weight: 2 }\n  \
         - { <<: *one, address: 'b:1' }\n",
        Fine,
    ),
];

#[test]
fn each_has_its_fate() {
    for (name, text, fate) in CASES {
        let read = yaml(text).map(|configuration| configuration.plan());
        match (fate, read) {
            (Error(line, words), Err(told)) => {
                let told = told.0;
                assert_eq!(told.len(), 1, "{name}: {told:?}");
                assert_eq!(told[0].line, *line, "{name}: {told:?}");
                assert!(told[0].message.contains(words), "{name}: {told:?}");
            }
            (Warning(line, words), Ok((_, told))) => {
                let is_it = |it: &&_| {
                    let it: &&evenkeel_config::Diagnostic = it;
                    it.line == *line && it.message.contains(words)
                };
                assert_eq!(told.iter().filter(is_it).count(), 1, "{name}: {told:?}");
            }
            (Fine, Ok(_)) => {}
            (Error(..), Ok(_)) => panic!("{name}: it is served"),
            (Warning(..) | Fine, Err(told)) => panic!("{name}: {told}"),
        }
    }
}

#[test]
fn an_empty_file_says_what_it_needs() {
    for text in ["", "# nothing\n", "\n\n"] {
        let told = yaml(text).unwrap_err().to_string();
        assert!(told.contains("`pools` is missing") && told.contains("smallest file"), "{told}");
    }
}

#[test]
fn ten_thousand_backends_are_read() {
    let mut text = "listen_port: 80\nbackends:\n".to_owned();
    (0..10_000).for_each(|at| {
        writeln!(text, "  - address: 10.0.{}.{}:80", at / 250, at % 250).unwrap();
    });
    let (plan, _) = yaml(&text).unwrap().plan();
    assert_eq!(plan.pools[0].backends.len(), 10_000);
}
