//! The environment and flags over the file.

use super::*;

#[test]
fn the_environment_lies_over_the_file() {
    let file = source(GOOD, Format::Yaml);
    let overrides = environment_of(&[
        ("EVENKEEL__POOLS__0__BACKENDS__1", "127.0.0.1:8082"),
        ("EVENKEEL__POOLS__0__STRATEGY", "random"),
        ("EVENKEEL__LOGGING__LEVEL", "error"),
        ("EVENKEEL__LISTENERS__0__TRUSTED_PROXIES", "[10.0.0.0/8, \"::1\"]"),
        ("EVENKEEL__POOLS__0__RETRY", "{ attempts: 2 }"),
        ("EVENKEEL__POOLS__0__BACKENDS__2", "127.0.0.1:8083"),
        ("EVENKEEL_CONFIG", "ignored"),
        ("HOME", "/root"),
    ]);
    let shown = read(Some(&file), &overrides).unwrap_or_else(|e| panic!("{e}")).to_json();
    assert_eq!(shown["pools"][0]["strategy"], "random");
    assert_eq!(shown["pools"][0]["retry"]["attempts"], 2);
    assert_eq!(shown["pools"][0]["backends"][2]["address"], "127.0.0.1:8083");
    assert_eq!(shown["logging"]["level"], "error");
    assert_eq!(shown["listeners"][0]["trusted_proxies"][1], "::1/128");
}

#[test]
fn variables_replace_names_that_the_file_spells_with_capitals() {
    let text =
        GOOD.replace("- pool: web", "- { pool: web, match: { headers: { X-Beta: \"1\" } } }");
    let overrides = environment_of(&[("EVENKEEL__ROUTES__0__MATCH__HEADERS__X-BETA", "two")]);
    let file = source(&text, Format::Yaml);
    let shown = read(Some(&file), &overrides).unwrap_or_else(|e| panic!("{e}")).to_json();
    assert_eq!(shown["routes"][0]["match"]["headers"], serde_json::json!({ "x-beta": "two" }));
}

#[test]
fn variables_say_more_of_a_backend_that_is_an_address_alone() {
    let short = source("backends: [\"a:1\", \"b:1\"]\n", Format::Yaml);
    let full = source(GOOD, Format::Yaml);
    for (file, name) in [
        (&short, "EVENKEEL__POOLS__0__BACKENDS__0__WEIGHT"),
        (&short, "EVENKEEL__BACKENDS__0__WEIGHT"),
        (&full, "EVENKEEL__POOLS__0__BACKENDS__0__WEIGHT"),
    ] {
        let shown = read(Some(file), &environment_of(&[(name, "7")])).expect(name).to_json();
        let before = read(Some(file), &Overrides::default()).expect("valid").to_json();
        let backend = |json: &serde_json::Value| json["pools"][0]["backends"][0].clone();
        assert_eq!(backend(&shown)["weight"], 7, "{name}");
        assert_eq!(backend(&shown)["address"], backend(&before)["address"], "{name}");
    }
}

#[test]
fn errors_of_variables_and_flags_name_them() {
    let file = source(GOOD, Format::Yaml);
    for (name, value, start) in [
        ("EVENKEEL__POOLS__0__STRATEGY", "nonsense", "pools[0].strategy: unknown strategy"),
        ("EVENKEEL__POOLS__0__STRATGY", "rr", "pools[0].stratgy: unknown key"),
        ("EVENKEEL__POOLS__7__NAME", "x", "pools[7].name: no item 7"),
        ("EVENKEEL__WORKERS", "[1", "workers: "),
        ("EVENKEEL____WORKERS", "1", "workers: names no key"),
        ("EVENKEEL__WORKERS", "{ a: 1 }", "workers: expected a whole number, found a map"),
        ("EVENKEEL__LISTEN", ":1", "listen: `listen` is of the short form"),
    ] {
        let told = read(Some(&file), &environment_of(&[(name, value)])).expect_err(name);
        let told = told.to_string();
        assert!(told.starts_with(&format!("{name}: {start}")), "{told}");
    }
    let flags = Overrides { listen: Some("x".to_owned()), ..Overrides::default() };
    let told = read(Some(&file), &flags).expect_err("no port").to_string();
    assert!(told.starts_with("--listen: listeners[0].bind: "), "{told}");
}

#[test]
fn flags_alone_are_a_configuration() {
    let flags = Overrides {
        listen: Some("127.0.0.1:1".to_owned()),
        to: vec!["127.0.0.1:8081".to_owned(), "http://127.0.0.1:8082".to_owned()],
        strategy: Some("rr".to_owned()),
        ..environment_of(&[("EVENKEEL__ADMIN__BIND", "127.0.0.1:2")])
    };
    let (plan, warnings) = read(None, &flags).expect("valid").plan();
    assert_eq!(warnings, []);
    assert_eq!(plan.listeners[0].bind.to_string(), "127.0.0.1:1");
    assert_eq!(plan.admin.bind.map(|bind| bind.to_string()).as_deref(), Some("127.0.0.1:2"));
    assert_eq!(&*plan.pools[0].strategy_text, "rr");
    assert_eq!(plan.pools[0].backends.len(), 2);
    assert_eq!(plan.routes[0].split, [(0, 1)]);
    let to = Overrides { to: flags.to, ..Overrides::default() };
    let (plan, _) = read(None, &to).expect("valid").plan();
    assert_eq!(plan.listeners[0].bind.to_string(), ":8080");
}

#[test]
fn flags_lie_over_a_file() {
    let to = Overrides {
        listen: Some("127.0.0.1:1".to_owned()),
        to: vec!["127.0.0.1:9".to_owned()],
        ..Overrides::default()
    };
    for text in [GOOD, "listen: \":80\"\nbackends: [\"a:1\", \"b:1\"]\n"] {
        let (plan, _) = read(Some(&source(text, Format::Yaml)), &to).expect("valid").plan();
        assert_eq!(plan.listeners[0].bind.to_string(), "127.0.0.1:1");
        assert_eq!(&*plan.pools[0].backends[0].address.text, "127.0.0.1:9");
        assert_eq!(plan.pools[0].backends.len(), 1);
    }
    let two = GOOD.to_owned() + "  - { name: b, backends: [\"b:1\"] }\n";
    let told = read(Some(&source(&two, Format::Yaml)), &to).expect_err("which pool").to_string();
    assert!(told.starts_with("--to: pools: the file has 2 pools"), "{told}");
}
