//! What decides how many backends pools have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All autoscalers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AutoscalerList {
    /// One for each pool that scales.
    pub autoscalers: Vec<Autoscaler>,
}

/// What decides how many backends a pool has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Autoscaler {
    /// Its name.
    pub pool: String,
    /// Backends there are, those that are starting included.
    pub current: u32,
    /// Backends there should be.
    pub desired: u32,
    /// Fewest.
    #[serde(default)]
    pub min: u32,
    /// Most.
    #[serde(default)]
    pub max: u32,
    /// Whether a person has stopped it.
    #[serde(default)]
    pub paused: bool,
    /// Whether this process scales: it has the lease, and this is no dry run.
    #[serde(default)]
    pub acts: bool,
    /// Why nothing is decided now, if that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// What the driver is being told now, and has not taken yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telling: Option<Telling>,
    /// The newest last.
    #[serde(default)]
    pub decisions: Vec<ScaleDecision>,
}

/// A count on its way to a driver: a command that runs, or a request without an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Telling {
    /// Backends there should be.
    pub count: u32,
    /// The kind of the driver.
    pub driver: String,
    /// Since when.
    pub since: String,
}

/// A change of the number of backends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScaleDecision {
    /// When.
    pub time: String,
    /// Backends there were.
    pub from: u32,
    /// Backends there should be.
    pub to: u32,
    /// Why.
    pub reason: String,
    /// What it was based on.
    #[serde(default)]
    pub signals: BTreeMap<String, f64>,
}
