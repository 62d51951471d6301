//! Commands that look at a running balancer and steer it.

use crate::program::{Program, Shell};
use serde_json::Value;

const FILE: &str = r#"
listeners: [{ name: web, bind: "127.0.0.1:0" }]
pools:
  - name: web
    backends: [{ name: b1, address: "127.0.0.1:9" }, { name: b2, address: "127.0.0.1:8" }]
    health: { type: none }
admin: { bind: "127.0.0.1:0" }
"#;

/// A shell whose commands ask the balancer that it also holds.
fn started() -> (Program, Shell) {
    let shell = Shell::new();
    shell.write("config.yaml", FILE);
    let mut balancer = shell.start(&["run", "--no-watch"]);
    let admin = balancer.event("started")["admin"].as_str().expect("a text").to_owned();
    (balancer, shell.set("EVENKEEL_ADMIN", &format!("http://{admin}")))
}

#[test]
fn backends_and_pools_are_steered() {
    let (_balancer, shell) = started();
    let said = |words: &[&str]| {
        let answer = shell.run(words);
        assert_eq!(answer.code, 0, "{words:?}: {answer:?}");
        answer.stdout
    };
    assert!(said(&["status"]).contains("web/b1"));
    assert!(said(&["status", "--json"]).contains("\"generation\": 1"));
    let line = "web/b1: disabled, weight 1, 0 in flight, takes no new traffic: disabled\n";
    assert_eq!(said(&["backend", "disable", "web/b1"]), line);
    assert!(said(&["backend", "enable", "b1"]).contains("takes traffic"));
    assert!(said(&["backend", "weight", "b1", "7"]).contains("weight 7"));
    assert_eq!(said(&["backend", "drain", "b2", "--wait", "5s"]), "web/b2: drained\n");
    assert!(said(&["backend", "add", "web/b3", "127.0.0.1:7"]).contains("web/b3: enabled"));
    assert!(said(&["backend", "remove", "b3"]).contains("removed"));
    assert!(said(&["pool", "strategy", "web", "p2c"]).contains("p2c"));
    let list = said(&["backend", "list", "--json"]);
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let backends = list["backends"].as_array().expect("a list");
    assert_eq!((backends.len(), &backends[0]["weight"]), (2, &7.into()));
    assert!(said(&["pool", "list"]).contains("1 of 2"));
    assert!(said(&["revisions"]).lines().count() > 6);
    assert!(said(&["rollback", "1"]).contains("back to revision 1"));
    assert!(said(&["backend", "list"]).contains("b2"));
    assert!(said(&["reload"]).starts_with("unchanged"));
    shell.write("next.yaml", &FILE.replace("name: b2", "name: b4"));
    let plan = said(&["reload", "--plan", "-c", "next.yaml"]);
    assert!(plan.contains("would change:") && plan.contains("touches 0 connections"), "{plan}");
}

#[test]
fn mistakes_say_what_to_do() {
    let (_balancer, shell) = started();
    let cases: &[(&[&str], &str)] = &[
        (&["backend", "disable", "b9"], "there are web/b1, web/b2"),
        (&["backend", "weight", "b1", "70000"], "0 to 65535"),
        (&["backend", "weight", "b1", "few"], "0 to 65535"),
        (&["backend", "weight", "b1", "-4"], "0 to 65535"),
        (&["backend", "add", "api/b3", "127.0.0.1:7"], "no pool named \"api\"; there are web"),
        (&["backend", "add", "b3", "nowhere"], "422 Unprocessable Entity: `address`: \"nowhere\""),
        (&["backend", "list", "api"], "no pool named \"api\"; there are web"),
        (&["explain", "/x"], "`url`: it names no host"),
        (&["pool", "strategy", "web", "fastest"], "strategy"),
        (&["pool", "strategy", "nope", "random"], "no pool named"),
        (&["status", "--admin", "http://127.0.0.1:1"], "cannot reach http://127.0.0.1:1"),
        (&["status", "--token-file", "nowhere"], "cannot read the token"),
        (&["reload", "-c", "x.yaml"], "--plan"),
    ];
    for (words, wanted) in cases {
        let answer = shell.run(words);
        assert_eq!(answer.code, 1, "{words:?}: {answer:?}");
        assert!(answer.stderr.contains(*wanted), "{words:?}: {answer:?}");
    }
}

#[test]
fn a_new_token_opens_what_its_line_says() {
    let shell = Shell::new();
    let new = shell.run(&["token", "new", "--name", "ci: \"x\"", "--role", "viewer", "--json"]);
    let new = new.json();
    let line = new["line"].as_str().expect("a text");
    shell.write("tokens.yaml", &format!("tokens:\n  {line}\n"));
    shell.write("token", new["token"].as_str().expect("a text"));
    let file = FILE.replace("127.0.0.1:0\" }\n", "0.0.0.0:0\", tokens_file: tokens.yaml }\n");
    shell.write("config.yaml", &file);
    let mut balancer = shell.start(&["run", "--no-watch"]);
    let admin = balancer.event("started")["admin"].as_str().expect("a text").to_owned();
    let port = admin.rsplit(':').next().expect("a port");
    let shell = shell.set("EVENKEEL_ADMIN", &format!("http://127.0.0.1:{port}"));
    let unknown = shell.run(&["status"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("--token-file"), "{unknown:?}");
    assert_eq!(shell.run(&["status", "--token-file", "token"]).code, 0);
    let refused = shell.run(&["backend", "disable", "b1", "--token-file", "token"]);
    assert!(refused.code == 1 && refused.stderr.contains("role operator"), "{refused:?}");
    assert!(shell.run(&["openapi"]).json()["paths"]["/api/v1/status"].is_object());
}
