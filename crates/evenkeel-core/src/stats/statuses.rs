//! Answers by status and method.

use super::counter::Counter;
use super::label::MethodLabel;
use std::array;
use std::collections::BTreeMap;
use std::sync::OnceLock;

const METHODS: usize = MethodLabel::ALL.len();
/// Statuses that are told apart: 100 to 599 (RFC 9110 section 15), by their first digit.
const CLASSES: usize = 5;
const CLASS_SIZE: usize = 100;
/// What any other status counts as.
pub const NO_STATUS: u16 = 0;

/// Numbers of answers by status and method. Those outside 100..=599 count as [`NO_STATUS`].
pub type StatusTotals = BTreeMap<(u16, MethodLabel), u64>;

/// Counters of one method and class; whole cache lines, which no other thread writes.
#[derive(Debug)]
#[repr(align(128))]
struct Class([Counter; CLASS_SIZE]);

/// Answers by status and method, as one thread counts them.
#[derive(Debug)]
pub(super) struct StatusCounters {
    classes: [[OnceLock<Box<Class>>; CLASSES]; METHODS],
    outside: [Counter; METHODS],
}

impl Default for StatusCounters {
    fn default() -> StatusCounters {
        StatusCounters {
            classes: array::from_fn(|_| array::from_fn(|_| OnceLock::new())),
            outside: array::from_fn(|_| Counter::default()),
        }
    }
}

impl StatusCounters {
    /// Counts one answer. Allocates when a method has a class for the first time.
    #[inline]
    pub(super) fn count(&self, status: u16, method: MethodLabel) {
        self.of(status, method).add(1);
    }

    /// Counts what was counted elsewhere.
    pub(super) fn take_over(&self, earlier: &StatusTotals) {
        for ((status, method), count) in earlier {
            self.of(*status, *method).add(*count);
        }
    }

    #[inline]
    fn of(&self, status: u16, method: MethodLabel) -> &Counter {
        let (class, rest) = (usize::from(status) / CLASS_SIZE, usize::from(status) % CLASS_SIZE);
        match self.classes[method as usize].get(class.wrapping_sub(1)) {
            Some(counters) => &counters.get_or_init(new_class).0[rest],
            None => &self.outside[method as usize],
        }
    }

    /// Adds what was counted so far.
    pub(super) fn add_to(&self, totals: &mut StatusTotals) {
        let mut add = |status: u16, method, counter: &Counter| {
            let count = counter.get();
            if count > 0 {
                *totals.entry((status, method)).or_default() += count;
            }
        };
        for method in MethodLabel::ALL {
            add(NO_STATUS, *method, &self.outside[*method as usize]);
            for (first, class) in
                (100_u16..).step_by(CLASS_SIZE).zip(&self.classes[*method as usize])
            {
                let counters = class.get().into_iter().flat_map(|class| &class.0);
                (first..).zip(counters).for_each(|(status, counter)| add(status, *method, counter));
            }
        }
    }
}

#[cold]
fn new_class() -> Box<Class> {
    Box::new(Class(array::from_fn(|_| Counter::default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_counted_once() {
        let counters = StatusCounters::default();
        for method in MethodLabel::ALL {
            (0..=u16::MAX).for_each(|status| counters.count(status, *method));
        }
        let mut totals = StatusTotals::new();
        counters.add_to(&mut totals);
        counters.add_to(&mut totals);
        assert_eq!(totals.len(), 501 * METHODS);
        for ((status, method), count) in totals {
            let expected = if status == NO_STATUS { 65_536 - 500 } else { 1 };
            assert_eq!(count, 2 * expected, "{status} {method:?}");
        }
    }
}
