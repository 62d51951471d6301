//! Where backends come from that no file names.

use super::{Edit, NewBackend, Steering};
use evenkeel_api::Source;
use evenkeel_core::address::BackendAddress;
use std::collections::HashMap;

/// By pool and name.
pub(crate) type Sources = HashMap<(String, String), Source>;

impl Steering {
    /// The backends that edits have added, or that were found.
    pub(crate) fn sources(&self) -> Sources {
        let course = self.lock_course();
        let overlay = course.state.overlay.iter().map(|edit| (edit, Source::Api));
        let adjusted = course.state.adjusted.iter().map(|edit| (edit, Source::Autoscale));
        let all = overlay.chain(adjusted);
        let edited = all.filter_map(|(edit, source)| Some((added(edit)?, source)));
        let in_force = self.in_force.load();
        let found = in_force.found.iter().map(|it| (it.clone(), Source::Discovery));
        edited.chain(found).collect()
    }
}

fn added(edit: &Edit) -> Option<(String, String)> {
    let Edit::AddBackend { pool, backend: NewBackend { name, address, .. } } = edit else {
        return None;
    };
    let own_name = || BackendAddress::parse(address).map(|address| address.default_name());
    let name = name.clone().or_else(|| own_name().ok())?;
    Some((pool.clone(), name))
}
