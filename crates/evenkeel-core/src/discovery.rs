//! Backends that are found elsewhere: what a source says becomes the set that is served. A source
//! that names nobody changes nothing unless it may; one that names too many has the surplus left
//! out, and those that are known stay.

use crate::address::{BackendAddress, Endpoint, Scheme};
use crate::plan::{AdminState, DiscoveryPlan};
use std::collections::{BTreeMap, HashSet};

/// Bytes of a name.
const MAX_NAME_BYTES: usize = 255;
/// The largest weight.
pub const MAX_WEIGHT: u32 = 65_535;

/// A backend that a source has named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Unique in its pool.
    pub name: String,
    /// Where it is, and what is spoken there.
    pub address: BackendAddress,
    /// Share of new traffic.
    pub weight: u32,
    /// What the source wants with it.
    pub admin: AdminState,
}

impl Found {
    /// One by its address, named by it.
    ///
    /// # Errors
    /// In words: it is no address of a backend.
    pub fn at(address: &str, scheme: Scheme) -> Result<Found, String> {
        let has_own = address.contains("://") || address.starts_with("unix:");
        let spelt = match scheme {
            Scheme::Https if !has_own => format!("https://{address}"),
            Scheme::H2c if !has_own => format!("h2c://{address}"),
            Scheme::Http | Scheme::Https | Scheme::H2c => address.to_owned(),
        };
        let address = BackendAddress::parse(&spelt)?;
        if address.text.contains(char::is_control) {
            return Err("an address has control characters".to_owned());
        }
        Ok(Found { name: address.default_name(), address, weight: 1, admin: AdminState::Enabled })
    }

    /// The same under a name, if that can be one.
    #[must_use]
    pub fn named(mut self, name: &str) -> Found {
        let name = name.trim();
        let is_name = !name.is_empty() && name.len() <= MAX_NAME_BYTES;
        if is_name && !name.contains(char::is_control) {
            name.clone_into(&mut self.name);
        }
        self
    }

    /// The same with a share of new traffic.
    #[must_use]
    pub fn weighing(self, weight: u32) -> Found {
        Found { weight: weight.min(MAX_WEIGHT), ..self }
    }

    fn identity(&self) -> (Scheme, &Endpoint) {
        (self.address.scheme, &self.address.endpoint)
    }
}

/// What was found, by pool.
pub type Finds = BTreeMap<String, Vec<Found>>;

/// What an answer of a source means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What is known already.
    Same,
    /// It names nobody, and that is not believed.
    Empty,
    /// These, from now on.
    New(Vec<Found>),
}

/// Compares an answer with what is known; the second number counts those that were left out
/// because there are more than the plan allows.
pub fn judge(known: &[Found], answer: Vec<Found>, plan: &DiscoveryPlan) -> (Verdict, usize) {
    if answer.is_empty() && !plan.allow_empty {
        return (Verdict::Empty, 0);
    }
    let (set, left_out) = settle(known, answer, plan.max);
    let verdict = if set == known { Verdict::Same } else { Verdict::New(set) };
    (verdict, left_out)
}

/// Each address and each name once; of too many, those that are known go before others.
fn settle(known: &[Found], answer: Vec<Found>, max: usize) -> (Vec<Found>, usize) {
    let mut addresses = HashSet::new();
    let first: Vec<bool> = answer.iter().map(|it| addresses.insert(it.identity())).collect();
    let mut names = HashSet::new();
    let mut set = Vec::with_capacity(answer.len());
    for (mut one, _) in answer.iter().cloned().zip(first).filter(|(_, is_first)| *is_first) {
        if !names.insert(one.name.clone()) {
            // Two under one name: the later one goes by its address.
            one.name = one.address.default_name();
            if !names.insert(one.name.clone()) {
                continue;
            }
        }
        set.push(one);
    }
    let surplus = set.len().saturating_sub(max);
    if surplus > 0 {
        let before: HashSet<_> = known.iter().map(Found::identity).collect();
        let is_known: Vec<bool> = set.iter().map(|it| before.contains(&it.identity())).collect();
        let places = |known: bool| {
            is_known.iter().enumerate().filter(move |(_, it)| **it == known).map(|(at, _)| at)
        };
        let chosen: HashSet<usize> = places(true).chain(places(false)).take(max).collect();
        let mut at = 0..;
        set.retain(|_| at.next().is_some_and(|at| chosen.contains(&at)));
    }
    (set, surplus)
}

/// Those of `before` that `after` has not: they are to drain.
pub fn gone<'a>(before: &'a [Found], after: &[Found]) -> Vec<&'a Found> {
    let there: HashSet<_> = after.iter().map(Found::identity).collect();
    before.iter().filter(|it| !there.contains(&it.identity())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::DiscoverySource;
    use std::time::Duration;

    fn plan(allow_empty: bool, max: usize) -> DiscoveryPlan {
        DiscoveryPlan {
            source: DiscoverySource::File { path: "t.yaml".into() },
            interval: Duration::from_secs(5),
            allow_empty,
            max,
            scheme: Scheme::Http,
            drain_timeout: Duration::from_secs(30),
        }
    }

    fn found(addresses: &[&str]) -> Vec<Found> {
        addresses.iter().map(|it| Found::at(it, Scheme::Http).unwrap()).collect()
    }

    fn names(verdict: Verdict) -> Vec<String> {
        match verdict {
            Verdict::New(set) => set.into_iter().map(|it| it.name).collect(),
            Verdict::Same => vec!["same".to_owned()],
            Verdict::Empty => vec!["empty".to_owned()],
        }
    }

    #[test]
    fn an_answer_is_taken_unless_it_names_nobody() {
        let known = found(&["a:1", "b:1"]);
        for (answer, allow_empty, wanted) in [
            (&["a:1", "b:1"][..], false, &["same"][..]),
            (&["a:1", "c:1"], false, &["a:1", "c:1"]),
            (&[], false, &["empty"]),
            (&[], true, &[]),
            (&["a:1", "http://a:1", "b:1"], false, &["same"]),
        ] {
            let (verdict, left_out) = judge(&known, found(answer), &plan(allow_empty, 9));
            assert_eq!(
                (names(verdict), left_out),
                (wanted.iter().map(ToString::to_string).collect(), 0)
            );
        }
        assert_eq!(judge(&[], Vec::new(), &plan(true, 9)).0, Verdict::Same);
    }

    #[test]
    fn of_too_many_the_known_ones_stay() {
        let known = found(&["y:1", "z:1"]);
        let answer = found(&["a:1", "b:1", "c:1", "y:1", "z:1"]);
        let (verdict, left_out) = judge(&known, answer.clone(), &plan(false, 3));
        assert_eq!((names(verdict), left_out), (vec!["a:1".into(), "y:1".into(), "z:1".into()], 2));
        let (verdict, left_out) = judge(&known, answer, &plan(false, 1));
        assert_eq!((names(verdict), left_out), (vec!["y:1".to_owned()], 4));
    }

    #[test]
    fn two_of_one_name_are_told_apart() {
        let both = found(&["a:1", "a:2"]).into_iter().map(|it| it.named("pod")).collect();
        assert_eq!(names(judge(&[], both, &plan(false, 9)).0), ["pod", "a:2"]);
        let long = "x".repeat(256);
        for name in ["", " ", "a\nb", &long] {
            assert_eq!(found(&["a:1"])[0].clone().named(name).name, "a:1");
        }
    }

    #[test]
    fn who_is_gone_is_found_by_its_address() {
        let before = found(&["a:1", "b:1"]);
        let mut after = found(&["http://a:1"]);
        after[0].name = "other".to_owned();
        let gone: Vec<_> = gone(&before, &after).into_iter().map(|it| it.name.as_str()).collect();
        assert_eq!(gone, ["b:1"]);
    }

    #[test]
    fn an_address_without_a_scheme_gets_that_of_the_plan() {
        for (text, scheme, wanted) in [
            ("a:1", Scheme::Http, "a:1"),
            ("a:1", Scheme::Https, "https://a:1"),
            ("a:1", Scheme::H2c, "h2c://a:1"),
            ("http://a:1", Scheme::Https, "http://a:1"),
            ("unix:/x", Scheme::Https, "unix:/x"),
        ] {
            assert_eq!(&*Found::at(text, scheme).unwrap().address.text, wanted);
        }
        for text in ["a", "a:0", "unix:/a\nb", "ftp://a:1"] {
            assert!(Found::at(text, Scheme::Http).is_err(), "{text:?}");
        }
        assert_eq!(found(&["a:1"])[0].clone().weighing(1_000_000).weight, MAX_WEIGHT);
    }
}
