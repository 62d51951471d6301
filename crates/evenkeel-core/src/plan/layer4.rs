//! The part of a plan that concerns what lies below HTTP: tunnels, flows, PROXY headers. And
//! redirects, which need no backend.

use std::time::Duration;

/// What a listener speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListenerProtocol {
    /// HTTP; routes say where requests go.
    #[default]
    Http,
    /// Bytes: every connection becomes a tunnel.
    Tcp(TcpPlan),
    /// Datagrams.
    Udp(UdpPlan),
}

/// Where the connections of a tcp listener go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpPlan {
    /// Index into `Plan::pools` for those that no other rule decides; `None` = they are closed.
    pub pool: Option<usize>,
    /// By the server name that a TLS client asks for; the first match wins.
    pub sni_routes: Vec<SniRoutePlan>,
}

/// A pool by TLS server name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SniRoutePlan {
    /// Exact names, or `*.suffix`; lower case.
    pub hosts: Vec<String>,
    /// Index into `Plan::pools`.
    pub pool: usize,
}

/// Where the flows of a udp listener go, and how many there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpPlan {
    /// Index into `Plan::pools`.
    pub pool: usize,
    /// A flow without a datagram ends.
    pub idle_timeout: Duration,
    /// Flows at once, of all workers together; at least 1.
    pub max_flows: usize,
}

/// Whether a PROXY header (v1 or v2) is expected from trusted peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AcceptProxy {
    /// Never parsed.
    #[default]
    Off,
    /// Parsed if there.
    Optional,
    /// Demanded; without one the connection is closed.
    Required,
}

/// The PROXY header that is sent first on every new connection to a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SendProxy {
    /// None.
    #[default]
    Off,
    /// Text.
    V1,
    /// Binary, with what is known of TLS.
    V2,
}

/// Every request of a listener is sent elsewhere; host, path and query are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectPlan {
    /// `https` if true, else `http`.
    pub secure: bool,
    /// Left out of the location if it is what the scheme implies.
    pub port: u16,
    /// 300 to 399.
    pub status: u16,
}
