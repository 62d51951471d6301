//! When each name is looked up next, and what a look-up changes. No clock and no network: `now`,
//! chance and answers come in as arguments.
//!
//! ```text
//!            start_due                 finish, name still wanted
//!   due(t) ------------> running ------------------------------------> due(t + wait)
//!     ^                     |           wait = TTL, or back-off
//!     | replace (new name)  +--> forgotten, if replace dropped the name meanwhile
//! ```

use crate::limits::{
    JITTER, MAX_ADDRESSES, MAX_BACKOFF, MAX_LOOKUPS, MAX_TTL, MIN_BACKOFF, MIN_TTL,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a look-up found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// In any order, with repetitions.
    pub(crate) addresses: Vec<IpAddr>,
    /// How long it may be believed.
    pub(crate) ttl: Duration,
}

/// What a finished look-up means for those who wait for the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The name has these addresses now.
    Publish,
    /// It has the same addresses as before.
    Same,
    /// It could not be resolved; the last addresses stay. With the reason.
    Failed(String),
    /// Nobody wants the name any more.
    Unwanted,
}

/// A moment of a look-up's end, with the chance that stretches the wait for the next one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// The time.
    pub(crate) now: Instant,
    /// Uniform in 0 to 1.
    pub(crate) chance: f64,
}

#[derive(Debug, Default)]
struct Entry {
    /// Sorted, without repetitions; empty until the name has resolved.
    addresses: Vec<IpAddr>,
    /// Since the last success.
    failures: u32,
    /// A look-up has finished, well or not.
    answered: bool,
}

/// All names and their due times. Its size is bounded by the number of distinct names given.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    names: BTreeMap<Arc<str>, Entry>,
    due: BTreeSet<(Instant, Arc<str>)>,
    running: BTreeSet<Arc<str>>,
    unanswered: usize,
}

impl Schedule {
    /// Watches exactly these names from now on. Known names keep addresses and due time.
    pub(crate) fn replace(&mut self, names: BTreeSet<Arc<str>>, now: Instant) {
        self.due.retain(|(_, name)| names.contains(name));
        let mut old = std::mem::take(&mut self.names);
        self.unanswered = 0;
        for name in names {
            let known = old.remove(&name);
            if known.is_none() && !self.running.contains(&name) {
                self.due.insert((now, Arc::clone(&name)));
            }
            let entry = known.unwrap_or_default();
            self.unanswered += usize::from(!entry.answered);
            self.names.insert(name, entry);
        }
    }

    /// The next name to look up now, if one is due and not too many are running.
    pub(crate) fn start_due(&mut self, now: Instant) -> Option<Arc<str>> {
        if self.running.len() >= MAX_LOOKUPS || self.due.first()?.0 > now {
            return None;
        }
        let (_, name) = self.due.pop_first()?;
        self.running.insert(Arc::clone(&name));
        Some(name)
    }

    /// When `start_due` may give a name again; `None` while only a finished look-up can help.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        if self.running.len() >= MAX_LOOKUPS {
            return None;
        }
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes the outcome of a look-up that `start_due` gave out.
    pub(crate) fn finish(
        &mut self,
        name: &Arc<str>,
        outcome: Result<Answer, String>,
        moment: Moment,
    ) -> Change {
        self.running.remove(name);
        let Some(entry) = self.names.get_mut(name) else {
            return Change::Unwanted;
        };
        self.unanswered -= usize::from(!entry.answered);
        entry.answered = true;
        let (wait, change) = match outcome {
            Ok(answer) if !answer.addresses.is_empty() => entry.succeed(answer),
            Ok(_) => entry.fail("the name has no addresses".to_owned()),
            Err(reason) => entry.fail(reason),
        };
        let wait = wait.mul_f64(1.0 + JITTER * moment.chance.clamp(0.0, 1.0));
        self.due.insert((moment.now + wait, Arc::clone(name)));
        change
    }

    /// The last known addresses; empty if the name has not resolved yet.
    pub(crate) fn addresses(&self, name: &str) -> &[IpAddr] {
        self.names.get(name).map_or(&[], |entry| &entry.addresses)
    }

    /// True once each name had a first answer, be it a failure.
    pub(crate) fn all_answered(&self) -> bool {
        self.unanswered == 0
    }
}

impl Entry {
    fn succeed(&mut self, answer: Answer) -> (Duration, Change) {
        let mut addresses = answer.addresses;
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MAX_ADDRESSES);
        self.failures = 0;
        let changed = self.addresses != addresses;
        self.addresses = addresses;
        let change = if changed { Change::Publish } else { Change::Same };
        (answer.ttl.clamp(MIN_TTL, MAX_TTL), change)
    }

    fn fail(&mut self, reason: String) -> (Duration, Change) {
        let doubled = 2u32.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        let wait = MIN_BACKOFF.saturating_mul(doubled).min(MAX_BACKOFF);
        (wait, Change::Failed(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn found(addresses: &[&str], ttl: u64) -> Result<Answer, String> {
        let addresses = addresses.iter().map(|text| text.parse().expect("address")).collect();
        Ok(Answer { addresses, ttl: Duration::from_secs(ttl) })
    }

    /// Looks the only due name up and gives the change and the wait until the next look-up.
    fn step(
        schedule: &mut Schedule,
        outcome: Result<Answer, String>,
        chance: f64,
    ) -> (Change, Duration) {
        let now = schedule.next_due().expect("something is due");
        let name = schedule.start_due(now).expect("due");
        assert_eq!(schedule.next_due(), None);
        let change = schedule.finish(&name, outcome, Moment { now, chance });
        (change, schedule.next_due().expect("due again") - now)
    }

    #[test]
    fn waits_for_the_ttl_within_its_bounds() {
        let cases = [(0, 0.0, 1.0), (1, 0.0, 1.0), (60, 0.0, 60.0), (86_400, 0.0, 300.0)];
        let stretched = [(60, 1.0, 66.0), (60, 0.5, 63.0), (0, 1.0, 1.1), (60, 9.0, 66.0)];
        for (ttl, chance, wait) in cases.into_iter().chain(stretched) {
            let mut schedule = Schedule::default();
            schedule.replace(set(&["a"]), Instant::now());
            let (change, waited) = step(&mut schedule, found(&["10.0.0.1"], ttl), chance);
            assert_eq!(change, Change::Publish);
            assert_eq!(waited, Duration::from_secs_f64(wait), "TTL {ttl}, chance {chance}");
        }
    }

    #[test]
    fn publishes_sorted_and_only_on_change() {
        let mut schedule = Schedule::default();
        schedule.replace(set(&["a"]), Instant::now());
        let first = found(&["::1", "10.0.0.2", "10.0.0.1", "10.0.0.2"], 9);
        assert_eq!(step(&mut schedule, first, 0.0).0, Change::Publish);
        let sorted = found(&["10.0.0.1", "10.0.0.2", "::1"], 9).expect("found").addresses;
        assert_eq!(schedule.addresses("a"), sorted);
        let same = found(&["10.0.0.1", "::1", "10.0.0.2"], 9);
        assert_eq!(step(&mut schedule, same, 0.0).0, Change::Same);
        assert_eq!(step(&mut schedule, found(&["::1"], 9), 0.0).0, Change::Publish);
    }

    #[test]
    fn failures_back_off_and_keep_the_addresses() {
        let mut schedule = Schedule::default();
        schedule.replace(set(&["a"]), Instant::now());
        step(&mut schedule, found(&["10.0.0.1"], 5), 0.0);
        for wait in [1, 2, 4, 8, 16, 30, 30] {
            let (change, waited) = step(&mut schedule, Err("no".to_owned()), 0.0);
            assert_eq!(change, Change::Failed("no".to_owned()));
            assert_eq!(waited, Duration::from_secs(wait));
            assert_eq!(schedule.addresses("a").len(), 1);
        }
        let empty = step(&mut schedule, found(&[], 5), 0.0);
        assert!(matches!(empty.0, Change::Failed(_)));
        assert_eq!(step(&mut schedule, found(&["10.0.0.1"], 5), 0.0).0, Change::Same);
        assert_eq!(step(&mut schedule, Err("no".to_owned()), 0.0).1, Duration::from_secs(1));
    }

    #[test]
    fn few_run_at_once() {
        let now = Instant::now();
        let names: Vec<String> = (0..MAX_LOOKUPS + 3).map(|n| format!("n{n:03}")).collect();
        let mut schedule = Schedule::default();
        schedule.replace(names.iter().map(|name| Arc::from(name.as_str())).collect(), now);
        let running: Vec<_> = std::iter::from_fn(|| schedule.start_due(now)).collect();
        assert_eq!(running.len(), MAX_LOOKUPS);
        assert_eq!(schedule.next_due(), None);
        let moment = Moment { now, chance: 0.0 };
        schedule.finish(&running[0], found(&["::1"], 60), moment);
        assert_eq!(schedule.next_due(), Some(now));
        assert_eq!(schedule.start_due(now).as_deref(), Some("n016"));
        assert_eq!(schedule.start_due(now), None);
        assert!(!schedule.all_answered());
    }

    #[test]
    fn replacing_keeps_what_is_known() {
        let now = Instant::now();
        let moment = Moment { now, chance: 0.0 };
        let mut schedule = Schedule::default();
        schedule.replace(set(&["a", "b"]), now);
        let a = schedule.start_due(now).expect("a is due");
        assert_eq!(schedule.finish(&a, found(&["10.0.0.1"], 60), moment), Change::Publish);
        let b = schedule.start_due(now).expect("b is due");
        schedule.replace(set(&["a"]), now);
        assert!(schedule.all_answered());
        assert_eq!(schedule.next_due(), Some(now + Duration::from_secs(60)));
        assert_eq!(schedule.addresses("a").len(), 1);
        // `b` is wanted again before its look-up ended: that one serves, no second is started.
        schedule.replace(set(&["a", "b"]), now);
        assert_eq!(schedule.start_due(now), None);
        assert!(!schedule.all_answered());
        assert_eq!(schedule.finish(&b, found(&["10.0.0.2"], 9), moment), Change::Publish);
        assert!(schedule.all_answered());
        // Dropped while running: the outcome is nobody's.
        let later = now + Duration::from_secs(9);
        let b = schedule.start_due(later).expect("b is due again");
        schedule.replace(set(&[]), later);
        assert_eq!(schedule.finish(&b, found(&["::1"], 9), moment), Change::Unwanted);
        assert_eq!(schedule.next_due(), None);
    }
}
