//! Keys of a pool whose backends are found elsewhere.

use crate::scalar::{Text, Time, Whole};
use crate::section::{choice, section};

section! {
    /// Backends found elsewhere, beside those of `backends`.
    Discovery {
        /// Who is asked.
        r#type: DiscoveryType = DiscoveryType::Dns, required;
        /// Name that is looked up; for dns.
        name: Option<Text> = None;
        /// Its records that are backends; for dns.
        record: DnsRecord = DnsRecord::A;
        /// Name server that is asked, such as `10.0.0.2:53`; left out, those of the system; for
        /// dns.
        resolver: Option<Text> = None;
        /// Port of the backends; for dns with `record: a`. For kubernetes a name or number; left
        /// out, the only one. For docker left out, each container's label `evenkeel.port`.
        port: Option<Text> = None;
        /// File that is read when it changes; for file.
        path: Option<Text> = None;
        /// Namespace, `default` if left out; for kubernetes.
        namespace: Option<Text> = None;
        /// Name of a `Service`; for kubernetes. Name in the catalogue; for consul.
        service: Option<Text> = None;
        /// URL of the API; left out, that of the cluster around us; for kubernetes. URL of the
        /// agent, `http://127.0.0.1:8500` if left out; for consul.
        address: Option<Text> = None;
        /// File with the token for it, read again each time.
        token_file: Option<Text> = None;
        /// File with the authorities of its certificate; left out, those of the system.
        ca_file: Option<Text> = None;
        /// Label that containers must have, `NAME` or `NAME=VALUE`; for docker.
        label: Option<Text> = None;
        /// Network by which containers are reached; for docker.
        network: Option<Text> = None;
        /// Socket of the container daemon; for docker.
        socket: Option<Text> = None;
        /// Tag that instances must have; for consul.
        tag: Option<Text> = None;
        /// Datacenter, that of the agent if left out; for consul.
        datacenter: Option<Text> = None;
        /// Only instances whose checks pass; for consul.
        passing: bool = true;
        /// Least time between two looks; for a file, the longest.
        interval: Time = Time::secs(5);
        /// Spoken to backends that are found without a scheme.
        scheme: FoundScheme = FoundScheme::Http;
        /// An answer that names nobody empties the pool; otherwise what was known stays.
        allow_empty: bool = false;
        /// Most backends that are taken; the surplus is left out.
        max: Whole<1, 10_000> = Whole(1000);
        /// Bound on finishing what is in flight on a backend that is found no more.
        drain_timeout: Time = Time::secs(30);
    }
}

choice! {
    /// Who is asked for backends.
    DiscoveryType ("a kind of discovery") {
        /// Name servers.
        Dns = "dns",
        /// A file.
        File = "file",
        /// Containers of this machine.
        Docker = "docker",
        /// Endpoints of a cluster.
        Kubernetes = "kubernetes",
        /// A catalogue.
        Consul = "consul",
    }
}

choice! {
    /// Records of a name.
    DnsRecord ("a kind of record") {
        /// Addresses, A and AAAA.
        A = "a",
        /// Host, port, priority and weight.
        Srv = "srv",
    }
}

choice! {
    /// What is spoken below HTTP.
    FoundScheme ("a scheme") {
        /// Plain TCP.
        Http = "http",
        /// TLS.
        Https = "https",
        /// Plain TCP, HTTP/2 by prior knowledge.
        H2c = "h2c",
    }
}
