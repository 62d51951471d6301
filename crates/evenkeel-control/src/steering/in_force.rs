//! The configuration in force, as those who ask for it see it.

use evenkeel_config::{Configuration, Conflict, Detected, Diagnostic};
use evenkeel_core::plan::Plan;
use evenkeel_core::strategy::hash::hash;
use serde_json::Value as Json;
use std::sync::{Arc, OnceLock};

/// The configuration in force.
#[derive(Clone, Debug)]
pub struct InForce {
    /// What is served.
    pub plan: Arc<Plan>,
    /// The name of the file; `None` if there is none.
    pub file: Option<String>,
    /// The generation that it is.
    pub generation: u64,
    /// The revision that it is.
    pub revision: u64,
    /// What holds but should be looked at.
    pub warnings: Vec<Diagnostic>,
    /// Edits that do not fit the file any more.
    pub conflicts: Vec<Conflict>,
    /// How many edits made through the API lie over the file.
    pub edits: usize,
    /// Whose form the file has, and how that was told.
    pub detected: Detected,
    /// Backends that are there because they were found: pool and name.
    pub(super) found: Arc<[(String, String)]>,
    configuration: Arc<Configuration>,
    /// Made when somebody asks.
    json: OnceLock<Arc<Json>>,
    etag: OnceLock<String>,
}

impl InForce {
    pub(super) fn new(configuration: Configuration, plan: Plan, generation: u64) -> InForce {
        InForce {
            plan: Arc::new(plan),
            generation,
            file: None,
            revision: 0,
            edits: 0,
            warnings: Vec::new(),
            conflicts: configuration.conflicts.clone(),
            detected: configuration.detected().clone(),
            found: configuration.found.as_slice().into(),
            configuration: Arc::new(configuration),
            json: OnceLock::new(),
            etag: OnceLock::new(),
        }
    }

    /// The effective value of every key, secrets hidden.
    pub fn json(&self) -> &Json {
        self.json.get_or_init(|| Arc::new(self.configuration.to_json()))
    }

    /// The same as YAML, which reads back to the same.
    pub fn yaml(&self) -> String {
        self.configuration.to_yaml()
    }

    /// Stands for all of it, and for nothing that traffic changes.
    pub fn etag(&self) -> &str {
        self.etag.get_or_init(|| etag_of(self.json()))
    }

    /// Stands for one pool; `None` if there is no such pool.
    pub fn etag_of_pool(&self, pool: &str) -> Option<String> {
        let pools = self.json()["pools"].as_array()?;
        Some(etag_of(pools.iter().find(|it| it["name"] == pool)?))
    }
}

fn etag_of(json: &Json) -> String {
    format!("{:016x}", hash(json.to_string().as_bytes()))
}
