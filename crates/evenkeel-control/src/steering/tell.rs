//! What the log says of changes.

use super::{Applied, Author, Rejected, Steering, unix_nanos};
use evenkeel_config::{Conflict, Diagnostics};
use evenkeel_core::plan::LogLevel;
use evenkeel_core::record::{Event, EventValue};
use std::sync::PoisonError;
use std::time::Duration;

/// Lines of a diff in an event.
const MAX_TOLD_CHANGES: usize = 20;

impl Steering {
    pub(super) fn tell_applied(&self, applied: &Applied, by: &Author, took: Duration) {
        let count = u64::try_from(applied.changes.len()).unwrap_or(u64::MAX);
        let shown = applied.changes.iter().take(MAX_TOLD_CHANGES);
        let changes = shown.map(String::as_str).collect::<Vec<_>>().join("; ");
        let notes = applied.notes.join("; ");
        let addresses = self.server.addresses();
        let listeners: Vec<String> =
            addresses.iter().map(|(name, address)| format!("{name}={address}")).collect();
        let listeners = listeners.join(" ");
        let admin = self.admin_address();
        let mut fields = vec![
            ("by", EventValue::Text(&by.name)),
            ("generation", EventValue::Number(applied.generation)),
            ("took_ms", EventValue::Float((took.as_secs_f64() * 1e6).round() / 1e3)),
            ("changed", EventValue::Number(count)),
            ("changes", EventValue::Text(&changes)),
            ("listeners", EventValue::Text(&listeners)),
            ("admin", EventValue::Text(&admin)),
        ];
        if applied.edits > 0 {
            let edits = u64::try_from(applied.edits).unwrap_or(u64::MAX);
            fields.push(("edits_over_file", EventValue::Number(edits)));
        }
        if !notes.is_empty() {
            fields.push(("note", EventValue::Text(&notes)));
        }
        self.tell((LogLevel::Info, "config_reloaded"), "another configuration serves", &fields);
        self.tell_conflicts(&applied.conflicts);
    }

    pub(super) fn tell_conflicts(&self, conflicts: &[Conflict]) {
        for conflict in conflicts.iter().filter(|it| it.kind.is_trouble()) {
            let text = conflict.to_string();
            let fields = [("conflict", EventValue::Text(&text))];
            let message = "an edit made through the API does not fit the file any more";
            self.tell((LogLevel::Warn, "config_conflict"), message, &fields);
        }
    }

    /// How a reload of the file ended; if it was rejected, that is told.
    pub(super) fn remember(&self, outcome: &Result<Applied, Rejected>, by: &Author) {
        let why = outcome.as_ref().err().map(|rejected| first_of(rejected).0);
        *self.tally.trouble.lock().unwrap_or_else(PoisonError::into_inner) = why;
        if let Err(rejected) = outcome {
            self.tell_rejected(rejected, by);
        }
    }

    /// Why the last reload of the file was rejected, if it was.
    pub fn trouble(&self) -> Option<String> {
        self.tally.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn tell_rejected(&self, rejected: &Rejected, by: &Author) {
        let (first, count) = first_of(rejected);
        let fields = [
            ("by", EventValue::Text(&by.name)),
            ("error", EventValue::Text(&first)),
            ("errors", EventValue::Number(u64::try_from(count).unwrap_or(u64::MAX))),
        ];
        let message = "the new configuration is not served; the one before still is";
        self.tell((LogLevel::Error, "config_rejected"), message, &fields);
    }

    pub(super) fn tell(
        &self,
        (level, name): (LogLevel, &'static str),
        message: &str,
        fields: &[(&'static str, EventValue<'_>)],
    ) {
        self.events.emit(&Event { unix_nanos: unix_nanos(), level, name, message, fields });
    }
}

/// The first of what is wrong, and how much is.
fn first_of(rejected: &Rejected) -> (String, usize) {
    match rejected {
        Rejected::Invalid(Diagnostics(problems)) => {
            let first = problems.first().map(|problem| {
                let mut short = problem.clone();
                short.snippet = None;
                short.to_string()
            });
            (first.unwrap_or_default(), problems.len())
        }
        Rejected::Unreadable(_) | Rejected::Refused(_) | Rejected::Stale { .. } => {
            (rejected.to_string(), 1)
        }
    }
}
