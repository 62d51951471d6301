//! `bench` and its other names.

use crate::program::{Program, Shell};

fn backend(shell: &Shell) -> (Program, String) {
    let mut server = shell.start(&["testserver", "-listen", "127.0.0.1:0", "-name", "b1"]);
    let line = server.line_with("listens on");
    let url = line.split_once("http://").expect("an address").1.trim_end_matches('/').to_owned();
    (server, format!("http://{url}/"))
}

#[test]
fn a_run_writes_what_a_check_reads() {
    let shell = Shell::new();
    let (_server, url) = backend(&shell);
    let words = ["loadtest", "-url", &url, "-requests", "120", "-csv", "r.csv", "-out", "s.json"];
    let answer = shell.run(&words);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.stdout.contains("Requests:      120 (0 failed)"), "{answer:?}");
    let summary = std::fs::read_to_string(shell.folder().join("s.json")).expect("written");
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    let keys: Vec<_> = summary.as_object().expect("an object").keys().collect();
    let wanted = [
        "url",
        "requests",
        "succeeded",
        "failed",
        "duration_s",
        "rps",
        "bytes",
        "latency_ms",
        "status_codes",
        "backends",
        "errors",
    ];
    assert_eq!(keys, wanted);
    assert_eq!(summary["backends"], serde_json::json!({"b1": 120}));
    assert_eq!(shell.run(&["check_results", "-csv", "r.csv", "-expected", "120"]).code, 0);
    let answer = shell.run(&["bench", "check", "-csv", "r.csv", "-expected", "121", "-json"]);
    assert_eq!(
        (answer.code, answer.json()["reasons"][0]["reason"].as_str()),
        (3, Some("rows_missing"))
    );
    let answer = shell.run(&["bench", &url, "-n", "5", "-quiet", "-baseline", "s.json"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, ""), "{answer:?}");
    let answer = shell.run(&["bench", &url, "-n", "5", "-baseline", "s.json", "-direct", &url]);
    assert!(answer.stdout.contains("Comparison:"), "{answer:?}");
    assert!(answer.stdout.contains("Overhead (ms):"), "{answer:?}");
}

#[test]
fn exit_codes_tell_what_came_of_it() {
    let shell = Shell::new();
    let (server, url) = backend(&shell);
    let failing = format!("{url}status/503");
    assert_eq!(shell.run(&["bench", &failing, "-n", "3"]).code, 3);
    let nowhere = shell.run(&["bench", &url, "-n", "1", "-out", "none/s.json"]);
    assert_eq!((nowhere.code, &*nowhere.stdout), (2, ""), "{nowhere:?}");
    let full = shell.run(&["bench", &url, "-n", "9", "-csv", "/dev/full", "-out", "f.json"]);
    assert!(full.code == 2 && full.stdout.contains("Requests:      9 (0 failed)"), "{full:?}");
    assert!(full.stderr.contains("the CSV is not complete: No space left"), "{full:?}");
    let summary = std::fs::read_to_string(shell.folder().join("f.json")).expect("written");
    assert!(summary.contains("\"requests\": 9"), "{summary}");
    for words in [&["bench"][..], &["bench", "ftp://x"], &["bench", &url, "-baseline", "none"]] {
        let answer = shell.run(words);
        assert_eq!(answer.code, 1, "{words:?} {answer:?}");
        assert!(!answer.stderr.is_empty(), "{words:?}");
    }
    assert_eq!(shell.run(&["bench", "check", "-csv", "none", "-expected", "1"]).code, 1);
    assert_eq!(shell.run(&["bench", "compare", "-n", "5", "-kill-after", "5"]).code, 1);
    server.terminate();
    assert_eq!(shell.run(&["bench", &url, "-n", "3"]).code, 2);
}

#[test]
fn a_comparison_loses_nothing_with_breaker_and_retry() {
    let shell = Shell::new();
    let answer = shell.run(&["cbcompare", "-requests", "60", "-kill-after", "25"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let table = shell.folder().join("scripts/circuit_breaker_results.md");
    let table = std::fs::read_to_string(table).expect("written");
    let with = "| With circuit breaker and retry | 60 | 60 | 0 | 100.0% |";
    assert!(table.contains(with), "{table}");
    assert!(
        table.contains("\n| Without | 60 | ") && !table.contains("| Without | 60 | 60 |"),
        "{table}"
    );
}

#[test]
fn a_breaker_is_walked_through_all_its_states() {
    let answer = Shell::new().run(&["cbtest", "-failures", "3", "-wait", "300ms"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let states: Vec<&str> =
        answer.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let closed = ["CLOSED"; 3];
    let rest = ["OPEN", "OPEN", "OPEN", "HALF-OPEN", "CLOSED", "CLOSED"];
    assert_eq!(states, [&closed[..], &rest].concat(), "{answer:?}");
}
