use super::super::{Answer, Said};
use super::*;
use crate::scripted::{Line, Scripted};
use evenkeel_core::address::Scheme;
use evenkeel_core::plan::DiscoverySource;
use serde_json::json;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Somebody who asks a scripted API; ends with the test.
struct Stage {
    server: Scripted,
    answers: mpsc::Receiver<Answer>,
    asking: JoinHandle<()>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

impl Stage {
    async fn new(script: Vec<Line>) -> Stage {
        let (server, ca) = Scripted::start_tls(script).await;
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.crt");
        std::fs::write(&ca_file, ca).unwrap();
        let keys = KubernetesPlan {
            namespace: "shop".to_owned(),
            service: "app".to_owned(),
            port: "http".to_owned(),
            server: Some(server.url.clone()),
            token_file: None,
            ca_file: Some(ca_file),
        };
        let plan = DiscoveryPlan {
            source: DiscoverySource::Kubernetes(keys.clone()),
            interval: Duration::from_millis(1),
            allow_empty: false,
            max: 100,
            scheme: Scheme::Http,
            drain_timeout: Duration::ZERO,
        };
        let (sender, answers) = mpsc::channel(8);
        let teller = Teller { pool: "p".into(), round: 1, answers: sender };
        let asking = tokio::spawn(async move {
            // The file of the authority lives as long as it is asked for.
            let _folder = folder;
            ask(&plan, &keys, &teller).await;
        });
        Stage { server, answers, asking }
    }

    async fn said(&mut self) -> Said {
        self.answers.recv().await.unwrap().said
    }

    /// The next answer, which names these.
    async fn names(&mut self, wanted: &[&str]) {
        let found = self.said().await.unwrap();
        let names: Vec<&str> = found.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, wanted);
    }
}

fn slice(name: &str, pods: &[&str]) -> Value {
    let endpoint = |(number, pod): (usize, &&str)| {
        let address = format!("10.0.0.{}", number + 1);
        json!({ "addresses": [address], "targetRef": { "kind": "Pod", "name": pod } })
    };
    let endpoints: Vec<Value> = pods.iter().enumerate().map(endpoint).collect();
    let ports = json!([{ "name": "http", "port": 8080 }]);
    let metadata = json!({ "name": name, "resourceVersion": "8" });
    json!({ "metadata": metadata, "endpoints": endpoints, "ports": ports })
}

fn list(items: &[Value], rest: &str) -> Line {
    let metadata = json!({ "resourceVersion": "7", "continue": rest });
    Line::json(&json!({ "metadata": metadata, "items": items }).to_string())
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": kind, "object": object }))
}

#[tokio::test]
async fn a_list_is_read_page_by_page_then_watched() {
    let changed = event("MODIFIED", &slice("one", &["a", "b", "c"]));
    let script = vec![
        list(&[slice("one", &["a"])], "more/1"),
        list(&[slice("two", &["a", "b"])], ""),
        Line::chunks_and_hold(&[&changed]),
    ];
    let mut stage = Stage::new(script).await;
    stage.names(&["a", "b"]).await;
    stage.names(&["a", "b", "c"]).await;
    let asked = stage.server.asked();
    let path = "GET /apis/discovery.k8s.io/v1/namespaces/shop/endpointslices\
                ?labelSelector=kubernetes.io%2Fservice-name%3Dapp&";
    assert!(asked.iter().all(|it| it.starts_with(path)), "{asked:?}");
    assert!(asked[1].contains("&limit=100&continue=more%2F1 "), "{asked:?}");
    assert!(asked[2].contains("watch=1") && asked[2].contains("resourceVersion=7 "), "{asked:?}");
}

#[tokio::test]
async fn a_watch_goes_on_where_it_ended_and_what_is_gone_is_listed_again() {
    let gone = r#"{"type": "ERROR", "object": {"code": 410, "message": "too old"}}"#;
    let script = vec![
        list(&[slice("one", &["a"])], ""),
        Line::chunks(&[&event("MODIFIED", &slice("one", &["a", "b"]))]),
        Line::chunks(&[gone, "\n"]),
        list(&[slice("one", &["c"])], ""),
        Line::chunks_and_hold(&[]),
    ];
    let mut stage = Stage::new(script).await;
    stage.names(&["a"]).await;
    stage.names(&["a", "b"]).await;
    stage.names(&["c"]).await;
    let asked = stage.server.asked();
    assert!(asked[2].contains("resourceVersion=8 "), "{asked:?}");
}

#[tokio::test]
async fn trouble_is_told_and_lasts_no_longer_than_its_cause() {
    let script = vec![
        Line::answer("403 Forbidden", "", r#"{"message": "endpointslices is forbidden"}"#),
        Line::Hang,
        Line::json("[]"),
        Line::json(r#"{"metadata": {"resourceVersion": "1"}}"#),
        list(&[slice("one", &["a"])], ""),
        Line::chunks(&["{\"type\": \"ADDED\", \"object\""]),
        list(&[slice("one", &["b"])], ""),
        Line::chunks_and_hold(&[]),
    ];
    let mut stage = Stage::new(script).await;
    for expected in ["403 endpointslices is forbidden", "https://", "no list", "no list"] {
        let why = stage.said().await.unwrap_err();
        assert!(why.contains(expected), "{expected}: {why}");
    }
    stage.names(&["a"]).await;
    assert!(stage.said().await.unwrap_err().contains("within a line"));
    stage.names(&["b"]).await;
}
