//! A first configuration, before anything serves it.

use super::find::KeptFinds;
use super::keep::{Handed, Keep, Worry};
use super::revision::History;
use super::{
    Course, Edit, InForce, NewBackend, ReadFile, Rejected, State, Steering, Tally,
    configuration_of, unix_nanos,
};
use crate::autoscalers::Standing;
use arc_swap::ArcSwap;
use evenkeel_config::{Configuration, Diagnostic};
use evenkeel_core::plan::Plan;
use evenkeel_proxy::log::EventLog;
use evenkeel_proxy::server::Server;
use std::sync::{Arc, Mutex, OnceLock};

/// A configuration that was read and found good, before anything serves it.
pub struct Draft {
    read_file: Box<ReadFile>,
    state: State,
    configuration: Configuration,
    /// What is to be served.
    pub plan: Plan,
    /// What holds but should be looked at.
    pub warnings: Vec<Diagnostic>,
    keep: Keep,
    kept_finds: KeptFinds,
    /// Of the processes before this one.
    history: History,
    /// The file of `state_dir` has all of them.
    is_written: bool,
    /// To be told when there is a log.
    worries: Vec<Worry>,
}

fn checked(state: &State) -> Result<(Configuration, Plan, Vec<Diagnostic>), Rejected> {
    let configuration = configuration_of(state, &[])?;
    let (plan, warnings) = crate::vet(&configuration).map_err(Rejected::Invalid)?;
    Ok((configuration, plan, warnings))
}

impl Draft {
    /// Reads and checks a first configuration, with the edits over it that the process before this
    /// one has handed over (see `Steering::bequeath`), or else that `state_dir` has kept.
    ///
    /// # Errors
    /// It cannot be read, or does not hold.
    pub fn read(read_file: Box<ReadFile>, handed: Option<&[u8]>) -> Result<Draft, Rejected> {
        let mut state = State { written: read_file()?, ..State::default() };
        // The file alone says where edits are kept.
        let alone = configuration_of(&state, &[])?;
        let (mut keep, mut kept_finds) = (Keep::of(&alone), KeptFinds::of(&alone));
        let mut worries = Vec::from_iter(keep.claim(handed.is_some()));
        let handed = handed.map(Handed::parse).transpose().unwrap_or_else(|error| {
            worries.push(keep.cannot_take_up(&error));
            None
        });
        let Handed { overlay, found } = handed.unwrap_or_default();
        let taken = keep.take_up(&state.written.overrides, overlay);
        let (found, about_finds) = kept_finds.take_up(found);
        state.found = Arc::new(found);
        worries.extend(taken.worries.into_iter().chain(about_finds));
        let (history, is_written) = (taken.history, taken.is_written);
        state.overlay = history.overlay();
        let outcome = match checked(&state) {
            Err(rejected) if !state.overlay.is_empty() => {
                // Those edits stay in the revision that made them.
                state.overlay.clear();
                worries.push(keep.cannot_lay_over(&rejected.to_string()));
                checked(&state)
            }
            outcome => outcome,
        };
        let (configuration, plan, warnings) = outcome?;
        state.forget_taken_back(&[], &configuration.conflicts);
        Ok(Draft {
            read_file,
            state,
            configuration,
            plan,
            warnings,
            keep,
            kept_finds,
            history,
            is_written,
            worries,
        })
    }

    /// With backends that another process has started, unless that is still there. One that does
    /// not fit stays out.
    #[must_use]
    pub fn with_backends(mut self, standing: &[Standing]) -> Draft {
        let standing = if self.shares_state() { &[] } else { standing };
        for Standing { pool, name, address } in standing {
            let (name, address) = (Some(name.clone()), address.clone());
            let backend = NewBackend { name, address, weight: None, admin: None };
            let mut state = self.state.clone();
            state.adjusted.push(Arc::new(Edit::AddBackend { pool: pool.to_string(), backend }));
            if let Ok((configuration, plan, warnings)) = checked(&state) {
                (self.state, self.configuration) = (state, configuration);
                (self.plan, self.warnings) = (plan, warnings);
            }
        }
        self
    }

    /// True if another process keeps its state in the same `state_dir`: what that one has started
    /// is its own.
    pub fn shares_state(&self) -> bool {
        self.keep.is_shared()
    }

    /// The name of the file; `None` if there is none.
    pub fn file(&self) -> Option<&str> {
        self.state.written.source.as_ref().map(|source| source.name.as_str())
    }

    /// Takes the helm of the server that serves this draft's plan.
    pub fn steer(self, server: Arc<Server>, events: EventLog) -> Arc<Steering> {
        let Draft { read_file, mut state, configuration, plan, warnings, .. } = self;
        state.forget_ended(&configuration.conflicts);
        let mut history = self.history;
        let is_new = history.begin(&state, unix_nanos());
        let generation = server.state().generation();
        let began = plan.clone();
        let mut in_force = InForce::new(configuration, plan, generation);
        in_force.warnings = warnings;
        in_force.file = state.file();
        in_force.edits = state.overlay.len();
        in_force.revision = history.last();
        let conflicts = in_force.conflicts.clone();
        let steering = Steering {
            read_file,
            server,
            events,
            began,
            seat: OnceLock::new(),
            keep: self.keep,
            kept_finds: self.kept_finds,
            course: Mutex::new(Course { state, leaving: Vec::new(), history }),
            in_force: ArcSwap::from_pointee(in_force),
            followers: Mutex::default(),
            tally: Tally::default(),
        };
        self.worries.iter().for_each(|worry| steering.tell_worry(worry));
        steering.tell_conflicts(&conflicts);
        if is_new || !self.is_written {
            steering.keep_revisions(&steering.lock_course().history);
        }
        Arc::new(steering)
    }
}
