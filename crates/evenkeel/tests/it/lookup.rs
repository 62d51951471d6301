//! Which file is read when none is named.

use crate::program::{Answer, Shell};

const MINIMAL: &str = "listen: \"127.0.0.1:8080\"\nbackends: [\"127.0.0.1:8081\"]\n";
const MINIMAL_TOML: &str = "listen = \"127.0.0.1:8080\"\nbackends = [\"127.0.0.1:8081\"]\n";

fn check(shell: &Shell) -> Answer {
    shell.run(&["check"])
}

#[test]
fn the_first_of_its_order_wins_and_the_rest_is_named() {
    let order = [
        "config.yaml",
        "config.yml",
        "config.toml",
        "evenkeel.yaml",
        "evenkeel.yml",
        "evenkeel.toml",
        "config/config.yaml",
        "config/evenkeel.toml",
        "configs/config.yaml",
    ];
    let shell = Shell::new();
    let mut passed_over: Vec<&str> = Vec::new();
    for file in order.into_iter().rev() {
        shell.write(file, if file.ends_with("toml") { MINIMAL_TOML } else { MINIMAL });
        let answer = check(&shell);
        assert_eq!(answer.code, 0, "{file}: {answer:?}");
        assert!(answer.stdout.starts_with(&format!("{file}: valid")), "{answer:?}");
        let warnings = answer.stderr.lines().filter(|line| line.starts_with("warning: "));
        assert_eq!(warnings.count(), usize::from(!passed_over.is_empty()), "{answer:?}");
        for other in &passed_over {
            assert!(answer.stderr.contains(other), "{file}, {other}: {answer:?}");
        }
        passed_over.push(file);
    }
}

#[test]
fn evenkeel_config_comes_first_and_must_exist() {
    let shell = Shell::new().set("EVENKEEL_CONFIG", "other/name.yaml");
    shell.write("config.yaml", MINIMAL);
    let answer = check(&shell);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("other/name.yaml"), "{answer:?}");
    shell.write("other/name.yaml", MINIMAL);
    let answer = check(&shell);
    assert!(answer.stdout.starts_with("other/name.yaml: valid"), "{answer:?}");
    assert_eq!(answer.stderr, "");
}

#[test]
fn without_a_file_that_is_required_run_says_how_to_start() {
    for words in [&[][..], &["run"], &["run", "--listen", "127.0.0.1:0"], &["check"]] {
        let answer = Shell::new().set("EVENKEEL_REQUIRE_CONFIG", "1").run(words);
        assert_eq!(answer.code, 1, "{words:?}: {answer:?}");
        assert!(answer.stderr.contains("evenkeel demo"), "{words:?}: {answer:?}");
        assert!(answer.stderr.contains("--to"), "{words:?}: {answer:?}");
    }
}

#[test]
fn a_file_can_be_required() {
    let shell = Shell::new().set("EVENKEEL_REQUIRE_CONFIG", "1");
    for words in [&["run"][..], &["run", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:1"]] {
        assert_eq!(shell.run(words).code, 1, "{words:?}");
    }
}

#[test]
fn yes_may_be_spelt_in_any_way() {
    for (value, code) in [("true", 1), ("yes", 1), ("0", 0), ("false", 0), ("", 0)] {
        let shell = Shell::new().set("EVENKEEL__BACKENDS", "[\"127.0.0.1:8081\"]");
        let answer = check(&shell.set("EVENKEEL_REQUIRE_CONFIG", value));
        assert_eq!(answer.code, code, "{value:?}: {answer:?}");
    }
}

#[test]
fn the_environment_may_say_it_all() {
    let shell = Shell::new().set("EVENKEEL__BACKENDS", "[\"127.0.0.1:8081\"]");
    let answer = check(&shell);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.stdout.contains("1 backend)"), "{answer:?}");
    let answer = check(&shell.set("EVENKEEL_REQUIRE_CONFIG", "1"));
    assert_eq!(answer.code, 1, "{answer:?}");
}
