//! The configuration in force, candidates for it, and how it came to be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The configuration in force, with the keys of a native file: defaults included, secrets redacted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ConfigDocument(pub Map<String, Value>);

/// The smallest text of a configuration.
const SHORT_TEXT: &str = concat!(
    r#"^listen: ":[1-9][0-9]{3}"\n"#,
    r#"backends: \["127\.0\.0\.1:[1-9][0-9]{3}"(, "127\.0\.0\.2:[1-9][0-9]{3}")?\]\n$"#,
);

/// A configuration to check, where it does not come as YAML or TOML itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct CheckRequest {
    /// The text of the file. The pattern is that of the short form, which always holds; every other
    /// text that is YAML or TOML is read as well, and may be found wanting.
    #[schemars(regex(pattern = SHORT_TEXT))]
    pub config: String,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckResult {
    /// Whether it could serve.
    #[serde(default)]
    pub valid: bool,
    /// All of them, not just the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ConfigError>,
}

/// What is wrong at one place of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigError {
    /// The file's name.
    #[serde(default)]
    pub file: String,
    /// From 1; 0 if the error has no place.
    #[serde(default)]
    pub line: u32,
    /// From 1; 0 if the error has no place.
    #[serde(default)]
    pub column: u32,
    /// The key, as `pools.0.strategy`.
    #[serde(default)]
    pub path: String,
    /// In one sentence.
    pub message: String,
    /// What probably was meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReloadReport {
    /// Whether anything is different.
    pub result: ReloadResult,
    /// The snapshot that serves now.
    pub generation: u64,
    /// What is different, a line for each key.
    #[serde(default)]
    pub changes: Vec<String>,
    /// What needs a restart to take effect.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Earlier changes by this API that do not fit the file any more.
    #[serde(default)]
    pub conflicts: Vec<String>,
}

/// What a reload would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReloadPlan {
    /// What would be different, a line for each key.
    pub changes: Vec<String>,
    /// Listeners that would go.
    pub listeners: Vec<String>,
    /// Client connections of those listeners.
    pub connections: u64,
    /// Backends that would go, as POOL/NAME.
    pub backends: Vec<String>,
    /// Requests in flight there; they end by themselves.
    pub requests: u64,
    /// Tunnels there.
    pub tunnels: u64,
    /// Sessions that are tied to those backends.
    pub sessions: u64,
    /// What would need a restart to take effect.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Earlier changes by this API that would not fit the file any more.
    #[serde(default)]
    pub conflicts: Vec<String>,
    /// What would hold but should be looked at.
    #[serde(default)]
    pub warnings: Vec<ConfigError>,
}

/// Whether a reload changed anything; one that is refused is a problem with status 422.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReloadResult {
    /// A new snapshot serves.
    Applied,
    /// The file says what is in force.
    Unchanged,
}

/// All revisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RevisionList {
    /// The newest last.
    pub revisions: Vec<Revision>,
}

/// One state of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revision {
    /// Counts up by one.
    pub id: u64,
    /// The name of a token, or what changed it.
    pub author: String,
    /// When.
    pub time: String,
    /// Why.
    pub reason: String,
    /// What changed against the one before, a line for each key.
    pub diff: String,
}
