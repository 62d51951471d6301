//! What the copies of a route's requests have shown: answers that differed from the real ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The last differences of a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DifferenceList {
    /// Pairs of answers that were compared since the start.
    pub compared: u64,
    /// Of these, pairs that differed.
    pub differing: u64,
    /// The newest first.
    pub differences: Vec<Difference>,
}

/// Two answers to one request that are not the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// When the later of them had come.
    pub time: String,
    /// The id of the request, and of its copy.
    pub request_id: String,
    /// As sent.
    pub method: String,
    /// As forwarded, without the query.
    pub path: String,
    /// Where the copy went.
    pub pool: String,
    /// `status`, `header`, `body`: what differs.
    pub kinds: Vec<String>,
    /// Both statuses.
    pub status: DifferenceSides<u16>,
    /// Fields that differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderDifference>,
    /// Where the bodies differ first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<BodyDifference>,
    /// How long each took, from the choice of a backend to the end of its answer.
    pub latency_ms: DifferenceSides<f64>,
    /// By how much the copy took longer.
    pub latency_delta_ms: f64,
}

/// What the client got, and what the copy was answered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DifferenceSides<T> {
    /// Of the request.
    pub real: T,
    /// Of its copy.
    pub mirror: T,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeaderDifference {
    /// Its name.
    pub name: String,
    /// Left out: the answer does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real: Option<String>,
    /// Left out: the answer does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
}

/// A place at which bodies differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BodyDifference {
    /// As a JSON path; left out if they are not compared as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What stands there, in short.
    pub real: String,
    /// What stands there, in short.
    pub mirror: String,
}
