//! Which way a request would go, and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Scheme, host and port, target: printable ASCII, everything else percent-encoded.
const URL: &str = concat!(
    r"^(https?://)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?",
    r"([/?#][!-~]*)?$",
);
/// RFC 9110, section 5.6.2.
const TOKEN: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";
/// What a header may say.
const VALUE: &str = r"^[^\x00-\x1f\x7f]*$";

/// A request to think through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ExplainRequest {
    /// With its host: `http://api.example.com/v1/users`.
    #[schemars(regex(pattern = URL))]
    pub url: String,
    /// Left out: GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = TOKEN))]
    pub method: Option<String>,
    /// Names and values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("type" = ["object", "null"], "propertyNames" = { "pattern": TOKEN }))]
    #[schemars(extend("additionalProperties" = { "type": "string", "pattern": VALUE }))]
    pub headers: BTreeMap<String, String>,
    /// The client's address; left out: 127.0.0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("anyOf" = [
        { "type": "null" },
        { "type": "string", "format": "ipv4" },
        { "type": "string", "format": "ipv6" },
    ]))]
    pub client: Option<String>,
}

/// Which way the request would go now, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The listener that it comes to: that of the URL's port, or else the first.
    #[serde(default)]
    pub listener: String,
    /// What answers, or names the pool, in the place of a route; in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    /// Those that were looked at, in order, up to the one that matched.
    pub routes: Vec<RouteVerdict>,
    /// The one that matched.
    pub route: Option<String>,
    /// Its pool.
    pub pool: Option<String>,
    /// Who would be picked first.
    pub backend: Option<String>,
    /// All backends of the pool.
    pub candidates: Vec<Candidate>,
    /// The bounds in force, where the request gets so far.
    pub deadlines: Deadlines,
    /// The pool's strategy, as the user spelt it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// What ties the client to a backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<String>,
    /// Filters that would act, in order, in words.
    #[serde(default)]
    pub filters: Vec<String>,
    /// The code of the local reply that the client would get instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What became of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteVerdict {
    /// Its name.
    pub route: String,
    /// Whether its whole test holds.
    pub matched: bool,
    /// Which part did not hold, or what matched.
    pub reason: String,
}

/// A backend that was thought of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// Unique in its pool.
    pub name: String,
    /// What the strategy compares; `null` where it compares nothing, as when it takes turns.
    pub score: Option<f64>,
    /// Whether it may be picked.
    pub eligible: bool,
    /// Why it may not, or what its score is.
    pub reason: String,
}

/// Bounds in time; those that are off are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deadlines {
    /// Of the whole exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Of waiting for a backend with room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_timeout_ms: Option<u64>,
    /// Of making a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout_ms: Option<u64>,
    /// Of one try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try_timeout_ms: Option<u64>,
    /// Until the head of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_head_timeout_ms: Option<u64>,
    /// Without a byte moving.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
}
