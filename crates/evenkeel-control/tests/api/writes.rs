//! What is changed, by the typed client.

use super::desk::{Stage, TWO_POOLS, filled};
use evenkeel_api::{
    AdminState, BackendPatch, ClientError, ConfigSyntax, ENDPOINTS, Method, NewBackend, PoolPatch,
    ReloadResult, Role, Source,
};
use serde_json::Value;
use std::time::Duration;

fn weight(weight: u32) -> BackendPatch {
    BackendPatch { weight: Some(weight), admin: None }
}

/// The status of a refusal.
fn status<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> u16 {
    match outcome {
        Err(ClientError::Refused(problem)) => problem.status,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn backends_are_changed_added_and_removed() {
    let stage = Stage::open(TWO_POOLS);
    let client = stage.client();
    let (before, tag) = client.pool("web").await.expect("pool");
    let changed = client.patch_backend("web", "b1", &weight(5), Some(&tag)).await;
    let (b1, changed) = changed.expect("changed");
    assert_eq!((b1.weight, before.backends[0].weight), (5, 3));
    assert_ne!(tag, changed);
    let out = BackendPatch { admin: Some(AdminState::Disabled), ..BackendPatch::default() };
    let (b1, _) = client.patch_backend("web", "b1", &out, None).await.expect("changed");
    assert_eq!((b1.admin, b1.weight, b1.eligible), (AdminState::Disabled, 5, false));
    let nothing = BackendPatch::default();
    let (same, _) = client.patch_backend("web", "b1", &nothing, None).await.expect("the same");
    assert_eq!(same.admin, AdminState::Disabled);

    let address = "127.0.0.1:8085".to_owned();
    let new = NewBackend { name: Some("b9".to_owned()), address, ..NewBackend::default() };
    let (b9, _) = client.add_backend("web", &new, None).await.expect("added");
    assert_eq!((b9.name.as_str(), b9.weight, b9.source), ("b9", 1, Source::Api));
    assert_eq!(status(client.add_backend("web", &new, None).await), 409);
    let nameless = NewBackend { address: "localhost:7".to_owned(), ..NewBackend::default() };
    let (added, _) = client.add_backend("web", &nameless, None).await.expect("added");
    assert_eq!(added.name, "localhost:7");
    client.remove_backend("web", "b9", None, None).await.expect("removed");
    let drain = Some(Duration::from_secs(30));
    client.remove_backend("web", "localhost:7", drain, None).await.expect("removed");
    let left = client.backends("web").await.expect("backends").backends;
    assert!(left.iter().all(|it| it.name != "b9"), "{left:?}");
    assert_eq!(status(client.remove_backend("spare", "s1", None, None).await), 409, "the last");
    assert_eq!(status(client.patch_backend("web", "b9", &weight(1), None).await), 404);
    assert_eq!(status(client.patch_backend("nope", "b1", &weight(1), None).await), 404);
    let log = stage.end();
    let audit = log.lines().filter(|line| line.contains("\"admin_change\"")).count();
    assert_eq!(audit, 11, "every wish for a change is written down: {log}");
}

#[tokio::test]
async fn the_first_of_two_writers_wins() {
    let stage = Stage::open(TWO_POOLS);
    let (one, other) = (stage.client(), stage.client());
    let (_, seen_by_one) = one.pool("web").await.expect("pool");
    let (_, seen_by_other) = other.pool("web").await.expect("pool");
    let random = PoolPatch { strategy: "random".to_owned() };
    let (pool, _) = one.patch_pool("web", &random, Some(&seen_by_one)).await.expect("first");
    assert_eq!(pool.strategy, "random");
    let late = PoolPatch { strategy: "maglev".to_owned() };
    assert_eq!(status(other.patch_pool("web", &late, Some(&seen_by_other)).await), 412);
    let new = NewBackend { address: "127.0.0.1:7".to_owned(), ..NewBackend::default() };
    assert_eq!(status(other.add_backend("web", &new, Some(&seen_by_other)).await), 412);
    assert_eq!(status(other.remove_backend("web", "b2", None, Some(&seen_by_other)).await), 412);
    let patched = other.patch_backend("web", "b1", &weight(9), Some(&seen_by_other)).await;
    assert_eq!(status(patched), 412);
    let (pool, now) = other.pool("web").await.expect("pool");
    assert_eq!((pool.strategy.as_str(), pool.backends[0].weight), ("random", 3));
    other.patch_pool("web", &late, Some(&now)).await.expect("after another look");
    stage.end();
}

#[tokio::test]
async fn revisions_are_gone_back_to() {
    let stage = Stage::open(TWO_POOLS);
    let client = stage.client();
    let first = client.revisions().await.expect("revisions").revisions;
    client.patch_backend("web", "b1", &weight(9), None).await.expect("changed");
    let list = client.revisions().await.expect("revisions").revisions;
    assert_eq!(list.len(), first.len() + 1);
    let newest = list.last().expect("one");
    assert!(newest.author == "local" && newest.diff.contains('9'), "{newest:?}");
    let begin = first.last().expect("one").id;
    let (_, of_pool) = client.pool("web").await.expect("pool");
    assert_eq!(status(client.rollback(begin, Some(&of_pool)).await), 412, "not of all of it");
    let (_, tag) = client.config().await.expect("config");
    let back = client.rollback(begin, Some(&tag)).await.expect("back");
    assert!(back.id > newest.id, "{back:?}");
    let (pool, _) = client.pool("web").await.expect("pool");
    assert_eq!(pool.backends[0].weight, 3);
    assert_eq!(status(client.rollback(999, None).await), 404);
    assert_eq!(stage.ask("POST /api/v1/revisions/x/rollback", "", "").0, 400);
    stage.end();
}

#[tokio::test]
async fn reloads_are_foreseen_and_done() {
    let stage = Stage::open(TWO_POOLS);
    let client = stage.client();
    let report = client.reload(None).await.expect("reload");
    assert_eq!(report.result, ReloadResult::Unchanged);
    let next = TWO_POOLS.replace("weight: 3", "weight: 8");
    let candidate = Some((next.replace("/run/s1", "/run/s2"), ConfigSyntax::Yaml));
    let plan = client.preview_reload(candidate).await.expect("a plan");
    assert!(plan.changes.iter().any(|line| line.contains("weight")), "{plan:?}");
    assert_eq!(plan.backends, ["spare/s1"], "{plan:?}");
    assert!(client.preview_reload(None).await.expect("a plan").changes.is_empty());
    stage.write(&next);
    let report = client.reload(None).await.expect("reload");
    assert_eq!((report.result, report.generation), (ReloadResult::Applied, 2));
    let (_, seen) = client.config().await.expect("config");
    stage.write(&next.replace("weight: 8", "weight: 9"));
    assert_eq!(client.reload(Some(&seen)).await.expect("seen").result, ReloadResult::Applied);
    stage.write(&next);
    assert_eq!(status(client.reload(Some(&seen)).await), 412);
    let (pool, _) = client.pool("web").await.expect("pool");
    assert_eq!(pool.backends[0].weight, 9, "nothing was read");
    assert_eq!(client.reload(None).await.expect("reload").result, ReloadResult::Applied);
    stage.write("pools: 3");
    let refused = client.reload(None).await.expect_err("broken");
    assert!(refused.to_string().contains("test:1:"), "{refused}");
    let (pool, _) = client.pool("web").await.expect("pool");
    assert_eq!(pool.backends[0].weight, 8);
    stage.end();
}

#[tokio::test]
async fn candidates_are_checked_without_being_served() {
    let stage = Stage::open(TWO_POOLS);
    let client = stage.client();
    let good = "listen: \"127.0.0.1:1\"\nbackends: [\"127.0.0.1:2\"]\n";
    let check = client.check_config(good.to_owned(), ConfigSyntax::Yaml).await.expect("checked");
    assert!(check.valid);
    let bad = format!("{good}strateggy: x\n");
    let check = client.check_config(bad.clone(), ConfigSyntax::Yaml).await.expect("checked");
    let error = &check.errors[0];
    assert!(!check.valid && (error.line, error.column) == (3, 1), "{check:?}");
    assert_eq!(error.path, "strateggy");
    let wrapped = serde_json::json!({ "config": bad }).to_string();
    let json = "Content-Type: application/json\r\n";
    let (status, head, body) = stage.ask("POST /api/v1/config/check", json, &wrapped);
    assert_eq!(status, 422);
    assert!(head.contains("application/problem+json"), "{head}");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((&body["valid"], &body["errors"][0]["line"]), (&false.into(), &3.into()));
    let toml = "listen = \"127.0.0.1:1\"\nbackends = [\"127.0.0.1:2\"]\n";
    let wrapped = serde_json::json!({ "config": toml }).to_string();
    assert_eq!(stage.ask("POST /api/v1/config/check", json, &wrapped).0, 200);
    // What stands in a file that it names is nobody's business here.
    let secret = stage.folder.path().join("secret");
    std::fs::write(&secret, "s3cret: [\n").expect("written");
    let names = format!("{good}admin: {{ tokens_file: {:?} }}\n", secret.display().to_string());
    let check = client.check_config(names, ConfigSyntax::Yaml).await.expect("checked");
    assert!(!check.valid && !format!("{check:?}").contains("s3cret"), "{check:?}");
    stage.end();
}

#[test]
fn wrong_values_are_refused_and_change_nothing() {
    let stage = Stage::open(TWO_POOLS);
    let json = "Content-Type: application/json\r\n";
    let (b1, pool) = ("PATCH /api/v1/pools/web/backends/b1", "PATCH /api/v1/pools/web");
    let add = "POST /api/v1/pools/web/backends";
    let remove = "DELETE /api/v1/pools/web/backends/b1?drain=soon";
    for (line, body, status, field) in [
        (b1, r#"{"weight": -1}"#, 422, "weight"),
        (b1, r#"{"weight": 1.5}"#, 422, "weight"),
        (b1, r#"{"weight": 65536}"#, 422, "weight"),
        (b1, r#"{"weight": "1"}"#, 422, "weight"),
        (b1, r#"{"admin": "sleepy"}"#, 422, "admin"),
        (b1, r#"{"wait": 1}"#, 422, "wait"),
        (pool, r#"{"strategy": "fastest"}"#, 422, "strategy"),
        (pool, "{}", 422, "strategy"),
        (add, r#"{"name": "x"}"#, 422, "address"),
        (add, r#"{"address": "ftp://x:1"}"#, 422, "address"),
        (add, r#"{"address": "127.0.0.1:1", "name": ""}"#, 422, "name"),
        (remove, "", 400, "drain"),
        ("DELETE /api/v1/pools/web/backends/b1?drian=30s", "", 400, "drian"),
    ] {
        let (got, head, answer) = stage.ask(line, json, body);
        assert_eq!(got, status, "{line} {body}: {answer}");
        assert!(head.contains("application/problem+json"), "{head}");
        let problem: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(problem["errors"][0]["field"], field, "{line} {body}: {answer}");
    }
    let (_, _, answer) = stage.ask(b1, json, r#"{"weight": 4.0}"#);
    assert!(answer.contains("\"weight\":4"), "as whole as 4: {answer}");
    stage.end();
}

/// Every row of the table is served, and asks for the role that it names.
#[test]
fn every_row_asks_for_its_role() {
    let stage = Stage::guarded(TWO_POOLS);
    for endpoint in ENDPOINTS {
        let Some(needed) = endpoint.role else { continue };
        let line = format!("{} {}", endpoint.method, filled(endpoint));
        let has_done = |role| role >= needed && endpoint.method == Method::Delete;
        for role in [Role::Viewer, Role::Operator, Role::Admin] {
            if endpoint.operation == "events" || has_done(role) {
                continue;
            }
            let token = format!("Authorization: Bearer {}\r\n", role.as_str());
            let (status, _, body) = stage.ask(&line, &token, "");
            assert_eq!(status == 403, role < needed, "{line} as {}: {body}", role.as_str());
            assert!(![401, 405].contains(&status), "{line}: {status} {body}");
            assert!(!body.contains("Nothing is served at this path"), "{line}: {body}");
        }
        assert_eq!(stage.ask(&line, "", "").0, 401, "{line}");
    }
    stage.end();
}

#[test]
fn reading_changes_nothing() {
    let stage = Stage::open(TWO_POOLS);
    let generation = || {
        let status: Value =
            serde_json::from_str(&stage.ask("GET /api/v1/status", "", "").2).expect("JSON");
        status["generation"].clone()
    };
    let before = generation();
    for endpoint in ENDPOINTS.iter().filter(|it| it.method != Method::Get) {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let path = filled(endpoint);
            let line = format!("{method} {path}?weight=9&admin=disabled&strategy=random");
            let status = stage.ask(&line, "", "").0;
            assert!([200, 404, 405].contains(&status), "{line}: {status}");
        }
    }
    assert_eq!(generation(), before);
    stage.end();
}
