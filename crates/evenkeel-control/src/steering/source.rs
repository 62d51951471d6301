//! Where backends, and what is wanted with them, come from.

use super::{Edit, NewBackend, Steering};
use evenkeel_api::Source;
use evenkeel_core::address::BackendAddress;
use std::collections::HashMap;

/// A pool and a backend of it.
type Place = (String, String);

/// What edits say, and whose they are.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    added: HashMap<Place, Source>,
    wished: HashMap<Place, Source>,
}

impl Sources {
    /// Who added this backend.
    pub(crate) fn of(&self, place: &Place) -> Source {
        self.added.get(place).copied().unwrap_or(Source::Config)
    }

    /// The backends of a pool that come from there.
    pub(super) fn added_by(&self, pool: &str, wanted: Source) -> Vec<String> {
        let ours = |((of, name), source): (&Place, &Source)| {
            (of == pool && *source == wanted).then(|| name.clone())
        };
        self.added.iter().filter_map(ours).collect()
    }

    /// Who wants its admin state to be as it is: who said so, or else who added it.
    pub(crate) fn of_wish(&self, place: &Place) -> Source {
        self.wished.get(place).copied().unwrap_or_else(|| self.of(place))
    }

    fn note(&mut self, edit: &Edit, source: Source) {
        match edit {
            Edit::AddBackend { pool, backend } => {
                if let Some(name) = name_of(backend) {
                    self.added.insert((pool.clone(), name), source);
                }
            }
            // Who wants a backend gone has it drained first.
            Edit::Admin { pool, backend, .. } | Edit::RemoveBackend { pool, backend, .. } => {
                self.wished.insert((pool.clone(), backend.clone()), source);
            }
            Edit::Strategy { .. }
            | Edit::Weight { .. }
            | Edit::Split { .. }
            | Edit::RoutePool { .. } => {}
        }
    }
}

impl Steering {
    /// What edits say of backends, and whose they are.
    pub(crate) fn sources(&self) -> Sources {
        let course = self.lock_course();
        let mut sources = Sources::default();
        course.state.overlay.iter().for_each(|edit| sources.note(edit, Source::Api));
        course.state.adjusted.iter().for_each(|edit| sources.note(edit, Source::Autoscale));
        let found = &self.in_force.load().found;
        sources.added.extend(found.iter().map(|it| (it.clone(), Source::Discovery)));
        sources
    }
}

fn name_of(backend: &NewBackend) -> Option<String> {
    let NewBackend { name, address, .. } = backend;
    let own_name = || BackendAddress::parse(address).map(|address| address.default_name());
    name.clone().or_else(|| own_name().ok())
}
