//! Where clients come in, and where their requests go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All routes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RouteList {
    /// First match wins.
    pub routes: Vec<Route>,
}

/// A test, and where requests that pass it go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// Unique.
    pub name: String,
    /// What a request must be; nothing in it = everything matches.
    #[serde(rename = "match", default)]
    pub matches: RouteMatch,
    /// Its pools by share; a plain `pool:` is one with weight 1.
    pub split: Vec<Share>,
    /// Whether the matched prefix is removed before forwarding.
    #[serde(default)]
    pub strip_prefix: bool,
    /// Bound of the whole exchange; left out: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Filters that act on its exchanges, in order, in words.
    #[serde(default)]
    pub filters: Vec<String>,
    /// Exchanges since the start.
    pub requests: u64,
}

/// The test of a route; all parts must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteMatch {
    /// Names of the listeners that a request came in by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<String>,
    /// Exact names, or `*.suffix`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// This path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whole segments that the path begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// Any of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Names and exact values; all must hold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// The share of a pool in a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// Its name.
    pub pool: String,
    /// Against the sum of all.
    pub weight: u32,
}

/// All listeners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerList {
    /// In the order configured.
    pub listeners: Vec<Listener>,
}

/// A socket that accepts clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listener {
    /// Unique.
    pub name: String,
    /// Where it binds, as configured.
    pub bind: String,
    /// `http`, `tcp` or `udp`.
    pub protocol: String,
    /// Open now.
    pub client_connections: u64,
    /// Most that may be open; left out: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u64>,
    /// Our own read-only pages on this port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
}

/// A read-only page of ours on a traffic port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mount {
    /// Its path.
    pub path: String,
    /// `health`, `metrics`, `report` or `dashboard`.
    pub serve: String,
}
