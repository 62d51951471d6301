//! `check` and `config`: what is printed about a configuration, and with which exit code.

use crate::program::Shell;

const GOOD: &str = r#"version: 1
listeners:
  - name: web
    bind: "127.0.0.1:8080"
routes:
  - pool: web
pools:
  - name: web
    strategy: round_robin
    backends: ["127.0.0.1:8081", "127.0.0.1:8082"]
"#;

fn bad() -> String {
    GOOD.replace("strategy:", "stratgy:").replace("8082", "99999")
}

#[test]
fn a_valid_file_is_summed_up() {
    let shell = Shell::new();
    shell.write("good.yaml", GOOD);
    let answer = shell.run(&["check", "-c", "good.yaml"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(answer.stdout, "good.yaml: valid (1 listener, 1 route, 1 pool, 2 backends)\n");
    let json = shell.run(&["check", "-c", "good.yaml", "--json"]).json();
    assert_eq!(json["valid"], true);
    assert_eq!(json["errors"], serde_json::json!([]));
}

#[test]
fn every_error_has_its_place() {
    let shell = Shell::new();
    shell.write("bad.yaml", &bad());
    for command in ["check", "config", "run"] {
        let answer = shell.run(&[command, "-c", "bad.yaml"]);
        assert_eq!((answer.code, answer.stdout.as_str()), (1, ""), "{command}: {answer:?}");
        let starts = |start: &str| answer.stderr.lines().any(|line| line.starts_with(start));
        assert!(starts("bad.yaml:9:5: pools[0].stratgy: "), "{command}: {answer:?}");
        assert!(starts("bad.yaml:10:"), "{command}: {answer:?}");
        assert!(answer.stderr.contains("did you mean"), "{command}: {answer:?}");
        assert!(!answer.stderr.contains('\x1b'), "{command}: no colour to a pipe");
    }
}

#[test]
fn errors_as_json() {
    let shell = Shell::new();
    shell.write("bad.yaml", &bad());
    for command in ["check", "config"] {
        let answer = shell.run(&[command, "-c", "bad.yaml", "--json"]);
        assert_eq!((answer.code, answer.stderr.as_str()), (1, ""), "{command}");
        let json = answer.json();
        assert_eq!(json["valid"], false);
        assert_eq!(json["errors"].as_array().map(Vec::len), Some(2), "{json}");
        let first = &json["errors"][0];
        assert_eq!(first["file"], "bad.yaml");
        assert_eq!((&first["line"], &first["column"]), (&9.into(), &5.into()));
        assert_eq!(first["path"], "pools[0].stratgy");
        assert!(first["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
}

#[test]
fn a_named_file_that_is_missing_is_an_error() {
    let shell = Shell::new();
    shell.write("config.yaml", GOOD);
    for command in ["check", "config", "run"] {
        let answer = shell.run(&[command, "-c", "elsewhere.yaml"]);
        assert_eq!(answer.code, 1, "{command}: {answer:?}");
        assert!(answer.stderr.contains("elsewhere.yaml"), "{command}: {answer:?}");
    }
    let json = shell.run(&["check", "-c", "elsewhere.yaml", "--json"]).json();
    assert_eq!(json["valid"], false);
}

#[test]
fn a_file_may_come_from_stdin() {
    let answer = Shell::new().typing(GOOD).run(&["check", "-c", "-"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let answer = Shell::new().typing(&bad()).run(&["check", "-c", "-"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("<stdin>:9:5: "), "{answer:?}");
}

#[test]
fn the_effective_configuration_can_be_read_again() {
    let shell = Shell::new();
    shell.write("good.yaml", GOOD);
    let first = shell.run(&["config", "-c", "good.yaml"]);
    assert_eq!(first.code, 0, "{first:?}");
    shell.write("again.yaml", &first.stdout);
    let second = shell.run(&["config", "-c", "again.yaml"]);
    assert_eq!((second.code, &second.stdout), (0, &first.stdout), "{second:?}");
    let json = shell.run(&["config", "-c", "good.yaml", "--json"]).json();
    assert_eq!(json["pools"][0]["strategy"], "round_robin");
    assert_eq!(json["shutdown"]["drain_timeout"], "30s");
}

#[test]
fn the_environment_goes_over_the_file() {
    let shell = Shell::new()
        .set("EVENKEEL__POOLS__0__STRATEGY", "random")
        .set("EVENKEEL__LOGGING__LEVEL", "error");
    shell.write("good.yaml", GOOD);
    let json = shell.run(&["config", "-c", "good.yaml", "--json"]).json();
    assert_eq!(json["pools"][0]["strategy"], "random");
    assert_eq!(json["logging"]["level"], "error");

    let shell = Shell::new().set("EVENKEEL__POOLS__0__STRATEGY", "nonsense");
    shell.write("good.yaml", GOOD);
    let answer = shell.run(&["check", "-c", "good.yaml"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("EVENKEEL__POOLS__0__STRATEGY"), "{answer:?}");
}

#[test]
fn toml_says_the_same() {
    let shell = Shell::new();
    shell.write("a.yaml", "listen: \"127.0.0.1:8080\"\nbackends: [\"127.0.0.1:8081\"]\n");
    shell.write("a.toml", "listen = \"127.0.0.1:8080\"\nbackends = [\"127.0.0.1:8081\"]\n");
    let [yaml, toml] = ["a.yaml", "a.toml"].map(|file| shell.run(&["config", "-c", file]));
    assert_eq!((yaml.code, toml.code), (0, 0), "{yaml:?} {toml:?}");
    assert_eq!(yaml.stdout, toml.stdout);
}

#[test]
fn a_mistake_in_the_tokens_file_names_its_key_and_nothing_that_stands_there() {
    let shell = Shell::new();
    let file = "listen: \":0\"\nbackends: [\"127.0.0.1:1\"]\nadmin: { tokens_file: t.yaml }\n";
    shell.write("e.yaml", file);
    for (tokens, told) in [
        ("tokens: [{ name: a, role: operater, sha256: \"00\" }]", "t.yaml:1:27: `role` is"),
        ("tokens: [{ name: a, role: operator, sha256: \"secret\" }]", "t.yaml:1:45: `sha256` is"),
        ("secret: [words]", "no tokens file"),
    ] {
        shell.write("t.yaml", tokens);
        let answer = shell.run(&["check", "-c", "e.yaml"]);
        assert_eq!(answer.code, 1, "{answer:?}");
        assert!(answer.stderr.contains(told), "{answer:?}");
        for word in ["operater", "secret", "words"] {
            assert!(!answer.stderr.contains(word), "{answer:?}");
        }
    }
}
