//! Instances that Consul knows: its health endpoint is asked by blocking queries, which answer when
//! something has changed, or after a while.

use super::{Teller, pause_after};
use crate::engine::escaped;
use crate::outgoing::reach::{Answer, Place, Question, ask as ask_server};
use evenkeel_core::address::Scheme;
use evenkeel_core::discovery::Found;
use evenkeel_core::plan::{ConsulPlan, DiscoveryPlan};
use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A query is answered after so long even if nothing has changed.
const WAIT_SECONDS: u64 = 60;
/// The agent adds up to a sixteenth to that.
const PATIENCE: Duration = Duration::from_secs(WAIT_SECONDS + WAIT_SECONDS / 16 + 15);
/// Bytes of an answer.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;
const TOKEN: HeaderName = HeaderName::from_static("x-consul-token");
const INDEX: HeaderName = HeaderName::from_static("x-consul-index");

/// Tells which instances there are, at once and whenever that changes.
pub(super) async fn ask(plan: &DiscoveryPlan, keys: &ConsulPlan, teller: &Teller) {
    let (mut index, mut failures) = (0, 0_u32);
    loop {
        let began = Instant::now();
        let said = match query(keys, index).await {
            Ok((newer, list)) => {
                // One that goes back begins anew.
                index = if newer < index { 0 } else { newer };
                found(&list, plan.scheme)
            }
            Err(why) => {
                index = 0;
                Err(format!("{}: {why}", keys.server))
            }
        };
        failures = if said.is_ok() { 0 } else { failures.saturating_add(1) };
        teller.tell(said).await;
        let pause = pause_after(failures, plan.interval);
        let spent = if failures == 0 { began.elapsed() } else { Duration::ZERO };
        sleep(pause.saturating_sub(spent)).await;
    }
}

/// The index of the answer, and the answer.
async fn query(keys: &ConsulPlan, index: u64) -> Result<(u64, Value), String> {
    let place = Place::of_url(&keys.server, keys.ca_file.as_deref())?;
    let mut question = Question::get(&path(keys, index));
    if let Some(file) = &keys.token_file {
        question.fields.push((TOKEN, token(file)?));
    }
    let Answer { status, fields, body } =
        ask_server(&place, question, MAX_ANSWER_BYTES, PATIENCE).await?;
    if status != 200 {
        let words = String::from_utf8_lossy(&body);
        let words: String = words.chars().filter(|c| !c.is_control()).take(300).collect();
        return Err(format!("{status} {words}"));
    }
    let list = serde_json::from_slice(&body);
    let list = list.map_err(|error| format!("the answer is no JSON: {error}"))?;
    let index = fields.get(INDEX).and_then(|it| it.to_str().ok()).and_then(|it| it.parse().ok());
    Ok((index.unwrap_or_default(), list))
}

fn path(keys: &ConsulPlan, index: u64) -> String {
    let mut path = format!("/v1/health/service/{}?", escaped(&keys.service));
    if keys.passing {
        path.push_str("passing=true&");
    }
    for (key, value) in [("tag", &keys.tag), ("dc", &keys.datacenter)] {
        if !value.is_empty() {
            path.push_str(&format!("{key}={}&", escaped(value)));
        }
    }
    path.push_str(&format!("index={index}&wait={WAIT_SECONDS}s"));
    path
}

/// What is sent for this token; it is never shown.
fn token(file: &Path) -> Result<HeaderValue, String> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let value = HeaderValue::try_from(text.trim());
    let mut value = value.map_err(|_| format!("{} holds no token", file.display()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The backends in an answer, in the order of their names.
fn found(list: &Value, scheme: Scheme) -> Result<Vec<Found>, String> {
    let entries = list.as_array().ok_or("the answer is no list")?;
    let mut all: Vec<Found> = entries.iter().filter_map(|entry| one(entry, scheme)).collect();
    all.sort_by(|a, b| (&a.name, &a.address.text).cmp(&(&b.name, &b.address.text)));
    Ok(all)
}

/// `None` of one that listens nowhere.
fn one(entry: &Value, scheme: Scheme) -> Option<Found> {
    let own = &entry["Service"];
    let address = own["Address"].as_str().filter(|it| !it.is_empty());
    let address = address.or_else(|| entry["Node"]["Address"].as_str())?;
    let port = own["Port"].as_u64().and_then(|port| u16::try_from(port).ok())?;
    let place = match address.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{address}:{port}"),
    };
    let found = Found::at(&place, scheme).ok()?.named(own["ID"].as_str().unwrap_or_default());
    let checks = entry["Checks"].as_array().map_or(&[][..], Vec::as_slice);
    let warns = checks.iter().any(|check| check["Status"] == "warning");
    let weight = &own["Weights"][if warns { "Warning" } else { "Passing" }];
    let weight = weight.as_u64().and_then(|weight| u32::try_from(weight).ok());
    Some(found.weighing(weight.unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::super::{Answer, Said};
    use super::*;
    use crate::scripted::{Line, Scripted};
    use evenkeel_core::plan::DiscoverySource;
    use serde_json::json;
    use tokio::sync::mpsc;

    fn keys(server: &str) -> ConsulPlan {
        ConsulPlan {
            server: server.to_owned(),
            service: "app/x".to_owned(),
            tag: "blue".to_owned(),
            datacenter: String::new(),
            token_file: None,
            ca_file: None,
            passing: true,
        }
    }

    fn instance(id: &str, address: &str, port: u16) -> Value {
        let own = json!({ "ID": id, "Address": address, "Port": port });
        json!({ "Node": { "Address": "10.9.0.1" }, "Service": own, "Checks": [] })
    }

    #[test]
    fn instances_are_backends() {
        let mut heavy = instance("b", "", 8080);
        heavy["Service"]["Weights"] = json!({ "Passing": 10, "Warning": 2 });
        let mut warned = heavy.clone();
        warned["Service"]["ID"] = "a".into();
        warned["Service"]["Port"] = 8081.into();
        warned["Checks"] = json!([{ "Status": "passing" }, { "Status": "warning" }]);
        let list = json!([
            heavy,
            warned,
            instance("c", "app.test", 80),
            instance("d", "fd00::1", 80),
            instance("e", "10.0.0.1", 0),
            {},
        ]);
        let shown: Vec<_> = found(&list, Scheme::Http)
            .unwrap()
            .iter()
            .map(|it| format!("{}={} {}", it.name, it.address.text, it.weight))
            .collect();
        let wanted =
            ["a=10.9.0.1:8081 2", "b=10.9.0.1:8080 10", "c=app.test:80 1", "d=[fd00::1]:80 1"];
        assert_eq!(shown, wanted);
        assert!(found(&json!({}), Scheme::Http).is_err());
    }

    fn answer(index: u64, id: &str) -> Line {
        let fields = format!("X-Consul-Index: {index}\r\n");
        let list = json!([instance(id, "10.0.0.1", 80)]);
        Line::answer("200 OK", &fields, &list.to_string())
    }

    #[tokio::test]
    async fn each_query_waits_for_what_comes_after_the_last_answer() {
        let script = vec![
            answer(7, "a"),
            answer(9, "b"),
            Line::answer("500 Internal Server Error", "", "rpc error"),
            answer(9, "c"),
            answer(3, "d"),
            answer(4, "e"),
            Line::json("nonsense"),
        ];
        let server = Scripted::start(script).await;
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        std::fs::write(&token_file, "secret\n").unwrap();
        let keys = ConsulPlan { token_file: Some(token_file), ..keys(&server.url) };
        let plan = DiscoveryPlan {
            source: DiscoverySource::Consul(keys.clone()),
            interval: Duration::from_millis(1),
            allow_empty: false,
            max: 10,
            scheme: Scheme::Http,
            drain_timeout: Duration::ZERO,
        };
        let (sender, mut answers) = mpsc::channel::<Answer>(16);
        let teller = Teller { pool: "p".into(), round: 1, answers: sender };
        let asking = tokio::spawn(async move { ask(&plan, &keys, &teller).await });
        let name = |said: Said| said.map(|found| found[0].name.clone());
        let server_says = |why: &str| format!("{}: {why}", server.url);
        for wanted in ["a", "b", "500 rpc error", "c", "d", "e", "the answer is no JSON"] {
            match name(answers.recv().await.unwrap().said) {
                Ok(found) => assert_eq!(found, wanted),
                Err(why) => assert!(why.starts_with(&server_says(wanted)), "{why}"),
            }
        }
        asking.abort();
        let asked = server.asked();
        let head = "GET /v1/health/service/app%2Fx?passing=true&tag=blue&index=0&wait=60s ";
        assert!(asked[0].starts_with(head), "{asked:?}");
        assert!(asked[0].contains("x-consul-token: secret\r\n"), "{asked:?}");
        for (at, index) in [(1, 7), (2, 9), (3, 0), (4, 9), (5, 0), (6, 4)] {
            assert!(asked[at].contains(&format!("&index={index}&")), "{at}: {asked:?}");
        }
    }
}
