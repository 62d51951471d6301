//! What another process has left serving, for the first configuration of this one.

use super::docker;
use super::keep::{self, KeptProcess};
use super::process::Process;
use super::ties::Ties;
use evenkeel_core::autoscale::{DockerPlan, DriverPlan};
use evenkeel_core::plan::{Plan, PoolPlan};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::time::timeout;

/// How long a start waits for the engine of containers; later they are found one by one.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(1);

/// A backend that another process has started, and that takes traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its pool.
    pub pool: Arc<str>,
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: String,
}

/// What another process has left serving: by handing over, or by a crash. To be in the first
/// configuration that is served, so that it is not missing until it was probed.
pub fn standing(plan: &Plan, ties: &Ties) -> Vec<Standing> {
    let scaled = plan.pools.iter().filter(|pool| pool.autoscale.is_some());
    let standing = scaled.flat_map(|pool| {
        let found: Vec<_> = ties.serving(&pool.name).unwrap_or_else(|| written(plan, pool));
        let of = |(name, address)| Standing { pool: Arc::clone(&pool.name), name, address };
        found.into_iter().map(of)
    });
    standing.collect()
}

/// Those of a pool that are written down, that took traffic, and that run still.
fn written(plan: &Plan, pool: &PoolPlan) -> Vec<(String, String)> {
    let file = plan.state_dir.as_ref().map(|folder| keep::file(folder, &pool.name));
    // What cannot be read is told once there is somebody to tell it.
    let kept = file.and_then(|file| keep::read(&file).ok());
    let kept = kept.map_or_else(Vec::new, |kept| kept.processes).into_iter();
    let kept: Vec<KeptProcess> = kept.filter(|kept| kept.serving).collect();
    let found = match pool.autoscale.as_ref().map(|plan| &plan.driver) {
        Some(DriverPlan::Docker(docker)) => running(docker, &pool.name, kept),
        _ => kept.into_iter().filter(|kept| Process::adopt(kept).is_some()).collect(),
    };
    found.iter().map(|kept| (kept.name.clone(), kept.address())).collect()
}

/// Those whose container runs at its address, as far as the engine says so in time.
fn running(plan: &DockerPlan, pool: &str, kept: Vec<KeptProcess>) -> Vec<KeptProcess> {
    if kept.is_empty() {
        return kept;
    }
    let look = async {
        let mut found = Vec::new();
        for kept in kept {
            if docker::serves(plan, (pool, &kept.name), &kept.address()).await {
                found.push(kept);
            }
        }
        found
    };
    // Whoever starts may be within a runtime already.
    let looking = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        runtime.block_on(async { timeout(ENGINE_TIMEOUT, look).await.ok() })
    };
    let found = thread::scope(|scope| scope.spawn(looking).join());
    found.ok().flatten().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Line, Scripted};
    use serde_json::json;
    use std::path::PathBuf;

    fn docker_plan(socket: PathBuf) -> DockerPlan {
        let start_timeout = Duration::from_secs(30);
        let (command, env, labels) = (Vec::new(), Vec::new(), Vec::new());
        let (image, network) = ("app".to_owned(), String::new());
        DockerPlan { image, port: 8080, command, env, network, labels, socket, start_timeout }
    }

    fn facts(pool: &str, running: bool, ip: &str) -> Line {
        let labels = json!({ "evenkeel.pool": pool, "evenkeel.owner": super::super::machine() });
        let networks = json!({ "bridge": { "IPAddress": ip } });
        let facts = json!({
            "Config": { "Labels": labels },
            "State": { "Running": running },
            "NetworkSettings": { "Networks": networks },
        });
        Line::json(&facts.to_string())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn containers_that_took_traffic_serve_from_the_first_request_on() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("engine");
        let script = vec![
            facts("web", true, "172.17.0.2"),
            facts("web", false, "172.17.0.3"),
            facts("web", true, "172.17.0.9"),
            facts("other", true, "172.17.0.5"),
            Line::answer("404 Not Found", "", "{}"),
        ];
        let engine = Scripted::start_unix(socket.clone(), script);
        let container = |number: u32| KeptProcess {
            address: Some(format!("172.17.0.{}:8080", number + 1)),
            ..KeptProcess::of_container(&format!("web-auto-{number}"), "", true)
        };
        let plan = docker_plan(socket);
        let kept = (1..=5).map(container).collect();
        let found = running(&plan, "web", kept);
        assert_eq!(found, [container(1)], "the others ended, moved, are not ours, are gone");
        assert_eq!(engine.asked().len(), 5);
        // An engine that is away, or that says nothing, has nothing.
        assert_eq!(
            running(&docker_plan(folder.path().join("away")), "web", vec![container(1)]),
            []
        );
    }
}
