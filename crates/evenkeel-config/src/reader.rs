//! Collects every problem of a tree while it is read, each with its key and place.

use crate::diagnostic::{Fault, Problem};
use crate::tree::Place;

/// The path that is being read and all problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    path: String,
    pub(crate) problems: Vec<Problem>,
}

impl Reader {
    /// Reads one key below the present path.
    pub(crate) fn under_key<T>(&mut self, key: &str, read: impl FnOnce(&mut Reader) -> T) -> T {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.under(&[dot, key], read)
    }

    /// Reads one item below the present path.
    pub(crate) fn under_index<T>(
        &mut self,
        index: usize,
        read: impl FnOnce(&mut Reader) -> T,
    ) -> T {
        self.under(&["[", &index.to_string(), "]"], read)
    }

    fn under<T>(&mut self, parts: &[&str], read: impl FnOnce(&mut Reader) -> T) -> T {
        let length = self.path.len();
        parts.iter().for_each(|part| self.path.push_str(part));
        let result = read(self);
        self.path.truncate(length);
        result
    }

    /// Reports what is wrong at the present path.
    pub(crate) fn refuse(&mut self, place: &Place, fault: impl Into<Fault>) {
        let path = self.path.clone();
        self.problems.push(Problem { place: place.clone(), path, fault: fault.into() });
    }
}
