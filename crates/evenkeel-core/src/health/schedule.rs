//! When which backend is probed, at most once at a time.

use crate::time::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The probes of many backends, each known by an index that the caller chose. Knows no clock: the
/// loop sleeps until `next_due`, begins every probe that `start_due` hands out, and reports the end
/// of each to `finished`. A probe is handed out once until then, so that no backend is ever probed
/// twice at a time, and the next one counts from when this one was due, so that nothing drifts.
#[derive(Debug, Default)]
pub struct ProbeSchedule {
    slots: BTreeMap<usize, Slot>,
    /// The slots that wait, in the order in which they are due. A set and not a heap, because a
    /// slot that moves leaves nothing behind in it.
    waiting: BTreeSet<(Nanos, usize)>,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    /// In `waiting` at this time.
    Waiting(Nanos),
    /// Handed out.
    Running {
        /// When it was due.
        due: Nanos,
        then: Then,
    },
}

/// What follows a probe that runs.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// The next one, after the delay.
    Delay,
    /// The next one, at this time.
    At(Nanos),
    /// Nothing.
    Removed,
}

impl ProbeSchedule {
    /// No probes.
    pub fn new() -> ProbeSchedule {
        ProbeSchedule::default()
    }

    /// Adds a backend, or moves the next probe of one that is known. While a probe of this index
    /// still runs, even one that was removed, the new one waits for its end.
    pub fn add(&mut self, index: usize, due: Nanos) {
        match self.slots.get(&index).copied() {
            Some(Slot::Running { due: running, .. }) => {
                self.slots.insert(index, Slot::Running { due: running, then: Then::At(due) });
            }
            Some(Slot::Waiting(_)) | None => self.wait(index, due),
        }
    }

    /// When the next probe begins; `None` while nothing waits.
    pub fn next_due(&self) -> Option<Nanos> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// Hands out the probe that has been due for longest. Each must come back to `finished`, even
    /// if it was cancelled or its backend removed.
    pub fn start_due(&mut self, now: Nanos) -> Option<usize> {
        let (due, index) = self.waiting.first().copied().filter(|(due, _)| *due <= now)?;
        self.waiting.remove(&(due, index));
        self.slots.insert(index, Slot::Running { due, then: Then::Delay });
        Some(index)
    }

    /// Ends a probe. The next one is due after `delay`, counted from when this one was; or now, if
    /// that is over. Ignored if no such probe was handed out.
    pub fn finished(&mut self, index: usize, delay: Duration, now: Nanos) {
        let Some(Slot::Running { due, then }) = self.slots.get(&index).copied() else { return };
        match then {
            Then::Delay => self.wait(index, due.after(delay).max(now)),
            Then::At(next) => self.wait(index, next.max(now)),
            Then::Removed => {
                self.slots.remove(&index);
            }
        }
    }

    /// Makes a backend due now; if a probe of it runs, right after that.
    pub fn hasten(&mut self, index: usize, now: Nanos) {
        match self.slots.get(&index).copied() {
            Some(Slot::Waiting(due)) if due > now => self.wait(index, now),
            Some(Slot::Running { due, then: Then::Delay | Then::At(_) }) => {
                self.slots.insert(index, Slot::Running { due, then: Then::At(now) });
            }
            Some(Slot::Waiting(_) | Slot::Running { then: Then::Removed, .. }) | None => {}
        }
    }

    /// Takes a backend out. A probe that runs is the last one.
    pub fn remove(&mut self, index: usize) {
        match self.slots.get(&index).copied() {
            Some(Slot::Waiting(due)) => {
                self.waiting.remove(&(due, index));
                self.slots.remove(&index);
            }
            Some(Slot::Running { due, .. }) => {
                self.slots.insert(index, Slot::Running { due, then: Then::Removed });
            }
            None => {}
        }
    }

    fn wait(&mut self, index: usize, due: Nanos) {
        if let Some(Slot::Waiting(before)) = self.slots.insert(index, Slot::Waiting(due)) {
            self.waiting.remove(&(before, index));
        }
        self.waiting.insert((due, index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Pace, next_probe_delay};
    use crate::plan::{HealthCheck, HealthPlan};

    fn at(millis: u64) -> Nanos {
        Nanos::default().after(Duration::from_millis(millis))
    }

    const DELAY: Duration = Duration::from_millis(100);

    fn all_due(schedule: &mut ProbeSchedule, now: Nanos) -> Vec<usize> {
        std::iter::from_fn(|| schedule.start_due(now)).collect()
    }

    #[test]
    fn hands_out_what_is_due_once() {
        let mut schedule = ProbeSchedule::new();
        assert_eq!(schedule.next_due(), None);
        for (index, due) in [(7, 30), (3, 10), (5, 20)] {
            schedule.add(index, at(due));
        }
        assert!(all_due(&mut schedule, at(9)).is_empty());
        assert_eq!(all_due(&mut schedule, at(25)), [3, 5]);
        assert_eq!(schedule.next_due(), Some(at(30)));
        schedule.finished(3, DELAY, at(28));
        schedule.finished(7, DELAY, at(28)); // was not handed out
        assert_eq!(all_due(&mut schedule, at(109)), [7]);
        assert_eq!(schedule.next_due(), Some(at(110)));
        schedule.finished(5, DELAY, at(300));
        assert_eq!(all_due(&mut schedule, at(299)), [3]);
        assert_eq!(schedule.next_due(), Some(at(300)), "a late one is due at once");
    }

    #[test]
    fn hastening_and_moving() {
        let mut schedule = ProbeSchedule::new();
        schedule.add(1, at(500));
        schedule.hasten(1, at(50));
        schedule.hasten(1, at(60));
        schedule.hasten(2, at(50)); // unknown
        assert_eq!(schedule.next_due(), Some(at(50)), "and not later");
        assert_eq!(all_due(&mut schedule, at(70)), [1]);
        schedule.hasten(1, at(80));
        assert!(all_due(&mut schedule, at(90)).is_empty(), "one at a time");
        schedule.finished(1, DELAY, at(95));
        assert_eq!(all_due(&mut schedule, at(95)), [1]);
        schedule.finished(1, DELAY, at(96));
        assert_eq!(schedule.next_due(), Some(at(195)), "hastened once");
        schedule.add(1, at(150));
        assert_eq!(all_due(&mut schedule, at(1000)), [1], "moved, not doubled");
    }

    #[test]
    fn removed_while_waiting_or_running() {
        let mut schedule = ProbeSchedule::new();
        schedule.add(1, at(10));
        schedule.add(2, at(10));
        schedule.remove(2);
        schedule.remove(9); // unknown
        assert_eq!(all_due(&mut schedule, at(10)), [1]);
        schedule.remove(1);
        schedule.hasten(1, at(11));
        schedule.finished(1, DELAY, at(12));
        assert_eq!(schedule.next_due(), None);

        schedule.add(1, at(20));
        assert_eq!(all_due(&mut schedule, at(20)), [1]);
        schedule.remove(1);
        schedule.add(1, at(30));
        assert!(all_due(&mut schedule, at(40)).is_empty(), "the old probe still runs");
        schedule.finished(1, DELAY, at(45));
        assert_eq!(all_due(&mut schedule, at(45)), [1]);
    }

    /// A scheduler's whole day in virtual time: half of the backends answer within a millisecond,
    /// the others never. The ends of probes are kept in the order in which they come.
    #[test]
    fn thousands_of_backends_keep_their_interval() {
        const BACKENDS: usize = 10_000;
        let plan = HealthPlan {
            check: HealthCheck::Tcp,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy_threshold: 2,
            unhealthy_threshold: 3,
        };
        let end = at(60_000);
        let mut schedule = ProbeSchedule::new();
        let mut state = 1_u64;
        let mut chance = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f64 / (1_u64 << 24) as f64
        };
        for index in 0..BACKENDS {
            schedule.add(index, Nanos::default().after(plan.interval.mul_f64(chance())));
        }
        let mut starts = vec![Vec::new(); BACKENDS];
        let mut ends: BTreeSet<(Nanos, usize)> = BTreeSet::new();
        let mut running = vec![false; BACKENDS];
        loop {
            let next_end = ends.first().map_or(Nanos::NEVER, |(at, _)| *at);
            let now = schedule.next_due().unwrap_or(Nanos::NEVER).min(next_end);
            if now > end {
                break;
            }
            while let Some((ended, index)) = ends.first().copied().filter(|(at, _)| *at <= now) {
                ends.remove(&(ended, index));
                running[index] = false;
                schedule.finished(index, next_probe_delay(&plan, Pace::Steady, chance()), now);
            }
            while let Some(index) = schedule.start_due(now) {
                assert!(!running[index], "two probes of {index} at once");
                running[index] = true;
                starts[index].push(now);
                let hangs = index % 2 == 0;
                let took = if hangs { plan.timeout } else { Duration::from_millis(1) };
                ends.insert((now.after(took), index));
            }
        }
        for (index, starts) in starts.iter().enumerate() {
            assert!((11..=13).contains(&starts.len()), "{index}: {} probes", starts.len());
            for pair in starts.windows(2) {
                let apart = pair[1].duration_since(pair[0]).as_secs_f64();
                assert!((4.75 - 1e-6..5.25 + 1e-6).contains(&apart), "{index}: {apart}");
            }
        }
    }

    /// The loop wakes 30 ms late each time; the probes must not fall behind by that.
    #[test]
    fn a_late_loop_does_not_drift() {
        let mut schedule = ProbeSchedule::new();
        schedule.add(0, at(0));
        for n in 0..100 {
            assert_eq!(schedule.next_due(), Some(at(100 * n)));
            assert_eq!(schedule.start_due(at(100 * n + 30)), Some(0));
            schedule.finished(0, DELAY, at(100 * n + 40));
        }
    }
}
