//! Who counts what: for every key one cell per worker.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Rows that a reader copies before it lets others have the lock.
const ROWS_AT_A_TIME: usize = 1024;

/// A key and its cells, by worker.
#[derive(Debug)]
pub(super) struct Row<K, C> {
    pub(super) key: K,
    cells: Box<[OnceLock<Arc<C>>]>,
}

impl<K, C> Row<K, C> {
    /// Those that exist.
    pub(super) fn cells(&self) -> impl Iterator<Item = &C> {
        self.cells.iter().filter_map(OnceLock::get).map(AsRef::as_ref)
    }
}

#[derive(Debug)]
struct Rows<K, C> {
    /// In the order of their first sight; the first is for keys that came too late.
    list: Vec<Arc<Row<K, C>>>,
    places: HashMap<K, usize>,
}

/// A bounded number of keys.
#[derive(Debug)]
pub(super) struct Table<K, C> {
    workers: usize,
    max_keys: usize,
    rows: Mutex<Rows<K, C>>,
}

impl<K: Clone + Eq + Hash, C: Default> Table<K, C> {
    /// For at most `max_keys` keys; `other` stands for all that are too many.
    pub(super) fn new(workers: usize, other: K, max_keys: MaxKeys) -> Table<K, C> {
        let rows = Rows { list: Vec::new(), places: HashMap::new() };
        // The row of `other` comes on top of the bound.
        let max_keys = max_keys.0.saturating_add(1);
        let table = Table { workers, max_keys, rows: Mutex::new(rows) };
        table.row(&other);
        table
    }

    /// The cell of `worker` for `key`.
    pub(super) fn cell(&self, worker: usize, key: &K) -> Arc<C> {
        // The lock is not held while the cell is allocated, by the thread that will write to it.
        let row = self.row(key);
        Arc::clone(row.cells[worker].get_or_init(Arc::default))
    }

    fn row(&self, key: &K) -> Arc<Row<K, C>> {
        let mut rows = self.lock();
        if let Some(place) = rows.places.get(key) {
            return Arc::clone(&rows.list[*place]);
        }
        let place = rows.list.len();
        if place >= self.max_keys {
            return Arc::clone(&rows.list[0]);
        }
        let cells = (0..self.workers).map(|_| OnceLock::new()).collect();
        let row = Arc::new(Row { key: key.clone(), cells });
        rows.list.push(Arc::clone(&row));
        rows.places.insert(key.clone(), place);
        row
    }

    /// Takes rows away, as one of its kind at a time, while nobody reads them. Who still has a cell
    /// of one counts in vain. Holds the lock for a moment at a time only, too.
    pub(super) fn take(&self, wanted: impl Fn(&K) -> bool) -> Vec<Arc<Row<K, C>>> {
        let all = self.rows();
        let (mut list, mut taken) = (Vec::with_capacity(all.len()), Vec::new());
        for (at, row) in all.iter().enumerate() {
            let into = if at > 0 && wanted(&row.key) { &mut taken } else { &mut list };
            into.push(Arc::clone(row));
        }
        let mut places: HashMap<K, usize> =
            list.iter().enumerate().map(|(at, row)| (row.key.clone(), at)).collect();
        let mut rows = self.lock();
        for row in &rows.list[all.len()..] {
            places.insert(row.key.clone(), list.len());
            list.push(Arc::clone(row));
        }
        let before = std::mem::replace(&mut *rows, Rows { list, places });
        drop(rows);
        // Not before the lock is free: it takes a while.
        drop(before);
        taken
    }

    /// All rows. Holds the lock for a moment at a time only: a worker may be waiting for it.
    pub(super) fn rows(&self) -> Vec<Arc<Row<K, C>>> {
        let mut copied = Vec::new();
        loop {
            let rows = self.lock();
            let rest = &rows.list[copied.len()..];
            if rest.is_empty() {
                return copied;
            }
            copied.extend(rest.iter().take(ROWS_AT_A_TIME).cloned());
        }
    }

    /// A panic elsewhere leaves the rows as they were, or with one more: no reason to stop.
    fn lock(&self) -> MutexGuard<'_, Rows<K, C>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bound on the keys of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct MaxKeys(pub(super) usize);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::counter::Counter;

    fn counts(table: &Table<u32, Counter>) -> Vec<(u32, Vec<u64>)> {
        let count = |row: &Arc<Row<u32, Counter>>| {
            (row.key, row.cells().map(Counter::get).collect::<Vec<u64>>())
        };
        table.rows().iter().map(count).collect()
    }

    #[test]
    fn a_key_keeps_its_cells_and_workers_do_not_share_them() {
        let table = Table::<u32, Counter>::new(2, 0, MaxKeys(10));
        table.cell(0, &7).add(1);
        table.cell(1, &7).add(20);
        table.cell(0, &7).add(1);
        assert_eq!(counts(&table), [(0, vec![]), (7, vec![2, 20])]);
    }

    #[test]
    fn keys_beyond_the_bound_share_one_row() {
        let table = Table::<u32, Counter>::new(1, 0, MaxKeys(2));
        for key in [1, 2, 3, 4, 1, 0] {
            table.cell(0, &key).add(1);
        }
        assert_eq!(counts(&table), [(0, vec![3]), (1, vec![2]), (2, vec![1])]);
    }

    #[test]
    fn what_is_taken_away_makes_room_and_begins_anew() {
        let table = Table::<u32, Counter>::new(1, 0, MaxKeys(3));
        (0..5).for_each(|key| table.cell(0, &key).add(1));
        let taken = table.take(|key| *key < 3);
        assert_eq!(taken.iter().map(|row| row.key).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(counts(&table), [(0, vec![2]), (3, vec![1])], "not those that came too late");
        [3, 4, 1, 5].iter().for_each(|key| table.cell(0, key).add(1));
        assert_eq!(counts(&table), [(0, vec![3]), (3, vec![2]), (4, vec![1]), (1, vec![1])]);
    }

    #[test]
    fn many_rows_are_all_read() {
        let table = Table::<u32, Counter>::new(1, 0, MaxKeys(10_000));
        (1..=5_000).for_each(|key| table.cell(0, &key).add(key.into()));
        let sum: u64 = table.rows().iter().flat_map(|row| row.cells()).map(Counter::get).sum();
        assert_eq!(sum, 5_000 * 5_001 / 2);
        assert_eq!(table.rows().len(), 5_001);
    }
}
