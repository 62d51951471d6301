//! A first configuration, before anything serves it.

use super::revision::History;
use super::{
    Course, InForce, ReadFile, Rejected, State, Steering, Tally, configuration_of, unix_nanos,
};
use arc_swap::ArcSwap;
use evenkeel_config::Configuration;
use evenkeel_core::plan::Plan;
use evenkeel_proxy::log::EventLog;
use evenkeel_proxy::server::Server;
use std::sync::{Arc, Mutex};

/// A configuration that was read and found good, before anything serves it.
pub struct Draft {
    read_file: Box<ReadFile>,
    state: State,
    configuration: Configuration,
    /// What is to be served.
    pub plan: Plan,
    /// What holds but should be looked at.
    pub warnings: Vec<evenkeel_config::Diagnostic>,
}

impl Draft {
    /// Reads and checks a first configuration.
    ///
    /// # Errors
    /// It cannot be read, or does not hold.
    pub fn read(read_file: Box<ReadFile>) -> Result<Draft, Rejected> {
        let state = State { written: read_file()?, ..State::default() };
        let configuration = configuration_of(&state, &[])?;
        let (plan, warnings) = crate::vet(&configuration).map_err(Rejected::Invalid)?;
        Ok(Draft { read_file, state, configuration, plan, warnings })
    }

    /// The name of the file; `None` if there is none.
    pub fn file(&self) -> Option<&str> {
        self.state.written.source.as_ref().map(|source| source.name.as_str())
    }

    /// Takes the helm of the server that serves this draft's plan.
    pub fn steer(self, server: Arc<Server>, events: EventLog) -> Arc<Steering> {
        let Draft { read_file, state, configuration, plan, warnings } = self;
        let history = History::begin(&state, unix_nanos());
        let generation = server.state().generation();
        let began = plan.clone();
        let mut in_force = InForce::new(configuration, plan, generation);
        in_force.warnings = warnings;
        in_force.file = state.file();
        in_force.revision = history.last();
        Arc::new(Steering {
            read_file,
            server,
            events,
            began,
            course: Mutex::new(Course { state, leaving: Vec::new(), history }),
            in_force: ArcSwap::from_pointee(in_force),
            followers: Mutex::default(),
            tally: Tally::default(),
        })
    }
}
