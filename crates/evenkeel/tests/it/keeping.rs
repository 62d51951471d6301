//! What outlives the process in `state_dir`.

use crate::program::{Answer, Program, Shell, get};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

const FILE: &str = r#"
listeners: [{ name: web, bind: "127.0.0.1:0" }]
pools:
  - name: web
    backends: [{ name: b1, address: "127.0.0.1:9" }, { name: b2, address: "127.0.0.1:8" }]
    health: { type: none }
admin: { bind: "127.0.0.1:0" }
state_dir: state
"#;
const KEPT: &str = "state/overlay.json";

/// Starts once more, and asks that process from now on.
fn start(shell: Shell) -> (Program, Shell) {
    let mut balancer = shell.start(&["run", "--no-watch"]);
    let admin = balancer.event("started")["admin"].as_str().expect("a text").to_owned();
    (balancer, shell.set("EVENKEEL_ADMIN", &format!("http://{admin}")))
}

fn done(shell: &Shell, words: &[&str]) -> Answer {
    let answer = shell.run(words);
    assert_eq!(answer.code, 0, "{words:?}: {answer:?}");
    answer
}

fn said(shell: &Shell, words: &[&str]) -> Value {
    done(shell, words).json()
}

fn weight_of_first(shell: &Shell) -> Value {
    said(shell, &["backend", "list", "--json"])["backends"][0]["weight"].clone()
}

fn revisions(shell: &Shell) -> Vec<(Value, Value)> {
    let list = said(shell, &["revisions", "--json"]);
    let list = list["revisions"].as_array().expect("a list");
    list.iter().map(|it| (it["id"].clone(), it["diff"].clone())).collect()
}

#[test]
fn edits_and_revisions_outlive_the_process() {
    let shell = Shell::new();
    shell.write("config.yaml", FILE);
    let (balancer, shell) = start(shell);
    done(&shell, &["backend", "weight", "b1", "7"]);
    let before = revisions(&shell);
    assert_eq!((before.len(), &before[1].0), (2, &2.into()));
    assert_eq!(balancer.terminate().code, 0);
    let mode = fs::metadata(shell.folder().join(KEPT)).expect("kept").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let (balancer, shell) = start(shell);
    assert_eq!(weight_of_first(&shell), 7);
    assert_eq!(revisions(&shell), before, "nothing new: nothing has changed");
    done(&shell, &["rollback", "1"]);
    assert_eq!(weight_of_first(&shell), 1);
    assert_eq!(revisions(&shell)[2].0, 3, "they go on counting");
    assert_eq!(balancer.terminate().code, 0);
}

#[test]
fn an_edit_that_does_not_fit_any_more_is_told_and_kept() {
    let shell = Shell::new();
    shell.write("config.yaml", FILE);
    let (balancer, shell) = start(shell);
    done(&shell, &["backend", "weight", "b1", "7"]);
    assert_eq!(balancer.terminate().code, 0);

    shell.write("config.yaml", &FILE.replace("name: b1", "name: b3"));
    let mut balancer = shell.start(&["run", "--no-watch"]);
    let told = balancer.event("config_conflict");
    let conflict = "weight of web/b1 is 7: no backend \"b1\"";
    assert_eq!(told["conflict"], conflict);
    let admin = format!("http://{}", balancer.event("started")["admin"].as_str().expect("a text"));
    let status = done(&shell, &["status", "--admin", &admin]).stdout;
    assert!(status.contains(&format!("conflict: {conflict}\n")), "{status}");
    assert_eq!(said(&shell, &["status", "--json", "--admin", &admin])["conflicts"][0], conflict);
    let plan = said(&shell, &["reload", "--plan", "--json", "--admin", &admin]);
    assert_eq!(plan["conflicts"], serde_json::json!([conflict]), "{plan}");
    let reload = done(&shell, &["reload", "--admin", &admin]).stdout;
    assert!(reload.contains(&format!("  {conflict}\n")), "{reload}");
    assert_eq!(balancer.terminate().code, 0);

    shell.write("config.yaml", FILE);
    let (_balancer, shell) = start(shell);
    assert_eq!(weight_of_first(&shell), 7, "it holds again");
    assert_eq!(revisions(&shell).len(), 4, "each other file is a revision");
}

#[test]
fn what_is_in_force_is_exported_as_a_native_file() {
    let shell = Shell::new();
    let file = FILE.replace("[{ name: web,", "[{ name: web, # ours\n ");
    shell.write("config.yaml", &file);
    let (_balancer, shell) = start(shell);
    done(&shell, &["backend", "weight", "b1", "7"]);
    done(&shell, &["backend", "add", "b4", "127.0.0.1:4"]);
    let in_force = get(&admin_of(&shell), "/api/v1/config");
    let (_, in_force) = in_force.split_once("\r\n\r\n").expect("a body");
    let in_force: Value = serde_json::from_str(in_force).expect("JSON");
    for (form, name) in [("yaml", "exported.yaml"), ("toml", "exported.toml")] {
        let exported = done(&shell, &["config", "export", "--to", form]).stdout;
        shell.write(name, &exported);
        let again = said(&shell, &["config", "-c", name, "--json"]);
        assert_eq!(again, in_force, "{exported}");
        done(&shell, &["check", "-c", name]);
    }
    assert_eq!(in_force["pools"][0]["backends"][0]["weight"], 7);
    assert_eq!(in_force["pools"][0]["backends"][2]["name"], "b4");
    assert_eq!(shell.run(&["config", "export", "--admin", "http://127.0.0.1:1"]).code, 1);
}

/// The address that the environment names.
fn admin_of(shell: &Shell) -> String {
    let url = shell.variable("EVENKEEL_ADMIN");
    url.trim_start_matches("http://").to_owned()
}

#[test]
fn edits_that_make_the_file_wrong_are_left_out_and_kept() {
    let shell = Shell::new();
    shell.write("config.yaml", FILE);
    let (balancer, shell) = start(shell);
    done(&shell, &["backend", "remove", "b1"]);
    assert_eq!(balancer.terminate().code, 0);

    shell.write("config.yaml", &FILE.replace(", { name: b2, address: \"127.0.0.1:8\" }", ""));
    let mut balancer = shell.start(&["run", "--no-watch"]);
    let told = balancer.event("state_not_applied");
    let error = told["error"].as_str().expect("a text");
    assert!(error.starts_with("serving without the edits of the newest revision: "), "{error}");
    balancer.event("started");
    assert_eq!(balancer.terminate().code, 0);

    shell.write("config.yaml", FILE);
    let (_balancer, shell) = start(shell);
    done(&shell, &["rollback", "2"]);
    let list = said(&shell, &["backend", "list", "--json"]);
    assert_eq!(list["backends"].as_array().expect("a list").len(), 1, "b1 is removed again");
}

#[test]
fn what_cannot_be_read_is_kept_aside() {
    for (text, why) in [("{\"version\":", "EOF"), ("{\"version\": 99}", "written in form 99")] {
        let shell = Shell::new();
        shell.write("config.yaml", FILE);
        shell.write(KEPT, text);
        let mut balancer = shell.start(&["run", "--no-watch"]);
        let told = balancer.event("state_unreadable");
        let error = told["error"].as_str().expect("a text");
        assert!(error.contains(why) && error.contains("overlay.json.unreadable"), "{error}");
        balancer.event("started");
        assert_eq!(balancer.terminate().code, 0);
        let aside = shell.folder().join("state/overlay.json.unreadable");
        assert_eq!(fs::read_to_string(aside).expect("kept aside"), text);
    }
}

const COUNTERS: &str = "state/counters.json";
/// Families that count, or are made of counts, and do not belong to the process.
const COUNTED: [&str; 6] = [
    "evenkeel_requests_total",
    "evenkeel_request_duration_seconds",
    "evenkeel_failures_total",
    "evenkeel_client_connections_accepted_total",
    "evenkeel_tries_total",
    "evenkeel_reloads_total",
];

/// A balancer whose backends are dead: every request is answered, and counts as a failure.
struct Counting {
    balancer: Program,
    address: String,
    admin: String,
}

impl Counting {
    fn start(shell: &Shell) -> Counting {
        let mut balancer = shell.start(&["run", "--no-watch"]);
        let started = balancer.event("started");
        Counting::told(balancer, &started)
    }

    fn told(balancer: Program, started: &Value) -> Counting {
        let word = |name: &str| started[name].as_str().expect("a text").to_owned();
        let address = word("listeners").split_once('=').expect("NAME=ADDRESS").1.to_owned();
        Counting { balancer, address, admin: word("admin") }
    }

    fn ask(&self, times: usize) {
        for _ in 0..times {
            let answer = get(&self.address, "/");
            assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        }
    }

    /// The lines of what is counted.
    fn counts(&self) -> Vec<String> {
        let page = get(&self.admin, "/metrics");
        let counted = |line: &&str| COUNTED.iter().any(|name| line.starts_with(name));
        page.lines().filter(counted).map(str::to_owned).collect()
    }

    fn requests(&self) -> u64 {
        let counts = self.counts();
        let lines = counts.iter().filter(|it| it.starts_with("evenkeel_requests_total{"));
        lines.map(|it| it.rsplit(' ').next().expect("a value").parse::<u64>().expect(it)).sum()
    }
}

#[test]
fn counters_and_histograms_outlive_a_restart() {
    let shell = Shell::new();
    shell.write("config.yaml", FILE);
    let first = Counting::start(&shell);
    first.ask(5);
    let before = first.counts();
    assert_eq!(first.requests(), 5, "{before:?}");
    assert_eq!(first.balancer.terminate().code, 0);

    let second = Counting::start(&shell);
    assert_eq!(second.counts(), before, "nothing is lost, and nothing is counted twice");
    let recent = get(&second.admin, "/metrics?format=json");
    assert!(recent.contains("\"total_requests\":5"), "{recent}");
    second.ask(2);
    assert_eq!(second.requests(), 7);
    assert_eq!(second.balancer.terminate().code, 0);
    assert_eq!(Counting::start(&shell).requests(), 7);
}

#[test]
fn a_crash_loses_no_more_than_an_interval() {
    let shell = Shell::new();
    shell.write("config.yaml", FILE);
    let first = Counting::start(&shell);
    first.ask(3);
    let file = shell.folder().join(COUNTERS);
    let deadline = Instant::now() + Duration::from_secs(15);
    while !file.exists() {
        assert!(Instant::now() < deadline, "nothing is written down while it runs");
        get(&first.admin, "/livez");
    }
    // Killed, not asked.
    drop(first);
    assert_eq!(Counting::start(&shell).requests(), 3);
}

#[test]
fn counters_that_cannot_be_read_are_set_aside_and_told() {
    let cases = [
        ("{\"version\":99}", "form 99, not 1"),
        ("{\"version\":1,\"series\":[", "EOF"),
        ("not JSON", "expected"),
        ("", "EOF"),
    ];
    for (text, why) in cases {
        let shell = Shell::new();
        shell.write("config.yaml", FILE);
        shell.write(COUNTERS, text);
        let mut balancer = shell.start(&["run", "--no-watch"]);
        let told = balancer.event("state_unreadable");
        let error = told["error"].as_str().expect("a text");
        assert!(error.contains(why) && error.contains("counters begin at 0"), "{error}");
        assert!(told["file"].as_str().is_some_and(|it| it.ends_with(COUNTERS)), "{told}");
        let started = balancer.event("started");
        let serving = Counting::told(balancer, &started);
        serving.ask(1);
        assert_eq!(serving.requests(), 1);
        let aside = shell.folder().join("state/counters.json.unreadable");
        assert_eq!(fs::read_to_string(aside).expect("kept"), text);
        assert_eq!(serving.balancer.terminate().code, 0);
    }
}
