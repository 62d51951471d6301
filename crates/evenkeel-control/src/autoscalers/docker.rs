//! Backends as containers, by the engine's HTTP API over its socket (version 1.41 and later):
//! five calls, for which no client library is needed.

use super::driver::Names;
use crate::engine::{EngineError, OWNER_LABEL, POOL_LABEL, call};
use evenkeel_core::autoscale::DockerPlan;
use hyper::Method;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Seconds between SIGTERM and SIGKILL.
const STOP_SECONDS: u32 = 5;

/// A container of ours.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) address: String,
    socket: PathBuf,
}

/// Makes a container and starts it.
///
/// # Errors
/// What the engine says.
pub(super) async fn start(plan: &DockerPlan, names: Names<'_>) -> Result<Container, String> {
    let mut labels: Map<String, Value> =
        plan.labels.iter().map(|(name, value)| (name.clone(), json!(names.fill(value)))).collect();
    labels.insert(POOL_LABEL.to_owned(), json!(names.pool));
    labels.insert(OWNER_LABEL.to_owned(), json!(owner()));
    let command: Vec<String> = plan.command.iter().map(|word| names.fill(word)).collect();
    let env = plan.env.iter().map(|(name, value)| format!("{name}={}", names.fill(value)));
    let mut spec = json!({
        "Image": plan.image,
        "Env": env.collect::<Vec<_>>(),
        "Labels": labels,
        "HostConfig": {},
    });
    if !command.is_empty() {
        spec["Cmd"] = json!(command);
    }
    if !plan.network.is_empty() {
        spec["HostConfig"]["NetworkMode"] = json!(plan.network);
    }
    let path = format!("/containers/create?name={}", names.name);
    let made = post(&plan.socket, &path, Some(spec)).await?;
    let id = made["Id"].as_str().ok_or("the engine gave no id")?.to_owned();
    let begun = begin(plan, &id).await;
    match begun {
        Ok(address) => {
            Ok(Container { id, name: names.name.to_owned(), address, socket: plan.socket.clone() })
        }
        Err(why) => {
            remove(&plan.socket, &id).await;
            Err(why)
        }
    }
}

async fn begin(plan: &DockerPlan, id: &str) -> Result<String, String> {
    post(&plan.socket, &format!("/containers/{id}/start"), None).await?;
    let facts = get(&plan.socket, &format!("/containers/{id}/json")).await?;
    let ip = ip_of(&facts).ok_or("the container has no address; it needs a network")?;
    Ok(format!("{ip}:{}", plan.port))
}

fn ip_of(facts: &Value) -> Option<String> {
    let networks = facts["NetworkSettings"]["Networks"].as_object()?;
    let own = facts["NetworkSettings"]["IPAddress"].as_str();
    let of_networks = networks.values().filter_map(|network| network["IPAddress"].as_str());
    let found = of_networks.chain(own).find(|ip| !ip.is_empty());
    // On the host's own network a container listens there.
    let host = networks.contains_key("host").then(|| "127.0.0.1".to_owned());
    found.map(str::to_owned).or(host)
}

/// Containers that a former process of ours has started for this pool.
pub(super) async fn found(plan: &DockerPlan, pool: &str) -> Result<Vec<Container>, String> {
    let labels = [format!("{POOL_LABEL}={pool}"), format!("{OWNER_LABEL}={}", owner())];
    let filters = json!({ "label": labels }).to_string();
    let filters =
        percent_encoding::utf8_percent_encode(&filters, percent_encoding::NON_ALPHANUMERIC);
    let list = get(&plan.socket, &format!("/containers/json?all=true&filters={filters}")).await?;
    let mut all = Vec::new();
    for one in list.as_array().ok_or("the engine's answer is no list of containers")? {
        let Some(id) = one["Id"].as_str() else { continue };
        if one["State"] != "running" {
            // What has ended only keeps its name from others.
            remove(&plan.socket, id).await;
            continue;
        }
        let name = one["Names"][0].as_str().unwrap_or(id).trim_start_matches('/').to_owned();
        let facts = get(&plan.socket, &format!("/containers/{id}/json")).await?;
        if let Some(ip) = ip_of(&facts) {
            let (id, address) = (id.to_owned(), format!("{ip}:{}", plan.port));
            all.push(Container { id, name, address, socket: plan.socket.clone() });
        }
    }
    Ok(all)
}

/// True if a container of ours of this name runs at this address.
pub(super) async fn serves(plan: &DockerPlan, (pool, name): (&str, &str), address: &str) -> bool {
    let facts = get(&plan.socket, &format!("/containers/{name}/json")).await;
    let Ok(facts) = facts else { return false };
    let labels = &facts["Config"]["Labels"];
    let is_ours = labels[POOL_LABEL] == pool && labels[OWNER_LABEL] == owner();
    let runs = facts["State"]["Running"].as_bool().unwrap_or(false);
    let at = ip_of(&facts).map(|ip| format!("{ip}:{}", plan.port));
    is_ours && runs && at.as_deref() == Some(address)
}

/// False if the engine says so; an engine that does not answer proves nothing.
pub(super) async fn lives(container: &Container) -> bool {
    let facts = get(&container.socket, &format!("/containers/{}/json", container.id)).await;
    match facts {
        Ok(facts) => facts["State"]["Running"].as_bool().unwrap_or(false),
        Err(why) => why.status != Some(404),
    }
}

/// Asks it to end, and removes it.
pub(super) async fn stop(container: &Container) {
    let path = format!("/containers/{}/stop?t={STOP_SECONDS}", container.id);
    // What is left is removed by force.
    let _ = post(&container.socket, &path, None).await;
    remove(&container.socket, &container.id).await;
}

async fn remove(socket: &Path, id: &str) {
    let path = format!("/containers/{id}?force=true");
    // An engine that refuses leaves it to the next start, which finds it by its labels.
    let _ = call(socket, Method::DELETE, &path, None).await;
}

/// This machine: what another one has started is not ours.
fn owner() -> String {
    super::machine()
}

async fn get(socket: &Path, path: &str) -> Result<Value, EngineError> {
    call(socket, Method::GET, path, None).await
}

async fn post(socket: &Path, path: &str, body: Option<Value>) -> Result<Value, EngineError> {
    call(socket, Method::POST, path, body).await
}
