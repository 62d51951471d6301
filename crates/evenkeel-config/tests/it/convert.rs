//! Conversion: the same meaning, one spelling, and nothing left to convert.

use super::dialects::{APPS, GOBALANCE, GOBALANCER, LOAD_BALANCER, PRESET};
use super::shown::{TWIN_TOML, TWIN_YAML};
use super::*;
use evenkeel_config::convert;

const FORMATS: [Format; 2] = [Format::Yaml, Format::Toml];

/// Converts to both forms, each of which means the same as the file and converts to itself.
pub(crate) fn check(text: &str, format: Format) {
    let file = source(text, format);
    let Ok(meaning) = read(Some(&file), &Overrides::default()) else { return };
    let to = |file: &Source, to| match convert(file, None, to) {
        Ok(converted) => converted.text,
        Err(errors) => panic!("{errors}\nin:\n{}", file.text),
    };
    let yaml_once = to(&file, Format::Yaml);
    for form in FORMATS {
        let once = source(&to(&file, form), form);
        let read_again = read(Some(&once), &Overrides::default());
        let read_again = read_again.unwrap_or_else(|errors| panic!("{errors}\n{}", once.text));
        assert_eq!(read_again.to_json(), meaning.to_json(), "from:\n{text}\nto:\n{}", once.text);
        assert_eq!(to(&once, form), once.text, "not a fixed point, from:\n{text}");
        assert_eq!(without_comments(&to(&once, Format::Yaml)), without_comments(&yaml_once));
    }
}

fn without_comments(text: &str) -> Vec<&str> {
    let line = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
    text.lines()
        .filter(|text| line(text))
        .map(|line| line.split("  #").next().unwrap_or("").trim_end())
        .collect()
}

#[test]
fn every_sample_converts_and_stays() {
    for text in [GOBALANCE, PRESET, LOAD_BALANCER, APPS, TWIN_YAML, GOOD] {
        assert!(yaml(text).is_ok());
        check(text, Format::Yaml);
    }
    for text in [GOBALANCER, TWIN_TOML] {
        assert!(toml(text).is_ok());
        check(text, Format::Toml);
    }
    check("backends: [\"127.0.0.1:8081\"]\n", Format::Yaml);
    let windows = format!("\u{feff}{}", GOBALANCE.replace('\n', "\r\n"));
    check(&windows, Format::Yaml);
}

#[test]
fn the_native_form_of_gobalance() {
    let text = format!(
        "# ours\n{}",
        GOBALANCE.replace("  interval: 10s", "  # slow\n  interval: 10s  # enough")
    );
    let converted = convert(&source(&text, Format::Yaml), None, Format::Yaml).expect("valid").text;
    assert_eq!(
        converted,
        r#"# ours
version: 1
listeners:
  - name: default
    bind: "0.0.0.0:8080"
    mounts:
      - { path: /health, serve: health, down_status: 503 }
      - { path: /metrics, serve: metrics, default_format: prometheus }
routes:
  - { name: default, pool: default }
pools:
  - name: default
    strategy: round_robin
    backends:
      - { address: "backend1:8081", weight: 1 }
      - { address: "backend2:8082", weight: 1 }
    health:
      type: http
      path: /health
      # slow
      interval: 10s  # enough
      timeout: 5s
      healthy_threshold: 2
      unhealthy_threshold: 3
    circuit_breaker: { failure_threshold: 5, reset_timeout: 30s }
    retry:
      attempts: 3
      budget: 20%
      backoff: { multiplier: 1.5, max: 5s }
    connections: { max_idle: 10, idle_timeout: 90s, max_connecting: 3 }
admin: { required: false }
logging: { level: info, format: json }
metrics: { families: [native, gobalance] }
"#
    );
}

#[test]
fn comments_stay_with_what_they_belong_to() {
    let text = "# top\nversion: 1\n# where\nlisteners:\n  - bind: \":80\"  # plain\n\
                pools:\n  # web\n  - name: web\n    backends:\n\
                \x20     - \"a:1\"  # first\n      # second\n      - \"b:1\"\n# last\n";
    for form in FORMATS {
        let converted = convert(&source(text, Format::Yaml), None, form).expect("valid").text;
        for comment in ["top", "where", "plain", "web", "first", "second", "last"] {
            let count = converted.matches(&format!("# {comment}\n")).count();
            assert_eq!(count, 1, "{comment}:\n{converted}");
        }
        check(&converted, form);
    }
    let told = "# dialect: gobalance\n# kept\nbackends: [{ address: \"a:1\" }]\n";
    let converted = convert(&source(told, Format::Yaml), None, Format::Yaml).expect("valid").text;
    assert!(converted.starts_with("# kept\nversion: 1\n"), "{converted}");
}

#[test]
fn secrets_and_odd_texts_survive() {
    let text = r#"version: 1
listeners: [{ bind: ":80" }]
routes:
  - name: "on"
    pool: web
    request_headers:
      set: { authorization: "Bearer \"x\" # y", x-a: "1e5", x-b: "null", x-c: "é \u2028" }
pools:
  - name: "007"
    backends: [{ address: "b:1", name: "a, b: c", weight: 0x10 }]
  - name: web
    backends: ["a:1"]
    retry: { budget: .5, on: [503, reset] }
"#;
    assert!(yaml(text).is_ok(), "{:?}", yaml(text).err());
    check(text, Format::Yaml);
    let converted = convert(&source(text, Format::Yaml), None, Format::Toml).expect("valid").text;
    assert!(converted.contains("Bearer"), "{converted}");
}
