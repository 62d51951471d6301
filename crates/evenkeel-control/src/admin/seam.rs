//! Where the answers come from. What is not there is answered as empty, which is then the truth.

use crate::numbers::Numbers;
use crate::tokens::Tokens;
use evenkeel_api::{AutoscalerList, MigrationList, RequestList};
use evenkeel_proxy::log::EventLog;
use serde_json::{Map, Value};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use tokio::sync::broadcast;

/// Whether traffic may be sent here.
pub trait Readiness: Send + Sync {
    /// Why not, in a word for the operator (`starting`, `draining`); `None` when ready.
    fn not_ready(&self) -> Option<String>;
}

/// The flight recorder.
pub trait Recorded: Send + Sync {
    /// What it holds, the newest first.
    fn requests(&self) -> RequestList;
    /// The same as an HTTP Archive.
    fn archive(&self) -> Value;
}

/// Tells what happens.
pub trait Feed: Send + Sync {
    /// Events from now on, each as the text of a JSON object with the keys of
    /// `evenkeel_api::Event`.
    fn listen(&self) -> broadcast::Receiver<Arc<str>>;
}

/// Traffic on its way from one pool to another.
pub trait Migrates: Send + Sync {
    /// All of them, the newest last.
    fn migrations(&self) -> MigrationList;
}

/// What decides how many backends pools have.
pub trait Scales: Send + Sync {
    /// One for each pool that scales.
    fn autoscalers(&self) -> AutoscalerList;
}

/// The configuration in force.
#[derive(Clone, Debug, Default)]
pub struct Authored {
    /// With the keys of a native file, secrets redacted.
    pub document: Map<String, Value>,
    /// Stands for it, quotes included.
    pub etag: String,
}

impl Authored {
    /// Of the effective configuration.
    pub fn of(effective: &Value) -> Authored {
        let mut hasher = DefaultHasher::new();
        effective.to_string().hash(&mut hasher);
        let document = effective.as_object().cloned().unwrap_or_default();
        Authored { document, etag: format!("\"{:016x}\"", hasher.finish()) }
    }
}

/// What the answers are made from.
#[derive(Clone)]
pub struct Desk {
    /// Whether traffic may be sent here.
    pub readiness: Arc<dyn Readiness>,
    /// What was counted, and the state of everything.
    pub numbers: Option<Arc<Numbers>>,
    /// Where changes are written down.
    pub log: Option<EventLog>,
    /// Whose requests are believed; `None` = everybody's who reaches the listener.
    pub tokens: Option<Arc<Tokens>>,
    /// What was written.
    pub configuration: Authored,
    /// Recent exchanges that failed or were slow.
    pub recorder: Option<Arc<dyn Recorded>>,
    /// What happens.
    pub feed: Option<Arc<dyn Feed>>,
    /// Moving traffic.
    pub migrations: Option<Arc<dyn Migrates>>,
    /// How many backends.
    pub autoscalers: Option<Arc<dyn Scales>>,
}

impl Desk {
    /// Knows whether traffic may be sent here, and nothing else.
    pub fn new(readiness: Arc<dyn Readiness>) -> Desk {
        Desk {
            readiness,
            numbers: None,
            log: None,
            tokens: None,
            configuration: Authored::default(),
            recorder: None,
            feed: None,
            migrations: None,
            autoscalers: None,
        }
    }
}
