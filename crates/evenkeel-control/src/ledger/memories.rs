//! What a process remembers beside its counts: the last exchanges that were worth keeping, and how
//! traffic went. The process after it remembers them too.

use evenkeel_api::{HistoryStep, RecordedRequest};
use serde::{Deserialize, Serialize};

/// Memories on their way to the next process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memories {
    /// The oldest first.
    #[serde(default)]
    pub(crate) requests: Vec<RecordedRequest>,
    #[serde(default)]
    pub(crate) histories: Vec<HistoryForm>,
}

/// How traffic of one scope went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HistoryForm {
    /// Route, pool and backend; those that do not tell the scope are left out.
    pub(crate) scope: (Option<String>, Option<String>, Option<String>),
    /// The oldest first.
    pub(crate) steps: Vec<HistoryStep>,
}

impl Memories {
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.histories.is_empty()
    }
}
