//! How each discovery stands: for metrics, for the admin listener, and for the log, which is told
//! of a row of failures the first only.

use super::Settled;
use crate::numbers::unix_nanos;
use evenkeel_core::plan::LogLevel;
use evenkeel_core::record::{Event, EventValue};
use evenkeel_proxy::log::EventLog;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Names in one event.
const MAX_TOLD_NAMES: usize = 20;

/// What became of one answer.
pub(super) enum Told {
    /// There was none.
    Failed(String),
    /// It named nobody, and that is not believed.
    Empty,
    /// It was taken.
    Good {
        /// Backends that were left out.
        left_out: usize,
        /// Backends that it names.
        count: usize,
        /// True if that is in force already.
        settled: bool,
    },
}

/// How the search for the backends of a pool goes.
#[derive(Clone, Debug)]
pub struct Search {
    /// Who is asked.
    pub kind: &'static str,
    /// Whether the last answer was one that could be used.
    pub up: bool,
    /// Why not.
    pub trouble: Option<String>,
    /// Backends of the pool that were found.
    pub backends: usize,
    /// When the last good answer came; `None` = there was none yet.
    pub confirmed: Option<Instant>,
    /// Backends that were named, but left out.
    pub left_out: usize,
    /// Whether the first answer is in force, or was a failure.
    has_begun: bool,
    /// Whether the last set could not be put in force.
    is_rejected: bool,
}

/// How all of them stand.
pub(super) struct Board {
    standings: Mutex<BTreeMap<Arc<str>, Search>>,
    news: Condvar,
    events: Option<EventLog>,
}

impl Board {
    pub(super) fn new(events: Option<EventLog>) -> Board {
        Board { standings: Mutex::default(), news: Condvar::new(), events }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Search>> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn standings(&self) -> Vec<(Arc<str>, Search)> {
        self.lock().iter().map(|(pool, it)| (Arc::clone(pool), it.clone())).collect()
    }

    pub(super) fn retain(&self, is_wanted: impl Fn(&str) -> bool) {
        self.lock().retain(|pool, _| is_wanted(pool));
    }

    pub(super) fn begin(&self, pool: &Arc<str>, kind: &'static str, backends: usize) {
        let standing = Search {
            kind,
            up: false,
            trouble: None,
            backends,
            confirmed: None,
            left_out: 0,
            has_begun: false,
            is_rejected: false,
        };
        self.lock().insert(Arc::clone(pool), standing);
    }

    pub(super) fn await_first<'a>(&self, pools: impl Iterator<Item = &'a str>, timeout: Duration) {
        let until = Instant::now() + timeout;
        let pools: Vec<&str> = pools.collect();
        let mut standings = self.lock();
        while !pools.iter().all(|pool| standings.get(*pool).is_some_and(|it| it.has_begun)) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let woken = self.news.wait_timeout(standings, left);
            standings = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes down what became of an answer, and says what is new about that.
    pub(super) fn tell(&self, pool: &Arc<str>, told: Told) {
        let mut standings = self.lock();
        let Some(it) = standings.get_mut(pool) else { return };
        let before = it.clone();
        match told {
            Told::Failed(why) => {
                it.fail(why);
                it.has_begun = true;
            }
            Told::Empty => {
                it.fail("it names no backends; what was known stays (allow_empty)".to_owned());
                it.has_begun = true;
            }
            Told::Good { left_out, count, settled } => {
                (it.left_out, it.confirmed) = (left_out, Some(Instant::now()));
                if settled {
                    (it.backends, it.has_begun, it.is_rejected) = (count, true, false);
                }
                if !it.is_rejected {
                    (it.up, it.trouble) = (true, None);
                }
            }
        }
        let after = it.clone();
        drop(standings);
        self.news.notify_all();
        self.tell_change(pool, &before, &after);
    }

    fn tell_change(&self, pool: &str, before: &Search, after: &Search) {
        let kind = ("source", EventValue::Text(after.kind));
        match (&before.trouble, &after.trouble) {
            (None, Some(why)) => {
                let fields = [kind, ("error", EventValue::Text(why))];
                let message = "nothing can be found; what was known stays in use";
                self.emit((LogLevel::Warn, "discovery_failed"), (pool, message), &fields);
            }
            (Some(_), None) => {
                let message = "backends can be found again";
                self.emit((LogLevel::Info, "discovery_recovered"), (pool, message), &[kind]);
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        if after.left_out > 0 && before.left_out == 0 {
            let count = u64::try_from(after.left_out).unwrap_or(u64::MAX);
            let fields = [kind, ("left_out", EventValue::Number(count))];
            let message = "more backends were found than `discovery.max`; the surplus is left out";
            self.emit((LogLevel::Warn, "discovery_bounded"), (pool, message), &fields);
        }
    }

    /// A set is in force.
    pub(super) fn settled(&self, settled: &Settled, backends: usize) {
        let mut standings = self.lock();
        let pool = settled.pool.as_str();
        let Some(it) = standings.get_mut(pool) else { return };
        let before = it.clone();
        (it.backends, it.has_begun) = (backends, true);
        if std::mem::take(&mut it.is_rejected) {
            (it.up, it.trouble) = (true, None);
        }
        let after = it.clone();
        drop(standings);
        self.news.notify_all();
        self.tell_change(pool, &before, &after);
        let names = |names: &[String]| {
            let shown: Vec<&str> = names.iter().take(MAX_TOLD_NAMES).map(String::as_str).collect();
            let more = names.len().saturating_sub(MAX_TOLD_NAMES);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{}{more}", shown.join(", "))
        };
        let (added, removed) = (names(&settled.added), names(&settled.removed));
        let fields = [
            ("source", EventValue::Text(after.kind)),
            ("added", EventValue::Text(&added)),
            ("removed", EventValue::Text(&removed)),
            ("backends", EventValue::Number(u64::try_from(backends).unwrap_or(u64::MAX))),
        ];
        let message = "other backends were found";
        self.emit((LogLevel::Info, "discovery_changed"), (pool, message), &fields);
    }

    /// A set could not be put in force; it is tried again.
    pub(super) fn rejected(&self, pool: &str, why: &str) {
        let mut standings = self.lock();
        let Some(it) = standings.get_mut(pool) else { return };
        let is_first = it.trouble.is_none();
        it.fail(why.to_owned());
        (it.has_begun, it.is_rejected) = (true, true);
        let kind = it.kind;
        drop(standings);
        self.news.notify_all();
        if is_first {
            let fields = [("source", EventValue::Text(kind)), ("error", EventValue::Text(why))];
            let message = "what was found cannot be put in force; it is tried again";
            self.emit((LogLevel::Error, "discovery_rejected"), (pool, message), &fields);
        }
    }

    fn emit(
        &self,
        (level, name): (LogLevel, &'static str),
        (pool, message): (&str, &str),
        fields: &[(&'static str, EventValue<'_>)],
    ) {
        let Some(events) = &self.events else { return };
        let mut all = vec![("pool", EventValue::Text(pool))];
        all.extend_from_slice(fields);
        events.emit(&Event { unix_nanos: unix_nanos(), level, name, message, fields: &all });
    }
}

impl Search {
    fn fail(&mut self, why: String) {
        (self.up, self.trouble) = (false, Some(why));
    }
}
