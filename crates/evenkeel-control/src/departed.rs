//! Backends come and go, by discovery above all, and each has series of its own. Of those that are
//! gone for good these are counted together, so that neither memory nor a scrape grows with all
//! that ever were.

use evenkeel_core::snapshot::Snapshot;
use evenkeel_core::stats::{CellTotals, Series, Totals};
use evenkeel_core::time::Nanos;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// For so long a backend is shown after it has gone and finished what ran: as long as charts go
/// back. Whoever scrapes has read its last counts by then.
const SHOWN: Duration = Duration::from_secs(15 * 60);

/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// Series of backends that no pool has any more.
#[derive(Debug, Default)]
pub(crate) struct Departed {
    known: HashMap<Series, Since>,
    looked: Option<Nanos>,
}

#[derive(Debug)]
struct Since {
    at: Nanos,
    /// What was counted by then.
    counts: [u64; 2],
}

impl Departed {
    /// True if it is time to look again.
    pub(crate) fn is_due(&mut self, now: Nanos) -> bool {
        let is_due = self.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK);
        if is_due {
            self.looked = Some(now);
        }
        is_due
    }

    /// Those whose time is up, which are forgotten here. `there`: pool and name of those that are
    /// there.
    pub(crate) fn tick(
        &mut self,
        now: Nanos,
        totals: &Totals,
        there: &HashSet<(&str, &str)>,
    ) -> HashSet<Series> {
        let is_there = |series: &Series| there.contains(&(&*series.pool, &*series.backend));
        self.known.retain(|series, _| !is_there(series));
        let mut gone = HashSet::new();
        let own = totals.series.iter().filter(|(series, _)| series.is_of_backend());
        for (series, totals) in own.filter(|(series, _)| !is_there(series)) {
            let counts = counts(totals);
            let since = self.known.entry(series.clone()).or_insert(Since { at: now, counts });
            if since.counts != counts {
                *since = Since { at: now, counts };
            } else if now.duration_since(since.at) >= SHOWN {
                gone.insert(series.clone());
            }
        }
        self.known.retain(|series, _| !gone.contains(series));
        gone
    }
}

/// Pool and name of every backend that is there.
pub(crate) fn there(snapshot: &Snapshot) -> HashSet<(&str, &str)> {
    let mut there = HashSet::new();
    for pool in &snapshot.pools {
        there.extend(pool.backends.iter().map(|it| (&*pool.plan.name, &*it.plan.name)));
    }
    there
}

fn counts(totals: &CellTotals) -> [u64; 2] {
    [totals.exchanges(), totals.tries]
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_core::stats::{ExchangeEnd, MethodLabel, Stats};

    const END: ExchangeEnd = ExchangeEnd {
        code: 200,
        method: MethodLabel::Get,
        total: 1_000,
        first_byte: None,
        connect: None,
        queue: None,
        bytes_in: 0,
        bytes_out: 0,
        failed: false,
    };

    fn series(backend: &str) -> Series {
        let (listener, route) = ("l".into(), "r".into());
        Series { listener, route, pool: "p".into(), backend: backend.into() }
    }

    fn at(seconds: u64) -> Nanos {
        Nanos::default().after(Duration::from_secs(seconds))
    }

    #[test]
    fn who_is_gone_is_shown_for_a_while_after_the_last_exchange() {
        let there = HashSet::from([("p", "b1"), ("other", "pod-1")]);
        let (stats, mut departed) = (Stats::new(1), Departed::default());
        let count = |backend| stats.workers()[0].cell(&series(backend)).exchange(&END);
        ["b1", "pod-1", "pod-2", ""].into_iter().for_each(count);
        let last = SHOWN.as_secs();
        assert!(departed.tick(at(0), &stats.read(), &there).is_empty());
        count("pod-2");
        assert!(departed.tick(at(last - 1), &stats.read(), &there).is_empty());
        let gone = departed.tick(at(last), &stats.read(), &there);
        assert_eq!(gone, HashSet::from([series("pod-1")]));
        stats.retire(&gone);
        assert!(departed.tick(at(2 * last - 2), &stats.read(), &there).is_empty());
        let gone = departed.tick(at(2 * last - 1), &stats.read(), &there);
        assert_eq!(gone, HashSet::from([series("pod-2")]));
        stats.retire(&gone);
        assert!(departed.tick(at(9 * last), &stats.read(), &there).is_empty());
        assert_eq!(stats.read().routed(), 5);
    }
}
