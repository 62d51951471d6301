use super::*;
use crate::scripted::{Line, Scripted};
use serde_json::json;

/// An API server over TLS, with the files of an account for it.
async fn world(script: Vec<Line>) -> (Scripted, Kubernetes, tempfile::TempDir) {
    let (server, ca) = Scripted::start_tls(script).await;
    let folder = tempfile::tempdir().unwrap();
    let (token, ca_file) = (folder.path().join("token"), folder.path().join("ca.crt"));
    std::fs::write(&token, "first\n").unwrap();
    std::fs::write(&ca_file, ca).unwrap();
    let client = Kubernetes::at(&server.url, Some(token), Some(ca_file));
    (server, client, folder)
}

#[tokio::test]
async fn a_document_is_read_with_the_token_of_the_moment() {
    let script = vec![Line::json(r#"{"a": 1}"#), Line::json(r#"{"a": 2}"#)];
    let (server, client, folder) = world(script).await;
    assert_eq!(client.get("/api/v1/x").await.unwrap(), json!({ "a": 1 }));
    std::fs::write(folder.path().join("token"), "second").unwrap();
    assert_eq!(client.get("/api/v1/x?limit=1").await.unwrap(), json!({ "a": 2 }));
    let asked = server.asked();
    assert!(asked[0].starts_with("GET /api/v1/x HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[0].contains("authorization: Bearer first\r\n"), "{asked:?}");
    assert!(asked[1].contains("authorization: Bearer second\r\n"), "{asked:?}");
}

#[tokio::test]
async fn a_patch_is_a_merge_patch() {
    let (server, client, _folder) = world(vec![Line::json(r#"{"spec": {"replicas": 3}}"#)]).await;
    let patch = json!({ "spec": { "replicas": 3 } });
    let path = "/apis/apps/v1/namespaces/default/deployments/app/scale";
    assert_eq!(client.patch(path, &patch).await.unwrap(), patch);
    let asked = &server.asked()[0];
    assert!(asked.starts_with(&format!("PATCH {path} HTTP/1.1\r\n")), "{asked}");
    assert!(asked.contains("content-type: application/merge-patch+json\r\n"), "{asked}");
    assert!(asked.ends_with(r#"{"spec":{"replicas":3}}"#), "{asked}");
}

#[tokio::test]
async fn what_the_api_refuses_is_told_in_its_words() {
    let status = r#"{"kind": "Status", "message": "deployments is forbidden", "code": 403}"#;
    let script = vec![
        Line::answer("403 Forbidden", "", status),
        Line::answer("500 Internal Server Error", "", "<html>"),
        Line::answer("410 Gone", "", r#"{"message": "too old resource version"}"#),
    ];
    let (_server, client, _folder) = world(script).await;
    let error = client.get("/x").await.unwrap_err();
    assert_eq!(error.to_string(), "403 deployments is forbidden");
    let error = client.get("/x").await.unwrap_err();
    assert_eq!(error, KubernetesError::Refused { status: 500, message: String::new() });
    assert!(client.watch("/x", "1").await.unwrap_err().is_gone());
}

#[tokio::test]
async fn garbage_short_answers_and_silence_are_errors() {
    let script = vec![
        Line::json("not json"),
        Line::Say(vec!["HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{".to_owned()]),
        Line::Say(vec!["nonsense\r\n\r\n".to_owned()]),
        Line::Hang,
        Line::Flood("HTTP/1.1 200 OK\r\n\r\n".to_owned(), " ".repeat(65_536)),
        Line::SayAndHold(Vec::new()),
    ];
    let (_server, client, _folder) = world(script).await;
    let silence = "no answer within 15s";
    for expected in ["no JSON", "breaks off", "", "", "longer than 16777216", silence] {
        if expected == silence {
            tokio::time::pause();
        }
        let error = client.get("/x").await.unwrap_err();
        assert!(matches!(error, KubernetesError::Unreachable(_)), "{error}");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[tokio::test]
async fn a_watch_tells_events_until_it_ends() {
    let event = |kind: &str, version: u32| {
        let object = json!({ "metadata": { "resourceVersion": version.to_string() } });
        json!({ "type": kind, "object": object }).to_string()
    };
    let (added, deleted) = (event("ADDED", 7), event("DELETED", 8));
    let (half, rest) = added.split_at(20);
    // A line may come in pieces, and a piece may hold several lines.
    let second = format!("{rest}\n{deleted}\n");
    let third = format!("{}\n", event("BOOKMARK", 9));
    let (server, client, _folder) = world(vec![Line::chunks(&[half, &second, &third])]).await;
    let mut watch = client.watch("/x?limit=500", "6").await.unwrap();
    let first = watch.next().await.unwrap().unwrap();
    assert_eq!((first.version(), matches!(first, WatchEvent::Present(_))), (Some("7"), true));
    assert!(matches!(watch.next().await.unwrap(), Some(WatchEvent::Absent(_))));
    assert!(matches!(watch.next().await.unwrap(), Some(WatchEvent::Bookmark(_))));
    assert_eq!(watch.next().await.unwrap(), None);
    let asked = &server.asked()[0];
    assert!(asked.contains("/x?limit=500&watch=1&") && asked.contains("resourceVersion=6 "));
}

#[tokio::test]
async fn a_watch_that_is_told_an_error_or_breaks_off_says_so() {
    let gone = r#"{"type": "ERROR", "object": {"code": 410, "message": "too old"}}"#;
    let script = vec![
        Line::chunks(&[gone, "\n"]),
        Line::chunks(&["{\"type\": \"ADD"]),
        Line::chunks(&["{]\n"]),
        Line::chunks(&["{\"type\": \"DANCE\"}\n"]),
        Line::Flood("HTTP/1.1 200 OK\r\n\r\n".to_owned(), "x".repeat(65_536)),
    ];
    let (_server, client, _folder) = world(script).await;
    for expected in ["410 too old", "within a line", "no JSON", "DANCE", "longer than 4194304"] {
        let error = client.watch("/x", "1").await.unwrap().next().await.unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert_eq!(error.is_gone(), expected.starts_with("410"));
    }
}

#[tokio::test]
async fn a_watch_that_is_silent_for_too_long_is_dead() {
    let (_server, client, _folder) = world(vec![Line::chunks_and_hold(&[])]).await;
    let mut watch = client.watch("/x", "1").await.unwrap();
    tokio::time::pause();
    let error = watch.next().await.unwrap_err().to_string();
    assert!(error.contains("silent for 270s"), "{error}");
}

#[tokio::test]
async fn a_server_with_another_certificate_is_not_believed() {
    let (server, client, folder) = world(Vec::new()).await;
    let (_other, ca) = Scripted::start_tls(Vec::new()).await;
    std::fs::write(folder.path().join("ca.crt"), ca).unwrap();
    let error = client.get("/x").await.unwrap_err().to_string();
    assert!(error.contains("TLS: "), "{error}");
    assert_eq!(server.asked(), Vec::<String>::new(), "no token was sent");
}

#[test]
fn a_pod_is_told_where_the_api_is() {
    let told = |host: Option<&'static str>| {
        let variable = move |name: &str| match name {
            "KUBERNETES_SERVICE_HOST" => host.map(str::to_owned),
            "KUBERNETES_SERVICE_PORT" => Some("6443".to_owned()),
            _ => None,
        };
        Kubernetes::told_by(variable, Path::new("/account"))
    };
    let wanted = |server: &str| {
        Kubernetes::at(server, Some("/account/token".into()), Some("/account/ca.crt".into()))
    };
    assert_eq!(told(Some("10.96.0.1")).unwrap(), wanted("https://10.96.0.1:6443"));
    assert_eq!(told(Some("fd00::1")).unwrap(), wanted("https://[fd00::1]:6443"));
    assert!(told(None).unwrap_err().to_string().contains("no Kubernetes cluster"));
}
