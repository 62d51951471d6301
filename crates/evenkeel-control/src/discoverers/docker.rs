//! Containers of one engine that have a label: listed at once, every `interval`, and whenever the
//! engine tells that something happened.

use super::{Teller, pause_after};
use crate::engine::{OWNER_LABEL, call, escaped, events};
use evenkeel_core::address::Scheme;
use evenkeel_core::discovery::Found;
use evenkeel_core::plan::{ContainersPlan, DiscoveryPlan};
use hyper::Method;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::time::{sleep, timeout};

/// Labels of a container that say more about it.
const PORT_LABEL: &str = "evenkeel.port";
const WEIGHT_LABEL: &str = "evenkeel.weight";

/// Tells which containers run, at once and whenever that may have changed.
pub(super) async fn ask(plan: &DiscoveryPlan, keys: &ContainersPlan, teller: &Teller) {
    let kinds = ["start", "die", "pause", "unpause", "health_status"];
    let filters = json!({ "type": ["container"], "event": kinds, "label": [keys.label] });
    let (mut stream, mut failures) = (None, 0_u32);
    loop {
        if stream.is_none() {
            // Without events there is the interval.
            stream = events(&keys.socket, &filters).await.ok();
        }
        let listed = list(keys).await.and_then(|list| found(&list, keys, plan.scheme));
        failures = if listed.is_ok() { 0 } else { failures.saturating_add(1) };
        teller.tell(listed).await;
        match &mut stream {
            Some(lines) if failures == 0 => match timeout(plan.interval, lines.next()).await {
                Ok(Ok(Some(_))) | Err(_) => {}
                Ok(Ok(None) | Err(_)) => {
                    stream = None;
                    sleep(plan.interval).await;
                }
            },
            Some(_) | None => {
                stream = None;
                sleep(pause_after(failures, plan.interval)).await;
            }
        }
    }
}

async fn list(keys: &ContainersPlan) -> Result<Value, String> {
    let filters = json!({ "label": [keys.label], "status": ["running"] }).to_string();
    let path = format!("/containers/json?filters={}", escaped(&filters));
    Ok(call(&keys.socket, Method::GET, &path, None).await?)
}

/// The backends in a list of containers, in the order of their names.
///
/// # Errors
/// It is no list; or there are containers, but none of them says how it is reached.
fn found(list: &Value, keys: &ContainersPlan, scheme: Scheme) -> Result<Vec<Found>, String> {
    let containers = list.as_array().ok_or("the answer is no list")?;
    let (mut all, mut trouble) = (Vec::new(), None);
    // What an autoscaler has started, it adds itself.
    let own = |it: &&Value| it["Labels"][OWNER_LABEL].is_null() && is_well(it);
    for container in containers.iter().filter(own) {
        match one(container, keys, scheme) {
            Ok(found) => all.push(found),
            Err(why) => trouble = Some(format!("{}: {why}", name(container))),
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    match trouble {
        Some(why) if all.is_empty() => Err(why),
        Some(_) | None => Ok(all),
    }
}

fn name(container: &Value) -> &str {
    let given = container["Names"][0].as_str().or_else(|| container["Id"].as_str());
    given.unwrap_or_default().trim_start_matches('/')
}

/// Whether its own health check, if it has one, says so.
fn is_well(container: &Value) -> bool {
    let status = container["Status"].as_str().unwrap_or_default();
    !status.contains("(unhealthy)") && !status.contains("(health: starting)")
}

fn one(container: &Value, keys: &ContainersPlan, scheme: Scheme) -> Result<Found, String> {
    let label = |name: &str| container["Labels"][name].as_str();
    let port = match label(PORT_LABEL) {
        Some(text) => text.parse().ok().filter(|port| *port > 0),
        None => keys.port,
    };
    let port = port.ok_or("neither `port` nor its label evenkeel.port is a port")?;
    let ip = address(container, &keys.network)?;
    let found = Found::at(&SocketAddr::new(ip, port).to_string(), scheme)?.named(name(container));
    match label(WEIGHT_LABEL).map(str::parse) {
        Some(Ok(weight)) => Ok(found.weighing(weight)),
        Some(Err(_)) => Err("its label evenkeel.weight is no whole number".to_owned()),
        None => Ok(found),
    }
}

fn address(container: &Value, network: &str) -> Result<IpAddr, String> {
    let networks = container["NetworkSettings"]["Networks"].as_object();
    let mut all: Vec<_> = networks.into_iter().flatten().collect();
    all.sort_by(|a, b| a.0.cmp(b.0));
    all.retain(|(name, _)| network.is_empty() || *name == network);
    let ip = |value: &Value| value["IPAddress"].as_str()?.parse::<IpAddr>().ok();
    match all.iter().find_map(|(_, value)| ip(value)) {
        Some(ip) => Ok(ip),
        // On the host's own network a container listens there.
        None if all.iter().any(|(name, _)| *name == "host") => Ok(Ipv4Addr::LOCALHOST.into()),
        None if network.is_empty() => Err("it has no address".to_owned()),
        None => Err(format!("it has no address in the network {network:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Answer;
    use super::*;
    use crate::scripted::{Line, Scripted};
    use evenkeel_core::plan::DiscoverySource;
    use std::time::Duration;
    use tokio::sync::mpsc;

    fn keys(network: &str, port: Option<u16>) -> ContainersPlan {
        let (label, network) = ("a=b".to_owned(), network.to_owned());
        ContainersPlan { label, port, network, socket: "/nowhere".into() }
    }

    fn container(name: &str, labels: Value, networks: &[(&str, &str)]) -> Value {
        let network = |(name, ip): &(&str, &str)| ((*name).to_owned(), json!({ "IPAddress": ip }));
        let networks: serde_json::Map<String, Value> = networks.iter().map(network).collect();
        json!({
            "Id": "0123", "Names": [format!("/{name}")], "Labels": labels, "Status": "Up 2 hours",
            "NetworkSettings": { "Networks": networks },
        })
    }

    fn shown(list: &[Value], keys: &ContainersPlan) -> Result<Vec<String>, String> {
        let found = found(&json!(list), keys, Scheme::Http)?;
        let show = |it: &Found| format!("{}={} {}", it.name, it.address.text, it.weight);
        Ok(found.iter().map(show).collect())
    }

    #[test]
    fn containers_that_run_are_backends() {
        let mut ill = container("ill", json!({}), &[("bridge", "172.17.0.9")]);
        ill["Status"] = "Up 1 minute (unhealthy)".into();
        let mut young = ill.clone();
        young["Status"] = "Up 1 second (health: starting)".into();
        let labels = json!({ "evenkeel.port": "9000", "evenkeel.weight": "3" });
        let all = [
            container("b", json!({}), &[("bridge", "172.17.0.3")]),
            container("a", labels, &[("net", "10.1.0.2"), ("bridge", "172.17.0.2")]),
            container("ours", json!({ "evenkeel.owner": "me" }), &[("bridge", "172.17.0.4")]),
            container("h", json!({}), &[("host", "")]),
            ill,
            young,
        ];
        let wanted = ["a=172.17.0.2:9000 3", "b=172.17.0.3:80 1", "h=127.0.0.1:80 1"];
        assert_eq!(shown(&all, &keys("", Some(80))).unwrap(), wanted);
        assert_eq!(shown(&all, &keys("net", Some(80))).unwrap(), ["a=10.1.0.2:9000 3"]);
        assert_eq!(shown(&all, &keys("", None)).unwrap(), ["a=172.17.0.2:9000 3"]);
    }

    #[test]
    fn if_none_can_be_reached_it_is_said_why() {
        let bare = |labels: Value| container("c", labels, &[("bridge", "172.17.0.3")]);
        for (one, keys, why) in [
            (bare(json!({})), keys("", None), "c: neither `port`"),
            (bare(json!({ "evenkeel.port": "x" })), keys("", Some(80)), "c: neither `port`"),
            (bare(json!({ "evenkeel.weight": "x" })), keys("", Some(80)), "evenkeel.weight"),
            (bare(json!({})), keys("other", Some(80)), "in the network \"other\""),
            (container("c", json!({}), &[("none", "")]), keys("", Some(80)), "no address"),
        ] {
            let error = shown(&[one], &keys).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(shown(&[], &keys("", None)), Ok(Vec::new()));
        assert!(found(&json!({}), &keys("", None), Scheme::Http).is_err());
    }

    #[tokio::test]
    async fn an_event_makes_it_look_again_and_failures_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let list = |name: &str| {
            let one = container(name, json!({}), &[("bridge", "172.17.0.3")]);
            Line::json(&json!([one]).to_string())
        };
        let script =
            vec![Line::chunks_and_hold(&["{\"Action\": \"start\"}\n"]), list("a"), list("b")];
        let engine = Scripted::start_unix(socket.clone(), script);
        let keys = ContainersPlan { socket, ..keys("", Some(80)) };
        let plan = DiscoveryPlan {
            source: DiscoverySource::Docker(keys.clone()),
            interval: Duration::from_secs(3600),
            allow_empty: false,
            max: 10,
            scheme: Scheme::Http,
            drain_timeout: Duration::ZERO,
        };
        let (sender, mut answers) = mpsc::channel::<Answer>(8);
        let teller = Teller { pool: "p".into(), round: 1, answers: sender };
        let asking = tokio::spawn(async move { ask(&plan, &keys, &teller).await });
        for name in ["a", "b"] {
            let found = answers.recv().await.unwrap().said.unwrap();
            assert_eq!(found[0].name, name);
        }
        let asked = engine.asked();
        assert!(asked[0].starts_with("GET /v1.41/events?filters="), "{asked:?}");
        assert!(asked[1].starts_with("GET /v1.41/containers/json?filters="), "{asked:?}");
        asking.abort();
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_told() {
        let plan = DiscoveryPlan {
            source: DiscoverySource::Docker(keys("", None)),
            interval: Duration::from_millis(1),
            allow_empty: false,
            max: 10,
            scheme: Scheme::Http,
            drain_timeout: Duration::ZERO,
        };
        let (sender, mut answers) = mpsc::channel::<Answer>(1);
        let teller = Teller { pool: "p".into(), round: 1, answers: sender };
        let asking = tokio::spawn(async move { ask(&plan, &keys("", None), &teller).await });
        for _ in 0..2 {
            let why = answers.recv().await.unwrap().said.unwrap_err();
            assert!(why.starts_with("/nowhere: "), "{why}");
        }
        asking.abort();
    }
}
