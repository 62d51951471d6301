//! Keys of a pool and its backends.

use crate::diagnostic::Fault;
use crate::key::{Atom, Key, OrEmpty, Scalar, Shape};
use crate::reader::Reader;
use crate::scalar::{Address, Factor, HashKey, Name, Strategy, Text, Time, Whole};
use crate::section::{choice, section};
use crate::sections::{
    Affinity, Autoscale, CircuitBreaker, Connections, Discovery, Health, Retry, Timeouts,
};
use crate::tree::{Node, Value};
use serde_json::Value as Json;

section! {
    /// A named set of backends with its policy.
    Pool {
        /// Unique name.
        name: Name = Name::default(), required;
        /// How the next backend is chosen.
        strategy: Strategy = Strategy::default();
        /// What the hash strategies hash.
        hash: Hash = Hash::default();
        /// What is spoken to backends.
        protocol: PoolProtocol = PoolProtocol::Http1;
        /// Addresses, or the long form with name and weight.
        backends: Vec<BackendEntry> = Vec::new();
        /// Backends found elsewhere.
        discovery: OrEmpty<Discovery> = OrEmpty(None);
        /// Active checks of backends.
        health: Health = Health::default();
        /// Takes a failing backend out for a while.
        circuit_breaker: CircuitBreaker = CircuitBreaker::default();
        /// What is tried again, and how often.
        retry: Retry = Retry::default();
        /// Keeps a client on its backend.
        affinity: Affinity = Affinity::default();
        /// Connections to backends.
        connections: Connections = Connections::default();
        /// Deadlines towards backends.
        timeouts: Timeouts = Timeouts::default();
        /// Ramp of a backend that (re)joins; 0s = none.
        slow_start: Time = Time::secs(0);
        /// Nothing eligible: ignore breaker and suspicion, never admin state or failed checks.
        fail_open: bool = true;
        /// TLS to `https://` backends.
        tls: PoolTls = PoolTls::default();
        /// PROXY header sent first on every new connection.
        proxy_protocol: SendProxy = SendProxy::Off;
        /// Starts and stops backends by load.
        autoscale: OrEmpty<Autoscale> = OrEmpty(None);
    }
}

section! {
    /// What the hash strategies hash.
    Hash {
        /// The part of a request that decides: `client_ip`, `header:NAME`, `cookie:NAME`, `path`,
        /// `query` or `query:NAME`. A request without it is hashed by its client's address.
        key: HashKey = HashKey::ClientIp;
        /// Points of a backend with weight 1 on the ring.
        virtual_nodes: Whole<1, 10_000> = Whole(100);
        /// Most that a backend of `consistent_hash` may be busier than the mean, such as 1.25; left
        /// out, there is no bound.
        load_factor: Option<Factor> = None;
    }
}

choice! {
    /// What is spoken to backends.
    PoolProtocol ("a protocol") {
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2.
        H2 = "h2",
        /// By ALPN.
        Auto = "auto",
    }
}

choice! {
    /// PROXY header sent to backends.
    SendProxy ("off, v1 or v2") {
        /// None.
        Off = "off",
        /// Text.
        V1 = "v1",
        /// Binary, with ALPN, SNI and TLS version.
        V2 = "v2",
    }
}

section! {
    /// TLS to backends.
    PoolTls {
        /// CA file; empty = those of the system.
        ca_file: Text = Text::default();
        /// Name demanded of the certificate; empty = that of the address.
        server_name: Text = Text::default();
        /// PEM file of our certificate.
        client_cert: Text = Text::default();
        /// PEM file of our key.
        client_key: Text = Text::default();
        /// Accept any certificate.
        insecure_skip_verify: bool = false;
    }
}

choice! {
    /// The operator's wish for a backend.
    Admission ("an admin state") {
        /// Takes traffic.
        Enabled = "enabled",
        /// Finishes what runs, takes nothing new.
        Draining = "draining",
        /// Out.
        Disabled = "disabled",
    }
}

section! {
    /// One address that is called; the address alone may stand for it.
    Backend {
        /// Unique in its pool; `host:port` if left out.
        name: Name = Name::default();
        /// `host:port`, `http://`, `https://`, `h2c://` or `unix:`. A path behind the host stands
        /// before every path that is asked for.
        address: Address = Address::stand_in(), required;
        /// Share of new traffic; 0 = none.
        weight: Whole<0, 65535> = Whole(1);
        /// The operator's wish.
        admin: Admission = Admission::Enabled;
    }
}

/// A backend in its long form, or its address alone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BackendEntry(pub(crate) Backend);

impl Key for BackendEntry {
    fn read(node: &Node, reader: &mut Reader) -> Option<BackendEntry> {
        if let Value::Str(text) = &node.value {
            let address = Address::parse(Atom::Str(text));
            let address = address.map_err(|fault| reader.refuse(&node.place, fault)).ok()?;
            return Some(BackendEntry(Backend { address, ..Backend::default() }));
        }
        if !matches!(node.value, Value::Map(_)) {
            let message = format!("expected an address or a map, found {}", node.kind());
            let hint = r#"such as "127.0.0.1:8081" or { address: "127.0.0.1:8081", weight: 2 }"#;
            reader.refuse(&node.place, Fault::new(message).hint(hint));
            return None;
        }
        Backend::read(node, reader).map(BackendEntry)
    }

    fn render(&self) -> Option<Json> {
        self.0.render()
    }

    fn shape() -> Shape {
        match Backend::shape() {
            Shape::Section(mut section) => {
                section.shorthand = Some(Address::schema());
                Shape::Section(section)
            }
            other @ (Shape::Scalar(..) | Shape::List(_) | Shape::Table | Shape::Free) => other,
        }
    }

    fn stand_in() -> Option<Self> {
        Some(BackendEntry(Backend::default()))
    }
}
