//! What copies of requests have shown: for each route and pool how often its answers differed, and
//! the last of those that did.
//!
//! *Architecture invariant:* memory is bounded by the bounds below, whatever arrives.

mod compare;

use crate::documents::time_text;
use compare::{Found, compare};
use evenkeel_api::{Difference, DifferenceList, DifferenceSides};
use evenkeel_core::migration::Share;
use evenkeel_core::mirror::{DifferenceKind, Heard};
use evenkeel_proxy::detail::Compared;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Routes and pools that are told apart; what comes after them is not kept.
const MAX_PAIRS: usize = 1_000;

/// What one route's copies for one pool have shown.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Pairs of answers.
    pub compared: u64,
    /// Pairs that differed in anything.
    pub differing: u64,
    /// By kind, in the order of [`DifferenceKind::ALL`].
    pub kinds: [u64; DifferenceKind::ALL.len()],
    /// How long both sides took in all, in nanoseconds: the requests, their copies.
    pub took: [u64; 2],
}

#[derive(Default)]
struct Kept {
    counted: Counted,
    samples: VecDeque<Difference>,
}

/// Names of a route and of the pool that its copies go to.
pub type RouteAndPool = (Arc<str>, Arc<str>);

/// What was found since the start.
#[derive(Default)]
pub struct Differences {
    pairs: Mutex<BTreeMap<RouteAndPool, Kept>>,
}

impl Differences {
    /// Compares two answers.
    pub(crate) fn take(&self, compared: &Compared) {
        let found = compare(&compared.plan, &compared.real, &compared.shadow);
        let pair = (Arc::clone(&compared.route), Arc::clone(&compared.pool));
        let mut pairs = self.lock();
        if pairs.len() >= MAX_PAIRS && !pairs.contains_key(&pair) {
            return;
        }
        let kept = pairs.entry(pair).or_default();
        let counted = &mut kept.counted;
        counted.compared += 1;
        counted.differing += u64::from(!found.is_empty());
        for (count, kind) in counted.kinds.iter_mut().zip(DifferenceKind::ALL) {
            *count += u64::from(found.has(kind));
        }
        for (sum, side) in counted.took.iter_mut().zip([&compared.real, &compared.shadow]) {
            *sum += u64::try_from(side.took.as_nanos()).unwrap_or(u64::MAX);
        }
        if found.is_empty() {
            return;
        }
        while kept.samples.len() >= compared.plan.samples.max(1) {
            kept.samples.pop_front();
        }
        if compared.plan.samples > 0 {
            kept.samples.push_back(sample(compared, found));
        }
    }

    /// What was counted, by route and pool.
    pub(crate) fn counted(&self) -> Vec<(RouteAndPool, Counted)> {
        self.lock().iter().map(|(pair, kept)| (pair.clone(), kept.counted.clone())).collect()
    }

    /// Pairs of answers that differed, of those that were compared.
    pub(crate) fn share(&self, route: &str, pool: &str) -> Share {
        let pairs = self.lock();
        let found = pairs.iter().find(|((r, p), _)| **r == *route && **p == *pool);
        found.map_or(Share { hits: 0, of: 0 }, |(_, kept)| Share {
            hits: kept.counted.differing,
            of: kept.counted.compared,
        })
    }

    /// The last differences of a route, the newest first.
    pub(crate) fn of_route(&self, route: &str) -> DifferenceList {
        let pairs = self.lock();
        let mut list = DifferenceList { compared: 0, differing: 0, differences: Vec::new() };
        for (_, kept) in pairs.iter().filter(|((name, _), _)| **name == *route) {
            list.compared += kept.counted.compared;
            list.differing += kept.counted.differing;
            list.differences.extend(kept.samples.iter().rev().cloned());
        }
        list.differences.sort_by(|one, other| other.time.cmp(&one.time));
        list
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RouteAndPool, Kept>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sample(compared: &Compared, found: Found) -> Difference {
    let took = |heard: &Heard| to_micros(heard.took.as_secs_f64() * 1e3);
    let (real, shadow) = (took(&compared.real), took(&compared.shadow));
    let kinds = DifferenceKind::ALL.into_iter().filter(|kind| found.has(*kind));
    Difference {
        time: time_text(compared.ended_unix),
        request_id: compared.id.clone(),
        method: compared.method.clone(),
        path: compared.path.clone(),
        pool: compared.pool.to_string(),
        kinds: kinds.map(|kind| kind.as_str().to_owned()).collect(),
        status: DifferenceSides {
            real: compared.real.head.status,
            mirror: compared.shadow.head.status,
        },
        headers: found.headers,
        body: found.body,
        latency_ms: DifferenceSides { real, mirror: shadow },
        latency_delta_ms: to_micros(shadow - real),
    }
}

/// Milliseconds with three digits behind the point.
fn to_micros(millis: f64) -> f64 {
    (millis * 1e3).round() / 1e3
}
