//! Edits over everything else.

use super::*;
use evenkeel_config::{ConflictKind, Edit, Layers, NewBackend, read_edited, read_over};
use evenkeel_core::address::Scheme;
use evenkeel_core::discovery::{Finds, Found};
use evenkeel_core::plan::{AdminState, BackendPlan, Plan};
use std::time::Duration;

const FULL: &str = r#"
listeners: [{ bind: "127.0.0.1:0" }]
routes:
  - { name: api, match: { path_prefix: /v1 }, pool: a }
  - { split: [{ pool: a, weight: 1 }, { pool: b, weight: 1 }] }
pools:
  - name: a
    backends: ["127.0.0.1:1", { name: b2, address: "http://127.0.0.1:2", weight: 3 }]
  - { name: b, backends: ["127.0.0.1:3"] }
"#;

fn edited(text: &str, edits: &[Edit]) -> (Plan, Vec<String>) {
    let file = source(text, Format::Yaml);
    let read = read_edited(Some(&file), &Overrides::default(), edits);
    let configuration = read.unwrap_or_else(|problems| panic!("{problems}"));
    let conflicts = configuration.conflicts.iter().map(ToString::to_string).collect();
    (configuration.plan().0, conflicts)
}

fn every_edit() -> Vec<Edit> {
    let (pool, backend) = ("a".to_owned(), "127.0.0.1:1".to_owned());
    let bare = NewBackend { name: None, address: "[::1]:9".to_owned(), weight: None, admin: None };
    let whole = NewBackend {
        name: Some("whole".to_owned()),
        address: "127.0.0.1:8".to_owned(),
        weight: Some(5),
        admin: Some(AdminState::Draining),
    };
    vec![
        Edit::Strategy { pool: pool.clone(), strategy: "Least-Conn".to_owned() },
        Edit::Weight { pool: pool.clone(), backend: backend.clone(), weight: 7 },
        Edit::Admin { pool: pool.clone(), backend, admin: AdminState::Disabled },
        Edit::AddBackend { pool: pool.clone(), backend: bare },
        Edit::AddBackend { pool: pool.clone(), backend: whole },
        Edit::RemoveBackend {
            pool: pool.clone(),
            backend: "b2".to_owned(),
            drain: Duration::from_secs(30),
        },
        Edit::Split { route: "api".to_owned(), arms: vec![("a".into(), 95), ("b".into(), 5)] },
        Edit::RoutePool { route: "route-1".to_owned(), pool: "b".to_owned() },
    ]
}

#[test]
fn each_edit_changes_what_it_names() {
    let (plan, conflicts) = edited(FULL, &every_edit());
    assert_eq!(conflicts, [""; 0]);
    let pool = &plan.pools[0];
    assert_eq!(&*pool.strategy_text, "Least-Conn");
    let backends: Vec<_> =
        pool.backends.iter().map(|it| (&*it.name, it.weight, it.admin)).collect();
    let wanted = [
        ("127.0.0.1:1", 7, AdminState::Disabled),
        ("[::1]:9", 1, AdminState::Enabled),
        ("whole", 5, AdminState::Draining),
    ];
    assert_eq!(backends, wanted);
    assert_eq!(plan.routes[0].split, [(0, 95), (1, 5)]);
    assert_eq!(plan.routes[1].split, [(1, 1)]);
}

#[test]
fn the_short_form_can_be_edited_too() {
    let edits = [
        Edit::Weight { pool: "default".into(), backend: "127.0.0.1:1".into(), weight: 2 },
        Edit::RoutePool { route: "default".into(), pool: "default".into() },
    ];
    let (plan, conflicts) = edited("backends: [\"127.0.0.1:1\"]", &edits);
    assert_eq!(conflicts, [""; 0]);
    assert_eq!(plan.pools[0].backends[0].weight, 2);
    let without_routes = "listeners: [{ bind: \"127.0.0.1:0\" }]\n\
                          pools: [{ name: p, backends: [\"127.0.0.1:1\"] }]";
    let edits = [Edit::RoutePool { route: "default".into(), pool: "p".into() }];
    assert_eq!(edited(without_routes, &edits).1, [""; 0]);
}

#[test]
fn what_is_not_there_is_a_conflict_and_changes_nothing() {
    let weight = |pool: &str, backend: &str| Edit::Weight {
        pool: pool.into(),
        backend: backend.into(),
        weight: 9,
    };
    let again = NewBackend {
        name: Some("b2".into()),
        address: "127.0.0.1:7".into(),
        weight: None,
        admin: None,
    };
    let edits = [
        weight("c", "b2"),
        weight("a", "b9"),
        Edit::AddBackend { pool: "a".into(), backend: again },
        Edit::RoutePool { route: "api".into(), pool: "c".into() },
        Edit::Split { route: "nowhere".into(), arms: vec![("a".into(), 1)] },
    ];
    let (plan, conflicts) = edited(FULL, &edits);
    let wanted = [
        "weight of c/b2 is 9: no pool \"c\"",
        "weight of a/b9 is 9: no backend \"b9\"",
        "a/b2 is added: there is a backend \"b2\" already",
        "route api goes to c: no pool \"c\"",
        "route nowhere goes to a 1: no route \"nowhere\"",
    ];
    assert_eq!(conflicts, wanted);
    assert_eq!(plan, edited(FULL, &[]).0);
}

#[test]
fn edits_in_any_order_are_laid_one_after_the_other() {
    const FILE: &str = r#"
listeners: [{ bind: "127.0.0.1:0" }]
routes: [{ pool: a }]
pools: [{ name: a, backends: ["stay:1", { name: b3, address: "x:1" }, "y:1"] }]
"#;
    let pool = || "a".to_owned();
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let file = ["stay:1", "b3", "y:1"];
        let mut model: Vec<_> = file.map(|name| (name.to_owned(), 1, false)).into();
        let (mut edits, mut refused) = (Vec::new(), 0);
        for weight in 2..60 {
            let name = match random.u8(0..8) {
                7 => "y:1".to_owned(),
                number => format!("b{number}"),
            };
            let at = model.iter().position(|it| it.0 == name);
            let backend = name.clone();
            match (random.u8(0..3), at) {
                (0, at) => {
                    let (address, admin) = ("z:1".to_owned(), None);
                    let (named, name, added) = (name.clone(), Some(name), Some(weight));
                    let backend = NewBackend { name, address, weight: added, admin };
                    edits.push(Edit::AddBackend { pool: pool(), backend });
                    match at.map(|at| &mut model[at]) {
                        None => model.push((named, weight, true)),
                        // Added before, at the same address.
                        Some((_, own, true)) => *own = weight,
                        Some((_, _, false)) => {}
                    }
                    refused += usize::from(at.is_some());
                }
                (1, at) => {
                    let drain = Duration::ZERO;
                    edits.push(Edit::RemoveBackend { pool: pool(), backend, drain });
                    at.map(|at| model.remove(at));
                    refused += usize::from(at.is_none());
                }
                (_, at) => {
                    edits.push(Edit::Weight { pool: pool(), backend, weight });
                    at.into_iter().for_each(|at| model[at].1 = weight);
                    refused += usize::from(at.is_none());
                }
            }
        }
        let (plan, conflicts) = edited(FILE, &edits);
        let backends = plan.pools[0].backends.iter();
        let added = |it: &BackendPlan| it.address.text.contains("z:1");
        let found = backends.map(|it| (it.name.to_string(), it.weight, added(it)));
        let found: Vec<_> = found.collect();
        assert_eq!((found, conflicts.len()), (model, refused), "seed {seed}");
    }
}

#[test]
fn a_backend_that_the_file_has_by_now_is_no_trouble() {
    let add = |address: &str, weight, admin| {
        let backend =
            NewBackend { name: Some("b2".into()), address: address.into(), weight, admin };
        let file = source(FULL, Format::Yaml);
        let edits = [Edit::AddBackend { pool: "a".into(), backend }];
        let read = read_edited(Some(&file), &Overrides::default(), &edits).expect("valid");
        let kinds: Vec<ConflictKind> = read.conflicts.iter().map(|it| it.kind).collect();
        (kinds, read.to_json()["pools"][0]["backends"][1].clone())
    };
    let known = edited(FULL, &[]).0.pools[0].backends[1].address.text.to_string();
    let plain = add(&known, None, None);
    assert_eq!(plain.0, [ConflictKind::Agreed]);
    let bare = known.trim_start_matches("http://");
    assert_eq!(add(bare, None, None), plain, "spelt otherwise");
    let (kinds, backend) = add(&known, Some(9), Some(AdminState::Draining));
    assert_eq!(
        (&kinds, &backend["weight"], &backend["admin"]),
        (&vec![ConflictKind::Agreed], &serde_json::json!(9), &serde_json::json!("draining"),)
    );
    assert_eq!(add("127.0.0.1:7", Some(9), None), (vec![ConflictKind::Present], plain.1));
}

#[test]
fn a_value_that_is_wrong_is_an_error_of_the_edit() {
    let file = source(FULL, Format::Yaml);
    let edits = [Edit::Strategy { pool: "b".into(), strategy: "nonsense".into() }];
    let told = read_edited(Some(&file), &Overrides::default(), &edits).expect_err("unknown");
    assert!(told.to_string().starts_with("edit: pools[1].strategy: unknown strategy"), "{told}");
}

#[test]
fn edits_outlive_a_file() {
    for edit in every_edit() {
        assert_eq!(Edit::from_json(&edit.to_json()), Some(edit));
    }
    assert_eq!(Edit::from_json(&serde_json::json!({ "edit": "dance" })), None);
}

fn found(address: &str, weight: u32) -> Found {
    Found::at(address, Scheme::Http).expect(address).weighing(weight)
}

/// Pool `a` with these backends found; names, weights and wishes.
fn with_found(text: &str, found: Vec<Found>, edits: &[Edit]) -> Vec<String> {
    let file = source(text, Format::Yaml);
    let finds = Finds::from([("a".to_owned(), found)]);
    let layers = Layers { found: &finds, edits };
    let read = read_over(Some(&file), &Overrides::default(), layers);
    let configuration = read.unwrap_or_else(|problems| panic!("{problems}"));
    let laid = &configuration.found;
    let plan = configuration.plan().0;
    let is_laid = |name: &str| laid.iter().any(|it| *it == ("a".to_owned(), name.to_owned()));
    let backends = plan.pools[0].backends.iter();
    let show = |it: &BackendPlan| {
        let mark = if is_laid(&it.name) { "+" } else { "" };
        format!("{mark}{} {} {:?}", it.name, it.weight, it.admin)
    };
    backends.map(show).collect()
}

#[test]
fn what_was_found_stands_beside_what_the_file_names() {
    let text = FULL.replace("weight: 3 }]", "weight: 3 }]\n    discovery: { type: file, path: t }");
    let all =
        vec![found("127.0.0.1:1", 9), found("10.0.0.1:1", 4), found("b2.test:1", 1).named("b2")];
    let own = ["127.0.0.1:1 1 Enabled", "b2 3 Enabled"];
    let shown = with_found(&text, all.clone(), &[]);
    assert_eq!(shown, [own[0], own[1], "+10.0.0.1:1 4 Enabled"], "the file's own words count");
    let edits = [
        Edit::Weight { pool: "a".into(), backend: "10.0.0.1:1".into(), weight: 8 },
        Edit::Admin { pool: "a".into(), backend: "10.0.0.1:1".into(), admin: AdminState::Disabled },
    ];
    let shown = with_found(&text, all.clone(), &edits);
    assert_eq!(shown[2], "+10.0.0.1:1 8 Disabled", "edits lie over what was found");
    assert_eq!(with_found(FULL, all, &[]), own, "a pool that discovers nothing has none");
    let empty = text.replace(
        "[\"127.0.0.1:1\", { name: b2, address: \"http://127.0.0.1:2\", weight: 3 }]",
        "[]",
    );
    assert_eq!(with_found(&empty, vec![found("c:1", 1)], &[]), ["+c:1 1 Enabled"]);
    assert_eq!(with_found(&empty, Vec::new(), &[]), [""; 0], "it may be empty");
}
