//! The last seconds of both pools, for the rule that does not wait for a check.

use super::evidence::Share;
use super::gates::Arm;
use super::plan::AbortRule;
use super::unanswered::Pending;
use std::collections::VecDeque;
use std::time::Duration;

/// Seconds that are looked at.
const RECENT: usize = 10;
/// Risk of one look that an equal pool is called worse. Looks come every second, for days.
const RISK: f64 = 1e-6;
/// Risk when the old pool is called failing.
const STABLE_RISK: f64 = 0.01;
/// Of the bound on what the old pool's rate may be.
const BOUND_RISK: f64 = 0.05;
/// Requests of the old pool before it can be called failing.
const STABLE_REQUESTS: u64 = 20;

/// Failures of the old pool in a second before they mean anything.
const SHAKEN_ERRORS: u64 = 3;
/// Seconds after the old pool has failed in which the new one is not blamed: what both depend on
/// comes back to one of them first.
const SHAKEN: usize = 3;

/// Seconds without any answer before a pool can be called hanging, if it was never so slow.
const SILENT: usize = 3;
/// Requests that wait meanwhile.
const MIN_PENDING: u64 = 5;

/// Requests and failures of both pools in one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    from: Share,
    to: Share,
    /// Requests that the new pool has answered in it.
    answered: u64,
    /// That waited for it at its end.
    pending: u64,
    /// Requests that the old pool has answered in it.
    answered_old: u64,
    /// That waited for the old pool at its end.
    pending_old: u64,
}

impl Second {
    /// True if at least this part of the old pool's answers were failures.
    fn shakes(&self, part: f64) -> bool {
        self.from.hits >= SHAKEN_ERRORS && self.from.rate() >= part
    }
}

/// What the last seconds mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Trend {
    /// Nothing is wrong that both pools do not share.
    Calm,
    /// The old pool fails by itself: nothing can be said of the new one.
    StableFails,
    /// The old pool answers nobody: the same, and no failure tells when that is over.
    StableHangs,
    /// The new pool is failing, and the old one is not.
    Failing(String),
}

/// The last seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    seconds: VecDeque<Second>,
    /// Failures of the new pool since its last success.
    run: u64,
    /// What the old pool has answered meanwhile.
    run_old: Share,
    last: Option<(Share, Share, [u64; 2])>,
}

impl Recent {
    /// Takes what both pools have answered so far.
    pub(super) fn observe(&mut self, from: &Arm, to: &Arm, [old, new]: [Pending; 2]) {
        let now = (from.failed(), to.failed(), [old.answered, new.answered]);
        let before = self.last.replace(now).unwrap_or(now);
        let ([answered_old, answered], [old_before, new_before]) = (now.2, before.2);
        let second = Second {
            from: difference(now.0, before.0),
            to: difference(now.1, before.1),
            answered: answered.saturating_sub(new_before),
            pending: new.requests,
            answered_old: answered_old.saturating_sub(old_before),
            pending_old: old.requests,
        };
        let Share { hits, of } = second.to;
        let before = if self.run == 0 { Share::default() } else { self.run_old };
        self.run = if hits == of { self.run + hits } else { 0 };
        self.run_old = sum(before, second.from);
        self.seconds.push_back(second);
        while self.seconds.len() > RECENT {
            self.seconds.pop_front();
        }
        if self.is_shaken()
            && let Some(second) = self.seconds.back_mut()
        {
            // Nor later, when the old pool's own failures are no longer looked at.
            second.to = Share::default();
        }
    }

    /// Forgets, as after a pause.
    pub(super) fn clear(&mut self) {
        *self = Recent::default();
    }

    fn sum(&self, of: impl Fn(&Second) -> Share) -> Share {
        self.seconds.iter().map(of).fold(Share::default(), sum)
    }

    /// Judges by the rule; `allowed` is the rate of errors that the plan puts up with, and
    /// `longest` the longest that the old pool has ever taken over an answer.
    pub(super) fn judge(&self, rule: &AbortRule, allowed: f64, longest: Duration) -> Trend {
        let (from, to) = (self.sum(|second| second.from), self.sum(|second| second.to));
        if self.is_shaken() {
            return if self.stable_fails(from, allowed) { Trend::StableFails } else { Trend::Calm };
        }
        if self.stable_hangs(longest) {
            return Trend::StableHangs;
        }
        if let Some(why) = self.silence(rule, longest) {
            return Trend::Failing(why);
        }
        let usual = match from.of {
            0 => allowed.max(0.01),
            _ => from.upper_bound(BOUND_RISK),
        };
        let run = Share { hits: self.run, of: self.run };
        // Few as they may be: an old pool that fails all of its own says that both do.
        let shared = self.run_old.of > 0 && self.run_old.hits == self.run_old.of;
        if rule.consecutive_errors > 0
            && !shared
            && self.run >= rule.consecutive_errors
            && run.chance_of_more(usual) < RISK
        {
            return Trend::Failing(format!("{} errors in a row", self.run));
        }
        if rule.error_ratio > 0.0
            && to.of >= rule.min_requests.max(1)
            && to.rate() > rule.error_ratio * from.rate()
            && to.chance_of_more(usual) < RISK
        {
            return Trend::Failing(format!(
                "{:.2} % errors, {:.2} % in the old pool",
                to.rate() * 100.0,
                from.rate() * 100.0
            ));
        }
        if self.stable_fails(from, allowed) { Trend::StableFails } else { Trend::Calm }
    }

    /// Why the new pool hangs: many wait, and for longer than the old pool ever needs it has
    /// answered nobody, while the old pool did, or nobody waits for that.
    fn silence(&self, rule: &AbortRule, longest: Duration) -> Option<String> {
        let least = rule.consecutive_errors.max(MIN_PENDING);
        let silent = self.silent(least, |second| (second.pending, second.answered));
        let last = self.seconds.back()?;
        let waiting = last.pending;
        let old_answers = last.pending_old == 0
            || self.seconds.iter().rev().take(silent).any(|second| second.from.of > 0);
        let hangs = rule.consecutive_errors > 0
            && waiting >= least
            && is_long(silent, longest)
            && old_answers;
        hangs.then(|| format!("{waiting} requests wait, none was answered for {silent} s"))
    }

    /// True if many wait for the old pool, and it has answered nobody, for longer than it ever
    /// needs.
    fn stable_hangs(&self, longest: Duration) -> bool {
        let silent = self.silent(MIN_PENDING, |second| (second.pending_old, second.answered_old));
        is_long(silent, longest)
    }

    /// Seconds up to now at whose beginning so many waited for a pool, and in which it answered
    /// none of them; `of` says how many wait at the end of a second, and how many were answered
    /// in it.
    fn silent(&self, least: u64, of: impl Fn(&Second) -> (u64, u64)) -> usize {
        let pairs = self.seconds.iter().zip(self.seconds.iter().skip(1)).rev();
        pairs.take_while(|(before, second)| of(before).0 >= least && of(second).1 == 0).count()
    }

    fn stable_fails(&self, from: Share, allowed: f64) -> bool {
        from.of >= STABLE_REQUESTS
            && from.rate() > allowed
            && from.chance_of_more(allowed) < STABLE_RISK
    }

    /// True if the old pool has just failed as a whole, or has just begun to: what the new pool did
    /// in the same moments says nothing of it.
    fn is_shaken(&self) -> bool {
        let mut latest = self.seconds.iter().rev();
        let mut before = self.seconds.iter().rev().skip(1).map(|second| second.from.rate());
        let begins = latest.next().is_some_and(|second| {
            second.shakes(0.1) && before.all(|rate| rate * 3.0 < second.from.rate())
        });
        begins || self.seconds.iter().rev().take(SHAKEN).any(|second| second.shakes(0.5))
    }
}

/// True if a pool that was silent for so many seconds hangs.
fn is_long(silent: usize, longest: Duration) -> bool {
    silent >= SILENT && Duration::from_secs(silent as u64) >= longest
}

fn sum(one: Share, other: Share) -> Share {
    Share { hits: one.hits + other.hits, of: one.of + other.of }
}

fn difference(now: Share, before: Share) -> Share {
    let of = now.of.saturating_sub(before.of);
    Share { hits: now.hits.saturating_sub(before.hits).min(of), of }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(requests: u64, errors: u64) -> Arm {
        Arm { requests, errors, ..Arm::default() }
    }

    fn after(seconds: &[(Arm, Arm)]) -> Trend {
        let mut recent = Recent::default();
        let nobody = [Pending::default(); 2];
        recent.observe(&arm(0, 0), &arm(0, 0), nobody);
        seconds.iter().for_each(|(from, to)| recent.observe(from, to, nobody));
        recent.judge(&AbortRule::default(), 0.01, Duration::ZERO)
    }

    #[test]
    fn a_dead_pool_is_seen_after_five_errors() {
        assert_eq!(after(&[(arm(100, 0), arm(4, 4))]), Trend::Calm);
        assert!(matches!(after(&[(arm(100, 0), arm(6, 6))]), Trend::Failing(_)));
    }

    #[test]
    fn errors_that_both_have_freeze() {
        assert_eq!(after(&[(arm(100, 40), arm(10, 4))]), Trend::StableFails);
        assert_eq!(after(&[(arm(100, 60), arm(6, 6))]), Trend::StableFails);
    }

    #[test]
    fn a_rate_far_above_the_old_pools_ends_it() {
        assert!(matches!(after(&[(arm(1000, 1), arm(100, 12))]), Trend::Failing(_)));
        assert_eq!(after(&[(arm(1000, 8), arm(100, 4))]), Trend::Calm);
        // Too few to say.
        assert_eq!(after(&[(arm(1000, 1), arm(10, 1))]), Trend::Calm);
    }

    #[test]
    fn a_pool_that_hangs_is_seen_by_those_who_wait() {
        let hang = |pending: &[(u64, u64)], (old, waiting): (u64, u64), longest: u64| {
            let mut recent = Recent::default();
            for (second, (requests, answered)) in (0..).zip(pending) {
                let pending = Pending { requests: *requests, answered: *answered };
                let old_pending = Pending { requests: waiting, answered: second * old };
                let pending = [old_pending, pending];
                recent.observe(&arm(second * old, 0), &arm(*answered, 0), pending);
            }
            let trend = recent.judge(&AbortRule::default(), 0.01, Duration::from_secs(longest));
            matches!(trend, Trend::Failing(_))
        };
        let dead = [(0, 50), (20, 80), (25, 80), (30, 80), (35, 80)];
        assert!(hang(&dead, (100, 1), 1));
        assert!(!hang(&dead[..4], (100, 1), 1), "two seconds may be a pause");
        assert!(!hang(&dead, (100, 1), 4), "the old one was as slow once");
        assert!(hang(&dead, (0, 0), 1), "nobody asks the old one any more");
        assert!(!hang(&dead, (0, 9), 1), "the old one hangs too");
        let few = [(0, 50), (4, 80), (4, 80), (4, 80), (4, 80)];
        assert!(!hang(&few, (100, 1), 1));
        assert!(hang(&[(9, 0); 5], (100, 1), 1), "it has never answered anybody");
        let idle = [(0, 50), (0, 80), (0, 80), (0, 80), (0, 80)];
        assert!(!hang(&idle, (100, 1), 1));
    }

    #[test]
    fn what_both_depend_on_is_nobodys_fault() {
        // It breaks shortly before a look: the new pool has a row of failures, and so has the old.
        let begins = [(arm(100, 0), arm(100, 0)), (arm(200, 0), arm(200, 0))];
        let begins = |last: (Arm, Arm)| after(&[begins.as_slice(), &[last]].concat());
        assert!(!matches!(begins((arm(300, 30), arm(300, 30))), Trend::Failing(_)));
        assert!(matches!(begins((arm(300, 1), arm(300, 30))), Trend::Failing(_)));
        // It comes back to the old pool a second earlier.
        let ends = [(arm(100, 100), arm(100, 100)), (arm(200, 150), arm(200, 200))];
        let ends = |last: &[(Arm, Arm)]| after(&[ends.as_slice(), last].concat());
        assert_eq!(ends(&[(arm(300, 150), arm(300, 300))]), Trend::StableFails);
        let later = [300, 400, 500].map(|at| (arm(at, 150), arm(at, at)));
        assert!(matches!(ends(&later), Trend::Failing(_)), "and stays away for long");
        // An old pool that always fails now and then does not shield a dead one.
        let flaky = [100, 200, 300, 400].map(|at| (arm(at, at * 3 / 20), arm(at, at)));
        assert!(matches!(after(&flaky), Trend::Failing(_)));
    }

    #[test]
    fn what_the_old_pool_shared_is_not_held_against_the_new_one_later() {
        let mut recent = Recent::default();
        let nobody = [Pending::default(); 2];
        let (mut from, mut to) = (arm(0, 0), arm(0, 0));
        // Both fail for two seconds, the new pool for one more; ten seconds pass.
        for (old_fails, new_fails) in [(0, 0), (20, 180), (20, 180), (0, 180)] {
            from = arm(from.requests + 20, from.errors + old_fails);
            to = arm(to.requests + 180, to.errors + new_fails);
            recent.observe(&from, &to, nobody);
        }
        for second in 0..15 {
            (from.requests, to.requests) = (from.requests + 20, to.requests + 180);
            recent.observe(&from, &to, nobody);
            let trend = recent.judge(&AbortRule::default(), 0.01, Duration::ZERO);
            assert!(!matches!(trend, Trend::Failing(_)), "{second}: {trend:?}");
        }
    }

    #[test]
    fn an_old_pool_that_fails_the_few_it_has_shares_the_row() {
        let before = (arm(30, 0), arm(270, 0));
        assert_eq!(after(&[before.clone(), (arm(31, 1), arm(288, 18))]), Trend::Calm);
        let lives = after(&[before, (arm(32, 1), arm(288, 18))]);
        assert!(matches!(lives, Trend::Failing(_)));
    }

    #[test]
    fn a_success_ends_a_row() {
        let seconds =
            [(arm(100, 0), arm(4, 4)), (arm(200, 0), arm(9, 8)), (arm(300, 0), arm(12, 11))];
        assert_eq!(after(&seconds), Trend::Calm);
    }
}
