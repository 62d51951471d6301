//! What clients, backends and the proxy say about one world, in virtual time.

use crate::memory::MemoryNet;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// How a request ended for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A whole response.
    Answered {
        /// Its status.
        status: u16,
        /// The proxy's own.
        local: bool,
        /// Virtual time from the start of the world.
        at: Duration,
    },
    /// The connection ended before a whole response; how.
    Broken(String),
    /// The client left by its own plan.
    Left,
    /// Never sent; why.
    Unsent(String),
}

/// One request head that a backend saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The request's id.
    pub id: String,
    /// Who saw it.
    pub backend: SocketAddr,
}

/// One access record.
#[derive(Clone, Debug)]
pub(super) struct AccessLine {
    pub(super) id: String,
    pub(super) status: u16,
    pub(super) failure: Option<String>,
}

/// Everything that happened.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) trace: Vec<String>,
    pub(super) breaches: Vec<String>,
    pub(super) outcomes: BTreeMap<String, Vec<Outcome>>,
    pub(super) sightings: Vec<Sighting>,
    /// Requests whose body came to a backend in part.
    pub(super) cut: Vec<String>,
}

/// Where scripts act and tell what they do.
pub(super) struct Stage {
    pub(super) net: MemoryNet,
    pub(super) journal: RefCell<Journal>,
}

impl Stage {
    /// Adds a line to the trace.
    pub(super) fn note(&self, text: &str) {
        let at = self.net.elapsed().as_millis();
        self.journal.borrow_mut().trace.push(format!("{at:>7} ms  {text}"));
    }

    /// Something that must never happen has happened.
    pub(super) fn breach(&self, text: &str) {
        self.note(&format!("BREACH {text}"));
        self.journal.borrow_mut().breaches.push(text.to_owned());
    }

    /// One request has come to its end.
    pub(super) fn settle(&self, id: &str, outcome: Outcome) {
        self.note(&format!("client: {id} ended: {outcome:?}"));
        let mut journal = self.journal.borrow_mut();
        journal.outcomes.entry(id.to_owned()).or_default().push(outcome);
    }
}
