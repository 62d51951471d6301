//! Arguments, and the commands that print a part of the reference.

use crate::program::Shell;

#[test]
fn answers_exit_0_and_say_what_was_asked() {
    let cases: &[(&[&str], &str)] = &[
        (&["--help"], "testserver"),
        (&["-help"], "testserver"),
        (&["run", "--help"], "--to"),
        (&["--version"], "evenkeel 0."),
        (&["-version"], "commit"),
        (&["completions", "bash"], "_evenkeel"),
        (&["completions", "zsh"], "#compdef evenkeel"),
        (&["completions", "fish"], "complete -c evenkeel"),
        (&["man"], ".TH evenkeel 1"),
        (&["docs", "cli"], "## `evenkeel run`"),
        (&["docs", "config"], "unhealthy_threshold"),
        (&["docs", "environment"], "EVENKEEL__"),
    ];
    let shell = Shell::new();
    for (words, expected) in cases {
        let answer = shell.run(words);
        assert_eq!(answer.code, 0, "{words:?}: {answer:?}");
        assert!(answer.stdout.contains(expected), "{words:?}: {answer:?}");
        assert_eq!(answer.stderr, "", "{words:?}");
    }
}

#[test]
fn wrong_arguments_exit_1_and_say_so_on_stderr() {
    let cases: &[(&[&str], &str)] = &[
        (&["frobnicate"], "frobnicate"),
        (&["run", "--nonsense"], "--nonsense"),
        (&["run", "--to"], "--to"),
        (&["completions", "tcsh"], "tcsh"),
        (&["testserver", "--delay", "3"], "unit"),
        (&["testserver", "--fail-rate", "2"], "share"),
        (&["testserver", "--name", "a\tb", "--listen", "127.0.0.1:0"], "ASCII"),
        (&["demo", "--listen", "nowhere"], "nowhere"),
        (&["check"], "name one:           -c FILE"),
        (&["explain", "http://a.test/"], "explain URL --admin"),
        (&["check", "-c", "/bin/sh"], "/bin/sh:1:"),
        (&["check", "-c", "/bin/sh"], "is no text in UTF-8"),
        (&["check", "a.yaml"], "tip: a file is named by '-c a.yaml'"),
        (&["run", "a.toml"], "tip: a file is named by '-c a.toml'"),
        (&["a.yml"], "tip: a file is named by '-c a.yml'"),
        (&["frobnicate", "a.yml"], "unrecognized subcommand 'frobnicate'"),
    ];
    let shell = Shell::new();
    for (words, expected) in cases {
        let answer = shell.run(words);
        assert_eq!(answer.code, 1, "{words:?}: {answer:?}");
        assert!(answer.stderr.contains(expected), "{words:?}: {answer:?}");
        assert_eq!(answer.stdout, "", "{words:?}");
    }
}

#[test]
fn only_what_reads_a_file_says_how_it_is_named() {
    for words in [&["status", "a.yaml"][..], &["check", "somewhere"]] {
        let answer = Shell::new().run(words);
        assert_eq!(answer.code, 1, "{words:?}: {answer:?}");
        assert!(!answer.stderr.contains("tip"), "{words:?}: {answer:?}");
    }
}

/// A variable is not typed: what it says is no part of how a command is used.
#[test]
fn usage_lines_are_the_same_whatever_the_environment_says() {
    let bare = Shell::new();
    let set = Shell::new().set("EVENKEEL_ADMIN", "http://127.0.0.1:9");
    for words in [&["backend", "drain"][..], &["rollback"], &["migrate", "start"]] {
        let (bare, set) = (bare.run(words), set.run(words));
        assert_eq!((bare.code, &bare.stderr), (set.code, &set.stderr), "{words:?}");
    }
    let asked = set.run(&["status"]);
    assert!(asked.stderr.contains("cannot reach http://127.0.0.1:9"), "{asked:?}");
}

#[test]
fn schema_is_json_that_knows_the_keys() {
    let schema = Shell::new().run(&["schema"]).json();
    assert!(schema["$schema"].is_string());
    let text = schema.to_string();
    for key in ["unhealthy_threshold", "circuit_breaker", "trusted_proxies", "drain_timeout"] {
        assert!(text.contains(key), "{key}");
    }
}

#[test]
fn env_lists_every_variable() {
    let shell = Shell::new();
    let text = shell.run(&["env"]).stdout;
    let list = shell.run(&["env", "--json"]).json();
    let names: Vec<_> = list.as_array().expect("a list").iter().map(|v| &v["name"]).collect();
    for name in ["EVENKEEL_CONFIG", "EVENKEEL_REQUIRE_CONFIG", "NO_COLOR"] {
        assert!(names.iter().any(|n| **n == name), "{name}");
        assert!(text.contains(name), "{name}");
    }
    let keys = names.iter().filter(|n| n.as_str().is_some_and(|n| n.starts_with("EVENKEEL__")));
    assert!(keys.count() > 50, "{names:?}");
    assert!(text.contains("EVENKEEL__SHUTDOWN__DRAIN_TIMEOUT=30s\n"), "{text}");
}
