//! The client against a scripted admin listener.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod documents;
mod script;

use evenkeel_api::{
    AdminState, BackendPatch, Client, ClientError, ConfigSyntax, ENDPOINTS, ETag, ExplainRequest,
    HistoryOf, Level, NewBackend, PoolPatch, Problem, ReloadResult,
};
use script::{Reply, Script};
use std::collections::BTreeSet;
use std::time::Duration;

/// Two events, as the listener numbers them.
const NUMBERED: &str = "id: 1700000000000001\ndata: {\"timestamp\":\"\",\"level\":\"info\",\
    \"event\":\"a\"}\n\nid: 1700000000000002\ndata: {\"timestamp\":\"\",\"level\":\"info\",\
    \"event\":\"b\"}\n\n";

fn weight(weight: u32) -> BackendPatch {
    BackendPatch { weight: Some(weight), admin: None }
}

fn strategy() -> PoolPatch {
    PoolPatch { strategy: "random".to_owned() }
}

/// Calls a method and expects it to reach the row of the table that has its name.
macro_rules! reach {
    ($called:ident, $client:ident.$method:ident($($argument:expr),*)) => {
        $client.$method($($argument),*).await.expect(stringify!($method));
        $called.insert(stringify!($method).to_owned());
    };
}

#[tokio::test]
async fn every_endpoint_has_a_method_of_its_name() {
    let script = Script::tcp(documents::reply).await;
    let client = script.client();
    let mut called = BTreeSet::new();
    reach!(called, client.status());
    reach!(called, client.pools());
    reach!(called, client.pool("web"));
    reach!(called, client.patch_pool("web", &strategy(), None));
    reach!(called, client.backends("web"));
    reach!(called, client.add_backend("web", &NewBackend::default(), None));
    reach!(called, client.patch_backend("web", "b1", &weight(1), None));
    reach!(called, client.remove_backend("web", "b1", None, None));
    reach!(called, client.routes());
    reach!(called, client.differences("api"));
    reach!(called, client.listeners());
    reach!(called, client.config());
    reach!(called, client.check_config("listen: x".to_owned(), ConfigSyntax::Yaml));
    reach!(called, client.explain(&ExplainRequest::default()));
    reach!(called, client.requests());
    reach!(called, client.events());
    reach!(called, client.history(HistoryOf::All));
    reach!(called, client.revisions());
    reach!(called, client.rollback(1, None));
    reach!(called, client.reload(None));
    reach!(called, client.preview_reload(None));
    reach!(called, client.migrations());
    let plan = || "route: web".to_owned();
    reach!(called, client.start_migration(plan(), ConfigSyntax::Yaml));
    reach!(called, client.migration("web-v2"));
    reach!(called, client.pause_migration("web-v2"));
    reach!(called, client.resume_migration("web-v2"));
    reach!(called, client.approve_migration("web-v2", None));
    reach!(called, client.abort_migration("web-v2"));
    reach!(called, client.autoscalers());
    reach!(called, client.pause_autoscaler("web"));
    reach!(called, client.resume_autoscaler("web"));
    reach!(called, client.report());
    reach!(called, client.health());
    reach!(called, client.livez());
    reach!(called, client.readyz());
    reach!(called, client.metrics());
    reach!(called, client.prometheus());

    let rows = ENDPOINTS.iter().map(|it| it.operation.to_owned());
    assert_eq!(called, rows.clone().collect());
    let reached: Vec<String> = script.asked().iter().map(|asked| asked.operation()).collect();
    assert_eq!(reached, rows.collect::<Vec<_>>(), "in the order of the table");
}

#[tokio::test]
async fn answers_are_read_into_types() {
    let script = Script::tcp(documents::reply).await;
    let client = script.client();
    let (pool, etag) = client.pool("web").await.unwrap();
    assert_eq!((pool.name.as_str(), etag.as_str()), ("web", "\"7\""));
    assert_eq!(pool.backends[0].admin, AdminState::Enabled);
    assert_eq!(pool.backends[0].p99_ms, None, "left out");
    let explanation = client.explain(&ExplainRequest::default()).await.unwrap();
    assert_eq!(explanation.backend.as_deref(), Some("b1"));
    assert_eq!(explanation.candidates[0].score, None);
    assert_eq!(client.reload(None).await.unwrap().result, ReloadResult::Unchanged);
    assert_eq!(client.config().await.unwrap().0.0["workers"], 2);
    assert!(client.metrics().await.unwrap().starts_with("# HELP"));
    assert_eq!(client.requests_har().await.unwrap()["log"]["version"], "1.2");
    assert_eq!(client.readyz().await.unwrap(), None);
    let history = client.history(HistoryOf::Route("api")).await.unwrap();
    assert_eq!((history.steps.len(), history.steps[1].p99_ms), (2, None));
    let outline = client.outline_migration("x".to_owned(), ConfigSyntax::Yaml).await.unwrap();
    assert_eq!((outline.id.as_str(), outline.rate_rps), ("web-v2", None));
    let migration = client.migration("web-v2").await.unwrap();
    assert_eq!(migration.checks[0].to.p99_ms, None, "null");
}

#[tokio::test]
async fn requests_carry_names_tags_tokens_and_bodies() {
    let script = Script::tcp(documents::reply).await;
    let client = script.client().token(" secret\n".to_owned()).unwrap();
    assert!(!format!("{client:?}").contains("secret"));
    let etag = ETag::from("\"7\"".to_owned());
    let name = "a/b c?é..";
    client.patch_backend("..", name, &weight(4), Some(&etag)).await.unwrap();
    let drain = Some(Duration::from_millis(1500));
    client.remove_backend("web", "unix:/x", drain, None).await.unwrap();
    client.check_config("x = 1".to_owned(), ConfigSyntax::Toml).await.unwrap();
    client.history(HistoryOf::Backend { pool: "a&b", name: "c" }).await.unwrap();
    let asked = script.asked();
    assert_eq!(asked[3].target, "/api/v1/history?pool=a%26b&backend=c");
    assert_eq!(asked[0].target, "/api/v1/pools/%2E%2E/backends/a%2Fb%20c%3F%C3%A9..");
    assert_eq!(asked[0].field("if-match"), "\"7\"");
    assert_eq!(asked[0].field("authorization"), "Bearer secret");
    assert_eq!(asked[0].field("content-type"), "application/json");
    assert_eq!(asked[0].field("host"), script.address());
    assert_eq!(asked[0].body, "{\"weight\":4}");
    assert_eq!(asked[1].target, "/api/v1/pools/web/backends/unix%3A%2Fx?drain=1500ms");
    assert_eq!(asked[1].field("if-match"), "");
    assert_eq!(asked[2].field("content-type"), "application/toml");
    assert_eq!(asked[2].body, "x = 1");
}

#[tokio::test]
async fn problems_are_told_apart_from_answers() {
    let script = Script::tcp(|_| {
        let problem = r#"{"type":"about:blank","title":"Unprocessable Content","status":422,
            "detail":"Nothing was changed.","errors":[{"field":"weight","message":"is below 0"}]}"#;
        Reply::new(422, "application/problem+json", problem)
    });
    let script = script.await;
    let error = script.client().patch_backend("web", "b1", &weight(0), None).await.unwrap_err();
    let ClientError::Refused(problem) = &error else { panic!("{error}") };
    assert_eq!((problem.status, problem.errors[0].field.as_str()), (422, "weight"));
    let text = "refused: 422 Unprocessable Content: Nothing was changed.\n  weight: is below 0";
    assert_eq!(error.to_string(), text);
    let once = Problem { detail: Some("`weight`: is below 0".to_owned()), ..problem.clone() };
    assert_eq!(once.to_string(), "422 Unprocessable Content: `weight`: is below 0");
    // A configuration that could not serve is what was asked for.
    let checked = script.client().check_config(String::new(), ConfigSyntax::Yaml).await.unwrap();
    assert!(!checked.valid);
    assert_eq!(checked.errors[0].message, "is below 0");
}

#[tokio::test]
async fn statuses_that_say_no_are_answers_where_the_table_says_so() {
    let script = Script::tcp(|asked| match asked.operation().as_str() {
        "readyz" => Reply::new(503, "text/plain", "draining"),
        "health" => {
            let health = r#"{"status":"unhealthy","timestamp":"","backends":[]}"#;
            Reply::new(503, "application/json", health)
        }
        _ => Reply::new(503, "text/html", "<html>"),
    })
    .await;
    let client = script.client();
    assert_eq!(client.readyz().await.unwrap().as_deref(), Some("draining"));
    assert!(client.health().await.unwrap().backends.is_empty());
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::BadAnswer { .. }), "{error}");
    assert!(error.to_string().contains("status 503"), "{error}");
}

#[tokio::test]
async fn answers_of_somebody_else_are_bad() {
    let script = Script::tcp(|asked| match asked.operation().as_str() {
        "pool" => Reply::json(200, &documents::POOL.replace("BACKEND", "")),
        "status" => Reply::json(200, "{}"),
        _ => Reply::new(200, "text/html", "<html>"),
    })
    .await;
    let client = script.client();
    for (error, word) in [
        (client.status().await.unwrap_err(), "missing field `version`"),
        (client.pools().await.unwrap_err(), "expected value"),
        (client.pool("web").await.unwrap_err(), "no ETag"),
    ] {
        assert!(matches!(error, ClientError::BadAnswer { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[tokio::test]
async fn answers_without_end_and_without_beginning_are_given_up() {
    let script = Script::tcp(|asked| match asked.operation().as_str() {
        "metrics" => Reply::endless(),
        _ => Reply::never(),
    })
    .await;
    let error = script.client().metrics().await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error}");
    let client = script.client().timeout(Duration::from_millis(20));
    let (status, events) = (client.status().await.unwrap_err(), client.events().await.err());
    for error in [status, events.unwrap()] {
        assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
        assert!(error.to_string().ends_with("did not answer within 20ms"), "{error}");
    }
}

#[tokio::test]
async fn nobody_there_is_said_in_words() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::new(&base).unwrap().status().await.unwrap_err();
    let text = format!(
        "cannot reach {base}: connection refused; \
         is evenkeel running, and is `admin.bind` this address?"
    );
    assert_eq!(error.to_string(), text);
    assert!(Client::new("https://127.0.0.1:1").is_err());
    let client = Client::new(&base).unwrap();
    assert!(client.token("a\nb".to_owned()).is_err());
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let script = Script::unix(&path, documents::reply);
    assert_eq!(script.client().status().await.unwrap().workers, 2);
    assert_eq!(script.asked()[0].field("host"), "localhost");
    let nowhere = format!("unix:{}", folder.path().join("none").display());
    let error = Client::new(&nowhere).unwrap().status().await.unwrap_err();
    assert!(error.to_string().contains("no such file or directory"), "{error}");
}

#[tokio::test]
async fn events_come_one_by_one_until_the_stream_ends() {
    let script = Script::tcp(documents::reply).await;
    let mut events = script.client().events().await.unwrap();
    let first = events.next().await.unwrap().unwrap();
    assert_eq!((first.event.as_str(), first.level), ("backend_unhealthy", Level::Warn));
    assert_eq!(first.fields["backend"], "b1");
    let second = events.next().await.unwrap().unwrap();
    assert_eq!((second.event.as_str(), second.message.as_str()), ("config_reloaded", ""));
    assert_eq!(events.next().await.unwrap(), None);
    assert_eq!(script.asked()[0].field("accept"), "text/event-stream");
}

#[tokio::test]
async fn who_comes_back_says_what_was_seen() {
    let script = Script::tcp(|_| Reply::new(200, "text/event-stream", NUMBERED)).await;
    let mut events = script.client().events().await.unwrap();
    assert_eq!(events.last_id(), None);
    while events.next().await.unwrap().is_some() {}
    assert_eq!(events.last_id(), Some(1_700_000_000_000_002));
    drop(script.client().events_after(events.last_id()).await.unwrap());
    let asked = script.asked();
    assert_eq!(asked[0].field("last-event-id"), "");
    assert_eq!(asked[1].field("last-event-id"), "1700000000000002");
}

#[tokio::test]
async fn events_may_be_refused_broken_and_too_long() {
    let refusing = Script::tcp(|_| {
        let problem = r#"{"title":"Unauthorized","status":401}"#;
        Reply::new(401, "application/problem+json", problem)
    });
    let error = refusing.await.client().events().await.err().unwrap();
    assert_eq!(error.to_string(), "refused: 401 Unauthorized");
    let broken = Script::tcp(|_| Reply::new(200, "text/event-stream", "data: x\n\n")).await;
    let error = broken.client().events().await.unwrap().next().await.unwrap_err();
    assert!(matches!(error, ClientError::BadAnswer { .. }), "{error}");
    let endless = Script::tcp(|_| Reply::endless()).await;
    let error = endless.client().events().await.unwrap().next().await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error}");
}
