//! The part of a plan that says where backends of a pool are found.

use crate::address::Scheme;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Backends of a pool that are found elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryPlan {
    /// Who is asked.
    pub source: DiscoverySource,
    /// Between two looks, at least.
    pub interval: Duration,
    /// True: an answer that names nobody empties the pool.
    pub allow_empty: bool,
    /// Most backends that are taken.
    pub max: usize,
    /// What is spoken to those that the source names without a scheme.
    pub scheme: Scheme,
    /// How long one that is named no more may finish what runs.
    pub drain_timeout: Duration,
}

/// Who is asked for backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiscoverySource {
    /// A name and its records.
    Dns {
        /// The name.
        name: String,
        /// What of it.
        record: DnsRecord,
        /// Who is asked; `None` = the name servers of the system.
        resolver: Option<SocketAddr>,
    },
    /// A file that somebody else writes.
    File {
        /// Its path.
        path: PathBuf,
    },
    /// Endpoints of a Kubernetes `Service`.
    Kubernetes(KubernetesPlan),
    /// Containers of one engine.
    Docker(ContainersPlan),
    /// Instances that Consul knows.
    Consul(ConsulPlan),
}

/// Containers that run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainersPlan {
    /// Those with this label, `NAME` or `NAME=VALUE`.
    pub label: String,
    /// Port inside; `None` = each says it in its label `evenkeel.port`.
    pub port: Option<u16>,
    /// Network by which they are reached; empty = the only one, or the first by name.
    pub network: String,
    /// Socket of the engine.
    pub socket: PathBuf,
}

/// Instances of a service of Consul.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsulPlan {
    /// URL of the agent.
    pub server: String,
    /// Name in the catalogue.
    pub service: String,
    /// Only those with this tag; empty = all.
    pub tag: String,
    /// Empty = that of the agent.
    pub datacenter: String,
    /// Token for the agent.
    pub token_file: Option<PathBuf>,
    /// Authorities of its certificate; `None` = those of the system.
    pub ca_file: Option<PathBuf>,
    /// Only those whose checks pass.
    pub passing: bool,
}

/// Endpoints that a cluster knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesPlan {
    /// Of the `Service`.
    pub namespace: String,
    /// Name of the `Service`.
    pub service: String,
    /// Name or number of the port; empty = the only one.
    pub port: String,
    /// URL of the API; `None` = that of the cluster around us, with the account of the pod.
    pub server: Option<String>,
    /// Token for it.
    pub token_file: Option<PathBuf>,
    /// Authorities of its certificate; `None` = those of the system.
    pub ca_file: Option<PathBuf>,
}

impl DiscoverySource {
    /// As the user spells it.
    pub fn kind(&self) -> &'static str {
        match self {
            DiscoverySource::Dns { .. } => "dns",
            DiscoverySource::File { .. } => "file",
            DiscoverySource::Kubernetes(_) => "kubernetes",
            DiscoverySource::Docker(_) => "docker",
            DiscoverySource::Consul(_) => "consul",
        }
    }
}

/// Which records of a name are backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsRecord {
    /// A and AAAA records; all backends have this port.
    Address(u16),
    /// SRV records, which have ports and weights of their own.
    Srv,
}
