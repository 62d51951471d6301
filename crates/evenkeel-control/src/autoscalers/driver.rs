//! What starts and stops backends, whatever they are.

use super::Ties;
use super::docker::{self, Container};
use super::keep::KeptProcess;
use super::kubernetes::{self, Deployment};
use super::process::{self, Process};
use crate::kubernetes::Kubernetes;
use crate::outgoing::{call, shown};
use evenkeel_core::autoscale::DriverPlan;
use hyper::Method;
use serde_json::json;
use std::process::{Child, Stdio};
use std::time::Duration;

/// How long a command that is told the count may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Something that was started and can be stopped.
pub(super) enum Started {
    Process(Process),
    Container(Container),
}

impl Started {
    /// Where it listens.
    pub(super) fn address(&self) -> String {
        match self {
            Started::Process(process) => process.address.clone(),
            Started::Container(container) => container.address.clone(),
        }
    }

    /// What the next process needs to find it, or to serve by it before it is found by its labels.
    pub(super) fn kept(&self, name: &str, serving: bool) -> KeptProcess {
        match self {
            Started::Process(process) => process.kept(name, serving),
            Started::Container(it) => KeptProcess::of_container(name, &it.address, serving),
        }
    }

    /// False once it has ended by itself.
    pub(super) async fn lives(&mut self) -> bool {
        match self {
            Started::Process(process) => process.lives(),
            Started::Container(container) => docker::lives(container).await,
        }
    }

    /// Ends it: asked first, then made to.
    pub(super) async fn stop(self) {
        match self {
            Started::Process(process) => process.stop().await,
            Started::Container(container) => docker::stop(&container).await,
        }
    }
}

/// What a template is filled with.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) pool: &'a str,
    pub(super) name: &'a str,
    pub(super) port: u16,
    pub(super) count: u32,
}

impl Names<'_> {
    pub(super) fn fill(&self, template: &str) -> String {
        template
            .replace("{pool}", self.pool)
            .replace("{name}", self.name)
            .replace("{port}", &self.port.to_string())
            .replace("{count}", &self.count.to_string())
    }
}

/// True if the driver starts single backends; others are told how many there should be.
pub(super) fn starts_each(plan: &DriverPlan) -> bool {
    match plan {
        DriverPlan::Process(_) | DriverPlan::Docker(_) => true,
        DriverPlan::Exec(_) | DriverPlan::Webhook { .. } | DriverPlan::Kubernetes { .. } => false,
    }
}

/// How long a backend may take until it is healthy.
pub(super) fn start_timeout(plan: &DriverPlan) -> Duration {
    match plan {
        DriverPlan::Process(process) => process.start_timeout,
        DriverPlan::Docker(docker) => docker.start_timeout,
        DriverPlan::Exec(_) | DriverPlan::Webhook { .. } | DriverPlan::Kubernetes { .. } => {
            Duration::MAX
        }
    }
}

/// Starts one backend; a process with `ties` ends with this one.
///
/// # Errors
/// Why it could not be started, in words.
pub(super) async fn start(
    plan: &DriverPlan,
    names: Names<'_>,
    ties: Option<&Ties>,
) -> Result<Started, String> {
    match plan {
        DriverPlan::Process(plan) => process::start(plan, names, ties).await.map(Started::Process),
        DriverPlan::Docker(plan) => docker::start(plan, names).await.map(Started::Container),
        DriverPlan::Exec(_) | DriverPlan::Webhook { .. } | DriverPlan::Kubernetes { .. } => {
            Err("this driver starts no single backends".to_owned())
        }
    }
}

/// Tells how many there should be; to say the same twice changes nothing.
///
/// # Errors
/// Why it could not be told, in words.
pub(super) async fn set(plan: &DriverPlan, names: Names<'_>) -> Result<(), String> {
    match plan {
        DriverPlan::Exec(command) => run(command, names).await,
        DriverPlan::Webhook { url, timeout } => {
            let body = json!({ "pool": names.pool, "count": names.count }).to_string();
            match call(Method::POST, url, Some(body), *timeout).await? {
                200..=299 => Ok(()),
                status => Err(format!("{} answers {status}", shown(url))),
            }
        }
        DriverPlan::Kubernetes { namespace, deployment } => {
            let of = Deployment { namespace, name: deployment };
            kubernetes::set(&around_us()?, of, names.count).await
        }
        DriverPlan::Process(_) | DriverPlan::Docker(_) => Ok(()),
    }
}

/// How many there should be, of a driver that knows.
pub(super) async fn count(plan: &DriverPlan) -> Option<Result<u32, String>> {
    match plan {
        DriverPlan::Kubernetes { namespace, deployment } => {
            let of = Deployment { namespace, name: deployment };
            Some(match around_us() {
                Ok(api) => kubernetes::count(&api, of).await,
                Err(why) => Err(why),
            })
        }
        DriverPlan::Process(_)
        | DriverPlan::Docker(_)
        | DriverPlan::Exec(_)
        | DriverPlan::Webhook { .. } => None,
    }
}

fn around_us() -> Result<Kubernetes, String> {
    Kubernetes::around_us().map_err(|error| error.to_string())
}

async fn run(command: &[String], names: Names<'_>) -> Result<(), String> {
    let words: Vec<String> = command.iter().map(|word| names.fill(word)).collect();
    let (program, arguments) = words.split_first().ok_or("the command is empty")?;
    let mut child = std::process::Command::new(program);
    child.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut child, 0);
    let child = child.spawn().map_err(|error| format!("{program}: {error}"))?;
    let mut running = Running(child);
    let until = tokio::time::Instant::now() + COMMAND_TIMEOUT;
    loop {
        match running.0.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("{program}: {status}")),
            Ok(None) if tokio::time::Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(None) => return Err(format!("{program}: no end within {COMMAND_TIMEOUT:?}")),
            Err(error) => return Err(format!("{program}: {error}")),
        }
    }
}

/// A command that runs. If nobody waits for its end any more, it ends with what it has started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            process::end_command(&mut self.0);
            // It has been told in a way that it cannot refuse.
            let _ = self.0.wait();
        }
    }
}
