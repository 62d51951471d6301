//! Where the answers come from. What is not there is answered as empty, which is then the truth.

use crate::autoscalers::Autoscalers;
use crate::discoverers::Discoverers;
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::migrations::Migrations;
use crate::numbers::Numbers;
use crate::steering::Steering;
use crate::tokens::Tokens;
use evenkeel_core::address::BindAddress;
use evenkeel_proxy::log::EventLog;
use std::sync::Arc;

/// Whether traffic may be sent here.
pub trait Readiness: Send + Sync {
    /// Why not, in a word for the operator (`starting`, `draining`); `None` when ready.
    fn not_ready(&self) -> Option<String>;

    /// The last handover to a new program that was begun.
    fn handover(&self) -> Option<evenkeel_api::Handover> {
        None
    }
}

/// What the answers are made from.
#[derive(Clone)]
pub struct Desk {
    /// Whether traffic may be sent here.
    pub readiness: Arc<dyn Readiness>,
    /// What was counted, and the state of everything.
    pub numbers: Option<Arc<Numbers>>,
    /// How what was counted outlives the process.
    pub ledger: Option<Arc<Ledger>>,
    /// Where changes are written down.
    pub log: Option<EventLog>,
    /// Whose requests are believed; `None` = everybody's who reaches the listener.
    pub tokens: Option<Arc<Tokens>>,
    /// How the configuration changes.
    pub steering: Option<Arc<Steering>>,
    /// What happened: events, and recent exchanges that failed or were slow.
    pub journal: Option<Arc<Journal>>,
    /// Where profiles are served, besides the admin listener; `None` = nowhere.
    pub pprof: Option<BindAddress>,
    /// Moving traffic.
    pub migrations: Option<Arc<Migrations>>,
    /// How many backends.
    pub autoscalers: Option<Arc<Autoscalers>>,
    /// Which backends.
    pub discoverers: Option<Arc<Discoverers>>,
}

impl Desk {
    /// Knows whether traffic may be sent here, and nothing else.
    pub fn new(readiness: Arc<dyn Readiness>) -> Desk {
        Desk {
            readiness,
            numbers: None,
            ledger: None,
            log: None,
            tokens: None,
            steering: None,
            journal: None,
            pprof: None,
            migrations: None,
            autoscalers: None,
            discoverers: None,
        }
    }
}
