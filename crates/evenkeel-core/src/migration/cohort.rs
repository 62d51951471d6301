//! Which pool one request goes to while its route moves. A client keeps its side: the hash of its
//! key lies in [0, 10000), and a growing share only moves those who had not moved.

use super::plan::{COHORTS, CohortKey};
use super::unanswered::{Awaiting, Unanswered};
use crate::strategy::hash::hash_with;

/// What a stage does with requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Cohorts below this number go to the new pool, of [`COHORTS`].
    pub moved: u32,
    /// Requests with all of these fields and cookies go there too.
    pub headers: Vec<(String, String)>,
    /// Name and value.
    pub cookies: Vec<(String, String)>,
    /// Per cent of requests that are copied to the new pool.
    pub copies: f64,
}

impl Traffic {
    /// Cohorts of a share in per cent.
    pub fn cohorts(percent: f64) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to COHORTS")]
        let moved = (percent.clamp(0.0, 100.0) * f64::from(COHORTS) / 100.0).round() as u32;
        moved
    }
}

/// How the requests of one route are divided between two pools, by index into the plan's pools.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmRule {
    /// Serves who has not moved.
    pub from: usize,
    /// Serves who has.
    pub to: usize,
    /// What decides.
    pub key: CohortKey,
    /// Another one for each migration, so that the same clients are not always the first.
    pub seed: u64,
    /// Who has moved.
    pub traffic: Traffic,
    /// Requests that wait for an answer: of the old pool, of the new one.
    pub unanswered: [Unanswered; 2],
}

impl ArmRule {
    /// A request is on its way to this pool; `None` if it is neither of the two.
    pub fn begin(&self, pool: usize) -> Option<Awaiting> {
        let side = [self.from, self.to].iter().position(|side| *side == pool)?;
        Some(self.unanswered[side].begin())
    }

    /// The cohort of a key.
    pub fn cohort(&self, key: &[u8]) -> u32 {
        let spread = (u128::from(hash_with(key, self.seed)) * u128::from(COHORTS)) >> 64;
        u32::try_from(spread).unwrap_or(0)
    }

    /// The pool of a request whose key has this cohort; `matches` tells whether a field (true) or
    /// cookie (false) of this name has this value.
    pub fn pool(&self, cohort: u32, matches: impl Fn(Named<'_>) -> bool) -> usize {
        let Traffic { moved, headers, cookies, .. } = &self.traffic;
        let named = !headers.is_empty() || !cookies.is_empty();
        let matched = named
            && headers.iter().all(|(name, value)| matches(Named::Header(name, value)))
            && cookies.iter().all(|(name, value)| matches(Named::Cookie(name, value)));
        if matched || cohort < *moved { self.to } else { self.from }
    }
}

/// What a request may have.
#[derive(Clone, Copy, Debug)]
pub enum Named<'a> {
    /// A field of this name (lower case) and value.
    Header(&'a str, &'a str),
    /// A cookie of this name and value.
    Cookie(&'a str, &'a str),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(moved: u32) -> ArmRule {
        let traffic = Traffic { moved, ..Traffic::default() };
        let (key, unanswered) = (CohortKey::ClientIp, Default::default());
        ArmRule { from: 0, to: 1, key, seed: 7, traffic, unanswered }
    }

    fn goes_over(rule: &ArmRule, client: u32) -> bool {
        rule.pool(rule.cohort(&client.to_le_bytes()), |_| false) == 1
    }

    #[test]
    fn the_share_is_within_a_point_of_what_was_asked() {
        for percent in [1.0, 5.0, 25.0, 50.0, 99.0] {
            let rule = rule(Traffic::cohorts(percent));
            let moved = (0..100_000).filter(|client| goes_over(&rule, *client)).count();
            assert!((moved as f64 / 1e3 - percent).abs() < 1.0, "{percent}: {moved}");
        }
    }

    #[test]
    fn growing_moves_nobody_back() {
        let shares = [0.0, 1.0, 25.0, 50.0, 100.0].map(|share| rule(Traffic::cohorts(share)));
        for client in 0..10_000 {
            let sides: Vec<bool> = shares.iter().map(|rule| goes_over(rule, client)).collect();
            assert!(sides.is_sorted(), "{client}: {sides:?}");
            assert_eq!((sides[0], sides[4]), (false, true));
        }
    }

    #[test]
    fn a_named_cohort_needs_all_that_it_names() {
        let mut rule = rule(0);
        rule.traffic.headers = vec![("x-beta".to_owned(), "1".to_owned())];
        rule.traffic.cookies = vec![("team".to_owned(), "blue".to_owned())];
        let only_header = |named: Named<'_>| matches!(named, Named::Header("x-beta", "1"));
        assert_eq!(rule.pool(9_999, only_header), 0);
        assert_eq!(rule.pool(9_999, |_| true), 1);
    }
}
